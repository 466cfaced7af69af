//! A running receiver with a sink in memory, and real clients for it.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::{Buf, BufMut, Bytes};
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Endpoint;
use tracewell_ingest::compression::Encoding;
use tracewell_ingest::{Admission, IngestConfig, IngestMetrics, Listeners, Server, Tenants};
use tracewell_model::sink::{Ack, SpanSink, WriteError};
use tracewell_model::{Limits, SpanBatch, TenantId};

pub const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

pub struct Running {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub sink: Arc<MemorySink>,
    pub metrics: Arc<IngestMetrics>,
    pub cancel: CancellationToken,
    admission: Admission,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut IngestConfig)) -> Self {
        let mut config = IngestConfig::new(Limits::default());
        change(&mut config);
        let grpc = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        let (grpc_address, http_address) = (grpc.local_addr().unwrap(), http.local_addr().unwrap());
        let listeners = Listeners {
            grpc: vec![grpc.into()],
            http: vec![http.into()],
        };
        let sink = Arc::new(MemorySink::default());
        let metrics = Arc::new(IngestMetrics::new());
        let cancel = CancellationToken::new();
        let sink_of_server: Arc<dyn SpanSink> = Arc::<MemorySink>::clone(&sink);
        let tenants = Tenants::new(config.limits.clone().into(), Arc::clone(&metrics));
        let server = Server::new(config, listeners, sink_of_server, tenants);
        Self {
            grpc: grpc_address,
            http: http_address,
            sink,
            metrics,
            admission: server.admission(),
            task: tokio::spawn(server.run(cancel.clone())),
            cancel,
        }
    }

    pub async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }

    pub fn in_flight_bytes(&self) -> u64 {
        self.admission.used_bytes()
    }

    pub async fn export_traces(
        &self,
        body: Vec<u8>,
        encoding: Option<CompressionEncoding>,
    ) -> Result<Bytes, tonic::Status> {
        self.export(TRACES, body, encoding).await
    }

    pub async fn export(
        &self,
        path: &'static str,
        body: Vec<u8>,
        encoding: Option<CompressionEncoding>,
    ) -> Result<Bytes, tonic::Status> {
        export(self.grpc, path, body, encoding).await
    }
}

/// A unary call with tonic's client.
pub async fn export(
    address: SocketAddr,
    path: &'static str,
    body: Vec<u8>,
    encoding: Option<CompressionEncoding>,
) -> Result<Bytes, tonic::Status> {
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    if let Some(encoding) = encoding {
        client = client.send_compressed(encoding);
    }
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = client
        .unary(tonic::Request::new(Bytes::from(body)), path, Raw)
        .await?;
    Ok(answer.into_inner())
}

/// A gRPC call of which the client makes the frame by hand: the code in `grpc-status`, and the
/// message, or the HTTP status if there is no code.
pub async fn raw_grpc(
    address: SocketAddr,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> (String, String) {
    raw_grpc_in_frames(address, headers, vec![body.into()]).await
}

/// The same with a body of several DATA frames.
pub async fn raw_grpc_in_frames(
    address: SocketAddr,
    headers: &[(&str, &str)],
    frames: Vec<Bytes>,
) -> (String, String) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(format!("http://{address}{TRACES}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let frames = frames
        .into_iter()
        .map(|data| Ok::<_, std::convert::Infallible>(Frame::data(data)));
    let body = StreamBody::new(futures::stream::iter(frames));
    let request = request.body(body).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap();
    let of = |name: &str| {
        let value = head
            .headers
            .get(name)
            .or_else(|| trailers.trailers().and_then(|trailers| trailers.get(name)));
        value.map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    (of("grpc-status"), of("grpc-message"))
}

/// Bytes as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(input.copy_to_bytes(input.remaining())))
    }
}

/// Keeps what it gets; can fail, wait and panic.
#[derive(Debug)]
pub struct MemorySink {
    batches: Mutex<Vec<(SpanBatch, u128)>>,
    error: Mutex<Option<WriteError>>,
    /// What is said of every batch before it is decoded.
    full: Mutex<Option<WriteError>>,
    is_panicking: AtomicBool,
    gate: Semaphore,
    n_waiting: AtomicUsize,
}

/// While it is held, writes wait.
pub struct Gate<'a>(&'a MemorySink);

const OPEN: usize = 1 << 20;

