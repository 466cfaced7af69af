//! The table of routes: path, method, and the label under which dashboards know each.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawPathParams, RawQuery, State};
use axum::routing::{MethodFilter, on};
use http::{HeaderMap, Method, Response, StatusCode};
use tracewell_ingest::is_grpc;

use crate::answer;
use crate::api::{Api, Question};
use crate::grpc;

macro_rules! routes {
    ($($name:ident = $path:literal, $label:literal;)*) => {
        /// All routes there are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Route {
            $($name,)*
        }

        impl Route {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            pub(crate) fn path(self) -> &'static str {
                match self {
                    $(Self::$name => $path,)*
                }
            }

            /// The value of the label `route`; for the API as Tempo writes it.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

routes! {
    TraceV1 = "/api/traces/{id}", "api_traces_traceid";
    TraceV2 = "/api/v2/traces/{id}", "api_v2_traces_traceid";
    Search = "/api/search", "api_search";
    TagNamesV1 = "/api/search/tags", "api_search_tags";
    TagNamesV2 = "/api/v2/search/tags", "api_v2_search_tags";
    // The name may hold slashes, so that `/values` is cut off by hand.
    TagValuesV1 = "/api/search/tag/{*rest}", "api_search_tag_tagname_values";
    TagValuesV2 = "/api/v2/search/tag/{*rest}", "api_v2_search_tag_tagname_values";
    QueryRange = "/api/metrics/query_range", "api_metrics_query_range";
    QueryInstant = "/api/metrics/query", "api_metrics_query";
    StreamSearch = "/tempopb.StreamingQuerier/Search", "/tempopb.StreamingQuerier/Search";
    StreamTagNamesV1 = "/tempopb.StreamingQuerier/SearchTags", "/tempopb.StreamingQuerier/SearchTags";
    StreamTagNamesV2 = "/tempopb.StreamingQuerier/SearchTagsV2", "/tempopb.StreamingQuerier/SearchTagsV2";
    StreamTagValuesV1 = "/tempopb.StreamingQuerier/SearchTagValues", "/tempopb.StreamingQuerier/SearchTagValues";
    StreamTagValuesV2 = "/tempopb.StreamingQuerier/SearchTagValuesV2", "/tempopb.StreamingQuerier/SearchTagValuesV2";
    StreamQueryRange = "/tempopb.StreamingQuerier/MetricsQueryRange", "/tempopb.StreamingQuerier/MetricsQueryRange";
    StreamQueryInstant = "/tempopb.StreamingQuerier/MetricsQueryInstant", "/tempopb.StreamingQuerier/MetricsQueryInstant";
    Parse = "/api/tracewell/parse", "api_tracewell_parse";
    Explain = "/api/tracewell/explain", "api_tracewell_explain";
    Echo = "/api/echo", "api_echo";
    BuildInfo = "/api/status/buildinfo", "api_status_buildinfo";
    Ready = "/ready", "ready";
    Status = "/status", "status";
    StatusPart = "/status/{part}", "status_part";
    OverridesOf = "/status/overrides/{tenant}", "status_overrides_tenant";
    Metrics = "/metrics", "metrics";
    Flush = "/flush", "flush";
    Shutdown = "/shutdown", "shutdown";
    Home = "/", "home";
}

// === impl Route ===

impl Route {
    /// True if it answers from a tenant's data.
    pub(crate) fn is_query(self) -> bool {
        !matches!(self.operation(), "")
    }

    /// True if it says nothing of anybody: for probes and whoever looks what is here.
    pub(crate) fn is_open(self) -> bool {
        matches!(
            self,
            Self::Echo | Self::Parse | Self::Ready | Self::BuildInfo | Self::Home
        )
    }

    /// The label `op` of query metrics, as Tempo names them; empty for what is no query.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::TraceV1 | Self::TraceV2 => "traces",
            Self::Search | Self::StreamSearch => "search",
            Self::TagNamesV1
            | Self::TagNamesV2
            | Self::TagValuesV1
            | Self::TagValuesV2
            | Self::StreamTagNamesV1
            | Self::StreamTagNamesV2
            | Self::StreamTagValuesV1
            | Self::StreamTagValuesV2 => "metadata",
            Self::QueryRange
            | Self::QueryInstant
            | Self::StreamQueryRange
            | Self::StreamQueryInstant => "metrics",
            Self::Explain => "explain",
            _ => "",
        }
    }

    /// True for a method of gRPC.
    pub(crate) fn is_streamed(self) -> bool {
        self.path().starts_with("/tempopb.")
    }

    /// Paths below `/api` stand behind the configured prefix.
    fn is_prefixed(self) -> bool {
        self.path().starts_with("/api/")
    }

    fn methods(self) -> MethodFilter {
        match self {
            Self::Flush | Self::Shutdown => MethodFilter::GET.or(MethodFilter::POST),
            Self::Parse => MethodFilter::POST,
            _ if self.is_streamed() => MethodFilter::POST,
            _ => MethodFilter::GET,
        }
    }

    /// The same for people.
    pub(crate) fn verbs(self) -> &'static str {
        match self {
            Self::Flush | Self::Shutdown => "GET, POST",
            Self::Parse => "POST",
            _ if self.is_streamed() => "POST (gRPC)",
            _ => "GET",
        }
    }
}

