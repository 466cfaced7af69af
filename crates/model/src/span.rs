//! Spans, resources, scopes and traces as they were sent, owned.
//!
//! These are what a trace by id answers with and what the oracle evaluates; the hot path carries
//! [`crate::SpanBatch`] instead.

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

    /// True where the span names no parent, or names the zero id.
    pub fn is_root(&self) -> bool {
        self.parent_span_id.is_none_or(|parent| parent.is_zero())
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

    /// Orders the spans by start, then id, and drops those equal in every field to an earlier one.
    /// The order is the same for every way in which the spans came together: different spans that
    /// share start and id are ordered by their content.
    pub fn deduplicate(&mut self) -> usize {
        let before = self.spans.len();
        self.spans
            .sort_by_key(|span| (span.start_unix_nano, span.span_id));
        let mut kept: Vec<Span> = Vec::with_capacity(before);
        for span in std::mem::take(&mut self.spans) {
            let twin = kept
                .iter()
                .rev()
                .take_while(|other| {
                    other.start_unix_nano == span.start_unix_nano && other.span_id == span.span_id
                })
                .any(|other| *other == span);
            if !twin {
                kept.push(span);
            }
        }
        self.spans = kept;
        let share =
            |a: &Span, b: &Span| (a.start_unix_nano, a.span_id) == (b.start_unix_nano, b.span_id);
        for run in self.spans.chunk_by_mut(share).filter(|run| run.len() > 1) {
            // Only broken senders come here, and any total order will do.
            run.sort_by_cached_key(|span| format!("{span:?}"));
        }
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
        assert_eq!(whole(&["b", "c", "b", "a"]), expected);
        assert_eq!(whole(&["c", "b", "a", "b"]), expected);
    }
}
