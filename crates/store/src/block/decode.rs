//! Groups back into tables: whole for a merge, or a few traces of one for a trace by id.
//!
//! The inverse of the encoder, column by column. For few traces only the pages that hold them are
//! read, and of promoted columns only those that their shapes name.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use tracewell_model::source::QueryContext;
use tracewell_model::value::AttributeType;
use tracewell_model::{ContentHash, SpanId, TenantId, TraceId};

use super::arrays::{Texts, named};
use super::error::{BlockError, BlockResult};
use super::file::selection;
use super::read::{BlockReader, GroupTraces, Shapes, id8, id16};
use super::rest::{Rest, read_rest_rows};
use super::rows::{consecutive, numbers_selected, page_has};
use super::schema::{Owner, PromotedKey, Table};
use super::value::message_of_strings;
use crate::table::{
    AttributeRows, DictionaryBuilder, Interner, STATUS_ABSENT, SpanTable, StringCode,
};

/// Which owners an item of a side table belongs to: the numbers of the rows that were read.
struct Items {
    batch: RecordBatch,
    /// Number of each within its group.
    numbers: Vec<u32>,
    /// Row of the span.
    rows: Vec<u32>,
}

/// How the list of one shape is read.
struct Recipe {
    steps: Vec<Step>,
}

struct Step {
    key: StringCode,
    value_type: AttributeType,
    from: Source,
}

enum Source {
    Nothing,
    Column(usize),
    Rest(Arc<str>),
}

/// The number of a tenant that a block names.
fn tenant_number(dictionary: &mut DictionaryBuilder, name: &str) -> BlockResult<u16> {
    let tenant =
        TenantId::new(name).map_err(|error| BlockError::malformed("traces", error.to_string()))?;
    dictionary.tenant(&tenant).ok_or(BlockError::TooMany {
        what: "tenants",
        seen: u64::from(u16::MAX) + 1,
        max: u64::from(u16::MAX),
    })
}

/// The codes of a column's texts, that of the empty string where there is none.
fn codes(strings: &mut Interner, texts: &Texts, n: usize) -> Vec<StringCode> {
    let empty = strings.intern(b"");
    match texts {
        Texts::Codes(keys, values) => {
            // Of a dictionary a few rows use a few entries.
            let mut codes: Vec<Option<StringCode>> = vec![None; values.len()];
            let mut code =
                |key: i32| {
                    let code = codes.get_mut(key as usize)?;
                    Some(*code.get_or_insert_with(|| {
                        strings.intern(values.value(key as usize).as_bytes())
                    }))
                };
            keys.iter()
                .map(|key| key.and_then(&mut code).unwrap_or(empty))
                .collect()
        }
        Texts::Plain(_) => (0..n)
            .map(|row| match texts.get(row) {
                Some(text) => strings.intern(text.as_bytes()),
                None => empty,
            })
            .collect(),
    }
}

// === impl BlockReader ===

