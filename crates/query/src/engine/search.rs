//! Search: the newest traces that match, from any number of sources.
//!
//! Every source delivers its matches newest first and says how new what is left can be. A trace
//! that lies in one source is a candidate as it comes, if what its source says of its spans makes it
//! one. Of one that may lie in several, the bits of all fragments are added up; where the window leaves out a part of a source (or all of it), fragments
//! there are delivered for the traces that the source shares with one in the window. A candidate newer
//! than everything unread is settled, and is then read whole, deduplicated and evaluated again on plain
//! spans, which decides. So what a source answers must hold every match, and may hold more.

use std::cmp::Reverse;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use futures::StreamExt;
use futures::future::join_all;
use tracewell_model::clock::TimeRange;
use tracewell_model::source::{LeafBatch, SpanSource};
use tracewell_model::{Column, Filter, Trace, TraceId};

use super::Engine;
use super::candidates::{Candidates, Place, Standing};
use super::gather::{JoinedRow, trace_bits};
use super::readings;
use super::run::Run;
use super::summary;
use crate::error::Result;
use crate::leaves::LeafView;
use crate::limit::QueryLimit;
use crate::open;
use crate::partial::OpenTrace;
use crate::pipeline;
use crate::plan::tags::TagPlan;
use crate::plan::{Plan, PlanLimits};
use crate::request::{Found, SearchQuery, SearchRequest, SearchResponse, TraceSummary};
use crate::row::TraceFacts;

/// Bytes of one candidate and of its place in the set of shared traces, with the slack of both.
const CANDIDATE_BYTES: u64 = 128;
/// Shared traces whose rows are read at once: 64 KiB of ids.
const ROWS_AT_ONCE: usize = 4_096;
/// Sources that are read at the same time, once the newest was not enough.
const SOURCES_AT_ONCE: usize = 2;
/// Spans that are fetched at once: about 1.3 KB each as plain spans is 16 MB.
const SPANS_AT_ONCE: u64 = 12_000;
/// A larger trace is not read whole to see that no span of it starts in the window: they might not fit
/// into memory, and the answer would be partial for nothing.
const REJECTED_SPANS_MAX: u64 = if cfg!(test) { 4 } else { SPANS_AT_ONCE };

/// Traces of several sources that are decided on at once.
const DECIDED_OPEN_MAX: usize = 4_096;
/// Traces of a batch that are decided on by their columns before others have their turn.
const DECIDED_AT_ONCE: u64 = 4_096;

/// After so many rounds of reading, what is settled is verified though it is not enough: a search that
/// a limit stops later answers with it. Near a limit that is done in every round.
const ROUNDS_UNVERIFIED_MAX: usize = if cfg!(test) { 3 } else { 16 };

/// What is asked of a trace.
enum Question {
    TraceQl(Plan),
    Tags(TagPlan),
}

pub(super) async fn search(engine: &Engine, request: SearchRequest) -> Result<SearchResponse> {
    let question = match &request.query {
        SearchQuery::TraceQl(text) => Question::TraceQl(engine.plan(text, request.caller.aliases)?),
        SearchQuery::Tags(tags) => Question::Tags(TagPlan::new(
            tags,
            request.caller.aliases,
            PlanLimits::from(&engine.limits),
        )?),
    };
    let mut run = engine.run(&request.caller);
    let (mut traces, mut n_bytes) = (Vec::new(), 0);
    if request.limit > 0 && !question.plan().is_empty() {
        let sources = run.sources.clone();
        // Candidates and shared traces have a quarter each of what a query may hold alone.
        let n_max = engine.limits.query_memory_bytes_max / 4 / CANDIDATE_BYTES;
        let n_max = usize::try_from(n_max).unwrap_or(usize::MAX).max(2);
        let mut search = Search {
            run: &mut run,
            question: &question,
            columns: question.columns(),
            n_decided_at_once: DECIDED_OPEN_MAX,
            window: request.window,
            limit: request.limit,
            spans_per_spanset: request.spans_per_spanset,
            found: request.found.clone(),
            trace_spans_max: engine.limits.trace_spans_max,
            candidates: Candidates::new(request.limit, n_max),
            shared: HashMap::default(),
            shared_max: n_max,
            pending: Vec::new(),
            traces: Vec::new(),
            settled: HashSet::default(),
            n_bytes: 0,
            bytes_max: engine.limits.query_memory_bytes_max / 2,
        };
        search.all(&sources).await?;
        (traces, n_bytes) = (search.traces, search.n_bytes);
    }
    traces.sort_by_key(|trace| (Reverse(trace.start_unix_nano), trace.trace_id));
    let held = run.ctx.keep(n_bytes);
    let (stats, partial) = run.finish();
    Ok(SearchResponse {
        traces,
        stats,
        partial,
        held,
    })
}

