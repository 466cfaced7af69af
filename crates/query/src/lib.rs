//! Questions over traces: TraceQL, and the engine that answers it from any number of sources.
//!
//! It knows no files and no sockets: sources come through [`tracewell_model::source`]. A text
//! becomes a tree in [`syntax`], the tree a [`plan`] of filters, and [`engine`] gathers candidates
//! from all sources and settles them on whole traces, with the evaluator of [`row`].

pub mod engine;
pub mod error;
#[cfg(test)]
mod fixtures;
pub mod limit;
pub mod partial;
pub mod plan;
pub mod request;
pub mod row;
mod several;
pub mod syntax;

pub use engine::Engine;
pub use error::{Error, ErrorKind, Result};
pub use limit::{LimitsHit, QueryLimit};
pub use request::{
    Aliases, Around, Caller, QueryStats, SearchQuery, SearchRequest, SearchResponse,
    TagNamesRequest, TagNamesResponse, TagScope, TagSearch, TagValuesRequest, TagValuesResponse,
    TraceRequest, TraceResponse,
};
pub use syntax::{SyntaxError, parse};
