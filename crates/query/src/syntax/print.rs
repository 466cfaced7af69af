//! A syntax tree back to text.
//!
//! What is printed parses to the same tree. Parentheses stand only where precedence needs them.

use std::fmt::{self, Display, Formatter, Write};

use tracewell_model::CompareOp;

use super::ast::{
    Aggregate, ArithmeticOp, AttributeName, Expr, ExprKind, KINDS, Literal, LogicOp, MetricsExpr,
    MetricsFunction, MetricsKind, MetricsStage, OverTime, Pipeline, Query, Relation, RelationMode,
    Root, STATUSES, ScalarExpr, ScalarKind, SpansetExpr, SpansetKind, Stage, code_name, scope_name,
};
use super::lexer::is_attribute_rune;

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Pipeline(pipeline) => pipeline.fmt(f)?,
            Root::Metrics(expr) => expr.fmt(f)?,
        }
        if !self.hints.is_empty() {
            f.write_str(" with(")?;
            for (index, hint) in self.hints.iter().enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                write!(f, "{comma}{}={}", hint.name, hint.value)?;
            }
            f.write_char(')')?;
        }
        Ok(())
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        separated(f, &self.stages, " | ")
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spanset(expr) => expr.fmt(f),
            Self::ScalarFilter {
                left, op, right, ..
            } => write!(f, "{left} {} {right}", compare_text(*op)),
            Self::By(expr, _) => write!(f, "by({expr})"),
            Self::Coalesce(_) => f.write_str("coalesce()"),
            Self::Select(names, _) => {
                f.write_str("select(")?;
                separated(f, names, ", ")?;
                f.write_char(')')
            }
        }
    }
}

// === spansets ===

impl Display for SpansetExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            SpansetKind::Filter(None) => f.write_str("{ }"),
            SpansetKind::Filter(Some(expr)) => write!(f, "{{ {expr} }}"),
            SpansetKind::Pipeline(pipeline) => write!(f, "({pipeline})"),
            SpansetKind::Logic(op, terms) => {
                for (index, term) in terms.iter().enumerate() {
                    if index > 0 {
                        write!(f, " {} ", logic_text(*op))?;
                    }
                    // The first may be logic of the other kind: the level groups to the left.
                    let parens = index > 0 && matches!(term.kind, SpansetKind::Logic(..))
                        || matches!(&term.kind, SpansetKind::Logic(same, _) if same == op);
                    in_parens(f, term, parens)?;
                }
                Ok(())
            }
            SpansetKind::Relation(relation, left, right) => {
                in_parens(f, left, matches!(left.kind, SpansetKind::Logic(..)))?;
                write!(f, " {relation} ")?;
                let parens = matches!(
                    right.kind,
                    SpansetKind::Logic(..) | SpansetKind::Relation(..)
                );
                in_parens(f, right, parens)
            }
        }
    }
}

impl Display for Relation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.mode {
            RelationMode::Plain => {}
            RelationMode::Negated => f.write_char('!')?,
            RelationMode::Union => f.write_char('&')?,
        }
        self.kin.fmt(f)
    }
}

// === fields ===

const LOGIC: u8 = 1;
const COMPARISON: u8 = 2;
const SUM: u8 = 3;
const PRODUCT: u8 = 5;
const POWER: u8 = 6;
const PREFIX: u8 = 0;
const PRIMARY: u8 = 9;

/// How tight the outermost operator binds. Prefixes are the loosest of all, so that they stand in
/// parentheses wherever they are an operand of something else.
fn tightness(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Attribute(_) | ExprKind::Intrinsic(_) => PRIMARY,
        ExprKind::Not(_) | ExprKind::Negate(_) => PREFIX,
        ExprKind::Arithmetic(op, ..) => arithmetic_tightness(*op),
        ExprKind::Compare(..) | ExprKind::Regex { .. } => COMPARISON,
        ExprKind::Logic(..) => LOGIC,
    }
}

