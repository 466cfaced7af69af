//! What the store holds: numbered, immutable manifests (docs/format/manifest.md).
//!
//! Here are a manifest's content, its bytes, and the arithmetic of a commit; [`chain`] writes and
//! reads the numbered objects. What this is not: it opens no block and knows no snapshot. A manifest
//! holds some thousand entries of about 500 bytes; it is written whole at every commit.

pub mod chain;
pub mod ledger;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use tracewell_model::TenantId;

use crate::clock::ClockRecord;
use crate::partition::{Bounds, Partition};

/// Never used twice; 128 bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub [u8; 16]);

/// The retention class until there are policies.
pub const CLASS_DEFAULT: &str = "default";
/// Version of the manifest's bytes.
pub const MANIFEST_VERSION: u16 = 1;
/// A manifest larger than this is refused: 100,000 entries of 640 bytes.
pub const MANIFEST_BYTES_MAX: u64 = 64 << 20;

const MAGIC: [u8; 8] = *b"TWMANIF\0";
const HEADER_BYTES: usize = 40;

/// Everything that a store holds at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub number: u64,
    pub created_unix_nano: u64,
    /// `None` in those that were written before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockRecord>,
    /// Sorted by log, then start; stretches that touch are one.
    pub covered: Vec<LogRange>,
    /// Sorted by id.
    pub blocks: Vec<BlockEntry>,
    /// In a bucket: who merges and retires there. The local disk has one process anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper: Option<Keeper>,
}

/// The process that merges and retires in a bucket, until somebody else may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// The name of its log, which it has again after a crash.
    pub process: String,
    pub until_unix_nano: u64,
}

/// A half-open stretch of one log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogRange {
    pub log: String,
    pub from: u64,
    pub to: u64,
}

/// One block as a manifest knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEntry {
    pub id: BlockId,
    pub level: u8,
    /// Version of the block format.
    pub format: u16,
    /// `None` where spans of several tenants lie in it.
    #[serde(with = "tenant_text")]
    pub tenant: Option<TenantId>,
    pub partition: Option<Partition>,
    pub class: String,
    pub spans: u64,
    pub traces: u64,
    pub trace_start: Bounds,
    pub span_start: Bounds,
    pub arrival: Bounds,
    pub bytes: u64,
    pub files: Vec<BlockFile>,
    /// The records that it was cut from, at level 0.
    pub log: Option<LogRange>,
    pub made_from: Vec<BlockId>,
    /// Reserved: the object that lists rows to subtract.
    #[serde(default)]
    pub delete_set: Option<String>,
    /// In a bucket: the log that all of its spans came through, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
}

/// One object of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockFile {
    /// Relative to the block's folder.
    pub name: String,
    pub bytes: u64,
}

/// What a commit takes out and puts in, in one step.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub remove: Vec<BlockId>,
    /// Taken out where they are listed.
    pub forget: Vec<BlockId>,
    pub add: Vec<BlockEntry>,
    /// Records that hold no span, so that no block covers them.
    pub cover: Vec<LogRange>,
}

/// Why bytes are no manifest, or a change cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    #[error("{seen} bytes where {expected} were expected")]
    Length { expected: u64, seen: u64 },
    #[error("not a manifest")]
    Magic,
    #[error("version {seen}, this program reads up to {MANIFEST_VERSION}")]
    Version { seen: u64 },
    #[error("reserved bytes are not zero")]
    Reserved,
    #[error("checksum of the {part} is {seen:08x}, expected {expected:08x}")]
    Checksum {
        part: &'static str,
        expected: u64,
        seen: u64,
    },
    #[error("says number {seen}, expected {expected}")]
    Number { expected: u64, seen: u64 },
    #[error("body: {0}")]
    Body(String),
    #[error("records {from} to {to} of log {log} are covered already")]
    Covered { log: String, from: u64, to: u64 },
    #[error("block {0} is not listed")]
    NotListed(BlockId),
    #[error("block {0} is listed already")]
    Listed(BlockId),
}

// === impl Change ===

impl Change {
    /// True if it says nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.forget.is_empty()
            && self.add.is_empty()
            && self.cover.is_empty()
    }
}

// === impl Manifest ===

