//! Answers that their clients are slow to read, or never do: what they hold of the memory of queries.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracewell_model::source::{QueryContext, QueryMemory};

use super::*;

/// More than the buffers of both sockets take.
const TEXT_BYTES: usize = 32 << 20;
const N_SPANS: usize = 1_000;
/// What the planted answers hold, and each copy of them.
const PLANTED_BYTES: u64 = 1_000;

async fn wait_for(memory: &QueryMemory, bytes: u64) {
    let settled = async {
        while memory.held_bytes() != bytes {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), settled).await;
    assert!(in_time.is_ok(), "{} held, not {bytes}", memory.held_bytes());
}

/// Sends a request and reads the first byte of its answer.
async fn begin(running: &Running, path: &str, accept: &str) -> TcpStream {
    let mut client = TcpStream::connect(running.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{accept}Connection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'H');
    client
}

/// What a trace of so many spans answers does not fit into the buffers of both sockets.
fn large_trace() -> Trace {
    let mut trace = documented();
    let mut span = trace.spans[0].clone();
    span.name = "x".repeat(TEXT_BYTES / N_SPANS);
    trace.spans = vec![span; N_SPANS];
    trace
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let answered = tokio::time::timeout(Duration::from_secs(20), future).await;
    answered.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// More than queries may run at a time, and many more than threads for what blocks.
#[test]
fn slow_readers_keep_nothing_from_the_others() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let running = Running::start().await;
        *running.planted.trace.lock().unwrap() = found(large_trace());
        *running.planted.search.lock().unwrap() = one_result();
        let mut readers = Vec::new();
        for _ in 0..20 {
            let reader = begin(&running, "/api/traces/1", "");
            readers.push(in_time("a reader", reader).await);
        }
        let answer = in_time("a search", running.get("/api/search?q=%7B%7D")).await;
        assert_eq!(answer.status, 200);
        let read = tokio::task::spawn_blocking(|| ());
        in_time("reading a block", read).await.unwrap();
        drop(readers);
        running.stop().await;
    });
}

/// A client whose HTTP/2 windows are used up after a page, and its calls.
async fn begin_calls(running: &Running, n: usize) -> Vec<http::Response<hyper::body::Incoming>> {
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(4 << 10)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut calls = Vec::new();
    for _ in 0..n {
        let call = http::Request::post("http://x/tempopb.StreamingQuerier/Search")
            .header("content-type", "application/grpc")
            // A message without a field.
            .body(Full::new(Bytes::from_static(&[0; 5])))
            .unwrap();
        calls.push(sender.clone().send_request(call).await.unwrap());
    }
    calls
}

