//! What an operator sees: the store in numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracewell_model::{TenantId, limits};

use crate::bucket::BucketStatus;
use crate::disk::DiskSpace;
use crate::head::Generation;
use crate::manifest::BlockId;
use crate::partition::Bounds;
use crate::recovery::Recovery;
use crate::snapshot::{Home, LiveBlock, MissingBlock};
use crate::store::Store;
use crate::wal::WalStats;

/// The state of a store at one moment.
#[derive(Debug, Clone)]
pub struct StoreStatus {
    pub head_bytes: u64,
    pub head_spans: u64,
    /// By tenant. A trace counts in each generation that holds spans of it.
    pub head_traces: BTreeMap<TenantId, u64>,
    /// Oldest first; the last one fills.
    pub generations: Vec<GenerationStatus>,
    /// First blocks that wait for a merge.
    pub blocks_waiting: usize,
    pub by_level: BTreeMap<u8, BlockSums>,
    /// Blocks by tenant. First blocks name none: they count for the one that there is.
    pub blocks_by_tenant: BTreeMap<TenantId, u64>,
    /// By the text of the partition; first blocks have none.
    pub by_partition: BTreeMap<String, BlockSums>,
    pub blocks_missing: usize,
    /// `None` where the local disk is all there is.
    pub bucket: Option<BucketStatus>,
    /// Blocks that a merge could not read, each with the reason; queries read what can be read.
    pub blocks_set_aside: BTreeMap<BlockId, String>,
    /// Further blocks in which a query met damage, each with the first.
    pub blocks_damaged: BTreeMap<BlockId, String>,
    /// Bytes of the filters of trace ids that are in memory: of blocks within the trace horizon.
    pub filter_bytes: u64,
    /// Replaced blocks whose files are there yet.
    pub blocks_retired: usize,
    pub manifest: u64,
    /// Of blocks on the local disk.
    pub block_bytes: u64,
    /// Of live blocks in the bucket.
    pub bucket_block_bytes: u64,
    /// When the earliest span in the head or a block started, in Unix nanoseconds. Where the clock of a sender
    /// is not believed, when it arrived.
    pub oldest_span_unix_nano: Option<u64>,
    pub retention_bytes_max: u64,
    /// The space of the volume, or why it is not known.
    pub space: Result<DiskSpace, String>,
    pub wal: WalStats,
    /// Counters of limits that have refused something, by name.
    pub limits_hit: Vec<(&'static str, u64)>,
    /// Why ingest has stopped, if it has.
    pub poisoned: Option<String>,
    pub recovery: Recovery,
}

/// A generation of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationStatus {
    pub sequence: u64,
    pub stage: Stage,
    pub spans: u64,
    pub bytes: u64,
    /// How long ago its first record came.
    pub age_nano: u64,
}

/// What becomes of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Filling,
    /// It waits for its block.
    Frozen,
    /// Its block is written.
    Cutting,
}

/// Sums over some blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockSums {
    pub blocks: u64,
    pub spans: u64,
    pub traces: u64,
    pub bytes: u64,
}

fn bytes_in_bucket(live: &[Arc<LiveBlock>]) -> u64 {
    let there = live.iter().filter(|block| block.home == Home::Bucket);
    there.map(|block| block.entry.bytes).sum()
}

impl Store {
    /// Blocks that could not be read at the start and that retention has left so far.
    pub fn blocks_missing(&self) -> Vec<Arc<MissingBlock>> {
        self.core.blocks.load().missing.clone()
    }

    /// Live blocks that a merge could not read, each with the reason.
    pub fn set_aside(&self) -> BTreeMap<BlockId, String> {
        let blocks = self.core.blocks.load();
        let mut set_aside = self.core.set_aside.lock().clone();
        set_aside.retain(|id, _| blocks.get(*id).is_some());
        set_aside
    }

    /// Live blocks that no merge has set aside and in which a query met damage, each with the first.
    pub fn damaged(&self) -> BTreeMap<BlockId, String> {
        let blocks = self.core.blocks.load();
        let set_aside = self.core.set_aside.lock();
        let live = blocks.live.iter();
        live.filter(|block| !set_aside.contains_key(&block.entry.id))
            .filter_map(|block| Some((block.entry.id, block.reader.damage()?.to_owned())))
            .collect()
    }

    /// Why the bucket fails at this moment, if there is one and it does.
    pub fn bucket_failing(&self) -> Option<String> {
        let bucket = self.core.bucket.as_ref()?;
        let (reason, since) = bucket.contact().failing?;
        let now = self.core.clock.monotonic_nano();
        let seconds = now.saturating_sub(since) / 1_000_000_000;
        let name = &bucket.config.objects;
        Some(format!("{name} fails for {seconds} s: {reason}"))
    }

