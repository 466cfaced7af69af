//! Opening a store: the newest manifest, its blocks, and the log behind what they cover.
//!
//! Nothing is decided again: records go through the decoder that took them into the head that they
//! were in. Whatever is damaged is named, in the log and in [`Recovery`], and the rest is served. What
//! this is not: it repairs nothing in place.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracewell_model::Clock;
use tracewell_model::sink::{LogDamage, LogPosition, LogRecord, Seen, SpanTap};

use crate::bucket::{Bucket, BucketConfig};
use crate::clock::BelievedClock;
use crate::codec::BlockFormat;
use crate::dedup::{REQUEST_KEPT_NANO, RequestKey, Requests, Turn};
use crate::disk::Disk;
use crate::error::{StoreError, StoreResult};
use crate::head::{Head, HeadOptions};
use crate::manifest::chain::{DamagedManifest, ManifestChain};
use crate::manifest::ledger::Ledger;
use crate::manifest::{BlockEntry, BlockId, Manifest};
use crate::metrics::StoreMetrics;
use crate::snapshot::{BlockViews, Blocks, Home, LiveBlock, MissingBlock, TRACE_HORIZON_NANO};
use crate::store::{Core, Store, StoreConfig};
use crate::wal::{Wal, WalOptions};
use crate::workers::Workers;

/// Losses are listed up to so many; all are counted and logged.
const DAMAGE_LISTED_MAX: usize = 1_000;
const FOREIGN_LISTED_MAX: usize = 20;
/// Generations that may wait while the log is replayed: two of four leave room for the next two.
const FROZEN_MAX: usize = 2;

/// What a start found.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Number of the manifest that counts; 0 for a new store.
    pub manifest: u64,
    /// Newer manifests that could not be read.
    pub manifests_damaged: Vec<DamagedManifest>,
    /// Objects and folders under the store's prefix that are not its own, the first twenty. They are left
    /// alone.
    pub foreign: Vec<String>,
    pub n_foreign: u64,
    /// Blocks that the manifest lists and that could not be read; [`Store::blocks_missing`] are those
    /// that are left.
    pub blocks_missing: Vec<MissingBlock>,
    /// Stretches of the log that could not be read, the first thousand.
    pub log_damage: Vec<LogDamage>,
    pub n_log_damage: u64,
    pub records_replayed: u64,
    pub spans_replayed: u64,
    /// Records that hold a request which an earlier record holds too.
    pub records_repeated: u64,
    /// Records that are whole and could not be decoded.
    pub records_unreadable: u64,
    pub nanos: u64,
}

impl Store {
    /// Opens a store, or makes a new one. Needs the runtime only for the object store; blocks while
    /// the log is replayed. The workers do nothing until they are started.
    pub async fn open(
        config: StoreConfig,
        format: Arc<dyn BlockFormat>,
        disk: Arc<dyn Disk>,
        objects: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        taps: Vec<Arc<dyn SpanTap>>,
    ) -> StoreResult<(Arc<Self>, Workers)> {
        let started = clock.monotonic_nano();
        let mut recovery = Recovery::default();
        let (chain, opened) = ManifestChain::open(Arc::clone(&objects), &config.prefix).await?;
        recovery.manifest = opened.manifest.number;
        recovery.manifests_damaged = opened.damaged;
        recovery.found_foreign(opened.foreign);
        recovery.found_foreign(strangers(&config, &*objects).await?);
        let parts = Parts {
            config,
            format,
            disk,
            objects,
            clock,
            taps,
        };
        let store = parts.assemble(chain, opened.manifest).await?;
        recovery.blocks_missing = store
            .core
            .blocks
            .load()
            .missing
            .iter()
            .map(|block| MissingBlock::clone(block))
            .collect();
        Box::pin(store.look_at_bucket()).await?;
        recovery.report_blocks();
        store.replay(&mut recovery).await?;
        store.core.is_open.store(true, Ordering::Relaxed);
        recovery.nanos = store.core.clock.monotonic_nano().saturating_sub(started);
        tracing::info!(
            manifest = recovery.manifest,
            records = recovery.records_replayed,
            spans = recovery.spans_replayed,
            "store is open"
        );
        *store.recovery.lock() = recovery;
        let workers = store.start_workers();
        Ok((store, workers))
    }

    /// What the start found.
    pub fn recovery(&self) -> Recovery {
        self.recovery.lock().clone()
    }

