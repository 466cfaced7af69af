//! Connections: accept, limit, serve as HTTP/1 or HTTP/2 (by prior knowledge), with or without TLS, stop in
//! order.
//!
//! Every surface of the process uses this one loop, whatever its service does. It knows nothing of
//! what is served. Limits: connections at a time, time to the first bytes, for a request's head, and without a
//! request, time that a peer may leave an answer unread, streams per connection, and windows that
//! bound what HTTP/2 buffers before the service reads.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::tls::{self, Tls};
use crate::traffic::{Look, Running, Traffic, Watched};

/// What one listener allows.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections open at the same time; further ones are told so and closed.
    pub connections_max: usize,
    /// From the connection to the first 24 bytes, which decide between HTTP/1 and HTTP/2.
    pub first_bytes_timeout: Duration,
    /// For the head of an HTTP/1 request, the first one and those after it.
    pub head_timeout: Duration,
    /// How long a connection stays open that has made no request, whatever else it does.
    pub first_request_timeout: Duration,
    /// How long a connection stays open after its last request.
    pub idle_timeout: Duration,
    /// How long a peer may leave a full send buffer unread.
    pub write_timeout: Duration,
    /// How long a peer may leave anything of what is sent unread. A large answer is written for as long
    /// at most, while it is sent.
    pub answer_timeout: Duration,
    /// HTTP/2 streams of one connection at the same time.
    pub streams_max: u32,
    /// HTTP/2 data in flight on one stream: 512 KiB carry a usual request without a pause.
    pub stream_window_bytes: u32,
    /// HTTP/2 data in flight on one connection: bounds what is buffered before it is counted.
    pub connection_window_bytes: u32,
    /// How long requests in flight have after a stop before they are cut off.
    pub stop_within: Duration,
}

/// Counters of one listener.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    pub open: AtomicUsize,
    pub accepted: AtomicU64,
    pub refused: AtomicU64,
    pub accept_errors: AtomicU64,
    /// Closed because the first bytes, the first request, or the reading of an answer took too long.
    pub timeouts: AtomicU64,
    /// Requests that ended in a caught panic: a bug, answered with 500.
    pub panics: AtomicU64,
    /// TLS connections that ended before a request: of a client without the right certificate, or that speaks no TLS.
    pub handshakes_failed: AtomicU64,
    pub received_bytes: AtomicU64,
    pub sent_bytes: AtomicU64,
}

/// What a connection answers with while too many are open.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
Content-Type: text/plain; charset=utf-8\r\nContent-Length: 44\r\n\r\ntoo many connections, try again in a second\n";
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
Content-Type: text/plain; charset=utf-8\r\nContent-Length: 55\r\n\r\nthis port speaks TLS: use https (or grpcs, or set TLS)\n";
/// Read of a client that speaks no TLS, so that it gets its answer.
const REST_BYTES: u64 = 64 << 10;
/// Without a pause a full file table would make the loop spin.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);
const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
const HTTP1_BUFFER_BYTES_MAX: usize = 256 << 10;
/// A usual request is three frames, not twelve; a frame is buffered whole before it is counted.
const HTTP2_FRAME_BYTES_MAX: u32 = 64 << 10;

// === impl ConnectionLimits ===

impl ConnectionLimits {
    pub fn new(connections_max: usize) -> Self {
        Self {
            connections_max,
            first_bytes_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(90),
            first_request_timeout: Duration::from_secs(90),
            // Exporters send every few seconds, and open another connection without a word.
            idle_timeout: Duration::from_secs(900),
            write_timeout: Duration::from_secs(30),
            // 100 MB, which a trace of a hundred thousand spans has as JSON, at 350 KB/s.
            answer_timeout: Duration::from_secs(300),
            streams_max: 128,
            stream_window_bytes: 512 << 10,
            connection_window_bytes: 2 << 20,
            stop_within: Duration::from_millis(800),
        }
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(HTTP1_BUFFER_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.streams_max)
            .initial_stream_window_size(self.stream_window_bytes)
            .initial_connection_window_size(self.connection_window_bytes)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_frame_size(HTTP2_FRAME_BYTES_MAX)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        builder
    }
}

/// Serves a listener until the token is cancelled; then takes no more connections, lets requests
/// in flight end, and returns after `stop_within` at the latest.
pub async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    limits: ConnectionLimits,
    tls: Option<Arc<Tls>>,
    metrics: Arc<ConnectionMetrics>,
    cancel: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let builder = Arc::new(limits.builder());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next() => {
                count_panic(&ended, &metrics);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let Some((stream, peer)) = checked(accepted, &metrics).await else {
            continue;
        };
        if connections.len() >= limits.connections_max {
            refuse(&stream, peer, tls.is_some(), &metrics);
            continue;
        }
        metrics.accepted.fetch_add(1, Ordering::Relaxed);
        connections.spawn(connection(
            stream,
            service.clone(),
            Arc::clone(&builder),
            limits.clone(),
            tls.clone(),
            Arc::clone(&metrics),
            cancel.clone(),
        ));
    }
    drop(listener);
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            count_panic(&ended, &metrics);
        }
    };
    if tokio::time::timeout(limits.stop_within, all_ended)
        .await
        .is_err()
    {
        tracing::warn!("connections cut off at stop: {}", connections.len());
        connections.shutdown().await;
    }
}

