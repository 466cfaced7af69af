//! Answers that their clients are slow to read, or never do: what they hold of the memory of queries.

use std::time::Duration;

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

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_holds_its_memory_until_it_is_read_or_its_client_leaves() {
    let running = Running::start().await;
    let memory = QueryMemory::new(u64::MAX);
    let ctx = QueryContext::new(CancellationToken::new(), 0, Arc::clone(&memory));
    let mut trace = documented();
    let mut span = trace.spans[0].clone();
    span.name = "x".repeat(TEXT_BYTES / N_SPANS);
    trace.spans = vec![span; N_SPANS];
    *running.planted.trace.lock().unwrap() = TraceResponse {
        held: ctx.keep(PLANTED_BYTES),
        ..found(trace)
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
