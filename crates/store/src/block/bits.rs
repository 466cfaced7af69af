//! Conditions on one column chunk as bits, straight from its pages.
//!
//! A chunk of codes is decided by its dictionary: nothing of it is read if no entry matches. Of a
//! chunk of plain strings every page with a row that matters is looked at. What does not lie in these
//! forms is `None` here, and its values are read as arrays.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, Int32Array, Int64Array, StringArray};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer, OffsetBuffer};
use bytes::Bytes;
use parquet::basic::{LogicalType, Type as PhysicalType};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use tracewell_model::source::QueryContext;

use super::cache::Part;
use super::error::{BlockError, BlockResult};
use super::file::{Footer, Keep, TableReader, is_coded};
use super::page::{CodeTable, DICTIONARY_PAGE, PLAIN, PLAIN_DICTIONARY, Page, plain, text};
use crate::scan::Selection;

/// A page has no more rows than that: the format writes 16,384 at most.
const PAGE_ROWS_MAX: usize = 1 << 17;

/// A flat column chunk and where its pages lie.
pub(super) struct FlatChunk {
    metadata: Arc<ParquetMetaData>,
    row_group: usize,
    column: usize,
    optional: bool,
    n_rows: usize,
    /// Place and first row of each data page, in order.
    pages: Vec<(Range<u64>, usize)>,
}

/// The dictionary of a chunk.
#[derive(Debug)]
struct Entries(ArrayRef);

/// Appends the bits of one page and its rows.
type AppendPage<'p> =
    dyn FnMut(&Page, Range<usize>, &mut BooleanBufferBuilder) -> BlockResult<()> + Send + 'p;

// === impl FlatChunk ===

impl FlatChunk {
    pub(super) fn new(
        footer: &Footer,
        row_group: usize,
        name: &str,
        n_rows: usize,
    ) -> Option<Self> {
        let metadata = Arc::clone(&footer.metadata);
        let place = footer.place(name).filter(|place| place.chunks.len() == 1)?;
        let column = place.chunks.start;
        let group = metadata.row_groups().get(row_group)?;
        let described = group.columns().get(column)?.column_descr();
        let is_nested = described.path().parts().len() > 1;
        if is_nested || described.max_rep_level() > 0 || described.max_def_level() > 1 {
            return None;
        }
        let optional = described.max_def_level() == 1;
        let index = metadata.offset_index()?.get(row_group)?.get(column)?;
        let mut pages: Vec<(Range<u64>, usize)> = Vec::with_capacity(index.page_locations.len());
        for page in &index.page_locations {
            let start = u64::try_from(page.offset).ok()?;
            let len = u64::try_from(page.compressed_page_size).ok()?;
            let first_row = usize::try_from(page.first_row_index).ok()?;
            pages.push((start..start.checked_add(len)?, first_row));
        }
        if !are_in_order(&pages, n_rows) {
            return None;
        }
        Some(Self {
            row_group,
            column,
            optional,
            n_rows,
            pages,
            metadata,
        })
    }

    pub(super) fn meta(&self) -> BlockResult<&ColumnChunkMetaData> {
        let group = self.metadata.row_groups().get(self.row_group);
        group
            .and_then(|group| group.columns().get(self.column))
            .ok_or_else(|| BlockError::malformed("footer", "lacks a column"))
    }

    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// True if rows may have no value.
    pub(super) fn is_optional(&self) -> bool {
        self.optional
    }

    /// All of it, its dictionary included; `None` if it has no pages.
    pub(super) fn place(&self) -> Option<Range<u64>> {
        let (first, _) = self.pages.first()?;
        let (last, _) = self.pages.last()?;
        let start = self.dictionary_place().map_or(first.start, |it| it.start);
        Some(start..last.end)
    }

    fn dictionary_place(&self) -> Option<Range<u64>> {
        let start = self.meta().ok()?.dictionary_page_offset()?.unsigned_abs();
        let (first, _) = self.pages.first()?;
        (start < first.start).then_some(start..first.start)
    }

