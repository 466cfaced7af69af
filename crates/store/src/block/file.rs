//! One Parquet file of a block, read by ranges of whole, verified segments.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, FieldRef, Schema};
use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelectionPolicy,
};
use parquet::arrow::push_decoder::ParquetPushDecoderBuilder;
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use tracewell_model::source::QueryContext;

use super::arrays::checked;
use super::bloom;
use super::cache::{BlockCache, CacheKey, Kept, Part};
use super::checksum::Segments;
use super::error::{BlockError, BlockResult};
use super::flat::FlatColumns;
use super::meta::TableMeta;
use super::schema::{META_FILE, Table};
use super::small::SumsFile;
use super::small_columns;

#[derive(Debug)]
pub(super) struct TableReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    pub(super) table: Table,
    pub(super) meta: TableMeta,
    sums: SumsFile,
    cache: Arc<BlockCache>,
    /// Names the file in the cache.
    pub(super) number: u64,
}

/// Numbers of files, one for each time that one is opened.
static N_OPENED: AtomicU64 = AtomicU64::new(0);

/// Whether what is read is small and likely to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Yes,
    No,
}

/// The footer of the file.
#[derive(Debug)]
pub(super) struct Footer {
    /// One per row group: strings as codes where the chunk holds codes. Few are distinct.
    row_groups: Vec<ArrowReaderMetadata>,
    n_distinct: usize,
    pub(super) metadata: Arc<ParquetMetaData>,
    places: HashMap<String, ColumnPlace, FixedState>,
}

/// Where a column lies in the schema of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ColumnPlace {
    /// Among the columns that have names.
    pub(super) root: usize,
    /// Among the chunks of a row group: one, unless it is nested.
    pub(super) chunks: Range<usize>,
}

/// What a column takes in an [`ArrowReaderMetadata`], its name included: an estimate.
const COLUMN_BYTES: usize = 512;

/// A scan reads no more columns than that at once. What reads more of all rows is a merge, which comes
/// by once.
const SCANNED_MAX: usize = 3;

/// A read of pages up to this size is kept.
const KEPT_BYTES_MAX: u64 = 64 << 10;

// === impl TableReader ===

