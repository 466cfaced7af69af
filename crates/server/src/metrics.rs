//! The names of all metrics, in one table, and their export for Prometheus.
//!
//! Every metric has a name of ours (`tracewell_*`) and the names under which Tempo's dashboards and
//! alerts look for the same number. Numbers come from three places at the moment of a scrape: the
//! receivers, this server, and the store by way of [`crate::Host`].

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::histogram::Histogram;

/// The buckets of how long requests take, to this server and from it.
pub const REQUEST_SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its names end in `_total`, which the encoder adds.
    Counter,
    Gauge,
    Histogram,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    /// Tempo's names for it, as they are scraped.
    pub tempo: &'static [&'static str],
}

macro_rules! metrics {
    ($($name:ident = $own:literal, $kind:ident, $help:literal, [$($tempo:literal),*];)*) => {
        /// All metrics there are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Metric {
            $($name,)*
        }

        impl Metric {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            pub fn definition(self) -> Definition {
                match self {
                    $(Self::$name => Definition {
                        name: concat!("tracewell_", $own),
                        kind: Kind::$kind,
                        help: $help,
                        tempo: &[$($tempo),*],
                    },)*
                }
            }
        }
    };
}

metrics! {
    // Receivers.
    AcceptedSpans = "ingest_accepted_spans", Counter, "Spans acknowledged, by tenant",
        ["tempo_distributor_spans_received_total"];
    AcceptedBytes = "ingest_accepted_bytes", Counter,
        "Bytes of acknowledged requests, decompressed, by tenant",
        ["tempo_distributor_bytes_received_total"];
    WireBytes = "ingest_wire_bytes", Counter, "Bytes of request bodies as they arrived",
        ["tempo_distributor_ingress_bytes_total"];
    DecodedBytes = "ingest_decoded_bytes", Counter, "Bytes of request bodies, decompressed", [];
    DiscardedSpans = "ingest_discarded_spans", Counter, "Spans refused, by reason and tenant",
        ["tempo_discarded_spans_total"];
    DiscardedOfServices = "ingest_discarded_spans_of_services", Counter,
        "The same by service too, of at most 2,048 combinations; further services share _other", [];
    ReceiverAcceptedSpans = "receiver_accepted_spans", Counter,
        "Spans acknowledged, by receiver and transport", ["tempo_receiver_accepted_spans"];
    ReceiverRefusedSpans = "receiver_refused_spans", Counter,
        "Spans refused, by receiver and transport", ["tempo_receiver_refused_spans"];
    IngestRequests = "ingest_requests", Counter,
        "Export requests by protocol, signal, format, encoding and outcome", [];
    RepeatedRequests = "ingest_repeated_requests", Counter,
        "Requests that were accepted before and acknowledged again", [];
    RejectedPoints = "ingest_rejected_metric_points", Counter,
        "Metric points answered with a rejection", [];
    RejectedLogRecords = "ingest_rejected_log_records", Counter,
        "Log records answered with a rejection", [];
    AckSeconds = "ingest_ack_seconds", Histogram,
        "From a complete request body to its acknowledgement",
        ["tempo_distributor_push_duration_seconds"];
    TracesPerBatch = "ingest_traces_per_batch", Histogram,
        "Traces of which an accepted request holds spans", ["tempo_distributor_traces_per_batch"];
    InFlightBytes = "ingest_in_flight_bytes", Gauge, "Byte budget held by requests in flight", [];
    // Connections, of every listener.
    ConnectionsOpen = "connections_open", Gauge, "Open connections, by listener", [];
    ConnectionsAccepted = "connections_accepted", Counter, "Connections accepted, by listener", [];
    ConnectionsRefused = "connections_refused", Counter,
        "Connections refused because too many were open, by listener", [];
    ConnectionTimeouts = "connection_timeouts", Counter,
        "Connections closed because a peer was too slow, by listener", [];
    AcceptErrors = "connection_accept_errors", Counter,
        "Connections that could not be accepted, by listener", [];
    ReceivedBytes = "connection_received_bytes", Counter, "Bytes received, by listener", [];
    SentBytes = "connection_sent_bytes", Counter, "Bytes sent, by listener", [];
    TlsHandshakesFailed = "tls_handshakes_failed", Counter,
        "TLS connections that ended before a request, by listener: without the right certificate, or no TLS", [];
    Panics = "panics", Counter, "Requests that ended in a caught panic, by listener: bugs", [];
    // Write-ahead log.
    WalBytes = "wal_bytes", Gauge, "Bytes of log segments on disk", [];
    WalWrittenBytes = "wal_written_bytes", Counter, "Bytes appended to the log",
        ["tempo_live_store_bytes_received_total"];
    WalRecords = "wal_records", Counter, "Records appended to the log",
        ["tempo_live_store_records_processed_total"];
    WalSyncs = "wal_syncs", Counter, "Syncs of the log", [];
    WalSyncSeconds = "wal_sync_seconds", Counter, "Time spent in syncs of the log", [];
    WalSyncFailures = "wal_sync_failures", Counter, "Syncs of the log that failed", [];
    WalRecordsDropped = "wal_records_dropped", Counter,
        "Records of the log that were whole and could not be read at the start",
        ["tempo_live_store_records_dropped_total"];
    WalDamage = "wal_damage", Counter, "Stretches of the log that could not be read", [];
    // Head.
    HeadSpans = "head_spans", Gauge, "Spans in the head", [];
    HeadTraces = "head_traces", Gauge, "Traces in the head, by tenant; one in several generations counts in each",
        ["tempo_ingester_live_traces", "tempo_live_store_live_traces"];
    HeadBytes = "head_bytes", Gauge, "Bytes of the head; where there are tenants, of _all",
        ["tempo_live_store_live_trace_bytes"];
    TracesCreated = "head_traces_created", Counter, "Traces begun in the head; where there are tenants, of _all",
        ["tempo_ingester_traces_created_total", "tempo_live_store_traces_created_total"];
    // What queries keep of blocks.
    CacheHits = "block_cache_hits", Counter, "Reads of blocks answered from memory", [];
    CacheMisses = "block_cache_misses", Counter, "Reads of blocks not found in memory", [];
    CacheBytes = "block_cache_bytes", Gauge, "Bytes of blocks in memory", [];
    CacheBytesMax = "block_cache_bytes_max", Gauge, "Bytes of blocks that may be in memory", [];
    // The bucket.
    BucketFailures = "bucket_failures", Counter, "Rounds with the bucket that failed and are tried again",
        ["tempodb_blocklist_poll_errors_total"];
    BucketViewAge = "bucket_view_age_seconds", Gauge,
        "How old what is known of the bucket is while it fails, 0 while it answers",
        ["tempodb_blocklist_tenant_index_age_seconds"];
    BucketRequestSeconds = "bucket_request_seconds", Histogram,
        "Requests to the bucket by method and status, each try of its client; the status of one without an answer is error",
        ["tempodb_backend_request_duration_seconds"];
    BucketFailing = "bucket_failing", Gauge, "1 while the bucket fails, 0 while it answers", [];
    BucketKeeper = "bucket_keeper", Gauge, "1 if this process merges and retires in the bucket", [];
    BucketManifest = "bucket_manifest", Gauge, "Number of the newest manifest seen in the bucket", [];
    BucketForeign = "bucket_foreign_objects", Gauge,
        "Objects and folders beside Tracewell's own that the start found in the bucket and left alone", [];
    BucketWaitingBlocks = "bucket_waiting_blocks", Gauge, "Blocks that wait to be uploaded", [];
    BucketWaitingBytes = "bucket_waiting_bytes", Gauge, "Bytes of blocks that wait to be uploaded", [];
    BucketOldestWaiting = "bucket_oldest_waiting_seconds", Gauge,
        "Age of the oldest span that lies on this machine alone", [];
    BucketCacheBytes = "bucket_cache_bytes", Gauge, "Bytes of the bucket's blocks on the local disk", [];
    BucketCacheBytesMax = "bucket_cache_bytes_max", Gauge,
        "Bytes of the bucket's blocks that may be on the local disk", [];
    // Blocks.
    Blocks = "blocks", Gauge, "Live blocks, by level", [];
    BlocklistLength = "blocklist_length", Gauge, "Live blocks, by tenant",
        ["tempodb_blocklist_length"];
    BlockBytes = "block_bytes", Gauge, "Bytes of live blocks, by level", [];
    BlockSpans = "block_spans", Gauge, "Spans in live blocks, by level", [];
    BlocksCut = "blocks_cut", Counter, "First blocks written from the head",
        ["tempo_live_store_blocks_cut_total", "tempo_ingester_blocks_flushed_total",
         "tempo_live_store_blocks_completed_total", "tempo_live_store_local_blocks_flushed_total"];
    CutFailures = "cut_failures", Counter, "First blocks that could not be written",
        ["tempo_ingester_failed_flushes_total", "tempo_live_store_local_failed_flushes_total"];
    MergedBlocks = "merged_blocks", Counter, "Blocks that were merged into others, by level",
        ["tempodb_compaction_blocks_total"];
    MergedBytes = "merged_bytes", Counter, "Bytes written by merging, by level",
        ["tempodb_compaction_bytes_written_total"];
    MergedTraces = "merged_traces", Counter,
        "Traces of which merging joined fragments, by level",
        ["tempodb_compaction_objects_combined_total"];
    MergeFailures = "merge_failures", Counter, "Merges that failed",
        ["tempodb_compaction_errors_total"];
    MergeWaiting = "merge_waiting_blocks", Gauge, "Blocks that wait for a merge",
        ["tempodb_compaction_outstanding_blocks"];
    DuplicateSpans = "duplicate_spans", Counter,
        "Spans equal in every field to another, dropped where fragments were joined", [];
    TwinSpans = "twin_spans", Counter,
        "Spans that merges found to share their id with another of their trace and to differ; all are kept", [];
    RetentionDeleted = "retention_deleted_blocks", Counter, "Blocks deleted by retention",
        ["tempodb_retention_deleted_total"];
    RetentionMarked = "retention_marked_blocks", Counter, "Blocks taken out of use by retention",
        ["tempodb_retention_marked_for_deletion_total"];
    RetentionFailures = "retention_failures", Counter, "Runs of retention and deletions that failed",
        ["tempodb_retention_errors_total"];
    DamagedBlocks = "damaged_blocks", Gauge, "Blocks set aside because they cannot be read", [];
    FilterBytes = "filter_bytes", Gauge,
        "Memory of the trace id filters of blocks of the last day, beside limits.memory_bytes: some 0.4 bytes for each span of that day", [];
    ForeignObjects = "foreign_objects", Gauge,
        "Objects beside the store's own that the start found and left alone", [];
    DiskFreeBytes = "disk_free_bytes", Gauge, "Free bytes of the volume", [];
    // Queries.
    RequestSeconds = "request_seconds", Histogram,
        "Requests to the query API, by method, route and status",
        ["tempo_request_duration_seconds"];
    Queries = "queries", Counter, "Queries by operation, tenant and status",
        ["tempo_query_frontend_queries_total"];
    InspectedBytes = "query_inspected_bytes", Counter, "Bytes read by queries, by operation",
        ["tempo_query_frontend_bytes_inspected_total"];
    InspectedSpans = "query_inspected_spans", Counter, "Spans looked at by queries, by operation", [];
    LeftOutSpans = "query_left_out_spans", Counter,
        "Spans of answered traces that the memory of a query had no room for, by operation", [];
    QueryDuplicateSpans = "query_duplicate_spans", Counter,
        "Spans equal in every field to another, which queries counted once, by operation", [];
    QueryTwinSpans = "query_twin_spans", Counter,
        "Spans that share their id with another of their trace and differ, as queries met them, by operation", [];
    WithinSlo = "queries_within_slo", Counter,
        "Queries that ended within five seconds, by operation, tenant and result",
        ["tempo_query_frontend_queries_within_slo_total"];
    QueueSeconds = "query_queue_seconds", Histogram, "How long queries waited for their turn",
        ["tempo_query_frontend_queue_duration_seconds"];
    QueriesWaiting = "queries_waiting", Gauge, "Queries that wait for their turn",
        ["tempo_query_frontend_queue_length"];
    QueriesRefused = "queries_refused", Counter, "Queries refused because too many were waiting",
        ["tempo_query_frontend_discarded_requests_total"];
    // Limits.
    LimitHits = "limit_hits", Counter,
        "Requests, spans, connections and queries that a limit refused or cut, by limit and part", [];
    Reloads = "reloads", Counter,
        "New versions of overrides, tokens and certificates that were taken while the server ran, by file", [];
    ReloadFailures = "reload_failures", Counter,
        "New versions of overrides, tokens and certificates that were refused while the server ran, by file", [];
    ReloadsFailing = "reloads_failing", Gauge,
        "1 while the newest version of a file is refused and an older one holds, by file", [];
    LimitDefaults = "limits", Gauge, "The limits in force; 0 where there is none",
        ["tempo_limits_defaults"];
    LimitOverrides = "limit_overrides", Gauge,
        "Limits of single tenants that differ from those of all; 0 where there is none",
        ["tempo_limits_overrides"];
    Warnings = "warnings", Counter, "Traces that something was odd about, by reason; where there are tenants, of _all",
        ["tempo_warnings_total"];
    // Process.
    ProcessCpuSeconds = "process_cpu_seconds", Counter, "Processor time of the process",
        ["process_cpu_seconds_total"];
    ProcessResidentBytes = "process_resident_bytes", Gauge, "Memory of the process",
        ["process_resident_memory_bytes"];
    ProcessVirtualBytes = "process_virtual_bytes", Gauge, "Address space of the process",
        ["process_virtual_memory_bytes"];
    ProcessOpenFiles = "process_open_files", Gauge, "Open files and connections of the process",
        ["process_open_fds"];
    ProcessThreads = "process_threads", Gauge, "Threads of the process", [];
    ProcessStartSeconds = "process_start_seconds", Gauge, "When the process started, in Unix time",
        ["process_start_time_seconds"];
    Ready = "ready", Gauge, "1 if the process is ready", ["tempo_live_store_ready"];
    BuildInfo = "build_info", Gauge, "What was built, as labels", ["tempo_build_info"];
}

