//! Delivers OTLP requests over one connection, by gRPC or HTTP, and keeps count.
//!
//! Both ways are written on hyper: a gRPC call is one HTTP/2 request with a five-byte prefix and
//! trailers, and the sender shall cost as little as it can. What the server asks for is honoured:
//! `Retry-After`, `RetryInfo`, and not to send again what cannot succeed.

mod deliver;
mod report;
mod trouble;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tracewell_model::TenantId;

use crate::Usage;
use crate::client::unescape;
use crate::connect::{self, Alpn};
pub(crate) use deliver::{check_connections, deliver_all, queue};
pub(crate) use report::Report;
use trouble::Trouble;
pub(crate) use trouble::{Tell, tell};

/// Where to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) protocol: Protocol,
    pub(crate) is_tls: bool,
    /// host:port.
    pub(crate) authority: String,
    pub(crate) path: String,
    /// Whose spans they are, for a server with tenants.
    pub(crate) tenant: Option<TenantId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// One request, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// An OTLP `ExportTraceServiceRequest`.
    pub(crate) body: Bytes,
    pub(crate) n_spans: usize,
    /// When it should be sent, where there is a pace: waiting for its turn is part of what it takes.
    pub(crate) due: Option<Instant>,
}

/// One connection and what was sent over it.
#[derive(Debug)]
pub(crate) struct Sender {
    endpoint: Endpoint,
    connection: Option<Connection>,
    report: Report,
    trouble: Trouble,
}

#[derive(Debug)]
enum Connection {
    Grpc(http2::SendRequest<Full<Bytes>>),
    Http(http1::SendRequest<Full<Bytes>>),
}

/// What became of one try.
enum Answer {
    Accepted {
        n_rejected: u64,
        message: String,
    },
    /// Not now; the server may say when.
    Later {
        after: Option<Duration>,
        reason: String,
    },
    /// Never.
    Refused {
        reason: String,
    },
}

const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HTTP_PATH: &str = "/v1/traces";
/// Tries of one request that the server does not answer, or not with when to come back; with the pauses below
/// that is about four minutes.
const TRIES_MAX: u32 = 24;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(60);
/// The first connection: a server that is there takes it at once.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer to an export has some hundred bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

// === impl Sender ===

impl Sender {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            connection: None,
            report: Report::default(),
            trouble: Trouble::new(|_| {}),
        }
    }

    /// Who hears at once of trouble that lasts; without one, the report tells at the end.
    pub(crate) fn telling(self, tell: Tell) -> Self {
        Self {
            trouble: Trouble::new(tell),
            ..self
        }
    }

    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    pub(crate) fn into_report(self) -> Report {
        self.report
    }

    /// Sends until it is acknowledged, refused for good, or hopeless; false in the last case, when the next
    /// request would fare no better.
    pub(crate) async fn send(&mut self, request: &Request) -> bool {
        let mut pause = PAUSE_FIRST;
        let mut n_tries = 0;
        // A sender waits through refusals as well.
        let start = request.due.unwrap_or_else(Instant::now);
        while n_tries < TRIES_MAX {
            let attempt = attempt(&mut self.connection, &self.endpoint, request);
            let attempt = tokio::time::timeout(TIMEOUT, attempt);
            let answer = match self.trouble.during(attempt).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => Answer::Later {
                    after: None,
                    reason: format!("{error:#}"),
                },
                Err(_) => Answer::Later {
                    after: None,
                    reason: format!("no answer in {TIMEOUT:?}"),
                },
            };
            match answer {
                Answer::Accepted {
                    n_rejected,
                    message,
                } => {
                    self.report
                        .accepted(request, n_rejected, &message, start.elapsed());
                    self.trouble.is_over();
                    return true;
                }
                Answer::Refused { reason } => {
                    self.trouble.failed(&reason);
                    self.report.lost(request, &reason);
                    return true;
                }
                Answer::Later { after, reason } => {
                    self.trouble.failed(&reason);
                    self.report.retried(&reason);
                    let pausing = tokio::time::sleep(after.unwrap_or(pause).min(PAUSE_MAX));
                    self.trouble.during(pausing).await;
                    // A server that says when is there, and slower than its senders.
                    if after.is_none() {
                        pause = (pause * 2).min(PAUSE_MAX);
                        n_tries += 1;
                    }
                }
            }
        }
        let last = self.report.trouble.take().unwrap_or_default();
        let reason = format!("gave up after {TRIES_MAX} tries: {last}");
        self.report.lost(request, &reason);
        false
    }
}

