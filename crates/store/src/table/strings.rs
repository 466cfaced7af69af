//! Interned byte strings: codes instead of text in every row.
//!
//! Strings lie in chunks of about 64 KiB. Full chunks never change and are shared by
//! reference; the one that is being filled is copied by who wants to read while more is added.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;

/// A code of [`Strings`]. Codes are dense, from 0; equal strings of one [`Strings`] may have two
/// codes only if it was put together from several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StringCode(pub u32);

/// What codes stand for. Valid UTF-8 for every code that a text column names; attribute values of
/// the types bytes, array, strings and key-value list lie here too, as bytes.
#[derive(Debug, Clone, Default)]
pub struct Strings {
    chunks: Vec<Arc<StringChunk>>,
    /// First code of each chunk, apart so that a search stays within a few cache lines.
    bases: Vec<u32>,
}

/// A run of strings: codes `base..base + n`.
#[derive(Debug, Clone)]
pub struct StringChunk {
    base: u32,
    /// One more than strings; `offsets[i]..offsets[i + 1]` is string `base + i`.
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

/// Gives equal strings equal codes.
#[derive(Debug)]
pub struct Interner {
    full: Strings,
    open: StringChunk,
    /// A tag, which is half of a string's hash, and the code. The place in the table follows from the
    /// tag alone, so that a growing table need not read the strings again. The chunk is kept as well:
    /// searching it for every comparison costs as much as the rest of a lookup.
    codes: HashTable<Entry>,
    hasher: foldhash::fast::RandomState,
    n_bytes_full: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: u32,
    chunk: u32,
    code: StringCode,
}

/// A chunk of this size is full. A query copies at most one chunk, in some microseconds; a code is
/// found in a generation of 32 MB by a search over 500 chunks.
const CHUNK_BYTES: usize = 64 << 10;
/// So many strings are full as well: empty and tiny ones cost offsets.
const CHUNK_STRINGS: usize = 8_192;

// === impl Strings ===

impl Strings {
    /// The bytes behind a code; empty for a code that is not there.
    pub fn get(&self, code: StringCode) -> &[u8] {
        let chunk = self.bases.partition_point(|base| *base <= code.0);
        chunk
            .checked_sub(1)
            .and_then(|chunk| self.chunks.get(chunk))
            .map_or(&[], |chunk| chunk.get(code))
    }

    pub fn text(&self, code: StringCode) -> &str {
        std::str::from_utf8(self.get(code)).unwrap_or_default()
    }

    /// Codes are `0..n_strings`.
    pub fn n_strings(&self) -> usize {
        self.chunks.last().map_or(0, |chunk| chunk.end() as usize)
    }

    pub fn chunks(&self) -> &[Arc<StringChunk>] {
        &self.chunks
    }

    /// Adds a chunk that was begun with `n_strings` as its base.
    pub fn push_chunk(&mut self, chunk: Arc<StringChunk>) {
        debug_assert_eq!(chunk.base as usize, self.n_strings(), "codes are dense");
        self.bases.push(chunk.base);
        self.chunks.push(chunk);
    }

    /// All strings in the order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = (StringCode, &[u8])> + '_ {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    pub fn n_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.n_bytes()).sum()
    }
}

// === impl StringChunk ===

impl StringChunk {
    pub fn new(base: u32) -> Self {
        Self {
            base,
            offsets: vec![0],
            bytes: Vec::new(),
        }
    }

    /// Adds a string; `None` if the chunk would exceed what its offsets can say.
    pub fn push(&mut self, bytes: &[u8]) -> Option<StringCode> {
        let code = self.end();
        let end = u32::try_from(self.bytes.len() + bytes.len()).ok()?;
        self.bytes.extend_from_slice(bytes);
        self.offsets.push(end);
        Some(StringCode(code))
    }

