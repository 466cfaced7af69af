//! Blocks as cutting, merging and recovery use them: the seam of [`crate::codec`] over this format.
//!
//! Which attributes become columns is chosen before the first group: for a first block from what its
//! first group has, which is nearly always the whole generation; for a merge they are those of the
//! groups that are copied, and further ones by the counts that the inputs state. What this is not: it
//! adds nothing to the format.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tracewell_model::shared::SharedIds;
use tracewell_model::source::{
    KeyAnswer, KeyQuery, LeafBatch, LeafQuery, QueryContext, SourceResult, SourceSummary,
    SpanSource, TraceRow,
};
use tracewell_model::{TenantId, Trace, TraceId};

use super::cache::BlockCache;
use super::copy::{ColumnUnion, GroupCopy, GroupOutline};
use super::error::BlockError;
use super::keys::{KeyCounts, Promotion};
use super::read::BlockReader as Reader;
use super::schema::{PromotedKey, VERSION};
use super::source::BlockSource;
use super::upload::PART_BYTES;
use super::write::{BlockOptions, BlockWriter as Writer};
use crate::codec::{BlockFormat, BlockReader, BlockTarget, BlockWriter, GroupTrace, Rows, Written};
use crate::error::{StoreError, StoreResult};
use crate::manifest::{BlockEntry, BlockId};
use crate::partition::Bounds;
use crate::recent::hash_of;
use crate::shared::SharedTraces;
use crate::table::{DictionaryBuilder, SpanTable};

/// The block format of docs/format/block.md.
#[derive(Debug)]
pub struct ParquetFormat {
    pub cache: Arc<BlockCache>,
    /// Parts in which larger objects are sent: a writer holds as much of each table. The local disk
    /// takes smaller ones than an object store.
    pub part_bytes: usize,
}

struct OneBlock {
    target: BlockTarget,
    part_bytes: usize,
    /// Begun with the first group.
    writer: Option<Writer>,
    /// Columns of the groups that are copied.
    held: Vec<PromotedKey>,
    /// True if nothing is encoded.
    is_all_copied: bool,
    copied: KeyCounts,
}

/// A block that is open.
#[derive(Debug)]
struct OpenBlock {
    id: BlockId,
    source: BlockSource,
    /// Of a first block, which has no filters: the hashes of its trace ids, sorted. 8 bytes a trace.
    ids: Option<Vec<u64>>,
}

// === impl ParquetFormat ===

impl Default for ParquetFormat {
    fn default() -> Self {
        Self {
            cache: Arc::default(),
            part_bytes: PART_BYTES,
        }
    }
}

impl BlockFormat for ParquetFormat {
    fn version(&self) -> u16 {
        VERSION as u16
    }

    fn create(&self, target: BlockTarget) -> StoreResult<Box<dyn BlockWriter>> {
        Ok(Box::new(OneBlock {
            target,
            part_bytes: self.part_bytes,
            writer: None,
            held: Vec::new(),
            is_all_copied: false,
            copied: KeyCounts::default(),
        }))
    }

    fn open<'a>(
        &'a self,
        objects: &'a Arc<dyn ObjectStore>,
        folder: Path,
        entry: &'a BlockEntry,
    ) -> BoxFuture<'a, StoreResult<Arc<dyn BlockReader>>> {
        let opened = async move {
            check_files(objects, &folder, entry).await?;
            let failed = failed(entry.id);
            let root = parent(&folder);
            let cache = Arc::clone(&self.cache);
            let reader = Reader::open(Arc::clone(objects), &root, entry.id, cache);
            let reader = Arc::new(reader.await.map_err(&failed)?);
            if reader.meta().spans != entry.spans {
                return Err(StoreError::Block {
                    id: entry.id,
                    reason: format!(
                        "its meta says {} spans, the manifest {}",
                        reader.meta().spans,
                        entry.spans
                    ),
                });
            }
            let ids = if entry.level == 0 {
                Some(ids_of(&reader).await.map_err(&failed)?)
            } else {
                None
            };
            let source = BlockSource::new(reader).map_err(&failed)?;
            let id = entry.id;
            Ok(Arc::new(OpenBlock { id, source, ids }) as Arc<dyn BlockReader>)
        };
        opened.boxed()
    }
}

async fn check_files(
    objects: &Arc<dyn ObjectStore>,
    folder: &Path,
    entry: &BlockEntry,
) -> StoreResult<()> {
    for file in &entry.files {
        let path = folder.clone().join(file.name.as_str());
        let reason = match objects.head(&path).await {
            Ok(meta) if meta.size == file.bytes => continue,
            Ok(meta) => format!("{} has {} bytes of {}", file.name, meta.size, file.bytes),
            Err(error @ object_store::Error::NotFound { .. }) => error.to_string(),
            Err(error) => return Err(StoreError::object("look at", &path, error)),
        };
        let id = entry.id;
        return Err(StoreError::Block { id, reason });
    }
    Ok(())
}

