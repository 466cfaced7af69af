//! Leaf predicates: one column compared with a constant. TraceQL's comparison rules exist here and
//! nowhere else.
//!
//! A predicate is made by the query room and called by the store: on statistics (can a page hold a
//! match?), on Arrow arrays (which rows match? once per value of a dictionary) and on single values.
//! What a missing value does is not decided here but by [`crate::Leaf::when_absent`].

mod array;
mod re2;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::sync::Arc;

use regex_automata::meta::Regex;

use crate::value::{AttributeValue, Value};

pub use array::ArrayKind;

/// A comparison operator of TraceQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompareOp {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The constant side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    String(Arc<str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    Status(i32),
    Kind(i32),
}

/// What a single present value must satisfy.
#[derive(Debug, Clone)]
pub enum Predicate {
    /// Any present value: `x != nil`.
    Exists,
    /// Compare with a constant; values of another type do not match, whatever the operator.
    Compare { op: CompareOp, operand: Operand },
    /// A fully anchored regular expression over strings; `.` matches a newline.
    Regex {
        regex: Arc<Regex>,
        pattern: Arc<str>,
        negated: bool,
    },
    /// The value, translated by an alias's value map, must satisfy the inner predicate. Strings in
    /// arrays are translated like any other.
    Mapped {
        map: &'static crate::alias::ValueMap,
        inner: Box<Predicate>,
    },
    /// What a newer attribute makes of the value must satisfy the inner predicate.
    Derived {
        derived: crate::alias::Derived,
        inner: Box<Predicate>,
    },
}

/// Smallest and largest value of a page, row group or file, where the format knows them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bounds<'a> {
    Int {
        min: i64,
        max: i64,
    },
    Float {
        min: f64,
        max: f64,
    },
    /// `max` may be cut short by the format: it is then a prefix of the true maximum, made larger.
    String {
        min: &'a [u8],
        max: &'a [u8],
    },
}

// === impl CompareOp ===

impl CompareOp {
    pub fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering == Ordering::Equal,
            Self::NotEqual => ordering != Ordering::Equal,
            Self::Less => ordering == Ordering::Less,
            Self::LessOrEqual => ordering != Ordering::Greater,
            Self::Greater => ordering == Ordering::Greater,
            Self::GreaterOrEqual => ordering != Ordering::Less,
        }
    }
}

// === impl Operand ===

impl Operand {
    /// The operand as a value, to compare two constants with the same rules.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Self::String(text) => Value::String(text),
            Self::Int(value) => Value::Int(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Bool(value) => Value::Bool(*value),
            Self::Duration(value) => Value::Duration(*value),
            Self::Status(value) => Value::Status(*value),
            Self::Kind(value) => Value::Kind(*value),
        }
    }
}

/// Compares two present values: `None` where their types do not compare. Ints, floats and
/// durations (as nanoseconds) mix; a NaN compares with nothing.
pub fn compare_values(left: Value<'_>, right: Value<'_>) -> Option<Ordering> {
    use Value::{Bool, Duration, Float, Int, Kind, Status, String};
    match (left, right) {
        (String(a), String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Int(a) | Duration(a), Int(b) | Duration(b)) => Some(a.cmp(&b)),
        (Float(a), Float(b)) => a.partial_cmp(&b),
        (Float(a), Int(b) | Duration(b)) => a.partial_cmp(&(b as f64)),
        (Int(a) | Duration(a), Float(b)) => (a as f64).partial_cmp(&b),
        (Bool(a), Bool(b)) => Some(a.cmp(&b)),
        (Status(a), Status(b)) | (Kind(a), Kind(b)) => Some(a.cmp(&b)),
        _ => None,
    }
}

/// One comparison of two present values, arrays included: an array matches `=`, `<` and the like if
/// any element does, `!=` if no element is equal and one is comparable.
pub fn values_match(left: Value<'_>, op: CompareOp, right: Value<'_>) -> bool {
    match (left, right) {
        (Value::Array(_), Value::Array(_)) => false,
        (Value::Array(items), other) => array_matches(items, |item| holds(item, op, other), op),
        (other, Value::Array(items)) => array_matches(items, |item| holds(other, op, item), op),
        _ => holds(left, op, right),
    }
}

