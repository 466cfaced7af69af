//! The resources and scopes of a block: tables of one row per distinct content.
//!
//! While a block is written it is remembered which there are and which keys they have. At the end they
//! become row groups of [`ROW_GROUP_ENTRIES`] in the order of their hashes; those of a merge are read from
//! its inputs again for that, which have them in the same order. Few are read whole and kept for all
//! groups of a block; of many, those are read that one group names. What this is not: the columns of
//! these tables, see [`super::side`].

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use foldhash::fast::{FixedState, RandomState};
use hashbrown::{HashMap, HashSet};
use tracewell_model::budget::HeldMemory;
use tracewell_model::source::QueryContext;
use tracewell_model::span::attribute_bytes;
use tracewell_model::value::AttributeType;
use tracewell_model::{ContentHash, KeyValue, Resource, Scope};
use tracewell_wire::otlp::{canonical_resource, canonical_scope, decode_resource, decode_scope};

use super::arrays::named;
use super::cache::Part;
use super::chunk::{Cells, Chunk};
use super::encode::Encoder;
use super::error::{BlockError, BlockResult};
use super::file::selection;
use super::read::{BlockReader, id16};
use super::rows::consecutive;
use super::schema::{ColumnSpec, RESOURCE_COLUMNS_MAX, Table, promoted_column};
use super::side::{firsts, resource_cells, scope_cells};
use crate::table::{ResourceEntry, ScopeEntry};

/// Entries of a row group. A block that has no more of a kind than this has them read at once.
pub(super) const ROW_GROUP_ENTRIES: usize = 4_096;

/// What an entry takes beside its bytes: an estimate.
const ENTRY_BYTES: u64 = 256;

/// Keys counted while a block is written. Beyond, the rarest half is forgotten.
const KEYS_COUNTED_MAX: usize = 16 * RESOURCE_COLUMNS_MAX;

/// A resource or a scope, with the hash of its canonical bytes.
pub(super) trait Entity: Sized + Send + Sync + 'static {
    const TABLE: Table;
    /// The column of the hash, in its own table and in the spans.
    const HASH: &'static str;

    fn hash(&self) -> ContentHash;

    fn canonical(&self) -> Vec<u8>;

    fn attributes(&self) -> &[KeyValue];

    fn decode(hash: ContentHash, canonical: &[u8]) -> Result<Self, String>;

    /// The cells of some entries, column by column.
    fn cells<'a>(
        entries: &'a [Arc<Self>],
        canonical: &'a [Vec<u8>],
        columns: &[ColumnSpec],
    ) -> Vec<Cells<'a>>;
}

/// The entries of a block while it is written.
#[derive(Debug)]
pub(super) struct EntityRows<T> {
    /// True if every entry can be read from an input again.
    has_inputs: bool,
    /// Each with itself where that is not so.
    found: HashMap<ContentHash, Option<Arc<T>>, FixedState>,
    /// How many entries have a key as a first occurrence.
    keys: HashMap<(Box<str>, AttributeType), u64, RandomState>,
}

/// The entries of a block on their way into its table.
pub(super) struct SortedEntities<'a, T> {
    rows: &'a EntityRows<T>,
    hashes: Vec<ContentHash>,
    n_given: usize,
    cursors: Vec<Cursor<'a>>,
}

/// Where the entries of an input are read, in the order of their hashes.
struct Cursor<'a> {
    block: &'a BlockReader,
    row_group: usize,
    n_row_groups: usize,
}

/// Entries that were read: all of a block, or all that a group names.
#[derive(Debug)]
pub(super) struct Entities<T> {
    pub(super) entries: Vec<Arc<T>>,
    /// Of the memory of queries, where no cache holds them.
    _held: HeldMemory,
}

impl Entity for ResourceEntry {
    const TABLE: Table = Table::Resources;
    const HASH: &'static str = "resource";

    fn hash(&self) -> ContentHash {
        self.hash
    }

    fn canonical(&self) -> Vec<u8> {
        canonical_resource(&self.resource)
    }

