//! Commands of the real binary that no other test starts: their output, as text and as JSON, and
//! their exit codes.

use std::process::{Command, Output};

use serde_json::Value;

use super::metrics::send;
use crate::harness::server::Site;
use crate::harness::{binary, eventually, root};
use crate::load::{N_SPANS, n_spans, request};

#[test]
fn answers_as_json_are_json_and_nothing_else() {
    let site = Site::new();
    let server = site.start(&[]);
    let (id, body) = request(60, 0, 0);
    send(&site, &body);
    super::find(&server, id);
    let url = format!("http://127.0.0.1:{}", site.http);
    let ask = |arguments: &[&str]| {
        let mut with = arguments.to_vec();
        with.extend(["--json", "--server", &url]);
        json(&run(&with, 0))
    };
    let found = ask(&["query", "{ span.index = \"3\" }"]);
    assert_eq!(found["traces"][0]["rootServiceName"], "load", "{found}");
    let trace = ask(&["trace", &id.to_string()]);
    assert_eq!(n_spans(&trace["trace"]["resourceSpans"]), N_SPANS);
    let tags = ask(&["tags", "--scope", "span"]);
    assert_eq!(
        tags["scopes"][0]["tags"],
        serde_json::json!(["index", "marker"])
    );
    let values = ask(&["tags", "span.index"]);
    assert_eq!(values["tagValues"].as_array().unwrap().len(), N_SPANS);
    let nothing = run(&["query", "{ name = \"nothing\" }", "--server", &url], 0);
    assert!(nothing.stdout.is_empty());
    assert!(
        errors(&nothing).contains("no trace matches"),
        "{}",
        errors(&nothing)
    );
    let unknown = run(&["trace", "dead", "--server", &url], 1);
    assert!(
        errors(&unknown).contains("no trace"),
        "{}",
        errors(&unknown)
    );
    run(&["trace", "xyz", "--server", &url], 2);
    run(&["tags", "nope", "--server", &url], 2);
    let wrong = run(&["query", "{ nonsense", "--server", &url], 2);
    assert!(
        errors(&wrong).contains("invalid TraceQL query"),
        "{}",
        errors(&wrong)
    );
    let endpoint = format!("http://127.0.0.1:{}/v1/traces", site.otlp_http);
    let demo = ["demo", "--spans", "2000", "--json", "--endpoint", &endpoint];
    let report = json(&run(&demo, 0));
    assert!(report["n_spans"].as_u64().unwrap() >= 2_000, "{report}");
    assert_eq!(report["n_lost"], 0, "{report}");
    let by_service = "{ } | rate() by (resource.service.name)";
    let series = run(
        &[
            "query", by_service, "--since", "2h", "--step", "5m", "--server", &url,
        ],
        0,
    );
    let table = text(&series);
    assert!(table.starts_with("series"), "{table}");
    assert!(table.contains("resource.service.name="), "{table}");
    let misspelt = run(&["query", "{ statuss = error }", "--server", &url], 2);
    let place = "  { statuss = error }\n    ^^^^^^^";
    assert!(errors(&misspelt).contains(place), "{}", errors(&misspelt));
    assert!(server.stop().success());
    let gone = run(&["query", "--server", &url], 1);
    assert!(
        errors(&gone).contains("no server answers"),
        "{}",
        errors(&gone)
    );
    run(&["demo", "--spans", "1", "--endpoint", "nowhere"], 2);
}

