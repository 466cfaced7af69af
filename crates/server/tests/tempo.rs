//! Tempo's HTTP API over real sockets, with a planted engine behind it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)]

mod backend;
mod slow_readers;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use backend::{Asked, NOW, Running};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::{Value, json};
use tracewell_model::{
    AttributeScope, AttributeValue, Event, KeyValue, Limits, Link, Resource, Scope, Span, SpanId,
    Status, TimeRange, Trace, TraceId,
};
use tracewell_query::request::{
    RootSummary, ScopeTags, ServiceStats, SpanSummary, Spanset, TagName, TagScope, TagValue,
    TagValueType, TraceSummary,
};
use tracewell_query::scalar::Scalar;
use tracewell_query::series::{Axis, Exemplar, Series};
use tracewell_query::{
    Aliases, QueryStats, SearchQuery, SearchResponse, SeriesResponse, TagNamesResponse, TagSearch,
    TagValuesResponse, TraceResponse,
};

const SECOND: u64 = 1_000_000_000;

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: AttributeValue::String(value.to_owned()),
    }
}

fn trace_id(low: u128) -> TraceId {
    TraceId(low.to_be_bytes())
}

fn span_id(id: u64) -> SpanId {
    SpanId(id.to_be_bytes())
}

fn shop() -> Arc<Resource> {
    Arc::new(Resource {
        present: true,
        attributes: vec![text("service.name", "shop")],
        ..Resource::default()
    })
}

/// The trace of Tempo's documentation.
fn documented() -> Trace {
    let span = Span {
        resource: shop(),
        scope: Arc::new(Scope {
            present: true,
            name: String::from("lib"),
            version: String::from("1"),
            ..Scope::default()
        }),
        trace_id: trace_id(1),
        span_id: span_id(1),
        parent_span_id: Some(span_id(2)),
        name: String::from("GET /"),
        kind: 2,
        start_unix_nano: 1_700_000_000_000_000_000,
        end_unix_nano: 1_700_000_000_100_000_000,
        attributes: vec![KeyValue {
            key: String::from("http.status_code"),
            value: AttributeValue::Int(200),
        }],
        status: Some(Status {
            code: 2,
            message: String::from("x"),
        }),
        ..Span::default()
    };
    Trace {
        trace_id: trace_id(1),
        spans: vec![span],
    }
}

/// A span with every field and every type of value.
fn everything() -> Trace {
    let value = |key: &str, value: AttributeValue| KeyValue {
        key: key.to_owned(),
        value,
    };
    let attributes = vec![
        value("empty", AttributeValue::Empty),
        text("text", "a \"quoted\" \u{1} line\n"),
        text("text", ""),
        value("yes", AttributeValue::Bool(true)),
        value("no", AttributeValue::Bool(false)),
        value("int", AttributeValue::Int(i64::MIN)),
        value("zero", AttributeValue::Int(0)),
        value("double", AttributeValue::Double(0.1)),
        value("negative zero", AttributeValue::Double(-0.0)),
        value("large", AttributeValue::Double(1e300)),
        value("bytes", AttributeValue::Bytes(vec![0, 255, 1])),
        value(
            "array",
            AttributeValue::Array(vec![AttributeValue::Int(1), AttributeValue::Empty]),
        ),
        value("empty array", AttributeValue::Array(Vec::new())),
        value(
            "list",
            AttributeValue::KvList(vec![text("k", "v"), text("", "v")]),
        ),
    ];
    let span = Span {
        resource: Arc::new(Resource {
            present: true,
            attributes: attributes.clone(),
            dropped_attributes_count: 4,
            schema_url: String::from("https://example/1"),
            ..Resource::default()
        }),
        trace_id: trace_id(u128::MAX),
        span_id: span_id(u64::MAX),
        trace_state: String::from("a=b"),
        flags: 0x101,
        name: String::from("n"),
        kind: 5,
        start_unix_nano: u64::MAX,
        end_unix_nano: 1,
        attributes: attributes.clone(),
        dropped_attributes_count: 1,
        dropped_events_count: 2,
        dropped_links_count: 3,
        events: vec![Event {
            time_unix_nano: 7,
            name: String::from("e"),
            attributes,
            dropped_attributes_count: 5,
        }],
        links: vec![Link {
            trace_id: trace_id(3),
            span_id: span_id(4),
            trace_state: String::from("c=d"),
            attributes: vec![text("a", "b")],
            dropped_attributes_count: 6,
            flags: 1,
        }],
        status: Some(Status::default()),
        ..Span::default()
    };
    Trace {
        trace_id: trace_id(u128::MAX),
        spans: vec![span],
    }
}

