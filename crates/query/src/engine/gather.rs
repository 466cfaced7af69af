//! Whole traces from all sources that may hold a fragment of them.

use std::sync::Arc;

use futures::StreamExt;
use hashbrown::HashMap;
use tracewell_model::clock::TimeRange;
use tracewell_model::source::{LeafBatch, LeafQuery, LeafTrace, TraceRoot, TraceRow, TraceSet};
use tracewell_model::span::duration_nano;
use tracewell_model::{Column, Filter, Intrinsic, Trace, TraceId, Value};

use super::readings::next_batch;
use super::run::Run;
use crate::error::Result;
use crate::leaves;
use crate::open::OpenSpans;
use crate::partial::{OpenTrace, OpenTraces};

/// Spans of traces of several sources that are held at once by what they match: at some 150 bytes, 16 MB.
pub(super) const OPEN_SPANS_MAX: usize = if cfg!(test) { 40 } else { 100_000 };

/// The rows of one trace of all sources, added up.
#[derive(Debug, Clone)]
pub(super) struct JoinedRow {
    pub(super) start_unix_nano: u64,
    pub(super) end_unix_nano: u64,
    pub(super) root: Option<TraceRoot>,
    /// Repeated spans counted as often as they are stored.
    pub(super) n_spans: u64,
}

impl Run {
    /// For every source, those ids (sorted) that it may hold.
    fn holders(&self, ids: &[TraceId]) -> Vec<(usize, Vec<TraceId>)> {
        self.sources
            .iter()
            .enumerate()
            .filter_map(|(index, source)| {
                let held: Vec<TraceId> = ids
                    .iter()
                    .filter(|id| source.may_contain(&self.tenant, **id))
                    .copied()
                    .collect();
                (!held.is_empty()).then_some((index, held))
            })
            .collect()
    }

    /// What a source is asked of these traces (ids sorted), wherever their spans start.
    fn about(&self, ids: Vec<TraceId>, filters: &Arc<[Filter]>) -> LeafQuery {
        LeafQuery {
            tenant: self.tenant.clone(),
            filters: Arc::clone(filters),
            fragment_filters: None,
            window: TimeRange::ALL,
            also: TraceSet::none(),
            only: Some(ids.into()),
            needs_all: true,
            spans: false,
            columns: Arc::default(),
        }
    }

    /// The trace rows of ids (sorted), each from all sources.
    pub(super) async fn rows(&mut self, ids: &[TraceId]) -> Result<HashMap<TraceId, JoinedRow>> {
        let mut joined: HashMap<TraceId, JoinedRow> = HashMap::with_capacity(ids.len());
        for (index, held) in self.holders(ids) {
            if !self.may_go_on()? {
                break;
            }
            let Some(source) = self.sources.get(index).map(Arc::clone) else {
                continue;
            };
            let answer = source.traces(&self.tenant, &held, self.ctx.clone()).await;
            for row in self.note(&*source, answer)?.unwrap_or_default() {
                match joined.get_mut(&row.trace_id) {
                    Some(known) => known.add(row),
                    None => {
                        joined.insert(row.trace_id, JoinedRow::of(row));
                    }
                }
            }
        }
        Ok(joined)
    }

    /// Asks the sources that may hold some of these traces (ids sorted), one behind the other, and hands on what they
    /// say until `take` has enough; false then. `change` is what is asked besides the filters. A source that fails
    /// is noted, as everywhere.
    async fn for_each_batch(
        &mut self,
        (ids, filters): (&[TraceId], &Arc<[Filter]>),
        change: impl Fn(&mut LeafQuery),
        mut take: impl FnMut(LeafBatch) -> bool,
    ) -> Result<bool> {
        let sources = self.sources.clone();
        let asked = self.holders(ids).into_iter().filter_map(|(index, held)| {
            let source = sources.get(index)?;
            let mut query = self.about(held, filters);
            change(&mut query);
            let batches = source.leaves(query, self.ctx.clone()).peekable();
            Some((source, batches))
        });
        let mut asked: Vec<_> = asked.collect();
        let mut rest = asked.as_mut_slice();
        while let [(source, batches), later @ ..] = rest {
            while self.may_go_on()? {
                let later = later.first_mut().map(|(_, batches)| batches);
                let Some(answer) = next_batch(batches, later).await else {
                    break;
                };
                let Some(batch) = self.note(&***source, answer)? else {
                    break;
                };
                if !take(batch) {
                    return Ok(false);
                }
            }
            rest = later;
        }
        Ok(true)
    }

    /// Which filters have a match in traces that lie in several sources (ids sorted), wherever it starts;
    /// and whether a fragment with one has a span that starts in the window.
    pub(super) async fn filter_bits(
        &mut self,
        ids: &[TraceId],
        filters: &Arc<[Filter]>,
        window: TimeRange,
    ) -> Result<OpenTraces> {
        let mut open = OpenTraces::default();
        let in_window = |query: &mut LeafQuery| query.window = window;
        self.for_each_batch((ids, filters), in_window, |batch| {
            for (id, trace) in trace_bits(&batch) {
                open.add(id, trace);
            }
            true
        })
        .await?;
        Ok(open)
    }

