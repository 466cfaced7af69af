//! Tenants on the real binary: who has none is refused, and nobody sees what another one sent, wherever
//! it lies.

use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tracewell_model::{AttributeValue, KeyValue, Resource, Span, SpanId, TraceId};
use tracewell_wire::otlp::encode_spans;

use super::PROTOBUF;
use super::metrics::wait_for;
use crate::harness::binary;
use crate::harness::http::{self, Answer};
use crate::harness::server::{Server, Site};
use crate::harness::{eventually, grpc};

pub(crate) const ON: &str = "tenants.enabled=true";
/// So many first blocks are merged without waiting.
const BLOCKS: u64 = 8;
/// In the traces of every tenant.
const SHARED: TraceId = TraceId(*b"one id for both.");
const TENANTS: [&str; 2] = ["team-a", "team-b"];

/// The head's line that names a tenant.
pub(super) fn named(tenant: &str) -> String {
    format!("X-Scope-OrgID: {tenant}\r\n")
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

/// A span of the trace that all tenants have, with the same span id. Whatever else can be asked for has
/// the tenant's name in it.
fn body(tenant: &str, round: u64) -> Vec<u8> {
    let text = |key: &str, value: String| KeyValue {
        key: key.to_owned(),
        value: AttributeValue::String(value),
    };
    let resource = Arc::new(Resource {
        present: true,
        attributes: vec![
            text("service.name", format!("service-of-{tenant}")),
            text(&format!("resource-key-of-{tenant}"), "yes".to_owned()),
        ],
        ..Resource::default()
    });
    let start = now();
    encode_spans(&[Span {
        resource,
        trace_id: SHARED,
        span_id: SpanId((round + 1).to_be_bytes()),
        name: format!("name-of-{tenant}"),
        kind: 2,
        start_unix_nano: start,
        end_unix_nano: start + 1_000_000,
        attributes: vec![
            text("secret", format!("secret-of-{tenant}")),
            text(&format!("span-key-of-{tenant}"), "yes".to_owned()),
        ],
        ..Span::default()
    }])
}

fn send(site: &Site, tenant: &str, body: &[u8]) {
    let answer =
        http::post_with(site.otlp_http, "/v1/traces", PROTOBUF, &named(tenant), body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn ask(site: &Site, tenant: &str, path: &str) -> Answer {
    http::get_with(site.http, path, &named(tenant)).unwrap()
}

/// Every question that can be asked of a tenant's data, whoever asks.
fn questions() -> Vec<String> {
    let seconds = now() / 1_000_000_000;
    let window = format!("start={}&end={}", seconds - 3_600, seconds + 60);
    let mut questions = vec![
        format!("/api/traces/{SHARED}"),
        format!("/api/v2/traces/{SHARED}"),
        format!("/api/v2/traces/{SHARED}?q={}", http::encode("{ }")),
        format!("/api/search?{window}"),
        format!("/api/search/tags?{window}"),
        format!("/api/v2/search/tags?{window}"),
    ];
    for name in ["service.name", "secret", "name"] {
        questions.push(format!("/api/search/tag/{name}/values?{window}"));
    }
    for name in ["resource.service.name", "span.secret", ".secret", "name"] {
        questions.push(format!("/api/v2/search/tag/{name}/values?{window}"));
    }
    let mut queries = vec![
        "{ }".to_owned(),
        "{ span.secret =~ \".*\" }".to_owned(),
        "{ trace:rootService != \"\" }".to_owned(),
        "{ span:duration > 0ns }".to_owned(),
        "{ span.secret != \"\" } && { resource.service.name != \"\" }".to_owned(),
        format!("{{ trace:id = \"{SHARED}\" }}"),
    ];
    for tenant in TENANTS {
        queries.push(format!("{{ span.secret = \"secret-of-{tenant}\" }}"));
        queries.push(format!("{{ span:name = \"name-of-{tenant}\" }}"));
        queries.push(format!("{{ .span-key-of-{tenant} = \"yes\" }}"));
        let tags = http::encode(&format!("secret=secret-of-{tenant}"));
        questions.push(format!("/api/search?tags={tags}&{window}"));
    }
    for query in &queries {
        let query = http::encode(query);
        questions.push(format!("/api/search?q={query}&{window}"));
        questions.push(format!("/api/v2/search/tags?q={query}&{window}"));
        let values = "/api/v2/search/tag/span.secret/values";
        questions.push(format!("{values}?q={query}&{window}"));
    }
    questions
}

/// Every tenant sends one more span of the trace that all of them have.
pub(crate) fn each_sends(site: &Site, round: u64) {
    for tenant in TENANTS {
        send(site, tenant, &body(tenant, round));
    }
}

/// Waits until every tenant sees so many.
pub(crate) fn each_sees(site: &Site, n_spans: usize) {
    for tenant in TENANTS {
        whole(site, tenant, n_spans);
    }
}

/// Asks everything as every tenant.
pub(crate) fn nobody_sees_another(site: &Site, place: &str) {
    for (own, other) in [(TENANTS[0], TENANTS[1]), (TENANTS[1], TENANTS[0])] {
        let mut n_own = 0;
        for question in questions() {
            for accept in ["", "Accept: application/protobuf\r\n"] {
                let head = named(own) + accept;
                let answer = http::get_with(site.http, &question, &head).unwrap();
                let text = answer.text();
                assert!(
                    [200, 404].contains(&answer.status),
                    "{place}: {question}: {text}"
                );
                let theirs = format!("of-{other}");
                assert!(
                    !text.contains(&theirs),
                    "{place}: {own} sees in {question}:\n{text}"
                );
                // Whoever asks for another one's words finds nothing, not even that they are there.
                let asks_for_theirs = question.contains(&theirs);
                assert!(
                    !asks_for_theirs
                        || !(text.contains("\"traceID\":") || text.contains("of-team")),
                    "{place}: {own} is found by another's words in {question}:\n{text}"
                );
                n_own += usize::from(text.contains(&format!("of-{own}")));
            }
        }
        assert!(n_own > 50, "{place}: {own} finds itself {n_own} times");
        for question in questions() {
            let answer = ask(site, "team-c", &question);
            let text = answer.text();
            assert!(!text.contains("of-team-"), "{place}: {question}:\n{text}");
        }
    }
}

/// What a tenant sees of the trace of which it sent so many spans.
fn whole(site: &Site, tenant: &str, n_spans: usize) {
    eventually("the trace is whole", || {
        let answer = ask(site, tenant, &format!("/api/v2/traces/{SHARED}"));
        let n = crate::load::n_spans(&answer.json()["trace"]["resourceSpans"]);
        match n == n_spans {
            true => Ok(()),
            false => Err(format!("{n} spans of {n_spans}: {}", answer.text())),
        }
    });
}

#[test]
fn nobody_sees_another_tenant_in_the_head_in_blocks_and_after_a_merge() {
    let site = Site::new();
    let server = site.start(&[ON, "storage.max_block_duration=1h"]);
    each_sends(&site, 0);
    each_sees(&site, 1);
    nobody_sees_another(&site, "head");
    assert_eq!(server.get("/flush").status / 100, 2);
    nobody_sees_another(&site, "block");
    for round in 1..BLOCKS {
        each_sends(&site, round);
        assert_eq!(server.get("/flush").status / 100, 2);
    }
    let merged = r#"tracewell_merged_blocks_total{level="0"}"#;
    wait_for(&server, merged, BLOCKS as f64);
    each_sees(&site, BLOCKS as usize);
    nobody_sees_another(&site, "merged");
    nobody_exports_another(&site);
    // From the log again, beside merged blocks.
    each_sends(&site, BLOCKS);
    server.kill();
    let _server = site.start(&[ON]);
    each_sees(&site, BLOCKS as usize + 1);
    nobody_sees_another(&site, "replayed");
}

/// An export holds what its tenant sent, whatever it asks for.
fn nobody_exports_another(site: &Site) {
    let url = format!("http://127.0.0.1:{}", site.http);
    for (own, other) in [(TENANTS[0], TENANTS[1]), (TENANTS[1], TENANTS[0])] {
        let theirs = format!("{{ span.secret = \"secret-of-{other}\" }}");
        for (query, is_found) in [("{ }", true), (theirs.as_str(), false)] {
            let arguments = ["export", query, "--server", &url, "--tenant", own];
            let lines = super::tracewell(&arguments);
            assert!(!lines.contains(&format!("of-{other}")), "{own}:\n{lines}");
            let n_own = lines.matches(&format!("secret-of-{own}")).count();
            assert_eq!(n_own > 0, is_found, "{own} exports {query}:\n{lines}");
        }
    }
    let of_nobody = ["export", "--server", &url, "--tenant", "team-c"];
    assert!(!super::tracewell(&of_nobody).contains("of-team-"));
}

/// The same bytes of two tenants are two requests.
#[test]
fn the_same_body_of_two_tenants_is_kept_for_both() {
    let site = Site::new();
    let _server = site.start(&[ON]);
    let body = body("nobody", 0);
    for tenant in TENANTS {
        send(&site, tenant, &body);
        whole(&site, tenant, 1);
    }
}

#[test]
fn without_a_tenant_nothing_is_taken_and_nothing_is_answered() {
    let site = Site::new();
    let server = site.start(&[ON, "tenants.query_several=false"]);
    let body = body("team-a", 0);
    let refused = |status: u16, head: &str, words: &str| {
        let answers = questions()
            .into_iter()
            .map(|question| http::get_with(site.http, &question, head).unwrap())
            .chain([
                http::post_with(site.otlp_http, "/v1/traces", PROTOBUF, head, &body).unwrap(),
                http::post_with(
                    site.otlp_http,
                    "/v1/traces",
                    "application/json",
                    head,
                    b"{}",
                )
                .unwrap(),
            ]);
        for answer in answers {
            assert_eq!(answer.status, status, "{head}: {}", answer.text());
            assert!(answer.text().contains(words), "{head}: {}", answer.text());
        }
    };
    refused(401, "", "no org id");
    refused(401, &named(""), "no org id");
    refused(400, &named("a/b"), "not allowed");
    refused(400, &named(".."), "not allowed");
    refused(400, &named(&"x".repeat(151)), "150");
    refused(400, &named("team-a|team-b"), "tenants.query_several");
    let twice = named("team-b") + &named("team-a");
    refused(400, &twice, "more than once");
    for head in [&[][..], &[("x-scope-orgid", "a/b")]] {
        assert!(grpc::export_with(site.otlp_grpc, &body, head).is_err());
    }
    let answer = ask(&site, "team-a", &format!("/api/v2/traces/{SHARED}"));
    assert!(!answer.text().contains("of-team-a"), "{}", answer.text());
    // What belongs to the process needs none.
    for path in ["/ready", "/metrics", "/status", "/api/echo"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let head = [("x-scope-orgid", "team-a")];
    grpc::export_with(site.otlp_grpc, &body, &head).unwrap();
    whole(&site, "team-a", 1);
}

/// A question may be about several tenants, and about those alone; spans are of one.
#[test]
fn a_question_about_several_tenants_has_the_answers_of_each() {
    let site = Site::new();
    let server = site.start(&[ON]);
    for (n, tenant) in ["team-a", "team-b", "team-c"].into_iter().enumerate() {
        for round in 0..=n as u64 {
            send(&site, tenant, &body(tenant, 10 * n as u64 + round));
        }
        if n == 0 {
            // One of them lies in a block, the others in the head.
            assert_eq!(server.get("/flush").status / 100, 2);
        }
    }
    let both = "team-b|team-a|team-b";
    for question in questions() {
        let [a, b, all] = ["team-a", "team-b", both].map(|who| ask(&site, who, &question));
        assert_eq!(all.status, 200, "{question}: {}", all.text());
        assert!(
            !all.text().contains("of-team-c"),
            "{question}: {}",
            all.text()
        );
        for (name, alone) in [("of-team-a", a), ("of-team-b", b)] {
            let (is_there, is_alone) = (all.text().contains(name), alone.text().contains(name));
            // A search names one root.
            let is_root = question.contains("/api/search?") && is_alone;
            assert!(
                is_there == is_alone || is_root,
                "{question}: {}",
                all.text()
            );
        }
    }
    let trace = ask(&site, both, &format!("/api/v2/traces/{SHARED}")).json();
    assert_eq!(crate::load::n_spans(&trace["trace"]["resourceSpans"]), 3);
    let found = ask(&site, both, "/api/search?q=%7B%20%7D&limit=5").json();
    let [trace] = &found["traces"].as_array().unwrap()[..] else {
        panic!("{found}");
    };
    assert_eq!(trace["spanSets"][0]["matched"], 3, "{found}");
    assert_eq!(trace["spanSets"][0]["spans"].as_array().unwrap().len(), 3);
    let services = trace["serviceStats"].as_object().unwrap();
    assert_eq!(services["service-of-team-b"]["spanCount"], 2, "{found}");
    assert_eq!(services.len(), 2, "{found}");
    let head = named(both);
    let sent = http::post_with(site.otlp_http, "/v1/traces", PROTOBUF, &head, &body("x", 0));
    assert_eq!(sent.unwrap().status, 400);
}

#[test]
fn without_tenants_the_header_means_nothing() {
    let site = Site::new();
    let server = site.start(&[]);
    for head in ["", &named("team-a"), &named("a/b")] {
        let body = body("anybody", head.len() as u64);
        let answer = http::post_with(site.otlp_http, "/v1/traces", PROTOBUF, head, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    whole(&site, "team-b", 3);
    let answer = server.get(&format!("/api/v2/traces/{SHARED}"));
    let n = crate::load::n_spans(&answer.json()["trace"]["resourceSpans"]);
    assert_eq!(n, 3);
}

#[test]
fn the_command_line_sends_and_asks_as_a_tenant() {
    let site = Site::new();
    let _server = site.start(&[ON]);
    let send_to = format!("grpc://127.0.0.1:{}", site.otlp_grpc);
    let sent = run(&[
        "demo",
        "--spans",
        "500",
        "--spread",
        "1m",
        "--tenant",
        "team-a",
        "--endpoint",
        &send_to,
    ]);
    assert!(sent.status.success(), "{sent:?}");
    let server = format!("http://127.0.0.1:{}", site.http);
    let as_tenant = |command: &[&str], tenant: &[&str]| {
        let arguments = [command, &["--server", &server], tenant].concat();
        let output = run(&arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            text + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let (code, found) = as_tenant(&["query", "--since", "1h"], &["--tenant", "team-a"]);
    assert_eq!(code, Some(0), "{found}");
    let id = found.lines().nth(1).unwrap().split(' ').next().unwrap();
    for command in [&["trace", id][..], &["tags", "--since", "1h"]] {
        let (code, text) = as_tenant(command, &["--tenant", "team-a"]);
        assert!(code == Some(0) && text.lines().count() > 3, "{text}");
    }
    let (code, text) = as_tenant(&["query", "--since", "1h"], &["--tenant", "team-b"]);
    assert!(
        code == Some(0) && text.contains("no trace matches"),
        "{text}"
    );
    let (code, text) = as_tenant(&["trace", id], &["--tenant", "team-b"]);
    assert!(code == Some(1) && text.contains("no trace"), "{text}");
    let (code, text) = as_tenant(&["query"], &[]);
    assert!(code == Some(1) && text.contains("no org id"), "{text}");
    let (code, text) = as_tenant(&["query"], &["--tenant", "a/b"]);
    assert!(code == Some(2) && text.contains("not allowed"), "{text}");
}

fn run(arguments: &[&str]) -> std::process::Output {
    Command::new(binary()).args(arguments).output().unwrap()
}

/// `--demo` has a tenant of its own where there are tenants.
#[test]
fn the_demo_is_a_tenant() {
    let site = Site::new();
    let mut command = Command::new(binary());
    command.args(site.arguments(&[ON])).args(["--demo", "50"]);
    let _server: Server = site.start_command(command);
    eventually("demo traffic is found", || {
        let answer = ask(&site, "demo", "/api/search");
        match answer.text().contains("traceID") {
            true => Ok(()),
            false => Err(answer.text()),
        }
    });
    let others = ask(&site, "team-a", "/api/search");
    assert!(!others.text().contains("traceID"), "{}", others.text());
}
