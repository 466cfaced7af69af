//! Names and values of tags, versions 1 and 2.

use std::collections::BTreeSet;

use tracewell_model::AttributeScope;
use tracewell_query::request::{ScopeTags, TagName, TagScope};
use tracewell_query::{
    QueryStats, TagNamesRequest, TagNamesResponse, TagValuesRequest, TagValuesResponse,
};

use super::{bounded, small};
use crate::answer::{Answer, Channel};
use crate::api::{Api, Call};
use crate::error::{ApiError, ApiResult};
use crate::gate::Permit;
use crate::json::Json;
use crate::time;

/// Names per scope, and values, where the request sets no limit.
const NAMES_MAX: usize = 10_000;
const VALUES_MAX: usize = 10_000;
/// Tempo's `max_bytes_per_tag_values_query`.
const TAG_BYTES_MAX: usize = 1_000_000;

/// Which version of the API asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// `GET /api/search/tags` and `/api/v2/search/tags`.
pub(crate) async fn names(api: &Api, call: &Call, version: Version) -> ApiResult<Answer> {
    let (found, _permit) = ask_names(api, call, version).await?;
    let answer = match version {
        Version::V1 => names_v1(&found),
        Version::V2 => names_v2(&found),
    };
    Ok(answer.with_partial(partial_of(found.partial, found.truncated)))
}

pub(super) async fn ask_names(
    api: &Api,
    call: &Call,
    version: Version,
) -> ApiResult<(TagNamesResponse, Permit)> {
    let request_scopes = scopes_of(call.params.get("scope"), version)?;
    let window = time::search_window(&call.params, api.now(), api.default_window_nano)?;
    let limit = limit_of(call, NAMES_MAX)?;
    let ask = |caller| {
        api.queries.tag_names(TagNamesRequest {
            caller,
            scopes: request_scopes.clone(),
            window,
            filter: call.params.get("q").map(str::to_owned),
            limit,
            bytes_max: TAG_BYTES_MAX,
        })
    };
    let add = |found: &mut TagNamesResponse, more| found.add(more, limit);
    let (found, permit) = api.ask(call, ask, add).await?;
    api.observe_query(call, &found.stats);
    Ok((found, permit))
}

/// `GET /api/search/tag/{name}/values` and `/api/v2/search/tag/{name}/values`.
pub(crate) async fn values(api: &Api, call: &Call, version: Version) -> ApiResult<Answer> {
    let (found, _permit) = ask_values(api, call, version).await?;
    let answer = match version {
        Version::V1 => values_v1(&found),
        Version::V2 => values_v2(&found),
    };
    let partial = partial_of(found.partial, found.truncated);
    Ok(answer.with_partial(partial).holding(found.held))
}

pub(super) async fn ask_values(
    api: &Api,
    call: &Call,
    version: Version,
) -> ApiResult<(TagValuesResponse, Permit)> {
    let tag = call
        .path_param
        .strip_suffix("/values")
        .filter(|tag| !tag.is_empty())
        .ok_or_else(|| {
            ApiError::NotFound(String::from("expected /api/search/tag/<name>/values"))
        })?;
    let name = match version {
        Version::V1 => TagName::Bare(tag.to_owned()),
        Version::V2 => TagName::TraceQl(tag.to_owned()),
    };
    let window = time::search_window(&call.params, api.now(), api.default_window_nano)?;
    let limit = limit_of(call, VALUES_MAX)?;
    let ask = |caller| {
        api.queries.tag_values(TagValuesRequest {
            caller,
            name: name.clone(),
            window,
            filter: call.params.get("q").map(str::to_owned),
            limit,
            bytes_max: TAG_BYTES_MAX,
        })
    };
    let add = |found: &mut TagValuesResponse, more| found.add(more, limit);
    let (found, permit) = api.ask(call, ask, add).await?;
    api.observe_query(call, &found.stats);
    Ok((found, permit))
}

