//! Any bytes as an OTLP request: what is accepted is stored, read again and encoded without a
//! difference. What can be written as JSON can be read.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tracewell_model::{Limits, TenantId};
use tracewell_wire::otlp;

fuzz_target!(|data: &[u8]| {
    // Small limits are reached by small inputs.
    let mut limits = Limits::default();
    limits.request_spans_max = 16;
    limits.request_items_max = 64;
    limits.attributes_max = 8;
    limits.attribute_key_bytes_max = 32;
    limits.attribute_value_bytes_max = 128;
    limits.attribute_depth_max = 4;
    limits.name_bytes_max = 32;
    check(data, &limits);
    check(data, &Limits::default());
    for signal in [
        otlp::Signal::Traces,
        otlp::Signal::Metrics,
        otlp::Signal::Logs,
    ] {
        drop(signal.count_protobuf(data));
    }
    let mut json = Vec::new();
    if otlp::protobuf_to_json(data, &mut json).is_ok() {
        otlp::json_to_protobuf(&json).expect("written JSON is read");
    }
    if let Ok(value) = otlp::decode_any_value(data) {
        let bytes = otlp::encode_any_value(&value);
        let again = otlp::decode_any_value(&bytes).expect("an encoded value is read");
        assert_eq!(bytes, otlp::encode_any_value(&again));
    }
});

fn check(data: &[u8], limits: &Limits) {
    let body = Bytes::copy_from_slice(data);
    let Ok(decoded) = otlp::decode(TenantId::single(), body, limits) else {
        return;
    };
    let batch = decoded.batch;
    assert_eq!(
        batch.n_spans() as u64 + decoded.rejected.total(),
        decoded.rejected.n_spans()
    );
    assert_eq!(
        decoded.rejected.is_empty(),
        decoded.rejected.sentence().is_empty()
    );
    let spans = otlp::spans_of(&batch);
    assert_eq!(spans.len(), batch.n_spans());
    // Bytes, because a NaN does not equal itself.
    let bytes = otlp::encode_spans(&spans);
    let stored =
        otlp::decode_stored(TenantId::single(), batch.body).expect("stored bytes are read");
    assert!(stored.rejected.is_empty());
    assert_eq!(bytes, otlp::encode_spans(&otlp::spans_of(&stored.batch)));
    let again = otlp::decode_stored(TenantId::single(), Bytes::from(bytes.clone()))
        .expect("encoded spans are read");
    assert!(again.rejected.is_empty());
    assert_eq!(bytes, otlp::encode_spans(&otlp::spans_of(&again.batch)));
}
