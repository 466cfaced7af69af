//! One group of a block as column chunks: rows of a table, put in order, column by column.
//!
//! Pure work on the processor: no I/O happens here, so that a caller can run it where it may block.

use tracewell_model::value::AttributeType;
use tracewell_model::{ContentHash, SpanId, span::duration_nano};

use super::chunk::{Cells, Chunk, Integers, Style, Values};
use super::coder::{
    Coder, all, bounds, constant_id, distinct_of, filtered, fixed, hashes, pick, some,
};
use super::collect::{Collector, PromotedCells, RestRow};
use super::compression::Codec;
use super::error::{BlockError, BlockResult};
use super::keys::{KeyCounts, Promotion};
use super::schema::{Kind, Owner, Table, promoted_kind};
use super::shape::Shape;
use super::side::shape_cells;
use super::traces::{TraceRun, trace_cells, trace_runs};
use super::write::Schemas;
use crate::table::{Dictionary, STATUS_ABSENT, SpanTable, StringCode};

/// An encoded group, ready to be appended to a [`super::BlockWriter`].
#[derive(Debug)]
pub(super) struct EncodedGroup {
    pub(super) id: [u8; 16],
    pub(super) tables: Vec<(Table, usize, Vec<Chunk>)>,
    /// Indexes of the resources and scopes that its spans name.
    pub(super) resources: Vec<u32>,
    pub(super) scopes: Vec<u32>,
    pub(super) tenants: Vec<String>,
    pub(super) n_spans: u64,
    pub(super) n_traces: u64,
    pub(super) span_start: (u64, u64),
    pub(super) trace_start: (u64, u64),
    pub(super) end_max: u64,
    /// Of each promoted column.
    pub(super) sums: Vec<ColumnSums>,
    pub(super) counts: KeyCounts,
}

/// What the texts of a promoted column sum up to; 0 for numbers and lists.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ColumnSums {
    pub(super) distinct: u64,
    pub(super) bytes: u64,
}

/// What a group is encoded with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoder<'a> {
    pub(super) schemas: &'a Schemas,
    pub(super) promotion: &'a Promotion,
    pub(super) level: u8,
}

pub(super) const DICTIONARY_MAX: usize = 8_192;
const DICTIONARY_BY_DATA_MAX: usize = 4_096;
/// One look in ten at an absent value reads a page in vain; 6 bits a value.
const BLOOM_RATE: f64 = 0.1;
/// Every trace that is split is looked for in every group of a day, 150 for ten million spans, and
/// counts as shared by those that say yes: 15 to 29 bits a trace, a bit or two a span.
const TRACE_BLOOM_RATE: f64 = 0.001;

// === impl Encoder ===

impl Encoder<'_> {
    /// # Hidden contract
    /// `rows` are sorted by tenant, trace id, start and span id, and hold whole runs of traces.
    #[expect(clippy::too_many_lines, reason = "one column after the other")]
    pub(super) fn encode(
        &self,
        id: [u8; 16],
        table: &SpanTable,
        dictionary: &Dictionary,
        rows: &[u32],
    ) -> BlockResult<EncodedGroup> {
        let strings = &dictionary.strings;
        let mut collector = Collector::new(&table.attributes, strings, self.promotion);
        let side = Side::collect(table, rows, &mut collector);
        let runs = trace_runs(table, rows);
        let shapes = collector.shapes();
        let counted = counted(&shapes, &collector);
        let n_entries = counted
            .iter()
            .map(|(_, shape, _)| shape.entries.len())
            .sum();
        let listed = shape_cells(&counted);
        let hashes: Vec<&[u8]> = shapes.iter().map(|shape| shape.hash.0.as_slice()).collect();
        let coder = &mut Coder::new(strings);
        let group = Group {
            encoder: *self,
            id: &id,
            table,
            dictionary,
            rows,
            hashes: &hashes,
        };
        let traces = trace_cells(table, dictionary, rows, &runs, &id, coder);
        let mut sums = vec![ColumnSums::default(); self.promotion.keys.len()];
        let tables = vec![
            (
                Table::Spans,
                rows.len(),
                group.spans(&runs, &collector, coder, &mut sums)?,
            ),
            (
                Table::Traces,
                runs.len(),
                self.chunks(Table::Traces, traces)?,
            ),
            (
                Table::Events,
                side.events.len(),
                group.events(&side, &collector, coder, &mut sums)?,
            ),
            (
                Table::Links,
                side.links.len(),
                group.links(&side, &collector, coder, &mut sums)?,
            ),
            (
                Table::Attributes,
                collector.rest.len(),
                group.attributes(&mut collector, coder)?,
            ),
            (
                Table::Shapes,
                n_entries,
                self.chunks(Table::Shapes, listed)?,
            ),
        ];
        let starts = pick(&table.spans.start_unix_nano, rows);
        let trace_starts = runs.iter().map(|run| run.start_unix_nano);
        Ok(EncodedGroup {
            id,
            tables,
            resources: distinct_of(pick(&table.spans.resource, rows)),
            scopes: distinct_of(pick(&table.spans.scope, rows)),
            tenants: distinct_of(pick(&table.spans.tenant, rows))
                .into_iter()
                .filter_map(|tenant| Some(dictionary.tenants.get(usize::from(tenant))?.to_string()))
                .collect(),
            n_spans: rows.len() as u64,
            n_traces: runs.len() as u64,
            span_start: bounds(starts.into_iter()),
            trace_start: bounds(trace_starts),
            end_max: pick(&table.spans.end_unix_nano, rows)
                .into_iter()
                .max()
                .unwrap_or(0),
            sums,
            counts: collector.counts(),
        })
    }
}

