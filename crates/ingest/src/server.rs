//! The ingest listeners together: configuration, state that they share, running and stopping.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio_util::sync::CancellationToken;
use tracewell_model::Limits;
use tracewell_model::sink::SpanSink;

use crate::accept::{self, ConnectionLimits, ConnectionMetrics};
use crate::admission::Admission;
use crate::body::BodyLimits;
use crate::intake::Intake;
use crate::listen::Listener;
use crate::refusal::Refusal;
use crate::tenancy::Tenancy;
use crate::tenants::{Tenant, Tenants};
use crate::{grpc, http as otlp_http};

/// How ingest behaves.
#[derive(Debug, Clone)]
pub struct IngestConfig {
    pub limits: Limits,
    pub connections: ConnectionLimits,
    pub tenancy: Tenancy,
    /// How long a request waits for room in the byte budget before it is answered with 429.
    pub admission_wait: Duration,
    /// Between two pieces of a body.
    pub body_pause_max: Duration,
    /// From the first to the last piece of a body.
    pub body_total_max: Duration,
}

/// The open ports; either list may be empty.
#[derive(Debug, Default)]
pub struct Listeners {
    pub grpc: Vec<Listener>,
    pub http: Vec<Listener>,
}

/// The OTLP receivers, ready to run.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listeners: Listeners,
    connections: ConnectionLimits,
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) intake: Intake,
    tenancy: Tenancy,
    tenants: Arc<Tenants>,
    body_pause_max: Duration,
    body_total_max: Duration,
    grpc: Option<SocketAddr>,
    http: Option<SocketAddr>,
}

// === impl IngestConfig ===

impl IngestConfig {
    pub fn new(limits: Limits) -> Self {
        Self {
            connections: ConnectionLimits::new(limits.connections_max),
            limits,
            tenancy: Tenancy::Single,
            admission_wait: Duration::from_millis(250),
            body_pause_max: Duration::from_secs(10),
            body_total_max: Duration::from_secs(30),
        }
    }
}

// === impl Server ===

impl Server {
    pub fn new(
        config: IngestConfig,
        listeners: Listeners,
        sink: Arc<dyn SpanSink>,
        tenants: Arc<Tenants>,
    ) -> Self {
        let admission = Admission::new(config.limits.in_flight_bytes(), config.admission_wait);
        let intake = Intake::new(
            sink,
            config.limits,
            Arc::clone(tenants.metrics()),
            admission,
        );
        let shared = Shared {
            intake,
            tenancy: config.tenancy,
            tenants,
            body_pause_max: config.body_pause_max,
            body_total_max: config.body_total_max,
            grpc: first_address(&listeners.grpc),
            http: first_address(&listeners.http),
        };
        Self {
            shared: Arc::new(shared),
            listeners,
            connections: config.connections,
        }
    }

    /// The byte budget of requests in flight, for other receivers and the status page.
    pub fn admission(&self) -> Admission {
        self.shared.intake.admission.clone()
    }

    /// Serves until the token is cancelled; then refuses new connections, ends the requests in
    /// flight and returns. An error means that a listener could not be used at all.
    pub async fn run(self, cancel: CancellationToken) -> io::Result<()> {
        let metrics = &self.shared.intake.metrics;
        let mut running = Vec::new();
        for listener in self.listeners.grpc {
            running.push(self.shared.clone().serve(
                listener,
                Port::Grpc,
                self.connections.clone(),
                Arc::clone(&metrics.grpc_connections),
                cancel.clone(),
            ));
        }
        for listener in self.listeners.http {
            running.push(self.shared.clone().serve(
                listener,
                Port::Http,
                self.connections.clone(),
                Arc::clone(&metrics.http_connections),
                cancel.clone(),
            ));
        }
        futures::future::try_join_all(running).await.map(drop)
    }
}

fn first_address(listeners: &[Listener]) -> Option<SocketAddr> {
    listeners.first()?.socket.local_addr().ok()
}

#[derive(Debug, Clone, Copy)]
enum Port {
    Grpc,
    Http,
}

// === impl Shared ===

impl Shared {
    async fn serve(
        self: Arc<Self>,
        listener: Listener,
        port: Port,
        limits: ConnectionLimits,
        metrics: Arc<ConnectionMetrics>,
        cancel: CancellationToken,
    ) -> io::Result<()> {
        listener.socket.set_nonblocking(true)?;
        let socket = tokio::net::TcpListener::from_std(listener.socket)?;
        let counters = Arc::clone(&metrics);
        let service = service_fn(move |request: Request<Incoming>| {
            let shared = Arc::clone(&self);
            let counters = Arc::clone(&counters);
            async move {
                let (answered, instead) = match port {
                    Port::Grpc => (
                        accept::catch_panic(grpc::handle(shared, request), &counters).await,
                        grpc::internal_error as fn() -> _,
                    ),
                    Port::Http => (
                        accept::catch_panic(otlp_http::handle(shared, request), &counters).await,
                        otlp_http::internal_error as fn() -> _,
                    ),
                };
                Ok(answered.unwrap_or_else(instead))
            }
        });
        accept::serve(socket, service, limits, listener.tls, metrics, cancel).await;
        Ok(())
    }

    pub(crate) fn tenant(&self, headers: &HeaderMap) -> Result<Arc<Tenant>, Refusal> {
        Ok(self.tenants.admit(self.tenancy, headers)?)
    }

    /// `extra` is what a protocol puts around a body.
    pub(crate) fn body_limits(&self, extra: u64) -> BodyLimits {
        BodyLimits {
            bytes_max: self.intake.limits().request_bytes_max.saturating_add(extra),
            pause_max: self.body_pause_max,
            total_max: self.body_total_max,
        }
    }

    pub(crate) fn grpc_is_at(&self) -> String {
        self.grpc.map_or_else(String::new, |address| {
            format!(" OTLP/gRPC is on port {}.", address.port())
        })
    }

    pub(crate) fn http_is_at(&self) -> String {
        self.http.map_or_else(String::new, |address| {
            format!(
                " OTLP/HTTP (protobuf or JSON, POST /v1/traces) is on port {}.",
                address.port()
            )
        })
    }
}
