//! From an expression to a boolean tree over columns, without `Each`.
//!
//! A condition that is one name and a constant becomes leaves, which sources evaluate once per
//! distinct value; anything else becomes a [`Compute`]. `!` is pushed down to the leaves: `!x` is
//! true where `x` is a condition that is false, or an attribute that holds the boolean false.

use std::sync::Arc;

use tracewell_model::alias::ValueMap;
use tracewell_model::column::{Column, Intrinsic};
use tracewell_model::filter::Compute;
use tracewell_model::predicate::{Operand, RegexError};
use tracewell_model::{CompareOp, Filter, Predicate};

use super::name::{Candidate, candidates_of};
use super::simplify::{negate, simplify};
use super::spelling::{Respelled, Spelling, SpellingTest};
use super::term::{self, Term, TermTest};
use super::{Context, TextSpan};
use crate::error::{Error, Result};
use crate::limit::QueryLimit;
use crate::syntax::ast::{Expr, ExprKind, Literal, LogicOp};

/// Whether an expression is to hold or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sense {
    Holds,
    Fails,
}

impl Sense {
    fn opposite(self) -> Self {
        match self {
            Self::Holds => Self::Fails,
            Self::Fails => Self::Holds,
        }
    }

    fn apply(self, filter: Filter) -> Filter {
        match self {
            Self::Holds => filter,
            Self::Fails => negate(filter),
        }
    }
}

