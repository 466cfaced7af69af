//! Pages of one column chunk, and what can be said of their rows without building arrays.
//!
//! A page of dictionary codes is turned into bits by looking each code up in a table of one bit per
//! entry, and a page of plain strings by looking at its bytes, so that nothing is allocated per value.
//! Version 1 data pages of flat columns alone: what this program writes. Whole columns become arrays in
//! [`super::flat`], and lists by the parquet crate. All bytes were checked against their sums, and are
//! still treated as if anybody could have written them.

use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use bytes::Bytes;
use parquet::basic::Compression;

use super::compression::decompress;
use super::delta::unzigzag;
use super::error::{BlockError, BlockResult};
use super::hybrid::{Run, Runs, unvarint};

/// A page after decompression, and the rows that it is of.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) header: PageHeader,
    pub(super) bytes: Bytes,
}

/// What a page says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub(super) page_type: i64,
    uncompressed_bytes: i64,
    compressed_bytes: i64,
    /// Values, those that are null included; entries of a dictionary.
    pub(super) n_values: usize,
    pub(super) encoding: i64,
    definition_encoding: i64,
}

pub(super) const DATA_PAGE: i64 = 0;
pub(super) const DICTIONARY_PAGE: i64 = 2;
pub(super) const PLAIN: i64 = 0;
pub(super) const PLAIN_DICTIONARY: i64 = 2;
const RLE: i64 = 3;
pub(super) const DELTA: i64 = 5;
const RLE_DICTIONARY: i64 = 8;
/// A page larger than this is none of ours: one value of a string is 1 MiB at most, a dictionary
/// 8,192 values of pages of 32 KiB.
const PAGE_BYTES_MAX: i64 = 64 << 20;
/// Levels of structures in a header that are passed over.
const DEPTH_MAX: usize = 8;

fn malformed(reason: &str) -> BlockError {
    BlockError::malformed("a page", reason)
}

// === impl Page ===

impl Page {
    /// Reads one page from bytes that hold its header and content.
    pub(super) fn decode(bytes: &Bytes, codec: Compression) -> BlockResult<Self> {
        let mut reader = Compact { bytes, at: 0 };
        let header = reader.page_header().ok_or_else(|| malformed("header"))?;
        let sizes = 0..=PAGE_BYTES_MAX;
        if !sizes.contains(&header.compressed_bytes) || !sizes.contains(&header.uncompressed_bytes)
        {
            return Err(malformed("size"));
        }
        let end = reader.at + header.compressed_bytes as usize;
        if end > bytes.len() {
            return Err(malformed("is longer than its place"));
        }
        let body = bytes.slice(reader.at..end);
        let bytes = decompress(body, codec, header.uncompressed_bytes as usize)?;
        Ok(Self { header, bytes })
    }

    /// True for a data page whose levels the functions here understand.
    pub(super) fn is_data(&self) -> bool {
        self.header.page_type == DATA_PAGE && self.header.definition_encoding == RLE
    }

    pub(super) fn is_of_codes(&self) -> bool {
        matches!(self.header.encoding, RLE_DICTIONARY | PLAIN_DICTIONARY)
    }

    /// True for a data page of codes, or of plain values.
    pub(super) fn is_flat(&self, of_codes: bool) -> bool {
        self.is_data()
            && self.is_of_codes() == of_codes
            && (of_codes || self.header.encoding == PLAIN)
    }

    /// Splits levels and values. The levels are empty for a column without nulls.
    fn parts(&self, optional: bool) -> BlockResult<(&[u8], &[u8])> {
        if !optional {
            return Ok((&[], &self.bytes));
        }
        let (len, rest) = self
            .bytes
            .split_first_chunk::<4>()
            .ok_or_else(|| malformed("levels"))?;
        rest.split_at_checked(u32::from_le_bytes(*len) as usize)
            .ok_or_else(|| malformed("levels"))
    }

