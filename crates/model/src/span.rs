//! Spans, resources, scopes and traces as they were sent, owned.
//!
//! These are what a trace by id answers with and what the oracle evaluates; the hot path carries
//! [`crate::SpanBatch`] instead.

mod order;

use std::cmp::Ordering;
use std::sync::Arc;

use crate::id::{SpanId, TraceId};
use crate::value::{AttributeValue, KeyValue};

/// One span, lossless: two spans are equal only if every OTLP field of them is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Span {
    pub resource: Arc<Resource>,
    pub scope: Arc<Scope>,
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// `None` is a root; eight zero bytes, which some senders write for a root, are kept as sent.
    pub parent_span_id: Option<SpanId>,
    pub trace_state: String,
    pub flags: u32,
    pub name: String,
    /// The OTLP enum number; unknown numbers are kept.
    pub kind: i32,
    pub start_unix_nano: u64,
    /// May lie before the start.
    pub end_unix_nano: u64,
    pub attributes: Vec<KeyValue>,
    pub dropped_attributes_count: u32,
    pub events: Vec<Event>,
    pub dropped_events_count: u32,
    pub links: Vec<Link>,
    pub dropped_links_count: u32,
    /// `None` where the sender wrote no status message at all.
    pub status: Option<Status>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// The OTLP enum number: 0 unset, 1 ok, 2 error; unknown numbers are kept.
    pub code: i32,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Event {
    pub time_unix_nano: u64,
    pub name: String,
    pub attributes: Vec<KeyValue>,
    pub dropped_attributes_count: u32,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Link {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub trace_state: String,
    pub attributes: Vec<KeyValue>,
    pub dropped_attributes_count: u32,
    pub flags: u32,
}

/// An OTLP resource together with the schema URL of its `ResourceSpans`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    /// False where the sender wrote no resource message; the fields are empty then.
    pub present: bool,
    pub attributes: Vec<KeyValue>,
    pub dropped_attributes_count: u32,
    pub entity_refs: Vec<EntityRef>,
    pub schema_url: String,
}

/// OTLP `EntityRef` (development in opentelemetry-proto).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EntityRef {
    pub schema_url: String,
    pub entity_type: String,
    pub id_keys: Vec<String>,
    pub description_keys: Vec<String>,
}

/// An OTLP instrumentation scope together with the schema URL of its `ScopeSpans`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// False where the sender wrote no scope message; the fields are empty then.
    pub present: bool,
    pub name: String,
    pub version: String,
    pub attributes: Vec<KeyValue>,
    pub dropped_attributes_count: u32,
    pub schema_url: String,
}

/// The spans of one trace that a source holds, or all of them after [`Trace::absorb`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    pub trace_id: TraceId,
    pub spans: Vec<Span>,
}

// === impl Span ===

impl Span {
    /// End minus start in nanoseconds; zero where the end lies before the start.
    pub fn duration_nano(&self) -> i64 {
        duration_nano(self.start_unix_nano, self.end_unix_nano)
    }

    pub fn status_code(&self) -> i32 {
        self.status.as_ref().map_or(0, |status| status.code)
    }

    /// About what the span takes in memory. Its resource and scope are not counted: they are shared.
    pub fn bytes(&self) -> usize {
        let events = self.events.iter().map(|event| {
            size_of::<Event>() + event.name.len() + attribute_bytes(&event.attributes)
        });
        let links = self.links.iter().map(|link| {
            size_of::<Link>() + link.trace_state.len() + attribute_bytes(&link.attributes)
        });
        let message = self
            .status
            .as_ref()
            .map_or(0, |status| status.message.len());
        size_of::<Self>()
            + self.name.len()
            + self.trace_state.len()
            + message
            + attribute_bytes(&self.attributes)
            + events.sum::<usize>()
            + links.sum::<usize>()
    }

    /// True where the span names no parent, or names the zero id.
    pub fn is_root(&self) -> bool {
        self.parent_span_id.is_none_or(|parent| parent.is_zero())
    }
}

pub fn attribute_bytes(attributes: &[KeyValue]) -> usize {
    let of_one = |attribute: &KeyValue| {
        size_of::<KeyValue>() + attribute.key.len() + value_bytes(&attribute.value)
    };
    attributes.iter().map(of_one).sum()
}

/// What a value has beside itself. As deep as values may be, which decoding bounds.
fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::String(text) => text.len(),
        AttributeValue::Bytes(bytes) => bytes.len(),
        AttributeValue::Array(items) => items
            .iter()
            .map(|item| size_of::<AttributeValue>() + value_bytes(item))
            .sum(),
        AttributeValue::KvList(list) => attribute_bytes(list),
        AttributeValue::Empty
        | AttributeValue::Bool(_)
        | AttributeValue::Int(_)
        | AttributeValue::Double(_) => 0,
    }
}

/// The duration that a query sees: never negative, at most `i64::MAX`.
pub fn duration_nano(start_unix_nano: u64, end_unix_nano: u64) -> i64 {
    i64::try_from(end_unix_nano.saturating_sub(start_unix_nano)).unwrap_or(i64::MAX)
}

// === impl Resource ===

impl Resource {
    /// `service.name`, or what OpenTelemetry prescribes where it is missing.
    pub fn service_name(&self) -> &str {
        self.attributes
            .iter()
            .find_map(|attribute| match &attribute.value {
                AttributeValue::String(text) if attribute.key == "service.name" => Some(&**text),
                _ => None,
            })
            .unwrap_or("")
    }
}

// === impl Trace ===

