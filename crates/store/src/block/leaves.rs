//! Scans a group of a block: which spans satisfy which filter.
//!
//! What excludes the group is asked first and reads nothing of its rows. Then the columns of the
//! filters are read, and only for traces with a match what says whether they take part: their rows
//! of the trace table, and the starts of their spans where the window cuts through the group. A group
//! outside of the window is scanned for fragments of shared traces alone.

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, FixedSizeBinaryArray};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer};
use tracewell_model::shared::SharedIds;
use tracewell_model::source::{LeafBatch, LeafQuery, QueryContext, SourceResult, TraceSet};
use tracewell_model::{Column, ColumnValues, Filter, Intrinsic, TraceId};

use super::arrays::named;
use super::columns::GroupColumns;
use super::error::{BlockError, BlockResult};
use super::file::selection;
use super::read::{BlockReader, GroupTraces};
use super::schema::Table;
use super::traces::TraceRun;
use crate::scan::{self, RunColumns, Selection, assemble, evaluate, hit_runs, union};

/// A scan of one group.
pub(super) struct GroupScan<'a> {
    pub(super) reader: &'a BlockReader,
    pub(super) query: &'a LeafQuery,
    pub(super) shared: &'a SharedIds,
    pub(super) group: usize,
    pub(super) ctx: &'a QueryContext,
}

/// Rows to look at.
struct Within {
    /// Of traces that are asked the filters.
    whole: Selection,
    /// Of traces that are asked the filters for fragments.
    parts: Selection,
}

