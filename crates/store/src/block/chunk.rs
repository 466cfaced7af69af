//! One column of one group as the bytes of a Parquet column chunk.
//!
//! Strings and ids come as codes of interned values, so nothing is hashed per row: dictionary and
//! plain pages of them are written here, and the pages of integers. Other numbers and lists, which are
//! few, go through the parquet crate's writers.
//! What this is not: it chooses no columns and writes no files.

use std::cmp::Ordering;

use bytes::Bytes;
use parquet::basic::{Encoding, LogicalType, PageType, Type as PhysicalType};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::{ColumnCloseResult, ColumnWriter, get_column_writer};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::compression::Codec;
use super::delta::{self, Integer};
use super::hybrid;
use super::schema::PAGE_BYTES;

/// Rows of one page at most, so that few rows of a narrow column can be read alone.
const PAGE_ROWS: usize = 16_384;
/// A chunk whose dictionary is larger is compressed, codes included.
const DICTIONARY_PLAIN_BYTES_MAX: usize = 32 << 10;
/// Minima and maxima of strings are cut to this length.
const BOUND_BYTES_MAX: usize = 64;
/// Distinct integers up to which an integer column is a dictionary.
const INT_DICTIONARY_MAX: usize = 1_024;

/// An encoded column chunk; offsets in `close` count from the start of `bytes`.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

/// A column of one group.
#[derive(Debug)]
pub(super) struct Cells<'a> {
    pub(super) n_rows: usize,
    /// The rows that have a value, ascending; `None` for all.
    pub(super) rows: Option<Vec<u32>>,
    pub(super) values: Values<'a>,
}

/// The values of the rows that have one, in order.
#[derive(Debug)]
pub(super) enum Values<'a> {
    /// Strings, bytes and ids: indexes in `entries`.
    Coded {
        codes: Vec<u32>,
        entries: Vec<&'a [u8]>,
    },
    /// Ids side by side, all of the column's width.
    Fixed(Vec<u8>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Bool(Vec<bool>),
    /// List `i` is `ends[i - 1]..ends[i]`.
    TextList {
        ends: Vec<u32>,
        values: Vec<&'a [u8]>,
    },
    Int32List {
        ends: Vec<u32>,
        values: Vec<i32>,
    },
}

/// How a column is to be encoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// Of plain strings and large dictionaries.
    pub(super) codec: Codec,
    /// Distinct values up to which strings and ids are a dictionary.
    pub(super) dictionary_max: usize,
    /// Compress fixed-size ids too: those that repeat.
    pub(super) compress_ids: bool,
    pub(super) integers: Integers,
    /// False-positive rate of a Bloom filter; none for columns that became a dictionary.
    pub(super) bloom: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integers {
    Delta,
    /// By the number of distinct values.
    ByData,
}

// === impl Chunk ===

impl Chunk {
    pub(super) fn encode(column: &ColumnDescPtr, cells: &Cells<'_>, style: Style) -> Result<Self> {
        match &cells.values {
            Values::Coded { codes, entries } => {
                let n = cells.rows.as_ref().map_or(cells.n_rows, Vec::len);
                let few = entries.len() <= style.dictionary_max && entries.len() * 4 <= n + 12;
                let mut writer = PageBuilder::new(column, cells);
                if few {
                    writer.dictionary(codes, entries, style)?;
                } else {
                    writer.plain(codes, entries, style)?;
                }
                writer.finish()
            }
            Values::Fixed(bytes) => {
                let mut writer = PageBuilder::new(column, cells);
                writer.fixed(bytes, style)?;
                writer.finish()
            }
            Values::Int32(values) => Self::integers(column, cells, style, values),
            Values::Int64(values) => Self::integers(column, cells, style, values),
            _ => encode_others(column, cells, style),
        }
    }

    fn integers<T: Integer>(
        column: &ColumnDescPtr,
        cells: &Cells<'_>,
        style: Style,
        values: &[T],
    ) -> Result<Self> {
        let few = match style.integers {
            Integers::ByData => few(values),
            Integers::Delta => None,
        };
        let mut writer = PageBuilder::new(column, cells);
        match few {
            Some((codes, entries)) => {
                let entries: Vec<T::Bytes> = entries.into_iter().map(T::bytes).collect();
                let entries: Vec<&[u8]> = entries.iter().map(AsRef::as_ref).collect();
                writer.dictionary(&codes, &entries, style)?;
            }
            None => writer.delta(values)?,
        }
        writer.finish()
    }
}