/// Before the names of the store's own counters.
const STORE_PREFIX: &str = "tracewell_store_";

/// Labels of one number.
pub type Labels = Vec<(&'static str, String)>;

/// One number, or a histogram.
#[derive(Debug, Clone)]
pub enum Sample {
    Number(f64),
    Histogram(Histogram),
}

/// Everything that was measured for one scrape.
#[derive(Debug, Default)]
pub struct Samples {
    by_metric: BTreeMap<Metric, Vec<(Labels, Sample)>>,
    /// Name, help text and value.
    of_store: Vec<(&'static str, &'static str, u64)>,
}

/// What a scrape is made of, held by the registry.
pub(crate) struct Table<F>(pub(crate) F);

// === impl Samples ===

impl Samples {
    /// Adds a number. Counters are whole; 2^53 is exact.
    pub fn add(&mut self, metric: Metric, labels: Labels, value: u64) {
        self.add_float(metric, labels, value as f64);
    }

    pub fn add_float(&mut self, metric: Metric, labels: Labels, value: f64) {
        self.push(metric, labels, Sample::Number(value));
    }

    pub fn add_histogram(&mut self, metric: Metric, labels: Labels, histogram: &Histogram) {
        self.push(metric, labels, Sample::Histogram(histogram.clone()));
    }

    /// Adds a counter of the store, which is not in the table: `tracewell_store_<name>_total`.
    pub fn add_of_store(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.of_store.push((name, help, value));
    }

    fn push(&mut self, metric: Metric, labels: Labels, sample: Sample) {
        let samples = self.by_metric.entry(metric).or_default();
        samples.push((labels, sample));
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, samples) in &self.by_metric {
            let definition = metric.definition();
            encode_as(encoder, definition.name, definition, samples)?;
            for name in definition.tempo {
                encode_as(encoder, name, definition, samples)?;
            }
        }
        for (name, help, value) in &self.of_store {
            let name = format!("{STORE_PREFIX}{name}");
            let help = help.trim_end_matches('.');
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            encode_sample(metric, &Sample::Number(*value as f64), MetricType::Counter)?;
        }
        Ok(())
    }
}