impl BlockReader {
    /// Decodes a group, or the named traces of it (numbers of its trace rows, ascending).
    #[expect(clippy::too_many_lines, reason = "one column after the other")]
    pub async fn read_group(
        &self,
        group: usize,
        only: Option<&[usize]>,
        dictionary: &mut DictionaryBuilder,
        ctx: &QueryContext,
    ) -> BlockResult<SpanTable> {
        let traces = self.traces_of(group, ctx).await?;
        let shapes = Arc::clone(self.shapes(ctx).await?);
        for entry in self.resources(ctx).await?.iter() {
            dictionary.resource(entry);
        }
        for entry in self.scopes(ctx).await?.iter() {
            dictionary.scope(entry);
        }
        let wanted: Vec<usize> = match only {
            Some(only) => only.to_vec(),
            None => (0..traces.runs.len()).collect(),
        };
        let ranges = ranges_of(&traces, &wanted);
        let n_spans = self.group(group)?.spans as usize;
        let select = || only.map(|_| selection(&ranges, n_spans));
        let columns = Table::Spans.columns();
        let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
        let Some(spans) = self
            .columns(group, Table::Spans, &names, select(), ctx)
            .await?
        else {
            return Ok(SpanTable::default());
        };
        let rows: Vec<u32> = ranges
            .iter()
            .cloned()
            .flatten()
            .map(|row| row as u32)
            .collect();
        if spans.num_rows() != rows.len() {
            return Err(BlockError::malformed(
                "spans",
                "row group and traces differ in length",
            ));
        }
        let mut table = SpanTable::default();
        fixed_columns(&spans, &traces, &wanted, dictionary, &mut table)?;
        let of = only.map(|_| rows.as_slice());
        let events = self.items(group, Table::Events, of, ctx).await?;
        let links = self.items(group, Table::Links, of, ctx).await?;
        let mut lists = Lists {
            reader: self,
            group,
            shapes: &shapes,
            ctx,
            rest: Rest::default(),
        };
        lists
            .read_rest(&spans, &rows, &events, &links, dictionary)
            .await?;
        table.spans.attributes = lists
            .lists(
                Owner::Span,
                &spans,
                &rows,
                select(),
                dictionary,
                &mut table.attributes,
            )
            .await?;
        if let Some(items) = &events {
            let select = only.map(|_| numbers_selected(&items.numbers));
            let runs = lists
                .lists(
                    Owner::Event,
                    &items.batch,
                    &items.numbers,
                    select,
                    dictionary,
                    &mut table.attributes,
                )
                .await?;
            table.events.attributes = runs;
            event_columns(items, dictionary, &mut table)?;
        }
        if let Some(items) = &links {
            let select = only.map(|_| numbers_selected(&items.numbers));
            let runs = lists
                .lists(
                    Owner::Link,
                    &items.batch,
                    &items.numbers,
                    select,
                    dictionary,
                    &mut table.attributes,
                )
                .await?;
            table.links.attributes = runs;
            link_columns(items, dictionary, &mut table)?;
        }
        table.spans.events = runs_of(&rows, events.as_ref());
        table.spans.links = runs_of(&rows, links.as_ref());
        Ok(table)
    }

    /// Events or links of the given rows, or of all.
    async fn items(
        &self,
        group: usize,
        table: Table,
        rows: Option<&[u32]>,
        ctx: &QueryContext,
    ) -> BlockResult<Option<Items>> {
        let Some(row_group) = self.group(group)?.row_group(table) else {
            return Ok(None);
        };
        let select = match rows {
            None => None,
            Some(rows) => {
                let mut hit =
                    |bounds: &ColumnIndexMetaData, page: usize| page_has(bounds, page, rows);
                let reader = self.table(table);
                let pages = reader.pages(row_group, "row", ctx, &mut hit).await?;
                let n_rows = reader.n_rows(row_group, ctx).await?;
                let near = reader
                    .columns(row_group, &["row"], Some(selection(&pages, n_rows)), ctx)
                    .await?;
                let owners = named(&near, "row")?.as_primitive::<Int32Type>();
                let numbers = pages.iter().cloned().flatten().zip(owners.values());
                let numbers: Vec<usize> = numbers
                    .filter(|(_, owner)| rows.binary_search(&(**owner as u32)).is_ok())
                    .map(|(number, _)| number)
                    .collect();
                if numbers.is_empty() {
                    return Ok(None);
                }
                Some((selection(&consecutive(&numbers), n_rows), numbers))
            }
        };
        let columns = table.columns();
        let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
        let (select, numbers) = select.unzip();
        let Some(batch) = self.columns(group, table, &names, select, ctx).await? else {
            return Ok(None);
        };
        let owners = named(&batch, "row")?
            .as_primitive::<Int32Type>()
            .values()
            .iter()
            .map(|row| *row as u32);
        Ok(Some(Items {
            rows: owners.collect(),
            numbers: match numbers {
                Some(numbers) => numbers.into_iter().map(|number| number as u32).collect(),
                None => (0..batch.num_rows() as u32).collect(),
            },
            batch,
        }))
    }

