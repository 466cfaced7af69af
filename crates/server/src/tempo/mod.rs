//! Tempo's HTTP API: trace by id, search, series, tags. It translates between requests and the engine's
//! questions; it decides nothing about data.

mod messages;
pub(crate) mod search;
pub(crate) mod series;
mod shared_spans;
pub(crate) mod stream;
pub(crate) mod tags;
pub(crate) mod trace;
mod trace_json;

use crate::error::{ApiError, ApiResult};
use crate::params::Params;

/// A count for one of Tempo's 32-bit fields.
fn small(n: impl TryInto<u32>) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}

/// A whole number from `min` to `max`, `default` where there is none.
fn bounded(params: &Params, key: &str, default: i64, min: i64, max: i64) -> ApiResult<usize> {
    let value = params.number(key)?.unwrap_or(default);
    let bad = |message: String| Err(ApiError::BadRequest(message));
    if value < min {
        let what = if min > 0 { "positive" } else { "non-negative" };
        return bad(format!("invalid {key}: must be a {what} number"));
    }
    if value > max {
        return bad(match key {
            "spss" => format!("spans per span set exceeds {max}. received {value}"),
            _ => format!("{key} {value} exceeds max {key} {max}"),
        });
    }
    Ok(usize::try_from(value).unwrap_or(usize::MAX))
}