/// How the values of a column compare, each as the bytes of a plain page.
#[derive(Debug, Clone, Copy)]
enum Order {
    Bytes,
    Signed,
    Unsigned,
}

/// Builds the pages of strings, ids and integers.
struct PageBuilder<'a> {
    column: &'a ColumnDescPtr,
    order: Order,
    cells: &'a Cells<'a>,
    sink: TrackedWrite<Vec<u8>>,
    codec: Codec,
    /// Of the values.
    encoding: Encoding,
    columns: ColumnIndexBuilder,
    offsets: OffsetIndexBuilder,
    dictionary_offset: Option<u64>,
    data_offset: Option<u64>,
    uncompressed: u64,
    n_pages: i32,
    min: Option<Vec<u8>>,
    max: Option<Vec<u8>>,
    bloom: Option<Sbbf>,
}

/// A stretch of rows that becomes one page.
struct PageRows {
    n_rows: usize,
    n_values: usize,
    levels: Vec<u8>,
}

impl<'a> PageBuilder<'a> {
    fn new(column: &'a ColumnDescPtr, cells: &'a Cells<'a>) -> Self {
        Self {
            column,
            order: Order::of(column),
            cells,
            sink: TrackedWrite::new(Vec::new()),
            codec: Codec::None,
            encoding: Encoding::PLAIN,
            columns: ColumnIndexBuilder::new(column.physical_type()),
            offsets: OffsetIndexBuilder::new(),
            dictionary_offset: None,
            data_offset: None,
            uncompressed: 0,
            n_pages: 0,
            min: None,
            max: None,
            bloom: None,
        }
    }

