//! The store as a whole: what takes batches, keeps them, and says what there is to read.
//!
//! A batch is admitted, recognised if it is a repeat, written to the log, and when its record is
//! durable appended to the head, all in the order of the log. Workers (see [`crate::workers`]) cut
//! frozen generations into blocks, merge those, drop what is old, and delete files. Everything that
//! they do is a step that can be called alone, so tests need no threads. What this is not: it starts no
//! runtime, reads no clock of its own, and parses nothing that came from the network.
//!
//! Limits: `Limits::{head_bytes, in_flight_bytes, merge_bytes, disk_reserve_bytes,
//! waiting_blocks_max}`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracewell_model::limits::{DISK_RESERVE_BYTES, IN_FLIGHT_BYTES, WAITING_BLOCKS};
use tracewell_model::sink::{
    Ack, LogPosition, LogRecord, RecordKind, Seen, SpanSink, SpanTap, WriteError,
};
use tracewell_model::source::{Snapshot, Snapshots, SpanSource};
use tracewell_model::{Clock, Limits, RetentionAges, SpanBatch, TenantId};

use crate::bucket::{Bucket, BucketConfig};
use crate::clock::{Ages, BelievedClock};
use crate::codec::{BlockFormat, BlockReader};
use crate::dedup::{RequestKey, Requests, Ticket, Turn};
use crate::disk::{Disk, DiskSpace};
use crate::error::{StoreError, StoreResult};
use crate::head::{Generation, Head, Reservation};
use crate::manifest::ledger::Ledger;
use crate::manifest::{BlockId, Change};
use crate::merge::plan::MergePolicy;
use crate::metrics::StoreMetrics;
use crate::partition::{Bounds, ClockBounds};
use crate::recovery::Recovery;
use crate::retention::{Retention, nanos};
use crate::snapshot::{BlockLookup, BlockViews, Home, LiveBlock};
use crate::wal::{Committed, Durability, Wal, WalOptions, WalState};
use crate::workers::Workers;

/// How long a client should wait when merging or disk space is behind: these take seconds.
const RETRY_AFTER: Duration = Duration::from_secs(5);
const RETRY_SOON: Duration = Duration::from_secs(1);

/// How the store is to behave. The defaults are right for a server.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Holds the blocks that lie on the local disk, and the log unless `wal.dir` says otherwise. How full
    /// its volume may get is a matter of `retention_bytes` and `Limits::disk_reserve_bytes`.
    pub data_dir: PathBuf,
    /// Tracewell's own folder in the object store.
    pub prefix: Path,
    pub limits: Limits,
    pub durability: Durability,
    pub retention_ages: RetentionAges,
    /// `None`: 80 % of the volume of `data_dir`.
    pub retention_bytes: Option<u64>,
    /// `retention_bytes` is a share of the volume: what others keep there makes it smaller. True of the
    /// 80 % in any case.
    pub retention_is_share: bool,
    /// A generation of the head is cut when it is this old.
    pub max_block_duration: Duration,
    pub clock_bounds: ClockBounds,
    pub merge: MergePolicy,
    /// Spans of a row group.
    pub group_spans: usize,
    /// The shape of the log; its directory and numbers are filled in.
    pub wal: WalOptions,
    /// Names that the process keeps beside the objects of the store, such as the folder of the log:
    /// they are not taken for somebody else's.
    pub beside: Vec<String>,
    /// Where blocks go to stay; `None` where the local disk is all there is.
    pub bucket: Option<BucketConfig>,
    /// A random number: block ids and the id of a new log come from it. No two starts may share it.
    pub random: u128,
}

/// Takes batches, keeps them, and says what there is to read.
#[derive(Debug)]
pub struct Store {
    pub(crate) core: Arc<Core>,
    pub(crate) wal: Wal<Pending>,
    pub(crate) ledger: tokio::sync::Mutex<Ledger>,
    pub(crate) believed_clock: Mutex<BelievedClock>,
    /// How long whose blocks are kept: may change while the store is open.
    pub(crate) retention_ages: ArcSwap<RetentionAges>,
    pub(crate) retention_bytes_max: u64,
    pub(crate) recovery: Mutex<Recovery>,
    pub(crate) n_ids: AtomicU64,
    /// One cut and one merge of the local disk at a time, whoever asks for them.
    pub(crate) cutting: tokio::sync::Mutex<()>,
    pub(crate) merging: tokio::sync::Mutex<()>,
    /// Monotonic time of the last sweep.
    pub(crate) swept_at: Mutex<Option<u64>>,
}

