//! Search: the newest traces that match, from any number of sources.
//!
//! Every source delivers its matches newest first and says how new what is left can be. A trace
//! that lies in one source is a candidate as it comes. Of one that may lie in several the bits of all
//! fragments are added up where the window covers every source; else it is evaluated over all of them
//! when its turn comes. A candidate newer than everything unread is settled, and is then read whole,
//! deduplicated and evaluated again on plain spans, which decides. So what a source answers must
//! hold every match, and may hold more.

use std::cmp::Reverse;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::BoxStream;
use tracewell_model::clock::TimeRange;
use tracewell_model::column::ColumnLevel;
use tracewell_model::source::{LeafBatch, LeafQuery, SharedWanted, SourceResult, SpanSource};
use tracewell_model::{Filter, Trace, TraceId};

use super::Engine;
use super::candidates::{Candidates, Place, Standing};
use super::gather::trace_bits;
use super::run::Run;
use super::summary;
use crate::error::Result;
use crate::plan::tags::TagPlan;
use crate::plan::{Plan, PlanLimits};
use crate::request::{SearchQuery, SearchRequest, SearchResponse, TraceSummary};

/// Bytes of one candidate and of its place in the set of shared traces, with the slack of both.
const CANDIDATE_BYTES: u64 = 128;
/// Shared traces whose rows are read at once: 64 KiB of ids.
const ROWS_AT_ONCE: usize = 4_096;
/// Shared traces that are evaluated at once: at first as many as the answer may need, then twice as
/// many each time, since a rare match is best looked for in few large steps.
const OPEN_AT_ONCE: std::ops::RangeInclusive<usize> = 32..=4_096;
/// Sources that are read at the same time, once the newest was not enough.
const SOURCES_AT_ONCE: usize = 2;
/// Spans that are fetched at once: about 1.3 KB each as plain spans is 16 MB.
const SPANS_AT_ONCE: u64 = 12_000;

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
    let mut traces = Vec::new();
    if request.limit > 0 && !question.plan().is_empty() {
        let sources = run.sources.clone();
        let adds_fragments = adds_fragments(question.plan(), &sources, request.window);
        let n_max = engine.limits.query_memory_bytes_max / CANDIDATE_BYTES;
        let n_max = usize::try_from(n_max).unwrap_or(usize::MAX).max(2);
        let mut search = Search {
            run: &mut run,
            fragment_filters: question.plan().fragment_filters(),
            question: &question,
            window: request.window,
            limit: request.limit,
            spans_per_spanset: request.spans_per_spanset,
            trace_spans_max: engine.limits.trace_spans_max,
            candidates: Candidates::new(request.limit, n_max),
            shared: HashMap::default(),
            shared_max: n_max,
            adds_fragments,
            pending: Vec::new(),
            n_open: request
                .limit
                .saturating_mul(2)
                .clamp(*OPEN_AT_ONCE.start(), *OPEN_AT_ONCE.end()),
            traces: Vec::new(),
            settled: HashSet::default(),
            n_bytes: 0,
            bytes_max: engine.limits.query_memory_bytes_max,
        };
        search.all(&sources).await?;
        traces = search.traces;
    }
    traces.sort_by_key(|trace| (Reverse(trace.start_unix_nano), trace.trace_id));
    let (stats, partial) = run.finish();
    Ok(SearchResponse {
        traces,
        stats,
        partial,
    })
}

struct Search<'s> {
    run: &'s mut Run,
    question: &'s Question,
    fragment_filters: Arc<[Filter]>,
    window: TimeRange,
    limit: usize,
    spans_per_spanset: usize,
    trace_spans_max: usize,
    candidates: Candidates,
    /// Every shared trace that was seen, with one bit for each filter that a fragment satisfies.
    shared: HashMap<TraceId, u64>,
    shared_max: usize,
    /// True if every fragment of a shared trace is delivered by the scan, so that adding up their bits
    /// decides; else shared traces are evaluated one by one over all sources.
    adds_fragments: bool,
    /// Shared traces whose start is not known yet.
    pending: Vec<TraceId>,
    /// Open candidates to evaluate in the next step.
    n_open: usize,
    /// Settled and found to match.
    traces: Vec<TraceSummary>,
    /// Those that were settled, whether they matched or not: none comes twice.
    settled: HashSet<TraceId>,
    /// About what `traces` holds.
    n_bytes: u64,
    bytes_max: u64,
}

/// A source that has not delivered everything yet.
struct Reading<'a> {
    source: &'a dyn SpanSource,
    batches: BoxStream<'a, SourceResult<LeafBatch>>,
    /// No trace that is left starts later.
    unread_start_max: u64,
    is_done: bool,
}

