//! Metrics: series of the spans that a query matches, from any number of sources.
//!
//! Where a span alone says whether it counts, each source tells the columns of the spans of its own traces, and
//! no trace of it is read. Every other trace that may match is read whole and evaluated on plain spans, once,
//! wherever its fragments lie: those of one source as they come, those of several when all sources have told
//! what they hold. A span counts by its own start.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use tracewell_model::source::{LeafBatch, SpanSource};
use tracewell_model::{Column, Trace, TraceId};

use super::Engine;
use super::attributes;
use super::beside::Beside;
use super::gather::{OPEN_SPANS_MAX, open_trace};
use super::readings::{self, Reading, next_batch};
use super::run::Run;
use crate::error::{Error, Result};
use crate::limit::QueryLimit;
use crate::open::{self, OpenSpans};
use crate::partial::OpenTrace;
use crate::plan::PlanLimits;
use crate::plan::series::{Function, SeriesPlan, SpansPlan};
use crate::request::{SeriesRequest, SeriesResponse};
use crate::row::TraceFacts;
use crate::series::math::{self, Operand};
use crate::series::{Axis, Counter, Finished, Found, SeriesSet, weight};
use crate::syntax::ast::{Hint, Literal};
use crate::syntax::{SyntaxLimits, parse_with};

/// Traces that are read at once: at a hundred spans of 1.3 KB each, 16 MB.
const TRACES_AT_ONCE: usize = 128;
/// Traces of several sources whose spans are asked for at once: some ten thousand spans.
const OPEN_AT_ONCE: usize = 4_096;
/// Traces of a batch that are counted at once: of ten spans each, some milliseconds.
const COUNTED_AT_ONCE: usize = if cfg!(test) { 3 } else { 8_192 };
/// Spans of whole traces that are counted before others have their turn: some milliseconds.
const SPANS_AT_ONCE: usize = 4_096;
/// A series beside its values: labels and places.
const SERIES_BYTES: u64 = 256;
/// What is known of a shared trace, with the slack of its place.
const SHARED_BYTES: u64 = 64;

pub(super) async fn series(engine: &Engine, request: SeriesRequest) -> Result<SeriesResponse> {
    let text = &request.query;
    let query = parse_with(text, SyntaxLimits::from(&engine.limits))?;
    let limits = PlanLimits::from(&engine.limits);
    let plan = SeriesPlan::new(text, &query, request.caller.aliases, limits)?;
    let axis = match request.step_nano {
        Some(step) => Axis::of_range(request.start, request.end, step),
        None => Axis::instant(request.start, request.end),
    };
    let axis = axis.map_err(|error| Error::Request(error.to_string()))?;
    let hints = Hints::of(&query.hints, request.exemplars_max, axis.is_instant());
    let mut run = engine.run(&request.caller);
    let mut pipelines = Vec::new();
    plan.for_each_spans(&mut |spans| pipelines.push(spans));
    let mut sets = Vec::with_capacity(pipelines.len());
    for spans in pipelines {
        let counter = Counter::new(
            Arc::clone(spans),
            axis,
            hints.extrapolate,
            hints.exemplars_max,
        );
        let counter = counter.watched(Arc::clone(&run.watch));
        sets.push(counted(&mut run, spans, counter, engine).await?);
    }
    let mut sets = sets.into_iter();
    let mut set = match folded(&plan, &mut sets) {
        Operand::Series(set) => set,
        Operand::Number(_) => SeriesSet::default(),
    };
    let n_series = set.series.len();
    if let Some(n_max) = request.series_max.filter(|n_max| n_series > *n_max) {
        set.series.truncate(n_max);
        run.miss(format!(
            "Response exceeds maximum series limit of {n_max}, a partial response is returned. Warning: the accuracy \
             of each individual value is not guaranteed."
        ));
    }
    let (stats, partial) = run.finish();
    Ok(SeriesResponse {
        axis,
        series: set.series,
        stats,
        partial,
    })
}

