//! The next merge: what is due, and whose blocks it is about. What this is not: it merges nothing itself.

use super::plan::MergePlan;
use crate::error::StoreResult;
use crate::manifest::BlockEntry;
use crate::metrics::StoreMetrics;
use crate::snapshot::{Blocks, Home};
use crate::store::Store;

impl Store {
    /// Does the next merge that is due. False if none is. With `hurry` nothing waits for company.
    pub async fn merge_next(&self, hurry: bool) -> StoreResult<bool> {
        let _one_at_a_time = self.merging.lock().await;
        let core = &self.core;
        let blocks = core.blocks.load();
        let Some((plan, home)) = self.next_merge(&blocks, hurry).await? else {
            return Ok(false);
        };
        core.busy.lock().extend(&plan.inputs);
        let mut new = Vec::new();
        let result = self.merge(&plan, home, &blocks, &mut new).await;
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

    /// What is due, and where its inputs lie. With a bucket behind it the local disk merges first blocks
    /// alone: what comes of them goes to the bucket, whose keeper merges on.
    async fn next_merge(
        &self,
        blocks: &Blocks,
        hurry: bool,
    ) -> StoreResult<Option<(MergePlan, Home)>> {
        let core = &self.core;
        let now = self.believed_now();
        let policy = &core.config.merge;
        let plan = |mut entries: Vec<BlockEntry>| {
            let set_aside = core.set_aside.lock();
            entries.retain(|entry| !set_aside.contains_key(&entry.id));
            policy.next(&entries, now, hurry)
        };
        let mut here = blocks.entries(Home::Local);
        let Some(bucket) = &core.bucket else {
            return Ok(plan(here).map(|plan| (plan, Home::Local)));
        };
        here.retain(|entry| entry.level == 0);
        if let Some(plan) = plan(here) {
            return Ok(Some((plan, Home::Local)));
        }
        if bucket.contact().failing.is_some() {
            return Ok(None);
        }
        let may_merge = self.mergeable_in_bucket(bucket).await;
        let mut there = blocks.entries(Home::Bucket);
        there.retain(|entry| may_merge.contains(&entry.id));
        let Some(plan) = plan(there) else {
            return Ok(None);
        };
        self.claim_bucket(bucket).await?;
        Ok(Some((plan, Home::Bucket)))
    }
}
