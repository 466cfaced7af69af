//! OTLP/JSON in both directions against the serde form of the prost types.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tracewell_model::{Limits, TenantId};
use tracewell_wire::otlp::{self, DecodeError};
use tracewell_wire::protobuf::{Problem, Writer};

use crate::generate::Generator;

fn written(body: &[u8]) -> Result<String, DecodeError> {
    let mut out = b"before ".to_vec();
    let result = otlp::protobuf_to_json(body, &mut out);
    let text = String::from_utf8(out).unwrap();
    let json = text.strip_prefix("before ").unwrap().to_owned();
    match result {
        Ok(()) => Ok(json),
        Err(error) => {
            assert_eq!(json, "", "nothing is left of what failed");
            Err(error)
        }
    }
}

fn read(json: &str) -> ExportTraceServiceRequest {
    let body = otlp::json_to_protobuf(json.as_bytes()).unwrap();
    ExportTraceServiceRequest::decode(&*body).unwrap()
}

#[test]
fn json_as_another_implementation_writes_it_is_the_same_request() {
    for seed in 0..300 {
        let mut generator = Generator::new(seed);
        generator.plain_values = true;
        let request = generator.request();
        let json = serde_json::to_vec(&request).unwrap();
        let body = otlp::json_to_protobuf(&json).unwrap();
        let read = ExportTraceServiceRequest::decode(&*body).unwrap();
        assert!(read == request, "seed {seed}");
        let limits = Limits::default();
        let decoded = otlp::decode_json(TenantId::single(), &json, &limits).unwrap();
        assert!(decoded.rejected.is_empty(), "seed {seed}");
    }
}

#[test]
fn what_is_written_is_read_by_another_implementation() {
    for seed in 0..300 {
        let mut generator = Generator::new(seed);
        generator.plain_values = true;
        let request = generator.request();
        let json = written(&request.encode_to_vec()).unwrap();
        assert!(!json.contains('\n'), "seed {seed}: more than a line");
        let read: ExportTraceServiceRequest = serde_json::from_str(&json).unwrap();
        assert!(read == request, "seed {seed}: {json}");
    }
}

#[test]
fn requests_of_every_value_come_back_from_json() {
    for seed in 0..1_000 {
        let request = Generator::new(seed).request();
        let json = written(&request.encode_to_vec()).unwrap();
        // As text: a NaN does not equal itself.
        assert_eq!(
            format!("{:?}", read(&json)),
            format!("{request:?}"),
            "seed {seed}: {json}"
        );
    }
}

/// A request whose one span has these fields.
fn request(fields: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(1, |out| {
        out.message(2, |out| {
            out.message(2, |out| {
                out.bytes(1, &[0xab; 16]);
                fields(out);
            });
        });
    });
    out.into_bytes()
}

#[test]
fn it_reads_as_the_specification_shows_it() {
    let body = request(|out| {
        out.bytes(5, "a \"name\"\n\u{1}数".as_bytes());
        out.varint(6, 2);
        out.fixed64(7, u64::MAX);
        out.message(9, |out| {
            out.bytes(1, b"bytes");
            out.message(2, |out| out.bytes(7, &[0xfb, 0xff]));
        });
        out.message(9, |out| {
            out.bytes(1, b"low");
            out.message(2, |out| out.fixed64(4, f64::NEG_INFINITY.to_bits()));
        });
        out.message(15, |_| {});
        out.bytes(99, b"a field of later");
    });
    let expected = concat!(
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"abababababababababababababababab","#,
        r#""name":"a \"name\"\n\u0001数","kind":2,"startTimeUnixNano":"18446744073709551615","#,
        r#""attributes":[{"key":"bytes","value":{"bytesValue":"+/8="}},"#,
        r#"{"key":"low","value":{"doubleValue":"-Infinity"}}],"status":{}}]}]}]}"#
    );
    assert_eq!(written(&body).unwrap(), expected);
    assert_eq!(written(&[]).unwrap(), "{}");
}

#[test]
fn a_field_that_stands_twice_is_merged() {
    let body = request(|out| {
        out.message(15, |out| out.bytes(2, b"gone"));
        out.bytes(5, b"first");
        out.message(15, |out| {
            out.varint(3, 2);
            out.bytes(2, b"kept");
        });
        out.bytes(5, b"second");
    });
    let json = written(&body).unwrap();
    assert!(json.contains(r#""name":"second""#), "{json}");
    assert!(
        json.contains(r#""status":{"code":2,"message":"kept"}"#),
        "{json}"
    );
}

#[test]
fn damage_is_named() {
    let problem = |body: &[u8]| match written(body) {
        Err(DecodeError::Malformed { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    let of_span = |fields: fn(&mut Writer)| problem(&request(fields));
    assert_eq!(of_span(|out| out.bytes(5, &[0xff])), Problem::NotUtf8);
    for fields in [
        |out: &mut Writer| out.varint(5, 1),
        |out: &mut Writer| out.varint(9, 1),
        |out: &mut Writer| out.varint(7, 1),
        |out: &mut Writer| out.varint(15, 1),
    ] {
        let found = of_span(fields);
        assert!(matches!(found, Problem::WrongWireType { .. }), "{found:?}");
    }
    assert_eq!(problem(&[0x80]), Problem::Truncated);
    // Lists in lists.
    let mut value = Vec::new();
    for _ in 0..400 {
        let mut out = Writer::default();
        out.message(5, |out| out.bytes(1, &value));
        value = out.into_bytes();
    }
    let body = request(|out| out.message(9, |out| out.bytes(2, &value)));
    assert!(matches!(problem(&body), Problem::TooDeep { .. }));
}
