//! What the bucket's newest manifest says becomes what queries see.
//!
//! The blocks of this process are compared with the manifest, whoever changed it: uploads of its own,
//! merges of its own, and the work of others. Everything that is new is opened first; then all of it is
//! swapped in one step, so that no query sees a block twice or not at all.
//!
//! Traces that lie in several sources must be known to both. What came of blocks that were here brings
//! no new traces, and inherits what those shared. What came from elsewhere stores what it shares with
//! other blocks of its own writer; where several writers meet, every trace of theirs is joined.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::Bucket;
use crate::error::{StoreError, StoreResult};
use crate::manifest::{BlockEntry, BlockId, Change, Manifest};
use crate::snapshot::{Blocks, Home, LiveBlock, MissingBlock, TRACE_HORIZON_NANO};
use crate::store::Store;

/// Blocks that are opened at the same time.
const OPENED_AT_ONCE: usize = 16;

/// What changes in the view.
struct Difference {
    /// Listed in the bucket, and not seen as there.
    new: Vec<BlockEntry>,
    /// Seen as in the bucket, and listed no more.
    gone: Vec<BlockId>,
    /// Seen as here, and committed in the bucket.
    arrived: Vec<BlockId>,
}

impl Store {
    /// Brings the view in line with the newest manifest that is known of the bucket.
    pub(super) async fn follow_bucket(&self, bucket: &Bucket) -> StoreResult<()> {
        // A merge in the bucket swaps its blocks itself.
        let _no_merge = bucket.swapping.lock().await;
        let (manifest, difference) = {
            let slot = bucket.chain.lock().await;
            let Some(chain) = slot.as_ref() else {
                return Ok(());
            };
            let blocks = self.core.blocks.load();
            let difference = difference(&blocks, chain.newest(), |id| chain.has_named(id));
            (chain.newest().number, difference)
        };
        let is_first = self.core.blocks.load().unreachable.is_some();
        if difference.is_empty() {
            if is_first {
                self.core.blocks.reached();
            }
            return Ok(());
        }
        let Difference {
            new,
            gone,
            mut arrived,
        } = difference;
        let (live, mut missing) = self.open_all(bucket, new).await?;
        // A copy here that can be read is not given up for one there that cannot.
        arrived.retain(|id| !missing.iter().any(|block| block.entry.id == *id));
        let blocks = self.core.blocks.load();
        missing.retain(|block| blocks.get(block.entry.id).is_none());
        drop(blocks);
        let remove: Vec<BlockId> = gone.iter().chain(&arrived).copied().collect();
        let n_new = live.len();
        let publish = || self.publish_bucket(&remove, live, missing);
        if arrived.is_empty() {
            publish();
        } else {
            let change = Change {
                forget: arrived.clone(),
                ..Change::default()
            };
            self.commit(&change, publish)
                .await
                .map_err(|failure| failure.error)?;
        }
        for id in gone {
            let folder = bucket.blocks_folder().join(id.to_string());
            bucket.cached.forget(&folder).await;
        }
        tracing::debug!(
            manifest,
            blocks = n_new,
            moved = arrived.len(),
            "the view follows the bucket"
        );
        Ok(())
    }

    /// Opens blocks of the bucket. One that is damaged is missing; where the bucket does not answer,
    /// nothing changes.
    pub(crate) async fn open_all(
        &self,
        bucket: &Bucket,
        entries: Vec<BlockEntry>,
    ) -> StoreResult<(Vec<LiveBlock>, Vec<MissingBlock>)> {
        let opened: Vec<Result<LiveBlock, MissingBlock>> = stream::iter(entries)
            .map(|entry| self.open_one(bucket, entry))
            .buffer_unordered(OPENED_AT_ONCE)
            .try_collect()
            .await?;
        let (mut live, mut missing) = (Vec::new(), Vec::new());
        for block in opened {
            match block {
                Ok(block) => live.push(block),
                Err(block) => missing.push(block),
            }
        }
        Ok((live, missing))
    }

    async fn open_one(
        &self,
        bucket: &Bucket,
        entry: BlockEntry,
    ) -> StoreResult<Result<LiveBlock, MissingBlock>> {
        match self.open_in_bucket(bucket, &entry).await {
            Ok(block) => Ok(Ok(block)),
            Err(error) if error.is_unreachable() => Err(error),
            Err(error) => {
                tracing::error!(block = %entry.id, %error, "a block of the bucket cannot be read");
                Ok(Err(MissingBlock {
                    entry,
                    reason: error.to_string(),
                    home: Home::Bucket,
                }))
            }
        }
    }

