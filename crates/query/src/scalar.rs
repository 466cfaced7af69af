//! Values that an answer keeps: of groups, aggregates and labels.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tracewell_model::{AttributeValue, Value};

use crate::syntax::ast::{KINDS, STATUSES, code_name};

/// A value, owned. Two are equal if type and value are; floats by their order, so that NaN is a group.
#[derive(Debug, Clone)]
pub enum Scalar {
    String(Arc<str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    /// OTLP code.
    Status(i32),
    /// OTLP code.
    Kind(i32),
    Array(Vec<Scalar>),
}

impl Scalar {
    /// `None` where there is no value, and for what no expression can hold: bytes and maps.
    pub fn of(value: Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Nil | Value::Opaque => return None,
            Value::String(text) => Self::String(Arc::from(text)),
            Value::Int(value) => Self::Int(value),
            Value::Float(value) => Self::Float(value),
            Value::Bool(value) => Self::Bool(value),
            Value::Duration(nanos) => Self::Duration(nanos),
            Value::Status(code) => Self::Status(code),
            Value::Kind(code) => Self::Kind(code),
            Value::Array(items) => {
                let items = items.iter().filter_map(|item| Self::of(item.as_value()));
                Self::Array(items.collect())
            }
        })
    }

    pub fn as_value(&self) -> Value<'_> {
        match self {
            Self::String(text) => Value::String(text),
            Self::Int(value) => Value::Int(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Bool(value) => Value::Bool(*value),
            Self::Duration(nanos) => Value::Duration(*nanos),
            Self::Status(code) => Value::Status(*code),
            Self::Kind(code) => Value::Kind(*code),
            Self::Array(_) => Value::Opaque,
        }
    }

    /// Of numbers and durations, these in nanoseconds.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(value) | Self::Duration(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// As an answer shows it: durations as text, status and kind by their names.
    pub fn to_attribute(&self) -> AttributeValue {
        match self {
            Self::String(text) => AttributeValue::String(text.to_string()),
            Self::Int(value) => AttributeValue::Int(*value),
            Self::Float(value) => AttributeValue::Double(*value),
            Self::Bool(value) => AttributeValue::Bool(*value),
            Self::Duration(nanos) => AttributeValue::String(GoDuration(*nanos).to_string()),
            Self::Status(code) => AttributeValue::String(code_name(STATUSES, *code).into_owned()),
            Self::Kind(code) => AttributeValue::String(code_name(KINDS, *code).into_owned()),
            Self::Array(items) => {
                AttributeValue::Array(items.iter().map(Self::to_attribute).collect())
            }
        }
    }

    /// About what it takes in memory.
    pub(crate) fn n_bytes(&self) -> u64 {
        let text = match self {
            Self::String(text) => text.len(),
            Self::Array(items) => items.len() * size_of::<Self>(),
            _ => 0,
        };
        (size_of::<Self>() + text) as u64
    }

    fn rank(&self) -> u8 {
        match self {
            Self::String(_) => 0,
            Self::Int(_) => 1,
            Self::Float(_) => 2,
            Self::Bool(_) => 3,
            Self::Duration(_) => 4,
            Self::Status(_) => 5,
            Self::Kind(_) => 6,
            Self::Array(_) => 7,
        }
    }
}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Self::String(text) => text.hash(state),
            Self::Int(value) | Self::Duration(value) => value.hash(state),
            Self::Float(value) => value.to_bits().hash(state),
            Self::Bool(value) => value.hash(state),
            Self::Status(code) | Self::Kind(code) => code.hash(state),
            Self::Array(items) => items.hash(state),
        }
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) | (Self::Duration(a), Self::Duration(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Status(a), Self::Status(b)) | (Self::Kind(a), Self::Kind(b)) => a.cmp(b),
            (Self::Array(a), Self::Array(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar {}

/// Nanoseconds as Go writes a duration, and so as Tempo does: `1h2m0.5s`, `1.5ms`, `0s`.
#[derive(Debug, Clone, Copy)]
pub struct GoDuration(pub i64);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        let small = |f: &mut fmt::Formatter<'_>, unit: u64, name: &str| {
            write!(f, "{}", nanos / unit)?;
            fraction(f, nanos % unit, unit)?;
            f.write_str(name)
        };
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => small(f, 1, "ns"),
            1_000..1_000_000 => small(f, 1_000, "µs"),
            1_000_000..1_000_000_000 => small(f, 1_000_000, "ms"),
            _ => {
                let seconds = nanos / 1_000_000_000;
                let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{}", seconds % 60)?;
                fraction(f, nanos % 1_000_000_000, 1_000_000_000)?;
                f.write_str("s")
            }
        }
    }
}

/// The digits behind the point of `rest / unit`, without the zeros at their end.
fn fraction(f: &mut fmt::Formatter<'_>, rest: u64, unit: u64) -> fmt::Result {
    if rest == 0 {
        return Ok(());
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{rest:0width$}");
    write!(f, ".{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (2_000_001, "2.000001ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (3_723_500_000_000, "1h2m3.5s"),
            (-1_000_000, "-1ms"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(GoDuration(nanos).to_string(), text);
        }
    }

    #[test]
    fn values_of_different_types_are_different_groups() {
        let one = Scalar::Int(1);
        assert_ne!(one, Scalar::Float(1.0));
        assert_ne!(one, Scalar::Duration(1));
        assert_eq!(Scalar::Float(f64::NAN), Scalar::Float(f64::NAN));
        assert!(one < Scalar::Int(2));
    }
}