/// What `with(...)` says. Names that are not known say nothing, as in Tempo.
pub(super) struct Hints {
    pub(super) extrapolate: bool,
    exemplars_max: usize,
}

impl Hints {
    pub(super) fn of(hints: &[Hint], exemplars_max: usize, is_instant: bool) -> Self {
        let find = |name: &str| {
            let hint = hints.iter().find(|hint| hint.name == name);
            hint.map(|hint| &hint.value)
        };
        let exemplars = match find("exemplars") {
            Some(Literal::Bool(false)) => 0,
            Some(Literal::Bool(true)) => EXEMPLARS_MAX,
            Some(Literal::Int(n)) => usize::try_from(*n).unwrap_or(0),
            _ => exemplars_max,
        };
        Self {
            extrapolate: matches!(find("extrapolate"), Some(Literal::Bool(true))),
            exemplars_max: if is_instant {
                0
            } else {
                exemplars.min(EXEMPLARS_MAX)
            },
        }
    }
}

/// Exemplars of one answer, as Tempo's default has it.
pub(super) const EXEMPLARS_MAX: usize = 100;

/// The result of a plan from those of its pipelines, in their order.
fn folded(plan: &SeriesPlan, sets: &mut impl Iterator<Item = SeriesSet>) -> Operand {
    let of_series = |operand: Operand, change: &dyn Fn(SeriesSet) -> SeriesSet| match operand {
        Operand::Series(set) => Operand::Series(change(set)),
        number @ Operand::Number(_) => number,
    };
    match plan {
        SeriesPlan::Spans(_) => Operand::Series(sets.next().unwrap_or_default()),
        SeriesPlan::Constant(value) => Operand::Number(*value),
        SeriesPlan::Ranked { of, n, is_top } => {
            of_series(folded(of, sets), &|set| math::ranked(set, *n, *is_top))
        }
        SeriesPlan::Compared { of, op, value } => {
            of_series(folded(of, sets), &|set| math::compared(set, *op, *value))
        }
        SeriesPlan::Arithmetic(op, left, right) => {
            let left = folded(left, sets);
            math::arithmetic(*op, left, folded(right, sets))
        }
    }
}

/// What spans are counted by without reading them, if that is enough: how many one stands for is read from its trace
/// state, which is no column.
pub(super) fn counted_by(spans: &SpansPlan, is_weighted: bool) -> Option<Arc<[Column]>> {
    spans.columns().filter(|_| !is_weighted)
}

async fn counted(
    run: &mut Run,
    spans: &SpansPlan,
    counter: Counter,
    engine: &Engine,
) -> Result<SeriesSet> {
    let bytes_max = engine.limits.query_memory_bytes_max / 2;
    if spans.plan.is_empty() {
        return Ok(counter.finish(usize::MAX).set);
    }
    let sources = run.sources.clone();
    let mut columns = counted_by(spans, counter.is_weighted());
    let mut attributes = Vec::new();
    if matches!(spans.function, Function::Compare(_)) && columns.is_some() {
        match attributes::compared(run, counter.window()).await? {
            Some(compared) => attributes = compared,
            None => columns = None,
        }
    }
    let kept = columns.as_ref();
    let kept = kept.filter(|columns| spans.plan.decides_on_fragments(columns));
    let kept = kept.map(|columns| OpenSpans::new(Arc::clone(columns)));
    let mut counting = Counting {
        shared_max: usize::try_from(bytes_max / 2 / SHARED_BYTES).unwrap_or(usize::MAX),
        run,
        spans,
        columns,
        counter,
        found: Beside::default(),
        shared: HashMap::default(),
        kept,
        bytes_max,
    };
    counting.all(&sources).await?;
    for some in &attributes {
        counting.compare(some, &sources).await?;
    }
    let counter = counting.counter;
    // What was counted is sparse, and a series has a place for every interval.
    let bytes_of_each = SERIES_BYTES + counter.n_intervals() * size_of::<Option<f64>>() as u64;
    let series_max = usize::try_from(bytes_max / bytes_of_each).unwrap_or(usize::MAX);
    let Finished {
        set,
        n_left_out,
        n_uncertain,
    } = counter.finish(series_max);
    if let Some(n) = n_uncertain {
        run.limits_hit.insert(QueryLimit::MemoryBytes);
        run.miss(format!(
            "with all values the comparison would take more than {bytes_max} bytes, half of \
             limits.query_memory_bytes_max: rare ones were left out, and up to {n} spans of others"
        ));
    }
    if n_left_out > 0 {
        run.limits_hit.insert(QueryLimit::MemoryBytes);
        run.miss(format!(
            "{n_left_out} series more would take more than {bytes_max} bytes, half of \
             limits.query_memory_bytes_max: group by less, or ask for fewer intervals"
        ));
    }
    Ok(set)
}