/// What the thread of the log needs too.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: StoreConfig,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) format: Arc<dyn BlockFormat>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) taps: Vec<Arc<dyn SpanTap>>,
    pub(crate) metrics: Arc<StoreMetrics>,
    pub(crate) head: Head,
    pub(crate) blocks: BlockViews,
    pub(crate) requests: Arc<Requests>,
    /// Arrivals of the filling generation and of the frozen ones. Also: who holds it is the only one
    /// that appends, freezes, or swaps merged blocks.
    pub(crate) arrivals: Mutex<Arrivals>,
    pub(crate) in_flight_bytes: AtomicU64,
    pub(crate) disk_is_low: AtomicBool,
    /// Admitted since the space was looked at.
    pub(crate) unchecked_bytes: AtomicU64,
    pub(crate) stopping: AtomicBool,
    pub(crate) poisoned: Mutex<Option<String>>,
    /// Blocks that are being written: no manifest names them yet, and the sweep leaves them alone.
    pub(crate) writing: Mutex<BTreeSet<BlockId>>,
    /// Blocks that are merged or uploaded: neither takes what the other has.
    pub(crate) busy: Mutex<BTreeSet<BlockId>>,
    pub(crate) bucket: Option<Bucket>,
    /// Name of the log in manifests.
    pub(crate) log: String,
    /// False until what was there at the start has been taken in.
    pub(crate) is_open: AtomicBool,
    /// Blocks that a merge could not read, each with the reason.
    pub(crate) set_aside: Mutex<BTreeMap<BlockId, String>>,
    /// Blocks that retention dropped and whose files are there yet.
    pub(crate) expired: Mutex<BTreeSet<BlockId>>,
    pub(crate) cut_wanted: Notify,
    pub(crate) merge_wanted: Notify,
    pub(crate) upkeep_wanted: Notify,
    pub(crate) bucket_wanted: Notify,
}

/// When the requests of generations arrived.
#[derive(Debug)]
pub(crate) struct Arrivals {
    filling: Bounds,
    /// By sequence number of the generation.
    frozen: Vec<(u64, Bounds)>,
}

/// What travels with a record through the log.
#[derive(Debug)]
pub(crate) struct Pending {
    batch: SpanBatch,
    ticket: Ticket,
    /// Given back when the batch is in the head, or its write failed.
    _room: Room,
}

#[derive(Debug)]
struct Room {
    core: Arc<Core>,
    bytes: u64,
    _head: Reservation,
}

/// A file of the log holds some hundred small requests at least.
const SEGMENT_BYTES_MIN: u64 = 256 << 10;
/// Admitted before the space of the volume is looked at again.
const SPACE_CHECK_BYTES_MIN: u64 = 64 << 10;

// === impl StoreConfig ===

impl StoreConfig {
    pub fn new(data_dir: impl Into<PathBuf>, random: u128) -> Self {
        let data_dir = data_dir.into();
        let limits = Limits::default();
        Self {
            prefix: Path::from("tracewell"),
            durability: Durability::Fsync,
            retention_ages: RetentionAges::default(),
            retention_bytes: None,
            retention_is_share: false,
            max_block_duration: Duration::from_secs(120),
            clock_bounds: ClockBounds::default(),
            merge: MergePolicy::new(limits.merge_bytes(), 1),
            group_spans: 65_536,
            wal: WalOptions::new(data_dir.join("wal"), random),
            limits,
            beside: vec!["wal".to_owned()],
            data_dir,
            bucket: None,
            random,
        }
    }
}

impl StoreConfig {
    /// Takes in what is meant for large volumes, so that a small one is not filled by what is
    /// kept ready or written twice for a moment: of a volume, the reserve is a tenth at most, a file of
    /// the log a 64th, and the blocks of one merge together a 16th. So with blocks and log at the
    /// 80 % of the default, a merge, a spare and the reserve fit into the rest.
    pub fn fit(&mut self, volume: DiskSpace) {
        let reserve = &mut self.limits.disk_reserve_bytes;
        *reserve = (*reserve).min(volume.total / 10);
        let segment = &mut self.wal.segment_bytes;
        *segment = (*segment).min((volume.total / 64).max(SEGMENT_BYTES_MIN));
        let merged = &mut self.merge.bytes_max;
        *merged = (*merged).min(volume.total / 16);
    }

