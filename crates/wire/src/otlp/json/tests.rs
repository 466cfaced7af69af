use tracewell_model::span::EntityRef;
use tracewell_model::{AttributeValue, KeyValue, Span, SpanId, Status, TraceId};

use super::*;
use crate::otlp::{Reason, spans_of};

fn spans(json: &str) -> Vec<Span> {
    let decoded = decode_json(TenantId::single(), json.as_bytes(), &Limits::default()).unwrap();
    assert!(
        decoded.rejected.is_empty(),
        "{}",
        decoded.rejected.sentence()
    );
    spans_of(&decoded.batch)
}

/// A request with one span, whose further fields are given.
fn request(fields: &str) -> String {
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":
        "5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174"{fields}}}]}}]}}]}}"#
    )
}

#[track_caller]
fn one(fields: &str) -> Span {
    let mut spans = spans(&request(fields));
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

#[track_caller]
fn value(json: &str) -> AttributeValue {
    let span = one(&format!(r#","attributes":[{{"key":"k","value":{json}}}]"#));
    span.attributes.into_iter().next().unwrap().value
}

/// The span is refused alone, for a value.
#[track_caller]
fn check_refused(fields: &str, expected: &str) {
    let bad = request(fields);
    let good = request("");
    // Between two that are taken.
    let spans = |body: &str| {
        let (from, to) = (body.find(r#"{"traceId"#), body.rfind("]}]}]}"));
        body[from.unwrap()..to.unwrap()].to_owned()
    };
    let body = good.replace(
        &spans(&good),
        &format!("{0},{1},{0}", spans(&good), spans(&bad)),
    );
    let decoded =
        decode_json(TenantId::single(), body.as_bytes(), &Limits::default()).expect(fields);
    assert_eq!(decoded.batch.n_spans(), 2, "{fields}");
    let reasons: Vec<_> = decoded.rejected.iter().collect();
    assert_eq!(reasons, [(Reason::InvalidValue, 1)], "{fields}");
    let sentence = decoded.rejected.sentence();
    assert!(sentence.contains("the first is span 1 "), "{sentence}");
    assert!(sentence.contains(expected), "{sentence}");
    assert!(sentence.len() < 600, "{sentence}");
}

#[test]
fn a_request_as_the_specification_shows_it() {
    let spans = spans(
        r#"{"resourceSpans": [{
            "resource": {
                "attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}],
                "droppedAttributesCount": 1,
                "entityRefs": [{"type": "service", "idKeys": ["service.name"]}]
            },
            "schemaUrl": "https://opentelemetry.io/schemas/1.30.0",
            "scopeSpans": [{
                "scope": {"name": "my.library", "version": "1.0.0", "attributes": [
                    {"key": "my.scope.attribute", "value": {"boolValue": true}}]},
                "spans": [{
                    "traceId": "5B8EFFF798038103D269B633813FC60C",
                    "spanId": "EEE19B7EC3C1B174",
                    "parentSpanId": "EEE19B7EC3C1B173",
                    "traceState": "a=b", "flags": 257,
                    "name": "I'm a server span",
                    "startTimeUnixNano": "1544712660000000000",
                    "endTimeUnixNano": 1544712661000000000,
                    "kind": 2,
                    "attributes": [{"key": "n", "value": {"intValue": "-7"}}],
                    "droppedAttributesCount": 3, "droppedEventsCount": "4",
                    "droppedLinksCount": 5,
                    "events": [{"timeUnixNano": "18446744073709551615", "name": "e",
                        "droppedAttributesCount": 6}],
                    "links": [{"traceId": "5b8efff798038103d269b633813fc60c",
                        "spanId": "eee19b7ec3c1b174", "flags": 1}],
                    "status": {"code": "STATUS_CODE_ERROR", "message": "no"}
                }]
            }]
        }]}"#,
    );
    let [span] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    assert_eq!(span.resource.service_name(), "my.service");
    assert_eq!(span.resource.dropped_attributes_count, 1);
    assert_eq!(
        span.resource.entity_refs,
        [EntityRef {
            entity_type: "service".to_owned(),
            id_keys: vec!["service.name".to_owned()],
            ..EntityRef::default()
        }]
    );
    assert_eq!(
        span.resource.schema_url,
        "https://opentelemetry.io/schemas/1.30.0"
    );
    assert_eq!(
        (&*span.scope.name, &*span.scope.version),
        ("my.library", "1.0.0")
    );
    assert_eq!(
        span.trace_id,
        TraceId::from_hex("5b8efff798038103d269b633813fc60c").unwrap()
    );
    let parent = SpanId::from_hex("eee19b7ec3c1b173").unwrap();
    assert_eq!(span.parent_span_id, Some(parent));
    assert_eq!((span.kind, span.flags, &*span.trace_state), (2, 257, "a=b"));
    assert_eq!(span.start_unix_nano, 1_544_712_660_000_000_000);
    assert_eq!(span.end_unix_nano, 1_544_712_661_000_000_000);
    assert_eq!(span.dropped_attributes_count, 3);
    assert_eq!(span.dropped_events_count, 4);
    assert_eq!(span.dropped_links_count, 5);
    assert_eq!(span.events[0].time_unix_nano, u64::MAX);
    assert_eq!(span.events[0].dropped_attributes_count, 6);
    assert_eq!(span.links[0].flags, 1);
    let message = "no".to_owned();
    assert_eq!(span.status, Some(Status { code: 2, message }));
}

#[test]
fn values_of_every_type() {
    assert_eq!(value("{}"), AttributeValue::Empty);
    assert_eq!(value("null"), AttributeValue::Empty);
    assert_eq!(
        value(r#"{"stringValue":""}"#),
        AttributeValue::String(String::new())
    );
    assert_eq!(
        value(r#"{"stringValue":"\u00e9\ud83d\ude00\n"}"#),
        AttributeValue::String("é😀\n".to_owned())
    );
    // A text that was cut within a character.
    assert_eq!(
        value(r#"{"stringValue":"hello \ud83d"}"#),
        AttributeValue::String("hello \u{fffd}".to_owned())
    );
    for (json, expected) in [
        (r#""9223372036854775807""#, i64::MAX),
        (r#""-9223372036854775808""#, i64::MIN),
        ("-9223372036854775808", i64::MIN),
        ("0", 0),
        ("1e3", 1000),
        ("-5.0", -5),
    ] {
        assert_eq!(
            value(&format!(r#"{{"intValue":{json}}}"#)),
            AttributeValue::Int(expected)
        );
    }
    for (json, expected) in [
        ("1.5", 1.5),
        ("-3", -3.0),
        ("7", 7.0),
        (r#""Infinity""#, f64::INFINITY),
        (r#""-Infinity""#, f64::NEG_INFINITY),
        (r#""2.5e3""#, 2500.0),
    ] {
        assert_eq!(
            value(&format!(r#"{{"doubleValue":{json}}}"#)),
            AttributeValue::Double(expected)
        );
    }
    assert!(matches!(value(r#"{"doubleValue":"NaN"}"#), AttributeValue::Double(d) if d.is_nan()));
    assert_eq!(value(r#"{"boolValue":false}"#), AttributeValue::Bool(false));
    assert_eq!(
        value(r#"{"bytesValue":"aGVsbG8="}"#),
        AttributeValue::Bytes(b"hello".to_vec())
    );
    assert_eq!(
        value(r#"{"arrayValue":{"values":[{"intValue":1},{},{"arrayValue":{}}]}}"#),
        AttributeValue::Array(vec![
            AttributeValue::Int(1),
            AttributeValue::Empty,
            AttributeValue::Array(vec![])
        ])
    );
    assert_eq!(
        value(r#"{"kvlist_value":{"values":[{"key":"a","value":{"bool_value":true}}]}}"#),
        AttributeValue::KvList(vec![KeyValue {
            key: "a".to_owned(),
            value: AttributeValue::Bool(true)
        }])
    );
}

#[test]
fn names_in_snake_case_null_and_unknown_fields() {
    let span = one(
        r#","start_time_unix_nano":"5","end_time_unix_nano":6,"parent_span_id":"",
        "status":null,"attributes":null,"kind":"SPAN_KIND_CLIENT","unknown":{"a":[1,{"b":[]}]},
        "events":[{"time_unix_nano":7}],"dropped_links_count":8"#,
    );
    assert_eq!((span.start_unix_nano, span.end_unix_nano), (5, 6));
    assert_eq!(
        (span.parent_span_id, span.status, span.kind),
        (None, None, 3)
    );
    assert_eq!(span.events[0].time_unix_nano, 7);
    assert_eq!(span.dropped_links_count, 8);
    assert_eq!(one(r#","status":{}"#).status, Some(Status::default()));
    assert!(spans("{}").is_empty());
    assert!(spans(r#" {"resourceSpans":[]} "#).is_empty());
}

#[test]
fn an_id_that_is_no_hex_refuses_its_span_alone() {
    let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"},
        {"traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"eee19b7ec3c1b174"},
        {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"xx"},
        {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
         "parentSpanId":"zz"}]}]}]}"#;
    let decoded = decode_json(TenantId::single(), body.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(decoded.batch.n_spans(), 1);
    assert_eq!(
        decoded.rejected.iter().collect::<Vec<_>>(),
        [
            (Reason::InvalidTraceId, 1),
            (Reason::InvalidSpanId, 1),
            (Reason::InvalidParentSpanId, 1)
        ]
    );
}

#[test]
fn a_wrong_value_refuses_its_span_alone() {
    check_refused(r#","name":5"#, "expected a string for name");
    check_refused(r#","startTimeUnixNano":-1"#, "for startTimeUnixNano");
    check_refused(r#","startTimeUnixNano":"soon""#, "for startTimeUnixNano");
    check_refused(r#","startTimeUnixNano":1.5"#, "for startTimeUnixNano");
    check_refused(
        r#","kind":"SERVER""#,
        "an enum, as its number or its name for kind",
    );
    check_refused(r#","flags":4294967296"#, "for flags");
    check_refused(r#","attributes":{}"#, "a list of objects for attributes");
    check_refused(
        r#","attributes":{"a":[{"b":1}],"c":2}"#,
        "a list of objects for attributes",
    );
    check_refused(r#","events":[null]"#, "an object for events");
    check_refused(r#","events":[[1,{"a":[]}]]"#, "an object for events");
    check_refused(r#","status":[]"#, "an object for status");
    check_refused(r#","status":true"#, "an object for status");
    check_refused(
        r#","attributes":[{"key":"k","value":{"intValue":"abc"}}]"#,
        "a 64-bit integer, as a number or a string for intValue",
    );
    check_refused(
        r#","attributes":[{"value":{"bytesValue":"*"}}]"#,
        "a string in base64 for bytesValue",
    );
    let long = format!(r#","kind":"{}""#, "x".repeat(100_000));
    check_refused(&long, "xxx");
}

#[test]
fn what_is_wrong_outside_of_a_span_is_named_with_its_place() {
    let wrong = |body: &str, expected: &str| {
        let error = decode_json(TenantId::single(), body.as_bytes(), &Limits::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("line 2, column "), "{error}");
    };
    let resource = "{\"resourceSpans\":[{\n\"resource\":{\"attributes\":5}}]}";
    wrong(resource, "a list of objects for attributes");
    wrong(
        "{\"resourceSpans\":\n5}",
        "a list of objects for resourceSpans",
    );
    wrong(&request(r#","name":"a"#), "EOF while parsing");
    for body in [
        "",
        "[]",
        "null",
        "{}x",
        "{\"resourceSpans\":[",
        "\u{feff}{}",
    ] {
        let error = json_to_protobuf(body.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("line 1, column"), "{error}");
    }
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| {
        let open = r#"{"arrayValue":{"values":["#.repeat(levels);
        let close = "]}}".repeat(levels);
        format!(r#","attributes":[{{"key":"k","value":{open}{close}}}]"#)
    };
    let decode =
        |body: String| decode_json(TenantId::single(), body.as_bytes(), &Limits::default());
    assert_eq!(decode(request(&nested(32))).unwrap().batch.n_spans(), 1);
    let deep = decode(request(&nested(33))).unwrap();
    let reasons: Vec<_> = deep.rejected.iter().collect();
    assert_eq!(reasons, [(Reason::AttributeTooDeep, 1)]);
    let deeper = decode(request(&nested(200_000))).unwrap().rejected;
    let reasons: Vec<_> = deeper.iter().collect();
    assert_eq!(reasons, [(Reason::InvalidValue, 1)]);
    assert!(deeper.sentence().contains("levels of messages"));
    // Unknown fields are skipped without recursion.
    let unknown = format!(r#","x":{}{}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(decode(request(&unknown)).unwrap().batch.n_spans(), 1);
}

#[test]
fn a_body_beyond_the_limit_is_refused_unread() {
    let mut limits = Limits::default();
    limits.request_decoded_bytes_max = 3;
    let error = decode_json(TenantId::single(), b"nope", &limits).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge { limit: 3, seen: 4 });
}
