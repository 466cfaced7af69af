//! What a query sees of a generation: rows that do not change any more.

use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tracewell_model::shared::SharedIds;
use tracewell_model::source::{
    KeyAnswer, KeyQuery, LeafBatch, LeafQuery, QueryContext, SourceError, SourceResult,
    SourceSummary, SpanSource, TraceRow,
};
use tracewell_model::{TenantId, Trace, TraceId};

use super::generation::{Batch, Core};
use super::traces::TraceTable;
use crate::table::{Dictionary, RowError};

/// A generation as it was at one moment.
#[derive(Debug)]
pub struct GenerationSnapshot {
    /// For what is found by hash: the generation may hold more by now.
    pub(super) core: Arc<Core>,
    pub(super) batches: Vec<Arc<Batch>>,
    pub(super) dictionary: Dictionary,
    n_traces: usize,
    n_spans: usize,
    summary: SourceSummary,
    traces: OnceLock<TraceTable>,
}

impl GenerationSnapshot {
    pub(super) fn new(
        core: Arc<Core>,
        batches: Vec<Arc<Batch>>,
        dictionary: Dictionary,
        n_traces: usize,
        (start_min, start_max): (u64, u64),
    ) -> Self {
        let n_spans = batches.iter().map(|batch| batch.table.n_spans()).sum();
        let summary = SourceSummary {
            name: format!("head generation {}", core.sequence()),
            tenant: match dictionary.tenants.as_slice() {
                [tenant] => Some(tenant.clone()),
                _ => None,
            },
            span_start_min: start_min,
            span_start_max: start_max,
            trace_start_max: start_max,
            n_spans: n_spans as u64,
            n_traces: n_traces as u64,
            bytes: core.n_bytes(),
        };
        Self {
            core,
            batches,
            dictionary,
            n_traces,
            n_spans,
            summary,
            traces: OnceLock::new(),
        }
    }

    pub fn n_spans(&self) -> usize {
        self.n_spans
    }

    /// The generation that this was taken of.
    pub fn sequence(&self) -> u64 {
        self.core.sequence()
    }

    /// What the rows name by number.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    pub(super) fn trace_table(&self) -> &TraceTable {
        self.traces
            .get_or_init(|| TraceTable::new(&self.batches, self.n_traces))
    }

    /// Indexes of the given traces that have rows here.
    pub(super) fn trace_indexes(&self, tenant: &TenantId, ids: &[TraceId]) -> Vec<usize> {
        self.core
            .trace_indexes(tenant, ids)
            .into_iter()
            .map(|index| index as usize)
            .filter(|index| *index < self.n_traces)
            .collect()
    }

    pub(super) fn damaged(&self, error: &RowError) -> SourceError {
        self.damaged_by(&error.to_string())
    }

    pub(super) fn damaged_by(&self, reason: &str) -> SourceError {
        SourceError::Damaged {
            source_name: self.summary.name.clone(),
            reason: reason.to_owned(),
        }
    }

    fn fetch_now(
        &self,
        tenant: &TenantId,
        ids: &[TraceId],
        ctx: &QueryContext,
    ) -> SourceResult<Vec<Trace>> {
        let wanted = self.trace_indexes(tenant, ids);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut places = vec![u32::MAX; self.n_traces];
        let mut traces: Vec<Trace> = Vec::with_capacity(wanted.len());
        for index in wanted {
            if let Some(place) = places.get_mut(index) {
                *place = traces.len() as u32;
                traces.push(Trace::default());
            }
        }
        // What a span takes on average: it is about to be copied, and a trace may be of any size.
        let row_bytes = self.summary.bytes / self.summary.n_spans.max(1);
        for batch in &self.batches {
            ctx.check()?;
            for (row, trace) in batch.trace.iter().enumerate() {
                let place = places.get(*trace as usize).copied().unwrap_or(u32::MAX);
                let Some(trace) = traces.get_mut(place as usize) else {
                    continue;
                };
                if ctx.is_full() {
                    ctx.leave_out(1);
                    continue;
                }
                ctx.read_bytes(row_bytes)?;
                let span = batch
                    .table
                    .span(&self.dictionary, row)
                    .map_err(|error| self.damaged(&error))?;
                ctx.hold(&span);
                trace.trace_id = span.trace_id;
                trace.spans.push(span);
            }
        }
        traces.retain(|trace| !trace.spans.is_empty());
        for trace in &mut traces {
            trace
                .spans
                .sort_by_key(|span| (span.start_unix_nano, span.span_id));
        }
        traces.sort_by_key(|trace| trace.trace_id);
        ctx.add_inspected_spans(traces.iter().map(|trace| trace.spans.len() as u64).sum());
        Ok(traces)
    }

    fn traces_now(&self, tenant: &TenantId, ids: &[TraceId]) -> Vec<TraceRow> {
        let table = self.trace_table();
        let mut rows: Vec<TraceRow> = self
            .trace_indexes(tenant, ids)
            .into_iter()
            .filter_map(|index| table.row(index, &self.batches, &self.dictionary))
            .collect();
        rows.sort_by_key(|row| row.trace_id);
        rows
    }
}

impl SpanSource for GenerationSnapshot {
    fn summary(&self) -> &SourceSummary {
        &self.summary
    }

    fn leaves(
        &self,
        query: LeafQuery,
        ctx: QueryContext,
    ) -> BoxStream<'_, SourceResult<LeafBatch>> {
        async move {
            match self.scan(&query, &ctx).await {
                Ok(batches) => stream::iter(batches.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(error) => stream::iter(vec![Err(error)]),
            }
        }
        .flatten_stream()
        .boxed()
    }

    fn traces<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<TraceRow>>> {
        async move {
            ctx.check()?;
            Ok(self.traces_now(tenant, ids))
        }
        .boxed()
    }

    fn fetch<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<Trace>>> {
        async move { self.fetch_now(tenant, ids, &ctx) }.boxed()
    }

    fn keys<'a>(
        &'a self,
        query: &'a KeyQuery,
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<KeyAnswer>> {
        self.answer_keys(query, ctx).boxed()
    }

    fn may_contain(&self, tenant: &TenantId, id: TraceId) -> bool {
        self.core.trace_index(tenant, id).is_some()
    }

    fn shared_ids(&self) -> Arc<SharedIds> {
        self.core.shared().ids()
    }
}