fn found(trace: Trace) -> TraceResponse {
    TraceResponse {
        trace: Some(trace),
        ..TraceResponse::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_by_id_is_written_as_tempo_does() {
    let running = Running::start().await;
    *running.planted.trace.lock().unwrap() = found(documented());
    let answer = running.get("/api/traces/1").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.text(),
        concat!(
            r#"{"batches":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"#,
            r#""scopeSpans":[{"scope":{"name":"lib","version":"1"},"#,
            r#""spans":[{"traceId":"AAAAAAAAAAAAAAAAAAAAAQ==","spanId":"AAAAAAAAAAE=","parentSpanId":"AAAAAAAAAAI=","name":"GET /","#,
            r#""kind":"SPAN_KIND_SERVER","startTimeUnixNano":"1700000000000000000","endTimeUnixNano":"1700000000100000000","#,
            r#""attributes":[{"key":"http.status_code","value":{"intValue":"200"}}],"status":{"message":"x","code":"STATUS_CODE_ERROR"}}]}]}]}"#
        )
    );
    let Asked::Trace(request) = running.planted.last() else {
        panic!()
    };
    assert_eq!(request.trace_id, trace_id(1));
    assert_eq!(request.window, TimeRange::ALL);
    assert_eq!(request.caller.aliases, Aliases::Resolve);

    let headers = [("accept", "application/protobuf")];
    let answer = running.send("GET", "/api/traces/1", &headers).await;
    assert_eq!(answer.header("content-type"), "application/protobuf");
    let data = TracesData::decode(&answer.body[..]).unwrap();
    assert_eq!(data.resource_spans[0].scope_spans[0].spans[0].name, "GET /");
    running.stop().await;
}

/// jsonpb writes bytes as base64 and enums by name; opentelemetry-proto reads OTLP's own JSON.
fn to_otlp_json(value: &mut Value) {
    const ENUMS: [(&str, i64); 8] = [
        ("SPAN_KIND_INTERNAL", 1),
        ("SPAN_KIND_SERVER", 2),
        ("SPAN_KIND_CLIENT", 3),
        ("SPAN_KIND_PRODUCER", 4),
        ("SPAN_KIND_CONSUMER", 5),
        ("STATUS_CODE_UNSET", 0),
        ("STATUS_CODE_OK", 1),
        ("STATUS_CODE_ERROR", 2),
    ];
    use base64::Engine as _;
    match value {
        Value::Array(items) => items.iter_mut().for_each(to_otlp_json),
        Value::Object(fields) => {
            if fields.contains_key("value") {
                fields.entry("key").or_insert_with(|| "".into());
            }
            for (key, value) in fields {
                match (&**key, &value) {
                    ("traceId" | "spanId" | "parentSpanId", Value::String(text)) => {
                        let bytes = base64::engine::general_purpose::STANDARD
                            .decode(text)
                            .unwrap();
                        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                        *value = hex.into();
                    }
                    ("kind" | "code", Value::String(text)) => {
                        let number = ENUMS.iter().find(|(name, _)| name == text).unwrap().1;
                        *value = number.into();
                    }
                    ("arrayValue" | "kvlistValue", _) => {
                        // jsonpb leaves out an empty list, the reader here insists on it.
                        value
                            .as_object_mut()
                            .unwrap()
                            .entry("values")
                            .or_insert(json!([]));
                        to_otlp_json(value);
                    }
                    _ => to_otlp_json(value),
                }
            }
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_loses_nothing() {
    let running = Running::start().await;
    *running.planted.trace.lock().unwrap() = found(everything());
    let mut value = running.get("/api/v2/traces/ff").await.json();
    let headers = [("accept", "application/protobuf")];
    let answer = running.send("GET", "/api/traces/ff", &headers).await;
    let expected = TracesData::decode(&answer.body[..]).unwrap();
    to_otlp_json(&mut value);
    let read: TracesData = serde_json::from_value(value["trace"].clone()).unwrap();
    let (expected_span, span) = (
        &expected.resource_spans[0].scope_spans[0].spans[0],
        &read.resource_spans[0].scope_spans[0].spans[0],
    );
    assert_eq!(span.events, expected_span.events);
    assert_eq!(span.links, expected_span.links);
    assert_eq!(span.attributes, expected_span.attributes);
    assert_eq!(span, expected_span);
    assert_eq!(read, expected);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_two_versions_differ_about_what_is_not_there() {
    let running = Running::start().await;
    let answer = running.get("/api/traces/2a").await;
    assert_eq!((answer.status, answer.text()), (404, String::new()));
    let answer = running.get("/api/v2/traces/2a").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"trace": {}, "metrics": {}}));
    for path in [
        "/api/traces/xyz",
        "/api/v2/traces/xyz",
        "/api/traces/123456789012345678901234567890123",
    ] {
        let answer = running.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.header("content-type").starts_with("text/plain"));
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_with_matching_spans_is_asked_for() {
    let running = Running::start().await;
    const ALL: u32 = u32::MAX;
    for (query, ancestors, descendants) in [
        ("", 0, 0),
        ("&keep_hierarchy=false&ancestor_depth=3", 0, 0),
        ("&keep_hierarchy=true", ALL, 0),
        ("&keep_hierarchy=true&ancestor_depth=-1", ALL, 0),
        ("&keep_hierarchy=true&ancestor_depth=2", 2, 0),
        ("&match_depth=1", 0, 1),
        ("&match_depth=-1&span_pruning=true", 0, ALL),
    ] {
        let path = format!("/api/v2/traces/1?q=%7B%7D{query}");
        assert_eq!(running.get(&path).await.status, 200, "{path}");
        let Asked::Trace(request) = running.planted.last() else {
            panic!("{path}");
        };
        let asked = (request.around.ancestors, request.around.descendants);
        assert_eq!(asked, (ancestors, descendants), "{path}");
    }
    for query in ["keep_hierarchy=1", "match_depth=-2", "ancestor_depth=x"] {
        let answer = running
            .get(&format!("/api/v2/traces/1?q=%7B%7D&{query}"))
            .await;
        assert_eq!(answer.status, 400, "{query}");
        let (name, _) = query.split_once('=').unwrap();
        assert!(answer.text().contains(name), "{query}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partial_trace_says_so() {
    let running = Running::start().await;
    *running.planted.trace.lock().unwrap() = TraceResponse {
        partial: vec![String::from("block 7 is damaged")],
        stats: QueryStats {
            inspected_bytes: 123,
            inspected_spans: 7,
            inspected_traces: 1,
            n_sources: 5,
            n_sources_done: 4,
            source_bytes: 1_234_567,
            n_groups: 3,
            n_groups_ruled_out: 2,
            ..QueryStats::default()
        },
        ..found(documented())
    };
    let answer = running.get("/api/v2/traces/1").await;
    assert_eq!(answer.header("x-tracewell-partial"), "block 7 is damaged");
    let value = answer.json();
    assert_eq!(value["status"], "PARTIAL");
    assert_eq!(value["message"], "block 7 is damaged");
    assert_eq!(value["metrics"], json!({"inspectedBytes": "123"}));
    let answer = running.get("/api/traces/1").await;
    assert_eq!(answer.header("x-tracewell-partial"), "block 7 is damaged");
    // Nobody knows that it is not there.
    running.planted.trace.lock().unwrap().trace = None;
    let answer = running.get("/api/traces/1").await;
    assert_eq!(answer.status, 503);
    let text = answer.text();
    assert!(text.contains("block 7 is damaged"), "{text}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_spans_are_separated_unless_raw() {
    let running = Running::start().await;
    let mut trace = documented();
    let mut client = trace.spans[0].clone();
    client.kind = 3;
    trace.spans.push(client);
    *running.planted.trace.lock().unwrap() = found(trace);
    let ids = |value: Value| -> Vec<String> {
        value["batches"][0]["scopeSpans"][0]["spans"]
            .as_array()
            .unwrap()
            .iter()
            .map(|span| span["spanId"].as_str().unwrap().to_owned())
            .collect()
    };
    let separated = ids(running.get("/api/traces/1").await.json());
    assert_ne!(separated[0], separated[1]);
    let raw = ids(running.get("/api/traces/1?raw=true").await.json());
    assert_eq!(raw[0], raw[1]);
    let Asked::Trace(request) = running.planted.last() else {
        panic!()
    };
    assert_eq!(request.caller.aliases, Aliases::Off);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_traces_are_streamed_and_compressed() {
    let running = Running::start().await;
    let span = documented().spans[0].clone();
    let spans = (1..=20_000u64).rev().map(|n| Span {
        span_id: span_id(n),
        start_unix_nano: n,
        ..span.clone()
    });
    *running.planted.trace.lock().unwrap() = found(Trace {
        trace_id: trace_id(1),
        spans: spans.collect(),
    });
    let plain = running.get("/api/traces/1").await;
    let value = plain.json();
    let spans = value["batches"][0]["scopeSpans"][0]["spans"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(spans.len(), 20_000);
    assert_eq!(spans[0]["startTimeUnixNano"], "1");
    let headers = [("accept-encoding", "br, gzip;q=0.5")];
    let packed = running.send("GET", "/api/traces/1", &headers).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() < plain.body.len() / 4);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed.body[..])
        .read_to_end(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain.body);
    running.stop().await;
}

fn one_result() -> SearchResponse {
    let spanset = Spanset {
        matched: 5,
        spans: vec![SpanSummary {
            span_id: span_id(0x563d_623c_7651_4f8e),
            name: String::from("GET /"),
            start_unix_nano: 1_684_778_327_735_077_898,
            duration_nano: 446_979_497,
            attributes: vec![text("status", "error")],
        }],
        attributes: Vec::new(),
    };
    SearchResponse {
        traces: vec![TraceSummary {
            trace_id: trace_id(0x0f3e_0cee_77ae),
            root: Some(RootSummary {
                service: String::from("shop"),
                name: String::from("GET /"),
            }),
            start_unix_nano: 1_684_778_327_699_392_724,
            duration_nano: 557_900_000,
            spansets: vec![spanset],
            services: vec![ServiceStats {
                service: String::from("sh\"op"),
                n_spans: 7,
                n_errors: 0,
            }],
        }],
        stats: QueryStats {
            inspected_bytes: 630_188,
            inspected_spans: 9,
            inspected_traces: 100,
            n_sources: 5,
            n_sources_done: 4,
            source_bytes: 1_234_567,
            n_groups: 3,
            n_groups_ruled_out: 2,
            ..QueryStats::default()
        },
        ..SearchResponse::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_is_written_as_tempo_does() {
    let running = Running::start().await;
    *running.planted.search.lock().unwrap() = one_result();
    let answer = running
        .get("/api/search?q=%7Bstatus%3Derror%7D&limit=7&spss=2")
        .await;
    let spanset = concat!(
        r#"{"spans":[{"spanID":"563d623c76514f8e","name":"GET /","startTimeUnixNano":"1684778327735077898","#,
        r#""durationNanos":"446979497","attributes":[{"key":"status","value":{"stringValue":"error"}}]}],"matched":5}"#
    );
    let expected = format!(
        "{}{spanset}{}{spanset}{}",
        concat!(
            r#"{"traces":[{"traceID":"f3e0cee77ae","rootServiceName":"shop","rootTraceName":"GET /","#,
            r#""startTimeUnixNano":"1684778327699392724","durationMs":557,"spanSet":"#
        ),
        r#","spanSets":["#,
        concat!(
            r#"],"serviceStats":{"sh\"op":{"spanCount":7}}}],"metrics":{"inspectedTraces":100,"#,
            r#""inspectedBytes":"630188","totalBlocks":5,"completedJobs":4,"totalJobs":5,"#,
            r#""totalBlockBytes":"1234567","inspectedSpans":"9"}}"#
        ),
    );
    assert_eq!(answer.text(), expected);
    let Asked::Search(request) = running.planted.last() else {
        panic!()
    };
    assert!(matches!(request.query, SearchQuery::TraceQl(text) if text == "{status=error}"));
    assert_eq!((request.limit, request.spans_per_spanset), (7, 2));
    assert_eq!(request.window.start, NOW - 900 * SECOND);
    assert_eq!(request.window.end, u64::MAX);

    *running.planted.search.lock().unwrap() = SearchResponse::default();
    let answer = running.get("/api/search").await;
    assert_eq!(answer.text(), r#"{"traces":[],"metrics":{}}"#);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_without_a_root_says_so() {
    let running = Running::start().await;
    let mut response = one_result();
    response.traces[0].root = None;
    *running.planted.search.lock().unwrap() = response;
    let value = running.get("/api/search?q=%7B%7D").await.json();
    assert_eq!(
        value["traces"][0]["rootServiceName"],
        "<root span not yet received>"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_by_tags_are_understood() {
    let running = Running::start().await;
    let tag_search = |tags: &[(&str, &str)], min, max| TagSearch {
        tags: tags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        duration_nano_min: min,
        duration_nano_max: max,
    };
    let table = [
        (
            "tags=service.name%3Dshop%20a%3D%22b%20c%22&minDuration=1.5s&maxDuration=1m",
            tag_search(
                &[("service.name", "shop"), ("a", "b c")],
                Some(1_500_000_000),
                Some(60 * SECOND),
            ),
        ),
        ("", tag_search(&[], None, None)),
        (
            "cluster=eu&limit=5",
            tag_search(&[("cluster", "eu")], None, None),
        ),
        (
            "cluster=eu&start=1699990000&end=1699999000",
            tag_search(&[], None, None),
        ),
    ];
    for (query, expected) in table {
        let answer = running.get(&format!("/api/search?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let Asked::Search(request) = running.planted.last() else {
            panic!()
        };
        let SearchQuery::Tags(tags) = request.query else {
            panic!("{query}")
        };
        assert_eq!(tags, expected, "{query}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_searches_have_tempos_wording() {
    let running = Running::start().await;
    let table = [
        (
            "q=%7B%7D&tags=a%3Db",
            "invalid request: can't specify tags and q in the same query",
        ),
        (
            "tags=a%3Db%20a%3Dc",
            "invalid tags: tag a has been set twice",
        ),
        ("limit=0", "invalid limit: must be a positive number"),
        ("limit=x", "invalid limit: \"x\" is no whole number"),
        ("limit=262145", "limit 262145 exceeds max limit 262144"),
        ("spss=101", "spans per span set exceeds 100. received 101"),
        ("spss=-1", "invalid spss: must be a non-negative number"),
        (
            "minDuration=1",
            "invalid minDuration: invalid duration \"1\"",
        ),
        (
            "minDuration=2s&maxDuration=1s",
            "invalid maxDuration: must be greater than minDuration",
        ),
        (
            "start=1",
            "only one of start and end provided: must provide both or neither",
        ),
        (
            "start=20&end=10",
            "http parameter start must be before end. received start=20 end=10",
        ),
    ];
    for (query, message) in table {
        let answer = running.get(&format!("/api/search?{query}")).await;
        assert_eq!((answer.status, &*answer.text()), (400, message), "{query}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    *running.planted.error.lock().unwrap() =
        Some(tracewell_query::parse("{ .a = }").unwrap_err().into());
    let answer = running.get("/api/search?q=%7B%20.a%20%3D%20%7D").await;
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .text()
            .starts_with("invalid TraceQL query: parse error at line 1, col "),
        "{}",
        answer.text()
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_tags_in_both_versions() {
    let running = Running::start().await;
    let span = TagScope::Attribute(AttributeScope::Span);
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    *running.planted.names.lock().unwrap() = TagNamesResponse {
        scopes: vec![
            ScopeTags {
                scope: span,
                names: names(&["http.method", "service.name"]),
            },
            ScopeTags {
                scope: TagScope::Attribute(AttributeScope::Resource),
                names: names(&["service.name"]),
            },
            ScopeTags {
                scope: TagScope::Intrinsic,
                names: names(&["duration"]),
            },
            ScopeTags {
                scope: TagScope::Attribute(AttributeScope::Event),
                names: Vec::new(),
            },
        ],
        ..TagNamesResponse::default()
    };
    let answer = running.get("/api/v2/search/tags?q=%7B.a%3D").await;
    let expected = r#"{"scopes":[{"name":"span","tags":["http.method","service.name"]},{"name":"resource","tags":["service.name"]},{"name":"intrinsic","tags":["duration"]}],"metrics":{}}"#;
    assert_eq!(answer.text(), expected);
    let Asked::Names(request) = running.planted.last() else {
        panic!()
    };
    assert_eq!(request.scopes, TagScope::ALL);
    assert_eq!(request.filter.as_deref(), Some("{.a="));

    let answer = running.get("/api/search/tags?scope=span").await;
    let expected = r#"{"tagNames":["duration","http.method","service.name"],"metrics":{}}"#;
    assert_eq!(answer.text(), expected);
    let Asked::Names(request) = running.planted.last() else {
        panic!()
    };
    assert_eq!(request.scopes, [span]);
    let answer = running.get("/api/v2/search/tags?scope=nowhere").await;
    assert_eq!(answer.status, 400);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_tags_with_any_name_in_both_versions() {
    let running = Running::start().await;
    let value = |value_type, value: &str| TagValue {
        value_type,
        value: value.to_owned(),
    };
    *running.planted.values.lock().unwrap() = TagValuesResponse {
        values: vec![
            value(TagValueType::String, "GET"),
            value(TagValueType::Int, "7"),
        ],
        truncated: true,
        ..TagValuesResponse::default()
    };
    let answer = running
        .get("/api/v2/search/tag/span.a%2Fb.c%20d/values")
        .await;
    let expected = r#"{"tagValues":[{"type":"string","value":"GET"},{"type":"int","value":"7"}],"metrics":{}}"#;
    assert_eq!(answer.text(), expected);
    assert_ne!(answer.header("x-tracewell-partial"), "");
    let Asked::Values(request) = running.planted.last() else {
        panic!()
    };
    assert_eq!(request.name, TagName::TraceQl(String::from("span.a/b.c d")));
    let answer = running.get("/api/search/tag/a/b/values").await;
    assert_eq!(answer.text(), r#"{"tagValues":["7","GET"],"metrics":{}}"#);
    let Asked::Values(request) = running.planted.last() else {
        panic!()
    };
    assert_eq!(request.name, TagName::Bare(String::from("a/b")));
    assert_eq!(running.get("/api/search/tag/a").await.status, 404);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_explained_and_analyzed() {
    let running = Running::start().await;
    running.planted.search.lock().unwrap().stats = QueryStats {
        inspected_bytes: 1_000,
        inspected_spans: 20,
        inspected_traces: 3,
        elapsed_nano: 12_345_678,
        n_groups: 8,
        n_groups_ruled_out: 6,
        ..QueryStats::default()
    };
    let asked = "/api/tracewell/explain?q=%7B%20status%3Derror%20%7D";
    let explained = running.get(asked).await.json();
    let mut expected = json!({
        "canonical": "{ status=error }",
        "yields": "traces",
        "plans": [{
            "filters": [{"asked": "status = error", "askedOfFragments": "true", "exact": true}],
            "requires": "1",
            "decidedBy": "columns",
            "columns": ["span:start"],
        }],
        "sources": {"count": 5, "shared": 1, "spans": 50, "bytes": 5_000},
        "sourcesInWindow": {"count": 2, "shared": 1, "spans": 20, "bytes": 2_000},
        "missing": ["block 3 is set aside"],
    });
    assert_eq!(explained, expected);
    assert!(running.planted.asked.lock().unwrap().is_empty());
    let analyzed = running.get(&format!("{asked}&analyze=true")).await.json();
    expected["analysis"] = json!({
        "elapsedMicros": 12_345, "found": 0, "inspectedBytes": 1_000, "inspectedSpans": 20, "inspectedTraces": 3,
        "rowGroups": 8, "rowGroupsRuledOut": 6,
    });
    assert_eq!(analyzed, expected);
    assert!(matches!(running.planted.last(), Asked::Search(_)));
    let series = "/api/tracewell/explain?q=%7B%7D%7Crate()&analyze=1";
    assert_eq!(running.get(series).await.json()["yields"], "series");
    assert!(matches!(running.planted.last(), Asked::Series(_)));
    // What the query refuses is not explained either.
    let long = "/api/tracewell/explain?q=%7B%7D%7Crate()&start=1&end=1000000";
    assert_eq!(running.get(long).await.status, 400);
    let nothing = running.get("/api/tracewell/explain").await;
    assert_eq!(nothing.status, 400);
    assert!(
        nothing.text().contains("q is missing"),
        "{}",
        nothing.text()
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_examined_for_editors() {
    let running = Running::start().await;
    let examined = running.post("/api/tracewell/parse", "{status=error}|rate()");
    let examined = examined.await.json();
    assert_eq!(examined["valid"], true);
    assert_eq!(examined["yields"], "series");
    assert_eq!(examined["canonical"], "{ status = error } | rate()");
    assert_eq!(examined["errors"], json!([]));
    let comparison = &examined["ast"]["children"][0]["children"][0]["children"][0]["children"][0];
    assert_eq!(
        *comparison,
        json!({
            "kind": "comparison", "text": "=", "type": "boolean", "from": 1, "to": 13,
            "children": [
                {"kind": "intrinsic", "text": "status", "type": "status", "from": 1, "to": 7},
                {"kind": "constant", "text": "error", "type": "status", "from": 8, "to": 13},
            ],
        })
    );
    let wrong = running.post("/api/tracewell/parse", "{ statuss = error }");
    let wrong = wrong.await.json();
    assert_eq!(wrong["valid"], false);
    let error = &wrong["errors"][0];
    let place = ["kind", "from", "to", "line", "column"].map(|key| error[key].clone());
    assert_eq!(json!(place), json!(["syntax", 2, 9, 1, 3]));
    let message = "unknown intrinsic \"statuss\": did you mean \"status\"?";
    assert_eq!(error["message"], message);
    let large = "x".repeat(3 * Limits::default().query_bytes_max);
    let answer = running.post("/api/tracewell/parse", large).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("more than"), "{}", answer.text());
    let slightly = "x".repeat(Limits::default().query_bytes_max + 1);
    let answer = running.post("/api/tracewell/parse", slightly).await.json();
    assert_eq!(answer["errors"][0]["kind"], "limit");
    let binary = vec![0xff, 0xfe];
    let answer = running.post("/api/tracewell/parse", binary).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(running.get("/api/tracewell/parse").await.status, 405);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_answer() {
    let running = Running::start().await;
    assert_eq!(running.get("/api/echo").await.text(), "echo");
    assert_eq!(running.get("/ready").await.text(), "ready\n");
    running.host.readiness.lock().unwrap().warnings = vec![String::from("port 9411 is taken")];
    let answer = running.get("/ready?verbose").await;
    assert!(answer.text().contains("store: Running"));
    assert!(answer.text().contains("port 9411 is taken"));
    running.host.readiness.lock().unwrap().not_ready = vec![String::from("replaying the log")];
    let answer = running.get("/ready").await;
    assert_eq!((answer.status, &*answer.text()), (503, "replaying the log"));

    assert_eq!(
        running.get("/api/status/buildinfo").await.json()["version"],
        "3.1.0+tracewell.0.1.0"
    );
    assert!(
        running
            .get("/status/version")
            .await
            .text()
            .contains("0.1.0")
    );
    assert_eq!(
        running.get("/status/config?mode=diff").await.text(),
        "mode: Diff\n"
    );
    assert_eq!(running.get("/status/config?mode=x").await.status, 400);
    assert_eq!(running.get("/status/nothing").await.status, 404);
    let endpoints = running.get("/status/endpoints").await.text();
    assert!(
        endpoints.contains("GET /api/v2/search/tag/{name}/values"),
        "{endpoints}"
    );
    let status = running.get("/status").await.text();
    assert!(status.contains("spans: 12") && status.contains("mode: Full"));
    let headers = [("accept", "application/json")];
    let status = running.send("GET", "/status", &headers).await.json();
    assert_eq!(status["head"]["spans"], 12);
    assert_eq!(status["services"]["store"], "Running");
    let headers = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let page = running.send("GET", "/status", &headers).await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().contains("<th>spans</th><td>12</td>"));

    for method in ["GET", "POST"] {
        assert_eq!(running.send(method, "/flush", &[]).await.status, 200);
        assert_eq!(running.send(method, "/shutdown", &[]).await.status, 200);
    }
    assert_eq!(running.host.n_flushes.load(Ordering::SeqCst), 2);
    assert_eq!(running.host.n_shutdowns.load(Ordering::SeqCst), 2);
    let answer = running.send("HEAD", "/api/echo", &[]).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(running.send("DELETE", "/api/echo", &[]).await.status, 405);
    assert_eq!(
        running.send("OPTIONS", "/api/search", &[]).await.status,
        405
    );
    let answer = running.get("/nothing").await;
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("/status/endpoints"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_written_as_tempo_does() {
    let running = Running::start().await;
    let step = 15_000_000_000;
    let label = |key: &str, value| (key.to_owned(), value);
    *running.planted.series.lock().unwrap() = SeriesResponse {
        axis: Axis::of_range(NOW - step, NOW, step).unwrap(),
        series: vec![Series {
            labels: vec![
                label("resource.service.name", Scalar::String("shop".into())),
                label("p", Scalar::Float(0.5)),
            ],
            name: "rate".to_owned(),
            values: vec![Some(2.5), None, Some(0.0)],
            exemplars: vec![Exemplar {
                trace_id: trace_id(7),
                unix_nano: NOW,
                value: f64::NAN,
            }],
        }],
        stats: QueryStats {
            inspected_bytes: 9,
            n_sources: 3,
            n_sources_done: 3,
            ..QueryStats::default()
        },
        partial: vec!["it is late".to_owned()],
    };
    let path = "/api/metrics/query_range?q=%7B%7D%7Crate()&start=1699999940&end=1699999970&step=15";
    let answer = running.get(path).await;
    let expected = concat!(
        r#"{"series":[{"labels":[{"key":"resource.service.name","value":{"stringValue":"shop"}},"#,
        r#"{"key":"p","value":{"doubleValue":5e-1}}],"samples":[{"timestampMs":"1699999980000","value":2.5e0},"#,
        r#"{"timestampMs":"1700000010000"}],"exemplars":[{"labels":[{"key":"trace:id","value":{"stringValue":"#,
        r#""00000000000000000000000000000007"}}],"value":"NaN","timestampMs":"1700000000000"}]}],"#,
        r#""metrics":{"inspectedBytes":"9","totalBlocks":3,"completedJobs":3,"totalJobs":3},"#,
        r#""status":"PARTIAL","message":"it is late"}"#
    );
    assert_eq!(answer.text(), expected);
    let Asked::Series(asked) = running.planted.last() else {
        panic!("asked something else");
    };
    assert_eq!(asked.query, "{}|rate()");
    assert_eq!(
        (asked.start / step, asked.step_nano),
        (1_699_999_940 / 15, Some(step))
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_about_series_say_what_is_wrong() {
    let running = Running::start().await;
    for (parameters, message) in [
        ("", "q is missing"),
        ("q=x&start=2&end=1", "start must be before end"),
        ("q=x&start=1600000000&end=1699999970", "exceeds 24h0m0s"),
        ("q=x&step=-1", "invalid step"),
        ("q=x&step=1parsec", "invalid step"),
        ("q=x&exemplars=-1", "invalid exemplars"),
    ] {
        let answer = running
            .get(&format!("/api/metrics/query_range?{parameters}"))
            .await;
        assert_eq!(answer.status, 400, "{parameters}");
        assert!(
            answer.text().contains(message),
            "{parameters}: {}",
            answer.text()
        );
    }
    let answer = running
        .get("/api/metrics/query?q=x&since=1h&maxSeries=5&exemplars=3")
        .await;
    assert_eq!(answer.status, 200);
    let Asked::Series(asked) = running.planted.last() else {
        panic!("asked something else");
    };
    let hour = 3_600_000_000_000;
    assert_eq!((asked.start, asked.end), (NOW - hour, NOW));
    assert_eq!(
        (asked.step_nano, asked.series_max, asked.exemplars_max),
        (None, Some(5), 3)
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_our_names_and_tempos() {
    let running = Running::start().await;
    running.get("/api/search?q=%7B%7D").await;
    running.get("/api/traces/1").await;
    let single = tracewell_model::TenantId::single();
    let tenant = running.ingest.tenant(&single);
    tenant.accepted_spans.store(11, Ordering::Relaxed);
    let by_grpc = &running.ingest.accepted_spans_grpc;
    by_grpc.store(11, Ordering::Relaxed);
    let answer = running.get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = answer.text();
    for line in [
        "tempodb_blocklist_length{tenant=\"single-tenant\"} 7",
        "tracewell_blocklist_length{tenant=\"single-tenant\"} 7",
        "tracewell_blocks_cut_total 3",
        "tempo_ingester_blocks_flushed_total 3",
        "tempo_query_frontend_queries_total{op=\"search\",tenant=\"single-tenant\",status_code=\"200\"} 1",
        "tempo_query_frontend_queries_total{op=\"traces\",tenant=\"single-tenant\",status_code=\"404\"} 1",
        "tempo_request_duration_seconds_count{method=\"GET\",route=\"api_search\",status_code=\"200\"} 1",
        "tempo_build_info{version=\"0.1.0\",revision=\"abc\",branch=\"\",rustversion=\"\"} 1",
        "tempo_live_store_ready 1",
        "tempo_distributor_spans_received_total{tenant=\"single-tenant\"} 11",
        "tempo_receiver_accepted_spans{receiver=\"otlp\",transport=\"grpc\"} 11",
        "tempo_distributor_push_duration_seconds_count 0",
        "tracewell_ingest_in_flight_bytes 0",
        "# EOF",
    ] {
        let is_there = text.lines().any(|other| {
            other == line || other.strip_suffix(".0").is_some_and(|other| other == line)
        });
        assert!(is_there, "{line} is missing in\n{text}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_queries_wait_and_then_are_refused() {
    let running = Arc::new(
        Running::start_with(|config| {
            config.limits.queries_max = 1;
        })
        .await,
    );
    running.planted.gate.forget_permits(1_000);
    let mut waiting = Vec::new();
    for _ in 0..17 {
        let running = Arc::clone(&running);
        waiting.push(tokio::spawn(async move {
            running.get("/api/search?q=%7B%7D").await.status
        }));
    }
    let queued = "tracewell_queries_waiting 16";
    let mut n_tries = 0;
    while !running.get("/metrics").await.text().contains(queued) {
        n_tries += 1;
        assert!(n_tries < 10_000);
    }
    let answer = running.get("/api/search?q=%7B%7D").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), "1");
    running.planted.gate.add_permits(1_000);
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), 200);
    }
    Arc::into_inner(running).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_at_its_deadline_and_when_its_client_leaves() {
    let running = Running::start_with(|config| config.limits.query_ms_max = 300).await;
    running.planted.gate.forget_permits(1_000);
    let answer = running.get("/api/search?q=%7B%7D").await;
    assert_eq!(answer.status, 504);
    let Asked::Search(request) = running.planted.last() else {
        panic!()
    };
    assert!(request.caller.cancel.is_cancelled());
    running.stop().await;

    let running = Running::start().await;
    running.planted.gate.forget_permits(1_000);
    let mut stream = tokio::net::TcpStream::connect(running.address)
        .await
        .unwrap();
    let request = b"GET /api/search?q=%7B%7D HTTP/1.1\r\nHost: x\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request)
        .await
        .unwrap();
    running.planted.wait_for_running(1).await;
    drop(stream);
    running.planted.wait_for_running(0).await;
    let Asked::Search(request) = running.planted.last() else {
        panic!()
    };
    // What is asked may end a moment before it is told why.
    let told = request.caller.cancel.cancelled();
    let told = tokio::time::timeout(std::time::Duration::from_secs(5), told).await;
    assert!(told.is_ok());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_one_answer_of_500() {
    let running = Running::start().await;
    running.planted.is_panicking.store(true, Ordering::SeqCst);
    let answer = running.get("/api/search?q=%7B%7D").await;
    assert_eq!(answer.status, 500);
    running.planted.is_panicking.store(false, Ordering::SeqCst);
    assert_eq!(running.get("/api/search?q=%7B%7D").await.status, 200);
    let text = running.get("/metrics").await.text();
    assert!(
        text.contains("tracewell_panics_total{listener=\"http\"} 1"),
        "{text}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_and_tenants_are_honoured() {
    let running = Running::start_with(|config| {
        config.prefix = String::from("/tempo");
        config.tenancy = tracewell_ingest::Tenancy::FromHeader;
    })
    .await;
    assert_eq!(running.get("/api/echo").await.status, 404);
    assert_eq!(running.get("/tempo/api/echo").await.status, 200);
    assert_eq!(running.get("/ready").await.status, 200);
    let answer = running.get("/tempo/api/search").await;
    assert_eq!((answer.status, &*answer.text()), (401, "no org id"));
    let headers = [("X-Scope-OrgID", "team-a")];
    let answer = running.send("GET", "/tempo/api/search", &headers).await;
    assert_eq!(answer.status, 200);
    let Asked::Search(request) = running.planted.last() else {
        panic!()
    };
    assert_eq!(request.caller.tenant.as_str(), "team-a");
    running.stop().await;
}
