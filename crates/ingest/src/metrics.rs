//! Counters of everything that ingest accepted and refused.
//!
//! Names and export are not here: the metrics page of `tracewell-server` reads these. The hot path
//! touches atomics; what is kept of a tenant is found by [`crate::tenants`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::histogram::Histogram;
use tracewell_model::TenantId;
use tracewell_wire::otlp::{OTHER_SERVICES, Signal};

use crate::accept::ConnectionMetrics;
use crate::compression::Encoding;
use crate::tenants::Tenant;

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Grpc,
    Http,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    Protobuf,
    Json,
}

/// The labels of one request counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestLabels {
    pub protocol: Protocol,
    pub signal: Signal,
    pub format: Format,
    pub encoding: Encoding,
    /// `ok`, `partial`, or the label of a refusal.
    pub outcome: &'static str,
}

/// What one tenant sent.
#[derive(Debug, Default)]
pub struct TenantMetrics {
    pub accepted_spans: AtomicU64,
    /// Decompressed bytes of accepted requests.
    pub accepted_bytes: AtomicU64,
    /// Refused spans by reason.
    refused_spans: Mutex<BTreeMap<&'static str, u64>>,
}

/// All counters of the ingest listeners.
#[derive(Debug)]
pub struct IngestMetrics {
    pub grpc_connections: Arc<ConnectionMetrics>,
    pub http_connections: Arc<ConnectionMetrics>,
    tenants: RwLock<BTreeMap<TenantId, Arc<TenantMetrics>>>,
    /// Of all tenants without counters of their own.
    pub(crate) others: Arc<TenantMetrics>,
    requests: Mutex<BTreeMap<RequestLabels, u64>>,
    /// Refused spans by tenant, reason and service.
    refused_of_services: Mutex<BTreeMap<RefusedLabels, u64>>,
    pub accepted_spans_grpc: AtomicU64,
    pub accepted_spans_http: AtomicU64,
    pub refused_spans_grpc: AtomicU64,
    pub refused_spans_http: AtomicU64,
    /// Bodies as they arrived.
    pub wire_bytes: AtomicU64,
    /// The same, decompressed.
    pub decoded_bytes: AtomicU64,
    /// Requests that were a repeat of one accepted before.
    pub repeated_requests: AtomicU64,
    /// Metrics points that were answered with a rejection.
    pub rejected_points: AtomicU64,
    /// Log records that were answered with a rejection.
    pub rejected_log_records: AtomicU64,
    /// Requests and spans that a limit refused, by its name.
    limits_hit: Mutex<BTreeMap<&'static str, u64>>,
    /// Traces of which an accepted request holds spans.
    pub traces_per_batch: Histogram,
    /// From the complete body to the acknowledgement, in seconds.
    pub ack_seconds: Histogram,
}

