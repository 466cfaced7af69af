//! Query surfaces: the HTTP API of Tempo, and the operational endpoints beside it.
//!
//! Surfaces translate and hold no logic: a request becomes a question to the engine
//! ([`queries::Queries`]), its answer becomes JSON or protobuf. The store is not known here; what
//! belongs to the process around it is asked through [`host::Host`]. Read-time views live here and
//! can be switched off (`raw=true`). Limits: queries at a time, their time, the size of a query
//! string; large answers are streamed. Start reading at [`server`], then `routes` and `api`.

mod answer;
mod api;
pub mod error;
mod explain;
mod gate;
mod grpc;
pub mod host;
mod json;
mod measure;
pub mod metrics;
mod params;
mod parse;
pub mod queries;
mod routes;
pub mod server;
mod status;
mod tempo;
mod time;

pub use error::ApiError;
pub use host::{
    BuildInfo, ConfigMode, Fact, FactValue, Host, OverridesFile, Readiness, Section, ServiceState,
};
pub use metrics::{Metric, Samples};
pub use queries::{EngineThreads, Queries};
pub use server::{Backend, Server, ServerConfig};