/// The same over gRPC, where one connection has many calls.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_nobody_reads_keep_nothing_from_the_others() {
    let running = Running::start_with(|config| {
        config.connections.answer_timeout = Duration::from_secs(2);
    })
    .await;
    let memory = QueryMemory::new(u64::MAX);
    let ctx = QueryContext::new(CancellationToken::new(), 0, Arc::clone(&memory));
    let mut large = one_result();
    let mut trace = large.traces.remove(0);
    trace.root.as_mut().unwrap().name = "x".repeat(1 << 20);
    large.traces = vec![trace; 8];
    large.held = ctx.keep(PLANTED_BYTES);
    *running.planted.search.lock().unwrap() = large;
    // More than queries may run, and answers be sent, at a time.
    let calls = in_time("the calls", begin_calls(&running, 60)).await;
    let answer = in_time("a search", running.get("/api/search?q=%7B%7D&limit=1"));
    assert_eq!(answer.await.status, 200);
    // Their answers are let go after their time, though their clients are still there.
    wait_for(&memory, PLANTED_BYTES).await;
    drop(calls);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_read_in_time_is_cut() {
    let running = Running::start_with(|config| {
        config.connections.answer_timeout = Duration::from_millis(300);
    })
    .await;
    let memory = QueryMemory::new(u64::MAX);
    let ctx = QueryContext::new(CancellationToken::new(), 0, Arc::clone(&memory));
    *running.planted.trace.lock().unwrap() = TraceResponse {
        held: ctx.keep(PLANTED_BYTES),
        ..found(large_trace())
    };
    for accept in ["", "Accept: application/protobuf\r\n"] {
        let mut client = begin(&running, "/api/traces/1", accept).await;
        // Nobody left, and the connection moves: but too slowly.
        let mut n_read = 1;
        let mut piece = [0; 1 << 10];
        while memory.held_bytes() > PLANTED_BYTES {
            n_read += in_time("the next piece", client.read(&mut piece))
                .await
                .unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(n_read < TEXT_BYTES / 2, "{accept}: not cut");
        }
        let mut rest = Vec::new();
        if client.read_to_end(&mut rest).await.is_ok() {
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{accept}: ends as if whole");
        }
        assert!(n_read + rest.len() < TEXT_BYTES, "{accept}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_holds_its_memory_until_it_is_read_or_its_client_leaves() {
    let running = Running::start().await;
    let memory = QueryMemory::new(u64::MAX);
    let ctx = QueryContext::new(CancellationToken::new(), 0, Arc::clone(&memory));
    *running.planted.trace.lock().unwrap() = TraceResponse {
        held: ctx.keep(PLANTED_BYTES),
        ..found(large_trace())
    };
    let mut search = one_result();
    search.traces[0].root.as_mut().unwrap().name = "x".repeat(TEXT_BYTES);
    search.held = ctx.keep(PLANTED_BYTES);
    *running.planted.search.lock().unwrap() = search;
    let planted = 2 * PLANTED_BYTES;
    assert_eq!(memory.held_bytes(), planted);
    let protobuf = "Accept: application/protobuf\r\n";
    for (path, accept, is_streamed) in [
        ("/api/traces/1", "", true),
        ("/api/v2/traces/1", "", true),
        ("/api/traces/1", protobuf, false),
        ("/api/v2/traces/1", protobuf, false),
        ("/api/search?q=%7B%7D", "", false),
    ] {
        let mut client = begin(&running, path, accept).await;
        let of_answer = memory.held_bytes() - planted;
        match is_streamed {
            true => assert_eq!(of_answer, PLANTED_BYTES, "{path} {accept}"),
            // What was encoded, in place of what it was made of.
            false => assert!(
                of_answer > TEXT_BYTES as u64,
                "{path} {accept}: {of_answer}"
            ),
        }
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() > TEXT_BYTES, "{path} {accept}");
        wait_for(&memory, planted).await;
        let client = begin(&running, path, accept).await;
        assert!(memory.held_bytes() > planted, "{path} {accept}");
        drop(client);
        wait_for(&memory, planted).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_query_has_found_is_counted_until_it_is_read() {
    let running = Running::start().await;
    let memory = Arc::clone(&running.planted.memory);
    *running.planted.names.lock().unwrap() = TagNamesResponse {
        scopes: vec![ScopeTags {
            scope: TagScope::Attribute(AttributeScope::Span),
            names: vec!["x".repeat(TEXT_BYTES)],
        }],
        ..TagNamesResponse::default()
    };
    let reader = begin(&running, "/api/v2/search/tags", "").await;
    assert!(memory.held_bytes() > TEXT_BYTES as u64);
    drop(reader);
    wait_for(&memory, 0).await;
    // With nothing else in memory any text is examined, and none beside much else.
    let text = "{ .a = 1 }";
    let examined = running.post("/api/tracewell/parse", text).await;
    assert_eq!(examined.status, 200);
    wait_for(&memory, 0).await;
    let most = memory.try_hold(memory.bytes_max() - 100).unwrap();
    let refused = running.post("/api/tracewell/parse", text).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(
        refused.text().contains("limits.query_memory_bytes_max"),
        "{}",
        refused.text()
    );
    drop(most);
    running.stop().await;
}
