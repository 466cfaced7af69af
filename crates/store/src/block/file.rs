//! One Parquet file of a block, read by ranges of whole, verified segments.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
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
use tokio::sync::OnceCell;
use tracewell_model::source::QueryContext;

use super::arrays::checked;
use super::checksum::Segments;
use super::error::{BlockError, BlockResult};
use super::meta::TableMeta;
use super::schema::Table;

/// Keeps verified ranges of files in memory; a file is never changed, so nothing is invalidated.
pub trait RangeCache: Send + Sync + std::fmt::Debug {
    fn get(&self, path: &str, range: &Range<u64>) -> Option<Bytes>;
    fn put(&self, path: &str, range: &Range<u64>, bytes: Bytes);
}

#[derive(Debug)]
pub(super) struct TableReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    pub(super) table: Table,
    pub(super) meta: TableMeta,
    segments: Segments,
    cache: Option<Arc<dyn RangeCache>>,
    footer: OnceCell<Footer>,
}

/// The footer, read once.
#[derive(Debug)]
struct Footer {
    /// One per row group: strings as codes where the chunk holds codes.
    row_groups: Vec<ArrowReaderMetadata>,
    metadata: Arc<ParquetMetaData>,
}

/// Ranges that lie closer are read in one request: a request costs more than 64 KiB.
const GAP_BYTES: u64 = 64 << 10;

// === impl TableReader ===

