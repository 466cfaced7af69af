//! OTLP, protobuf and JSON, in both directions.
//!
//! There is one decoder: [`decode()`] walks an `ExportTraceServiceRequest` into the columns of a
//! [`SpanBatch`](tracewell_model::SpanBatch). JSON becomes protobuf first. [`encode`] is the way
//! back, from owned spans; [`owned`] makes those from a batch. The canonical bytes that
//! identify a resource or scope are written in [`canonical`] and nowhere else. [`response`] holds
//! what a server answers, [`signal`] counts what it does not take.
//! Source: opentelemetry-proto 1.10, `trace.proto`, `common.proto`, `resource.proto`.

pub mod canonical;
pub mod decode;
pub mod encode;
mod fields;
pub mod json;
mod merge;
pub mod owned;
pub mod reject;
pub mod response;
pub mod signal;
pub mod value;

pub use canonical::{canonical_resource, canonical_scope, decode_resource, decode_scope};
pub use decode::{Admit, DecodeError, Decoded, decode, decode_admitted, decode_stored};
pub use encode::{Groups, encode_spans, encode_traces};
pub use json::{decode_json, decode_json_admitted, json_to_protobuf, protobuf_to_json};
pub use owned::{resource_of, scope_of, spans_of};
pub use reject::{OTHER_SERVICES, Reason, Rejections};
pub use signal::{Signal, spans_by_service};
pub use value::{decode_any_value, encode_any_value, write_key_value};
