//! The traces of a snapshot: one pass over its rows, when a query first needs it.

use std::sync::Arc;

use tracewell_model::TraceId;
use tracewell_model::source::{TraceRoot, TraceRow};
use tracewell_model::span::duration_nano;

use super::generation::Batch;
use crate::table::{Dictionary, RowAddress, SpanTable};

/// Columns over the traces of a generation, by their index in it.
#[derive(Debug, Default)]
pub(super) struct TraceTable {
    pub(super) id: Vec<TraceId>,
    pub(super) tenant: Vec<u16>,
    /// First start; `u64::MAX` for a trace without a row in the snapshot.
    pub(super) start: Vec<u64>,
    pub(super) end: Vec<u64>,
    pub(super) n_spans: Vec<u32>,
    pub(super) n_errors: Vec<u32>,
    /// The earliest root span.
    pub(super) root: Vec<Option<RowAddress>>,
}

const STATUS_ERROR: i32 = 2;

impl TraceTable {
    pub(super) fn new(batches: &[Arc<Batch>], n_traces: usize) -> Self {
        let mut table = Self {
            id: vec![TraceId::default(); n_traces],
            tenant: vec![0; n_traces],
            start: vec![u64::MAX; n_traces],
            end: vec![0; n_traces],
            n_spans: vec![0; n_traces],
            n_errors: vec![0; n_traces],
            root: vec![None; n_traces],
        };
        for (batch_index, batch) in batches.iter().enumerate() {
            for row in 0..batch.trace.len() {
                let address = RowAddress {
                    table: batch_index as u32,
                    row: row as u32,
                };
                // Columns of one group have the same length.
                let added = table.add(batches, batch, address);
                debug_assert!(added.is_some(), "every row has every column");
            }
        }
        table
    }

    fn add(&mut self, batches: &[Arc<Batch>], batch: &Batch, address: RowAddress) -> Option<()> {
        let row = address.row as usize;
        let spans = &batch.table.spans;
        let trace = *batch.trace.get(row)? as usize;
        let start = *spans.start_unix_nano.get(row)?;
        *self.id.get_mut(trace)? = *spans.trace_id.get(row)?;
        *self.tenant.get_mut(trace)? = *spans.tenant.get(row)?;
        let first = self.start.get_mut(trace)?;
        *first = start.min(*first);
        let last = self.end.get_mut(trace)?;
        *last = (*spans.end_unix_nano.get(row)?).max(*last);
        *self.n_spans.get_mut(trace)? += 1;
        *self.n_errors.get_mut(trace)? += u32::from(*spans.status_code.get(row)? == STATUS_ERROR);
        if is_root(&batch.table, row) {
            let root = self.root.get_mut(trace)?;
            let earlier = root.is_none_or(|old| {
                let old = batches
                    .get(old.table as usize)
                    .map(|b| place(&b.table, old.row));
                Some(place(&batch.table, address.row)) < old
            });
            if earlier {
                *root = Some(address);
            }
        }
        Some(())
    }

    /// What a query calls the duration of the trace.
    pub(super) fn duration(&self, trace: usize) -> i64 {
        match (self.start.get(trace), self.end.get(trace)) {
            (Some(start), Some(end)) => duration_nano(*start, *end),
            _ => 0,
        }
    }

    pub(super) fn row(
        &self,
        trace: usize,
        batches: &[Arc<Batch>],
        dictionary: &Dictionary,
    ) -> Option<TraceRow> {
        let n_spans = u64::from(*self.n_spans.get(trace)?);
        if n_spans == 0 {
            return None;
        }
        let root = self.root.get(trace).copied().flatten();
        Some(TraceRow {
            trace_id: *self.id.get(trace)?,
            start_unix_nano: *self.start.get(trace)?,
            end_unix_nano: *self.end.get(trace)?,
            root: root.and_then(|root| trace_root(root, batches, dictionary)),
            n_spans,
            n_errors: u64::from(*self.n_errors.get(trace)?),
        })
    }
}

fn trace_root(
    root: RowAddress,
    batches: &[Arc<Batch>],
    dictionary: &Dictionary,
) -> Option<TraceRoot> {
    let spans = &batches.get(root.table as usize)?.table.spans;
    let row = root.row as usize;
    let resource = dictionary
        .resources
        .get(*spans.resource.get(row)? as usize)?;
    Some(TraceRoot {
        start_unix_nano: *spans.start_unix_nano.get(row)?,
        span_id: *spans.span_id.get(row)?,
        service: resource.resource.service_name().to_owned(),
        name: dictionary.strings.text(*spans.name.get(row)?).to_owned(),
    })
}

/// True where the span names no parent, or names the zero id.
pub(super) fn is_root(table: &SpanTable, row: usize) -> bool {
    let spans = &table.spans;
    !spans.has_parent.get(row).copied().unwrap_or_default()
        || spans.parent_span_id.get(row).is_none_or(|id| id.is_zero())
}

/// The earliest is the one with the smallest start, then id.
fn place(table: &SpanTable, row: u32) -> Option<(u64, tracewell_model::SpanId)> {
    let row = row as usize;
    Some((
        *table.spans.start_unix_nano.get(row)?,
        *table.spans.span_id.get(row)?,
    ))
}
