//! The process as the operational endpoints see it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracewell_server::metrics::{Metric, Samples};
use tracewell_server::{
    BuildInfo, ConfigMode, Host, OverridesFile, Readiness, Section, ServiceState,
};
use tracewell_store::Store;
use tracewell_store::block::BlockCache;
use tracewell_store::status::StoreStatus;

use super::facts::{self, Rates};
use super::ports::{Address, Addresses};
use super::{health, measure, reload};
use crate::config::load::Loaded;
use crate::config::raw::Raw;
use crate::config::{Config, reference};
use crate::version;

/// What `/ready`, `/status` and `/metrics` are made of.
#[derive(Debug)]
pub(super) struct Process {
    store: Arc<Store>,
    cache: Arc<BlockCache>,
    loaded: Loaded,
    addresses: Addresses,
    stop: CancellationToken,
    started: Instant,
    reloads: Arc<reload::Reloads>,
    /// The last look at the store; a scrape does not wait for its locks.
    status: Mutex<Option<StoreStatus>>,
    rates: Mutex<Rates>,
}

// === impl Process ===

impl Process {
    pub(super) fn new(
        (store, cache): (Arc<Store>, Arc<BlockCache>),
        loaded: &Loaded,
        addresses: &Addresses,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            cache,
            loaded: loaded.clone(),
            addresses: addresses.clone(),
            stop,
            started: Instant::now(),
            reloads: Arc::default(),
            status: Mutex::new(None),
            rates: Mutex::default(),
        })
    }

    pub(super) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// How reading files again went.
    pub(super) fn reloads(&self) -> &Arc<reload::Reloads> {
        &self.reloads
    }

    /// Since when it runs.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub(super) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// What was taken lately.
    pub(super) fn rates(&self) -> Rates {
        let rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.clone()
    }

    pub(super) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Looks at the store again.
    pub(super) async fn refresh(&self) {
        let status = self.store.status().await;
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.look(self.store.metrics(), Instant::now());
        drop(rates);
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    pub(super) fn store_status(&self) -> Option<StoreStatus> {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

// === impl Host ===

impl Host for Process {
    fn readiness(&self) -> Readiness {
        let poisoned = self.store.poisoned();
        let not_ready = match self.stop.is_cancelled() {
            true => Some("stopping".to_owned()),
            false => poisoned.map(|reason| format!("no spans are taken: {reason}")),
        };
        let findings = &self.loaded.findings.warnings;
        let mut warnings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        warnings.extend(self.reloads.warnings());
        warnings.extend(health::warnings(&self.store, &self.loaded.config));
        Readiness {
            not_ready: not_ready.into_iter().collect(),
            warnings,
        }
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            // Who asked may leave; what was begun is ended all the same.
            let store = self.store();
            let flushed = tokio::spawn(async move { store.flush().await });
            let flushed = flushed.await.map_err(|error| error.to_string())?;
            // Who asked looks next at what became of it.
            self.refresh().await;
            flushed.map_err(|error| error.to_string())
        })
    }

    fn shutdown(&self) {
        self.stop.cancel();
    }

    fn config(&self, mode: ConfigMode) -> Result<String, String> {
        let Loaded { config, raw, .. } = &self.loaded;
        Ok(match mode {
            ConfigMode::Full => reference::print(config, raw),
            ConfigMode::Defaults => reference::print(&Config::default(), &Raw::default()),
            ConfigMode::Diff => reference::print_written(config, raw),
        })
    }

    fn services(&self) -> Vec<ServiceState> {
        let running = match self.stop.is_cancelled() {
            true => "Stopping",
            false => "Running",
        };
        let state_of_store = match self.store.poisoned() {
            Some(_) => "Failed",
            None => running,
        };
        let surface = |name: &str, address: &Option<Address>| {
            address.as_ref().map(|_| (name.to_owned(), running))
        };
        [
            surface("http", &self.addresses.http),
            surface("query_grpc", &self.addresses.query_grpc),
            surface("otlp_grpc", &self.addresses.otlp_grpc),
            surface("otlp_http", &self.addresses.otlp_http),
            Some(("store".to_owned(), state_of_store)),
        ]
        .into_iter()
        .flatten()
        .map(|(name, state)| ServiceState {
            name,
            state: state.to_owned(),
        })
        .collect()
    }

    fn status(&self) -> Vec<Section> {
        facts::sections(self)
    }

    fn overrides(&self) -> Option<OverridesFile> {
        let path = self.loaded.config.tenants.overrides_path.as_ref()?;
        Some(OverridesFile {
            path: path.display().to_string(),
            refused: self.reloads.refused(reload::File::Overrides),
        })
    }

    fn build(&self) -> BuildInfo {
        version::build_info()
    }

    fn measure(&self, samples: &mut Samples) {
        measure::process(samples);
        self.reloads.measure(samples);
        self.loaded.bucket_requests.measure(samples);
        let has_tenants = self.loaded.config.tenants.enabled;
        measure::counters(samples, self.store.metrics(), has_tenants);
        let cache = self.cache.status();
        samples.add(Metric::CacheHits, Vec::new(), cache.hits);
        samples.add(Metric::CacheMisses, Vec::new(), cache.misses);
        samples.add(Metric::CacheBytes, Vec::new(), cache.bytes);
        samples.add(Metric::CacheBytesMax, Vec::new(), cache.bytes_max);
        if let Some(status) = self.store_status() {
            measure::state(samples, &status, has_tenants);
        }
    }
}
