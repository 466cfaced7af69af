//! The walk and prost see the same spans in the same bytes, also in bytes that no encoder writes.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message;
use tracewell_model::{Limits, TenantId};
use tracewell_wire::otlp;
use tracewell_wire::protobuf::Writer;

use crate::generate::Generator;

/// One span with all that it inherits, as bytes: NaN equals itself there.
type Flat = (Vec<u8>, Vec<u8>, Vec<u8>);

/// An attribute without a value and one with an empty value are one thing to the model.
fn fill(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        let value = attribute.value.get_or_insert_default();
        attribute.key_strindex = 0;
        fill_value(value);
    }
}

fn fill_value(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(fill_value),
        Some(Value::KvlistValue(list)) => fill(&mut list.values),
        Some(Value::StringValueStrindex(_)) => value.value = None,
        _ => {}
    }
}

fn flatten(mut request: ExportTraceServiceRequest) -> Vec<Flat> {
    let mut flat = Vec::new();
    for resource in &mut request.resource_spans {
        let scopes = std::mem::take(&mut resource.scope_spans);
        if let Some(resource) = &mut resource.resource {
            fill(&mut resource.attributes);
        }
        for mut scope in scopes {
            let spans = std::mem::take(&mut scope.spans);
            if let Some(scope) = &mut scope.scope {
                fill(&mut scope.attributes);
            }
            for mut span in spans {
                fill(&mut span.attributes);
                span.events.iter_mut().for_each(|e| fill(&mut e.attributes));
                span.links.iter_mut().for_each(|l| fill(&mut l.attributes));
                flat.push((
                    resource.encode_to_vec(),
                    scope.encode_to_vec(),
                    span.encode_to_vec(),
                ));
            }
        }
    }
    flat
}

/// What the walk sees, through owned spans, our encoder and prost's decoder.
fn seen(batch: &tracewell_model::SpanBatch) -> Vec<Flat> {
    let mut flat = Vec::new();
    for span in otlp::spans_of(batch) {
        let bytes = otlp::encode_spans([&span]);
        flat.extend(flatten(ExportTraceServiceRequest::decode(&*bytes).unwrap()));
    }
    flat
}

fn decode(body: Vec<u8>) -> Result<otlp::Decoded, otlp::DecodeError> {
    otlp::decode(TenantId::single(), Bytes::from(body), &Limits::default())
}

#[test]
fn random_requests_are_seen_as_prost_sees_them() {
    for seed in 0..400 {
        let request = Generator::new(seed).request();
        let body = request.encode_to_vec();
        let decoded = decode(body.clone()).unwrap();
        assert!(decoded.rejected.is_empty(), "seed {seed}");
        assert_eq!(decoded.batch.body, body, "seed {seed}");
        assert!(seen(&decoded.batch) == flatten(request), "seed {seed}");
    }
}

#[test]
fn whole_batches_come_back_from_the_encoder() {
    for seed in 0..200 {
        let request = Generator::new(seed).request();
        let batch = decode(request.encode_to_vec()).unwrap().batch;
        let spans = otlp::spans_of(&batch);
        let again = decode(otlp::encode_spans(&spans)).unwrap().batch;
        let sort = |mut flat: Vec<Flat>| {
            flat.sort();
            flat
        };
        assert!(sort(seen(&again)) == sort(flatten(request)), "seed {seed}");
    }
}

#[test]
fn messages_written_twice_are_merged_as_prost_merges_them() {
    for seed in 0..400 {
        let mut generator = Generator::new(seed);
        let body = doubled_request(&mut generator);
        let expected = flatten(ExportTraceServiceRequest::decode(&*body).unwrap());
        let decoded = decode(body).unwrap();
        assert!(decoded.rejected.is_empty(), "seed {seed}");
        assert!(seen(&decoded.batch) == expected, "seed {seed}");
        let stored = otlp::decode_stored(TenantId::single(), decoded.batch.body.clone()).unwrap();
        assert!(seen(&stored.batch) == expected, "seed {seed}");
    }
}

