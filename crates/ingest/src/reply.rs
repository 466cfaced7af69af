//! Answers of the OTLP services: their bodies, and the bytes of `partial_success` and
//! `google.rpc.Status`, which both protocols share.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic_types::{ErrorDetails, StatusExt};
use tracewell_wire::protobuf::Writer;

use crate::intake::Answer;
use crate::metrics::Signal;
use crate::refusal::Refusal;

/// The body of an answer: at most one piece, then trailers if there are any.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

const GRPC_PREFIX_BYTES: usize = 5;

// === impl Reply ===

impl Reply {
    pub(crate) fn new(data: Bytes) -> Self {
        Self {
            data: (!data.is_empty()).then_some(data),
            trailers: None,
        }
    }

    /// A gRPC message, uncompressed, and the trailers behind it.
    pub(crate) fn grpc(message: &[u8], trailers: HeaderMap) -> Self {
        let mut data = BytesMut::with_capacity(GRPC_PREFIX_BYTES + message.len());
        let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
        data.extend_from_slice(&[0]);
        data.extend_from_slice(&len.to_be_bytes());
        data.extend_from_slice(message);
        Self {
            data: Some(data.freeze()),
            trailers: Some(trailers),
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.data.take() {
            Some(data) => Some(Frame::data(data)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// An `Export*ServiceResponse`; the field numbers are the same for all signals.
pub(crate) fn answer_protobuf(answer: &Answer) -> Vec<u8> {
    let mut writer = Writer::default();
    if *answer != Answer::default() {
        writer.message(1, |partial| {
            partial.varint_unless_zero(1, answer.rejected);
            partial.bytes_unless_empty(2, answer.message.as_bytes());
        });
    }
    writer.into_bytes()
}

/// The same as JSON: 64-bit integers are strings.
pub(crate) fn answer_json(signal: Signal, answer: &Answer) -> Vec<u8> {
    if *answer == Answer::default() {
        return b"{}".to_vec();
    }
    let rejected = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
    };
    let mut partial = serde_json::Map::new();
    if answer.rejected > 0 {
        partial.insert(rejected.to_owned(), answer.rejected.to_string().into());
    }
    partial.insert(String::from("errorMessage"), answer.message.clone().into());
    serde_json::json!({ "partialSuccess": partial })
        .to_string()
        .into_bytes()
}

/// The gRPC status of a refusal, with RetryInfo where a retry helps.
pub(crate) fn grpc_status(refusal: &Refusal) -> tonic::Status {
    let code = refusal.grpc_code();
    match refusal.retry_after() {
        None => tonic::Status::new(code, refusal.to_string()),
        Some(delay) => tonic::Status::with_error_details(
            code,
            refusal.to_string(),
            ErrorDetails::with_retry_info(Some(delay)),
        ),
    }
}

/// A `google.rpc.Status` message.
pub(crate) fn status_protobuf(refusal: &Refusal) -> Vec<u8> {
    let status = grpc_status(refusal);
    if !status.details().is_empty() {
        return status.details().to_vec(); // tonic-types puts the whole message there.
    }
    let mut writer = Writer::default();
    writer.int32_unless_zero(1, i32::from(refusal.grpc_code()));
    writer.bytes_unless_empty(2, status.message().as_bytes());
    writer.into_bytes()
}

pub(crate) fn status_json(refusal: &Refusal) -> Vec<u8> {
    serde_json::json!({
        "code": i32::from(refusal.grpc_code()),
        "message": refusal.to_string(),
    })
    .to_string()
    .into_bytes()
}
