//! What a search must answer, by looking at every span: slow, and short enough to be read.
//!
//! It shares with the engine the parser, its tree, and the table of attribute aliases, and nothing
//! else: values, comparisons, resolution of names and the rules for events and links are written
//! here once more, from the reference of the language and the decisions in docs/adr. Queries that
//! the type check refuses are not for it: it gives every tree some meaning.
//!
//! Start at [`Oracle::search`]; `filter` holds the meaning of what stands in braces, [`value`] that of
//! comparisons.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use tracewell_model::{Span, SpanId, TimeRange, Trace, TraceId};
use tracewell_query::syntax::ast::{
    LogicOp, Pipeline, Query, Root, SpansetExpr, SpansetKind, Stage,
};
use tracewell_query::{Aliases, SyntaxError, parse};

use self::filter::{Filter, TraceFacts};

mod filter;
pub mod value;

/// All spans there are, by trace; spans equal in every field count once.
#[derive(Debug, Default)]
pub struct Oracle {
    traces: BTreeMap<TraceId, Trace>,
}

/// What is asked for besides the query.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    pub window: TimeRange,
    pub limit: usize,
    pub aliases: Aliases,
}

/// One trace of the answer, in the order of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub trace_id: TraceId,
    pub start_unix_nano: u64,
    pub duration_nano: u64,
    /// Service and name of the earliest root span.
    pub root: Option<(String, String)>,
    /// The matching spans; an id stands as often as spans have it.
    pub matched: Vec<SpanId>,
}

/// What the oracle cannot say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OracleError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    #[error("{0} is not in the oracle's part of the language")]
    Unknown(&'static str),
    #[error(transparent)]
    Regex(#[from] regex::Error),
}

// === impl Oracle ===

impl Oracle {
    pub fn new(spans: impl IntoIterator<Item = Span>) -> Self {
        let mut traces: BTreeMap<TraceId, Trace> = BTreeMap::new();
        for span in spans {
            let trace = traces.entry(span.trace_id).or_default();
            trace.trace_id = span.trace_id;
            trace.spans.push(span);
        }
        for trace in traces.values_mut() {
            trace.deduplicate();
        }
        Self { traces }
    }

    pub fn n_traces(&self) -> usize {
        self.traces.len()
    }

    pub fn traces(&self) -> impl Iterator<Item = &Trace> {
        self.traces.values()
    }

    pub fn spans(&self) -> Vec<&Span> {
        self.traces().flat_map(|trace| &trace.spans).collect()
    }

    /// Traces with a span that starts in the window.
    pub fn n_in_window(&self, window: TimeRange) -> usize {
        let in_window = |trace: &&Trace| takes_part(trace, window);
        self.traces.values().filter(in_window).count()
    }

    /// The newest traces that match: by start of the whole trace, newest first, then by id.
    pub fn search(&self, text: &str, question: Question) -> Result<Vec<Found>, OracleError> {
        let query = parse(text)?;
        let expr = only_spanset(&query)?;
        let mut answer = Vec::new();
        let mut filters = BTreeMap::new();
        for trace in self.traces.values() {
            if !takes_part(trace, question.window) {
                continue;
            }
            let facts = TraceFacts::of(&trace.spans);
            let result = spanset(expr, &trace.spans, &facts, question.aliases, &mut filters)?;
            if !result.is_empty() {
                answer.push(found(trace, &facts, &result));
            }
        }
        answer.sort_by_key(|found| (std::cmp::Reverse(found.start_unix_nano), found.trace_id));
        answer.truncate(question.limit);
        Ok(answer)
    }
}

fn takes_part(trace: &Trace, window: TimeRange) -> bool {
    let mut starts = trace.spans.iter().map(|span| span.start_unix_nano);
    starts.any(|start| window.contains(start))
}

fn found(trace: &Trace, facts: &TraceFacts<'_>, result: &BTreeSet<usize>) -> Found {
    let ids = result.iter().filter_map(|index| trace.spans.get(*index));
    Found {
        trace_id: trace.trace_id,
        start_unix_nano: facts.start_unix_nano,
        duration_nano: facts.duration_nano.unsigned_abs(),
        root: facts
            .root
            .map(|root| (root.resource.service_name().to_owned(), root.name.clone())),
        matched: ids.map(|span| span.span_id).collect(),
    }
}

fn only_spanset(query: &Query) -> Result<&SpansetExpr, OracleError> {
    match &query.root {
        Root::Pipeline(pipeline) => only_stage(pipeline),
        Root::Metrics(_) => Err(OracleError::Unknown("a metrics query")),
    }
}

fn only_stage(pipeline: &Pipeline) -> Result<&SpansetExpr, OracleError> {
    match pipeline.stages.as_slice() {
        [Stage::Spanset(expr)] => Ok(expr),
        _ => Err(OracleError::Unknown("a pipeline")),
    }
}

/// The filters of a query by the address of their braces: regular expressions compile once.
type Filters<'q> = BTreeMap<usize, Filter<'q>>;

/// Indices of the spans that an expression yields in one trace.
fn spanset<'q>(
    expr: &'q SpansetExpr,
    spans: &[Span],
    facts: &TraceFacts<'_>,
    aliases: Aliases,
    filters: &mut Filters<'q>,
) -> Result<BTreeSet<usize>, OracleError> {
    match &expr.kind {
        SpansetKind::Filter(None) => Ok((0..spans.len()).collect()),
        SpansetKind::Filter(Some(inner)) => {
            let address = std::ptr::from_ref(inner).addr();
            let filter = match filters.entry(address) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(Filter::new(inner, aliases)?),
            };
            let mut matching = BTreeSet::new();
            for (index, span) in spans.iter().enumerate() {
                if filter.matches(span, facts)? {
                    matching.insert(index);
                }
            }
            Ok(matching)
        }
        SpansetKind::Logic(op, terms) => {
            let mut union = BTreeSet::new();
            for term in terms {
                let side = spanset(term, spans, facts, aliases, filters)?;
                if *op == LogicOp::And && side.is_empty() {
                    return Ok(BTreeSet::new());
                }
                union.extend(side);
            }
            Ok(union)
        }
        SpansetKind::Pipeline(inner) => spanset(only_stage(inner)?, spans, facts, aliases, filters),
        SpansetKind::Relation(..) => Err(OracleError::Unknown("a structural operator")),
    }
}

#[cfg(test)]
mod tests;
