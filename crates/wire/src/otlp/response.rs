//! What an OTLP server answers: export responses with a partial success, and `google.rpc.Status`
//! for errors over HTTP, each in protobuf and JSON.
//! Source: opentelemetry.io/docs/specs/otlp, "OTLP/HTTP Response"; googleapis `status.proto` and
//! `error_details.proto`.

use std::time::Duration;

use serde_json::{Value, json};

use super::signal::Signal;
use crate::protobuf::Writer;

/// What an export response says; the default says that everything was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartialSuccess {
    /// Spans, data points or log records that were refused.
    pub rejected: u64,
    /// A sentence for the sender; OTLP allows one without a refusal, as a warning.
    pub message: String,
}

/// An error over HTTP, and the same in gRPC's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The gRPC code: 3 INVALID_ARGUMENT, 8 RESOURCE_EXHAUSTED, 14 UNAVAILABLE ...
    pub code: i32,
    pub message: String,
    /// Only where a retry can help.
    pub retry_after: Option<Duration>,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

// === impl PartialSuccess ===

impl PartialSuccess {
    fn is_empty(&self) -> bool {
        self.rejected == 0 && self.message.is_empty()
    }

    /// An `Export*ServiceResponse`; its fields have the same numbers for each signal.
    pub fn to_protobuf(&self) -> Vec<u8> {
        let mut out = Writer::default();
        if !self.is_empty() {
            out.message(1, |out| {
                out.varint_unless_zero(1, self.rejected);
                out.bytes_unless_empty(2, self.message.as_bytes());
            });
        }
        out.into_bytes()
    }

    /// The same in OTLP/JSON, where the count is named for the signal and is a string.
    pub fn to_json(&self, signal: Signal) -> String {
        if self.is_empty() {
            return "{}".to_owned();
        }
        let rejected = match signal {
            Signal::Traces => "rejectedSpans",
            Signal::Metrics => "rejectedDataPoints",
            Signal::Logs => "rejectedLogRecords",
        };
        let message = self.message.as_str();
        json!({"partialSuccess": {rejected: self.rejected.to_string(), "errorMessage": message}})
            .to_string()
    }
}

// === impl Status ===

impl Status {
    /// A `google.rpc.Status`; also the content of gRPC's `grpc-status-details-bin`.
    pub fn to_protobuf(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.int32_unless_zero(1, self.code);
        out.bytes_unless_empty(2, self.message.as_bytes());
        if let Some(delay) = self.retry_after {
            out.message(3, |out| {
                out.bytes(1, RETRY_INFO.as_bytes());
                out.message(2, |out| {
                    out.message(1, |out| {
                        out.varint_unless_zero(1, delay.as_secs());
                        out.varint_unless_zero(2, u64::from(delay.subsec_nanos()));
                    });
                });
            });
        }
        out.into_bytes()
    }

    pub fn to_json(&self) -> String {
        let mut status = json!({"code": self.code, "message": self.message});
        if let (Some(delay), Some(fields)) = (self.retry_after, status.as_object_mut()) {
            let details = json!([{"@type": RETRY_INFO, "retryDelay": duration(delay)}]);
            fields.insert("details".to_owned(), details);
        }
        Value::to_string(&status)
    }
}

/// ProtoJSON writes a duration in seconds with 0, 3, 6 or 9 digits.
fn duration(delay: Duration) -> String {
    let (seconds, nanos) = (delay.as_secs(), delay.subsec_nanos());
    if nanos == 0 {
        format!("{seconds}s")
    } else if nanos.is_multiple_of(1_000_000) {
        format!("{seconds}.{:03}s", nanos / 1_000_000)
    } else {
        format!("{seconds}.{nanos:09}s")
    }
}
