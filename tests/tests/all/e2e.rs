//! The real binary, end to end: what a user does first.

mod blocks;
mod hostile;
mod tempo_file;

use std::process::Command;

use crate::harness::http;
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
