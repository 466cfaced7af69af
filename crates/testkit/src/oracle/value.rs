//! Values as the language sees them, and how two of them compare.
//!
//! Numbers and durations (as nanoseconds) mix; everything else compares with its own type alone, and
//! what does not compare does not match, whatever the operator. Strings order by bytes. Booleans,
//! statuses and kinds know `=` and `!=` only.

use std::cmp::Ordering;

use tracewell_model::alias::Derived;
use tracewell_model::{AttributeValue, CompareOp, Value};

/// Statuses and kinds as the language calls them, by their numbers.
pub(crate) const STATUSES: &[&str] = &["unset", "ok", "error"];
pub(crate) const KINDS: &[&str] = &[
    "unspecified",
    "internal",
    "server",
    "client",
    "producer",
    "consumer",
];

/// A value, owned: speed is no concern here.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    /// Absent, or sent without a value.
    Nil,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Duration(i64),
    Status(i32),
    Kind(i32),
    List(Vec<Datum>),
    /// Bytes and key-value lists: there, and equal to nothing.
    Opaque,
}

impl From<&AttributeValue> for Datum {
    fn from(value: &AttributeValue) -> Self {
        match value {
            AttributeValue::Empty => Self::Nil,
            AttributeValue::String(text) => Self::Text(text.clone()),
            AttributeValue::Bool(value) => Self::Bool(*value),
            AttributeValue::Int(value) => Self::Int(*value),
            AttributeValue::Double(value) => Self::Float(*value),
            AttributeValue::Bytes(_) | AttributeValue::KvList(_) => Self::Opaque,
            AttributeValue::Array(items) => Self::List(items.iter().map(Self::from).collect()),
        }
    }
}

impl Datum {
    pub fn is_nil(&self) -> bool {
        *self == Self::Nil
    }

    /// The number behind ints, floats and durations.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) | Self::Duration(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// Texts before numbers before booleans, as the language lists its types.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let rank = |value: &Self| match value {
            Self::Text(_) => 0,
            Self::Int(_) => 1,
            Self::Float(_) => 2,
            Self::Bool(_) => 3,
            Self::Duration(_) => 4,
            Self::Status(_) => 5,
            Self::Kind(_) => 6,
            _ => 7,
        };
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Status(a), Self::Status(b)) | (Self::Kind(a), Self::Kind(b)) => a.cmp(b),
            (Self::List(a), Self::List(b)) => {
                let known = |items: &[Self]| -> Vec<Self> {
                    let items = items.iter();
                    let items = items.filter(|item| !matches!(item, Self::Nil | Self::Opaque));
                    items.cloned().collect()
                };
                let (a, b) = (known(a), known(b));
                let first = a.iter().zip(&b).map(|(a, b)| a.order(b));
                let first = first.into_iter().find(|order| order.is_ne());
                first.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            _ => rank(self).cmp(&rank(other)),
        }
    }

    /// Type and value as an answer shows them: status, kind and durations as text.
    pub fn shown(&self) -> String {
        let named = |names: &[&str], code: i32| {
            let name = usize::try_from(code).ok().and_then(|code| names.get(code));
            let name = name.map_or_else(|| code.to_string(), |name| (*name).to_owned());
            Self::Text(name).shown()
        };
        match self {
            Self::Nil => Self::Text("nil".to_owned()).shown(),
            Self::Opaque => "opaque".to_owned(),
            Self::Text(text) => format!("text {text}"),
            Self::Int(value) => format!("int {value}"),
            Self::Float(value) => format!("float {value:?}"),
            Self::Bool(value) => format!("bool {value}"),
            Self::Duration(nanos) => Self::Text(go_duration(*nanos)).shown(),
            Self::Status(code) => named(STATUSES, *code),
            Self::Kind(code) => named(KINDS, *code),
            Self::List(items) => {
                let is_shown = |item: &&Self| !matches!(item, Self::Nil | Self::Opaque);
                let items = items.iter().filter(is_shown).map(Self::shown);
                format!("list {:?}", items.collect::<Vec<_>>())
            }
        }
    }

    /// What a newer attribute makes of the value.
    pub fn derived(&self, derived: Derived) -> Self {
        let old = match self {
            Self::Text(text) => Value::String(text),
            Self::Int(value) => Value::Int(*value),
            _ => return Self::Nil,
        };
        match derived.of(old) {
            Value::String(text) => Self::Text(text.to_owned()),
            Value::Int(value) => Self::Int(value),
            _ => Self::Nil,
        }
    }

    /// A copy in which every text, also in a list, is changed.
    pub fn map_text(self, change: &dyn Fn(&str) -> String) -> Self {
        match self {
            Self::Text(text) => Self::Text(change(&text)),
            Self::List(items) => Self::List(
                items
                    .into_iter()
                    .map(|item| item.map_text(change))
                    .collect(),
            ),
            other => other,
        }
    }
}

/// `left op right`. A list matches if one of its elements does; `!=` wants a list that is not empty
/// and all of its elements to differ. Two lists never match.
pub fn compare(left: &Datum, op: CompareOp, right: &Datum) -> bool {
    let quantify = |items: &[Datum], test: &dyn Fn(&Datum) -> bool| match op {
        CompareOp::NotEqual => !items.is_empty() && items.iter().all(test),
        _ => items.iter().any(test),
    };
    match (left, right) {
        (Datum::List(_), Datum::List(_)) => false,
        (Datum::List(items), right) => quantify(items, &|item| scalar(item, op, right)),
        (left, Datum::List(items)) => quantify(items, &|item| scalar(left, op, item)),
        (left, right) => scalar(left, op, right),
    }
}

fn scalar(left: &Datum, op: CompareOp, right: &Datum) -> bool {
    let ordering = match (left, right) {
        (Datum::Text(a), Datum::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Datum::Int(a) | Datum::Duration(a), Datum::Int(b) | Datum::Duration(b)) => a.cmp(b),
        (Datum::Bool(a), Datum::Bool(b)) => return same(op, a == b),
        (Datum::Status(a), Datum::Status(b)) | (Datum::Kind(a), Datum::Kind(b)) => {
            return same(op, a == b);
        }
        _ => match (left.number(), right.number()) {
            // A NaN compares with nothing, not even as different.
            (Some(a), Some(b)) => match a.partial_cmp(&b) {
                Some(ordering) => ordering,
                None => return false,
            },
            _ => return false,
        },
    };
    match op {
        CompareOp::Equal => ordering == Ordering::Equal,
        CompareOp::NotEqual => ordering != Ordering::Equal,
        CompareOp::Less => ordering == Ordering::Less,
        CompareOp::LessOrEqual => ordering != Ordering::Greater,
        CompareOp::Greater => ordering == Ordering::Greater,
        CompareOp::GreaterOrEqual => ordering != Ordering::Less,
    }
}

fn same(op: CompareOp, equal: bool) -> bool {
    match op {
        CompareOp::Equal => equal,
        CompareOp::NotEqual => !equal,
        _ => false,
    }
}

/// As Go prints a duration: the largest unit below a second with a fraction, else hours to seconds.
fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let all = nanos.unsigned_abs();
    let trimmed = |number: u64, unit: u64| {
        let digits = unit.to_string().len() - 1;
        let text = format!("{}.{:0digits$}", number / unit, number % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let text = match all {
        0 => "0s".to_owned(),
        1..1_000 => format!("{all}ns"),
        1_000..1_000_000 => format!("{}µs", trimmed(all, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", trimmed(all, 1_000_000)),
        _ => {
            let minutes = all / 60_000_000_000;
            let seconds = trimmed(all % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}