impl TableReader {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        path: Path,
        table: Table,
        meta: TableMeta,
        sums: SumsFile,
        cache: Arc<BlockCache>,
    ) -> Self {
        Self {
            store,
            path,
            table,
            meta,
            sums,
            cache,
            number: N_OPENED.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The checksums of this file.
    async fn segments(&self) -> BlockResult<Arc<Segments>> {
        let read = async {
            let files = self.sums.read(&self.store).await?;
            let mut files = files.into_iter();
            let found = files.find(|(name, _)| *name == self.meta.file);
            let (_, segments) = found.ok_or_else(|| self.malformed("has no checksums"))?;
            self.sized(segments)
        };
        self.kept_or(Part::Checksums, 0, read).await
    }

    /// Keeps checksums that were read with those of the other files.
    pub(super) fn keep_segments(&self, segments: Segments) -> BlockResult<()> {
        let (segments, bytes) = self.sized(segments)?;
        self.keep(Part::Checksums, 0, Arc::new(segments), bytes);
        Ok(())
    }

    /// With what they take in memory, if they are of a file of this length.
    fn sized(&self, segments: Segments) -> BlockResult<(Segments, u64)> {
        if segments.file_bytes() != self.meta.bytes {
            return Err(BlockError::malformed(
                META_FILE,
                "and checksums differ about a length",
            ));
        }
        let bytes = segments.n_bytes();
        Ok((segments, bytes))
    }

    /// The bytes of a range; every segment that holds a part of it was checked.
    pub(super) async fn range(
        &self,
        range: Range<u64>,
        keep: Keep,
        ctx: &QueryContext,
    ) -> BlockResult<Bytes> {
        let found = self.ranges(std::slice::from_ref(&range), keep, ctx).await?;
        let bytes = found.into_iter().next();
        bytes.ok_or_else(|| self.malformed("was not read"))
    }

    /// The bytes of ranges, read together.
    pub(super) async fn ranges(
        &self,
        ranges: &[Range<u64>],
        keep: Keep,
        ctx: &QueryContext,
    ) -> BlockResult<Vec<Bytes>> {
        ctx.check()?;
        let segments = self.segments().await?;
        let mut found: Vec<(Range<u64>, Bytes)> = Vec::with_capacity(ranges.len());
        let mut missing: Vec<(Range<u64>, usize)> = Vec::new();
        for range in ranges {
            let (around, first) = segments.around(range);
            if around.end < range.end {
                return Err(self.malformed("reads beyond its end"));
            }
            let kept = match keep {
                Keep::Yes => self.kept::<Bytes>(Part::Bytes, around.start),
                Keep::No => None,
            };
            match kept.filter(|bytes| bytes.len() as u64 == around.end - around.start) {
                Some(bytes) => found.push((around, Bytes::clone(&bytes))),
                None => missing.push((around, first)),
            }
        }
        let joined = joined(missing.clone());
        let wanted: Vec<Range<u64>> = joined.iter().map(|(around, _)| around.clone()).collect();
        for ((around, first), bytes) in joined.into_iter().zip(self.read(&wanted, ctx).await?) {
            self.check(&segments, &around, first, &bytes)?;
            found.push((around, bytes));
        }
        if keep == Keep::Yes {
            missing
                .iter()
                .for_each(|(around, _)| self.keep_part(around, &found));
        }
        let pieces = ranges.iter().map(|range| {
            let (around, bytes) = found
                .iter()
                .find(|(around, _)| around.start <= range.start && range.end <= around.end)
                .ok_or_else(|| self.malformed("was not read"))?;
            let from = (range.start - around.start) as usize;
            Ok(bytes.slice(from..from + (range.end - range.start) as usize))
        });
        pieces.collect()
    }

    /// Keeps a range alone, not the bytes around it that were read together with it.
    fn keep_part(&self, around: &Range<u64>, found: &[(Range<u64>, Bytes)]) {
        let holds = |(range, _): &&(Range<u64>, Bytes)| {
            range.start <= around.start && around.end <= range.end
        };
        if let Some((range, bytes)) = found.iter().find(holds) {
            let from = (around.start - range.start) as usize;
            let part = bytes.slice(from..from + (around.end - around.start) as usize);
            let part = match range == around {
                true => part,
                false => Bytes::copy_from_slice(&part),
            };
            let n_bytes = part.len() as u64;
            self.keep(Part::Bytes, around.start, Arc::new(part), n_bytes);
        }
    }

    async fn read(&self, ranges: &[Range<u64>], ctx: &QueryContext) -> BlockResult<Vec<Bytes>> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        ctx.read_bytes(ranges.iter().map(|range| range.end - range.start).sum())?;
        let read = self.store.get_ranges(&self.path, ranges).await;
        let bytes = read.map_err(|source| BlockError::Object {
            action: "read",
            path: self.path.to_string(),
            source,
        })?;
        if bytes.len() != ranges.len() {
            return Err(self.malformed("is shorter than it was"));
        }
        Ok(bytes)
    }

    fn check(
        &self,
        segments: &Segments,
        around: &Range<u64>,
        first: usize,
        bytes: &Bytes,
    ) -> BlockResult<()> {
        if bytes.len() as u64 != around.end - around.start {
            return Err(self.malformed("is shorter than it was"));
        }
        segments
            .check(first, bytes)
            .map_err(|(offset, len, expected, seen)| BlockError::Damaged {
                path: self.path.to_string(),
                offset,
                len,
                expected,
                seen,
            })
    }

    pub(super) fn kept<T: Any + Send + Sync>(&self, part: Part, at: u64) -> Option<Arc<T>> {
        let file = self.number;
        self.cache.get(CacheKey { file, part, at })
    }

    /// Whether a column of the size that is kept would be.
    fn keeps_columns(&self) -> bool {
        self.cache
            .may_hold(Part::Column, small_columns::CHUNK_BYTES_MAX)
    }

    pub(super) fn keep(&self, part: Part, at: u64, value: Kept, bytes: u64) {
        let file = self.number;
        self.cache.put(CacheKey { file, part, at }, value, bytes);
    }

    /// What is kept, or else what `read` gives with the bytes that it takes, which is kept then.
    pub(super) async fn kept_or<T: Any + Send + Sync>(
        &self,
        part: Part,
        at: u64,
        read: impl Future<Output = BlockResult<(T, u64)>>,
    ) -> BlockResult<Arc<T>> {
        if let Some(kept) = self.kept(part, at) {
            return Ok(kept);
        }
        let (value, bytes) = read.await?;
        let value = Arc::new(value);
        let kept: Kept = Arc::<T>::clone(&value);
        self.keep(part, at, kept, bytes);
        Ok(value)
    }

    /// Reads and checks every segment; the error names the first that fails.
    pub(super) async fn verify(&self) -> Vec<BlockError> {
        let ctx = QueryContext::unlimited();
        let segments = match self.segments().await {
            Ok(segments) => segments,
            Err(error) => return vec![error],
        };
        let mut errors = Vec::new();
        let mut from = 0;
        for (number, end) in segments.ends.iter().enumerate() {
            let around = from..*end;
            let read = self.read(std::slice::from_ref(&around), &ctx).await;
            let checked = read.and_then(|bytes| {
                let bytes = bytes.into_iter().next().unwrap_or_default();
                self.check(&segments, &around, number, &bytes)
            });
            errors.extend(checked.err());
            from = *end;
        }
        errors
    }

    pub(super) async fn footer(&self, ctx: &QueryContext) -> BlockResult<Arc<Footer>> {
        let read = async {
            let footer = self.read_footer(ctx).await?;
            let bytes = footer.n_bytes();
            Ok((footer, bytes))
        };
        self.kept_or(Part::Footer, 0, read).await
    }

    async fn read_footer(&self, ctx: &QueryContext) -> BlockResult<Footer> {
        let failed = || BlockError::parquet(self.table.name());
        let start = self.meta.bytes.saturating_sub(self.meta.footer_bytes);
        let bytes = self.range(start..self.meta.bytes, Keep::No, ctx).await?;
        if !holds_footer(&bytes) {
            return Err(self.malformed("footer is longer than the meta says"));
        }
        let mut decoder = ParquetMetaDataPushDecoder::try_new(self.meta.bytes)
            .map_err(failed())?
            .with_page_index_policy(PageIndexPolicy::Optional);
        decoder
            .push_range(start..self.meta.bytes, bytes)
            .map_err(failed())?;
        let metadata = match decoder.try_decode().map_err(failed())? {
            DecodeResult::Data(metadata) => Arc::new(metadata),
            DecodeResult::NeedsData(_) | DecodeResult::Finished => {
                return Err(self.malformed("footer is not where the meta says"));
            }
        };
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let plain = ArrowReaderMetadata::try_new(Arc::clone(&metadata), options.clone())
            .map_err(failed())?;
        let mut known: Vec<(Vec<bool>, ArrowReaderMetadata)> = Vec::new();
        let mut row_groups = Vec::with_capacity(metadata.num_row_groups());
        for group in metadata.row_groups() {
            let coded = plain.schema().fields().iter().map(|field| {
                *field.data_type() == DataType::Utf8
                    && group.columns().iter().any(|column| {
                        column.column_path().parts().first() == Some(field.name())
                            && is_coded(column)
                    })
            });
            let coded: Vec<bool> = coded.collect();
            if let Some((_, same)) = known.iter().find(|(other, _)| *other == coded) {
                row_groups.push(same.clone());
                continue;
            }
            let schema = Arc::new(with_codes(plain.schema(), &coded));
            let options = options.clone().with_schema(schema);
            let new = ArrowReaderMetadata::try_new(Arc::clone(&metadata), options);
            let new = new.map_err(failed())?;
            row_groups.push(new.clone());
            known.push((coded, new));
        }
        Ok(Footer {
            row_groups,
            n_distinct: known.len(),
            places: places_of(&metadata),
            metadata,
        })
    }

    pub(super) async fn metadata(&self, ctx: &QueryContext) -> BlockResult<Arc<ParquetMetaData>> {
        Ok(Arc::clone(&self.footer(ctx).await?.metadata))
    }

    /// Rows of a row group that the meta names; the file may not have it, or state rows without end.
    pub(super) async fn n_rows(&self, row_group: usize, ctx: &QueryContext) -> BlockResult<usize> {
        let metadata = self.metadata(ctx).await?;
        let group = metadata
            .row_groups()
            .get(row_group)
            .ok_or_else(|| self.malformed("lacks a row group"))?;
        usize::try_from(group.num_rows())
            .ok()
            .filter(|n_rows| *n_rows as u64 <= self.meta.rows)
            .ok_or_else(|| self.malformed("a row group has more rows than the meta says"))
    }

    /// Reads columns of a row group, all rows or the selected ones. Columns that the file does not
    /// have are left out of the answer.
    pub(super) async fn columns(
        &self,
        row_group: usize,
        names: &[&str],
        selection: Option<RowSelection>,
        ctx: &QueryContext,
    ) -> BlockResult<RecordBatch> {
        let footer = self.footer(ctx).await?;
        if !self.keeps_columns() || (selection.is_none() && names.len() > SCANNED_MAX) {
            return self.decode(&footer, row_group, names, selection, ctx).await;
        }
        let (small, large) = self.small_columns(&footer, row_group, names, ctx).await?;
        if small.is_empty() {
            return self
                .decode(&footer, row_group, &large, selection, ctx)
                .await;
        }
        let small = small_columns::batch(&small, selection.as_ref());
        let small = small.map_err(|error| self.malformed(&error.to_string()))?;
        if large.is_empty() {
            return Ok(small);
        }
        let large = self
            .decode(&footer, row_group, &large, selection, ctx)
            .await?;
        joined_columns(&small, &large).map_err(|error| self.malformed(&error.to_string()))
    }

    /// The same from the bytes of the file.
    pub(super) async fn decode(
        &self,
        footer: &Footer,
        row_group: usize,
        names: &[&str],
        selection: Option<RowSelection>,
        ctx: &QueryContext,
    ) -> BlockResult<RecordBatch> {
        let flat = match &selection {
            None => self.flat_columns(footer, row_group, names, ctx).await?,
            Some(_) => FlatColumns::default(),
        };
        if flat.fields.is_empty() {
            return self
                .decode_any(footer, row_group, names, selection, ctx)
                .await;
        }
        let schema = Arc::new(Schema::new(flat.fields));
        let batch = RecordBatch::try_new(schema, flat.arrays);
        let batch = batch.map_err(|error| self.malformed(&error.to_string()))?;
        let batch = checked(batch, &self.table.columns())?;
        if flat.others.is_empty() {
            return Ok(batch);
        }
        let others = self
            .decode_any(footer, row_group, &flat.others, None, ctx)
            .await?;
        joined_columns(&batch, &others).map_err(|error| self.malformed(&error.to_string()))
    }

    /// Columns of any form, by the parquet crate.
    pub(super) async fn decode_any(
        &self,
        footer: &Footer,
        row_group: usize,
        names: &[&str],
        selection: Option<RowSelection>,
        ctx: &QueryContext,
    ) -> BlockResult<RecordBatch> {
        let failed = || BlockError::parquet(self.table.name());
        let metadata = footer
            .row_groups
            .get(row_group)
            .ok_or_else(|| self.malformed("lacks a row group"))?;
        let fields = metadata.schema().fields();
        let roots = names.iter().filter_map(|name| footer.place(name));
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.map(|place| place.root));
        let n_rows = self.n_rows(row_group, ctx).await?;
        let n_selected = selection.as_ref().map_or(n_rows, RowSelection::row_count);
        let is_selected = selection.is_some();
        let mut builder = ParquetPushDecoderBuilder::new_with_metadata(metadata.clone())
            .with_row_groups(vec![row_group])
            .with_projection(mask)
            .with_batch_size(n_selected.max(1));
        if let Some(selection) = selection {
            builder = builder
                .with_row_selection(selection)
                .with_row_selection_policy(RowSelectionPolicy::Selectors);
        }
        let mut decoder = builder.build().map_err(failed())?;
        let mut batches = Vec::new();
        loop {
            match decoder.try_decode().map_err(failed())? {
                DecodeResult::NeedsData(ranges) => {
                    let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
                    let keep = match is_selected && bytes <= KEPT_BYTES_MAX * ranges.len() as u64 {
                        true => Keep::Yes,
                        false => Keep::No,
                    };
                    let pieces = self.ranges(&ranges, keep, ctx).await?;
                    decoder.push_ranges(ranges, pieces).map_err(failed())?;
                }
                DecodeResult::Data(batch) => batches.push(batch),
                DecodeResult::Finished => break,
            }
        }
        let batch = match (batches.len(), batches.first()) {
            (1, Some(batch)) => Ok(batch.clone()),
            (_, Some(first)) => arrow_select::concat::concat_batches(&first.schema(), &batches)
                .map_err(|error| self.malformed(&error.to_string())),
            (_, None) => {
                let names = names
                    .iter()
                    .filter_map(|name| fields.iter().find(|field| field.name() == *name));
                Ok(RecordBatch::new_empty(Arc::new(Schema::new(
                    names.cloned().collect::<Vec<_>>(),
                ))))
            }
        };
        checked(batch?, &self.table.columns())
    }

    /// Chunk of a column, if the file has it.
    pub(super) async fn chunk(
        &self,
        row_group: usize,
        name: &str,
        ctx: &QueryContext,
    ) -> BlockResult<Option<ColumnChunkMetaData>> {
        let footer = self.footer(ctx).await?;
        let group = footer.metadata.row_groups().get(row_group);
        let place = footer.place(name);
        let found = group.zip(place);
        Ok(found.and_then(|(group, place)| group.columns().get(place.chunks.start).cloned()))
    }

    /// True if no Bloom filter of the column excludes the value.
    pub(super) async fn may_hold(
        &self,
        row_group: usize,
        name: &str,
        value: &[u8],
        ctx: &QueryContext,
    ) -> BlockResult<bool> {
        match self.bloom_bytes(row_group, name, ctx).await? {
            Some(filter) => {
                bloom::may_hold(&filter, value).ok_or_else(|| self.malformed("a filter is not one"))
            }
            None => Ok(true),
        }
    }

    async fn bloom_bytes(
        &self,
        row_group: usize,
        name: &str,
        ctx: &QueryContext,
    ) -> BlockResult<Option<Bytes>> {
        let Some(chunk) = self.chunk(row_group, name, ctx).await? else {
            return Ok(None);
        };
        let (Some(offset), Some(len)) = (chunk.bloom_filter_offset(), chunk.bloom_filter_length())
        else {
            return Ok(None);
        };
        let start = offset.unsigned_abs();
        let range = start..start + u64::from(len.unsigned_abs());
        self.range(range, Keep::Yes, ctx).await.map(Some)
    }

    /// A filter that its owner keeps.
    pub(super) async fn bloom(
        &self,
        row_group: usize,
        name: &str,
        ctx: &QueryContext,
    ) -> BlockResult<Option<Sbbf>> {
        let bytes = self.bloom_bytes(row_group, name, ctx).await?;
        bytes
            .map(|bytes| Sbbf::from_bytes(&bytes))
            .transpose()
            .map_err(BlockError::parquet(self.table.name()))
    }

    /// Rows of the pages of a column that `keep` wants, by the page index; every row where there is
    /// none.
    pub(super) async fn pages(
        &self,
        row_group: usize,
        name: &str,
        ctx: &QueryContext,
        keep: &mut (dyn FnMut(&ColumnIndexMetaData, usize) -> bool + Send),
    ) -> BlockResult<Vec<Range<usize>>> {
        let footer = self.footer(ctx).await?;
        let metadata = &footer.metadata;
        let Some(group) = metadata.row_groups().get(row_group) else {
            return Ok(Vec::new());
        };
        let n_rows = group.num_rows().unsigned_abs() as usize;
        let index = footer.place(name).and_then(|place| {
            let column = place.chunks.start;
            let bounds = metadata.column_index()?.get(row_group)?.get(column)?;
            let pages = metadata.offset_index()?.get(row_group)?.get(column)?;
            Some((bounds, pages))
        });
        let Some((bounds, pages)) = index else {
            return Ok(std::iter::once(0..n_rows).collect());
        };
        let firsts: Vec<usize> = pages
            .page_locations
            .iter()
            .map(|page| page.first_row_index.unsigned_abs() as usize)
            .collect();
        let ends = firsts.iter().skip(1).copied().chain([n_rows]);
        let pages = firsts.iter().copied().zip(ends).enumerate();
        Ok(pages
            .filter(|(page, _)| keep(bounds, *page))
            .map(|(_, (from, to))| from..to)
            .collect())
    }

    pub(super) fn malformed(&self, reason: &str) -> BlockError {
        BlockError::malformed(self.path.to_string(), reason)
    }
}

