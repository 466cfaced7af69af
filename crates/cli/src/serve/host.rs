//! The process as the operational endpoints see it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracewell_server::metrics::{Metric, Samples};
use tracewell_server::{BuildInfo, ConfigMode, Host, Readiness, ServiceState};
use tracewell_store::Store;
use tracewell_store::block::BlockCache;
use tracewell_store::bucket::BucketStatus;
use tracewell_store::status::StoreStatus;

use super::ports::Addresses;
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
    reloads: Arc<reload::Counters>,
    /// The last look at the store; a scrape does not wait for its locks.
    status: Mutex<Option<StoreStatus>>,
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
        })
    }

    pub(super) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    /// How reading the overrides again went.
    pub(super) fn reloads(&self) -> &Arc<reload::Counters> {
        &self.reloads
    }

    pub(super) fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Looks at the store again.
    pub(super) async fn refresh(&self) {
        let status = self.store.status().await;
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    fn status(&self) -> Option<StoreStatus> {
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
        let surface = |name: &str, address: &Option<String>| {
            address.as_ref().map(|_| (name.to_owned(), running))
        };
        [
            surface("http", &self.addresses.http),
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

    fn facts(&self) -> Vec<(String, String)> {
        let mut facts = Vec::new();
        let mut fact = |name: &str, value: String| facts.push((name.to_owned(), value));
        fact("up", format!("{} s", self.started.elapsed().as_secs()));
        for (name, address) in [
            ("http", &self.addresses.http),
            ("otlp grpc", &self.addresses.otlp_grpc),
            ("otlp http", &self.addresses.otlp_http),
        ] {
            fact(name, address.clone().unwrap_or_else(|| "off".to_owned()));
        }
        fact(
            "data",
            self.loaded.config.storage.path.display().to_string(),
        );
        let Some(status) = self.status() else {
            return facts;
        };
        fact("manifest", status.manifest.to_string());
        fact("head bytes", status.head_bytes.to_string());
        fact("generations waiting", status.generations_frozen.to_string());
        fact(
            "blocks waiting for a merge",
            status.blocks_waiting.to_string(),
        );
        if let Some(bucket) = &status.bucket {
            for (name, value) in of_bucket(bucket) {
                fact(name, value);
            }
        }
        for (level, sums) in &status.by_level {
            let text = format!(
                "{} blocks, {} spans, {} traces, {} bytes",
                sums.blocks, sums.spans, sums.traces, sums.bytes
            );
            fact(&format!("level {level}"), text);
        }
        fact(
            "blocks that cannot be read",
            status.blocks_missing.to_string(),
        );
        fact(
            "bytes of filters in memory",
            status.filter_bytes.to_string(),
        );
        fact(
            "bytes kept, and how many may be",
            format!("{} of {}", status.block_bytes, status.retention_bytes_max),
        );
        fact(
            "free bytes of the volume",
            match &status.space {
                Ok(space) => format!("{} of {}", space.free, space.total),
                Err(error) => format!("not known: {error}"),
            },
        );
        fact(
            "foreign objects, left alone",
            status.recovery.n_foreign.to_string(),
        );
        for (id, reason) in &status.blocks_set_aside {
            fact(&format!("block {id} cannot be merged"), reason.clone());
        }
        for (id, reason) in &status.blocks_damaged {
            fact(&format!("block {id} is damaged"), reason.clone());
        }
        for (name, n) in &status.limits_hit {
            fact(name, n.to_string());
        }
        facts
    }

    fn build(&self) -> BuildInfo {
        version::build_info()
    }

    fn measure(&self, samples: &mut Samples) {
        measure::process(samples);
        self.reloads.measure(samples);
        measure::counters(samples, self.store.metrics());
        let cache = self.cache.status();
        samples.add(Metric::CacheHits, Vec::new(), cache.hits);
        samples.add(Metric::CacheMisses, Vec::new(), cache.misses);
        samples.add(Metric::CacheBytes, Vec::new(), cache.bytes);
        samples.add(Metric::CacheBytesMax, Vec::new(), cache.bytes_max);
        if let Some(status) = self.status() {
            measure::state(samples, &status);
        }
    }
}

fn of_bucket(bucket: &BucketStatus) -> Vec<(&'static str, String)> {
    let contact = &bucket.contact;
    let state = match (&contact.failing, contact.manifest) {
        (Some((reason, _)), _) => format!("fails: {reason}"),
        (None, Some(number)) => format!("manifest {number}"),
        (None, None) => "not read yet".to_owned(),
    };
    let keeper = match &contact.keeper {
        _ if contact.is_keeper => "this process".to_owned(),
        Some(keeper) => format!("process {}", keeper.process),
        None => "nobody yet".to_owned(),
    };
    let (n, bytes) = bucket.waiting;
    let age = bucket.oldest_waiting_nano.unwrap_or(0) / 1_000_000_000;
    let cache = &bucket.cache;
    vec![
        ("bucket", format!("{}: {state}", bucket.name)),
        ("keeper of the bucket", keeper),
        (
            "waiting to be uploaded",
            format!("{n} blocks, {bytes} bytes"),
        ),
        ("oldest span not uploaded", format!("{age} s")),
        (
            "bytes of the bucket's blocks on this disk",
            format!("{} of {}", cache.bytes, cache.bytes_max),
        ),
    ]
}