    fn dictionary(&mut self, codes: &[u32], entries: &[&[u8]], style: Style) -> Result<()> {
        let mut page = Vec::with_capacity(entries.iter().map(|entry| entry.len() + 4).sum());
        for entry in entries {
            self.append_plain(entry, &mut page);
        }
        self.codec = match self.column.physical_type() {
            PhysicalType::BYTE_ARRAY if page.len() > DICTIONARY_PLAIN_BYTES_MAX => style.codec,
            _ => Codec::None,
        };
        self.encoding = Encoding::RLE_DICTIONARY;
        self.dictionary_offset = Some(self.sink.bytes_written() as u64);
        let uncompressed_size = page.len();
        let buf = Bytes::from(self.codec.compress(page)?);
        let page = Page::DictionaryPage {
            buf,
            num_values: u32::try_from(entries.len())?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        self.write(page, uncompressed_size)?;
        let width = hybrid::width_of(u32::try_from(entries.len())?.saturating_sub(1));
        let (by_rank, ranks) = self.order.ranks(entries);
        let entry = |rank: u32| entries.get(*by_rank.get(rank as usize)? as usize).copied();
        let mut from = 0;
        for rows in self.pages(|_| PAGE_ROWS) {
            let page_codes = slice(codes, from, rows.n_values)?;
            from += rows.n_values;
            let page_ranks = page_codes
                .iter()
                .filter_map(|code| ranks.get(*code as usize));
            let (min, max) = page_ranks.fold((u32::MAX, 0), |(min, max), rank| {
                (min.min(*rank), max.max(*rank))
            });
            let bounds = entry(min).zip(entry(max));
            let mut plain = rows.levels;
            plain.push(width);
            hybrid::encode(page_codes, width, &mut plain);
            self.data(rows.n_rows, rows.n_values, plain, bounds)?;
        }
        Ok(())
    }

    fn plain(&mut self, codes: &[u32], entries: &[&[u8]], style: Style) -> Result<()> {
        self.codec = match self.column.physical_type() {
            PhysicalType::FIXED_LEN_BYTE_ARRAY if !style.compress_ids => Codec::None,
            _ => style.codec,
        };
        if let Some(rate) = style.bloom {
            let mut bloom = Sbbf::new_with_ndv_fpp(entries.len().max(1) as u64, rate)?;
            entries.iter().for_each(|entry| bloom.insert::<[u8]>(entry));
            self.bloom = Some(bloom);
        }
        let mut from = 0;
        let value = |code: &u32| entries.get(*code as usize).copied().unwrap_or_default();
        let lens = |at: usize| codes.get(at).map_or(0, |code| value(code).len() + 4);
        for rows in self.pages(rows_that_fit(lens)) {
            let page_codes = slice(codes, from, rows.n_values)?;
            from += rows.n_values;
            let mut plain = rows.levels;
            let mut bounds: Option<(&[u8], &[u8])> = None;
            for code in page_codes {
                let entry = value(code);
                self.append_plain(entry, &mut plain);
                bounds = Some(widen(bounds, entry));
            }
            self.data(rows.n_rows, rows.n_values, plain, bounds)?;
        }
        Ok(())
    }

    fn fixed(&mut self, bytes: &[u8], style: Style) -> Result<()> {
        let width = usize::try_from(self.column.type_length())?.max(1);
        if style.compress_ids {
            self.codec = style.codec;
        }
        if let Some(rate) = style.bloom {
            let n = (bytes.len() / width).max(1) as u64;
            let mut bloom = Sbbf::new_with_ndv_fpp(n, rate)?;
            bytes
                .chunks_exact(width)
                .for_each(|id| bloom.insert::<[u8]>(id));
            self.bloom = Some(bloom);
        }
        let mut from = 0;
        for rows in self.pages(|_| PAGE_BYTES / width) {
            let ids = slice(bytes, from, rows.n_values * width)?;
            from += ids.len();
            let bounds = ids
                .chunks_exact(width)
                .fold(None, |bounds, id| Some(widen(bounds, id)));
            let mut plain = rows.levels;
            plain.extend_from_slice(ids);
            self.data(rows.n_rows, rows.n_values, plain, bounds)?;
        }
        Ok(())
    }

    fn delta<T: Integer>(&mut self, values: &[T]) -> Result<()> {
        self.encoding = Encoding::DELTA_BINARY_PACKED;
        let page_values = match delta::width_of(values) {
            0 => PAGE_ROWS,
            width => PAGE_BYTES * 8 / width as usize,
        };
        let order = self.order;
        let key = |value: &&T| match order {
            Order::Unsigned => value.flipped(),
            _ => **value,
        };
        let mut from = 0;
        for rows in self.pages(|_| page_values) {
            let values = slice(values, from, rows.n_values)?;
            from += values.len();
            let min = values.iter().min_by_key(key).map(|value| value.bytes());
            let max = values.iter().max_by_key(key).map(|value| value.bytes());
            let bounds = min.as_ref().zip(max.as_ref());
            let bounds = bounds.map(|(min, max)| (min.as_ref(), max.as_ref()));
            let mut packed = rows.levels;
            delta::encode(values, &mut packed);
            self.data(rows.n_rows, rows.n_values, packed, bounds)?;
        }
        Ok(())
    }

    /// Cuts the rows into pages. `fit` is asked for the number of values from the given one on that
    /// make a full page.
    fn pages(&self, fit: impl Fn(usize) -> usize) -> Vec<PageRows> {
        let optional = self.column.max_def_level() > 0;
        let mut pages = Vec::new();
        let (mut row, mut value) = (0, 0);
        while row < self.cells.n_rows {
            let (mut n_rows, mut n_values);
            let mut levels = Vec::new();
            match &self.cells.rows {
                None => {
                    n_rows = fit(value).clamp(1, PAGE_ROWS).min(self.cells.n_rows - row);
                    n_values = n_rows;
                    if optional {
                        frame(&mut levels, |out| {
                            hybrid::encode(&vec![1; n_rows], 1, out);
                        });
                    }
                }
                Some(present) => {
                    let rest = present.get(value..).unwrap_or_default();
                    n_values = fit(value).clamp(1, PAGE_ROWS).min(rest.len());
                    // Up to the next value that does not fit, or to the row limit.
                    n_rows = match rest.get(n_values) {
                        Some(next) => *next as usize - row,
                        None => self.cells.n_rows - row,
                    };
                    if n_rows > PAGE_ROWS {
                        n_rows = PAGE_ROWS;
                        n_values = rest.partition_point(|at| (*at as usize) < row + n_rows);
                    }
                    let here = rest.get(..n_values).unwrap_or_default();
                    frame(&mut levels, |out| {
                        hybrid::encode_bits(here, row, n_rows, out);
                    });
                }
            }
            pages.push(PageRows {
                n_rows,
                n_values,
                levels,
            });
            row += n_rows;
            value += n_values;
        }
        pages
    }

    fn append_plain(&self, entry: &[u8], page: &mut Vec<u8>) {
        if self.column.physical_type() == PhysicalType::BYTE_ARRAY {
            page.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        }
        page.extend_from_slice(entry);
    }

    fn data(
        &mut self,
        n_rows: usize,
        n_values: usize,
        plain: Vec<u8>,
        bounds: Option<(&[u8], &[u8])>,
    ) -> Result<()> {
        let offset = self.sink.bytes_written() as u64;
        self.data_offset.get_or_insert(offset);
        let uncompressed_size = plain.len();
        let buf = Bytes::from(self.codec.compress(plain)?);
        let page = Page::DataPage {
            buf,
            num_values: u32::try_from(n_rows)?,
            encoding: self.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        self.write(page, uncompressed_size)?;
        let size = self.sink.bytes_written() as u64 - offset;
        self.offsets.append_row_count(i64::try_from(n_rows)?);
        self.offsets
            .append_offset_and_size(i64::try_from(offset)?, i32::try_from(size)?);
        self.n_pages += 1;
        let text = matches!(self.column.logical_type_ref(), Some(LogicalType::String));
        let (min, max) = match bounds {
            Some((min, max)) => (lower_bound(min, text), upper_bound(max, text)),
            None => (Vec::new(), Vec::new()),
        };
        if bounds.is_some() {
            let order = self.order;
            let least = self.min.as_ref();
            if least.is_none_or(|least| order.compare(&min, least).is_lt()) {
                self.min = Some(min.clone());
            }
            let most = self.max.as_ref();
            if most.is_none_or(|most| order.compare(&max, most).is_gt()) {
                self.max = Some(max.clone());
            }
        }
        let nulls = i64::try_from(n_rows - n_values)?;
        self.columns.append(bounds.is_none(), min, max, nulls);
        Ok(())
    }

    fn write(&mut self, page: Page, uncompressed_size: usize) -> Result<()> {
        let page = CompressedPage::new(page, uncompressed_size);
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed += spec.uncompressed_size as u64;
        Ok(())
    }

    fn finish(self) -> Result<Chunk> {
        let bytes = Bytes::from(self.sink.into_inner()?);
        let n_values = self.cells.rows.as_ref().map_or(self.cells.n_rows, Vec::len);
        let nulls = Some((self.cells.n_rows - n_values) as u64);
        let (min, max) = (self.min.map(ByteArray::from), self.max.map(ByteArray::from));
        let statistics = match self.column.physical_type() {
            PhysicalType::BYTE_ARRAY => Statistics::ByteArray(
                ValueStatistics::new(min, max, None, nulls, false)
                    .with_max_is_exact(false)
                    .with_min_is_exact(false),
            ),
            PhysicalType::INT32 => {
                let value =
                    |bytes: ByteArray| Some(i32::from_le_bytes(bytes.data().try_into().ok()?));
                let (min, max) = (min.and_then(value), max.and_then(value));
                Statistics::Int32(ValueStatistics::new(min, max, None, nulls, false))
            }
            PhysicalType::INT64 => {
                let value =
                    |bytes: ByteArray| Some(i64::from_le_bytes(bytes.data().try_into().ok()?));
                let (min, max) = (min.and_then(value), max.and_then(value));
                Statistics::Int64(ValueStatistics::new(min, max, None, nulls, false))
            }
            _ => Statistics::FixedLenByteArray(ValueStatistics::new(
                min.map(FixedLenByteArray::from),
                max.map(FixedLenByteArray::from),
                None,
                nulls,
                false,
            )),
        };
        let data = self.encoding;
        let mut pages = vec![page_stats(PageType::DATA_PAGE, data, self.n_pages)];
        let mut encodings = vec![Encoding::RLE, data];
        if self.dictionary_offset.is_some() {
            pages.push(page_stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
            encodings.push(Encoding::PLAIN);
        }
        let metadata = ColumnChunkMetaData::builder(self.column.clone())
            .set_encodings(encodings)
            .set_page_encoding_stats(pages)
            .set_num_values(i64::try_from(self.cells.n_rows)?)
            .set_compression(self.codec.parquet())
            .set_total_compressed_size(i64::try_from(bytes.len())?)
            .set_total_uncompressed_size(i64::try_from(self.uncompressed)?)
            .set_data_page_offset(i64::try_from(self.data_offset.unwrap_or_default())?)
            .set_dictionary_page_offset(self.dictionary_offset.map(i64::try_from).transpose()?)
            .set_statistics(statistics)
            .build()?;
        Ok(Chunk {
            close: ColumnCloseResult {
                bytes_written: bytes.len() as u64,
                rows_written: self.cells.n_rows as u64,
                metadata,
                bloom_filter: self.bloom,
                column_index: Some(self.columns.build()?),
                offset_index: Some(self.offsets.build()),
            },
            bytes,
        })
    }
}

// === impl Order ===

impl Order {
    fn of(column: &ColumnDescPtr) -> Self {
        match (column.physical_type(), column.logical_type_ref()) {
            (PhysicalType::INT32 | PhysicalType::INT64, Some(LogicalType::Integer(of)))
                if !of.is_signed =>
            {
                Self::Unsigned
            }
            (PhysicalType::INT32 | PhysicalType::INT64, _) => Self::Signed,
            _ => Self::Bytes,
        }
    }

    fn compare(self, a: &[u8], b: &[u8]) -> Ordering {
        // From the most significant byte on, whose highest bit is the sign.
        let flip = match self {
            Self::Bytes => return a.cmp(b),
            Self::Signed => 0x80,
            Self::Unsigned => 0,
        };
        let top = |bytes: &[u8]| bytes.last().map(|top| top ^ flip);
        (top(a).cmp(&top(b))).then_with(|| a.iter().rev().cmp(b.iter().rev()))
    }

    /// The entries in order, and the place of each in it.
    fn ranks(self, entries: &[&[u8]]) -> (Vec<u32>, Vec<u32>) {
        let bytes = |entry: &u32| entries.get(*entry as usize).copied().unwrap_or_default();
        let mut order: Vec<u32> = (0..entries.len() as u32).collect();
        order.sort_unstable_by(|a, b| self.compare(bytes(a), bytes(b)));
        let mut ranks = vec![0; entries.len()];
        for (rank, entry) in order.iter().enumerate() {
            if let Some(place) = ranks.get_mut(*entry as usize) {
                *place = rank as u32;
            }
        }
        (order, ranks)
    }
}

fn page_stats(page_type: PageType, encoding: Encoding, count: i32) -> PageEncodingStats {
    PageEncodingStats {
        page_type,
        encoding,
        count,
    }
}

/// Definition levels of a version 1 page: their length, then the hybrid of width one.
fn frame(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[0; 4]);
    encode(out);
    let len = (out.len() - 4) as u32;
    if let Some(place) = out.get_mut(..4) {
        place.copy_from_slice(&len.to_le_bytes());
    }
}

/// How many values from a given one on fill a page; `len` is the size of one.
fn rows_that_fit(len: impl Fn(usize) -> usize) -> impl Fn(usize) -> usize {
    move |from| {
        let (mut n, mut bytes) = (0, 0);
        while n < PAGE_ROWS && bytes < PAGE_BYTES {
            bytes += len(from + n);
            n += 1;
        }
        n
    }
}

fn slice<T>(values: &[T], from: usize, n: usize) -> Result<&[T]> {
    values
        .get(from..from + n)
        .ok_or_else(|| ParquetError::General("fewer values than rows that have one".to_owned()))
}

fn widen<'a>(bounds: Option<(&'a [u8], &'a [u8])>, entry: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    match bounds {
        None => (entry, entry),
        Some((min, max)) => (min.min(entry), max.max(entry)),
    }
}