pub(crate) fn router(api: Arc<Api>, routes: impl Iterator<Item = Route>) -> Router {
    let mut router = Router::new();
    for route in routes {
        let path = if route.is_prefixed() {
            format!("{}{}", api.prefix, route.path())
        } else {
            route.path().to_owned()
        };
        if route.is_streamed() {
            let handler = move |State(api): State<Arc<Api>>, headers: HeaderMap, body: Body| async move {
                match is_grpc(&headers) {
                    true => grpc::respond(api.gate.answer_time_max(), |out| {
                        api.stream(route, headers, body, out)
                    }),
                    false => not_grpc(route),
                }
            };
            router = router.route(&path, on(route.methods(), handler));
            continue;
        }
        let handler = move |State(api): State<Arc<Api>>,
                            method: Method,
                            params: RawPathParams,
                            RawQuery(query): RawQuery,
                            headers: HeaderMap,
                            body: Body| async move {
            let param = params
                .iter()
                .next()
                .map_or_else(String::new, |(_, value)| value.to_owned());
            let question = Question {
                path_param: param,
                query: query.as_deref(),
                body,
            };
            api.respond(route, method, question, headers).await
        };
        router = router.route(&path, on(route.methods(), handler));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .with_state(api)
}

fn not_grpc(route: Route) -> Response<Body> {
    let text = format!(
        "{} is a method of gRPC, with content type application/grpc.\n",
        route.path()
    );
    answer::with_status(
        answer::Answer::text(text).respond(&HeaderMap::new()),
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
    )
}

async fn not_found(uri: http::Uri, headers: HeaderMap) -> Response<Body> {
    let path: String = uri.path().chars().take(200).collect();
    if is_grpc(&headers) {
        return grpc::no_such_method(&path);
    }
    let text = format!(
        "There is no {path} here. This is Tracewell's query port: GET /status/endpoints lists what \
         there is; spans are sent to 4317 (OTLP/gRPC) and 4318 (OTLP/HTTP).\n"
    );
    answer::with_status(
        answer::Answer::text(text).respond(&HeaderMap::new()),
        StatusCode::NOT_FOUND,
    )
}

async fn not_allowed(method: Method, uri: http::Uri) -> Response<Body> {
    let path: String = uri.path().chars().take(200).collect();
    answer::with_status(
        answer::Answer::text(format!("{path} does not take {method}.\n"))
            .respond(&HeaderMap::new()),
        StatusCode::METHOD_NOT_ALLOWED,
    )
}