    /// What sources say of the spans of traces that lie in several (ids sorted), wherever they start. `None` where
    /// they are more than are held at once.
    pub(super) async fn open_spans(
        &mut self,
        ids: &[TraceId],
        filters: &Arc<[Filter]>,
        columns: &Arc<[Column]>,
    ) -> Result<Option<OpenSpans>> {
        let mut open = OpenSpans::new(Arc::clone(columns));
        let with_columns = |query: &mut LeafQuery| query.columns = Arc::clone(columns);
        let is_all = self
            .for_each_batch((ids, filters), with_columns, |batch| {
                open.add(batch);
                open.n_spans() <= OPEN_SPANS_MAX
            })
            .await?;
        Ok(is_all.then_some(open))
    }

    /// Whole traces of ids (sorted), with repeated spans once; and how many spans were left out
    /// because the memory of queries is full. What was fetched before must not be held any more, but
    /// for `kept_bytes` of an answer.
    pub(super) async fn whole(
        &mut self,
        ids: &[TraceId],
        kept_bytes: u64,
    ) -> Result<(Vec<Trace>, u64)> {
        self.ctx.release(kept_bytes);
        let mut joined: HashMap<TraceId, Trace> = HashMap::with_capacity(ids.len());
        for (index, held) in self.holders(ids) {
            if !self.may_go_on()? {
                break;
            }
            let Some(source) = self.sources.get(index).map(Arc::clone) else {
                continue;
            };
            let answer = source.fetch(&self.tenant, &held, self.ctx.clone()).await;
            for trace in self.note(&*source, answer)?.unwrap_or_default() {
                match joined.get_mut(&trace.trace_id) {
                    Some(known) => known.spans.extend(trace.spans),
                    None => {
                        joined.insert(trace.trace_id, trace);
                    }
                }
            }
        }
        let mut traces: Vec<Trace> = joined.into_values().collect();
        self.deduplicate(&mut traces);
        Ok((traces, self.ctx.take_left_out()))
    }

    /// Leaves repeated spans of whole traces once, and counts what was met.
    pub(super) fn deduplicate(&mut self, traces: &mut [Trace]) {
        for trace in traces {
            self.duplicate_spans += trace.deduplicate() as u64;
            self.twin_spans += trace.n_twins() as u64;
        }
    }
}

impl JoinedRow {
    fn of(row: TraceRow) -> Self {
        Self {
            start_unix_nano: row.start_unix_nano,
            end_unix_nano: row.end_unix_nano,
            root: row.root,
            n_spans: row.n_spans,
        }
    }

    /// The value of a column that is one of the whole trace.
    pub(super) fn value(&self, column: &Column) -> Option<Value<'_>> {
        let root = self.root.as_ref();
        match column {
            Column::Intrinsic(Intrinsic::TraceDuration) => Some(Value::Duration(duration_nano(
                self.start_unix_nano,
                self.end_unix_nano,
            ))),
            Column::Intrinsic(Intrinsic::RootName) => {
                Some(root.map_or(Value::Nil, |root| Value::String(&root.name)))
            }
            Column::Intrinsic(Intrinsic::RootService) => {
                Some(root.map_or(Value::Nil, |root| Value::String(&root.service)))
            }
            _ => None,
        }
    }

    fn add(&mut self, row: TraceRow) {
        self.start_unix_nano = self.start_unix_nano.min(row.start_unix_nano);
        self.end_unix_nano = self.end_unix_nano.max(row.end_unix_nano);
        self.n_spans = self.n_spans.saturating_add(row.n_spans);
        let place = |root: &TraceRoot| (root.start_unix_nano, root.span_id);
        self.root = match (self.root.take(), row.root) {
            (Some(a), Some(b)) => Some(if place(&b) < place(&a) { b } else { a }),
            (a, b) => a.or(b),
        };
    }
}

/// What a batch says of each of its traces.
pub(super) fn trace_bits(batch: &LeafBatch) -> impl Iterator<Item = (TraceId, OpenTrace)> {
    let traces = batch.traces.iter();
    traces.map(|trace| (trace.trace_id, open_trace(batch, trace)))
}

/// Which filters have a match in a trace of a batch, and where it stands.
pub(super) fn open_trace(batch: &LeafBatch, trace: &LeafTrace) -> OpenTrace {
    OpenTrace {
        filters: leaves::filters_of(batch, trace),
        n_matched: trace.to.saturating_sub(trace.from).into(),
        start_unix_nano: trace.start_unix_nano,
        in_window: trace.in_window,
    }
}
