//! Which attribute keys and values a block has.
//!
//! Keys of a whole block are answered from its meta, resources and scopes; for a part of it the shapes of the
//! selected spans are read, and values are those of their columns. What this is not: [`super::keys`],
//! which chooses the keys that become columns.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use hashbrown::HashMap;
use tracewell_model::source::{
    KeyAnswer, KeyQuery, KeyWhat, QueryContext, SourceResult, SpanSource,
};
use tracewell_model::{AttributeScope, Filter};

use super::arrays::named;
use super::columns::GroupColumns;
use super::decode::hashes_of;
use super::entities::Entity;
use super::error::BlockResult;
use super::keys::KeyCounts;
use super::schema::{Owner, Table};
use super::shape::Shape;
use super::source::BlockSource;
use crate::scan::{Columns, Distinct, LevelRows, Names, Selection, evaluate};
use crate::table::{ResourceEntry, ScopeEntry};

// === impl BlockSource ===

impl BlockSource {
    pub(super) async fn answer_keys(
        &self,
        query: &KeyQuery,
        ctx: &QueryContext,
    ) -> SourceResult<KeyAnswer> {
        let fail = |error| self.failed(error);
        let mut names = Names::new(query);
        let mut values = Distinct::new(query, ctx);
        if let (KeyWhat::Keys(scopes), true) = (&query.what, self.asks_of_all(query)) {
            for scope in scopes {
                self.count_all(*scope, &mut names, ctx)
                    .await
                    .map_err(fail)?;
            }
            return Ok(names.answer(values));
        }
        for (group, meta) in self.reader().meta().groups.iter().enumerate() {
            tokio::task::yield_now().await;
            ctx.check()?;
            if values.truncated {
                break;
            }
            if !query
                .window
                .intersects(meta.span_start_min, meta.span_start_max)
                || !meta
                    .tenants
                    .iter()
                    .any(|tenant| tenant == query.tenant.as_str())
            {
                continue;
            }
            let unit = GroupColumns::open(self.reader(), group, ctx).map_err(fail)?;
            let within = self.in_question(&unit, query).await.map_err(fail)?;
            let within = Selection::of(evaluate(&unit, &query.filter, &within).await?);
            if within.is_empty() {
                continue;
            }
            ctx.add_inspected_spans(within.n_selected() as u64);
            match &query.what {
                KeyWhat::Keys(scopes) => {
                    for scope in scopes {
                        self.count(&unit, *scope, &within, &mut names).await?;
                    }
                }
                KeyWhat::Values(columns) => {
                    for column in columns {
                        values.collect(&unit, column, &within).await?;
                    }
                }
            }
        }
        Ok(names.answer(values))
    }

    /// True if every span of the block is asked about.
    fn asks_of_all(&self, query: &KeyQuery) -> bool {
        let summary = self.summary();
        let (first, last) = (summary.span_start_min, summary.span_start_max);
        matches!(query.filter, Filter::Constant(true))
            && summary.tenant.as_ref() == Some(&query.tenant)
            && query.window.covers(first, last)
    }

    /// Counts the keys of one scope over the block without reading a row: by its meta, or else its
    /// shapes, and by its resources and scopes. Of the last two it is known that they occur, not how
    /// often.
    async fn count_all(
        &self,
        scope: AttributeScope,
        names: &mut Names,
        ctx: &QueryContext,
    ) -> BlockResult<()> {
        let owner = match scope {
            AttributeScope::Span => Owner::Span,
            AttributeScope::Event => Owner::Event,
            AttributeScope::Link => Owner::Link,
            AttributeScope::Resource => {
                return self
                    .count_entities::<ResourceEntry>(scope, names, ctx)
                    .await;
            }
            AttributeScope::Instrumentation => {
                return self.count_entities::<ScopeEntry>(scope, names, ctx).await;
            }
        };
        let meta = self.reader().meta();
        if !meta.keys_truncated {
            for (name, count) in KeyCounts::of_meta(meta).keys {
                if name.owner == owner {
                    names.add(scope, &name.key, name.value_type, count.count);
                }
            }
            return Ok(());
        }
        for group in 0..self.reader().n_groups() {
            ctx.check()?;
            let shapes = self.reader().all_shapes(group, ctx).await?;
            for (_, shape, n) in shapes.of.iter().filter(|(of, ..)| *of == owner) {
                count_shape(scope, shape, *n, names);
            }
        }
        Ok(())
    }

