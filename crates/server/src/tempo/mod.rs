//! Tempo's HTTP API: trace by id, search, series, tags. It translates between requests and the engine's
//! questions; it decides nothing about data.

pub(crate) mod search;
pub(crate) mod series;
mod shared_spans;
pub(crate) mod tags;
pub(crate) mod trace;
mod trace_json;

/// A count for one of Tempo's 32-bit fields.
fn small(n: impl TryInto<u32>) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}
