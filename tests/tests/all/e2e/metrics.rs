//! Every metric that docs/guide/metrics.md names, scraped from the real binary.

use std::sync::Arc;

use tracewell_model::{Span, TraceId};
use tracewell_store::metrics::StoreMetrics;
use tracewell_wire::otlp::encode_spans;

use super::PROTOBUF;
use crate::harness::http;
use crate::harness::metrics::{Scrape, of, scrape};
use crate::harness::server::{Server, Site};
use crate::harness::{eventually, root};
use crate::load::{N_SPANS, request};

/// So many first blocks are merged without waiting.
const BLOCKS: u64 = 8;

#[test]
fn every_metric_of_the_table_is_scraped_after_a_flush_and_a_merge() {
    let site = Site::new();
    let overrides = site.folder().join("overrides.yaml");
    std::fs::write(&overrides, "overrides: {a: {request_spans_max: 7}}\n").unwrap();
    let overrides = format!("tenants.overrides_path={}", overrides.display());
    let server = site.start(&["storage.max_block_duration=1h", &overrides]);
    // The trace of the first request comes again with every other one, later: same ids, other spans.
    let mut first = None;
    for number in 0..BLOCKS {
        let (id, body) = request(20, 0, number);
        first.get_or_insert(id);
        send(&site, &body);
        if number > 0 {
            send(&site, &request(20, 0, 0).1);
        }
        assert_eq!(server.get("/flush").status / 100, 2);
    }
    let id = first.unwrap();
    send_a_bad_span(&site);
    for path in ["/api/search?q=%7B%7D", "/api/search/tags", "/api/traces/1"] {
        server.get(path);
    }
    assert_eq!(server.get(&format!("/api/v2/traces/{id}")).status, 200);
    let merged = r#"tracewell_merged_blocks_total{level="0"}"#;
    wait_for(&server, merged, BLOCKS as f64);
    // Replaced blocks are deleted, and that is not retention's doing.
    let seen = wait_for(
        &server,
        "tracewell_store_blocks_deleted_total",
        BLOCKS as f64,
    );
    let mut expected = names();
    // There is no bucket: `buckets` looks at these.
    const OF_BUCKET: [&str; 3] = [
        "tracewell_bucket_",
        "tempodb_blocklist_tenant_index_age_seconds",
        "tempodb_backend_request_duration_seconds",
    ];
    let is_of_bucket = |name: &String| OF_BUCKET.iter().any(|begin| name.starts_with(begin));
    expected.retain(|name| !is_of_bucket(name));
    assert!(expected.len() > 100, "{} names", expected.len());
    for name in &expected {
        let values: Vec<f64> = of(&seen, name).collect();
        assert!(!values.is_empty(), "{name} is not scraped");
        for value in values {
            assert!(value.is_finite() && value >= 0.0, "{name} is {value}");
        }
    }
    let counters = StoreMetrics::default().values();
    for (name, _, _) in &counters {
        let name = format!("tracewell_store_{name}_total");
        assert_eq!(of(&seen, &name).count(), 1, "{name}");
    }
    the_numbers_are_right(&seen);
    println!(
        "{} names of the table and {} counters of the store scraped",
        expected.len(),
        counters.len()
    );
    assert!(server.stop().success());
    what_retention_deletes_is_counted_as_such(&site);
}

/// What the requests, blocks and queries of the test must have come to.
fn the_numbers_are_right(seen: &Scrape) {
    let sum = |name: &str| of(seen, name).sum::<f64>();
    let n_twins = ((BLOCKS - 1) as usize * N_SPANS) as f64;
    for (name, wanted) in [
        ("tempodb_compaction_blocks_total", BLOCKS as f64),
        ("tempodb_compaction_objects_combined_total", 1.0),
        ("tracewell_twin_spans_total", n_twins),
        ("tempodb_compaction_errors_total", 0.0),
        ("tempo_ingester_failed_flushes_total", 0.0),
        ("tempodb_retention_deleted_total", 0.0),
        ("tempodb_retention_errors_total", 0.0),
        ("tempo_ingester_blocks_flushed_total", BLOCKS as f64),
        ("tempo_live_store_local_blocks_flushed_total", BLOCKS as f64),
        ("tempo_discarded_spans_total", 1.0),
        (
            "tempo_distributor_traces_per_batch_count",
            (2 * BLOCKS - 1) as f64,
        ),
        // Every flush begins a generation of its own, in which its traces begin.
        (
            "tempo_ingester_traces_created_total",
            (2 * BLOCKS - 1) as f64,
        ),
    ] {
        assert_eq!(sum(name), wanted, "{name}");
    }
    for name in [
        "tempodb_compaction_bytes_written_total",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "process_open_fds",
        "tempo_query_frontend_queries_within_slo_total",
        "tempo_query_frontend_bytes_inspected_total",
        "tempo_request_duration_seconds_count",
        "tracewell_disk_free_bytes",
    ] {
        assert!(sum(name) > 0.0, "{name} is {}", sum(name));
    }
    let by_id = r#"tracewell_query_twin_spans_total{op="traces"}"#;
    assert_eq!(seen[by_id], n_twins);
    let limit = |name: &str| seen[&format!(r#"tempo_limits_defaults{{limit_name="{name}"}}"#)];
    assert_eq!(limit("query_depth_max"), 128.0);
}

fn what_retention_deletes_is_counted_as_such(site: &Site) {
    let server = site.start(&["retention.disk=1KiB"]);
    let seen = wait_for(&server, "tempodb_retention_deleted_total", 1.0);
    let marked = of(&seen, "tempodb_retention_marked_for_deletion_total").sum::<f64>();
    assert!(marked >= 1.0, "{marked}");
    assert_eq!(
        of(&seen, "tempodb_retention_errors_total").sum::<f64>(),
        0.0
    );
}

/// The names in the columns for Tracewell's and Tempo's. A histogram has a count.
fn names() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/guide/metrics.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let suffix = match row.contains("| histogram |") {
            true => "_count",
            false => "",
        };
        let names = row.split('`').skip(1).step_by(2);
        names
            .map(move |name| format!("{name}{suffix}"))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// Scrapes until a number is as large as that.
pub(super) fn wait_for(server: &Server, name: &str, wanted: f64) -> Scrape {
    eventually(name, || {
        let seen = scrape(server);
        let value = seen.get(name).copied();
        match value {
            Some(value) if value >= wanted => Ok(seen),
            _ => Err(format!("{value:?}, {wanted} is wanted\n{}", server.log())),
        }
    })
}

pub(super) fn send(site: &Site, body: &[u8]) {
    let answer = http::post(site.otlp_http, "/v1/traces", PROTOBUF, body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn send_a_bad_span(site: &Site) {
    let span = Span {
        resource: Arc::default(),
        trace_id: TraceId([0; 16]),
        ..Span::default()
    };
    send(site, &encode_spans(&[span]));
}
