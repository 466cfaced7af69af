//! A segment as a reader sees it: bytes by offset, from a file or from memory.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::format::PAGE_BYTES;
use crate::disk::DiskFile;

/// A reader that goes straight on reads ahead up to this.
const AHEAD_BYTES_MAX: usize = 1 << 20;
const AHEAD_BYTES_MIN: usize = PAGE_BYTES as usize;

/// A stretch that the device would not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) reason: String,
}

#[derive(Debug)]
pub(super) enum Window<'a> {
    Memory(&'a [u8]),
    File(FileWindow),
}

/// Holds the bytes read last. It reads little where the reader hops from header to header, and
/// more and more where it goes straight on.
#[derive(Debug)]
pub(super) struct FileWindow {
    file: Arc<dyn DiskFile>,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
    ahead: usize,
    /// Pages that could not be read; their bytes read as zeros.
    unreadable: VecDeque<Unreadable>,
}

// === impl Window ===

impl Window<'_> {
    pub(super) fn over(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        Ok(Self::File(FileWindow {
            len: file.len()?,
            file,
            start: 0,
            bytes: Vec::new(),
            ahead: AHEAD_BYTES_MIN,
            unreadable: VecDeque::new(),
        }))
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(file) => file.len,
        }
    }

    /// The bytes there, fewer than asked for at the end of the file.
    pub(super) fn read(&mut self, offset: u64, len: usize) -> &[u8] {
        match self {
            Self::Memory(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = bytes.get(from..).unwrap_or_default();
                rest.get(..len).unwrap_or(rest)
            }
            Self::File(file) => file.read(offset, len),
        }
    }

    pub(super) fn next_unreadable(&mut self) -> Option<Unreadable> {
        match self {
            Self::Memory(_) => None,
            Self::File(file) => file.unreadable.pop_front(),
        }
    }
}

// === impl FileWindow ===

impl FileWindow {
    fn read(&mut self, offset: u64, len: usize) -> &[u8] {
        let rest = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(rest);
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + len as u64 > end {
            let straight_on = offset >= self.start && offset <= end;
            self.ahead = if straight_on {
                (self.ahead * 2).min(AHEAD_BYTES_MAX)
            } else {
                AHEAD_BYTES_MIN
            };
            self.fill(offset, len.max(self.ahead).min(rest));
        }
        let from = (offset - self.start) as usize;
        let held = self.bytes.get(from..).unwrap_or_default();
        held.get(..len).unwrap_or(held)
    }

    fn fill(&mut self, offset: u64, len: usize) {
        self.start = offset;
        self.bytes.clear();
        self.bytes.resize(len, 0);
        match self.file.read_at(&mut self.bytes, offset) {
            Ok(seen) => self.bytes.truncate(seen),
            Err(_) => self.fill_by_page(offset),
        }
    }

    /// After an error: what can be read, page by page.
    fn fill_by_page(&mut self, offset: u64) {
        let mut at = offset;
        let mut rest = self.bytes.as_mut_slice();
        while !rest.is_empty() {
            let to_page_end = (PAGE_BYTES - at % PAGE_BYTES) as usize;
            let (page, behind) = rest.split_at_mut(to_page_end.min(rest.len()));
            if let Err(error) = self.file.read_at(page, at) {
                page.fill(0);
                let page_start = at - at % PAGE_BYTES;
                if self.unreadable.back().map(|last| last.offset) != Some(page_start) {
                    self.unreadable.push_back(Unreadable {
                        offset: page_start,
                        len: PAGE_BYTES.min(self.len - page_start),
                        reason: error.to_string(),
                    });
                }
            }
            at += page.len() as u64;
            rest = behind;
        }
    }
}