/// The shapes of each level by hash, and how many owners have them.
fn counted<'s>(shapes: &'s [Shape], collector: &Collector<'_>) -> Vec<(Owner, &'s Shape, u64)> {
    let mut counted = Vec::new();
    for (owner, cells) in Owner::ALL.into_iter().zip(&collector.shape_cells) {
        let mut counts = vec![0u64; shapes.len()];
        for code in &cells.codes {
            if let Some(count) = counts.get_mut(*code as usize) {
                *count += 1;
            }
        }
        let used = shapes.iter().zip(counts).filter(|(_, n)| *n > 0);
        counted.extend(used.map(|(shape, n)| (owner, shape, n)));
    }
    counted.sort_unstable_by_key(|(owner, shape, _)| (*owner, shape.hash));
    counted
}

/// The events and links of the rows, in order: where each lies and the span's row in the group.
#[derive(Debug, Default)]
struct Side {
    events: Vec<u32>,
    event_rows: Vec<i32>,
    links: Vec<u32>,
    link_rows: Vec<i32>,
}

impl Side {
    fn collect(table: &SpanTable, rows: &[u32], collector: &mut Collector<'_>) -> Self {
        let mut side = Self::default();
        for (row, from) in rows.iter().enumerate() {
            let from = *from as usize;
            collector.list(Owner::Span, &table.spans.attributes, from, row as u32);
            for event in table.spans.events.get(from) {
                let number = side.events.len() as u32;
                collector.list(Owner::Event, &table.events.attributes, event, number);
                side.events.push(event as u32);
                side.event_rows.push(row as i32);
            }
            for link in table.spans.links.get(from) {
                let number = side.links.len() as u32;
                collector.list(Owner::Link, &table.links.attributes, link, number);
                side.links.push(link as u32);
                side.link_rows.push(row as i32);
            }
        }
        side
    }
}

/// The columns of one group while they are made.
struct Group<'a> {
    encoder: Encoder<'a>,
    id: &'a [u8; 16],
    table: &'a SpanTable,
    dictionary: &'a Dictionary,
    rows: &'a [u32],
    /// Of the distinct shapes.
    hashes: &'a [&'a [u8]],
}