impl GroupScan<'_> {
    /// `next` is the largest start of the traces that come after this group.
    pub(super) async fn run(&self, next: Option<u64>) -> SourceResult<LeafBatch> {
        // A group takes some 10 ms, and what the cache holds never waits by itself.
        tokio::task::yield_now().await;
        self.ctx.check()?;
        let fail = |error| self.reader.source_error(error);
        let unit = GroupColumns::open(self.reader, self.group, self.ctx).map_err(fail)?;
        let bits = self.bits(&unit).await?;
        self.matches(&unit, bits, next).await.map_err(fail)
    }

    async fn bits(&self, unit: &GroupColumns<'_>) -> SourceResult<Vec<BooleanBuffer>> {
        let fail = |error| self.reader.source_error(error);
        let n_spans = scan::Columns::n_spans(unit);
        let filters = &self.query.filters;
        let fragment_filters = self.query.fragment_filters.as_deref().unwrap_or_default();
        let whole = possible(unit, filters).await.map_err(fail)?;
        let parts = possible(unit, fragment_filters).await.map_err(fail)?;
        let is_ruled_out = !whole.iter().chain(&parts).any(Option::is_some);
        // Others are looked at for fragments alone.
        if self.query.only.is_none() && !self.is_outside().map_err(fail)? {
            self.ctx.note_group(is_ruled_out);
        }
        if is_ruled_out {
            return Ok(vec![BooleanBuffer::new_unset(n_spans); filters.len()]);
        }
        let within = self.within(unit, n_spans).await.map_err(fail)?;
        let n_selected = within.whole.n_selected() + within.parts.n_selected();
        self.ctx.add_inspected_spans(n_selected as u64);
        let mut all = Vec::with_capacity(filters.len());
        for (index, filter) in whole.into_iter().enumerate() {
            let mut bits = match filter {
                Some(filter) => evaluate(unit, filter, &within.whole).await?,
                None => BooleanBuffer::new_unset(n_spans),
            };
            if let Some(Some(filter)) = parts.get(index) {
                bits = &bits | &evaluate(unit, filter, &within.parts).await?;
            }
            all.push(bits);
        }
        Ok(all)
    }

    /// True if no span of the group starts in the window.
    fn is_outside(&self) -> BlockResult<bool> {
        let meta = self.reader.group(self.group)?;
        let window = self.query.window;
        Ok(!window.intersects(meta.span_start_min, meta.span_start_max))
    }

    /// The spans that filters are evaluated on: those of the tenant, of the named traces, or, outside
    /// of the window, of shared traces. Where the window cuts through the group is seen later, and
    /// only for traces with a match.
    async fn within(&self, unit: &GroupColumns<'_>, n_spans: usize) -> BlockResult<Within> {
        let none = || Selection::of(BooleanBuffer::new_unset(n_spans));
        let is_alone = self.reader.group(self.group)?.tenants.len() == 1;
        let is_outside = self.is_outside()?;
        let has_parts = self.query.fragment_filters.is_some() && self.query.only.is_none();
        if self.query.only.is_none() && !is_outside && is_alone && !has_parts {
            return Ok(Within {
                whole: Selection::all(n_spans),
                parts: none(),
            });
        }
        let traces = unit.traces().await?;
        let runs = self.runs_to_look_at(traces, is_outside);
        if !has_parts {
            return Ok(Within {
                whole: select(&runs, n_spans),
                parts: none(),
            });
        }
        let (parts, whole): (Vec<&TraceRun>, Vec<_>) = runs
            .into_iter()
            .partition(|run| self.shared.contains(run.trace_id));
        Ok(Within {
            whole: select(&whole, n_spans),
            parts: select(&parts, n_spans),
        })
    }

    fn runs_to_look_at<'t>(&self, traces: &'t GroupTraces, is_outside: bool) -> Vec<&'t TraceRun> {
        let tenant = &self.query.tenant;
        let named = |ids: &[TraceId]| -> Vec<&'t TraceRun> {
            let found = traces.find(tenant, ids);
            let runs = found.iter().filter_map(|number| traces.runs.get(*number));
            runs.collect()
        };
        if let Some(ids) = &self.query.only {
            return named(ids);
        }
        let is_shared = |run: &&TraceRun| self.shared.contains(run.trace_id);
        let own = || {
            traces
                .runs
                .get(traces.of_tenant(tenant))
                .unwrap_or_default()
        };
        match (&self.query.also, is_outside) {
            (_, false) => own().iter().collect(),
            (TraceSet::Ids(ids), true) => named(ids).into_iter().filter(is_shared).collect(),
            (TraceSet::All, true) => own().iter().filter(is_shared).collect(),
        }
    }

    async fn matches(
        &self,
        unit: &GroupColumns<'_>,
        bits: Vec<BooleanBuffer>,
        next: Option<u64>,
    ) -> BlockResult<LeafBatch> {
        let Some(any) = union(&bits).filter(BooleanBuffer::has_true) else {
            return Ok(LeafBatch::nothing(bits.len(), next));
        };
        let traces = unit.traces().await?;
        let hits = hit_runs(traces.runs.iter().map(TraceRun::range), &any);
        let hits: Vec<&TraceRun> = hits
            .iter()
            .filter_map(|number| traces.runs.get(*number))
            .collect();
        let in_window = self.in_window(unit, &hits).await?;
        let may_lie_outside =
            |run: &TraceRun| self.query.only.is_some() || self.shared.contains(run.trace_id);
        let runs: Vec<scan::TraceRun> = hits
            .into_iter()
            .zip(in_window)
            .filter(|(run, in_window)| *in_window || may_lie_outside(run))
            .map(|(run, in_window)| scan::TraceRun {
                trace_id: run.trace_id,
                from: run.from,
                to: run.to,
                start_unix_nano: run.start_unix_nano,
                in_window,
            })
            .collect();
        let rows = match self.query.spans || !self.query.columns.is_empty() {
            true => kept_rows(&runs, &any),
            false => Vec::new(),
        };
        let columns = match self.query.spans {
            true => Some(self.run_columns(&runs, &any, &rows).await?),
            false => None,
        };
        let mut values = Vec::with_capacity(self.query.columns.len());
        for column in self.query.columns.iter() {
            let column = scan::values(unit, column, &rows).await;
            values.push(column.map_err(BlockError::Query)?);
        }
        let shared = match self.query.only {
            Some(_) => Vec::new(),
            None => {
                let starts = self.starts_to_compare(unit, &rows, &values).await?;
                self.open_traces(&runs, &any, starts.as_ref())
            }
        };
        let columns = (columns.as_ref(), values);
        assemble(columns, &runs, &bits, shared, next)
            .map_err(|error| BlockError::malformed("spans", error.to_string()))
    }

    /// The starts of these rows where columns are asked and spans may lie here twice: merges leave equal spans out,
    /// first blocks do not. `values` are those of the columns.
    async fn starts_to_compare(
        &self,
        unit: &GroupColumns<'_>,
        rows: &[u32],
        values: &[ColumnValues],
    ) -> BlockResult<Option<ColumnValues>> {
        if values.is_empty() || self.reader.meta().level > 0 {
            return Ok(None);
        }
        let start = Column::Intrinsic(Intrinsic::Start);
        let mut asked = self.query.columns.iter().zip(values);
        if let Some((_, starts)) = asked.find(|(column, _)| **column == start) {
            return Ok(Some(starts.clone()));
        }
        let starts = scan::values(unit, &start, rows).await;
        starts.map(Some).map_err(BlockError::Query)
    }

    /// The traces of these runs that may have spans elsewhere, and, by these starts, those that may hold one twice.
    fn open_traces(
        &self,
        runs: &[scan::TraceRun],
        any: &BooleanBuffer,
        starts: Option<&ColumnValues>,
    ) -> Vec<TraceId> {
        let mut from = 0;
        let mut repeats = |run: &scan::TraceRun| {
            let Some(starts) = starts else {
                return false;
            };
            let n = any.slice(run.from as usize, (run.to - run.from) as usize);
            let to = from + n.count_set_bits();
            // They lie in the order of their starts.
            let mut rows = from..to.saturating_sub(1);
            from = to;
            rows.any(|row| starts.value(row) == starts.value(row + 1))
        };
        let is_open = |run: &&scan::TraceRun| repeats(run) || self.shared.contains(run.trace_id);
        runs.iter()
            .filter(is_open)
            .map(|run| run.trace_id)
            .collect()
    }

    /// Which of these runs have a span that starts in the window.
    async fn in_window(
        &self,
        unit: &GroupColumns<'_>,
        runs: &[&TraceRun],
    ) -> BlockResult<Vec<bool>> {
        let window = self.query.window;
        let meta = self.reader.group(self.group)?;
        if window.covers(meta.span_start_min, meta.span_start_max) {
            return Ok(vec![true; runs.len()]);
        }
        if self.is_outside()? {
            return Ok(vec![false; runs.len()]);
        }
        // A run has a span that starts when it starts, and none before.
        let is_open = |run: &TraceRun| run.start_unix_nano < window.start;
        let open = runs.iter().filter(|run| is_open(run));
        let ranges: Vec<_> = open.map(|run| run.range()).collect();
        let starts = match ranges.is_empty() {
            true => None,
            false => {
                let select = Some(selection(&ranges, scan::Columns::n_spans(unit)));
                let names = ["start_unix_nano"];
                let batch = self
                    .reader
                    .columns(self.group, Table::Spans, &names, select, self.ctx);
                let lacks = || BlockError::malformed("spans", "lacks a row group");
                let batch = batch.await?.ok_or_else(lacks)?;
                let starts = named(&batch, "start_unix_nano")?;
                Some(starts.as_primitive::<UInt64Type>().clone())
            }
        };
        let mut rest = starts.iter().flat_map(|starts| starts.values().iter());
        let of_run = |run: &&TraceRun| match is_open(run) {
            true => {
                let starts = rest.by_ref().take(run.range().len());
                starts.fold(false, |any, start| any | window.contains(*start))
            }
            false => window.contains(run.start_unix_nano),
        };
        Ok(runs.iter().map(of_run).collect())
    }

    /// Ids and starts of the matching spans of these runs.
    async fn run_columns(
        &self,
        runs: &[scan::TraceRun],
        any: &BooleanBuffer,
        rows: &[u32],
    ) -> BlockResult<RunColumns> {
        let mut trace_ids = Vec::with_capacity(rows.len() * 16);
        for run in runs {
            let kept = any.slice(run.from as usize, (run.to - run.from) as usize);
            for _ in 0..kept.count_set_bits() {
                trace_ids.extend_from_slice(&run.trace_id.0);
            }
        }
        let wide: Vec<usize> = rows.iter().map(|row| *row as usize).collect();
        let select = Some(selection(&super::rows::consecutive(&wide), any.len()));
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

/// The spans of these runs with at least one bit.
fn kept_rows(runs: &[scan::TraceRun], any: &BooleanBuffer) -> Vec<u32> {
    if !any.has_false() {
        let all = runs.iter().map(|run| run.from..run.to);
        return all.flatten().collect();
    }
    let mut rows = Vec::new();
    for run in runs {
        let kept = any.slice(run.from as usize, (run.to - run.from) as usize);
        rows.extend(kept.set_indices().map(|row| run.from + row as u32));
    }
    rows
}

/// The filters that some span of the group may satisfy, by what excludes it as a whole.
async fn possible<'f>(
    unit: &GroupColumns<'_>,
    filters: &'f [Filter],
) -> BlockResult<Vec<Option<&'f Filter>>> {
    let mut all = Vec::with_capacity(filters.len());
    for filter in filters {
        all.push(unit.may_hold(filter).await?.then_some(filter));
    }
    Ok(all)
}

/// The rows of these runs (ascending).
fn select(runs: &[&TraceRun], n_spans: usize) -> Selection {
    let mut bits = BooleanBufferBuilder::new(n_spans);
    for run in runs {
        bits.append_n((run.from as usize).saturating_sub(bits.len()), false);
        bits.append_n((run.to as usize).saturating_sub(bits.len()), true);
    }
    bits.append_n(n_spans.saturating_sub(bits.len()), false);
    Selection::of(bits.finish())
}
