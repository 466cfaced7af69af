//! Writing a block: groups one after the other, then resources and scopes, sums and the meta.
//!
//! Memory is bounded by one encoded group, one part of each table's upload, and 50 bytes for each
//! distinct resource and scope. Nothing is committed here: a block that no manifest names is swept.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use parquet::file::properties::{BloomFilterPosition, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, TypePtr};
use tracewell_model::shared::SharedIds;
use tracewell_model::{TenantId, TraceId};

use super::checksum::{
    Segments, encode_checksums, encode_shared, row_group_boundaries, tail_boundaries,
};
use super::chunk::Chunk;
use super::copy::GroupCopy;
use super::encode::{EncodedGroup, Encoder, group_id};
use super::entities::{Entity, EntityRows, encode_entities};
use super::error::{BlockError, BlockResult};
use super::keys::{KeyCounts, Promotion};
use super::meta::{BlockMeta, ColumnMeta, FileMeta, GroupMeta, RowGroups, SharedMeta, TableMeta};
use super::read::BlockReader;
use super::schema::{
    CHECKSUMS_FILE, ColumnSpec, FORMAT, META_FILE, Owner, PromotedKey, SHARED_FILE, Table, VERSION,
    parquet_schema,
};
use super::upload::Upload;
use crate::manifest::{BlockFile, BlockId};
use crate::table::{Dictionary, ResourceEntry, ScopeEntry, SpanTable};

/// What a block is, before its first group.
#[derive(Debug, Clone)]
pub struct BlockOptions {
    pub id: BlockId,
    /// 0, 1 or 2: the codec of strings, and Bloom filters from 1 on.
    pub level: u8,
    /// `None` where there are several.
    pub tenant: Option<TenantId>,
    pub promotion: Promotion,
    pub created_unix_nano: u64,
    /// First and last arrival of the requests that brought the spans.
    pub arrival_unix_nano: (u64, u64),
    /// Blocks that have all resources and scopes of this one. Where there are none, it holds its own.
    pub inputs: Vec<Arc<BlockReader>>,
    /// Each table is held in memory up to this, then a part of it is sent to the store.
    pub part_bytes: usize,
}

/// A block whose files are written.
#[derive(Debug, Clone)]
pub struct WrittenBlock {
    pub meta: BlockMeta,
    /// Every file, for the manifest.
    pub files: Vec<BlockFile>,
}

/// The schema of one table of one block.
#[derive(Debug)]
pub(super) struct TableSchema {
    pub(super) columns: Vec<ColumnSpec>,
    pub(super) root: TypePtr,
    pub(super) descriptor: SchemaDescPtr,
}

/// The schemas of the tables, by [`Table`].
#[derive(Debug)]
pub(super) struct Schemas(Vec<TableSchema>);

#[derive(Debug)]
pub struct BlockWriter {
    store: Arc<dyn ObjectStore>,
    folder: Path,
    options: BlockOptions,
    schemas: Schemas,
    tables: Vec<TableFile>,
    groups: Vec<GroupMeta>,
    resources: EntityRows<ResourceEntry>,
    scopes: EntityRows<ScopeEntry>,
    counts: KeyCounts,
    end_max: u64,
}

/// A table on its way to the store.
#[derive(Debug)]
struct TableFile {
    table: Table,
    writer: SerializedFileWriter<Vec<u8>>,
    upload: Upload,
    segments: Segments,
    n_row_groups: u32,
    n_rows: u64,
}

// === impl Schemas ===

impl Schemas {
    pub(super) fn new(promotion: &Promotion) -> BlockResult<Self> {
        let owner_of = |table| Owner::ALL.into_iter().find(|owner| owner.table() == table);
        let schemas = Table::ALL.into_iter().map(|table| {
            let mut columns = table.columns();
            if let Some(owner) = owner_of(table) {
                columns.extend(promotion.of(owner).filter_map(PromotedKey::column));
            }
            TableSchema::new(table, columns)
        });
        schemas.collect::<BlockResult<_>>().map(Self)
    }

    pub(super) fn of(&self, table: Table) -> &TableSchema {
        self.0.get(table as usize).expect("a schema per table")
    }

    /// Replaces the schema of a table whose columns are known only at the end.
    fn set(&mut self, table: Table, columns: Vec<ColumnSpec>) -> BlockResult<()> {
        let schema = TableSchema::new(table, columns)?;
        if let Some(place) = self.0.get_mut(table as usize) {
            *place = schema;
        }
        Ok(())
    }
}