    /// The promoted columns that a group has at a level.
    pub(super) fn promoted(
        &self,
        group: usize,
        owner: Owner,
    ) -> BlockResult<Vec<(PromotedKey, String)>> {
        let lacking = &self.group(group)?.lacking;
        let columns =
            self.meta.columns.iter().filter(|column| {
                column.owner() == Some(owner) && !lacking.contains(&column.column)
            });
        Ok(columns
            .filter_map(|column| {
                let value_type = AttributeType::ALL
                    .into_iter()
                    .find(|value_type| value_type.name() == column.value_type)?;
                let key = PromotedKey {
                    owner,
                    key: Arc::from(&*column.key),
                    value_type,
                };
                Some((key, column.column.clone()))
            })
            .collect())
    }
}

/// Reads the attribute lists of the owners of one group.
struct Lists<'a> {
    reader: &'a BlockReader,
    group: usize,
    shapes: &'a Shapes,
    ctx: &'a QueryContext,
    rest: Rest,
}

impl Lists<'_> {
    /// Reads the rows of the attribute table that these owners have.
    async fn read_rest(
        &mut self,
        spans: &RecordBatch,
        rows: &[u32],
        events: &Option<Items>,
        links: &Option<Items>,
        dictionary: &mut DictionaryBuilder,
    ) -> BlockResult<()> {
        let Some(row_group) = self.reader.group(self.group)?.row_group(Table::Attributes) else {
            return Ok(());
        };
        let mut owners: Vec<(Owner, Vec<u32>)> = Vec::new();
        let mut keys: Vec<(Owner, Arc<str>)> = Vec::new();
        let levels = [
            (Owner::Span, Some((spans, rows))),
            (
                Owner::Event,
                events
                    .as_ref()
                    .map(|items| (&items.batch, items.numbers.as_slice())),
            ),
            (
                Owner::Link,
                links
                    .as_ref()
                    .map(|items| (&items.batch, items.numbers.as_slice())),
            ),
        ];
        for (owner, level) in levels {
            let Some((batch, numbers)) = level else {
                continue;
            };
            let mut seen = hashbrown::HashSet::<ContentHash, FixedState>::default();
            for hash in hashes_of(batch)?.into_iter().flatten() {
                if seen.insert(hash) {
                    let recipe = self.sources(owner, hash)?;
                    keys.extend(
                        recipe
                            .into_iter()
                            .filter_map(|(key, _, source)| match source {
                                Source::Rest(_) => Some((owner, key)),
                                _ => None,
                            }),
                    );
                }
            }
            owners.push((owner, numbers.to_vec()));
        }
        keys.sort_unstable();
        keys.dedup();
        if !keys.is_empty() {
            self.rest =
                read_rest_rows(self.reader, row_group, &keys, &owners, dictionary, self.ctx)
                    .await?;
        }
        Ok(())
    }

    /// Where each entry of a shape lies in this group.
    fn sources(
        &self,
        owner: Owner,
        hash: ContentHash,
    ) -> BlockResult<Vec<(Arc<str>, AttributeType, Source)>> {
        let shape = self.shapes.by_hash.get(&hash);
        let shape = shape.ok_or_else(|| {
            BlockError::malformed("shapes", format!("shape {hash} is not listed"))
        })?;
        let promoted = self.reader.promoted(self.group, owner)?;
        let entries = shape.entries.iter().map(|entry| {
            let column = promoted
                .iter()
                .position(|(key, _)| key.key == entry.key && key.value_type == entry.value_type);
            let source = match column {
                _ if entry.value_type == AttributeType::Empty => Source::Nothing,
                Some(column) if entry.first => Source::Column(column),
                _ => Source::Rest(Arc::clone(&entry.key)),
            };
            (Arc::clone(&entry.key), entry.value_type, source)
        });
        Ok(entries.collect())
    }

    /// The lists of the owners of one level, in order. `numbers` are their numbers in the group.
    #[expect(clippy::too_many_lines, reason = "one column after the other")]
    async fn lists(
        &mut self,
        owner: Owner,
        batch: &RecordBatch,
        numbers: &[u32],
        select: Option<RowSelection>,
        dictionary: &mut DictionaryBuilder,
        out: &mut AttributeRows,
    ) -> BlockResult<crate::table::Runs> {
        let hashes = hashes_of(batch)?;
        let promoted = self.reader.promoted(self.group, owner)?;
        let mut recipes: Vec<Recipe> = Vec::new();
        let mut recipe_of = HashMap::<ContentHash, usize, FixedState>::default();
        let mut used = vec![false; promoted.len()];
        for hash in hashes.iter().flatten() {
            if recipe_of.contains_key(hash) {
                continue;
            }
            recipe_of.insert(*hash, recipes.len());
            let steps = self
                .sources(owner, *hash)?
                .into_iter()
                .map(|(key, value_type, from)| {
                    if let Source::Column(column) = from
                        && let Some(used) = used.get_mut(column)
                    {
                        *used = true;
                    }
                    Step {
                        key: dictionary.strings.intern(key.as_bytes()),
                        value_type,
                        from,
                    }
                });
            recipes.push(Recipe {
                steps: steps.collect(),
            });
        }
        let names = promoted
            .iter()
            .zip(&used)
            .filter(|(_, used)| **used)
            .map(|((_, name), _)| name.as_str());
        let names: Vec<&str> = names.collect();
        let values = match names.is_empty() {
            true => None,
            false => {
                self.reader
                    .columns(self.group, owner.table(), &names, select, self.ctx)
                    .await?
            }
        };
        let mut columns = Vec::with_capacity(promoted.len());
        for ((key, name), used) in promoted.iter().zip(&used) {
            columns.push(match (&values, used) {
                (Some(values), true) => {
                    values_of(named(values, name)?, key.value_type, dictionary)?
                }
                _ => Vec::new(),
            });
        }
        let mut runs = crate::table::Runs::default();
        for (at, (hash, number)) in hashes.iter().zip(numbers).enumerate() {
            let start = out.len() as u32;
            let recipe = hash
                .as_ref()
                .and_then(|hash| recipe_of.get(hash))
                .and_then(|recipe| recipes.get(*recipe));
            for step in recipe.iter().flat_map(|recipe| &recipe.steps) {
                let value = match &step.from {
                    Source::Nothing => Some(0),
                    Source::Column(column) => columns
                        .get(*column)
                        .and_then(|values| values.get(at))
                        .copied(),
                    Source::Rest(key) => self.rest.next(owner, key, *number),
                };
                let value = value.ok_or_else(|| {
                    BlockError::malformed("attributes", "lacks a value that a shape names")
                })?;
                out.push(step.key, step.value_type, value);
            }
            runs.push(start, out.len() as u32 - start);
        }
        Ok(runs)
    }
}