    /// The dictionary, from the bytes of the chunk and where they lie.
    pub(super) fn dictionary_page(
        &self,
        (bytes, start): (&Bytes, u64),
    ) -> BlockResult<Option<Page>> {
        let Some(place) = self.dictionary_place() else {
            return Ok(None);
        };
        let bytes = part(bytes, start, &place)?;
        dictionary_of(&bytes, self.meta()?).map(Some)
    }

    /// The data pages and their rows, from the bytes of the chunk and where they lie.
    pub(super) fn data_pages(
        &self,
        (bytes, start): (&Bytes, u64),
    ) -> impl Iterator<Item = (BlockResult<Page>, usize)> {
        self.rows_of_pages().map(move |(place, rows)| {
            let page = part(bytes, start, place)
                .and_then(|bytes| Page::decode(&bytes, self.meta()?.compression()));
            (page, rows.len())
        })
    }

    /// Place and rows of each data page.
    fn rows_of_pages(&self) -> impl Iterator<Item = (&Range<u64>, Range<usize>)> {
        let ends = self.pages.iter().skip(1).map(|(_, first)| *first);
        let pages = self.pages.iter().zip(ends.chain([self.n_rows]));
        pages.map(|((place, first), end)| (place, *first..end))
    }

    /// Number and rows of the pages in which a row is selected.
    fn wanted(&self, within: &Selection) -> Vec<(usize, Range<usize>)> {
        let rows = self.rows_of_pages().map(|(_, rows)| rows);
        rows.enumerate()
            .filter(|(_, rows)| within.has_any(rows.clone()))
            .collect()
    }
}

// === impl TableReader ===

impl TableReader {
    /// A chunk that the functions here can read.
    pub(super) async fn flat_chunk(
        &self,
        row_group: usize,
        name: &str,
        ctx: &QueryContext,
    ) -> BlockResult<Option<FlatChunk>> {
        let footer = self.footer(ctx).await?;
        let n_rows = self.n_rows(row_group, ctx).await?;
        Ok(FlatChunk::new(&footer, row_group, name, n_rows))
    }

    /// The distinct values of a chunk of codes, in the order of the codes. `None` for other chunks.
    pub(super) async fn dictionary(
        &self,
        chunk: &FlatChunk,
        ctx: &QueryContext,
    ) -> BlockResult<Option<ArrayRef>> {
        let meta = chunk.meta()?;
        let Some(place) = chunk.dictionary_place().filter(|_| is_coded(meta)) else {
            return Ok(None);
        };
        let start = place.start;
        if let Some(kept) = self.kept::<Entries>(Part::Dictionary, start) {
            return Ok(Some(Arc::clone(&kept.0)));
        }
        let bytes = self.range(place, Keep::No, ctx).await?;
        let Some(entries) = entries_of(meta, &dictionary_of(&bytes, meta)?)? else {
            return Ok(None);
        };
        let n_bytes = entries.get_array_memory_size() as u64;
        let kept: Arc<dyn Any + Send + Sync> = Arc::new(Entries(Arc::clone(&entries)));
        self.keep(Part::Dictionary, start, kept, n_bytes);
        Ok(Some(entries))
    }

    /// One bit per row: that of the row's code. Rows outside of `within` may have any.
    pub(super) async fn code_bits(
        &self,
        chunk: &FlatChunk,
        hits: &CodeTable,
        within: &Selection,
        ctx: &QueryContext,
    ) -> BlockResult<BooleanBuffer> {
        let mut bits = BooleanBufferBuilder::new(chunk.n_rows);
        if !hits.is_empty {
            let mut append = |page: &Page, _: Range<usize>, bits: &mut BooleanBufferBuilder| {
                page.code_bits(chunk.optional, hits, bits)
            };
            self.each_page(chunk, within, &mut bits, &mut append, ctx)
                .await?;
        }
        bits.append_n(chunk.n_rows.saturating_sub(bits.len()), false);
        Ok(bits.finish())
    }