    pub(crate) async fn open_in_bucket(
        &self,
        bucket: &Bucket,
        entry: &BlockEntry,
    ) -> StoreResult<LiveBlock> {
        let core = &self.core;
        if entry.delete_set.is_some() {
            return Err(StoreError::Block {
                id: entry.id,
                reason: "names a delete set, which this program does not know".to_owned(),
            });
        }
        let folder = bucket.block_folder(entry);
        let reader = core.format.open(&bucket.objects, folder, entry).await?;
        let block = LiveBlock {
            entry: entry.clone(),
            reader,
            home: Home::Bucket,
        };
        if !block.is_old(core.clock.now_unix_nano()) {
            block.reader.load_filters().await?;
        }
        Ok(block)
    }

    /// Swaps blocks, and tells all of them what they share. Nothing is appended meanwhile.
    fn publish_bucket(&self, remove: &[BlockId], live: Vec<LiveBlock>, missing: Vec<MissingBlock>) {
        let core = &self.core;
        let _no_append = core.arrivals.lock();
        let before = core.blocks.load();
        let removed: Vec<&Arc<LiveBlock>> = before
            .live
            .iter()
            .filter(|block| remove.contains(&block.entry.id))
            .collect();
        let of_removed = removed.iter().map(|block| &block.entry);
        // What a block was merged from stands in its results too.
        let known = of_removed.flat_map(|it| it.made_from.iter().chain([&it.id]).copied());
        let known: BTreeSet<BlockId> = known.collect();
        for block in &live {
            removed.iter().for_each(|old| block.learn(old));
        }
        let is_strange = |block: &LiveBlock| {
            let entry = &block.entry;
            let came_of_known =
                !entry.made_from.is_empty() && entry.made_from.iter().all(|id| known.contains(id));
            !known.contains(&entry.id) && !came_of_known
        };
        let any_strange = live.iter().any(is_strange);
        let is_open = core.is_open.load(Ordering::Relaxed);
        // Spans came in while nobody could say what the bucket holds.
        let is_late = is_open && before.unreachable.is_some();
        let join_all = any_strange && (is_late || !self.is_of_one_writer(&before, &live));
        let live: Vec<Arc<LiveBlock>> = live.into_iter().map(Arc::new).collect();
        let missing = missing.into_iter().map(Arc::new).collect();
        core.blocks.replace_with(remove, live.clone(), missing);
        core.blocks.reached();
        let after = core.blocks.load();
        if join_all {
            let all = after.live.iter();
            all.for_each(|block| block.reader.shared().set_all());
            core.head.share_all();
        } else if any_strange && is_open {
            teach(&after.live, &live);
            teach(&live, &after.live);
        }
    }

    /// True if all spans that there are came through the log of one other process, so that its blocks
    /// say what they share.
    fn is_of_one_writer(&self, before: &Blocks, new: &[LiveBlock]) -> bool {
        let core = &self.core;
        let own =
            core.head.n_spans() > 0 || before.live.iter().any(|block| block.home == Home::Local);
        let own = own.then_some(Some(&core.log));
        let there = before.live.iter().map(|block| &**block).chain(new);
        let there = there.filter(|block| block.home == Home::Bucket);
        let there = there.map(|block| block.entry.writer.as_ref());
        let writers: BTreeSet<Option<&String>> = there.chain(own).collect();
        writers.len() <= 1 && !writers.contains(&None)
    }
}

impl Difference {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty() && self.arrived.is_empty()
    }
}

fn difference(
    blocks: &Blocks,
    manifest: &Manifest,
    has_named: impl Fn(BlockId) -> bool,
) -> Difference {
    let live = blocks.live.iter().map(|block| (block.entry.id, block.home));
    let missing = blocks
        .missing
        .iter()
        .map(|block| (block.entry.id, block.home));
    let seen: Vec<(BlockId, Home)> = live.chain(missing).collect();
    let there: BTreeSet<BlockId> = seen
        .iter()
        .filter(|(_, home)| *home == Home::Bucket)
        .map(|(id, _)| *id)
        .collect();
    let is_here = |(id, home): &&(BlockId, Home)| *home == Home::Local && has_named(*id);
    Difference {
        new: manifest
            .blocks
            .iter()
            .filter(|entry| !there.contains(&entry.id))
            .cloned()
            .collect(),
        gone: there
            .iter()
            .copied()
            .filter(|id| manifest.block(*id).is_none())
            .collect(),
        arrived: seen.iter().filter(is_here).map(|(id, _)| *id).collect(),
    }
}

/// Blocks learn from others what they share with them.
fn teach(learners: &[Arc<LiveBlock>], tellers: &[Arc<LiveBlock>]) {
    for learner in learners {
        let near = tellers.iter().filter(|teller| {
            let distance = teller.entry.arrival.distance(learner.entry.arrival);
            teller.entry.id != learner.entry.id && distance <= TRACE_HORIZON_NANO
        });
        near.for_each(|teller| learner.learn(teller));
    }
}