    fn attributes(&self) -> &[KeyValue] {
        &self.resource.attributes
    }

    fn decode(hash: ContentHash, canonical: &[u8]) -> Result<Self, String> {
        let resource: Resource = decode_resource(canonical).map_err(|error| error.to_string())?;
        let resource = Arc::new(resource);
        Ok(Self { hash, resource })
    }

    fn cells<'a>(
        entries: &'a [Arc<Self>],
        canonical: &'a [Vec<u8>],
        columns: &[ColumnSpec],
    ) -> Vec<Cells<'a>> {
        resource_cells(entries, canonical, columns)
    }
}

impl Entity for ScopeEntry {
    const TABLE: Table = Table::Scopes;
    const HASH: &'static str = "scope";

    fn hash(&self) -> ContentHash {
        self.hash
    }

    fn canonical(&self) -> Vec<u8> {
        canonical_scope(&self.scope)
    }

    fn attributes(&self) -> &[KeyValue] {
        &self.scope.attributes
    }

    fn decode(hash: ContentHash, canonical: &[u8]) -> Result<Self, String> {
        let scope: Scope = decode_scope(canonical).map_err(|error| error.to_string())?;
        let scope = Arc::new(scope);
        Ok(Self { hash, scope })
    }

    fn cells<'a>(
        entries: &'a [Arc<Self>],
        canonical: &'a [Vec<u8>],
        columns: &[ColumnSpec],
    ) -> Vec<Cells<'a>> {
        scope_cells(entries, canonical, columns)
    }
}

// === impl EntityRows ===

impl<T: Entity> EntityRows<T> {
    pub(super) fn new(inputs: &[Arc<BlockReader>]) -> Self {
        Self {
            has_inputs: !inputs.is_empty(),
            found: HashMap::default(),
            keys: HashMap::default(),
        }
    }

    pub(super) fn insert(&mut self, entry: &Arc<T>) {
        if self.found.contains_key(&entry.hash()) {
            return;
        }
        let kept = (!self.has_inputs).then(|| Arc::clone(entry));
        self.found.insert(entry.hash(), kept);
        for attribute in firsts(entry.attributes()) {
            let name = (
                attribute.key.as_str().into(),
                attribute.value.attribute_type(),
            );
            *self.keys.entry(name).or_default() += 1;
        }
        if self.keys.len() > KEYS_COUNTED_MAX {
            let mut counts: Vec<u64> = self.keys.values().copied().collect();
            let (_, median, _) = counts.select_nth_unstable(KEYS_COUNTED_MAX / 2);
            let median = *median;
            self.keys.retain(|_, count| *count > median);
        }
    }

    /// The columns of the table: with those of the most frequent first occurrences.
    pub(super) fn columns(&self) -> Vec<ColumnSpec> {
        let mut counts: Vec<_> = self.keys.iter().collect();
        counts.sort_unstable_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let mut names = HashSet::<String>::new();
        let mut promoted: Vec<ColumnSpec> = counts
            .into_iter()
            .filter_map(|((key, value_type), _)| promoted_column(T::HASH, key, *value_type))
            .filter(|column| names.insert(column.name.to_lowercase()))
            .take(RESOURCE_COLUMNS_MAX)
            .collect();
        promoted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut columns = T::TABLE.columns();
        columns.extend(promoted);
        columns
    }

    /// The entries by hash, a row group at a time.
    pub(super) async fn sorted<'a>(
        &'a self,
        inputs: &'a [Arc<BlockReader>],
    ) -> BlockResult<SortedEntities<'a, T>> {
        let mut cursors = Vec::new();
        for block in inputs {
            let mut cursor = Cursor {
                block,
                row_group: 0,
                n_row_groups: 0,
            };
            let n_row_groups = block.n_entity_groups::<T>(&QueryContext::unlimited()).await;
            cursor.n_row_groups = cursor.of_input(n_row_groups)?;
            cursors.push(cursor);
        }
        let mut hashes: Vec<ContentHash> = self.found.keys().copied().collect();
        hashes.sort_unstable();
        Ok(SortedEntities {
            rows: self,
            hashes,
            n_given: 0,
            cursors,
        })
    }
}