struct Counting<'s, 'p> {
    run: &'s mut Run,
    spans: &'p SpansPlan,
    /// What sources count the spans of their own traces by, if they can.
    columns: Option<Arc<[Column]>>,
    counter: Counter,
    /// What is counted beside the reading, and not added up yet.
    found: Beside<Found>,
    /// Traces of several sources, their fragments added up.
    shared: HashMap<TraceId, OpenTrace>,
    /// Their spans, as far as columns tell of them and they are few.
    kept: Option<OpenSpans>,
    shared_max: usize,
    bytes_max: u64,
}

impl Counting<'_, '_> {
    async fn all(&mut self, sources: &[Arc<dyn SpanSource>]) -> Result<()> {
        self.read(sources).await?;
        if !self.may_go_on()? {
            return Ok(());
        }
        let plan = &self.spans.plan;
        let decided = self.kept.take();
        let decided = decided.map(|kept| self.counter.take_open(kept));
        let shared: Vec<(&TraceId, &OpenTrace)> = match &decided {
            // What two spans of one start differ in may lie in other columns.
            Some(undecided) => undecided
                .iter()
                .filter_map(|id| self.shared.get_key_value(id))
                .collect(),
            None => self.shared.iter().collect(),
        };
        let shared = shared
            .into_iter()
            .filter(|(_, known)| plan.may_match(known));
        let mut ids: Vec<(u64, TraceId)> = shared
            .map(|(id, known)| (known.start_unix_nano, *id))
            .collect();
        // Those of one time lie in few groups.
        ids.sort_unstable();
        let ids: Vec<TraceId> = ids.into_iter().map(|(_, id)| id).collect();
        let columns = self.columns.clone();
        let columns = columns.filter(|columns| plan.decides_on_fragments(columns));
        let columns = columns.map(|columns| open::asked(&columns));
        let Some(columns) = columns else {
            return self.whole(&ids).await;
        };
        let (mut rest, mut n_at_once) = (ids.as_slice(), OPEN_AT_ONCE);
        while !rest.is_empty() && self.may_go_on()? {
            let (some, later) = rest.split_at(rest.len().min(n_at_once));
            let mut some = some.to_vec();
            some.sort_unstable();
            match self.open(&some, &columns).await? {
                Some(undecided) => self.whole(&undecided).await?,
                None if some.len() > 1 => {
                    n_at_once = some.len() / 2;
                    continue;
                }
                None => self.whole(&some).await?,
            }
            rest = later;
        }
        Ok(())
    }

    /// Counts these attributes of spans whose traces lie in one source each; of others everything is counted by now.
    async fn compare(
        &mut self,
        attributes: &[Column],
        sources: &[Arc<dyn SpanSource>],
    ) -> Result<()> {
        let Some(mut columns) = self.spans.plan.columns() else {
            debug_assert!(false, "this is counted by columns");
            return Ok(());
        };
        for attribute in attributes {
            if !columns.contains(attribute) {
                columns.push(attribute.clone());
            }
        }
        self.columns = Some(columns.into());
        self.counter.compare(attributes.into());
        self.kept = None;
        // Known from before, a trace would be one of several sources sooner than when it was first met.
        self.shared = HashMap::default();
        let n_traces = self.run.inspected_traces;
        let is_read = self.read(sources).await;
        self.run.inspected_traces = n_traces;
        is_read
    }

