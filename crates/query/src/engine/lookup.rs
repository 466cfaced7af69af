//! One trace by its id.

use std::sync::Arc;

use tracewell_model::column::ColumnLevel;
use tracewell_model::{Filter, Span, Trace};

use super::Engine;
use super::around::keep_around;
use crate::error::{Error, Result};
use crate::limit::QueryLimit;
use crate::request::{Around, TraceRequest, TraceResponse};
use crate::row::TraceFacts;
use crate::watch::Watch;

pub(super) async fn trace_by_id(engine: &Engine, request: TraceRequest) -> Result<TraceResponse> {
    let filter = match &request.filter {
        Some(text) => Some(single_filter(engine, text, &request)?),
        None => None,
    };
    let mut run = engine.run(&request.caller);
    let id = request.trace_id;
    let spans_max = engine.limits.trace_spans_max as u64;
    run.ctx.hold_at_most(spans_max);
    let mut joined: Option<Trace> = None;
    let (mut n_left_out, mut n_held) = (0, 0u64);
    for source in run.sources.clone() {
        tokio::task::yield_now().await;
        if !run.may_go_on()? {
            break;
        }
        if !source.may_contain(&run.tenant, id) {
            continue;
        }
        if n_held >= spans_max {
            let rows = source.traces(&run.tenant, &[id], run.ctx.clone()).await;
            let rows = run.note(&*source, rows)?.unwrap_or_default();
            n_left_out += rows.iter().map(|row| row.n_spans).sum::<u64>();
            continue;
        }
        let answer = source.fetch(&run.tenant, &[id], run.ctx.clone()).await;
        for fragment in run.note(&*source, answer)?.unwrap_or_default() {
            let trace = joined.get_or_insert_with(|| Trace {
                trace_id: id,
                spans: Vec::new(),
            });
            n_held += fragment.spans.len() as u64;
            run.duplicate_spans += trace.absorb(fragment) as u64;
        }
        let n_skipped = run.ctx.take_left_out();
        match n_held >= spans_max {
            true => n_left_out += n_skipped,
            false => run.leave_out(n_skipped),
        }
    }
    run.twin_spans += joined.as_ref().map_or(0, Trace::n_twins) as u64;
    if n_left_out > 0 {
        run.limits_hit.insert(QueryLimit::TraceSpans);
        run.miss(format!(
            "the trace has more than {spans_max} spans (limits.trace_spans_max), {n_left_out} of them \
             are left out"
        ));
    }
    if let (Some(trace), Some(filter)) = (&mut joined, &filter) {
        run.note_pairs(filter, &trace.spans);
        retain(trace, filter, request.around, &run.watch);
        // Which spans match is not known of all.
        if run.watch.is_over() {
            joined = None;
        }
    }
    let spans = joined.iter().flat_map(|trace| &trace.spans);
    let held = run.ctx.keep(spans.map(Span::bytes).sum::<usize>() as u64);
    let (stats, partial) = run.finish();
    Ok(TraceResponse {
        trace: joined,
        stats,
        partial,
        held,
    })
}

fn retain(trace: &mut Trace, filter: &Filter, around: Around, watch: &Watch) {
    let facts = TraceFacts::watched(&trace.spans, watch);
    let mut keep: Vec<bool> = facts.rows().map(|row| row.matches(filter)).collect();
    keep_around(&trace.spans, &mut keep, around);
    let mut keep = keep.into_iter();
    trace.spans.retain(|_| keep.next().unwrap_or(false));
}

/// A filter of spans: one pair of braces, without conditions on the trace.
fn single_filter(engine: &Engine, text: &str, request: &TraceRequest) -> Result<Arc<Filter>> {
    let plan = engine.plan(text, request.caller.aliases)?;
    let Some(filter) = plan.single() else {
        return Err(Error::Request(
            "the filter of a trace is a single pair of braces".to_owned(),
        ));
    };
    let mut names_trace = false;
    filter.exact.for_each_column(&mut |column| {
        names_trace |= column.level() == ColumnLevel::Trace;
    });
    if names_trace {
        return Err(Error::Request(
            "the filter of a trace cannot ask about the trace itself".to_owned(),
        ));
    }
    Ok(Arc::new(filter.exact.clone()))
}