impl<'a> Group<'a> {
    #[expect(clippy::too_many_lines, reason = "one column after the other")]
    fn spans(
        &self,
        runs: &[TraceRun],
        collector: &Collector<'_>,
        coder: &mut Coder<'a>,
        sums: &mut [ColumnSums],
    ) -> BlockResult<Vec<Chunk>> {
        let (spans, rows, n) = (&self.table.spans, self.rows, self.rows.len());
        let starts = pick(&spans.start_unix_nano, rows);
        let ends = pick(&spans.end_unix_nano, rows);
        let durations: Vec<i64> = starts
            .iter()
            .zip(&ends)
            .map(|(s, e)| duration_nano(*s, *e))
            .collect();
        let odd = starts.iter().zip(&ends).zip(&durations).enumerate();
        let odd: Vec<(u32, i64)> = odd
            .filter(|(_, ((start, end), duration))| {
                start.wrapping_add(**duration as u64) != **end
                    || start.checked_add(**duration as u64).is_none()
            })
            .map(|(row, ((_, end), _))| (row as u32, *end as i64))
            .collect();
        let unsigned = |values: &[u32]| {
            Values::Int32(pick(values, rows).into_iter().map(|v| v as i32).collect())
        };
        let mut columns = self.encoder.columns(Table::Spans);
        columns.push(coder.tenants(self.dictionary, &pick(&spans.tenant, rows)))?;
        columns.push(constant_id(self.id, n))?;
        columns.push(all(n, Values::Int32((0..n as i32).collect())))?;
        columns.push(all(
            n,
            fixed(rows, |row| spans.trace_id.get(row).map(|id| id.0)),
        ))?;
        columns.push(all(
            n,
            fixed(rows, |row| spans.span_id.get(row).map(|id| id.0)),
        ))?;
        let (inside, outside) = self.parents(runs);
        columns.push(inside)?;
        columns.push(outside)?;
        columns.push(all(
            n,
            Values::Int64(starts.iter().map(|start| *start as i64).collect()),
        ))?;
        columns.push(all(n, Values::Int64(durations)))?;
        columns.push(some(
            n,
            odd.iter().map(|(row, _)| *row).collect(),
            Values::Int64(odd.iter().map(|(_, end)| *end).collect()),
        ))?;
        columns.push(all(n, coder.coded(pick(&spans.name, rows))))?;
        columns.push(self.service_names(coder))?;
        columns.push(all(n, Values::Int32(pick(&spans.kind, rows))))?;
        columns.push(filtered(
            n,
            &pick(&spans.status_code, rows),
            |code| *code != STATUS_ABSENT,
            Values::Int32,
        ))?;
        columns.push(coder.non_empty(n, &pick(&spans.status_message, rows)))?;
        columns.push(coder.non_empty(n, &pick(&spans.trace_state, rows)))?;
        columns.push(all(n, unsigned(&spans.flags)))?;
        columns.push(all(n, unsigned(&spans.dropped_attributes)))?;
        columns.push(all(n, unsigned(&spans.dropped_events)))?;
        columns.push(all(n, unsigned(&spans.dropped_links)))?;
        columns.push(all(
            n,
            hashes(&pick(&spans.resource, rows), |at| {
                self.dictionary
                    .resources
                    .get(at)
                    .map(|entry| entry.hash.0.as_slice())
            }),
        ))?;
        columns.push(all(
            n,
            hashes(&pick(&spans.scope, rows), |at| {
                self.dictionary
                    .scopes
                    .get(at)
                    .map(|entry| entry.hash.0.as_slice())
            }),
        ))?;
        self.attributes_of(Owner::Span, n, collector, coder, &mut columns, sums)?;
        columns.finish()
    }

    fn events(
        &self,
        side: &Side,
        collector: &Collector<'_>,
        coder: &mut Coder<'a>,
        sums: &mut [ColumnSums],
    ) -> BlockResult<Vec<Chunk>> {
        let (events, n) = (&self.table.events, side.events.len());
        let mut columns = self.encoder.columns(Table::Events);
        columns.push(constant_id(self.id, n))?;
        columns.push(all(n, Values::Int32(side.event_rows.clone())))?;
        columns.push(all(n, Values::Int32((0..n as i32).collect())))?;
        columns.push(all(
            n,
            Values::Int64(
                pick(&events.time_unix_nano, &side.events)
                    .into_iter()
                    .map(|t| t as i64)
                    .collect(),
            ),
        ))?;
        columns.push(all(n, coder.coded(pick(&events.name, &side.events))))?;
        columns.push(all(
            n,
            Values::Int32(
                pick(&events.dropped_attributes, &side.events)
                    .into_iter()
                    .map(|v| v as i32)
                    .collect(),
            ),
        ))?;
        self.attributes_of(Owner::Event, n, collector, coder, &mut columns, sums)?;
        columns.finish()
    }

