//! The log of the process as a machine reads it.

use serde_json::Value;

use crate::e2e::PROTOBUF;
use crate::harness::http;
use crate::harness::server::Site;
use crate::load::{N_SPANS, request};

#[test]
fn a_log_in_json_is_one_object_a_line() {
    let site = Site::new();
    let settings = ["log.format=json", "log.level=info,tracewell_store=debug"];
    let server = site.start(&settings);
    let (_, body) = request(1, 0, 0);
    let sent = http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body);
    assert_eq!(sent.unwrap().status, 200);
    assert_eq!(server.get("/flush").status / 100, 2);
    assert!(server.stop().success());
    let log = std::fs::read_to_string(site.log()).unwrap();
    let object = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let lines: Vec<Value> = log.lines().map(object).collect();
    for line in &lines {
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        let levels = ["ERROR", "WARN", "INFO", "DEBUG"];
        assert!(levels.contains(&text("level")), "{line}");
        assert!(text("target").starts_with("tracewell"), "{line}");
        assert!(text("timestamp").ends_with('Z'), "{line}");
        assert!(!text("message").is_empty(), "{line}");
    }
    let said = |message: &str| -> &Value {
        let line = lines.iter().find(|line| line["message"] == message);
        line.unwrap_or_else(|| panic!("{message:?} is not in\n{log}"))
    };
    let ready = said("ready");
    assert_eq!(ready["level"], "INFO");
    let port = site.otlp_http.to_string();
    assert!(ready["otlp_http"].as_str().unwrap().ends_with(&port));
    assert_eq!(ready["spans_replayed"], 0);
    let cut = said("a generation is cut");
    assert_eq!(
        (&cut["level"], &cut["spans"]),
        (&"DEBUG".into(), &N_SPANS.into())
    );
    assert_eq!(said("stopped")["workers_ended"], true);
}
