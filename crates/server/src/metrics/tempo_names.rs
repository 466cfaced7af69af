//! What Tempo's dashboards and alerts ask for is there, or the guide says that it is missing.

use std::collections::BTreeSet;
use std::path::Path;

use super::Metric;

/// Names in the dashboards, alerts and rules of Tempo's mixin, of 2.x and 3.x. `*` is whatever follows.
const ASKED_FOR: &[&str] = &[
    "tempo_distributor_{spans_received_total,bytes_received_total,ingress_bytes_total}",
    "tempo_distributor_{debug_spans_received_total,traces_per_batch,push_duration_seconds}",
    "tempo_distributor_{attributes_truncated_total,metrics_generator_pushes_total}",
    "tempo_distributor_{metrics_generator_pushes_failures_total,kafka_write_bytes_total}",
    "tempo_distributor_{kafka_write_latency_seconds,kafka_records_per_request,produce_failures_total}",
    "tempo_receiver_{accepted,refused}_spans",
    "tempo_discarded_spans_total",
    "tempo_live_store_{traces_created_total,live_traces,live_trace_bytes,bytes_received_total}",
    "tempo_live_store_{blocks_cut_total,blocks_completed_total,local_blocks_flushed_total}",
    "tempo_live_store_{local_failed_flushes_total,records_processed_total,records_dropped_total}",
    "tempo_live_store_{lagged_requests_total,ready,back_pressure_seconds_total}",
    "tempo_ingester_{traces_created_total,live_traces,blocks_flushed_total,failed_flushes_total}",
    "tempo_ingester_flush_duration_seconds",
    "tempo_block_builder_{flushed_blocks,fetch_duration_seconds,consume_cycle_duration_seconds}",
    "tempo_block_builder_owned_partitions",
    "tempodb_{blocklist_length,blocklist_poll_duration_seconds,blocklist_poll_errors_total}",
    "tempodb_{blocklist_tenant_index_age_seconds,compaction_bytes_written_total}",
    "tempodb_{compaction_blocks_total,compaction_objects_combined_total,compaction_outstanding_blocks}",
    "tempodb_{compaction_errors_total,retention_deleted_total,retention_marked_for_deletion_total}",
    "tempodb_{retention_errors_total,backend_request_duration_seconds,backend_hedged_roundtrips_total}",
    "tempodb_{work_queue_length,work_queue_max}",
    "tempo_query_frontend_{queries_total,queries_within_slo_total,bytes_inspected_total}",
    "tempo_query_frontend_{jobs_per_query,retries,queue_length,queue_duration_seconds}",
    "tempo_query_frontend_{discarded_requests_total,connected_clients}",
    "tempo_querier_*",
    "tempo_metrics_generator_{spans_received_total,bytes_received_total,spans_discarded_total}",
    "tempo_metrics_generator_{active_processors,registry_active_series,registry_max_active_series}",
    "tempo_metrics_generator_registry_series_{added,removed,limited}_total",
    "tempo_metrics_generator_registry_{active_series,label_cardinality}_demand_estimate",
    "tempo_metrics_generator_processor_service_graphs_{edges,expired_edges,dropped_spans}",
    "tempo_limits_{defaults,overrides}",
    "tempo_warnings_total",
    "tempo_request_duration_seconds",
    "tempo_build_info",
    "tempo_ingest_group_partition_lag",
    "tempo_ingest_group_partition_lag_seconds",
    "tempo_spans_distance_in_{future,past}_seconds",
];
const GUIDE: &str = "docs/guide/http-api.md";
/// How the paragraph of the guide begins that names what is missing.
const MISSING: &str = "- Of Tempo's own metrics those are missing";

/// `a_{b,c}_d` is `a_b_d` and `a_c_d`.
fn expanded(name: &str) -> Vec<String> {
    let Some((begin, rest)) = name.split_once('{') else {
        return vec![name.to_owned()];
    };
    let (inner, end) = rest.split_once('}').unwrap();
    let parts = inner.split(',');
    parts.map(|part| format!("{begin}{part}{end}")).collect()
}

#[test]
fn what_the_dashboards_of_tempo_ask_for_is_there_or_said_to_be_missing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(GUIDE);
    let text = std::fs::read_to_string(path).unwrap();
    let (_, paragraph) = text.split_once(MISSING).unwrap();
    let (paragraph, _) = paragraph.split_once("\n- ").unwrap();
    // Code stands between every other pair of backticks.
    let code = paragraph.split('`').skip(1).step_by(2);
    let missing: BTreeSet<String> = code
        .flat_map(expanded)
        .filter(|name| name.starts_with("tempo"))
        .filter(|name| name != "tempo_warnings_total")
        .collect();
    let exported: BTreeSet<&str> = Metric::ALL
        .iter()
        .flat_map(|metric| metric.definition().tempo.iter().copied())
        .collect();
    let covers = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => pattern == name,
    };
    for name in ASKED_FOR.iter().flat_map(|name| expanded(name)) {
        let is_missing = missing.iter().any(|pattern| covers(pattern, &name));
        let is_there = exported.contains(name.as_str());
        assert!(
            is_there != is_missing,
            "{name}: exported is {is_there}, and {GUIDE} says that missing is {is_missing}"
        );
    }
    for pattern in &missing {
        let there = exported.iter().find(|name| covers(pattern, name));
        assert_eq!(there, None, "{GUIDE} says that {pattern} is missing");
    }
}