impl Trace {
    /// Adds the spans of another fragment. Spans equal in every field become one; spans that share
    /// an id and differ are all kept. Returns how many were dropped as equal.
    pub fn absorb(&mut self, other: Trace) -> usize {
        self.spans.extend(other.spans);
        self.deduplicate()
    }

    /// Orders the spans by start, then id, and drops those equal in every field to another one,
    /// doubles by their bits. The order is the same for every way in which the spans came together:
    /// different spans that share start and id are ordered by their content. However many spans
    /// share an id, this takes n log n comparisons.
    pub fn deduplicate(&mut self) -> usize {
        self.deduplicate_by(order::compare)
    }

    /// How many spans share their id with another that differs from them: as many as there are spans
    /// beyond the first of each id. To be asked when equal ones are gone.
    pub fn n_twins(&self) -> usize {
        let mut ids: Vec<SpanId> = self.spans.iter().map(|span| span.span_id).collect();
        ids.sort_unstable();
        let n_spans = ids.len();
        ids.dedup();
        n_spans - ids.len()
    }

    fn deduplicate_by(&mut self, mut compare: impl FnMut(&Span, &Span) -> Ordering) -> usize {
        let before = self.spans.len();
        self.spans.sort_unstable_by(&mut compare);
        self.spans.dedup_by(|a, b| compare(a, b).is_eq());
        before - self.spans.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_spans_does_not_depend_on_how_they_came_together() {
        let span = |name: &str| Span {
            name: name.to_owned(),
            span_id: SpanId([1; 8]),
            ..Span::default()
        };
        let whole = |names: &[&str]| {
            let spans = names.iter().map(|name| span(name)).collect();
            let trace_id = TraceId([1; 16]);
            let mut trace = Trace { trace_id, spans };
            (trace.deduplicate(), trace)
        };
        let expected = whole(&["a", "b", "b", "c"]);
        assert_eq!(expected.0, 1);
        assert_eq!(expected.1.n_twins(), 2);
        assert_eq!(whole(&["b", "c", "b", "a"]), expected);
        assert_eq!(whole(&["c", "b", "a", "b"]), expected);
    }

    #[test]
    fn many_spans_of_one_id_and_start_are_joined_in_few_comparisons() {
        const N: usize = 100_000;
        let spans = (0..N).map(|index| Span {
            span_id: SpanId([1; 8]),
            // Each twice, and neighbours differ in what is compared last.
            attributes: vec![KeyValue {
                key: "n".to_owned(),
                value: AttributeValue::Int((index * 7_919 % (N / 2)) as i64),
            }],
            ..Span::default()
        });
        let mut trace = Trace {
            trace_id: TraceId([1; 16]),
            spans: spans.collect(),
        };
        let mut n_compared = 0usize;
        let dropped = trace.deduplicate_by(|a, b| {
            n_compared += 1;
            order::compare(a, b)
        });
        assert_eq!((dropped, trace.spans.len()), (N / 2, N / 2));
        println!("{N} spans: {n_compared} comparisons");
        // log2 of 100,000 is 17.
        assert!(n_compared < 2 * 17 * N, "{n_compared}");
    }

    #[test]
    fn doubles_are_equal_if_their_bits_are() {
        let whole = |values: &[f64]| {
            let spans = values.iter().map(|value| Span {
                attributes: vec![KeyValue {
                    key: "x".to_owned(),
                    value: AttributeValue::Double(*value),
                }],
                ..Span::default()
            });
            let mut trace = Trace {
                trace_id: TraceId([1; 16]),
                spans: spans.collect(),
            };
            trace.deduplicate()
        };
        assert_eq!(whole(&[f64::NAN, 1.0, f64::NAN, 1.0]), 2);
        assert_eq!(whole(&[0.0, -0.0]), 0);
    }

    #[test]
    fn a_difference_in_any_field_keeps_both_spans() {
        let changes: [fn(&mut Span); 20] = [
            |span| Arc::make_mut(&mut span.resource).present = true,
            |span| Arc::make_mut(&mut span.resource).schema_url.push('x'),
            |span| Arc::make_mut(&mut span.resource).dropped_attributes_count = 1,
            |span| {
                let refs = &mut Arc::make_mut(&mut span.resource).entity_refs;
                refs.push(EntityRef::default());
            },
            |span| Arc::make_mut(&mut span.scope).present = true,
            |span| Arc::make_mut(&mut span.scope).version.push('x'),
            |span| span.parent_span_id = Some(SpanId([0; 8])),
            |span| span.trace_state.push('x'),
            |span| span.flags = 1,
            |span| span.name.push('x'),
            |span| span.kind = 1,
            |span| span.end_unix_nano = 1,
            |span| span.attributes.push(KeyValue::default()),
            |span| span.dropped_attributes_count = 1,
            |span| span.events.push(Event::default()),
            |span| span.dropped_events_count = 1,
            |span| span.links.push(Link::default()),
            |span| span.dropped_links_count = 1,
            |span| span.status = Some(Status::default()),
            |span| {
                span.status = Some(Status {
                    code: 0,
                    message: "x".to_owned(),
                });
            },
        ];
        let mut spans = vec![Span::default()];
        for change in changes {
            let mut span = Span::default();
            change(&mut span);
            spans.push(span);
        }
        spans.extend(spans.clone());
        let mut trace = Trace {
            trace_id: TraceId::default(),
            spans,
        };
        assert_eq!(trace.deduplicate(), changes.len() + 1);
        assert_eq!(trace.spans.len(), changes.len() + 1);
    }
}
