//! The next merge: what is due, and whose blocks it is about. What this is not: it merges nothing itself.
//!
//! Blocks of the bucket are merged in a lane of their own, beside those of the local disk: ingest waits for
//! first blocks, and must never wait for an object store. The two lanes share no input: what lies in the
//! bucket is no first block. Either may end while the other is at work; what a result shares with the other's
//! inputs it shares with the other's result too, since whoever looks (see [`super::share`]) finds the one or
//! the other.

use std::sync::Arc;

use super::plan::{MergePlan, MergePolicy};
use crate::error::StoreResult;
use crate::manifest::BlockEntry;
use crate::metrics::StoreMetrics;
use crate::snapshot::{Blocks, Home};
use crate::store::Store;

/// Of merges with a bucket: one on the local disk and one in the bucket.
const LANES: u64 = 2;

impl Store {
    /// Does the next merge that is due, on the local disk or else in the bucket. False if none is. With
    /// `hurry` nothing waits for company.
    pub async fn merge_next(&self, hurry: bool) -> StoreResult<bool> {
        Ok(self.merge_here(hurry).await? || self.merge_in_bucket(hurry).await?)
    }

    /// Does the next merge of the local disk. With a bucket behind it that is one of first blocks: what comes
    /// of them goes to the bucket, whose keeper merges on.
    pub async fn merge_here(&self, hurry: bool) -> StoreResult<bool> {
        let _one_at_a_time = self.merging.lock().await;
        let blocks = self.core.blocks.load();
        let mut here = blocks.entries(Home::Local);
        if self.core.bucket.is_some() {
            here.retain(|entry| entry.level == 0);
        }
        match self.plan(here, hurry) {
            Some(plan) => self.merge_planned(&plan, Home::Local, &blocks).await,
            None => Ok(false),
        }
    }

    /// Does the next merge in the bucket, if there is one and this process is its keeper. It may take as long as
    /// the bucket does.
    pub async fn merge_in_bucket(&self, hurry: bool) -> StoreResult<bool> {
        let Some(bucket) = &self.core.bucket else {
            return Ok(false);
        };
        let _one_at_a_time = bucket.merging.lock().await;
        if bucket.contact().failing.is_some() {
            return Ok(false);
        }
        let may_merge = self.mergeable_in_bucket(bucket).await;
        let blocks = self.core.blocks.load();
        let mut there = blocks.entries(Home::Bucket);
        there.retain(|entry| may_merge.contains(&entry.id));
        let Some(plan) = self.plan(there, hurry) else {
            return Ok(false);
        };
        self.claim_bucket(bucket).await?;
        self.merge_planned(&plan, Home::Bucket, &blocks).await
    }

    fn plan(&self, mut entries: Vec<BlockEntry>, hurry: bool) -> Option<MergePlan> {
        let core = &self.core;
        let policy = MergePolicy {
            traces_max: (core.config.merge.traces_max / self.lanes()).max(1),
            ..core.config.merge.clone()
        };
        let set_aside = core.set_aside.lock();
        entries.retain(|entry| !set_aside.contains_key(&entry.id));
        policy.next(&entries, self.believed_now(), hurry)
    }

    async fn merge_planned(
        &self,
        plan: &MergePlan,
        home: Home,
        blocks: &Arc<Blocks>,
    ) -> StoreResult<bool> {
        let core = &self.core;
        core.busy.lock().extend(&plan.inputs);
        let mut new = Vec::new();
        let result = self.merge(plan, home, blocks, &mut new).await;
        for id in &new {
            self.end_block(*id);
        }
        core.busy.lock().retain(|id| !plan.inputs.contains(id));
        match result {
            Ok(()) => Ok(true),
            Err(failure) => {
                StoreMetrics::add(&core.metrics.merges_failed, 1);
                if failure.is_absent {
                    for id in new {
                        self.delete_block(id).await;
                    }
                }
                Err(failure.error)
            }
        }
    }

    fn lanes(&self) -> u64 {
        match self.core.bucket {
            Some(_) => LANES,
            None => 1,
        }
    }

    /// Memory of one merge: both lanes together stay within `Limits::merge_bytes`.
    pub(super) fn merge_bytes(&self) -> u64 {
        self.core.config.limits.merge_bytes() / self.lanes()
    }
}
