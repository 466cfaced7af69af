//! Which traces this process has put into blocks: one filter over all of them.
//!
//! Nearly every trace id that arrives is new, and each is looked for in every block of the last day.
//! One look here says so for all blocks that were cut since the start, and for what they were merged
//! into; only blocks that were there at the start are asked one by one. The filter is a list of
//! chunks, each twice as large as the one before up to [`CHUNK_IDS_MAX`]; when there are more than
//! [`CHUNKS_MAX`] the oldest goes, and its blocks are asked one by one again. What this is not: it
//! forgets no id of a block that went, so that its answer may be an unneeded yes.
//!
//! Each id sets [`BITS_SET`] bits within one cache line (Putze, Sanders, Singler: Cache-, Hash- and
//! Space-Efficient Bloom Filters, 2007), with 16 bits of room for each.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tracewell_model::TraceId;

use crate::manifest::BlockId;

/// Ids of the first chunk: 64 KiB.
const CHUNK_IDS_MIN: usize = 1 << 15;
/// Ids of the largest chunk: 2 MiB.
const CHUNK_IDS_MAX: usize = 1 << 20;
/// 16 MiB at most, some eight million traces.
const CHUNKS_MAX: usize = 12;
const BITS_PER_ID: usize = 16;
const BITS_SET: u32 = 6;
const WORDS_PER_LINE: usize = 8;

/// The filter and the blocks that it speaks for. A clone shares the chunks.
#[derive(Debug, Clone, Default)]
pub struct RecentTraces {
    chunks: Vec<Arc<Chunk>>,
    /// How many chunks went.
    n_dropped: u64,
    /// The number of the chunk in which the ids of a block begin.
    blocks: HashMap<BlockId, u64, FixedState>,
    /// Ids in the newest chunk.
    n_newest: usize,
}

#[derive(Debug)]
struct Chunk {
    /// Lines of [`WORDS_PER_LINE`].
    words: Box<[AtomicU64]>,
    n_ids_max: usize,
}

/// What stands for a trace id here and in a first block. Not for a table: ids that were made to meet
/// each other cost a look that is not needed.
pub fn hash_of(id: TraceId) -> u64 {
    FixedState::default().hash_one(id.0)
}

// === impl RecentTraces ===

impl RecentTraces {
    /// False only if no block that this speaks for holds the trace.
    pub fn may_contain(&self, id: TraceId) -> bool {
        let hash = hash_of(id);
        self.chunks.iter().any(|chunk| chunk.contains(hash))
    }

    pub fn speaks_for(&self, block: BlockId) -> bool {
        self.blocks.contains_key(&block)
    }

    /// Takes the [hashes](hash_of) of the ids of a new first block.
    pub fn insert(&mut self, block: BlockId, ids: &[u64]) {
        let newest = self.chunks.len().saturating_sub(1) as u64;
        self.blocks.insert(block, self.n_dropped + newest);
        for hash in ids {
            let chunk = self.room();
            chunk.insert(*hash);
            self.n_newest += 1;
        }
    }

    /// New blocks hold what the old ones held and no more.
    pub fn merged(&mut self, from: &[BlockId], into: impl IntoIterator<Item = BlockId>) {
        let begins = from.iter().map(|id| self.blocks.get(id).copied());
        let begin = begins.collect::<Option<Vec<u64>>>();
        for id in from {
            self.blocks.remove(id);
        }
        // A block that only moves keeps its id.
        if let Some(begin) = begin.and_then(|begins| begins.into_iter().min()) {
            self.blocks.extend(into.into_iter().map(|id| (id, begin)));
        }
    }

    /// A chunk with room for one more.
    fn room(&mut self) -> Arc<Chunk> {
        if let Some(newest) = self.chunks.last()
            && self.n_newest < newest.n_ids_max
        {
            return Arc::clone(newest);
        }
        let n_ids_max = self.chunks.last().map_or(CHUNK_IDS_MIN, |newest| {
            (newest.n_ids_max * 2).min(CHUNK_IDS_MAX)
        });
        let chunk = Arc::new(Chunk::new(n_ids_max));
        self.chunks.push(Arc::clone(&chunk));
        self.n_newest = 0;
        if self.chunks.len() > CHUNKS_MAX {
            self.chunks.remove(0);
            self.n_dropped += 1;
            self.blocks.retain(|_, begin| *begin >= self.n_dropped);
        }
        chunk
    }
}

// === impl Chunk ===

impl Chunk {
    fn new(n_ids_max: usize) -> Self {
        let n_words = n_ids_max * BITS_PER_ID / 64;
        Self {
            words: (0..n_words).map(|_| AtomicU64::new(0)).collect(),
            n_ids_max,
        }
    }

    fn insert(&self, hash: u64) {
        for (word, bit) in self.places(hash) {
            // Readers see the bits by way of the swap that publishes the block.
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn contains(&self, hash: u64) -> bool {
        self.places(hash)
            .all(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let n_lines = (self.words.len() / WORDS_PER_LINE) as u64;
        let line = (((hash >> 32) * n_lines) >> 32) as usize * WORDS_PER_LINE;
        let line = self.words.get(line..line + WORDS_PER_LINE);
        let line = line.unwrap_or_default();
        // Nine bits choose one of the 512 of a line; an odd factor makes them independent of the line.
        let bits = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (0..BITS_SET).filter_map(move |n| {
            let place = (bits >> (9 * n)) & 511;
            Some((line.get((place / 64) as usize)?, 1 << (place % 64)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(from: u64, n: u64) -> Vec<TraceId> {
        let id = |n: u64| {
            let mut bytes = [0; 16];
            bytes[8..].copy_from_slice(&n.to_be_bytes());
            TraceId(bytes)
        };
        (from..from + n).map(id).collect()
    }

    fn hashes(ids: &[TraceId]) -> Vec<u64> {
        ids.iter().map(|id| hash_of(*id)).collect()
    }

    #[test]
    fn every_id_is_found_and_few_others() {
        let mut recent = RecentTraces::default();
        let known = ids(0, 300_000);
        for (block, ids) in known.chunks(10_000).enumerate() {
            recent.insert(BlockId([block as u8; 16]), &hashes(ids));
        }
        assert!(known.iter().all(|id| recent.may_contain(*id)));
        let strangers = ids(1 << 40, 100_000);
        let found = strangers.iter().filter(|id| recent.may_contain(**id));
        // 0.3 in a hundred for each chunk; one in a hundred is 1,000.
        assert!(found.count() < 2_000);
    }

    #[test]
    fn a_merged_block_is_known_if_all_that_it_was_made_of_are() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|n| BlockId([n; 16]));
        let mut recent = RecentTraces::default();
        recent.insert(a, &hashes(&ids(0, 10)));
        recent.insert(b, &hashes(&ids(10, 10)));
        recent.merged(&[a, b], [c]);
        assert!(recent.speaks_for(c) && !recent.speaks_for(a));
        recent.merged(&[c, BlockId([9; 16])], [d]);
        assert!(!recent.speaks_for(d) && !recent.speaks_for(c));
    }

    #[test]
    fn blocks_of_a_chunk_that_went_are_not_spoken_for() {
        let mut recent = RecentTraces::default();
        let [old, new] = [1, 2].map(|n| BlockId([n; 16]));
        recent.insert(old, &hashes(&ids(0, 10)));
        let mut from = 10;
        while recent.n_dropped == 0 {
            recent.insert(new, &hashes(&ids(from, 100_000)));
            from += 100_000;
        }
        assert!(!recent.speaks_for(old));
        assert!(recent.chunks.len() <= CHUNKS_MAX);
    }
}