async fn ids_of(reader: &Reader) -> Result<Vec<u64>, BlockError> {
    let mut ids = Vec::new();
    for group in 0..reader.n_groups() {
        let traces = reader.traces_of(group, &QueryContext::unlimited()).await?;
        ids.extend(traces.runs.iter().map(|run| hash_of(run.trace_id)));
    }
    ids.sort_unstable();
    ids.dedup();
    // They are kept as long as the block.
    ids.shrink_to_fit();
    Ok(ids)
}

fn failed(id: BlockId) -> impl Fn(BlockError) -> StoreError {
    move |error| match error {
        BlockError::Object {
            action,
            path,
            source,
        } if !matches!(source, object_store::Error::NotFound { .. }) => StoreError::Object {
            action,
            path,
            source,
        },
        BlockError::Input { block, source } => StoreError::Input {
            block,
            source: Box::new(failed(block)(*source)),
        },
        error => StoreError::Block {
            id,
            reason: error.to_string(),
        },
    }
}

/// The folder that holds the folder of a block.
fn parent(folder: &Path) -> Path {
    let mut parts: Vec<_> = folder.parts().collect();
    parts.pop();
    parts.into_iter().collect()
}

// === impl OneBlock ===

impl OneBlock {
    /// The columns of the block.
    fn promotion(&self, first: Option<Rows<'_>>) -> Promotion {
        let mut counts = KeyCounts::default();
        if let (Some(first), true) = (first, self.target.inputs.is_empty()) {
            counts = KeyCounts::sample(first.table, &first.dictionary.strings, first.order);
        }
        if !self.is_all_copied {
            for of_input in self.target.inputs.iter().filter_map(|i| i.key_counts()) {
                counts.add(&of_input);
            }
        }
        counts.choose_beside(&self.held)
    }

    /// The inputs, if all of them are of this format.
    fn inputs(&self) -> Vec<Arc<Reader>> {
        let inputs = self.target.inputs.iter();
        let inputs: Option<Vec<_>> = inputs.map(|input| input.tables().cloned()).collect();
        inputs.unwrap_or_default()
    }

    fn begin(&self, first: Option<Rows<'_>>) -> Result<Writer, BlockError> {
        let target = &self.target;
        let options = BlockOptions {
            id: target.id,
            level: target.level,
            tenant: target.tenant.clone(),
            promotion: self.promotion(first),
            inputs: self.inputs(),
            created_unix_nano: target.created_unix_nano,
            arrival_unix_nano: (target.arrival.0, target.arrival.1),
            part_bytes: self.part_bytes,
        };
        Writer::new(
            Arc::clone(&target.objects),
            &parent(&target.folder),
            options,
        )
    }
}

impl BlockWriter for OneBlock {
    fn group<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, StoreResult<()>> {
        let written = async move {
            let failed = failed(self.target.id);
            let mut writer = match self.writer.take() {
                Some(writer) => writer,
                None => self.begin(Some(rows)).map_err(&failed)?,
            };
            writer
                .append(rows.table, rows.dictionary, rows.order)
                .await
                .map_err(&failed)?;
            self.writer = Some(writer);
            Ok(())
        };
        written.boxed()
    }

    fn admit(&mut self, outlines: &[GroupOutline], is_all: bool) -> Vec<bool> {
        let mut union = ColumnUnion::default();
        let admitted: Vec<bool> = outlines.iter().map(|group| union.admit(group)).collect();
        self.is_all_copied = is_all && admitted.iter().all(|admitted| *admitted);
        self.held = union.keys;
        admitted
    }

    fn copy(&mut self, group: GroupCopy) -> BoxFuture<'_, StoreResult<()>> {
        let written = async move {
            let failed = failed(self.target.id);
            let mut writer = match self.writer.take() {
                Some(writer) => writer,
                None => self.begin(None).map_err(&failed)?,
            };
            writer.append_copy(group).await.map_err(&failed)?;
            self.writer = Some(writer);
            Ok(())
        };
        written.boxed()
    }

    fn count_copied(&mut self, counts: &KeyCounts) {
        self.copied.add(counts);
    }

    fn finish(self: Box<Self>, shared: SharedIds) -> BoxFuture<'static, StoreResult<Written>> {
        let finished = async move {
            let id = self.target.id;
            let Some(mut writer) = self.writer else {
                let reason = "has no spans".to_owned();
                return Err(StoreError::Block { id, reason });
            };
            writer.count(&self.copied);
            let written = writer.finish(&shared).await.map_err(failed(id))?;
            let meta = written.meta;
            Ok(Written {
                spans: meta.spans,
                traces: meta.traces,
                trace_start: Bounds(meta.trace_start_min, meta.trace_start_max),
                span_start: Bounds(meta.span_start_min, meta.span_start_max),
                files: written.files,
            })
        };
        finished.boxed()
    }
}

