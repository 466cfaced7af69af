//! Single values out of pieces, for expressions over several columns.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray, UInt64Array,
};
use arrow_buffer::ScalarBuffer;
use arrow_schema::DataType;
use tracewell_model::predicate::ArrayKind;
use tracewell_model::{AttributeValue, Value};

use super::{Piece, PieceRows, Values};

/// The value of one column at any row of its level.
pub(super) struct Reader {
    pieces: Vec<(PieceRows, Cells)>,
    kind: ArrayKind,
}

enum Cells {
    Strings(StringArray),
    /// Index of a value, `u32::MAX` where null.
    Dictionary(Vec<u32>, StringArray),
    Int(Int64Array),
    Code(Int32Array),
    Unsigned(UInt64Array),
    Float(Float64Array),
    Bool(BooleanArray),
    Owned(Vec<AttributeValue>),
    Opaque,
}

impl Reader {
    pub(super) fn new(pieces: &[Piece], kind: ArrayKind) -> Self {
        let pieces = pieces
            .iter()
            .map(|piece| {
                let cells = match &piece.values {
                    Values::Array(array) => Cells::new(array, kind),
                    Values::Owned(values) => Cells::Owned(values.clone()),
                    Values::Opaque(_) => Cells::Opaque,
                    // Not answered to a question without a predicate.
                    Values::Evaluated(_) => Cells::Owned(Vec::new()),
                };
                (piece.rows.clone(), cells)
            })
            .collect();
        Self { pieces, kind }
    }

    pub(super) fn value(&self, row: usize) -> Value<'_> {
        for (rows, cells) in &self.pieces {
            let index = match rows {
                PieceRows::Dense => Some(row),
                PieceRows::Sparse(rows) => find(rows, row),
            };
            if let Some(value) = index.map(|index| cells.value(index, self.kind))
                && !value.is_nil()
            {
                return value;
            }
        }
        Value::Nil
    }
}

fn find(rows: &ScalarBuffer<u32>, row: usize) -> Option<usize> {
    rows.binary_search(&u32::try_from(row).ok()?).ok()
}

impl Cells {
    fn new(array: &ArrayRef, kind: ArrayKind) -> Self {
        match array.data_type() {
            DataType::Dictionary(key, _) if **key == DataType::Int32 => {
                let dictionary = array.as_dictionary::<Int32Type>();
                let keys = dictionary.keys().iter();
                let keys = keys.map(|key| key.and_then(|key| u32::try_from(key).ok()));
                Self::dictionary(keys, dictionary.values())
            }
            DataType::Dictionary(key, _) if **key == DataType::UInt32 => {
                let dictionary = array.as_dictionary::<UInt32Type>();
                Self::dictionary(dictionary.keys().iter(), dictionary.values())
            }
            DataType::Utf8 => Self::Strings(array.as_string::<i32>().clone()),
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>().clone()),
            DataType::Int32 => Self::Code(array.as_primitive::<Int32Type>().clone()),
            DataType::UInt64 => Self::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            DataType::Float64 => Self::Float(array.as_primitive::<Float64Type>().clone()),
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::FixedSizeBinary(_) => Self::hex(array, kind == ArrayKind::HexTrimmed),
            DataType::List(_) => Self::lists(array),
            _ => Self::Owned(Vec::new()),
        }
    }

    fn dictionary(keys: impl Iterator<Item = Option<u32>>, values: &ArrayRef) -> Self {
        match values.as_string_opt::<i32>() {
            Some(values) => Self::Dictionary(
                keys.map(|key| key.unwrap_or(u32::MAX)).collect(),
                values.clone(),
            ),
            None => Self::Owned(Vec::new()),
        }
    }

    fn hex(array: &ArrayRef, trim: bool) -> Self {
        let ids = array.as_fixed_size_binary();
        let text = |id: &[u8]| {
            let text: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            match trim {
                true => text.trim_start_matches('0').to_owned(),
                false => text,
            }
        };
        Self::Owned(
            ids.iter()
                .map(|id| id.map_or(AttributeValue::Empty, |id| AttributeValue::String(text(id))))
                .collect(),
        )
    }

    fn lists(array: &ArrayRef) -> Self {
        let lists = array.as_list::<i32>().iter().map(|list| {
            let Some(list) = list else {
                return AttributeValue::Empty;
            };
            let Some(strings) = list.as_string_opt::<i32>() else {
                return AttributeValue::Empty;
            };
            AttributeValue::Array(
                strings
                    .iter()
                    .map(|text| {
                        text.map_or(AttributeValue::Empty, |text| {
                            AttributeValue::String(text.to_owned())
                        })
                    })
                    .collect(),
            )
        });
        Self::Owned(lists.collect())
    }

    fn value(&self, index: usize, kind: ArrayKind) -> Value<'_> {
        match self {
            Self::Strings(array) => {
                present(array, index).map_or(Value::Nil, |i| Value::String(array.value(i)))
            }
            Self::Dictionary(keys, values) => keys
                .get(index)
                .and_then(|key| present(values, *key as usize))
                .map_or(Value::Nil, |i| Value::String(values.value(i))),
            Self::Int(array) => present(array, index).map_or(Value::Nil, |i| match kind {
                ArrayKind::Duration => Value::Duration(array.value(i)),
                _ => Value::Int(array.value(i)),
            }),
            Self::Code(array) => present(array, index).map_or(Value::Nil, |i| match kind {
                ArrayKind::Status => Value::Status(array.value(i)),
                ArrayKind::Kind => Value::Kind(array.value(i)),
                _ => Value::Int(i64::from(array.value(i))),
            }),
            Self::Unsigned(array) => present(array, index).map_or(Value::Nil, |i| {
                Value::Int(i64::try_from(array.value(i)).unwrap_or(i64::MAX))
            }),
            Self::Float(array) => {
                present(array, index).map_or(Value::Nil, |i| Value::Float(array.value(i)))
            }
            Self::Bool(array) => {
                present(array, index).map_or(Value::Nil, |i| Value::Bool(array.value(i)))
            }
            Self::Owned(values) => values
                .get(index)
                .map_or(Value::Nil, AttributeValue::as_value),
            Self::Opaque => Value::Opaque,
        }
    }
}

fn present(array: &dyn Array, index: usize) -> Option<usize> {
    (index < array.len() && array.is_valid(index)).then_some(index)
}