impl<F> Collector for Table<F>
where
    F: Fn() -> Samples + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)().encode(&mut encoder)
    }
}

impl<F> fmt::Debug for Table<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

fn encode_as(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    definition: Definition,
    samples: &[(Labels, Sample)],
) -> fmt::Result {
    let is_own = name == definition.name;
    // Tempo has counters without `_total`, which OpenMetrics knows as "unknown".
    let (name, metric_type) = match definition.kind {
        Kind::Gauge => (name, MetricType::Gauge),
        Kind::Histogram => (name, MetricType::Histogram),
        Kind::Counter => match name.strip_suffix("_total") {
            Some(stem) => (stem, MetricType::Counter),
            None if is_own => (name, MetricType::Counter),
            None => (name, MetricType::Unknown),
        },
    };
    let mut metric = encoder.encode_descriptor(name, definition.help, None, metric_type)?;
    if let [(labels, sample)] = samples
        && labels.is_empty()
    {
        return encode_sample(metric, sample, metric_type); // An empty pair of braces otherwise.
    }
    for (labels, sample) in samples {
        encode_sample(metric.encode_family(labels)?, sample, metric_type)?;
    }
    Ok(())
}

fn encode_sample(
    mut encoder: MetricEncoder<'_>,
    sample: &Sample,
    metric_type: MetricType,
) -> fmt::Result {
    match (sample, metric_type) {
        (Sample::Histogram(histogram), _) => histogram.encode(encoder),
        (Sample::Number(value), MetricType::Counter) => {
            encoder.encode_counter(value, None::<&Exemplar<Labels, f64>>)
        }
        (Sample::Number(value), _) => encoder.encode_gauge(value),
    }
}