    /// Replays what no block covers. Memory is bounded: what is full is cut on the way.
    async fn replay(&self, recovery: &mut Recovery) -> StoreResult<()> {
        let covered = self.ledger.lock().await.covered_to();
        self.remember_covered(covered).await;
        // Records of a group whose sync failed may come back beside their retry.
        let replayed = Arc::new(Requests::default());
        for item in self.wal.read_from(LogPosition(covered)) {
            match item {
                Ok((at, record)) => self.replay_record(at, record, &replayed, recovery),
                Err(damage) => recovery.log_damaged(damage),
            }
            while self.core.head.frozen().len() > FROZEN_MAX {
                self.cut_next().await?;
            }
        }
        let metrics = &self.core.metrics;
        StoreMetrics::add(&metrics.records_replayed, recovery.records_replayed);
        StoreMetrics::add(&metrics.records_unreadable, recovery.records_unreadable);
        Ok(())
    }

    fn replay_record(
        &self,
        at: LogPosition,
        record: LogRecord,
        replayed: &Arc<Requests>,
        recovery: &mut Recovery,
    ) {
        let arrival = record.arrival_unix_nano;
        self.believed_clock.lock().recall(arrival);
        let key = RequestKey::new(&record.tenant, record.request_hash);
        let Turn::First(ticket) = replayed.begin(key, arrival) else {
            recovery.records_repeated += 1;
            return;
        };
        ticket.finish(&Ok(()), arrival);
        self.remember(&record);
        match tracewell_wire::otlp::decode_stored(record.tenant, record.payload) {
            Ok(decoded) => {
                recovery.records_replayed += 1;
                recovery.spans_replayed += decoded.batch.n_spans() as u64;
                self.core.append(&decoded.batch, at, arrival, Seen::Maybe);
            }
            Err(error) => {
                recovery.records_unreadable += 1;
                tracing::error!(record = at.0, %error, "a record of the log is whole and unreadable");
            }
        }
    }

    /// Requests of the last ten minutes are repeats also where a block holds them already.
    async fn remember_covered(&self, covered: u64) {
        let now = self.core.clock.now_unix_nano();
        let newest = {
            let ledger = self.ledger.lock().await;
            let arrivals = ledger.manifest().blocks.iter().map(|entry| entry.arrival.1);
            arrivals.max()
        };
        // With a bucket the newest blocks may lie there.
        let is_all_here = self.core.bucket.is_none();
        let is_old = newest.is_none_or(|newest| now.saturating_sub(newest) >= REQUEST_KEPT_NANO);
        if is_all_here && is_old {
            return;
        }
        // What was forgotten is named as lost here; it lies in blocks.
        for (at, record) in self.wal.read_from(LogPosition(0)).flatten() {
            if at.0 >= covered {
                break;
            }
            self.remember(&record);
        }
    }

    fn remember(&self, record: &LogRecord) {
        let clock = &self.core.clock;
        let age = clock
            .now_unix_nano()
            .saturating_sub(record.arrival_unix_nano);
        let key = RequestKey::new(&record.tenant, record.request_hash);
        self.core
            .requests
            .remember(key, clock.monotonic_nano(), age);
    }
}

/// What a store is made of.
struct Parts {
    config: StoreConfig,
    format: Arc<dyn BlockFormat>,
    disk: Arc<dyn Disk>,
    objects: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    taps: Vec<Arc<dyn SpanTap>>,
}