// === impl Footer ===

impl Footer {
    pub(super) fn place(&self, name: &str) -> Option<&ColumnPlace> {
        self.places.get(name)
    }

    /// How a column is read in a row group.
    pub(super) fn field(&self, row_group: usize, name: &str) -> Option<&FieldRef> {
        let fields = self.row_groups.get(row_group)?.schema().fields();
        fields.get(self.place(name)?.root)
    }

    fn n_bytes(&self) -> u64 {
        let n_columns = self.metadata.file_metadata().schema_descr().num_columns();
        let groups = self.row_groups.len() * size_of::<ArrowReaderMetadata>();
        let schemas = self.n_distinct * n_columns * COLUMN_BYTES;
        (self.metadata.memory_size() + groups + schemas) as u64
    }
}

fn places_of(metadata: &ParquetMetaData) -> HashMap<String, ColumnPlace, FixedState> {
    let schema = metadata.file_metadata().schema_descr();
    let mut places: HashMap<String, ColumnPlace, FixedState> = HashMap::default();
    for chunk in 0..schema.num_columns() {
        let root = schema.get_column_root_idx(chunk);
        let name = schema.get_column_root(chunk).name();
        let chunks = chunk..chunk;
        let place = places.entry(name.to_owned());
        let place = place.or_insert(ColumnPlace { root, chunks });
        if place.root == root {
            place.chunks.end = chunk + 1;
        }
    }
    places
}

