//! Requests that a test can recognise again.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tracewell_model::{AttributeValue, KeyValue, Resource, Scope, Span, SpanId, TraceId};
use tracewell_wire::otlp::encode_spans;

/// Spans of each request, all of one trace.
pub(crate) const N_SPANS: usize = 20;

/// The id and body of one request. Every span carries the text [`marker`].
pub(crate) fn request(round: u64, sender: u64, number: u64) -> (TraceId, Vec<u8>) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    request_at(round, sender, number, u64::try_from(now).unwrap())
}

/// The same, with spans from then.
pub(crate) fn request_at(round: u64, sender: u64, number: u64, start: u64) -> (TraceId, Vec<u8>) {
    let id = trace_id(round, sender, number);
    let resource = Arc::new(Resource {
        present: true,
        attributes: vec![text("service.name", "load")],
        ..Resource::default()
    });
    let scope = Arc::new(Scope::default());
    let spans: Vec<Span> = (0..N_SPANS as u64)
        .map(|index| Span {
            resource: Arc::clone(&resource),
            scope: Arc::clone(&scope),
            trace_id: id,
            span_id: SpanId((index + 1).to_be_bytes()),
            parent_span_id: (index > 0).then(|| SpanId(1u64.to_be_bytes())),
            name: format!("span {index}"),
            kind: 2,
            start_unix_nano: start + index,
            end_unix_nano: start + 1_000_000,
            attributes: vec![
                text("marker", &marker(id)),
                text("index", &index.to_string()),
            ],
            ..Span::default()
        })
        .collect();
    (id, encode_spans(&spans))
}

/// What the bytes of a request can be found by in a log of system calls.
pub(crate) fn marker(id: TraceId) -> String {
    format!("mark-{id}-")
}

fn trace_id(round: u64, sender: u64, number: u64) -> TraceId {
    let high = (round + 1) << 32 | sender << 24;
    TraceId((u128::from(high) << 64 | u128::from(number + 1)).to_be_bytes())
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: AttributeValue::String(value.to_owned()),
    }
}

/// How many spans an answer by id holds, under its `batches` or `resourceSpans`.
pub(crate) fn n_spans(batches: &serde_json::Value) -> usize {
    batches
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|batch| batch["scopeSpans"].as_array().unwrap())
        .map(|scope| scope["spans"].as_array().unwrap().len())
        .sum()
}