    /// What every source says of its spans.
    async fn read(&mut self, sources: &[Arc<dyn SpanSource>]) -> Result<()> {
        self.read_all(sources).await?;
        while let Some(found) = self.found.next().await? {
            self.counter.add_found(found);
        }
        Ok(())
    }

    async fn read_all(&mut self, sources: &[Arc<dyn SpanSource>]) -> Result<()> {
        let window = self.counter.window();
        let columns = self.columns.clone().unwrap_or_default();
        let what = (window, &columns, true);
        let mut readings = readings::open(self.run, &self.spans.plan, what, sources);
        let mut rest = readings.as_mut_slice();
        while let [reading, later @ ..] = rest {
            if !self.run.may_go_on()? {
                return Ok(());
            }
            self.one(reading, later.first_mut()).await?;
            rest = later;
        }
        Ok(())
    }

    /// Counts traces of several sources (ids sorted) by what those say of their spans. Returns the ids of which
    /// that is not enough; `None` if those are too many to be asked for at once.
    async fn open(
        &mut self,
        ids: &[TraceId],
        columns: &Arc<[Column]>,
    ) -> Result<Option<Vec<TraceId>>> {
        let filters = self.spans.plan.scan_filters();
        let open = self.run.open_spans(ids, &filters, columns).await?;
        Ok(open.map(|open| self.counter.take_open(open)))
    }

    /// Reads traces from all sources and counts their spans.
    async fn whole(&mut self, ids: &[TraceId]) -> Result<()> {
        for some in ids.chunks(TRACES_AT_ONCE) {
            if !self.may_go_on()? {
                break;
            }
            tokio::task::yield_now().await;
            let mut some = some.to_vec();
            some.sort_unstable();
            let (traces, n_left_out) = self.run.whole(&some, self.counter.n_bytes()).await?;
            self.run.leave_out(n_left_out);
            self.take(&traces).await?;
        }
        Ok(())
    }

    /// Traces that lie in this source alone are counted, of others it is noted what they have.
    async fn one(
        &mut self,
        reading: &mut Reading<'_>,
        mut later: Option<&mut Reading<'_>>,
    ) -> Result<()> {
        let plan = &self.spans.plan;
        let mut own = Vec::new();
        while self.may_go_on()? {
            let later = later.as_mut().map(|later| &mut later.batches);
            let Some(answer) = next_batch(&mut reading.batches, later).await else {
                break;
            };
            let Some(batch) = self.run.note(reading.source, answer)? else {
                break;
            };
            let shared: HashSet<TraceId> = batch.shared.iter().copied().collect();
            let is_open = |id: &TraceId| shared.contains(id) || self.shared.contains_key(id);
            let open: Vec<bool> = match shared.is_empty() && self.shared.is_empty() {
                true => vec![false; batch.traces.len()],
                false => batch
                    .traces
                    .iter()
                    .map(|trace| is_open(&trace.trace_id))
                    .collect(),
            };
            self.run.inspected_traces += batch.traces.len() as u64;
            let (batch, open): (_, Arc<[bool]>) = (Arc::new(batch), open.into());
            self.count_own(&batch, &open).await?;
            self.keep_open(&batch, &open);
            for (trace, is_open) in batch.traces.iter().zip(open.iter()) {
                if *is_open {
                    self.note(trace.trace_id, open_trace(&batch, trace));
                } else if self.columns.is_none() && plan.may_match(&open_trace(&batch, trace)) {
                    own.push(trace.trace_id);
                }
            }
            own.sort_unstable();
            for some in std::mem::take(&mut own).chunks(TRACES_AT_ONCE) {
                self.own(reading.source, some).await?;
            }
        }
        Ok(())
    }

