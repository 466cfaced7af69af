//! From a syntax tree to filters: what sources are asked, and what a whole trace must satisfy.
//!
//! Everything that has a name is resolved here: scopes, aliases, constants, and which event and
//! link a condition is about. What comes out is the [`Filter`] of each pair of braces, three times:
//! exact on a whole trace, as a source is asked, and as a fragment of a trace can be asked.
//!
//! A [`Combine`] says which filters must have spans in a trace; bits of them are what [`crate::partial`] adds
//! up by id. Where it is not all that a query asks (relations, aggregates), [`crate::pipeline`] decides on the
//! whole trace.
//!
//! It decides nothing about reading. Start at [`Plan`]; `types` says which texts mean something,
//! `condition` turns expressions into filters, `bind` finds the events and links, `pipeline` has what stands
//! around the braces, [`series`] what makes series of it.

mod bind;
mod condition;
mod explain;
mod field;
mod known;
mod name;
mod pipeline;
mod resources;
pub mod series;
mod shown;
mod simplify;
mod spelling;
pub mod tags;
pub(crate) mod term;
mod types;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tracewell_model::column::ColumnLevel;
use tracewell_model::{Column, Filter, Intrinsic};

pub use explain::{DecidedBy, Explained, ExplainedFilter};
pub use field::Field;
pub(crate) use name::{Candidate, candidates_of};
pub use pipeline::{ScalarPlan, SpansetPlan, StagePlan};
pub use shown::{Shown, ShownField};
pub(crate) use types::static_type;

use crate::error::{Error, Result};
use crate::partial::OpenTrace;
use crate::request::Aliases;
use crate::syntax::ast::{Expr, Pipeline, Query, Root, TextSpan};
use pipeline::{Parts, Stages};

/// A query, ready to be executed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One per pair of braces.
    pub filters: Vec<FilterPlan>,
    /// What the filters must give together for a trace to match; indices into `filters`.
    pub combine: Combine,
    /// True if that is enough.
    pub combine_is_exact: bool,
    /// So many spans of a trace have to match some filter.
    pub matched_min: u64,
    /// What is done with a whole trace.
    pub stages: Vec<StagePlan>,
    /// What an answer shows of matching spans.
    pub shown: Vec<Shown>,
}

/// One pair of braces. All three are upper bounds of the first.
#[derive(Debug, Clone)]
pub struct FilterPlan {
    /// The meaning, for the row evaluator on a whole trace.
    pub exact: Filter,
    /// What a source can evaluate on traces that it holds whole.
    pub scan: Filter,
    /// What can be said of a span whose trace is not known whole: no condition on the trace.
    pub fragment: Filter,
    pub scan_is_exact: bool,
    pub fragment_is_exact: bool,
}

/// A tree over filters, evaluated per trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Combine {
    Filter(usize),
    /// Every side must have spans; the result is all of them.
    And(Vec<Combine>),
    /// The result is the spans of the sides that have any.
    Or(Vec<Combine>),
}

/// What bounds a plan.
#[derive(Debug, Clone, Copy)]
pub struct PlanLimits {
    pub regex_bytes_max: usize,
    /// Regular expressions of one query: each may hold `regex_bytes_max` once compiled.
    pub regexes_max: usize,
    /// Pairs of braces.
    pub filters_max: usize,
    /// What stands between `|`, in pipelines of pipelines too.
    pub stages_max: usize,
}

impl From<&tracewell_model::Limits> for PlanLimits {
    fn from(limits: &tracewell_model::Limits) -> Self {
        Self {
            regex_bytes_max: limits.regex_bytes_max,
            // 64 MiB of query memory hold 64 of the largest.
            regexes_max: 64,
            filters_max: 64,
            stages_max: 64,
        }
    }
}

/// What the parts of the planner share.
struct Context<'a> {
    text: &'a str,
    aliases: Aliases,
    limits: PlanLimits,
    n_regexes: std::cell::Cell<usize>,
}

impl Plan {
    /// Resolves a query. `text` is what it was parsed from, for messages.
    pub fn new(text: &str, query: &Query, aliases: Aliases, limits: PlanLimits) -> Result<Self> {
        let ctx = Context::new(text, aliases, limits);
        let mut parts = Parts::default();
        let pipeline = pipeline_of(&ctx, query)?;
        let stages = ctx.pipeline(pipeline, &mut parts)?;
        Ok(Self::of(parts, stages))
    }

    fn of(parts: Parts, stages: Stages) -> Self {
        Self {
            matched_min: pipeline::count_min(&stages.stages, parts.filters.len()),
            filters: parts.filters,
            combine: stages.requires,
            combine_is_exact: stages.is_exact,
            stages: stages.stages,
            shown: parts.shown,
        }
    }