/// At most [`BOUND_BYTES_MAX`] bytes that are not larger than the value.
fn lower_bound(value: &[u8], text: bool) -> Vec<u8> {
    value.get(..cut(value, text)).unwrap_or_default().to_vec()
}

/// At most [`BOUND_BYTES_MAX`] bytes that are not smaller than the value, or the value.
fn upper_bound(value: &[u8], text: bool) -> Vec<u8> {
    let mut bound = lower_bound(value, text);
    if bound.len() == value.len() {
        return bound;
    }
    if text {
        let mut chars: Vec<char> = String::from_utf8_lossy(&bound).chars().collect();
        while let Some(last) = chars.pop() {
            // The code point after it, if it is one; surrogates are passed over.
            let next = match last {
                '\u{d7ff}' => Some('\u{e000}'),
                other => char::from_u32(u32::from(other) + 1),
            };
            if let Some(next) = next {
                chars.push(next);
                return chars.into_iter().collect::<String>().into_bytes();
            }
        }
    } else {
        while let Some(last) = bound.pop() {
            if last < u8::MAX {
                bound.push(last + 1);
                return bound;
            }
        }
    }
    value.to_vec()
}

fn cut(value: &[u8], text: bool) -> usize {
    let mut at = value.len().min(BOUND_BYTES_MAX);
    if text && at < value.len() {
        while at > 0 && value.get(at).is_some_and(|byte| byte & 0xc0 == 0x80) {
            at -= 1;
        }
    }
    at
}