fn arithmetic_tightness(op: ArithmeticOp) -> u8 {
    match op {
        ArithmeticOp::Add | ArithmeticOp::Subtract => SUM,
        ArithmeticOp::Multiply | ArithmeticOp::Divide | ArithmeticOp::Modulo => PRODUCT,
        ArithmeticOp::Power => POWER,
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Literal(literal) => literal.fmt(f),
            ExprKind::Attribute(name) => name.fmt(f),
            ExprKind::Intrinsic(name) => f.write_str(name.written),
            ExprKind::Not(inner) => prefixed(f, '!', inner),
            ExprKind::Negate(inner) => prefixed(f, '-', inner),
            ExprKind::Arithmetic(op, left, right) => {
                let level = arithmetic_tightness(*op);
                let groups_right = *op == ArithmeticOp::Power;
                operand(f, left, level + u8::from(groups_right))?;
                write!(f, " {} ", arithmetic_text(*op))?;
                operand(f, right, level + u8::from(!groups_right))
            }
            ExprKind::Compare(op, left, right) => {
                operand(f, left, COMPARISON)?;
                write!(f, " {} ", compare_text(*op))?;
                operand(f, right, COMPARISON + 1)
            }
            ExprKind::Regex {
                negated,
                left,
                pattern,
                ..
            } => {
                operand(f, left, COMPARISON)?;
                f.write_str(if *negated { " !~ " } else { " =~ " })?;
                quoted(f, pattern)
            }
            ExprKind::Logic(op, terms) => {
                for (index, term) in terms.iter().enumerate() {
                    if index > 0 {
                        write!(f, " {} ", logic_text(*op))?;
                    }
                    let same = matches!(&term.kind, ExprKind::Logic(same, _) if same == op);
                    let min = LOGIC + u8::from(index > 0 || same);
                    match &term.kind {
                        // Prefixes bind tighter than logic: `!a && b` needs none.
                        ExprKind::Not(_) | ExprKind::Negate(_) => term.fmt(f)?,
                        _ => operand(f, term, min)?,
                    }
                }
                Ok(())
            }
        }
    }
}

fn operand(f: &mut Formatter<'_>, expr: &Expr, tightness_min: u8) -> fmt::Result {
    in_parens(f, expr, tightness(expr) < tightness_min)
}

fn prefixed(f: &mut Formatter<'_>, prefix: char, inner: &Expr) -> fmt::Result {
    f.write_char(prefix)?;
    let bare = matches!(tightness(inner), PREFIX | PRIMARY);
    in_parens(f, inner, !bare)
}

fn in_parens(f: &mut Formatter<'_>, what: &dyn Display, parens: bool) -> fmt::Result {
    if parens {
        write!(f, "({what})")
    } else {
        what.fmt(f)
    }
}

fn separated(f: &mut Formatter<'_>, items: &[impl Display], separator: &str) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

impl Display for AttributeName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.of_parent {
            f.write_str("parent.")?;
        }
        match self.scope {
            Some(scope) => write!(f, "{}.", scope_name(scope))?,
            None if self.of_parent => {}
            None => f.write_char('.')?,
        }
        print_attribute(f, &self.key)
    }
}

/// The key of an attribute as it stands behind its scope: quoted where it must be.
pub fn print_attribute(f: &mut impl Write, key: &str) -> fmt::Result {
    let bare = key.chars().all(|c| c != '"' && is_attribute_rune(c))
        // `.5` is a number, and `parent.span.x` has a scope.
        && !key.starts_with(|c: char| c.is_ascii_digit())
        && !key.starts_with("span.")
        && !key.starts_with("resource.");
    if bare {
        return f.write_str(key);
    }
    f.write_char('"')?;
    for c in key.chars() {
        if matches!(c, '"' | '\\') {
            f.write_char('\\')?;
        }
        f.write_char(c)?;
    }
    f.write_char('"')
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::String(text) => quoted(f, text),
            Self::Int(i64::MIN) => f.write_str("minInt"),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Bool(value) => value.fmt(f),
            Self::Duration(nanos) => duration(f, *nanos),
            Self::Status(code) => f.write_str(&code_name(STATUSES, *code)),
            Self::Kind(code) => f.write_str(&code_name(KINDS, *code)),
        }
    }
}

/// The largest unit in which it is a whole number.
fn duration(f: &mut Formatter<'_>, nanos: i64) -> fmt::Result {
    const UNITS: [(&str, i64); 6] = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let (unit, size) = UNITS
        .into_iter()
        .find(|(_, size)| nanos != 0 && nanos % size == 0)
        .unwrap_or(("s", 1_000_000_000));
    write!(f, "{}{unit}", nanos / size)
}

