//! A group copied from one block into another: its column chunks as they lie, and what must be known
//! of it beside them.
//!
//! Bytes of pages, page indexes and filters are taken over after their sums were checked; only offsets
//! change. What the new block has a column for and the group does not is written as nulls. What this is
//! not: it chooses no groups, and what it cannot take over exactly it leaves to be encoded again.

use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};
use hashbrown::{HashMap, HashSet};
use parquet::basic::{Encoding, PageType};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use tracewell_model::ContentHash;
use tracewell_model::source::QueryContext;

use arrow_array::cast::AsArray;

use super::arrays::named;
use super::chunk::{Cells, Chunk, Values};
use super::coder::some;
use super::encode::Encoder;
use super::entities::Entity;
use super::error::{BlockError, BlockResult};
use super::file::{Keep, TableReader};
use super::keys::Promotion;
use super::meta::GroupMeta;
use super::read::{BlockReader, id16};
use super::schema::{Kind, Owner, PROMOTED_COLUMNS_MAX, PromotedKey, Table};
use super::write::{Schemas, TableSchema};
use crate::table::{ResourceEntry, ScopeEntry};

/// What a block must have for a group to be copied into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOutline {
    pub n_spans: u64,
    /// The promoted columns that the group has.
    pub promoted: Vec<PromotedKey>,
}

/// The columns of groups that are copied into one block.
#[derive(Debug, Default)]
pub(super) struct ColumnUnion {
    pub(super) keys: Vec<PromotedKey>,
    /// In lower case: readers ignore case, so that two columns must not differ in it alone.
    names: HashMap<String, PromotedKey, RandomState>,
}

/// A group as it lies in its block: checked, in memory, not decoded.
#[derive(Debug)]
pub struct GroupCopy {
    pub(super) meta: GroupMeta,
    pub(super) tables: Vec<TableCopy>,
    pub(super) resources: Vec<Arc<ResourceEntry>>,
    pub(super) scopes: Vec<Arc<ScopeEntry>>,
    pub(super) end_max: u64,
}

/// The row group of one table.
#[derive(Debug)]
pub(super) struct TableCopy {
    pub(super) table: Table,
    pub(super) n_rows: usize,
    /// By column.
    pub(super) chunks: HashMap<Arc<str>, Chunk, FixedState>,
}

/// Where the chunks lie that a group has in one table.
struct Layout {
    table: Table,
    row_group: usize,
    n_rows: usize,
    /// Name and place in the file's schema.
    columns: Vec<(Arc<str>, usize)>,
}

// === impl ColumnUnion ===

impl ColumnUnion {
    /// Adds the columns of a group, or none if they would be too many or meet others of one name.
    pub(super) fn admit(&mut self, group: &GroupOutline) -> bool {
        let mut new: Vec<(String, PromotedKey)> = Vec::new();
        for key in &group.promoted {
            let Some(name) = key.column().map(|column| column.name.to_lowercase()) else {
                return false;
            };
            match self.names.get(&name) {
                Some(known) if known == key => {}
                None if new.iter().all(|(other, _)| *other != name) => {
                    new.push((name, key.clone()));
                }
                Some(_) | None => return false,
            }
        }
        if self.keys.len() + new.len() > PROMOTED_COLUMNS_MAX {
            return false;
        }
        self.keys.extend(new.iter().map(|(_, key)| key.clone()));
        self.names.extend(new);
        true
    }
}

// === impl BlockReader ===

impl BlockReader {
    /// What copying a group asks for; `None` where it must be encoded again.
    pub async fn outline(&self, group: usize) -> BlockResult<Option<GroupOutline>> {
        let n_spans = self.group(group)?.spans;
        let promoted = self.promoted_of(group)?;
        let is_laid_out = match &promoted {
            Some(promoted) => self.layouts(group, promoted).await?.is_some(),
            None => false,
        };
        let outline = promoted.map(|promoted| GroupOutline { n_spans, promoted });
        Ok(outline.filter(|_| is_laid_out))
    }

