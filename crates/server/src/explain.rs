//! `GET /api/tracewell/explain`: what a query would do, and with `analyze=true` what it did.
//!
//! It takes the parameters of a search by TraceQL, or for a metrics query those of `/api/metrics/query_range`.

use tracewell_query::plan::{Explained, ExplainedFilter};
use tracewell_query::request::SourceSums;
use tracewell_query::{Explanation, QueryStats, parse};

use crate::answer::{Answer, Channel};
use crate::api::{Api, Call};
use crate::error::{ApiError, ApiResult};
use crate::json::Json;
use crate::{tempo, time};

/// What running a query has cost.
struct Analysis {
    /// Traces or series.
    n_found: usize,
    stats: QueryStats,
    partial: Vec<String>,
}

pub(crate) async fn answer(api: &Api, call: &Call) -> ApiResult<Answer> {
    if !call.others.is_empty() {
        let message = "a query is explained for one tenant at a time";
        return Err(ApiError::BadRequest(message.to_owned()));
    }
    let params = &call.params;
    let text = params.get("q").or(params.get("query")).ok_or_else(|| {
        let message = "q is missing: what is explained is TraceQL";
        ApiError::BadRequest(message.to_owned())
    })?;
    let is_series = parse(text).is_ok_and(|query| query.is_series());
    let window = match is_series {
        true => tempo::series::window(params, api)?,
        false => time::search_window(params, api.now(), api.default_window_nano)?,
    };
    let ask = |caller| async move { api.queries.explain(text, &caller, window) };
    let (explanation, permit) = api.ask(call, ask, |_, _| {}).await?;
    // Who held one turn while it waits for the next could wait for itself.
    drop(permit);
    let analysis = match params.get("analyze") {
        Some("true" | "1") => Some(analyze(api, call, explanation.is_series).await?),
        _ => None,
    };
    Ok(Answer::json(|json| {
        write_explanation(json, &explanation, analysis.as_ref());
    }))
}

async fn analyze(api: &Api, call: &Call, is_series: bool) -> ApiResult<Analysis> {
    Ok(match is_series {
        true => {
            let (found, _permit) = tempo::series::ask_range(api, call).await?;
            Analysis {
                n_found: found.series.len(),
                stats: found.stats,
                partial: found.partial,
            }
        }
        false => {
            let (found, _permit) = tempo::search::ask(api, call, None).await?;
            Analysis {
                n_found: found.traces.len(),
                stats: found.stats,
                partial: found.partial,
            }
        }
    })
}

fn write_explanation(
    json: &mut Json<Channel>,
    explanation: &Explanation,
    analysis: Option<&Analysis>,
) {
    let yields = match explanation.is_series {
        true => "series",
        false => "traces",
    };
    json.object(|json| {
        json.key("canonical").string(&explanation.canonical);
        json.key("yields").string(yields);
        json.key("plans").array(&explanation.plans, write_plan);
        json.key("sources");
        write_sums(json, &explanation.all);
        json.key("sourcesInWindow");
        write_sums(json, &explanation.in_window);
        if !explanation.missing.is_empty() {
            let missing = json.key("missing");
            missing.array(&explanation.missing, |json, reason| json.string(reason));
        }
        if let Some(analysis) = analysis {
            json.key("analysis");
            write_analysis(json, analysis);
        }
    });
}

fn write_plan(json: &mut Json<Channel>, plan: &Explained) {
    json.object(|json| {
        json.key("filters").array(&plan.filters, write_filter);
        json.key("requires").string(&plan.requires);
        json.key("decidedBy").string(plan.decided_by.name());
        if !plan.columns.is_empty() {
            let columns = json.key("columns");
            columns.array(&plan.columns, |json, column| json.string(column));
        }
        if let Some(selection) = &plan.selection {
            json.key("selection").string(selection);
        }
    });
}

fn write_filter(json: &mut Json<Channel>, filter: &ExplainedFilter) {
    json.object(|json| {
        json.key("asked").string(&filter.scan);
        if let Some(fragment) = &filter.fragment {
            json.key("askedOfFragments").string(fragment);
        }
        json.key("exact").bool(filter.is_exact);
    });
}

fn write_sums(json: &mut Json<Channel>, sums: &SourceSums) {
    json.object(|json| {
        json.key("count").plain(sums.n_sources);
        json.key("shared").plain(sums.n_shared);
        json.key("spans").plain(sums.n_spans);
        json.key("bytes").plain(sums.n_bytes);
    });
}

fn write_analysis(json: &mut Json<Channel>, analysis: &Analysis) {
    let stats = &analysis.stats;
    json.object(|json| {
        json.key("elapsedMicros").plain(stats.elapsed_nano / 1_000);
        json.key("found").plain(analysis.n_found);
        json.key("inspectedBytes").plain(stats.inspected_bytes);
        json.key("inspectedSpans").plain(stats.inspected_spans);
        json.key("inspectedTraces").plain(stats.inspected_traces);
        json.key("rowGroups").plain(stats.n_groups);
        json.key("rowGroupsRuledOut")
            .plain(stats.n_groups_ruled_out);
        if !analysis.partial.is_empty() {
            let partial = json.key("partial");
            partial.array(&analysis.partial, |json, reason| json.string(reason));
        }
    });
}
