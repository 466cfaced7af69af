//! How blocks are written and read, as much of it as cutting, merging and recovery need.
//!
//! The one real implementation is [`crate::block`]; tests of the whole store also run over a plain
//! one, because a power cut at every sync of thousands of runs asks for blocks that cost nothing. What
//! this is not: a place for a second format in a product.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;
use tracewell_model::shared::SharedIds;
use tracewell_model::source::SpanSource;
use tracewell_model::{TenantId, TraceId};

use crate::block::{GroupCopy, GroupOutline, KeyCounts};
use crate::error::{StoreError, StoreResult};
use crate::manifest::{BlockEntry, BlockFile, BlockId};
use crate::partition::Bounds;
use crate::shared::SharedTraces;
use crate::table::{Dictionary, DictionaryBuilder, SpanTable};

/// Writes and opens blocks.
pub trait BlockFormat: Send + Sync + std::fmt::Debug {
    /// The version that it writes, and the newest that it merges.
    fn version(&self) -> u16;

    fn create(&self, target: BlockTarget) -> StoreResult<Box<dyn BlockWriter>>;

    /// Opens a block that a manifest lists; an error names what is missing or damaged. What only new
    /// spans ask for is not read: see [`BlockReader::load_filters`].
    fn open<'a>(
        &'a self,
        objects: &'a Arc<dyn ObjectStore>,
        folder: Path,
        entry: &'a BlockEntry,
    ) -> BoxFuture<'a, StoreResult<Arc<dyn BlockReader>>>;
}

/// A block to be.
#[derive(Debug)]
pub struct BlockTarget {
    pub id: BlockId,
    pub objects: Arc<dyn ObjectStore>,
    pub folder: Path,
    pub level: u8,
    /// `None` where spans of several tenants come.
    pub tenant: Option<TenantId>,
    pub arrival: Bounds,
    pub created_unix_nano: u64,
    /// What the block is merged from; empty at level 0.
    pub inputs: Vec<Arc<dyn BlockReader>>,
}

/// Rows of a table in the order in which they are written: by tenant, trace id, start and span id.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    pub table: &'a SpanTable,
    pub dictionary: &'a Dictionary,
    pub order: &'a [u32],
}

/// Writes one block, group by group, the oldest first.
pub trait BlockWriter: Send {
    /// Whole traces only; a trace that comes in two groups must be named as split.
    fn group<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, StoreResult<()>>;

    /// Which of some groups of the inputs the block can take as they are. Asked before the first
    /// group; `is_all` says that nothing else is to come.
    fn admit(&mut self, outlines: &[GroupOutline], is_all: bool) -> Vec<bool> {
        let _ = is_all;
        vec![false; outlines.len()]
    }

    /// Takes a group that was admitted.
    fn copy(&mut self, _: GroupCopy) -> BoxFuture<'_, StoreResult<()>> {
        let reason = "groups of this format cannot be copied".to_owned();
        std::future::ready(Err(StoreError::Log { reason })).boxed()
    }

    /// Adds the keys of groups that were copied to those of the block.
    fn count_copied(&mut self, _: &KeyCounts) {}

    /// Returns when every object is synced.
    fn finish(self: Box<Self>, shared: SharedIds) -> BoxFuture<'static, StoreResult<Written>>;
}

/// What lies in a block that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub spans: u64,
    pub traces: u64,
    pub trace_start: Bounds,
    pub span_start: Bounds,
    pub files: Vec<BlockFile>,
}

/// An open block, for queries and for merging.
pub trait BlockReader: SpanSource {
    /// Begins with the stored ids.
    fn shared(&self) -> &Arc<SharedTraces>;

    /// False only if no tenant's trace of this id lies in the block.
    fn may_contain_of_any(&self, id: TraceId) -> bool;

    /// Reads what says which traces the block holds, and keeps it. Until then a merged block says that
    /// it may hold any.
    fn load_filters(&self) -> BoxFuture<'_, StoreResult<()>> {
        std::future::ready(Ok(())).boxed()
    }

    /// What is kept of it in memory.
    fn filter_bytes(&self) -> u64 {
        0
    }

    /// Gives that back: the block is so old that no span that arrives is taken for one of its traces.
    fn grow_old(&self) {}

    /// The first damage that a query met in it.
    fn damage(&self) -> Option<&str> {
        None
    }

    /// The [hashes](crate::recent::hash_of) of the ids of its traces, where they are at hand: of first
    /// blocks.
    fn id_hashes(&self) -> Option<&[u64]> {
        None
    }

    /// What is known of its attributes, for the columns of what it is merged into.
    fn key_counts(&self) -> Option<KeyCounts> {
        None
    }

    fn n_groups(&self) -> usize;

    /// Its tables, which a block that is merged from it reads again; `None` for a format without them.
    fn tables(&self) -> Option<&Arc<crate::block::BlockReader>> {
        None
    }

    /// The traces of one group in the order of its rows.
    fn group_traces(&self, group: usize) -> BoxFuture<'_, StoreResult<Vec<GroupTrace>>>;

    /// What must be known of a group to copy it; `None` if it must be decoded and encoded again.
    fn outline(&self, _: usize) -> BoxFuture<'_, StoreResult<Option<GroupOutline>>> {
        std::future::ready(Ok(None)).boxed()
    }

    /// A group as it lies in the block: one that has an outline.
    fn copy(&self, _: usize) -> BoxFuture<'_, StoreResult<GroupCopy>> {
        let reason = "groups of this format cannot be copied".to_owned();
        std::future::ready(Err(StoreError::Log { reason })).boxed()
    }

    /// All rows of one group, in order, what they name added to the dictionary.
    fn group<'a>(
        &'a self,
        group: usize,
        dictionary: &'a mut DictionaryBuilder,
    ) -> BoxFuture<'a, StoreResult<SpanTable>>;
}

/// One run of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupTrace {
    pub tenant: TenantId,
    pub trace_id: TraceId,
    pub start_unix_nano: u64,
    pub first_row: u32,
    pub n_rows: u32,
}
