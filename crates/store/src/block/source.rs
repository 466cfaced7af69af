//! A block as a query reads it.

use std::cmp::Reverse;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt64Type};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tracewell_model::shared::SharedIds;
use tracewell_model::source::{
    KeyAnswer, KeyQuery, LeafBatch, LeafQuery, QueryContext, SourceError, SourceResult,
    SourceSummary, SpanSource, TraceRoot, TraceRow,
};
use tracewell_model::{SpanId, TenantId, Trace, TraceId};

use super::arrays::{Texts, named};
use super::columns::GroupColumns;
use super::error::{BlockError, BlockResult};
use super::file::selection;
use super::leaves::GroupScan;
use super::read::{BlockReader, id8};
use super::rows::consecutive;
use super::schema::Table;
use crate::shared::SharedTraces;
use crate::table::DictionaryBuilder;

/// Groups of a block that one query scans at the same time, so that no core waits while the query counts what has
/// come. Each holds the pages of a column: 8 MB for 200,000 strings of 40 bytes.
const GROUPS_AT_ONCE: usize = 4;

#[derive(Debug)]
pub struct BlockSource {
    reader: Arc<BlockReader>,
    summary: SourceSummary,
    shared: Arc<SharedTraces>,
}

// === impl BlockSource ===

impl BlockSource {
    pub fn new(reader: Arc<BlockReader>) -> BlockResult<Self> {
        let meta = reader.meta();
        let summary = SourceSummary {
            name: format!("block {}", meta.id),
            tenant: meta.tenant_id()?,
            span_start_min: meta.span_start_min,
            span_start_max: meta.span_start_max,
            trace_start_max: meta.trace_start_max,
            n_spans: meta.spans,
            n_traces: meta.traces,
            bytes: meta.table_bytes(),
        };
        let shared = SharedTraces::new(reader.shared().clone());
        Ok(Self {
            summary,
            shared: Arc::new(shared),
            reader,
        })
    }

    pub fn reader(&self) -> &Arc<BlockReader> {
        &self.reader
    }

    /// Learns further shared ids while the block lives.
    pub fn shared(&self) -> &Arc<SharedTraces> {
        &self.shared
    }

    pub(super) fn failed(&self, error: BlockError) -> SourceError {
        self.reader.source_error(error)
    }

    /// Groups that can take part, newest first, each with the largest start of those after it.
    async fn order(
        &self,
        query: &LeafQuery,
        ctx: &QueryContext,
    ) -> BlockResult<Vec<(usize, Option<u64>)>> {
        let mut order = Vec::new();
        for (group, meta) in self.reader.meta().groups.iter().enumerate() {
            if !meta
                .tenants
                .iter()
                .any(|tenant| tenant == query.tenant.as_str())
            {
                continue;
            }
            let takes_part = match &query.only {
                None => {
                    let (first, last) = (meta.span_start_min, meta.span_start_max);
                    query.window.intersects(first, last) || !query.also.is_none()
                }
                Some(ids) => self.may_match(query, ids, group, ctx).await?,
            };
            if takes_part {
                order.push((group, meta.trace_start_max));
            }
        }
        order.sort_by_key(|(_, start)| Reverse(*start));
        let later: Vec<Option<u64>> = order
            .iter()
            .skip(1)
            .map(|(_, start)| Some(*start))
            .chain([None])
            .collect();
        Ok(order
            .into_iter()
            .zip(later)
            .map(|((group, _), next)| (group, next))
            .collect())
    }

