//! Groups back into tables: whole for a merge, or a few traces of one for a trace by id.
//!
//! The inverse of the encoder, column by column. For few traces only the pages that hold them are
//! read, and of promoted columns only those that their shapes name.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use tracewell_model::source::QueryContext;
use tracewell_model::value::AttributeType;
use tracewell_model::{ContentHash, SpanId, TenantId, TraceId};

use super::arrays::{Texts, named};
use super::error::{BlockError, BlockResult};
use super::file::selection;
use super::lists::{Level, Lists, OwnerShapes, codes};
use super::read::{BlockReader, GroupTraces, id8, id16};
use super::rows::{consecutive, numbers_selected, page_has};
use super::schema::{Owner, PromotedKey, Table};
use crate::table::{DictionaryBuilder, Runs, STATUS_ABSENT, SpanTable, StringCode};

/// The columns that a span is made of. What else its table has says again, for readers with SQL, what
/// the trace rows and the dictionaries of the block say.
const SPAN_COLUMNS: [&str; 18] = [
    "span_id",
    "parent_index",
    "parent_span_id",
    "start_unix_nano",
    "duration_nano",
    "end_unix_nano",
    "name",
    "kind",
    "status_code",
    "status_message",
    "trace_state",
    "flags",
    "dropped_attributes",
    "dropped_events",
    "dropped_links",
    "resource",
    "scope",
    "shape",
];
const EVENT_COLUMNS: [&str; 5] = [
    "row",
    "time_unix_nano",
    "name",
    "dropped_attributes",
    "shape",
];
const LINK_COLUMNS: [&str; 7] = [
    "row",
    "trace_id",
    "span_id",
    "trace_state",
    "flags",
    "dropped_attributes",
    "shape",
];