fn joined_columns(one: &RecordBatch, other: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let fields = one.schema_ref().fields().iter();
    let fields = fields.chain(other.schema_ref().fields()).cloned();
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = one.columns().iter().chain(other.columns()).cloned();
    RecordBatch::try_new(schema, arrays.collect())
}

/// The schema with codes in place of strings where a column is coded.
fn with_codes(plain: &Schema, coded: &[bool]) -> Schema {
    let fields = plain.fields().iter().zip(coded).map(|(field, coded)| {
        if !coded {
            return Arc::clone(field);
        }
        let codes = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
        Arc::new(field.as_ref().clone().with_data_type(codes))
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// True for a chunk whose data pages all hold codes.
pub(super) fn is_coded(column: &ColumnChunkMetaData) -> bool {
    column.dictionary_page_offset().is_some()
        && column
            .page_encoding_stats_mask()
            .is_none_or(|mask| mask.is_only(Encoding::RLE_DICTIONARY))
}

/// Ranges (each with its first segment) put together where they touch. How far apart two may lie to be
/// cheaper as one, the object store knows.
fn joined(mut ranges: Vec<(Range<u64>, usize)>) -> Vec<(Range<u64>, usize)> {
    ranges.sort_unstable_by_key(|(range, _)| range.start);
    let mut joined: Vec<(Range<u64>, usize)> = Vec::new();
    for (range, first) in ranges {
        match joined.last_mut() {
            Some((last, _)) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push((range, first)),
        }
    }
    joined
}

/// A selection of ascending ranges that do not overlap.
pub(super) fn selection(ranges: &[Range<usize>], n_rows: usize) -> RowSelection {
    RowSelection::from_consecutive_ranges(ranges.iter().cloned(), n_rows)
}

/// Whether the end of a file holds all of the footer whose length it states. The decoder of `parquet`
/// takes the length for granted and counts back beyond the start of the file.
fn holds_footer(end: &[u8]) -> bool {
    let Some((rest, [a, b, c, d, ..])) = end.split_last_chunk::<8>() else {
        return false;
    };
    u32::from_le_bytes([*a, *b, *c, *d]) as usize <= rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_longer_than_the_file_is_seen() {
        let end = |n: u32| [b"footer".as_slice(), &n.to_le_bytes(), b"PAR1"].concat();
        assert!(holds_footer(&end(6)));
        assert!(!holds_footer(&end(7)));
        assert!(!holds_footer(&end(u32::MAX)));
        assert!(!holds_footer(b"PAR1"));
    }
}
