//! TLS and tokens on the real binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::PROTOBUF;
use super::commands::{errors, text};
use super::tenants::named;
use crate::certificates::{self, Authority};
use crate::harness::http::Answer;
use crate::harness::server::{Server, Site};
use crate::harness::{binary, eventually, grpc, http};
use crate::load::request;

fn await_in_log(server: &Server, words: &str) {
    eventually(words, || {
        let is_said = server.log().contains(words);
        is_said.then_some(()).ok_or_else(|| server.log())
    });
}

#[test]
fn every_port_speaks_tls_and_new_certificates_need_no_restart() {
    let site = Site::new();
    let (first, second) = (
        Authority::new(&site, "first"),
        Authority::new(&site, "second"),
    );
    let settings = first.place(&site, "server");
    let mut command = Command::new(binary());
    command.args(site.arguments(&[&settings[0], &settings[1]]));
    let server = site.launch(command);
    let url = format!("https://localhost:{}", site.http);
    let is_ready = |authority: &Authority| {
        let output = authority.run(&["ready", "--server", &url]);
        match output.status.success() {
            true => Ok(()),
            false => Err(errors(&output)),
        }
    };
    eventually("the server is ready over TLS", || is_ready(&first));
    let endpoints = [
        format!("grpcs://localhost:{}", site.otlp_grpc),
        format!("https://127.0.0.1:{}", site.otlp_http),
    ];
    for endpoint in &endpoints {
        let output = first.run(&["demo", "--spans", "200", "--endpoint", endpoint]);
        assert!(output.status.success(), "{endpoint}: {}", errors(&output));
    }
    let query = ["query", "{ }", "--since", "2h", "--server", &url, "--json"];
    let found = first.run(&query);
    assert!(text(&found).contains("traceID"), "{}", errors(&found));
    // Who trusts somebody else, and who speaks no TLS.
    let output = second.run(&["demo", "--spans", "1", "--endpoint", &endpoints[0]]);
    assert!(!output.status.success());
    assert!(errors(&second.run(&query)).contains("SSL_CERT_FILE"));
    for port in [site.http, site.otlp_http] {
        let answer = http::get(port, "/").unwrap();
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("speaks TLS"), "{}", answer.text());
    }
    assert!(grpc::export(site.otlp_grpc, &request(80, 0, 0).1).is_err());

    // A key that is not the certificate's: what was there goes on.
    let (good, other) = (second.sign(), second.sign());
    certificates::place(&site, "server", &(good.0.clone(), other.1));
    await_in_log(&server, "new certificates are refused");
    is_ready(&first).unwrap();
    certificates::place(&site, "server", &good);
    eventually("the new certificate holds", || is_ready(&second));
    assert!(is_ready(&first).is_err());
    for endpoint in &endpoints {
        for (authority, is_trusted) in [(&second, true), (&first, false)] {
            let output = authority.run(&["demo", "--spans", "1", "--endpoint", endpoint]);
            let is_sent = output.status.success();
            assert_eq!(is_sent, is_trusted, "{endpoint}: {}", errors(&output));
        }
    }
    assert!(server.stop().success());
}

/// What a client gets that trusts the server's authority: a status, or 0 where no connection comes of it.
fn status_with(site: &Site, server: &Authority, client: Option<&(PathBuf, PathBuf)>) -> u16 {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--output", "/dev/null", "--max-time", "20"])
        .args(["--write-out", "%{http_code}", "--cacert"])
        .arg(&server.file);
    if let Some((cert, key)) = client {
        curl.arg("--cert").arg(cert).arg("--key").arg(key);
    }
    curl.arg(format!("https://localhost:{}/ready", site.http));
    text(&curl.output().unwrap()).parse().unwrap()
}

