//! Traces of every kind through the real binary: what comes back by id is what was sent, in each form of
//! the answer, from the head, after a kill, and from blocks of both levels. The store's own round trip
//! (`store/tests/all/round_trip.rs`) knows more ways to lie; this one ends where a client does.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use serde_json::Value;
use tracewell_model::{Limits, Span, TenantId, TraceId};
use tracewell_testkit::Random;
use tracewell_testkit::random::{TraceOptions, random_traces};
use tracewell_wire::otlp::{decode, decode_json, encode_spans, spans_of};
use tracewell_wire::protobuf::Cursor;

use super::PROTOBUF;
use crate::harness::eventually;
use crate::harness::http;
use crate::harness::metrics::scrape;
use crate::harness::server::Site;
use crate::load::request;

const TRACES: usize = 60;
const SECOND: u64 = 1_000_000_000;

pub(crate) type Sent = BTreeMap<TraceId, Vec<Form>>;

/// Equal forms are equal spans: NaN, too.
pub(crate) type Form = (String, Vec<u8>);

#[test]
fn what_comes_back_by_id_is_what_was_sent() {
    let site = Site::new();
    let settings = ["storage.max_block_duration=1h"];
    let mut server = site.start(&settings);
    let sent = send(&site, 20_261_128);
    assert!(sent.values().map(Vec::len).sum::<usize>() > 2 * TRACES);
    check(&site, &sent, "the head");
    server.kill();
    server = site.start(&settings);
    check(&site, &sent, "the log after a kill");
    assert_eq!(server.get("/flush").status / 100, 2);
    check(&site, &sent, "a first block");
    // Eight first blocks are merged without waiting.
    for number in 0..8 {
        let (_, body) = request(90, 0, number);
        let answer = http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(server.get("/flush").status / 100, 2);
    }
    eventually("a merge", || {
        let seen = scrape(&server);
        match seen.get("tracewell_blocks{level=\"1\"}") {
            Some(n) if *n >= 1.0 => Ok(()),
            n => Err(format!("{n:?} blocks of level 1\n{}", server.log())),
        }
    });
    check(&site, &sent, "merged blocks");
}

/// Sends random traces in several requests, so that most lie in several fragments.
pub(crate) fn send(site: &Site, seed: u64) -> Sent {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut random = Random::new(seed);
    let options = TraceOptions {
        start: now.as_nanos() as u64 - 10 * SECOND,
        wild: true,
        odd: true,
        ..TraceOptions::default()
    };
    let mut spans = random_traces(&mut random, TRACES, &options);
    random.shuffle(&mut spans);
    for part in spans.chunks(spans.len().div_ceil(4)) {
        let body = encode_spans(part);
        let answer = http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body).unwrap();
        assert_eq!(
            (answer.status, &*answer.body),
            (200, &[][..]),
            "{}",
            answer.text()
        );
    }
    forms(spans)
}

pub(crate) fn check(site: &Site, sent: &Sent, place: &str) {
    for (id, expected) in sent {
        for version in ["", "/v2"] {
            let path = format!("/api{version}/traces/{id}?raw=true");
            let accept = "accept: application/protobuf\r\n";
            let protobuf = http::get_with(site.http, &path, accept).unwrap();
            assert_eq!(protobuf.status, 200, "{place}: {path}");
            let trace = match version {
                "" => &protobuf.body[..],
                _ => first_field(&protobuf.body),
            };
            let limits = Limits::default();
            let body = bytes::Bytes::copy_from_slice(trace);
            let found = decode(TenantId::single(), body, &limits).unwrap();
            assert!(found.rejected.is_empty(), "{place}: {path}");
            expect(
                expected,
                spans_of(&found.batch),
                &format!("{place}: {path}, protobuf"),
            );

            let json = http::get_with(site.http, &path, "").unwrap();
            assert_eq!(json.status, 200, "{place}: {path}");
            let mut value = match version {
                "" => json.json(),
                _ => json.json()["trace"].take(),
            };
            to_otlp(&mut value);
            let found = decode_json(TenantId::single(), value.to_string().as_bytes(), &limits);
            let found = found.unwrap();
            let refused = found.rejected.sentence();
            assert_eq!(refused, "", "{place}: {path}");
            expect(
                expected,
                spans_of(&found.batch),
                &format!("{place}: {path}, JSON"),
            );
        }
    }
}

fn expect(expected: &[Form], found: Vec<Span>, what: &str) {
    let found = forms(found).into_values().next().unwrap_or_default();
    for (sent, came) in expected.iter().zip(&found) {
        assert!(
            sent == came,
            "{what}: sent\n{}\ncame back\n{}",
            sent.0,
            came.0
        );
    }
    assert_eq!(expected.len(), found.len(), "{what}");
}

/// By trace, in an order of their own; equal spans once.
pub(super) fn forms(spans: Vec<Span>) -> Sent {
    let mut forms = Sent::new();
    for span in spans {
        let form = (format!("{span:?}"), encode_spans([&span]));
        forms.entry(span.trace_id).or_default().push(form);
    }
    for of_trace in forms.values_mut() {
        of_trace.sort();
        of_trace.dedup();
    }
    forms
}

/// The content of a message whose first field is a message.
fn first_field(body: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(body);
    assert_eq!(cursor.tag().unwrap(), 0x0a);
    cursor.bytes().unwrap()
}

/// Tempo's JSON has ids in base64 and its own name for the list of resources.
fn to_otlp(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(to_otlp),
        Value::Object(fields) => {
            if let Some(batches) = fields.remove("batches") {
                fields.insert("resourceSpans".to_owned(), batches);
            }
            for (key, value) in fields {
                match (&**key, &*value) {
                    ("traceId" | "spanId" | "parentSpanId", Value::String(text)) => {
                        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
                        let hex = bytes
                            .unwrap()
                            .iter()
                            .map(|byte| format!("{byte:02x}"))
                            .collect();
                        *value = Value::String(hex);
                    }
                    _ => to_otlp(value),
                }
            }
        }
        _ => {}
    }
}
