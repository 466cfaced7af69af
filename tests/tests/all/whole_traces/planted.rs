//! Engine bugs, planted around the engine: each wrapper breaks one rule of the meeting of sources
//! and engine, so that the comparison can be seen to notice. The product knows nothing of this.

use std::cmp::Reverse;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tracewell_model::shared::SharedIds;
use tracewell_model::source::{
    KeyAnswer, KeyQuery, LeafBatch, LeafQuery, QueryContext, Snapshot, Snapshots, SourceResult,
    SourceSummary, SpanSource, TraceRow, TraceSet,
};
use tracewell_model::span::duration_nano;
use tracewell_model::{AttributeScope, CompareOp, TenantId, TimeRange, Trace, TraceId};
use tracewell_query::request::{RootSummary, SearchQuery, SearchRequest, SearchResponse};
use tracewell_query::syntax::ast::{
    Expr, ExprKind, Literal, Root, SpansetExpr, SpansetKind, Stage,
};
use tracewell_query::{Engine, parse};

use super::ask::{self, Case};
use super::data::DataSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// The wrappers alone: must not be noticed, or every bug would seem to be found.
    Nothing,
    /// Traces of several sources are evaluated in none.
    SharedTracesLeftOut,
    /// Each source decides about `&&` with its own spans.
    AndPerSource,
    WindowIgnored,
    /// Fragments outside of the window are not asked for.
    FragmentsOutsideForgotten,
    /// Spans outside of the window do not belong to their trace.
    WindowCutsTraces,
    /// A source is judged by its first span, though later ones lie in the window.
    SourceSkippedByItsStart,
    /// The fragment of the last source is not read.
    FragmentForgotten,
    /// A trace is taken from the first source that has it.
    FirstSourceWins,
    /// A membership filter has lost ids.
    FilterLosesIds,
    RepeatsCounted,
    TiesReversed,
    /// The newest traces are taken to be settled while newer ones are unread.
    StopsTooEarly,
    /// Each source delivers no more traces than the answer may have.
    LimitPerSource,
    /// `!=` is true where there is no value.
    MissingIsDifferent,
    DurationOfLongestFragment,
    RootOfFirstFragment,
    /// A trace starts where its oldest fragment in the newest source does.
    StartOfFirstFragment,
}

impl Bug {
    pub(super) const ALL: [Self; 17] = [
        Self::SharedTracesLeftOut,
        Self::AndPerSource,
        Self::WindowIgnored,
        Self::FragmentsOutsideForgotten,
        Self::WindowCutsTraces,
        Self::SourceSkippedByItsStart,
        Self::FragmentForgotten,
        Self::FirstSourceWins,
        Self::FilterLosesIds,
        Self::RepeatsCounted,
        Self::TiesReversed,
        Self::StopsTooEarly,
        Self::LimitPerSource,
        Self::MissingIsDifferent,
        Self::DurationOfLongestFragment,
        Self::RootOfFirstFragment,
        Self::StartOfFirstFragment,
    ];

    /// Asks an engine that has this bug. `None` where it refuses the question.
    pub(super) async fn ask(self, data: &DataSet, case: &Case) -> Option<SearchResponse> {
        let snapshots = Arc::new(Planted {
            bug: self,
            inner: data.snapshots(),
            window: case.window,
            limit: case.limit,
        });
        let engine: Engine = ask::engine(data, snapshots);
        let response = engine.search(self.request(case)).await.ok()?;
        Some(self.answer(data, response).await)
    }

    fn request(self, case: &Case) -> SearchRequest {
        let mut request = ask::request(case);
        match self {
            Self::WindowIgnored => request.window = TimeRange::ALL,
            Self::MissingIsDifferent => {
                request.query = SearchQuery::TraceQl(missing_is_different(&case.text));
            }
            _ => {}
        }
        request
    }

    async fn answer(self, data: &DataSet, mut response: SearchResponse) -> SearchResponse {
        if self == Self::TiesReversed {
            let place = |trace: &tracewell_query::request::TraceSummary| {
                (Reverse(trace.start_unix_nano), Reverse(trace.trace_id))
            };
            response.traces.sort_by_key(place);
        }
        for trace in &mut response.traces {
            let rows = rows(data, trace.trace_id).await;
            match self {
                Self::DurationOfLongestFragment => {
                    let durations = rows
                        .iter()
                        .map(|row| duration_nano(row.start_unix_nano, row.end_unix_nano));
                    trace.duration_nano = durations.max().unwrap().unsigned_abs();
                }
                Self::RootOfFirstFragment => {
                    let root = rows.into_iter().find_map(|row| row.root);
                    trace.root = root.map(|root| RootSummary {
                        service: root.service,
                        name: root.name,
                    });
                }
                Self::StartOfFirstFragment => {
                    trace.start_unix_nano = rows[0].start_unix_nano;
                }
                _ => {}
            }
        }
        response
    }
}

async fn rows(data: &DataSet, id: TraceId) -> Vec<TraceRow> {
    let tenant = TenantId::single();
    let mut rows = Vec::new();
    for source in data.snapshots().pin().sources {
        let ids = [id];
        let found = source.traces(&tenant, &ids, QueryContext::unlimited());
        rows.extend(found.await.unwrap());
    }
    rows
}

/// `x != c` becomes `(x != c || x = nil)` in the text, for attributes.
fn missing_is_different(text: &str) -> String {
    let mut places = Vec::new();
    if let Root::Pipeline(pipeline) = &parse(text).unwrap().root {
        for stage in &pipeline.stages {
            if let Stage::Spanset(expr) = stage {
                in_spanset(expr, &mut places);
            }
        }
    }
    places.sort_unstable();
    let mut changed = text.to_owned();
    for (from, to, name) in places.into_iter().rev() {
        let condition = &text[from..to];
        changed.replace_range(from..to, &format!("({condition} || {name} = nil)"));
    }
    changed
}