    /// Reads a group as it lies. One that has no outline is an error.
    pub async fn copy_group(&self, group: usize) -> BlockResult<GroupCopy> {
        let ctx = QueryContext::unlimited();
        let layouts = match self.promoted_of(group)? {
            Some(promoted) => self.layouts(group, &promoted).await?,
            None => None,
        };
        let cannot = || BlockError::malformed("a group", "cannot be copied");
        let mut tables = Vec::new();
        for layout in layouts.ok_or_else(cannot)? {
            tables.push(self.table(layout.table).copy(layout, &ctx).await?);
        }
        let ends = &self.traces_of(group, &ctx).await?.ends;
        let mut copy = GroupCopy {
            meta: self.group(group)?.clone(),
            tables,
            resources: Vec::new(),
            scopes: Vec::new(),
            end_max: ends.iter().copied().max().unwrap_or(0),
        };
        self.copy_entities(group, &mut copy, &ctx).await?;
        Ok(copy)
    }

    /// The promoted columns that a group has rows in; `None` if one is not named as the contract says.
    fn promoted_of(&self, group: usize) -> BlockResult<Option<Vec<PromotedKey>>> {
        let mut keys = Vec::new();
        for owner in Owner::ALL {
            if self.group(group)?.row_group(owner.table()).is_none() {
                continue;
            }
            for (key, name) in self.promoted(group, owner)? {
                if key.column().is_none_or(|column| *column.name != *name) {
                    return Ok(None);
                }
                keys.push(key);
            }
        }
        keys.sort_unstable();
        Ok(Some(keys))
    }

    /// Where the group lies; `None` unless every column is exactly one that this program would write.
    async fn layouts(
        &self,
        group: usize,
        promoted: &[PromotedKey],
    ) -> BlockResult<Option<Vec<Layout>>> {
        let ctx = QueryContext::unlimited();
        let schemas = Schemas::new(&Promotion {
            keys: promoted.to_vec(),
        })?;
        let mut layouts = Vec::new();
        for table in Table::GROUPED {
            let Some(row_group) = self.group(group)?.row_group(table) else {
                continue;
            };
            let reader = self.table(table);
            let n_rows = reader.n_rows(row_group, &ctx).await?;
            // What contradicts itself is for the decoder to name.
            if table == Table::Spans && n_rows as u64 != self.group(group)?.spans {
                return Ok(None);
            }
            let metadata = reader.metadata(&ctx).await?;
            let Some(columns) = columns_of(&metadata, row_group, schemas.of(table)) else {
                return Ok(None);
            };
            layouts.push(Layout {
                table,
                row_group,
                n_rows,
                columns,
            });
        }
        Ok(Some(layouts))
    }

    /// The resources and scopes that the spans of a group name.
    async fn copy_entities(
        &self,
        group: usize,
        copy: &mut GroupCopy,
        ctx: &QueryContext,
    ) -> BlockResult<()> {
        let names = ["resource", "scope"];
        let batch = self.columns(group, Table::Spans, &names, None, ctx);
        let Some(batch) = batch.await? else {
            return Ok(());
        };
        let named_by = |name| -> BlockResult<HashSet<ContentHash, FixedState>> {
            let hashes = named(&batch, name)?.as_fixed_size_binary();
            Ok((hashes.iter().flatten())
                .map(|hash| ContentHash(id16(hash)))
                .collect())
        };
        let hashes = named_by("resource")?;
        copy.resources = self.named(group, &hashes, ctx).await?;
        let hashes = named_by("scope")?;
        copy.scopes = self.named(group, &hashes, ctx).await?;
        Ok(())
    }

