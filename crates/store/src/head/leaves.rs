//! A scan over a snapshot: which spans satisfy which filter, traces newest first.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, UInt64Array};
use arrow_buffer::{BooleanBuffer, Buffer};
use tracewell_model::predicate::ArrayKind;
use tracewell_model::source::{
    LeafBatch, LeafQuery, LeafTrace, QueryContext, SourceResult, SpanSource,
};
use tracewell_model::values::{NO_CODE, Numbers};
use tracewell_model::{ColumnValues, SpanId, TimeRange, TraceId};

use super::columns::{BatchColumns, Memo};
use super::snapshot::GenerationSnapshot;
use super::traces::TraceTable;
use crate::scan::{Coded, Selection, evaluate, leaf_batch, union, values};
use crate::table::RowAddress;

/// Rows of one answer batch, more or less: a trace is never cut.
const ANSWER_SPANS: usize = if cfg!(test) { 64 } else { 1 << 14 };

/// A span with at least one bit.
#[derive(Clone, Copy)]
struct Matched {
    /// Place of its trace in the order of the answer, once known; until then the trace's index.
    rank: u32,
    start: u64,
    address: RowAddress,
    /// Its place among the matching rows of its batch.
    place: u32,
}

/// What was found in the batches, one after the other.
#[derive(Default)]
struct Found {
    matched: Vec<Matched>,
    /// Per batch and filter.
    bits: Vec<Vec<BooleanBuffer>>,
    /// Per batch and column, of its matching rows.
    values: Vec<Vec<ColumnValues>>,
}

/// What the traces of the snapshot, by index, are to a query.
struct Candidates {
    /// Looked at.
    takes_part: Vec<bool>,
    /// Has a span that starts in the window.
    in_window: Vec<bool>,
    /// May have spans in other sources.
    is_shared: Vec<bool>,
}

impl GenerationSnapshot {
    pub(super) async fn scan(
        &self,
        query: &LeafQuery,
        ctx: &QueryContext,
    ) -> SourceResult<Vec<LeafBatch>> {
        let table = self.trace_table();
        let candidates = match &query.only {
            Some(ids) => self.only(query, ids),
            None => self.in_window(query, table),
        };
        let memo = Memo::default();
        let mut found = Found::default();
        for (index, batch) in self.batches.iter().enumerate() {
            tokio::task::yield_now().await;
            ctx.check()?;
            let unit = BatchColumns::new(self, batch, &memo);
            let (whole, parts) = candidates.rows(&batch.trace, query.fragment_filters.is_some());
            let fragment_filters = query.fragment_filters.iter().flat_map(|all| all.iter());
            let mut fragment_filters = fragment_filters.map(Some).chain(std::iter::repeat(None));
            let mut per_filter = Vec::with_capacity(query.filters.len());
            for filter in query.filters.iter() {
                let mut bits = evaluate(&unit, filter, &whole).await?;
                if let Some(filter) = fragment_filters.next().flatten() {
                    bits = &bits | &evaluate(&unit, filter, &parts).await?;
                }
                per_filter.push(bits);
            }
            ctx.add_inspected_spans((whole.n_selected() + parts.n_selected()) as u64);
            let any = union(&per_filter).unwrap_or_else(|| BooleanBuffer::new_unset(0));
            let rows: Vec<u32> = any.set_indices().map(|row| row as u32).collect();
            let of_batch = (0u32..).zip(&rows).map(|(place, row)| Matched {
                rank: batch.trace.get(*row as usize).copied().unwrap_or_default(),
                start: start_of(self, index, *row as usize),
                address: RowAddress {
                    table: index as u32,
                    row: *row,
                },
                place,
            });
            found.matched.extend(of_batch);
            let mut of_columns = Vec::with_capacity(query.columns.len());
            for column in query.columns.iter() {
                of_columns.push(values(&unit, column, &rows).await?);
            }
            found.values.push(of_columns);
            found.bits.push(per_filter);
        }
        let indexes = rank(&mut found.matched, table, &|row| self.span_id(row));
        let order = runs(&indexes, &found.matched, table, &candidates.in_window);
        let asks_columns = query.only.is_none() && !query.columns.is_empty();
        let of_trace = indexes.iter().zip(&order);
        let open = of_trace.map(|(index, trace)| {
            let rows = found.matched.get(trace.from as usize..trace.to as usize);
            candidates.is_shared(*index)
                || (asks_columns && self.repeats_a_span(rows.unwrap_or_default()))
        });
        let open: Vec<bool> = open.collect();
        self.answer(query, &order, &found, &open)
    }

