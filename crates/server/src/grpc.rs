//! gRPC over the port of the API: one message in, a stream of messages and a status out.
//!
//! Framed by hand, as the receiver does ([`tracewell_ingest`], its `grpc` module says why). What comes in is
//! small: a query. Source: grpc/grpc, `doc/PROTOCOL-HTTP2.md`.

use std::convert::Infallible;
use std::pin::Pin;

use axum::body::Body;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::mpsc;

use crate::error::{ApiError, ApiResult};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// A query, a name and a few numbers.
const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// Messages on their way to the client. One waits at most: who reads slowly is answered slowly.
pub(crate) type Messages = mpsc::Sender<Vec<u8>>;

/// True for a call, whatever it calls.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|it| it.starts_with(b"application/grpc"))
}

/// The one message of a call.
pub(crate) async fn read(body: Body) -> ApiResult<Bytes> {
    let bad = |reason: String| ApiError::BadRequest(reason);
    let whole = axum::body::to_bytes(body, MESSAGE_BYTES_MAX + PREFIX_BYTES).await;
    let mut framed = whole.map_err(|error| bad(format!("the call cannot be read: {error}")))?;
    if framed.len() < PREFIX_BYTES {
        let seen = framed.len();
        return Err(bad(format!(
            "a gRPC message begins with {PREFIX_BYTES} bytes, this body has {seen}"
        )));
    }
    let (flag, claimed) = (framed.get_u8(), framed.get_u32());
    if flag != 0 {
        return Err(ApiError::NotServed(String::from(
            "compressed messages are not taken here: set no compression for calls",
        )));
    }
    if framed.len() as u64 != u64::from(claimed) {
        let seen = framed.len();
        return Err(bad(format!(
            "a call is one message: it claims {claimed} bytes, {seen} follow"
        )));
    }
    Ok(framed)
}

/// The response of a call: the messages that `work` sends, as they come, and how it ended. It is dropped
/// with the body if the client leaves.
pub(crate) fn respond<F>(work: impl FnOnce(Messages) -> F) -> Response<Body>
where
    F: Future<Output = ApiResult<()>> + Send + 'static,
{
    let (send, receive) = mpsc::channel(1);
    let answering = Answering {
        work: Some(Box::pin(work(send))),
        messages: receive,
        ended: None,
    };
    let mut response = Response::new(Body::new(StreamBody::new(answering.frames())));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// A call of a method that is not there.
pub(crate) fn no_such_method(path: &str) -> Response<Body> {
    let error = ApiError::NotServed(format!(
        "there is no method {path:?} here: this is Tracewell's query port, which serves \
         tempopb.StreamingQuerier"
    ));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response.headers_mut().extend(trailers(&Err(error)));
    response
}

/// A call while it is answered.
struct Answering {
    work: Option<Pin<Box<dyn Future<Output = ApiResult<()>> + Send>>>,
    messages: mpsc::Receiver<Vec<u8>>,
    ended: Option<ApiResult<()>>,
}

// === impl Answering ===

impl Answering {
    fn frames(self) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
        stream::unfold(Some(self), |answering| async {
            let mut answering = answering?;
            Some(match answering.next().await {
                Some(message) => (Ok(Frame::data(framed(&message))), Some(answering)),
                None => {
                    let ended = answering.ended.unwrap_or(Ok(()));
                    (Ok(Frame::trailers(trailers(&ended))), None)
                }
            })
        })
    }

    /// The next message; `None` once the work is done and all are sent.
    async fn next(&mut self) -> Option<Vec<u8>> {
        while let Some(work) = &mut self.work {
            tokio::select! {
                biased;
                message = self.messages.recv() => match message {
                    Some(message) => return Some(message),
                    None => {
                        self.ended = Some(work.await);
                        self.work = None;
                    }
                },
                ended = &mut *work => {
                    self.ended = Some(ended);
                    self.work = None;
                }
            }
        }
        self.messages.recv().await
    }
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

fn trailers(ended: &ApiResult<()>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    let code = ended.as_ref().err().map_or(0, ApiError::grpc_code);
    trailers.insert(GRPC_STATUS, HeaderValue::from(code));
    if let Err(error) = ended
        && let Ok(message) = HeaderValue::try_from(percent_encoded(&error.to_string()))
    {
        trailers.insert(GRPC_MESSAGE, message);
    }
    trailers
}

/// Everything but printable ASCII, and `%` itself, as `%41`.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_errors_are_ascii() {
        assert_eq!(percent_encoded("50 % of \u{e4}\n"), "50 %25 of %C3%A4%0A");
    }
}
