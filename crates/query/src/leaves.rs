//! A trace as a batch of a source tells of it: the spans that match, and what some columns hold in them.

use tracewell_model::source::{LeafBatch, LeafTrace};
use tracewell_model::{Column, ColumnValues, TraceId, Value};

use crate::pipeline::View;
use crate::plan::{Field, FilterPlan};
use crate::scalar::Scalar;
use crate::tree::Node;

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
        let bits = self.batch.bits.get(index);
        let is_set = |span| {
            let row = self.row(span);
            bits.is_some_and(|bits| row < bits.len() && bits.value(row))
        };
        (0..self.n_spans()).map(is_set).collect()
    }

    fn value_of(&self, field: &Field, span: usize) -> Option<Scalar> {
        let values: Vec<Value<'_>> = places(field, self.columns)
            .map(|place| place.and_then(|place| self.batch.columns.get(place)))
            .map(|column| column.map_or(Value::Nil, |column| column.value(self.row(span))))
            .collect();
        field.value(&values)
    }

    /// None: who asks for relations reads whole traces.
    fn node(&self, _: usize) -> Node {
        Node::default()
    }

    fn trace_id(&self, _: usize) -> TraceId {
        self.trace.trace_id
    }

    fn start_unix_nano(&self, span: usize) -> u64 {
        let starts = self.batch.columns.first().and_then(ColumnValues::as_ints);
        let start = starts.and_then(|starts| starts.get(self.row(span)));
        start
            .and_then(|start| u64::try_from(start).ok())
            .unwrap_or(0)
    }
}

/// Where the columns of a field lie among those of a batch.
pub(crate) fn places<'a>(
    field: &'a Field,
    columns: &'a [Column],
) -> impl Iterator<Item = Option<usize>> + 'a {
    let of_field = field.columns.iter();
    of_field.map(|column| columns.iter().position(|other| other == column))
}

/// Those of a batch that a field is of, in its order; `None` if one is not there.
pub(crate) fn columns_of<'b>(
    batch: &'b LeafBatch,
    columns: &[Column],
    field: &Field,
) -> Option<Vec<&'b ColumnValues>> {
    let places = places(field, columns);
    places.map(|place| batch.columns.get(place?)).collect()
}
