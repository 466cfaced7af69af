//! Stages, from their syntax to what [`crate::pipeline`] runs over one whole trace.
//!
//! With the stages comes the condition that a trace must satisfy for them to yield anything, from which
//! spans match which pair of braces: what the operators require. It is what sources are asked, and an
//! upper bound: of `{ a } >> { b }` it says that both sides must be there, of `{ a } !> { b }` that the
//! right one must, and of comparisons of aggregates nothing.

use tracewell_model::{Column, CompareOp, Filter};

use super::field::Field;
use super::shown::Shown;
use super::{Combine, Context, FilterPlan};
use crate::error::{Error, Result};
use crate::scalar::Scalar;
use crate::syntax::ast::{
    Aggregate, ArithmeticOp, Literal, LogicOp, Pipeline, Relation, RelationMode, ScalarExpr,
    ScalarKind, SpansetExpr, SpansetKind, Stage, TextSpan,
};

/// How many spans of a trace have to match its only filter, as far as `count()` right behind it says so.
pub(super) fn count_min(stages: &[StagePlan], n_filters: usize) -> u64 {
    let [
        StagePlan::Spanset(SpansetPlan::Filter(0)),
        StagePlan::ScalarFilter { left, op, right },
        ..,
    ] = stages
    else {
        return 0;
    };
    let is_count = |plan: &ScalarPlan| {
        let count = Aggregate::Count;
        matches!(plan, ScalarPlan::Aggregate { aggregate, .. } if *aggregate == count)
    };
    let (op, bound) = match (left, right) {
        (count, ScalarPlan::Constant(Scalar::Int(bound))) if is_count(count) => (*op, *bound),
        (ScalarPlan::Constant(Scalar::Int(bound)), count) if is_count(count) => {
            (super::condition::flipped(*op), *bound)
        }
        _ => return 0,
    };
    let least = match op {
        CompareOp::Greater => bound.saturating_add(1),
        CompareOp::GreaterOrEqual | CompareOp::Equal => bound,
        _ => 0,
    };
    match n_filters {
        1 => u64::try_from(least).unwrap_or(0),
        _ => 0,
    }
}

/// Spansets to spansets, all of one trace.
#[derive(Debug, Clone)]
pub enum StagePlan {
    Spanset(SpansetPlan),
    ScalarFilter {
        left: ScalarPlan,
        op: CompareOp,
        right: ScalarPlan,
    },
    By(Field),
    Coalesce,
}

/// Indices are those of [`super::Plan::filters`].
#[derive(Debug, Clone)]
pub enum SpansetPlan {
    Filter(usize),
    Logic(LogicOp, Vec<SpansetPlan>),
    Relation(Relation, Box<SpansetPlan>, Box<SpansetPlan>),
    Pipeline(Vec<StagePlan>),
}

/// Numbers of one spanset.
#[derive(Debug, Clone)]
pub enum ScalarPlan {
    Constant(Scalar),
    /// The label is the text of the aggregate.
    Aggregate {
        aggregate: Aggregate,
        of: Option<Field>,
        label: String,
    },
    Arithmetic(ArithmeticOp, Box<ScalarPlan>, Box<ScalarPlan>),
    Negate(Box<ScalarPlan>),
    /// Of what these stages make of the trace.
    Pipeline(Vec<StagePlan>, Box<ScalarPlan>),
}

/// The columns of the fields of some stages, each once; `None` where spans that match do not tell all that the
/// stages ask: of relations, of events and links, and where they begin with spans that match nothing.
pub(super) fn columns_of(stages: &[StagePlan], columns: &mut Vec<Column>) -> Option<()> {
    let Some(StagePlan::Spanset(_)) = stages.first() else {
        return None;
    };
    stages.iter().try_for_each(|stage| match stage {
        StagePlan::Spanset(plan) => columns_of_spanset(plan, columns),
        StagePlan::ScalarFilter { left, right, .. } => {
            columns_of_scalar(left, columns)?;
            columns_of_scalar(right, columns)
        }
        StagePlan::By(field) => field.add_columns(columns),
        StagePlan::Coalesce => Some(()),
    })
}

fn columns_of_spanset(plan: &SpansetPlan, columns: &mut Vec<Column>) -> Option<()> {
    match plan {
        SpansetPlan::Filter(_) => Some(()),
        SpansetPlan::Logic(_, terms) => terms
            .iter()
            .try_for_each(|term| columns_of_spanset(term, columns)),
        SpansetPlan::Relation(..) => None,
        SpansetPlan::Pipeline(stages) => columns_of(stages, columns),
    }
}