    /// The entries of some hashes, all of which must be listed.
    async fn named<T: Entity>(
        &self,
        group: usize,
        hashes: &HashSet<ContentHash, FixedState>,
        ctx: &QueryContext,
    ) -> BlockResult<Vec<Arc<T>>> {
        let listed = self.entities::<T>(group, ctx).await?;
        let listed = listed.entries.iter();
        let named: Vec<Arc<T>> = listed
            .filter(|entry| hashes.contains(&entry.hash()))
            .cloned()
            .collect();
        match named.len() == hashes.len() {
            true => Ok(named),
            false => Err(BlockError::malformed(T::HASH, "is named and not listed")),
        }
    }
}

/// The columns of a row group in the order of a schema; `None` if one is not as the schema says.
fn columns_of(
    metadata: &ParquetMetaData,
    row_group: usize,
    schema: &TableSchema,
) -> Option<Vec<(Arc<str>, usize)>> {
    let chunks = metadata.row_groups().get(row_group)?.columns();
    let mut places = HashMap::<&str, usize, FixedState>::default();
    for (place, chunk) in chunks.iter().enumerate() {
        places.insert(chunk.column_path().parts().first()?, place);
    }
    let columns = schema.columns.iter().zip(schema.descriptor.columns());
    columns
        .map(|(spec, expected)| {
            let place = *places.get(&*spec.name)?;
            let chunk = chunks.get(place)?;
            let is_known = chunk.column_descr() == &**expected && has_stats(chunk);
            is_known.then(|| (Arc::clone(&spec.name), place))
        })
        .collect()
}

/// Can the encodings of the data pages be stated again? Of a chunk that began with codes and went on
/// plain it is not read how many pages are of which.
fn has_stats(chunk: &ColumnChunkMetaData) -> bool {
    let encodings = chunk.page_encoding_stats_mask();
    encodings.is_none_or(|mask| mask.encodings().count() == 1)
}

// === impl TableReader ===

impl TableReader {
    async fn copy(&self, layout: Layout, ctx: &QueryContext) -> BlockResult<TableCopy> {
        let metadata = self.metadata(ctx).await?;
        let mut closes = Vec::with_capacity(layout.columns.len());
        let mut ranges = Vec::with_capacity(layout.columns.len());
        for (name, place) in layout.columns {
            let part = part_of(&metadata, layout.row_group, place, layout.n_rows);
            let wrong = || BlockError::malformed(self.table.name(), "a chunk lies nowhere");
            let (start, mut close) = part.ok_or_else(wrong)?;
            close.bloom_filter = self.bloom(layout.row_group, &name, ctx).await?;
            ranges.push(start..start + close.bytes_written);
            closes.push((name, close));
        }
        let pieces = self.ranges(&ranges, Keep::No, ctx).await?;
        let chunks = closes.into_iter().zip(pieces);
        Ok(TableCopy {
            table: layout.table,
            n_rows: layout.n_rows,
            chunks: chunks
                .map(|((name, close), bytes)| (name, Chunk { bytes, close }))
                .collect(),
        })
    }
}

