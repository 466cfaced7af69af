//! Traces that lie in several sources, by what each source says of its part: the spans that match, and what
//! some columns hold in them. It is what is left of a trace that need not be read whole.
//!
//! A span that was sent twice may lie in two sources. Equal spans have equal values, so that a trace in which
//! two spans cannot be told apart is decided by none of this. [`asked`] has a column more for that.

use std::sync::Arc;

use foldhash::HashMap;
use tracewell_model::source::LeafBatch;
use tracewell_model::{Column, Intrinsic, TraceId, Value};

use crate::leaves;
use crate::pipeline::View;
use crate::plan::{Field, FilterPlan};
use crate::scalar::Scalar;

/// Spans of some traces, from any number of sources.
#[derive(Debug)]
pub(crate) struct OpenSpans {
    /// The start first.
    columns: Arc<[Column]>,
    /// In the order in which they came.
    batches: Vec<LeafBatch>,
    traces: HashMap<TraceId, Vec<OpenSpan>>,
    n_spans: usize,
}

/// A span by its place; of several at one time the earlier batch comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct OpenSpan {
    start: u64,
    batch: usize,
    row: usize,
}

/// Spans of one start that are compared with each other; of more, the trace is read.
const ALIKE_MAX: usize = 16;

/// One trace of several sources, as a pipeline sees it.
pub(crate) struct OpenView<'a> {
    trace_id: TraceId,
    columns: &'a [Column],
    batches: &'a [LeafBatch],
    spans: &'a [OpenSpan],
}

/// These columns, and what tells spans apart that start at one time.
pub(crate) fn asked(columns: &[Column]) -> Arc<[Column]> {
    let duration = Column::Intrinsic(Intrinsic::Duration);
    let more = (!columns.contains(&duration)).then_some(duration);
    columns.iter().cloned().chain(more).collect()
}

// === impl OpenSpans ===

impl OpenSpans {
    pub(crate) fn new(columns: Arc<[Column]>) -> Self {
        Self {
            columns,
            batches: Vec::new(),
            traces: HashMap::default(),
            n_spans: 0,
        }
    }

    /// Adds what a source says, which was asked for the columns.
    pub(crate) fn add(&mut self, batch: LeafBatch) {
        for trace in &batch.traces {
            let spans = self.traces.entry(trace.trace_id).or_default();
            let rows = trace.from as usize..trace.to as usize;
            self.n_spans += rows.len();
            spans.extend(rows.map(|row| OpenSpan {
                start: leaves::start_of(&batch, row).unwrap_or(0),
                batch: self.batches.len(),
                row,
            }));
        }
        self.batches.push(batch);
    }

    /// Adds what a source says of some traces of a batch. False if that batch is none.
    pub(crate) fn add_some(&mut self, batch: &LeafBatch, is_open: &[bool]) -> bool {
        let Some(some) = batch.of_traces(is_open) else {
            return false;
        };
        self.add(some);
        true
    }

    pub(crate) fn n_spans(&self) -> usize {
        self.n_spans
    }

    /// Every trace that can be decided on; and those that cannot.
    pub(crate) fn decided(
        &mut self,
        mut visit: impl FnMut(TraceId, &OpenView<'_>),
    ) -> Vec<TraceId> {
        let mut undecided = Vec::new();
        for (trace_id, spans) in &mut self.traces {
            // As in a whole trace.
            spans.sort_unstable();
            let view = OpenView {
                trace_id: *trace_id,
                columns: &self.columns,
                batches: &self.batches,
                spans,
            };
            match view.has_lookalikes() {
                true => undecided.push(*trace_id),
                false => visit(*trace_id, &view),
            }
        }
        undecided
    }
}

// === impl OpenView ===

impl OpenView<'_> {
    /// True if two of the spans may be one: nothing that is known of them differs.
    fn has_lookalikes(&self) -> bool {
        let mut at_one_time = self.spans.chunk_by(|a, b| a.start == b.start);
        at_one_time.any(|some| {
            let mut spans = some.iter().enumerate();
            let is_like = |(at, span): (usize, &OpenSpan)| {
                let mut later = some.iter().skip(at + 1);
                later.any(|other| self.may_be(span, other))
            };
            some.len() > ALIKE_MAX || spans.any(is_like)
        })
    }

    fn may_be(&self, a: &OpenSpan, b: &OpenSpan) -> bool {
        let (Some(of_a), Some(of_b)) = (self.batches.get(a.batch), self.batches.get(b.batch))
        else {
            return true;
        };
        let mut columns = of_a.columns.iter().zip(&of_b.columns);
        let mut filters = 0..of_a.bits.len();
        filters.all(|it| leaves::matches(of_a, it, a.row) == leaves::matches(of_b, it, b.row))
            && columns.all(|(of_a, of_b)| is_same(of_a.value(a.row), of_b.value(b.row)))
    }
}

/// Doubles by their bits.
fn is_same(a: Value<'_>, b: Value<'_>) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        // Doubles may lie in them.
        (Value::Array(a), Value::Array(b)) => a.len() == b.len(),
        (a, b) => a == b,
    }
}

impl View for OpenView<'_> {
    fn n_spans(&self) -> usize {
        self.spans.len()
    }

    fn bits(&self, index: usize, _: &FilterPlan) -> Vec<bool> {
        let matches = |span: &OpenSpan| {
            let batch = self.batches.get(span.batch);
            batch.is_some_and(|batch| leaves::matches(batch, index, span.row))
        };
        self.spans.iter().map(matches).collect()
    }

    fn value_of(&self, field: &Field, span: usize) -> Option<Scalar> {
        let span = self.spans.get(span)?;
        let batch = self.batches.get(span.batch)?;
        let columns = leaves::columns_of(batch, self.columns, field)?;
        leaves::value_of(field, &columns, span.row)
    }

    fn trace_id(&self, _: usize) -> TraceId {
        self.trace_id
    }

    fn start_unix_nano(&self, span: usize) -> u64 {
        self.spans.get(span).map_or(0, |span| span.start)
    }
}
