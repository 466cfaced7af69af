//! Answers on their way out: small ones in one piece, large ones as a stream of pieces made on a
//! thread of their own while they are sent; gzip where the client takes it.

mod pieces;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tracewell_model::source::{HeldMemory, QueryMemory};

use crate::error::{ApiError, ApiResult};
use crate::gate::Permit;
use crate::json::{Json, Pieces};
use pieces::Sending;

/// What the client wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Protobuf,
}

/// An answer without its encoding.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) content_type: HeaderValue,
    pub(crate) content: Content,
    /// Why the answer may miss something, for formats that have no field for it.
    pub(crate) partial: Vec<String>,
    /// What it was made of takes so much of the memory of queries.
    pub(crate) held: HeldMemory,
}

pub(crate) enum Content {
    /// Takes as much of the memory of queries as there are bytes, until they are sent.
    Whole(Vec<u8>),
    /// Written while it is sent; until it is written, what the query has found is held, and a permit:
    /// one to send, or that of its query where too many are sent.
    Large(LargeWriter, Permit),
}

/// Writes a large JSON document.
pub(crate) type LargeWriter = Box<dyn FnOnce(&mut Json<Channel>) + Send>;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const PROTOBUF: HeaderValue = HeaderValue::from_static("application/protobuf");
pub(crate) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub(crate) const PARTIAL: HeaderName = HeaderName::from_static("x-tracewell-partial");
const PARTIAL_CHARS_MAX: usize = 1_000;
/// Less is not worth the compression.
const GZIP_BYTES_MIN: usize = 1 << 10;

// === impl Format ===

impl Format {
    /// Tempo looks for the name anywhere in `Accept`.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if accepts(headers, "application/protobuf") {
            Self::Protobuf
        } else {
            Self::Json
        }
    }
}

/// Whether `Accept` names a media type, anywhere and with any weight.
pub(crate) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains(media_type))
}

// === impl Answer ===

impl Answer {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::whole(TEXT, text.into().into_bytes())
    }

    pub(crate) fn protobuf(bytes: Vec<u8>) -> Self {
        Self::whole(PROTOBUF, bytes)
    }

    pub(crate) fn whole(content_type: HeaderValue, bytes: Vec<u8>) -> Self {
        Self {
            content_type,
            content: Content::Whole(bytes),
            partial: Vec::new(),
            held: HeldMemory::default(),
        }
    }

    pub(crate) fn json(write: impl FnOnce(&mut Json<Channel>)) -> Self {
        let mut json = Json::new(Channel::Whole(Vec::new()));
        write(&mut json);
        Self::whole(JSON, json.finish().complete())
    }

    pub(crate) fn large_json(permit: Permit, write: LargeWriter) -> Self {
        Self {
            content_type: JSON,
            content: Content::Large(write, permit),
            partial: Vec::new(),
            held: HeldMemory::default(),
        }
    }

    pub(crate) fn with_partial(mut self, partial: Vec<String>) -> Self {
        self.partial = partial;
        self
    }

    pub(crate) fn holding(mut self, held: HeldMemory) -> Self {
        self.held = held;
        self
    }

    /// Its bytes count among the memory of queries until they are sent, if what it was made of does not already.
    pub(crate) fn counted(mut self, memory: &Arc<QueryMemory>) -> Self {
        if !self.held.is_counted() {
            self.held = HeldMemory::of(memory);
        }
        self
    }

    /// The response for a client with these request headers.
    pub(crate) fn respond(self, request: &HeaderMap) -> Response<Body> {
        let is_gzip = accepts_gzip(request);
        let held = self.held;
        let (body, is_gzip) = match self.content {
            Content::Whole(bytes) if is_gzip && bytes.len() >= GZIP_BYTES_MIN => {
                match gzip(&bytes) {
                    Ok(compressed) => (whole(compressed, held), true),
                    Err(_) => (whole(bytes, held), false),
                }
            }
            Content::Whole(bytes) => (whole(bytes, held), false),
            Content::Large(write, permit) => match streamed(write, permit, held, is_gzip) {
                Ok(body) => (body, is_gzip),
                Err(error) => return respond_error(&error),
            },
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.content_type);
        headers.insert(VARY, HeaderValue::from_static("accept-encoding, accept"));
        if is_gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(value) = partial_header(&self.partial) {
            headers.insert(PARTIAL, value);
        }
        response
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Large(..) => f.write_str("Large"),
        }
    }
}

