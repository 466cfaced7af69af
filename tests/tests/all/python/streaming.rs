//! The official gRPC library against `tempopb.StreamingQuerier`, beside the HTTP API.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::server::Site;
use crate::harness::{binary, packages, ports, root};

const HOURS: u64 = 4;

#[test]
fn every_method_streams_what_the_http_api_answers() {
    let site = Site::new();
    let grpc_port = ports::free();
    let server = site.start(&[
        &format!("listen.query_grpc={grpc_port}"),
        // A call that goes on though its client has left would keep the only turn.
        "limits.queries_max=1",
    ]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // Between two questions whose end is now, spans of a running service would come.
    let until = now.as_secs() - 600;
    // Hour after hour in a block of its own, the newest in memory.
    for hours in (0..HOURS).rev() {
        let hour_until = (until - 3_600 * hours).to_string();
        let sent = Command::new(binary())
            .args(["demo", "--spans", "10000", "--json"])
            .args(["--seed", &hours.to_string(), "--until", &hour_until])
            .args([
                "--endpoint",
                &format!("grpc://127.0.0.1:{}", site.otlp_grpc),
            ])
            .output()
            .unwrap();
        assert!(sent.status.success(), "{sent:?}");
        if hours > 0 {
            assert_eq!(server.get("/flush").status, 200);
        }
    }
    let range = [until - 3_600 * HOURS, until + 60].map(|time| time.to_string());
    let output = Command::new(packages::python().join("python"))
        .arg(root().join("tests/python/streaming.py"))
        .arg(site.http.to_string())
        .args(range)
        .arg(grpc_port.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    let metrics = server.get("/metrics").text();
    let counted = "route=\"/tempopb.StreamingQuerier/Search\"";
    assert!(metrics.contains(counted), "{metrics}");
}
