//! What stands around the braces: operators, stages and aggregates, over the spans of one trace.

use std::collections::{BTreeMap, BTreeSet};

use tracewell_model::CompareOp;
use tracewell_query::Aliases;
use tracewell_query::syntax::ast::{
    Aggregate, Expr, Literal, LogicOp, Pipeline, RelationMode, ScalarExpr, ScalarKind, SpansetExpr,
    SpansetKind, Stage,
};

use super::OracleError;
use super::filter::{Filter, TraceFacts, arithmetic};
use super::value::{Datum, compare};

type Result<T> = std::result::Result<T, OracleError>;

/// Spans of one trace.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    pub(super) spans: BTreeSet<usize>,
    /// Of `by()` and of aggregates, by their text.
    pub(super) attributes: Vec<(String, Datum)>,
}

/// One trace; the expressions of a query by their address, so that regular expressions compile once.
pub(super) struct Scene<'q, 't> {
    pub(super) facts: &'t TraceFacts<'t>,
    pub(super) aliases: Aliases,
    pub(super) filters: &'t mut BTreeMap<usize, Filter<'q>>,
}

impl<'q> Scene<'q, '_> {
    pub(super) fn everything(&self) -> Set {
        Set {
            spans: (0..self.facts.spans.len()).collect(),
            attributes: Vec::new(),
        }
    }

    pub(super) fn pipeline(
        &mut self,
        pipeline: &'q Pipeline,
        mut sets: Vec<Set>,
    ) -> Result<Vec<Set>> {
        for stage in &pipeline.stages {
            let mut next = Vec::new();
            match stage {
                Stage::Spanset(expr) => {
                    for set in sets {
                        let spans = self.spanset(expr, &set)?;
                        next.push(Set {
                            spans: spans.spans,
                            attributes: joined(set.attributes, spans.attributes),
                        });
                    }
                }
                Stage::ScalarFilter {
                    left, op, right, ..
                } => {
                    for set in sets {
                        next.extend(self.scalar_filter(left, *op, right, set)?);
                    }
                }
                Stage::By(expr, _) => {
                    for set in sets {
                        next.extend(self.split(expr, &set)?);
                    }
                }
                Stage::Coalesce(_) => {
                    let spans = sets.into_iter().flat_map(|set| set.spans);
                    next.push(Set {
                        spans: spans.collect(),
                        attributes: Vec::new(),
                    });
                }
                Stage::Select(..) => next = sets,
            }
            next.retain(|set| !set.spans.is_empty());
            sets = next;
        }
        Ok(sets)
    }

    fn spanset(&mut self, expr: &'q SpansetExpr, input: &Set) -> Result<Set> {
        Ok(match &expr.kind {
            SpansetKind::Filter(inner) => {
                let mut spans = BTreeSet::new();
                for at in &input.spans {
                    if match inner {
                        None => true,
                        Some(inner) => self.holds(inner, *at)?,
                    } {
                        spans.insert(*at);
                    }
                }
                Set {
                    spans,
                    attributes: Vec::new(),
                }
            }
            SpansetKind::Logic(op, terms) => {
                let mut all = Set::default();
                for term in terms {
                    let side = self.spanset(term, input)?;
                    match (side.spans.is_empty(), op) {
                        (true, LogicOp::And) => return Ok(Set::default()),
                        (true, LogicOp::Or) => {}
                        (false, _) => {
                            all.spans.extend(side.spans);
                            all.attributes = joined(all.attributes, side.attributes);
                        }
                    }
                }
                all
            }
            SpansetKind::Relation(relation, left, right) => {
                let (a, b) = (self.spanset(left, input)?, self.spanset(right, input)?);
                let tree = &self.facts.tree;
                let mut result = Set {
                    spans: BTreeSet::new(),
                    attributes: match relation.mode {
                        RelationMode::Union => joined(a.attributes, b.attributes),
                        _ => b.attributes,
                    },
                };
                for right in &b.spans {
                    let partners = a
                        .spans
                        .iter()
                        .filter(|it| tree.is(relation.kin, **it, *right));
                    let partners: Vec<usize> = partners.copied().collect();
                    if partners.is_empty() == (relation.mode == RelationMode::Negated) {
                        result.spans.insert(*right);
                    }
                    if relation.mode == RelationMode::Union {
                        result.spans.extend(partners);
                    }
                }
                result
            }
            SpansetKind::Pipeline(inner) => {
                let sets = self.pipeline(inner, vec![input.clone()])?;
                let mut sets = sets.into_iter().map(|set| Set {
                    // What the input had is put back where its stage ends.
                    attributes: set
                        .attributes
                        .into_iter()
                        .filter(|(key, _)| input.attributes.iter().all(|(known, _)| known != key))
                        .collect(),
                    spans: set.spans,
                });
                sets.next().unwrap_or_default()
            }
        })
    }

    fn scalar_filter(
        &mut self,
        left: &'q ScalarExpr,
        op: CompareOp,
        right: &'q ScalarExpr,
        mut set: Set,
    ) -> Result<Option<Set>> {
        let mut seen = Set::default();
        let a = self.scalar(left, &set, &mut seen)?;
        let b = self.scalar(right, &set, &mut seen)?;
        if !compare(&a, op, &b) {
            return Ok(None);
        }
        if !seen.spans.is_empty() {
            set.spans = seen.spans;
        }
        set.attributes = joined(set.attributes, seen.attributes);
        Ok(Some(set))
    }

    fn scalar(&mut self, expr: &'q ScalarExpr, set: &Set, seen: &mut Set) -> Result<Datum> {
        Ok(match &expr.kind {
            ScalarKind::Literal(literal) => match literal {
                Literal::Int(value) => Datum::Int(*value),
                Literal::Float(value) => Datum::Float(*value),
                Literal::Duration(value) => Datum::Duration(*value),
                _ => Datum::Nil,
            },
            ScalarKind::Aggregate(aggregate, of) => {
                let value = match of {
                    None => Datum::Int(i64::try_from(set.spans.len()).unwrap_or(i64::MAX)),
                    Some(of) => {
                        let mut values = Vec::new();
                        for at in &set.spans {
                            values.push(self.value(of, *at)?);
                        }
                        aggregated(*aggregate, &values)
                    }
                };
                if !value.is_nil() {
                    seen.attributes.push((expr.to_string(), value.clone()));
                }
                value
            }
            ScalarKind::Arithmetic(op, left, right) => {
                let left = self.scalar(left, set, seen)?;
                arithmetic(*op, &left, &self.scalar(right, set, seen)?)
            }
            ScalarKind::Negate(inner) => match self.scalar(inner, set, seen)? {
                Datum::Int(value) => Datum::Int(value.wrapping_neg()),
                Datum::Duration(value) => Datum::Duration(value.wrapping_neg()),
                Datum::Float(value) => Datum::Float(-value),
                _ => Datum::Nil,
            },
            ScalarKind::Pipeline(pipeline, end) => {
                let sets = self.pipeline(pipeline, vec![self.everything()])?;
                match sets.into_iter().next() {
                    None => Datum::Nil,
                    Some(set) => {
                        let value = self.scalar(end, &set, seen)?;
                        seen.spans.extend(set.spans);
                        value
                    }
                }
            }
        })
    }

    /// In the order in which the values are met.
    fn split(&mut self, expr: &'q Expr, set: &Set) -> Result<Vec<Set>> {
        let mut groups: Vec<(Datum, Set)> = Vec::new();
        for at in &set.spans {
            let value = self.value(expr, *at)?;
            let known = groups.iter_mut().find(|(known, _)| same(known, &value));
            match known {
                Some((_, group)) => {
                    group.spans.insert(*at);
                }
                None => {
                    let label = format!("by({expr})");
                    let attributes = joined(set.attributes.clone(), vec![(label, value.clone())]);
                    let spans = BTreeSet::from([*at]);
                    groups.push((value, Set { spans, attributes }));
                }
            }
        }
        Ok(groups.into_iter().map(|(_, group)| group).collect())
    }

    pub(super) fn holds(&mut self, expr: &'q Expr, at: usize) -> Result<bool> {
        self.compiled(expr)?;
        let facts = self.facts;
        self.filters[&address(expr)].matches(at, facts)
    }

    pub(super) fn value(&mut self, expr: &'q Expr, at: usize) -> Result<Datum> {
        self.compiled(expr)?;
        let facts = self.facts;
        self.filters[&address(expr)].first_value(at, facts)
    }

    fn compiled(&mut self, expr: &'q Expr) -> Result<()> {
        if !self.filters.contains_key(&address(expr)) {
            let filter = Filter::new(expr, self.aliases)?;
            self.filters.insert(address(expr), filter);
        }
        Ok(())
    }
}

