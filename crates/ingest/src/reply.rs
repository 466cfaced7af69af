//! Answers of the OTLP services: their bodies, and refusals as each protocol says them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic_types::{ErrorDetails, StatusExt};
use tracewell_wire::otlp::response::Status;

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

/// The same as `google.rpc.Status`, for HTTP.
pub(crate) fn rpc_status(refusal: &Refusal) -> Status {
    Status {
        code: i32::from(refusal.grpc_code()),
        message: refusal.to_string(),
        retry_after: refusal.retry_after(),
    }
}