/// The values of a promoted column as [`AttributeRows`] hold them; anything where null.
fn values_of(
    array: &ArrayRef,
    value_type: AttributeType,
    dictionary: &mut DictionaryBuilder,
) -> BlockResult<Vec<u64>> {
    let wrong = || {
        BlockError::malformed(
            "a promoted column",
            format!("is of type {}", array.data_type()),
        )
    };
    match (value_type, array.data_type()) {
        (AttributeType::String, _) => {
            let codes = codes(&mut dictionary.strings, &Texts::new(array)?, array.len());
            Ok(codes.into_iter().map(|code| u64::from(code.0)).collect())
        }
        (AttributeType::Int, DataType::Int64) => Ok(array
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .map(|value| *value as u64)
            .collect()),
        (AttributeType::Double, DataType::Float64) => Ok(array
            .as_primitive::<Float64Type>()
            .values()
            .iter()
            .map(|value| value.to_bits())
            .collect()),
        (AttributeType::Bool, DataType::Boolean) => {
            Ok(array.as_boolean().values().iter().map(u64::from).collect())
        }
        (AttributeType::Strings, DataType::List(_)) => {
            let lists = array.as_list::<i32>().iter().map(|list| {
                let list = list.unwrap_or_else(|| arrow_array::new_empty_array(&DataType::Utf8));
                let texts = list.as_string_opt::<i32>().ok_or_else(wrong)?;
                let message = message_of_strings(texts.iter().map(Option::unwrap_or_default));
                Ok(u64::from(dictionary.strings.intern(&message).0))
            });
            lists.collect()
        }
        _ => Err(wrong()),
    }
}