#[test]
fn clients_are_let_in_by_the_certificates_that_they_show() {
    let site = Site::new();
    let [authority, clients, others] =
        ["authority", "clients", "others"].map(|name| Authority::new(&site, name));
    let [cert, key] = authority.place(&site, "server");
    let ca_file = site.folder().join("ca.pem");
    let ca = format!("tls.client_ca_file={}", ca_file.display());
    let of_client = clients.files(&site, "of-client");
    let of_other = others.files(&site, "of-other");
    for (auth, without) in [("optional", 200), ("required", 0)] {
        std::fs::copy(&clients.file, &ca_file).unwrap();
        let auth = format!("tls.client_auth={auth}");
        let mut command = Command::new(binary());
        command.args(site.arguments(&[&cert, &key, &ca, &auth]));
        let server = site.launch(command);
        let status = |client: Option<&_>| status_with(&site, &authority, client);
        let is = |client, expected: u16| {
            eventually(&format!("{auth}: {expected}"), || match status(client) {
                seen if seen == expected => Ok(()),
                seen => Err(format!("{seen}\n{}", server.log())),
            });
        };
        is(Some(&of_client), 200);
        assert_eq!(status(None), without, "{auth}");
        assert_eq!(status(Some(&of_other)), 0, "{auth}");
        // Another authority signs from now on.
        std::fs::copy(&others.file, &ca_file).unwrap();
        is(Some(&of_other), 200);
        assert_eq!(status(Some(&of_client)), 0, "{auth}");
        assert_eq!(status(None), without, "{auth}");
        assert!(server.stop().success());
    }
}

