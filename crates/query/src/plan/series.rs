//! Metrics queries: which spans are counted, by what, and what is done with the series.

use std::ops::Range;
use std::sync::Arc;

use tracewell_model::{CompareOp, Intrinsic};

use super::field::Field;
use super::pipeline::Parts;
use super::{Context, Plan, PlanLimits};
use crate::error::Result;
use crate::plan::term::{arithmetic, negate};
use crate::request::Aliases;
use crate::scalar::Scalar;
use crate::syntax::ast::{
    ArithmeticOp, Expr, ExprKind, IntrinsicField, Literal, MetricsExpr, MetricsFunction,
    MetricsKind, MetricsStage, OverTime, Pipeline, Query, Root, ScalarExpr, ScalarKind,
};

/// Labels of one series, as Tempo has it; one less where the function brings one of its own.
const GROUPS_MAX: usize = 5;

/// Values of an attribute that `compare()` shows, without a word of it and at most: as Tempo has it.
const COMPARED: usize = 10;
const COMPARED_MAX: usize = 1_000;

/// What a metrics query yields.
#[derive(Debug, Clone)]
pub enum SeriesPlan {
    /// What counts batches of spans beside the question holds it too.
    Spans(Arc<SpansPlan>),
    /// The largest (or smallest) so many at each moment.
    Ranked {
        of: Box<SeriesPlan>,
        n: usize,
        is_top: bool,
    },
    /// The points for which the comparison holds.
    Compared {
        of: Box<SeriesPlan>,
        op: CompareOp,
        value: f64,
    },
    Arithmetic(ArithmeticOp, Box<SeriesPlan>, Box<SeriesPlan>),
    Constant(f64),
}

/// Series of the spans that a pipeline yields.
#[derive(Debug, Clone)]
pub struct SpansPlan {
    pub plan: Plan,
    pub function: Function,
    pub by: Vec<Field>,
}

/// What is made of the spans of one interval and one group.
#[derive(Debug, Clone)]
pub enum Function {
    Rate,
    Count,
    Min(Measured),
    Max(Measured),
    Sum(Measured),
    Avg(Measured),
    Histogram(Measured),
    Quantile(Measured, Vec<f64>),
    Compare(Box<Comparison>),
}

/// Which spans are beside which.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The pair of braces that selects, among the filters of the plan. No stage asks for it.
    pub(crate) selection: usize,
    /// Starts of the spans that may be selected, in Unix nanoseconds.
    window: Option<Range<u64>>,
    /// Values of each attribute that an answer shows.
    pub n_max: usize,
}

impl Comparison {
    /// Whether a span is selected that matches the braces.
    pub(crate) fn selects(&self, start_unix_nano: u64) -> bool {
        let window = self.window.as_ref();
        window.is_none_or(|window| window.contains(&start_unix_nano))
    }
}

/// A number of a span.
#[derive(Debug, Clone)]
pub struct Measured {
    pub field: Field,
    /// The duration of a span is exported in seconds, as Tempo does; all other durations are nanoseconds.
    pub in_seconds: bool,
}

impl Measured {
    /// What is shown of what the field says. Divided, as the durations are that it is compared with: times `1e-9`,
    /// 300 ms are not 0.3.
    pub fn shown(&self, value: f64) -> f64 {
        if self.in_seconds { value / 1e9 } else { value }
    }
}

impl Function {
    /// As the language calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Count => "count_over_time",
            Self::Min(_) => "min_over_time",
            Self::Max(_) => "max_over_time",
            Self::Sum(_) => "sum_over_time",
            Self::Avg(_) => "avg_over_time",
            Self::Histogram(_) => "histogram_over_time",
            Self::Quantile(..) => "quantile_over_time",
            Self::Compare(_) => "compare",
        }
    }

    pub fn measured(&self) -> Option<&Measured> {
        match self {
            Self::Rate | Self::Count | Self::Compare(_) => None,
            Self::Min(of)
            | Self::Max(of)
            | Self::Sum(of)
            | Self::Avg(of)
            | Self::Histogram(of)
            | Self::Quantile(of, _) => Some(of),
        }
    }
}