    /// One bit per row of a chunk of plain strings; null rows have none. `None` for other chunks.
    pub(super) async fn text_bits(
        &self,
        chunk: &FlatChunk,
        test: &mut (dyn FnMut(&[u8]) -> bool + Send),
        within: &Selection,
        ctx: &QueryContext,
    ) -> BlockResult<Option<BooleanBuffer>> {
        let meta = chunk.meta()?;
        let is_text = meta.column_descr().physical_type() == PhysicalType::BYTE_ARRAY;
        if !is_text || meta.dictionary_page_offset().is_some() {
            return Ok(None);
        }
        let mut bits = BooleanBufferBuilder::new(chunk.n_rows);
        let mut append = |page: &Page, _: Range<usize>, bits: &mut BooleanBufferBuilder| {
            page.text_bits(chunk.optional, test, bits)
        };
        self.each_page(chunk, within, &mut bits, &mut append, ctx)
            .await?;
        bits.append_n(chunk.n_rows.saturating_sub(bits.len()), false);
        Ok(Some(bits.finish()))
    }

    /// The code of each row; `u32::MAX` where null, and outside of the pages that matter.
    pub(super) async fn codes(
        &self,
        chunk: &FlatChunk,
        within: &Selection,
        ctx: &QueryContext,
    ) -> BlockResult<Vec<u32>> {
        let mut codes = Vec::with_capacity(chunk.n_rows);
        let mut unused = BooleanBufferBuilder::new(0);
        let mut append = |page: &Page, rows: Range<usize>, _: &mut BooleanBufferBuilder| {
            codes.resize(rows.start, u32::MAX);
            page.codes(chunk.optional, &mut codes)?;
            codes.resize(rows.end, u32::MAX);
            Ok(())
        };
        self.each_page(chunk, within, &mut unused, &mut append, ctx)
            .await?;
        codes.resize(chunk.n_rows, u32::MAX);
        Ok(codes)
    }

    /// Reads the pages with a selected row and has the bits of each appended; rows before it that were
    /// not read get none.
    async fn each_page(
        &self,
        chunk: &FlatChunk,
        within: &Selection,
        bits: &mut BooleanBufferBuilder,
        append: &mut AppendPage<'_>,
        ctx: &QueryContext,
    ) -> BlockResult<()> {
        let meta = chunk.meta()?;
        let (codec, is_coded) = (meta.compression(), meta.dictionary_page_offset().is_some());
        let wanted = chunk.wanted(within);
        let places = wanted.iter().filter_map(|(page, _)| chunk.pages.get(*page));
        let places: Vec<Range<u64>> = places.map(|(place, _)| place.clone()).collect();
        let keep = match wanted.len() * 4 < chunk.pages.len() {
            true => Keep::Yes,
            false => Keep::No,
        };
        let pages = self.ranges(&places, keep, ctx).await?;
        for ((_, rows), bytes) in wanted.into_iter().zip(&pages) {
            ctx.check()?;
            let page = Page::decode(bytes, codec)?;
            if !page.is_flat(is_coded) || page.header.n_values != rows.len() {
                return Err(BlockError::malformed("a page", "is of another kind"));
            }
            let n_between = rows.start.checked_sub(bits.len());
            let n_between =
                n_between.ok_or_else(|| BlockError::malformed("a page", "begins in another"))?;
            bits.append_n(n_between, false);
            append(&page, rows, bits)?;
        }
        Ok(())
    }
}

/// True for pages that follow each other and together have all rows, none of them too many: what is
/// made of a page takes memory by its rows, and its bytes can be few.
fn are_in_order(pages: &[(Range<u64>, usize)], n_rows: usize) -> bool {
    let firsts = pages.iter().map(|(_, first)| *first);
    let ends = firsts.clone().skip(1).chain([n_rows]);
    let mut rows = firsts.zip(ends);
    let ends = pages.iter().map(|(place, _)| place.end);
    let mut places = ends.zip(pages.iter().skip(1).map(|(place, _)| place.start));
    pages.first().map_or(n_rows, |(_, first)| *first) == 0
        && rows.all(|(first, end)| first < end && end - first <= PAGE_ROWS_MAX)
        && places.all(|(end, next)| end <= next)
}

