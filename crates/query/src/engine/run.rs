//! The state of one question: its snapshot, its budget, and what went wrong so far.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracewell_model::source::{
    QueryContext, QueryMemory, Snapshot, SourceError, SourceResult, SpanSource,
};
use tracewell_model::{Clock, Filter, Limits, Span, TenantId};

use crate::error::{Error, Result};
use crate::limit::{LimitsHit, QueryLimit};
use crate::request::{Caller, QueryStats};
use crate::row;
use crate::watch::Watch;

pub(super) struct Run {
    /// Those of the tenant.
    pub(super) sources: Vec<Arc<dyn SpanSource>>,
    pub(super) tenant: TenantId,
    pub(super) ctx: QueryContext,
    caller: CancellationToken,
    /// Fires at the deadline as well.
    own: CancellationToken,
    clock: Arc<dyn Clock>,
    started_nano: u64,
    /// For what goes on for long without waiting.
    pub(super) watch: Arc<Watch>,
    /// When three quarters of the time are gone.
    late_nano: u64,
    ms_max: u64,
    /// Why the answer may miss something; each reason once.
    partial: BTreeSet<String>,
    failed: BTreeSet<String>,
    /// True once reading on is of no use: the deadline, or a budget that is used up.
    is_over: bool,
    pub(super) inspected_traces: u64,
    /// Spans that the memory of a query had no room for.
    left_out_spans: u64,
    /// Counts of the traces that were put together.
    pub(super) duplicate_spans: u64,
    pub(super) twin_spans: u64,
    pub(super) limits_hit: LimitsHit,
}

impl Run {
    pub(super) fn new(
        snapshot: Snapshot,
        caller: &Caller,
        limits: &Limits,
        memory: Arc<QueryMemory>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let own = caller.cancel.child_token();
        let sources = snapshot
            .sources
            .into_iter()
            .filter(|source| {
                let summary = source.summary();
                summary.n_spans > 0
                    && summary
                        .tenant
                        .as_ref()
                        .is_none_or(|tenant| *tenant == caller.tenant)
            })
            .collect();
        let ms_max = caller.query_ms_max.unwrap_or(limits.query_ms_max);
        let (now, nano_max) = (clock.monotonic_nano(), ms_max.saturating_mul(1_000_000));
        let deadline_nano = now.saturating_add(nano_max);
        // Not its own end: what is fetched by then is still told of.
        let watch = Watch::new(caller.cancel.clone(), Arc::clone(&clock), deadline_nano);
        Self {
            sources,
            tenant: caller.tenant.clone(),
            ctx: QueryContext::new(own.clone(), limits.query_read_bytes_max, memory),
            caller: caller.cancel.clone(),
            own,
            clock,
            started_nano: now,
            watch: Arc::new(watch),
            late_nano: now.saturating_add(nano_max / 4 * 3),
            ms_max,
            partial: snapshot.missing.into_iter().collect(),
            failed: BTreeSet::new(),
            is_over: false,
            inspected_traces: 0,
            left_out_spans: 0,
            duplicate_spans: 0,
            twin_spans: 0,
            limits_hit: LimitsHit::default(),
        }
    }

    /// To be asked between steps: false once the answer must do with what it has.
    pub(super) fn may_go_on(&mut self) -> Result<bool> {
        if self.caller.is_cancelled() {
            return Err(Error::Cancelled);
        }
        if !self.is_over && self.watch.look() {
            self.limits_hit.insert(QueryLimit::Time);
            self.stop(self.took_too_long());
        }
        Ok(!self.is_over)
    }

    fn took_too_long(&self) -> String {
        format!("the query took longer than {} ms", self.ms_max)
    }

    /// True once three quarters of the time or of the bytes to read are used up: what is known by now
    /// may be all that there is going to be.
    pub(super) fn nears_a_limit(&self) -> bool {
        self.ctx.inspected_bytes() >= self.ctx.bytes_max() / 4 * 3
            || self.clock.monotonic_nano() > self.late_nano
    }

