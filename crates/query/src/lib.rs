//! Questions over traces: TraceQL, and the engine that answers it from any number of sources.
//!
//! It knows no files and no sockets: sources come through [`tracewell_model::source`]. A text
//! becomes a tree in [`syntax`], the tree a [`plan`] of filters and stages, and [`engine`] gathers candidates
//! from all sources and settles them on whole traces: [`row`] says which spans match a pair of braces,
//! [`pipeline`] what the query makes of them.

pub mod engine;
pub mod error;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod golden;
pub mod leaves;
mod limit;
mod open;
pub mod outline;
pub mod partial;
pub mod pipeline;
pub mod plan;
pub mod request;
pub mod row;
pub mod scalar;
pub mod series;
mod several;
pub mod syntax;
pub mod tree;
mod watch;

pub use engine::Engine;
pub use error::{Error, ErrorKind, Result};
pub use limit::{LimitsHit, QueryLimit};
pub use request::{
    Aliases, Around, Caller, Explanation, QueryStats, SearchQuery, SearchRequest, SearchResponse,
    SeriesRequest, SeriesResponse, TagNamesRequest, TagNamesResponse, TagScope, TagSearch,
    TagValuesRequest, TagValuesResponse, TraceRequest, TraceResponse,
};
pub use syntax::{SyntaxError, parse};