impl Manifest {
    /// The bytes of the object, header included.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        let body = serde_json::to_vec(self).map_err(|e| ManifestError::Body(e.to_string()))?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&MANIFEST_VERSION.to_le_bytes());
        bytes.extend_from_slice(&0u16.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads the object named by `number`; every byte of it is under a checksum.
    pub fn decode(number: u64, bytes: &[u8]) -> Result<Self, ManifestError> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(ManifestError::Length {
                expected: HEADER_BYTES as u64,
                seen: bytes.len() as u64,
            });
        };
        let field = |at: usize, n: usize| header.get(at..at + n).unwrap_or_default();
        if field(0, 8) != MAGIC {
            return Err(ManifestError::Magic);
        }
        check_sum("header", number_in(field(32, 4)), field(0, 32))?;
        if field(10, 2) != [0; 2] || field(36, 4) != [0; 4] {
            return Err(ManifestError::Reserved);
        }
        let version = number_in(field(8, 2));
        if version == 0 || version > u64::from(MANIFEST_VERSION) {
            return Err(ManifestError::Version { seen: version });
        }
        let (length, says) = (number_in(field(16, 8)), number_in(field(24, 8)));
        if body.len() as u64 != length {
            return Err(ManifestError::Length {
                expected: length,
                seen: body.len() as u64,
            });
        }
        check_sum("body", number_in(field(12, 4)), body)?;
        let manifest: Self =
            serde_json::from_slice(body).map_err(|e| ManifestError::Body(e.to_string()))?;
        manifest.check_sums()?;
        match [says, manifest.number].iter().find(|&&n| n != number) {
            Some(&seen) => Err(ManifestError::Number {
                expected: number,
                seen,
            }),
            None => Ok(manifest),
        }
    }

    /// So that whoever adds up entries, also those of a disk and of a bucket, need not care: what others wrote into
    /// a bucket is under a checksum of theirs.
    fn check_sums(&self) -> Result<(), ManifestError> {
        for of in [
            |entry: &BlockEntry| entry.bytes,
            |entry: &BlockEntry| entry.spans,
            |entry: &BlockEntry| entry.traces,
        ] {
            let sum = self.blocks.iter().map(of).try_fold(0, u64::checked_add);
            if sum.is_none_or(|sum| i64::try_from(sum).is_err()) {
                let reason = "bytes, spans or traces of its blocks add up to more than 63 bits";
                return Err(ManifestError::Body(reason.to_owned()));
            }
        }
        Ok(())
    }

    /// The manifest after a change, with the same number: the chain gives it the next one.
    pub fn with(&self, change: &Change) -> Result<Self, ManifestError> {
        let mut next = self.clone();
        for id in &change.remove {
            let index = next
                .position(*id)
                .map_err(|_| ManifestError::NotListed(*id))?;
            next.blocks.remove(index);
        }
        next.blocks
            .retain(|entry| !change.forget.contains(&entry.id));
        for range in &change.cover {
            next.cover(range)?;
        }
        for entry in &change.add {
            if let Some(range) = &entry.log {
                next.cover(range)?;
            }
            // An id that the change takes out cannot come back in: names are never used twice.
            match next.position(entry.id) {
                Err(index) if !change.remove.contains(&entry.id) => {
                    next.blocks.insert(index, entry.clone());
                }
                _ => return Err(ManifestError::Listed(entry.id)),
            }
        }
        Ok(next)
    }

    pub fn block(&self, id: BlockId) -> Option<&BlockEntry> {
        self.position(id)
            .ok()
            .and_then(|index| self.blocks.get(index))
    }

    /// The first record of a log that no block holds: everything before it is covered, in one row.
    pub fn covered_to(&self, log: &str) -> u64 {
        self.covered
            .iter()
            .find(|range| range.log == log && range.from == 0)
            .map_or(0, |range| range.to)
    }

    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(|entry| entry.bytes).sum()
    }

    fn position(&self, id: BlockId) -> Result<usize, usize> {
        self.blocks.binary_search_by_key(&id, |entry| entry.id)
    }

    /// Adds a stretch; refuses one of which any record is covered. An empty stretch says nothing.
    fn cover(&mut self, range: &LogRange) -> Result<(), ManifestError> {
        if range.from >= range.to {
            return Ok(());
        }
        let overlaps = |other: &LogRange| {
            other.log == range.log && other.from < range.to && range.from < other.to
        };
        if self.covered.iter().any(overlaps) {
            return Err(ManifestError::Covered {
                log: range.log.clone(),
                from: range.from,
                to: range.to,
            });
        }
        self.covered.push(range.clone());
        self.covered.sort_unstable();
        self.covered.dedup_by(|next, earlier| {
            let touches = next.log == earlier.log && next.from == earlier.to;
            if touches {
                earlier.to = next.to;
            }
            touches
        });
        Ok(())
    }
}

/// A little-endian number of at most eight bytes.
fn number_in(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn check_sum(part: &'static str, expected: u64, bytes: &[u8]) -> Result<(), ManifestError> {
    let seen = u64::from(crc32c::crc32c(bytes));
    if seen == expected {
        Ok(())
    } else {
        Err(ManifestError::Checksum {
            part,
            expected,
            seen,
        })
    }
}

// === impl BlockId ===

impl BlockId {
    /// From 32 lowercase hex digits, as in the name of a block's folder.
    pub fn parse(text: &str) -> Option<Self> {
        let lowercase = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 32 || !text.bytes().all(lowercase) {
            return None;
        }
        u128::from_str_radix(text, 16)
            .ok()
            .map(|id| Self(id.to_be_bytes()))
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BlockId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlockId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a block id"))
    }
}

mod tenant_text {
    use super::{Deserialize, TenantId};

    pub(super) fn serialize<S: serde::Serializer>(
        tenant: &Option<TenantId>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match tenant {
            Some(tenant) => serializer.serialize_some(tenant.as_str()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<TenantId>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| TenantId::new(&text).map_err(serde::de::Error::custom))
            .transpose()
    }
}
