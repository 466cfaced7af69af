//! The blocks that there are to read, and what a query pins.
//!
//! [`Blocks`] is one immutable state; every commit swaps it whole, in the same step in which the
//! generation that a block was cut from leaves the head. So no span lies in two sources of one
//! snapshot, and none is missing. Replaced blocks are retired: their files are deleted when no
//! snapshot holds them and recovery does not need them. What this is not: it decides nothing.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracewell_model::{TenantId, TraceId};

use crate::codec::BlockReader;
use crate::head::TraceLookup;
use crate::manifest::{BlockEntry, BlockId};
use crate::metrics::StoreMetrics;
use crate::partition::Bounds;
use crate::recent::RecentTraces;

/// Fragments of a trace that arrived further apart than this are not joined.
pub const TRACE_HORIZON_NANO: u64 = 24 * 3_600 * 1_000_000_000;

/// The blocks of the newest manifest.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    pub live: Vec<Arc<LiveBlock>>,
    /// Those that cannot be read.
    pub missing: Vec<Arc<MissingBlock>>,
    /// Why no block of the bucket is among them, where there is a bucket that was never read.
    pub unreachable: Option<String>,
    recent: RecentTraces,
    /// Live blocks that `recent` does not speak for.
    others: Vec<Arc<LiveBlock>>,
}

/// A block that can be read.
#[derive(Debug)]
pub struct LiveBlock {
    pub entry: BlockEntry,
    pub reader: Arc<dyn BlockReader>,
    pub home: Home,
}

/// Whose manifest lists a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Local,
    Bucket,
}

/// A block that the manifest lists and that could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingBlock {
    pub entry: BlockEntry,
    pub reason: String,
    pub home: Home,
}

/// The current state, and what was replaced.
#[derive(Debug, Default)]
pub struct BlockViews {
    current: ArcSwap<Blocks>,
    retired: Mutex<Vec<Retired>>,
}

/// Files that may go.
#[derive(Debug)]
pub struct Retired {
    pub id: BlockId,
    /// Of its files; 0 where that is not known any more.
    bytes: u64,
    /// `None` for a block that was replaced before the start, or was never readable.
    live: Option<Arc<LiveBlock>>,
}

/// Asks the blocks for traces of a batch that arrived at one time.
#[derive(Debug)]
pub struct BlockLookup<'a> {
    pub blocks: Arc<Blocks>,
    pub arrival: Bounds,
    pub metrics: &'a StoreMetrics,
}

// === impl Blocks ===

impl Blocks {
    pub fn new(live: Vec<Arc<LiveBlock>>, missing: Vec<Arc<MissingBlock>>) -> Self {
        let mut blocks = Self {
            live: Vec::new(),
            missing,
            unreachable: None,
            recent: RecentTraces::default(),
            others: Vec::new(),
        };
        blocks.add(live);
        blocks
    }

    /// Entries of the blocks of one home that can be read.
    pub fn entries(&self, home: Home) -> Vec<BlockEntry> {
        let at_home = self.live.iter().filter(|block| block.home == home);
        at_home.map(|block| block.entry.clone()).collect()
    }

    pub fn get(&self, id: BlockId) -> Option<&Arc<LiveBlock>> {
        self.live.iter().find(|block| block.entry.id == id)
    }

    fn add(&mut self, blocks: Vec<Arc<LiveBlock>>) {
        for block in &blocks {
            if let Some(ids) = block.reader.id_hashes() {
                self.recent.insert(block.entry.id, ids);
            }
        }
        self.live.extend(blocks);
        let live = self.live.iter();
        self.others = live
            .filter(|block| !self.recent.speaks_for(block.entry.id))
            .map(Arc::clone)
            .collect();
    }

    /// Tells every block that may hold a trace that it is shared. True if there is one, or may be one in a
    /// bucket that was never read: what is shared must be known when both have been written.
    pub fn share(&self, tenant: &TenantId, id: TraceId, arrival: Bounds) -> bool {
        let mut shared = self.unreachable.is_some();
        let blocks = if self.recent.may_contain(id) {
            &self.live
        } else {
            &self.others
        };
        for block in blocks {
            if block.entry.arrival.distance(arrival) <= TRACE_HORIZON_NANO
                && block.reader.may_contain(tenant, id)
            {
                block.reader.shared().insert(id);
                shared = true;
            }
        }
        shared
    }
}

// === impl LiveBlock ===

impl LiveBlock {
    /// True if no span that arrives now is taken for one of its traces.
    pub fn is_old(&self, now: u64) -> bool {
        now.saturating_sub(self.entry.arrival.1) > TRACE_HORIZON_NANO
    }

