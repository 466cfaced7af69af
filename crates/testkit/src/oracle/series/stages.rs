//! What is done with series: the largest and smallest of each moment, bounds, arithmetic.

use std::cmp::Ordering;

use tracewell_query::syntax::ast::{ArithmeticOp, Literal, MetricsStage, ScalarExpr, ScalarKind};

use super::super::OracleError;
use super::super::value::{Datum, compare};
use super::Result;

pub(super) const NAME: &str = "__name__";

/// One series; its labels keep the types of their values, because series are ordered by them.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) labels: Vec<(String, Datum)>,
    pub(super) name: String,
    pub(super) values: Vec<Option<f64>>,
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    Lines(Vec<Line>),
    Number(f64),
}

// === impl Line ===

impl Line {
    /// What was grouped by, by name.
    fn groups(&self) -> Vec<&(String, Datum)> {
        let labels = self.labels.iter();
        let mut groups: Vec<_> = labels.filter(|(key, _)| key != NAME).collect();
        groups.sort_by(|a, b| a.0.cmp(&b.0));
        groups
    }

    fn has_values(&self) -> bool {
        self.values.iter().any(Option::is_some)
    }
}

pub(super) fn staged(stage: &MetricsStage, lines: Vec<Line>) -> Result<Vec<Line>> {
    match stage {
        MetricsStage::Top(n) => Ok(ranked(lines, *n, |a, b| b.total_cmp(&a))),
        MetricsStage::Bottom(n) => Ok(ranked(lines, *n, |a, b| a.total_cmp(&b))),
        MetricsStage::Compare(op, than) => {
            let than = Datum::Float(number(than)?);
            Ok(kept(lines, |_, _, value| {
                compare(&Datum::Float(value), *op, &than)
            }))
        }
    }
}

/// The values of which fewer than `n` of the same moment come before.
fn ranked(lines: Vec<Line>, n: i64, order: fn(f64, f64) -> Ordering) -> Vec<Line> {
    let n = usize::try_from(n).unwrap_or(0);
    if lines.len() <= n {
        return lines;
    }
    let all = lines.clone();
    kept(lines, |line, moment, value| {
        let is_before = |other: &&Line| {
            let there = other.values.get(moment).copied().flatten();
            there.is_some_and(|there| {
                order(there, value).then_with(|| by_labels(&other.labels, &line.labels))
                    == Ordering::Less
            })
        };
        all.iter().filter(is_before).count() < n
    })
}

/// Without the values that are not kept, and without series that have none.
fn kept(lines: Vec<Line>, is_kept: impl Fn(&Line, usize, f64) -> bool) -> Vec<Line> {
    let with_rest = |mut line: Line| {
        let values = line.values.iter().enumerate();
        let values = values.map(|(at, value)| value.filter(|value| is_kept(&line, at, *value)));
        line.values = values.collect();
        line
    };
    let lines = lines.into_iter().map(with_rest);
    lines.filter(Line::has_values).collect()
}

pub(super) fn arithmetic(op: ArithmeticOp, left: Operand, right: Operand) -> Result<Operand> {
    let (sign, computed) = operation(op)?;
    let lines = match (left, right) {
        (Operand::Number(a), Operand::Number(b)) => return Ok(Operand::Number(computed(a, b))),
        (Operand::Lines(lines), Operand::Number(b)) => each(lines, |a| computed(a, b)),
        (Operand::Number(a), Operand::Lines(lines)) => each(lines, |b| computed(a, b)),
        (Operand::Lines(left), Operand::Lines(right)) => joined((sign, computed), &left, &right),
    };
    let lines = lines.into_iter();
    Ok(Operand::Lines(lines.filter(Line::has_values).collect()))
}

fn each(mut lines: Vec<Line>, change: impl Fn(f64) -> f64) -> Vec<Line> {
    for value in lines.iter_mut().flat_map(|line| &mut line.values) {
        *value = value.map(&change).filter(|value| !value.is_nan());
    }
    lines
}

/// Series of the same groups belong together, and one that has none belongs to every other.
fn joined((sign, computed): Operation, left: &[Line], right: &[Line]) -> Vec<Line> {
    let mut lines = Vec::new();
    for a in left {
        for b in right {
            let (groups_a, groups_b) = (a.groups(), b.groups());
            let (labelled, of_all) = match groups_a.is_empty() {
                true => (b, true),
                false => (a, groups_b.is_empty()),
            };
            let is_same = groups_a.len() == groups_b.len()
                && groups_a
                    .iter()
                    .zip(&groups_b)
                    .all(|(a, b)| a.0 == b.0 && a.1.order(&b.1).is_eq());
            if !of_all && !is_same {
                continue;
            }
            let name = format!("({} {} {})", a.name, sign, b.name);
            let mut labels = labelled.labels.clone();
            for (key, value) in &mut labels {
                if key == NAME {
                    *value = Datum::Text(name.clone());
                }
            }
            let values = a.values.iter().zip(&b.values);
            let values =
                values.map(|(a, b)| Some(computed((*a)?, (*b)?)).filter(|value| !value.is_nan()));
            lines.push(Line {
                labels,
                name,
                values: values.collect(),
            });
        }
    }
    lines
}

/// How a name shows it, and what it does.
type Operation = (&'static str, fn(f64, f64) -> f64);

fn operation(op: ArithmeticOp) -> Result<Operation> {
    Ok(match op {
        ArithmeticOp::Add => ("+", |a, b| a + b),
        ArithmeticOp::Subtract => ("-", |a, b| a - b),
        ArithmeticOp::Multiply => ("*", |a, b| a * b),
        ArithmeticOp::Divide => ("/", |a, b| if b == 0.0 { f64::NAN } else { a / b }),
        ArithmeticOp::Modulo | ArithmeticOp::Power => {
            return Err(OracleError::Unknown("this arithmetic of series"));
        }
    })
}

/// A literal; durations are in seconds, as the values of series are.
pub(super) fn number(expr: &ScalarExpr) -> Result<f64> {
    match &expr.kind {
        ScalarKind::Literal(Literal::Int(value)) => Ok(*value as f64),
        ScalarKind::Literal(Literal::Float(value)) => Ok(*value),
        ScalarKind::Literal(Literal::Duration(nanos)) => Ok(*nanos as f64 / 1e9),
        ScalarKind::Negate(inner) => Ok(-number(inner)?),
        _ => Err(OracleError::Unknown("a number of this form beside series")),
    }
}

fn by_labels(a: &[(String, Datum)], b: &[(String, Datum)]) -> Ordering {
    let both = a.iter().zip(b);
    let mut orders = both.map(|(a, b)| a.0.cmp(&b.0).then_with(|| a.1.order(&b.1)));
    let first = orders.find(|it| *it != Ordering::Equal);
    first.unwrap_or_else(|| a.len().cmp(&b.len()))
}