#[test]
fn certificates_that_are_of_no_use_start_no_server() {
    let site = Site::new();
    let authority = Authority::new(&site, "authority");
    let [cert, key] = authority.place(&site, "server");
    let garbage = site.folder().join("garbage.pem");
    std::fs::write(&garbage, "no PEM").unwrap();
    let of = |name: &str, path: &str| format!("tls.{name}={path}");
    for (settings, words) in [
        (vec![cert.clone()], "go together"),
        (vec![of("client_ca_file", "/x")], "over TLS alone"),
        (vec![of("listeners", "http")], "without a certificate"),
        (
            vec![cert.clone(), key.clone(), of("client_auth", "required")],
            "without tls.client_ca_file",
        ),
        (vec![cert.clone(), of("key_file", "/no/such")], "/no/such"),
        (
            vec![cert.clone(), of("key_file", garbage.to_str().unwrap())],
            "expected a private key in PEM form",
        ),
        (
            vec![of("cert_file", garbage.to_str().unwrap()), key.clone()],
            "expected certificates in PEM form",
        ),
        (
            vec![cert, key, "tls.listeners=grpc".to_owned()],
            "some of http, otlp_grpc and otlp_http",
        ),
    ] {
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let arguments = site.arguments(&settings);
        let output = Command::new(binary()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{settings:?}");
        assert!(
            errors(&output).contains(words),
            "{words}: {}",
            errors(&output)
        );
    }
}

const TOKENS: &str = "\
tokens:
  a: aaaaaaaaaaaaaaaaaaaa
  b: bbbbbbbbbbbbbbbbbbbb
  '*': oooooooooooooooooooo
";

fn start_with(site: &Site, tokens: &Path) -> Server {
    let path = format!("tenants.tokens_path={}", tokens.display());
    let settings = ["tenants.enabled=true", &path, "tenants.overrides_period=1s"];
    site.start(&settings)
}

/// The head of a request that shows a token of one letter, and names a tenant.
fn shows(letter: &str, tenant: &str) -> String {
    let token = format!("authorization: Bearer {}\r\n", letter.repeat(20));
    match tenant {
        "" => token,
        tenant => token + &named(tenant),
    }
}

fn post(site: &Site, head: &str, body: &[u8]) -> Answer {
    http::post_with(site.otlp_http, "/v1/traces", PROTOBUF, head, body).unwrap()
}

#[test]
fn a_token_says_whose_a_request_is() {
    let site = Site::new();
    let file = site.folder().join("tokens.yaml");
    std::fs::write(&file, TOKENS).unwrap();
    let server = start_with(&site, &file);
    let (id, body) = request(81, 0, 0);
    let post = |head: &str| post(&site, head, &body);
    for (head, status) in [
        (String::new(), 401),
        (named("a"), 401),
        (shows("x", "a"), 401),
        (shows("a", "b"), 403),
        (shows("a", ""), 200),
        (shows("a", "a"), 200),
        (shows("o", ""), 401),
        (shows("o", "c"), 200),
    ] {
        let answer = post(&head);
        assert_eq!(answer.status, status, "{head}: {}", answer.text());
        // Who showed a token that is good, and named no tenant, is not asked for one.
        let asks = answer
            .head
            .to_lowercase()
            .contains("www-authenticate: bearer");
        assert_eq!(
            asks,
            status == 401 && head != shows("o", ""),
            "{}",
            answer.head
        );
    }
    let call = |token: &str| grpc::export_with(site.otlp_grpc, &body, &[("authorization", token)]);
    assert!(call("Bearer bbbbbbbbbbbbbbbbbbbb").is_ok());
    assert!(call("Bearer x").is_err());
    let found = |head: &str| {
        http::get_with(site.http, &format!("/api/traces/{id}"), head)
            .unwrap()
            .status
    };
    assert_eq!(found(""), 401);
    assert_eq!(found(&shows("a", "b")), 403);
    for (letter, tenant) in [("a", ""), ("b", ""), ("o", "c"), ("o", "a")] {
        assert_eq!(found(&shows(letter, tenant)), 200, "{letter} {tenant}");
    }
    assert_eq!(found(&shows("o", "nobody")), 404);
    // What belongs to the process is the operator's.
    let own = |path: &str, head: &str| http::get_with(site.http, path, head).unwrap().status;
    for path in [
        "/metrics",
        "/status",
        "/status/config",
        "/status/overrides/a",
        "/flush",
        "/shutdown",
    ] {
        let refused = [own(path, ""), own(path, &shows("a", ""))];
        assert_eq!(refused, [401, 403], "{path}");
        if path != "/shutdown" {
            assert_eq!(own(path, &shows("o", "")), 200, "{path}");
        }
    }
    assert_eq!(server.get("/ready").status, 200);
    // The command line, with a token in its surroundings.
    let url = format!("http://127.0.0.1:{}", site.http);
    let query = |token: &str| {
        let mut command = Command::new(binary());
        command.args(["query", "{ }", "--json", "--server", &url]);
        command.env("TRACEWELL_TOKEN", token).output().unwrap()
    };
    assert!(text(&query("aaaaaaaaaaaaaaaaaaaa")).contains("traceID"));
    assert!(errors(&query("")).contains("asks for a token"));
}

#[test]
fn new_tokens_hold_without_a_restart_and_broken_ones_do_not() {
    let site = Site::new();
    let file = site.folder().join("tokens.yaml");
    std::fs::write(&file, TOKENS).unwrap();
    let server = start_with(&site, &file);
    let (_, body) = request(83, 0, 0);
    let post = |head: &str| post(&site, head, &body);
    assert_eq!(post(&shows("a", "")).status, 200);
    std::fs::write(&file, "tokens:\n  a: short\n").unwrap();
    await_in_log(&server, "tokens.a: a token has 16 characters");
    assert_eq!(post(&shows("a", "")).status, 200);
    let failing = r#"tracewell_reloads_failing{file="tokens"} 1"#;
    let seen = http::get_with(site.http, "/metrics", &shows("o", "")).unwrap();
    assert!(seen.text().contains(failing), "{}", seen.text());
    let ready = server.get("/ready?verbose").text();
    assert!(ready.contains("new tokens are refused"), "{ready}");
    std::fs::write(&file, "tokens:\n  a: nnnnnnnnnnnnnnnnnnnn\n").unwrap();
    eventually("the new version holds", || {
        match post(&shows("n", "")).status {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    assert_eq!(post(&shows("a", "")).status, 401);
    assert!(!server.log().contains("aaaaaaaa"), "no token is in the log");
    // Without an operator what belongs to the process is nobody's.
    for (head, status) in [(String::new(), 401), (shows("n", ""), 403)] {
        for path in ["/metrics", "/shutdown"] {
            let answer = http::get_with(site.http, path, &head).unwrap();
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
        }
    }
}

#[test]
fn one_token_guards_a_server_without_tenants() {
    let site = Site::new();
    let file = site.folder().join("tokens.yaml");
    let token = "ssssssssssssssssssss";
    std::fs::write(&file, format!("tokens: {{single-tenant: {token}}}\n")).unwrap();
    let path = format!("tenants.tokens_path={}", file.display());
    let server = site.start(&[&path]);
    let (_, body) = request(82, 0, 0);
    let refused = http::post(site.otlp_http, "/v1/traces", PROTOBUF, &body).unwrap();
    assert_eq!(refused.status, 401);
    let head = format!("authorization: Bearer {token}\r\n");
    let taken = http::post_with(site.otlp_http, "/v1/traces", PROTOBUF, &head, &body).unwrap();
    assert_eq!(taken.status, 200, "{}", taken.text());
    assert_eq!(server.get("/api/search").status, 401);
    let found = http::get_with(site.http, "/api/search", &head).unwrap();
    assert!(found.text().contains("traceID"), "{}", found.text());
}
