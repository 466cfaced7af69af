//! What stands around braces: pipelines, spanset operators, aggregates, metrics.
//!
//! One climbing loop reads all of it, since `(` may open a spanset, a pipeline, a number or a
//! series; which operators make sense between two operands is decided when both are known.

use tracewell_model::CompareOp;

use super::super::ast::{
    Aggregate, ArithmeticOp, Expr, Kin, Literal, LogicOp, MetricsExpr, MetricsFunction,
    MetricsKind, MetricsStage, OverTime, Pipeline, Relation, RelationMode, ScalarExpr, ScalarKind,
    SpansetExpr, SpansetKind, Stage, TextSpan,
};
use super::super::token::{Symbol, Token};
use super::field::compare_op;
use super::{ParseResult, Parser};

/// What an operand of the outer language can be.
#[derive(Debug)]
pub(super) enum Operand {
    Spanset(SpansetExpr),
    /// A pipeline that is more than one spanset expression.
    Stages(Pipeline),
    Scalar(ScalarExpr),
    Metrics(MetricsExpr),
}

const LOGIC: u8 = 1;
const RELATION: u8 = 2;
const SUM: u8 = 3;
const PRODUCT: u8 = 4;
const MINUS: u8 = 6;

fn tightness(symbol: Symbol) -> Option<u8> {
    Some(match symbol {
        Symbol::And | Symbol::Or => LOGIC,
        Symbol::Plus | Symbol::Minus => SUM,
        Symbol::Star | Symbol::Slash => PRODUCT,
        _ if relation(symbol).is_some() || compare_op(symbol).is_some() => RELATION,
        _ => return None,
    })
}

fn relation(symbol: Symbol) -> Option<Relation> {
    use {Kin as K, RelationMode as M};
    let (kin, mode) = match symbol {
        Symbol::Greater => (K::Child, M::Plain),
        Symbol::Descendant => (K::Descendant, M::Plain),
        Symbol::Less => (K::Parent, M::Plain),
        Symbol::Ancestor => (K::Ancestor, M::Plain),
        Symbol::Sibling => (K::Sibling, M::Plain),
        Symbol::NotChild => (K::Child, M::Negated),
        Symbol::NotDescendant => (K::Descendant, M::Negated),
        Symbol::NotParent => (K::Parent, M::Negated),
        Symbol::NotAncestor => (K::Ancestor, M::Negated),
        Symbol::NotRegex => (K::Sibling, M::Negated),
        Symbol::UnionChild => (K::Child, M::Union),
        Symbol::UnionDescendant => (K::Descendant, M::Union),
        Symbol::UnionParent => (K::Parent, M::Union),
        Symbol::UnionAncestor => (K::Ancestor, M::Union),
        Symbol::UnionSibling => (K::Sibling, M::Union),
        _ => return None,
    };
    Some(Relation { kin, mode })
}

fn arithmetic(symbol: Symbol) -> Option<ArithmeticOp> {
    Some(match symbol {
        Symbol::Plus => ArithmeticOp::Add,
        Symbol::Minus => ArithmeticOp::Subtract,
        Symbol::Star => ArithmeticOp::Multiply,
        Symbol::Slash => ArithmeticOp::Divide,
        _ => return None,
    })
}

/// A pipeline of one filter.
pub(super) fn single(filter: Option<Expr>) -> Pipeline {
    of_spanset(SpansetExpr::new(
        SpansetKind::Filter(filter),
        TextSpan::default(),
    ))
}

pub(super) fn of_spanset(expr: SpansetExpr) -> Pipeline {
    Pipeline {
        stages: vec![Stage::Spanset(expr)],
    }
}

impl Operand {
    fn noun(&self) -> &'static str {
        match self {
            Self::Spanset(_) => "spans",
            Self::Stages(_) => "a pipeline",
            Self::Scalar(_) => "a number",
            Self::Metrics(_) => "series",
        }
    }

    fn span(&self) -> TextSpan {
        match self {
            Self::Spanset(expr) => expr.span,
            Self::Scalar(expr) => expr.span,
            Self::Metrics(expr) => expr.span,
            Self::Stages(_) => TextSpan::default(),
        }
    }
}