fn columns_of_scalar(plan: &ScalarPlan, columns: &mut Vec<Column>) -> Option<()> {
    match plan {
        ScalarPlan::Constant(_) | ScalarPlan::Aggregate { of: None, .. } => Some(()),
        ScalarPlan::Aggregate {
            of: Some(field), ..
        } => field.add_columns(columns),
        ScalarPlan::Arithmetic(_, left, right) => {
            columns_of_scalar(left, columns)?;
            columns_of_scalar(right, columns)
        }
        ScalarPlan::Negate(inner) => columns_of_scalar(inner, columns),
        ScalarPlan::Pipeline(stages, end) => {
            columns_of(stages, columns)?;
            columns_of_scalar(end, columns)
        }
    }
}

/// What is collected on the way through a query.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) filters: Vec<FilterPlan>,
    pub(super) shown: Vec<Shown>,
    n_stages: usize,
}

/// Stages, and what they require of a trace.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) stages: Vec<StagePlan>,
    pub(super) requires: Combine,
    /// True if what they require is also enough.
    pub(super) is_exact: bool,
    /// Where a trace may have several spansets at the end.
    splits: Option<TextSpan>,
}

/// A spanset expression, and what it requires.
struct Spansets {
    plan: SpansetPlan,
    requires: Combine,
    is_exact: bool,
}