struct Search<'s> {
    run: &'s mut Run,
    question: &'s Question,
    /// What sources are asked beside the filters, so that they decide on their own traces.
    columns: Option<Arc<[Column]>>,
    /// Traces of several sources that are asked for their columns together.
    n_decided_at_once: usize,
    window: TimeRange,
    limit: usize,
    spans_per_spanset: usize,
    found: Option<Found>,
    trace_spans_max: usize,
    candidates: Candidates,
    /// Every shared trace with a match, its fragments added up.
    shared: HashMap<TraceId, OpenTrace>,
    shared_max: usize,
    /// Shared traces that match and whose start is not known yet.
    pending: Vec<TraceId>,
    /// Settled and found to match.
    traces: Vec<TraceSummary>,
    /// Those that were settled, whether they matched or not: none comes twice.
    settled: HashSet<TraceId>,
    /// About what `traces` holds.
    n_bytes: u64,
    bytes_max: u64,
}

impl Question {
    fn plan(&self) -> &Plan {
        match self {
            Self::TraceQl(plan) => plan,
            Self::Tags(tags) => &tags.plan,
        }
    }

    /// What is to be asked where filters alone decide nothing, if that is enough.
    fn columns(&self) -> Option<Arc<[Column]>> {
        match self {
            Self::TraceQl(plan) if !plan.combine_is_exact => plan.columns().map(Arc::from),
            Self::TraceQl(_) | Self::Tags(_) => None,
        }
    }

    /// How sure a match of the scan filters makes.
    fn standing(&self, filters_are_exact: bool) -> Standing {
        let plan_is_exact = match self {
            Self::TraceQl(plan) => plan.combine_is_exact,
            Self::Tags(tags) => tags.plan_is_exact(),
        };
        if plan_is_exact && filters_are_exact {
            Standing::Certain
        } else {
            Standing::Likely
        }
    }

    fn holds(&self, trace: &OpenTrace) -> bool {
        self.plan().may_match(trace)
    }
}