impl Parts {
    async fn assemble(self, chain: ManifestChain, manifest: Manifest) -> StoreResult<Arc<Store>> {
        let blocks = self.open_blocks(&manifest).await;
        let wal_options = self.wal_options(&manifest);
        // The head begins where the manifest ends, which is known once the log has told its id.
        let slot: Arc<OnceLock<Arc<Core>>> = Arc::default();
        let hook_slot = Arc::clone(&slot);
        let hook = move |committed| {
            if let Some(core) = hook_slot.get() {
                core.committed(committed);
            }
        };
        let (disk, clock) = (Arc::clone(&self.disk), Arc::clone(&self.clock));
        let wal = Wal::open(disk, clock, wal_options, hook).map_err(|error| StoreError::Log {
            reason: error.to_string(),
        })?;
        let log = format!("wal-{:032x}", wal.log_id());
        let monotonic = self.clock.monotonic_nano();
        let believed_clock = Mutex::new(clock_of(&manifest, monotonic));
        let retention_bytes_max = self.retention_bytes_max()?;
        let retention_ages = ArcSwap::from_pointee(self.config.retention_ages.clone());
        let metrics = Arc::new(StoreMetrics::default());
        let from = LogPosition(manifest.covered_to(&log));
        let options = HeadOptions::new(&self.config.limits, self.config.max_block_duration);
        let views = BlockViews::default();
        views.start(blocks, chain.replaced());
        let bucket = self.bucket(&log, &metrics)?;
        let core = Arc::new(Core {
            config: self.config,
            format: self.format,
            disk: self.disk,
            objects: self.objects,
            clock: self.clock,
            taps: self.taps,
            bucket,
            log: log.clone(),
            is_open: AtomicBool::new(false),
            metrics,
            head: Head::new(options, from),
            blocks: views,
            requests: Arc::default(),
            arrivals: Mutex::default(),
            in_flight_bytes: AtomicU64::new(0),
            disk_is_low: AtomicBool::new(false),
            unchecked_bytes: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            poisoned: Mutex::default(),
            writing: Mutex::default(),
            busy: Mutex::default(),
            set_aside: Mutex::default(),
            expired: Mutex::default(),
            cut_wanted: Notify::new(),
            merge_wanted: Notify::new(),
            upkeep_wanted: Notify::new(),
            bucket_wanted: Notify::new(),
        });
        // Nobody has submitted a record yet, so that none has missed its hook.
        drop(slot.set(Arc::clone(&core)));
        Ok(Arc::new(Store {
            core,
            wal,
            ledger: tokio::sync::Mutex::new(Ledger::new(chain, manifest, log, monotonic)),
            believed_clock,
            retention_ages,
            retention_bytes_max,
            recovery: Mutex::default(),
            n_ids: AtomicU64::new(0),
            cutting: tokio::sync::Mutex::default(),
            merging: tokio::sync::Mutex::default(),
            swept_at: Mutex::default(),
        }))
    }

    /// Opens every block of a manifest; those that cannot be read are listed with the reason.
    async fn open_blocks(&self, manifest: &Manifest) -> Blocks {
        let now = self.clock.now_unix_nano();
        let (mut live, mut missing) = (Vec::new(), Vec::new());
        for entry in &manifest.blocks {
            match self.open_block(entry.clone(), now).await {
                Ok(block) => live.push(Arc::new(block)),
                Err(error) => missing.push(Arc::new(MissingBlock {
                    entry: entry.clone(),
                    reason: error.to_string(),
                    home: Home::Local,
                })),
            }
        }
        let mut blocks = Blocks::new(live, missing);
        if self.config.bucket.is_some() {
            blocks.unreachable = Some("it has not been read yet".to_owned());
        } else {
            share_again(&blocks, now).await;
        }
        blocks
    }

    fn wal_options(&self, manifest: &Manifest) -> WalOptions {
        let mut options = self.config.wal.clone();
        options.durability = self.config.durability;
        options.reserve_bytes = self.config.limits.disk_reserve_bytes;
        let covered_max = manifest.covered.iter().map(|range| range.to).max();
        options.next_at_least = LogPosition(covered_max.unwrap_or(0));
        options
    }

    fn bucket(&self, log: &str, metrics: &Arc<StoreMetrics>) -> StoreResult<Option<Bucket>> {
        let open = |config: &BucketConfig| {
            Bucket::open(
                config.clone(),
                Arc::clone(&self.disk),
                self.config.limits.disk_reserve_bytes,
                log,
                Arc::clone(metrics),
            )
        };
        self.config.bucket.as_ref().map(open).transpose()
    }

    /// Of an old block nothing stays in memory that only new spans ask for.
    async fn open_block(&self, entry: BlockEntry, now: u64) -> StoreResult<LiveBlock> {
        if entry.delete_set.is_some() {
            return Err(StoreError::Block {
                id: entry.id,
                reason: "names a delete set, which this program does not know".to_owned(),
            });
        }
        let folder = self.config.block_folder(entry.id);
        let reader = self.format.open(&self.objects, folder, &entry).await?;
        let block = LiveBlock {
            entry,
            reader,
            home: Home::Local,
        };
        if !block.is_old(now) {
            block.reader.load_filters().await?;
        }
        Ok(block)
    }

    fn retention_bytes_max(&self) -> StoreResult<u64> {
        Ok(match self.config.retention_bytes {
            Some(bytes) => bytes,
            None => {
                let space = self.disk.space(&self.config.data_dir);
                let space = space.map_err(|error| StoreError::Log {
                    reason: format!("space of {}: {error}", self.config.data_dir.display()),
                })?;
                space.total / 5 * 4
            }
        })
    }
}

