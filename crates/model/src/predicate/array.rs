//! Predicates over whole Arrow arrays; over a dictionary, once per value.

use arrow_array::cast::AsArray;
use arrow_array::types::ArrowDictionaryKeyType;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, ArrowNativeTypeOp, DictionaryArray};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, BooleanBufferBuilder};
use arrow_schema::DataType;

use super::{CompareOp, Operand, Predicate};
use crate::column::{Column, Intrinsic};
use crate::value::Value;

/// What the numbers or bytes of an array mean; the Arrow type alone does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrayKind {
    /// Strings, ints, doubles, bools and lists of strings, as their Arrow types say.
    Plain,
    /// 64-bit integers that are nanoseconds.
    Duration,
    /// Integers that are OTLP status codes.
    Status,
    /// Integers that are OTLP span kinds.
    Kind,
    /// Fixed-size binary ids, compared as lowercase hex.
    Hex,
    /// As [`ArrayKind::Hex`], but leading zeros are trimmed on both sides.
    HexTrimmed,
}

// === impl ArrayKind ===

impl ArrayKind {
    /// What the numbers or bytes of a column mean.
    pub fn of(column: &Column) -> Self {
        let Column::Intrinsic(intrinsic) = column else {
            return Self::Plain;
        };
        match intrinsic {
            Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart => {
                Self::Duration
            }
            Intrinsic::Status => Self::Status,
            Intrinsic::Kind => Self::Kind,
            Intrinsic::SpanId | Intrinsic::ParentId | Intrinsic::LinkSpanId => Self::Hex,
            Intrinsic::TraceId | Intrinsic::LinkTraceId => Self::HexTrimmed,
            _ => Self::Plain,
        }
    }
}

// === impl Predicate ===

impl Predicate {
    /// One bit per row: set where the value is present and matches. Arrays of a type that no
    /// comparison knows match nothing.
    pub fn evaluate(&self, array: &ArrayRef, kind: ArrayKind) -> BooleanBuffer {
        if matches!(self, Self::Exists) {
            return present(array);
        }
        match array.data_type() {
            DataType::Dictionary(key, _) if **key == DataType::Int32 => {
                self.evaluate_dictionary(array.as_dictionary::<Int32Type>(), kind)
            }
            DataType::Dictionary(key, _) if **key == DataType::UInt32 => {
                self.evaluate_dictionary(array.as_dictionary::<UInt32Type>(), kind)
            }
            DataType::Utf8 => {
                let strings = array.as_string::<i32>();
                self.rows(array, |row| Value::String(strings.value(row)))
            }
            DataType::Int64 => self.evaluate_ints(array, kind),
            DataType::Int32 => {
                let ints = array.as_primitive::<Int32Type>();
                self.rows(array, |row| code(ints.value(row), kind))
            }
            DataType::UInt64 => {
                let ints = array.as_primitive::<UInt64Type>();
                self.rows(array, |row| {
                    Value::Int(i64::try_from(ints.value(row)).unwrap_or(i64::MAX))
                })
            }
            DataType::Float64 => {
                let floats = array.as_primitive::<Float64Type>();
                self.rows(array, |row| Value::Float(floats.value(row)))
            }
            DataType::Boolean => {
                let bools = array.as_boolean();
                self.rows(array, |row| Value::Bool(bools.value(row)))
            }
            DataType::FixedSizeBinary(_) => self.evaluate_hex(array, kind),
            DataType::List(_) => self.evaluate_lists(array),
            _ => BooleanBuffer::new_unset(array.len()),
        }
    }