    fn links(
        &self,
        side: &Side,
        collector: &Collector<'_>,
        coder: &mut Coder<'a>,
        sums: &mut [ColumnSums],
    ) -> BlockResult<Vec<Chunk>> {
        let (links, n) = (&self.table.links, side.links.len());
        let unsigned = |values: &[u32]| {
            Values::Int32(
                pick(values, &side.links)
                    .into_iter()
                    .map(|v| v as i32)
                    .collect(),
            )
        };
        let mut columns = self.encoder.columns(Table::Links);
        columns.push(constant_id(self.id, n))?;
        columns.push(all(n, Values::Int32(side.link_rows.clone())))?;
        columns.push(all(n, Values::Int32((0..n as i32).collect())))?;
        columns.push(all(
            n,
            fixed(&side.links, |row| links.trace_id.get(row).map(|id| id.0)),
        ))?;
        columns.push(all(
            n,
            fixed(&side.links, |row| links.span_id.get(row).map(|id| id.0)),
        ))?;
        columns.push(coder.non_empty(n, &pick(&links.trace_state, &side.links)))?;
        columns.push(all(n, unsigned(&links.flags)))?;
        columns.push(all(n, unsigned(&links.dropped_attributes)))?;
        self.attributes_of(Owner::Link, n, collector, coder, &mut columns, sums)?;
        columns.finish()
    }

