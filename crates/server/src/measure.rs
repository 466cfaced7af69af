//! What one scrape measures of the receivers, the listeners and the limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tracewell_ingest::IngestMetrics;
use tracewell_ingest::accept::ConnectionMetrics;
use tracewell_ingest::tenants::TenantLimits;
use tracewell_model::limits::REFUSALS;
use tracewell_model::{Limits, RetentionAges};
use tracewell_query::QueryLimit;

use crate::metrics::{Metric, Samples};
use crate::status::overrides::different;

/// How often each limit has refused or cut something: by its key, and the part of it that was used
/// up.
#[derive(Debug)]
pub(crate) struct LimitHits(BTreeMap<(&'static str, &'static str), u64>);

/// Names under which Tempo's dashboards look for limits, and our keys: there is one process.
const TEMPO_LIMITS: [(&str, &str); 5] = [
    (
        "ingestion_rate_limit_bytes",
        "limits.tenant_bytes_per_second_max",
    ),
    (
        "ingestion_burst_size_bytes",
        "limits.tenant_burst_bytes_max",
    ),
    ("max_bytes_per_trace", "limits.trace_bytes_max"),
    ("max_global_traces_per_user", "limits.tenant_traces_max"),
    ("max_local_traces_per_user", "limits.tenant_traces_max"),
];

// === impl LimitHits ===