#[expect(clippy::too_many_lines, reason = "one column after the other")]
fn fixed_columns(
    batch: &RecordBatch,
    traces: &GroupTraces,
    wanted: &[usize],
    dictionary: &mut DictionaryBuilder,
    table: &mut SpanTable,
) -> BlockResult<()> {
    let n = batch.num_rows();
    let spans = &mut table.spans;
    let span_ids = named(batch, "span_id")?.as_fixed_size_binary();
    let parent_indexes = named(batch, "parent_index")?.as_primitive::<Int32Type>();
    let parent_ids = named(batch, "parent_span_id")?.as_fixed_size_binary();
    let mut at = 0;
    let mut tenants: Vec<(u16, Range<usize>)> = Vec::new();
    for (name, range) in traces.by_tenant() {
        tenants.push((tenant_number(dictionary, name)?, range));
    }
    for trace in wanted {
        let of = tenants.iter().find(|(_, range)| range.contains(trace));
        let (Some(run), Some((tenant, _))) = (traces.runs.get(*trace), of) else {
            return Err(BlockError::malformed("traces", "lacks a row"));
        };
        let tenant = *tenant;
        let first = at;
        for _ in run.range() {
            spans.tenant.push(tenant);
            spans.trace_id.push(run.trace_id);
            spans.span_id.push(SpanId(id8(span_ids.value(at))));
            let parent = if parent_indexes.is_valid(at) {
                let parent = usize::try_from(parent_indexes.value(at)).unwrap_or(usize::MAX);
                if parent >= run.range().len() {
                    return Err(BlockError::malformed(
                        "spans",
                        "parent lies outside of its trace",
                    ));
                }
                Some(SpanId(id8(span_ids.value(first + parent))))
            } else if parent_ids.is_valid(at) {
                Some(SpanId(id8(parent_ids.value(at))))
            } else {
                None
            };
            spans.has_parent.push(parent.is_some());
            spans.parent_span_id.push(parent.unwrap_or_default());
            at += 1;
        }
    }
    let ints = |name: &str| -> BlockResult<Vec<i32>> {
        Ok(named(batch, name)?
            .as_primitive::<Int32Type>()
            .values()
            .to_vec())
    };
    let unsigned = |name: &str| -> BlockResult<Vec<u32>> {
        Ok(named(batch, name)?
            .as_primitive::<UInt32Type>()
            .values()
            .to_vec())
    };
    let starts = named(batch, "start_unix_nano")?.as_primitive::<UInt64Type>();
    let durations = named(batch, "duration_nano")?.as_primitive::<Int64Type>();
    let ends = named(batch, "end_unix_nano")?.as_primitive::<UInt64Type>();
    spans.start_unix_nano = starts.values().to_vec();
    let exact = (0..n).map(|row| match ends.is_valid(row) {
        true => ends.value(row),
        false => starts.value(row).wrapping_add(durations.value(row) as u64),
    });
    spans.end_unix_nano = exact.collect();
    spans.kind = ints("kind")?;
    let status = named(batch, "status_code")?.as_primitive::<Int32Type>();
    spans.status_code = status
        .iter()
        .map(|code| code.unwrap_or(STATUS_ABSENT))
        .collect();
    spans.flags = unsigned("flags")?;
    spans.dropped_attributes = unsigned("dropped_attributes")?;
    spans.dropped_events = unsigned("dropped_events")?;
    spans.dropped_links = unsigned("dropped_links")?;
    for (name, out) in [
        ("name", &mut spans.name),
        ("status_message", &mut spans.status_message),
        ("trace_state", &mut spans.trace_state),
    ] {
        *out = codes(&mut dictionary.strings, &Texts::of(batch, name)?, n);
    }
    let number = |name: &'static str, of: &dyn Fn(&ContentHash) -> Option<u32>| {
        let hashes = named(batch, name)?.as_fixed_size_binary();
        let mut last: Option<(&[u8], u32)> = None;
        let numbers = (0..n).map(|row| {
            let hash = hashes.value(row);
            // Spans of one trace that lie side by side often have the same.
            if let Some((last, number)) = last
                && last == hash
            {
                return Ok(number);
            }
            let number = of(&ContentHash(id16(hash)));
            let number =
                number.ok_or_else(|| BlockError::malformed(name, "is named and not listed"))?;
            last = Some((hash, number));
            Ok(number)
        });
        numbers.collect::<BlockResult<Vec<u32>>>()
    };
    spans.resource = number("resource", &|hash| dictionary.resource_number(hash))?;
    spans.scope = number("scope", &|hash| dictionary.scope_number(hash))?;
    Ok(())
}