impl SeriesPlan {
    /// Resolves a metrics query. `text` is what it was parsed from, for messages.
    pub fn new(text: &str, query: &Query, aliases: Aliases, limits: PlanLimits) -> Result<Self> {
        let ctx = Context::new(text, aliases, limits);
        match &query.root {
            Root::Metrics(expr) => ctx.series(expr),
            Root::Pipeline(_) => Err(ctx.type_error(
                Default::default(),
                "a search yields traces; behind `| rate()` and its kin it yields series",
            )),
        }
    }

    /// Every pipeline of the query.
    pub fn for_each_spans<'p>(&'p self, visit: &mut dyn FnMut(&'p Arc<SpansPlan>)) {
        match self {
            Self::Spans(plan) => visit(plan),
            Self::Ranked { of, .. } | Self::Compared { of, .. } => of.for_each_spans(visit),
            Self::Arithmetic(_, left, right) => {
                left.for_each_spans(visit);
                right.for_each_spans(visit);
            }
            Self::Constant(_) => {}
        }
    }
}

impl Context<'_> {
    fn series(&self, expr: &MetricsExpr) -> Result<SeriesPlan> {
        Ok(match &expr.kind {
            MetricsKind::Pipeline {
                pipeline,
                function,
                by,
            } => SeriesPlan::Spans(Arc::new(self.spans(expr, pipeline, function, by)?)),
            MetricsKind::Stage(inner, stage) => {
                let of = Box::new(self.series(inner)?);
                self.check_stage(expr, &of)?;
                match stage {
                    MetricsStage::Top(n) | MetricsStage::Bottom(n) => SeriesPlan::Ranked {
                        of,
                        n: usize::try_from(*n).ok().filter(|n| *n > 0).ok_or_else(|| {
                            self.type_error(expr.place, "it takes a number above 0")
                        })?,
                        is_top: matches!(stage, MetricsStage::Top(_)),
                    },
                    MetricsStage::Compare(op, scalar) => SeriesPlan::Compared {
                        of,
                        op: *op,
                        value: number(&self.folded(scalar, &seconds)?),
                    },
                }
            }
            MetricsKind::Arithmetic(op, left, right) => {
                let (left, right) = (self.series(left)?, self.series(right)?);
                self.check_stage(expr, &left)?;
                self.check_stage(expr, &right)?;
                SeriesPlan::Arithmetic(*op, Box::new(left), Box::new(right))
            }
            MetricsKind::Scalar(scalar) => match self.folded(scalar, &Scalar::Duration)? {
                Scalar::Duration(_) => {
                    return Err(self.type_error(scalar.span, "series take numbers, no durations"));
                }
                value => SeriesPlan::Constant(number(&value)),
            },
        })
    }

    /// The series of a comparison are of two sides and of many attributes: no stage has a meaning for them.
    fn check_stage(&self, expr: &MetricsExpr, of: &SeriesPlan) -> Result<()> {
        match of {
            SeriesPlan::Spans(spans) if matches!(spans.function, Function::Compare(_)) => Err(self
                .type_error(
                    expr.place,
                    "nothing can be done with the series of `compare()`",
                )),
            _ => Ok(()),
        }
    }

    fn spans(
        &self,
        expr: &MetricsExpr,
        pipeline: &Pipeline,
        function: &MetricsFunction,
        by: &[Expr],
    ) -> Result<SpansPlan> {
        let mut parts = Parts::default();
        let stages = self.pipeline(pipeline, &mut parts)?;
        let mut selected = None;
        let function = match function {
            MetricsFunction::Rate => Function::Rate,
            MetricsFunction::CountOverTime => Function::Count,
            MetricsFunction::OverTime(which, of) => {
                let of = self.measured(of)?;
                match which {
                    OverTime::Min => Function::Min(of),
                    OverTime::Max => Function::Max(of),
                    OverTime::Sum => Function::Sum(of),
                    OverTime::Avg => Function::Avg(of),
                    OverTime::Histogram => Function::Histogram(of),
                }
            }
            MetricsFunction::QuantileOverTime(of, quantiles) => {
                if quantiles.iter().any(|q| !(0.0..=1.0).contains(q)) {
                    return Err(self.type_error(expr.place, "a quantile lies between 0 and 1"));
                }
                Function::Quantile(self.measured(of)?, quantiles.clone())
            }
            MetricsFunction::Compare {
                selection,
                top,
                window,
            } => {
                selected = Some(self.filter(selection.as_deref())?);
                Function::Compare(Box::new(Comparison {
                    selection: parts.filters.len(),
                    window: match window {
                        // As Tempo has it: none.
                        None | Some((0, 0)) => None,
                        Some(window) => Some(self.selected(expr, *window)?),
                    },
                    n_max: self.compared_max(expr, *top)?,
                }))
            }
        };
        if matches!(function, Function::Compare(_)) && !by.is_empty() {
            let message = "`compare()` groups by every attribute: it takes no `by()`";
            return Err(self.type_error(expr.place, message));
        }
        let own = usize::from(matches!(
            function,
            Function::Histogram(_) | Function::Quantile(..)
        ));
        if by.len() + own > GROUPS_MAX {
            let message = format!("`by()` takes {} attributes here at most", GROUPS_MAX - own);
            return Err(self.type_error(expr.place, message));
        }
        let mut plan = Plan::of(parts, stages);
        plan.filters.extend(selected);
        Ok(SpansPlan {
            plan,
            function,
            by: by
                .iter()
                .map(|expr| self.field(expr))
                .collect::<Result<_>>()?,
        })
    }

    fn compared_max(&self, expr: &MetricsExpr, top: Option<i64>) -> Result<usize> {
        let Some(top) = top else {
            return Ok(COMPARED);
        };
        let n_max = usize::try_from(top).ok();
        n_max
            .filter(|n| (1..=COMPARED_MAX).contains(n))
            .ok_or_else(|| {
                let message =
                    format!("it shows between 1 and {COMPARED_MAX} values of an attribute");
                self.type_error(expr.place, message)
            })
    }

    fn selected(&self, expr: &MetricsExpr, (start, end): (i64, i64)) -> Result<Range<u64>> {
        match (u64::try_from(start), u64::try_from(end)) {
            (Ok(start), Ok(end)) if start < end => Ok(start..end),
            _ => Err(self.type_error(
                expr.place,
                "the selection starts before it ends, both in Unix nanoseconds",
            )),
        }
    }

    fn measured(&self, expr: &Expr) -> Result<Measured> {
        let is_duration = matches!(
            &expr.kind,
            ExprKind::Intrinsic(name) if name.field == IntrinsicField::Column(Intrinsic::Duration)
        );
        Ok(Measured {
            field: self.number(expr, "this takes numbers")?,
            in_seconds: is_duration,
        })
    }

    /// The value of a constant expression, in which so many nanoseconds are what `duration` makes of them.
    fn folded(&self, expr: &ScalarExpr, duration: &dyn Fn(i64) -> Scalar) -> Result<Scalar> {
        let wrong = || self.type_error(expr.span, "this has no value");
        Ok(match &expr.kind {
            ScalarKind::Literal(Literal::Int(value)) => Scalar::Int(*value),
            ScalarKind::Literal(Literal::Float(value)) => Scalar::Float(*value),
            ScalarKind::Literal(Literal::Duration(nanos)) => duration(*nanos),
            ScalarKind::Arithmetic(op, left, right) => {
                let (left, right) = (self.folded(left, duration)?, self.folded(right, duration)?);
                let value = arithmetic(*op, left.as_value(), right.as_value());
                Scalar::of(value).ok_or_else(wrong)?
            }
            ScalarKind::Negate(inner) => {
                let value = self.folded(inner, duration)?;
                Scalar::of(negate(value.as_value())).ok_or_else(wrong)?
            }
            _ => return Err(wrong()),
        })
    }
}

/// Series of durations are in seconds.
fn seconds(nanos: i64) -> Scalar {
    Scalar::Float(nanos as f64 / 1e9)
}

fn number(scalar: &Scalar) -> f64 {
    match scalar {
        Scalar::Int(value) => *value as f64,
        Scalar::Float(value) => *value,
        _ => f64::NAN,
    }
}