/// Tenant, reason and service.
type RefusedLabels = (TenantId, &'static str, String);

/// Services of which refused spans are counted, for each reason and tenant; further ones are counted together.
const REFUSED_SERVICES_MAX: usize = 2_048;
/// Of one tenant, who may invent names: others shall have room too.
const REFUSED_SERVICES_OF_TENANT_MAX: usize = 256;
/// Tenants with counters of their own; further ones share one named `_other`.
pub const TENANTS_MAX: usize = 1_024;
const OTHER_TENANTS: &str = "_other";
const ACK_SECONDS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// Those of Tempo: 2 to 1,024.
const TRACES_PER_BATCH: [f64; 10] = [
    2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0,
];

/// The name under which tenants without counters of their own are counted.
pub fn other_tenants() -> TenantId {
    TenantId::new(OTHER_TENANTS).unwrap_or_else(|_| TenantId::single())
}

// === impl IngestMetrics ===

impl IngestMetrics {
    pub fn new() -> Self {
        Self {
            grpc_connections: Arc::default(),
            http_connections: Arc::default(),
            tenants: RwLock::default(),
            others: Arc::default(),
            requests: Mutex::default(),
            refused_of_services: Mutex::default(),
            accepted_spans_grpc: AtomicU64::new(0),
            accepted_spans_http: AtomicU64::new(0),
            refused_spans_grpc: AtomicU64::new(0),
            refused_spans_http: AtomicU64::new(0),
            wire_bytes: AtomicU64::new(0),
            decoded_bytes: AtomicU64::new(0),
            repeated_requests: AtomicU64::new(0),
            rejected_points: AtomicU64::new(0),
            rejected_log_records: AtomicU64::new(0),
            limits_hit: Mutex::default(),
            traces_per_batch: Histogram::new(TRACES_PER_BATCH),
            ack_seconds: Histogram::new(ACK_SECONDS),
        }
    }

    /// The counters of a tenant.
    pub fn tenant(&self, tenant: &TenantId) -> Arc<TenantMetrics> {
        if let Some(metrics) = self.tenants.read().get(tenant) {
            return Arc::clone(metrics);
        }
        let mut tenants = self.tenants.write();
        if tenants.len() >= TENANTS_MAX && !tenants.contains_key(tenant) {
            return Arc::clone(&self.others);
        }
        Arc::clone(tenants.entry(tenant.clone()).or_default())
    }

    /// All tenants that anything was counted of.
    pub fn tenants(&self) -> Vec<(TenantId, Arc<TenantMetrics>)> {
        let tenants = self.tenants.read();
        let others = other_tenants();
        tenants
            .iter()
            .chain([(&others, &self.others)])
            .filter(|(_, metrics)| !metrics.is_untouched())
            .map(|(tenant, metrics)| (tenant.clone(), Arc::clone(metrics)))
            .collect()
    }

    pub(crate) fn count_request(&self, labels: RequestLabels) {
        *self.requests.lock().entry(labels).or_default() += 1;
    }

    /// Requests by their labels.
    pub fn requests(&self) -> Vec<(RequestLabels, u64)> {
        let requests = self.requests.lock();
        requests.iter().map(|(labels, n)| (*labels, *n)).collect()
    }

    pub(crate) fn count_accepted(
        &self,
        protocol: Protocol,
        tenant: &TenantMetrics,
        n: u64,
        bytes: u64,
    ) {
        let by_protocol = match protocol {
            Protocol::Grpc => &self.accepted_spans_grpc,
            Protocol::Http => &self.accepted_spans_http,
        };
        by_protocol.fetch_add(n, Ordering::Relaxed);
        tenant.accepted_spans.fetch_add(n, Ordering::Relaxed);
        tenant.accepted_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// `whose` are the tenant and the service that sent the spans.
    pub(crate) fn count_refused(
        &self,
        protocol: Protocol,
        whose: (&Tenant, &str),
        reason: &'static str,
        n: u64,
    ) {
        let (tenant, service) = whose;
        let by_protocol = match protocol {
            Protocol::Grpc => &self.refused_spans_grpc,
            Protocol::Http => &self.refused_spans_http,
        };
        by_protocol.fetch_add(n, Ordering::Relaxed);
        let mut refused = tenant.metrics.refused_spans.lock();
        *refused.entry(reason).or_default() += n;
        drop(refused);
        self.count_service(&tenant.id, reason, service, n);
    }

    fn count_service(&self, tenant: &TenantId, reason: &'static str, service: &str, n: u64) {
        let tenant = match self.tenants.read().contains_key(tenant) {
            true => tenant.clone(),
            false => other_tenants(),
        };
        let mut refused = self.refused_of_services.lock();
        let labels = (tenant, reason, service.to_owned());
        let is_known = refused.contains_key(&labels);
        let has_room = |refused: &BTreeMap<RefusedLabels, u64>| {
            let from = (labels.0.clone(), "", String::new());
            let of_tenant = refused.range(from..);
            let n = of_tenant.take_while(|((tenant, ..), _)| *tenant == labels.0);
            refused.len() < REFUSED_SERVICES_MAX && n.count() < REFUSED_SERVICES_OF_TENANT_MAX
        };
        let labels = match is_known || has_room(&refused) {
            true => labels,
            false => (labels.0, reason, OTHER_SERVICES.to_owned()),
        };
        *refused.entry(labels).or_default() += n;
    }

    /// Refused spans by tenant, reason and service.
    pub fn refused_of_services(&self) -> Vec<(RefusedLabels, u64)> {
        let refused = self.refused_of_services.lock();
        let counts = refused.iter();
        counts.map(|(labels, n)| (labels.clone(), *n)).collect()
    }

    pub(crate) fn count_limit(&self, limit: &'static str, n: u64) {
        *self.limits_hit.lock().entry(limit).or_default() += n;
    }

    /// Limits that have refused something: a key of the configuration, or the text of one of
    /// [`tracewell_model::limits::REFUSALS`].
    pub fn limits_hit(&self) -> Vec<(&'static str, u64)> {
        let hit = self.limits_hit.lock();
        hit.iter().map(|(limit, n)| (*limit, *n)).collect()
    }

    pub(crate) fn observe_ack(&self, took: Duration) {
        self.ack_seconds.observe(took.as_secs_f64());
    }
}

impl Default for IngestMetrics {
    fn default() -> Self {
        Self::new()
    }
}

// === impl TenantMetrics ===

impl TenantMetrics {
    fn is_untouched(&self) -> bool {
        self.accepted_spans.load(Ordering::Relaxed) == 0 && self.refused_spans.lock().is_empty()
    }

    /// Refused spans by reason.
    pub fn refused_spans(&self) -> Vec<(&'static str, u64)> {
        let refused = self.refused_spans.lock();
        refused.iter().map(|(reason, n)| (*reason, *n)).collect()
    }
}

macro_rules! names {
    ($type:ident, $($variant:ident = $name:literal),*) => {
        impl $type {
            /// The value of the label.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}
names!(Protocol, Grpc = "grpc", Http = "http");
names!(Format, Protobuf = "protobuf", Json = "json");

#[cfg(test)]
mod tests {
    use tracewell_model::Limits;

    use super::*;
    use crate::tenants::Tenants;

    /// Names of services come from outside: who invents thousands takes no room from others.
    #[test]
    fn one_tenant_does_not_use_up_the_services_that_are_counted() {
        let metrics = Arc::new(IngestMetrics::new());
        let tenants = Tenants::new(Limits::default().into(), Arc::clone(&metrics));
        let refuse = |name: &str, service: &str| {
            let tenant = tenants.get(&TenantId::new(name).unwrap());
            metrics.count_refused(Protocol::Http, (&tenant, service), "reason", 1);
        };
        for n in 0..REFUSED_SERVICES_MAX + 10 {
            refuse("inventive", &format!("service {n}"));
        }
        refuse("ordinary", "shop");
        let counted = metrics.refused_of_services();
        let of = |name: &str| {
            let own = counted.iter().filter(|((id, ..), _)| id.as_str() == name);
            own.map(|((_, _, service), n)| (service.as_str(), *n))
                .collect::<Vec<_>>()
        };
        let inventive = of("inventive");
        assert_eq!(inventive.len(), REFUSED_SERVICES_OF_TENANT_MAX + 1);
        assert!(inventive.contains(&(
            OTHER_SERVICES,
            (REFUSED_SERVICES_MAX + 10 - REFUSED_SERVICES_OF_TENANT_MAX) as u64
        )));
        assert_eq!(of("ordinary"), [("shop", 1)]);
    }
}
