//! OTLP/gRPC: the three unary `Export` methods, framed by hand over HTTP/2.
//!
//! A unary call is one length-prefixed message and a status in the trailers. Framing it here, and
//! not in a gRPC library, lets the byte budget be taken before a body is read, bodies be
//! decompressed off the runtime's threads, and the message be handed on without a copy
//! (docs/adr). Source: grpc/grpc, `doc/PROTOCOL-HTTP2.md`.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tonic::Status;
use tracewell_wire::otlp::Signal;
use tracewell_wire::otlp::response::PartialSuccess;

use crate::body::{self, Length, PREFIX_BYTES};
use crate::compression::Encoding;
use crate::http::{excerpt, is_grpc, text};
use crate::intake::Call;
use crate::metrics::{Format, Protocol};
use crate::refusal::Refusal;
use crate::reply::{self, Reply};
use crate::server::Shared;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Answers one request of the gRPC port.
pub(crate) async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Reply> {
    if !is_grpc(request.headers()) {
        return not_grpc(&shared, request.method(), request.uri().path());
    }
    if request.method() != Method::POST {
        return failed(&Status::unimplemented("gRPC calls are POST requests"));
    }
    let path = request.uri().path();
    let Some(signal) = signal_of(path) else {
        return failed(&Status::unimplemented(format!(
            "there is no method {:?} here: this is Tracewell's OTLP/gRPC receiver, which serves \
             the Export of opentelemetry.proto.collector.trace.v1.TraceService",
            excerpt(path.as_bytes())
        )));
    };
    export(&shared, signal, request).await
}

fn signal_of(path: &str) -> Option<Signal> {
    let rest = path.strip_prefix("/opentelemetry.proto.collector.")?;
    match rest {
        "trace.v1.TraceService/Export" => Some(Signal::Traces),
        "metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
        "logs.v1.LogsService/Export" => Some(Signal::Logs),
        _ => None,
    }
}

async fn export(shared: &Shared, signal: Signal, request: Request<Incoming>) -> Response<Reply> {
    let (head, mut incoming) = request.into_parts();
    let mut call = Call {
        protocol: Protocol::Grpc,
        signal,
        format: Format::Protobuf,
        encoding: Encoding::Identity,
    };
    let exported = async {
        check_content_type(&head.headers)?;
        let encoding = encoding_of(&head.headers)?;
        call.encoding = encoding;
        let tenant = shared.tenant(&head.headers)?;
        let mut reservation = shared.intake.admission.request();
        let limits = shared.body_limits(PREFIX_BYTES);
        let framed = body::read(&mut incoming, Length::Prefix, limits, &mut reservation).await?;
        let (is_compressed, message) = unframe(framed)?;
        if !is_compressed {
            call.encoding = Encoding::Identity;
        } else if encoding == Encoding::Identity {
            return Err(Refusal::BadBody {
                reason: String::from("the message is marked as compressed, but no grpc-encoding"),
            });
        }
        shared
            .intake
            .export(&call, &tenant, message, &mut reservation)
            .await
    };
    let result: Result<PartialSuccess, Refusal> = exported.await;
    shared.intake.count(&call, &result);
    match result {
        Ok(answer) => accepted(&answer),
        Err(refusal) => failed(&reply::grpc_status(&refusal)),
    }
}

/// The flag and the message of a body that holds exactly one.
fn unframe(mut framed: Bytes) -> Result<(bool, Bytes), Refusal> {
    let bad = |reason: String| Err(Refusal::BadBody { reason });
    if (framed.len() as u64) < PREFIX_BYTES {
        return bad(format!(
            "a gRPC message begins with {PREFIX_BYTES} bytes, this body has {}",
            framed.len()
        ));
    }
    let flags = framed.get_u8();
    let claimed = framed.get_u32() as usize;
    if framed.len() != claimed {
        return bad(format!(
            "a unary call is one message: it claims {claimed} bytes, {} follow",
            framed.len()
        ));
    }
    match flags {
        0 => Ok((false, framed)),
        1 => Ok((true, framed)),
        other => bad(format!("the compression flag is {other}, expected 0 or 1")),
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers.get(CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
    match essence.trim_ascii() {
        b"application/grpc" | b"application/grpc+proto" => Ok(()),
        other => Err(Refusal::ContentType {
            reason: format!(
                "the content type {:?} is not supported: send application/grpc or \
                 application/grpc+proto",
                excerpt(other)
            ),
        }),
    }
}

fn encoding_of(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    headers
        .get(GRPC_ENCODING)
        .map_or(Ok(Encoding::Identity), |value| {
            Encoding::parse(value.as_bytes()).ok_or_else(|| Refusal::Encoding {
                seen: excerpt(value.as_bytes()),
            })
        })
}

fn accepted(answer: &PartialSuccess) -> Response<Reply> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let message = answer.to_protobuf();
    let mut response = Response::new(Reply::grpc(&message, trailers));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(
        GRPC_ACCEPT_ENCODING,
        HeaderValue::from_static(Encoding::ACCEPTED),
    );
    response
}

/// A status without a message: headers alone, as gRPC's "trailers-only".
fn failed(status: &Status) -> Response<Reply> {
    let mut response = Response::new(Reply::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(
        GRPC_ACCEPT_ENCODING,
        HeaderValue::from_static(Encoding::ACCEPTED),
    );
    if status.add_header(headers).is_err() {
        // The message was not fit for a header, even escaped: the code alone still is.
        headers.insert(GRPC_STATUS, HeaderValue::from(i32::from(status.code())));
    }
    response
}

/// A gRPC call that arrived at the HTTP port.
pub(crate) fn wrong_port(shared: &Shared, path: &str) -> Response<Reply> {
    failed(&Status::unimplemented(format!(
        "{} was called on the port for OTLP/HTTP.{}",
        excerpt(path.as_bytes()),
        shared.grpc_is_at()
    )))
}

/// After a panic in the service.
pub(crate) fn internal_error() -> Response<Reply> {
    failed(&reply::grpc_status(&Refusal::Internal))
}

fn not_grpc(shared: &Shared, method: &Method, path: &str) -> Response<Reply> {
    let status = match (method, path) {
        // Whoever looks what is here.
        (&Method::GET | &Method::HEAD, "/") => StatusCode::OK,
        (&Method::POST, _) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ => StatusCode::METHOD_NOT_ALLOWED,
    };
    text(
        status,
        &format!(
            "This is Tracewell's OTLP/gRPC receiver: it speaks gRPC over HTTP/2. An \
             OpenTelemetry SDK does so with OTEL_EXPORTER_OTLP_PROTOCOL=grpc.{}\n",
            shared.http_is_at()
        ),
    )
}
