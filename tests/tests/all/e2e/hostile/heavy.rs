//! One trace that takes minutes to look at: a query ends at its deadline and when its client leaves, and others go on.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use tracewell_model::TraceId;

use super::bodies::{SpanBody, attribute, request};
use super::{PROTOBUF, find};
use crate::harness::http;
use crate::harness::process::usage;
use crate::harness::server::{Server, Site};
use crate::load;

const SPANS: u64 = 600;
/// Of events, and of links: as many pairs as are tried in a span.
const ITEMS: usize = 256;
const QUERY_MS: u64 = 2_000;
/// More than there are threads.
const QUERIES: usize = 6;
const TRACE: TraceId = TraceId([7; 16]);

/// A trace of which every event is compared with every link of its span.
fn heavy_spans() -> Vec<u8> {
    let trace = TRACE;
    let mut more = tracewell_wire::protobuf::Writer::default();
    for item in 0..ITEMS {
        more.message(11, |out| {
            out.bytes(2, b"e");
            out.raw(&attribute(3, "a", &format!("event {item}")));
        });
        more.message(13, |out| {
            out.bytes(1, &trace.0);
            out.bytes(2, &1u64.to_be_bytes());
            out.raw(&attribute(4, "b", &format!("link {item}")));
        });
    }
    let more = more.into_bytes();
    let spans = (1..=SPANS).map(|id| SpanBody {
        more: more.clone(),
        ..SpanBody::new(trace, id)
    });
    request(&spans.collect::<Vec<_>>())
}

fn start() -> (Site, Server) {
    let site = Site::new();
    let server = site.start(&[&format!("limits.query_ms_max={QUERY_MS}")]);
    let (id, body) = load::request(9, 0, 1);
    let body = [heavy_spans(), body].concat();
    let sent = http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body).unwrap();
    assert_eq!(sent.status, 200, "{}", sent.text());
    find(&server, id);
    // The trace lies in a block and in the head.
    assert_eq!(server.get("/flush").status / 100, 2);
    let more = request(&[SpanBody::new(TRACE, SPANS + 1)]);
    let sent = http::post(site.otlp_http, "/v1/traces", PROTOBUF, &more).unwrap();
    assert_eq!(sent.status, 200, "{}", sent.text());
    (site, server)
}

fn search(query: &str) -> String {
    format!("/api/search?q={}", http::encode(query))
}

fn series(query: &str) -> String {
    let query = http::encode(query);
    format!("/api/metrics/query_range?q={query}&since=1h&step=60s")
}

#[test]
fn queries_of_one_heavy_trace_end_in_time_and_hold_nobody_up() {
    let (_site, server) = start();
    let before = usage(server.pid()).cpu_ms;
    let asked = [
        search("{ event.a = link.b }"),
        search("{ } | by(event.a + link.b) | count() > 1"),
        search("{ } | avg(event.a + link.b) > 1"),
        series("{ event.a = link.b } | rate()"),
        series("{ } | by(event.a + link.b) | rate()"),
        series("{ } | compare({ event.a = link.b })"),
    ];
    let n_answered = std::thread::scope(|scope| {
        let queries: Vec<_> = asked
            .iter()
            .map(|path| (path, scope.spawn(|| server.get(path))))
            .collect();
        let mut n_answered = 0;
        while queries.iter().any(|(_, query)| !query.is_finished()) {
            assert_eq!(server.get("/ready").status, 200);
            assert_eq!(server.get("/metrics").status, 200);
            n_answered += usize::from(queries.iter().all(|(_, query)| !query.is_finished()));
        }
        for (path, query) in queries {
            let answer = query.join().unwrap();
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            let limit = format!("the query took longer than {QUERY_MS} ms");
            let is_told = answer.head.contains(&limit) || answer.text().contains(&limit);
            assert!(is_told, "{path}: {}{}", answer.head, answer.text());
        }
        n_answered
    });
    let cpu_ms = usage(server.pid()).cpu_ms - before;
    println!("{cpu_ms} ms of CPU, and {n_answered} probes were answered");
    assert!(n_answered >= 3, "{n_answered}");
    // Each has two seconds of one thread at most; one that does not end takes half a minute.
    let allowed = asked.len() as u64 * QUERY_MS * 2;
    assert!(cpu_ms < allowed, "{cpu_ms} ms of CPU");
}

#[test]
fn nothing_is_computed_for_clients_that_have_left() {
    let (_site, server) = start();
    for _ in 0..QUERIES {
        let mut client = TcpStream::connect(("127.0.0.1", server.http())).unwrap();
        let path = search("{ event.a = link.b }");
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    // They may be noticed late, and not at the deadline alone.
    std::thread::sleep(Duration::from_millis(QUERY_MS / 4));
    let before = usage(server.pid()).cpu_ms;
    std::thread::sleep(Duration::from_millis(QUERY_MS / 2));
    let cpu_ms = usage(server.pid()).cpu_ms - before;
    assert!(cpu_ms < QUERY_MS / 4, "{cpu_ms} ms");
    assert!(server.stop().success());
}
