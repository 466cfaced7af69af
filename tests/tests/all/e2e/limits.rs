//! Limits that bite on the real binary: the answer names the key, the counter counts it, and the
//! command line says that an answer is partial.

use std::process::Command;

use super::PROTOBUF;
use super::metrics::{send, wait_for};
use crate::harness::binary;
use crate::harness::http;
use crate::harness::metrics::scrape;
use crate::harness::server::Site;
use crate::load::request;

#[test]
fn limits_of_queries_are_counted_and_the_command_line_says_partial() {
    let site = Site::new();
    let server = site.start(&["limits.query_read_bytes_max=1", "limits.query_depth_max=8"]);
    send(&site, &request(30, 0, 0).1);
    assert_eq!(server.get("/flush").status / 100, 2);
    let url = format!("http://127.0.0.1:{}", site.http);
    for command in [
        ["query", "{ span.index = \"7\" }"].as_slice(),
        &["query", "{ span.index = \"7\" }", "--json"],
        &["tags", "span.index"],
        &["tags", "span.index", "--json"],
    ] {
        let output = Command::new(binary())
            .args(command)
            .args(["--server", &url])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
        assert!(
            errors.contains("warning: the answer is partial")
                && errors.contains("limits.query_read_bytes_max"),
            "{command:?}: {errors}"
        );
        if command.contains(&"--json") {
            let json: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
            assert!(json.is_ok(), "{command:?}");
        }
    }
    let deep = http::encode(&format!("{{ {}true{} }}", "(".repeat(20), ")".repeat(20)));
    let answer = server.get(&format!("/api/search?q={deep}"));
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("limits.query_depth_max"),
        "{}",
        answer.text()
    );
    let seen = scrape(&server);
    for limit in ["query_read_bytes_max", "query_depth_max"] {
        let name = format!(r#"tracewell_limit_hits_total{{limit="limits.{limit}"}}"#);
        assert!(seen[&name] >= 1.0, "{name}");
    }
    let untouched = r#"tracewell_limit_hits_total{limit="limits.query_ms_max"}"#;
    assert_eq!(seen[untouched], 0.0);
}

/// Most clients write all of a body before they read why it was refused.
#[test]
fn a_body_far_above_its_limit_is_refused_to_a_sender_that_reads_last() {
    let site = Site::new();
    let server = site.start(&["limits.request_bytes_max=1MiB"]);
    for megabytes in [2, 12] {
        let body = vec![0u8; megabytes << 20];
        let answer = http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body).unwrap();
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert!(answer.text().contains("limits.request_bytes_max"));
    }
    let seen = scrape(&server);
    assert_eq!(
        seen["tracewell_limit_hits_total{limit=\"limits.request_bytes_max\"}"],
        2.0
    );
}

/// From the head and from a block: as many spans as the limit allows, and a word on the others.
#[test]
fn a_trace_above_its_limit_is_answered_in_part() {
    let site = Site::new();
    let server = site.start(&["limits.trace_spans_max=10"]);
    let (id, body) = request(30, 0, 0);
    send(&site, &body);
    for place in ["head", "block"] {
        let answer = server.get(&format!("/api/v2/traces/{id}")).json();
        assert_eq!(answer["status"], "PARTIAL", "{place}: {answer}");
        let n_spans: usize = answer["trace"]["resourceSpans"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|resource| resource["scopeSpans"].as_array().into_iter().flatten())
            .map(|scope| scope["spans"].as_array().map_or(0, Vec::len))
            .sum();
        assert_eq!(n_spans, 10, "{place}: {answer}");
        assert_eq!(server.get("/flush").status / 100, 2);
    }
    let seen = scrape(&server);
    let name = r#"tracewell_limit_hits_total{limit="limits.trace_spans_max"}"#;
    assert_eq!(seen[name], 2.0);
}

#[test]
fn limits_of_ingest_are_counted_named_and_on_the_ready_page() {
    let site = Site::new();
    let server = site.start(&[
        "limits.waiting_blocks_max=1",
        "limits.attributes_max=1",
        "storage.max_block_duration=1h",
    ]);
    // Its spans have two attributes each, and are refused one by one.
    send(&site, &request(31, 0, 0).1);
    let attributes = r#"tracewell_limit_hits_total{limit="limits.attributes_max"}"#;
    assert_eq!(scrape(&server)[attributes], crate::load::N_SPANS as f64);
    assert!(server.stop().success());
    let server = site.start(&[
        "limits.waiting_blocks_max=1",
        "storage.max_block_duration=1h",
    ]);
    assert!(!server.get("/ready?verbose").text().contains("refused"));
    for block in 1..3 {
        send(&site, &request(31, 0, block).1);
        assert_eq!(server.get("/flush").status / 100, 2);
    }
    let (_, body) = request(31, 0, 3);
    let answer = http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body).unwrap();
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(
        answer.head.to_lowercase().contains("retry-after"),
        "{}",
        answer.head
    );
    assert!(
        answer.text().contains("limits.waiting_blocks_max"),
        "{}",
        answer.text()
    );
    let ready = server.get("/ready?verbose");
    assert_eq!(ready.status, 200, "queries are answered");
    let text = ready.text();
    assert!(
        text.contains("new spans are refused") && text.contains("limits.waiting_blocks_max"),
        "{text}"
    );
    for name in [
        r#"tracewell_limit_hits_total{limit="limits.waiting_blocks_max"}"#,
        "tracewell_store_refused_waiting_blocks_total",
    ] {
        wait_for(&server, name, 1.0);
    }
}
