//! Tempo's HTTP API: trace by id, search, tags. It translates between requests and the engine's
//! questions; it decides nothing about data.

pub(crate) mod search;
mod shared_spans;
pub(crate) mod tags;
pub(crate) mod trace;
mod trace_json;

use tracewell_query::QueryStats;

use crate::json::{Json, Pieces};

/// `metrics` of tags and traces.
fn write_metrics<P: Pieces>(json: &mut Json<P>, stats: &QueryStats) {
    json.key("metrics").object(|json| {
        json.long_unless_zero("inspectedBytes", stats.inspected_bytes);
        json.number_unless_zero("totalJobs", small(stats.n_sources));
        json.number_unless_zero("completedJobs", small(stats.n_sources_done));
        json.number_unless_zero("totalBlocks", small(stats.n_sources));
        json.long_unless_zero("totalBlockBytes", stats.source_bytes);
    });
}

/// A count for one of Tempo's 32-bit fields.
fn small(n: impl TryInto<u32>) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}
