//! What goes over one connection: bytes and requests, counted, and whether its peer keeps up.
//!
//! A stream fails when its peer does not read; a connection that brings nothing, or asks for nothing any more, is
//! told to end. What this is not: it closes nothing itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::accept::{ConnectionLimits, ConnectionMetrics};

/// What decides between HTTP/1 and HTTP/2.
const FIRST_BYTES: u64 = 24;

/// What went over one connection.
#[derive(Debug)]
pub(crate) struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
    opened: Instant,
    requests: Mutex<Requests>,
}

#[derive(Debug, Default)]
struct Requests {
    running: usize,
    last_ended: Option<Instant>,
}

/// What is to be done about a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Again(Duration),
    /// Not even its protocol is known.
    Silent,
    /// It asks for nothing.
    Idle,
}

/// A request that is answered; its body may be written after that.
#[derive(Debug)]
pub(crate) struct Running(Arc<Traffic>);

// === impl Traffic ===

impl Default for Traffic {
    fn default() -> Self {
        Self {
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            opened: Instant::now(),
            requests: Mutex::default(),
        }
    }
}

impl Traffic {
    /// To be asked for the first time when the first bytes must have come.
    pub(crate) fn look(&self, limits: &ConnectionLimits) -> Look {
        let is_silent = self.received.load(Ordering::Relaxed) < FIRST_BYTES
            && self.sent.load(Ordering::Relaxed) == 0;
        if is_silent {
            return Look::Silent;
        }
        let requests = self.requests.lock();
        let (since, allowed) = match (requests.running, requests.last_ended) {
            (0, None) => (self.opened, limits.first_request_timeout),
            (0, Some(ended)) => (ended, limits.idle_timeout),
            _ => return Look::Again(limits.idle_timeout),
        };
        match allowed.saturating_sub(since.elapsed()) {
            Duration::ZERO => Look::Idle,
            rest => Look::Again(rest),
        }
    }
}

// === impl Running ===

impl Running {
    pub(crate) fn begin(traffic: Arc<Traffic>) -> Self {
        traffic.requests.lock().running += 1;
        Self(traffic)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut requests = self.0.requests.lock();
        requests.running -= 1;
        requests.last_ended = Some(Instant::now());
    }
}

/// A stream that counts its bytes and fails when the peer does not read.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    stream: T,
    traffic: Arc<Traffic>,
    metrics: Arc<ConnectionMetrics>,
    write_timeout: Duration,
    answer_timeout: Duration,
    stalled: Option<Pin<Box<tokio::time::Sleep>>>,
    /// Since the peer has last read everything.
    behind: Option<Pin<Box<tokio::time::Sleep>>>,
}

// === impl Watched ===

impl<T> Watched<T> {
    pub(crate) fn new(
        stream: T,
        traffic: Arc<Traffic>,
        metrics: Arc<ConnectionMetrics>,
        limits: &ConnectionLimits,
    ) -> Self {
        Self {
            stream,
            traffic,
            metrics,
            write_timeout: limits.write_timeout,
            answer_timeout: limits.answer_timeout,
            stalled: None,
            behind: None,
        }
    }

    fn after_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = self.in_time(cx, written);
        if let Poll::Ready(Ok(n)) = written {
            let n = n as u64;
            self.traffic.sent.fetch_add(n, Ordering::Relaxed);
            self.metrics.sent_bytes.fetch_add(n, Ordering::Relaxed);
        }
        written
    }

    /// Fails what the peer keeps waiting for too long. With TLS that is a flush: what is written
    /// goes into a buffer first.
    fn in_time<R>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let timeout = self.write_timeout;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        let timeout = self.answer_timeout;
        let behind = self
            .behind
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if stalled.as_mut().poll(cx).is_pending() {
            ready!(behind.as_mut().poll(cx));
        }
        self.metrics.timeouts.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let n = (buffer.filled().len() - before) as u64;
        self.traffic.received.fetch_add(n, Ordering::Relaxed);
        self.metrics.received_bytes.fetch_add(n, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, data);
        self.after_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, data);
        self.after_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Called when everything that waited was written.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        let flushed = self.in_time(cx, flushed);
        if flushed.is_ready() {
            self.behind = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(cx, ended)
    }
}
