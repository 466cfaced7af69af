//! A scan over a snapshot: which spans satisfy which filter, traces newest first.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, UInt64Array};
use arrow_buffer::{BooleanBuffer, Buffer};
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use tracewell_model::TraceId;
use tracewell_model::source::{
    LeafBatch, LeafQuery, LeafTrace, QueryContext, SharedWanted, SourceResult,
};

use super::columns::{BatchColumns, Memo};
use super::snapshot::GenerationSnapshot;
use super::traces::TraceTable;
use crate::scan::{Selection, evaluate, leaf_batch, union};
use crate::table::RowAddress;

/// Rows of one answer batch, more or less: a trace is never cut.
const ANSWER_SPANS: usize = 1 << 14;

/// A span with at least one bit.
#[derive(Clone, Copy)]
struct Matched {
    /// Place of its trace in the order of the answer, once known; until then the trace's index.
    rank: u32,
    start: u64,
    address: RowAddress,
}

/// Which traces are looked at here, and which may lie in other sources too.
struct Candidates {
    eligible: Vec<bool>,
    all: bool,
    shared: Vec<TraceId>,
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
        let mut bits: Vec<Vec<BooleanBuffer>> = Vec::with_capacity(self.batches.len());
        let mut matched: Vec<Matched> = Vec::new();
        for (index, batch) in self.batches.iter().enumerate() {
            ctx.check()?;
            let within = candidates.rows(&batch.trace);
            let unit = BatchColumns::new(self, batch, &memo);
            let mut per_filter = Vec::with_capacity(query.filters.len());
            for filter in query.filters.iter() {
                per_filter.push(evaluate(&unit, filter, &within).await?);
            }
            ctx.add_inspected_spans(within.n_selected() as u64);
            if let Some(any) = union(&per_filter) {
                matched.extend(any.set_indices().map(|row| Matched {
                    rank: batch.trace.get(row).copied().unwrap_or_default(),
                    start: start_of(self, index, row),
                    address: RowAddress {
                        table: index as u32,
                        row: row as u32,
                    },
                }));
            }
            bits.push(per_filter);
        }
        let order = rank(&mut matched, table);
        let mut shared = candidates.shared;
        if query.shared == SharedWanted::Matched {
            let matched: HashSet<TraceId, FixedState> =
                order.iter().map(|trace| trace.trace_id).collect();
            shared.retain(|id| matched.contains(id));
        }
        self.answer(query, &order, &matched, &bits, shared)
    }

    /// The named traces, all of their spans.
    fn only(&self, query: &LeafQuery, ids: &[TraceId]) -> Candidates {
        let mut eligible = vec![false; self.trace_table().id.len()];
        for index in self.trace_indexes(&query.tenant, ids) {
            if let Some(eligible) = eligible.get_mut(index) {
                *eligible = true;
            }
        }
        Candidates {
            eligible,
            all: false,
            shared: Vec::new(),
        }
    }

    /// The tenant's traces with a span that starts in the window, and the shared ones among them.
    fn in_window(&self, query: &LeafQuery, table: &TraceTable) -> Candidates {
        let n = table.id.len();
        let tenants = &self.dictionary.tenants;
        let tenant = tenants.iter().position(|tenant| *tenant == query.tenant);
        let summary = tracewell_model::source::SpanSource::summary(self);
        let covered = query
            .window
            .covers(summary.span_start_min, summary.span_start_max);
        let mut eligible = vec![covered && tenants.len() == 1; n];
        let Some(tenant) = tenant else {
            return Candidates {
                eligible: vec![false; n],
                all: false,
                shared: Vec::new(),
            };
        };
        if !(covered && tenants.len() == 1) {
            for batch in &self.batches {
                let spans = &batch.table.spans;
                let rows = batch.trace.iter().zip(&spans.tenant);
                for ((trace, of), start) in rows.zip(&spans.start_unix_nano) {
                    if usize::from(*of) == tenant
                        && query.window.contains(*start)
                        && let Some(eligible) = eligible.get_mut(*trace as usize)
                    {
                        *eligible = true;
                    }
                }
            }
        }
        let ids = self.core.shared().ids();
        let shared = eligible.iter().zip(&table.id);
        let shared = shared.filter(|(eligible, id)| **eligible && ids.contains(**id));
        let shared = shared.map(|(_, id)| *id).collect();
        let all = eligible.iter().all(|eligible| *eligible);
        Candidates {
            eligible,
            all,
            shared,
        }
    }

    /// Batches of whole traces in order.
    fn answer(
        &self,
        query: &LeafQuery,
        order: &[LeafTrace],
        matched: &[Matched],
        bits: &[Vec<BooleanBuffer>],
        shared: Vec<TraceId>,
    ) -> SourceResult<Vec<LeafBatch>> {
        let mut answers = Vec::new();
        let mut shared = Some(shared);
        let mut rest = order;
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
            let rows = matched.get(from..to).unwrap_or_default();
            let traces = now
                .iter()
                .map(|trace| LeafTrace {
                    from: trace.from - from as u32,
                    to: trace.to - from as u32,
                    ..*trace
                })
                .collect();
            let of_filter = |filter: usize| {
                BooleanBuffer::collect_bool(rows.len(), |i| bit(rows, bits, i, filter))
            };
            let batch = leaf_batch(
                query.spans.then(|| self.arrays(rows)),
                rows.len(),
                (0..query.filters.len()).map(of_filter).collect(),
                traces,
                shared.take().unwrap_or_default(),
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

impl Candidates {
    fn rows(&self, traces: &[u32]) -> Selection {
        if self.all {
            return Selection::all(traces.len());
        }
        Selection::of(BooleanBuffer::collect_bool(traces.len(), |row| {
            traces
                .get(row)
                .and_then(|trace| self.eligible.get(*trace as usize))
                .is_some_and(|eligible| *eligible)
        }))
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

/// Sorts the rows by trace (newest first, then id) and start, and says which rows each trace has.
fn rank(matched: &mut [Matched], table: &TraceTable) -> Vec<LeafTrace> {
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
    matched.sort_unstable_by_key(|row| (row.rank, row.start, row.address));
    let mut order: Vec<LeafTrace> = Vec::with_capacity(traces.len());
    let mut from = 0u32;
    for (rank, trace) in traces.into_iter().enumerate() {
        let rest = matched.get(from as usize..).unwrap_or_default();
        let n = rest.partition_point(|row| row.rank as usize <= rank) as u32;
        let (start_unix_nano, trace_id) = facts(trace);
        order.push(LeafTrace {
            trace_id,
            from,
            to: from + n,
            start_unix_nano,
        });
        from += n;
    }
    order
}
