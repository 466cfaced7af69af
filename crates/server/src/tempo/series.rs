//! `GET /api/metrics/query_range` and `/api/metrics/query`: series of spans.

use tracewell_model::TimeRange;
use tracewell_query::series::{Axis, Exemplar, Series};
use tracewell_query::{SeriesRequest, SeriesResponse};

use super::search::write_metrics;
use super::{bounded, trace_json};
use crate::answer::{Answer, Channel};
use crate::api::{Api, Call};
use crate::error::{ApiError, ApiResult};
use crate::gate::Permit;
use crate::json::Json;
use crate::params::Params;
use crate::time;

/// Ranges that are asked for at once: Tempo's `query_frontend.metrics.max_duration`.
const RANGE_NANO_MAX: u64 = 24 * 3_600 * 1_000_000_000;
const NANOS_PER_MS: u64 = 1_000_000;

pub(crate) async fn range(api: &Api, call: &Call) -> ApiResult<Answer> {
    Ok(answer(ask_range(api, call).await?))
}

pub(crate) async fn instant(api: &Api, call: &Call) -> ApiResult<Answer> {
    Ok(answer(ask_instant(api, call).await?))
}

fn answer((found, _permit): (SeriesResponse, Permit)) -> Answer {
    let answer = Answer::json(|json| write_response(json, &found));
    answer.with_partial(found.partial)
}

/// The series of the intervals of a range, as the parameters of a call say.
pub(crate) async fn ask_range(api: &Api, call: &Call) -> ApiResult<(SeriesResponse, Permit)> {
    let (range, step) = intervals(&call.params, api)?;
    ask(api, call, range, Some(step)).await
}

/// Starts of the spans that the series of a range count.
pub(crate) fn window(params: &Params, api: &Api) -> ApiResult<TimeRange> {
    let ((start, end), step) = intervals(params, api)?;
    let axis = Axis::of_range(start, end, step);
    let axis = axis.map_err(|error| ApiError::BadRequest(error.to_string()))?;
    Ok(axis.window())
}

/// A range, and the length of an interval.
fn intervals(params: &Params, api: &Api) -> ApiResult<((u64, u64), u64)> {
    let (start, end) = range_of(params, api)?;
    let step = match params.get("step") {
        None => Axis::default_step(start, end),
        Some(text) => step_of(text)?,
    };
    Ok(((start, end), step))
}

/// Series of one value over all of a range.
pub(super) async fn ask_instant(api: &Api, call: &Call) -> ApiResult<(SeriesResponse, Permit)> {
    let range = range_of(&call.params, api)?;
    ask(api, call, range, None).await
}

async fn ask(
    api: &Api,
    call: &Call,
    (start, end): (u64, u64),
    step_nano: Option<u64>,
) -> ApiResult<(SeriesResponse, Permit)> {
    if !call.others.is_empty() {
        let message = "series of several tenants are asked for one by one";
        return Err(ApiError::BadRequest(message.to_owned()));
    }
    let params = &call.params;
    let query = params.get("q").or(params.get("query"));
    let query = query.ok_or_else(|| ApiError::BadRequest("q is missing".to_owned()))?;
    let exemplars_max = bounded(params, "exemplars", 0, 0, i64::MAX)?;
    let series_max = bounded(params, "maxSeries", 0, 0, i64::MAX)?;
    let ask = |caller| {
        api.queries.series(SeriesRequest {
            caller,
            query: query.to_owned(),
            start,
            end,
            step_nano,
            exemplars_max,
            series_max: (series_max > 0).then_some(series_max),
        })
    };
    let (found, permit) = api.ask(call, ask, |_, _| {}).await?;
    api.observe_query(call, &found.stats);
    Ok((found, permit))
}

/// The range that was asked for; an end that lies ahead is now.
fn range_of(params: &Params, api: &Api) -> ApiResult<(u64, u64)> {
    let now = api.now();
    let window = time::search_window(params, now, api.default_window_nano)?;
    // An end that is now has no end in a search.
    let (start, end) = (window.start, window.end.min(now));
    if start >= end {
        return Err(ApiError::BadRequest("start must be before end".to_owned()));
    }
    if end - start > RANGE_NANO_MAX {
        return Err(ApiError::BadRequest(String::from(
            "range specified by start and end exceeds 24h0m0s: ask for a shorter one",
        )));
    }
    Ok((start, end))
}

/// Seconds as a number, or a duration as Go writes it, in nanoseconds.
fn step_of(text: &str) -> ApiResult<u64> {
    let wrong = |reason: &str| Err(ApiError::BadRequest(format!("invalid step: {reason}")));
    if let Ok(seconds) = text.parse::<f64>() {
        let nanos = seconds * 1e9;
        return match nanos >= 1.0 && nanos < u64::MAX as f64 {
            true => Ok(nanos as u64),
            false => wrong("it must be above 0"),
        };
    }
    match time::parse_duration(text) {
        Ok(0) => wrong("it must be above 0"),
        Ok(nanos) => Ok(nanos),
        Err(error) => wrong(&error),
    }
}

fn write_response(json: &mut Json<Channel>, found: &SeriesResponse) {
    json.object(|json| {
        json.key("series").array(&found.series, |json, series| {
            write_series(json, &found.axis, series);
        });
        write_metrics(json, &found.stats);
        if !found.partial.is_empty() {
            json.key("status").string("PARTIAL");
            json.key("message").string(&found.partial.join("; "));
        }
    });
}

fn write_series(json: &mut Json<Channel>, axis: &Axis, series: &Series) {
    json.object(|json| {
        trace_json::write_labels(json, &series.shown_labels());
        if axis.is_instant() {
            write_value(
                json,
                series.values.first().copied().flatten().unwrap_or(0.0),
            );
            return;
        }
        let samples = series.values.iter().enumerate();
        let samples = samples.filter_map(|(interval, value)| Some((interval, (*value)?)));
        let samples: Vec<(usize, f64)> = samples.collect();
        json.key("samples")
            .array(&samples, |json, (interval, value)| {
                json.object(|json| {
                    json.long_unless_zero("timestampMs", axis.end_of(*interval) / NANOS_PER_MS);
                    write_value(json, *value);
                });
            });
        if !series.exemplars.is_empty() {
            json.key("exemplars")
                .array(&series.exemplars, write_exemplar);
        }
    });
}

fn write_exemplar(json: &mut Json<Channel>, exemplar: &Exemplar) {
    json.object(|json| {
        trace_json::write_labels(json, &exemplar.labels());
        write_value(json, exemplar.value);
        json.long_unless_zero("timestampMs", exemplar.unix_nano / NANOS_PER_MS);
    });
}

/// Left out where it is 0, as protobuf's JSON does.
fn write_value(json: &mut Json<Channel>, value: f64) {
    if value != 0.0 {
        json.key("value").double(value);
    }
}