    /// True if two of these rows of a trace (by start) may be one span that was sent twice.
    fn repeats_a_span(&self, rows: &[Matched]) -> bool {
        let mut at_one_time = rows.chunk_by(|a, b| a.start == b.start);
        at_one_time.any(|rows| {
            // Those of one time lie in the order of their ids.
            let mut pairs = rows.windows(2);
            pairs.any(|pair| matches!(pair, [a, b] if self.span_id(a) == self.span_id(b)))
        })
    }

    fn span_id(&self, row: &Matched) -> SpanId {
        let batch = self.batches.get(row.address.table as usize);
        let ids = batch.map(|batch| &batch.table.spans.span_id);
        let id = ids.and_then(|ids| ids.get(row.address.row as usize));
        id.copied().unwrap_or_default()
    }

    /// The named traces, all of their spans.
    fn only(&self, query: &LeafQuery, ids: &[TraceId]) -> Candidates {
        let n = self.trace_table().id.len();
        let mut takes_part = vec![false; n];
        for index in self.trace_indexes(&query.tenant, ids) {
            if let Some(takes_part) = takes_part.get_mut(index) {
                *takes_part = true;
            }
        }
        Candidates {
            takes_part,
            in_window: self.starts_in(query.window, n),
            is_shared: vec![false; n],
        }
    }

    /// Per trace, whether one of its spans starts in the window.
    fn starts_in(&self, window: TimeRange, n_traces: usize) -> Vec<bool> {
        let summary = self.summary();
        if window.covers(summary.span_start_min, summary.span_start_max) {
            return vec![true; n_traces];
        }
        let mut in_window = vec![false; n_traces];
        for batch in &self.batches {
            let starts = &batch.table.spans.start_unix_nano;
            for (trace, start) in batch.trace.iter().zip(starts) {
                if window.contains(*start)
                    && let Some(in_window) = in_window.get_mut(*trace as usize)
                {
                    *in_window = true;
                }
            }
        }
        in_window
    }

    /// The tenant's traces with a span that starts in the window, and the shared ones wherever they
    /// start: all where the window cuts through this generation, the named ones where it lies apart.
    fn in_window(&self, query: &LeafQuery, table: &TraceTable) -> Candidates {
        let n = table.id.len();
        let tenants = &self.dictionary.tenants;
        let Some(tenant) = tenants.iter().position(|tenant| *tenant == query.tenant) else {
            return Candidates {
                takes_part: vec![false; n],
                in_window: vec![false; n],
                is_shared: vec![false; n],
            };
        };
        let summary = self.summary();
        let (first, last) = (summary.span_start_min, summary.span_start_max);
        let is_cut = query.window.intersects(first, last);
        let in_window = self.starts_in(query.window, n);
        let shared = self.core.shared().ids();
        let is_shared: Vec<bool> = table.id.iter().map(|id| shared.contains(*id)).collect();
        let traces = table.id.iter().zip(&table.tenant);
        let takes_part = traces.zip(in_window.iter().zip(&is_shared));
        let takes_part = takes_part.map(|((id, of), (in_window, is_shared))| {
            let may_lie_outside = *is_shared && (is_cut || query.also.contains(*id));
            usize::from(*of) == tenant && (*in_window || may_lie_outside)
        });
        let takes_part: Vec<bool> = takes_part.collect();
        Candidates {
            takes_part,
            in_window,
            is_shared,
        }
    }

