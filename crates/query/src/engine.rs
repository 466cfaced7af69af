//! The engine: from a question and a snapshot to an answer.
//!
//! A search gathers candidates from every source, newest first, and settles them on whole traces
//! (`search`); series count the spans of all that match (`series`); everything that reads whole traces goes
//! through `gather`, which asks all sources that may hold a fragment. A source that fails costs what it holds and
//! no more: the answer says that it is partial. Nothing here starts a task; a call does its work while it is polled.

mod around;
mod attributes;
mod beside;
mod candidates;
mod explain;
mod gather;
mod lookup;
mod readings;
mod run;
mod search;
mod series;
mod summary;
mod tags;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tracewell_model::clock::TimeRange;
use tracewell_model::source::{QueryMemory, Snapshots};
use tracewell_model::{Clock, Limits};

use crate::error::Result;
use crate::plan::{Plan, PlanLimits};
use crate::request::{
    Aliases, Caller, Explanation, SearchRequest, SearchResponse, SeriesRequest, SeriesResponse,
    TagNamesRequest, TagNamesResponse, TagValuesRequest, TagValuesResponse, TraceRequest,
    TraceResponse,
};
use crate::syntax::{SyntaxLimits, parse_with};
use run::Run;

/// Answers questions over whatever the snapshots hold at the time.
#[derive(Debug)]
pub struct Engine {
    snapshots: Arc<dyn Snapshots>,
    limits: Limits,
    memory: Arc<QueryMemory>,
    clock: Arc<dyn Clock>,
}

impl Engine {
    pub fn new(snapshots: Arc<dyn Snapshots>, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self {
            snapshots,
            memory: QueryMemory::new(limits.query_memory_bytes_max),
            limits,
            clock,
        }
    }

    /// Parses and resolves a query, as a search would.
    pub fn plan(&self, text: &str, aliases: Aliases) -> Result<Plan> {
        let query = parse_with(text, SyntaxLimits::from(&self.limits))?;
        Plan::new(text, &query, aliases, PlanLimits::from(&self.limits))
    }

    /// What a search or series over this window would do, without doing it.
    pub fn explain(&self, text: &str, caller: &Caller, window: TimeRange) -> Result<Explanation> {
        explain::explain(self, text, caller, window)
    }

    /// The newest traces that match, the same for every way in which they are stored.
    pub async fn search(&self, request: SearchRequest) -> Result<SearchResponse> {
        search::search(self, request).await
    }

    /// Time series of the spans that match.
    pub async fn series(&self, request: SeriesRequest) -> Result<SeriesResponse> {
        series::series(self, request).await
    }

    /// One trace from all of its fragments.
    pub async fn trace_by_id(&self, request: TraceRequest) -> Result<TraceResponse> {
        lookup::trace_by_id(self, request).await
    }

    /// The names of attributes that occur, and of intrinsics.
    pub async fn tag_names(&self, request: TagNamesRequest) -> Result<TagNamesResponse> {
        tags::tag_names(self, request).await
    }

    /// The values that an attribute or intrinsic has.
    pub async fn tag_values(&self, request: TagValuesRequest) -> Result<TagValuesResponse> {
        tags::tag_values(self, request).await
    }

    /// What the queries that run share.
    pub fn memory(&self) -> &Arc<QueryMemory> {
        &self.memory
    }

    fn run(&self, caller: &Caller) -> Run {
        Run::new(
            self.snapshots.pin(),
            caller,
            &self.limits,
            Arc::clone(&self.memory),
            Arc::clone(&self.clock),
        )
    }
}
