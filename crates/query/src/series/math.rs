//! Second stages and arithmetic of series.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use tracewell_model::CompareOp;

use super::{NAME, Series, SeriesSet};
use crate::scalar::Scalar;
use crate::syntax::arithmetic_text;
use crate::syntax::ast::ArithmeticOp;

/// Series, or a number that stands for one of every label.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    Series(SeriesSet),
    Number(f64),
}

/// Keeps the largest (or smallest) so many values of each moment. Equal ones are ordered by their labels.
pub fn ranked(mut set: SeriesSet, n: usize, is_top: bool) -> SeriesSet {
    if set.series.len() <= n {
        return set;
    }
    set.series.sort_by(by_labels);
    let n_values = set.series.iter().map(|series| series.values.len()).max();
    for moment in 0..n_values.unwrap_or(0) {
        let value = |series: &Series| series.values.get(moment).copied().flatten();
        let present = set.series.iter().enumerate();
        let present = present.filter_map(|(index, series)| Some((index, value(series)?)));
        let mut present: Vec<(usize, f64)> = present.collect();
        present.sort_by(|a, b| match is_top {
            true => b.1.total_cmp(&a.1),
            false => a.1.total_cmp(&b.1),
        });
        for (index, _) in present.into_iter().skip(n) {
            let series = set.series.get_mut(index);
            if let Some(value) = series.and_then(|series| series.values.get_mut(moment)) {
                *value = None;
            }
        }
    }
    without_empty(set)
}

/// Keeps the values for which the comparison holds.
pub fn compared(mut set: SeriesSet, op: CompareOp, than: f64) -> SeriesSet {
    let holds = |value: f64| match op {
        CompareOp::Equal => value == than,
        CompareOp::NotEqual => value != than,
        CompareOp::Less => value < than,
        CompareOp::LessOrEqual => value <= than,
        CompareOp::Greater => value > than,
        CompareOp::GreaterOrEqual => value >= than,
    };
    for value in set.series.iter_mut().flat_map(|series| &mut series.values) {
        *value = value.filter(|value| holds(*value));
    }
    without_empty(set)
}

/// Joins series of equal labels; one of everything joins each of the other side. What has no partner is left
/// out, and so is a division by zero.
pub fn arithmetic(op: ArithmeticOp, left: Operand, right: Operand) -> Operand {
    match (left, right) {
        (Operand::Number(a), Operand::Number(b)) => Operand::Number(compute(op, a, b)),
        (Operand::Series(set), Operand::Number(number)) => {
            Operand::Series(each(set, |value| compute(op, value, number)))
        }
        (Operand::Number(number), Operand::Series(set)) => {
            Operand::Series(each(set, |value| compute(op, number, value)))
        }
        (Operand::Series(left), Operand::Series(right)) => {
            Operand::Series(joined(op, left, &right))
        }
    }
}

fn joined(op: ArithmeticOp, left: SeriesSet, right: &SeriesSet) -> SeriesSet {
    let (of_all, others): (Vec<&Series>, Vec<&Series>) =
        right.series.iter().partition(|series| series.is_of_all());
    let by_groups: BTreeMap<Vec<_>, &Series> = others
        .iter()
        .map(|series| (grouped(series), *series))
        .collect();
    let mut all = SeriesSet::default();
    for a in &left.series {
        let partners = of_all.iter().copied();
        if a.is_of_all() {
            let partners = partners.chain(others.iter().copied());
            all.series.extend(partners.map(|b| pair(op, a, b)));
        } else {
            let partners = partners.chain(by_groups.get(&grouped(a)).copied());
            all.series.extend(partners.map(|b| pair(op, a, b)));
        }
    }
    without_empty(all)
}

fn pair(op: ArithmeticOp, a: &Series, b: &Series) -> Series {
    let name = format!("({} {} {})", a.name, arithmetic_text(op), b.name);
    let of = if a.is_of_all() { b } else { a };
    let mut labels = of.labels.clone();
    for (key, value) in &mut labels {
        if key == NAME {
            *value = Scalar::String(name.as_str().into());
        }
    }
    let values = a.values.iter().zip(&b.values);
    let exemplars = a.exemplars.iter().chain(&b.exemplars);
    Series {
        labels,
        values: values
            .map(|(a, b)| Some(compute(op, (*a)?, (*b)?)).filter(|value| !value.is_nan()))
            .collect(),
        exemplars: exemplars.cloned().collect(),
        name,
    }
}

fn each(mut set: SeriesSet, change: impl Fn(f64) -> f64) -> SeriesSet {
    for value in set.series.iter_mut().flat_map(|series| &mut series.values) {
        *value = value.map(&change).filter(|value| !value.is_nan());
    }
    without_empty(set)
}

fn compute(op: ArithmeticOp, a: f64, b: f64) -> f64 {
    match op {
        ArithmeticOp::Add => a + b,
        ArithmeticOp::Subtract => a - b,
        ArithmeticOp::Multiply => a * b,
        ArithmeticOp::Divide if b == 0.0 => f64::NAN,
        ArithmeticOp::Divide => a / b,
        ArithmeticOp::Modulo => a % b,
        ArithmeticOp::Power => a.powf(b),
    }
}

/// Labels that say what was grouped by, in whatever order that was written.
fn grouped(series: &Series) -> Vec<&(String, Scalar)> {
    let labels = series.labels.iter();
    let mut labels: Vec<_> = labels.filter(|(key, _)| key != NAME).collect();
    labels.sort();
    labels
}

fn by_labels(a: &Series, b: &Series) -> Ordering {
    a.labels.cmp(&b.labels)
}

fn without_empty(mut set: SeriesSet) -> SeriesSet {
    set.series
        .retain(|series| series.values.iter().any(Option::is_some));
    set
}