    /// The one filter of a query that is nothing but a pair of braces.
    pub fn single(&self) -> Option<&FilterPlan> {
        match (self.stages.as_slice(), self.filters.as_slice()) {
            ([StagePlan::Spanset(SpansetPlan::Filter(0))], [filter]) => Some(filter),
            _ => None,
        }
    }

    /// True if no trace can match.
    pub fn is_empty(&self) -> bool {
        !self
            .combine
            .holds(&|index| !matches!(self.scan(index), Some(Filter::Constant(false))))
    }

    /// Whether a trace may match of which this is known. Spans that are stored twice count twice.
    pub fn may_match(&self, trace: &OpenTrace) -> bool {
        let has = |index| index < 64 && trace.filters >> index & 1 == 1;
        trace.n_matched >= self.matched_min && self.combine.holds(&has)
    }

    /// What a source is asked of traces that it holds whole, one filter for each pair of braces.
    pub fn scan_filters(&self) -> Arc<[Filter]> {
        self.filters
            .iter()
            .map(|filter| filter.scan.clone())
            .collect()
    }

    /// What a source is asked of traces that it may hold in part.
    pub fn fragment_filters(&self) -> Arc<[Filter]> {
        self.filters
            .iter()
            .map(|filter| filter.fragment.clone())
            .collect()
    }

    /// What is asked of the fragments of one trace, of which so much is known: nothing about the trace
    /// is dropped.
    pub(crate) fn filters_knowing(&self, known: &known::Known<'_>) -> Arc<[Filter]> {
        let filters = self.filters.iter();
        filters
            .map(|filter| known::with_known(&filter.scan, known))
            .collect()
    }

    pub fn scan_is_exact(&self) -> bool {
        self.filters.iter().all(|filter| filter.scan_is_exact)
    }

    /// What is to be asked of the spans that match, their start first, so that it can be decided on a trace that
    /// lies in one source without reading it; `None` where only the whole trace tells.
    pub(crate) fn columns(&self) -> Option<Vec<Column>> {
        let mut columns = vec![Column::Intrinsic(Intrinsic::Start)];
        let stages = pipeline::columns_of(&self.stages, &mut columns);
        stages.filter(|()| self.scan_is_exact()).map(|()| columns)
    }

    /// Whether these columns decide on a trace of several sources, too: nothing asks of the trace as a whole.
    pub(crate) fn decides_on_fragments(&self, columns: &[Column]) -> bool {
        let is_of_trace = |column: &Column| column.level() == ColumnLevel::Trace;
        self.fragment_is_exact() && !columns.iter().any(is_of_trace)
    }

    pub fn fragment_is_exact(&self) -> bool {
        self.filters.iter().all(|filter| filter.fragment_is_exact)
    }

    fn scan(&self, index: usize) -> Option<&Filter> {
        self.filters.get(index).map(|filter| &filter.scan)
    }
}

impl Combine {
    /// Whether a trace matches, given which filters have a matching span in it.
    pub fn holds(&self, has: &dyn Fn(usize) -> bool) -> bool {
        match self {
            Self::Filter(index) => has(*index),
            Self::And(terms) => terms.iter().all(|term| term.holds(has)),
            Self::Or(terms) => terms.iter().any(|term| term.holds(has)),
        }
    }
}

fn pipeline_of<'q>(ctx: &Context<'_>, query: &'q Query) -> Result<&'q Pipeline> {
    match &query.root {
        Root::Metrics(expr) => Err(ctx.type_error(
            expr.span,
            "this yields series, and a search yields traces: ask at /api/metrics/query_range",
        )),
        Root::Pipeline(pipeline) => Ok(pipeline),
    }
}

impl<'a> Context<'a> {
    fn new(text: &'a str, aliases: Aliases, limits: PlanLimits) -> Self {
        Self {
            text,
            aliases,
            limits,
            n_regexes: std::cell::Cell::new(0),
        }
    }
}

impl Context<'_> {
    fn not_built(&self, span: TextSpan, construct: &str) -> Error {
        Error::not_built(self.text, span, construct)
    }

    fn type_error(&self, span: TextSpan, message: impl Into<String>) -> Error {
        Error::type_error(self.text, span, message)
    }

    fn filter(&self, expr: Option<&Expr>) -> Result<FilterPlan> {
        let tree = match expr {
            None => Filter::Constant(true),
            Some(expr) => {
                self.check_filter(expr)?;
                self.condition(expr, condition::Sense::Holds)?
            }
        };
        Ok(bind::bind(simplify::simplify(tree)))
    }
}

/// Resolves a filter that is not part of a text: conditions of a search by tags.
pub(crate) fn bind_filter(tree: Filter) -> FilterPlan {
    bind::bind(simplify::simplify(tree))
}
