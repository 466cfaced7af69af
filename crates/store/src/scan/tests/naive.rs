//! What a filter means, span by span: the slow and obvious way.

use tracewell_model::column::Intrinsic;
use tracewell_model::source::LeafBatch;
use tracewell_model::{
    AttributeScope, AttributeValue, Column, Event, Filter, KeyValue, Level, Link, Span, Value,
};

/// A span, the other spans of its trace, and the items that quantifiers have bound.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) span: &'a Span,
    /// All spans of the trace.
    pub(crate) trace: &'a [Span],
    pub(crate) event: Option<Option<&'a Event>>,
    pub(crate) link: Option<Option<&'a Link>>,
}

/// The values of a row of a batch.
pub(crate) fn values_of(batch: &LeafBatch, row: usize) -> Vec<String> {
    let columns = batch.columns.iter();
    columns
        .map(|column| comparable(column.value(row)))
        .collect()
}

fn comparable(value: Value<'_>) -> String {
    format!("{value:?}")
}

impl<'a> Place<'a> {
    pub(crate) fn new(span: &'a Span, trace: &'a [Span]) -> Self {
        Self {
            span,
            trace,
            event: None,
            link: None,
        }
    }

    pub(crate) fn holds(self, filter: &Filter) -> bool {
        match filter {
            Filter::Constant(value) => *value,
            Filter::And(inner) => inner.iter().all(|filter| self.holds(filter)),
            Filter::Or(inner) => inner.iter().any(|filter| self.holds(filter)),
            Filter::Not(inner) => !self.holds(inner),
            Filter::Leaf(leaf) => self.value(&leaf.column, |value| leaf.matches(value)),
            Filter::Compute(compute) => {
                let [a, b] = &*compute.columns else {
                    panic!("two columns")
                };
                self.value(a, |a| self.value(b, |b| compute.test.test(&[a, b])))
            }
            Filter::Each { level, filter } => self.each(*level, filter),
        }
    }

    fn each(self, level: Level, filter: &Filter) -> bool {
        // A quantifier binds its own item and forgets the other list's.
        match level {
            Level::Event => {
                let with = |event| Place {
                    event: Some(event),
                    link: None,
                    ..self
                };
                match self.span.events.as_slice() {
                    [] => with(None).holds(filter),
                    events => events.iter().any(|event| with(Some(event)).holds(filter)),
                }
            }
            Level::Link => {
                let with = |link| Place {
                    link: Some(link),
                    event: None,
                    ..self
                };
                match self.span.links.as_slice() {
                    [] => with(None).holds(filter),
                    links => links.iter().any(|link| with(Some(link)).holds(filter)),
                }
            }
        }
    }

    pub(crate) fn value<R>(self, column: &Column, then: impl FnOnce(Value<'_>) -> R) -> R {
        let span = self.span;
        let of = |attributes: &[KeyValue], key: &str| {
            let first = attributes.iter().find(|attribute| attribute.key == key);
            first.map(|first| first.value.clone()).unwrap_or_default()
        };
        let owned = match column {
            Column::Attribute { scope, key } => match scope {
                AttributeScope::Span => of(&span.attributes, key),
                AttributeScope::Resource => of(&span.resource.attributes, key),
                AttributeScope::Instrumentation => of(&span.scope.attributes, key),
                AttributeScope::Event => match self.event.flatten() {
                    Some(event) => of(&event.attributes, key),
                    None => AttributeValue::Empty,
                },
                AttributeScope::Link => match self.link.flatten() {
                    Some(link) => of(&link.attributes, key),
                    None => AttributeValue::Empty,
                },
            },
            Column::Intrinsic(intrinsic) => match intrinsic {
                Intrinsic::Duration => return then(Value::Duration(span.duration_nano())),
                Intrinsic::TraceDuration => return then(Value::Duration(self.trace_duration())),
                Intrinsic::Status => return then(Value::Status(span.status_code())),
                Intrinsic::Kind => return then(Value::Kind(span.kind)),
                Intrinsic::EventTimeSinceStart => {
                    return then(self.event.flatten().map_or(Value::Nil, |event| {
                        Value::Duration(event.time_unix_nano as i64 - span.start_unix_nano as i64)
                    }));
                }
                other => self.text(*other).map_or(AttributeValue::Empty, |text| text),
            },
            Column::OfParent(_) => AttributeValue::Empty,
        };
        then(owned.as_value())
    }

    /// The values of some columns, to be compared with those of a batch.
    pub(crate) fn values(self, columns: &[Column]) -> Vec<String> {
        let columns = columns.iter();
        columns
            .map(|column| self.value(column, comparable))
            .collect()
    }

    fn text(self, intrinsic: Intrinsic) -> Option<AttributeValue> {
        let span = self.span;
        let trimmed = |id: String| id.trim_start_matches('0').to_owned();
        Some(AttributeValue::String(match intrinsic {
            Intrinsic::Start => return Some(AttributeValue::Int(span.start_unix_nano as i64)),
            Intrinsic::Name => span.name.clone(),
            Intrinsic::StatusMessage => span
                .status
                .as_ref()
                .map_or(String::new(), |status| status.message.clone()),
            Intrinsic::SpanId => span.span_id.to_string(),
            Intrinsic::ParentId if span.is_root() => return None,
            Intrinsic::ParentId => span.parent_span_id?.to_string(),
            Intrinsic::TraceId => trimmed(span.trace_id.to_string()),
            Intrinsic::RootName => self.root()?.name.clone(),
            Intrinsic::RootService => self.root()?.resource.service_name().to_owned(),
            Intrinsic::EventName => self.event.flatten()?.name.clone(),
            Intrinsic::LinkTraceId => trimmed(self.link.flatten()?.trace_id.to_string()),
            Intrinsic::LinkSpanId => self.link.flatten()?.span_id.to_string(),
            Intrinsic::InstrumentationName => span.scope.name.clone(),
            Intrinsic::InstrumentationVersion => span.scope.version.clone(),
            _ => panic!("{intrinsic:?} is no text"),
        }))
    }

    fn root(self) -> Option<&'a Span> {
        self.trace
            .iter()
            .filter(|span| span.is_root())
            .min_by_key(|span| (span.start_unix_nano, span.span_id))
    }

    fn trace_duration(self) -> i64 {
        let start = self.trace.iter().map(|span| span.start_unix_nano).min();
        let end = self.trace.iter().map(|span| span.end_unix_nano).max();
        tracewell_model::span::duration_nano(start.unwrap(), end.unwrap())
    }
}
