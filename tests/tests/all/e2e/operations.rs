//! The operational endpoints of the real binary, and traces in protobuf from blocks.

use bytes::Bytes;
use tracewell_model::TenantId;
use tracewell_wire::otlp::decode_stored;

use super::metrics::{send, wait_for};
use crate::harness::metrics::scrape;
use crate::harness::server::{Server, Site};
use crate::harness::{eventually, http};
use crate::load::{N_SPANS, request, request_at};

/// Of each but the first three a first block is made.
const N_REQUESTS: u64 = 12;

/// What is sent moves the figures, from the head into blocks.
#[test]
fn the_status_page_counts_what_is_there() {
    let site = Site::new();
    let server = site.start(&["limits.request_spans_max=30"]);
    let status = || {
        let json = http::get_with(site.http, "/status", "accept: application/json\r\n");
        json.unwrap().json()
    };
    assert!(status()["blocks"]["oldest_readable_span"].is_null());
    for number in 0..2 {
        super::metrics::send(&site, &request(75, 0, number).1);
    }
    // One sender lives in 1970.
    super::metrics::send(&site, &request_at(75, 0, 2, 1_000).1);
    eventually("the head is counted", || {
        let json = status();
        let spans = json["head"]["spans"].as_u64();
        let taken = json["ingest"]["spans_taken"].as_f64();
        match spans == Some(3 * N_SPANS as u64) && taken > Some(0.0) {
            true => Ok(()),
            false => Err(json.to_string()),
        }
    });
    let json = status();
    let filling = &json["head"]["generation_0_filling"];
    assert_eq!(filling["spans"], 3 * N_SPANS, "{json}");
    assert!(filling["bytes"].as_u64() > Some(0), "{json}");
    assert!(filling["old"].as_f64() < Some(600.0), "{json}");
    let is_recent = |json: &serde_json::Value| {
        let age = json["blocks"]["its_age"].as_f64().unwrap();
        assert!(age < 600.0, "{json}");
    };
    is_recent(&json);
    assert_eq!(server.get("/flush").status / 100, 2);
    let json = status();
    assert_eq!(json["head"]["spans"], 0, "{json}");
    assert_eq!(json["blocks"]["level_0"]["spans"], 3 * N_SPANS, "{json}");
    is_recent(&json);
    // So many first blocks are merged at once, and lie in the partition of their hour.
    for number in 3..N_REQUESTS {
        super::metrics::send(&site, &request(75, 0, number).1);
        assert_eq!(server.get("/flush").status / 100, 2);
    }
    eventually("first blocks are merged", || {
        let json = status();
        let partitions = json["blocks_by_partition"].as_object().unwrap();
        let spans = partitions.values().map(|sums| sums["spans"].as_u64());
        let spans: u64 = spans.map(Option::unwrap).sum();
        match spans > 0 && json["blocks"]["level_1"]["spans"] == spans {
            true => Ok(()),
            false => Err(json.to_string()),
        }
    });
    is_recent(&status());
    assert_eq!(json["limits_that_bit"], serde_json::json!({}), "{json}");
    // Two requests in one are above the limit on spans.
    let large = [request(76, 0, 0).1, request(76, 0, 1).1].concat();
    let answer = http::post(
        site.otlp_http,
        "/v1/traces",
        "application/x-protobuf",
        &large,
    );
    assert_eq!(answer.unwrap().status, 200);
    let json = status();
    let n = json["limits_that_bit"]["limits_request_spans_max"].as_u64();
    assert!(n > Some(0), "{json}");
}

