//! Blocks that the real server wrote, of all three levels and with several row groups, read by DuckDB
//! and Polars and compared with what the server says about the same spans.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tracewell_model::{AttributeValue, Event, KeyValue, Resource, Scope, Span, SpanId, TraceId};
use tracewell_wire::otlp::encode_spans;

use crate::harness::server::{Server, Site};
use crate::harness::{binary, blocks, eventually, http, packages, root};

const HOUR: u64 = 3_600;
/// So many first blocks are merged without waiting for more.
const BLOCKS: u64 = 8;
/// Of a first block of the past; sixteen of them make more than one row group.
const SPANS: u64 = 4_700;

/// A server and how much it was sent.
struct Sender {
    site: Site,
    server: Server,
    n_sent: u64,
    n_spans: u64,
}

#[test]
fn duckdb_and_polars_agree_with_the_server_about_its_blocks() {
    let site = Site::new();
    // Old and new names of one attribute are columns of their own to SQL.
    let server = site.start(&["query.aliases=false"]);
    let mut sender = Sender {
        site,
        server,
        n_sent: 0,
        n_spans: 0,
    };
    let past = now() / HOUR * HOUR - HOUR;
    // The hour is over, so two blocks of it are merged, and all that come later.
    for _ in 0..2 {
        for _ in 0..BLOCKS {
            sender.fill(past, SPANS, 3);
        }
        sender.wait_for_levels("the first blocks are merged", |levels| levels[0] == 0);
    }
    sender.wait_for_levels("one block of the past", |levels| levels == [0, 0, 1]);
    for _ in 0..BLOCKS {
        sender.fill(now(), 700, 3);
    }
    sender.wait_for_levels("a block of this hour", |levels| {
        levels[0] == 0 && levels[1] > 0
    });
    // Here what is rare elsewhere is frequent enough for columns.
    sender.fill(now(), 300, 60);
    sender.fill(past - HOUR, 300, 60);
    let live = sender.link_live_blocks();
    let output = Command::new(packages::python().join("python"))
        .arg(root().join("tests/python/live_blocks.py"))
        .arg(&live)
        .arg(root().join("docs/format/block.md"))
        .arg(sender.site.http.to_string())
        .arg(sender.n_spans.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    println!("{text}");
}

// === impl Sender ===

impl Sender {
    /// Sends demo traffic that ends then, and odd spans, and makes a first block of them.
    fn fill(&mut self, until: u64, n_spans: u64, n_odd: u64) {
        self.n_sent += 1;
        let output = Command::new(binary())
            .args(["demo", "--json", "--spread", "10m"])
            .args(["--seed", &self.n_sent.to_string()])
            .args(["--spans", &n_spans.to_string()])
            .args(["--until", &(until - 60).to_string()])
            .args([
                "--endpoint",
                &format!("grpc://127.0.0.1:{}", self.site.otlp_grpc),
            ])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        self.n_spans += summary["n_spans"].as_u64().unwrap();
        let body = encode_spans(&odd_spans(self.n_sent, n_odd, until - 60));
        let kind = "application/x-protobuf";
        let answer = http::post(self.site.otlp_http, "/v1/traces", kind, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.n_spans += n_odd;
        assert_eq!(self.server.get("/flush").status / 100, 2);
    }

    /// Waits for numbers of blocks by level.
    fn wait_for_levels(&self, what: &str, is_reached: impl Fn([usize; 3]) -> bool) {
        eventually(what, || {
            let levels = blocks::levels(&blocks::manifest(&self.site.data())?);
            match is_reached(levels) {
                true => Ok(()),
                false => Err(format!("{levels:?} blocks of levels 0, 1 and 2")),
            }
        });
    }

    /// A folder with the blocks that the newest manifest lists: beside them lie those that were
    /// replaced. Links, so that they stay whatever is merged meanwhile.
    fn link_live_blocks(&self) -> PathBuf {
        let manifest = blocks::manifest(&self.site.data()).unwrap();
        let levels = blocks::levels(&manifest);
        println!("{levels:?} blocks of levels 0, 1 and 2");
        assert!(levels.iter().all(|n| *n > 0));
        let live = self.site.folder().join("live");
        for block in &manifest.blocks {
            let id = block.id.to_string();
            let (from, to) = (self.site.data().join("blocks").join(&id), live.join(&id));
            std::fs::create_dir_all(&to).unwrap();
            for file in &block.files {
                link(&from.join(&file.name), &to.join(&file.name));
            }
        }
        live
    }
}

fn link(from: &Path, to: &Path) {
    std::fs::hard_link(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

/// What the demo does not send: one key of two types, keys that differ in case, a key that no name
/// of a column can hold, a rare one, exceptions, a host.
fn odd_spans(number: u64, n: u64, at: u64) -> Vec<Span> {
    let text = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: AttributeValue::String(value.to_owned()),
    };
    let resource = Arc::new(Resource {
        present: true,
        attributes: vec![
            text("service.name", "odd"),
            text("host.name", &format!("host-{}", number % 2)),
        ],
        ..Resource::default()
    });
    let scope = Arc::new(Scope::default());
    (0..n)
        .map(|index| {
            let status = match index % 3 {
                0 => AttributeValue::String("200".to_owned()),
                _ => AttributeValue::Int(200 + i64::try_from(index % 2).unwrap()),
            };
            let start = at * 1_000_000_000 + index * 1_000;
            let mut attributes = vec![
                KeyValue {
                    key: "http.status_code".to_owned(),
                    value: status,
                },
                text("userid", "lower"),
                text("app.\u{1}", "hidden"),
            ];
            if index % 2 == 0 {
                attributes.push(text("userId", "camel"));
            }
            if index == 0 {
                attributes.push(text("app.rare", &format!("rare {number}")));
            }
            Span {
                resource: Arc::clone(&resource),
                scope: Arc::clone(&scope),
                trace_id: TraceId((0x0dd << 64 | u128::from(number)).to_be_bytes()),
                span_id: SpanId((index + 1).to_be_bytes()),
                // The last names a parent that nobody sent, some end before they start.
                parent_span_id: match index {
                    0 => None,
                    it if it + 1 == n => Some(SpanId([0xee; 8])),
                    _ => Some(SpanId(1u64.to_be_bytes())),
                },
                name: format!("odd {}", index % 4),
                kind: 3,
                start_unix_nano: start,
                end_unix_nano: if index % 5 == 1 {
                    start - 7
                } else {
                    start + 90
                },
                attributes,
                events: vec![Event {
                    time_unix_nano: start,
                    name: "exception".to_owned(),
                    attributes: vec![text("exception.type", "OddError")],
                    ..Event::default()
                }],
                ..Span::default()
            }
        })
        .collect()
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}