fn event_columns(
    items: &Items,
    dictionary: &mut DictionaryBuilder,
    table: &mut SpanTable,
) -> BlockResult<()> {
    let batch = &items.batch;
    let events = &mut table.events;
    events.time_unix_nano = named(batch, "time_unix_nano")?
        .as_primitive::<UInt64Type>()
        .values()
        .to_vec();
    events.name = codes(
        &mut dictionary.strings,
        &Texts::of(batch, "name")?,
        batch.num_rows(),
    );
    events.dropped_attributes = named(batch, "dropped_attributes")?
        .as_primitive::<UInt32Type>()
        .values()
        .to_vec();
    Ok(())
}

fn link_columns(
    items: &Items,
    dictionary: &mut DictionaryBuilder,
    table: &mut SpanTable,
) -> BlockResult<()> {
    let batch = &items.batch;
    let links = &mut table.links;
    let ids = named(batch, "trace_id")?.as_fixed_size_binary();
    links.trace_id = (0..batch.num_rows())
        .map(|row| TraceId(id16(ids.value(row))))
        .collect();
    let ids = named(batch, "span_id")?.as_fixed_size_binary();
    links.span_id = (0..batch.num_rows())
        .map(|row| SpanId(id8(ids.value(row))))
        .collect();
    links.trace_state = codes(
        &mut dictionary.strings,
        &Texts::of(batch, "trace_state")?,
        batch.num_rows(),
    );
    links.flags = named(batch, "flags")?
        .as_primitive::<UInt32Type>()
        .values()
        .to_vec();
    links.dropped_attributes = named(batch, "dropped_attributes")?
        .as_primitive::<UInt32Type>()
        .values()
        .to_vec();
    Ok(())
}

/// Shape of each row.
pub(super) fn hashes_of(batch: &RecordBatch) -> BlockResult<Vec<Option<ContentHash>>> {
    let hashes = named(batch, "shape")?.as_fixed_size_binary();
    Ok((0..hashes.len())
        .map(|row| {
            hashes
                .is_valid(row)
                .then(|| ContentHash(id16(hashes.value(row))))
        })
        .collect())
}

/// The run of items of each span.
fn runs_of(rows: &[u32], items: Option<&Items>) -> crate::table::Runs {
    let owners = items.map_or(&[][..], |items| items.rows.as_slice());
    let mut runs = crate::table::Runs::default();
    let mut from = 0;
    for row in rows {
        let rest = owners.get(from..).unwrap_or_default();
        let n = rest.iter().take_while(|owner| *owner == row).count();
        runs.push(from as u32, n as u32);
        from += n;
    }
    runs
}

/// Rows of the wanted traces, runs that touch put together.
fn ranges_of(traces: &GroupTraces, wanted: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for run in wanted.iter().filter_map(|trace| traces.runs.get(*trace)) {
        let range = run.range();
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    ranges
}
