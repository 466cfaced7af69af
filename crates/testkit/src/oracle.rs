//! What a search must answer, by looking at every span: slow, and short enough to be read.
//!
//! It shares with the engine the parser, its tree, the table of attribute aliases, the nouns of the model and
//! the order of spans within a trace, and nothing else: which spans are one, values, comparisons, resolution of
//! names and the rules for events and links are written here once more, from the reference of the language and
//! the decisions in docs/adr. Queries that the type check refuses are not for it: it gives every tree some
//! meaning.
//!
//! Start at [`Oracle::search`]; `filter` holds the meaning of what stands in braces, `pipeline` that of what
//! stands around them, `tree` who is whose parent, [`value`] comparisons, [`series`]
//! metrics.

use std::collections::BTreeMap;

use tracewell_model::{Span, SpanId, TimeRange, Trace, TraceId};
use tracewell_query::syntax::ast::Root;
use tracewell_query::{Aliases, SyntaxError, parse};

use self::filter::TraceFacts;
use self::join::join;
use self::pipeline::{Scene, Set};
use self::value::Datum;

mod comparison;
mod filter;
mod join;
mod pipeline;
pub mod series;
mod spelling;
mod tree;
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
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub trace_id: TraceId,
    pub start_unix_nano: u64,
    pub duration_nano: u64,
    /// Service and name of the earliest root span.
    pub root: Option<(String, String)>,
    pub spansets: Vec<FoundSpanset>,
}

/// One spanset of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSpanset {
    /// In the order of the trace; an id stands as often as spans have it.
    pub matched: Vec<SpanId>,
    /// What was split by and compared, by its text.
    pub attributes: Vec<(String, Datum)>,
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
            join(&mut trace.spans);
            // For the order alone.
            let n_dropped = trace.deduplicate();
            assert_eq!(n_dropped, 0, "the model joins spans that differ");
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
        let Root::Pipeline(pipeline) = &query.root else {
            return Err(OracleError::Unknown("a metrics query"));
        };
        let mut answer = Vec::new();
        let mut filters = BTreeMap::new();
        for trace in self.traces.values() {
            if !takes_part(trace, question.window) {
                continue;
            }
            let facts = TraceFacts::of(&trace.spans);
            let mut scene = Scene {
                facts: &facts,
                aliases: question.aliases,
                filters: &mut filters,
            };
            let everything = scene.everything();
            let sets = scene.pipeline(pipeline, vec![everything])?;
            if !sets.is_empty() {
                answer.push(found(trace, &facts, sets));
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

fn found(trace: &Trace, facts: &TraceFacts<'_>, sets: Vec<Set>) -> Found {
    let spanset = |set: Set| {
        let spans = set.spans.iter().filter_map(|at| trace.spans.get(*at));
        FoundSpanset {
            matched: spans.map(|span| span.span_id).collect(),
            attributes: set.attributes,
        }
    };
    Found {
        trace_id: trace.trace_id,
        start_unix_nano: facts.start_unix_nano,
        duration_nano: facts.duration_nano.unsigned_abs(),
        root: facts
            .root
            .map(|root| (root.resource.service_name().to_owned(), root.name.clone())),
        spansets: sets.into_iter().map(spanset).collect(),
    }
}

#[cfg(test)]
mod tests;
