//! One request to the API, from its route to its answer: the part that all endpoints share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Method, Response};
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracewell_ingest::accept::ConnectionMetrics;
use tracewell_ingest::{Admission, IngestMetrics, Tenancy};
use tracewell_model::{Clock, TenantId};
use tracewell_query::{Aliases, Caller, QueryStats};

use crate::answer::{self, Answer};
use crate::error::{ApiError, ApiResult};
use crate::gate::Gate;
use crate::host::Host;
use crate::metrics::{self, Metric, Samples, Table};
use crate::params::Params;
use crate::queries::Queries;
use crate::routes::Route;
use crate::tempo::tags::Version;
use crate::{status, tempo};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) queries: Arc<dyn Queries>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) gate: Gate,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenancy: Tenancy,
    pub(crate) default_window_nano: u64,
    pub(crate) pads_trace_ids: bool,
    aliases: Aliases,
    pub(crate) prefix: String,
    pub(crate) ingest: Option<(Arc<IngestMetrics>, Admission)>,
    pub(crate) connections: Arc<ConnectionMetrics>,
    counters: Mutex<Counters>,
}

/// What is counted per request; few label sets, one lock per request.
#[derive(Debug, Default)]
struct Counters {
    seconds: BTreeMap<(String, &'static str, u16), Histogram>,
    queries: BTreeMap<(&'static str, TenantId, u16), u64>,
    /// Bytes, spans, and spans left out.
    inspected: BTreeMap<&'static str, (u64, u64, u64)>,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) route: Route,
    /// The part of the path that varies, percent-decoded; empty if none does.
    pub(crate) path_param: String,
    pub(crate) params: Params,
    pub(crate) headers: HeaderMap,
    pub(crate) tenant: TenantId,
    /// What holds unless the request asks for what was sent.
    pub(crate) aliases: Aliases,
}

const TENANT_HEADER: &str = "x-scope-orgid";
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// What an [`Api`] is made of besides its own state.
pub(crate) struct Parts {
    pub(crate) queries: Arc<dyn Queries>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) gate: Gate,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenancy: Tenancy,
    pub(crate) default_window: Duration,
    pub(crate) pads_trace_ids: bool,
    pub(crate) aliases: Aliases,
    pub(crate) prefix: String,
    pub(crate) ingest: Option<(Arc<IngestMetrics>, Admission)>,
}

// === impl Api ===

impl Api {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            queries: parts.queries,
            host: parts.host,
            gate: parts.gate,
            clock: parts.clock,
            tenancy: parts.tenancy,
            default_window_nano: u64::try_from(parts.default_window.as_nanos()).unwrap_or(u64::MAX),
            pads_trace_ids: parts.pads_trace_ids,
            aliases: parts.aliases,
            prefix: parts.prefix,
            ingest: parts.ingest,
            connections: Arc::default(),
            counters: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.now_unix_nano()
    }

    /// Answers a request; errors become responses here.
    pub(crate) async fn respond(
        self: &Arc<Self>,
        route: Route,
        method: Method,
        path_param: String,
        query: Option<&str>,
        headers: HeaderMap,
    ) -> Response<Body> {
        let start = Instant::now();
        let tenant = self.tenant(route, &headers);
        let label = tenant.clone().unwrap_or_else(|_| TenantId::single());
        let answered = async {
            let call = Call {
                route,
                path_param,
                params: Params::parse(query)?,
                headers,
                tenant: tenant?,
                aliases: self.aliases,
            };
            let response = self.answer(&call).await?;
            Ok(response.respond(&call.headers))
        };
        let response = match Box::pin(answered).await {
            Ok(response) => response,
            Err(error) => {
                log(route, &error);
                answer::respond_error(&error)
            }
        };
        self.observe(
            route,
            &method,
            label,
            response.status().as_u16(),
            start.elapsed(),
        );
        response
    }

    async fn answer(&self, call: &Call) -> ApiResult<Answer> {
        match call.route {
            Route::TraceV1 => tempo::trace::v1(self, call).await,
            Route::TraceV2 => tempo::trace::v2(self, call).await,
            Route::Search => tempo::search::search(self, call).await,
            Route::TagNamesV1 => tempo::tags::names(self, call, Version::V1).await,
            Route::TagNamesV2 => tempo::tags::names(self, call, Version::V2).await,
            Route::TagValuesV1 => tempo::tags::values(self, call, Version::V1).await,
            Route::TagValuesV2 => tempo::tags::values(self, call, Version::V2).await,
            Route::QueryRange | Route::QueryInstant => Err(ApiError::NotBuilt(String::from(
                "TraceQL metrics are not built yet",
            ))),
            Route::Metrics => self.scrape(),
            _ => status::answer(self, call).await,
        }
    }