    /// Where the objects of a block lie.
    pub fn block_folder(&self, id: BlockId) -> Path {
        self.blocks_folder().join(id.to_string())
    }

    pub(crate) fn blocks_folder(&self) -> Path {
        self.prefix.clone().join("blocks")
    }
}

// === impl SpanSink ===

impl SpanSink for Store {
    fn write(
        &self,
        batch: SpanBatch,
        request_hash: u128,
    ) -> BoxFuture<'_, Result<Ack, WriteError>> {
        Box::pin(async move {
            let result = self.write_once(batch, request_hash).await;
            self.count_write(&result);
            result
        })
    }

    fn refuses(&self, n_bytes: u64) -> Option<WriteError> {
        let error = self.has_room(n_bytes).err()?;
        self.count_write(&Err(error.clone()));
        Some(error)
    }

    fn has_stored(&self, tenant: &TenantId, request_hash: u128) -> bool {
        let key = RequestKey::new(tenant, request_hash);
        let now = self.core.clock.monotonic_nano();
        self.core.requests.has_accepted(key, now)
    }
}

impl Store {
    async fn write_once(&self, batch: SpanBatch, request_hash: u128) -> Result<Ack, WriteError> {
        let key = RequestKey::new(&batch.tenant, request_hash);
        loop {
            match self
                .core
                .requests
                .begin(key, self.core.clock.monotonic_nano())
            {
                Turn::Repeated => return Ok(Ack { repeated: true }),
                Turn::Pending(first) => match first.await {
                    Ok(result) => return result.map(|()| Ack { repeated: true }),
                    // The first was given up before anything was stored: this one is the first now.
                    Err(_) => continue,
                },
                Turn::First(ticket) => return self.write_first(batch, request_hash, ticket).await,
            }
        }
    }

    async fn write_first(
        &self,
        batch: SpanBatch,
        request_hash: u128,
        ticket: Ticket,
    ) -> Result<Ack, WriteError> {
        if batch.n_spans() == 0 {
            return Ok(Ack { repeated: false });
        }
        let room = self.admit(&batch)?;
        let record = LogRecord {
            tenant: batch.tenant.clone(),
            kind: RecordKind::Spans,
            arrival_unix_nano: self.believed_now(),
            request_hash,
            payload: batch.body.clone(),
        };
        let pending = Pending {
            batch,
            ticket,
            _room: room,
        };
        self.wal.submit(record, pending)?.await?;
        Ok(Ack { repeated: false })
    }

    /// Refuses what there is no room for. What is durable always fits into the head.
    fn admit(&self, batch: &SpanBatch) -> Result<Room, WriteError> {
        let core = &self.core;
        let bytes = batch.body.len() as u64;
        // In the second between two rounds of upkeep more can be written than the reserve holds.
        let n = core.unchecked_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if n > core.config.limits.disk_reserve_bytes / 8 + SPACE_CHECK_BYTES_MIN {
            self.check_space();
        }
        self.has_room(bytes)?;
        let head = core.head.reserve(batch)?;
        let room = Room {
            core: Arc::clone(core),
            bytes,
            _head: head,
        };
        let max = core.config.limits.in_flight_bytes();
        let before = core.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > max {
            return Err(busy(IN_FLIGHT_BYTES, RETRY_SOON));
        }
        Ok(room)
    }

    /// What can be said of a batch by its size alone. Takes nothing.
    fn has_room(&self, bytes: u64) -> Result<(), WriteError> {
        let core = &self.core;
        if let Some(reason) = core.poisoned.lock().clone() {
            return Err(WriteError::Halted { reason });
        }
        if core.stopping.load(Ordering::Relaxed) {
            return Err(WriteError::Stopping);
        }
        let max = core.config.limits.in_flight_bytes();
        if bytes > max {
            return Err(WriteError::TooLarge {
                limit: IN_FLIGHT_BYTES,
                seen: bytes,
                max,
            });
        }
        if core.disk_is_low.load(Ordering::Relaxed) {
            return Err(busy(DISK_RESERVE_BYTES, RETRY_AFTER));
        }
        if core.n_waiting() > core.config.limits.waiting_blocks_max {
            core.merge_wanted.notify_one();
            return Err(busy(WAITING_BLOCKS, RETRY_AFTER));
        }
        core.head.has_room()
    }

