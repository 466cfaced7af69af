//! What the keeper of a bucket does beside merging: retention, deleting, and the sweep.

use std::collections::BTreeSet;

use super::remote::{delete, list};
use super::{Bucket, Rounds};
use crate::error::StoreResult;
use crate::manifest::{BlockId, Change, Manifest};
use crate::metrics::StoreMetrics;
use crate::retention::Retention;
use crate::store::Store;
use crate::upkeep::SWEEP_AGE_NANO;

impl Store {
    /// Drops the blocks of the bucket that have expired.
    pub(super) async fn retain_in_bucket(&self, bucket: &Bucket) -> StoreResult<()> {
        let ages = self.ages();
        let Some(manifest) = self.as_keeper(bucket, Manifest::clone).await else {
            return Ok(());
        };
        let retention = Retention {
            bytes_max: u64::MAX,
            ..self.retention()
        };
        // A merge that runs must not bring back what expires.
        let busy = self.core.busy.lock().clone();
        let entries = manifest
            .blocks
            .iter()
            .filter(|entry| !busy.contains(&entry.id));
        let expired = retention.expired(entries, &ages).by_age;
        if expired.is_empty() {
            return Ok(());
        }
        let of_expired = manifest
            .blocks
            .iter()
            .filter(|entry| expired.contains(&entry.id));
        let n_spans: u64 = of_expired.map(|entry| entry.spans).sum();
        let change = Change {
            forget: expired,
            ..Change::default()
        };
        self.commit_in_bucket(bucket, &change).await?;
        tracing::info!(
            blocks = change.forget.len(),
            spans = n_spans,
            "blocks of the bucket have expired"
        );
        let metrics = &self.core.metrics;
        StoreMetrics::add(&metrics.blocks_expired_by_age, change.forget.len() as u64);
        StoreMetrics::add(&metrics.spans_expired, n_spans);
        self.follow_bucket(bucket).await
    }

    /// Deletes the files of blocks that no process has had reason to read for a while, and the manifests
    /// that named them.
    pub(super) async fn delete_in_bucket(
        &self,
        bucket: &Bucket,
        rounds: &mut Rounds,
    ) -> StoreResult<()> {
        let now = self.ages().counted_now();
        let age = u64::try_from(bucket.config.replaced_kept.as_nanos()).unwrap_or(u64::MAX);
        if !self.keeps(bucket).await {
            if let Some(chain) = bucket.chain.lock().await.as_mut() {
                chain.forget(now, age);
            }
            return Ok(());
        }
        let replaced = {
            let slot = bucket.chain.lock().await;
            let Some(chain) = slot.as_ref() else {
                return Ok(());
            };
            chain.replaced(now, age)
        };
        let metrics = &self.core.metrics;
        for id in replaced.difference(&rounds.deleted.clone()) {
            for object in list(
                &*bucket.config.objects,
                &bucket.blocks_folder().join(id.to_string()),
            )
            .await?
            {
                delete(&*bucket.config.objects, &object.location).await?;
            }
            rounds.deleted.insert(*id);
            StoreMetrics::add(&metrics.blocks_deleted, 1);
        }
        let mut slot = bucket.chain.lock().await;
        if let Some(chain) = slot.as_mut() {
            chain.trim(now, age).await?;
            rounds.deleted.retain(|id| chain.is_named(*id));
        }
        Ok(())
    }

    /// Deletes objects that no manifest has named for a day.
    pub(super) async fn sweep_bucket(&self, bucket: &Bucket) -> StoreResult<()> {
        let now = self.ages().counted_now();
        if !self.keeps(bucket).await {
            return Ok(());
        }
        let folder = bucket.blocks_folder();
        let mut n_swept = 0;
        for object in list(&*bucket.config.objects, &folder).await? {
            let modified = object
                .last_modified
                .timestamp_nanos_opt()
                .unwrap_or(i64::MAX);
            let modified = u64::try_from(modified).unwrap_or(0);
            let id = object
                .location
                .prefix_match(&folder)
                .and_then(|mut parts| BlockId::parse(parts.next()?.as_ref()));
            let Some(id) = id else { continue };
            if now.saturating_sub(modified) < SWEEP_AGE_NANO {
                continue;
            }
            let is_named = {
                let slot = bucket.chain.lock().await;
                slot.as_ref().is_none_or(|chain| chain.is_named(id))
            };
            if is_named || self.core.busy.lock().contains(&id) {
                continue;
            }
            delete(&*bucket.config.objects, &object.location).await?;
            n_swept += 1;
        }
        StoreMetrics::add(&self.core.metrics.objects_swept, n_swept);
        if let Some(chain) = bucket.chain.lock().await.as_ref() {
            chain.sweep().await?;
        }
        Ok(())
    }

    /// What `of` makes of the newest manifest, if this process may merge and retire in the bucket.
    async fn as_keeper<T>(&self, bucket: &Bucket, of: impl FnOnce(&Manifest) -> T) -> Option<T> {
        let slot = bucket.chain.lock().await;
        let manifest = slot.as_ref()?.newest();
        let may_keep = bucket.may_keep(manifest, self.core.clock.now_unix_nano());
        (may_keep && manifest.number > 0).then(|| of(manifest))
    }

    async fn keeps(&self, bucket: &Bucket) -> bool {
        self.as_keeper(bucket, |_| ()).await.is_some()
    }

    /// Blocks of the bucket that this process may merge.
    pub(crate) async fn mergeable_in_bucket(&self, bucket: &Bucket) -> BTreeSet<BlockId> {
        let ids = |manifest: &Manifest| manifest.blocks.iter().map(|entry| entry.id).collect();
        self.as_keeper(bucket, ids).await.unwrap_or_default()
    }
}