    /// Shape and promoted columns of one level.
    fn attributes_of<'c>(
        &self,
        owner: Owner,
        n: usize,
        collector: &Collector<'_>,
        coder: &mut Coder<'c>,
        columns: &mut Columns<'_>,
        sums: &mut [ColumnSums],
    ) -> BlockResult<()>
    where
        'a: 'c,
    {
        if let Some(shapes) = collector.shape_cells.get(owner.index()) {
            let codes = hashes(&shapes.codes, |at| self.hashes.get(at).copied());
            columns.push(some(n, shapes.rows.clone(), codes))?;
        }
        let promoted = self.encoder.promotion.keys.iter().zip(&collector.columns);
        for ((key, column), sums) in promoted.zip(sums) {
            if key.owner == owner {
                let cells = self.promoted(n, key.value_type, column, coder)?;
                *sums = ColumnSums::of(&cells.values);
                columns.push(cells)?;
            }
        }
        Ok(())
    }

    fn promoted<'c>(
        &self,
        n: usize,
        value_type: AttributeType,
        column: &PromotedCells,
        coder: &mut Coder<'c>,
    ) -> BlockResult<Cells<'c>>
    where
        'a: 'c,
    {
        let values = column.places.iter().map(|place| {
            let value = self.table.attributes.value.get(*place as usize);
            value.copied().unwrap_or_default()
        });
        let values = match promoted_kind(value_type) {
            Some(Kind::Text) => coder.coded(values.map(|v| StringCode(v as u32))),
            Some(Kind::Int64) => Values::Int64(values.map(|v| v as i64).collect()),
            Some(Kind::Double) => Values::Double(values.map(f64::from_bits).collect()),
            Some(Kind::Bool) => Values::Bool(values.map(|v| v != 0).collect()),
            _ => {
                let (mut ends, mut texts) = (Vec::new(), Vec::new());
                for value in values {
                    let message = coder.strings.get(StringCode(value as u32));
                    super::value::strings_of(message, &mut texts)?;
                    ends.push(texts.len() as u32);
                }
                Values::TextList {
                    ends,
                    values: texts,
                }
            }
        };
        Ok(some(n, column.rows.clone(), values))
    }

    #[expect(clippy::too_many_lines, reason = "one column after the other")]
    fn attributes(
        &self,
        collector: &mut Collector<'_>,
        coder: &mut Coder<'a>,
    ) -> BlockResult<Vec<Chunk>> {
        let mut order: Vec<u32> = (0..collector.keys.texts.len() as u32).collect();
        order.sort_unstable_by_key(|key| collector.keys.texts.get(*key as usize));
        let mut ranks = vec![0u32; order.len()];
        for (rank, key) in order.iter().enumerate() {
            if let Some(place) = ranks.get_mut(*key as usize) {
                *place = rank as u32;
            }
        }
        // Stable: values of one key and owner stay in the order sent.
        let rank = |key: u32| ranks.get(key as usize).copied().unwrap_or(0);
        collector
            .rest
            .sort_by_key(|rest| (rest.owner, rank(rest.key), rest.row));
        let texts: Vec<&[u8]> = collector
            .keys
            .texts
            .iter()
            .map(|text| text.as_bytes())
            .collect();
        let rest = &collector.rest;
        let n = rest.len();
        let codes = |code: &dyn Fn(&RestRow) -> u32| rest.iter().map(code).collect::<Vec<u32>>();
        let names = |codes: Vec<u32>, names: Vec<&'static str>| {
            hashes(&codes, |at| names.get(at).map(|name| name.as_bytes()))
        };
        let owners = names(
            codes(&|rest| rest.owner as u32),
            Owner::ALL.map(Owner::name).to_vec(),
        );
        let keys = hashes(&codes(&|rest| rest.key), |at| texts.get(at).copied());
        let types = names(
            codes(&|rest| u32::from(rest.value_type.code())),
            AttributeType::ALL.map(AttributeType::name).to_vec(),
        );
        let of = |wanted: &dyn Fn(AttributeType) -> bool| -> (Vec<u32>, Vec<u64>) {
            let rows = rest
                .iter()
                .enumerate()
                .filter(|(_, rest)| wanted(rest.value_type));
            rows.map(|(row, rest)| (row as u32, rest.value)).unzip()
        };
        let (string_rows, strings) = of(&|t| t == AttributeType::String);
        let (int_rows, ints) = of(&|t| t == AttributeType::Int);
        let (double_rows, doubles) = of(&|t| t == AttributeType::Double);
        let (bool_rows, bools) = of(&|t| t == AttributeType::Bool);
        let (bytes_rows, bytes) = of(&|t| {
            use AttributeType::{Array, Bytes, KvList, Strings};
            matches!(t, Bytes | Array | KvList | Strings)
        });
        let cells = vec![
            constant_id(self.id, n),
            all(n, owners),
            all(n, keys),
            all(
                n,
                Values::Int32(rest.iter().map(|rest| rest.row as i32).collect()),
            ),
            all(n, types),
            some(
                n,
                string_rows,
                coder.coded(strings.iter().map(|v| StringCode(*v as u32))),
            ),
            some(
                n,
                int_rows,
                Values::Int64(ints.iter().map(|v| *v as i64).collect()),
            ),
            some(
                n,
                double_rows,
                Values::Double(doubles.iter().map(|v| f64::from_bits(*v)).collect()),
            ),
            some(
                n,
                bool_rows,
                Values::Bool(bools.iter().map(|v| *v != 0).collect()),
            ),
            some(
                n,
                bytes_rows,
                coder.coded(bytes.iter().map(|v| StringCode(*v as u32))),
            ),
        ];
        self.encoder.chunks(Table::Attributes, cells)
    }

    /// Index and id of each row's parent, as far as there are: the first span of that id in the run.
    fn parents(&self, runs: &[TraceRun]) -> (Cells<'a>, Cells<'a>) {
        let (spans, n) = (&self.table.spans, self.rows.len());
        let (mut rows_in, mut indexes, mut rows_out, mut ids) = (vec![], vec![], vec![], vec![]);
        let mut places = hashbrown::HashMap::<SpanId, i32, foldhash::fast::RandomState>::default();
        for run in runs {
            places.clear();
            let run_rows = self.rows.get(run.range()).unwrap_or_default();
            for (index, row) in run_rows.iter().enumerate() {
                if let Some(id) = spans.span_id.get(*row as usize) {
                    places.entry(*id).or_insert(index as i32);
                }
            }
            for (index, row) in run_rows.iter().enumerate() {
                let row = *row as usize;
                if spans.has_parent.get(row) != Some(&true) {
                    continue;
                }
                let parent = spans.parent_span_id.get(row).copied().unwrap_or_default();
                let at = run.from + index as u32;
                match places.get(&parent) {
                    // The zero id is no span's name: it is kept as sent.
                    Some(place) if !parent.is_zero() => {
                        rows_in.push(at);
                        indexes.push(*place);
                    }
                    _ => {
                        rows_out.push(at);
                        ids.extend_from_slice(&parent.0);
                    }
                }
            }
        }
        (
            some(n, rows_in, Values::Int32(indexes)),
            some(n, rows_out, Values::Fixed(ids)),
        )
    }

    fn service_names(&self, coder: &mut Coder<'a>) -> Cells<'a> {
        let names: Vec<Option<&'a str>> = self
            .dictionary
            .resources
            .iter()
            .map(|entry| Some(entry.resource.service_name()).filter(|name| !name.is_empty()))
            .collect();
        coder.texts(
            self.rows.len(),
            pick(&self.table.spans.resource, self.rows)
                .iter()
                .map(|at| names.get(*at as usize).copied().flatten()),
        )
    }
}