    /// Batches of whole traces in order; `open` says which of them are not settled here.
    fn answer(
        &self,
        query: &LeafQuery,
        order: &[LeafTrace],
        found: &Found,
        open: &[bool],
    ) -> SourceResult<Vec<LeafBatch>> {
        let mut answers = Vec::new();
        let mut rest = order;
        let mut open = open.iter();
        loop {
            let n_traces = rest
                .iter()
                .scan(0usize, |n_rows, trace| {
                    let before = *n_rows;
                    *n_rows += (trace.to - trace.from) as usize;
                    Some(before)
                })
                .take_while(|before| *before < ANSWER_SPANS)
                .count();
            let (now, later) = rest.split_at(n_traces);
            let from = now.first().map_or(0, |trace| trace.from as usize);
            let to = now.last().map_or(0, |trace| trace.to as usize);
            let rows = found.matched.get(from..to).unwrap_or_default();
            let traces = now
                .iter()
                .map(|trace| LeafTrace {
                    from: trace.from - from as u32,
                    to: trace.to - from as u32,
                    ..*trace
                })
                .collect();
            let of_batch = now.iter().zip(open.by_ref());
            let ids = of_batch.filter(|(_, is_open)| **is_open);
            let ids = ids.map(|(trace, _)| trace.trace_id).collect();
            let of_filter = |filter: usize| {
                BooleanBuffer::collect_bool(rows.len(), |i| bit(rows, &found.bits, i, filter))
            };
            let columns = query.columns.iter().enumerate();
            let columns = columns.map(|(at, column)| found.column(at, ArrayKind::of(column), rows));
            let batch = leaf_batch(
                query.spans.then(|| self.arrays(rows)),
                rows.len(),
                (
                    (0..query.filters.len()).map(of_filter).collect(),
                    columns.collect(),
                ),
                traces,
                ids,
                later.first().map(|trace| trace.start_unix_nano),
            )
            .map_err(|error| self.damaged_by(&error.to_string()))?;
            answers.push(batch);
            if later.is_empty() {
                return Ok(answers);
            }
            rest = later;
        }
    }

    fn arrays(&self, rows: &[Matched]) -> [ArrayRef; 3] {
        let mut trace_ids = Vec::with_capacity(rows.len() * 16);
        let mut span_ids = Vec::with_capacity(rows.len() * 8);
        let mut starts = Vec::with_capacity(rows.len());
        for row in rows {
            let batch = self.batches.get(row.address.table as usize);
            let spans = batch.map(|batch| &batch.table.spans);
            let at = row.address.row as usize;
            let trace_id = spans.and_then(|spans| spans.trace_id.get(at)).copied();
            let span_id = spans.and_then(|spans| spans.span_id.get(at)).copied();
            trace_ids.extend_from_slice(&trace_id.unwrap_or_default().0);
            span_ids.extend_from_slice(&span_id.unwrap_or_default().0);
            starts.push(row.start);
        }
        [
            Arc::new(FixedSizeBinaryArray::new(16, Buffer::from(trace_ids), None)),
            Arc::new(FixedSizeBinaryArray::new(8, Buffer::from(span_ids), None)),
            Arc::new(UInt64Array::from(starts)),
        ]
    }
}

impl Found {
    /// The values of a column in these rows.
    fn column(&self, at: usize, kind: ArrayKind, rows: &[Matched]) -> ColumnValues {
        let of_batch = |row: &Matched| self.values.get(row.address.table as usize)?.get(at);
        let ints = rows.iter().map(|row| {
            let ints = of_batch(row)?.as_ints()?;
            Some(ints.get(row.place as usize).unwrap_or_default())
        });
        if let Some(ints) = ints.collect::<Option<Vec<i64>>>() {
            let is_there = |row: &Matched| {
                let ints = of_batch(row).and_then(ColumnValues::as_ints);
                ints.is_some_and(|ints| ints.get(row.place as usize).is_some())
            };
            let present = BooleanBuffer::from_iter(rows.iter().map(is_there));
            let present = present.has_false().then_some(present);
            let values = ints;
            return ColumnValues::ints(kind, Numbers { values, present });
        }
        let mut coded = Coded::default();
        let codes = rows.iter().map(|row| match of_batch(row) {
            Some(values) => coded.push(values.value(row.place as usize)),
            None => NO_CODE,
        });
        let codes = codes.collect();
        ColumnValues::coded(kind, codes, coded.values)
    }
}