    fn tenant(&self, route: Route, headers: &HeaderMap) -> ApiResult<TenantId> {
        if self.tenancy == Tenancy::Single || !route.is_query() {
            return Ok(TenantId::single());
        }
        let value = headers.get(TENANT_HEADER).ok_or(ApiError::NoTenant)?;
        let text = value
            .to_str()
            .map_err(|_| ApiError::BadRequest(String::from("tenant id is not text")))?;
        TenantId::new(text).map_err(|error| ApiError::BadRequest(error.to_string()))
    }

    pub(crate) fn observe_query(&self, call: &Call, stats: &QueryStats) {
        let mut counters = self.counters.lock();
        let inspected = counters
            .inspected
            .entry(call.route.operation())
            .or_default();
        inspected.0 += stats.inspected_bytes;
        inspected.1 += stats.inspected_spans;
        inspected.2 += stats.left_out_spans;
    }

    fn observe(
        &self,
        route: Route,
        method: &Method,
        tenant: TenantId,
        status: u16,
        took: Duration,
    ) {
        let mut counters = self.counters.lock();
        counters
            .seconds
            .entry((method.to_string(), route.label(), status))
            .or_insert_with(|| Histogram::new(SECONDS))
            .observe(took.as_secs_f64());
        if route.is_query() {
            let key = (route.operation(), tenant, status);
            *counters.queries.entry(key).or_default() += 1;
        }
    }

    fn scrape(&self) -> ApiResult<Answer> {
        const OPEN_METRICS: http::HeaderValue = http::HeaderValue::from_static(
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        );
        let samples = Mutex::new(Some(self.measure()));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Table(move || {
            samples.lock().take().unwrap_or_default()
        })));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .map_err(|error| ApiError::Internal(error.to_string()))?;
        Ok(Answer::whole(OPEN_METRICS, text.into_bytes()))
    }

    fn measure(&self) -> Samples {
        let mut samples = Samples::default();
        if let Some((ingest, admission)) = &self.ingest {
            metrics::measure_ingest(&mut samples, ingest);
            let held = admission.used_bytes();
            samples.add(Metric::InFlightBytes, Vec::new(), held);
        }
        metrics::measure_connections(&mut samples, "http", &self.connections);
        self.measure_queries(&mut samples);
        let is_ready = self.host.readiness().not_ready.is_empty();
        samples.add(Metric::Ready, Vec::new(), u64::from(is_ready));
        let build = self.host.build();
        let labels = vec![
            ("version", build.version),
            ("revision", build.revision),
            ("branch", build.branch),
            ("rustversion", build.rust_version),
        ];
        samples.add(Metric::BuildInfo, labels, 1);
        self.host.measure(&mut samples);
        samples
    }

    fn measure_queries(&self, samples: &mut Samples) {
        let counters = self.counters.lock();
        for ((method, route, status), seconds) in &counters.seconds {
            let labels = vec![
                ("method", method.clone()),
                ("route", (*route).to_owned()),
                ("status_code", status.to_string()),
            ];
            samples.add_histogram(Metric::RequestSeconds, labels, seconds);
        }
        for ((operation, tenant, status), n) in &counters.queries {
            let labels = vec![
                ("op", (*operation).to_owned()),
                ("tenant", tenant.to_string()),
                ("status_code", status.to_string()),
            ];
            samples.add(Metric::Queries, labels, *n);
        }
        for (operation, (bytes, spans, left_out)) in &counters.inspected {
            let labels = || vec![("op", (*operation).to_owned())];
            samples.add(Metric::InspectedBytes, labels(), *bytes);
            samples.add(Metric::InspectedSpans, labels(), *spans);
            samples.add(Metric::LeftOutSpans, labels(), *left_out);
        }
        drop(counters);
        let waiting = self.gate.n_waiting() as u64;
        samples.add(Metric::QueriesWaiting, Vec::new(), waiting);
        let refused = self.gate.refused.load(std::sync::atomic::Ordering::Relaxed);
        samples.add(Metric::QueriesRefused, Vec::new(), refused);
    }
}

// === impl Call ===

impl Call {
    pub(crate) fn caller(&self, cancel: CancellationToken) -> Caller {
        Caller {
            tenant: self.tenant.clone(),
            cancel,
            aliases: if self.is_raw() {
                Aliases::Off
            } else {
                self.aliases
            },
        }
    }

    /// True if read-time views (aliases, separated Zipkin spans) are switched off: `raw=true`.
    pub(crate) fn is_raw(&self) -> bool {
        matches!(self.params.get("raw"), Some("true" | "1"))
    }
}

fn log(route: Route, error: &ApiError) {
    if error.status().is_server_error() {
        tracing::warn!(route = route.label(), %error, "a request failed");
    } else {
        tracing::debug!(route = route.label(), %error, "a request was refused");
    }
}
