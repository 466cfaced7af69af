//! `tracewell serve`: puts the rooms together and takes them apart again.
//!
//! Three runtimes: one for connections of senders and for timers, one for those of who asks, and one for the engine,
//! which may compute for a while, so that none waits for another. The order of a start is the order of what is
//! most likely wrong: configuration, ports, data, then everything runs. The order of a stop is that
//! of the data: receivers, log, workers.

mod bucket;
mod facts;
mod folder;
mod health;
mod host;
mod logging;
mod measure;
mod ports;
mod reload;
mod storage;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracewell_ingest::{IngestConfig, Tenancy, Tenants};
use tracewell_model::sink::SpanSink;
use tracewell_model::source::Snapshots;
use tracewell_model::{Clock, Limits, TenantId};
use tracewell_query::Engine;
use tracewell_server::{Backend, EngineThreads, ServerConfig};
use tracewell_store::Store;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::config::load::Loaded;
use crate::demo;
use crate::send::Endpoint;
use host::Process;
use ports::{Address, Ports};

/// Receivers and queries may end what they do within this time of a stop; then they are cut off.
const DRAIN_MAX: Duration = Duration::from_millis(400);
/// The same for cutting and merging, which lose nothing when they are cut off.
const WORKERS_MAX: Duration = Duration::from_millis(300);
/// Whose traffic `--demo` is where there are tenants.
const DEMO_TENANT: &str = "demo";
/// How often the numbers for `/metrics` and `/status` are taken from the store.
const STATUS_EVERY: Duration = Duration::from_secs(2);

pub(crate) fn run(loaded: &Loaded, demo_rate: Option<f64>) -> Result<ExitCode> {
    let start = Instant::now();
    let config = &loaded.config;
    logging::start(&config.log)?;
    for warning in &loaded.findings.warnings {
        tracing::warn!("{warning}");
    }
    let ports = Ports::open(config, loaded.tls.as_ref())?;
    crate::allocator::keep_small(config.limits.memory_bytes)
        .context("starting the thread that gives memory back")?;
    let ingest_runtime = runtime("ingest")?;
    let query_runtime = runtime("query")?;
    let engine_runtime = runtime("engine")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let opened = ingest_runtime.block_on(storage::open(loaded, Arc::clone(&clock)));
    let storage::Opened {
        store,
        workers,
        cache,
        locks: _locks,
    } = opened.context("opening the store")?;
    let workers = workers
        .start(ingest_runtime.handle())
        .context("starting the workers of the store")?;
    let stop = CancellationToken::new();
    let addresses = ports.addresses();
    let process = Process::new(
        (Arc::clone(&store), cache),
        loaded,
        &addresses,
        stop.clone(),
    );
    watch_status(&ingest_runtime, &process, &stop);
    let tenants = tenants(loaded);
    let takers = (&tenants, &store);
    reload::watch(&ingest_runtime, loaded, takers, process.reloads(), &stop);
    // Whoever finds the server ready may ask it to stop.
    let signals = ingest_runtime.block_on(async { Signals::listen() })?;
    let serving = start_serving(
        (config, &tenants),
        ports,
        &process,
        &clock,
        [&ingest_runtime, &query_runtime, &engine_runtime],
    )?;
    announce(config, &addresses, &store, start.elapsed());
    let traffic = demo_rate
        .and_then(|rate| Some((demo_endpoint(config, &addresses)?, rate)))
        .map(|(endpoint, rate)| {
            tracing::info!(%endpoint, traces_per_second = rate, "sending demo traffic");
            let tell: crate::send::Tell = |text| tracing::warn!("demo traffic: {text}");
            ingest_runtime.spawn(demo::live(endpoint, 1, rate, stop.clone(), tell))
        });
    let failed = ingest_runtime.block_on(until_stopped(&stop, signals, serving));
    let stopping = Instant::now();
    if let Some(traffic) = traffic {
        traffic.abort();
    }
    // Everything acknowledged is durable when this returns.
    store.stop();
    let in_time = ingest_runtime.block_on(workers.stop(WORKERS_MAX));
    tracing::info!(
        milliseconds = stopping.elapsed().as_millis() as u64,
        workers_ended = in_time,
        "stopped"
    );
    engine_runtime.shutdown_background();
    query_runtime.shutdown_background();
    ingest_runtime.shutdown_background();
    match failed {
        Some(error) => Err(error),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn tenants(loaded: &Loaded) -> Arc<Tenants> {
    let tenants = Tenants::new(loaded.tenant_limits.clone(), Arc::default());
    if loaded.config.tenants.tokens_path.is_some() {
        tenants.set_tokens(loaded.tokens.clone());
    }
    tenants
}

fn runtime(name: &'static str) -> Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .max_blocking_threads(cores * 4)
        .thread_name(name)
        .enable_all()
        .build()
        .with_context(|| format!("starting the {name} runtime"))
}

/// The tasks that listen.
struct Serving {
    ingest: tokio::task::JoinHandle<std::io::Result<()>>,
    queries: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn start_serving(
    (config, tenants): (&Config, &Arc<Tenants>),
    ports: Ports,
    process: &Arc<Process>,
    clock: &Arc<dyn Clock>,
    [ingest_runtime, query_runtime, engine_runtime]: [&Runtime; 3],
) -> Result<Serving> {
    let limits: &Limits = &config.limits;
    let store = process.store();
    let sink: Arc<dyn SpanSink> = Arc::clone(&store) as Arc<dyn SpanSink>;
    let snapshots: Arc<dyn Snapshots> = store;
    let tenancy = match config.tenants.enabled {
        true => Tenancy::FromHeader,
        false => Tenancy::Single,
    };
    let mut ingest_config = IngestConfig::new(limits.clone());
    ingest_config.tenancy = tenancy;
    let receivers =
        tracewell_ingest::Server::new(ingest_config, ports.receivers, sink, Arc::clone(tenants));
    let engine = Engine::new(snapshots, limits.clone(), Arc::clone(clock));
    let mut server_config = ServerConfig::new(limits.clone());
    server_config.tenancy = match (tenancy, config.tenants.query_several) {
        (Tenancy::FromHeader, true) => Tenancy::SeveralFromHeader,
        (tenancy, _) => tenancy,
    };
    server_config.prefix.clone_from(&config.http.prefix);
    server_config.aliases = match config.query.aliases {
        true => tracewell_query::Aliases::Resolve,
        false => tracewell_query::Aliases::Off,
    };
    let backend = Backend {
        queries: Arc::new(EngineThreads::new(engine, engine_runtime.handle().clone())),
        host: Arc::clone(process) as Arc<dyn tracewell_server::Host>,
        clock: Arc::clone(clock),
        tenants: Arc::clone(tenants),
        ingest: Some((Arc::clone(tenants.metrics()), receivers.admission())),
    };
    let server =
        tracewell_server::Server::new(server_config, ports.http, backend).context("http.prefix")?;
    let server = server.with_grpc(ports.query_grpc);
    let stop = process.stop_token();
    Ok(Serving {
        ingest: ingest_runtime.spawn(receivers.run(stop.clone())),
        queries: query_runtime.spawn(server.run(stop)),
    })
}

/// Waits for a signal, a request to stop, or the end of a listener; then lets requests end. What went
/// wrong, if something did.
async fn until_stopped(
    stop: &CancellationToken,
    mut signals: Signals,
    mut serving: Serving,
) -> Option<anyhow::Error> {
    let ended = tokio::select! {
        // A listener that ends because of the stop must not be taken for one that failed.
        biased;
        () = stop.cancelled() => None,
        () = signals.next() => None,
        ended = &mut serving.ingest => Some(unexpected("the receivers", ended)),
        ended = &mut serving.queries => Some(unexpected("the query API", ended)),
    };
    if ended.is_none() {
        tracing::info!("stopping");
    }
    stop.cancel();
    let drained = async {
        for task in [&mut serving.ingest, &mut serving.queries] {
            if !task.is_finished()
                && let Err(error) = task.await
            {
                tracing::error!(%error, "a server ended badly");
            }
        }
    };
    if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
        tracing::warn!("requests in flight were cut off");
    }
    ended
}

/// What asks the process to stop. A second signal ends it as it always does.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

// === impl Signals ===

impl Signals {
    /// From now on signals are waited for, on the runtime that this is called on.
    fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn unexpected(
    what: &str,
    ended: Result<std::io::Result<()>, tokio::task::JoinError>,
) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow::anyhow!("{what} ended by themselves"),
        Ok(Err(error)) => anyhow::Error::new(error).context(format!("{what} ended")),
        Err(error) => anyhow::Error::new(error).context(format!("{what} ended")),
    }
}

/// Keeps the numbers of the store at hand, since a scrape must not wait for a lock of a commit.
fn watch_status(runtime: &Runtime, process: &Arc<Process>, stop: &CancellationToken) {
    let (process, stop) = (Arc::clone(process), stop.clone());
    runtime.spawn(async move {
        let mut ticks = tokio::time::interval(STATUS_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => process.refresh().await,
            }
        }
    });
}