impl Parser<'_> {
    /// Stages between `|`, up to whatever cannot continue them.
    pub(super) fn pipeline(&mut self) -> ParseResult<Operand> {
        let from = self.span.from;
        let mut current = match self.keyword_stage(None)? {
            Some(stage) => stage,
            None => self.operand(0)?,
        };
        loop {
            if let (Operand::Metrics(_), Some(op)) = (&current, self.symbol().and_then(compare_op))
            {
                let place = self.span.from;
                self.advance()?;
                let right = self.operand(RELATION + 1)?;
                let place = self.since(place);
                current = self.compare_metrics(current, op, right, place)?;
                continue;
            }
            if !self.take(Symbol::Pipe)? {
                return Ok(current);
            }
            current = self.piped(current, from)?;
        }
    }

    /// The stage behind a `|`, put behind what stands before it.
    fn piped(&mut self, before: Operand, from: usize) -> ParseResult<Operand> {
        let before = match before {
            Operand::Spanset(expr) => of_spanset(expr),
            Operand::Stages(pipeline) => pipeline,
            Operand::Scalar(expr) => {
                return Err(self
                    .error_at(expr.span, "a number cannot be piped on")
                    .with_hint("compare the aggregate, as in `count() > 2`"));
            }
            Operand::Metrics(expr) => return self.metrics_stage(expr),
        };
        let before = match self.metrics_function(before, from)? {
            Ok(metrics) => return Ok(Operand::Metrics(metrics)),
            Err(before) => before,
        };
        if let Some(stage) = self.keyword_stage(Some(before.clone()))? {
            return Ok(stage);
        }
        let mut stages = before.stages;
        match self.operand(0)? {
            Operand::Spanset(expr) => stages.push(Stage::Spanset(expr)),
            Operand::Stages(pipeline) => stages.extend(pipeline.stages),
            Operand::Scalar(end) => {
                let span = self.since(from);
                return Ok(Operand::Scalar(ScalarExpr::new(
                    ScalarKind::Pipeline(Box::new(Pipeline { stages }), Box::new(end)),
                    span,
                )));
            }
            Operand::Metrics(expr) => {
                return Err(self.error_at(expr.span, "series cannot be a stage"));
            }
        }
        Ok(Operand::Stages(Pipeline { stages }))
    }

    /// `by`, `coalesce` and `select`, where one stands here.
    fn keyword_stage(&mut self, before: Option<Pipeline>) -> ParseResult<Option<Operand>> {
        let from = self.span.from;
        let is_first = before.is_none();
        let stage = if self.at_word("by") {
            self.advance()?;
            let expr = self.field_in_parens()?;
            Stage::By(expr, self.since(from))
        } else if self.at_word("select") {
            self.advance()?;
            self.expect(Symbol::LeftParen)?;
            let names = self.field_names()?;
            Stage::Select(names, self.since(from))
        } else if self.at_word("coalesce") && !is_first {
            self.advance()?;
            self.expect(Symbol::LeftParen)?;
            self.expect(Symbol::RightParen)?;
            Stage::Coalesce(self.since(from))
        } else {
            return Ok(None);
        };
        let mut stages = before.map(|pipeline| pipeline.stages).unwrap_or_default();
        stages.push(stage);
        Ok(Some(Operand::Stages(Pipeline { stages })))
    }

    // === operands and operators ===

    fn operand(&mut self, tightness_min: u8) -> ParseResult<Operand> {
        self.nested(|parser| {
            let mut left = parser.operand_prefix()?;
            loop {
                let next = parser
                    .symbol()
                    .and_then(|symbol| Some((symbol, tightness(symbol)?)));
                let Some((symbol, tightness)) = next else {
                    parser.expect_also("an operator");
                    return Ok(left);
                };
                let is_stage = matches!(left, Operand::Metrics(_))
                    && compare_op(symbol).is_some()
                    && tightness_min <= RELATION;
                if tightness < tightness_min && !is_stage {
                    return Ok(left);
                }
                let op_span = parser.span;
                parser.advance()?;
                let right = parser.operand(tightness + 1)?;
                left = parser.combine(left, symbol, op_span, right)?;
            }
        })
    }

    fn operand_prefix(&mut self) -> ParseResult<Operand> {
        let from = self.span.from;
        if self.take(Symbol::LeftBrace)? {
            return self.filter(from).map(Operand::Spanset);
        }
        if self.take(Symbol::LeftParen)? {
            let inner = self.nested(Self::pipeline)?;
            self.expect(Symbol::RightParen)?;
            return self.in_parens(inner, from);
        }
        if self.take(Symbol::Minus)? {
            let inner = self.operand(MINUS)?;
            let Operand::Scalar(inner) = inner else {
                return Err(self.error_at(self.since(from), "only numbers can be negative"));
            };
            return self.scalar(ScalarKind::Negate(Box::new(inner)), from);
        }
        if let Some(aggregate) = self.aggregate_here() {
            self.advance()?;
            return self.aggregate(aggregate, from);
        }
        if let Some(literal @ (Literal::Int(_) | Literal::Float(_) | Literal::Duration(_))) =
            self.literal_here()
        {
            self.advance()?;
            return self.scalar(ScalarKind::Literal(literal), from);
        }
        self.expect_also("`{`");
        self.expect_also("`(`");
        self.expect_also("an aggregate");
        let error = self.unexpected();
        Err(match self.token {
            Token::Attribute(_) | Token::Intrinsic(_) => {
                error.with_hint("conditions stand in braces: `{ ... }`")
            }
            _ => error,
        })
    }

    fn filter(&mut self, from: usize) -> ParseResult<SpansetExpr> {
        let filter = if self.at(Symbol::RightBrace) {
            None
        } else {
            Some(self.field(0)?)
        };
        self.expect(Symbol::RightBrace)?;
        Ok(SpansetExpr::new(
            SpansetKind::Filter(filter),
            self.since(from),
        ))
    }

    fn in_parens(&mut self, inner: Operand, from: usize) -> ParseResult<Operand> {
        Ok(match inner {
            Operand::Stages(pipeline) => {
                self.spanset(SpansetKind::Pipeline(Box::new(pipeline)), from)?
            }
            other => other,
        })
    }

    fn spanset(&self, kind: SpansetKind, from: usize) -> ParseResult<Operand> {
        let expr = SpansetExpr::new(kind, self.since(from));
        self.check_height(expr.height, expr.span)?;
        Ok(Operand::Spanset(expr))
    }

    fn scalar(&self, kind: ScalarKind, from: usize) -> ParseResult<Operand> {
        let expr = ScalarExpr::new(kind, self.since(from));
        self.check_height(expr.height, expr.span)?;
        Ok(Operand::Scalar(expr))
    }

    /// `place` is that of the stage or operator alone.
    fn metrics(&self, kind: MetricsKind, from: usize, place: TextSpan) -> ParseResult<Operand> {
        let expr = MetricsExpr::new(kind, self.since(from)).at(place);
        self.check_height(expr.height, expr.span)?;
        Ok(Operand::Metrics(expr))
    }

    fn combine(
        &mut self,
        left: Operand,
        symbol: Symbol,
        op_span: TextSpan,
        right: Operand,
    ) -> ParseResult<Operand> {
        let from = left.span().from;
        match (left, right) {
            (Operand::Spanset(left), Operand::Spanset(right)) => {
                let kind = match symbol {
                    Symbol::And => logic(LogicOp::And, left, right),
                    Symbol::Or => logic(LogicOp::Or, left, right),
                    _ => match relation(symbol) {
                        Some(relation) => {
                            SpansetKind::Relation(relation, Box::new(left), Box::new(right))
                        }
                        None => return Err(self.misplaced(symbol, op_span, "spans", "spans")),
                    },
                };
                self.spanset(kind, from)
            }
            (Operand::Scalar(left), Operand::Scalar(right)) => {
                if let Some(op) = arithmetic(symbol) {
                    let kind = ScalarKind::Arithmetic(op, Box::new(left), Box::new(right));
                    return self.scalar(kind, from);
                }
                let Some(op) = compare_op(symbol) else {
                    return Err(self.misplaced(symbol, op_span, "a number", "a number"));
                };
                self.scalar_filter(left, op, right)
            }
            (left @ Operand::Metrics(_), right) if compare_op(symbol).is_some() => {
                let op = compare_op(symbol).unwrap_or(CompareOp::Equal);
                self.compare_metrics(left, op, right, op_span)
            }
            (left, right) => {
                let nouns = (left.noun(), right.noun());
                let (Some(op), Some(left), Some(right)) =
                    (arithmetic(symbol), as_metrics(left), as_metrics(right))
                else {
                    return Err(self.misplaced(symbol, op_span, nouns.0, nouns.1));
                };
                let kind = MetricsKind::Arithmetic(op, Box::new(left), Box::new(right));
                self.metrics(kind, from, op_span)
            }
        }
    }

    fn misplaced(
        &self,
        symbol: Symbol,
        op_span: TextSpan,
        left: &str,
        right: &str,
    ) -> super::SyntaxError {
        let error = self.error_at(
            op_span,
            format!(
                "{} cannot stand between {left} and {right}",
                symbol.quoted()
            ),
        );
        if left == "spans" && right == "spans" {
            error.with_hint("conditions of one span stand inside its braces")
        } else {
            error
        }
    }

    fn scalar_filter(
        &mut self,
        left: ScalarExpr,
        op: CompareOp,
        right: ScalarExpr,
    ) -> ParseResult<Operand> {
        let span = self.since(left.span.from);
        if !(has_aggregate(&left) || has_aggregate(&right)) {
            return Err(self
                .error_at(span, "a comparison of two constants")
                .with_hint("one side must be an aggregate, as in `count() > 2`"));
        }
        Ok(Operand::Stages(Pipeline {
            stages: vec![Stage::ScalarFilter {
                left,
                op,
                right,
                span,
            }],
        }))
    }

    fn compare_metrics(
        &mut self,
        left: Operand,
        op: CompareOp,
        right: Operand,
        place: TextSpan,
    ) -> ParseResult<Operand> {
        match (left, right) {
            (Operand::Metrics(left), Operand::Scalar(right)) if !has_aggregate(&right) => {
                let from = left.span.from;
                let stage = MetricsStage::Compare(op, right);
                self.metrics(MetricsKind::Stage(Box::new(left), stage), from, place)
            }
            (left, _) => Err(self
                .error_at(left.span(), "series can only be compared with a number")
                .with_hint("as in `{ } | rate() > 5`")),
        }
    }

    // === aggregates and metrics ===

    fn aggregate_here(&self) -> Option<Aggregate> {
        let Token::Word(word) = &self.token else {
            return None;
        };
        Some(match word.as_str() {
            "count" => Aggregate::Count,
            "min" => Aggregate::Min,
            "max" => Aggregate::Max,
            "avg" => Aggregate::Avg,
            "sum" => Aggregate::Sum,
            _ => return None,
        })
    }

    fn aggregate(&mut self, aggregate: Aggregate, from: usize) -> ParseResult<Operand> {
        let of = if aggregate == Aggregate::Count {
            self.expect(Symbol::LeftParen)?;
            self.expect(Symbol::RightParen)?;
            None
        } else {
            Some(Box::new(self.field_in_parens()?))
        };
        self.scalar(ScalarKind::Aggregate(aggregate, of), from)
    }

    /// A metrics function, where one stands here; else the pipeline comes back.
    fn metrics_function(
        &mut self,
        pipeline: Pipeline,
        from: usize,
    ) -> ParseResult<Result<MetricsExpr, Pipeline>> {
        let Token::Word(word) = &self.token else {
            return Ok(Err(pipeline));
        };
        let over_time = match word.as_str() {
            "min_over_time" => Some(OverTime::Min),
            "max_over_time" => Some(OverTime::Max),
            "sum_over_time" => Some(OverTime::Sum),
            "avg_over_time" => Some(OverTime::Avg),
            "histogram_over_time" => Some(OverTime::Histogram),
            "rate" | "count_over_time" | "quantile_over_time" | "compare" => None,
            _ => return Ok(Err(pipeline)),
        };
        let word = word.clone();
        let place = self.span.from;
        self.advance()?;
        self.expect(Symbol::LeftParen)?;
        let function = match (over_time, word.as_str()) {
            (Some(which), _) => MetricsFunction::OverTime(which, Box::new(self.field_name()?)),
            (None, "rate") => MetricsFunction::Rate,
            (None, "count_over_time") => MetricsFunction::CountOverTime,
            (None, "quantile_over_time") => self.quantiles()?,
            _ => self.compare_function()?,
        };
        self.expect(Symbol::RightParen)?;
        let mut by = Vec::new();
        if self.at_word("by") {
            self.advance()?;
            self.expect(Symbol::LeftParen)?;
            by = self.field_names()?;
        }
        let kind = MetricsKind::Pipeline {
            pipeline,
            function,
            by,
        };
        let expr = MetricsExpr::new(kind, self.since(from));
        Ok(Ok(expr.at(self.since(place))))
    }

    fn quantiles(&mut self) -> ParseResult<MetricsFunction> {
        let of = self.field_name()?;
        let mut quantiles = Vec::new();
        while self.take(Symbol::Comma)? {
            quantiles.push(match self.literal()? {
                Literal::Int(value) => value as f64,
                Literal::Float(value) => value,
                _ => return Err(self.error_at(self.since(self.end), "a quantile is a number")),
            });
        }
        if quantiles.is_empty() {
            return Err(self
                .unexpected()
                .with_hint("as in `quantile_over_time(duration, .99)`"));
        }
        Ok(MetricsFunction::QuantileOverTime(Box::new(of), quantiles))
    }

    fn compare_function(&mut self) -> ParseResult<MetricsFunction> {
        let from = self.span.from;
        self.expect(Symbol::LeftBrace)?;
        let SpansetKind::Filter(selection) = self.filter(from)?.kind else {
            return Err(self.unexpected());
        };
        let mut numbers = Vec::new();
        while numbers.len() < 3 && self.take(Symbol::Comma)? {
            numbers.push(self.whole_number()?);
        }
        let (top, window) = match numbers.as_slice() {
            [] => (None, None),
            [top] => (Some(*top), None),
            [top, start, end] => (Some(*top), Some((*start, *end))),
            _ => {
                return Err(self
                    .unexpected()
                    .with_hint("a window has a start and an end"));
            }
        };
        Ok(MetricsFunction::Compare {
            selection: selection.map(Box::new),
            top,
            window,
        })
    }

    /// `topk` or `bottomk`, behind the `|` of series.
    fn metrics_stage(&mut self, before: MetricsExpr) -> ParseResult<Operand> {
        let is_top = self.at_word("topk");
        if !is_top && !self.at_word("bottomk") {
            self.expect_also("`topk`");
            self.expect_also("`bottomk`");
            return Err(self.unexpected());
        }
        let place = self.span.from;
        self.advance()?;
        self.expect(Symbol::LeftParen)?;
        let n = self.whole_number()?;
        self.expect(Symbol::RightParen)?;
        let stage = if is_top {
            MetricsStage::Top(n)
        } else {
            MetricsStage::Bottom(n)
        };
        let (from, place) = (before.span.from, self.since(place));
        self.metrics(MetricsKind::Stage(Box::new(before), stage), from, place)
    }
}

/// `a && b && c` is one node.
fn logic(op: LogicOp, left: SpansetExpr, right: SpansetExpr) -> SpansetKind {
    match left.kind {
        SpansetKind::Logic(same, mut terms) if same == op => {
            terms.push(right);
            SpansetKind::Logic(op, terms)
        }
        kind => SpansetKind::Logic(op, vec![SpansetExpr { kind, ..left }, right]),
    }
}

fn as_metrics(operand: Operand) -> Option<MetricsExpr> {
    match operand {
        Operand::Metrics(expr) => Some(expr),
        Operand::Scalar(expr) if !has_aggregate(&expr) => {
            let span = expr.span;
            Some(MetricsExpr::new(MetricsKind::Scalar(expr), span))
        }
        _ => None,
    }
}

fn has_aggregate(expr: &ScalarExpr) -> bool {
    match &expr.kind {
        ScalarKind::Literal(_) => false,
        ScalarKind::Aggregate(..) | ScalarKind::Pipeline(..) => true,
        ScalarKind::Negate(inner) => has_aggregate(inner),
        ScalarKind::Arithmetic(_, left, right) => has_aggregate(left) || has_aggregate(right),
    }
}
