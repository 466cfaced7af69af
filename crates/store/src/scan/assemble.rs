//! From bits to a [`LeafBatch`], for units in which the spans of a trace lie in a run.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, FixedSizeBinaryArray, RecordBatch, UInt64Array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use tracewell_model::TraceId;
use tracewell_model::clock::TimeRange;
use tracewell_model::source::{LeafBatch, LeafTrace};

use super::Selection;

/// A trace in a unit: the spans `from..to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceRun {
    pub trace_id: TraceId,
    pub from: u32,
    pub to: u32,
    /// First span start of the source's whole fragment, which may be larger than this run.
    pub start_unix_nano: u64,
}

/// What a `LeafBatch` carries of each span of a unit.
#[derive(Debug, Clone)]
pub struct RunColumns {
    pub trace_id: FixedSizeBinaryArray,
    pub span_id: FixedSizeBinaryArray,
    pub start_unix_nano: UInt64Array,
}

/// The spans to be evaluated, and the traces that somebody else has to finish.
#[derive(Debug, Clone)]
pub struct Eligible {
    pub within: Selection,
    pub shared: Vec<TraceId>,
}

/// Picks the runs that take part in a windowed scan: those with a span that starts in the window.
/// The shared ones among them are reported and not selected. A run that is only a part of its trace
/// must be reported as shared, or the other part would be missed.
pub fn eligible(
    runs: &[TraceRun],
    starts: &[u64],
    window: TimeRange,
    is_shared: impl Fn(TraceId) -> bool,
) -> Eligible {
    let mut bits = BooleanBufferBuilder::new(starts.len());
    let mut shared = Vec::new();
    let mut n_selected = 0;
    for run in runs {
        let (from, to) = (run.from as usize, run.to as usize);
        let in_window = starts
            .get(from..to)
            .is_some_and(|starts| starts.iter().any(|start| window.contains(*start)));
        // Runs are in order; spans between them belong to no candidate.
        bits.append_n(from.saturating_sub(bits.len()), false);
        let selected = in_window && !is_shared(run.trace_id);
        if in_window && !selected {
            shared.push(run.trace_id);
        }
        let n = to.saturating_sub(bits.len());
        bits.append_n(n, selected);
        n_selected += if selected { n } else { 0 };
    }
    bits.append_n(starts.len().saturating_sub(bits.len()), false);
    let within = if n_selected == starts.len() {
        Selection::all(starts.len())
    } else {
        Selection::of(bits.finish())
    };
    Eligible { within, shared }
}

/// Keeps the spans with at least one bit. `bits` must already be masked by what was eligible.
pub fn assemble(
    columns: &RunColumns,
    runs: &[TraceRun],
    bits: &[BooleanBuffer],
    shared: Vec<TraceId>,
    unread_start_max: Option<u64>,
) -> Result<LeafBatch, ArrowError> {
    let any = bits
        .iter()
        .fold(None, |any: Option<BooleanBuffer>, bits| {
            Some(any.map_or_else(|| bits.clone(), |any| &any | bits))
        })
        .unwrap_or_else(|| BooleanBuffer::new_unset(columns.start_unix_nano.len()));
    let mut traces = Vec::new();
    let mut n_kept = 0u32;
    for run in runs {
        let (from, len) = (run.from as usize, run.to.saturating_sub(run.from) as usize);
        if from + len > any.len() {
            break;
        }
        let n = u32::try_from(any.slice(from, len).count_set_bits()).unwrap_or(u32::MAX);
        if n > 0 {
            traces.push(LeafTrace {
                trace_id: run.trace_id,
                from: n_kept,
                to: n_kept + n,
                start_unix_nano: run.start_unix_nano,
            });
            n_kept += n;
        }
    }
    let keep = BooleanArray::new(any, None);
    let kept = |array: &dyn arrow_array::Array| arrow_select::filter::filter(array, &keep);
    let arrays = [
        kept(&columns.trace_id)?,
        kept(&columns.span_id)?,
        kept(&columns.start_unix_nano)?,
    ];
    let bits = bits
        .iter()
        .map(|bits| Ok(mask_of(&kept(&BooleanArray::new(bits.clone(), None))?)))
        .collect::<Result<_, ArrowError>>()?;
    leaf_batch(arrays, bits, traces, shared, unread_start_max)
}

fn mask_of(array: &ArrayRef) -> BooleanBuffer {
    use arrow_array::cast::AsArray;
    array.as_boolean().values().clone()
}

/// Puts the parts of a `LeafBatch` together; arrays are trace id, span id and start.
pub fn leaf_batch(
    arrays: [ArrayRef; 3],
    bits: Vec<BooleanBuffer>,
    traces: Vec<LeafTrace>,
    shared: Vec<TraceId>,
    unread_start_max: Option<u64>,
) -> Result<LeafBatch, ArrowError> {
    let schema = Schema::new(vec![
        Field::new("trace_id", DataType::FixedSizeBinary(16), false),
        Field::new("span_id", DataType::FixedSizeBinary(8), false),
        Field::new("start_unix_nano", DataType::UInt64, false),
    ]);
    Ok(LeafBatch {
        spans: RecordBatch::try_new(Arc::new(schema), arrays.into())?,
        bits,
        traces,
        shared,
        unread_start_max,
    })
}
