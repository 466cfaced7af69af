//! Export and import between real servers: what comes over is what was there, once, wherever it was
//! stopped.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tracewell_model::{Limits, TenantId};
use tracewell_wire::otlp::{decode_json, spans_of};

use super::commands::{errors, run, text};
use super::round_trip::{self, Sent};
use crate::harness::server::Site;
use crate::harness::{binary, http};
use crate::load::request;

fn url(site: &Site) -> String {
    format!("http://127.0.0.1:{}", site.http)
}

fn grpc(site: &Site) -> String {
    format!("grpc://127.0.0.1:{}", site.otlp_grpc)
}

/// Sends `n_spans` of the demo's shop.
fn load(site: &Site, n_spans: &str) {
    let endpoint = grpc(site);
    run(&["demo", "--spans", n_spans, "--endpoint", &endpoint], 0);
}

/// All that a server has, as lines.
fn exported(site: &Site, file: &Path) -> String {
    let name = file.to_str().unwrap();
    let server = url(site);
    run(
        &[
            "export", "--since", "2h", "--output", name, "--server", &server,
        ],
        0,
    );
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn traces_of_every_kind_come_over_as_they_are() {
    let (from, to) = (Site::new(), Site::new());
    let servers = [from.start(&[]), to.start(&[])];
    let sent = round_trip::send(&from, 20_261_129);
    let server = url(&from);
    // Wild spans lie anywhere in time.
    let all = ["--start", "1970-01-01", "--end", "2554-01-01"];
    let lines = text(&run(
        &[&["export", "--server", &server], &all[..]].concat(),
        0,
    ));
    let mut found = Sent::new();
    for line in lines.lines() {
        let decoded = decode_json(TenantId::single(), line.as_bytes(), &Limits::default());
        let decoded = decoded.unwrap();
        assert_eq!(decoded.rejected.sentence(), "");
        let trace = round_trip::forms(spans_of(&decoded.batch));
        assert_eq!(trace.len(), 1, "a trace a line");
        for (id, forms) in trace {
            assert!(found.insert(id, forms).is_none(), "{id} came twice");
        }
    }
    assert!(found == sent, "{} of {} traces", found.len(), sent.len());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("traces.jsonl");
    std::fs::write(&file, &lines).unwrap();
    let name = file.to_str().unwrap();
    for _ in 0..2 {
        run(&["import", name, "--endpoint", &grpc(&to)], 0);
    }
    round_trip::check(&to, &sent, "imported twice");
    drop(servers);
}

#[test]
fn an_export_that_is_killed_again_and_again_is_whole_in_the_end() {
    let (from, to) = (Site::new(), Site::new());
    let servers = [from.start(&[]), to.start(&[])];
    load(&from, "8000");
    let folder = tempfile::tempdir().unwrap();
    let whole = exported(&from, &folder.path().join("whole.jsonl"));
    assert!(whole.lines().count() > 500);

    let file = folder.path().join("killed.jsonl");
    let name = file.to_str().unwrap();
    let server = url(&from);
    let arguments = [
        "export", "--since", "2h", "--output", name, "--server", &server,
    ];
    let (mut n_kills, mut n_resumed) = (0, 0);
    for patience in (1u64..).map(|n| Duration::from_millis(60 * n)) {
        let mut export = Command::new(binary())
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(patience);
        let ended = export.try_wait().unwrap();
        drop(export.kill());
        let told = errors(&export.wait_with_output().unwrap());
        n_resumed += usize::from(told.contains("going on with"));
        match ended {
            // The one before was killed when it had finished, just before it ended.
            Some(_) if told.contains("is there already") => break,
            Some(status) => {
                assert!(status.success(), "{told}");
                break;
            }
            None => n_kills += 1,
        }
        assert!(n_kills < 200, "{told}");
    }
    println!("{n_kills} kills, went on {n_resumed} times");
    assert!(n_kills > 0 && n_resumed > 0);
    assert!(std::fs::read_to_string(&file).unwrap() == whole);
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 2, "{names:?}");

    run(&["import", name, "--endpoint", &grpc(&to)], 0);
    let again = exported(&to, &folder.path().join("again.jsonl"));
    assert!(again == whole, "what was imported is what was exported");
    drop(servers);
}

#[test]
fn a_query_and_a_time_choose_what_is_exported() {
    let site = Site::new();
    let server = site.start(&[]);
    let hour = 3_600_000_000_000;
    let now = u64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos(),
    )
    .unwrap();
    let mut sent = Vec::new();
    for hours in [0, 3, 5] {
        let (id, body) = crate::load::request_at(70, 0, hours, now - hours * hour);
        super::metrics::send(&site, &body);
        sent.push(id.to_string());
    }
    let server_url = url(&site);
    let export = |arguments: &[&str]| {
        let with = [&["export", "--server", &server_url], arguments].concat();
        let lines = text(&run(&with, 0));
        let has = |id: &String| lines.contains(id.as_str());
        sent.iter().map(has).collect::<Vec<bool>>()
    };
    assert_eq!(export(&[]), [true, false, false]);
    assert_eq!(export(&["--since", "4h"]), [true, true, false]);
    assert_eq!(export(&["--since", "10h"]), [true, true, true]);
    let query = format!("{{ span.marker =~ \".*{}.*\" }}", sent[1]);
    assert_eq!(export(&[&query, "--since", "10h"]), [false, true, false]);
    run(&["export", "{ nonsense", "--server", &server_url], 2);
    run(&["export", "--connections", "0"], 2);
    drop(server);
}

#[test]
fn what_is_not_whole_is_not_exported_in_silence() {
    let site = Site::new();
    let server = site.start(&["limits.trace_spans_max=10"]);
    let (id, body) = request(71, 0, 0);
    super::metrics::send(&site, &body);
    let server_url = url(&site);
    let arguments = ["export", "--server", &server_url];
    let refused = errors(&run(&arguments, 1));
    assert!(
        refused.contains("--allow-partial") && refused.contains("more than the 10 that are read"),
        "{refused}"
    );
    let taken = run(&[&arguments[..], &["--allow-partial"]].concat(), 0);
    assert!(text(&taken).contains(&id.to_string()));
    assert!(errors(&taken).contains("warning"), "{}", errors(&taken));
    assert!(server.stop().success());
    let gone = errors(&run(&arguments, 1));
    assert!(gone.contains("no server answers"), "{gone}");
}

#[test]
fn lines_that_are_wrong_are_named_and_the_rest_is_imported() {
    let site = Site::new();
    let server = site.start(&[]);
    let (id, body) = request(72, 0, 0);
    let mut line = Vec::new();
    tracewell_wire::otlp::protobuf_to_json(&body, &mut line).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("traces.jsonl");
    let content = [b"{\"resourceSpans\": 3}\n", &line[..], b"\n{\"resou"].concat();
    std::fs::write(&file, content).unwrap();
    let name = file.to_str().unwrap();
    let http = format!("http://127.0.0.1:{}", site.otlp_http);
    let import = run(&["import", name, "--endpoint", &http], 1);
    let told = errors(&import);
    for place in ["traces.jsonl:1: left out", "traces.jsonl:3: left out"] {
        assert!(told.contains(place), "{told}");
    }
    assert!(text(&import).contains("2 lines"), "{}", text(&import));
    super::find(&server, id);
    run(&["import", "/no/such/file", "--endpoint", &http], 1);
    assert_eq!(
        http::get(site.http, "/ready").map(|answer| answer.status),
        Ok(200)
    );
}