fn address(expr: &Expr) -> usize {
    std::ptr::from_ref(expr).addr()
}

/// A value that is known already is not said again.
fn joined(mut a: Vec<(String, Datum)>, b: Vec<(String, Datum)>) -> Vec<(String, Datum)> {
    for (key, value) in b {
        if a.iter().all(|(known, _)| *known != key) {
            a.push((key, value));
        }
    }
    a
}

/// One group: the same type and the same value, of lists as far as they are shown.
fn same(a: &Datum, b: &Datum) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b) && a.shown() == b.shown()
}

/// Of ints an int, of durations a duration, of anything else a float; averages of ints are floats.
fn aggregated(aggregate: Aggregate, values: &[Datum]) -> Datum {
    let (mut ints, mut durations, mut floats) = (Vec::new(), Vec::new(), Vec::new());
    for value in values {
        match value {
            Datum::Int(value) => ints.push(*value),
            Datum::Duration(value) => durations.push(*value),
            Datum::Float(value) => floats.push(*value),
            _ => {}
        }
    }
    if floats.is_empty() && durations.is_empty() && !ints.is_empty() {
        return match aggregate {
            Aggregate::Avg => Datum::Float(sum(&ints) as f64 / ints.len() as f64),
            _ => Datum::Int(whole(aggregate, &ints)),
        };
    }
    if floats.is_empty() && ints.is_empty() && !durations.is_empty() {
        return Datum::Duration(whole(aggregate, &durations));
    }
    let n = ints.len() + durations.len() + floats.len();
    if n == 0 {
        return Datum::Nil;
    }
    let exact = (sum(&ints) + sum(&durations)) as f64;
    let total = exact + floats.iter().sum::<f64>();
    floats.extend(ints.iter().chain(&durations).map(|value| *value as f64));
    let fold = |pick: fn(f64, f64) -> f64| floats.iter().copied().reduce(pick).unwrap_or(f64::NAN);
    Datum::Float(match aggregate {
        Aggregate::Count => n as f64,
        Aggregate::Min => fold(f64::min),
        Aggregate::Max => fold(f64::max),
        Aggregate::Sum => total,
        Aggregate::Avg => total / n as f64,
    })
}

fn sum(values: &[i64]) -> i128 {
    values.iter().map(|value| i128::from(*value)).sum()
}

fn whole(aggregate: Aggregate, values: &[i64]) -> i64 {
    let n = values.len() as i128;
    let value = match aggregate {
        Aggregate::Count => n,
        Aggregate::Min => values.iter().min().copied().map_or(0, i128::from),
        Aggregate::Max => values.iter().max().copied().map_or(0, i128::from),
        Aggregate::Sum => sum(values),
        Aggregate::Avg => sum(values) / n,
    };
    let clamped = value.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    i64::try_from(clamped).unwrap_or_default()
}
