//! The files `checksums` and `shared`, and how a Parquet file is cut into segments.

use bytes::Bytes;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use tracewell_model::TraceId;

use super::error::{BlockError, BlockResult};
use super::schema::{CHECKSUMS_FILE, SHARED_FILE, VERSION};

const CHECKSUMS_MAGIC: &[u8; 8] = b"TWCHECKS";
const SHARED_MAGIC: &[u8; 8] = b"TWSHARED";

/// The checksums of one file. Segments cover it without gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Segments {
    /// End of each segment; they begin at 0 and where the one before ends.
    pub(super) ends: Vec<u64>,
    pub(super) sums: Vec<u32>,
}

// === impl Segments ===

impl Segments {
    pub(super) fn file_bytes(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Bytes that this holds in memory.
    pub(super) fn n_bytes(&self) -> u64 {
        (self.ends.capacity() * size_of::<u64>() + self.sums.capacity() * size_of::<u32>()) as u64
    }

    /// Adds the segments of bytes that follow what is covered, cut at `boundaries` (file offsets,
    /// in any order; those outside are ignored).
    pub(super) fn extend(&mut self, bytes: &[u8], boundaries: &mut Vec<u64>) {
        let base = self.file_bytes();
        boundaries.push(base + bytes.len() as u64);
        boundaries.sort_unstable();
        let mut from = 0;
        for boundary in boundaries.drain(..) {
            let Some(to) = boundary.checked_sub(base).map(|to| to as usize) else {
                continue;
            };
            if to > from
                && let Some(segment) = bytes.get(from..to)
            {
                self.ends.push(boundary);
                self.sums.push(crc32c::crc32c(segment));
                from = to;
            }
        }
    }

    /// Start and end of the segments that hold a range, and the first one's number.
    pub(super) fn around(&self, range: &std::ops::Range<u64>) -> (std::ops::Range<u64>, usize) {
        let first = self.ends.partition_point(|end| *end <= range.start);
        let last = self.ends.partition_point(|end| *end < range.end);
        let start = first
            .checked_sub(1)
            .and_then(|at| self.ends.get(at))
            .copied()
            .unwrap_or(0);
        let end = self.ends.get(last).copied().unwrap_or(start);
        (start..end, first)
    }

    /// Checks bytes that begin with segment `first` and end with a segment. The error is the place
    /// of the first segment that differs, its length, and the sums.
    pub(super) fn check(&self, first: usize, bytes: &[u8]) -> Result<(), (u64, u64, u32, u32)> {
        let base = first
            .checked_sub(1)
            .and_then(|at| self.ends.get(at))
            .copied()
            .unwrap_or(0);
        let mut from = 0usize;
        let rest = self.ends.iter().zip(&self.sums).skip(first);
        for (end, expected) in rest {
            if from >= bytes.len() {
                break;
            }
            let to = (end - base) as usize;
            let segment = bytes
                .get(from..to)
                .or_else(|| bytes.get(from..))
                .unwrap_or_default();
            let seen = crc32c::crc32c(segment);
            if seen != *expected || segment.len() != to - from {
                return Err((base + from as u64, (to - from) as u64, *expected, seen));
            }
            from = to;
        }
        Ok(())
    }
}

/// Where segments of a row group begin: pages, dictionaries and Bloom filters. `offset_indexes` are
/// relative to the start of each chunk.
pub(super) fn row_group_boundaries(
    group: &RowGroupMetaData,
    pages: &[Vec<i64>],
    boundaries: &mut Vec<u64>,
) {
    for (column, pages) in group.columns().iter().zip(pages) {
        let (start, len) = column.byte_range();
        boundaries.push(start);
        boundaries.push(start + len);
        boundaries.extend(pages.iter().map(|page| start + page.unsigned_abs()));
        if let Some(offset) = column.bloom_filter_offset() {
            boundaries.push(offset.unsigned_abs());
            let len = column.bloom_filter_length().unwrap_or(0);
            boundaries.push(offset.unsigned_abs() + u64::from(len.unsigned_abs()));
        }
    }
}

/// Where the segments behind the row groups begin, and the first of the page indexes.
pub(super) fn tail_boundaries(
    metadata: &ParquetMetaData,
    boundaries: &mut Vec<u64>,
) -> Option<u64> {
    let mut first = None;
    for column in metadata
        .row_groups()
        .iter()
        .flat_map(RowGroupMetaData::columns)
    {
        let indexes = [
            (column.column_index_offset(), column.column_index_length()),
            (column.offset_index_offset(), column.offset_index_length()),
        ];
        for (offset, len) in indexes {
            if let (Some(offset), Some(len)) = (offset, len) {
                let offset = offset.unsigned_abs();
                first = Some(first.map_or(offset, |first: u64| first.min(offset)));
                boundaries.push(offset);
                boundaries.push(offset + u64::from(len.unsigned_abs()));
            }
        }
    }
    first
}

/// The bytes of `checksums`.
pub(super) fn encode_checksums(files: &[(String, Segments)]) -> Bytes {
    let mut out = CHECKSUMS_MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(files.len() as u32).to_le_bytes());
    for (name, segments) in files {
        out.extend_from_slice(&(name.len() as u32).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&segments.file_bytes().to_le_bytes());
        out.extend_from_slice(&(segments.ends.len() as u32).to_le_bytes());
        let mut from = 0;
        for (end, sum) in segments.ends.iter().zip(&segments.sums) {
            out.extend_from_slice(&((end - from) as u32).to_le_bytes());
            out.extend_from_slice(&sum.to_le_bytes());
            from = *end;
        }
    }
    out.into()
}