/// Says where everything is, for people; the log has it for machines.
fn announce(config: &Config, addresses: &ports::Addresses, store: &Store, took: Duration) {
    let recovery = store.recovery();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        http = or_off(addresses.http.as_ref()),
        query_grpc = or_off(addresses.query_grpc.as_ref()),
        otlp_grpc = or_off(addresses.otlp_grpc.as_ref()),
        otlp_http = or_off(addresses.otlp_http.as_ref()),
        data = %config.storage.path.display(),
        spans_replayed = recovery.spans_replayed,
        milliseconds = took.as_millis() as u64,
        "ready"
    );
    if config.log.format == crate::config::LogFormat::Json {
        return;
    }
    let mut text = format!("\n  tracewell {}\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<14}{value}\n"));
    if let Some(address) = &addresses.otlp_grpc {
        line("OTLP gRPC", address.http());
    }
    if let Some(address) = &addresses.otlp_http {
        line("OTLP HTTP", format!("{}/v1/traces", address.http()));
    }
    if let Some(address) = &addresses.http {
        let prefix = &config.http.prefix;
        let url = address.http();
        line("query API", format!("{url}{prefix}/api/search"));
    }
    if let Some(address) = &addresses.query_grpc {
        line("query gRPC", address.http());
    }
    line("data", config.storage.path.display().to_string());
    eprintln!("{text}");
}

fn or_off(address: Option<&Address>) -> String {
    address.map_or_else(|| "off".to_owned(), ToString::to_string)
}

/// Where the demo sends, and as whom. It has no certificate, and trusts none of this machine's.
fn demo_endpoint(config: &Config, addresses: &ports::Addresses) -> Option<Endpoint> {
    let plain = |address: &Option<Address>| address.clone().filter(|it| !it.is_tls);
    let grpc = plain(&addresses.otlp_grpc).map(|it| format!("grpc://{it}"));
    let http = || plain(&addresses.otlp_http).map(|it| format!("http://{it}"));
    let mut endpoint: Endpoint = grpc.or_else(http)?.parse().ok()?;
    if config.tenants.enabled {
        endpoint.tenant = TenantId::new(DEMO_TENANT).ok();
    }
    Some(endpoint)
}
