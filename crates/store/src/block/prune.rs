//! What a group of a block cannot hold, said without reading its rows; and conditions on what many
//! spans share.
//!
//! The meta says which keys occur, bounds, dictionaries and Bloom filters which values may, and the page
//! index of the attribute table whether a rare key occurs in the group. "May" is always a right answer.

use arrow_array::FixedSizeBinaryArray;
use arrow_array::cast::AsArray;
use arrow_buffer::BooleanBuffer;
use foldhash::fast::FixedState;
use futures::FutureExt;
use futures::future::BoxFuture;
use hashbrown::HashMap;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use tracewell_model::column::{ColumnLevel, Intrinsic};
use tracewell_model::predicate::{ArrayKind, Bounds};
use tracewell_model::{AttributeScope, Column, ContentHash, Filter, Leaf, Predicate, Value};

use super::bits::FlatChunk;
use super::columns::{GroupColumns, first_value};
use super::entities::Entity;
use super::error::{BlockError, BlockResult};
use super::keys::FirstTypes;
use super::page::CodeTable;
use super::read::id16;
use super::rows::page_has_text;
use super::schema::{Owner, PromotedKey, Table};
use crate::scan::Selection;
use crate::table::{ResourceEntry, ScopeEntry};

impl GroupColumns<'_> {
    /// False only if the filter is false for every span of the group.
    pub(super) fn may_hold<'f>(&'f self, filter: &'f Filter) -> BoxFuture<'f, BlockResult<bool>> {
        async move {
            match filter {
                Filter::Constant(value) => Ok(*value),
                Filter::And(inner) => {
                    for filter in inner {
                        if !self.may_hold(filter).await? {
                            return Ok(false);
                        }
                    }
                    Ok(true)
                }
                Filter::Or(inner) => {
                    for filter in inner {
                        if self.may_hold(filter).await? {
                            return Ok(true);
                        }
                    }
                    Ok(false)
                }
                Filter::Not(_) | Filter::Compute(_) => Ok(true),
                Filter::Leaf(leaf) => Ok(leaf.when_absent || self.may_hold_leaf(leaf).await?),
                // On a span without items every column of the level is absent, which leaves say.
                Filter::Each { filter, .. } => self.may_hold(filter).await,
            }
        }
        .boxed()
    }

    async fn may_hold_leaf(&self, leaf: &Leaf) -> BlockResult<bool> {
        let owner = match &leaf.column {
            Column::Attribute { scope, key } => match scope {
                AttributeScope::Span => Some((Owner::Span, key)),
                AttributeScope::Event => Some((Owner::Event, key)),
                AttributeScope::Link => Some((Owner::Link, key)),
                AttributeScope::Resource | AttributeScope::Instrumentation => None,
            },
            Column::Intrinsic(intrinsic) => {
                let column = match intrinsic {
                    Intrinsic::Name => "name",
                    Intrinsic::Duration => "duration_nano",
                    Intrinsic::Kind => "kind",
                    Intrinsic::Status if !leaf.predicate.matches(Value::Status(0)) => "status_code",
                    _ => return self.may_hold_entity(leaf).await,
                };
                let kind = ArrayKind::of(&leaf.column);
                return self
                    .may_match(Table::Spans, column, &leaf.predicate, kind)
                    .await;
            }
            Column::OfParent(_) => return Ok(false),
        };
        match owner {
            Some((owner, key)) => self.may_hold_attribute(owner, key, &leaf.predicate).await,
            None => self.may_hold_entity(leaf).await,
        }
    }

    async fn may_hold_entity(&self, leaf: &Leaf) -> BlockResult<bool> {
        let Some((name, hits)) = self.entity_hits(leaf).await? else {
            return Ok(true);
        };
        if !hits.values().any(|hit| *hit) {
            return Ok(false);
        }
        match self.hashes(name).await? {
            Some((_, entries)) => Ok(code_table(name, &entries, &hits)?.has_true()),
            None => Ok(true),
        }
    }

    async fn may_hold_attribute(
        &self,
        owner: Owner,
        key: &str,
        predicate: &Predicate,
    ) -> BlockResult<bool> {
        let types = FirstTypes::of(self.reader().meta(), owner, key);
        let columns = self.columns_of(owner, key)?;
        let may_be = |(name, _): &&(PromotedKey, String)| types.may_be(name.value_type);
        for (_, column) in columns.iter().filter(may_be) {
            let table = owner.table();
            if self
                .may_match(table, column, predicate, ArrayKind::Plain)
                .await?
            {
                return Ok(true);
            }
        }
        let held = |value_type| {
            let mut columns = columns.iter();
            columns.any(|(name, _)| name.value_type == value_type)
        };
        if !types.may_be_beside(held) {
            return Ok(false);
        }
        let Some(row_group) = self.group()?.row_group(Table::Attributes) else {
            return Ok(false);
        };
        let mut has_key =
            |bounds: &ColumnIndexMetaData, page: usize| page_has_text(bounds, page, key.as_bytes());
        let table = self.reader().table(Table::Attributes);
        let pages = table.pages(row_group, "key", self.ctx(), &mut has_key);
        Ok(!pages.await?.is_empty())
    }

    /// False only if nothing in the chunk can satisfy the predicate.
    pub(super) async fn may_match(
        &self,
        table: Table,
        name: &str,
        predicate: &Predicate,
        kind: ArrayKind,
    ) -> BlockResult<bool> {
        let Some(row_group) = self.group()?.row_group(table) else {
            return Ok(false);
        };
        let reader = self.reader().table(table);
        let Some(chunk) = reader.chunk(row_group, name, self.ctx()).await? else {
            return Ok(false);
        };
        if chunk_bounds(chunk.statistics()).is_some_and(|bounds| !predicate.may_match(bounds)) {
            return Ok(false);
        }
        if let Some(text) = predicate.equal_string()
            && !reader
                .may_hold(row_group, name, text.as_bytes(), self.ctx())
                .await?
        {
            return Ok(false);
        }
        if let Some(chunk) = reader.flat_chunk(row_group, name, self.ctx()).await?
            && let Some(entries) = reader.dictionary(&chunk, self.ctx()).await?
        {
            return Ok(predicate.evaluate(&entries, kind).has_true());
        }
        Ok(true)
    }

    /// The bits of a condition on the resource or scope of the spans: decided once for each of them.
    /// `None` for other conditions.
    pub(super) async fn entity_bits(
        &self,
        leaf: &Leaf,
        within: &Selection,
    ) -> BlockResult<Option<BooleanBuffer>> {
        let Some((name, hits)) = self.entity_hits(leaf).await? else {
            return Ok(None);
        };
        let n_spans = within.n_rows();
        if !hits.values().any(|hit| *hit) {
            return Ok(Some(BooleanBuffer::new_unset(n_spans)));
        }
        if hits.values().all(|hit| *hit) {
            return Ok(Some(BooleanBuffer::new_set(n_spans)));
        }
        let Some((chunk, entries)) = self.hashes(name).await? else {
            return Ok(None);
        };
        let hits = CodeTable::new(&code_table(name, &entries, &hits)?, false);
        let table = self.reader().table(Table::Spans);
        let bits = table.code_bits(&chunk, &hits, within, self.ctx());
        bits.await.map(Some)
    }

    /// Whether each resource (or scope) satisfies a condition on it, and the column that names them.
    async fn entity_hits(
        &self,
        leaf: &Leaf,
    ) -> BlockResult<Option<(&'static str, HashMap<ContentHash, bool, FixedState>)>> {
        let of_resource = |entry: &ResourceEntry| match &leaf.column {
            Column::Attribute { key, .. } => {
                leaf.matches(first_value(&entry.resource.attributes, key))
            }
            Column::Intrinsic(_) | Column::OfParent(_) => false,
        };
        let of_scope = |entry: &ScopeEntry| match &leaf.column {
            Column::Attribute { key, .. } => {
                leaf.matches(first_value(&entry.scope.attributes, key))
            }
            Column::Intrinsic(Intrinsic::InstrumentationName) => {
                leaf.matches(Value::String(&entry.scope.name))
            }
            Column::Intrinsic(_) => leaf.matches(Value::String(&entry.scope.version)),
            Column::OfParent(_) => false,
        };
        Ok(match leaf.column.level() {
            ColumnLevel::Resource => {
                let entries = self.resources().await?.iter();
                let hits = entries.map(|entry| (entry.hash, of_resource(entry)));
                Some((ResourceEntry::HASH, hits.collect()))
            }
            ColumnLevel::Instrumentation => {
                let entries = self.scopes().await?.iter();
                let hits = entries.map(|entry| (entry.hash, of_scope(entry)));
                Some((ScopeEntry::HASH, hits.collect()))
            }
            _ => None,
        })
    }

    /// The distinct hashes in a column of the spans, in the order of its codes.
    pub(super) async fn hashes(
        &self,
        name: &str,
    ) -> BlockResult<Option<(FlatChunk, FixedSizeBinaryArray)>> {
        let Some(row_group) = self.group()?.row_group(Table::Spans) else {
            return Ok(None);
        };
        let table = self.reader().table(Table::Spans);
        let Some(chunk) = table.flat_chunk(row_group, name, self.ctx()).await? else {
            return Ok(None);
        };
        if chunk.n_rows() as u64 != self.group()?.spans {
            return Err(BlockError::malformed("spans", "are not as many as said"));
        }
        let entries = table.dictionary(&chunk, self.ctx()).await?;
        let entries = entries.and_then(|entries| entries.as_fixed_size_binary_opt().cloned());
        Ok(entries.map(|entries| (chunk, entries)))
    }
}