    /// Counts what lies in one source alone, if columns tell of it. `open` says of each trace that it does not.
    async fn count_own(&mut self, batch: &Arc<LeafBatch>, open: &Arc<[bool]>) -> Result<()> {
        let Some(columns) = self.columns.clone() else {
            return Ok(());
        };
        let n = batch.traces.len();
        for from in (0..n).step_by(COUNTED_AT_ONCE) {
            if !self.may_go_on()? {
                return Ok(());
            }
            let some = from..n.min(from + COUNTED_AT_ONCE);
            if matches!(self.spans.function, Function::Compare(_)) {
                // What is in memory never waits by itself.
                tokio::task::yield_now().await;
                self.counter.compare_batch((batch, &columns), some, open);
                continue;
            }
            let (batch, open) = (Arc::clone(batch), Arc::clone(open));
            let (columns, counter) = (Arc::clone(&columns), self.counter.for_batches());
            let count = move || counter.count((&batch, &columns), some, &open);
            if let Some(found) = self.found.begin(count).await? {
                self.counter.add_found(found);
            }
        }
        Ok(())
    }

    async fn own(&mut self, source: &dyn SpanSource, ids: &[TraceId]) -> Result<()> {
        if !self.may_go_on()? {
            return Ok(());
        }
        // What lies in memory never waits by itself.
        tokio::task::yield_now().await;
        self.run.ctx.release(self.counter.n_bytes());
        let tenant = self.run.tenant.clone();
        let answer = source.fetch(&tenant, ids, self.run.ctx.clone()).await;
        let mut traces = self.run.note(source, answer)?.unwrap_or_default();
        self.run.deduplicate(&mut traces);
        let n_left_out = self.run.ctx.take_left_out();
        self.run.leave_out(n_left_out);
        self.take(&traces).await
    }

    async fn take(&mut self, traces: &[Trace]) -> Result<()> {
        let mut n_spans = 0;
        for trace in traces {
            n_spans += trace.spans.len();
            if n_spans > SPANS_AT_ONCE {
                n_spans = 0;
                tokio::task::yield_now().await;
                if !self.may_go_on()? {
                    return Ok(());
                }
            }
            for filter in &self.spans.plan.filters {
                self.run.note_pairs(&filter.exact, &trace.spans);
            }
            let is_weighted = self.counter.is_weighted();
            let weight_of = |span: usize| match trace.spans.get(span) {
                Some(span) if is_weighted => weight(span),
                _ => 1.0,
            };
            let watch = Arc::clone(&self.run.watch);
            let facts = TraceFacts::watched(&trace.spans, &watch);
            self.counter.take(&facts, &weight_of);
        }
        Ok(())
    }

    /// Keeps the spans of traces that may have others elsewhere; none any more once they are too many.
    fn keep_open(&mut self, batch: &LeafBatch, is_open: &[bool]) {
        let Some(open) = &mut self.kept else {
            return;
        };
        if !is_open.contains(&true) {
            return;
        }
        let is_kept = open.add_some(batch, is_open);
        if !is_kept || open.n_spans() > OPEN_SPANS_MAX || self.shared.len() >= self.shared_max {
            self.kept = None;
        }
    }

    fn note(&mut self, id: TraceId, fragment: OpenTrace) {
        if let Some(known) = self.shared.get_mut(&id) {
            known.add(fragment);
        } else if self.shared.len() >= self.shared_max {
            self.run.miss_shared();
        } else {
            self.shared.insert(id, fragment);
        }
    }

    fn may_go_on(&mut self) -> Result<bool> {
        if self.counter.n_bytes() > self.bytes_max {
            self.counter.shrink(self.bytes_max / 4 * 3);
        }
        if self.counter.n_bytes() > self.bytes_max {
            self.run.limits_hit.insert(QueryLimit::MemoryBytes);
            self.run.stop(format!(
                "the series hold more than {} bytes, half of limits.query_memory_bytes_max: group by less, or ask \
                 for fewer intervals",
                self.bytes_max
            ));
        }
        self.run.may_go_on()
    }
}