    /// Appends a bit per row: that of its code, `when_null` where it has none.
    pub(super) fn code_bits(
        &self,
        optional: bool,
        hits: &CodeTable,
        bits: &mut BooleanBufferBuilder,
    ) -> BlockResult<()> {
        let n_rows = self.header.n_values;
        let (levels, values) = self.parts(optional)?;
        let (width, codes) = values.split_first().unwrap_or((&0, &[]));
        let n_values = n_present(optional, levels, n_rows)?;
        if n_values == n_rows {
            return hits.append(codes, *width, n_values, bits);
        }
        let mut of_values = BooleanBufferBuilder::new(n_values);
        hits.append(codes, *width, n_values, &mut of_values)?;
        spread(levels, n_rows, &of_values.finish(), hits.when_null, bits)
    }

    /// Appends a bit per row of a page of plain strings; false where null.
    pub(super) fn text_bits(
        &self,
        optional: bool,
        test: &mut (dyn FnMut(&[u8]) -> bool + Send),
        bits: &mut BooleanBufferBuilder,
    ) -> BlockResult<()> {
        let n_rows = self.header.n_values;
        let (levels, mut values) = self.parts(optional)?;
        let n_values = n_present(optional, levels, n_rows)?;
        let mut of_values = BooleanBufferBuilder::new(n_values);
        for _ in 0..n_values {
            let (value, rest) = text(values).ok_or_else(|| malformed("strings"))?;
            of_values.append(test(value));
            values = rest;
        }
        let of_values = of_values.finish();
        if n_values == n_rows {
            bits.append_buffer(&of_values);
            return Ok(());
        }
        spread(levels, n_rows, &of_values, false, bits)
    }

    /// How many rows have a value, and the values. If null is a choice, whether it has one is appended
    /// for each row.
    pub(super) fn values(
        &self,
        optional: bool,
        valid: &mut BooleanBufferBuilder,
    ) -> BlockResult<(usize, &[u8])> {
        let n_rows = self.header.n_values;
        let (levels, values) = self.parts(optional)?;
        if !optional {
            return Ok((n_rows, values));
        }
        let mut n_values = 0;
        for run in Runs::new(levels, 1, n_rows) {
            let run = run.ok_or_else(|| malformed("levels"))?;
            n_values += n_set(run);
            match run {
                Run::Same { value, n } => valid.append_n(n, value != 0),
                Run::Packed { bytes, n } if bytes.len() * 8 < n => {
                    return Err(malformed("levels"));
                }
                Run::Packed { bytes, n } => valid.append_packed_range(0..n, bytes),
            }
        }
        Ok((n_values, values))
    }

