//! Every source that may hold a part of what a query is about, and what it is asked.
//!
//! A trace that lies in one source is told by that one. Of one that may lie in several, fragments outside of the
//! window are asked for too: where the window leaves out a part of a source (or all of it), it delivers the
//! traces that it shares with one in the window.

use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{BoxStream, Peekable};
use tracewell_model::clock::TimeRange;
use tracewell_model::column::ColumnLevel;
use tracewell_model::shared::SharedIds;
use tracewell_model::source::{LeafBatch, LeafQuery, SourceResult, SpanSource, TraceSet};
use tracewell_model::{Column, TraceId};

use super::run::Run;
use crate::plan::Plan;

/// A source that has not delivered everything yet.
pub(super) struct Reading<'a> {
    pub(super) source: &'a dyn SpanSource,
    pub(super) batches: Batches<'a>,
    /// No trace that is left starts later.
    pub(super) unread_start_max: u64,
    pub(super) is_done: bool,
}

/// What a source delivers.
pub(super) type Batches<'a> = Peekable<BoxStream<'a, SourceResult<LeafBatch>>>;

/// The next batch of a source. The source that is asked next begins its work meanwhile, so that the end of
/// one is not waited for by all processors but one.
pub(super) async fn next_batch(
    batches: &mut Batches<'_>,
    mut later: Option<&mut Batches<'_>>,
) -> Option<SourceResult<LeafBatch>> {
    std::future::poll_fn(|cx| {
        let next = batches.poll_next_unpin(cx);
        if let Some(later) = &mut later {
            let _is_ready = Pin::new(&mut **later).poll_peek(cx).is_ready();
        }
        next
    })
    .await
}

/// Starts to read every source that has a span in the window, and those that may hold fragments of
/// its traces; of spans that match, these columns. `needs_all`: no source is left before its end.
pub(super) fn open<'a>(
    run: &Run,
    plan: &Plan,
    (window, columns, needs_all): (TimeRange, &Arc<[Column]>, bool),
    sources: &'a [Arc<dyn SpanSource>],
) -> Vec<Reading<'a>> {
    let filters = plan.scan_filters();
    let fragment_filters = asks_of_trace(plan).then(|| plan.fragment_filters());
    let places = sources.iter().map(|source| {
        let summary = source.summary();
        let (first, last) = (summary.span_start_min, summary.span_start_max);
        let is_in = window.intersects(first, last);
        (is_in, is_in && window.covers(first, last))
    });
    let places: Vec<(bool, bool)> = places.collect();
    let shared: Vec<Arc<SharedIds>> = match places.iter().all(|(_, covers)| *covers) {
        true => Vec::new(),
        false => sources.iter().map(|source| source.shared_ids()).collect(),
    };
    let mut readings = Vec::new();
    for (index, (source, (is_in, is_covered))) in sources.iter().zip(&places).enumerate() {
        let also = match shared.get(index) {
            Some(own) if !*is_covered => {
                let others = shared.iter().zip(&places).enumerate();
                let others = others.filter(|(other, (_, (is_in, _)))| *is_in && *other != index);
                let others: Vec<&SharedIds> = others.map(|(_, (ids, _))| &**ids).collect();
                match (shared_with(own, &others), is_in) {
                    // Its other parts may lie outside of the window.
                    (TraceSet::Ids(ids), true) if !own.split().is_empty() => {
                        let mut ids = ids.to_vec();
                        ids.extend_from_slice(own.split());
                        ids.sort_unstable();
                        ids.dedup();
                        TraceSet::Ids(ids.into())
                    }
                    (also, _) => also,
                }
            }
            _ => TraceSet::none(),
        };
        if !is_in && also.is_none() {
            continue;
        }
        let query = LeafQuery {
            tenant: run.tenant.clone(),
            filters: Arc::clone(&filters),
            fragment_filters: fragment_filters.clone(),
            window,
            also,
            only: None,
            needs_all,
            spans: false,
            columns: Arc::clone(columns),
        };
        readings.push(Reading {
            source: &**source,
            batches: source.leaves(query, run.ctx.clone()).peekable(),
            // A trace with a span in the window starts before its end.
            unread_start_max: source.summary().trace_start_max.min(window.end),
            is_done: false,
        });
    }
    readings
}

/// True if a filter means something else on a part of a trace.
fn asks_of_trace(plan: &Plan) -> bool {
    let mut asks = false;
    for filter in plan.scan_filters().iter() {
        filter.for_each_column(&mut |column| asks |= column.level() == ColumnLevel::Trace);
    }
    asks
}

/// The traces of a source that may lie in one of the others too.
fn shared_with(own: &SharedIds, others: &[&SharedIds]) -> TraceSet {
    let any_all = others.iter().any(|other| other.is_all());
    let of_others = || others.iter().filter_map(|other| other.iter()).flatten();
    let n_others: usize = others.iter().map(|other| other.n_ids()).sum();
    let mut ids: Vec<TraceId> = match own.iter() {
        None if any_all => return TraceSet::All,
        Some(ids) if any_all || own.n_ids() < n_others => {
            let is_shared = |id: &TraceId| others.iter().any(|other| other.contains(*id));
            ids.filter(is_shared).collect()
        }
        _ => of_others().filter(|id| own.contains(*id)).collect(),
    };
    ids.sort_unstable();
    ids.dedup();
    TraceSet::Ids(ids.into())
}
