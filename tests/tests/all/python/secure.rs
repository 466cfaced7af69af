//! Official exporters over TLS, with a certificate of their own and a token.

use std::process::Command;

use crate::certificates::Authority;
use crate::exporters::check_sent;
use crate::harness::server::Site;
use crate::harness::{packages, root};

#[test]
fn exporters_show_their_certificate_and_their_token() {
    let site = Site::new();
    let authority = Authority::new(&site, "authority");
    let settings = authority.place(&site, "server");
    let client = authority.place(&site, "client");
    let file_of = |setting: &str| setting.split_once('=').unwrap().1.to_owned();
    let token = "tttttttttttttttttttt";
    let tokens = site.folder().join("tokens.yaml");
    std::fs::write(&tokens, format!("tokens: {{single-tenant: {token}}}\n")).unwrap();
    let ca = authority.file.display();
    let server = site.start(&[
        &settings[0],
        &settings[1],
        &format!("tls.client_ca_file={ca}"),
        // The test itself asks without.
        "tls.listeners=otlp_grpc,otlp_http",
        &format!("tenants.tokens_path={}", tokens.display()),
    ]);
    let output = Command::new(packages::python().join("python"))
        .arg(root().join("tests/python/exporters.py"))
        .args([site.otlp_grpc.to_string(), site.otlp_http.to_string()])
        .arg("https")
        .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &authority.file)
        // To `requests` these count for more than what it is told.
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE")
        .env("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", file_of(&client[0]))
        .env("OTEL_EXPORTER_OTLP_CLIENT_KEY", file_of(&client[1]))
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            format!("authorization=Bearer%20{token}"),
        )
        .output()
        .unwrap();
    assert!(server.stop().success());
    let server = site.start(&[]);
    check_sent(&server, &output, 6);
}
