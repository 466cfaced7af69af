//! What keeps the disk from filling: retention, deleting what was replaced, and the sweep.
//!
//! Ingest is refused while the volume has less than `Limits::disk_reserve_bytes`; what is done here
//! goes on in the reserve. What this is not: it does not decide what expires (see
//! [`crate::retention`]).

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use tracewell_model::sink::LogPosition;

use crate::disk::DiskSpace;
use crate::error::{StoreError, StoreResult};
use crate::manifest::{BlockId, Change};
use crate::metrics::StoreMetrics;
use crate::snapshot::Home;
use crate::store::Store;

/// Objects that nobody names are deleted when they are this old.
pub const SWEEP_AGE_NANO: u64 = 24 * 3_600 * 1_000_000_000;
/// How often the object store is listed for them.
pub const SWEEP_EVERY_NANO: u64 = 3_600 * 1_000_000_000;

/// Retention by bytes leaves one in so many to blocks, whatever the log and others keep on the volume.
const KEPT_OF_BYTES: u64 = 16;

impl Store {
    /// One round: space, retention, settling, deleting, and now and then the sweep.
    pub async fn upkeep(&self) -> StoreResult<()> {
        self.check_space();
        let retained = self.retain().await;
        self.let_old_blocks_rest();
        let settled = self.settle(false).await;
        let deleted = self.delete_retired().await;
        if retained.is_err() || deleted.is_err() {
            StoreMetrics::add(&self.core.metrics.retentions_failed, 1);
        }
        let swept = self.sweep_if_due().await;
        self.expire_log().await;
        retained.and(settled).and(deleted).and(swept)
    }

    /// Blocks beyond the trace horizon keep nothing in memory that only new spans ask for.
    fn let_old_blocks_rest(&self) {
        let now = self.ages().counted_now();
        let blocks = self.core.blocks.load();
        let old = blocks.live.iter().filter(|block| block.is_old(now));
        old.for_each(|block| block.reader.grow_old());
    }

    /// Looks at the free space of the volume and says whether ingest may go on.
    pub fn check_space(&self) {
        let core = &self.core;
        core.unchecked_bytes.store(0, Ordering::Relaxed);
        match self.space() {
            Ok(space) => {
                let is_low = space.free < core.config.limits.disk_reserve_bytes;
                if core.disk_is_low.swap(is_low, Ordering::Relaxed) != is_low {
                    tracing::warn!(
                        free = space.free,
                        reserve = core.config.limits.disk_reserve_bytes,
                        refusing = is_low,
                        "free space crossed limits.disk_reserve_bytes"
                    );
                    core.upkeep_wanted.notify_one();
                }
            }
            Err(error) => tracing::warn!(%error, "the free space is not known"),
        }
    }

    /// Lets files of the log go that hold old records, which all lie in blocks.
    async fn expire_log(&self) {
        if self.wal.expire() {
            let covered = self.ledger.lock().await.forgettable_to();
            self.wal.forget(LogPosition(covered));
        }
    }

    /// The space of the volume, or of that of two that has less: the log may lie on its own.
    fn space(&self) -> std::io::Result<DiskSpace> {
        let (data, log) = self.spaces()?;
        Ok(if log.free < data.free { log } else { data })
    }

    /// The space of the volume of the blocks, and of that of the log.
    fn spaces(&self) -> std::io::Result<(DiskSpace, DiskSpace)> {
        let core = &self.core;
        let data = core.disk.space(&core.config.data_dir)?;
        Ok((data, core.disk.space(&core.config.wal.dir)?))
    }

    /// Drops the blocks that have expired.
    pub async fn retain(&self) -> StoreResult<()> {
        // A merge that runs must not bring back what expires.
        let _no_merge = self.merging.lock().await;
        let core = &self.core;
        let ages = self.ages();
        let blocks = core.blocks.load();
        let busy = core.busy.lock().clone();
        let live = blocks.live.iter().map(|block| (&block.entry, block.home));
        let missing = blocks
            .missing
            .iter()
            .map(|block| (&block.entry, block.home));
        let here = live
            .chain(missing)
            .filter(|(entry, home)| *home == Home::Local && !busy.contains(&entry.id));
        let all = here.map(|(entry, _)| entry);
        let mut retention = self.retention();
        retention.bytes_max = match core.bucket {
            // What waits for the bucket goes there, and when the volume is full ingest waits too.
            Some(_) => u64::MAX,
            None => self.room_for_blocks(all.clone().map(|entry| entry.bytes).sum()),
        };
        let expired = retention.expired(all, &ages);
        if expired.is_empty() {
            return Ok(());
        }
        let change = Change {
            remove: [expired.by_age.clone(), expired.by_bytes.clone()].concat(),
            ..Change::default()
        };
        let gone = blocks
            .live
            .iter()
            .filter(|block| change.remove.contains(&block.entry.id));
        let n_spans = gone.map(|block| block.entry.spans).sum();
        let publish = || core.blocks.replace(&change.remove, Vec::new());
        self.commit(&change, publish).await.map_err(|f| f.error)?;
        tracing::info!(
            by_age = expired.by_age.len(),
            by_bytes = expired.by_bytes.len(),
            spans = n_spans,
            "blocks have expired"
        );
        core.expired.lock().extend(change.remove);
        let metrics = &core.metrics;
        StoreMetrics::add(&metrics.blocks_expired_by_age, expired.by_age.len() as u64);
        StoreMetrics::add(
            &metrics.blocks_expired_by_bytes,
            expired.by_bytes.len() as u64,
        );
        StoreMetrics::add(&metrics.spans_expired, n_spans);
        Ok(())
    }

