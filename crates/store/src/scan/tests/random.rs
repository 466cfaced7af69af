//! Random spans and filters from few values, so that they meet.

use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use tracewell_model::column::Intrinsic;
use tracewell_model::filter::{Compute, RowTest};
use tracewell_model::predicate::Operand;
use tracewell_model::{
    AttributeScope, AttributeValue, Column, CompareOp, Event, Filter, KeyValue, Leaf, Level, Link,
    Predicate, Resource, Scope, Span, SpanId, Status, TraceId, Value,
};

pub(crate) const KEYS: [&str; 6] = ["a", "b", "c", "http.route", "Key", "service.name"];
const TEXTS: [&str; 7] = ["", "x", "y", "GET /a", "GET /b", "error", "x-y"];
const PATTERNS: [&str; 4] = ["x.*", "GET.*", ".*r", "x|y"];

pub(crate) fn text(rng: &mut StdRng) -> String {
    TEXTS[rng.random_range(0..TEXTS.len())].to_owned()
}

fn value(rng: &mut StdRng, depth: usize) -> AttributeValue {
    match rng.random_range(0..if depth == 0 { 6 } else { 11 }) {
        0..3 => AttributeValue::String(text(rng)),
        3 => AttributeValue::Int(rng.random_range(-3..4)),
        4 => AttributeValue::Double(f64::from(rng.random_range(-3..4)) / 2.0),
        5 => AttributeValue::Bool(rng.random()),
        6 => AttributeValue::Empty,
        7 => AttributeValue::Bytes(vec![1, 2, rng.random()]),
        8 => AttributeValue::Array(
            (0..rng.random_range(0..3))
                .map(|_| AttributeValue::String(text(rng)))
                .collect(),
        ),
        9 => AttributeValue::Array(
            (0..rng.random_range(0..3))
                .map(|_| value(rng, depth - 1))
                .collect(),
        ),
        _ => AttributeValue::KvList(attributes(rng, 2, depth - 1)),
    }
}

fn attributes(rng: &mut StdRng, n_max: usize, depth: usize) -> Vec<KeyValue> {
    (0..rng.random_range(0..=n_max))
        .map(|_| KeyValue {
            key: KEYS[rng.random_range(0..KEYS.len())].to_owned(),
            value: value(rng, depth),
        })
        .collect()
}

pub(crate) fn trace_id(n: u64) -> TraceId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&(n + 1).to_be_bytes());
    if !n.is_multiple_of(3) {
        id[..8].copy_from_slice(&(n * 7 + 1).to_be_bytes());
    }
    TraceId(id)
}

pub(crate) fn span_id(n: u64) -> SpanId {
    SpanId((n + 1).to_be_bytes())
}

fn resource(rng: &mut StdRng) -> Resource {
    Resource {
        present: true,
        attributes: attributes(rng, 4, 2),
        dropped_attributes_count: rng.random_range(0..2),
        entity_refs: Vec::new(),
        schema_url: text(rng),
    }
}

fn scope(rng: &mut StdRng) -> Scope {
    Scope {
        present: true,
        name: text(rng),
        version: text(rng),
        attributes: attributes(rng, 3, 2),
        dropped_attributes_count: rng.random_range(0..2),
        schema_url: text(rng),
    }
}

fn event(rng: &mut StdRng) -> Event {
    Event {
        time_unix_nano: rng.random_range(0..1200),
        name: text(rng),
        attributes: attributes(rng, 3, 2),
        dropped_attributes_count: rng.random_range(0..2),
    }
}

fn link(rng: &mut StdRng, n_spans: u64, n_traces: u64) -> Link {
    Link {
        trace_id: trace_id(rng.random_range(0..n_traces)),
        span_id: span_id(rng.random_range(0..n_spans)),
        trace_state: text(rng),
        attributes: attributes(rng, 2, 1),
        dropped_attributes_count: rng.random_range(0..2),
        flags: rng.random_range(0..2),
    }
}