pub(super) fn decode_checksums(bytes: &[u8]) -> BlockResult<Vec<(String, Segments)>> {
    let mut reader = Reader {
        rest: bytes,
        file: CHECKSUMS_FILE,
    };
    reader.header(CHECKSUMS_MAGIC)?;
    let n_files = reader.u32()?;
    let mut files = Vec::new();
    for _ in 0..n_files {
        let len = reader.u32()? as usize;
        let name = String::from_utf8_lossy(reader.take(len)?).into_owned();
        let file_bytes = u64::from_le_bytes(reader.array()?);
        let n_segments = reader.u32()? as usize;
        let entries = reader.take(n_segments.saturating_mul(8))?;
        let mut segments = Segments {
            ends: Vec::with_capacity(n_segments),
            sums: Vec::with_capacity(n_segments),
        };
        let mut end = 0u64;
        for entry in entries.chunks_exact(8) {
            let mut entry = Reader {
                rest: entry,
                file: CHECKSUMS_FILE,
            };
            end += u64::from(entry.u32()?);
            segments.ends.push(end);
            segments.sums.push(entry.u32()?);
        }
        if end != file_bytes {
            return Err(reader.malformed("segments do not cover a file"));
        }
        files.push((name, segments));
    }
    Ok(files)
}

/// The bytes of `shared`; `None` says that every trace may be shared.
pub(super) fn encode_shared(ids: Option<&[TraceId]>) -> Bytes {
    let mut out = SHARED_MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    let n = ids.map_or(u32::MAX, |ids| ids.len() as u32);
    out.extend_from_slice(&n.to_le_bytes());
    for id in ids.unwrap_or_default() {
        out.extend_from_slice(&id.0);
    }
    let sum = crc32c::crc32c(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out.into()
}

pub(super) fn decode_shared(bytes: &[u8]) -> BlockResult<Option<Vec<TraceId>>> {
    let mut reader = Reader {
        rest: bytes,
        file: SHARED_FILE,
    };
    reader.header(SHARED_MAGIC)?;
    let n = reader.u32()?;
    if n == u32::MAX {
        return Ok(None);
    }
    let ids = reader.take((n as usize).saturating_mul(16))?;
    let ids = ids
        .chunks_exact(16)
        .filter_map(|id| id.try_into().ok().map(TraceId));
    Ok(Some(ids.collect()))
}

struct Reader<'a> {
    rest: &'a [u8],
    file: &'static str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> BlockResult<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or_else(|| self.malformed("ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> BlockResult<[u8; N]> {
        self.take(N)?
            .try_into()
            .map_err(|_| self.malformed("ends too early"))
    }

    fn u32(&mut self) -> BlockResult<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn header(&mut self, magic: &[u8; 8]) -> BlockResult<()> {
        if self.array::<8>()? != *magic {
            return Err(self.malformed("another kind of file"));
        }
        let needed = self.u32()?;
        if needed > VERSION {
            return Err(BlockError::Version {
                needed,
                known: VERSION,
            });
        }
        Ok(())
    }

    fn malformed(&self, reason: &str) -> BlockError {
        BlockError::malformed(self.file, reason)
    }
}
