//! The real binary, end to end: what a user does first.

mod backup;
mod blocks;
mod commands;
mod hostile;
mod limits;
mod logs;
pub(crate) mod memory;
mod metrics;
mod operations;
mod overload;
pub(crate) mod round_trip;
mod secure;
mod stop;
mod tempo_file;
mod tempo_files;
mod tenant_limits;
pub(crate) mod tenants;
mod transfer;

use std::process::Command;

use crate::harness::http;
use crate::harness::metrics::{Scrape, of, scrape};
use crate::harness::server::{Server, Site};
use crate::harness::{binary, eventually};
use crate::load::{N_SPANS, marker, n_spans, request};

const PROTOBUF: &str = "application/x-protobuf";

#[test]
fn what_is_sent_is_found_after_a_stop_and_after_a_kill() {
    let site = Site::new();
    let server = site.start(&[]);
    let (stopped, body) = request(1, 0, 0);
    assert_eq!(
        http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body)
            .unwrap()
            .status,
        200
    );
    find(&server, stopped);
    assert!(server.stop().success());
    let server = site.start(&[]);
    find(&server, stopped);
    let (killed, body) = request(2, 0, 0);
    assert_eq!(
        http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body)
            .unwrap()
            .status,
        200
    );
    server.kill();
    let server = site.start(&[]);
    find(&server, stopped);
    find(&server, killed);
    assert_eq!(server.get("/flush").status / 100, 2);
    find(&server, stopped);
    find(&server, killed);
}

#[test]
fn the_same_body_twice_is_stored_once() {
    let site = Site::new();
    let server = site.start(&[]);
    let (id, body) = request(3, 0, 0);
    for _ in 0..3 {
        let answer = http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    find(&server, id);
    // An answer makes one of equal spans: what is stored is counted.
    let stored = |seen: &Scrape| {
        let of_blocks: f64 = of(seen, "tracewell_block_spans").sum();
        of_blocks + of(seen, "tracewell_head_spans").sum::<f64>()
    };
    let seen = metrics::wait_for(&server, "tracewell_ingest_repeated_requests_total", 2.0);
    assert_eq!(seen["tracewell_ingest_repeated_requests_total"], 2.0);
    assert_eq!(server.get("/flush").status / 100, 2);
    assert_eq!(stored(&scrape(&server)), N_SPANS as f64);
}

#[test]
fn the_command_line_asks_the_server() {
    let site = Site::new();
    let server = site.start(&[]);
    let (id, body) = request(4, 0, 0);
    assert_eq!(
        http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body)
            .unwrap()
            .status,
        200
    );
    find(&server, id);
    let url = format!("http://127.0.0.1:{}", site.http);
    let text = tracewell(&["query", "{ }", "--server", &url]);
    assert!(
        text.contains(&id.to_string()) && text.contains("load"),
        "{text}"
    );
    let text = tracewell(&["trace", &id.to_string(), "--server", &url]);
    assert!(text.contains("span 7"), "{text}");
    let text = tracewell(&["tags", "--server", &url]);
    assert!(text.contains("marker"), "{text}");
    let text = tracewell(&["tags", "span.index", "--server", &url]);
    assert!(text.lines().count() >= N_SPANS, "{text}");
}

/// Every number under its own name and under those that Tempo's dashboards ask for.
#[test]
fn own_metrics_say_what_was_done() {
    let site = Site::new();
    let server = site.start(&["storage.max_block_duration=1h"]);
    let sent = 3;
    for number in 0..sent {
        let (id, body) = request(5, 0, number);
        let answer = http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        find(&server, id);
    }
    let spans = (sent as usize * N_SPANS) as f64;
    let tenant = r#"{tenant="single-tenant"}"#;
    let at_least = |name: &str, labels: &str, wanted: f64| {
        let name = format!("{name}{labels} ");
        eventually(&name, || {
            let text = server.get("/metrics").text();
            let line = text.lines().find(|line| line.starts_with(&name));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            match value {
                Some(value) if value >= wanted => Ok(value),
                _ => Err(format!("{line:?}, {wanted} or more is wanted")),
            }
        })
    };
    // Exact while nothing is cut, which takes a generation that is full or an hour old.
    assert_eq!(at_least("tracewell_head_spans", "", spans), spans);
    for (name, labels, wanted) in [
        ("tracewell_wal_syncs_total", "", sent as f64),
        ("tracewell_wal_records_total", "", sent as f64),
        ("tracewell_wal_sync_seconds_total", "", f64::MIN_POSITIVE),
        ("tracewell_head_traces", tenant, sent as f64),
        ("tempo_live_store_live_traces", tenant, sent as f64),
        ("tempo_ingester_live_traces", tenant, sent as f64),
        ("tempo_live_store_live_trace_bytes", tenant, 1.0),
        ("tempo_distributor_spans_received_total", tenant, spans),
        ("tempo_live_store_records_processed_total", "", sent as f64),
        ("tempo_live_store_ready", "", 1.0),
    ] {
        at_least(name, labels, wanted);
    }
    assert_eq!(server.get("/flush").status / 100, 2);
    for (name, labels, wanted) in [
        ("tempodb_blocklist_length", tenant, 1.0),
        ("tracewell_blocklist_length", tenant, 1.0),
        ("tempo_live_store_blocks_cut_total", "", 1.0),
        ("tempo_ingester_blocks_flushed_total", "", 1.0),
        ("tempodb_retention_marked_for_deletion_total", "", 0.0),
    ] {
        at_least(name, labels, wanted);
    }
}

fn tracewell(arguments: &[&str]) -> String {
    let output = Command::new(binary()).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Found by search and by id, each span once.
fn find(server: &Server, id: tracewell_model::TraceId) {
    let query = format!(r#"{{ span.marker = "{}" }}"#, marker(id));
    eventually("the trace is found", || {
        let found = server.search(&query, 20);
        let matched = &found["traces"][0]["spanSets"][0]["matched"];
        if *matched == N_SPANS {
            Ok(())
        } else {
            Err(format!("{found}"))
        }
    });
    let trace = server.get(&format!("/api/v2/traces/{id}")).json();
    assert_eq!(
        n_spans(&trace["trace"]["resourceSpans"]),
        N_SPANS,
        "{trace}"
    );
}