fn scopes_of(scope: Option<&str>, version: Version) -> ApiResult<Vec<TagScope>> {
    let all = TagScope::ALL;
    let is_attribute = |scope: &TagScope| matches!(scope, TagScope::Attribute(_));
    match scope {
        // Version 1 has no place for intrinsics unless they are asked for.
        None | Some("none") => Ok(match version {
            Version::V1 => all.into_iter().filter(is_attribute).collect(),
            Version::V2 => all.to_vec(),
        }),
        Some(name) => all
            .into_iter()
            .find(|scope| scope.name() == name)
            .map(|scope| vec![scope])
            .ok_or_else(|| {
                ApiError::BadRequest(format!(
                    "invalid scope: {name}: expected one of {}",
                    scope_names().join(", ")
                ))
            }),
    }
}

fn scope_names() -> Vec<&'static str> {
    let mut names: Vec<_> = TagScope::ALL.iter().map(|scope| scope.name()).collect();
    names.push("none");
    names
}

fn limit_of(call: &Call, default: usize) -> ApiResult<usize> {
    Ok(match bounded(&call.params, "limit", 0, 0, i64::MAX)? {
        0 => default,
        limit => limit.min(default),
    })
}

pub(super) fn partial_of(mut partial: Vec<String>, truncated: bool) -> Vec<String> {
    if truncated {
        partial.push(format!(
            "the answer was cut at its limit: {NAMES_MAX} names of each scope, {VALUES_MAX} values, \
             {TAG_BYTES_MAX} bytes, or the limit asked for; a scope, a time range or q narrows it"
        ));
    }
    partial
}

/// Tempo's `MetadataMetrics`.
fn write_metrics(json: &mut Json<Channel>, stats: &QueryStats) {
    json.key("metrics").object(|json| {
        json.long_unless_zero("inspectedBytes", stats.inspected_bytes);
        json.number_unless_zero("totalJobs", small(stats.n_sources));
        json.number_unless_zero("completedJobs", small(stats.n_sources_done));
        json.number_unless_zero("totalBlocks", small(stats.n_sources));
        json.long_unless_zero("totalBlockBytes", stats.source_bytes);
    });
}

fn names_v1(found: &TagNamesResponse) -> Answer {
    let names: BTreeSet<&String> = found.scopes.iter().flat_map(|scope| &scope.names).collect();
    Answer::json(|json| {
        json.object(|json| {
            json.key("tagNames")
                .array(names, |json, name| json.string(name));
            write_metrics(json, &found.stats);
        });
    })
}

/// The scopes of version 2. One without names says nothing; span and resource are there for clients that expect
/// them.
pub(super) fn shown(found: &TagNamesResponse) -> impl Iterator<Item = &ScopeTags> {
    let always = [
        TagScope::Attribute(AttributeScope::Span),
        TagScope::Attribute(AttributeScope::Resource),
    ];
    let scopes = found.scopes.iter();
    scopes.filter(move |scope| !scope.names.is_empty() || always.contains(&scope.scope))
}

fn names_v2(found: &TagNamesResponse) -> Answer {
    Answer::json(|json| {
        json.object(|json| {
            json.key("scopes").array(shown(found), |json, scope| {
                json.object(|json| {
                    json.key("name").string(scope.scope.name());
                    json.key("tags")
                        .array(&scope.names, |json, name| json.string(name));
                });
            });
            write_metrics(json, &found.stats);
        });
    })
}

fn values_v1(found: &TagValuesResponse) -> Answer {
    let values: BTreeSet<&String> = found.values.iter().map(|value| &value.value).collect();
    Answer::json(|json| {
        json.object(|json| {
            json.key("tagValues")
                .array(values, |json, value| json.string(value));
            write_metrics(json, &found.stats);
        });
    })
}

fn values_v2(found: &TagValuesResponse) -> Answer {
    Answer::json(|json| {
        json.object(|json| {
            json.key("tagValues").array(&found.values, |json, value| {
                json.object(|json| {
                    json.key("type").string(value.value_type.name());
                    json.key("value").string(&value.value);
                });
            });
            write_metrics(json, &found.stats);
        });
    })
}
