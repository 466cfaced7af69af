//! The Tempo file of a public how-to, as it is: `tracewell -config.file=...` listens on the ports
//! and keeps its data in the folders that the file names.
//!
//! Ports and folders are those of the file, so one process of the machine can run this at a time.
//! Another one is waited for a while; a program that keeps a port fails the test with its name.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use crate::harness::server::Site;
use crate::harness::{binary, eventually, http, root};
use crate::load::{N_SPANS, marker, n_spans, request};

/// From the public Development Guides (instrument-distributed-tracing, step 1), see
/// `tests/fixtures/README.md`.
const FILE: &str = "tests/fixtures/howto-tempo.yaml";
/// What the file names and Tracewell has: query API, OTLP over gRPC and over HTTP.
const BUILT: [u16; 3] = [3200, 4317, 4318];
/// What the file names and Tracewell does not have yet: Jaeger twice, Zipkin.
const NOT_BUILT: [u16; 3] = [14268, 14250, 9411];
/// Below the folders that the file names, which stay Tempo's.
const FOLDERS: [&str; 2] = ["/tmp/tempo/blocks/tracewell", "/tmp/tempo/wal/tracewell"];

#[test]
fn the_file_of_the_how_to_starts_as_it_is() {
    let _leftovers = Leftovers::new();
    let file = root().join(FILE);
    eventually("the ports of the how-to's file are free", || {
        for port in BUILT.iter().chain(&NOT_BUILT) {
            if answers(*port) {
                return Err(format!(
                    "something listens on {port}, see `ss -ltnp`; end it to run this test"
                ));
            }
        }
        Ok(())
    });
    let site = Site::on(BUILT);
    let start = || {
        let mut command = Command::new(binary());
        command.arg(format!("-config.file={}", file.display()));
        site.start_command(command)
    };
    let server = start();
    for port in BUILT {
        assert!(answers(port), "nothing listens on {port}");
    }
    check_warnings(&server.log());
    for port in NOT_BUILT {
        assert!(!answers(port), "something listens on {port}");
    }

    let (id, body) = request(7, 0, unique());
    let kind = "application/x-protobuf";
    let answer = http::post(site.otlp_http, "/v1/traces", kind, &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    send_over_grpc(site.otlp_grpc);
    let find = |server: &crate::harness::server::Server| {
        let query = format!(r#"{{ span.marker = "{}" }}"#, marker(id));
        eventually("the trace comes back by search", || {
            let found = server.search(&query, 20);
            match found["traces"][0]["spanSets"][0]["matched"] == N_SPANS {
                true => Ok(()),
                false => Err(found.to_string()),
            }
        });
        let trace = server.get(&format!("/api/traces/{id}")).json();
        assert_eq!(n_spans(&trace["batches"]), N_SPANS, "{trace}");
        let found = server.search("{ resource.service.name != \"load\" }", 20);
        assert!(found["traces"][0]["traceID"].is_string(), "{found}");
    };
    find(&server);
    let config = server.get("/status/config").text();
    for part in ["168h", "5m"] {
        assert!(config.contains(part), "{part} is not in\n{config}");
    }
    for folder in FOLDERS {
        assert!(Path::new(folder).is_dir(), "{folder}");
    }
    assert!(server.stop().success());
    let server = start();
    find(&server);
    let log = server.log();
    assert!(server.stop().success(), "{log}");
}

/// Each receiver that is named and not built is a warning with its line, its name and its port.
fn check_warnings(log: &str) {
    for part in [
        "howto-tempo.yaml:8: receiver jaeger/thrift_http is not built yet; nothing listens on 0.0.0.0:14268",
        "howto-tempo.yaml:10: receiver jaeger/grpc is not built yet; nothing listens on 0.0.0.0:14250",
        "howto-tempo.yaml:12: receiver zipkin is not built yet; nothing listens on 0.0.0.0:9411",
    ] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
    assert_eq!(log.matches("not built yet").count(), 3, "{log}");
}

fn send_over_grpc(port: u16) {
    let output = Command::new(binary())
        .args(["demo", "--spans", "200", "--spread", "1m", "--endpoint"])
        .arg(format!("grpc://127.0.0.1:{port}"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

fn answers(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The folders may hold traces of an earlier run, which are not asked for.
fn unique() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Takes away what the server created outside of the test's own folder, and nothing else.
struct Leftovers {
    created: Vec<&'static Path>,
}

// === impl Leftovers ===

impl Leftovers {
    fn new() -> Self {
        let created = FOLDERS
            .into_iter()
            .map(Path::new)
            .filter(|folder| !folder.exists());
        Self {
            created: created.collect(),
        }
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        for folder in &self.created {
            drop(std::fs::remove_dir_all(folder));
            // Succeeds for those that are empty now.
            for parent in folder.ancestors().skip(1).take(2) {
                drop(std::fs::remove_dir(parent));
            }
        }
    }
}