    /// Ends all reading, for a reason that the answer states.
    pub(super) fn stop(&mut self, reason: String) {
        self.partial.insert(reason);
        self.is_over = true;
        self.own.cancel();
    }

    pub(super) fn miss(&mut self, reason: String) {
        self.partial.insert(reason);
    }

    /// A trace of several sources was left out, since what is known of those has no more room.
    pub(super) fn miss_shared(&mut self) {
        self.limits_hit.insert(QueryLimit::MemoryBytes);
        self.miss("more traces lie in several places than the memory of a query holds".to_owned());
    }

    /// To be told of whole spans that a filter is asked of.
    pub(super) fn note_pairs(&mut self, filter: &Filter, spans: &[Span]) {
        if row::leaves_out_pairs(filter, spans) {
            self.miss(format!(
                "not every event of a span was compared with every link: {} pairs of a span are tried",
                row::PAIRS_MAX
            ));
        }
    }

    /// Spans of traces in the answer that were left out.
    pub(super) fn leave_out(&mut self, n_spans: u64) {
        self.left_out_spans = self.left_out_spans.saturating_add(n_spans);
    }

    /// Values of a tag were left out because the memory of queries is full.
    pub(super) fn leave_out_values(&mut self) {
        self.limits_hit.insert(QueryLimit::MemoryBytes);
        self.miss(format!(
            "values are left out: with them queries would hold more than {} bytes \
             (limits.query_memory_bytes_max)",
            self.ctx.memory().bytes_max()
        ));
    }

    /// What a source has answered, or `None` where the answer goes on without it.
    pub(super) fn note<T>(
        &mut self,
        source: &dyn SpanSource,
        result: SourceResult<T>,
    ) -> Result<Option<T>> {
        let error = match result {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        if self.caller.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match error {
            SourceError::Cancelled if self.is_over => {}
            SourceError::Cancelled => return Err(Error::Cancelled),
            SourceError::Budget { .. } => {
                self.limits_hit.insert(QueryLimit::ReadBytes);
                self.stop(error.to_string());
            }
            _ => {
                self.failed.insert(source.summary().name.clone());
                self.miss(error.to_string());
            }
        }
        Ok(None)
    }

    pub(super) fn finish(mut self) -> (QueryStats, Vec<String>) {
        // The last trace may not have been told of in full.
        if self.watch.is_over() {
            self.limits_hit.insert(QueryLimit::Time);
            self.partial.insert(self.took_too_long());
        }
        if self.left_out_spans > 0 {
            self.limits_hit.insert(QueryLimit::MemoryBytes);
            self.miss(format!(
                "{} spans are left out: with them queries would hold more than {} bytes \
                 (limits.query_memory_bytes_max)",
                self.left_out_spans,
                self.ctx.memory().bytes_max()
            ));
        }
        let n_sources = self.sources.len();
        let n_sources_done = if self.is_over {
            0
        } else {
            n_sources.saturating_sub(self.failed.len())
        };
        let (n_groups, n_groups_ruled_out) = self.ctx.groups();
        let stats = QueryStats {
            elapsed_nano: self
                .clock
                .monotonic_nano()
                .saturating_sub(self.started_nano),
            n_groups,
            n_groups_ruled_out,
            inspected_bytes: self.ctx.inspected_bytes(),
            inspected_spans: self.ctx.inspected_spans(),
            inspected_traces: self.inspected_traces,
            left_out_spans: self.left_out_spans,
            duplicate_spans: self.duplicate_spans,
            twin_spans: self.twin_spans,
            limits_hit: self.limits_hit,
            n_sources,
            n_sources_done,
            source_bytes: self
                .sources
                .iter()
                .map(|source| source.summary().bytes)
                .fold(0, u64::saturating_add),
        };
        (stats, self.partial.into_iter().collect())
    }
}
