//! What the head costs: nanoseconds per span to append, and to scan a generation.
//!
//! `cargo bench -p tracewell-store --bench head`. The spans have ten attributes, of which two have a
//! value of their own and two one of a few hundred. Scans: the best of several rounds.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{FutureExt, TryStreamExt};
use tracewell_model::clock::TimeRange;
use tracewell_model::predicate::Operand;
use tracewell_model::sink::LogPosition;
use tracewell_model::source::{LeafBatch, LeafQuery, QueryContext, SpanSource, TraceSet};
use tracewell_model::{
    AttributeScope, AttributeValue, Column, CompareOp, Filter, Intrinsic, KeyValue, Leaf,
    Predicate, Resource, Scope, Span, SpanBatch, SpanId, Status, TenantId, TraceId,
};
use tracewell_store::head::{GenerationSnapshot, Head, HeadOptions, NoBlocks};
use tracewell_wire::otlp::{decode_stored, encode_spans};

const N_REQUESTS: u64 = 256;
const SPANS_PER_REQUEST: u64 = 512;
const SPANS_PER_TRACE: u64 = 8;
const ROUNDS: usize = 7;

fn main() {
    let batches: Vec<SpanBatch> = (0..N_REQUESTS).map(batch).collect();
    let n_spans = N_REQUESTS * SPANS_PER_REQUEST;
    let body_bytes: usize = batches.iter().map(|batch| batch.body.len()).sum();
    let mut head = filled(&batches);
    let start = cpu_time();
    for _ in 0..ROUNDS {
        head = filled(&batches);
    }
    let append = (cpu_time() - start) / ROUNDS as u32;
    println!(
        "spans {n_spans}, body {} bytes/span",
        body_bytes as u64 / n_spans
    );
    println!("head  {} bytes/span", head.n_bytes() / n_spans);
    report("append, CPU time", append, n_spans);
    let (snapshots, ()) = head.pin_with(|| ());
    let snapshot = &snapshots[0];
    let start = Instant::now();
    scan(snapshot, Filter::Constant(false));
    report("trace table, once per snapshot", start.elapsed(), n_spans);
    for (name, filter) in filters() {
        let mut best = Duration::MAX;
        let mut n_matched = 0;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            n_matched = scan(snapshot, filter.clone());
            best = best.min(start.elapsed());
        }
        report(&format!("{name} ({n_matched} spans)"), best, n_spans);
    }
    fetch(snapshot);
    sorted(snapshot, n_spans);
}

fn filled(batches: &[SpanBatch]) -> Head {
    let options = HeadOptions {
        generation_bytes: 1 << 40,
        head_bytes: 1 << 40,
        max_block_duration: Duration::from_secs(120),
    };
    let head = Head::new(options, LogPosition(0));
    for (position, batch) in (0..).zip(batches) {
        let frozen = head.append(batch, LogPosition(position), 0, &NoBlocks);
        assert!(frozen.is_none());
    }
    head
}

/// Time that this thread had a core, to some milliseconds; the clock where the system does not tell.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = stat.and_then(|stat| stat.split_whitespace().next()?.parse().ok());
    nanos.map_or_else(
        || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap(),
        Duration::from_nanos,
    )
}

fn report(name: &str, time: Duration, n_spans: u64) {
    let ns = time.as_secs_f64() * 1e9 / n_spans as f64;
    println!("{name:48} {ns:8.2} ns/span");
}

fn scan(snapshot: &Arc<GenerationSnapshot>, filter: Filter) -> usize {
    let query = LeafQuery {
        tenant: TenantId::single(),
        filters: [filter].into(),
        window: TimeRange::ALL,
        only: None,
        fragment_filters: None,
        also: TraceSet::none(),
        needs_all: false,
        spans: true,
        columns: Arc::default(),
    };
    let batches = snapshot.leaves(query, QueryContext::unlimited());
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let batches = runtime.unwrap().block_on(batches.try_collect());
    let batches: Vec<LeafBatch> = batches.unwrap();
    batches.iter().map(|batch| batch.spans.num_rows()).sum()
}

fn fetch(snapshot: &Arc<GenerationSnapshot>) {
    let ids = [trace_id(777)];
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let tenant = TenantId::single();
        let traces = snapshot.fetch(&tenant, &ids, QueryContext::unlimited());
        let traces = traces.now_or_never().unwrap().unwrap();
        assert_eq!(traces[0].spans.len() as u64, SPANS_PER_TRACE);
        best = best.min(start.elapsed());
    }
    println!("{:48} {:8.2} us", "trace by id", best.as_secs_f64() * 1e6);
}

fn sorted(snapshot: &Arc<GenerationSnapshot>, n_spans: u64) {
    let start = cpu_time();
    let groups = snapshot.sorted_groups(200_000);
    report("sort for the block, CPU time", cpu_time() - start, n_spans);
    let start = cpu_time();
    for group in &groups {
        assert_eq!(snapshot.table(&group.rows).n_spans(), group.rows.len());
    }
    report(
        "gather for the block, CPU time",
        cpu_time() - start,
        n_spans,
    );
}

