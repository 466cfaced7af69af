//! gRPC over the port of the API: one message in, a stream of messages and a status out.
//!
//! Framed by hand, as the receiver does ([`tracewell_ingest`], its `grpc` module says why). What comes in is
//! small: a query. Source: grpc/grpc, `doc/PROTOCOL-HTTP2.md`.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{Stream, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::answer;
use crate::error::{ApiError, ApiResult};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// A query, a name and a few numbers.
const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// Clients take 8 KiB of trailers by default; a character may become three.
const REASON_CHARS_MAX: usize = 2_000;

/// How a call ended: why its answer may miss something, or the error.
pub(crate) type Ended = ApiResult<Vec<String>>;

/// Messages on their way to the client, of which one waits at most.
#[derive(Debug)]
pub(crate) struct Messages {
    sender: mpsc::Sender<Vec<u8>>,
    /// For those that are sent together.
    time_max: Duration,
}

/// The one message of a call.
pub(crate) async fn read(body: Body) -> ApiResult<Bytes> {
    let bad = |reason: String| ApiError::BadRequest(reason);
    let mut framed = answer::read_body(body, MESSAGE_BYTES_MAX + PREFIX_BYTES).await?;
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

/// The response of a call: the messages that `work` sends, as they come, and how it ended. The work is a task of
/// its own, so that it goes on and ends in time though nobody reads; it is aborted if the client leaves.
pub(crate) fn respond<F>(time_max: Duration, work: impl FnOnce(Messages) -> F) -> Response<Body>
where
    F: Future<Output = Ended> + Send + 'static,
{
    let (sender, messages) = mpsc::channel(1);
    let mut task = JoinSet::new();
    task.spawn(work(Messages { sender, time_max }));
    let answering = Answering { task, messages };
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
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response.headers_mut().extend(trailers(&Err(error)));
    response
}

/// A call while it is answered.
struct Answering {
    task: JoinSet<Ended>,
    messages: mpsc::Receiver<Vec<u8>>,
}

// === impl Messages ===

impl Messages {
    /// Sends some within the time that any answer has.
    pub(crate) async fn send_all(&self, messages: impl Iterator<Item = Vec<u8>>) -> ApiResult<()> {
        let deadline = Instant::now() + self.time_max;
        for message in messages {
            match tokio::time::timeout_at(deadline, self.sender.send(message)).await {
                Ok(sent) => sent.map_err(|_| ApiError::Cancelled)?,
                Err(_) => {
                    tracing::debug!("a client did not read its answer in time");
                    let limit = self.time_max;
                    return Err(ApiError::TimedOut { limit });
                }
            }
        }
        Ok(())
    }
}

// === impl Answering ===

impl Answering {
    fn frames(self) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
        stream::unfold(Some(self), |answering| async {
            let mut answering = answering?;
            // The sender goes with the task.
            Some(match answering.messages.recv().await {
                Some(message) => (Ok(Frame::data(framed(&message))), Some(answering)),
                None => (
                    Ok(Frame::trailers(trailers(&answering.ended().await))),
                    None,
                ),
            })
        })
    }

    async fn ended(&mut self) -> Ended {
        match self.task.join_next().await {
            Some(Ok(ended)) => ended,
            _ => Err(ApiError::Internal(String::from("the call was ended"))),
        }
    }
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

fn trailers(ended: &Ended) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    match ended {
        Ok(partial) => {
            trailers.insert(GRPC_STATUS, HeaderValue::from(0));
            if let Some(partial) = answer::partial_header(partial) {
                trailers.insert(answer::PARTIAL, partial);
            }
        }
        Err(error) => {
            trailers.insert(GRPC_STATUS, HeaderValue::from(error.grpc_code()));
            let reason: String = error.to_string().chars().take(REASON_CHARS_MAX).collect();
            if let Ok(reason) = HeaderValue::try_from(percent_encoded(&reason)) {
                trailers.insert(GRPC_MESSAGE, reason);
            }
        }
    }
    trailers
}

/// Everything but printable ASCII, and `%` itself, as `%41`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => drop(write!(encoded, "%{byte:02X}")),
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