/// A row group of some entries, in their order.
pub(super) fn encode_entities<T: Entity>(
    entries: &[Arc<T>],
    encoder: &Encoder<'_>,
) -> BlockResult<Vec<Chunk>> {
    let canonical: Vec<Vec<u8>> = entries.iter().map(|entry| entry.canonical()).collect();
    let columns = &encoder.schemas.of(T::TABLE).columns;
    encoder.chunks(T::TABLE, T::cells(entries, &canonical, columns))
}

// === impl SortedEntities ===

impl<T: Entity> SortedEntities<'_, T> {
    /// The next entries, empty at the end.
    pub(super) async fn next(&mut self) -> BlockResult<Vec<Arc<T>>> {
        let hashes = self.hashes.get(self.n_given..).unwrap_or_default();
        let hashes = hashes.get(..ROW_GROUP_ENTRIES).unwrap_or(hashes);
        self.n_given += hashes.len();
        let mut known = HashMap::<ContentHash, Arc<T>, FixedState>::default();
        let mut wanted = HashSet::default();
        for hash in hashes {
            match self.rows.found.get(hash).and_then(Option::as_ref) {
                Some(entry) => drop(known.insert(*hash, Arc::clone(entry))),
                None => drop(wanted.insert(*hash)),
            }
        }
        for cursor in &mut self.cursors {
            let read = cursor.read::<T>(hashes, &wanted).await;
            for entry in cursor.of_input(read)? {
                wanted.remove(&entry.hash());
                known.insert(entry.hash(), entry);
            }
        }
        let unlisted = || BlockError::malformed(T::HASH, "is named and not listed");
        let entries = hashes
            .iter()
            .map(|hash| known.remove(hash).ok_or_else(unlisted));
        entries.collect()
    }
}

// === impl Cursor ===

impl Cursor<'_> {
    /// Says of an error which block it is about.
    fn of_input<R>(&self, result: BlockResult<R>) -> BlockResult<R> {
        let block = self.block.meta().block_id()?;
        result.map_err(|source| BlockError::Input {
            block,
            source: Box::new(source),
        })
    }

    /// The wanted entries of an input, between the first and the last of some hashes. The next range
    /// lies behind.
    async fn read<T: Entity>(
        &mut self,
        range: &[ContentHash],
        wanted: &HashSet<ContentHash, FixedState>,
    ) -> BlockResult<Vec<Arc<T>>> {
        let ctx = QueryContext::unlimited();
        let mut found = Vec::new();
        while self.row_group < self.n_row_groups && !wanted.is_empty() {
            let named = self.block.entities_named(self.row_group, wanted, &ctx);
            let (entries, last) = named.await?;
            found.extend(entries);
            // What lies beyond the range comes with the next.
            if last.is_some_and(|last| range.last().is_some_and(|end| last > *end)) {
                break;
            }
            self.row_group += 1;
        }
        Ok(found)
    }
}

fn decode<T: Entity>(hash: ContentHash, canonical: &[u8]) -> BlockResult<Arc<T>> {
    let entry = T::decode(hash, canonical);
    let entry = entry.map_err(|reason| BlockError::malformed(T::TABLE.name(), reason))?;
    Ok(Arc::new(entry))
}

// === impl Entities ===

impl<T: Entity> Entities<T> {
    fn n_bytes(entries: &[Arc<T>]) -> u64 {
        let bytes = entries
            .iter()
            .map(|entry| attribute_bytes(entry.attributes()) as u64);
        bytes.sum::<u64>() + entries.len() as u64 * ENTRY_BYTES
    }
}

// === impl BlockReader ===