#[test]
fn wrong_arguments_and_configurations_exit_with_two() {
    for arguments in [
        ["--no-such-flag"].as_slice(),
        &["no-such-command"],
        &["query", "--limit", "x"],
        &["config", "explain", "limits.nonsense"],
        &["serve", "--set", "nonsense=1"],
        &["serve", "--demo", "0"],
        &["demo", "--rate", "0"],
        &["demo", "--spans", "1", "--connections", "0"],
        // Of a load, and not of live traffic.
        &["demo", "--batch", "100"],
        &["bench", "--spans", "0"],
    ] {
        let output = run(arguments, 2);
        assert!(!errors(&output).is_empty(), "{arguments:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(&file, "retention:\n  agee: 3h\n").unwrap();
    // What was asked for was to check, and the check failed.
    let output = run(&["config", "verify", file.to_str().unwrap()], 1);
    run(&["--config", file.to_str().unwrap()], 2);
    let text = errors(&output);
    assert!(
        text.contains("retention.age") && text.contains("2"),
        "{text}"
    );
}

#[test]
fn the_configuration_is_printed_explained_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tracewell.yaml");
    let printed = run(&["config", "print", "--set", "retention.age=72h"], 0);
    assert!(text(&printed).contains("age: 72h"), "{}", text(&printed));
    std::fs::write(&file, &printed.stdout).unwrap();
    let verified = run(&["config", "verify", file.to_str().unwrap()], 0);
    assert!(
        errors(&verified).contains("is valid"),
        "{}",
        errors(&verified)
    );
    run(&["--config", file.to_str().unwrap(), "--verify"], 0);
    let explained = text(&run(&["config", "explain", "limits.memory_bytes"], 0));
    assert!(explained.contains("256MB"), "{explained}");
    let tempo = root().join("tests/fixtures/howto-tempo.yaml");
    let flag = format!("-config.file={}", tempo.display());
    for check in ["-config.verify", "-verify-config", "--config.verify=true"] {
        let said = errors(&run(&[&flag, check], 0));
        assert!(
            said.contains("warning: ") && said.contains("is valid"),
            "{said}"
        );
        let said = errors(&run(&[&flag, check, "--strict"], 1));
        assert!(said.contains("--strict takes none"), "{said}");
    }
    run(&[&flag, "-config.verify", "-search.enabled=false"], 1);
}

#[test]
fn a_query_is_explained_by_what_it_asks_and_reads() {
    let site = Site::new();
    let server = site.start(&[]);
    let (id, body) = request(60, 0, 0);
    send(&site, &body);
    super::find(&server, id);
    assert_eq!(server.get("/flush").status / 100, 2);
    let url = format!("http://127.0.0.1:{}", site.http);
    let ask = |query: &str, more: &str| {
        let arguments = ["query", query, more, "--since", "2h", "--server", &url];
        text(&run(&arguments, 0))
    };
    let explained = ask("{ span.url.path = \"/\" }", "--explain");
    let asked = "filter 1    span.url.path = \"/\" || (span.url.path = nil && path(span.http.target) = \"/\")\n";
    assert!(explained.contains(asked), "{explained}");
    assert!(explained.contains("sources     1 of 1 "), "{explained}");
    assert!(!explained.contains("row groups"), "{explained}");
    let absent = ask("{ name = \"nothing\" }", "--analyze");
    assert!(absent.contains("row groups  1 of 1 ruled out"), "{absent}");
    assert!(absent.contains("found       0 traces"), "{absent}");
    let all = ask("{ } | rate()", "--analyze");
    assert!(all.contains("row groups  0 of 1 ruled out"), "{all}");
    assert!(all.contains(&format!("looked at {N_SPANS} spans")), "{all}");
    assert!(all.contains("found       1 series"), "{all}");
    let arguments = ["query", "{ } | rate(", "--explain", "--server", &url];
    let wrong = errors(&run(&arguments, 2));
    assert!(wrong.contains("  { } | rate("), "{wrong}");
    assert!(server.stop().success());
}

#[test]
fn a_health_check_tells_by_its_exit_code() {
    let site = Site::new();
    let server = site.start(&[]);
    let url = format!("http://127.0.0.1:{}", site.http);
    let page = format!("-health.url={url}/ready");
    let ready = run(&["ready", "--server", &url], 0);
    assert_eq!(text(&ready), "ready\n");
    run(&["-health", &page], 0);
    assert!(server.stop().success());
    let gone = run(&["-config.file=/none.yaml", "-health", &page], 1);
    assert!(errors(&gone).contains(&url), "{}", errors(&gone));
}

#[test]
fn completions_are_written_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&run(&["completions", shell], 0));
        assert!(
            script.contains("tracewell") && script.contains("data-dir"),
            "{shell}"
        );
    }
    run(&["completions", "tcsh"], 2);
}

