//! From bits to a [`LeafBatch`], for units in which the spans of a trace lie in a run.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use tracewell_model::source::{LeafBatch, LeafTrace};
use tracewell_model::{ColumnValues, TraceId};

/// A trace in a unit: the spans `from..to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceRun {
    pub trace_id: TraceId,
    pub from: u32,
    pub to: u32,
    /// First span start of the source's whole fragment, which may be larger than this run.
    pub start_unix_nano: u64,
    /// Whether a span starts in the window.
    pub in_window: bool,
}

/// What a `LeafBatch` carries of each matching span, in the order of the runs.
#[derive(Debug, Clone)]
pub struct RunColumns {
    pub trace_id: FixedSizeBinaryArray,
    pub span_id: FixedSizeBinaryArray,
    pub start_unix_nano: UInt64Array,
}

/// The spans with at least one bit; `None` without filters.
pub fn union(bits: &[BooleanBuffer]) -> Option<BooleanBuffer> {
    let (first, rest) = bits.split_first()?;
    Some(rest.iter().fold(first.clone(), |any, bits| &any | bits))
}

/// The numbers of the runs (ascending, without overlap) with a set bit.
pub fn hit_runs(runs: impl Iterator<Item = Range<usize>>, bits: &BooleanBuffer) -> Vec<usize> {
    if !bits.has_false() {
        let runs = runs.enumerate();
        let some = runs.filter(|(_, run)| !run.is_empty() && run.start < bits.len());
        return some.map(|(number, _)| number).collect();
    }
    let mut hits = Vec::new();
    let mut set = bits.set_indices();
    let mut next = set.next();
    for (number, run) in runs.enumerate() {
        while next.is_some_and(|row| row < run.start) {
            next = set.next();
        }
        match next {
            None => break,
            Some(row) if row < run.end => hits.push(number),
            Some(_) => {}
        }
    }
    hits
}

/// Keeps the spans of these runs (ascending) with at least one bit. Their values are of those alone.
pub fn assemble(
    (columns, values): (Option<&RunColumns>, Vec<ColumnValues>),
    runs: &[TraceRun],
    bits: &[BooleanBuffer],
    shared: Vec<TraceId>,
    unread_start_max: Option<u64>,
) -> Result<LeafBatch, ArrowError> {
    let any = union(bits).unwrap_or_else(|| BooleanBuffer::new_unset(0));
    // With one filter, every span that is kept has its bit.
    let n_apart = if bits.len() == 1 { 0 } else { bits.len() };
    let mut kept: Vec<BooleanBufferBuilder> = Vec::with_capacity(n_apart);
    kept.resize_with(n_apart, || BooleanBufferBuilder::new(0));
    let is_every = !any.has_false();
    let mut traces = Vec::with_capacity(runs.len());
    let mut n_kept = 0u32;
    for run in runs {
        let (from, len) = (run.from as usize, run.to.saturating_sub(run.from) as usize);
        if from + len > any.len() {
            break;
        }
        let first = n_kept;
        if kept.is_empty() && is_every {
            n_kept += len as u32;
        } else if kept.is_empty() {
            n_kept += any.slice(from, len).count_set_bits() as u32;
        } else {
            for row in any.slice(from, len).set_indices() {
                n_kept += 1;
                for (kept, bits) in kept.iter_mut().zip(bits) {
                    kept.append(bits.value(from + row));
                }
            }
        }
        if n_kept > first {
            traces.push(LeafTrace {
                trace_id: run.trace_id,
                from: first,
                to: n_kept,
                start_unix_nano: run.start_unix_nano,
                in_window: run.in_window,
            });
        }
    }
    let arrays = columns.map(|columns| -> [ArrayRef; 3] {
        [
            Arc::new(columns.trace_id.clone()),
            Arc::new(columns.span_id.clone()),
            Arc::new(columns.start_unix_nano.clone()),
        ]
    });
    let bits = match bits.len() {
        1 => vec![BooleanBuffer::new_set(n_kept as usize)],
        _ => kept.iter_mut().map(BooleanBufferBuilder::finish).collect(),
    };
    leaf_batch(
        arrays,
        n_kept as usize,
        (bits, values),
        traces,
        shared,
        unread_start_max,
    )
}

/// Puts the parts of a `LeafBatch` together; arrays are trace id, span id and start.
pub fn leaf_batch(
    arrays: Option<[ArrayRef; 3]>,
    n_rows: usize,
    (bits, columns): (Vec<BooleanBuffer>, Vec<ColumnValues>),
    traces: Vec<LeafTrace>,
    shared: Vec<TraceId>,
    unread_start_max: Option<u64>,
) -> Result<LeafBatch, ArrowError> {
    let spans = match arrays {
        Some(arrays) => {
            let schema = Schema::new(vec![
                Field::new("trace_id", DataType::FixedSizeBinary(16), false),
                Field::new("span_id", DataType::FixedSizeBinary(8), false),
                Field::new("start_unix_nano", DataType::UInt64, false),
            ]);
            RecordBatch::try_new(Arc::new(schema), arrays.into())?
        }
        None => {
            let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
            RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?
        }
    };
    Ok(LeafBatch {
        spans,
        bits,
        columns,
        traces,
        shared,
        unread_start_max,
    })
}
