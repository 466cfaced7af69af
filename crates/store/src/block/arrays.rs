//! Typed looks into record batches.

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow_schema::DataType;

use super::error::{BlockError, BlockResult};
use super::schema::{ColumnSpec, Kind};

/// A column of strings, as codes or plain.
#[derive(Debug, Clone)]
pub(super) enum Texts {
    Codes(Int32Array, StringArray),
    Plain(StringArray),
}

// === impl Texts ===

impl Texts {
    pub(super) fn of(batch: &RecordBatch, name: &str) -> BlockResult<Self> {
        Self::new(named(batch, name)?)
    }

    pub(super) fn new(array: &ArrayRef) -> BlockResult<Self> {
        match array.data_type() {
            DataType::Utf8 => Ok(Self::Plain(array.as_string::<i32>().clone())),
            DataType::Dictionary(key, value)
                if **key == DataType::Int32 && **value == DataType::Utf8 =>
            {
                let array = array.as_dictionary::<Int32Type>();
                Ok(Self::Codes(
                    array.keys().clone(),
                    array.values().as_string::<i32>().clone(),
                ))
            }
            other => Err(BlockError::malformed(
                "a column of strings",
                format!("is of type {other}"),
            )),
        }
    }

    pub(super) fn get(&self, row: usize) -> Option<&str> {
        match self {
            Self::Codes(keys, values) => {
                let key = (row < keys.len() && keys.is_valid(row)).then(|| keys.value(row))?;
                let key = usize::try_from(key).ok()?;
                (key < values.len()).then(|| values.value(key))
            }
            Self::Plain(values) => {
                (row < values.len() && values.is_valid(row)).then(|| values.value(row))
            }
        }
    }
}

/// A column that every version has.
pub(super) fn named<'a>(batch: &'a RecordBatch, name: &str) -> BlockResult<&'a ArrayRef> {
    let array = batch
        .column_by_name(name)
        .ok_or_else(|| BlockError::malformed(name, "the column is not there"))?;
    Ok(array)
}

/// Checks that columns have the types that this version gives them, so that what follows may cast.
pub(super) fn checked(batch: RecordBatch, columns: &[ColumnSpec]) -> BlockResult<RecordBatch> {
    for column in columns {
        let Some(array) = batch.column_by_name(&column.name) else {
            continue;
        };
        let found = array.data_type();
        let fits = *found == *column.arrow_field(false).data_type()
            || *found == *column.arrow_field(true).data_type()
            || (matches!(column.kind, Kind::TextList | Kind::Int32List)
                && matches!(found, DataType::List(_)));
        if !fits {
            return Err(BlockError::malformed(
                &*column.name,
                format!("is of type {found}"),
            ));
        }
    }
    Ok(batch)
}
