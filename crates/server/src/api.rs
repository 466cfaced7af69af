//! One request to the API, from its route to its answer: the part that all endpoints share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Method, Response, StatusCode};
use parking_lot::Mutex;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracewell_ingest::accept::{self, ConnectionMetrics};
use tracewell_ingest::metrics::{TENANTS_MAX, other_tenants};
use tracewell_ingest::tenants::TenantLimits;
use tracewell_ingest::{Admission, IngestMetrics, Tenancy, Tenant, Tenants};
use tracewell_model::{Clock, Limits, TenantId};
use tracewell_query::{Aliases, Caller, QueryStats};

use crate::answer::{self, Answer};
use crate::error::{ApiError, ApiResult, CLIENT_CLOSED_REQUEST};
use crate::gate::{Gate, Permit};
use crate::host::Host;
use crate::measure::{self, LimitHits};
use crate::metrics::{Metric, REQUEST_SECONDS, Samples, Table};
use crate::params::Params;
use crate::queries::Queries;
use crate::routes::Route;
use crate::tempo::tags::Version;
use crate::{explain, grpc, parse, status, tempo};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) queries: Arc<dyn Queries>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) gate: Gate,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenancy: Tenancy,
    tenants: Arc<Tenants>,
    pub(crate) default_window_nano: u64,
    aliases: Aliases,
    pub(crate) prefix: String,
    pub(crate) ingest: Option<(Arc<IngestMetrics>, Admission)>,
    pub(crate) connections: Arc<ConnectionMetrics>,
    pub(crate) limits: Limits,
    counters: Mutex<Counters>,
}

/// What is counted per request; few label sets, one lock per request.
#[derive(Debug, Default)]
struct Counters {
    seconds: BTreeMap<(String, &'static str, u16), Histogram>,
    queries: BTreeMap<(&'static str, TenantId, u16), u64>,
    /// Those that ended within [`SLO`], by operation, tenant and result.
    within_slo: BTreeMap<(&'static str, TenantId, &'static str), u64>,
    /// Sums over the answers, by operation.
    inspected: BTreeMap<&'static str, QueryStats>,
    limits_hit: BTreeMap<&'static str, u64>,
    /// Those with counters of their own.
    tenants: BTreeSet<TenantId>,
}

/// A request over HTTP beside its route and headers.
pub(crate) struct Question<'q> {
    /// The part of the path that varies, percent-decoded; empty if none does.
    pub(crate) path_param: String,
    pub(crate) query: Option<&'q str>,
    pub(crate) body: Body,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) route: Route,
    /// The part of the path that varies, percent-decoded; empty if none does.
    pub(crate) path_param: String,
    pub(crate) params: Params,
    pub(crate) headers: HeaderMap,
    pub(crate) tenant: Arc<Tenant>,
    /// Those whose data is asked for besides.
    pub(crate) others: Vec<Arc<Tenant>>,
    /// What holds unless the request asks for what was sent.
    pub(crate) aliases: Aliases,
}

/// How long a query may take to count as a good one: what Tempo's dashboards are made for.
const SLO: Duration = Duration::from_secs(5);