/// An error as plain text.
pub(crate) fn respond_error(error: &ApiError) -> Response<Body> {
    let text = error.to_string();
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, TEXT);
    if let Some(delay) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(delay.as_secs().max(1)));
    }
    if let ApiError::NotAllowed(error) = error
        && let Some(challenge) = error.challenge()
    {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

pub(crate) fn with_status(mut response: Response<Body>, status: StatusCode) -> Response<Body> {
    *response.status_mut() = status;
    response
}

/// Why an answer may miss something, as a header has room for it.
pub(crate) fn partial_header(partial: &[String]) -> Option<HeaderValue> {
    if partial.is_empty() {
        return None;
    }
    let text: String = partial
        .join("; ")
        .chars()
        .take(PARTIAL_CHARS_MAX)
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        })
        .collect();
    HeaderValue::from_str(&text).ok()
}

/// What a client sends may take so long, all of it: it is a query.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// The body of a request of a few kilobytes.
pub(crate) async fn read_body(body: Body, bytes_max: usize) -> ApiResult<Bytes> {
    let read = Limited::new(body, bytes_max).collect();
    match tokio::time::timeout(BODY_TIME_MAX, read).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::BadRequest(format!(
            "the request has more than {bytes_max} bytes"
        ))),
        Ok(Err(error)) => Err(ApiError::BadRequest(format!(
            "the request broke off: {error}"
        ))),
        Err(_) => Err(ApiError::BadRequest(format!(
            "the request did not arrive within {BODY_TIME_MAX:?}"
        ))),
    }
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| {
            let (name, weight) = part.split_once(';').unwrap_or((part, ""));
            let is_refused = matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
            name.trim().eq_ignore_ascii_case("gzip") && !is_refused
        })
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    writer.write_all(bytes)?;
    writer.finish()
}

/// Encoded bytes, and the memory that they take until the connection has let go of them.
struct HeldBytes {
    bytes: Vec<u8>,
    _held: HeldMemory,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn whole(bytes: Vec<u8>, mut held: HeldMemory) -> Body {
    held.resize(bytes.len() as u64);
    Body::from(Bytes::from_owner(HeldBytes { bytes, _held: held }))
}

/// Written by a thread of its own: a client that is slow to read keeps no thread from the queries.
fn streamed(
    write: LargeWriter,
    permit: Permit,
    held: HeldMemory,
    is_gzip: bool,
) -> Result<Body, ApiError> {
    let (sending, received) = pieces::channel(permit.answer_time_max());
    let sent = permit.until_sent();
    let write = move || {
        let _until_written = (held, sent);
        let mut json = Json::new(Channel::new(sending, is_gzip));
        write(&mut json);
        drop(json.finish().complete());
    };
    let spawned = std::thread::Builder::new()
        .name(String::from("answer"))
        .spawn(write);
    match spawned {
        Ok(_) => Ok(Body::from_stream(received)),
        Err(error) => Err(ApiError::Unavailable(format!(
            "no thread to write the answer: {error}"
        ))),
    }
}

/// Where the pieces of a document go: kept, or sent to a body, compressed or not. If a body ends
/// before it was completed (a panic in the thread that writes), it ends in an error, so that nobody
/// takes it for whole.
pub(crate) enum Channel {
    Whole(Vec<u8>),
    Plain(Sending),
    Gzip(Box<GzEncoder<Sending>>),
}

// === impl Channel ===

impl Channel {
    fn new(sending: Sending, is_gzip: bool) -> Self {
        if is_gzip {
            Self::Gzip(Box::new(GzEncoder::new(sending, Compression::fast())))
        } else {
            Self::Plain(sending)
        }
    }

    /// What was kept.
    fn complete(self) -> Vec<u8> {
        let finished = match self {
            Self::Whole(bytes) => return bytes,
            Self::Plain(sending) => Ok(sending),
            Self::Gzip(encoder) => encoder.finish(),
        };
        // An error means that the client left, or was too slow.
        if let Ok(sending) = finished {
            sending.complete();
        }
        Vec::new()
    }
}

impl Pieces for Channel {
    fn piece(&mut self, bytes: Vec<u8>) -> bool {
        match self {
            Self::Whole(kept) if kept.is_empty() => {
                *kept = bytes;
                true
            }
            Self::Whole(kept) => {
                kept.extend_from_slice(&bytes);
                true
            }
            Self::Plain(sending) => sending.send(bytes.into()).is_ok(),
            Self::Gzip(encoder) => encoder.write_all(&bytes).is_ok(),
        }
    }
}
