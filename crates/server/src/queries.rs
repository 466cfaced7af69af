//! The questions that surfaces ask, as a seam: the engine answers them, and tests do.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracewell_model::TimeRange;
use tracewell_model::source::QueryMemory;
use tracewell_query::{
    Caller, Engine, Error, Explanation, Result, SearchRequest, SearchResponse, SeriesRequest,
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

/// An engine on threads of its own. However long one of its steps takes, whoever asks goes on: connections are
/// served, and a question ends at its deadline or when its client leaves.
#[derive(Debug, Clone)]
pub struct EngineThreads {
    engine: Arc<Engine>,
    threads: Handle,
}

/// Ends a task that nobody waits for any more, at its next pause.
struct Task<T>(JoinHandle<T>);

// === impl EngineThreads ===

impl EngineThreads {
    pub fn new(engine: Engine, threads: Handle) -> Self {
        Self {
            engine: Arc::new(engine),
            threads,
        }
    }

    fn ask<T, F>(&self, ask: impl FnOnce(Arc<Engine>) -> F) -> BoxFuture<'static, Result<T>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let mut task = Task(self.threads.spawn(ask(Arc::clone(&self.engine))));
        async move {
            match (&mut task.0).await {
                Ok(answer) => answer,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The server stops.
                    Err(_) => Err(Error::Cancelled),
                },
            }
        }
        .boxed()
    }
}

impl Queries for EngineThreads {
    fn explain(&self, text: &str, caller: &Caller, window: TimeRange) -> Result<Explanation> {
        self.engine.explain(text, caller, window)
    }

    fn search(&self, request: SearchRequest) -> BoxFuture<'_, Result<SearchResponse>> {
        self.ask(|engine| async move { engine.search(request).await })
    }

    fn series(&self, request: SeriesRequest) -> BoxFuture<'_, Result<SeriesResponse>> {
        self.ask(|engine| async move { engine.series(request).await })
    }

    fn trace_by_id(&self, request: TraceRequest) -> BoxFuture<'_, Result<TraceResponse>> {
        self.ask(|engine| async move { engine.trace_by_id(request).await })
    }

    fn tag_names(&self, request: TagNamesRequest) -> BoxFuture<'_, Result<TagNamesResponse>> {
        self.ask(|engine| async move { engine.tag_names(request).await })
    }

    fn tag_values(&self, request: TagValuesRequest) -> BoxFuture<'_, Result<TagValuesResponse>> {
        self.ask(|engine| async move { engine.tag_values(request).await })
    }

    fn memory(&self) -> &Arc<QueryMemory> {
        self.engine.memory()
    }
}

// === impl Task ===

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