impl Default for MemorySink {
    fn default() -> Self {
        Self {
            batches: Mutex::default(),
            error: Mutex::default(),
            full: Mutex::default(),
            is_panicking: AtomicBool::new(false),
            gate: Semaphore::new(OPEN),
            n_waiting: AtomicUsize::new(0),
        }
    }
}

impl MemorySink {
    pub fn last(&self) -> (SpanBatch, u128) {
        self.batches.lock().unwrap().last().unwrap().clone()
    }

    pub fn n_batches(&self) -> usize {
        self.batches.lock().unwrap().len()
    }

    pub fn fail_with(&self, error: Option<WriteError>) {
        *self.error.lock().unwrap() = error;
    }

    pub fn refuse_with(&self, error: Option<WriteError>) {
        *self.full.lock().unwrap() = error;
    }

    pub fn panic_next(&self) {
        self.is_panicking.store(true, Ordering::SeqCst);
    }

    pub fn close_gate(&self) -> Gate<'_> {
        assert_eq!(self.gate.forget_permits(OPEN), OPEN);
        Gate(self)
    }

    pub async fn wait_for_waiting(&self, n: usize) {
        while self.n_waiting.load(Ordering::SeqCst) < n {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        self.0.gate.add_permits(OPEN);
    }
}

impl SpanSink for MemorySink {
    fn write(
        &self,
        batch: SpanBatch,
        request_hash: u128,
    ) -> BoxFuture<'_, Result<Ack, WriteError>> {
        Box::pin(async move {
            assert!(
                !self.is_panicking.swap(false, Ordering::SeqCst),
                "a planted panic"
            );
            self.n_waiting.fetch_add(1, Ordering::SeqCst);
            let _open = self.gate.acquire().await.unwrap();
            self.n_waiting.fetch_sub(1, Ordering::SeqCst);
            if let Some(error) = self.error.lock().unwrap().clone() {
                return Err(error);
            }
            self.batches.lock().unwrap().push((batch, request_hash));
            Ok(Ack { repeated: false })
        })
    }

    fn refuses(&self, _n_bytes: u64) -> Option<WriteError> {
        self.full.lock().unwrap().clone()
    }

    fn has_stored(&self, tenant: &TenantId, request_hash: u128) -> bool {
        let batches = self.batches.lock().unwrap();
        batches
            .iter()
            .any(|(batch, hash)| batch.tenant == *tenant && *hash == request_hash)
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }
}

pub fn status_of(answer: &Answer) -> tonic_types::pb::Status {
    tonic_types::pb::Status::decode(&answer.body[..]).unwrap()
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, "GET", path, &[], Bytes::new()).await
}

pub async fn post(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    send(address, "POST", path, headers, body.into()).await
}

async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let mut client = KeptAlive::connect(address).await;
    let mut request = Request::builder().method(method).uri(path);
    request = request.header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request.body(Full::new(body)).unwrap()).await
}

/// One HTTP/1 connection.
pub struct KeptAlive(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl KeptAlive {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let (head, body) = self.0.send_request(request).await.unwrap().into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub async fn post(&mut self, path: &str, content_type: &str, body: Vec<u8>) -> u16 {
        self.0.ready().await.unwrap();
        let request = Request::post(path)
            .header("host", "localhost")
            .header("content-type", content_type)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        self.send(request).await.status
    }
}

/// Spans of about 300 bytes.
pub fn request_of(n_spans: u64) -> ExportTraceServiceRequest {
    let attribute = |key: &str, value: String| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value)),
        }),
        ..KeyValue::default()
    };
    let spans = (1..=n_spans).map(|n| Span {
        trace_id: u128::from(n).to_be_bytes().to_vec(),
        span_id: n.to_be_bytes().to_vec(),
        name: format!("GET /items/{}", n % 7),
        start_time_unix_nano: 1_700_000_000_000_000_000 + n,
        end_time_unix_nano: 1_700_000_000_100_000_000 + n,
        attributes: vec![
            attribute("http.route", format!("/items/{}", n % 7)),
            attribute(
                "url.full",
                format!("http://shop.example/items/{n}?{}", "q".repeat(120)),
            ),
        ],
        ..Span::default()
    });
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: spans.collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

pub fn compress(encoding: Encoding, data: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match encoding {
        Encoding::Identity => data.to_vec(),
        Encoding::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), level);
            writer.write_all(data).unwrap();
            writer.finish().unwrap()
        }
        Encoding::Deflate => {
            let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), level);
            writer.write_all(data).unwrap();
            writer.finish().unwrap()
        }
        Encoding::Zstd => zstd::encode_all(data, 3).unwrap(),
    }
}