/// Bytes of a part of a file, of those that begin at `start` of it.
fn part(bytes: &Bytes, start: u64, place: &Range<u64>) -> BlockResult<Bytes> {
    let at = |offset: u64| usize::try_from(offset.checked_sub(start)?).ok();
    let (from, to) = (at(place.start), at(place.end));
    match from.zip(to) {
        Some((from, to)) if from <= to && to <= bytes.len() => Ok(bytes.slice(from..to)),
        _ => Err(BlockError::malformed(
            "a page",
            "lies outside of its column",
        )),
    }
}

fn dictionary_of(bytes: &Bytes, meta: &ColumnChunkMetaData) -> BlockResult<Page> {
    let page = Page::decode(bytes, meta.compression())?;
    let is_sound = page.header.page_type == DICTIONARY_PAGE
        && matches!(page.header.encoding, PLAIN | PLAIN_DICTIONARY);
    match is_sound {
        true => Ok(page),
        false => Err(BlockError::malformed("a dictionary", "is of another kind")),
    }
}

/// The entries of a dictionary page as an array; `None` for types that are not decided by codes.
pub(super) fn entries_of(meta: &ColumnChunkMetaData, page: &Page) -> BlockResult<Option<ArrayRef>> {
    let described = meta.column_descr();
    let n = page.header.n_values;
    let short = || BlockError::malformed("a dictionary", "is shorter than it says");
    let bytes: &[u8] = &page.bytes;
    Ok(Some(match described.physical_type() {
        PhysicalType::BYTE_ARRAY => {
            if !matches!(described.logical_type_ref(), Some(LogicalType::String)) {
                return Ok(None);
            }
            let (mut rest, mut end) = (bytes, 0);
            let (mut ends, mut values) = (vec![0], Vec::with_capacity(bytes.len()));
            for _ in 0..n {
                let (value, behind) = text(rest).ok_or_else(short)?;
                values.extend_from_slice(value);
                end += value.len() as i32;
                ends.push(end);
                rest = behind;
            }
            let ends = OffsetBuffer::new(ends.into());
            let values = StringArray::try_new(ends, Buffer::from_vec(values), None);
            Arc::new(values.map_err(|_| BlockError::malformed("a dictionary", "utf-8"))?)
        }
        PhysicalType::INT32 => {
            let values = plain(bytes, n).ok_or_else(short)?;
            Arc::new(Int32Array::from_iter_values(values))
        }
        PhysicalType::INT64 if described.logical_type_ref().is_none() => {
            let values = plain(bytes, n).ok_or_else(short)?;
            Arc::new(Int64Array::from_iter_values(values))
        }
        PhysicalType::FIXED_LEN_BYTE_ARRAY => {
            let width = described.type_length();
            let n_bytes = usize::try_from(width).ok().and_then(|w| w.checked_mul(n));
            let values = n_bytes.and_then(|n| bytes.get(..n)).ok_or_else(short)?;
            let array = FixedSizeBinaryArray::try_new(width, Buffer::from(values), None);
            Arc::new(array.map_err(|error| BlockError::malformed("ids", error.to_string()))?)
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::are_in_order;

    #[test]
    fn pages_that_cannot_be_right_are_left_to_another_reader() {
        let at = |firsts: &[usize]| {
            let pages = firsts.iter().zip(0u64..);
            pages
                .map(|(first, page)| (page * 10..page * 10 + 10, *first))
                .collect::<Vec<_>>()
        };
        assert!(are_in_order(&at(&[]), 0) && are_in_order(&at(&[0, 10, 20]), 25));
        let wrong: [(&[usize], usize); 6] = [
            (&[], 1),
            (&[1, 10], 20),
            (&[0, 10, 4], 8),
            (&[0, 10, 10], 20),
            (&[0, 30], 20),
            (&[0], 1 << 40),
        ];
        for (firsts, n_rows) in wrong {
            assert!(!are_in_order(&at(firsts), n_rows), "{firsts:?} of {n_rows}");
        }
        assert!(!are_in_order(&[(0..10, 0), (5..15, 10)], 20));
    }
}