impl LimitHits {
    /// All limits that there are; none has been met.
    pub(crate) fn new(keys: &[(&'static str, u64)]) -> Self {
        let keys = keys.iter().map(|(key, _)| (*key, ""));
        let parts = REFUSALS
            .iter()
            .map(|refusing| (refusing.key, refusing.part));
        let queries = QueryLimit::ALL.iter().map(|limit| (limit.name(), ""));
        Self(keys.chain(parts).chain(queries).map(|it| (it, 0)).collect())
    }

    /// A key, or the text that a refusal names a part of one by.
    pub(crate) fn add(&mut self, limit: &'static str, n: u64) {
        let part = REFUSALS.iter().find(|refusing| refusing.text == limit);
        let key = part.map_or((limit, ""), |it| (it.key, it.part));
        *self.0.entry(key).or_default() += n;
    }

    /// Those that have refused or cut something: key, part, how often.
    pub(crate) fn bitten(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        let all = self.0.iter().map(|((key, part), n)| (*key, *part, *n));
        all.filter(|(.., n)| *n > 0)
    }

    pub(crate) fn measure(self, samples: &mut Samples) {
        for ((limit, part), n) in self.0 {
            let mut labels = vec![("limit", limit.to_owned())];
            if !part.is_empty() {
                labels.push(("part", part.to_owned()));
            }
            samples.add(Metric::LimitHits, labels, n);
        }
    }
}

/// Adds what the limits are.
pub(crate) fn measure_limits(samples: &mut Samples, limits: &[(&'static str, u64)]) {
    for (key, value) in limits {
        for name in limit_names(key) {
            let labels = vec![("limit_name", name.to_owned())];
            samples.add(Metric::LimitDefaults, labels, or_none(*value));
        }
    }
}

/// Adds how long traces are kept, in nanoseconds as Tempo's dashboards know it.
pub(crate) fn measure_retention(samples: &mut Samples, ages: &RetentionAges) {
    let nanos = |age: Duration| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    let name = || ("limit_name", "block_retention".to_owned());
    samples.add(Metric::LimitDefaults, vec![name()], nanos(ages.others));
    for (tenant, age) in &ages.named {
        let labels = vec![name(), ("tenant", tenant.to_string())];
        samples.add(Metric::LimitOverrides, labels, nanos(*age));
    }
}

/// Our name of a limit and those of Tempo's dashboards.
fn limit_names(key: &'static str) -> impl Iterator<Item = &'static str> {
    let theirs = TEMPO_LIMITS.iter().filter(move |(_, ours)| *ours == key);
    let own = key.strip_prefix("limits.").unwrap_or(key);
    std::iter::once(own).chain(theirs.map(|(name, _)| *name))
}

/// Tempo's dashboards know 0 as no limit.
fn or_none(value: u64) -> u64 {
    if value == Limits::NONE { 0 } else { value }
}

/// Adds the limits of single tenants that are others than everybody's.
pub(crate) fn measure_overrides(samples: &mut Samples, limits: &TenantLimits) {
    for (tenant, own) in &limits.named {
        for (key, value) in different(own, &limits.others) {
            for name in limit_names(key) {
                let labels = vec![
                    ("limit_name", name.to_owned()),
                    ("tenant", tenant.to_string()),
                ];
                samples.add(Metric::LimitOverrides, labels, or_none(value));
            }
        }
    }
}

/// Adds what the receivers counted.
pub(crate) fn measure_ingest(samples: &mut Samples, ingest: &IngestMetrics) {
    measure_tenants(samples, ingest);
    let by_transport = [
        (
            "grpc",
            &ingest.accepted_spans_grpc,
            &ingest.refused_spans_grpc,
        ),
        (
            "http",
            &ingest.accepted_spans_http,
            &ingest.refused_spans_http,
        ),
    ];
    for (transport, accepted, refused) in by_transport {
        let labels = || {
            vec![
                ("receiver", String::from("otlp")),
                ("transport", transport.to_owned()),
            ]
        };
        samples.add(
            Metric::ReceiverAcceptedSpans,
            labels(),
            accepted.load(Relaxed),
        );
        samples.add(
            Metric::ReceiverRefusedSpans,
            labels(),
            refused.load(Relaxed),
        );
    }
    for (labels, n) in ingest.requests() {
        let labels = vec![
            ("protocol", labels.protocol.name().to_owned()),
            ("signal", labels.signal.name().to_owned()),
            ("format", labels.format.name().to_owned()),
            ("encoding", labels.encoding.name().to_owned()),
            ("outcome", labels.outcome.to_owned()),
        ];
        samples.add(Metric::IngestRequests, labels, n);
    }
    for (metric, counter) in [
        (Metric::WireBytes, &ingest.wire_bytes),
        (Metric::DecodedBytes, &ingest.decoded_bytes),
        (Metric::RepeatedRequests, &ingest.repeated_requests),
        (Metric::RejectedPoints, &ingest.rejected_points),
        (Metric::RejectedLogRecords, &ingest.rejected_log_records),
    ] {
        samples.add(metric, Vec::new(), counter.load(Relaxed));
    }
    let traces = &ingest.traces_per_batch;
    samples.add_histogram(Metric::TracesPerBatch, Vec::new(), traces);
    samples.add_histogram(Metric::AckSeconds, Vec::new(), &ingest.ack_seconds);
    measure_connections(samples, "otlp_grpc", &ingest.grpc_connections);
    measure_connections(samples, "otlp_http", &ingest.http_connections);
}

fn measure_tenants(samples: &mut Samples, ingest: &IngestMetrics) {
    for ((tenant, reason, service), n) in ingest.refused_of_services() {
        let labels = vec![
            ("reason", reason.to_owned()),
            ("service", service),
            ("tenant", tenant.to_string()),
        ];
        samples.add(Metric::DiscardedOfServices, labels, n);
    }
    for (tenant, counted) in ingest.tenants() {
        let labels = || vec![("tenant", tenant.to_string())];
        samples.add(
            Metric::AcceptedSpans,
            labels(),
            counted.accepted_spans.load(Relaxed),
        );
        samples.add(
            Metric::AcceptedBytes,
            labels(),
            counted.accepted_bytes.load(Relaxed),
        );
        for (reason, n) in counted.refused_spans() {
            let labels = vec![
                ("reason", reason.to_owned()),
                ("tenant", tenant.to_string()),
            ];
            samples.add(Metric::DiscardedSpans, labels, n);
        }
    }
}

/// Adds what one listener counted.
pub(crate) fn measure_connections(
    samples: &mut Samples,
    listener: &str,
    connections: &Arc<ConnectionMetrics>,
) {
    let labels = || vec![("listener", listener.to_owned())];
    samples.add(
        Metric::ConnectionsOpen,
        labels(),
        connections.open.load(Relaxed) as u64,
    );
    for (metric, counter) in [
        (Metric::ConnectionsAccepted, &connections.accepted),
        (Metric::ConnectionsRefused, &connections.refused),
        (Metric::ConnectionTimeouts, &connections.timeouts),
        (Metric::AcceptErrors, &connections.accept_errors),
        (Metric::ReceivedBytes, &connections.received_bytes),
        (Metric::SentBytes, &connections.sent_bytes),
        (Metric::Panics, &connections.panics),
        (Metric::TlsHandshakesFailed, &connections.handshakes_failed),
    ] {
        samples.add(metric, labels(), counter.load(Relaxed));
    }
}