/// Fractions, booleans and lists, by the parquet crate.
fn encode_others(column: &ColumnDescPtr, cells: &Cells<'_>, style: Style) -> Result<Chunk> {
    let mut sink = TrackedWrite::new(Vec::new());
    let properties = WriterProperties::builder()
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(4_096)
        .set_column_index_truncate_length(Some(BOUND_BYTES_MAX));
    let properties = match &cells.values {
        Values::Double(_) | Values::Bool(_) => properties.set_dictionary_enabled(false),
        Values::TextList { .. } => properties.set_compression(style.codec.parquet()),
        _ => properties,
    };
    let levels = levels(column, cells);
    let (def, rep) = (levels.0.as_deref(), levels.1.as_deref());
    let page_writer = Box::new(SerializedPageWriter::new(&mut sink));
    let mut writer = get_column_writer(column.clone(), properties.build().into(), page_writer);
    match (&cells.values, &mut writer) {
        (Values::Double(values), ColumnWriter::DoubleColumnWriter(writer)) => {
            writer.write_batch(values, def, rep)?;
        }
        (Values::Bool(values), ColumnWriter::BoolColumnWriter(writer)) => {
            writer.write_batch(values, def, rep)?;
        }
        (Values::TextList { values, .. }, ColumnWriter::ByteArrayColumnWriter(writer)) => {
            let values: Vec<ByteArray> =
                values.iter().map(|v| ByteArray::from(v.to_vec())).collect();
            writer.write_batch(&values, def, rep)?;
        }
        (Values::Int32List { values, .. }, ColumnWriter::Int32ColumnWriter(writer)) => {
            writer.write_batch(values, def, rep)?;
        }
        _ => {
            return Err(ParquetError::General(format!(
                "{} holds another type",
                column.name()
            )));
        }
    }
    let close = writer.close()?;
    let bytes = Bytes::from(sink.into_inner()?);
    Ok(Chunk { bytes, close })
}

