//! OTLP/HTTP: `POST /v1/traces`, `/v1/metrics`, `/v1/logs`, and helpful answers to everything else.
//!
//! Source: opentelemetry-proto, `docs/specification.md`, "OTLP/HTTP".

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tracewell_wire::otlp::Signal;
use tracewell_wire::otlp::response::PartialSuccess;

use crate::body::{self, Length};
use crate::compression::Encoding;
use crate::intake::Call;
use crate::metrics::{Format, Protocol};
use crate::refusal::Refusal;
use crate::reply::{self, Reply};
use crate::server::Shared;

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// How long a refused HTTP/1 sender may go on before the refusal is sent all the same.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);
/// How many times `limits.request_bytes_max` it may go on for. Who is cut off sees a broken connection and
/// sends the same again.
const DRAIN_TIMES: u64 = 16;
/// Of a hostile header's text, this many characters go into a message.
const EXCERPT_CHARS: usize = 64;

/// Answers one request of the HTTP port.
pub(crate) async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Reply> {
    if is_grpc(request.headers()) {
        return crate::grpc::wrong_port(&shared, request.uri().path());
    }
    let path = request.uri().path().trim_end_matches('/');
    let signal = match path {
        "/v1/traces" => Signal::Traces,
        "/v1/metrics" => Signal::Metrics,
        "/v1/logs" => Signal::Logs,
        "" if matches!(*request.method(), Method::GET | Method::HEAD) => {
            return text(StatusCode::OK, &what_this_is(&shared));
        }
        _ => return not_found(&shared, request.method(), path),
    };
    if request.method() != Method::POST {
        return not_allowed(&shared, path);
    }
    export(&shared, signal, request).await
}

async fn export(shared: &Shared, signal: Signal, request: Request<Incoming>) -> Response<Reply> {
    let (head, mut incoming) = request.into_parts();
    let format = format_of(&head.headers);
    let mut call = Call {
        protocol: Protocol::Http,
        signal,
        format: format.clone().unwrap_or(Format::Protobuf),
        encoding: Encoding::Identity,
    };
    let exported = async {
        format.clone()?;
        call.encoding = encoding_of(&head.headers)?;
        let tenant = shared.tenant(&head.headers)?;
        let mut reservation = shared.intake.admission.request();
        let claimed = Length::Head(content_length(&head.headers));
        let limits = shared.body_limits(0);
        let wire = body::read(&mut incoming, claimed, limits, &mut reservation).await?;
        shared
            .intake
            .export(&call, &tenant, wire, &mut reservation)
            .await
    };
    let result = exported.await;
    shared.intake.count(&call, &result);
    match result {
        Ok(answer) => accepted(signal, call.format, &answer),
        Err(refusal) => {
            // Over HTTP/2 a stream is reset by itself; a sender that waits for "100 Continue"
            // has sent nothing.
            if head.version < Version::HTTP_2 && !head.headers.contains_key(EXPECT) {
                let n_max = shared.intake.limits().request_bytes_max;
                let n_max = n_max.saturating_mul(DRAIN_TIMES);
                body::drain(&mut incoming, n_max, DRAIN_WITHIN).await;
            }
            refused(format.ok(), &refusal)
        }
    }
}

/// True for a call of gRPC, whatever it calls.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn format_of(headers: &HeaderMap) -> Result<Format, Refusal> {
    let value = headers.get(CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii();
    let table: [(&str, Format); 3] = [
        ("application/x-protobuf", Format::Protobuf),
        ("application/protobuf", Format::Protobuf),
        ("application/json", Format::Json),
    ];
    table
        .iter()
        .find(|(name, _)| essence.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, format)| *format)
        .ok_or_else(|| Refusal::ContentType {
            reason: format!(
                "the content type {:?} is not supported: send application/x-protobuf or \
                 application/json",
                excerpt(value)
            ),
        })
}

fn encoding_of(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(Encoding::Identity),
        (Some(value), None) => Encoding::parse(value.as_bytes()).ok_or_else(|| Refusal::Encoding {
            seen: excerpt(value.as_bytes()),
        }),
        (Some(_), Some(_)) => Err(Refusal::Encoding {
            seen: String::from("several"),
        }),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

pub(crate) fn excerpt(value: &[u8]) -> String {
    String::from_utf8_lossy(value)
        .chars()
        .take(EXCERPT_CHARS)
        .collect()
}

fn accepted(signal: Signal, format: Format, answer: &PartialSuccess) -> Response<Reply> {
    let (content_type, body) = match format {
        Format::Protobuf => (PROTOBUF, answer.to_protobuf()),
        Format::Json => (JSON, answer.to_json(signal).into_bytes()),
    };
    response(StatusCode::OK, content_type, body.into())
}

/// A refusal as `google.rpc.Status` in the format of the request, or as text if that is unknown.
fn refused(format: Option<Format>, refusal: &Refusal) -> Response<Reply> {
    let (content_type, body) = match format {
        Some(Format::Protobuf) => (PROTOBUF, reply::rpc_status(refusal).to_protobuf()),
        Some(Format::Json) => (JSON, reply::rpc_status(refusal).to_json().into_bytes()),
        None => (TEXT, format!("{refusal}\n").into_bytes()),
    };
    let mut response = response(refusal.http_status(), content_type, body.into());
    if let Some(delay) = refusal.retry_after() {
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Refusal::NotAllowed(error) = refusal
        && let Some(challenge) = error.challenge()
    {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if matches!(refusal, Refusal::Encoding { .. }) {
        response.headers_mut().insert(
            ACCEPT_ENCODING,
            HeaderValue::from_static(Encoding::ACCEPTED),
        );
    }
    response
}

/// After a panic in the service.
pub(crate) fn internal_error() -> Response<Reply> {
    refused(None, &Refusal::Internal)
}

fn what_this_is(shared: &Shared) -> String {
    format!(
        "This is Tracewell's OTLP/HTTP receiver. Send POST /v1/traces with Content-Type \
         application/x-protobuf or application/json; an OpenTelemetry SDK does so with \
         OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf and OTEL_EXPORTER_OTLP_ENDPOINT set to this \
         address without a path.{}\n",
        shared.grpc_is_at()
    )
}

fn not_found(shared: &Shared, method: &Method, path: &str) -> Response<Reply> {
    let hint = if path.is_empty() || path.ends_with("/v1/traces") {
        " OTEL_EXPORTER_OTLP_ENDPOINT takes the address without a path, \
         OTEL_EXPORTER_OTLP_TRACES_ENDPOINT the whole URL with /v1/traces."
    } else {
        ""
    };
    let path = excerpt(path.as_bytes());
    let what = what_this_is(shared);
    text(
        StatusCode::NOT_FOUND,
        &format!("There is no {method} {path} here.{hint} {what}"),
    )
}

fn not_allowed(shared: &Shared, path: &str) -> Response<Reply> {
    let what = what_this_is(shared);
    let body = format!("{path} takes POST only. {what}");
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &body);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

pub(crate) fn text(status: StatusCode, body: &str) -> Response<Reply> {
    response(status, TEXT, Bytes::copy_from_slice(body.as_bytes()))
}

fn response(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
