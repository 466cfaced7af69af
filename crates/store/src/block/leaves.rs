//! Scans a group of a block: which spans satisfy which filter.
//!
//! What excludes the group is asked first and reads nothing of its rows. Then the columns of the
//! filters are read, and only for traces with a match what says whether they take part: their rows
//! of the trace table, and the starts of their spans where the window cuts through the group.

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, FixedSizeBinaryArray};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer};
use tracewell_model::TraceId;
use tracewell_model::source::{LeafBatch, LeafQuery, QueryContext, SharedWanted, SourceResult};

use super::arrays::named;
use super::columns::GroupColumns;
use super::error::{BlockError, BlockResult};
use super::file::selection;
use super::read::{BlockReader, GroupTraces};
use super::schema::Table;
use super::traces::TraceRun;
use crate::scan::{self, RunColumns, Selection, assemble, evaluate, hit_runs, union};
use crate::shared::SharedIds;

/// A scan of one group.
pub(super) struct GroupScan<'a> {
    pub(super) reader: &'a BlockReader,
    pub(super) query: &'a LeafQuery,
    pub(super) shared: &'a SharedIds,
    pub(super) group: usize,
    pub(super) ctx: &'a QueryContext,
}

impl GroupScan<'_> {
    /// `next` is the largest start of the traces that come after this group.
    pub(super) async fn run(&self, next: Option<u64>) -> SourceResult<LeafBatch> {
        self.ctx.check()?;
        let fail = |error| self.reader.source_error(error);
        let unit = GroupColumns::open(self.reader, self.group, self.ctx);
        let unit = unit.await.map_err(fail)?;
        let n_spans = scan::Columns::n_spans(&unit);
        let within = self.within(&unit, n_spans).await.map_err(fail)?;
        self.ctx.add_inspected_spans(within.n_selected() as u64);
        let mut bits = Vec::with_capacity(self.query.filters.len());
        for filter in self.query.filters.iter() {
            let may_hold = !within.is_empty() && unit.may_hold(filter).await.map_err(fail)?;
            bits.push(match may_hold {
                true => evaluate(&unit, filter, &within).await?,
                false => BooleanBuffer::new_unset(n_spans),
            });
        }
        self.matches(&unit, bits, next).await.map_err(fail)
    }

    /// The spans that filters are evaluated on: those of the tenant, or of the named traces. Where the
    /// window cuts through the group is seen later, and only for traces with a match.
    async fn within(&self, unit: &GroupColumns<'_>, n_spans: usize) -> BlockResult<Selection> {
        let is_alone = self.reader.group(self.group)?.tenants.len() == 1;
        if self.query.only.is_none() && is_alone {
            return Ok(Selection::all(n_spans));
        }
        let traces = unit.traces().await?;
        let mut bits = BooleanBufferBuilder::new(n_spans);
        let mut select = |run: &TraceRun| {
            bits.append_n((run.from as usize).saturating_sub(bits.len()), false);
            bits.append_n((run.to as usize).saturating_sub(bits.len()), true);
        };
        match &self.query.only {
            Some(ids) => {
                let found = traces.find(&self.query.tenant, ids);
                let runs = found.iter().filter_map(|number| traces.runs.get(*number));
                runs.for_each(&mut select);
            }
            None => {
                let range = traces.of_tenant(&self.query.tenant);
                let runs = traces.runs.get(range).unwrap_or_default();
                runs.iter().for_each(&mut select);
            }
        }
        bits.append_n(n_spans.saturating_sub(bits.len()), false);
        Ok(Selection::of(bits.finish()))
    }

    async fn matches(
        &self,
        unit: &GroupColumns<'_>,
        bits: Vec<BooleanBuffer>,
        next: Option<u64>,
    ) -> BlockResult<LeafBatch> {
        let any = union(&bits);
        let wants_all_shared =
            self.query.only.is_none() && self.query.shared == SharedWanted::InWindow;
        let has_match = any.as_ref().is_some_and(BooleanBuffer::has_true);
        if !has_match && !wants_all_shared {
            return Ok(LeafBatch::nothing(bits.len(), next));
        }
        let traces = unit.traces().await?;
        let mut hits = match &any {
            Some(any) if has_match => hit_runs(traces.runs.iter().map(TraceRun::range), any),
            _ => Vec::new(),
        };
        if self.query.only.is_none() {
            self.retain_in_window(unit, traces, &mut hits).await?;
        }
        let shared = match (&self.query.only, self.query.shared) {
            (Some(_), _) => Vec::new(),
            (None, SharedWanted::Matched) => hits
                .iter()
                .filter_map(|number| traces.runs.get(*number))
                .map(|run| run.trace_id)
                .filter(|id| self.shared.contains(*id))
                .collect(),
            (None, SharedWanted::InWindow) => self.shared_in_window(traces),
        };
        let runs = hits.iter().filter_map(|number| traces.runs.get(*number));
        let runs: Vec<scan::TraceRun> = runs
            .map(|run| scan::TraceRun {
                trace_id: run.trace_id,
                from: run.from,
                to: run.to,
                start_unix_nano: run.start_unix_nano,
            })
            .collect();
        let columns = match (&any, self.query.spans) {
            (Some(any), true) => Some(self.run_columns(&runs, any).await?),
            _ => None,
        };
        assemble(columns.as_ref(), &runs, &bits, shared, next)
            .map_err(|error| BlockError::malformed("spans", error.to_string()))
    }

    /// Keeps the runs with a span that starts in the window.
    async fn retain_in_window(
        &self,
        unit: &GroupColumns<'_>,
        traces: &GroupTraces,
        hits: &mut Vec<usize>,
    ) -> BlockResult<()> {
        let window = self.query.window;
        let meta = self.reader.group(self.group)?;
        if window.covers(meta.span_start_min, meta.span_start_max) {
            return Ok(());
        }
        let run_of = |number: &usize| traces.runs.get(*number);
        // A run has a span that starts when it starts.
        let open: Vec<usize> = hits
            .iter()
            .copied()
            .filter(|number| {
                run_of(number).is_some_and(|run| {
                    !window.contains(run.start_unix_nano) && run.start_unix_nano < window.start
                })
            })
            .collect();
        let ranges: Vec<_> = open
            .iter()
            .filter_map(run_of)
            .map(TraceRun::range)
            .collect();
        let mut later: Vec<bool> = Vec::with_capacity(open.len());
        if !ranges.is_empty() {
            let n_spans = scan::Columns::n_spans(unit);
            let select = Some(selection(&ranges, n_spans));
            let batch = self
                .reader
                .columns(
                    self.group,
                    Table::Spans,
                    &["start_unix_nano"],
                    select,
                    self.ctx,
                )
                .await?
                .ok_or_else(|| BlockError::malformed("spans", "lacks a row group"))?;
            let starts = named(&batch, "start_unix_nano")?.as_primitive::<UInt64Type>();
            let mut rest = starts.values().iter();
            for range in &ranges {
                let starts = rest.by_ref().take(range.len());
                later.push(starts.fold(false, |any, start| any | window.contains(*start)));
            }
        }
        let mut later = open.into_iter().zip(later).peekable();
        hits.retain(|number| {
            let cut = later.next_if(|(open, _)| open == number);
            match cut {
                Some((_, is_in)) => is_in,
                None => run_of(number).is_some_and(|run| window.contains(run.start_unix_nano)),
            }
        });
        Ok(())
    }

    /// The shared traces that may have a span in the window, by their first start and last end: one
    /// too many is evaluated for nothing.
    fn shared_in_window(&self, traces: &GroupTraces) -> Vec<TraceId> {
        let window = self.query.window;
        let range = traces.of_tenant(&self.query.tenant);
        let runs = traces.runs.get(range.clone()).unwrap_or_default();
        let ends = traces.ends.get(range).unwrap_or_default();
        runs.iter()
            .zip(ends)
            .filter(|(run, end)| {
                window.intersects(run.start_unix_nano, run.start_unix_nano.max(**end))
                    && self.shared.contains(run.trace_id)
            })
            .map(|(run, _)| run.trace_id)
            .collect()
    }

    /// Ids and starts of the matching spans of these runs.
    async fn run_columns(
        &self,
        runs: &[scan::TraceRun],
        any: &BooleanBuffer,
    ) -> BlockResult<RunColumns> {
        let mut rows: Vec<usize> = Vec::new();
        let mut trace_ids = Vec::new();
        for run in runs {
            let (from, n) = (run.from as usize, (run.to - run.from) as usize);
            for row in any.slice(from, n).set_indices() {
                rows.push(from + row);
                trace_ids.extend_from_slice(&run.trace_id.0);
            }
        }
        let select = Some(selection(&super::rows::consecutive(&rows), any.len()));
        let names = ["span_id", "start_unix_nano"];
        let batch = self
            .reader
            .columns(self.group, Table::Spans, &names, select, self.ctx)
            .await?
            .ok_or_else(|| BlockError::malformed("spans", "lacks a row group"))?;
        let trace_id = FixedSizeBinaryArray::try_new(16, Buffer::from_vec(trace_ids), None);
        let columns = RunColumns {
            trace_id: trace_id.map_err(|error| BlockError::malformed("ids", error.to_string()))?,
            span_id: named(&batch, "span_id")?.as_fixed_size_binary().clone(),
            start_unix_nano: named(&batch, "start_unix_nano")?
                .as_primitive::<UInt64Type>()
                .clone(),
        };
        if columns.span_id.len() != rows.len() {
            return Err(BlockError::malformed("spans", "are fewer than rows"));
        }
        Ok(columns)
    }
}
