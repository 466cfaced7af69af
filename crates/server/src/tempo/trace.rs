//! A trace by its id, versions 1 and 2.

use tracewell_model::{Trace, TraceId};
use tracewell_query::{Around, TraceRequest, TraceResponse};
use tracewell_wire::otlp::{Groups, encode_traces};
use tracewell_wire::protobuf::Writer;

use super::{shared_spans, trace_json};
use crate::answer::{Answer, Channel, Format};
use crate::api::{Api, Call};
use crate::error::{ApiError, ApiResult};
use crate::gate::Permit;
use crate::json::Json;
use crate::params::Params;
use crate::time;

/// Larger traces are written on a thread of their own, while they are sent.
const INLINE_SPANS_MAX: usize = 500;

/// `GET /api/traces/{id}`.
pub(crate) async fn v1(api: &Api, call: &Call) -> ApiResult<Answer> {
    let (found, permit) = find(api, call, None, Around::default()).await?;
    let trace = found.trace.ok_or_else(|| match found.partial.is_empty() {
        true => ApiError::NoSuchTrace,
        // It may lie in what could not be looked at.
        false => ApiError::Unavailable(format!("not found so far: {}", found.partial.join("; "))),
    })?;
    let answer = match Format::of(&call.headers) {
        Format::Protobuf => Answer::protobuf(encode_traces(&[trace])),
        Format::Json => json(trace, permit, |json, groups| {
            json.key("batches");
            trace_json::write_groups(json, groups);
        }),
    };
    Ok(answer.with_partial(found.partial).holding(found.held))
}

/// `GET /api/v2/traces/{id}`: an unknown trace is an empty one.
pub(crate) async fn v2(api: &Api, call: &Call) -> ApiResult<Answer> {
    let filter = call.params.get("q").map(str::to_owned);
    let around = around(&call.params)?;
    let (mut found, permit) = find(api, call, filter, around).await?;
    let trace = found.trace.take().unwrap_or_default();
    let held = std::mem::take(&mut found.held);
    let partial = found.partial.clone();
    let answer = match Format::of(&call.headers) {
        Format::Protobuf => Answer::protobuf(protobuf_v2(&trace, &found)),
        Format::Json => json(trace, permit, move |json, groups| {
            json.key("trace").object(|json| {
                if !groups.resources.is_empty() {
                    json.key("resourceSpans");
                    trace_json::write_groups(json, groups);
                }
            });
            // Tempo's `TraceByIDMetrics`, which has none of the jobs and blocks of a search.
            json.key("metrics").object(|json| {
                json.long_unless_zero("inspectedBytes", found.stats.inspected_bytes);
            });
            if !found.partial.is_empty() {
                json.key("status").string("PARTIAL");
                json.key("message").string(&found.partial.join("; "));
            }
        }),
    };
    Ok(answer.with_partial(partial).holding(held))
}

/// Which spans come back with those that match `q`. Depths are levels, -1 for all.
fn around(params: &Params) -> ApiResult<Around> {
    let keeps_hierarchy = match params.get("keep_hierarchy") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            return Err(ApiError::BadRequest(format!(
                "invalid keep_hierarchy: {other:?} is neither true nor false"
            )));
        }
    };
    let ancestors = depth(params, "ancestor_depth", u32::MAX)?;
    Ok(Around {
        ancestors: if keeps_hierarchy { ancestors } else { 0 },
        descendants: depth(params, "match_depth", 0)?,
    })
}

fn depth(params: &Params, name: &str, otherwise: u32) -> ApiResult<u32> {
    match params.number(name)? {
        None => Ok(otherwise),
        Some(-1) => Ok(u32::MAX),
        Some(levels) => u32::try_from(levels).map_err(|_| {
            ApiError::BadRequest(format!(
                "invalid {name}: {levels} is no number of levels (-1 is all of them)"
            ))
        }),
    }
}

async fn find(
    api: &Api,
    call: &Call,
    filter: Option<String>,
    around: Around,
) -> ApiResult<(TraceResponse, Permit)> {
    let trace_id = TraceId::from_hex(&call.path_param)
        .map_err(|error| ApiError::BadRequest(format!("invalid trace id: {error}")))?;
    let window = time::trace_window(&call.params)?;
    let ask = |caller| {
        api.queries.trace_by_id(TraceRequest {
            caller,
            trace_id,
            window,
            filter: filter.clone(),
            around,
        })
    };
    let (mut found, permit) = api.ask(call, ask, TraceResponse::add).await?;
    if let Some(trace) = &mut found.trace {
        if !call.is_raw() {
            shared_spans::separate(trace);
        }
        trace
            .spans
            .sort_by_key(|span| (span.start_unix_nano, span.span_id));
    }
    api.observe_query(call, &found.stats);
    Ok((found, permit))
}

/// One object around the groups of a trace.
fn json(
    trace: Trace,
    permit: Permit,
    write: impl FnOnce(&mut Json<Channel>, &Groups<'_>) + Send + 'static,
) -> Answer {
    let is_small = trace.spans.len() <= INLINE_SPANS_MAX;
    let write = move |json: &mut Json<Channel>| {
        let groups = Groups::of(&trace.spans);
        json.object(|json| write(json, &groups));
    };
    if is_small {
        Answer::json(write)
    } else {
        Answer::large_json(permit, Box::new(write))
    }
}

/// `TraceByIDResponse{trace 1, metrics 2 {inspectedBytes 1}, status 3, message 4}`.
fn protobuf_v2(trace: &Trace, found: &TraceResponse) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(1, &encode_traces(std::slice::from_ref(trace)));
    out.message(2, |out| {
        out.varint_unless_zero(1, found.stats.inspected_bytes);
    });
    if !found.partial.is_empty() {
        out.varint(3, 1);
        out.bytes(4, found.partial.join("; ").as_bytes());
    }
    out.into_bytes()
}