#[cfg(test)]
mod tempo_names;
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;
    use std::path::Path;

    use super::*;

    const PAGE: &str = "docs/guide/metrics.md";
    const INTRODUCTION: &str = "\
# Metrics

`GET /metrics` answers OpenMetrics text. Every number has a name of Tracewell's and, where dashboards
and alerts made for Tempo look for it, Tempo's names besides.

This page is written from the table in the program by `UPDATE_GOLDEN=1 cargo test -p
tracewell-server metrics`.

A limit that bites is counted in `tracewell_limit_hits_total` under its key, such as
`limit=\"limits.query_read_bytes_max\"`; `part` says which part of the memory budget or of the disk was
used up. What the store counts besides stands under `tracewell_store_*_total`, one counter for each
step that it takes, refuses or fails.

| metric | kind | what | Tempo's names |
|---|---|---|---|
";

    #[test]
    fn the_reference_page_is_the_table_of_metrics() {
        let mut page = INTRODUCTION.to_owned();
        for metric in Metric::ALL {
            let definition = metric.definition();
            let (suffix, kind) = match definition.kind {
                Kind::Counter => ("_total", "counter"),
                Kind::Gauge => ("", "gauge"),
                Kind::Histogram => ("", "histogram"),
            };
            let (name, help) = (definition.name, definition.help);
            let tempo: Vec<_> = definition
                .tempo
                .iter()
                .map(|it| format!("`{it}`"))
                .collect();
            let tempo = tempo.join(", ");
            writeln!(page, "| `{name}{suffix}` | {kind} | {help} | {tempo} |").unwrap();
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(PAGE);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == page,
            "{PAGE} is not what the table says: UPDATE_GOLDEN=1 cargo test -p tracewell-server metrics"
        );
    }

    #[test]
    fn no_name_is_used_twice_and_all_are_prometheus_names() {
        let mut seen = BTreeSet::new();
        for metric in Metric::ALL {
            let definition = metric.definition();
            for name in definition.tempo.iter().chain([&definition.name]) {
                assert!(seen.insert(*name), "{name} stands twice");
                let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                assert!(name.chars().all(is_name), "{name}");
            }
            assert!(!definition.name.ends_with("_total"), "{metric:?}");
            if definition.kind != Kind::Counter {
                let is_counter = |name: &&str| name.ends_with("_total");
                assert!(!definition.tempo.iter().any(is_counter), "{metric:?}");
            }
        }
    }
}
