//! Official exporters of each language against the real server. What they sent must be found, whole and right.

mod go;
mod java;
mod node;
mod rust;

use std::process::Output;

use serde_json::Value;

use crate::harness::eventually;
use crate::harness::server::Server;

/// Checks the programs' output, one line per combination, against the server's answers.
pub(crate) fn check_sent(server: &Server, output: &Output, n_combinations: usize) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{text}\n{errors}\n{}",
        output.status,
        server.log()
    );
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), n_combinations, "{text}");
    for line in &lines {
        let ids = line["traces"].as_array().unwrap().iter();
        let sent = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
        check_service(server, line["service"].as_str().unwrap(), sent);
    }
}

/// All traces of a service are there, and no others.
fn check_service(server: &Server, service: &str, mut sent: Vec<String>) {
    sent.sort();
    check_search(server, service, &sent);
    sent.iter().for_each(|id| check_trace(server, service, id));
    println!("{service}: {} traces", sent.len());
}

fn check_search(server: &Server, service: &str, sent: &[String]) {
    let query = format!(
        r#"{{ resource.service.name = "{service}" && span.text = "größe" && span.number >= -1 && span.flag = true && span.texts = "b" }}"#
    );
    eventually(service, || {
        let answer = server.search(&query, 100);
        let mut found: Vec<String> = answer["traces"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|trace| format!("{:0>32}", trace["traceID"].as_str().unwrap()))
            .collect();
        found.sort();
        if found == sent {
            Ok(())
        } else {
            Err(format!("sent {sent:?}, found {answer}"))
        }
    });
}

fn check_trace(server: &Server, service: &str, id: &str) {
    let answer = server.get(&format!("/api/traces/{id}"));
    assert_eq!(answer.status, 200, "{service} {id}: {}", answer.text());
    let trace = answer.json();
    let spans: Vec<&Value> = trace["batches"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|batch| batch["scopeSpans"].as_array().unwrap())
        .flat_map(|scope| scope["spans"].as_array().unwrap())
        .collect();
    assert_eq!(spans.len(), 2, "{service}: {trace}");
    let named = |name: &str| *spans.iter().find(|span| span["name"] == name).unwrap();
    let (parent, child) = (named("parent"), named("child"));
    assert_eq!(child["parentSpanId"], parent["spanId"], "{trace}");
    assert_eq!(child["status"]["code"], "STATUS_CODE_ERROR", "{trace}");
    assert_eq!(child["status"]["message"], "broken on purpose", "{trace}");
    assert_eq!(child["links"].as_array().unwrap().len(), 1, "{trace}");
    assert_eq!(parent["kind"], "SPAN_KIND_SERVER", "{trace}");
    assert_eq!(parent["events"][0]["name"], "milestone", "{trace}");
    assert_eq!(parent["attributes"].as_array().unwrap().len(), 6, "{trace}");
}