/// The clock as the newest manifest knows it, or else as its newest arrival does.
fn clock_of(manifest: &Manifest, monotonic: u64) -> BelievedClock {
    let mut clock = BelievedClock::new(monotonic);
    let newest = || manifest.blocks.iter().map(|entry| entry.arrival.1).max();
    match &manifest.clock {
        Some(record) => clock.resume(record),
        None => newest().into_iter().for_each(|at| clock.recall(at)),
    }
    clock
}

/// What lies beside manifests and blocks, and among the blocks, and is none of them. Only names one level
/// deep are looked at: a folder counts as one, however much it holds.
async fn strangers(config: &StoreConfig, objects: &dyn ObjectStore) -> StoreResult<Vec<String>> {
    let blocks = config.blocks_folder();
    let is_own = |name: &str| {
        ["blocks", "manifest"].contains(&name) || config.beside.iter().any(|own| own == name)
    };
    let mut strangers = names_below(&config.prefix, objects).await?;
    strangers.retain(|path| !path.filename().is_some_and(is_own));
    let among_blocks = names_below(&blocks, objects).await?;
    let is_block = |path: &Path| path.filename().and_then(BlockId::parse).is_some();
    strangers.extend(among_blocks.into_iter().filter(|path| !is_block(path)));
    Ok(strangers.iter().map(ToString::to_string).collect())
}

async fn names_below(folder: &Path, objects: &dyn ObjectStore) -> StoreResult<Vec<Path>> {
    let listed = objects
        .list_with_delimiter(Some(folder))
        .await
        .map_err(|error| StoreError::object("list", folder, error))?;
    let files = listed.objects.into_iter().map(|meta| meta.location);
    Ok(listed.common_prefixes.into_iter().chain(files).collect())
}

/// A block stores the ids that it shares; the others learn them again from it. Old ones too, as a
/// query joins what lies in two of them; their filters are in memory one block at a time.
pub(crate) async fn share_again(blocks: &Blocks, now: u64) {
    for learner in &blocks.live {
        let tellers = blocks.live.iter().filter(|teller| {
            let ids = teller.reader.shared().ids();
            teller.entry.id != learner.entry.id
                && (ids.is_all() || ids.n_ids() > 0)
                && teller.entry.arrival.distance(learner.entry.arrival) <= TRACE_HORIZON_NANO
        });
        let tellers: Vec<_> = tellers.collect();
        let is_old = learner.is_old(now);
        if is_old
            && !tellers.is_empty()
            && let Err(error) = learner.reader.load_filters().await
        {
            // Then it may hold any of them.
            tracing::warn!(%error, "what an old block shares is not known");
        }
        for teller in tellers {
            learner.learn(teller);
        }
        if is_old {
            learner.reader.grow_old();
        }
    }
}

// === impl Recovery ===

impl Recovery {
    /// True if nothing was damaged or missing.
    pub fn is_clean(&self) -> bool {
        self.manifests_damaged.is_empty()
            && self.blocks_missing.is_empty()
            && self.n_log_damage == 0
            && self.records_unreadable == 0
    }

    fn log_damaged(&mut self, damage: LogDamage) {
        tracing::error!(
            file = damage.file,
            offset = damage.offset,
            bytes = damage.len,
            reason = damage.reason,
            "a part of the log is lost"
        );
        self.n_log_damage += 1;
        if self.log_damage.len() < DAMAGE_LISTED_MAX {
            self.log_damage.push(damage);
        }
    }

    fn report_blocks(&self) {
        for manifest in &self.manifests_damaged {
            tracing::error!(
                name = manifest.name,
                reason = manifest.reason,
                counts = self.manifest,
                "a manifest cannot be read: an older one counts, and the log is replayed from there"
            );
        }
        for block in &self.blocks_missing {
            tracing::error!(
                block = %block.entry.id,
                level = block.entry.level,
                partition = block.entry.partition.map(|p| p.to_string()),
                spans = block.entry.spans,
                reason = block.reason,
                "a block cannot be read: its spans are missing from answers"
            );
        }
        if self.n_foreign > 0 {
            tracing::warn!(
                objects = self.n_foreign,
                names = ?self.foreign,
                "objects under the store's prefix are not its own and are left alone"
            );
        }
    }

    fn found_foreign(&mut self, names: Vec<String>) {
        self.n_foreign += names.len() as u64;
        let room = FOREIGN_LISTED_MAX.saturating_sub(self.foreign.len());
        self.foreign.extend(names.into_iter().take(room));
    }
}
