//! The query server: configuration, running, stopping.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracewell_ingest::Listener;
use tracewell_ingest::accept::{self, ConnectionLimits, ConnectionMetrics};
use tracewell_ingest::{Admission, IngestMetrics, Tenancy, Tenants};
use tracewell_model::{Clock, Limits};
use tracewell_query::Aliases;

use crate::answer;
use crate::api::{Api, Parts};
use crate::error::ApiError;
use crate::gate::Gate;
use crate::host::Host;
use crate::queries::Queries;
use crate::routes::{self, Route};

/// How the query server behaves.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    pub limits: Limits,
    pub connections: ConnectionLimits,
    pub tenancy: Tenancy,
    /// In front of `/api`; empty, or begins with `/` and does not end with one.
    pub prefix: String,
    /// The window of a search that names none: Tempo's is 15 minutes.
    pub default_window: Duration,
    /// Whether old and new attribute names are one attribute to a query.
    pub aliases: Aliases,
}

/// What the server answers from.
#[derive(Debug, Clone)]
pub struct Backend {
    pub queries: Arc<dyn Queries>,
    pub host: Arc<dyn Host>,
    pub clock: Arc<dyn Clock>,
    /// Who asks, and within which limits.
    pub tenants: Arc<Tenants>,
    /// The receivers' counters and byte budget, for `/metrics`.
    pub ingest: Option<(Arc<IngestMetrics>, Admission)>,
}

/// The query server, ready to run.
#[derive(Debug)]
pub struct Server {
    api: Arc<Api>,
    listeners: Vec<Listener>,
    grpc_listeners: Vec<Listener>,
    connections: ConnectionLimits,
}

/// The prefix is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("prefix {0:?} must begin with /, not end with it, and hold no braces")]
pub struct PrefixError(String);

// === impl ServerConfig ===

impl ServerConfig {
    pub fn new(limits: Limits) -> Self {
        Self {
            connections: ConnectionLimits::new(limits.connections_max),
            limits,
            tenancy: Tenancy::Single,
            prefix: String::new(),
            default_window: Duration::from_secs(15 * 60),
            aliases: Aliases::Resolve,
        }
    }
}

// === impl Server ===

impl Server {
    pub fn new(
        config: ServerConfig,
        listeners: Vec<Listener>,
        backend: Backend,
    ) -> Result<Self, PrefixError> {
        let prefix = config.prefix;
        let is_path = prefix.is_empty() || (prefix.starts_with('/') && !prefix.ends_with('/'));
        if !is_path || prefix.contains(['{', '}', '*', '?', '#']) {
            return Err(PrefixError(prefix));
        }
        let api = Api::new(Parts {
            queries: backend.queries,
            host: backend.host,
            gate: Gate::new(&config.limits, config.connections.answer_timeout),
            clock: backend.clock,
            tenancy: config.tenancy,
            tenants: backend.tenants,
            default_window: config.default_window,
            aliases: config.aliases,
            prefix,
            ingest: backend.ingest,
            limits: config.limits,
        });
        Ok(Self {
            api: Arc::new(api),
            listeners,
            grpc_listeners: Vec::new(),
            connections: config.connections,
        })
    }

    /// Answers the methods of gRPC here too, and nothing else.
    #[must_use]
    pub fn with_grpc(mut self, listeners: Vec<Listener>) -> Self {
        self.grpc_listeners = listeners;
        self
    }

    /// Serves until the token is cancelled; then refuses new connections, ends the requests in
    /// flight and returns. An error means that a listener could not be used at all.
    pub async fn run(self, cancel: CancellationToken) -> io::Result<()> {
        let all = routes::router(Arc::clone(&self.api), Route::ALL.iter().copied());
        let streamed = Route::ALL.iter().copied().filter(|it| it.is_streamed());
        let streamed = routes::router(Arc::clone(&self.api), streamed);
        let listeners = self.listeners.into_iter().map(|it| (it, all.clone()));
        let for_grpc = self.grpc_listeners.into_iter();
        let listeners = listeners.chain(for_grpc.map(|it| (it, streamed.clone())));
        let running = listeners.map(|(listener, router)| {
            serve(
                listener,
                router,
                self.connections.clone(),
                Arc::clone(&self.api.connections),
                cancel.clone(),
            )
        });
        futures::future::try_join_all(running).await.map(drop)
    }
}

async fn serve(
    listener: Listener,
    router: Router,
    limits: ConnectionLimits,
    metrics: Arc<ConnectionMetrics>,
    cancel: CancellationToken,
) -> io::Result<()> {
    listener.socket.set_nonblocking(true)?;
    let socket = tokio::net::TcpListener::from_std(listener.socket)?;
    let counters = Arc::clone(&metrics);
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        let counters = Arc::clone(&counters);
        async move {
            let answered = router.oneshot(request.map(Body::new));
            let answered = accept::catch_panic(answered, &counters).await;
            Ok::<Response<Body>, Infallible>(match answered {
                Some(Ok(response)) => response,
                None => answer::respond_error(&ApiError::bug()),
            })
        }
    });
    accept::serve(socket, service, limits, listener.tls, metrics, cancel).await;
    Ok(())
}
