//! The questions that surfaces ask, as a seam: the engine answers them, and tests do.

use std::sync::Arc;

use futures::future::BoxFuture;
use tracewell_model::TimeRange;
use tracewell_model::source::QueryMemory;
use tracewell_query::{
    Caller, Engine, Explanation, Result, SearchRequest, SearchResponse, SeriesRequest,
    SeriesResponse, TagNamesRequest, TagNamesResponse, TagValuesRequest, TagValuesResponse,
    TraceRequest, TraceResponse,
};

/// Answers questions over everything that is kept.
pub trait Queries: Send + Sync + std::fmt::Debug {
    fn explain(&self, text: &str, caller: &Caller, window: TimeRange) -> Result<Explanation>;
    fn search(&self, request: SearchRequest) -> BoxFuture<'_, Result<SearchResponse>>;
    fn series(&self, request: SeriesRequest) -> BoxFuture<'_, Result<SeriesResponse>>;
    fn trace_by_id(&self, request: TraceRequest) -> BoxFuture<'_, Result<TraceResponse>>;
    fn tag_names(&self, request: TagNamesRequest) -> BoxFuture<'_, Result<TagNamesResponse>>;
    fn tag_values(&self, request: TagValuesRequest) -> BoxFuture<'_, Result<TagValuesResponse>>;
    /// What answers hold until they are sent counts here.
    fn memory(&self) -> &Arc<QueryMemory>;
}

impl Queries for Engine {
    fn explain(&self, text: &str, caller: &Caller, window: TimeRange) -> Result<Explanation> {
        Engine::explain(self, text, caller, window)
    }

    fn search(&self, request: SearchRequest) -> BoxFuture<'_, Result<SearchResponse>> {
        Box::pin(Engine::search(self, request))
    }

    fn series(&self, request: SeriesRequest) -> BoxFuture<'_, Result<SeriesResponse>> {
        Box::pin(Engine::series(self, request))
    }

    fn trace_by_id(&self, request: TraceRequest) -> BoxFuture<'_, Result<TraceResponse>> {
        Box::pin(Engine::trace_by_id(self, request))
    }

    fn tag_names(&self, request: TagNamesRequest) -> BoxFuture<'_, Result<TagNamesResponse>> {
        Box::pin(Engine::tag_names(self, request))
    }

    fn tag_values(&self, request: TagValuesRequest) -> BoxFuture<'_, Result<TagValuesResponse>> {
        Box::pin(Engine::tag_values(self, request))
    }
    fn memory(&self) -> &Arc<QueryMemory> {
        Engine::memory(self)
    }
}