impl BlockReader {
    /// The resources or scopes that a group names, and perhaps others of the block.
    pub(super) async fn entities<T: Entity>(
        &self,
        group: usize,
        ctx: &QueryContext,
    ) -> BlockResult<Arc<Entities<T>>> {
        let table = self.table(T::TABLE);
        let n_row_groups = self.n_entity_groups::<T>(ctx).await?;
        let mut entries = Vec::new();
        if table.meta.rows <= ROW_GROUP_ENTRIES as u64 {
            let kept = table.kept_or(Part::Entries, 0, async {
                for row_group in 0..n_row_groups {
                    entries.extend(self.entity_group(row_group, ctx).await?);
                }
                let bytes = Entities::n_bytes(&entries);
                let _held = HeldMemory::default();
                Ok((Entities { entries, _held }, bytes))
            });
            return kept.await;
        }
        let names = [T::HASH];
        let Some(batch) = self.columns(group, Table::Spans, &names, None, ctx).await? else {
            return Ok(Arc::default());
        };
        let hashes = named(&batch, T::HASH)?.as_fixed_size_binary();
        let wanted = hashes.iter().flatten().map(|hash| ContentHash(id16(hash)));
        let wanted = wanted.collect();
        for row_group in 0..n_row_groups {
            let (named, _) = self.entities_named(row_group, &wanted, ctx).await?;
            entries.extend(named);
        }
        let _held = ctx.hold_while(Entities::n_bytes(&entries));
        Ok(Arc::new(Entities { entries, _held }))
    }

    pub(super) async fn n_entity_groups<T: Entity>(
        &self,
        ctx: &QueryContext,
    ) -> BlockResult<usize> {
        match self.table(T::TABLE).meta.rows {
            0 => Ok(0),
            _ => Ok(self.table(T::TABLE).metadata(ctx).await?.num_row_groups()),
        }
    }

    /// The entries of one row group of their table.
    pub(super) async fn entity_group<T: Entity>(
        &self,
        row_group: usize,
        ctx: &QueryContext,
    ) -> BlockResult<Vec<Arc<T>>> {
        let names = [T::HASH, "canonical"];
        let batch = self.table(T::TABLE).columns(row_group, &names, None, ctx);
        canonical_rows(&batch.await?)
    }

    /// Those of some hashes, and the last hash that lies in the row group.
    async fn entities_named<T: Entity>(
        &self,
        row_group: usize,
        wanted: &HashSet<ContentHash, FixedState>,
        ctx: &QueryContext,
    ) -> BlockResult<(Vec<Arc<T>>, Option<ContentHash>)> {
        let table = self.table(T::TABLE);
        let batch = table.columns(row_group, &[T::HASH], None, ctx).await?;
        let hashes = named(&batch, T::HASH)?.as_fixed_size_binary();
        let hash = |row: usize| ContentHash(id16(hashes.value(row)));
        let last = hashes.len().checked_sub(1).map(hash);
        let rows = (0..hashes.len()).filter(|row| wanted.contains(&hash(*row)));
        let rows: Vec<usize> = rows.collect();
        if rows.is_empty() {
            return Ok((Vec::new(), last));
        }
        let select = Some(selection(&consecutive(&rows), hashes.len()));
        let names = [T::HASH, "canonical"];
        let batch = table.columns(row_group, &names, select, ctx).await?;
        Ok((canonical_rows(&batch)?, last))
    }
}

/// The entry of each row, checked against its hash.
fn canonical_rows<T: Entity>(batch: &RecordBatch) -> BlockResult<Vec<Arc<T>>> {
    let hashes = named(batch, T::HASH)?.as_fixed_size_binary();
    let canonical = named(batch, "canonical")?.as_binary::<i32>();
    debug_assert_eq!(canonical.null_count(), 0);
    let rows = (0..batch.num_rows()).map(|row| {
        let (hash, bytes) = (ContentHash(id16(hashes.value(row))), canonical.value(row));
        if ContentHash::of(bytes) != hash {
            let reason = "hash is not that of the content";
            return Err(BlockError::malformed(T::TABLE.name(), reason));
        }
        decode(hash, bytes)
    });
    rows.collect()
}

impl<T> Default for Entities<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            _held: HeldMemory::default(),
        }
    }
}