type Levels = (Option<Vec<i16>>, Option<Vec<i16>>);

fn levels(column: &ColumnDescPtr, cells: &Cells<'_>) -> Levels {
    let ends = match &cells.values {
        Values::TextList { ends, .. } | Values::Int32List { ends, .. } => ends,
        _ if column.max_def_level() == 0 => return (None, None),
        _ => {
            let mut def = vec![i16::from(cells.rows.is_none()); cells.n_rows];
            for row in cells.rows.iter().flatten() {
                if let Some(level) = def.get_mut(*row as usize) {
                    *level = 1;
                }
            }
            return (Some(def), None);
        }
    };
    let (mut def, mut rep) = (Vec::new(), Vec::new());
    let full = column.max_def_level();
    let mut list = 0;
    let mut from = 0;
    let mut rows = cells.rows.iter().flatten().peekable();
    for row in 0..cells.n_rows {
        let here = cells.rows.is_none() || rows.next_if(|at| **at as usize == row).is_some();
        let to = if here {
            ends.get(list).copied().unwrap_or(from)
        } else {
            from
        };
        rep.push(0);
        if to == from {
            def.push(if here { full - 1 } else { 0 });
        } else {
            def.extend((from..to).map(|_| full));
            rep.extend((from + 1..to).map(|_| 1));
        }
        list += usize::from(here);
        from = to;
    }
    (Some(def), Some(rep))
}

/// The values as codes of the distinct ones; `None` if those are many.
fn few<T: Integer>(values: &[T]) -> Option<(Vec<u32>, Vec<T>)> {
    let mut code_of = hashbrown::HashMap::with_hasher(foldhash::fast::RandomState::default());
    let (mut codes, mut entries) = (Vec::with_capacity(values.len()), Vec::new());
    let mut last: Option<(T, u32)> = None;
    for value in values {
        let code = match last {
            Some((last, code)) if last == *value => code,
            _ => *code_of.entry(*value).or_insert_with(|| {
                entries.push(*value);
                entries.len() as u32 - 1
            }),
        };
        if entries.len() > INT_DICTIONARY_MAX {
            return None;
        }
        last = Some((*value, code));
        codes.push(code);
    }
    (entries.len() * 4 <= values.len() + 12).then_some((codes, entries))
}

#[cfg(test)]
mod tests;