/// Runs a request's future; a panic becomes `None` and is counted, so that it ends one request and
/// not the connection with its other requests.
pub async fn catch_panic<F: Future>(future: F, metrics: &ConnectionMetrics) -> Option<F::Output> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(output) => Some(output),
        Err(panic) => {
            metrics.panics.fetch_add(1, Ordering::Relaxed);
            let message = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(message, "a request ended in a panic, which is a bug");
            None
        }
    }
}

fn count_panic(ended: &Result<(), tokio::task::JoinError>, metrics: &ConnectionMetrics) {
    if let Err(error) = ended
        && error.is_panic()
    {
        metrics.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, "a connection ended in a panic, which is a bug");
    }
}

async fn checked(
    accepted: io::Result<(TcpStream, SocketAddr)>,
    metrics: &ConnectionMetrics,
) -> Option<(TcpStream, SocketAddr)> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            // Such as a full file table, or a peer that left before it was accepted.
            if metrics
                .accept_errors
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(100)
            {
                tracing::warn!(%error, "a connection could not be accepted");
            }
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            None
        }
    }
}

fn refuse(stream: &TcpStream, peer: SocketAddr, is_tls: bool, metrics: &ConnectionMetrics) {
    if metrics
        .refused
        .fetch_add(1, Ordering::Relaxed)
        .is_multiple_of(1_000)
    {
        tracing::warn!(%peer, "too many connections, refusing further ones");
    }
    if is_tls {
        // In clear it would be taken for a broken record.
        return;
    }
    // Whether the peer reads it is its own affair: the connection is closed either way.
    if let Err(error) = stream.try_write(TOO_MANY) {
        tracing::debug!(%error, %peer, "a refused connection was gone already");
    }
}

async fn connection<S, B>(
    stream: TcpStream,
    service: S,
    builder: Arc<Builder<TokioExecutor>>,
    limits: ConnectionLimits,
    tls: Option<Arc<Tls>>,
    metrics: Arc<ConnectionMetrics>,
    cancel: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let _open = Open::new(Arc::clone(&metrics));
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY on a connection");
    }
    let Some(tls) = tls else {
        return serve_stream(stream, service, &builder, &limits, metrics, cancel).await;
    };
    let handshake = shake_hands(&tls, stream);
    let handshake = tokio::select! {
        () = cancel.cancelled() => return,
        handshake = tokio::time::timeout(limits.first_bytes_timeout, handshake) => handshake,
    };
    match handshake {
        Ok(Ok(stream)) => serve_stream(stream, service, &builder, &limits, metrics, cancel).await,
        Ok(Err(error)) => {
            metrics.handshakes_failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%error, "no TLS connection came of it");
        }
        Err(_) => {
            metrics.timeouts.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Who speaks no TLS is told so.
async fn shake_hands(tls: &Tls, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    if tls::is_handshake(&stream).await? {
        return tls.accept(stream).await;
    }
    stream.write_all(NO_TLS).await?;
    stream.shutdown().await?;
    // What is left unread would take the answer back, as a reset.
    let mut rest = stream.take(REST_BYTES);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Err(io::Error::other("the client speaks no TLS"))
}

async fn serve_stream<S, B, T>(
    stream: T,
    service: S,
    builder: &Builder<TokioExecutor>,
    limits: &ConnectionLimits,
    metrics: Arc<ConnectionMetrics>,
    cancel: CancellationToken,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let traffic = Arc::new(Traffic::default());
    let stream = Watched::new(stream, Arc::clone(&traffic), Arc::clone(&metrics), limits);
    let noted = Arc::clone(&traffic);
    let service = service_fn(move |request| {
        let running = Running::begin(Arc::clone(&noted));
        let answer = service.call(request);
        async move {
            let answer = answer.await;
            drop(running);
            answer
        }
    });
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut next_look = pin!(tokio::time::sleep(limits.first_bytes_timeout));
    let mut is_stopping = false;
    let result = loop {
        tokio::select! {
            result = served.as_mut() => break result,
            () = cancel.cancelled(), if !is_stopping => {
                is_stopping = true;
                served.as_mut().graceful_shutdown();
            }
            () = next_look.as_mut(), if !is_stopping => match traffic.look(limits) {
                Look::Again(after) => next_look.as_mut().reset(Instant::now() + after),
                Look::Silent => {
                    metrics.timeouts.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Look::Idle => {
                    metrics.timeouts.fetch_add(1, Ordering::Relaxed);
                    is_stopping = true;
                    served.as_mut().graceful_shutdown();
                }
            }
        }
    };
    if let Err(error) = result {
        // Resets, early closes and what is no HTTP: nothing to do about it, and the peer's doing.
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// Keeps the count of open connections right however the task ends.
#[derive(Debug)]
struct Open(Arc<ConnectionMetrics>);

impl Open {
    fn new(metrics: Arc<ConnectionMetrics>) -> Self {
        metrics.open.fetch_add(1, Ordering::Relaxed);
        Self(metrics)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