    pub fn n_strings(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn is_full(&self) -> bool {
        self.bytes.len() >= CHUNK_BYTES || self.offsets.len() > CHUNK_STRINGS
    }

    /// The bytes of a code of this chunk; empty for any other.
    pub fn get(&self, code: StringCode) -> &[u8] {
        let Some(index) = code.0.checked_sub(self.base) else {
            return &[];
        };
        let index = index as usize;
        match (self.offsets.get(index), self.offsets.get(index + 1)) {
            (Some(&from), Some(&to)) => self
                .bytes
                .get(from as usize..to as usize)
                .unwrap_or_default(),
            _ => &[],
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (StringCode, &[u8])> + '_ {
        (self.base..self.end()).map(|code| (StringCode(code), self.get(StringCode(code))))
    }

    /// One more than the last code.
    fn end(&self) -> u32 {
        // Offsets are at most 2^32, and codes as dense as they are.
        self.base + (self.offsets.len() - 1) as u32
    }

    fn n_bytes(&self) -> usize {
        self.bytes.capacity() + self.offsets.capacity() * size_of::<u32>()
    }
}

// === impl Interner ===

impl Interner {
    pub fn new() -> Self {
        Self {
            full: Strings::default(),
            open: StringChunk::new(0),
            codes: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            n_bytes_full: 0,
        }
    }

    pub fn intern(&mut self, bytes: &[u8]) -> StringCode {
        let tag = self.tag(bytes);
        let (full, open) = (&self.full, &self.open);
        let found = self.codes.find(place(tag), |entry| {
            entry.tag == tag && entry.get(full, open) == bytes
        });
        match found {
            Some(entry) => entry.code,
            None => self.add(bytes, tag),
        }
    }

    /// The code of a string, if it has one.
    pub fn find(&self, bytes: &[u8]) -> Option<StringCode> {
        let tag = self.tag(bytes);
        let (full, open) = (&self.full, &self.open);
        self.codes
            .find(place(tag), |entry| {
                entry.tag == tag && entry.get(full, open) == bytes
            })
            .map(|entry| entry.code)
    }

    pub fn get(&self, code: StringCode) -> &[u8] {
        if code.0 >= self.open.base {
            self.open.get(code)
        } else {
            self.full.get(code)
        }
    }

    pub fn n_strings(&self) -> usize {
        self.open.end() as usize
    }

    /// What every code of now stands for. Copies at most one chunk.
    pub fn snapshot(&self) -> Strings {
        let mut strings = self.full.clone();
        if self.open.n_strings() > 0 {
            strings.push_chunk(Arc::new(self.open.clone()));
        }
        strings
    }

    /// Bytes of strings, offsets and the table of codes.
    pub fn n_bytes(&self) -> usize {
        self.n_bytes_full
            + self.open.n_bytes()
            + self.codes.capacity() * (size_of::<Entry>() + 1) * 8 / 7
    }

    fn tag(&self, bytes: &[u8]) -> u32 {
        (self.hasher.hash_one(bytes) >> 32) as u32
    }

    fn add(&mut self, bytes: &[u8], tag: u32) -> StringCode {
        let full = self.open.is_full() || bytes.len() > u32::MAX as usize / 2;
        if full && self.open.n_strings() > 0 {
            let next = StringChunk::new(self.open.end());
            let mut chunk = std::mem::replace(&mut self.open, next);
            chunk.bytes.shrink_to_fit();
            chunk.offsets.shrink_to_fit();
            self.n_bytes_full += chunk.n_bytes();
            self.full.push_chunk(Arc::new(chunk));
        }
        let code = self
            .open
            .push(bytes)
            .expect("a string is part of a body, far below 4 GiB");
        let entry = Entry {
            tag,
            chunk: self.full.chunks.len() as u32,
            code,
        };
        self.codes
            .insert_unique(place(tag), entry, |entry| place(entry.tag));
        code
    }
}

impl Default for Interner {
    fn default() -> Self {
        Self::new()
    }
}

/// Spreads a tag over the bits that the table takes its place from.
fn place(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

// === impl Entry ===

impl Entry {
    fn get<'a>(&self, full: &'a Strings, open: &'a StringChunk) -> &'a [u8] {
        match full.chunks.get(self.chunk as usize) {
            Some(chunk) => chunk.get(self.code),
            None => open.get(self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_have_one_code_and_snapshots_stay() {
        let mut interner = Interner::new();
        let text = |i: u32| format!("{}{i}", "x".repeat(i as usize % 50));
        let codes: Vec<StringCode> = (0..20_000)
            .map(|i| interner.intern(text(i).as_bytes()))
            .collect();
        let early = interner.snapshot();
        for i in (0..40_000u32).rev() {
            let code = interner.intern(text(i).as_bytes());
            if let Some(before) = codes.get(i as usize) {
                assert_eq!(code, *before);
            }
        }
        assert_eq!(early.n_strings(), 20_000);
        assert_eq!(interner.n_strings(), 40_000);
        assert!(early.chunks().len() > 5);
        let late = interner.snapshot();
        for (i, (code, bytes)) in early.iter().enumerate() {
            assert_eq!(code.0 as usize, i);
            assert_eq!(bytes, text(i as u32).as_bytes());
            assert_eq!(late.get(code), bytes);
            assert_eq!(interner.find(bytes), Some(code));
        }
        assert_eq!(interner.find(b"never seen"), None);
        assert_eq!(late.get(StringCode(40_000)), b"");
    }

    #[test]
    fn strings_may_be_empty_or_larger_than_a_chunk() {
        let mut interner = Interner::new();
        let large = vec![b'y'; 3 * CHUNK_BYTES];
        let codes = [
            interner.intern(b""),
            interner.intern(&large),
            interner.intern(b"z"),
            interner.intern(b""),
        ];
        let strings = interner.snapshot();
        assert_eq!(
            codes.map(|code| strings.get(code).len()),
            [0, large.len(), 1, 0]
        );
        assert_eq!(codes.first(), codes.last());
        assert!(interner.n_bytes() >= large.len());
    }
}