    /// For what new spans are refused at this moment, by the names of [`limits::REFUSALS`].
    pub fn refusing(&self) -> Vec<&'static str> {
        let core = &self.core;
        let is_low = core.disk_is_low.load(Ordering::Relaxed);
        let is_behind = core.n_waiting() > core.config.limits.waiting_blocks_max;
        let refusing = [
            (is_low, limits::DISK_RESERVE_BYTES),
            (is_behind, limits::WAITING_BLOCKS),
        ];
        let met = refusing.into_iter().filter(|(is_met, _)| *is_met);
        met.map(|(_, limit)| limit).collect()
    }

    fn generations(&self) -> Vec<GenerationStatus> {
        // One at a time is cut, the oldest.
        let is_cutting = self.cutting.try_lock().is_err();
        let now = self.core.clock.monotonic_nano();
        let generations = self.core.head.generations();
        let last = generations.len().saturating_sub(1);
        let of = |(at, generation): (usize, &Arc<Generation>)| GenerationStatus {
            sequence: generation.sequence(),
            stage: match at {
                at if at == last => Stage::Filling,
                0 if is_cutting => Stage::Cutting,
                _ => Stage::Frozen,
            },
            spans: generation.n_spans(),
            bytes: generation.n_bytes(),
            age_nano: generation
                .born_nano()
                .map_or(0, |born| now.saturating_sub(born)),
        };
        generations.iter().enumerate().map(of).collect()
    }

    /// Of a block with a span of 1970 nobody would know what it holds.
    fn oldest_span(&self, live: &[Arc<LiveBlock>]) -> Option<u64> {
        let core = &self.core;
        let believed = |start: u64, arrival: Bounds| match arrival {
            Bounds::NONE => start,
            _ if core.config.clock_bounds.believes(start, arrival) => start,
            _ => arrival.0,
        };
        let blocks = live.iter().map(|block| &block.entry);
        let blocks = blocks.map(|entry| believed(entry.span_start.0, entry.arrival));
        let generations = core.head.generations();
        let (arrivals, last) = (core.arrivals.lock(), generations.len().saturating_sub(1));
        let head = generations.iter().enumerate().filter_map(|(at, it)| {
            let arrival = match at == last {
                true => arrivals.filling(),
                false => arrivals.of(it.sequence()),
            };
            Some(believed(it.start_min()?, arrival))
        });
        blocks.chain(head).min()
    }

    pub async fn status(&self) -> StoreStatus {
        let core = &self.core;
        let blocks = core.blocks.load();
        let mut by_level: BTreeMap<u8, BlockSums> = BTreeMap::new();
        let mut by_partition: BTreeMap<String, BlockSums> = BTreeMap::new();
        let mut blocks_by_tenant: BTreeMap<TenantId, u64> = BTreeMap::new();
        for block in &blocks.live {
            let entry = &block.entry;
            let tenant = entry.tenant.clone().unwrap_or_else(TenantId::single);
            *blocks_by_tenant.entry(tenant).or_default() += 1;
            let partition = entry.partition.map(|partition| partition.to_string());
            let sums = partition.map(|partition| by_partition.entry(partition).or_default());
            let level = by_level.entry(entry.level).or_default();
            for sums in sums.into_iter().chain([level]) {
                sums.blocks += 1;
                sums.spans += entry.spans;
                sums.traces += entry.traces;
                sums.bytes += entry.bytes;
            }
        }
        let (manifest, block_bytes) = {
            let ledger = self.ledger.lock().await;
            (ledger.manifest().number, ledger.manifest().bytes())
        };
        let refused = core.metrics.values().into_iter();
        StoreStatus {
            head_bytes: core.head.n_bytes(),
            head_spans: core.head.n_spans(),
            head_traces: core.head.traces_by_tenant(),
            generations: self.generations(),
            blocks_waiting: core.n_waiting(),
            by_level,
            blocks_by_tenant,
            by_partition,
            blocks_missing: blocks.missing.len(),
            bucket: self.bucket_status(),
            blocks_set_aside: self.set_aside(),
            blocks_damaged: self.damaged(),
            filter_bytes: blocks
                .live
                .iter()
                .map(|block| block.reader.filter_bytes())
                .sum(),
            blocks_retired: core.blocks.n_retired(),
            manifest,
            block_bytes,
            bucket_block_bytes: bytes_in_bucket(&blocks.live),
            oldest_span_unix_nano: self.oldest_span(&blocks.live),
            retention_bytes_max: self.retention_bytes_max,
            space: core
                .disk
                .space(&core.config.data_dir)
                .map_err(|error| error.to_string()),
            wal: self.wal.stats(),
            limits_hit: refused
                .filter(|(name, _, n)| name.starts_with("refused_") && *n > 0)
                .map(|(name, _, n)| (name, n))
                .collect(),
            poisoned: self.poisoned(),
            recovery: self.recovery(),
        }
    }
}