/// A request in which every singular message may stand twice, and fields in any order.
fn doubled_request(generator: &mut Generator) -> Vec<u8> {
    let mut out = Writer::default();
    let resource_spans = out.begin(1);
    for _ in 0..(1 + generator.below(3)) {
        match generator.below(3) {
            0 => out.bytes(1, &generator.resource().encode_to_vec()),
            1 => out.bytes(3, generator.text().as_bytes()),
            _ => doubled_scope_spans(generator, &mut out),
        }
    }
    doubled_scope_spans(generator, &mut out);
    out.end(resource_spans);
    out.into_bytes()
}

fn doubled_scope_spans(generator: &mut Generator, out: &mut Writer) {
    let scope_spans = out.begin(2);
    for _ in 0..(1 + generator.below(5)) {
        match generator.below(3) {
            0 => out.bytes(1, &generator.scope().encode_to_vec()),
            1 => out.bytes(3, generator.text().as_bytes()),
            _ => {
                let span = out.begin(2);
                let (one, two) = (generator.span(), generator.span());
                out.raw(&one.encode_to_vec());
                if generator.chance(2) {
                    // All fields of two spans: scalars of the second, attributes of both.
                    out.raw(&two.encode_to_vec());
                }
                let attribute = out.begin(9);
                for _ in 0..generator.below(4) {
                    let value = generator.value(2).encode_to_vec();
                    out.message(2, |out| {
                        out.raw(&value);
                        if generator.chance(2) {
                            out.raw(&generator.value(2).encode_to_vec());
                        }
                    });
                }
                out.end(attribute);
                out.end(span);
            }
        }
    }
    out.end(scope_spans);
}

#[test]
fn damaged_bytes_are_judged_as_prost_judges_them() {
    let (mut same, mut stricter, mut refused) = (0, 0, 0);
    for seed in 0..6_000 {
        let mut generator = Generator::new(seed);
        let mut body = generator.request().encode_to_vec();
        for _ in 0..(1 + generator.below(3)) {
            if body.is_empty() {
                break;
            }
            let at = generator.below(body.len() as u32) as usize;
            match generator.below(4) {
                0 => body[at] ^= 1 << generator.below(8),
                1 => body[at] = generator.bytes(1)[0],
                2 => drop(body.remove(at)),
                _ => body.truncate(at),
            }
        }
        let theirs = ExportTraceServiceRequest::decode(&*body);
        match (decode(body.clone()), theirs) {
            (Ok(ours), Ok(theirs)) if ours.rejected.is_empty() => {
                assert!(seen(&ours.batch) == flatten(theirs), "seed {seed}");
                same += 1;
            }
            (Ok(ours), theirs) => {
                // Only a refused span, or a resource or scope without spans, may hold what prost
                // cannot read; or the first of two texts, of which the last one counts.
                let theirs = format!("{theirs:?}");
                let explained = !theirs.contains(r#""spans""#) || theirs.contains("InvalidString");
                assert!(
                    explained || !ours.rejected.is_empty(),
                    "seed {seed}: {theirs}"
                );
                let n = ours.batch.n_spans() as u64 + ours.rejected.total();
                assert_eq!(n, ours.rejected.n_spans(), "seed {seed}");
                let again = decode(ours.batch.body.to_vec()).unwrap();
                assert!(again.rejected.is_empty(), "seed {seed}");
                assert!(seen(&again.batch) == seen(&ours.batch), "seed {seed}");
                refused += 1;
            }
            (Err(_), Err(_)) => same += 1,
            (Err(error), Ok(_)) => {
                // Groups are skipped by prost and refused here.
                let text = error.to_string();
                assert!(text.contains("group"), "seed {seed}: {text}");
                stricter += 1;
            }
        }
    }
    println!("same {same}, stricter {stricter}, with refused spans {refused}");
    assert!(same > 1_000 && refused > 50);
}
