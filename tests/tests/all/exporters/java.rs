//! Official exporters of Java against the real server.

use std::process::Command;

use super::check_sent;
use crate::harness::server::Site;
use crate::harness::{packages, root};

#[test]
fn every_exporter_and_compression_arrives() {
    let site = Site::new();
    let server = site.start(&[]);
    let output = Command::new("java")
        .arg("-cp")
        .arg(packages::java().join("*"))
        .arg(root().join("tests/java/Exporters.java"))
        .args([site.otlp_grpc.to_string(), site.otlp_http.to_string()])
        .output()
        .unwrap();
    check_sent(&server, &output, 4);
}
