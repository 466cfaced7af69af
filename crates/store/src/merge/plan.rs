//! Which blocks are merged next: pure decisions over the entries of a manifest.
//!
//! First blocks (level 0) become blocks of one tenant, partition and class (level 1). Blocks of one
//! partition become larger ones (level 2): eight at a time while their hour lasts, all of them when it
//! is over, and those of a day when that is over. A merge takes no more traces than its memory
//! allows, and never blocks whose arrivals would then lie more than a day apart. What this is not: it
//! reads no block. Two plans of one manifest never share a block, because one worker merges those of a
//! manifest.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tracewell_model::TenantId;

use crate::manifest::{BlockEntry, BlockId};
use crate::partition::{Bounds, Partition};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// When and how much is merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergePolicy {
    /// So many blocks of one kind are merged at once, without waiting.
    pub blocks_min: usize,
    /// More are left for the next merge.
    pub blocks_max: usize,
    /// A first block waits no longer for others.
    pub first_wait_nano: u64,
    /// How long after its end a partition is taken to be over: longer than spans are late.
    pub partition_wait_nano: u64,
    /// How long a small block waits before a block eight times its size is written again for it.
    pub late_wait_nano: u64,
    /// Traces of all inputs together: their rows are held in memory.
    pub traces_max: u64,
    /// Bytes of all inputs together: a larger block would be slow to write again, and the cache would
    /// not hold its footer.
    pub bytes_max: u64,
    /// The newest block format that this program writes.
    pub format_max: u16,
}

/// One merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergePlan {
    /// Oldest arrival first.
    pub inputs: Vec<BlockId>,
    pub target: Target,
}

/// What the inputs become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Level 1: one block per tenant, partition and class.
    First,
    /// Level 2: one block.
    Partition {
        tenant: TenantId,
        partition: Partition,
        class: String,
    },
}

/// What blocks of level 1 and above are grouped by.
type Key<'a> = (&'a TenantId, Partition, &'a str);

// === impl MergePolicy ===

impl MergePolicy {
    /// `merge_bytes` is the memory that merging may hold. A quarter of it is for trace rows, of
    /// which each takes about 64 bytes. Footer and checksums of a block take a two-hundredth of its
    /// bytes once decoded, and the cache holds half as much as merging.
    pub fn new(merge_bytes: u64, format_max: u16) -> Self {
        Self {
            blocks_min: 8,
            blocks_max: 32,
            first_wait_nano: 60 * NANOS_PER_SECOND,
            partition_wait_nano: 600 * NANOS_PER_SECOND,
            late_wait_nano: 3_600 * NANOS_PER_SECOND,
            traces_max: (merge_bytes / 4 / 64).max(1),
            bytes_max: merge_bytes.saturating_mul(16).min(2 << 30),
            format_max,
        }
    }

    /// The next merge, if one is due. First blocks go first: ingest waits for them. With `hurry`
    /// nothing waits for company.
    pub fn next(&self, blocks: &[BlockEntry], now: u64, hurry: bool) -> Option<MergePlan> {
        let readable: Vec<&BlockEntry> = blocks
            .iter()
            .filter(|entry| entry.format <= self.format_max && entry.delete_set.is_none())
            .collect();
        self.first(&readable, now, hurry)
            .or_else(|| self.partition(&readable, now, hurry))
    }

    fn first(&self, blocks: &[&BlockEntry], now: u64, hurry: bool) -> Option<MergePlan> {
        let mut waiting: Vec<&BlockEntry> = blocks
            .iter()
            .filter(|entry| entry.level == 0)
            .copied()
            .collect();
        waiting.sort_unstable_by_key(|entry| (entry.arrival.0, entry.id));
        let oldest = waiting.first()?;
        // A clock that went back leaves arrivals in the future; they do not wait for it.
        let waited = oldest.arrival.1 > now || now - oldest.arrival.1 >= self.first_wait_nano;
        if waiting.len() < self.blocks_min && !waited && !hurry {
            return None;
        }
        Some(MergePlan {
            inputs: self.take(&waiting),
            target: Target::First,
        })
    }