#[test]
fn serve_with_demo_has_traces_of_the_shop() {
    let site = Site::new();
    let mut command = Command::new(binary());
    command.args(site.arguments(&[])).args(["--demo", "50"]);
    let server = site.start_command(command);
    eventually("the shop's traces are found", || {
        let found = server.search(r#"{ resource.service.name = "checkout" }"#, 5);
        match found["traces"].as_array() {
            Some(traces) if !traces.is_empty() => Ok(()),
            _ => Err(format!("{found}")),
        }
    });
    let told = server.log();
    for (what, port, path) in [
        ("OTLP gRPC", site.otlp_grpc, ""),
        ("OTLP HTTP", site.otlp_http, "/v1/traces"),
        ("query API", site.http, "/api/search"),
    ] {
        let line = told.lines().find(|line| line.trim().starts_with(what));
        let address = format!(":{port}{path}");
        assert!(line.is_some_and(|line| line.ends_with(&address)), "{told}");
    }
    assert!(server.stop().success());
}

#[test]
fn a_live_demo_tells_of_a_server_that_is_away_and_back() {
    let site = Site::new();
    let mut command = Command::new(binary());
    let endpoint = format!("grpc://127.0.0.1:{}", site.otlp_grpc);
    command.args(["demo", "--endpoint", &endpoint]);
    let demo = site.launch(command);
    let told = |words: &str| {
        eventually(words, || match demo.log() {
            log if log.contains(words) => Ok(()),
            log => Err(log),
        });
    };
    told(&format!(
        "no spans are taken: no server answers at {endpoint}: "
    ));
    let server = site.start(&[]);
    told("spans are taken again");
    assert!(server.stop().success());
    // What need not go on says so at once.
    let load = ["demo", "--spans", "10", "--endpoint", &endpoint];
    assert!(errors(&run(&load, 1)).contains("no server answers"));
    let bench = ["bench", "--otlp", &endpoint, "--api", "http://127.0.0.1:1"];
    assert!(errors(&run(&bench, 1)).contains("name another with --otlp"));
}

#[test]
fn a_small_bench_prints_a_table_for_each_size() {
    let arguments = ["bench", "--spans", "1000,3000", "--repeat", "2", "--json"];
    let tables = json(&run(&arguments, 0));
    let tables = tables.as_array().unwrap();
    let sizes: Vec<u64> = tables
        .iter()
        .map(|it| it["n_spans"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [1_000, 3_000]);
    for table in tables {
        let rows = table["rows"].as_array().unwrap();
        assert!(rows.len() > 20, "{table}");
        for row in rows {
            assert_eq!(row["failed"], false, "{row}");
        }
        let has = |name: &str| {
            rows.iter()
                .any(|row| row["name"] == name && row["value"].is_f64())
        };
        for name in [
            "spans acknowledged a second",
            "ack to searchable, median",
            "trace by id, hot, p50",
            "bytes per span at rest",
            "query: status, p50",
            "query: absent value, p50",
        ] {
            assert!(has(name), "{name}: {table}");
        }
    }
}

#[test]
fn a_bench_that_gets_wrong_answers_fails() {
    let site = Site::new();
    let server = site.start(&[]);
    let otlp = format!("http://127.0.0.1:{}/v1/traces", site.otlp_http);
    // The port for OTLP answers no query: nothing that was sent is found.
    let api = format!("http://127.0.0.1:{}", site.otlp_http);
    let arguments = [
        "bench", "--spans", "500", "--repeat", "1", "--otlp", &otlp, "--api", &api,
    ];
    let output = run(&arguments, 1);
    assert!(text(&output).contains("WRONG"), "{}", text(&output));
    let said = errors(&output);
    for words in ["wrong answers", "trace by id", "query: status"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    drop(server);
}

pub(super) fn run(arguments: &[&str], code: i32) -> Output {
    let output = Command::new(binary())
        .args(arguments)
        .env("XDG_STATE_HOME", std::env::temp_dir())
        .output()
        .unwrap();
    let seen = output.status.code();
    assert_eq!(
        seen,
        Some(code),
        "{arguments:?}: {}{}",
        text(&output),
        errors(&output)
    );
    output
}

pub(super) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(super) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}