type Place = (usize, usize, String);

fn in_spanset(expr: &SpansetExpr, places: &mut Vec<Place>) {
    match &expr.kind {
        SpansetKind::Filter(Some(inner)) => in_expr(inner, places),
        SpansetKind::Logic(_, terms) => terms.iter().for_each(|term| in_spanset(term, places)),
        _ => {}
    }
}

fn in_expr(expr: &Expr, places: &mut Vec<Place>) {
    match &expr.kind {
        ExprKind::Not(inner) => in_expr(inner, places),
        ExprKind::Logic(_, terms) => terms.iter().for_each(|term| in_expr(term, places)),
        ExprKind::Compare(CompareOp::NotEqual, left, right) => {
            for (name, constant) in [(left, right), (right, left)] {
                let ExprKind::Attribute(attribute) = &name.kind else {
                    continue;
                };
                let is_constant = matches!(&constant.kind,
                    ExprKind::Literal(literal) if *literal != Literal::Nil);
                let is_service = attribute.scope == Some(AttributeScope::Resource)
                    && &*attribute.key == "service.name";
                if is_constant && !is_service {
                    places.push((expr.span.from, expr.span.to, attribute.to_string()));
                }
            }
        }
        _ => {}
    }
}

#[derive(Debug)]
struct Planted {
    bug: Bug,
    inner: Arc<dyn Snapshots>,
    window: TimeRange,
    limit: usize,
}

impl Snapshots for Planted {
    fn pin(&self) -> Snapshot {
        let mut snapshot = self.inner.pin();
        let all = snapshot.sources.clone();
        for (index, source) in snapshot.sources.iter_mut().enumerate() {
            let mut summary = source.summary().clone();
            match self.bug {
                Bug::SourceSkippedByItsStart => summary.span_start_max = summary.span_start_min,
                Bug::StopsTooEarly => summary.trace_start_max = summary.span_start_min,
                _ => {}
            }
            *source = Arc::new(Faulty {
                bug: self.bug,
                inner: Arc::clone(source),
                summary,
                window: self.window,
                limit: self.limit,
                before: all[..index].to_vec(),
                is_last: index + 1 == all.len(),
            });
        }
        snapshot
    }
}

#[derive(Debug)]
struct Faulty {
    bug: Bug,
    inner: Arc<dyn SpanSource>,
    summary: SourceSummary,
    window: TimeRange,
    limit: usize,
    before: Vec<Arc<dyn SpanSource>>,
    is_last: bool,
}

impl Faulty {
    fn spoil_batch(&self, batch: &mut LeafBatch, whole: bool) {
        match self.bug {
            Bug::SharedTracesLeftOut => {
                let shared = std::mem::take(&mut batch.shared);
                batch.traces.retain(|run| !shared.contains(&run.trace_id));
            }
            Bug::AndPerSource => {
                let bits = &batch.bits;
                batch.traces.retain(|run| {
                    let (from, n) = (run.from as usize, (run.to - run.from) as usize);
                    bits.iter().all(|bits| bits.slice(from, n).has_true())
                });
            }
            Bug::LimitPerSource if !whole => batch.traces.truncate(self.limit),
            _ => {}
        }
    }

    fn spoil_traces(&self, traces: &mut Vec<Trace>) {
        match self.bug {
            Bug::FragmentForgotten if self.is_last && !self.before.is_empty() => traces.clear(),
            Bug::WindowCutsTraces => {
                for trace in traces {
                    let window = self.window;
                    trace
                        .spans
                        .retain(|span| window.contains(span.start_unix_nano));
                }
            }
            Bug::RepeatsCounted => {
                let spans = traces.iter_mut().flat_map(|trace| &mut trace.spans);
                for (index, span) in spans.enumerate() {
                    // No span equals another any more.
                    span.dropped_links_count = (self.before.len() * 10_000 + index) as u32;
                }
            }
            _ => {}
        }
    }
}

impl SpanSource for Faulty {
    fn summary(&self) -> &SourceSummary {
        &self.summary
    }

    fn leaves(
        &self,
        mut query: LeafQuery,
        ctx: QueryContext,
    ) -> BoxStream<'_, SourceResult<LeafBatch>> {
        let whole = query.only.is_some();
        if self.bug == Bug::FragmentsOutsideForgotten {
            query.also = TraceSet::none();
        }
        let batches = self.inner.leaves(query, ctx);
        batches
            .map(move |batch| {
                let mut batch = batch?;
                self.spoil_batch(&mut batch, whole);
                Ok(batch)
            })
            .boxed()
    }

    fn traces<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<TraceRow>>> {
        self.inner.traces(tenant, ids, ctx)
    }

    fn fetch<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<Trace>>> {
        async move {
            let mut traces = self.inner.fetch(tenant, ids, ctx).await?;
            self.spoil_traces(&mut traces);
            Ok(traces)
        }
        .boxed()
    }

    fn keys<'a>(
        &'a self,
        query: &'a KeyQuery,
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<KeyAnswer>> {
        self.inner.keys(query, ctx)
    }

    fn may_contain(&self, tenant: &TenantId, id: TraceId) -> bool {
        match self.bug {
            Bug::FilterLosesIds if id.0[15] % 16 == 1 => false,
            Bug::FirstSourceWins => {
                let mut before = self.before.iter();
                self.inner.may_contain(tenant, id)
                    && !before.any(|source| source.may_contain(tenant, id))
            }
            _ => self.inner.may_contain(tenant, id),
        }
    }

    fn shared_ids(&self) -> Arc<SharedIds> {
        self.inner.shared_ids()
    }
}