    fn rows<'a>(&self, array: &ArrayRef, value: impl Fn(usize) -> Value<'a>) -> BooleanBuffer {
        match array.nulls() {
            None => BooleanBuffer::collect_bool(array.len(), |row| self.matches(value(row))),
            Some(nulls) => BooleanBuffer::collect_bool(array.len(), |row| {
                nulls.is_valid(row) && self.matches(value(row))
            }),
        }
    }

    /// Ints against an int or duration are the most frequent comparison: no per-row dispatch.
    fn evaluate_ints(&self, array: &ArrayRef, kind: ArrayKind) -> BooleanBuffer {
        let ints = array.as_primitive::<Int64Type>();
        if let Self::Compare {
            op,
            operand: Operand::Int(constant) | Operand::Duration(constant),
        } = self
        {
            let (values, constant) = (ints.values(), *constant);
            let bits = match op {
                CompareOp::Equal => bits(values, |value| value.is_eq(constant)),
                CompareOp::NotEqual => bits(values, |value| value.is_ne(constant)),
                CompareOp::Less => bits(values, |value| value.is_lt(constant)),
                CompareOp::LessOrEqual => bits(values, |value| value.is_le(constant)),
                CompareOp::Greater => bits(values, |value| value.is_gt(constant)),
                CompareOp::GreaterOrEqual => bits(values, |value| value.is_ge(constant)),
            };
            return match array.nulls() {
                None => bits,
                Some(nulls) => &bits & nulls.inner(),
            };
        }
        self.rows(array, |row| match kind {
            ArrayKind::Duration => Value::Duration(ints.value(row)),
            _ => Value::Int(ints.value(row)),
        })
    }

    fn evaluate_dictionary<K: ArrowDictionaryKeyType>(
        &self,
        array: &DictionaryArray<K>,
        kind: ArrayKind,
    ) -> BooleanBuffer {
        let per_value = self.evaluate(array.values(), kind);
        let keys = array.keys();
        let n_values = per_value.len();
        if per_value.count_set_bits() == 0 {
            return BooleanBuffer::new_unset(keys.len());
        }
        let hit = |key: K::Native| {
            let key = key.as_usize();
            key < n_values && per_value.value(key)
        };
        let matched = bits(keys.values(), hit);
        match keys.nulls() {
            None => matched,
            Some(nulls) => &matched & nulls.inner(),
        }
    }

    fn evaluate_hex(&self, array: &ArrayRef, kind: ArrayKind) -> BooleanBuffer {
        let ids = array.as_fixed_size_binary();
        let trim = kind == ArrayKind::HexTrimmed;
        let mut text = String::with_capacity(32);
        let mut bits = BooleanBufferBuilder::new(ids.len());
        for row in 0..ids.len() {
            bits.append(
                !ids.is_null(row) && {
                    hex_into(&mut text, ids.value(row), trim);
                    self.matches(Value::String(&text))
                },
            );
        }
        bits.finish()
    }

    /// Lists of strings: the rules of arrays, without building an owned one per row.
    fn evaluate_lists(&self, array: &ArrayRef) -> BooleanBuffer {
        let lists = array.as_list::<i32>();
        if *lists.values().data_type() != DataType::Utf8 || matches!(self, Self::Derived { .. }) {
            return BooleanBuffer::new_unset(array.len());
        }
        let elements = self.evaluate(lists.values(), ArrayKind::Plain);
        let wants_all = self.wants_all();
        let offsets = lists.value_offsets();
        BooleanBuffer::collect_bool(array.len(), |row| {
            let (Some(&from), Some(&to)) = (offsets.get(row), offsets.get(row + 1)) else {
                return false;
            };
            let (from, n) = (from.as_usize(), (to - from).as_usize());
            let n_matching = elements.slice(from, n).count_set_bits();
            lists.is_valid(row)
                && n > 0
                && if wants_all {
                    n_matching == n
                } else {
                    n_matching > 0
                }
        })
    }

    /// Whether every element of an array must match, not just one.
    fn wants_all(&self) -> bool {
        match self {
            Self::Compare { op, .. } => *op == CompareOp::NotEqual,
            Self::Regex { negated, .. } => *negated,
            // Of arrays nothing is derived.
            Self::Exists | Self::Derived { .. } => false,
            Self::Mapped { inner, .. } => inner.wants_all(),
        }
    }
}

fn bits<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> BooleanBuffer {
    BooleanBuffer::collect_bool(values.len(), |row| {
        values.get(row).is_some_and(|v| test(*v))
    })
}

fn present(array: &ArrayRef) -> BooleanBuffer {
    array.logical_nulls().map_or_else(
        || BooleanBuffer::new_set(array.len()),
        |nulls| nulls.inner().clone(),
    )
}

fn code<'a>(code: i32, kind: ArrayKind) -> Value<'a> {
    match kind {
        ArrayKind::Status => Value::Status(code),
        ArrayKind::Kind => Value::Kind(code),
        _ => Value::Int(i64::from(code)),
    }
}

fn hex_into(text: &mut String, id: &[u8], trim: bool) {
    text.clear();
    for byte in id {
        for digit in [byte >> 4, byte & 15] {
            if let Some(digit) = char::from_digit(u32::from(digit), 16)
                && !(trim && text.is_empty() && digit == '0')
            {
                text.push(digit);
            }
        }
    }
}
