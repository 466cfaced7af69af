//! Columns of few bytes, which are decoded whole and kept: to open a chunk takes longer than to read
//! what is in a small one, and each query would do it again.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::BooleanBufferBuilder;
use arrow_schema::{ArrowError, FieldRef, Schema};
use arrow_select::filter::FilterBuilder;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::metadata::RowGroupMetaData;
use tracewell_model::source::QueryContext;

use super::arrays::named;
use super::cache::{Kept, Part};
use super::error::BlockResult;
use super::file::{ColumnPlace, Footer, TableReader};

/// A column of a row group up to this size, not compressed, is small.
pub(super) const CHUNK_BYTES_MAX: u64 = 8 << 10;

/// And of so many rows at most: many rows of one value take few bytes, and a row decoded takes four to sixteen.
const ROWS_MAX: i64 = 4_096;

/// A column of a row group, of all rows.
#[derive(Debug, Clone)]
pub(super) struct SmallColumn {
    field: FieldRef,
    array: ArrayRef,
}

impl TableReader {
    /// The small ones of these columns, and the names of the others.
    pub(super) async fn small_columns<'n>(
        &self,
        footer: &Footer,
        row_group: usize,
        names: &[&'n str],
        ctx: &QueryContext,
    ) -> BlockResult<(Vec<SmallColumn>, Vec<&'n str>)> {
        let Some(group) = footer.metadata.row_groups().get(row_group) else {
            return Err(self.malformed("lacks a row group"));
        };
        let (mut small, mut large) = (Vec::with_capacity(names.len()), Vec::new());
        let (mut missing, mut keys) = (Vec::new(), Vec::new());
        for name in names {
            let Some(place) = footer.place(name) else {
                continue;
            };
            if !is_small(group, place) {
                large.push(*name);
                continue;
            }
            let key = ((row_group as u64) << 32) | place.root as u64;
            match self.kept::<SmallColumn>(Part::Column, key) {
                Some(column) => small.push(SmallColumn::clone(&column)),
                None => {
                    missing.push(*name);
                    keys.push(key);
                }
            }
        }
        if missing.is_empty() {
            return Ok((small, large));
        }
        let batch = self.decode(footer, row_group, &missing, None, ctx).await?;
        for (name, key) in missing.into_iter().zip(keys) {
            let (field, array) = (
                batch.schema_ref().field_with_name(name),
                named(&batch, name)?,
            );
            let field = field.map_err(|error| self.malformed(&error.to_string()))?;
            let column = SmallColumn {
                field: Arc::new(field.clone()),
                array: Arc::clone(array),
            };
            let kept: Kept = Arc::new(column.clone());
            let n_bytes = array.get_array_memory_size() + field.size();
            self.keep(Part::Column, key, kept, n_bytes as u64);
            small.push(column);
        }
        Ok((small, large))
    }
}

fn is_small(group: &RowGroupMetaData, place: &ColumnPlace) -> bool {
    let chunks = group.columns().get(place.chunks.clone());
    let mut left = CHUNK_BYTES_MAX;
    if group.num_rows() > ROWS_MAX {
        return false;
    }
    chunks.is_some_and(|chunks| {
        chunks.iter().all(|chunk| {
            let bytes = u64::try_from(chunk.uncompressed_size()).ok();
            let rest = bytes.and_then(|bytes| left.checked_sub(bytes));
            rest.map(|rest| left = rest).is_some()
        })
    })
}

/// The selected rows of columns that are of one length.
pub(super) fn batch(
    columns: &[SmallColumn],
    selection: Option<&RowSelection>,
) -> Result<RecordBatch, ArrowError> {
    let fields = columns.iter().map(|column| Arc::clone(&column.field));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.iter().map(|column| Arc::clone(&column.array));
    let all = RecordBatch::try_new(schema, arrays.collect())?;
    let Some(selection) = selection else {
        return Ok(all);
    };
    if let Some(range) = one_range(selection) {
        let is_within = range.end <= all.num_rows();
        return match is_within {
            true => Ok(all.slice(range.start, range.len())),
            false => Err(beyond()),
        };
    }
    let mut bits = BooleanBufferBuilder::new(all.num_rows());
    for selector in selection.iter() {
        bits.append_n(selector.row_count, !selector.skip);
    }
    bits.append_n(all.num_rows().saturating_sub(bits.len()), false);
    if bits.len() != all.num_rows() {
        return Err(beyond());
    }
    let bits = BooleanArray::new(bits.finish(), None);
    let filter = FilterBuilder::new(&bits).optimize().build();
    filter.filter_record_batch(&all)
}

fn beyond() -> ArrowError {
    ArrowError::InvalidArgumentError("a selection is of more rows than there are".to_owned())
}

/// The selected rows, if they follow each other.
fn one_range(selection: &RowSelection) -> Option<Range<usize>> {
    let mut at = 0;
    let mut found: Option<Range<usize>> = None;
    for selector in selection.iter() {
        let range = at..at + selector.row_count;
        at = range.end;
        if selector.skip || range.is_empty() {
            continue;
        }
        match &mut found {
            None => found = Some(range),
            Some(found) if found.end == range.start => found.end = range.end,
            Some(_) => return None,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use arrow_array::Int32Array;
    use arrow_schema::{DataType, Field};

    use super::super::file::selection;
    use super::*;

    #[test]
    fn selected_rows_alone_are_left() {
        let column = SmallColumn {
            field: Arc::new(Field::new("n", DataType::Int32, false)),
            array: Arc::new(Int32Array::from_iter_values(0..10)),
        };
        let select = |ranges: &[(usize, usize)], n_rows| {
            let ranges: Vec<_> = ranges.iter().map(|(from, to)| *from..*to).collect();
            let selected = selection(&ranges, n_rows);
            let batch = batch(std::slice::from_ref(&column), Some(&selected))?;
            let values = batch.column(0).to_data();
            Ok::<_, ArrowError>(Int32Array::from(values).values().to_vec())
        };
        assert_eq!(select(&[], 10).unwrap(), [] as [i32; 0]);
        assert_eq!(select(&[(2, 4)], 10).unwrap(), [2, 3]);
        assert_eq!(
            select(&[(0, 2), (5, 6), (9, 10)], 10).unwrap(),
            [0, 1, 5, 9]
        );
        assert!(select(&[(8, 12)], 12).is_err());
        assert!(select(&[(1, 2), (8, 12)], 12).is_err());
    }
}