impl Question {
    fn plan(&self) -> &Plan {
        match self {
            Self::TraceQl(plan) => plan,
            Self::Tags(tags) => &tags.plan,
        }
    }

    /// How sure a match of the scan filters makes.
    fn standing(&self, filters_are_exact: bool) -> Standing {
        let plan_is_exact = match self {
            Self::TraceQl(_) => true,
            Self::Tags(tags) => tags.plan_is_exact(),
        };
        if plan_is_exact && filters_are_exact {
            Standing::Certain
        } else {
            Standing::Likely
        }
    }

    fn holds(&self, filters: u64) -> bool {
        self.plan()
            .combine
            .holds(&|index| index < 64 && filters >> index & 1 == 1)
    }
}

/// True if a scan of the window delivers every fragment of every trace, and its filters mean the same
/// on a fragment as on a whole trace.
fn adds_fragments(plan: &Plan, sources: &[Arc<dyn SpanSource>], window: TimeRange) -> bool {
    let is_covered = sources.iter().all(|source| {
        let summary = source.summary();
        window.covers(summary.span_start_min, summary.span_start_max)
    });
    let mut asks_of_trace = false;
    for filter in plan.scan_filters().iter() {
        filter.for_each_column(&mut |column| {
            asks_of_trace |= column.level() == ColumnLevel::Trace;
        });
    }
    is_covered && !asks_of_trace
}

