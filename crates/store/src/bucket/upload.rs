//! Blocks go from the local disk to the bucket.
//!
//! The objects of a block keep their names, and an upload that is tried again writes the same bytes once
//! more: one that arrives late changes nothing. What was copied is committed in the bucket first and
//! leaves the local manifest then; a crash in between is mended by the next look.

use std::ops::Range;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::cache::PIECE_BYTES;
use super::remote::bounded;
use super::{Bucket, KEEPER_NANO};
use crate::error::{StoreError, StoreResult};
use crate::manifest::{BlockEntry, Change};
use crate::metrics::StoreMetrics;
use crate::snapshot::{Home, LiveBlock};
use crate::store::Store;

/// What is put in one request, and a part of a larger upload. S3 wants 5 MiB at least.
const PART_BYTES: u64 = 16 * PIECE_BYTES;
/// Blocks of one commit.
const BLOCKS_AT_ONCE: usize = 16;

impl Store {
    /// Uploads blocks that have waited for long enough and commits them. False if none is due.
    pub(super) async fn upload_due(&self, bucket: &Bucket, hurry: bool) -> StoreResult<bool> {
        let core = &self.core;
        let now = self.believed_now();
        let wait = match hurry {
            true => 0,
            // Copying takes time too.
            false => bucket.config.upload_after.as_nanos() as u64 / 2,
        };
        let blocks = core.blocks.load();
        let due: Vec<BlockEntry> = {
            let set_aside = core.set_aside.lock();
            let mut busy = core.busy.lock();
            let due = blocks.live.iter().filter(|block| {
                let arrived = block.entry.arrival.0;
                block.home == Home::Local
                    && block.entry.level > 0
                    && !set_aside.contains_key(&block.entry.id)
                    && !busy.contains(&block.entry.id)
                    // A clock that went back leaves arrivals in the future; they do not wait for it.
                    && (arrived > now || now - arrived >= wait)
            });
            let mut due: Vec<BlockEntry> = due.map(|block| block.entry.clone()).collect();
            due.sort_unstable_by_key(|entry| (entry.arrival.0, entry.id));
            due.truncate(BLOCKS_AT_ONCE);
            busy.extend(due.iter().map(|entry| entry.id));
            due
        };
        if due.is_empty() {
            return Ok(false);
        }
        let uploaded = self.upload(bucket, &due).await;
        let busy = due.iter().map(|entry| entry.id);
        let mut all_busy = core.busy.lock();
        busy.for_each(|id| {
            all_busy.remove(&id);
        });
        uploaded.map(|()| true)
    }

    async fn upload(&self, bucket: &Bucket, entries: &[BlockEntry]) -> StoreResult<()> {
        let mut copied = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.copy_to_bucket(bucket, entry).await {
                Ok(()) => copied.push(BlockEntry {
                    writer: Some(self.core.log.clone()),
                    ..entry.clone()
                }),
                // One that cannot be read here must not keep the others from the bucket.
                Err(error @ StoreError::Block { .. }) => self.core.set_aside(entry.id, &error),
                Err(error) => return Err(error),
            }
        }
        if copied.is_empty() {
            return Ok(());
        }
        let change = Change {
            add: copied,
            ..Change::default()
        };
        self.commit_in_bucket(bucket, &change).await?;
        let metrics = &self.core.metrics;
        for entry in &change.add {
            StoreMetrics::add(&metrics.blocks_uploaded, 1);
            StoreMetrics::add(&metrics.bytes_uploaded, entry.bytes);
        }
        self.follow_bucket(bucket).await
    }

    /// Puts every object of a block into the bucket, under the names that they have here.
    pub(crate) async fn copy_to_bucket(
        &self,
        bucket: &Bucket,
        entry: &BlockEntry,
    ) -> StoreResult<()> {
        let from = self.core.config.block_folder(entry.id);
        let to = bucket.block_folder(entry);
        for file in &entry.files {
            let name = file.name.as_str();
            let (from, to) = (from.clone().join(name), to.clone().join(name));
            if file.bytes <= PART_BYTES {
                let bytes = self.read_here(entry, &from, 0..file.bytes).await?;
                let put = bucket.config.objects.put(&to, bytes.clone().into());
                bounded("put", &to, put).await?;
                bucket.cached.keep(&to, 0, bytes, file.bytes).await;
                continue;
            }
            let begun = bucket.config.objects.put_multipart(&to);
            let mut upload = bounded("put", &to, begun).await?;
            let mut put_all = async || -> StoreResult<()> {
                for offset in (0..file.bytes).step_by(PART_BYTES as usize) {
                    let end = file.bytes.min(offset + PART_BYTES);
                    let bytes = self.read_here(entry, &from, offset..end).await?;
                    bounded("put a part of", &to, upload.put_part(bytes.clone().into())).await?;
                    bucket.cached.keep(&to, offset, bytes, file.bytes).await;
                }
                bounded("complete", &to, upload.complete()).await.map(drop)
            };
            if let Err(error) = put_all().await {
                // What stays of it the bucket's own rules remove.
                drop(bounded("abort", &to, upload.abort()).await);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Copies blocks that were written here for the bucket, and opens them there.
    pub(crate) async fn move_to_bucket(
        &self,
        bucket: &Bucket,
        blocks: Vec<LiveBlock>,
    ) -> StoreResult<Vec<LiveBlock>> {
        let mut moved = Vec::new();
        for block in blocks {
            self.copy_to_bucket(bucket, &block.entry).await?;
            moved.push(self.open_in_bucket(bucket, &block.entry).await?);
        }
        Ok(moved)
    }

    /// Says in the bucket that this process merges there, unless the manifest says so for a while yet.
    pub(crate) async fn claim_bucket(&self, bucket: &Bucket) -> StoreResult<()> {
        let now = self.core.clock.now_unix_nano();
        let contact = bucket.contact();
        let keeps_on = contact.is_keeper
            && contact
                .keeper
                .is_some_and(|keeper| keeper.until_unix_nano > now + KEEPER_NANO / 2);
        if keeps_on {
            return Ok(());
        }
        self.commit_in_bucket(bucket, &Change::default()).await
    }

    async fn read_here(
        &self,
        entry: &BlockEntry,
        path: &Path,
        range: Range<u64>,
    ) -> StoreResult<Bytes> {
        let failed = |reason: String| StoreError::Block {
            id: entry.id,
            reason: format!("{path} cannot be read for its upload: {reason}"),
        };
        let read = self.core.objects.get_range(path, range.clone()).await;
        let read = read.map_err(|error| failed(error.to_string()))?;
        match read.len() as u64 == range.end - range.start {
            true => Ok(read),
            false => Err(failed("it is shorter than it was".to_owned())),
        }
    }

    /// Commits in the bucket; whoever commits there keeps it while nobody else does.
    pub(crate) async fn commit_in_bucket(
        &self,
        bucket: &Bucket,
        change: &Change,
    ) -> StoreResult<()> {
        let clock = &self.core.clock;
        let now = (clock.now_unix_nano(), clock.monotonic_nano());
        let mut slot = bucket.chain.lock().await;
        let chain = slot.as_mut().ok_or_else(|| StoreError::Overtaken {
            reason: "the bucket has not been read yet".to_owned(),
        })?;
        let committed = chain
            .commit(change, &|manifest| bucket.kept(manifest, now.0), now)
            .await;
        bucket.met(chain.newest());
        committed?;
        StoreMetrics::add(&self.core.metrics.bucket_manifests_committed, 1);
        Ok(())
    }
}