fn quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            c if (c as u32) < 32 => write!(f, "\\x{:02x}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

// === pipelines ===

impl Display for ScalarExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_sum = |expr: &Self| matches!(expr.kind, ScalarKind::Arithmetic(..));
        match &self.kind {
            ScalarKind::Literal(literal) => literal.fmt(f),
            ScalarKind::Aggregate(aggregate, of) => {
                let name = aggregate_text(*aggregate);
                match of {
                    Some(of) => write!(f, "{name}({of})"),
                    None => write!(f, "{name}()"),
                }
            }
            ScalarKind::Arithmetic(op, left, right) => {
                in_parens(f, left, is_sum(left))?;
                write!(f, " {} ", arithmetic_text(*op))?;
                in_parens(f, right, is_sum(right))
            }
            ScalarKind::Negate(inner) => {
                f.write_char('-')?;
                in_parens(f, inner, is_sum(inner))
            }
            ScalarKind::Pipeline(pipeline, end) => write!(f, "({pipeline} | {end})"),
        }
    }
}

impl Display for MetricsExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            MetricsKind::Pipeline {
                pipeline,
                function,
                by,
            } => {
                write!(f, "{pipeline} | {function}")?;
                if !by.is_empty() {
                    f.write_str(" by (")?;
                    separated(f, by, ", ")?;
                    f.write_char(')')?;
                }
                Ok(())
            }
            MetricsKind::Stage(inner, stage) => {
                in_parens(f, inner, matches!(inner.kind, MetricsKind::Arithmetic(..)))?;
                match stage {
                    MetricsStage::Top(n) => write!(f, " | topk({n})"),
                    MetricsStage::Bottom(n) => write!(f, " | bottomk({n})"),
                    MetricsStage::Compare(op, with) => {
                        write!(f, " {} {with}", compare_text(*op))
                    }
                }
            }
            MetricsKind::Arithmetic(op, left, right) => {
                in_parens(f, left, true)?;
                write!(f, " {} ", arithmetic_text(*op))?;
                in_parens(f, right, true)
            }
            MetricsKind::Scalar(scalar) => scalar.fmt(f),
        }
    }
}

impl Display for MetricsFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate => f.write_str("rate()"),
            Self::CountOverTime => f.write_str("count_over_time()"),
            Self::OverTime(which, of) => {
                let name = match which {
                    OverTime::Min => "min",
                    OverTime::Max => "max",
                    OverTime::Sum => "sum",
                    OverTime::Avg => "avg",
                    OverTime::Histogram => "histogram",
                };
                write!(f, "{name}_over_time({of})")
            }
            Self::QuantileOverTime(of, quantiles) => {
                write!(f, "quantile_over_time({of}")?;
                for quantile in quantiles {
                    write!(f, ", {quantile:?}")?;
                }
                f.write_char(')')
            }
            Self::Compare {
                selection,
                top,
                window,
            } => {
                match selection {
                    Some(expr) => write!(f, "compare({{ {expr} }}")?,
                    None => f.write_str("compare({ }")?,
                }
                if let Some(top) = top {
                    write!(f, ", {top}")?;
                }
                if let Some((start, end)) = window {
                    write!(f, ", {start}, {end}")?;
                }
                f.write_char(')')
            }
        }
    }
}

// === operators ===

pub(crate) fn compare_text(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Equal => "=",
        CompareOp::NotEqual => "!=",
        CompareOp::Less => "<",
        CompareOp::LessOrEqual => "<=",
        CompareOp::Greater => ">",
        CompareOp::GreaterOrEqual => ">=",
    }
}

pub(crate) fn arithmetic_text(op: ArithmeticOp) -> &'static str {
    match op {
        ArithmeticOp::Add => "+",
        ArithmeticOp::Subtract => "-",
        ArithmeticOp::Multiply => "*",
        ArithmeticOp::Divide => "/",
        ArithmeticOp::Modulo => "%",
        ArithmeticOp::Power => "^",
    }
}

pub(crate) fn aggregate_text(aggregate: Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Count => "count",
        Aggregate::Min => "min",
        Aggregate::Max => "max",
        Aggregate::Avg => "avg",
        Aggregate::Sum => "sum",
    }
}

pub(crate) fn logic_text(op: LogicOp) -> &'static str {
    match op {
        LogicOp::And => "&&",
        LogicOp::Or => "||",
    }
}