/// Booleans, statuses and kinds have no order: `<` and the like never match them. The type check
/// refuses that where it can; of attributes the types are known here first.
fn holds(left: Value<'_>, op: CompareOp, right: Value<'_>) -> bool {
    let is_equality = matches!(op, CompareOp::Equal | CompareOp::NotEqual);
    let has_order = !matches!(left, Value::Bool(_) | Value::Status(_) | Value::Kind(_));
    (is_equality || has_order)
        && compare_values(left, right).is_some_and(|ordering| op.holds(ordering))
}

/// `!=` wants every element to differ and the types to compare; the others want one element.
fn array_matches(
    items: &[AttributeValue],
    element: impl Fn(Value<'_>) -> bool,
    op: CompareOp,
) -> bool {
    if op == CompareOp::NotEqual {
        !items.is_empty() && items.iter().all(|item| element(item.as_value()))
    } else {
        items.iter().any(|item| element(item.as_value()))
    }
}

// === impl Predicate ===

impl Predicate {
    /// Compiles a TraceQL regular expression: fully anchored, `.` matches a newline, RE2's syntax and
    /// meaning, at most `size_bytes_max` of compiled program.
    pub fn regex(pattern: &str, negated: bool, size_bytes_max: usize) -> Result<Self, RegexError> {
        let compile = |text: &str| compile(text, size_bytes_max);
        let translated = re2::translate(pattern)?;
        // The pattern must stand alone first, or `a)|(b` would escape from the anchors.
        compile(&translated.text)?;
        // To search for what stands between two `.*` is the same and costs a fraction.
        let searched = searched_for(&translated).and_then(|inner| compile(inner).ok());
        let regex = match searched {
            Some(regex) => regex,
            None => compile(&format!("^(?:{})$", translated.text))?,
        };
        Ok(Self::Regex {
            regex: Arc::new(regex),
            pattern: Arc::from(pattern),
            negated,
        })
    }

    /// The same without its negation, where it is a regular expression.
    #[must_use]
    pub fn positive(&self) -> Self {
        match self {
            Self::Regex { regex, pattern, .. } => Self::Regex {
                regex: Arc::clone(regex),
                pattern: Arc::clone(pattern),
                negated: false,
            },
            other => other.clone(),
        }
    }

    /// Strings with this text in them: the regular expression `.*text.*`, of which no character means
    /// anything but itself.
    pub fn substring(text: &str, size_bytes_max: usize) -> Result<Self, RegexError> {
        let mut literal = String::with_capacity(text.len());
        text.chars().for_each(|c| push_literal(&mut literal, c));
        Ok(Self::Regex {
            regex: Arc::new(compile(&literal, size_bytes_max)?),
            pattern: Arc::from(format!(".*{literal}.*")),
            negated: false,
        })
    }

    /// True if a present value satisfies the predicate. `Nil` and opaque values satisfy only what
    /// [`Predicate::Exists`] says of them.
    pub fn matches(&self, value: Value<'_>) -> bool {
        match self {
            Self::Exists => !value.is_nil(),
            Self::Compare { op, operand } => values_match(value, *op, operand.as_value()),
            Self::Regex { regex, negated, .. } => regex_matches(regex, *negated, value),
            Self::Mapped { map, inner } => match value {
                Value::String(text) => inner.matches(Value::String(map.apply(text))),
                Value::Array(items) => inner.matches(Value::Array(&map.apply_to_all(items))),
                other => inner.matches(other),
            },
            Self::Derived { derived, inner } => inner.matches(derived.of(value)),
        }
    }

    /// False only if no value within the bounds can satisfy the predicate. The bounds are those of
    /// all present values; arrays have none.
    pub fn may_match(&self, bounds: Bounds<'_>) -> bool {
        let Self::Compare { op, operand } = self else {
            return true;
        };
        let ends = match bounds {
            Bounds::Int { min, max } => (Value::Int(min), Value::Int(max)),
            Bounds::Float { min, max } => (Value::Float(min), Value::Float(max)),
            Bounds::String { min, max } => {
                let Operand::String(text) = operand else {
                    return false;
                };
                return within(*op, min.cmp(text.as_bytes()), max.cmp(text.as_bytes()));
            }
        };
        let constant = match *operand {
            Operand::Status(code) | Operand::Kind(code) => Value::Int(i64::from(code)),
            _ => operand.as_value(),
        };
        match (
            compare_values(ends.0, constant),
            compare_values(ends.1, constant),
        ) {
            (Some(min), Some(max)) => within(*op, min, max),
            // Bounds of numbers say nothing of a constant of another type, nor does a NaN.
            _ => true,
        }
    }

    /// The single string that a value must equal, if that is what the predicate says: what a
    /// membership filter can be asked for.
    pub fn equal_string(&self) -> Option<&str> {
        match self {
            Self::Compare {
                op: CompareOp::Equal,
                operand: Operand::String(text),
            } => Some(text),
            _ => None,
        }
    }
}

/// Whether some value between an end that compares `min` and one that compares `max` can match.
fn within(op: CompareOp, min: Ordering, max: Ordering) -> bool {
    match op {
        CompareOp::Equal => min != Ordering::Greater && max != Ordering::Less,
        CompareOp::NotEqual => min != Ordering::Equal || max != Ordering::Equal,
        CompareOp::Less => min == Ordering::Less,
        CompareOp::LessOrEqual => min != Ordering::Greater,
        CompareOp::Greater => max == Ordering::Greater,
        CompareOp::GreaterOrEqual => max != Ordering::Less,
    }
}

fn compile(pattern: &str, size_bytes_max: usize) -> Result<Regex, RegexError> {
    let config = Regex::config()
        .nfa_size_limit(Some(size_bytes_max))
        .hybrid_cache_capacity(size_bytes_max);
    let syntax = regex_automata::util::syntax::Config::new().dot_matches_new_line(true);
    let built = Regex::builder()
        .configure(config)
        .syntax(syntax)
        .build(pattern);
    built.map_err(|error| regex_error(&error))
}

/// Adds a character that stands for itself in a pattern. An escape of anything else may mean something:
/// `\<` is where a word begins.
fn push_literal(pattern: &mut String, c: char) {
    if r"\.+*?()|[]{}^$#&-~".contains(c) {
        pattern.push('\\');
    }
    pattern.push(c);
}

/// What must occur somewhere in a text that matches `.*inner.*`. Only where that is plain to see: with
/// an alternation, a group or a flag the two `.*` may belong to a part of the pattern.
fn searched_for(pattern: &re2::Translated) -> Option<&str> {
    let inner = pattern.text.strip_prefix(".*")?.strip_suffix(".*")?;
    let is_plain = pattern.is_plain
        // These would change the first `.*`, or the dot of the second.
        && !inner.starts_with(['?', '*', '+', '{'])
        && !inner.ends_with('\\');
    is_plain.then_some(inner)
}

fn regex_matches(regex: &Regex, negated: bool, value: Value<'_>) -> bool {
    match value {
        Value::String(text) => regex.is_match(text) != negated,
        Value::Array(items) => {
            let mut strings = items.iter().filter_map(|item| match item {
                AttributeValue::String(text) => Some(text),
                _ => None,
            });
            if negated {
                !items.is_empty()
                    && strings.clone().count() == items.len()
                    && strings.all(|text| !regex.is_match(text.as_str()))
            } else {
                strings.any(|text| regex.is_match(text.as_str()))
            }
        }
        _ => false,
    }
}

fn regex_error(error: &regex_automata::meta::BuildError) -> RegexError {
    RegexError {
        is_too_large: error.size_limit().is_some(),
        reason: regex_reason(error),
    }
}

fn regex_reason(error: &regex_automata::meta::BuildError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    // The message draws the pattern over several lines; the last says what is wrong.
    match text.rsplit_once("error: ") {
        Some((_, reason)) => reason.trim().to_owned(),
        None => text,
    }
}

/// Why a pattern is no predicate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct RegexError {
    pub reason: String,
    /// True if it is right and takes more memory than it may.
    pub is_too_large: bool,
}

impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exists, Self::Exists) => true,
            (
                Self::Compare { op, operand },
                Self::Compare {
                    op: op2,
                    operand: operand2,
                },
            ) => op == op2 && operand == operand2,
            (
                Self::Regex {
                    pattern, negated, ..
                },
                Self::Regex {
                    pattern: pattern2,
                    negated: negated2,
                    ..
                },
            ) => pattern == pattern2 && negated == negated2,
            (
                Self::Mapped { map, inner },
                Self::Mapped {
                    map: map2,
                    inner: inner2,
                },
            ) => std::ptr::eq(*map, *map2) && inner == inner2,
            (
                Self::Derived { derived, inner },
                Self::Derived {
                    derived: derived2,
                    inner: inner2,
                },
            ) => derived == derived2 && inner == inner2,
            _ => false,
        }
    }
}