impl Context<'_> {
    /// The filter of an expression that has passed the type check.
    pub(super) fn condition(&self, expr: &Expr, sense: Sense) -> Result<Filter> {
        match &expr.kind {
            ExprKind::Logic(op, terms) => {
                let terms = terms
                    .iter()
                    .map(|term| self.condition(term, sense))
                    .collect::<Result<Vec<_>>>()?;
                Ok(match (op, sense) {
                    (LogicOp::And, Sense::Holds) | (LogicOp::Or, Sense::Fails) => {
                        Filter::And(terms)
                    }
                    _ => Filter::Or(terms),
                })
            }
            ExprKind::Not(inner) => match candidates_of(inner, self.aliases) {
                Some(names) => Ok(sense.apply(is_bool(&names, false))),
                None => self.condition(inner, sense.opposite()),
            },
            ExprKind::Literal(literal) => {
                Ok(sense.apply(Filter::Constant(matches!(literal, Literal::Bool(true)))))
            }
            ExprKind::Attribute(_) | ExprKind::Intrinsic(_) => {
                match candidates_of(expr, self.aliases) {
                    Some(names) => Ok(sense.apply(is_bool(&names, true))),
                    None => Err(self.not_built(expr.span, "this name")),
                }
            }
            ExprKind::Regex {
                negated,
                left,
                pattern,
                pattern_span,
            } => {
                let filter = match candidates_of(left, self.aliases) {
                    Some(names) => {
                        let spelling = Spelling::of_expr(left, self.aliases);
                        let names = (names.as_slice(), spelling);
                        self.regex_leaves(names, pattern, *negated, *pattern_span)?
                    }
                    None => self.compute(expr, sense)?,
                };
                Ok(sense.apply(filter))
            }
            ExprKind::Compare(op, left, right) => {
                Ok(sense.apply(self.comparison_filter(expr, *op, (left, right), sense)?))
            }
            ExprKind::Negate(_) | ExprKind::Arithmetic(..) => {
                Err(self.type_error(expr.span, "a filter must be a condition"))
            }
        }
    }

    fn comparison_filter(
        &self,
        expr: &Expr,
        op: CompareOp,
        (left, right): (&Expr, &Expr),
        sense: Sense,
    ) -> Result<Filter> {
        for (one, other) in [(left, right), (right, left)] {
            if is_nil(one) {
                return self.nil_test(other, op);
            }
            // `!x` has a value whatever `x` is, so that comparing it is to ask for it or its opposite.
            if let (ExprKind::Not(_), Some(value)) = (&one.kind, literal_bool(other))
                && matches!(op, CompareOp::Equal | CompareOp::NotEqual)
            {
                let holds = self.condition(one, Sense::Holds)?;
                return Ok(match (op == CompareOp::Equal) == value {
                    true => holds,
                    false => negate(holds),
                });
            }
        }
        for (name, constant, op) in [(left, right, op), (right, left, flipped(op))] {
            let Some(names) = candidates_of(name, self.aliases) else {
                continue;
            };
            if let Some(constant) = self.constant(constant)? {
                let plain = compare_leaves(&names, op, constant.as_ref());
                return Ok(match (Spelling::of_expr(name, self.aliases), &constant) {
                    (Some(spelling), Some(constant)) => spelling.comparison(op, constant, plain),
                    _ => plain,
                });
            }
        }
        self.compute(expr, sense)
    }

    /// `x = nil` and `x != nil`; an expression without a name of its own is never nil.
    fn nil_test(&self, expr: &Expr, op: CompareOp) -> Result<Filter> {
        if is_nil(expr) {
            return Ok(Filter::Constant(false));
        }
        let exists = match candidates_of(expr, self.aliases) {
            Some(names) => chain(&names, &exists),
            None => {
                let exists = Term::Exists(Box::new(self.term(expr)?));
                match op {
                    CompareOp::Equal => filter_of(exists),
                    _ => holding(exists),
                }
            }
        };
        Ok(match op {
            CompareOp::Equal => negate(exists),
            _ => exists,
        })
    }

    /// The value of an expression without names; the inner `None` is no value at all.
    fn constant(&self, expr: &Expr) -> Result<Option<Option<Operand>>> {
        if let ExprKind::Literal(literal) = &expr.kind {
            return Ok(Some(operand(literal)));
        }
        let term = self.term(expr)?;
        if term.has_names() {
            return Ok(None);
        }
        Ok(Some(term::operand_of(term.value(&[]))))
    }

    fn compute(&self, expr: &Expr, sense: Sense) -> Result<Filter> {
        let term = self.term(expr)?;
        Ok(match sense {
            Sense::Holds => holding(term),
            Sense::Fails => filter_of(term),
        })
    }

    pub(super) fn term(&self, expr: &Expr) -> Result<Term> {
        let both = |left: &Expr, right: &Expr| -> Result<(Box<Term>, Box<Term>)> {
            Ok((Box::new(self.term(left)?), Box::new(self.term(right)?)))
        };
        Ok(match &expr.kind {
            ExprKind::Literal(literal) => Term::Constant(operand(literal)),
            ExprKind::Attribute(_) | ExprKind::Intrinsic(_) => {
                let names = candidates_of(expr, self.aliases)
                    .ok_or_else(|| self.not_built(expr.span, "this name"))?;
                Term::Names(names.into_iter().map(term::Slot::new).collect())
            }
            ExprKind::Not(inner) => Term::Not(Box::new(self.term(inner)?)),
            ExprKind::Negate(inner) => Term::Negate(Box::new(self.term(inner)?)),
            ExprKind::Arithmetic(op, left, right) => {
                let (left, right) = both(left, right)?;
                Term::Arithmetic(*op, left, right)
            }
            ExprKind::Compare(op, left, right) if is_nil(left) || is_nil(right) => {
                let other = if is_nil(left) { right } else { left };
                let exists = Term::Exists(Box::new(self.term(other)?));
                match op {
                    _ if is_nil(other) => Term::Constant(Some(Operand::Bool(false))),
                    CompareOp::Equal => Term::Not(Box::new(exists)),
                    _ => exists,
                }
            }
            ExprKind::Compare(op, left, right) => {
                let other = self.other_spelling(*op, left, right);
                let (left, right) = both(left, right)?;
                let plain = Term::Compare(*op, left, right);
                with_others(*op == CompareOp::NotEqual, plain, other)
            }
            ExprKind::Regex {
                negated,
                left,
                pattern,
                pattern_span,
            } => {
                let regex = self.regex(pattern, *negated, *pattern_span)?;
                let other = Spelling::of_expr(left, self.aliases)
                    .map(|spelling| spelling.test(SpellingTest::Matches(regex.positive())));
                let plain = Term::Regex(regex, Box::new(self.term(left)?));
                with_others(*negated, plain, other)
            }
            ExprKind::Logic(op, terms) => Term::Logic(
                *op,
                terms
                    .iter()
                    .map(|term| self.term(term))
                    .collect::<Result<_>>()?,
            ),
        })
    }

    /// What a comparison of a name with a text asks of the other spellings of its value.
    fn other_spelling(&self, op: CompareOp, left: &Expr, right: &Expr) -> Option<Respelled> {
        let (name, text) = match (&left.kind, &right.kind) {
            (_, ExprKind::Literal(Literal::String(text))) => (left, text),
            (ExprKind::Literal(Literal::String(text)), _) => (right, text),
            _ => return None,
        };
        let spelling = match op {
            CompareOp::Equal | CompareOp::NotEqual => Spelling::of_expr(name, self.aliases)?,
            _ => return None,
        };
        Some(spelling.test(SpellingTest::Is(Arc::clone(text))))
    }

    // === regular expressions ===

    fn regex(&self, pattern: &str, negated: bool, span: TextSpan) -> Result<Predicate> {
        let n = self.n_regexes.get() + 1;
        if n > self.limits.regexes_max {
            return Err(Error::TooLarge {
                what: "regular expressions",
                seen: n as u64,
                limit: self.limits.regexes_max as u64,
            });
        }
        self.n_regexes.set(n);
        Predicate::regex(pattern, negated, self.limits.regex_bytes_max).map_err(|error| {
            if error.is_too_large {
                too_large(&error)
            } else {
                self.type_error(span, format!("the regular expression is invalid: {error}"))
            }
        })
    }

    /// Where values were renamed, a pattern may mean the old or the new name: either will do.
    fn regex_leaves(
        &self,
        (names, spelling): (&[Candidate], Option<Spelling>),
        pattern: &str,
        negated: bool,
        span: TextSpan,
    ) -> Result<Filter> {
        let predicate = self.regex(pattern, negated, span)?;
        let positive = predicate.positive();
        let plain = chain(names, &|candidate| {
            let plain = candidate.leaf(predicate.clone());
            let Some(map) = candidate.values else {
                return plain;
            };
            let renamed = renamed_matches(map, &positive);
            let op = if negated {
                CompareOp::NotEqual
            } else {
                CompareOp::Equal
            };
            let mut all = vec![plain];
            all.extend(
                renamed
                    .into_iter()
                    .map(|value| compare_leaf(candidate, op, Operand::String(Arc::from(value)))),
            );
            if negated {
                Filter::And(all)
            } else {
                Filter::Or(all)
            }
        });
        Ok(match spelling {
            Some(spelling) => spelling.regex(negated, &positive, plain),
            None => plain,
        })
    }
}