impl TableReader {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        path: Path,
        table: Table,
        meta: TableMeta,
        segments: Segments,
        cache: Option<Arc<dyn RangeCache>>,
    ) -> Self {
        Self {
            store,
            path,
            table,
            meta,
            segments,
            cache,
            footer: OnceCell::new(),
        }
    }

    /// The bytes of a range; every segment that holds a part of it was checked.
    pub(super) async fn range(&self, range: Range<u64>, ctx: &QueryContext) -> BlockResult<Bytes> {
        let (around, first) = self.segments.around(&range);
        if around.end < range.end {
            return Err(self.malformed("reads beyond its end"));
        }
        let bytes = self.verified(around.clone(), first, ctx).await?;
        let from = (range.start - around.start) as usize;
        Ok(bytes.slice(from..from + (range.end - range.start) as usize))
    }

    async fn verified(
        &self,
        around: Range<u64>,
        first: usize,
        ctx: &QueryContext,
    ) -> BlockResult<Bytes> {
        if let Some(cache) = &self.cache
            && let Some(bytes) = cache.get(self.path.as_ref(), &around)
        {
            ctx.check()?;
            return Ok(bytes);
        }
        ctx.read_bytes(around.end - around.start)?;
        let read = self.store.get_range(&self.path, around.clone()).await;
        let bytes = read.map_err(|source| BlockError::Object {
            action: "read",
            path: self.path.to_string(),
            source,
        })?;
        if bytes.len() as u64 != around.end - around.start {
            return Err(self.malformed("is shorter than it was"));
        }
        self.segments
            .check(first, &bytes)
            .map_err(|(offset, len, expected, seen)| BlockError::Damaged {
                path: self.path.to_string(),
                offset,
                len,
                expected,
                seen,
            })?;
        if let Some(cache) = &self.cache {
            cache.put(self.path.as_ref(), &around, bytes.clone());
        }
        Ok(bytes)
    }

    /// Reads and checks every segment; the error names the first that fails.
    pub(super) async fn verify(&self) -> Vec<BlockError> {
        let ctx = QueryContext::unlimited();
        let mut errors = Vec::new();
        let mut from = 0;
        for (number, end) in self.segments.ends.iter().enumerate() {
            if let Err(error) = self.verified(from..*end, number, &ctx).await {
                errors.push(error);
            }
            from = *end;
        }
        errors
    }

    async fn footer(&self, ctx: &QueryContext) -> BlockResult<&Footer> {
        self.footer.get_or_try_init(|| self.read_footer(ctx)).await
    }

    async fn read_footer(&self, ctx: &QueryContext) -> BlockResult<Footer> {
        let failed = || BlockError::parquet(self.table.name());
        let start = self.meta.bytes.saturating_sub(self.meta.footer_bytes);
        let bytes = self.range(start..self.meta.bytes, ctx).await?;
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
        let row_groups = metadata.row_groups().iter().map(|group| {
            let fields = plain.schema().fields().iter().map(|field| {
                let coded = group.columns().iter().any(|column| {
                    column.column_path().parts().first() == Some(field.name()) && is_coded(column)
                });
                if coded && *field.data_type() == DataType::Utf8 {
                    let codes = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
                    Arc::new(field.as_ref().clone().with_data_type(codes))
                } else {
                    Arc::clone(field)
                }
            });
            let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let options = options.clone().with_schema(schema);
            ArrowReaderMetadata::try_new(Arc::clone(&metadata), options).map_err(failed())
        });
        Ok(Footer {
            row_groups: row_groups.collect::<BlockResult<_>>()?,
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
        let failed = || BlockError::parquet(self.table.name());
        let footer = self.footer(ctx).await?;
        let metadata = footer
            .row_groups
            .get(row_group)
            .ok_or_else(|| self.malformed("lacks a row group"))?;
        let fields = metadata.schema().fields();
        let roots = names
            .iter()
            .filter_map(|name| fields.iter().position(|field| field.name() == *name));
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let n_rows = self.n_rows(row_group, ctx).await?;
        let n_selected = selection.as_ref().map_or(n_rows, RowSelection::row_count);
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
                    let mut buffers = Vec::with_capacity(ranges.len());
                    for read in joined(&ranges) {
                        let bytes = self.range(read.clone(), ctx).await?;
                        buffers.push((read, bytes));
                    }
                    let pieces = ranges.iter().filter_map(|range| {
                        let (read, bytes) = buffers
                            .iter()
                            .find(|(read, _)| read.contains(&range.start))?;
                        let from = (range.start - read.start) as usize;
                        Some(bytes.slice(from..from + (range.end - range.start) as usize))
                    });
                    let pieces = pieces.collect();
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
        let metadata = self.metadata(ctx).await?;
        let found = metadata.row_groups().get(row_group).and_then(|group| {
            group.columns().iter().find(|column| {
                column
                    .column_path()
                    .parts()
                    .first()
                    .is_some_and(|part| part == name)
            })
        });
        Ok(found.cloned())
    }

    /// True if no Bloom filter of the column excludes the value.
    pub(super) async fn may_hold(
        &self,
        row_group: usize,
        name: &str,
        value: &[u8],
        ctx: &QueryContext,
    ) -> BlockResult<bool> {
        let Some(filter) = self.bloom(row_group, name, ctx).await? else {
            return Ok(true);
        };
        Ok(filter.check::<[u8]>(value))
    }

    pub(super) async fn bloom(
        &self,
        row_group: usize,
        name: &str,
        ctx: &QueryContext,
    ) -> BlockResult<Option<Sbbf>> {
        let Some(chunk) = self.chunk(row_group, name, ctx).await? else {
            return Ok(None);
        };
        let (Some(offset), Some(len)) = (chunk.bloom_filter_offset(), chunk.bloom_filter_length())
        else {
            return Ok(None);
        };
        let start = offset.unsigned_abs();
        let bytes = self
            .range(start..start + u64::from(len.unsigned_abs()), ctx)
            .await?;
        Sbbf::from_bytes(&bytes)
            .map(Some)
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
        let metadata = self.metadata(ctx).await?;
        let Some(group) = metadata.row_groups().get(row_group) else {
            return Ok(Vec::new());
        };
        let n_rows = group.num_rows().unsigned_abs() as usize;
        let column = group.columns().iter().position(|column| {
            column
                .column_path()
                .parts()
                .first()
                .is_some_and(|part| part == name)
        });
        let index = column.and_then(|column| {
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

    fn malformed(&self, reason: &str) -> BlockError {
        BlockError::malformed(self.path.to_string(), reason)
    }
}

/// True for a chunk whose data pages all hold codes.
fn is_coded(column: &ColumnChunkMetaData) -> bool {
    column.dictionary_page_offset().is_some()
        && column
            .page_encoding_stats_mask()
            .is_none_or(|mask| mask.is_only(Encoding::RLE_DICTIONARY))
}

/// Ranges put together where they lie close.
fn joined(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end + GAP_BYTES => last.end = last.end.max(range.end),
            _ => joined.push(range),
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