/// Start of a chunk and its description, all offsets counted from there. `None` where they contradict
/// each other.
fn part_of(
    metadata: &ParquetMetaData,
    row_group: usize,
    place: usize,
    n_rows: usize,
) -> Option<(u64, ColumnCloseResult)> {
    let chunk = metadata.row_groups().get(row_group)?.columns().get(place)?;
    let dictionary = chunk.dictionary_page_offset();
    let start = dictionary.unwrap_or_else(|| chunk.data_page_offset());
    let within = |offset: i64| {
        let offset = offset.checked_sub(start)?;
        (0..chunk.compressed_size())
            .contains(&offset)
            .then_some(offset)
    };
    let mut offsets = metadata.offset_index()?.get(row_group)?.get(place)?.clone();
    for page in &mut offsets.page_locations {
        page.offset = within(page.offset)?;
    }
    let bounds = metadata.column_index().and_then(|index| {
        let bounds = index.get(row_group)?.get(place)?;
        (!matches!(bounds, ColumnIndexMetaData::NONE)).then(|| bounds.clone())
    });
    let mut builder = chunk
        .clone()
        .into_builder()
        .set_data_page_offset(within(chunk.data_page_offset())?)
        .set_dictionary_page_offset(dictionary.and_then(within));
    // The page stats were read as a mask, which is not written.
    let encodings = chunk.page_encoding_stats_mask();
    if let Some(encoding) = encodings.and_then(|mask| mask.encodings().next()) {
        let pages = |page_type, encoding, n: usize| PageEncodingStats {
            page_type,
            encoding,
            count: i32::try_from(n).unwrap_or(i32::MAX),
        };
        let n_pages = offsets.page_locations.len();
        let mut stats = vec![pages(PageType::DATA_PAGE, encoding, n_pages)];
        if dictionary.is_some() {
            stats.push(pages(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
        }
        builder = builder.set_page_encoding_stats(stats);
    }
    let close = ColumnCloseResult {
        bytes_written: u64::try_from(chunk.compressed_size()).ok()?,
        rows_written: n_rows as u64,
        metadata: builder.build().ok()?,
        bloom_filter: None,
        column_index: bounds,
        offset_index: Some(offsets),
    };
    let start = u64::try_from(start).ok()?;
    start.checked_add(close.bytes_written)?;
    Some((start, close))
}

// === impl TableCopy ===

impl TableCopy {
    /// The chunks in the order of a block's schema, and which columns the group lacks.
    pub(super) fn chunks(
        mut self,
        encoder: &Encoder<'_>,
        lacking: &mut Vec<String>,
    ) -> BlockResult<Vec<Chunk>> {
        let schema = encoder.schemas.of(self.table);
        let mut chunks = Vec::with_capacity(schema.columns.len());
        for (place, spec) in schema.columns.iter().enumerate() {
            let chunk = match self.chunks.remove(&spec.name) {
                Some(chunk) => chunk,
                None => {
                    lacking.push(spec.name.to_string());
                    encoder.nulls(self.table, place, self.n_rows)?
                }
            };
            chunks.push(chunk);
        }
        match self.chunks.is_empty() {
            true => Ok(chunks),
            false => Err(BlockError::malformed(
                self.table.name(),
                "a copied column is not in the schema",
            )),
        }
    }
}

// === impl Encoder ===

impl Encoder<'_> {
    /// A chunk of nulls for the column at a place of the schema.
    fn nulls(&self, table: Table, place: usize, n_rows: usize) -> BlockResult<Chunk> {
        let schema = self.schemas.of(table);
        let spec = schema.columns.get(place).filter(|spec| spec.nullable);
        let (Some(spec), Some(column)) = (spec, schema.descriptor.columns().get(place)) else {
            return Err(BlockError::malformed(table.name(), "lacks a column"));
        };
        let cells = null_cells(spec.kind, n_rows);
        Chunk::encode(column, &cells, self.style(table, &spec.name))
            .map_err(BlockError::parquet(table.name()))
    }
}

fn null_cells(kind: Kind, n_rows: usize) -> Cells<'static> {
    let values = match kind {
        Kind::Text | Kind::Bytes | Kind::Id16 | Kind::Id8 => Values::Coded {
            codes: Vec::new(),
            entries: Vec::new(),
        },
        Kind::Int32 | Kind::UInt32 => Values::Int32(Vec::new()),
        Kind::Int64 | Kind::UInt64 => Values::Int64(Vec::new()),
        Kind::Double => Values::Double(Vec::new()),
        Kind::Bool => Values::Bool(Vec::new()),
        Kind::TextList => Values::TextList {
            ends: Vec::new(),
            values: Vec::new(),
        },
        Kind::Int32List => Values::Int32List {
            ends: Vec::new(),
            values: Vec::new(),
        },
    };
    some(n_rows, Vec::new(), values)
}