/// Sends once, over the connection that there is or a new one.
async fn attempt(
    held: &mut Option<Connection>,
    endpoint: &Endpoint,
    request: &Request,
) -> Result<Answer> {
    let mut connection = match held.take() {
        Some(connection) => connection,
        None => connect(endpoint).await?,
    };
    let answer = match &mut connection {
        Connection::Grpc(client) => grpc(client, endpoint, request).await?,
        Connection::Http(client) => http(client, endpoint, request).await?,
    };
    // A connection that failed is dropped with its error.
    *held = Some(connection);
    Ok(answer)
}

async fn connect(endpoint: &Endpoint) -> Result<Connection> {
    let alpn = endpoint.protocol.alpn();
    let stream = connect::connect(&endpoint.authority, endpoint.is_tls, alpn)
        .await
        .with_context(|| format!("no server answers at {endpoint}"))?;
    let stream = TokioIo::new(stream);
    Ok(match endpoint.protocol {
        Protocol::Grpc => {
            let (client, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(1 << 20)
                .handshake(stream)
                .await?;
            drive(connection);
            Connection::Grpc(client)
        }
        Protocol::Http => {
            let (client, connection) = http1::handshake(stream).await?;
            drive(connection);
            Connection::Http(client)
        }
    })
}

/// Runs the connection's own work; it ends with the connection, and its error is seen by the call.
fn drive(connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the server ended");
        }
    });
}

async fn http(
    client: &mut http1::SendRequest<Full<Bytes>>,
    endpoint: &Endpoint,
    request: &Request,
) -> Result<Answer> {
    let message = post(&endpoint.path, endpoint)
        .header("host", &endpoint.authority)
        .header("content-type", "application/x-protobuf")
        .body(Full::new(request.body.clone()))?;
    client.ready().await?;
    let response = client.send_request(message).await?;
    let status = response.status();
    let after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let body = read(response.into_body()).await?;
    if status.is_success() {
        let (n_rejected, message) = partial_success(&body);
        return Ok(Answer::Accepted {
            n_rejected,
            message,
        });
    }
    let reason = format!("HTTP {status}: {}", printable(&body));
    Ok(match status.as_u16() {
        429 | 502 | 503 | 504 => Answer::Later { after, reason },
        _ => Answer::Refused { reason },
    })
}

async fn grpc(
    client: &mut http2::SendRequest<Full<Bytes>>,
    endpoint: &Endpoint,
    request: &Request,
) -> Result<Answer> {
    let mut framed = BytesMut::with_capacity(request.body.len() + 5);
    framed.put_u8(0);
    framed.put_u32(request.body.len() as u32);
    framed.extend_from_slice(&request.body);
    let scheme = if endpoint.is_tls { "https" } else { "http" };
    let uri = format!("{scheme}://{}{}", endpoint.authority, endpoint.path);
    let message = post(&uri, endpoint)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(framed.freeze()))?;
    client.ready().await?;
    let response = client.send_request(message).await?;
    let status = response.status();
    let headers = response.headers().clone();
    let collected = response.into_body().collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let body = collected.to_bytes();
    let find = |name: &str| {
        let value = trailers.get(name).or_else(|| headers.get(name));
        value.and_then(|value| value.to_str().ok())
    };
    let code = find("grpc-status").and_then(|code| code.parse::<u32>().ok());
    let reason = format!(
        "gRPC {}: {}",
        code.map_or_else(|| format!("HTTP {status}"), |code| code.to_string()),
        unescape(find("grpc-message").unwrap_or_default())
    );
    Ok(match code {
        Some(0) => {
            let (n_rejected, message) = partial_success(body.get(5..).unwrap_or_default());
            Answer::Accepted {
                n_rejected,
                message,
            }
        }
        // Cancelled, deadline, aborted, out of range, unavailable, data loss: OTLP's list.
        Some(1 | 4 | 10 | 11 | 14 | 15) => Answer::Later {
            after: find("grpc-status-details-bin").and_then(retry_info),
            reason,
        },
        // RESOURCE_EXHAUSTED is worth a retry only if the server says when.
        Some(8) => match find("grpc-status-details-bin").and_then(retry_info) {
            Some(after) => Answer::Later {
                after: Some(after),
                reason,
            },
            None => Answer::Refused { reason },
        },
        None if status.is_server_error() => Answer::Later {
            after: None,
            reason,
        },
        _ => Answer::Refused { reason },
    })
}

