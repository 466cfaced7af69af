//! `GET /api/search`: TraceQL or tags, newest traces first.

use tracewell_query::request::{Found, ServiceStats, SpanSummary, Spanset, TraceSummary};
use tracewell_query::{QueryStats, SearchQuery, SearchRequest, SearchResponse, TagSearch};

use super::{bounded, small, trace_json};
use crate::answer::{Answer, Channel};
use crate::api::{Api, Call};
use crate::error::{ApiError, ApiResult};
use crate::gate::Permit;
use crate::json::Json;
use crate::params::{self, Params};
use crate::time;

/// Tempo's `default_result_limit`, `max_result_limit`, and the same of spans per spanset.
const LIMIT_DEFAULT: i64 = 20;
const LIMIT_MAX: i64 = 262_144;
const SPANS_DEFAULT: i64 = 3;
const SPANS_MAX: i64 = 100;
/// Parameters that are never tags.
const RESERVED: &[&str] = &[
    "q",
    "tags",
    "minDuration",
    "maxDuration",
    "limit",
    "spss",
    "start",
    "end",
    "since",
    "raw",
    "skip_ast_transformations",
];
/// What Tempo writes where no root span has arrived.
pub(super) const NO_ROOT: &str = "<root span not yet received>";

pub(crate) async fn search(api: &Api, call: &Call) -> ApiResult<Answer> {
    let (found, _permit) = ask(api, call, None).await?;
    let answer = Answer::json(|json| write_response(json, &found));
    Ok(answer.with_partial(found.partial).holding(found.held))
}

/// Searches as the parameters of a call say. `listener` hears of the traces as they are found.
pub(crate) async fn ask(
    api: &Api,
    call: &Call,
    listener: Option<Found>,
) -> ApiResult<(SearchResponse, Permit)> {
    let params = &call.params;
    let query = query_of(params)?;
    let limit = bounded(params, "limit", LIMIT_DEFAULT, 1, LIMIT_MAX)?;
    let spans_per_spanset = bounded(params, "spss", SPANS_DEFAULT, 0, SPANS_MAX)?;
    let window = time::search_window(params, api.now(), api.default_window_nano)?;
    // Zero means "all", which is still bounded.
    let spans_per_spanset = match spans_per_spanset {
        0 => SPANS_MAX as usize,
        n => n,
    };
    let ask = |caller| {
        api.queries.search(SearchRequest {
            caller,
            query: query.clone(),
            window,
            limit,
            spans_per_spanset,
            // What one of several tenants has may not be among the newest of all.
            found: listener.clone().filter(|_| call.others.is_empty()),
        })
    };
    let add = |found: &mut SearchResponse, more| found.add(more, limit, spans_per_spanset);
    let (found, permit) = api.ask(call, ask, add).await?;
    api.observe_query(call, &found.stats);
    Ok((found, permit))
}

fn query_of(params: &Params) -> ApiResult<SearchQuery> {
    let tags = match (params.get("q"), params.get("tags")) {
        (Some(_), Some(_)) => {
            return Err(ApiError::BadRequest(String::from(
                "invalid request: can't specify tags and q in the same query",
            )));
        }
        (Some(text), None) => return Ok(SearchQuery::TraceQl(text.to_owned())),
        (None, Some(tags)) => params::parse_logfmt(tags)?,
        // Early clients wrote every tag as a parameter of its own.
        (None, None) if params.get("start").is_none() && params.get("end").is_none() => params
            .iter()
            .filter(|(key, value)| !RESERVED.contains(key) && !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        (None, None) => Vec::new(),
    };
    let duration_nano_min = params.duration_nano("minDuration")?;
    let duration_nano_max = params.duration_nano("maxDuration")?;
    if let (Some(min), Some(max)) = (duration_nano_min, duration_nano_max)
        && min > max
    {
        return Err(ApiError::BadRequest(String::from(
            "invalid maxDuration: must be greater than minDuration",
        )));
    }
    Ok(SearchQuery::Tags(TagSearch {
        tags,
        duration_nano_min,
        duration_nano_max,
    }))
}

fn write_response(json: &mut Json<Channel>, found: &SearchResponse) {
    json.object(|json| {
        json.key("traces").array(&found.traces, |json, trace| {
            write_trace(json, trace);
        });
        write_metrics(json, &found.stats);
    });
}

/// Tempo's `SearchMetrics`: what an answer has cost.
pub(super) fn write_metrics(json: &mut Json<Channel>, stats: &QueryStats) {
    json.key("metrics").object(|json| {
        json.number_unless_zero("inspectedTraces", small(stats.inspected_traces));
        json.long_unless_zero("inspectedBytes", stats.inspected_bytes);
        json.number_unless_zero("totalBlocks", small(stats.n_sources));
        json.number_unless_zero("completedJobs", small(stats.n_sources_done));
        json.number_unless_zero("totalJobs", small(stats.n_sources));
        json.long_unless_zero("totalBlockBytes", stats.source_bytes);
        json.long_unless_zero("inspectedSpans", stats.inspected_spans);
    });
}

fn write_trace(json: &mut Json<Channel>, trace: &TraceSummary) {
    json.object(|json| {
        let id = trace.trace_id.to_string();
        // As Tempo writes it.
        json.key("traceID").string(id.trim_start_matches('0'));
        match &trace.root {
            None => json.key("rootServiceName").string(NO_ROOT),
            Some(root) => {
                json.string_unless_empty("rootServiceName", &root.service);
                json.string_unless_empty("rootTraceName", &root.name);
            }
        }
        json.long_unless_zero("startTimeUnixNano", trace.start_unix_nano);
        json.number_unless_zero("durationMs", small(trace.duration_nano / 1_000_000));
        if let Some(first) = trace.spansets.first() {
            json.key("spanSet");
            write_spanset(json, first);
            json.key("spanSets").array(&trace.spansets, write_spanset);
        }
        if !trace.services.is_empty() {
            json.key("serviceStats").object(|json| {
                for service in &trace.services {
                    write_service(json, service);
                }
            });
        }
    });
}

fn write_service(json: &mut Json<Channel>, service: &ServiceStats) {
    json.text_key(&service.service).object(|json| {
        json.number_unless_zero("spanCount", small(service.n_spans));
        json.number_unless_zero("errorCount", small(service.n_errors));
    });
}

fn write_spanset(json: &mut Json<Channel>, spanset: &Spanset) {
    json.object(|json| {
        json.key("spans").array(&spanset.spans, write_span);
        json.number_unless_zero("matched", small(spanset.matched));
        trace_json::write_attributes(json, &spanset.attributes);
    });
}

fn write_span(json: &mut Json<Channel>, span: &SpanSummary) {
    json.object(|json| {
        json.key("spanID").string(&span.span_id.to_string());
        json.string_unless_empty("name", &span.name);
        json.long_unless_zero("startTimeUnixNano", span.start_unix_nano);
        json.long_unless_zero("durationNanos", span.duration_nano);
        trace_json::write_attributes(json, &span.attributes);
    });
}
