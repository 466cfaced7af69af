//! Bytes of other systems' formats to and from `tracewell-model`: pure functions, every size capped.
//!
//! It opens no socket and no file and knows no query. OTLP is in [`otlp`]; [`protobuf`] holds the
//! few primitives that a borrowing walk over protobuf needs. Start at [`otlp::decode()`].

pub mod otlp;
pub mod protobuf;