    /// The code of each row, `u32::MAX` where null.
    pub(super) fn codes(&self, optional: bool, out: &mut Vec<u32>) -> BlockResult<()> {
        let n_rows = self.header.n_values;
        let (levels, values) = self.parts(optional)?;
        let n_values = n_present(optional, levels, n_rows)?;
        let first = out.len();
        decode_codes(values, n_values, out)?;
        if n_values == n_rows {
            return Ok(());
        }
        let values = out.split_off(first);
        let mut values = values.into_iter();
        for run in Runs::new(levels, 1, n_rows) {
            match run.ok_or_else(|| malformed("levels"))? {
                Run::Same { value: 0, n } => out.extend(std::iter::repeat_n(u32::MAX, n)),
                Run::Same { n, .. } => out.extend(values.by_ref().take(n)),
                Run::Packed { bytes, n } => {
                    for row in 0..n {
                        let is_set = bytes.get(row / 8).is_some_and(|b| b >> (row % 8) & 1 == 1);
                        let value = if is_set { values.next() } else { None };
                        out.push(value.unwrap_or(u32::MAX));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A value of a fixed number of bytes.
pub(super) trait Value: Copy {
    const N_BYTES: usize;

    fn of_bytes(bytes: &[u8]) -> Self;
}

/// The first `n` of some plain values.
pub(super) fn plain<T: Value>(bytes: &[u8], n: usize) -> Option<impl Iterator<Item = T>> {
    let bytes = bytes.get(..n.checked_mul(T::N_BYTES)?)?;
    Some(bytes.chunks_exact(T::N_BYTES).map(T::of_bytes))
}

impl Value for i32 {
    const N_BYTES: usize = size_of::<Self>();

    fn of_bytes(bytes: &[u8]) -> Self {
        bytes
            .try_into()
            .map(Self::from_le_bytes)
            .unwrap_or_default()
    }
}

impl Value for i64 {
    const N_BYTES: usize = size_of::<Self>();

    fn of_bytes(bytes: &[u8]) -> Self {
        bytes
            .try_into()
            .map(Self::from_le_bytes)
            .unwrap_or_default()
    }
}

impl<const N: usize> Value for [u8; N] {
    const N_BYTES: usize = N;

    fn of_bytes(bytes: &[u8]) -> Self {
        bytes.try_into().unwrap_or([0; N])
    }
}

/// The first of some plain strings, and those behind it.
pub(super) fn text(values: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = values.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

fn n_present(optional: bool, levels: &[u8], n_rows: usize) -> BlockResult<usize> {
    if !optional {
        return Ok(n_rows);
    }
    let mut n_values = 0;
    for run in Runs::new(levels, 1, n_rows) {
        n_values += n_set(run.ok_or_else(|| malformed("levels"))?);
    }
    Ok(n_values)
}

/// Bits that are set in a run of one bit each.
fn n_set(run: Run<'_>) -> usize {
    let (bytes, n) = match run {
        Run::Same { value, n } => return n * usize::from(value != 0),
        Run::Packed { bytes, n } => (bytes, n),
    };
    let (whole, rest) = bytes.split_at_checked(n / 8).unwrap_or((bytes, &[]));
    let last = rest.first().map_or(0, |byte| byte & ((1 << (n % 8)) - 1));
    let set = whole.iter().chain([&last]).map(|byte| byte.count_ones());
    set.sum::<u32>() as usize
}

/// Appends the bits of values at the rows that have one.
fn spread(
    levels: &[u8],
    n_rows: usize,
    of_values: &BooleanBuffer,
    when_null: bool,
    bits: &mut BooleanBufferBuilder,
) -> BlockResult<()> {
    if !when_null && !of_values.has_true() {
        bits.append_n(n_rows, false);
        return Ok(());
    }
    let mut at = 0;
    for run in Runs::new(levels, 1, n_rows) {
        match run.ok_or_else(|| malformed("levels"))? {
            Run::Same { value: 0, n } => bits.append_n(n, when_null),
            Run::Same { n, .. } => {
                if at + n > of_values.len() {
                    return Err(malformed("levels"));
                }
                bits.append_buffer(&of_values.slice(at, n));
                at += n;
            }
            Run::Packed { bytes, n } => {
                for row in 0..n {
                    let is_set = bytes.get(row / 8).is_some_and(|b| b >> (row % 8) & 1 == 1);
                    bits.append(match is_set {
                        true => at < of_values.len() && of_values.value(at),
                        false => when_null,
                    });
                    at += usize::from(is_set);
                }
            }
        }
    }
    Ok(())
}

/// One bit per dictionary entry, made to be looked up fast.
#[derive(Debug)]
pub(super) struct CodeTable {
    /// A byte per code, as many as a power of two.
    hits: Vec<u8>,
    pub(super) when_null: bool,
    /// True if no row can have its bit set.
    pub(super) is_empty: bool,
}

// === impl CodeTable ===

impl CodeTable {
    pub(super) fn new(hits: &BooleanBuffer, when_null: bool) -> Self {
        let mut table: Vec<u8> = hits.iter().map(u8::from).collect();
        table.resize(table.len().next_power_of_two().max(1), 0);
        Self {
            hits: table,
            when_null,
            is_empty: !hits.has_true() && !when_null,
        }
    }

    /// A code beyond the dictionary has no bit: it is never written.
    fn hit(&self, code: u32) -> u8 {
        self.hits.get(code as usize).copied().unwrap_or(0)
    }

    fn append(
        &self,
        codes: &[u8],
        width: u8,
        n: usize,
        bits: &mut BooleanBufferBuilder,
    ) -> BlockResult<()> {
        for run in Runs::new(codes, width, n) {
            match run.ok_or_else(|| malformed("codes"))? {
                Run::Same { value, n } => bits.append_n(n, self.hit(value) == 1),
                Run::Packed { bytes, n } => {
                    let mut packed = Vec::with_capacity(n.div_ceil(8));
                    for_each_eight(bytes, width, |codes| {
                        let mut byte = 0;
                        for (i, code) in codes.iter().enumerate() {
                            byte |= self.hit(*code) << i;
                        }
                        packed.push(byte);
                    });
                    packed.resize(n.div_ceil(8), 0);
                    bits.append_packed_range(0..n, &packed);
                }
            }
        }
        Ok(())
    }
}

/// Appends the codes of `n` values: their width, then the codes.
pub(super) fn decode_codes(values: &[u8], n: usize, out: &mut Vec<u32>) -> BlockResult<()> {
    let (width, codes) = values.split_first().unwrap_or((&0, &[]));
    let width = *width;
    let first = out.len();
    for run in Runs::new(codes, width, n) {
        match run.ok_or_else(|| malformed("codes"))? {
            Run::Same { value, n } => out.extend(std::iter::repeat_n(value, n)),
            Run::Packed { bytes, n } => {
                let end = out.len() + n;
                for_each_eight(bytes, width, |codes| out.extend_from_slice(codes));
                out.resize(end, u32::MAX);
            }
        }
    }
    out.truncate(first + n);
    Ok(())
}

/// Unpacks eight codes at a time, which take as many bytes as a code has bits.
fn for_each_eight(bytes: &[u8], width: u8, mut visit: impl FnMut(&[u32; 8])) {
    let width = usize::from(width);
    let mask = if width >= 32 {
        u64::from(u32::MAX)
    } else {
        (1u64 << width) - 1
    };
    let mut codes = [0u32; 8];
    for eight in bytes.chunks_exact(width.max(1)) {
        if width <= 8 {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(eight) {
                *to = *from;
            }
            let word = u64::from_le_bytes(word);
            for (i, code) in codes.iter_mut().enumerate() {
                *code = (word >> (i * width) & mask) as u32;
            }
        } else {
            let (mut word, mut n_bits) = (0u64, 0);
            let mut rest = eight.iter();
            for code in &mut codes {
                while n_bits < width {
                    word |= u64::from(rest.next().copied().unwrap_or(0)) << n_bits;
                    n_bits += 8;
                }
                *code = (word & mask) as u32;
                word >>= width;
                n_bits -= width;
            }
        }
        visit(&codes);
    }
}

/// Thrift's compact protocol, as far as a page header needs it.
struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut rest = self.bytes.get(self.at..)?;
        let value = unvarint(&mut rest)?;
        self.at = self.bytes.len() - rest.len();
        Some(value)
    }

    fn int(&mut self) -> Option<i64> {
        self.varint().map(unzigzag)
    }

    /// Number and type of the next field; `None` inside for the end of the structure.
    fn field(&mut self, last: &mut i64) -> Option<Option<(i64, u8)>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *last = match head >> 4 {
            0 => self.int()?,
            delta => *last + i64::from(delta),
        };
        Some(Some((*last, head & 15)))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match kind {
            1 | 2 => {}
            3 => {
                self.byte()?;
            }
            4..=6 => {
                self.varint()?;
            }
            7 => self.at = self.at.checked_add(8)?,
            8 => {
                let len = usize::try_from(self.varint()?).ok()?;
                self.at = self
                    .at
                    .checked_add(len)
                    .filter(|at| *at <= self.bytes.len())?;
            }
            12 => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn page_header(&mut self) -> Option<PageHeader> {
        let mut header = PageHeader::default();
        let mut last = 0;
        while let Some((field, kind)) = self.field(&mut last)? {
            match (field, kind) {
                (1, 5) => header.page_type = self.int()?,
                (2, 5) => header.uncompressed_bytes = self.int()?,
                (3, 5) => header.compressed_bytes = self.int()?,
                (5 | 7, 12) => self.inner_header(&mut header)?,
                _ => self.skip(kind, 0)?,
            }
        }
        Some(header)
    }

    /// Of a data page or of a dictionary: the fields that matter have the same numbers.
    fn inner_header(&mut self, header: &mut PageHeader) -> Option<()> {
        let mut last = 0;
        while let Some((field, kind)) = self.field(&mut last)? {
            match (field, kind) {
                (1, 5) => header.n_values = usize::try_from(self.int()?).ok()?,
                (2, 5) => header.encoding = self.int()?,
                (3, 5) => header.definition_encoding = self.int()?,
                _ => self.skip(kind, 0)?,
            }
        }
        Some(())
    }
}