    fn count_write(&self, result: &Result<Ack, WriteError>) {
        let metrics = &self.core.metrics;
        let counter = match result {
            Ok(Ack { repeated: true }) => &metrics.requests_repeated,
            Ok(Ack { repeated: false }) => return,
            Err(WriteError::TooLarge { .. }) => &metrics.refused_too_large,
            Err(WriteError::Busy { limit, .. }) => metrics.refused(limit),
            Err(_) => &metrics.requests_failed,
        };
        StoreMetrics::add(counter, 1);
    }
}

fn busy(limit: &'static str, retry_after: Duration) -> WriteError {
    WriteError::Busy { limit, retry_after }
}

// === impl Snapshots ===

impl Snapshots for Store {
    fn pin(&self) -> Snapshot {
        let core = &self.core;
        let (generations, blocks) = core.head.pin_with(|| core.blocks.load());
        let mut sources: Vec<Arc<dyn SpanSource>> = Vec::new();
        for generation in generations {
            sources.push(generation);
        }
        for block in &blocks.live {
            let reader: Arc<dyn BlockReader> = Arc::clone(&block.reader);
            sources.push(reader);
        }
        let missing = blocks.missing.iter();
        let missing = missing.map(|block| format!("block {}: {}", block.entry.id, block.reason));
        let bucket = blocks.unreachable.iter();
        let bucket = bucket.map(|reason| format!("all blocks of the bucket: {reason}"));
        Snapshot {
            sources,
            missing: missing.chain(bucket).collect(),
        }
    }
}

// === impl Store ===

impl Store {
    pub fn metrics(&self) -> &Arc<StoreMetrics> {
        &self.core.metrics
    }

    /// Unix time as it is believed.
    pub(crate) fn believed_now(&self) -> u64 {
        let clock = &self.core.clock;
        let mut believed = self.believed_clock.lock();
        believed.now(clock.now_unix_nano(), clock.monotonic_nano())
    }

    /// From now on blocks are kept for so long.
    pub fn set_retention_ages(&self, ages: RetentionAges) {
        self.retention_ages.store(Arc::new(ages));
        self.core.upkeep_wanted.notify_one();
    }

    /// What is kept, but for the bytes of whatever else lies on the volume.
    pub(crate) fn retention(&self) -> Retention {
        Retention {
            ages: self.retention_ages.load_full(),
            bytes_max: self.retention_bytes_max,
        }
    }

    /// How old arrivals are, whatever the clock did.
    pub(crate) fn ages(&self) -> Ages {
        let (clock, age_max) = (
            &self.core.clock,
            nanos(self.retention_ages.load().longest()),
        );
        let mut believed = self.believed_clock.lock();
        believed.ages(clock.now_unix_nano(), clock.monotonic_nano(), age_max)
    }

    /// A fresh name for a block that is going to be written.
    pub(crate) fn begin_block(&self) -> BlockId {
        let id = self.new_block_id();
        tracing::debug!(block = %id, "a block is begun");
        self.core.writing.lock().insert(id);
        id
    }

    pub(crate) fn end_block(&self, id: BlockId) {
        self.core.writing.lock().remove(&id);
    }

    fn new_block_id(&self) -> BlockId {
        let n = self.n_ids.fetch_add(1, Ordering::Relaxed);
        let mut seed = [0; 32];
        let (random, rest) = seed.split_at_mut(16);
        random.copy_from_slice(&self.core.config.random.to_le_bytes());
        let now = self.core.clock.now_unix_nano();
        let (time, number) = rest.split_at_mut(8);
        time.copy_from_slice(&now.to_le_bytes());
        number.copy_from_slice(&n.to_le_bytes());
        BlockId(twox_hash::XxHash3_128::oneshot(&seed).to_be_bytes())
    }

