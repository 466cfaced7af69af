//! Attribute keys with their counts, and the distinct values of columns.

use arrow_buffer::BooleanBuffer;
use hashbrown::HashMap;
use tracewell_model::source::{KeyAnswer, KeyQuery, KeyWhat, QueryContext, SourceResult};
use tracewell_model::value::AttributeType;
use tracewell_model::{AttributeScope, KeyValue};

use super::columns::{BatchColumns, Memo};
use super::generation::Batch;
use super::snapshot::GenerationSnapshot;
use crate::scan::{Distinct, Names, Selection, evaluate};
use crate::table::StringCode;

type Counts =
    HashMap<(AttributeScope, StringCode, AttributeType), u64, foldhash::fast::RandomState>;

impl GenerationSnapshot {
    pub(super) async fn answer_keys(
        &self,
        query: &KeyQuery,
        ctx: QueryContext,
    ) -> SourceResult<KeyAnswer> {
        let memo = Memo::default();
        let mut keys = Keys {
            coded: Counts::default(),
            names: Names::new(query),
        };
        let mut values = Distinct::new(query, &ctx);
        for batch in &self.batches {
            tokio::task::yield_now().await;
            ctx.check()?;
            if values.truncated {
                break;
            }
            let unit = BatchColumns::new(self, batch, &memo);
            let within = Selection::of(self.in_question(batch, query));
            let within = Selection::of(evaluate(&unit, &query.filter, &within).await?);
            if within.is_empty() {
                continue;
            }
            ctx.add_inspected_spans(within.n_selected() as u64);
            match &query.what {
                KeyWhat::Keys(scopes) => keys.count(self, batch, scopes, &within),
                KeyWhat::Values(columns) => {
                    for column in columns {
                        values.collect(&unit, column, &within).await?;
                    }
                }
            }
        }
        Ok(keys.answer(self, values))
    }

    /// Spans of the tenant that start in the window.
    fn in_question(&self, batch: &Batch, query: &KeyQuery) -> BooleanBuffer {
        let tenants = &self.dictionary.tenants;
        let tenant = tenants.iter().position(|tenant| *tenant == query.tenant);
        let spans = &batch.table.spans;
        BooleanBuffer::collect_bool(spans.tenant.len(), |row| {
            spans.tenant.get(row).map(|tenant| usize::from(*tenant)) == tenant
                && spans
                    .start_unix_nano
                    .get(row)
                    .is_some_and(|start| query.window.contains(*start))
        })
    }
}

struct Keys {
    /// Of spans, events and links, by code.
    coded: Counts,
    /// Of resources and scopes, with how many spans have them.
    names: Names,
}

impl Keys {
    fn count(
        &mut self,
        snapshot: &GenerationSnapshot,
        batch: &Batch,
        scopes: &[AttributeScope],
        within: &Selection,
    ) {
        let table = &batch.table;
        for scope in scopes {
            match scope {
                AttributeScope::Span => within.for_each(|row| {
                    self.run(*scope, batch, table.spans.attributes.get(row));
                }),
                AttributeScope::Event => within.for_each(|row| {
                    for event in table.spans.events.get(row) {
                        self.run(*scope, batch, table.events.attributes.get(event));
                    }
                }),
                AttributeScope::Link => within.for_each(|row| {
                    for link in table.spans.links.get(row) {
                        self.run(*scope, batch, table.links.attributes.get(link));
                    }
                }),
                AttributeScope::Resource => {
                    for (index, n) in occurrences(&table.spans.resource, within) {
                        if let Some(entry) = snapshot.dictionary.resources.get(index as usize) {
                            self.owned(*scope, &entry.resource.attributes, n);
                        }
                    }
                }
                AttributeScope::Instrumentation => {
                    for (index, n) in occurrences(&table.spans.scope, within) {
                        if let Some(entry) = snapshot.dictionary.scopes.get(index as usize) {
                            self.owned(*scope, &entry.scope.attributes, n);
                        }
                    }
                }
            }
        }
    }

    fn run(&mut self, scope: AttributeScope, batch: &Batch, rows: std::ops::Range<usize>) {
        let attributes = &batch.table.attributes;
        let keys = attributes.key.get(rows.clone()).unwrap_or_default();
        let types = attributes.value_type.get(rows).unwrap_or_default();
        for (key, value_type) in keys.iter().zip(types) {
            *self.coded.entry((scope, *key, *value_type)).or_default() += 1;
        }
    }

    fn owned(&mut self, scope: AttributeScope, attributes: &[KeyValue], n: u64) {
        for attribute in attributes {
            let value_type = attribute.value.attribute_type();
            self.names.add(scope, &attribute.key, value_type, n);
        }
    }

    fn answer(mut self, snapshot: &GenerationSnapshot, values: Distinct) -> KeyAnswer {
        let strings = &snapshot.dictionary.strings;
        for ((scope, key, value_type), n) in &self.coded {
            self.names.add(*scope, strings.text(*key), *value_type, *n);
        }
        self.names.answer(values)
    }
}

/// How many selected spans have each index.
fn occurrences(
    column: &[u32],
    within: &Selection,
) -> HashMap<u32, u64, foldhash::fast::RandomState> {
    let mut counts = HashMap::default();
    within.for_each(|row| {
        if let Some(index) = column.get(row) {
            *counts.entry(*index).or_default() += 1;
        }
    });
    counts
}
