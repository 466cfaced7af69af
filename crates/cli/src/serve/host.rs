//! The process as the operational endpoints see it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracewell_model::TenantId;
use tracewell_server::metrics::{Metric, Samples};
use tracewell_server::{BuildInfo, ConfigMode, Host, Readiness, ServiceState};
use tracewell_store::Store;
use tracewell_store::block::BlockCache;
use tracewell_store::status::StoreStatus;

use super::ports::Addresses;
use crate::config::load::Loaded;
use crate::config::raw::Raw;
use crate::config::{Config, reference};

/// What `/ready`, `/status` and `/metrics` are made of.
#[derive(Debug)]
pub(super) struct Process {
    store: Arc<Store>,
    cache: Arc<BlockCache>,
    loaded: Loaded,
    addresses: Addresses,
    stop: CancellationToken,
    started: Instant,
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
            status: Mutex::new(None),
        })
    }

    pub(super) fn store(&self) -> Arc<Store> {
        Arc::clone(&self.store)
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
        let recovery = self.store.recovery();
        let mut warnings: Vec<String> = self
            .loaded
            .findings
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect();
        for block in &recovery.blocks_missing {
            warnings.push(format!(
                "block {} cannot be read: {}",
                block.entry.id, block.reason
            ));
        }
        if recovery.n_log_damage > 0 {
            let n = recovery.n_log_damage;
            warnings.push(format!(
                "{n} stretches of the write-ahead log could not be read"
            ));
        }
        let poisoned = self.store.poisoned();
        let not_ready = match self.stop.is_cancelled() {
            true => Some("stopping".to_owned()),
            false => poisoned.map(|reason| format!("no spans are taken: {reason}")),
        };
        Readiness {
            not_ready: not_ready.into_iter().collect(),
            warnings,
        }
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let flushed = self.store.flush().await;
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
        let off = || "off".to_owned();
        fact("up", format!("{} s", self.started.elapsed().as_secs()));
        fact("http", self.addresses.http.clone().unwrap_or_else(off));
        fact(
            "otlp grpc",
            self.addresses.otlp_grpc.clone().unwrap_or_else(off),
        );
        fact(
            "otlp http",
            self.addresses.otlp_http.clone().unwrap_or_else(off),
        );
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
            "bytes kept, and how many may be",
            format!("{} of {}", status.block_bytes, status.retention_bytes_max),
        );
        for (id, reason) in &status.blocks_set_aside {
            fact(&format!("block {id} cannot be merged"), reason.clone());
        }
        for (name, n) in &status.limits_hit {
            fact(name, n.to_string());
        }
        facts
    }

    fn build(&self) -> BuildInfo {
        BuildInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..BuildInfo::default()
        }
    }

    fn measure(&self, samples: &mut Samples) {
        for (name, _, value) in self.store.metrics().values() {
            if let Some(metric) = metric_of(name) {
                samples.add(metric, Vec::new(), value);
            }
        }
        let cache = self.cache.status();
        samples.add(Metric::CacheHits, Vec::new(), cache.hits);
        samples.add(Metric::CacheMisses, Vec::new(), cache.misses);
        samples.add(Metric::CacheBytes, Vec::new(), cache.bytes);
        samples.add(Metric::CacheBytesMax, Vec::new(), cache.bytes_max);
        let Some(status) = self.status() else {
            return;
        };
        let expired = &self.store.metrics();
        let expired = [
            &expired.blocks_expired_by_age,
            &expired.blocks_expired_by_bytes,
        ];
        let expired = expired.iter().map(|it| it.load(Ordering::Relaxed)).sum();
        samples.add(Metric::RetentionMarked, Vec::new(), expired);
        // One tenant until tenants are switched on; Tempo's dashboards sum and group by the label.
        let tenant = |tenant: &TenantId| vec![("tenant", tenant.to_string())];
        let single = || tenant(&TenantId::single());
        samples.add(Metric::HeadBytes, single(), status.head_bytes);
        samples.add(Metric::HeadSpans, Vec::new(), status.head_spans);
        samples.add(Metric::HeadTraces, single(), status.head_traces);
        for (id, n) in &status.blocks_by_tenant {
            samples.add(Metric::BlocklistLength, tenant(id), *n);
        }
        samples.add(
            Metric::MergeWaiting,
            Vec::new(),
            status.blocks_waiting as u64,
        );
        samples.add(
            Metric::DamagedBlocks,
            Vec::new(),
            (status.blocks_missing + status.blocks_set_aside.len()) as u64,
        );
        samples.add(Metric::WalBytes, Vec::new(), status.wal.log_bytes);
        samples.add(Metric::WalWrittenBytes, Vec::new(), status.wal.bytes);
        samples.add(Metric::WalRecords, Vec::new(), status.wal.records);
        samples.add(Metric::WalSyncs, Vec::new(), status.wal.groups);
        let seconds = Duration::from_nanos(status.wal.sync_nanos).as_secs_f64();
        samples.add_float(Metric::WalSyncSeconds, Vec::new(), seconds);
        samples.add(
            Metric::WalSyncFailures,
            Vec::new(),
            status.wal.failed_groups,
        );
        samples.add(Metric::WalDamage, Vec::new(), status.recovery.n_log_damage);
        if let Some(space) = status.space {
            samples.add(Metric::DiskFreeBytes, Vec::new(), space.free);
        }
        for (level, sums) in &status.by_level {
            let labels = || vec![("level", level.to_string())];
            samples.add(Metric::Blocks, labels(), sums.blocks);
            samples.add(Metric::BlockBytes, labels(), sums.bytes);
            samples.add(Metric::BlockSpans, labels(), sums.spans);
        }
    }
}

/// Which metric a counter of the store is; most are on the status page alone.
fn metric_of(counter: &str) -> Option<Metric> {
    Some(match counter {
        "blocks_cut" => Metric::BlocksCut,
        "blocks_merged" => Metric::MergedBlocks,
        "groups_copied" => Metric::MergeGroupsCopied,
        "groups_encoded" => Metric::MergeGroupsEncoded,
        "work_failed" => Metric::MergeFailures,
        "spans_deduplicated" => Metric::DuplicateSpans,
        "blocks_deleted" => Metric::RetentionDeleted,
        _ => return None,
    })
}
