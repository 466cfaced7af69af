//! Shapes: the distinct lists of (key, type) of spans, events and links.
//!
//! Each group has a row group of those that its owners have. Where they are few, all of them are read
//! and kept; of many (where every span has keys of its own, or the same keys in another order) those
//! that are asked for.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use tracewell_model::ContentHash;
use tracewell_model::budget::HeldMemory;
use tracewell_model::source::QueryContext;
use tracewell_model::value::AttributeType;

use super::arrays::{Texts, named};
use super::cache::Part;
use super::error::{BlockError, BlockResult};
use super::file::selection;
use super::read::{BlockReader, id16};
use super::rows::consecutive;
use super::schema::{Owner, Table};

/// A row group of so many entries, 100 bytes each in memory, is read whole.
const ROWS_WHOLE_MAX: usize = 16_384;

/// What a shape takes beside its entries, and an entry beside its key: estimates.
const SHAPE_BYTES: u64 = 256;
const SHAPE_ENTRY_BYTES: u64 = 64;

/// One distinct list; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub hash: ContentHash,
    pub entries: Vec<ShapeEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeEntry {
    pub key: Arc<str>,
    pub value_type: AttributeType,
    /// True for the first entry of its key in the list.
    pub first: bool,
}

/// Shapes of a group that were read.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    pub(super) by_hash: HashMap<ContentHash, Arc<Shape>, FixedState>,
    /// With how many owners of a level in the group have it.
    pub(super) of: Vec<(Owner, Arc<Shape>, u64)>,
    /// Of the memory of queries, where no cache holds them.
    _held: HeldMemory,
}

// === impl Shape ===

impl Shape {
    pub(super) fn new(entries: impl IntoIterator<Item = (Arc<str>, AttributeType)>) -> Self {
        let mut seen = HashSet::<Arc<str>, foldhash::fast::RandomState>::default();
        let mut content = Vec::new();
        let entries = entries.into_iter().map(|(key, value_type)| {
            content.extend_from_slice(&(key.len() as u32).to_le_bytes());
            content.extend_from_slice(key.as_bytes());
            content.push(value_type.code());
            ShapeEntry {
                first: seen.insert(Arc::clone(&key)),
                key,
                value_type,
            }
        });
        let entries = entries.collect();
        Self {
            hash: ContentHash::of(&content),
            entries,
        }
    }
}

// === impl Shapes ===

impl Shapes {
    fn of_rows(batch: &RecordBatch) -> BlockResult<Self> {
        let hashes = named(batch, "shape")?.as_fixed_size_binary();
        let (levels, keys, types) = (
            Texts::of(batch, "level")?,
            Texts::of(batch, "key")?,
            Texts::of(batch, "type")?,
        );
        let owners = named(batch, "owners")?.as_primitive::<Int64Type>();
        let malformed = |reason: &str| BlockError::malformed("shapes", reason);
        let mut texts = HashSet::<Arc<str>, FixedState>::default();
        let mut text = |key: &str| match texts.get(key) {
            Some(known) => Arc::clone(known),
            None => {
                let new = Arc::<str>::from(key);
                texts.insert(Arc::clone(&new));
                new
            }
        };
        let mut shapes = Self::default();
        let mut row = 0;
        while row < batch.num_rows() {
            let (hash, level) = (hashes.value(row), levels.get(row));
            let mut entries = Vec::new();
            let first = row;
            while row < batch.num_rows() && hashes.value(row) == hash && levels.get(row) == level {
                let name = types.get(row).unwrap_or_default();
                let mut all = AttributeType::ALL.into_iter();
                let value_type = all.find(|value_type| value_type.name() == name);
                let value_type =
                    value_type.ok_or_else(|| malformed("type of a value is unknown"))?;
                entries.push((text(keys.get(row).unwrap_or_default()), value_type));
                row += 1;
            }
            let owner = level
                .and_then(Owner::from_name)
                .ok_or_else(|| malformed("level is unknown"))?;
            let shape = Arc::new(Shape::new(entries));
            if shape.hash.0 != hash {
                return Err(malformed("hash is not that of the content"));
            }
            shapes.by_hash.insert(shape.hash, Arc::clone(&shape));
            let n_owners = owners.value(first).unsigned_abs();
            shapes.of.push((owner, shape, n_owners));
        }
        Ok(shapes)
    }

    fn n_bytes(&self) -> u64 {
        let entries = self.of.iter().flat_map(|(_, shape, _)| &shape.entries);
        let entries = entries.map(|entry| SHAPE_ENTRY_BYTES + entry.key.len() as u64);
        entries.sum::<u64>() + self.of.len() as u64 * SHAPE_BYTES
    }
}

// === impl BlockReader ===

impl BlockReader {
    /// The shapes of a group that have one of some hashes, and perhaps others.
    pub(super) async fn shapes(
        &self,
        group: usize,
        wanted: impl IntoIterator<Item = ContentHash>,
        ctx: &QueryContext,
    ) -> BlockResult<Arc<Shapes>> {
        let Some(row_group) = self.group(group)?.row_group(Table::Shapes) else {
            return Ok(Arc::default());
        };
        let table = self.table(Table::Shapes);
        if table.n_rows(row_group, ctx).await? <= ROWS_WHOLE_MAX {
            let read = async {
                let shapes = self.all_shapes(group, ctx).await?;
                let bytes = shapes.n_bytes();
                let _held = HeldMemory::default();
                Ok((Shapes { _held, ..shapes }, bytes))
            };
            return table.kept_or(Part::Shapes, group as u64, read).await;
        }
        let wanted: HashSet<ContentHash, FixedState> = wanted.into_iter().collect();
        let batch = table.columns(row_group, &["shape"], None, ctx).await?;
        let hashes = named(&batch, "shape")?.as_fixed_size_binary();
        let is_wanted = |row: &usize| wanted.contains(&ContentHash(id16(hashes.value(*row))));
        let rows: Vec<usize> = (0..hashes.len()).filter(is_wanted).collect();
        let select = selection(&consecutive(&rows), hashes.len());
        let batch = table
            .columns(row_group, &COLUMNS, Some(select), ctx)
            .await?;
        let shapes = Shapes::of_rows(&batch)?;
        let _held = ctx.hold_while(shapes.n_bytes());
        Ok(Arc::new(Shapes { _held, ..shapes }))
    }

    /// All shapes of a group, not kept.
    pub(super) async fn all_shapes(&self, group: usize, ctx: &QueryContext) -> BlockResult<Shapes> {
        let batch = self.columns(group, Table::Shapes, &COLUMNS, None, ctx);
        let Some(batch) = batch.await? else {
            return Ok(Shapes::default());
        };
        let shapes = Shapes::of_rows(&batch)?;
        let _held = ctx.hold_while(shapes.n_bytes());
        Ok(Shapes { _held, ..shapes })
    }
}

const COLUMNS: [&str; 6] = ["shape", "level", "position", "key", "type", "owners"];