#[test]
fn status_pages_say_what_runs_and_how() {
    let site = Site::new();
    let server = site.start(&["retention.age=72h"]);
    assert_eq!(server.get("/api/echo").text(), "echo");
    assert_eq!(server.get("/").status, 200);
    for (path, words) in [
        ("/status", ["generations waiting", "free on the volume"]),
        ("/status/version", ["tracewell, version", "rust version"]),
        ("/status/services", ["store: Running", "otlp_grpc: Running"]),
        ("/status/endpoints", ["GET /api/search", "GET, POST /flush"]),
        ("/status/config", ["age: 72h", "memory_bytes"]),
        ("/status/config?mode=diff", ["age: 72h", "--set"]),
        (
            "/status/config?mode=defaults",
            ["age: 336h", "memory_bytes"],
        ),
        ("/status/overrides", ["no file of overrides", "'*':"]),
        ("/status/runtime_config", ["overrides:", "query_ms_max: "]),
        (
            "/status/overrides/team-a",
            ["no entry of its own", "tenant_queries_max: off"],
        ),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 200, "{path}");
        for words in words {
            assert!(
                answer.text().contains(words),
                "{path}: {words}: {}",
                answer.text()
            );
        }
    }
    let json = http::get_with(site.http, "/status", "accept: application/json\r\n").unwrap();
    let json = json.json();
    assert_eq!(json["ready"], true, "{json}");
    assert_eq!(json["services"]["store"], "Running", "{json}");
    for (section, fact) in [
        ("process", "up"),
        ("ingest", "spans_taken"),
        ("head", "generations_waiting_for_their_block"),
        ("blocks", "waiting_for_a_merge"),
        ("disk", "free_on_the_volume"),
    ] {
        assert!(json[section][fact].is_number(), "{section}, {fact}: {json}");
    }
    for (path, status, words) in [
        ("/status/nothing", 404, "runtime_config"),
        ("/status/config?mode=x", 400, "unknown mode"),
        ("/nothing", 404, "/status/endpoints"),
        (
            "/api/v2/traces/1?q=%7B%7D&keep_hierarchy=yes",
            400,
            "keep_hierarchy",
        ),
        (
            "/api/v2/traces/1?q=%7B%7D&ancestor_depth=-2",
            400,
            "ancestor_depth",
        ),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(words), "{path}: {}", answer.text());
    }
    let defaults = "/api/v2/traces/1?keep_hierarchy=false&match_depth=0&ancestor_depth=-1";
    assert_eq!(server.get(defaults).status, 200);
    let posted = http::post(site.http, "/api/search", "", &[]).unwrap();
    assert_eq!(posted.status, 405);
}

/// Queries that read every trace, more of them than there are threads, and a probe beside them.
#[test]
fn a_probe_is_answered_while_queries_compute() {
    const QUERIES: usize = 4;
    let site = Site::new();
    let server = site.start(&[]);
    let endpoint = format!("http://127.0.0.1:{}", site.otlp_http);
    super::tracewell(&["demo", "--spans", "6000", "--endpoint", &endpoint]);
    // Neither side has statistics that would exclude a trace.
    let query = http::encode("{ event:name = link:spanID }");
    let path = format!("/api/search?q={query}&since=24h");
    let n_answered = std::thread::scope(|scope| {
        let queries: Vec<_> = (0..QUERIES)
            .map(|_| scope.spawn(|| server.get(&path)))
            .collect();
        let mut n_answered = 0;
        while queries.iter().any(|query| !query.is_finished()) {
            assert_eq!(server.get("/ready").status, 200);
            n_answered += usize::from(queries.iter().all(|query| !query.is_finished()));
        }
        for query in queries {
            let answer = query.join().unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["traces"], serde_json::json!([]));
        }
        n_answered
    });
    println!("{n_answered} probes answered before the first of {QUERIES} queries was");
    assert!(n_answered >= 3, "{n_answered}");
}

#[test]
fn the_build_is_named_everywhere() {
    let site = Site::new();
    let server = site.start(&[]);
    let build = server.get("/api/status/buildinfo").json();
    for key in ["version", "revision", "branch", "buildDate", "rustVersion"] {
        assert!(!build[key].as_str().unwrap().is_empty(), "{key}: {build}");
    }
    let number = super::tracewell(&["--version"]);
    let number = number.split_whitespace().nth(1).unwrap();
    assert_eq!(build["version"], format!("3.1.0+tracewell.{number}"));
    let revision = build["revision"].as_str().unwrap();
    let hex = revision.trim_end_matches("-dev");
    let is_revision = hex.len() == 40 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_revision || revision == "unknown", "{revision}");
    let date = build["buildDate"].as_str().unwrap();
    assert!(
        date.len() == 20 && date.ends_with('Z') || date == "unknown",
        "{date}"
    );
    assert!(server.get("/status/version").text().contains(revision));
    let version = super::tracewell(&["--version"]);
    assert!(
        version.contains(revision) && version.contains(date),
        "{version}"
    );
    let seen = scrape(&server);
    let label = format!("revision=\"{revision}\"");
    let is_named = |(name, value): (&String, &f64)| {
        name.starts_with("tempo_build_info{") && name.contains(&label) && *value == 1.0
    };
    assert!(seen.iter().any(is_named));
}