fn post(uri: &str, endpoint: &Endpoint) -> http::request::Builder {
    connect::identify(http::Request::post(uri), endpoint.tenant.as_ref())
}

async fn read(body: hyper::body::Incoming) -> Result<Bytes> {
    let limited = http_body_util::Limited::new(body, ANSWER_BYTES_MAX);
    match limited.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => bail!("reading the answer: {error}"),
    }
}

fn printable(body: &[u8]) -> String {
    const SHOWN: usize = 200;
    String::from_utf8_lossy(body.get(..SHOWN).unwrap_or(body))
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// `ExportTraceServiceResponse`: field 1 is the partial success, in it 1 the count, 2 the message.
fn partial_success(response: &[u8]) -> (u64, String) {
    let mut rejected = (0, String::new());
    let Some(partial) = fields(response).find_map(|field| match field {
        (1, Field::Bytes(bytes)) => Some(bytes),
        _ => None,
    }) else {
        return rejected;
    };
    for field in fields(partial) {
        match field {
            (1, Field::Number(count)) => rejected.0 = count,
            (2, Field::Bytes(text)) => rejected.1 = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    rejected
}

/// The delay of a `google.rpc.RetryInfo` in a `google.rpc.Status`, which is base64 in the trailer.
fn retry_info(header: &str) -> Option<Duration> {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    let status = engine.decode(header.trim_end_matches('=')).ok()?;
    let bytes = |number: u32| {
        move |field: (u32, Field<'_>)| match field {
            (found, Field::Bytes(bytes)) if found == number => Some(bytes.to_vec()),
            _ => None,
        }
    };
    // Status.details (3) are Any messages: type_url (1), value (2).
    let info = fields(&status).filter_map(bytes(3)).find_map(|any| {
        let url = fields(&any).find_map(bytes(1))?;
        url.ends_with(b"google.rpc.RetryInfo")
            .then(|| fields(&any).find_map(bytes(2)))?
    })?;
    // RetryInfo.retry_delay (1) is a Duration: seconds (1), nanos (2).
    let delay = fields(&info).find_map(bytes(1))?;
    let number = |number: u32| {
        fields(&delay).find_map(|field| match field {
            (found, Field::Number(value)) if found == number => Some(value),
            _ => None,
        })
    };
    let nanos = u32::try_from(number(2).unwrap_or(0)).unwrap_or(0);
    Some(Duration::new(
        number(1).unwrap_or(0),
        nanos.min(999_999_999),
    ))
}

/// A field of a protobuf message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message; ends at the first that is broken.
fn fields(mut message: &[u8]) -> impl Iterator<Item = (u32, Field<'_>)> {
    std::iter::from_fn(move || {
        loop {
            let key = take_varint(&mut message)?;
            let number = u32::try_from(key >> 3).ok()?;
            match key & 7 {
                0 => return Some((number, Field::Number(take_varint(&mut message)?))),
                2 => {
                    let len = usize::try_from(take_varint(&mut message)?).ok()?;
                    let (bytes, rest) = message.split_at_checked(len)?;
                    message = rest;
                    return Some((number, Field::Bytes(bytes)));
                }
                1 => message = message.get(8..)?,
                5 => message = message.get(4..)?,
                _ => return None,
            }
        }
    })
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

// === impl Protocol ===

impl Protocol {
    fn alpn(self) -> Alpn {
        match self {
            Self::Grpc => Alpn::Http2,
            Self::Http => Alpn::Http1,
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Whether anything takes a connection: who begins to send knows at once. The flag is the one to
    /// name another endpoint with.
    pub(crate) async fn reach(&self, flag: &str) -> Result<()> {
        let connecting = connect::connect(&self.authority, self.is_tls, self.protocol.alpn());
        let connected = match tokio::time::timeout(REACH_TIMEOUT, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(anyhow!("no connection within {REACH_TIMEOUT:?}")),
        };
        connected.map(drop).with_context(|| {
            format!(
                "no server answers at {self}; start one with `tracewell`, or name another with {flag}"
            )
        })
    }
}

impl FromStr for Endpoint {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |what: &str| Err(Usage(format!("endpoint {text:?}: {what}")).into());
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong(
                "expected grpc://host:4317 or http://host:4318, with TLS grpcs:// or https://",
            );
        };
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at_checked(slash).unwrap_or((rest, "")),
            None => (rest, ""),
        };
        let (protocol, port, own_path) = match scheme {
            "grpc" | "grpcs" => (Protocol::Grpc, 4317, GRPC_PATH),
            "http" | "https" => (Protocol::Http, 4318, HTTP_PATH),
            _ => return wrong("expected grpc://, grpcs://, http:// or https://"),
        };
        if authority.is_empty() {
            return wrong("names no host");
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = match has_port {
            true => authority.to_owned(),
            false => format!("{authority}:{port}"),
        };
        let path = match path {
            "" | "/" => own_path.to_owned(),
            path => path.to_owned(),
        };
        Ok(Self {
            protocol,
            is_tls: scheme.ends_with('s'),
            authority,
            path,
            tenant: None,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.is_tls { "s" } else { "" };
        match self.protocol {
            Protocol::Grpc => write!(f, "grpc{s}://{}", self.authority),
            Protocol::Http => write!(f, "http{s}://{}{}", self.authority, self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracewell_wire::protobuf::Writer;

    use super::*;

    #[test]
    fn endpoints() {
        let parse = |text: &str| text.parse::<Endpoint>();
        assert_eq!(parse("grpc://h").unwrap().to_string(), "grpc://h:4317");
        assert_eq!(
            parse("http://h:1").unwrap().to_string(),
            "http://h:1/v1/traces"
        );
        assert_eq!(parse("http://h:1/a/b").unwrap().path, "/a/b");
        for (text, is_tls) in [
            ("grpcs://h:4317", true),
            ("https://h:4318/v1/traces", true),
            ("grpc://h:4317", false),
        ] {
            let endpoint = parse(text).unwrap();
            assert_eq!(
                (endpoint.to_string(), endpoint.is_tls),
                (text.to_owned(), is_tls)
            );
        }
        for text in ["h:4317", "ftp://h", "http://"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_delay_is_read_out_of_retry_info() {
        use base64::Engine;
        let mut status = Writer::default();
        status.varint(1, 8);
        status.message(3, |any| {
            any.bytes(1, b"type.googleapis.com/google.rpc.RetryInfo");
            any.message(2, |info| {
                info.message(1, |delay| {
                    delay.varint(1, 2);
                    delay.varint(2, 500_000_000);
                });
            });
        });
        let engine = base64::engine::general_purpose::STANDARD;
        let header = engine.encode(status.into_bytes());
        assert_eq!(retry_info(&header), Some(Duration::from_millis(2_500)));
        assert_eq!(retry_info("!"), None);
    }

    #[test]
    fn what_was_rejected_is_read_out_of_the_answer() {
        let mut response = Writer::default();
        response.message(1, |partial| {
            partial.varint(1, 3);
            partial.bytes(2, b"no");
        });
        let response = response.into_bytes();
        assert_eq!(partial_success(&response), (3, "no".to_owned()));
        assert_eq!(partial_success(&[]), (0, String::new()));
        assert_eq!(partial_success(&[0xff; 20]), (0, String::new()));
    }
}