impl Search<'_> {
    async fn all(&mut self, sources: &[Arc<dyn SpanSource>]) -> Result<()> {
        let plan = self.question.plan();
        let what = (
            self.window,
            &self.columns.clone().unwrap_or_default(),
            false,
        );
        let mut readings = readings::open(self.run, plan, what, sources);
        let mut n_at_once = 1;
        for round in 1usize.. {
            // The newest first: what it delivers settles most.
            readings.sort_by_key(|reading| Reverse(reading.unread_start_max));
            let unread = readings.first().map(|reading| reading.unread_start_max);
            let any = round.is_multiple_of(ROUNDS_UNVERIFIED_MAX)
                || self.run.nears_a_limit()
                || self.found.is_some();
            self.settle(unread, any).await?;
            if self.traces.len() >= self.limit || !self.run.may_go_on()? || readings.is_empty() {
                return Ok(());
            }
            let newest = readings.iter_mut().take(n_at_once);
            let answers = join_all(newest.map(|reading| reading.batches.next())).await;
            for (reading, answer) in readings.iter_mut().zip(answers) {
                let batch = match answer {
                    None => None,
                    Some(answer) => self.run.note(reading.source, answer)?,
                };
                let left = match batch {
                    Some(batch) => {
                        self.take(&batch).await?;
                        batch.unread_start_max
                    }
                    None => None,
                };
                match left {
                    Some(left) => reading.unread_start_max = left.min(reading.unread_start_max),
                    None => reading.is_done = true,
                }
            }
            readings.retain(|reading| !reading.is_done);
            n_at_once = SOURCES_AT_ONCE;
            if !self.candidates.cut() {
                self.run.limits_hit.insert(QueryLimit::MemoryBytes);
                self.run
                    .miss("more traces may match than the memory of a query holds".to_owned());
            }
        }
        Ok(())
    }

    async fn take(&mut self, batch: &LeafBatch) -> Result<()> {
        let shared: HashSet<TraceId> = batch.shared.iter().copied().collect();
        let plan = self.question.plan();
        let columns = self.columns.clone();
        let watch = Arc::clone(&self.run.watch);
        let standing = match columns {
            Some(_) => Standing::Certain,
            None => self.question.standing(plan.scan_is_exact()),
        };
        for ((id, trace), leaf) in trace_bits(batch).zip(&batch.traces) {
            self.run.inspected_traces += 1;
            if self.run.inspected_traces.is_multiple_of(DECIDED_AT_ONCE) && columns.is_some() {
                tokio::task::yield_now().await;
                if !self.run.may_go_on()? {
                    return Ok(());
                }
            }
            if !shared.contains(&id) && !self.shared.contains_key(&id) {
                let matches = |columns: &Arc<[Column]>| {
                    let view = LeafView {
                        batch,
                        columns,
                        trace: leaf,
                    };
                    !pipeline::spansets_of(plan, &view, Some(&watch)).is_empty()
                };
                if self.question.holds(&trace) && columns.as_ref().is_none_or(matches) {
                    self.candidates.insert(trace.start_unix_nano, id, standing);
                }
                continue;
            }
            if self.shared.len() >= self.shared_max && !self.shared.contains_key(&id) {
                self.run.miss_shared();
                continue;
            }
            let known = self.shared.entry(id).or_insert(OpenTrace {
                filters: 0,
                n_matched: 0,
                ..trace
            });
            let held = self.question.holds(known);
            known.add(trace);
            if !held && self.question.holds(known) {
                self.pending.push(id);
            }
        }
        Ok(())
    }

    /// Decides on the candidates that nothing unread can come before: once they are enough or all, since
    /// those that are read together cost less, or if `any` will do.
    async fn settle(&mut self, unread_start_max: Option<u64>, any: bool) -> Result<()> {
        self.place_pending().await?;
        while self.traces.len() < self.limit && self.run.may_go_on()? {
            let settled = self.candidates.settled(unread_start_max);
            let is_enough = settled.len() >= self.limit - self.traces.len();
            if settled.is_empty() || !(any || is_enough || unread_start_max.is_none()) {
                break;
            }
            if self.decide(unread_start_max).await? {
                continue;
            }
            self.verify(settled).await?;
        }
        Ok(())
    }

    /// Asks what is still asked of the next traces of several sources that may match: columns, which cost less than
    /// the traces. True if there were any.
    async fn decide(&mut self, unread_start_max: Option<u64>) -> Result<bool> {
        let plan = self.question.plan();
        let columns = self.columns.clone();
        let Some(columns) = columns.filter(|columns| plan.decides_on_fragments(columns)) else {
            return Ok(false);
        };
        let places = self
            .candidates
            .likely(unread_start_max, self.n_decided_at_once);
        // A few are as well read whole.
        if places.len() <= self.limit {
            return Ok(false);
        }
        let mut ids: Vec<TraceId> = places.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        let (filters, columns) = (plan.scan_filters(), open::asked(&columns));
        let open = self.run.open_spans(&ids, &filters, &columns).await?;
        let Some(mut open) = open else {
            // Too many at once: fewer, until they are as few as are read whole.
            self.n_decided_at_once /= 2;
            return Ok(true);
        };
        let mut left = HashSet::default();
        let watch = Some(&*self.run.watch);
        let undecided = open.decided(|id, trace| {
            if !pipeline::spansets_of(plan, trace, watch).is_empty() {
                left.insert(id);
            }
        });
        left.extend(undecided);
        for place in places {
            match left.contains(&place.1) {
                true => self
                    .candidates
                    .insert(place.0.0, place.1, Standing::Decided),
                false => self.candidates.remove(&place),
            }
        }
        Ok(true)
    }

    /// Reads when the shared traces of the last batches start, from all sources.
    async fn place_pending(&mut self) -> Result<()> {
        let plan = self.question.plan();
        let is_exact = plan.fragment_is_exact();
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable();
        for ids in pending.chunks(ROWS_AT_ONCE) {
            let rows = self.run.rows(ids).await?;
            self.run.inspected_traces += ids.len() as u64;
            for (id, row) in rows {
                if row.start_unix_nano >= self.window.end {
                    continue;
                }
                // Whether a fragment without a match starts in the window is not known yet.
                let in_window = self.shared.get(&id).is_some_and(|known| known.in_window);
                let standing = self.question.standing(is_exact && in_window);
                self.candidates.insert(row.start_unix_nano, id, standing);
            }
        }
        Ok(())
    }

    /// Reads candidates whole and takes those that match into the answer.
    async fn verify(&mut self, places: Vec<Place>) -> Result<()> {
        let mut ids: Vec<TraceId> = places.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        // A trace has two places if sources did not agree that it is shared.
        ids.dedup();
        let rows = self.run.rows(&ids).await?;
        let outside = self.outside(&rows).await?;
        let mut chunk = Vec::new();
        let mut n_spans = 0;
        for place in places {
            self.candidates.remove(&place);
            let Some(row) = rows.get(&place.1) else {
                continue;
            };
            if !self.settled.insert(place.1) || outside.contains(&place.1) {
                continue;
            }
            if row.n_spans > self.trace_spans_max as u64 {
                self.take_huge(place.1, row).await?;
                continue;
            }
            if n_spans > 0 && n_spans + row.n_spans > SPANS_AT_ONCE {
                self.verify_chunk(std::mem::take(&mut chunk)).await?;
                n_spans = 0;
            }
            chunk.push(place.1);
            n_spans += row.n_spans;
        }
        self.verify_chunk(chunk).await
    }

    /// The large ones of these traces that have no span in the window, where only fragments with a match
    /// were looked at so far.
    async fn outside(
        &mut self,
        rows: &hashbrown::HashMap<TraceId, JoinedRow>,
    ) -> Result<HashSet<TraceId>> {
        // One above `trace_spans_max` would be answered without being read at all.
        let spans_max = REJECTED_SPANS_MAX.min(self.trace_spans_max as u64);
        let is_open = |id: &TraceId, row: &JoinedRow| {
            row.n_spans > spans_max
                && !self.window.contains(row.start_unix_nano)
                && self.shared.get(id).is_some_and(|known| !known.in_window)
        };
        let open = rows.iter().filter(|(id, row)| is_open(id, row));
        let mut ids: Vec<TraceId> = open.map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return Ok(HashSet::default());
        }
        ids.sort_unstable();
        let every_span = [Filter::Constant(true)].into();
        let seen = self.run.filter_bits(&ids, &every_span, self.window).await?;
        ids.retain(|id| seen.get(id).is_none_or(|trace| !trace.in_window));
        Ok(ids.into_iter().collect())
    }

    async fn verify_chunk(&mut self, mut ids: Vec<TraceId>) -> Result<()> {
        if ids.is_empty() || self.traces.len() >= self.limit {
            return Ok(());
        }
        ids.sort_unstable();
        // What lies in memory never waits by itself: others are to be answered meanwhile, and a client
        // that has left is noticed here.
        tokio::task::yield_now().await;
        let (traces, n_left_out) = self.run.whole(&ids, self.n_bytes).await?;
        if n_left_out == 0 || ids.len() == 1 {
            self.run.leave_out(n_left_out);
            traces.iter().for_each(|trace| self.take_whole(trace));
            return Ok(());
        }
        // Too much together: each may still fit alone.
        drop(traces);
        for id in ids {
            let (traces, n_left_out) = self.run.whole(&[id], self.n_bytes).await?;
            self.run.leave_out(n_left_out);
            traces.iter().for_each(|trace| self.take_whole(trace));
        }
        Ok(())
    }

    fn take_whole(&mut self, trace: &Trace) {
        let in_window = |start| self.window.contains(start);
        if !trace
            .spans
            .iter()
            .any(|span| in_window(span.start_unix_nano))
        {
            return;
        }
        let watch = Arc::clone(&self.run.watch);
        let facts = TraceFacts::watched(&trace.spans, &watch);
        let summary = match self.question {
            Question::TraceQl(plan) => {
                for filter in &plan.filters {
                    self.run.note_pairs(&filter.exact, &trace.spans);
                }
                let spansets = pipeline::spansets(plan, &facts);
                if spansets.is_empty() {
                    return;
                }
                let found = Some((plan, &spansets[..]));
                summary::of_trace(trace, &facts, found, self.spans_per_spanset)
            }
            Question::Tags(tags) => {
                if !tags.matches(&facts) {
                    return;
                }
                summary::of_trace(trace, &facts, None, self.spans_per_spanset)
            }
        };
        // May be of a part of what it has to say.
        if watch.is_over() {
            return;
        }
        self.answer(summary);
    }

    fn answer(&mut self, summary: TraceSummary) {
        let n_bytes = summary::bytes(&summary);
        self.n_bytes = self.n_bytes.saturating_add(n_bytes);
        if let Some(found) = &self.found {
            self.n_bytes = self.n_bytes.saturating_add(n_bytes);
            // Nobody listens any more: the query is cancelled at its next step.
            drop(found.send(summary.clone()));
        }
        self.traces.push(summary);
        self.candidates.took();
        if self.n_bytes > self.bytes_max {
            self.run.limits_hit.insert(QueryLimit::MemoryBytes);
            self.run.stop(format!(
                "the answer holds more than {} bytes, half of limits.query_memory_bytes_max",
                self.bytes_max
            ));
        }
    }

    /// A trace too large to be read whole is decided on and shown by what its rows and bits say.
    async fn take_huge(&mut self, id: TraceId, row: &JoinedRow) -> Result<()> {
        let plan = self.question.plan();
        let filters = plan.filters_knowing(&|column| row.value(column));
        let may_match = |index| !matches!(filters.get(index), Some(Filter::Constant(false)));
        if !plan.combine.holds(&may_match) {
            return Ok(());
        }
        let ids = [id];
        let open = self.run.filter_bits(&ids, &filters, TimeRange::ALL).await?;
        let known = open.get(&id).copied();
        let Some(known) = known.filter(|known| self.question.holds(known)) else {
            return Ok(());
        };
        self.run.limits_hit.insert(QueryLimit::TraceSpans);
        self.run.miss(format!(
            "trace {id} has {} spans, more than the {} that are read of one: it is shown in part",
            row.n_spans, self.trace_spans_max
        ));
        let with_spansets = matches!(self.question, Question::TraceQl(_));
        self.answer(summary::of_row(
            id,
            row,
            with_spansets.then_some(known.n_matched),
        ));
        Ok(())
    }
}