impl Candidates {
    /// The rows to look at: those of traces that are whole here, and, if they are asked something
    /// else, those of traces that may be parts.
    fn rows(&self, traces: &[u32], parts_apart: bool) -> (Selection, Selection) {
        let rows = |wanted: &dyn Fn(usize) -> bool| {
            let of = |row| {
                let trace = traces.get(row).map(|trace| *trace as usize);
                trace.is_some_and(wanted)
            };
            Selection::of(BooleanBuffer::collect_bool(traces.len(), of))
        };
        let takes_part = |trace: usize| self.takes_part.get(trace).is_some_and(|is| *is);
        if !parts_apart {
            let none = Selection::of(BooleanBuffer::new_unset(traces.len()));
            return match self.takes_part.iter().all(|is| *is) {
                true => (Selection::all(traces.len()), none),
                false => (rows(&takes_part), none),
            };
        }
        let is_shared = |trace: usize| self.is_shared(trace as u32);
        let whole = rows(&|trace| takes_part(trace) && !is_shared(trace));
        let parts = rows(&|trace| takes_part(trace) && is_shared(trace));
        (whole, parts)
    }

    fn is_shared(&self, trace: u32) -> bool {
        self.is_shared.get(trace as usize).is_some_and(|is| *is)
    }
}

fn start_of(snapshot: &GenerationSnapshot, batch: usize, row: usize) -> u64 {
    snapshot
        .batches
        .get(batch)
        .and_then(|batch| batch.table.spans.start_unix_nano.get(row))
        .copied()
        .unwrap_or_default()
}

fn bit(rows: &[Matched], bits: &[Vec<BooleanBuffer>], row: usize, filter: usize) -> bool {
    let Some(address) = rows.get(row).map(|row| row.address) else {
        return false;
    };
    bits.get(address.table as usize)
        .and_then(|bits| bits.get(filter))
        .is_some_and(|bits| bits.value(address.row as usize))
}

/// Sorts the rows by trace (newest first, then id), start and id, as those of a whole trace are. Returns the
/// traces, by index.
fn rank(
    matched: &mut [Matched],
    table: &TraceTable,
    span_id: &dyn Fn(&Matched) -> SpanId,
) -> Vec<u32> {
    let mut traces: Vec<u32> = Vec::new();
    let mut seen = vec![u32::MAX; table.id.len()];
    for row in matched.iter() {
        if let Some(seen) = seen.get_mut(row.rank as usize)
            && *seen == u32::MAX
        {
            *seen = 0;
            traces.push(row.rank);
        }
    }
    let facts = |trace: u32| {
        let start = table.start.get(trace as usize).copied().unwrap_or_default();
        let id = table.id.get(trace as usize).copied().unwrap_or_default();
        (start, id)
    };
    traces.sort_unstable_by_key(|trace| {
        let (start, id) = facts(*trace);
        (Reverse(start), id)
    });
    for (rank, trace) in traces.iter().enumerate() {
        if let Some(seen) = seen.get_mut(*trace as usize) {
            *seen = rank as u32;
        }
    }
    for row in matched.iter_mut() {
        row.rank = seen.get(row.rank as usize).copied().unwrap_or_default();
    }
    matched.sort_unstable_by(|a, b| {
        let place = |row: &Matched| (row.rank, row.start);
        let by_id = || (span_id(a), a.address).cmp(&(span_id(b), b.address));
        place(a).cmp(&place(b)).then_with(by_id)
    });
    traces
}

/// Which of the sorted rows each trace has.
fn runs(
    traces: &[u32],
    matched: &[Matched],
    table: &TraceTable,
    in_window: &[bool],
) -> Vec<LeafTrace> {
    let mut runs: Vec<LeafTrace> = Vec::with_capacity(traces.len());
    let mut from = 0u32;
    for (rank, trace) in traces.iter().enumerate() {
        let trace = *trace as usize;
        let rest = matched.get(from as usize..).unwrap_or_default();
        let n = rest.partition_point(|row| row.rank as usize <= rank) as u32;
        runs.push(LeafTrace {
            trace_id: table.id.get(trace).copied().unwrap_or_default(),
            from,
            to: from + n,
            start_unix_nano: table.start.get(trace).copied().unwrap_or_default(),
            in_window: in_window.get(trace).is_some_and(|is| *is),
        });
        from += n;
    }
    runs
}