/// Spans of `n_traces` traces in any order, starts within `0..1000`.
pub(crate) fn spans(rng: &mut StdRng, n: usize, n_traces: u64) -> Vec<Span> {
    let mut resources = vec![Arc::<Resource>::default()];
    resources.extend((0..3).map(|_| Arc::new(resource(rng))));
    let mut scopes = vec![Arc::<Scope>::default()];
    scopes.extend((0..2).map(|_| Arc::new(scope(rng))));
    (0..n)
        .map(|i| {
            let start = rng.random_range(0..1000);
            Span {
                resource: Arc::clone(&resources[rng.random_range(0..resources.len())]),
                scope: Arc::clone(&scopes[rng.random_range(0..scopes.len())]),
                trace_id: trace_id(rng.random_range(0..n_traces)),
                span_id: span_id(i as u64),
                parent_span_id: match rng.random_range(0..5) {
                    0 => None,
                    1 => Some(SpanId::default()),
                    _ => Some(span_id(rng.random_range(0..n as u64))),
                },
                trace_state: text(rng),
                flags: rng.random_range(0..3),
                name: text(rng),
                kind: rng.random_range(0..7),
                start_unix_nano: start,
                end_unix_nano: rng.random_range(start.saturating_sub(20)..start + 200),
                attributes: attributes(rng, 6, 2),
                dropped_attributes_count: rng.random_range(0..2),
                events: (0..rng.random_range(0..6usize).saturating_sub(3))
                    .map(|_| event(rng))
                    .collect(),
                dropped_events_count: rng.random_range(0..2),
                links: (0..rng.random_range(0..5usize).saturating_sub(3))
                    .map(|_| link(rng, n as u64, n_traces))
                    .collect(),
                dropped_links_count: rng.random_range(0..2),
                status: match rng.random_range(0..5) {
                    0 => None,
                    code => Some(Status {
                        code: code - 1,
                        message: text(rng),
                    }),
                },
            }
        })
        .collect()
}

const SPAN_INTRINSICS: [Intrinsic; 14] = [
    Intrinsic::Name,
    Intrinsic::Duration,
    Intrinsic::Start,
    Intrinsic::Status,
    Intrinsic::StatusMessage,
    Intrinsic::Kind,
    Intrinsic::SpanId,
    Intrinsic::ParentId,
    Intrinsic::TraceId,
    Intrinsic::TraceDuration,
    Intrinsic::RootName,
    Intrinsic::RootService,
    Intrinsic::InstrumentationName,
    Intrinsic::InstrumentationVersion,
];

pub(crate) fn column(rng: &mut StdRng, item: Option<Level>) -> Column {
    let key = KEYS[rng.random_range(0..KEYS.len())];
    let pick = rng.random_range(0..3);
    match item {
        Some(Level::Event) if pick > 0 => match rng.random_range(0..4) {
            0 => Column::Intrinsic(Intrinsic::EventName),
            1 => Column::Intrinsic(Intrinsic::EventTimeSinceStart),
            _ => Column::attribute(AttributeScope::Event, key),
        },
        Some(Level::Link) if pick > 0 => match rng.random_range(0..4) {
            0 => Column::Intrinsic(Intrinsic::LinkTraceId),
            1 => Column::Intrinsic(Intrinsic::LinkSpanId),
            _ => Column::attribute(AttributeScope::Link, key),
        },
        _ => match rng.random_range(0..6) {
            0..2 => Column::Intrinsic(SPAN_INTRINSICS[rng.random_range(0..SPAN_INTRINSICS.len())]),
            2 => Column::attribute(AttributeScope::Resource, key),
            3 => Column::attribute(AttributeScope::Instrumentation, key),
            _ => Column::attribute(AttributeScope::Span, key),
        },
    }
}

/// Some columns of spans and of what is above them.
pub(crate) fn columns(rng: &mut StdRng) -> Arc<[Column]> {
    let n = rng.random_range(0..4);
    (0..n).map(|_| column(rng, None)).collect()
}