    /// Commits a change and, in the same step for every reader, publishes it.
    pub(crate) async fn commit(
        &self,
        change: &Change,
        publish: impl FnOnce(),
    ) -> Result<(), CommitFailure> {
        let core = &self.core;
        let mut ledger = self.ledger.lock().await;
        let (unix, monotonic) = (core.clock.now_unix_nano(), core.clock.monotonic_nano());
        let clock = self.believed_clock.lock().record(monotonic);
        if let Err(error) = ledger.commit(change, clock, unix, monotonic).await {
            StoreMetrics::add(&core.metrics.commits_failed, 1);
            if matches!(
                error,
                StoreError::SecondWriter { .. } | StoreError::Manifest { .. }
            ) {
                core.poison(&error.to_string());
            }
            return Err(CommitFailure {
                is_absent: ledger.failed_without_trace().await,
                error,
            });
        }
        StoreMetrics::add(&core.metrics.manifests_committed, 1);
        publish();
        self.wal.forget(LogPosition(ledger.forgettable_to()));
        if let Err(error) = ledger.trim().await {
            tracing::warn!(%error, "an old manifest was not deleted");
        }
        Ok(())
    }

    /// Cuts everything that was acknowledged until now, and uploads it where there is a bucket. An error as
    /// long as a block cannot be read and so stays on the local disk alone.
    pub async fn flush(&self) -> StoreResult<()> {
        self.core.freeze();
        while self.cut_next().await? {}
        if self.core.bucket.is_some() {
            // First blocks go first.
            while self.core.n_waiting() > 0 && self.merge_here(true).await? {}
            while self.tend_bucket(true).await? {}
            self.core.left_here()?;
        }
        Ok(())
    }

    /// Takes nothing more and returns when everything acknowledged is durable. Blocks for a sync.
    pub fn stop(&self) {
        self.core.stopping.store(true, Ordering::Relaxed);
        self.wal.stop();
    }

    /// Why ingest has stopped, if it has.
    pub fn poisoned(&self) -> Option<String> {
        let log = || match self.wal.state() {
            WalState::Stopped { reason } => Some(reason),
            WalState::Running => None,
        };
        self.core.poisoned.lock().clone().or_else(log)
    }

    pub(crate) fn start_workers(self: &Arc<Self>) -> Workers {
        Workers::new(Arc::clone(self))
    }
}

/// A commit that did not succeed.
#[derive(Debug)]
pub(crate) struct CommitFailure {
    /// True if the new objects can be deleted.
    pub(crate) is_absent: bool,
    pub(crate) error: StoreError,
}

// === impl Core ===

impl Core {
    /// The hook of the log: called in the order of the records, once each.
    pub(crate) fn committed(&self, committed: Committed<Pending>) {
        let Pending {
            batch,
            ticket,
            _room,
        } = committed.payload;
        let arrival = committed.record.arrival_unix_nano;
        self.append(&batch, committed.position, arrival, Seen::First);
        let metrics = &self.metrics;
        StoreMetrics::add(&metrics.requests_accepted, 1);
        StoreMetrics::add(&metrics.spans_accepted, batch.n_spans() as u64);
        StoreMetrics::add(&metrics.bytes_accepted, batch.body.len() as u64);
        ticket.finish(&Ok(()), self.clock.monotonic_nano());
    }

    /// Makes a durable batch searchable and shows it to the taps.
    pub(crate) fn append(&self, batch: &SpanBatch, at: LogPosition, arrival: u64, seen: Seen) {
        let arrival = Bounds(arrival, arrival);
        let mut arrivals = self.arrivals.lock();
        arrivals.filling = arrivals.filling.with(arrival);
        let lookup = BlockLookup {
            blocks: self.blocks.load(),
            arrival,
            metrics: &self.metrics,
        };
        let now = self.clock.monotonic_nano();
        if let Some(full) = self.head.append(batch, at, now, &lookup) {
            arrivals.froze(&full);
            self.cut_wanted.notify_one();
        }
        drop(arrivals);
        for tap in &self.taps {
            tap.accepted(batch, seen);
        }
    }

    /// Freezes the filling generation, however young.
    pub(crate) fn freeze(&self) {
        let mut arrivals = self.arrivals.lock();
        if let Some(frozen) = self.head.freeze() {
            arrivals.froze(&frozen);
        }
    }

