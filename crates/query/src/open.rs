//! Traces that lie in several sources, by what each source says of its part: the spans that match, and what
//! some columns hold in them. It is what is left of a trace that need not be read whole.
//!
//! A span that was sent twice may lie in two sources. Equal spans have equal values, so that a trace in which
//! two spans cannot be told apart is decided by none of this. [`asked`] has a column more for that.

use std::sync::Arc;

use foldhash::HashMap;
use tracewell_model::source::LeafBatch;
use tracewell_model::{AttributeValue, Column, Intrinsic, TraceId, Value};

use crate::leaves::places;
use crate::pipeline::View;
use crate::plan::{Field, FilterPlan};
use crate::scalar::Scalar;
use crate::tree::Node;

/// Spans of some traces, from any number of sources.
#[derive(Debug)]
pub(crate) struct OpenSpans<'c> {
    /// The start first.
    columns: &'c [Column],
    traces: HashMap<TraceId, Vec<OpenSpan>>,
    n_spans: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct OpenSpan {
    start: u64,
    /// In which of the sources, in the order in which they were asked.
    source: usize,
    /// One bit per filter.
    filters: u64,
    /// One for each column.
    values: Box<[Held]>,
}

/// Spans of one start that are compared with each other; of more, the trace is read.
const ALIKE_MAX: usize = 16;

/// A value of a column, owned.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    Nil,
    Number(Value<'static>),
    Other(AttributeValue),
}

/// One trace of several sources, as a pipeline sees it.
pub(crate) struct OpenView<'a> {
    trace_id: TraceId,
    columns: &'a [Column],
    spans: &'a [OpenSpan],
}

/// These columns, and what tells spans apart that start at one time.
pub(crate) fn asked(columns: &[Column]) -> Arc<[Column]> {
    let duration = Column::Intrinsic(Intrinsic::Duration);
    let more = (!columns.contains(&duration)).then_some(duration);
    columns.iter().cloned().chain(more).collect()
}

// === impl OpenSpans ===

impl<'c> OpenSpans<'c> {
    pub(crate) fn new(columns: &'c [Column]) -> Self {
        Self {
            columns,
            traces: HashMap::default(),
            n_spans: 0,
        }
    }

    /// Adds what a source says, which was asked for the columns.
    pub(crate) fn add(&mut self, source: usize, batch: &LeafBatch) {
        for trace in &batch.traces {
            let spans = self.traces.entry(trace.trace_id).or_default();
            for row in trace.from as usize..trace.to as usize {
                let bits = batch.bits.iter().take(64).enumerate();
                let set = bits.filter(|(_, bits)| row < bits.len() && bits.value(row));
                let values = batch
                    .columns
                    .iter()
                    .map(|column| Held::of(column.value(row)));
                let values: Box<[Held]> = values.collect();
                let start = match values.first() {
                    Some(Held::Number(Value::Int(start))) => u64::try_from(*start).unwrap_or(0),
                    _ => 0,
                };
                spans.push(OpenSpan {
                    start,
                    source,
                    filters: set.fold(0, |all, (index, _)| all | 1 << index),
                    values,
                });
                self.n_spans += 1;
            }
        }
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
            // As in a whole trace; those of one start lie in the order of their source.
            spans.sort_by_key(|span| (span.start, span.source));
            if has_lookalikes(spans) {
                undecided.push(*trace_id);
                continue;
            }
            let view = OpenView {
                trace_id: *trace_id,
                columns: self.columns,
                spans,
            };
            visit(*trace_id, &view);
        }
        undecided
    }
}

/// True if two of these spans (by start) may be one: nothing that is known of them differs.
fn has_lookalikes(spans: &[OpenSpan]) -> bool {
    let mut at_one_time = spans.chunk_by(|a, b| a.start == b.start);
    at_one_time.any(|some| {
        let pairs = || some.iter().enumerate();
        let is_like = |at: usize, span: &OpenSpan| {
            let mut later = some.iter().skip(at + 1);
            later.any(|other| other.may_be(span))
        };
        some.len() > ALIKE_MAX || pairs().any(|(at, span)| is_like(at, span))
    })
}

// === impl OpenSpan ===

impl OpenSpan {
    fn may_be(&self, other: &Self) -> bool {
        let mut values = self.values.iter().zip(&other.values);
        self.filters == other.filters && values.all(|(a, b)| a.is_same(b))
    }
}

// === impl Held ===

impl Held {
    fn of(value: Value<'_>) -> Self {
        match value {
            Value::Nil => Self::Nil,
            Value::String(text) => Self::Other(AttributeValue::String(text.to_owned())),
            Value::Array(items) => Self::Other(AttributeValue::Array(items.to_vec())),
            Value::Int(value) => Self::Number(Value::Int(value)),
            Value::Float(value) => Self::Number(Value::Float(value)),
            Value::Bool(value) => Self::Number(Value::Bool(value)),
            Value::Duration(nanos) => Self::Number(Value::Duration(nanos)),
            Value::Status(code) => Self::Number(Value::Status(code)),
            Value::Kind(code) => Self::Number(Value::Kind(code)),
            Value::Opaque => Self::Number(Value::Opaque),
        }
    }

    /// Doubles by their bits.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(Value::Float(a)), Self::Number(Value::Float(b))) => {
                a.to_bits() == b.to_bits()
            }
            // Doubles may lie in them.
            (Self::Other(AttributeValue::Array(a)), Self::Other(AttributeValue::Array(b))) => {
                a.len() == b.len()
            }
            (a, b) => a == b,
        }
    }

    fn as_value(&self) -> Value<'_> {
        match self {
            Self::Nil => Value::Nil,
            Self::Number(value) => *value,
            Self::Other(value) => value.as_value(),
        }
    }
}

// === impl OpenView ===

impl View for OpenView<'_> {
    fn n_spans(&self) -> usize {
        self.spans.len()
    }

    fn bits(&self, index: usize, _: &FilterPlan) -> Vec<bool> {
        let spans = self.spans.iter();
        spans
            .map(|span| index < 64 && span.filters >> index & 1 == 1)
            .collect()
    }

    fn value_of(&self, field: &Field, span: usize) -> Option<Scalar> {
        let span = self.spans.get(span)?;
        let held = places(field, self.columns).map(|place| span.values.get(place?));
        let values = held.map(|held| held.map_or(Value::Nil, Held::as_value));
        let values: Vec<Value<'_>> = values.collect();
        field.value(&values)
    }

    /// None: who asks for relations reads whole traces.
    fn node(&self, _: usize) -> Node {
        Node::default()
    }

    fn trace_id(&self, _: usize) -> TraceId {
        self.trace_id
    }

    fn start_unix_nano(&self, span: usize) -> u64 {
        self.spans.get(span).map_or(0, |span| span.start)
    }
}