    /// How many bytes the blocks on the local disk may have. The policy is about all that is kept on
    /// their volume, and the log keeps spans too. A part is left to blocks in any case: a log that grows, or
    /// others that fill the volume, stop ingest in the end, and cost no spans that are kept.
    fn room_for_blocks(&self, block_bytes: u64) -> u64 {
        let core = &self.core;
        let config = &core.config;
        let bytes_max = self.retention_bytes_max;
        let wal = self.wal.stats();
        let spaces = self.spaces();
        if let Err(error) = &spaces {
            tracing::warn!(%error, "what others keep on the volume is not known");
        }
        let is_beside = |(data, log): &(DiskSpace, DiskSpace)| data.volume == log.volume;
        let (log_bytes, spare_bytes) = match spaces.as_ref().map_or(true, is_beside) {
            true => (wal.log_bytes, wal.spare_bytes),
            false => (0, 0),
        };
        let mut room = bytes_max.saturating_sub(log_bytes);
        let is_share = config.retention_is_share || config.retention_bytes.is_none();
        if let (true, Ok((data, _))) = (is_share, spaces) {
            // What the share is not stays free. The log stands on both sides of the sum. What is going
            // to be deleted and what is kept ready for the log is not taken for somebody else's.
            let own_and_free = block_bytes
                .saturating_add(core.blocks.retired_bytes())
                .saturating_add(spare_bytes)
                .saturating_add(data.free);
            let rest = data.total.saturating_sub(bytes_max);
            room = room.min(own_and_free.saturating_sub(rest));
        }
        room.max(bytes_max / KEPT_OF_BYTES)
    }

    /// Writes the newest manifest once more, so that what the last commit replaced may go. Waits for a
    /// quiet moment unless it is forced.
    pub async fn settle(&self, force: bool) -> StoreResult<()> {
        {
            let ledger = self.ledger.lock().await;
            let due = ledger.wants_to_settle(self.core.clock.monotonic_nano());
            if ledger.is_settled() || !(due || force) {
                return Ok(());
            }
        }
        self.commit(&Change::default(), || ())
            .await
            .map_err(|f| f.error)
    }

    /// Deletes the files of blocks that nobody reads and recovery does not need.
    pub async fn delete_retired(&self) -> StoreResult<()> {
        let ids = {
            let ledger = self.ledger.lock().await;
            self.core.blocks.take_retired(|id| !ledger.is_needed(id))
        };
        for id in ids {
            match self.delete_folder(id).await {
                Ok(_) => {
                    let metrics = &self.core.metrics;
                    StoreMetrics::add(&metrics.blocks_deleted, 1);
                    let expired = self.core.expired.lock().remove(&id);
                    StoreMetrics::add(&metrics.blocks_expired_deleted, u64::from(expired));
                }
                Err(error) => {
                    self.core.blocks.retire_again(id);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Deletes objects that no manifest has named for a day.
    pub async fn sweep(&self) -> StoreResult<u64> {
        let core = &self.core;
        let now = self.ages().counted_now();
        let folder = core.config.blocks_folder();
        let listed: Vec<_> = core
            .objects
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(|e| StoreError::object("list", &folder, e))?;
        let mut n_swept = 0;
        for meta in listed {
            let modified = meta.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX);
            let modified = u64::try_from(modified).unwrap_or(0);
            let is_old = now.saturating_sub(modified) >= SWEEP_AGE_NANO;
            let Some(id) = self.block_of(&meta.location) else {
                continue;
            };
            if !is_old || core.writing.lock().contains(&id) {
                continue;
            }
            // Held while deleting, so that no commit names it meanwhile.
            let ledger = self.ledger.lock().await;
            if ledger.chain().is_named(id) {
                continue;
            }
            delete(&*core.objects, &meta.location).await?;
            n_swept += 1;
        }
        if n_swept > 0 {
            tracing::info!(
                objects = n_swept,
                "leftovers of interrupted work were deleted"
            );
        }
        StoreMetrics::add(&core.metrics.objects_swept, n_swept);
        Ok(n_swept)
    }

    async fn sweep_if_due(&self) -> StoreResult<()> {
        let now = self.core.clock.monotonic_nano();
        let due = {
            let mut swept_at = self.swept_at.lock();
            let due = swept_at.is_none_or(|at| now.saturating_sub(at) >= SWEEP_EVERY_NANO);
            if due {
                *swept_at = Some(now);
            }
            due
        };
        if due {
            self.sweep().await?;
        }
        Ok(())
    }

    /// Deletes the objects of a block that no manifest names; what is left is swept after a day.
    pub(crate) async fn delete_block(&self, id: BlockId) {
        if let Err(error) = self.delete_folder(id).await {
            tracing::warn!(block = %id, %error, "objects of a block that came to nothing are left");
        }
    }

    async fn delete_folder(&self, id: BlockId) -> StoreResult<u64> {
        let core = &self.core;
        let folder = core.config.block_folder(id);
        let listed: Vec<_> = core
            .objects
            .list(Some(&folder))
            .map_ok(|meta| meta.location)
            .try_collect()
            .await
            .map_err(|e| StoreError::object("list", &folder, e))?;
        let names: BTreeSet<Path> = listed.into_iter().collect();
        for name in &names {
            delete(&*core.objects, name).await?;
        }
        Ok(names.len() as u64)
    }

    /// The block that an object belongs to: the first folder under `blocks`.
    fn block_of(&self, path: &Path) -> Option<BlockId> {
        let mut parts = path.prefix_match(&self.core.config.blocks_folder())?;
        BlockId::parse(parts.next()?.as_ref())
    }
}

async fn delete(objects: &dyn object_store::ObjectStore, path: &Path) -> StoreResult<()> {
    match objects.delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(e) => Err(StoreError::object("delete", path, e)),
    }
}
