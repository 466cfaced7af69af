//! What reads of blocks keep in memory, bounded by bytes.
//!
//! Files of blocks never change, so an entry is right for as long as it is kept. Kept is what is
//! small and asked for again: footers, checksums, resources and scopes, without which nothing of a
//! block can be read, then dictionaries, filters, the trace rows of a group, single pages, and
//! small columns. Large ones are not: a scan of all blocks would push everything else out.
//!
//! When it is full, some entries are drawn by chance and the one that was used least goes. So a scan
//! over more than fits still finds a part of it, where "the one used longest ago" would find nothing.
//! What this is not: a page cache. The operating system has one.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// Entries compared for who goes.
const N_DRAWN: u64 = 5;
/// Uses that are counted of an entry.
const USES_MAX: u8 = 15;
/// Bytes of a cache that nobody sized.
const BYTES: u64 = 32 << 20;
/// What an entry costs beside its value: key, slot and allocation.
const ENTRY_BYTES: u64 = 96;

/// Names what is kept: a file by its number in this process, what of it, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CacheKey {
    pub(super) file: u64,
    pub(super) part: Part,
    pub(super) at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// Checked bytes from an offset on.
    Bytes,
    /// The decoded dictionary at an offset.
    Dictionary,
    /// The trace rows of a group.
    Traces,
    Footer,
    Checksums,
    /// The distinct resources or scopes of a block.
    Entries,
    /// The shapes of a group.
    Shapes,
    /// A small column of a row group, decoded.
    Column,
}

/// Something that is kept; who put it knows the type.
pub(super) type Kept = Arc<dyn Any + Send + Sync>;

