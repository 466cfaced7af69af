//! Official exporters of Go against the real server.

use std::process::Command;

use super::check_sent;
use crate::harness::packages;
use crate::harness::server::Site;

#[test]
fn every_exporter_and_compression_arrives() {
    let site = Site::new();
    let server = site.start(&[]);
    let output = Command::new(packages::go_exporters())
        .args([site.otlp_grpc.to_string(), site.otlp_http.to_string()])
        .output()
        .unwrap();
    check_sent(&server, &output, 4);
}