/// The rows of a side table that were read.
struct Items {
    level: Level,
    /// Row of the span of each.
    rows: Vec<u32>,
    batch: RecordBatch,
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
        for entry in &self.entities(group, ctx).await?.entries {
            dictionary.resource(entry);
        }
        for entry in &self.entities(group, ctx).await?.entries {
            dictionary.scope(entry);
        }
        let wanted: Vec<usize> = match only {
            Some(only) => only.to_vec(),
            None => (0..traces.runs.len()).collect(),
        };
        let ranges = ranges_of(&traces, &wanted);
        let n_spans = self.group(group)?.spans as usize;
        let select = || only.map(|_| selection(&ranges, n_spans));
        let Some(spans) = self
            .columns(group, Table::Spans, &SPAN_COLUMNS, select(), ctx)
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
        let shapes_of_spans = OwnerShapes::of(&spans)?;
        drop(spans);
        let of = only.map(|_| rows.as_slice());
        let events = self.items(group, Owner::Event, of, ctx).await?;
        let links = self.items(group, Owner::Link, of, ctx).await?;
        table.spans.events = runs_of(&rows, events.as_ref());
        table.spans.links = runs_of(&rows, links.as_ref());
        let mut levels = vec![Level {
            owner: Owner::Span,
            shapes: shapes_of_spans,
            numbers: rows,
        }];
        if let Some(items) = events {
            event_columns(&items.batch, dictionary, &mut table)?;
            levels.push(items.level);
        }
        if let Some(items) = links {
            link_columns(&items.batch, dictionary, &mut table)?;
            levels.push(items.level);
        }
        let hashes = levels.iter().flat_map(|level| &level.shapes.distinct);
        let shapes = self.shapes(group, hashes.copied(), ctx).await?;
        let mut lists = Lists::new(self, group, &shapes, ctx);
        lists.read_rest(&levels, dictionary).await?;
        for level in &levels {
            let select = only.map(|_| match level.owner {
                Owner::Span => selection(&ranges, n_spans),
                Owner::Event | Owner::Link => numbers_selected(&level.numbers),
            });
            let out = &mut table.attributes;
            let runs = lists.lists(level, select, dictionary, out).await?;
            match level.owner {
                Owner::Span => table.spans.attributes = runs,
                Owner::Event => table.events.attributes = runs,
                Owner::Link => table.links.attributes = runs,
            }
        }
        Ok(table)
    }

    /// Events or links of the given rows, or of all.
    async fn items(
        &self,
        group: usize,
        owner: Owner,
        rows: Option<&[u32]>,
        ctx: &QueryContext,
    ) -> BlockResult<Option<Items>> {
        let table = owner.table();
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
        let names: &[&str] = match owner {
            Owner::Span => &SPAN_COLUMNS,
            Owner::Event => &EVENT_COLUMNS,
            Owner::Link => &LINK_COLUMNS,
        };
        let (select, numbers) = select.unzip();
        let Some(batch) = self.columns(group, table, names, select, ctx).await? else {
            return Ok(None);
        };
        let owners = named(&batch, "row")?
            .as_primitive::<Int32Type>()
            .values()
            .iter()
            .map(|row| *row as u32);
        let numbers = match numbers {
            Some(numbers) => numbers.into_iter().map(|number| number as u32).collect(),
            None => (0..batch.num_rows() as u32).collect(),
        };
        Ok(Some(Items {
            rows: owners.collect(),
            level: Level {
                owner,
                shapes: OwnerShapes::of(&batch)?,
                numbers,
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
        self.promoted_keys(group, owner, |_| true)
    }

    /// Those of some keys.
    pub(super) fn promoted_keys(
        &self,
        group: usize,
        owner: Owner,
        is_wanted: impl Fn(&str) -> bool,
    ) -> BlockResult<Vec<(PromotedKey, String)>> {
        let lacking = &self.group(group)?.lacking;
        let columns = self.meta.columns.iter().filter(|column| {
            is_wanted(&column.key)
                && column.owner() == Some(owner)
                && !lacking.contains(&column.column)
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
        *out = texts_of(batch, name, dictionary)?;
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
    batch: &RecordBatch,
    dictionary: &mut DictionaryBuilder,
    table: &mut SpanTable,
) -> BlockResult<()> {
    let events = &mut table.events;
    events.time_unix_nano = named(batch, "time_unix_nano")?
        .as_primitive::<UInt64Type>()
        .values()
        .to_vec();
    events.name = texts_of(batch, "name", dictionary)?;
    events.dropped_attributes = named(batch, "dropped_attributes")?
        .as_primitive::<UInt32Type>()
        .values()
        .to_vec();
    Ok(())
}

fn link_columns(
    batch: &RecordBatch,
    dictionary: &mut DictionaryBuilder,
    table: &mut SpanTable,
) -> BlockResult<()> {
    let links = &mut table.links;
    let ids = named(batch, "trace_id")?.as_fixed_size_binary();
    links.trace_id = (0..batch.num_rows())
        .map(|row| TraceId(id16(ids.value(row))))
        .collect();
    let ids = named(batch, "span_id")?.as_fixed_size_binary();
    links.span_id = (0..batch.num_rows())
        .map(|row| SpanId(id8(ids.value(row))))
        .collect();
    links.trace_state = texts_of(batch, "trace_state", dictionary)?;
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

/// The codes of a column's texts, that of the empty string where there is none.
fn texts_of(
    batch: &RecordBatch,
    name: &str,
    dictionary: &mut DictionaryBuilder,
) -> BlockResult<Vec<StringCode>> {
    let strings = &mut dictionary.strings;
    let empty = strings.intern(b"");
    let texts = Texts::of(batch, name)?;
    let codes = codes(strings, &texts, batch.num_rows());
    Ok(codes.map(|code| code.unwrap_or(empty)).collect())
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
fn runs_of(rows: &[u32], items: Option<&Items>) -> Runs {
    let owners = items.map_or(&[][..], |items| items.rows.as_slice());
    let mut runs = Runs::default();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A column that a later version adds must be read, or be named here.
    #[test]
    fn what_a_merge_does_not_read_is_known() {
        let said_again: [(Table, &[&str], &[&str]); 3] = [
            (
                Table::Spans,
                &SPAN_COLUMNS,
                &["tenant", "group", "row", "trace_id", "service_name"],
            ),
            (Table::Events, &EVENT_COLUMNS, &["group", "event"]),
            (Table::Links, &LINK_COLUMNS, &["group", "link"]),
        ];
        for (table, read, said_again) in said_again {
            let all = table.columns();
            let mut all: Vec<&str> = all.iter().map(|column| &*column.name).collect();
            let mut known = [read, said_again].concat();
            all.sort_unstable();
            known.sort_unstable();
            assert_eq!(all, known, "{table:?}");
        }
    }
}