    /// A row group of their table at a time.
    async fn count_entities<T: Entity>(
        &self,
        scope: AttributeScope,
        names: &mut Names,
        ctx: &QueryContext,
    ) -> BlockResult<()> {
        for row_group in 0..self.reader().n_entity_groups::<T>(ctx).await? {
            ctx.check()?;
            let entries = self.reader().entity_group::<T>(row_group, ctx);
            for entry in entries.await? {
                for attribute in entry.attributes() {
                    let value_type = attribute.value.attribute_type();
                    names.add(scope, &attribute.key, value_type, 0);
                }
            }
        }
        Ok(())
    }

    /// Spans of the tenant that start in the window.
    async fn in_question(
        &self,
        unit: &GroupColumns<'_>,
        query: &KeyQuery,
    ) -> BlockResult<Selection> {
        let group = unit.group()?;
        let is_covered = query
            .window
            .covers(group.span_start_min, group.span_start_max);
        if is_covered && group.tenants.len() == 1 {
            return Ok(Selection::all(Columns::n_spans(unit)));
        }
        let Some(batch) = unit.read(Table::Spans, &["start_unix_nano"]).await? else {
            return Ok(Selection::of(BooleanBuffer::new_unset(0)));
        };
        let starts = named(&batch, "start_unix_nano")?
            .as_primitive::<UInt64Type>()
            .values();
        let mut bits = BooleanBufferBuilder::new(starts.len());
        let traces = unit.traces().await?;
        let range = traces.of_tenant(&query.tenant);
        for run in traces.runs.get(range).unwrap_or_default() {
            bits.append_n((run.from as usize).saturating_sub(bits.len()), false);
            let starts = starts.get(run.range()).unwrap_or_default();
            starts
                .iter()
                .for_each(|start| bits.append(query.window.contains(*start)));
        }
        bits.append_n(starts.len().saturating_sub(bits.len()), false);
        Ok(Selection::of(bits.finish()))
    }

    /// Counts the keys of one scope over the selected spans, by shapes alone.
    async fn count(
        &self,
        unit: &GroupColumns<'_>,
        scope: AttributeScope,
        within: &Selection,
        names: &mut Names,
    ) -> SourceResult<()> {
        let fail = |error| self.failed(error);
        let level = tracewell_model::Column::attribute(scope, "").level();
        let rows = unit.level(level).await?;
        let owner = match scope {
            AttributeScope::Span => Owner::Span,
            AttributeScope::Event => Owner::Event,
            AttributeScope::Link => Owner::Link,
            AttributeScope::Resource | AttributeScope::Instrumentation => {
                let LevelRows::Shared { n, rows } = rows else {
                    return Ok(());
                };
                let mut used = vec![0u64; n];
                within.for_each(|span| {
                    if let Some(used) = rows.get(span).and_then(|row| used.get_mut(*row as usize)) {
                        *used += 1;
                    }
                });
                if scope == AttributeScope::Resource {
                    let entries = unit.resources().await.map_err(fail)?;
                    count_used(scope, entries, &used, names);
                } else {
                    let entries = unit.scopes().await.map_err(fail)?;
                    count_used(scope, entries, &used, names);
                }
                return Ok(());
            }
        };
        let Some(batch) = unit.read(owner.table(), &["shape"]).await.map_err(fail)? else {
            return Ok(());
        };
        let mut by_shape = HashMap::<_, u64>::new();
        for (row, hash) in hashes_of(&batch).map_err(fail)?.into_iter().enumerate() {
            let selected = match &rows {
                LevelRows::Owned { owners } => owners
                    .get(row)
                    .is_some_and(|span| within.contains(*span as usize)),
                _ => within.contains(row),
            };
            if let Some(hash) = hash.filter(|_| selected) {
                *by_shape.entry(hash).or_default() += 1;
            }
        }
        let shapes = unit.shapes(by_shape.keys().copied()).await.map_err(fail)?;
        for (hash, n) in by_shape {
            if let Some(shape) = shapes.by_hash.get(&hash) {
                count_shape(scope, shape, n, names);
            }
        }
        Ok(())
    }
}

fn count_shape(scope: AttributeScope, shape: &Shape, n: u64, names: &mut Names) {
    for entry in &shape.entries {
        names.add(scope, &entry.key, entry.value_type, n);
    }
}

/// Counts the keys of resources or scopes, each of which so many spans have.
fn count_used<T: Entity>(
    scope: AttributeScope,
    entries: &[Arc<T>],
    used: &[u64],
    names: &mut Names,
) {
    for (entry, n) in entries.iter().zip(used).filter(|(_, n)| **n > 0) {
        for attribute in entry.attributes() {
            let value_type = attribute.value.attribute_type();
            names.add(scope, &attribute.key, value_type, *n);
        }
    }
}