    /// False only if the group holds none of these traces, or no span that satisfies a filter.
    async fn may_match(
        &self,
        query: &LeafQuery,
        ids: &[TraceId],
        group: usize,
        ctx: &QueryContext,
    ) -> BlockResult<bool> {
        let unit = GroupColumns::open(&self.reader, group, ctx)?;
        for filter in query.filters.iter() {
            if !unit.may_hold(filter).await? {
                continue;
            }
            for id in ids {
                if self.reader.may_hold_trace(group, *id, ctx).await? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        Ok(false)
    }

    /// Scans one group; where there is a runtime, as a task of its own.
    fn scan(
        &self,
        query: &Arc<LeafQuery>,
        (group, next): (usize, Option<u64>),
        ctx: &QueryContext,
    ) -> impl Future<Output = SourceResult<LeafBatch>> + Send + use<> {
        let (reader, shared) = (Arc::clone(&self.reader), Arc::clone(&self.shared));
        let (query, ctx) = (Arc::clone(query), ctx.clone());
        let name = self.summary.name.clone();
        let scan = async move {
            let scan = GroupScan {
                reader: &reader,
                query: &query,
                shared: &shared.ids(),
                group,
                ctx: &ctx,
            };
            scan.run(next).await
        };
        beside(scan, name)
    }

    /// Per group, the numbers of the trace rows of these ids.
    async fn locate(
        &self,
        tenant: &TenantId,
        ids: &[TraceId],
        ctx: &QueryContext,
    ) -> BlockResult<Vec<(usize, Vec<usize>)>> {
        let mut found = Vec::new();
        for (group, meta) in self.reader.meta().groups.iter().enumerate() {
            if !meta.tenants.iter().any(|name| name == tenant.as_str()) {
                continue;
            }
            let mut likely = Vec::new();
            for id in ids {
                if self.reader.may_hold_trace(group, *id, ctx).await? {
                    likely.push(*id);
                }
            }
            if likely.is_empty() {
                continue;
            }
            let traces = self.reader.traces_of(group, ctx).await?;
            let numbers = traces.find(tenant, &likely);
            if !numbers.is_empty() {
                found.push((group, numbers));
            }
        }
        Ok(found)
    }

    async fn trace_rows(
        &self,
        tenant: &TenantId,
        ids: &[TraceId],
        ctx: &QueryContext,
    ) -> BlockResult<Vec<TraceRow>> {
        let names = [
            "root_span_id",
            "root_start_unix_nano",
            "root_service",
            "root_name",
            "span_count",
            "error_count",
        ];
        let mut found = Vec::new();
        for (group, numbers) in self.locate(tenant, ids, ctx).await? {
            let traces = self.reader.traces_of(group, ctx).await?;
            let select = Some(selection(&consecutive(&numbers), traces.runs.len()));
            let Some(batch) = self
                .reader
                .columns(group, Table::Traces, &names, select, ctx)
                .await?
            else {
                continue;
            };
            let (services, roots) = (
                Texts::of(&batch, "root_service")?,
                Texts::of(&batch, "root_name")?,
            );
            let span_ids = named(&batch, "root_span_id")?.as_fixed_size_binary();
            let starts = named(&batch, "root_start_unix_nano")?.as_primitive::<UInt64Type>();
            let spans = named(&batch, "span_count")?.as_primitive::<Int32Type>();
            let errors = named(&batch, "error_count")?.as_primitive::<Int32Type>();
            for (row, number) in numbers.iter().enumerate().take(batch.num_rows()) {
                let (Some(run), Some(end)) = (traces.runs.get(*number), traces.ends.get(*number))
                else {
                    continue;
                };
                let root = roots.get(row).map(|name| TraceRoot {
                    start_unix_nano: starts.value(row),
                    span_id: SpanId(id8(span_ids.value(row))),
                    service: services.get(row).unwrap_or_default().to_owned(),
                    name: name.to_owned(),
                });
                found.push(TraceRow {
                    trace_id: run.trace_id,
                    start_unix_nano: run.start_unix_nano,
                    end_unix_nano: *end,
                    root,
                    n_spans: u64::from(spans.value(row).unsigned_abs()),
                    n_errors: u64::from(errors.value(row).unsigned_abs()),
                });
            }
        }
        Ok(found)
    }

    async fn whole_traces(
        &self,
        tenant: &TenantId,
        ids: &[TraceId],
        ctx: &QueryContext,
    ) -> BlockResult<Vec<Trace>> {
        let mut found = Vec::new();
        for (group, numbers) in self.locate(tenant, ids, ctx).await? {
            tokio::task::yield_now().await;
            if ctx.is_full() {
                let runs = &self.reader.traces_of(group, ctx).await?.runs;
                let rows = numbers.iter().filter_map(|number| runs.get(*number));
                ctx.leave_out(rows.map(|run| run.range().len() as u64).sum());
                continue;
            }
            let mut builder = DictionaryBuilder::new();
            let table = self
                .reader
                .read_group(group, Some(&numbers), &mut builder, ctx)
                .await?;
            let dictionary = builder.dictionary();
            for row in 0..table.n_spans() {
                if ctx.is_full() {
                    ctx.leave_out((table.n_spans() - row) as u64);
                    break;
                }
                let span = table.span(&dictionary, row);
                let span =
                    span.map_err(|error| BlockError::malformed("spans", error.to_string()))?;
                ctx.hold(&span);
                match found.last_mut() {
                    Some(Trace { trace_id, spans }) if *trace_id == span.trace_id => {
                        spans.push(span)
                    }
                    _ => found.push(Trace {
                        trace_id: span.trace_id,
                        spans: vec![span],
                    }),
                }
            }
        }
        Ok(found)
    }
}

impl SpanSource for BlockSource {
    fn summary(&self) -> &SourceSummary {
        &self.summary
    }

    fn leaves(
        &self,
        query: LeafQuery,
        ctx: QueryContext,
    ) -> BoxStream<'_, SourceResult<LeafBatch>> {
        let plan = async move {
            let order = self
                .order(&query, &ctx)
                .await
                .map_err(|error| self.failed(error));
            (order, Arc::new(query), ctx)
        };
        plan.into_stream()
            .flat_map(move |(order, query, ctx)| match order {
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
                Ok(mut order) => {
                    // The newest group is often all that an answer needs.
                    let n_alone = order.len().min(usize::from(!query.needs_all));
                    let rest = order.split_off(n_alone);
                    let first = futures::stream::iter(order);
                    let first = {
                        let (query, ctx) = (Arc::clone(&query), ctx.clone());
                        first.then(move |place| self.scan(&query, place, &ctx))
                    };
                    let rest = futures::stream::iter(rest);
                    let rest = rest.map(move |place| self.scan(&query, place, &ctx));
                    first.chain(rest.buffered(GROUPS_AT_ONCE)).boxed()
                }
            })
            .boxed()
    }

    fn traces<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<TraceRow>>> {
        async move {
            self.trace_rows(tenant, ids, &ctx)
                .await
                .map_err(|error| self.failed(error))
        }
        .boxed()
    }

    fn fetch<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<Trace>>> {
        async move {
            self.whole_traces(tenant, ids, &ctx)
                .await
                .map_err(|error| self.failed(error))
        }
        .boxed()
    }

    fn keys<'a>(
        &'a self,
        query: &'a KeyQuery,
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<KeyAnswer>> {
        async move { self.answer_keys(query, &ctx).await }.boxed()
    }

    fn may_contain(&self, _: &TenantId, id: TraceId) -> bool {
        self.reader.may_contain(id)
    }

    fn shared_ids(&self) -> Arc<SharedIds> {
        self.shared.ids()
    }
}

/// Runs work as a task of the current runtime, so that several go on at the same time, or here if there
/// is none. The task ends with the future.
async fn beside<T: Send + 'static>(
    work: impl Future<Output = SourceResult<T>> + Send + 'static,
    source_name: String,
) -> SourceResult<T> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return work.await;
    };
    let mut task = tokio::task::JoinSet::new();
    task.spawn_on(work, &runtime);
    match task.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Some(Err(_)) | None => Err(SourceError::Io {
            source_name,
            reason: "the scan was ended".to_owned(),
        }),
    }
}

impl BlockReader {
    pub(super) fn source_error(&self, error: BlockError) -> SourceError {
        let source_name = format!("block {}", self.meta.id);
        match error {
            BlockError::Query(error) => error,
            error if error.is_damage() => {
                let reason = error.to_string();
                self.report_damage(&reason);
                SourceError::Damaged {
                    source_name,
                    reason,
                }
            }
            error => SourceError::Io {
                source_name,
                reason: error.to_string(),
            },
        }
    }
}