/// What an [`Api`] is made of besides its own state.
pub(crate) struct Parts {
    pub(crate) queries: Arc<dyn Queries>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) gate: Gate,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenancy: Tenancy,
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) default_window: Duration,
    pub(crate) aliases: Aliases,
    pub(crate) prefix: String,
    pub(crate) ingest: Option<(Arc<IngestMetrics>, Admission)>,
    pub(crate) limits: Limits,
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
            tenants: parts.tenants,
            default_window_nano: u64::try_from(parts.default_window.as_nanos()).unwrap_or(u64::MAX),
            aliases: parts.aliases,
            prefix: parts.prefix,
            ingest: parts.ingest,
            connections: Arc::default(),
            limits: parts.limits,
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
        question: Question<'_>,
        headers: HeaderMap,
    ) -> Response<Body> {
        let start = Instant::now();
        let tenants = self.tenants(route, &headers);
        let labels = labels(&tenants);
        let answered = async {
            let (tenant, others) = tenants?;
            let mut params = Params::parse(question.query)?;
            if route == Route::Parse {
                let bytes_max = self.limits.query_bytes_max;
                params.put("q", parse::text_of(question.body, bytes_max).await?);
            }
            let call = Call {
                route,
                path_param: question.path_param,
                params,
                headers,
                tenant,
                others,
                aliases: self.aliases,
            };
            let response = self.answer(&call).await?;
            let response = response.counted(self.queries.memory());
            Ok(response.respond(&call.headers))
        };
        let response = match Box::pin(answered).await {
            Ok(response) => response,
            Err(error) => {
                self.note_refused(route, &error);
                answer::respond_error(&error)
            }
        };
        self.observe(
            route,
            &method,
            labels,
            response.status().as_u16(),
            start.elapsed(),
        );
        response
    }

    /// Answers a call of gRPC by the messages that it sends; what remains is how it ended.
    pub(crate) async fn stream(
        self: Arc<Self>,
        route: Route,
        headers: HeaderMap,
        body: Body,
        out: grpc::Messages,
    ) -> grpc::Ended {
        let start = Instant::now();
        let tenants = self.tenants(route, &headers);
        let labels = labels(&tenants);
        let answered = async {
            let (tenant, others) = tenants?;
            let message = grpc::read(body).await?;
            let (path_param, params) = tempo::stream::question(route, &message)?;
            let call = Call {
                route,
                path_param,
                params,
                headers,
                tenant,
                others,
                aliases: self.aliases,
            };
            tempo::stream::answer(&self, &call, out).await
        };
        let answered = accept::catch_panic(Box::pin(answered), &self.connections).await;
        let ended = answered.unwrap_or_else(|| Err(ApiError::bug()));
        let status = ended
            .as_ref()
            .err()
            .map_or(StatusCode::OK, ApiError::status);
        if let Err(error) = &ended {
            self.note_refused(route, error);
        }
        self.observe(
            route,
            &Method::POST,
            labels,
            status.as_u16(),
            start.elapsed(),
        );
        ended
    }

    fn note_refused(&self, route: Route, error: &ApiError) {
        log(route, error);
        if let Some(limit) = error.limit() {
            self.count_limit(limit);
        }
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
            Route::QueryRange => tempo::series::range(self, call).await,
            Route::QueryInstant => tempo::series::instant(self, call).await,
            Route::Parse => parse::answer(self, call).await,
            Route::Explain => explain::answer(self, call).await,
            Route::Metrics => self.scrape(),
            _ => status::answer(self, call).await,
        }
    }

    fn tenants(
        &self,
        route: Route,
        headers: &HeaderMap,
    ) -> ApiResult<(Arc<Tenant>, Vec<Arc<Tenant>>)> {
        if route.is_query() {
            return Ok(self.tenants.admit_several(self.tenancy, headers)?);
        }
        if !route.is_open() {
            self.tenants.admit_operator(headers)?;
        }
        Ok((self.tenants.single(), Vec::new()))
    }

    /// Asks for each tenant of a call in turn, and adds what the others have to what the first has. What stays
    /// taken is the turn of the last one.
    pub(crate) async fn ask<T, F>(
        &self,
        call: &Call,
        ask: impl Fn(Caller) -> F,
        mut add: impl FnMut(&mut T, T),
    ) -> ApiResult<(T, Permit)>
    where
        F: Future<Output = tracewell_query::Result<T>>,
    {
        let gate = &self.gate;
        let of = |tenant: &Arc<Tenant>| {
            let tenant = Arc::clone(tenant);
            let ask = &ask;
            async move {
                gate.run(&tenant, |cancel| ask(call.caller(&tenant, cancel)))
                    .await
            }
        };
        let (mut found, mut permit) = of(&call.tenant).await?;
        for other in &call.others {
            // Who held one turn while it waits for the next could wait for itself.
            drop(permit);
            let (more, next) = of(other).await?;
            add(&mut found, more);
            permit = next;
        }
        Ok((found, permit))
    }

    pub(crate) fn observe_query(&self, call: &Call, stats: &QueryStats) {
        let mut counters = self.counters.lock();
        let sums = counters
            .inspected
            .entry(call.route.operation())
            .or_default();
        sums.inspected_bytes += stats.inspected_bytes;
        sums.inspected_spans += stats.inspected_spans;
        sums.left_out_spans += stats.left_out_spans;
        sums.duplicate_spans += stats.duplicate_spans;
        sums.twin_spans += stats.twin_spans;
        for limit in stats.limits_hit.iter() {
            *counters.limits_hit.entry(limit.name()).or_default() += 1;
        }
    }

    fn count_limit(&self, limit: &'static str) {
        *self.counters.lock().limits_hit.entry(limit).or_default() += 1;
    }

    fn observe(
        &self,
        route: Route,
        method: &Method,
        tenants: Vec<TenantId>,
        status: u16,
        took: Duration,
    ) {
        let mut counters = self.counters.lock();
        counters
            .seconds
            .entry((method.to_string(), route.label(), status))
            .or_insert_with(|| Histogram::new(REQUEST_SECONDS))
            .observe(took.as_secs_f64());
        if route.is_query() {
            let result = match status {
                CLIENT_CLOSED_REQUEST => Some("canceled"),
                _ if status < 500 && took <= SLO => Some("completed"),
                _ => None,
            };
            for tenant in tenants {
                let tenant = counters.tenant(tenant);
                if let Some(result) = result {
                    let key = (route.operation(), tenant.clone(), result);
                    *counters.within_slo.entry(key).or_default() += 1;
                }
                let key = (route.operation(), tenant, status);
                *counters.queries.entry(key).or_default() += 1;
            }
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

    /// What holds for all tenants, and for those that have an entry of their own.
    pub(crate) fn tenant_limits(&self) -> TenantLimits {
        self.tenants.limits()
    }

    fn measure(&self) -> Samples {
        let mut samples = Samples::default();
        if let Some((ingest, admission)) = &self.ingest {
            measure::measure_ingest(&mut samples, ingest);
            let held = admission.used_bytes();
            samples.add(Metric::InFlightBytes, Vec::new(), held);
        }
        measure::measure_connections(&mut samples, "http", &self.connections);
        self.measure_queries(&mut samples);
        measure::measure_limits(&mut samples, &self.limits.values());
        let tenants = self.tenant_limits();
        measure::measure_overrides(&mut samples, &tenants);
        measure::measure_retention(&mut samples, &tenants.retention);
        self.limit_hits().measure(&mut samples);
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
        for ((operation, tenant, result), n) in &counters.within_slo {
            let labels = vec![
                ("op", (*operation).to_owned()),
                ("tenant", tenant.to_string()),
                ("result", (*result).to_owned()),
            ];
            samples.add(Metric::WithinSlo, labels, *n);
        }
        for (operation, sums) in &counters.inspected {
            for (metric, n) in [
                (Metric::InspectedBytes, sums.inspected_bytes),
                (Metric::InspectedSpans, sums.inspected_spans),
                (Metric::LeftOutSpans, sums.left_out_spans),
                (Metric::QueryDuplicateSpans, sums.duplicate_spans),
                (Metric::QueryTwinSpans, sums.twin_spans),
            ] {
                samples.add(metric, vec![("op", (*operation).to_owned())], n);
            }
        }
        drop(counters);
        let waited = &self.gate.queue_seconds;
        samples.add_histogram(Metric::QueueSeconds, Vec::new(), waited);
        let waiting = self.gate.n_waiting() as u64;
        samples.add(Metric::QueriesWaiting, Vec::new(), waiting);
        let refused = self.gate.refused.load(std::sync::atomic::Ordering::Relaxed);
        samples.add(Metric::QueriesRefused, Vec::new(), refused);
    }

    pub(crate) fn limit_hits(&self) -> LimitHits {
        use std::sync::atomic::Ordering::Relaxed;

        let mut hits = LimitHits::new(&self.limits.values());
        let mut connections = vec![&self.connections];
        if let Some((ingest, _)) = &self.ingest {
            for (limit, n) in ingest.limits_hit() {
                hits.add(limit, n);
            }
            connections.extend([&ingest.grpc_connections, &ingest.http_connections]);
        }
        for listener in connections {
            hits.add("limits.connections_max", listener.refused.load(Relaxed));
        }
        for (limit, n) in &self.counters.lock().limits_hit {
            hits.add(limit, *n);
        }
        hits
    }
}

// === impl Counters ===

impl Counters {
    /// The tenant as a label: who asks for nobody's data, and whoever comes after very many others, is
    /// `_other`.
    fn tenant(&mut self, tenant: TenantId) -> TenantId {
        let is_known = tenant == other_tenants() || self.tenants.contains(&tenant);
        if !is_known && self.tenants.len() >= TENANTS_MAX {
            return other_tenants();
        }
        if !is_known {
            self.tenants.insert(tenant.clone());
        }
        tenant
    }
}

// === impl Call ===

impl Call {
    fn caller(&self, tenant: &Tenant, cancel: CancellationToken) -> Caller {
        Caller {
            tenant: tenant.id.clone(),
            query_ms_max: Some(tenant.limits.query_ms_max),
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

/// Who asks, for counters.
fn labels(tenants: &ApiResult<(Arc<Tenant>, Vec<Arc<Tenant>>)>) -> Vec<TenantId> {
    match tenants {
        Ok((first, others)) => {
            let all = others.iter().chain([first]);
            all.map(|it| it.id.clone()).collect()
        }
        Err(_) => vec![other_tenants()],
    }
}

fn log(route: Route, error: &ApiError) {
    if error.status().is_server_error() {
        tracing::warn!(route = route.label(), %error, "a request failed");
    } else {
        tracing::debug!(route = route.label(), %error, "a request was refused");
    }
}
