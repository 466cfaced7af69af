//! A trace as a batch of a source tells of it: the spans that match, and what some columns hold in them.

use arrow_buffer::BooleanBuffer;
use tracewell_model::source::{LeafBatch, LeafTrace};
use tracewell_model::{Column, ColumnValues, Numbers, TraceId, Value};

use crate::pipeline::View;
use crate::plan::{Field, FilterPlan};
use crate::scalar::Scalar;

/// A trace that lies in one source, asked for the columns of [`crate::plan::Plan::columns`]. Its spans are those
/// that match some pair of braces.
pub(crate) struct LeafView<'a> {
    pub(crate) batch: &'a LeafBatch,
    /// Of the batch, in its order.
    pub(crate) columns: &'a [Column],
    pub(crate) trace: &'a LeafTrace,
}

impl LeafView<'_> {
    /// The row of a span in the batch.
    pub(crate) fn row(&self, span: usize) -> usize {
        (self.trace.from as usize).saturating_add(span)
    }
}

impl View for LeafView<'_> {
    fn n_spans(&self) -> usize {
        self.trace.to.saturating_sub(self.trace.from) as usize
    }

    fn bits(&self, index: usize, _: &FilterPlan) -> Vec<bool> {
        let spans = 0..self.n_spans();
        spans
            .map(|span| matches(self.batch, index, self.row(span)))
            .collect()
    }

    fn value_of(&self, field: &Field, span: usize) -> Option<Scalar> {
        let columns = columns_of(self.batch, self.columns, field)?;
        value_of(field, &columns, self.row(span))
    }

    fn trace_id(&self, _: usize) -> TraceId {
        self.trace.trace_id
    }

    fn start_unix_nano(&self, span: usize) -> u64 {
        start_of(self.batch, self.row(span)).unwrap_or(0)
    }
}

/// Whether a row of a batch matches a filter.
pub(crate) fn matches(batch: &LeafBatch, filter: usize, row: usize) -> bool {
    let bits = batch.bits.get(filter);
    bits.is_some_and(|bits| row < bits.len() && bits.value(row))
}

/// The filters that have a match in a trace of a batch, one bit each.
pub(crate) fn filters_of(batch: &LeafBatch, trace: &LeafTrace) -> u64 {
    let (from, n) = (
        trace.from as usize,
        trace.to.saturating_sub(trace.from) as usize,
    );
    // A hostile or broken source must not make this panic.
    let has_any = |bits: &BooleanBuffer| {
        from.checked_add(n).is_some_and(|to| to <= bits.len()) && bits.slice(from, n).has_true()
    };
    let filters = batch.bits.iter().take(64).enumerate();
    let found = filters.filter(|(_, bits)| has_any(bits));
    found.fold(0, |all, (index, _)| all | 1 << index)
}

/// When a span starts, of a batch that was asked for it first.
pub(crate) fn start_of(batch: &LeafBatch, row: usize) -> Option<u64> {
    start_at(starts_of(batch)?, row)
}

/// When each span starts, of a batch that was asked for it first.
pub(crate) fn starts_of(batch: &LeafBatch) -> Option<&Numbers<i64>> {
    batch.columns.first().and_then(ColumnValues::as_ints)
}

pub(crate) fn start_at(starts: &Numbers<i64>, row: usize) -> Option<u64> {
    u64::try_from(starts.get(row)?).ok()
}

/// The value of a field in a row, of its columns in the batch.
pub(crate) fn value_of(field: &Field, columns: &[&ColumnValues], row: usize) -> Option<Scalar> {
    let values: Vec<Value<'_>> = columns.iter().map(|column| column.value(row)).collect();
    field.value(&values)
}

/// A column of a batch that was asked for these; `None` if it is not among them.
pub(crate) fn column_of<'b>(
    batch: &'b LeafBatch,
    columns: &[Column],
    column: &Column,
) -> Option<&'b ColumnValues> {
    let place = columns.iter().position(|other| other == column)?;
    batch.columns.get(place)
}

/// Those of a batch that a field is of, in its order; `None` if one is not there.
pub(crate) fn columns_of<'b>(
    batch: &'b LeafBatch,
    columns: &[Column],
    field: &Field,
) -> Option<Vec<&'b ColumnValues>> {
    let of_field = field.columns.iter();
    of_field
        .map(|column| column_of(batch, columns, column))
        .collect()
}