#[test]
fn a_trace_in_protobuf_comes_from_blocks_too() {
    let site = Site::new();
    let server = site.start(&[]);
    let (id, body) = request(50, 0, 0);
    send(&site, &body);
    for round in ["head", "block"] {
        let head = "accept: application/protobuf\r\n";
        let v1 = http::get_with(site.http, &format!("/api/traces/{id}"), head).unwrap();
        assert_eq!(v1.status, 200, "{round}");
        assert!(v1.head.contains("application/protobuf"), "{}", v1.head);
        assert_eq!(n_spans(v1.body.clone()), N_SPANS, "{round}");
        let v2 = http::get_with(site.http, &format!("/api/v2/traces/{id}"), head).unwrap();
        assert_eq!(v2.status, 200, "{round}");
        // The trace is the first field of the envelope, and no other field is as long.
        let at = v2
            .body
            .windows(v1.body.len())
            .position(|part| part == v1.body);
        assert!(
            at.is_some_and(|at| (2..6).contains(&at)) && v2.body[0] == 0x0a,
            "{round}"
        );
        assert_eq!(server.get("/flush").status / 100, 2);
    }
    let unknown = "/api/traces/0000000000000000000000000000dead";
    assert_eq!(server.get(unknown).status, 404);
}

#[test]
fn shutdown_is_a_graceful_stop() {
    let site = Site::new();
    let mut server = site.start(&[]);
    let (id, body) = request(51, 0, 0);
    send(&site, &body);
    assert_eq!(server.get("/shutdown").status, 200);
    let status = server.wait();
    assert!(status.success(), "{status}: {}", server.log());
    let server = site.start(&[]);
    super::find(&server, id);
}

#[test]
fn what_lies_beside_the_store_is_counted_and_left_alone() {
    let site = Site::new();
    let strangers = [
        "notes.txt",
        "blocks/somebody-elses/data",
        "single-tenant/index.json.gz",
    ];
    for name in strangers {
        let path = site.data().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "not ours").unwrap();
    }
    let server = site.start(&[]);
    send(&site, &request(52, 0, 0).1);
    assert_eq!(server.get("/flush").status / 100, 2);
    foreign(&server, strangers.len());
    let lines = server.log();
    let told = lines
        .lines()
        .filter(|line| line.contains("are not its own"));
    assert_eq!(told.count(), 1, "{lines}");
    assert!(server.stop().success());
    let server = site.start(&[]);
    // The files that the first run made are its own.
    foreign(&server, strangers.len());
    for name in strangers {
        let text = std::fs::read_to_string(site.data().join(name)).unwrap();
        assert_eq!(text, "not ours", "{name}");
    }
}

#[test]
fn a_damaged_manifest_is_on_the_ready_page_with_what_to_do() {
    let site = Site::new();
    let server = site.start(&[]);
    let (id, body) = request(53, 0, 0);
    send(&site, &body);
    assert_eq!(server.get("/flush").status / 100, 2);
    send(&site, &request(53, 0, 1).1);
    assert_eq!(server.get("/flush").status / 100, 2);
    assert!(server.stop().success());
    let folder = site.data().join("manifest");
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let newest = names.max().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    let server = site.start(&[]);
    let ready = server.get("/ready?verbose");
    assert_eq!(ready.status, 200);
    let text = ready.text();
    for words in [
        "cannot be read",
        "counts in the place of newer ones",
        ".manifest",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    super::find(&server, id);
}

fn foreign(server: &Server, wanted: usize) {
    let name = "tracewell_foreign_objects";
    let seen = wait_for(server, name, wanted as f64);
    assert_eq!(seen[name], wanted as f64, "{}", server.log());
}

fn n_spans(body: Vec<u8>) -> usize {
    let decoded = decode_stored(TenantId::single(), Bytes::from(body)).unwrap();
    decoded.batch.n_spans()
}
