//! What becomes of each key of Tempo's: it is taken over, it has no meaning here (a warning with its
//! line), or it would change what the server does and cannot be honoured (the start is refused).
//!
//! A key that Tracewell learns to honour changes its line here, and nothing else of this module.

use std::path::Path;
use std::time::Duration;

use crate::config::values;
use crate::config::yaml::{Node, Value};

/// What becomes of a key.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// It is this key of ours, written in the same way.
    Same(&'static str),
    /// It is this key of ours after a conversion of its value.
    Convert(&'static str, fn(&Node) -> Result<Node, String>),
    /// It says what is so anyway.
    Silent,
    /// It has no effect, and this is why.
    NoEffect(&'static str),
    /// It has no effect, which is worth a word only where it says something else than these.
    Unless(&'static [&'static str], &'static str),
    /// Only these values can be honoured.
    Only(&'static [&'static str], &'static str),
    /// It cannot be honoured, and the start is refused.
    Refuse(&'static str),
    /// It is read elsewhere.
    Elsewhere,
}

pub(super) const SIGN_ON: &str =
    "it protects, and it is not built yet; put a proxy that does it in front, and take the key out";
pub(super) const NOT_BUILT: &str =
    "it protects, and what it protects is not built yet; take the key out";
const TUNING: &str = "Tracewell sizes this by itself, see limits.memory_bytes";
const MERGING: &str = "Tracewell merges by itself";
const CUTTING: &str = "spans are durable and searchable at once; how long they stay in memory is storage.max_block_duration";
const ONE_PROCESS: &str = "Tracewell is one process and has no others to find or to ask";
const SERVER: &str = "the query API has limits of its own, see limits.*";
const BLOCKS: &str = "Tracewell writes a block format of its own";
const POLLING: &str = "a bucket is looked at every few seconds";
const CACHES: &str =
    "Tracewell caches in memory and, of a bucket, on its own disk, see bucket.cache";
const QUERIES: &str =
    "Tracewell plans its queries by itself, within limits.query_ms_max and limits.queries_max";
const QUERY_WAIT: &str = "sixteen queries wait for each that may run, see limits.queries_max and limits.tenant_queries_max";
const QUERY_TIME: &str = "how long a query may take is limits.query_ms_max, in a file of Tempo's query_frontend.api_timeout";
const WINDOW: &str =
    "a query may ask for any stretch of time; limits.query_ms_max bounds how long it takes";
const SLO: &str = "tracewell_queries_within_slo_total counts queries within five seconds; another bound cannot be \
                   set";
const METRICS: &str = "metrics from spans are not built yet";
const FORWARDING: &str = "forwarding is not built yet, and spans stop going where they go today; send them there \
                          from a collector";
const BY_API: &str = "overrides by API are not built yet; those that were set do not hold, /api/overrides answers 404";
const LIMITS: &str = "Tracewell has no such limit of a tenant; limits.* hold";
const RETRY_INFO: &str = "a refusal always says when to try again";
const KAFKA: &str = "Tracewell writes its own log and reads no Kafka yet";
const REPORTS: &str = "Tracewell reports nothing to anybody";
const SCHEDULER_RETENTION: &str =
    "as in Tempo, retention is backend_worker.compaction.block_retention";
const SPAN_LOG: &str = "spans are not written to the log; `tracewell query` shows them";

/// Every key of Tempo's that is known. A pattern that ends in `.*` is all below it; the longest wins.
pub(super) const KEYS: &[(&str, Action)] = &[
    ("auth_enabled", Action::Convert("tenants.enabled", if_on)),
    (
        "multitenancy_enabled",
        Action::Convert("tenants.enabled", if_on),
    ),
    ("target", Action::Elsewhere),
    ("http_api_prefix", Action::Same("http.prefix")),
    ("stream_over_http_enabled", Action::Silent),
    (
        "shutdown_delay",
        Action::Unless(
            &["0", "0s"],
            "Tracewell stops within a second and loses nothing",
        ),
    ),
    ("use_otel_tracer", Action::Silent),
    ("enable_go_runtime_metrics", Action::Silent),
    (
        "search_enabled",
        Action::Only(&["true"], "search cannot be switched off; take the key out"),
    ),
    (
        "metrics_generator_enabled",
        Action::Unless(&["false"], METRICS),
    ),
    ("usage_report.*", Action::Silent),
    (
        "usage_report.reporting_enabled",
        Action::Unless(&["false"], REPORTS),
    ),
    // Server.
    ("server.*", Action::NoEffect(SERVER)),
    ("server.http_listen_port", Action::Elsewhere),
    ("server.http_listen_address", Action::Elsewhere),
    ("server.grpc_listen_port", Action::Elsewhere),
    ("server.grpc_listen_address", Action::Elsewhere),
    ("server.log_level", Action::Same("log.level")),
    (
        "server.log_format",
        Action::Convert("log.format", log_format),
    ),
    (
        "server.http_path_prefix",
        Action::Only(&[""], "write the path as http_api_prefix"),
    ),
    ("server.http_tls_config.*", Action::Elsewhere),
    ("server.grpc_tls_config.*", Action::Refuse(SIGN_ON)),
    ("server.register_instrumentation", Action::Silent),
    (
        "internal_server.*",
        Action::NoEffect("/ready, /metrics and /status are on the port of the query API"),
    ),
    // Receiving.
    (
        "distributor.*",
        Action::NoEffect("what comes in is bounded by limits.*"),
    ),
    ("distributor.receivers.*", Action::Elsewhere),
    ("distributor.ring.*", Action::NoEffect(ONE_PROCESS)),
    (
        "distributor.override_ring_key",
        Action::NoEffect(ONE_PROCESS),
    ),
    ("distributor.extend_writes", Action::NoEffect(ONE_PROCESS)),
    ("distributor.forwarders", Action::NoEffect(FORWARDING)),
    (
        "distributor.usage.*",
        Action::NoEffect("cost attribution is not built yet"),
    ),
    (
        "distributor.log_received_traces",
        Action::Unless(&["false"], SPAN_LOG),
    ),
    (
        "distributor.log_received_spans.*",
        Action::NoEffect(SPAN_LOG),
    ),
    (
        "distributor.log_discarded_spans.*",
        Action::NoEffect(SPAN_LOG),
    ),
    (
        "distributor.max_attribute_bytes",
        Action::NoEffect("values are kept whole, up to limits.attribute_value_bytes_max"),
    ),
    (
        "distributor.retry_after_on_resource_exhausted",
        Action::NoEffect("a refusal says itself when to try again"),
    ),
    ("distributor.ingester_write_path_enabled", Action::Silent),
    (
        "distributor.kafka_write_path_enabled",
        Action::Unless(&["false"], KAFKA),
    ),
    ("distributor.kafka_config.*", Action::NoEffect(KAFKA)),
    ("ingest.*", Action::NoEffect(KAFKA)),
    // Young spans.
    (
        "ingester.max_block_duration",
        Action::Convert("storage.max_block_duration", block_duration),
    ),
    ("ingester.lifecycler.*", Action::NoEffect(ONE_PROCESS)),
    ("ingester.partition_ring.*", Action::NoEffect(ONE_PROCESS)),
    ("ingester.override_ring_key", Action::NoEffect(ONE_PROCESS)),
    ("ingester.*", Action::NoEffect(CUTTING)),
    ("ingester_client.*", Action::NoEffect(ONE_PROCESS)),
    (
        "live_store.max_block_duration",
        Action::Convert("storage.max_block_duration", block_duration),
    ),
    ("live_store.wal.path", Action::Elsewhere),
    ("live_store.ring.*", Action::NoEffect(ONE_PROCESS)),
    ("live_store.partition_ring.*", Action::NoEffect(ONE_PROCESS)),
    ("live_store.*", Action::NoEffect(CUTTING)),
    ("live_store_client.*", Action::NoEffect(ONE_PROCESS)),
    ("block_builder.*", Action::NoEffect(ONE_PROCESS)),
    ("memberlist.*", Action::NoEffect(ONE_PROCESS)),
    // Merging and retention.
    (
        "compactor.compaction.block_retention",
        Action::Convert("retention.age", zero_is_default),
    ),
    (
        "backend_worker.compaction.block_retention",
        Action::Convert("retention.age", zero_is_default),
    ),
    (
        "overrides.defaults.compaction.block_retention",
        Action::Convert("retention.age", zero_is_default),
    ),
    (
        "compactor.compaction.compacted_block_retention",
        Action::Convert("bucket.replaced_kept", replaced_kept),
    ),
    (
        "backend_worker.compaction.compacted_block_retention",
        Action::Convert("bucket.replaced_kept", replaced_kept),
    ),
    (
        "compactor.disabled",
        Action::Only(
            &["false"],
            "merging cannot be switched off; take the key out",
        ),
    ),
    ("compactor.ring.*", Action::NoEffect(ONE_PROCESS)),
    ("compactor.*", Action::NoEffect(MERGING)),
    ("backend_worker.ring.*", Action::NoEffect(ONE_PROCESS)),
    (
        "backend_worker.backend_scheduler_addr",
        Action::NoEffect(ONE_PROCESS),
    ),
    ("backend_worker.*", Action::NoEffect(MERGING)),
    (
        "backend_scheduler.provider.compaction.compaction.block_retention",
        Action::NoEffect(SCHEDULER_RETENTION),
    ),
    ("backend_scheduler.*", Action::NoEffect(MERGING)),
    ("backend_scheduler_client.*", Action::NoEffect(ONE_PROCESS)),
    // Storage.
    (
        "storage.trace.backend",
        Action::Convert("bucket.kind", bucket_kind),
    ),
    ("storage.trace.local.path", Action::Elsewhere),
    ("storage.trace.wal.path", Action::Elsewhere),
    (
        "storage.trace.wal.*",
        Action::NoEffect("Tracewell has a write-ahead log of its own"),
    ),
    ("storage.trace.s3.*", Action::Elsewhere),
    ("storage.trace.gcs.*", Action::Elsewhere),
    ("storage.trace.azure.*", Action::Elsewhere),
    ("storage.trace.block.*", Action::NoEffect(BLOCKS)),
    ("storage.trace.pool.*", Action::NoEffect(TUNING)),
    ("storage.trace.search.*", Action::NoEffect(TUNING)),
    ("storage.trace.cache", Action::NoEffect(CACHES)),
    ("storage.trace.memcached.*", Action::NoEffect(CACHES)),
    ("storage.trace.redis.*", Action::NoEffect(CACHES)),
    ("storage.trace.background_cache.*", Action::NoEffect(CACHES)),
    (
        "storage.trace.cache_min_compaction_level",
        Action::NoEffect(CACHES),
    ),
    (
        "storage.trace.cache_max_block_age",
        Action::NoEffect(CACHES),
    ),
    ("storage.trace.*", Action::NoEffect(POLLING)),
    ("cache.*", Action::NoEffect(CACHES)),
    // Queries.
    (
        "query_frontend.api_timeout",
        Action::Convert("limits.query_ms_max", zero_is_default),
    ),
    ("query_frontend.url_deny_list", Action::Refuse(SIGN_ON)),
    (
        "query_frontend.max_outstanding_per_tenant",
        Action::NoEffect(QUERY_WAIT),
    ),
    (
        "query_frontend.search.default_result_limit",
        Action::Unless(
            &["20"],
            "a search answers with 20 traces unless its request says how many",
        ),
    ),
    (
        "query_frontend.search.max_result_limit",
        Action::Unless(
            &["262144"],
            "a search may ask for 262144 traces; limits.query_memory_bytes_max bounds what it holds",
        ),
    ),
    (
        "query_frontend.search.max_duration",
        Action::Unless(&["0", "0s"], WINDOW),
    ),
    (
        "query_frontend.metrics.max_duration",
        Action::Unless(&["0", "0s"], WINDOW),
    ),
    ("querier.search.query_timeout", Action::NoEffect(QUERY_TIME)),
    (
        "querier.trace_by_id.query_timeout",
        Action::NoEffect(QUERY_TIME),
    ),
    ("query_frontend.search.duration_slo", Action::NoEffect(SLO)),
    (
        "query_frontend.search.throughput_bytes_slo",
        Action::NoEffect(SLO),
    ),
    (
        "query_frontend.search.metadata_slo.*",
        Action::NoEffect(SLO),
    ),
    (
        "query_frontend.trace_by_id.duration_slo",
        Action::NoEffect(SLO),
    ),
    (
        "query_frontend.trace_by_id.throughput_bytes_slo",
        Action::NoEffect(SLO),
    ),
    ("query_frontend.metrics.duration_slo", Action::NoEffect(SLO)),
    (
        "query_frontend.metrics.throughput_bytes_slo",
        Action::NoEffect(SLO),
    ),
    (
        "query_frontend.query_end_cutoff",
        Action::NoEffect("the newest spans are searchable at once"),
    ),
    (
        "query_frontend.max_query_expression_size_bytes",
        Action::Same("limits.query_bytes_max"),
    ),
    (
        "query_frontend.multi_tenant_queries_enabled",
        Action::Same("tenants.query_several"),
    ),
    (
        "query_frontend.mcp_server.enabled",
        Action::Unless(
            &["false"],
            "the MCP server is not built yet; /api/mcp answers 404",
        ),
    ),
    ("query_frontend.*", Action::NoEffect(QUERIES)),
    (
        "querier.search.external_endpoints",
        Action::NoEffect(ONE_PROCESS),
    ),
    ("querier.frontend_worker.*", Action::NoEffect(ONE_PROCESS)),
    ("querier.*", Action::NoEffect(QUERIES)),
    // Metrics from spans.
    ("metrics_generator.*", Action::NoEffect(METRICS)),
    ("metrics_generator_client.*", Action::NoEffect(METRICS)),
    (
        "overrides.defaults.metrics_generator.*",
        Action::NoEffect(METRICS),
    ),
    // Limits.
    ("overrides.defaults.*", Action::NoEffect(LIMITS)),
    (
        "overrides.defaults.ingestion.rate_limit_bytes",
        Action::Same("limits.tenant_bytes_per_second_max"),
    ),
    (
        "overrides.defaults.ingestion.burst_size_bytes",
        Action::Same("limits.tenant_burst_bytes_max"),
    ),
    // There is one process, so that what holds for each and for all of them is the same.
    (
        "overrides.defaults.ingestion.max_traces_per_user",
        Action::Convert("limits.tenant_traces_max", zero_is_off),
    ),
    (
        "overrides.defaults.ingestion.max_global_traces_per_user",
        Action::Convert("limits.tenant_traces_max", zero_is_off),
    ),
    (
        "overrides.defaults.global.max_bytes_per_trace",
        Action::Convert("limits.trace_bytes_max", zero_is_off),
    ),
    // There is one process, so that both strategies are the same.
    ("overrides.defaults.ingestion.rate_strategy", Action::Silent),
    (
        "overrides.defaults.ingestion.retry_info_enabled",
        Action::Unless(&["true"], RETRY_INFO),
    ),
    (
        "overrides.defaults.ingestion.max_attribute_bytes",
        Action::NoEffect("values are kept whole, up to limits.attribute_value_bytes_max"),
    ),
    (
        "overrides.defaults.read.max_search_duration",
        Action::Unless(&["0", "0s"], WINDOW),
    ),
    (
        "overrides.defaults.read.max_metrics_duration",
        Action::Unless(&["0", "0s"], WINDOW),
    ),
    (
        "overrides.defaults.compaction.compaction_disabled",
        Action::Unless(&["false"], MERGING),
    ),
    (
        "overrides.defaults.compaction.compaction_window",
        Action::NoEffect(MERGING),
    ),
    ("overrides.defaults.storage.*", Action::NoEffect(BLOCKS)),
    (
        "overrides.defaults.cost_attribution.*",
        Action::NoEffect("cost attribution is not built yet"),
    ),
    (
        "overrides.defaults.forwarders",
        Action::NoEffect(FORWARDING),
    ),
    ("overrides.enable_legacy_overrides", Action::Silent),
    (
        "overrides.user_configurable_overrides.*",
        Action::NoEffect(BY_API),
    ),
    (
        "overrides.user_configurable_overrides.enabled",
        Action::Unless(&["false"], BY_API),
    ),
    (
        "overrides.per_tenant_override_config",
        Action::Same("tenants.overrides_path"),
    ),
    (
        "overrides.per_tenant_override_period",
        Action::Same("tenants.overrides_period"),
    ),
];

/// What becomes of a key: that of the longest pattern that covers it.
pub(super) fn action(path: &str) -> Option<Action> {
    let covering = KEYS.iter().filter(|(pattern, _)| covers(pattern, path));
    covering
        .max_by_key(|(pattern, _)| pattern.len())
        .map(|(_, action)| *action)
}

/// False for a key that changes nothing wherever it stands.
pub(super) fn has_effect(path: &str) -> bool {
    !matches!(
        action(path),
        None | Some(Action::Silent | Action::NoEffect(_) | Action::Unless(..))
    )
}

fn covers(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(prefix) => path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
        None => pattern == path,
    }
}

/// True if one pattern covers all that can lie below a section.
pub(super) fn is_whole(section: &str) -> bool {
    let below = format!("{section}.");
    let whole = format!("{section}.*");
    !KEYS
        .iter()
        .any(|(pattern, _)| pattern.starts_with(&below) && *pattern != whole)
}

fn text_node(line: u64, text: &str) -> Node {
    Node {
        line,
        value: Value::Text(text.to_owned()),
    }
}

/// Either of two keys switches on what they say; the other one, written as false, does not undo it.
fn if_on(node: &Node) -> Result<Node, String> {
    let is_on = values::switch(node)?;
    Ok(Node {
        line: node.line,
        value: match is_on {
            true => Value::Bool(true),
            false => Value::Null,
        },
    })
}

/// Tempo's 0 is no limit.
fn zero_is_off(node: &Node) -> Result<Node, String> {
    Ok(match node.value.plain().as_str() {
        "0" => Node {
            line: node.line,
            value: Value::Text("off".to_owned()),
        },
        _ => node.clone(),
    })
}

fn bucket_kind(node: &Node) -> Result<Node, String> {
    let kind = match &node.value {
        Value::Text(text) if text == "local" => "none",
        Value::Text(text) if ["s3", "gcs", "azure"].contains(&text.as_str()) => text,
        other => return Err(format!("expected local, s3, gcs or azure, found {other}")),
    };
    Ok(text_node(node.line, kind))
}

fn log_format(node: &Node) -> Result<Node, String> {
    let ours = match &node.value {
        Value::Text(text) if text == "logfmt" => "text",
        Value::Text(text) if text == "json" => "json",
        other => return Err(format!("expected logfmt or json, found {other}")),
    };
    Ok(text_node(node.line, ours))
}

/// Tempo allows hours in memory; spans are as safe and as searchable here after one.
fn block_duration(node: &Node) -> Result<Node, String> {
    let hour = Duration::from_secs(3_600);
    let duration = values::duration(node)?.min(hour);
    Ok(text_node(node.line, &values::show_duration(duration)))
}

/// Zero is how Tempo writes "what holds otherwise".
fn zero_is_default(node: &Node) -> Result<Node, String> {
    let is_zero = values::duration(node)?.is_zero();
    Ok(Node {
        line: node.line,
        value: match is_zero {
            true => Value::Null,
            false => node.value.clone(),
        },
    })
}

/// Several processes look at a bucket every few seconds here; less than this would hurry them.
fn replaced_kept(node: &Node) -> Result<Node, String> {
    let duration = values::duration(node)?;
    let duration = duration.max(crate::config::REPLACED_KEPT_MIN);
    Ok(text_node(node.line, &values::show_duration(duration)))
}

/// Tracewell's own folder below a path of Tempo's, whose files stay as they are.
pub(super) fn own_folder(node: &Node) -> Node {
    let folder = Path::new(&node.value.plain()).join("tracewell");
    text_node(node.line, &folder.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::known;
    use super::*;

    #[test]
    fn every_known_key_has_an_action_and_every_action_a_known_key() {
        for path in known::all() {
            assert!(action(path).is_some(), "{path} has no action");
        }
        for (pattern, _) in KEYS {
            let path = pattern.trim_end_matches(".*");
            assert!(known::is_known(path), "{pattern} is no key of Tempo's");
        }
    }

    #[test]
    fn the_longest_pattern_wins() {
        for (path, expected) in [
            ("ingester.max_block_duration", true),
            ("ingester.max_block_bytes", false),
            ("ingester.lifecycler.num_tokens", false),
        ] {
            let is_taken = matches!(action(path), Some(Action::Convert(..)));
            assert_eq!(is_taken, expected, "{path}");
        }
        assert!(is_whole("querier.search.google_cloud_run") && is_whole("memberlist"));
        assert!(!is_whole("ingester") && !is_whole("overrides.defaults"));
    }
}