impl TableSchema {
    fn new(table: Table, columns: Vec<ColumnSpec>) -> BlockResult<Self> {
        let root = parquet_schema(&columns).map_err(BlockError::parquet(table.name()))?;
        let root = Arc::new(root);
        Ok(Self {
            columns,
            descriptor: Arc::new(SchemaDescriptor::new(Arc::clone(&root))),
            root,
        })
    }
}

// === impl BlockWriter ===

impl BlockWriter {
    /// `root` holds the folders of blocks.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        root: &Path,
        options: BlockOptions,
    ) -> BlockResult<Self> {
        let folder = root.clone().join(options.id.to_string());
        let schemas = Schemas::new(&options.promotion)?;
        let tables = Table::GROUPED
            .into_iter()
            .map(|table| {
                TableFile::new(
                    &store,
                    &folder,
                    table,
                    schemas.of(table),
                    options.part_bytes,
                )
            })
            .collect::<BlockResult<_>>()?;
        let resources = EntityRows::new(&options.inputs);
        let scopes = EntityRows::new(&options.inputs);
        Ok(Self {
            store,
            folder,
            options,
            schemas,
            tables,
            groups: Vec::new(),
            resources,
            scopes,
            counts: KeyCounts::default(),
            end_max: 0,
        })
    }

    /// Encodes and writes one group. Encoding takes some 100 ms of the processor and does not yield.
    ///
    /// # Hidden contract
    /// `rows` are sorted by tenant, trace id, start and span id and hold whole traces of the block;
    /// the last start of a trace is not before that of the groups so far.
    pub async fn append(
        &mut self,
        table: &SpanTable,
        dictionary: &Dictionary,
        rows: &[u32],
    ) -> BlockResult<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let id = group_id(self.options.id.0, self.groups.len());
        let encoder = Encoder {
            schemas: &self.schemas,
            promotion: &self.options.promotion,
            level: self.options.level,
        };
        let group = encoder.encode(id, table, dictionary, rows)?;
        self.remember(&group, dictionary);
        self.write_group(group).await
    }

    /// Writes one group as it lies in another block. Its keys are counted by [`Self::count`].
    ///
    /// # Hidden contract
    /// As for [`Self::append`]; every promoted column of the group is one of the block's.
    pub async fn append_copy(&mut self, copy: GroupCopy) -> BlockResult<()> {
        for entry in &copy.resources {
            self.resources.insert(entry);
        }
        for entry in &copy.scopes {
            self.scopes.insert(entry);
        }
        self.end_max = self.end_max.max(copy.end_max);
        let mut meta = GroupMeta {
            row_groups: RowGroups::default(),
            lacking: Vec::new(),
            ..copy.meta
        };
        let encoder = Encoder {
            schemas: &self.schemas,
            promotion: &self.options.promotion,
            level: self.options.level,
        };
        for of_table in copy.tables {
            let (table, n_rows) = (of_table.table, of_table.n_rows);
            let chunks = of_table.chunks(&encoder, &mut meta.lacking)?;
            if let Some(file) = self.tables.iter_mut().find(|file| file.table == table) {
                meta.set_row_group(table, file.append(n_rows, chunks).await?);
            }
        }
        self.groups.push(meta);
        Ok(())
    }

    /// Adds the counts of keys of groups that were copied.
    pub fn count(&mut self, copied: &KeyCounts) {
        self.counts.add(copied);
    }

    fn remember(&mut self, group: &EncodedGroup, dictionary: &Dictionary) {
        for entry in group
            .resources
            .iter()
            .filter_map(|at| dictionary.resources.get(*at as usize))
        {
            self.resources.insert(entry);
        }
        for entry in group
            .scopes
            .iter()
            .filter_map(|at| dictionary.scopes.get(*at as usize))
        {
            self.scopes.insert(entry);
        }
        self.counts.add(&group.counts);
        for (key, sums) in self.options.promotion.keys.iter().zip(&group.sums) {
            if let Some(count) = self.counts.keys.get_mut(key) {
                count.distinct = count.distinct.max(sums.distinct);
                count.bytes += sums.bytes;
            }
        }
        self.end_max = self.end_max.max(group.end_max);
    }

    async fn write_group(&mut self, group: EncodedGroup) -> BlockResult<()> {
        let mut meta = GroupMeta {
            id: format!("{:032x}", u128::from_be_bytes(group.id)),
            spans: group.n_spans,
            traces: group.n_traces,
            span_start_min: group.span_start.0,
            span_start_max: group.span_start.1,
            trace_start_min: group.trace_start.0,
            trace_start_max: group.trace_start.1,
            row_groups: RowGroups::default(),
            lacking: Vec::new(),
            tenants: group.tenants,
        };
        for ((table, n_rows, chunks), file) in group.tables.into_iter().zip(&mut self.tables) {
            debug_assert_eq!(table, file.table);
            if n_rows > 0 {
                meta.set_row_group(table, file.append(n_rows, chunks).await?);
            }
        }
        self.groups.push(meta);
        Ok(())
    }

    /// Writes what is left. `shared` are the traces that older blocks hold spans of.
    pub async fn finish(mut self, shared: &SharedIds) -> BlockResult<WrittenBlock> {
        let resources = std::mem::replace(&mut self.resources, EntityRows::new(&[]));
        self.entities(&resources).await?;
        let scopes = std::mem::replace(&mut self.scopes, EntityRows::new(&[]));
        self.entities(&scopes).await?;
        let mut tables = Vec::new();
        let mut sums = Vec::new();
        for file in std::mem::take(&mut self.tables) {
            let (meta, segments) = file.finish().await?;
            sums.push((meta.file.clone(), segments));
            tables.push(meta);
        }
        let checksums = encode_checksums(&sums);
        let ids = shared.sorted();
        let shared_file = encode_shared(ids.as_deref());
        let meta = self.meta(
            tables,
            file_meta(&checksums),
            SharedMeta {
                bytes: shared_file.len() as u64,
                crc32c: file_meta(&shared_file).crc32c,
                count: ids.map(|ids| ids.len() as u64),
                split: shared.split().iter().map(TraceId::to_string).collect(),
            },
        );
        let meta_file = meta.encode()?;
        let mut files: Vec<BlockFile> = meta
            .tables
            .iter()
            .map(|table| BlockFile {
                name: table.file.clone(),
                bytes: table.bytes,
            })
            .collect();
        // The meta is the last to be written: a folder without it was never finished.
        for (name, bytes) in [
            (CHECKSUMS_FILE, checksums),
            (SHARED_FILE, shared_file),
            (META_FILE, meta_file),
        ] {
            let path = self.folder.clone().join(name);
            let part_bytes = self.options.part_bytes;
            let mut upload = Upload::new(Arc::clone(&self.store), path, part_bytes);
            upload.write(&bytes).await?;
            upload.finish().await?;
            files.push(BlockFile {
                name: name.to_owned(),
                bytes: bytes.len() as u64,
            });
        }
        Ok(WrittenBlock { meta, files })
    }

    /// Gives up: what was uploaded in parts is let go, the rest is swept.
    pub async fn abort(self) {
        for file in self.tables {
            file.upload.abort().await;
        }
    }

    /// Writes the table of the resources or the scopes.
    async fn entities<T: Entity>(&mut self, rows: &EntityRows<T>) -> BlockResult<()> {
        self.schemas.set(T::TABLE, rows.columns())?;
        let encoder = Encoder {
            schemas: &self.schemas,
            promotion: &self.options.promotion,
            level: self.options.level,
        };
        let mut file = TableFile::new(
            &self.store,
            &self.folder,
            T::TABLE,
            self.schemas.of(T::TABLE),
            self.options.part_bytes,
        )?;
        let mut sorted = rows.sorted(&self.options.inputs).await?;
        loop {
            let entries = sorted.next().await?;
            if entries.is_empty() {
                break;
            }
            let chunks = encode_entities(&entries, &encoder)?;
            file.append(entries.len(), chunks).await?;
        }
        self.tables.push(file);
        Ok(())
    }

    fn meta(&self, tables: Vec<TableMeta>, checksums: FileMeta, shared: SharedMeta) -> BlockMeta {
        let min =
            |value: &dyn Fn(&GroupMeta) -> u64| self.groups.iter().map(value).min().unwrap_or(0);
        let max =
            |value: &dyn Fn(&GroupMeta) -> u64| self.groups.iter().map(value).max().unwrap_or(0);
        let (keys, keys_truncated) = self.counts.listed();
        let column = |key: &PromotedKey| {
            Some(ColumnMeta {
                level: key.owner.name().to_owned(),
                key: key.key.to_string(),
                value_type: key.value_type.name().to_owned(),
                column: key.column()?.name.to_string(),
            })
        };
        BlockMeta {
            format: FORMAT.to_owned(),
            version: VERSION,
            version_needed: VERSION,
            id: self.options.id.to_string(),
            level: self.options.level,
            writer: concat!("tracewell ", env!("CARGO_PKG_VERSION")).to_owned(),
            created_unix_nano: self.options.created_unix_nano,
            tenant: self.options.tenant.as_ref().map(ToString::to_string),
            spans: self.groups.iter().map(|group| group.spans).sum(),
            traces: self.groups.iter().map(|group| group.traces).sum(),
            span_start_min: min(&|group| group.span_start_min),
            span_start_max: max(&|group| group.span_start_max),
            trace_start_min: min(&|group| group.trace_start_min),
            trace_start_max: max(&|group| group.trace_start_max),
            end_max: self.end_max,
            arrival_min: self.options.arrival_unix_nano.0,
            arrival_max: self.options.arrival_unix_nano.1,
            tables,
            checksums,
            shared,
            groups: self.groups.clone(),
            columns: self
                .options
                .promotion
                .keys
                .iter()
                .filter_map(column)
                .collect(),
            keys,
            keys_truncated,
        }
    }
}

