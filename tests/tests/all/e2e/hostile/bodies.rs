//! Requests that no honest sender makes.

use std::io::Write;

use tracewell_model::TraceId;
use tracewell_wire::protobuf::{Writer, varint_len};

/// The fields of one span; the rest is `more`, in protobuf.
#[derive(Debug, Clone)]
pub(super) struct SpanBody {
    pub(super) trace_id: Vec<u8>,
    pub(super) span_id: Vec<u8>,
    pub(super) parent: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) start_unix_nano: u64,
    pub(super) more: Vec<u8>,
}

// === impl SpanBody ===

impl SpanBody {
    /// A good one.
    pub(super) fn new(trace: TraceId, span: u64) -> Self {
        Self {
            trace_id: trace.0.to_vec(),
            span_id: span.to_be_bytes().to_vec(),
            parent: Vec::new(),
            name: format!("span {span}").into_bytes(),
            start_unix_nano: now(),
            more: Vec::new(),
        }
    }

    fn write(&self, out: &mut Writer) {
        out.message(2, |out| {
            out.bytes(1, &self.trace_id);
            out.bytes(2, &self.span_id);
            out.bytes_unless_empty(4, &self.parent);
            out.bytes(5, &self.name);
            out.fixed64(7, self.start_unix_nano);
            out.fixed64(8, self.start_unix_nano.saturating_add(1_000_000));
            out.raw(&self.more);
        });
    }
}

pub(super) fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_nanos()).unwrap()
}

/// A request with these spans under one resource.
pub(super) fn request(spans: &[SpanBody]) -> Vec<u8> {
    request_of("hostile", spans)
}

pub(super) fn request_of(service: &str, spans: &[SpanBody]) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(1, |out| {
        out.message(1, |out| out.raw(&attribute(1, "service.name", service)));
        out.message(2, |out| spans.iter().for_each(|span| span.write(out)));
    });
    out.into_bytes()
}

/// A request with one span under each resource.
pub(super) fn request_of_each(spans: &[(String, SpanBody)]) -> Vec<u8> {
    let mut out = Writer::default();
    for (service, span) in spans {
        out.message(1, |out| {
            out.message(1, |out| out.raw(&attribute(1, "service.name", service)));
            out.message(2, |out| span.write(out));
        });
    }
    out.into_bytes()
}

/// A string attribute as field `field` of its owner.
pub(super) fn attribute(field: u32, key: &str, value: &str) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(field, |out| {
        out.bytes(1, key.as_bytes());
        out.message(2, |out| out.bytes(1, value.as_bytes()));
    });
    out.into_bytes()
}

/// Field 9 of a span: an attribute whose value nests arrays so deep. Written from the inside out,
/// since every length depends on those within.
pub(super) fn nested(levels: usize) -> Vec<u8> {
    let mut parts = Vec::new();
    let mut len = 0usize;
    for level in 0..=2 * levels {
        // The value within the attribute, then array_value and values in turn.
        let field = if level == 2 * levels {
            2
        } else {
            [1, 5][level % 2]
        };
        let mut head = Writer::default();
        head.raw_varint(u64::from(field << 3 | 2u32));
        head.raw_varint(len as u64);
        let head = head.into_bytes();
        len += head.len();
        parts.push(head);
    }
    let mut key = Writer::default();
    key.bytes(1, b"deep");
    let key = key.into_bytes();
    let mut out = Writer::with_capacity(len + 64);
    out.raw_varint(9 << 3 | 2);
    out.raw_varint((len + key.len()) as u64);
    out.raw(&key);
    parts.iter().rev().for_each(|part| out.raw(part));
    assert!(varint_len(len as u64) > 2);
    out.into_bytes()
}

/// JSON with arrays so deep in an attribute of its second span.
pub(super) fn nested_json(trace: TraceId, levels: usize) -> Vec<u8> {
    let span = |id: u32, attributes: &str| {
        let now = now();
        format!(
            r#"{{"traceId":"{trace}","spanId":"{id:016x}","name":"json","startTimeUnixNano":"{now}","attributes":[{attributes}]}}"#
        )
    };
    let open = r#"{"arrayValue":{"values":["#.repeat(levels);
    let close = "]}}".repeat(levels);
    let deep = format!(r#"{{"key":"deep","value":{open}{close}}}"#);
    let spans = [span(1, ""), span(2, &deep)].join(",");
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#).into_bytes()
}

/// What decompresses to nothing and may be repeated: a member of gzip, a frame of zstd, a block of deflate.
pub(super) const EMPTY_GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0";
pub(super) const EMPTY_ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x20\0\x01\0\0";
pub(super) const EMPTY_DEFLATE: &[u8] = b"\0\0\0\xff\xff";

/// So many zeros, or so much of anything that repeats, as gzip.
pub(super) fn gzip_bomb(bytes: usize) -> Vec<u8> {
    let out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut encoder = out;
    write_zeros(&mut encoder, bytes);
    encoder.finish().unwrap()
}

pub(super) fn zstd_bomb(bytes: usize) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    write_zeros(&mut encoder, bytes);
    encoder.finish().unwrap()
}

fn write_zeros(out: &mut impl Write, bytes: usize) {
    let zeros = vec![0; 1 << 20];
    let mut rest = bytes;
    while rest > 0 {
        let n = rest.min(zeros.len());
        out.write_all(&zeros[..n]).unwrap();
        rest -= n;
    }
}