impl Encoder<'_> {
    /// Encodes the columns of one table, in the order of its schema.
    pub(super) fn chunks(&self, table: Table, cells: Vec<Cells<'_>>) -> BlockResult<Vec<Chunk>> {
        let mut columns = self.columns(table);
        for cells in cells {
            columns.push(cells)?;
        }
        columns.finish()
    }

    fn columns(&self, table: Table) -> Columns<'_> {
        Columns {
            encoder: self,
            table,
            chunks: Vec::new(),
            is_empty: false,
        }
    }

    pub(super) fn style(&self, table: Table, name: &str) -> Style {
        let promoted = name.contains('.');
        let always = matches!(
            name,
            "tenant"
                | "group"
                | "service_name"
                | "resource"
                | "scope"
                | "shape"
                | "level"
                | "type"
                | "key"
        );
        let bloom = match (table, name) {
            (Table::Traces, "trace_id") => Some(TRACE_BLOOM_RATE),
            _ if self.level > 0 && promoted => Some(BLOOM_RATE),
            (Table::Spans, "name") if self.level > 0 => Some(BLOOM_RATE),
            _ => None,
        };
        let integers = match name {
            "kind" | "status_code" | "flags" | "dropped_attributes" | "dropped_events"
            | "dropped_links" | "row_count" | "span_count" | "error_count" => Integers::ByData,
            "parent_index" => Integers::ByData,
            _ if promoted => Integers::ByData,
            _ => Integers::Delta,
        };
        Style {
            codec: if self.level == 0 {
                Codec::Lz4
            } else {
                Codec::Zstd
            },
            dictionary_max: if always {
                DICTIONARY_MAX
            } else {
                DICTIONARY_BY_DATA_MAX
            },
            compress_ids: table == Table::Spans && name == "trace_id",
            integers,
            bloom,
        }
    }
}

/// The columns of one table, each encoded when it comes, so that few are held as cells.
struct Columns<'a> {
    encoder: &'a Encoder<'a>,
    table: Table,
    chunks: Vec<Chunk>,
    /// A table without rows has no chunks.
    is_empty: bool,
}

impl Columns<'_> {
    /// Takes the next column of the schema.
    fn push(&mut self, cells: Cells<'_>) -> BlockResult<()> {
        self.is_empty |= cells.n_rows == 0;
        if self.is_empty {
            return Ok(());
        }
        let schema = self.encoder.schemas.of(self.table);
        let next = self.chunks.len();
        let (Some(spec), Some(column)) = (
            schema.columns.get(next),
            schema.descriptor.columns().get(next),
        ) else {
            return Err(self.mismatch(next + 1));
        };
        let style = self.encoder.style(self.table, &spec.name);
        let chunk = Chunk::encode(column, &cells, style);
        self.chunks
            .push(chunk.map_err(BlockError::parquet(self.table.name()))?);
        Ok(())
    }

    fn finish(self) -> BlockResult<Vec<Chunk>> {
        let n_columns = self.encoder.schemas.of(self.table).columns.len();
        if !self.is_empty && self.chunks.len() != n_columns {
            return Err(self.mismatch(self.chunks.len()));
        }
        Ok(self.chunks)
    }

    fn mismatch(&self, n: usize) -> BlockError {
        let n_columns = self.encoder.schemas.of(self.table).columns.len();
        BlockError::malformed(
            self.table.name(),
            format!("{n} columns, {n_columns} are in the schema"),
        )
    }
}

// === impl ColumnSums ===

impl ColumnSums {
    fn of(values: &Values<'_>) -> Self {
        match values {
            Values::Coded { codes, entries } => {
                let lens = codes.iter().filter_map(|code| entries.get(*code as usize));
                Self {
                    distinct: entries.len() as u64,
                    bytes: lens.map(|entry| entry.len() as u64).sum(),
                }
            }
            _ => Self::default(),
        }
    }
}

/// A group's id: made of the block's, so that it is never used twice.
pub(super) fn group_id(block: [u8; 16], number: usize) -> [u8; 16] {
    let mut content = block.to_vec();
    content.extend_from_slice(&(number as u64).to_le_bytes());
    ContentHash::of(&content).0
}