fn file_meta(bytes: &[u8]) -> FileMeta {
    FileMeta {
        bytes: bytes.len() as u64,
        crc32c: format!("{:08x}", crc32c::crc32c(bytes)),
    }
}

// === impl TableFile ===

impl TableFile {
    fn new(
        store: &Arc<dyn ObjectStore>,
        folder: &Path,
        table: Table,
        schema: &TableSchema,
        part_bytes: usize,
    ) -> BlockResult<Self> {
        let properties = WriterProperties::builder()
            .set_created_by(concat!("tracewell ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_bloom_filter_position(BloomFilterPosition::AfterRowGroup)
            .build();
        let writer =
            SerializedFileWriter::new(Vec::new(), Arc::clone(&schema.root), properties.into())
                .map_err(BlockError::parquet(table.name()))?;
        Ok(Self {
            table,
            writer,
            upload: Upload::new(
                Arc::clone(store),
                folder.clone().join(table.file()),
                part_bytes,
            ),
            segments: Segments::default(),
            n_row_groups: 0,
            n_rows: 0,
        })
    }

    /// Appends a row group; returns its number.
    async fn append(&mut self, n_rows: usize, chunks: Vec<Chunk>) -> BlockResult<u32> {
        let failed = || BlockError::parquet(self.table.name());
        let mut boundaries = vec![4];
        let mut group = self.writer.next_row_group().map_err(failed())?;
        let mut pages = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let metadata = &chunk.close.metadata;
            let (start, _) = metadata.byte_range();
            let locations = chunk
                .close
                .offset_index
                .iter()
                .flat_map(|index| &index.page_locations);
            pages.push(
                locations
                    .map(|page| page.offset - start as i64)
                    .collect::<Vec<i64>>(),
            );
            group
                .append_column(&chunk.bytes, chunk.close)
                .map_err(failed())?;
        }
        group.close().map_err(failed())?;
        if let Some(group) = self.writer.flushed_row_groups().last() {
            row_group_boundaries(group, &pages, &mut boundaries);
        }
        self.drain(&mut boundaries).await?;
        self.n_rows += n_rows as u64;
        self.n_row_groups += 1;
        Ok(self.n_row_groups - 1)
    }

    async fn drain(&mut self, boundaries: &mut Vec<u64>) -> BlockResult<()> {
        let io =
            |error: std::io::Error| BlockError::malformed(self.table.name(), error.to_string());
        self.writer.flush().map_err(io)?;
        let bytes = std::mem::take(self.writer.inner_mut());
        self.segments.extend(&bytes, boundaries);
        self.upload.write(&bytes).await
    }

    async fn finish(mut self) -> BlockResult<(TableMeta, Segments)> {
        let metadata = self
            .writer
            .finish()
            .map_err(BlockError::parquet(self.table.name()))?;
        let mut boundaries = vec![4];
        let indexes = tail_boundaries(&metadata, &mut boundaries);
        let row_groups_end = self.segments.file_bytes();
        self.drain(&mut boundaries).await?;
        let bytes = self.segments.file_bytes();
        self.upload.finish().await?;
        let meta = TableMeta {
            name: self.table.name().to_owned(),
            file: self.table.file(),
            bytes,
            footer_bytes: bytes - indexes.unwrap_or(row_groups_end.max(4)),
            rows: self.n_rows,
        };
        Ok((meta, self.segments))
    }
}
