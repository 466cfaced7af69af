//! Official exporters and auto-instrumentation of Python against the real server.

mod guide;
mod live_blocks;
mod secure;
mod streaming;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::exporters::check_sent;
use crate::harness::server::Site;
use crate::harness::{PATIENCE, eventually, http, packages, ports, root};

#[test]
fn every_exporter_and_compression_arrives() {
    let site = Site::new();
    let server = site.start(&[]);
    let output = Command::new(packages::python().join("python"))
        .arg(root().join("tests/python/exporters.py"))
        .args([site.otlp_grpc.to_string(), site.otlp_http.to_string()])
        .output()
        .unwrap();
    check_sent(&server, &output, 6);
}

/// The how-to's path: a service without a line of instrumentation, all three signals on.
#[test]
fn a_flask_app_under_auto_instrumentation_logs_no_error() {
    let site = Site::new();
    let server = site.start(&[]);
    let (app, port) = flask_app(&site, "user-service", "");
    eventually("the app answers", || http::get(port, "/users/1"));
    for user in 2..5 {
        assert_eq!(
            http::get(port, &format!("/users/{user}")).unwrap().status,
            200
        );
    }
    assert_eq!(http::get(port, "/missing").unwrap().status, 404);
    eventually("its spans are found", || {
        let found = server.search(r#"{ resource.service.name = "user-service" }"#, 100);
        let n_traces = found["traces"].as_array().map_or(0, Vec::len);
        if n_traces >= 5 {
            Ok(())
        } else {
            Err(format!("{n_traces} traces: {found}"))
        }
    });
    let by_route = server.search(r#"{ span.http.route = "/users/<user_id>" }"#, 100);
    assert_eq!(
        by_route["traces"].as_array().unwrap().len(),
        4,
        "{by_route}"
    );
    if let Err(error) = http::get(port, "/quit") {
        println!("the app was gone before it had answered: {error}");
    }
    let output = ended(app);
    let log = String::from_utf8_lossy(&output.stderr);
    for word in [
        "ERROR",
        "Exception",
        "Traceback",
        "Failed",
        "failed",
        "partial",
    ] {
        assert!(!log.contains(word), "the app's log says {word:?}:\n{log}");
    }
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("tracewell_"), "{metrics}");
}

/// The same app with old names of HTTP's attributes, with new ones, and with both.
#[test]
fn flask_apps_of_three_generations_of_names_are_one_to_a_query() {
    let site = Site::new();
    let server = site.start(&[]);
    let generations = [("old", ""), ("new", "http"), ("both", "http/dup")];
    for (service, opt_in) in generations {
        let (app, port) = flask_app(&site, service, opt_in);
        eventually("the app answers", || http::get(port, "/users/1"));
        assert_eq!(http::get(port, "/missing").unwrap().status, 404);
        if let Err(error) = http::get(port, "/quit") {
            println!("the app was gone before it had answered: {error}");
        }
        drop(ended(app));
    }
    for query in [
        r#"{ span.http.request.method = "GET" && span.http.response.status_code = 404 }"#,
        r#"{ span.http.method = "GET" && span.http.status_code = 404 }"#,
        r#"{ span.url.scheme = "http" && span.http.route =~ "/users/.*" }"#,
        r#"{ span.http.scheme = "http" && span.http.route =~ "/users/.*" }"#,
        r#"{ span.url.path = "/users/1" }"#,
        r#"{ span.network.protocol.version =~ "1[.][01]" && span.http.status_code = 404 }"#,
        r#"{ span.http.flavor =~ "1[.][01]" && span.http.response.status_code = 404 }"#,
    ] {
        eventually(query, || {
            let found = server.search(query, 100);
            let traces = found["traces"].as_array().cloned().unwrap_or_default();
            let services = traces
                .iter()
                .filter_map(|trace| trace["rootServiceName"].as_str());
            let services: Vec<&str> = services.collect();
            let n = |name| services.iter().filter(|service| **service == name).count();
            match generations.iter().all(|(name, _)| n(*name) == 1) {
                true => Ok(()),
                false => Err(format!("{services:?}\n{found}")),
            }
        });
    }
}

/// The app of the how-to under auto-instrumentation, and its port.
fn flask_app(site: &Site, service: &str, semconv_opt_in: &str) -> (Child, u16) {
    let port = ports::free();
    let programs = packages::python();
    let app = Command::new(programs.join("opentelemetry-instrument"))
        .arg(programs.join("python"))
        .arg(root().join("tests/python/flask_app.py"))
        .arg(port.to_string())
        .env("OTEL_SERVICE_NAME", service)
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://127.0.0.1:{}", site.otlp_grpc),
        )
        .env("OTEL_SEMCONV_STABILITY_OPT_IN", semconv_opt_in)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "500")
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .env("OTEL_LOGS_EXPORTER", "otlp")
        .env("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED", "true")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (app, port)
}

/// Waits for a program that was told to end, and ends it if it does not.
fn ended(mut app: Child) -> Output {
    let start = Instant::now();
    while app.try_wait().unwrap().is_none() {
        if start.elapsed() > PATIENCE {
            app.kill().unwrap();
            panic!("the app does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    app.wait_with_output().unwrap()
}

/// The SQL of the format's page over the golden blocks in DuckDB, and every table in Polars; and over
/// the block that they were copied into, which holds the same spans.
#[test]
fn duckdb_and_polars_read_blocks_as_the_document_says() {
    for folder in ["block_v1", "block_v1_copied"] {
        let output = Command::new(packages::python().join("python"))
            .arg(root().join("tests/python/block_sql.py"))
            .arg(root().join("crates/store/tests/golden").join(folder))
            .arg(root().join("docs/format/block.md"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{folder}: {text}\n{errors}");
        println!("{folder}:\n{text}");
    }
}