impl Search<'_> {
    async fn all(&mut self, sources: &[Arc<dyn SpanSource>]) -> Result<()> {
        let mut readings = self.open(sources);
        let mut n_at_once = 1;
        loop {
            // The newest first: what it delivers settles most.
            readings.sort_by_key(|reading| Reverse(reading.unread_start_max));
            let unread = readings.first().map(|reading| reading.unread_start_max);
            self.settle(unread).await?;
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
                let left = batch.and_then(|batch| {
                    self.take(&batch);
                    batch.unread_start_max
                });
                match left {
                    Some(left) => reading.unread_start_max = left.min(reading.unread_start_max),
                    None => reading.is_done = true,
                }
            }
            readings.retain(|reading| !reading.is_done);
            n_at_once = SOURCES_AT_ONCE;
            if !self.candidates.cut() {
                self.run
                    .miss("more traces may match than the memory of a query holds".to_owned());
            }
        }
    }

    /// Starts to read every source that has a span in the window.
    fn open<'a>(&self, sources: &'a [Arc<dyn SpanSource>]) -> Vec<Reading<'a>> {
        let filters = self.question.plan().scan_filters();
        sources
            .iter()
            .filter(|source| {
                let summary = source.summary();
                self.window
                    .intersects(summary.span_start_min, summary.span_start_max)
            })
            .map(|source| {
                let query = LeafQuery {
                    tenant: self.run.tenant.clone(),
                    filters: Arc::clone(&filters),
                    window: self.window,
                    only: None,
                    shared: match self.adds_fragments {
                        true => SharedWanted::Matched,
                        false => SharedWanted::InWindow,
                    },
                    spans: false,
                };
                Reading {
                    source: &**source,
                    batches: source.leaves(query, self.run.ctx.clone()),
                    // A trace with a span in the window starts before its end.
                    unread_start_max: source.summary().trace_start_max.min(self.window.end),
                    is_done: false,
                }
            })
            .collect()
    }

    fn take(&mut self, batch: &LeafBatch) {
        for id in &batch.shared {
            if self.shared.len() >= self.shared_max {
                self.run.miss(
                    "more traces lie in several places than the memory of a query holds".to_owned(),
                );
                break;
            }
            let n_before = self.shared.len();
            self.shared.entry(*id).or_insert(0);
            let is_new = self.shared.len() > n_before;
            if is_new && !self.adds_fragments {
                self.pending.push(*id);
            }
        }
        let plan = self.question.plan();
        let standing = self.question.standing(plan.scan_is_exact());
        for (id, trace) in trace_bits(batch) {
            self.run.inspected_traces += 1;
            match self.shared.get_mut(&id) {
                None => {
                    if self.question.holds(trace.filters) {
                        self.candidates.insert(trace.start_unix_nano, id, standing);
                    }
                }
                Some(known) if self.adds_fragments => {
                    let before = *known;
                    *known |= trace.filters;
                    if !self.question.holds(before) && self.question.holds(*known) {
                        self.pending.push(id);
                    }
                }
                // Is evaluated over all sources when its turn comes.
                Some(_) => {}
            }
        }
    }

    /// Decides on every candidate that nothing unread can come before.
    async fn settle(&mut self, unread_start_max: Option<u64>) -> Result<()> {
        self.place_pending().await?;
        while self.traces.len() < self.limit && self.run.may_go_on()? {
            let settled = self.candidates.settled(unread_start_max, self.n_open);
            let wanted = self.limit - self.traces.len();
            if settled.matched.len() < wanted && !settled.open.is_empty() {
                self.n_open = self.n_open.saturating_mul(2).min(*OPEN_AT_ONCE.end());
                self.evaluate(settled.open).await?;
            } else if !settled.matched.is_empty()
                && (settled.matched.len() >= wanted || unread_start_max.is_none())
            {
                self.verify(settled.matched).await?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Reads when the shared traces of the last batches start, from all sources.
    async fn place_pending(&mut self) -> Result<()> {
        let standing = match self.adds_fragments {
            true => self.question.standing(self.question.plan().scan_is_exact()),
            false => Standing::Open,
        };
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable();
        for ids in pending.chunks(ROWS_AT_ONCE) {
            let rows = self.run.rows(ids).await?;
            self.run.inspected_traces += ids.len() as u64;
            for (id, row) in rows {
                self.candidates.insert(row.start_unix_nano, id, standing);
            }
        }
        Ok(())
    }

    /// Evaluates shared traces over all of their sources.
    async fn evaluate(&mut self, places: Vec<Place>) -> Result<()> {
        let mut ids: Vec<TraceId> = places.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        let filters = Arc::clone(&self.fragment_filters);
        let open = self.run.filter_bits(&ids, &filters).await?;
        let standing = self
            .question
            .standing(self.question.plan().fragment_is_exact());
        for place in places {
            self.candidates.remove(&place);
            let bits = open.get(&place.1).map_or(0, |trace| trace.filters);
            if self.question.holds(bits) {
                let (Reverse(start), id) = place;
                self.candidates.insert(start, id, standing);
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
        let mut chunk = Vec::new();
        let mut n_spans = 0;
        for place in places {
            self.candidates.remove(&place);
            let Some(row) = rows.get(&place.1) else {
                continue;
            };
            if !self.settled.insert(place.1) {
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

    async fn verify_chunk(&mut self, mut ids: Vec<TraceId>) -> Result<()> {
        if ids.is_empty() || self.traces.len() >= self.limit {
            return Ok(());
        }
        ids.sort_unstable();
        let (traces, n_left_out) = self.run.whole(&ids).await?;
        if n_left_out == 0 || ids.len() == 1 {
            self.run.leave_out(n_left_out);
            traces.iter().for_each(|trace| self.take_whole(trace));
            return Ok(());
        }
        // Too much together: each may still fit alone.
        drop(traces);
        for id in ids {
            let (traces, n_left_out) = self.run.whole(&[id]).await?;
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
        let summary = match self.question {
            Question::TraceQl(plan) => {
                let Some(matched) = crate::row::matching_spans(plan, &trace.spans) else {
                    return;
                };
                summary::of_trace(trace, Some((plan, &matched)), self.spans_per_spanset)
            }
            Question::Tags(tags) => {
                if !tags.matches(&trace.spans) {
                    return;
                }
                summary::of_trace(trace, None, self.spans_per_spanset)
            }
        };
        self.answer(summary);
    }

    fn answer(&mut self, summary: TraceSummary) {
        self.n_bytes = self.n_bytes.saturating_add(summary::bytes(&summary));
        self.traces.push(summary);
        self.candidates.took();
        if self.n_bytes > self.bytes_max {
            self.run.stop(format!(
                "the answer holds more than {} bytes, which is the memory of a query",
                self.bytes_max
            ));
        }
    }

    /// A trace too large to be read whole is shown by what its rows and bits say.
    async fn take_huge(&mut self, id: TraceId, row: &super::gather::JoinedRow) -> Result<()> {
        let filters = Arc::clone(&self.fragment_filters);
        let open = self.run.filter_bits(&[id], &filters).await?;
        let n_matched = open.get(&id).map_or(0, |trace| trace.n_matched);
        self.run.miss(format!(
            "trace {id} has {} spans, more than the {} that are read of one: it is shown in part",
            row.n_spans, self.trace_spans_max
        ));
        let with_spansets = matches!(self.question, Question::TraceQl(_));
        self.answer(summary::of_row(id, row, with_spansets.then_some(n_matched)));
        Ok(())
    }
}