fn predicate(rng: &mut StdRng, column: &Column) -> Predicate {
    if rng.random_range(0..8) == 0 {
        return Predicate::Exists;
    }
    if rng.random_range(0..6) == 0 {
        let pattern = PATTERNS[rng.random_range(0..PATTERNS.len())];
        return Predicate::regex(pattern, rng.random(), 1 << 20).unwrap();
    }
    let op = [
        CompareOp::Equal,
        CompareOp::Equal,
        CompareOp::NotEqual,
        CompareOp::Less,
        CompareOp::LessOrEqual,
        CompareOp::Greater,
        CompareOp::GreaterOrEqual,
    ][rng.random_range(0..7)];
    let operand = match column {
        Column::Intrinsic(intrinsic) => match intrinsic {
            Intrinsic::Status => Operand::Status(rng.random_range(0..4)),
            Intrinsic::Kind => Operand::Kind(rng.random_range(0..6)),
            Intrinsic::Duration => Operand::Duration(rng.random_range(0..200)),
            Intrinsic::TraceDuration => Operand::Duration(rng.random_range(0..1200)),
            Intrinsic::EventTimeSinceStart => Operand::Duration(rng.random_range(-500..500)),
            Intrinsic::Start => Operand::Int(rng.random_range(0..1000)),
            Intrinsic::SpanId | Intrinsic::ParentId | Intrinsic::LinkSpanId => {
                Operand::String(span_id(rng.random_range(0..40)).to_string().into())
            }
            Intrinsic::TraceId | Intrinsic::LinkTraceId => {
                let id = trace_id(rng.random_range(0..10)).to_string();
                Operand::String(id.trim_start_matches('0').into())
            }
            _ => Operand::String(text(rng).into()),
        },
        Column::Attribute { .. } | Column::OfParent(_) => match rng.random_range(0..6) {
            0..3 => Operand::String(text(rng).into()),
            3 => Operand::Int(rng.random_range(-3..4)),
            4 => Operand::Float(f64::from(rng.random_range(-3..4)) / 2.0),
            _ => Operand::Bool(rng.random()),
        },
    };
    let compare = Predicate::Compare { op, operand };
    if rng.random_range(0..10) == 0 {
        static MAP: tracewell_model::alias::ValueMap =
            tracewell_model::alias::ValueMap(&[("x", "y"), ("GET /a", "error")]);
        return Predicate::Mapped {
            map: &MAP,
            inner: Box::new(compare),
        };
    }
    compare
}

/// Two columns are equal, or the first is absent and the second is not.
#[derive(Debug)]
struct SameOrMissing;

impl RowTest for SameOrMissing {
    fn test(&self, values: &[Value<'_>]) -> bool {
        match values {
            [Value::Nil, other] => !other.is_nil(),
            [a, b] => tracewell_model::predicate::values_match(*a, CompareOp::Equal, *b),
            _ => false,
        }
    }
}

pub(crate) fn filter(rng: &mut StdRng, depth: usize, item: Option<Level>) -> Filter {
    let n = if depth == 0 { 5 } else { 12 };
    match rng.random_range(0..n) {
        0..4 => {
            let column = column(rng, item);
            Filter::Leaf(Leaf {
                predicate: predicate(rng, &column),
                column,
                when_absent: rng.random_range(0..4) == 0,
            })
        }
        4 => Filter::Compute(Compute {
            columns: [column(rng, item), column(rng, item)].into(),
            test: Arc::new(SameOrMissing),
        }),
        5 => Filter::Constant(rng.random()),
        6..8 => Filter::And(filters(rng, depth, item)),
        8..10 => Filter::Or(filters(rng, depth, item)),
        10 => Filter::Not(Box::new(filter(rng, depth - 1, item))),
        _ => {
            let level = if rng.random() {
                Level::Event
            } else {
                Level::Link
            };
            Filter::Each {
                level,
                filter: Box::new(filter(rng, depth - 1, Some(level))),
            }
        }
    }
}

fn filters(rng: &mut StdRng, depth: usize, item: Option<Level>) -> Vec<Filter> {
    (0..rng.random_range(1..4))
        .map(|_| filter(rng, depth - 1, item))
        .collect()
}