impl Context<'_> {
    pub(super) fn pipeline(&self, pipeline: &Pipeline, parts: &mut Parts) -> Result<Stages> {
        let mut all = Stages {
            stages: Vec::with_capacity(pipeline.stages.len()),
            requires: Combine::And(Vec::new()),
            is_exact: true,
            splits: None,
        };
        for stage in &pipeline.stages {
            parts.n_stages += 1;
            if parts.n_stages > self.limits.stages_max {
                return Err(Error::TooLarge {
                    what: "stages",
                    seen: parts.n_stages as u64,
                    limit: self.limits.stages_max as u64,
                });
            }
            match stage {
                Stage::Spanset(expr) => {
                    let Spansets {
                        plan,
                        requires,
                        is_exact,
                    } = self.spanset(expr, parts)?;
                    all.is_exact &= is_exact && all.stages.is_empty();
                    all.require(requires);
                    all.stages.push(StagePlan::Spanset(plan));
                }
                Stage::ScalarFilter {
                    left, op, right, ..
                } => {
                    let mut requires = Vec::new();
                    let (left, right) = (
                        self.scalar(left, parts, &mut requires)?,
                        self.scalar(right, parts, &mut requires)?,
                    );
                    requires.into_iter().for_each(|it| all.require(it));
                    all.is_exact = false;
                    all.stages.push(StagePlan::ScalarFilter {
                        left,
                        op: *op,
                        right,
                    });
                }
                Stage::By(expr, span) => {
                    let field = self.field(expr)?;
                    self.collect_shown(expr, &mut parts.shown);
                    all.splits = Some(*span);
                    all.stages.push(StagePlan::By(field));
                }
                Stage::Coalesce(_) => {
                    all.splits = None;
                    all.stages.push(StagePlan::Coalesce);
                }
                Stage::Select(names, _) => {
                    for name in names {
                        self.type_of(name)?;
                        self.collect_shown(name, &mut parts.shown);
                    }
                }
            }
        }
        all.require_something(parts);
        Ok(all)
    }

    fn spanset(&self, expr: &SpansetExpr, parts: &mut Parts) -> Result<Spansets> {
        Ok(match &expr.kind {
            SpansetKind::Filter(inner) => {
                let n = parts.filters.len();
                if n >= self.limits.filters_max {
                    return Err(Error::TooLarge {
                        what: "pairs of braces",
                        seen: n as u64 + 1,
                        limit: self.limits.filters_max as u64,
                    });
                }
                parts.filters.push(self.filter(inner.as_ref())?);
                if let Some(inner) = inner {
                    self.collect_shown(inner, &mut parts.shown);
                }
                Spansets {
                    plan: SpansetPlan::Filter(n),
                    requires: Combine::Filter(n),
                    is_exact: true,
                }
            }
            SpansetKind::Logic(op, terms) => {
                let (mut plans, mut requires, mut is_exact) = (Vec::new(), Vec::new(), true);
                for term in terms {
                    let term = self.spanset(term, parts)?;
                    plans.push(term.plan);
                    requires.push(term.requires);
                    is_exact &= term.is_exact;
                }
                Spansets {
                    plan: SpansetPlan::Logic(*op, plans),
                    requires: match op {
                        LogicOp::And => Combine::And(requires),
                        LogicOp::Or => Combine::Or(requires),
                    },
                    is_exact,
                }
            }
            SpansetKind::Relation(relation, left, right) => {
                let (left, right) = (self.spanset(left, parts)?, self.spanset(right, parts)?);
                let requires = match relation.mode {
                    RelationMode::Plain | RelationMode::Union => {
                        Combine::And(vec![left.requires, right.requires])
                    }
                    RelationMode::Negated => right.requires,
                };
                let sides = (Box::new(left.plan), Box::new(right.plan));
                Spansets {
                    plan: SpansetPlan::Relation(*relation, sides.0, sides.1),
                    requires,
                    is_exact: false,
                }
            }
            SpansetKind::Pipeline(pipeline) => {
                let inner = self.pipeline(pipeline, parts)?;
                self.check_is_one(&inner)?;
                Spansets {
                    plan: SpansetPlan::Pipeline(inner.stages),
                    requires: inner.requires,
                    is_exact: inner.is_exact,
                }
            }
        })
    }

    /// Operators take one spanset of a trace from either side.
    fn check_is_one(&self, stages: &Stages) -> Result<()> {
        match stages.splits {
            None => Ok(()),
            Some(span) => Err(self.type_error(
                span,
                "`by()` makes several spansets of a trace, and an operator takes one of them: put \
                 `| coalesce()` behind it",
            )),
        }
    }

    /// What it requires of a trace is added to `requires`.
    fn scalar(
        &self,
        expr: &ScalarExpr,
        parts: &mut Parts,
        requires: &mut Vec<Combine>,
    ) -> Result<ScalarPlan> {
        Ok(match &expr.kind {
            ScalarKind::Literal(literal) => ScalarPlan::Constant(self.constant_of(expr, literal)?),
            ScalarKind::Aggregate(aggregate, of) => {
                let of = match of {
                    Some(of) => {
                        self.collect_shown(of, &mut parts.shown);
                        Some(self.number(of, "an aggregate takes numbers")?)
                    }
                    None => None,
                };
                ScalarPlan::Aggregate {
                    aggregate: *aggregate,
                    of,
                    label: expr.to_string(),
                }
            }
            ScalarKind::Arithmetic(op, left, right) => ScalarPlan::Arithmetic(
                *op,
                Box::new(self.scalar(left, parts, requires)?),
                Box::new(self.scalar(right, parts, requires)?),
            ),
            ScalarKind::Negate(inner) => {
                ScalarPlan::Negate(Box::new(self.scalar(inner, parts, requires)?))
            }
            ScalarKind::Pipeline(pipeline, end) => {
                let inner = self.pipeline(pipeline, parts)?;
                self.check_is_one(&inner)?;
                requires.push(inner.requires);
                // Its own requirements are of the same trace.
                let end = self.scalar(end, parts, requires)?;
                ScalarPlan::Pipeline(inner.stages, Box::new(end))
            }
        })
    }

    fn constant_of(&self, expr: &ScalarExpr, literal: &Literal) -> Result<Scalar> {
        match literal {
            Literal::Int(value) => Ok(Scalar::Int(*value)),
            Literal::Float(value) => Ok(Scalar::Float(*value)),
            Literal::Duration(nanos) => Ok(Scalar::Duration(*nanos)),
            _ => Err(self.type_error(expr.span, "an aggregate is compared with a number")),
        }
    }
}

impl Stages {
    /// Sources tell of traces with a match: where nothing is required, every span is one.
    fn require_something(&mut self, parts: &mut Parts) {
        if matches!(&self.requires, Combine::And(all) if all.is_empty()) {
            parts
                .filters
                .push(super::bind_filter(Filter::Constant(true)));
            self.require(Combine::Filter(parts.filters.len() - 1));
        }
    }

    fn require(&mut self, more: Combine) {
        if let Combine::And(all) = &mut self.requires {
            all.push(more);
        }
    }
}