/// One bit per entry of a dictionary of hashes.
fn code_table(
    name: &str,
    entries: &FixedSizeBinaryArray,
    hits: &HashMap<ContentHash, bool, FixedState>,
) -> BlockResult<BooleanBuffer> {
    let hit = |hash: Option<&[u8]>| {
        hits.get(&ContentHash(id16(hash.unwrap_or_default())))
            .copied()
    };
    let bits = entries.iter().map(|hash| {
        hit(hash).ok_or_else(|| BlockError::malformed(name, "is named and not listed"))
    });
    bits.collect::<BlockResult<Vec<bool>>>()
        .map(BooleanBuffer::from)
}

fn chunk_bounds(statistics: Option<&Statistics>) -> Option<Bounds<'_>> {
    match statistics? {
        Statistics::ByteArray(statistics) => {
            let (min, max) = statistics.min_opt().zip(statistics.max_opt())?;
            let (min, max) = (min.data(), max.data());
            Some(Bounds::String { min, max })
        }
        Statistics::Int64(statistics) => {
            let (min, max) = statistics.min_opt().zip(statistics.max_opt())?;
            let (min, max) = (*min, *max);
            Some(Bounds::Int { min, max })
        }
        _ => None,
    }
}

/// Bounds of one page of signed 64-bit integers.
pub(super) fn page_bounds(bounds: &ColumnIndexMetaData, page: usize) -> Option<Bounds<'static>> {
    let ColumnIndexMetaData::INT64(bounds) = bounds else {
        return None;
    };
    let (min, max) = bounds.min_value(page).zip(bounds.max_value(page))?;
    let (min, max) = (*min, *max);
    Some(Bounds::Int { min, max })
}

/// A condition on the bytes of a string. Bytes that are no UTF-8 match nothing: none are written.
pub(super) fn text_test(predicate: &Predicate) -> impl FnMut(&[u8]) -> bool + Send {
    let equal = predicate.equal_string().map(str::as_bytes);
    move |value: &[u8]| match equal {
        Some(equal) => value == equal,
        None => std::str::from_utf8(value).is_ok_and(|text| predicate.matches(Value::String(text))),
    }
}
