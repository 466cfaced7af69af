//! The data folder as its manifests tell it: what was cut, merged and dropped, and whether it was
//! lawful to drop it.
//!
//! A store keeps its eight newest manifests, so that whoever looks often enough sees all of them. What
//! a look has missed is counted, and judges nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tracewell_store::manifest::{BlockEntry, BlockId, Manifest};
use tracewell_store::partition::Bounds;

use crate::harness::blocks::names_in;

/// Follows the chain of one data folder over many lives of its server.
#[derive(Debug)]
pub(super) struct Chain {
    folder: PathBuf,
    last: Manifest,
    /// What retention may keep in this life; `None` where it must not drop anything.
    bytes_max: Option<u64>,
    /// The largest size of the log in this life, which counts as kept.
    log_bytes: u64,
    /// Every block that a manifest listed: when requests arrived, for each first block that is in it.
    listed: BTreeMap<BlockId, Vec<Bounds>>,
    /// Blocks that retention dropped.
    dropped: BTreeSet<BlockId>,
    /// Those of this life.
    dropped_now: BTreeSet<BlockId>,
    pub(super) counts: Counts,
}

/// What happened to blocks.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) manifests: u64,
    /// Commits that were written and deleted again between two looks.
    pub(super) unseen: u64,
    pub(super) cuts: u64,
    /// Merges by the level of what they made.
    pub(super) merges: [u64; 3],
    /// Commits in which retention dropped blocks, and those blocks.
    pub(super) retentions: u64,
    pub(super) dropped: u64,
    pub(super) dropped_spans: u64,
}

// === impl Chain ===

impl Chain {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            last: Manifest::default(),
            bytes_max: None,
            log_bytes: 0,
            listed: BTreeMap::new(),
            dropped: BTreeSet::new(),
            dropped_now: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Another life of the server, under this policy.
    pub(super) fn begin(&mut self, bytes_max: Option<u64>) {
        self.bytes_max = bytes_max;
        self.log_bytes = 0;
        self.dropped_now.clear();
    }

    /// Takes in what is new. A manifest gets its name when it is whole.
    pub(super) fn look(&mut self) {
        self.log_bytes = self.log_bytes.max(bytes_of(&self.folder.join("wal")));
        let manifests = self.folder.join("manifest");
        let number = |name: &str| name.strip_suffix(".manifest")?.parse::<u64>().ok();
        let names = names_in(&manifests);
        let numbers: BTreeSet<u64> = names.iter().filter_map(|name| number(name)).collect();
        for number in numbers.range(self.last.number + 1..) {
            let path = manifests.join(format!("{number:020}.manifest"));
            // One that was deleted since it was listed is counted as unseen by the next.
            if let Ok(bytes) = std::fs::read(&path) {
                let next = Manifest::decode(*number, &bytes).unwrap();
                self.follow(next);
            }
        }
    }

    /// True if retention dropped what came of a first block with requests that arrived then.
    pub(super) fn has_dropped(&self, arrival: Bounds) -> bool {
        let overlaps = |block: &Bounds| block.0 <= arrival.1 && arrival.0 <= block.1;
        let dropped = self.dropped.iter().filter_map(|id| self.listed.get(id));
        dropped.flatten().any(overlaps)
    }

    pub(super) fn is_listed(&self, id: BlockId) -> bool {
        self.listed.contains_key(&id)
    }

    /// Of a merged block those of the blocks that it was made from, as far as they were seen.
    fn arrivals_of(&self, block: &BlockEntry) -> Vec<Bounds> {
        let made_from = block.made_from.iter().map(|id| self.listed.get(id));
        match made_from.collect::<Option<Vec<_>>>() {
            Some(seen) if !seen.is_empty() => seen.into_iter().flatten().copied().collect(),
            _ => vec![block.arrival],
        }
    }

    /// True while files are there of a block that retention dropped in this life.
    pub(super) fn is_dropping(&self) -> bool {
        let blocks = names_in(&self.folder.join("blocks"));
        let mut ids = blocks.iter().filter_map(|name| BlockId::parse(name));
        ids.any(|id| self.dropped_now.contains(&id))
    }

    /// What lies in the folder of blocks, in words.
    pub(super) fn folders(&self) -> String {
        let names = names_in(&self.folder.join("blocks"));
        let ids: Vec<BlockId> = names.iter().filter_map(|it| BlockId::parse(it)).collect();
        let live = self.last.blocks.len();
        let unlisted = ids.iter().filter(|id| !self.is_listed(**id)).count();
        let retired = ids.len() - unlisted - live;
        format!("{live} blocks, folders of {retired} that were, and of {unlisted} cut short")
    }

    fn follow(&mut self, next: Manifest) {
        let unseen = next.number - self.last.number - 1;
        let added: Vec<&BlockEntry> = next
            .blocks
            .iter()
            .filter(|block| self.last.block(block.id).is_none())
            .collect();
        let merged: BTreeSet<BlockId> = added
            .iter()
            .flat_map(|block| block.made_from.iter().copied())
            .collect();
        let dropped: Vec<&BlockEntry> = self
            .last
            .blocks
            .iter()
            .filter(|block| next.block(block.id).is_none() && !merged.contains(&block.id))
            .collect();
        let counts = &mut self.counts;
        counts.manifests += 1;
        counts.unseen += unseen;
        counts.cuts += added.iter().filter(|block| block.level == 0).count() as u64;
        if let Some(result) = added.iter().find(|block| block.level > 0) {
            counts.merges[usize::from(result.level)] += 1;
        }
        if !dropped.is_empty() {
            counts.retentions += 1;
            counts.dropped += dropped.len() as u64;
            counts.dropped_spans += dropped.iter().map(|block| block.spans).sum::<u64>();
            if unseen == 0 {
                assert!(added.is_empty(), "retention adds nothing: {added:?}");
                self.judge(&dropped, &next);
            }
        }
        let ids = dropped.iter().map(|block| block.id);
        self.dropped.extend(ids.clone());
        self.dropped_now.extend(ids);
        for block in added {
            let arrivals = self.arrivals_of(block);
            self.listed.insert(block.id, arrivals);
        }
        self.last = next;
    }

    /// The oldest went, not one more than had to.
    fn judge(&self, dropped: &[&BlockEntry], next: &Manifest) {
        let bytes_max = self.bytes_max.expect("nothing is outside of the policy");
        let newest = dropped
            .iter()
            .max_by_key(|block| (block.arrival.1, block.id));
        let newest = newest.expect("some were dropped");
        for kept in &next.blocks {
            assert!(
                (newest.arrival.1, newest.id) < (kept.arrival.1, kept.id),
                "{newest:?} was dropped before {kept:?}"
            );
        }
        let without_it = next.bytes() + newest.bytes + self.log_bytes;
        assert!(
            without_it > bytes_max,
            "{newest:?} was dropped, with it {without_it} bytes were kept, {bytes_max} may be"
        );
    }
}

fn bytes_of(folder: &Path) -> u64 {
    let sizes = names_in(folder).into_iter().map(|name| {
        let metadata = std::fs::metadata(folder.join(name));
        metadata.map_or(0, |metadata| metadata.len())
    });
    sizes.sum()
}