fn leaf(column: Column, predicate: Predicate) -> Filter {
    Filter::Leaf(Leaf {
        column,
        predicate,
        when_absent: false,
    })
}

fn compare(column: Column, op: CompareOp, operand: Operand) -> Filter {
    leaf(column, Predicate::Compare { op, operand })
}

fn filters() -> Vec<(&'static str, Filter)> {
    use CompareOp::{Equal, Greater, GreaterOrEqual};
    let span = |key: &str| Column::attribute(AttributeScope::Span, key);
    let intrinsic = Column::Intrinsic;
    let text = |text: &str| Operand::String(text.into());
    let hex = Predicate::regex(".*f00d.*", false, 1 << 20).unwrap();
    let service = Column::attribute(AttributeScope::Resource, "service.name");
    let service = compare(service, Equal, text("svc-3"));
    let failed = compare(span("http.status_code"), GreaterOrEqual, Operand::Int(500));
    let ms = Operand::Duration(1_000_000);
    vec![
        (
            "status = error",
            compare(intrinsic(Intrinsic::Status), Equal, Operand::Status(2)),
        ),
        (
            "duration > 1ms",
            compare(intrinsic(Intrinsic::Duration), Greater, ms),
        ),
        (
            "name = 'GET /users/7'",
            compare(intrinsic(Intrinsic::Name), Equal, text("GET /users/7")),
        ),
        ("resource.service.name = 'svc-3'", service.clone()),
        (
            "span.customer = 'customer-77'",
            compare(span("customer"), Equal, text("customer-77")),
        ),
        ("span.http.status_code >= 500", failed.clone()),
        (
            "span.request.id =~ '.*f00d.*' (all distinct)",
            leaf(span("request.id"), hex),
        ),
        (
            "span.no.such = 'x'",
            compare(span("no.such"), Equal, text("x")),
        ),
        (
            "status_code >= 500 && service = 'svc-3'",
            Filter::And(vec![failed, service]),
        ),
        ("every span", Filter::Constant(true)),
    ]
}

fn mix(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (n ^ (n >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

fn trace_id(n: u64) -> TraceId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&mix(n).to_be_bytes());
    id[8..].copy_from_slice(&mix(n + 1).to_be_bytes());
    TraceId(id)
}

/// One request: the spans of one service, each of another trace.
fn batch(request: u64) -> SpanBatch {
    let string = |key: &str, text: String| KeyValue {
        key: key.to_owned(),
        value: AttributeValue::String(text),
    };
    let service = request % SPANS_PER_TRACE;
    let resource = Arc::new(Resource {
        present: true,
        attributes: vec![
            string("service.name", format!("svc-{service}")),
            string("host.name", format!("host-{service}")),
        ],
        ..Resource::default()
    });
    let scope = Arc::new(Scope {
        present: true,
        name: "bench".to_owned(),
        ..Scope::default()
    });
    let first_trace = request / SPANS_PER_TRACE * SPANS_PER_REQUEST;
    let spans: Vec<Span> = (0..SPANS_PER_REQUEST)
        .map(|i| {
            let trace = first_trace + i;
            let random = mix(trace * SPANS_PER_TRACE + service + 1);
            let start = 1_700_000_000_000_000_000 + trace * 1_000_000;
            let int = |key: &str, value: u64| KeyValue {
                key: key.to_owned(),
                value: AttributeValue::Int(value as i64),
            };
            Span {
                resource: Arc::clone(&resource),
                scope: Arc::clone(&scope),
                trace_id: trace_id(trace),
                span_id: SpanId(random.to_be_bytes()),
                parent_span_id: (service > 0).then(|| SpanId(mix(random).to_be_bytes())),
                name: format!("GET /users/{}", random % 40),
                kind: 2,
                start_unix_nano: start,
                end_unix_nano: start + random % 100_000_000,
                attributes: vec![
                    string("http.method", "GET".to_owned()),
                    string("http.route", format!("/users/{}", random % 40)),
                    int("http.status_code", 200 + random % 31 * 10),
                    string("http.host", "shop.example.com".to_owned()),
                    string("request.id", format!("{:016x}", mix(random + 1))),
                    string(
                        "url.full",
                        format!("https://shop.example.com/{:x}", mix(random + 2)),
                    ),
                    string("customer", format!("customer-{}", random % 500)),
                    int("bytes", random % 10_000),
                    string("thread.name", format!("worker-{}", random % 16)),
                    KeyValue {
                        key: "cached".to_owned(),
                        value: AttributeValue::Bool(random.is_multiple_of(2)),
                    },
                ],
                status: Some(Status {
                    code: if random.is_multiple_of(50) { 2 } else { 0 },
                    message: String::new(),
                }),
                ..Span::default()
            }
        })
        .collect();
    let body = Bytes::from(encode_spans(&spans));
    decode_stored(TenantId::single(), body).unwrap().batch
}
