//! Attribute keys with their counts, and the distinct values of columns.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow_buffer::BooleanBuffer;
use hashbrown::HashMap;
use tracewell_model::source::{KeyAnswer, KeyInfo, KeyQuery, KeyWhat, QueryContext, SourceResult};
use tracewell_model::value::AttributeType;
use tracewell_model::{AttributeScope, KeyValue};

use super::columns::{BatchColumns, Memo};
use super::generation::Batch;
use super::snapshot::GenerationSnapshot;
use crate::scan::{Distinct, Selection, evaluate};
use crate::table::StringCode;

type Counts =
    HashMap<(AttributeScope, StringCode, AttributeType), u64, foldhash::fast::RandomState>;
/// A key with its count, before it is known whether anybody gets to see it.
type Found<'a> = (AttributeScope, &'a str, AttributeType, u64);
type TextCounts = HashMap<(AttributeScope, String, AttributeType), u64>;

impl GenerationSnapshot {
    pub(super) async fn answer_keys(
        &self,
        query: &KeyQuery,
        ctx: QueryContext,
    ) -> SourceResult<KeyAnswer> {
        let memo = Memo::default();
        let mut keys = Keys::default();
        let mut values = Distinct::new(query, &ctx);
        for batch in &self.batches {
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
        let mut answer = keys.answer(self, query.n_max);
        answer.truncated |= values.truncated;
        answer.values = values.values;
        Ok(answer)
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

#[derive(Default)]
struct Keys {
    /// Of spans, events and links, by code.
    coded: Counts,
    /// Of resources and scopes: spans that have it.
    texts: TextCounts,
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
            let key = (scope, attribute.key.clone(), value_type);
            *self.texts.entry(key).or_default() += n;
        }
    }

    fn answer(self, snapshot: &GenerationSnapshot, n_max: usize) -> KeyAnswer {
        let strings = &snapshot.dictionary.strings;
        let coded = self.coded.iter().map(|((scope, key, value_type), n)| {
            let key = strings.text(*key);
            (*scope, key, *value_type, *n)
        });
        let texts = self.texts.iter();
        let texts = texts.map(|((scope, key, value_type), n)| (*scope, &**key, *value_type, *n));
        let mut by_scope: BTreeMap<AttributeScope, Vec<Found<'_>>> = BTreeMap::new();
        for found in coded.chain(texts) {
            by_scope.entry(found.0).or_default().push(found);
        }
        let mut answer = KeyAnswer::default();
        for mut found in by_scope.into_values() {
            if found.len() > n_max {
                // A million keys that nobody gets to see are neither sorted nor copied.
                found.select_nth_unstable_by(n_max, by_name);
                found.truncate(n_max);
                answer.truncated = true;
            }
            found.sort_unstable_by(by_name);
            let keys = found.into_iter();
            answer
                .keys
                .extend(keys.map(|(scope, key, value_type, n)| KeyInfo {
                    scope,
                    key: key.to_owned(),
                    value_type,
                    n,
                }));
        }
        answer
    }
}

fn by_name(a: &Found<'_>, b: &Found<'_>) -> Ordering {
    (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2))
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