    /// Freezes the filling generation if it is old.
    pub(crate) fn freeze_if_old(&self) {
        let mut arrivals = self.arrivals.lock();
        let now = self.clock.monotonic_nano();
        if let Some(frozen) = self.head.freeze_if_older(now) {
            arrivals.froze(&frozen);
        }
    }

    /// First blocks that wait for a merge. One that no merge can read waits for none: counted, a few
    /// damaged blocks would stop ingest for as long as they are kept.
    pub(crate) fn n_waiting(&self) -> usize {
        let set_aside = self.set_aside.lock();
        let blocks = self.blocks.load();
        let first = blocks.live.iter().filter(|block| block.entry.level == 0);
        first
            .filter(|block| !set_aside.contains_key(&block.entry.id))
            .count()
    }

    /// A block that a merge could not read is not merged again by this process, so that others are.
    pub(crate) fn set_aside(&self, id: BlockId, error: &StoreError) {
        tracing::error!(block = %id, %error, "a block cannot be merged and is set aside");
        StoreMetrics::add(&self.metrics.blocks_set_aside, 1);
        self.set_aside.lock().insert(id, error.to_string());
    }

    /// An error if blocks stay here because they cannot be read.
    fn left_here(&self) -> StoreResult<()> {
        let blocks = self.blocks.load();
        let set_aside = self.set_aside.lock();
        let live = blocks.live.iter().filter(|it| it.home == Home::Local);
        let live = live.filter_map(|it| Some((it.entry.id, set_aside.get(&it.entry.id)?)));
        let missing = blocks.missing.iter().filter(|it| it.home == Home::Local);
        let mut left = live.chain(missing.map(|it| (it.entry.id, &it.reason)));
        let Some((id, reason)) = left.next() else {
            return Ok(());
        };
        let others = left.count();
        Err(StoreError::Block {
            id,
            reason: format!("not uploaded, nor are {others} others that cannot be read: {reason}"),
        })
    }

    /// Ingest stops, with a reason that every sender is told; queries go on.
    pub(crate) fn poison(&self, reason: &str) {
        let mut poisoned = self.poisoned.lock();
        if poisoned.is_none() {
            tracing::error!(reason, "the store takes no more spans");
            *poisoned = Some(reason.to_owned());
        }
    }

    /// Puts a block in the place of the generation that it was cut from.
    pub(crate) fn publish_cut(&self, generation: &Generation, block: Option<LiveBlock>) {
        let mut arrivals = self.arrivals.lock();
        arrivals.forget(generation.sequence());
        if let Some(block) = &block {
            // What came to be shared while the block was written.
            match generation.shared().ids().iter() {
                Some(ids) => ids.for_each(|id| block.reader.shared().insert(id)),
                None => block.reader.shared().set_all(),
            }
        }
        let add = block.map(Arc::new).into_iter().collect();
        self.head
            .remove_with(generation.sequence(), || self.blocks.replace(&[], add));
        // On a small volume a few blocks more are many: retention does not wait for its time.
        self.upkeep_wanted.notify_one();
    }
}

// === impl Arrivals ===

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            filling: Bounds::NONE,
            frozen: Vec::new(),
        }
    }
}

impl Arrivals {
    fn froze(&mut self, generation: &Generation) {
        let bounds = std::mem::replace(&mut self.filling, Bounds::NONE);
        self.frozen.push((generation.sequence(), bounds));
    }

    fn forget(&mut self, generation: u64) {
        self.frozen.retain(|(sequence, _)| *sequence != generation);
    }

    /// The earliest arrival in the head.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let frozen = self.frozen.iter().map(|(_, bounds)| *bounds);
        let all = frozen.chain([self.filling]);
        let all = all.filter(|bounds| *bounds != Bounds::NONE);
        all.map(|bounds| bounds.0).min()
    }

    /// Of the generation that fills.
    pub(crate) fn filling(&self) -> Bounds {
        self.filling
    }

    /// Of a frozen one.
    pub(crate) fn of(&self, generation: u64) -> Bounds {
        self.frozen
            .iter()
            .find(|(sequence, _)| *sequence == generation)
            .map_or(Bounds::NONE, |(_, bounds)| *bounds)
    }
}

// === impl Room ===

impl Drop for Room {
    fn drop(&mut self) {
        self.core
            .in_flight_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
