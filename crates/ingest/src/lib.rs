//! Receivers: OTLP over gRPC and HTTP, from the socket to the [`SpanSink`].
//!
//! A request is counted against a byte budget while it arrives, decompressed and decoded (capped),
//! and acknowledged when the sink has made it durable. Bad spans are refused alone; why a whole
//! request is refused, and what each protocol says then, is in [`refusal`]. Nothing is stored here,
//! and no file is known. Connections ([`accept`]) and ports ([`listen`]) know nothing of OTLP and
//! serve the query APIs too. Start reading at [`server`], then `intake`.
//!
//! [`SpanSink`]: tracewell_model::sink::SpanSink

pub mod accept;
pub mod admission;
mod body;
pub mod compression;
mod grpc;
mod http;
mod intake;
pub mod listen;
mod live;
pub mod metrics;
mod rate;
pub mod refusal;
mod reply;
pub mod server;
pub mod tenancy;
pub mod tenants;
pub mod tls;
pub mod tokens;
mod traffic;

pub use admission::Admission;
pub use http::is_grpc;
pub use listen::Listener;
pub use metrics::IngestMetrics;
pub use refusal::Refusal;
pub use server::{IngestConfig, Listeners, Server};
pub use tenancy::{TENANT_HEADER, Tenancy, TenantError};
pub use tenants::{Tenant, TenantLimits, Tenants};