    /// What another block shares is shared by this one, if it holds traces of it.
    pub fn learn(&self, from: &Self) {
        match from.reader.shared().ids().iter() {
            Some(ids) => ids
                .filter(|id| self.may_hold(*id))
                .for_each(|id| self.reader.shared().insert(id)),
            None => self.reader.shared().set_all(),
        }
    }

    /// False only if no tenant's trace of this id lies in the block.
    pub fn may_hold(&self, id: TraceId) -> bool {
        match &self.entry.tenant {
            Some(tenant) => self.reader.may_contain(tenant, id),
            // Of several tenants: ids that two tenants share cost a join.
            None => self.reader.may_contain_of_any(id),
        }
    }
}

// === impl BlockViews ===

impl BlockViews {
    pub fn load(&self) -> Arc<Blocks> {
        self.current.load_full()
    }

    /// Takes blocks out and puts blocks in, in one step. There is one caller at a time: who holds the
    /// ledger.
    pub fn replace(&self, remove: &[BlockId], add: Vec<Arc<LiveBlock>>) {
        self.replace_with(remove, add, Vec::new());
    }

    /// The same, with blocks that cannot be read. The bucket has been read, if there is one.
    pub fn replace_with(
        &self,
        remove: &[BlockId],
        add: Vec<Arc<LiveBlock>>,
        missing: Vec<Arc<MissingBlock>>,
    ) {
        // Who holds it is the only one that swaps.
        let mut retired = self.retired.lock();
        let mut next = Blocks::clone(&self.current.load());
        next.live.retain(|block| {
            let stays = !remove.contains(&block.entry.id);
            if !stays && block.home == Home::Local {
                retired.push(Retired {
                    id: block.entry.id,
                    bytes: block.entry.bytes,
                    live: Some(Arc::clone(block)),
                });
            }
            stays
        });
        next.missing.retain(|block| {
            let stays = !remove.contains(&block.entry.id);
            if !stays && block.home == Home::Local {
                retired.push(Retired {
                    id: block.entry.id,
                    bytes: block.entry.bytes,
                    live: None,
                });
            }
            stays
        });
        next.recent
            .merged(remove, add.iter().map(|block| block.entry.id));
        next.add(add);
        next.missing.extend(missing);
        self.current.store(Arc::new(next));
    }

    /// The bucket has been read for the first time.
    pub fn reached(&self) {
        let _alone = self.retired.lock();
        let mut next = Blocks::clone(&self.current.load());
        next.unreachable = None;
        self.current.store(Arc::new(next));
    }

    pub fn start(&self, blocks: Blocks, replaced: Vec<BlockId>) {
        self.current.store(Arc::new(blocks));
        let replaced = replaced.into_iter().map(|id| Retired {
            id,
            bytes: 0,
            live: None,
        });
        self.retired.lock().extend(replaced);
    }

    /// Takes out those that nobody reads any more and `may_go` allows.
    pub fn take_retired(&self, may_go: impl Fn(BlockId) -> bool) -> Vec<BlockId> {
        let mut ids = Vec::new();
        self.retired.lock().retain(|retired| {
            let goes = !retired.is_pinned() && may_go(retired.id);
            if goes {
                ids.push(retired.id);
            }
            !goes
        });
        ids
    }

    /// Puts back what could not be deleted.
    pub fn retire_again(&self, id: BlockId) {
        self.retired.lock().push(Retired {
            id,
            bytes: 0,
            live: None,
        });
    }

    /// Bytes of files that are going to be deleted.
    pub fn retired_bytes(&self) -> u64 {
        self.retired
            .lock()
            .iter()
            .map(|retired| retired.bytes)
            .sum()
    }

    pub fn n_retired(&self) -> usize {
        self.retired.lock().len()
    }
}

// === impl Retired ===

impl Retired {
    /// The retired list holds one reference of the block, and the block one of its source. Once both
    /// are the last ones nobody can get another.
    fn is_pinned(&self) -> bool {
        self.live
            .as_ref()
            .is_some_and(|live| Arc::strong_count(live) > 1 || Arc::strong_count(&live.reader) > 1)
    }
}

// === impl BlockLookup ===

impl TraceLookup for BlockLookup<'_> {
    fn share(&self, tenant: &TenantId, id: TraceId) -> bool {
        StoreMetrics::add(&self.metrics.traces_created, 1);
        let shared = self.blocks.share(tenant, id, self.arrival);
        if shared {
            StoreMetrics::add(&self.metrics.traces_shared, 1);
        }
        shared
    }
}