/// A term that is true by the value that was sent, or by other spellings of it; negated, by none of them.
fn with_others(negated: bool, plain: Term, others: Option<Respelled>) -> Term {
    let Some(others) = others else {
        return plain;
    };
    let others = Term::Respelled(Box::new(others));
    match negated {
        true => Term::Logic(LogicOp::And, vec![plain, Term::Not(Box::new(others))]),
        false => Term::Logic(LogicOp::Or, vec![plain, others]),
    }
}

/// Values that do not match themselves but under one of their other names.
fn renamed_matches(map: &'static ValueMap, positive: &Predicate) -> Vec<&'static str> {
    use tracewell_model::Value;
    let matches = |text: &&str| positive.matches(Value::String(text));
    let mut values: Vec<&'static str> = map
        .0
        .iter()
        .flat_map(|(old, new)| [*old, *new])
        .filter(|value| !matches(value) && map.synonyms(value).iter().any(matches))
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// One filter over several columns: that of the first column that has a value.
fn chain(names: &[Candidate], test: &dyn Fn(&Candidate) -> Filter) -> Filter {
    let Some((first, rest)) = names.split_first() else {
        return Filter::Constant(false);
    };
    let kinds = first.kind_filter();
    let here = match &kinds {
        None => test(first),
        Some(kinds) => Filter::And(vec![kinds.clone(), test(first)]),
    };
    if rest.is_empty() {
        return here;
    }
    let mut passed_over = negate(exists(first));
    if let Some(kinds) = kinds {
        passed_over = Filter::Or(vec![negate(kinds), passed_over]);
    }
    Filter::Or(vec![
        here,
        Filter::And(vec![passed_over, chain(rest, test)]),
    ])
}

pub(super) fn exists(candidate: &Candidate) -> Filter {
    candidate.leaf(Predicate::Exists)
}

/// That one of the columns has a value; `None` if that goes without saying.
fn any_exists<'c>(names: impl IntoIterator<Item = &'c Candidate>) -> Option<Filter> {
    let exists_here = |name: &Candidate| match &name.column {
        Column::Attribute { .. } | Column::OfParent(_) => Some(exists(name)),
        Column::Intrinsic(_) => None,
    };
    let each: Option<Vec<Filter>> = names.into_iter().map(exists_here).collect();
    each.map(Filter::Or)
}

fn literal_bool(expr: &Expr) -> Option<bool> {
    match expr.kind {
        ExprKind::Literal(Literal::Bool(value)) => Some(value),
        _ => None,
    }
}

fn is_bool(names: &[Candidate], value: bool) -> Filter {
    compare_leaves(names, CompareOp::Equal, Some(&Operand::Bool(value)))
}

/// A comparison of a name with a constant, for filters that come from no text.
pub(super) fn compare_any(names: &[Candidate], op: CompareOp, constant: &Operand) -> Filter {
    compare_leaves(names, op, Some(constant))
}

/// A comparison of a name with a constant.
fn compare_leaves(names: &[Candidate], op: CompareOp, constant: Option<&Operand>) -> Filter {
    let Some(constant) = constant else {
        return Filter::Constant(false);
    };
    chain(names, &|candidate| {
        match (candidate.values, constant) {
            (Some(map), Operand::String(text)) => match op {
                // An equality with any of the synonyms keeps statistics and filters of use.
                CompareOp::Equal | CompareOp::NotEqual => {
                    let each = map
                        .synonyms(text)
                        .into_iter()
                        .map(|text| compare_leaf(candidate, op, Operand::String(Arc::from(text))))
                        .collect();
                    if op == CompareOp::Equal {
                        Filter::Or(each)
                    } else {
                        Filter::And(each)
                    }
                }
                _ => candidate.leaf(Predicate::Mapped {
                    map,
                    inner: Box::new(Predicate::Compare {
                        op,
                        operand: Operand::String(Arc::from(map.apply(text))),
                    }),
                }),
            },
            _ => compare_leaf(candidate, op, constant.clone()),
        }
    })
}

/// One column and a constant; what can never match is a constant.
fn compare_leaf(candidate: &Candidate, op: CompareOp, constant: Operand) -> Filter {
    let column = &candidate.column;
    let operand = match (column, constant) {
        (Column::Intrinsic(Intrinsic::TraceId | Intrinsic::LinkTraceId), Operand::String(text)) => {
            Operand::String(Arc::from(text.trim_start_matches('0')))
        }
        (_, constant) => constant,
    };
    if never_matches(column, op, &operand) {
        return Filter::Constant(false);
    }
    candidate.leaf(Predicate::Compare { op, operand })
}

fn never_matches(column: &Column, op: CompareOp, operand: &Operand) -> bool {
    if let Operand::Float(value) = operand
        && value.is_nan()
    {
        return true;
    }
    match (column, operand) {
        // Attributes hold neither statuses nor kinds.
        (Column::Attribute { .. }, Operand::Status(_) | Operand::Kind(_)) => true,
        (Column::Intrinsic(Intrinsic::Duration | Intrinsic::TraceDuration), number) => {
            let least = match number {
                Operand::Int(value) | Operand::Duration(value) => *value as f64,
                Operand::Float(value) => *value,
                _ => return false,
            };
            match op {
                CompareOp::Less => least <= 0.0,
                CompareOp::LessOrEqual | CompareOp::Equal => least < 0.0,
                _ => false,
            }
        }
        _ => false,
    }
}

/// The filter of a term that is to hold: beside it, the names without whose values it cannot. Sources
/// answer those from what they know of their keys, and fewer rows are read for the rest.
fn holding(term: Term) -> Filter {
    let needed = term.needed().into_iter();
    let mut all: Vec<Filter> = needed.filter_map(any_exists).collect();
    all.push(filter_of(term));
    simplify(Filter::And(all))
}

/// The filter of a boolean term: a constant where it names nothing.
pub(super) fn filter_of(mut term: Term) -> Filter {
    if !term.has_names() {
        return Filter::Constant(term.is_true(&[]));
    }
    let mut columns = Vec::new();
    term.number_columns(&mut columns);
    Filter::Compute(Compute {
        columns: columns.into(),
        test: Arc::new(TermTest(term)),
    })
}

pub(super) fn operand(literal: &Literal) -> Option<Operand> {
    Some(match literal {
        Literal::Nil => return None,
        Literal::String(text) => Operand::String(Arc::clone(text)),
        Literal::Int(value) => Operand::Int(*value),
        Literal::Float(value) => Operand::Float(*value),
        Literal::Bool(value) => Operand::Bool(*value),
        Literal::Duration(nanos) => Operand::Duration(*nanos),
        Literal::Status(code) => Operand::Status(*code),
        Literal::Kind(code) => Operand::Kind(*code),
    })
}

fn is_nil(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Literal(Literal::Nil))
}

pub(super) fn flipped(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Less => CompareOp::Greater,
        CompareOp::LessOrEqual => CompareOp::GreaterOrEqual,
        CompareOp::Greater => CompareOp::Less,
        CompareOp::GreaterOrEqual => CompareOp::LessOrEqual,
        same => same,
    }
}

pub(super) fn too_large(error: &RegexError) -> Error {
    let limit = QueryLimit::RegexBytes;
    Error::Limited {
        limit,
        message: format!(
            "a regular expression takes more than {}: {error}",
            limit.name()
        ),
    }
}
