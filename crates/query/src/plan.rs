//! From a syntax tree to filters: what sources are asked, and what a whole trace must satisfy.
//!
//! Everything that has a name is resolved here: scopes, aliases, constants, and which event and
//! link a condition is about. What comes out is the [`Filter`] of each pair of braces, three times:
//! exact on a whole trace, as a source is asked, and as a fragment of a trace can be asked.
//!
//! A [`Combine`] of filters and `||` is a span-level query: one span decides, wherever it lies. One with `&&`
//! takes bits of the whole trace, which [`crate::partial`] adds up by id. Sums per trace, the third kind, come
//! with aggregates.
//!
//! It decides nothing about reading. Start at [`Plan`]; `types` says which texts mean something,
//! `condition` turns expressions into filters, `bind` finds the events and links.

mod bind;
mod condition;
mod known;
mod name;
mod resources;
mod shown;
mod simplify;
pub mod tags;
mod term;
mod types;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tracewell_model::Filter;

pub(crate) use name::{Candidate, candidates_of};
pub use shown::{Shown, ShownField};

use crate::error::{Error, Result};
use crate::request::Aliases;
use crate::syntax::ast::{
    Expr, LogicOp, MetricsKind, Pipeline, Query, Root, SpansetExpr, SpansetKind, Stage, TextSpan,
};

/// A query, ready to be executed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One per pair of braces.
    pub filters: Vec<FilterPlan>,
    /// What the filters must give together; indices into `filters`.
    pub combine: Combine,
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
}

impl From<&tracewell_model::Limits> for PlanLimits {
    fn from(limits: &tracewell_model::Limits) -> Self {
        Self {
            regex_bytes_max: limits.regex_bytes_max,
            // 64 MiB of query memory hold 64 of the largest.
            regexes_max: 64,
            filters_max: 64,
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
        let ctx = Context {
            text,
            aliases,
            limits,
            n_regexes: std::cell::Cell::new(0),
        };
        let expr = spanset_of(&ctx, query)?;
        let mut filters = Vec::new();
        let mut shown = Vec::new();
        let combine = ctx.combine(expr, &mut filters, &mut shown)?;
        Ok(Self {
            filters,
            combine,
            shown,
        })
    }

    /// The one filter of a query that is nothing but a pair of braces.
    pub fn single(&self) -> Option<&FilterPlan> {
        match (&self.combine, self.filters.as_slice()) {
            (Combine::Filter(0), [filter]) => Some(filter),
            _ => None,
        }
    }

    /// True if no trace can match.
    pub fn is_empty(&self) -> bool {
        !self
            .combine
            .holds(&|index| !matches!(self.scan(index), Some(Filter::Constant(false))))
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

    /// Calls `visit` for every filter whose spans are part of the result.
    pub fn for_each_part(&self, has: &dyn Fn(usize) -> bool, visit: &mut dyn FnMut(usize)) {
        match self {
            Self::Filter(index) => visit(*index),
            Self::And(terms) | Self::Or(terms) => {
                for term in terms {
                    if term.holds(has) {
                        term.for_each_part(has, visit);
                    }
                }
            }
        }
    }
}

/// The spanset expression that a query is, or which construct is not built yet.
fn spanset_of<'q>(ctx: &Context<'_>, query: &'q Query) -> Result<&'q SpansetExpr> {
    match &query.root {
        Root::Metrics(expr) => {
            let span = match &expr.kind {
                MetricsKind::Pipeline { .. } | MetricsKind::Scalar(_) => expr.span,
                MetricsKind::Stage(inner, _) | MetricsKind::Arithmetic(_, inner, _) => inner.span,
            };
            Err(ctx.not_built(span, "metrics"))
        }
        Root::Pipeline(pipeline) => ctx.only_stage(pipeline),
    }
}

impl Context<'_> {
    fn not_built(&self, span: TextSpan, construct: &str) -> Error {
        Error::not_built(self.text, span, construct)
    }

    fn type_error(&self, span: TextSpan, message: impl Into<String>) -> Error {
        Error::type_error(self.text, span, message)
    }

    fn only_stage<'q>(&self, pipeline: &'q Pipeline) -> Result<&'q SpansetExpr> {
        let mut only = None;
        for stage in &pipeline.stages {
            match stage {
                Stage::Spanset(expr) if only.is_none() => only = Some(expr),
                Stage::Spanset(expr) => {
                    return Err(self.not_built(expr.span, "a filter behind `|`"));
                }
                Stage::ScalarFilter { span, .. } => {
                    return Err(self.not_built(*span, "a comparison of aggregates"));
                }
                Stage::By(_, span) => return Err(self.not_built(*span, "`by()`")),
                Stage::Coalesce(span) => return Err(self.not_built(*span, "`coalesce()`")),
                Stage::Select(_, span) => return Err(self.not_built(*span, "`select()`")),
            }
        }
        only.ok_or_else(|| self.not_built(TextSpan::default(), "an empty pipeline"))
    }

    fn combine(
        &self,
        expr: &SpansetExpr,
        filters: &mut Vec<FilterPlan>,
        shown: &mut Vec<Shown>,
    ) -> Result<Combine> {
        match &expr.kind {
            SpansetKind::Filter(inner) => {
                if filters.len() >= self.limits.filters_max {
                    return Err(Error::TooLarge {
                        what: "pairs of braces",
                        seen: filters.len() as u64 + 1,
                        limit: self.limits.filters_max as u64,
                    });
                }
                filters.push(self.filter(inner.as_ref())?);
                if let Some(inner) = inner {
                    self.collect_shown(inner, shown);
                }
                Ok(Combine::Filter(filters.len() - 1))
            }
            SpansetKind::Logic(op, terms) => {
                let terms = terms
                    .iter()
                    .map(|term| self.combine(term, filters, shown))
                    .collect::<Result<Vec<_>>>()?;
                Ok(match op {
                    LogicOp::And => Combine::And(terms),
                    LogicOp::Or => Combine::Or(terms),
                })
            }
            SpansetKind::Relation(relation, ..) => {
                Err(self.not_built(expr.span, &format!("the structural operator `{relation}`")))
            }
            SpansetKind::Pipeline(pipeline) => match self.only_stage(pipeline) {
                Ok(inner) => self.combine(inner, filters, shown),
                Err(error) => Err(error),
            },
        }
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
