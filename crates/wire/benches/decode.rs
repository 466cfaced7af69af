//! How long the walk takes per span: `cargo bench -p tracewell-wire`.
//!
//! Requests of 512 spans with ten attributes each, as an SDK sends them. Prints the best of several
//! rounds; nothing is asserted, machines differ.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tracewell_model::{
    AttributeValue, KeyValue, Limits, Resource, Scope, Span, SpanId, Status, TenantId, TraceId,
};
use tracewell_wire::otlp;

const N_SPANS: u64 = 512;
const N_ROUNDS: u32 = 40;
const N_DECODES: u32 = 50;

fn main() {
    let body = Bytes::from(otlp::encode_spans(&spans()));
    let limits = Limits::default();
    let mut best = f64::INFINITY;
    for _ in 0..N_ROUNDS {
        let start = Instant::now();
        for _ in 0..N_DECODES {
            let decoded = otlp::decode(TenantId::single(), body.clone(), &limits).unwrap();
            assert_eq!(decoded.batch.n_spans() as u64, N_SPANS);
            std::hint::black_box(decoded);
        }
        let spans = f64::from(N_DECODES) * N_SPANS as f64;
        best = best.min(start.elapsed().as_secs_f64() / spans);
    }
    println!(
        "decode: {:.0} ns per span, {:.2} M spans/s, {:.0} MB/s, {} bytes per span",
        best * 1e9,
        1e-6 / best,
        body.len() as f64 / N_SPANS as f64 / best * 1e-6,
        body.len() as u64 / N_SPANS,
    );
}

fn spans() -> Vec<Span> {
    let resource = Arc::new(Resource {
        present: true,
        attributes: vec![
            text("service.name", "checkout"),
            text("host.name", "pod-7f9"),
        ],
        ..Resource::default()
    });
    let scope = Arc::new(Scope {
        present: true,
        name: "opentelemetry.instrumentation.flask".to_owned(),
        version: "0.50b0".to_owned(),
        ..Scope::default()
    });
    (0..N_SPANS)
        .map(|number| span(number, &resource, &scope))
        .collect()
}

fn span(number: u64, resource: &Arc<Resource>, scope: &Arc<Scope>) -> Span {
    let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let start_unix_nano = 1_790_000_000_000_000_000 + number * 1_000;
    Span {
        resource: Arc::clone(resource),
        scope: Arc::clone(scope),
        trace_id: TraceId(u128::from(id / 8 + 1).to_be_bytes()),
        span_id: SpanId(id.to_be_bytes()),
        parent_span_id: (!number.is_multiple_of(8)).then_some(SpanId([7; 8])),
        flags: 257,
        name: "GET /api/orders/{id}".to_owned(),
        kind: 2,
        start_unix_nano,
        end_unix_nano: start_unix_nano + 3_000_000,
        attributes: vec![
            text("http.request.method", "GET"),
            text("url.path", "/api/orders/81723"),
            text("url.scheme", "http"),
            text("http.route", "/api/orders/{id}"),
            text("server.address", "orders.shop.svc.cluster.local"),
            text("user_agent.original", "python-requests/2.32.3"),
            text("network.protocol.version", "1.1"),
            integer("http.response.status_code", 200),
            integer("server.port", 8080),
            integer("thread.id", 139_872_334_411_456),
        ],
        status: Some(Status::default()),
        ..Span::default()
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: AttributeValue::String(value.to_owned()),
    }
}

fn integer(key: &str, value: i64) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: AttributeValue::Int(value),
    }
}