// === impl OpenBlock ===

impl BlockReader for OpenBlock {
    fn shared(&self) -> &Arc<SharedTraces> {
        self.source.shared()
    }

    fn may_contain_of_any(&self, id: TraceId) -> bool {
        match &self.ids {
            Some(ids) => ids.binary_search(&hash_of(id)).is_ok(),
            None => self.source.reader().may_contain(id),
        }
    }

    fn id_hashes(&self) -> Option<&[u64]> {
        self.ids.as_deref()
    }

    fn load_filters(&self) -> BoxFuture<'_, StoreResult<()>> {
        let loaded = async move {
            // The ids of a first block are at hand.
            if self.ids.is_some() {
                return Ok(());
            }
            let loaded = self.source.reader().load_filters().await;
            loaded.map_err(failed(self.id))
        };
        loaded.boxed()
    }

    fn damage(&self) -> Option<&str> {
        self.source.reader().damage()
    }

    fn filter_bytes(&self) -> u64 {
        self.source.reader().filter_bytes()
    }

    fn grow_old(&self) {
        self.source.reader().forget_filters();
    }

    fn n_groups(&self) -> usize {
        self.source.reader().n_groups()
    }

    fn tables(&self) -> Option<&Arc<Reader>> {
        Some(self.source.reader())
    }

    fn key_counts(&self) -> Option<KeyCounts> {
        Some(KeyCounts::of_meta(self.source.reader().meta()))
    }

    fn group_traces(&self, group: usize) -> BoxFuture<'_, StoreResult<Vec<GroupTrace>>> {
        let read = async move {
            let reader = self.source.reader();
            let ctx = QueryContext::unlimited();
            let traces = reader.traces_of(group, &ctx).await;
            let traces = traces.map_err(failed(self.id))?;
            let mut rows = Vec::with_capacity(traces.runs.len());
            for (name, range) in traces.by_tenant() {
                let tenant = TenantId::new(name).map_err(|error| StoreError::Block {
                    id: self.id,
                    reason: error.to_string(),
                })?;
                let runs = traces.runs.get(range).unwrap_or_default();
                rows.extend(runs.iter().map(|run| GroupTrace {
                    tenant: tenant.clone(),
                    trace_id: run.trace_id,
                    start_unix_nano: run.start_unix_nano,
                    first_row: run.from,
                    n_rows: run.to - run.from,
                }));
            }
            Ok(rows)
        };
        read.boxed()
    }

    fn outline(&self, group: usize) -> BoxFuture<'_, StoreResult<Option<GroupOutline>>> {
        let read = async move {
            // First blocks are not in their final encodings.
            if self.source.reader().meta().level == 0 {
                return Ok(None);
            }
            let outline = self.source.reader().outline(group).await;
            outline.map_err(failed(self.id))
        };
        read.boxed()
    }

    fn copy(&self, group: usize) -> BoxFuture<'_, StoreResult<GroupCopy>> {
        let read = async move {
            let copy = self.source.reader().copy_group(group).await;
            copy.map_err(failed(self.id))
        };
        read.boxed()
    }

    fn group<'a>(
        &'a self,
        group: usize,
        dictionary: &'a mut DictionaryBuilder,
    ) -> BoxFuture<'a, StoreResult<SpanTable>> {
        let read = async move {
            let ctx = QueryContext::unlimited();
            let reader = self.source.reader();
            let table = reader.read_group(group, None, dictionary, &ctx).await;
            table.map_err(failed(self.id))
        };
        read.boxed()
    }
}

impl SpanSource for OpenBlock {
    fn summary(&self) -> &SourceSummary {
        self.source.summary()
    }

    fn leaves(
        &self,
        query: LeafQuery,
        ctx: QueryContext,
    ) -> BoxStream<'_, SourceResult<LeafBatch>> {
        self.source.leaves(query, ctx)
    }

    fn traces<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<TraceRow>>> {
        self.source.traces(tenant, ids, ctx)
    }

    fn fetch<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<Trace>>> {
        self.source.fetch(tenant, ids, ctx)
    }

    fn keys<'a>(
        &'a self,
        query: &'a KeyQuery,
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<KeyAnswer>> {
        self.source.keys(query, ctx)
    }

    fn may_contain(&self, _: &TenantId, id: TraceId) -> bool {
        self.may_contain_of_any(id)
    }

    fn shared_ids(&self) -> Arc<SharedIds> {
        self.source.shared_ids()
    }
}