/// A cache that all blocks of a store share.
#[derive(Debug)]
pub struct BlockCache {
    inner: Mutex<Inner>,
    bytes_max: u64,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Numbers for `/metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStatus {
    pub hits: u64,
    pub misses: u64,
    pub bytes: u64,
    pub bytes_max: u64,
}

#[derive(Debug, Default)]
struct Inner {
    places: HashMap<CacheKey, usize, FixedState>,
    entries: Vec<Entry>,
    bytes: u64,
    chance: u64,
}

#[derive(Debug)]
struct Entry {
    key: CacheKey,
    value: Kept,
    bytes: u64,
    uses: u8,
}

// === impl Part ===

impl Part {
    /// An entry larger than one in so many of the cache is not kept. What every read needs is kept
    /// while there is room for it at all.
    fn share_max(self) -> u64 {
        match self {
            Self::Bytes | Self::Dictionary | Self::Traces | Self::Shapes | Self::Column => 16,
            Self::Footer | Self::Checksums | Self::Entries => 2,
        }
    }
}

// === impl BlockCache ===

impl Default for BlockCache {
    fn default() -> Self {
        Self::new(BYTES)
    }
}

impl BlockCache {
    pub fn new(bytes_max: u64) -> Self {
        Self {
            inner: Mutex::default(),
            bytes_max,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub fn status(&self) -> CacheStatus {
        CacheStatus {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes: self.inner.lock().bytes,
            bytes_max: self.bytes_max,
        }
    }

    pub(super) fn get<T: Any + Send + Sync>(&self, key: CacheKey) -> Option<Arc<T>> {
        let found = self.inner.lock().get(key);
        let found = found.and_then(|value| Arc::downcast(value).ok());
        let counter = if found.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Whether an entry of this size is kept at all.
    pub(super) fn may_hold(&self, part: Part, bytes: u64) -> bool {
        bytes + ENTRY_BYTES <= self.bytes_max / part.share_max()
    }

    pub(super) fn put(&self, key: CacheKey, value: Kept, bytes: u64) {
        if self.may_hold(key.part, bytes) {
            let bytes = bytes + ENTRY_BYTES;
            self.inner.lock().put(key, value, bytes, self.bytes_max);
        }
    }

    /// Drops what is kept of these files.
    pub(super) fn forget(&self, files: &[u64]) {
        let mut inner = self.inner.lock();
        let mut at = 0;
        while let Some(entry) = inner.entries.get(at) {
            if files.contains(&entry.key.file) {
                inner.remove(at);
            } else {
                at += 1;
            }
        }
    }
}

// === impl Inner ===

impl Inner {
    fn get(&mut self, key: CacheKey) -> Option<Kept> {
        let place = *self.places.get(&key)?;
        let entry = self.entries.get_mut(place)?;
        entry.uses = (entry.uses + 1).min(USES_MAX);
        Some(Arc::clone(&entry.value))
    }

    fn put(&mut self, key: CacheKey, value: Kept, bytes: u64, bytes_max: u64) {
        if self.places.contains_key(&key) {
            return;
        }
        while self.bytes + bytes > bytes_max && !self.entries.is_empty() {
            let victim = self.victim();
            self.remove(victim);
        }
        self.places.insert(key, self.entries.len());
        self.entries.push(Entry {
            key,
            value,
            bytes,
            uses: 0,
        });
        self.bytes += bytes;
    }

    /// The least used of a few. Those that are spared count as less used the next time.
    fn victim(&mut self) -> usize {
        let n = self.entries.len() as u64;
        let mut least = (u8::MAX, 0);
        for _ in 0..N_DRAWN {
            let place = (self.draw() % n.max(1)) as usize;
            if let Some(entry) = self.entries.get_mut(place) {
                if entry.uses < least.0 {
                    least = (entry.uses, place);
                }
                entry.uses = entry.uses.saturating_sub(1);
            }
        }
        least.1
    }

    /// The next of a sequence that has no pattern worth guarding against: splitmix64.
    fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn remove(&mut self, place: usize) {
        if place >= self.entries.len() {
            return;
        }
        let removed = self.entries.swap_remove(place);
        self.places.remove(&removed.key);
        self.bytes -= removed.bytes;
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.key, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(file: u64, at: u64) -> CacheKey {
        CacheKey {
            file,
            part: Part::Bytes,
            at,
        }
    }

    #[test]
    fn never_holds_more_than_it_may() {
        let cache = BlockCache::new(100_000);
        for at in 0..1_000 {
            cache.put(key(at % 7, at), Arc::new(at), 1_000 + at % 13 * 100);
            assert!(cache.status().bytes <= 100_000);
        }
        let found = (0..1_000).filter(|at| cache.get::<u64>(key(at % 7, *at)).is_some());
        assert!(found.count() > 20);
        cache.put(key(9, 9), Arc::new(0), 90_000);
        assert!(cache.get::<u64>(key(9, 9)).is_none(), "too large to keep");
        cache.forget(&[0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(cache.status().bytes, 0);
    }

    #[test]
    fn keeps_what_is_used_and_a_part_of_what_is_scanned() {
        let cache = BlockCache::new(1_000_000);
        let scanned = || (0..1_500).map(|at| key(1, at));
        let mut found = (0, 0);
        for round in 0..20 {
            for key in scanned() {
                if cache.get::<()>(key).is_none() {
                    cache.put(key, Arc::new(()), 1_000 - ENTRY_BYTES);
                } else if round >= 10 {
                    found.0 += 1;
                }
                let used = CacheKey {
                    file: 2,
                    at: key.at % 10,
                    ..key
                };
                if cache.get::<()>(used).is_none() {
                    cache.put(used, Arc::new(()), 1_000 - ENTRY_BYTES);
                } else if round >= 10 {
                    found.1 += 1;
                }
            }
        }
        // Two thirds fit. "Longest ago first" would find nothing of the scan.
        assert!(found.0 > 15_000 / 4, "{found:?}");
        assert!(found.1 > 14_900, "{found:?}");
    }

    #[test]
    fn counts_and_tells_types_apart() {
        let cache = BlockCache::new(1 << 20);
        cache.put(key(1, 0), Arc::new(5u64), 8);
        assert_eq!(cache.get::<u64>(key(1, 0)).as_deref(), Some(&5));
        assert!(cache.get::<u32>(key(1, 0)).is_none());
        assert!(cache.get::<u64>(key(1, 1)).is_none());
        let status = cache.status();
        assert_eq!((status.hits, status.misses), (1, 2));
    }
}
