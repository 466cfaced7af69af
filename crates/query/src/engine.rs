//! The engine: from a question and a snapshot to an answer.

use std::sync::Arc;

use tracewell_model::source::Snapshots;
use tracewell_model::{Clock, Limits};

use crate::error::{Error, Result};
use crate::request::{
    SearchRequest, SearchResponse, TagNamesRequest, TagNamesResponse, TagValuesRequest,
    TagValuesResponse, TraceRequest, TraceResponse,
};

/// Answers questions over whatever the snapshots hold at the time.
#[derive(Debug)]
#[expect(dead_code, reason = "the calls that read them follow with the planner")]
pub struct Engine {
    snapshots: Arc<dyn Snapshots>,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

impl Engine {
    pub fn new(snapshots: Arc<dyn Snapshots>, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self {
            snapshots,
            limits,
            clock,
        }
    }

    /// The newest traces that match, the same for every way in which they are stored.
    pub async fn search(&self, _request: SearchRequest) -> Result<SearchResponse> {
        Err(Error::Request("search is not built yet".to_owned()))
    }

    /// One trace from all of its fragments.
    pub async fn trace_by_id(&self, _request: TraceRequest) -> Result<TraceResponse> {
        Err(Error::Request("trace by id is not built yet".to_owned()))
    }

    pub async fn tag_names(&self, _request: TagNamesRequest) -> Result<TagNamesResponse> {
        Err(Error::Request("tag names are not built yet".to_owned()))
    }

    pub async fn tag_values(&self, _request: TagValuesRequest) -> Result<TagValuesResponse> {
        Err(Error::Request("tag values are not built yet".to_owned()))
    }
}