    fn partition(&self, blocks: &[&BlockEntry], now: u64, hurry: bool) -> Option<MergePlan> {
        let mut hours: BTreeMap<Key<'_>, Vec<&BlockEntry>> = BTreeMap::new();
        let mut days: BTreeMap<Key<'_>, Vec<&BlockEntry>> = BTreeMap::new();
        for entry in blocks.iter().filter(|entry| entry.level > 0) {
            let (Some(tenant), Some(partition)) = (&entry.tenant, entry.partition) else {
                continue;
            };
            if !partition.is_day() {
                let key = (tenant, partition, entry.class.as_str());
                hours.entry(key).or_default().push(entry);
            }
            let key = (tenant, partition.day(), entry.class.as_str());
            days.entry(key).or_default().push(entry);
        }
        let hours = hours.iter().map(|(key, entries)| (key, entries, false));
        let days = days.iter().map(|(key, entries)| (key, entries, true));
        hours
            .chain(days)
            .find_map(|(key, entries, is_day)| self.group(*key, entries, is_day, now, hurry))
    }

    /// Blocks of one tenant, partition and class.
    fn group(
        &self,
        (tenant, partition, class): Key<'_>,
        entries: &[&BlockEntry],
        is_day: bool,
        now: u64,
        hurry: bool,
    ) -> Option<MergePlan> {
        let over = now
            >= partition
                .end_unix_nano()
                .saturating_add(self.partition_wait_nano);
        // While an hour lasts only its small blocks are merged, and a day is not begun.
        let mut candidates: Vec<&BlockEntry> = entries
            .iter()
            .filter(|entry| over || hurry || (!is_day && entry.level == 1))
            .copied()
            .collect();
        let n_min = if over || hurry { 2 } else { self.blocks_min };
        if is_day && !over {
            return None;
        }
        candidates.sort_unstable_by_key(|entry| (entry.arrival.0, entry.id));
        let mut rest = candidates.as_slice();
        while rest.len() >= n_min {
            let inputs = self.take(rest);
            let taken: Vec<&BlockEntry> = rest
                .iter()
                .filter(|entry| inputs.contains(&entry.id))
                .copied()
                .collect();
            if taken.len() >= n_min && (hurry || self.is_worth_it(&taken, now)) {
                return Some(MergePlan {
                    inputs,
                    target: Target::Partition {
                        tenant: tenant.clone(),
                        partition,
                        class: class.to_owned(),
                    },
                });
            }
            rest = rest.get(1..).unwrap_or_default();
        }
        None
    }

    /// As many as fit into one merge, oldest arrival first; at least the first.
    fn take(&self, sorted: &[&BlockEntry]) -> Vec<BlockId> {
        let mut inputs = Vec::new();
        let (mut arrival, mut traces, mut bytes) = (Bounds::NONE, 0u64, 0u64);
        for entry in sorted.iter().take(self.blocks_max) {
            arrival = arrival.with(entry.arrival);
            traces = traces.saturating_add(entry.traces);
            bytes = bytes.saturating_add(entry.bytes);
            let fits = arrival.may_merge() && traces <= self.traces_max && bytes <= self.bytes_max;
            if !fits && !inputs.is_empty() {
                break;
            }
            inputs.push(entry.id);
        }
        inputs
    }

    /// A large block is not written again for every small one that comes late.
    fn is_worth_it(&self, taken: &[&BlockEntry], now: u64) -> bool {
        let mut by_size: Vec<&&BlockEntry> = taken.iter().collect();
        by_size.sort_unstable_by_key(|entry| Reverse(entry.bytes));
        let Some((largest, others)) = by_size.split_first() else {
            return false;
        };
        let small: u64 = others.iter().map(|entry| entry.bytes).sum();
        let waited = others
            .iter()
            .any(|entry| entry.arrival.1 > now || now - entry.arrival.1 >= self.late_wait_nano);
        small.saturating_mul(8) >= largest.bytes || waited
    }
}

#[cfg(test)]
mod tests;
