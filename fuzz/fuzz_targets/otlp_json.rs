//! Any bytes as an OTLP/JSON request: what is read is protobuf that is no longer than the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracewell_model::{Limits, TenantId};
use tracewell_wire::otlp;

fuzz_target!(|data: &[u8]| {
    for signal in [
        otlp::Signal::Traces,
        otlp::Signal::Metrics,
        otlp::Signal::Logs,
    ] {
        drop(signal.count_json(data));
    }
    let Ok(body) = otlp::json_to_protobuf(data) else {
        return;
    };
    assert!(body.len() <= data.len(), "JSON grew");
    let decoded = otlp::decode(TenantId::single(), body.into(), &Limits::default())
        .expect("written protobuf is read");
    let spans = otlp::spans_of(&decoded.batch);
    assert_eq!(
        spans.len() as u64 + decoded.rejected.total(),
        decoded.rejected.n_spans()
    );
});
