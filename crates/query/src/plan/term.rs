//! Expressions that are no single comparison of a name with a constant: evaluated row by row.
//!
//! Types are those of run time: what does not go together has no value, and no value matches
//! nothing. Whole numbers stay whole and wrap around; a division of them by zero has no value;
//! every other mix is computed in floating point, durations as nanoseconds.

use std::sync::Arc;

use tracewell_model::alias::{KIND_SERVER, KindRule, ValueMap};
use tracewell_model::filter::RowTest;
use tracewell_model::predicate::{Operand, values_match};
use tracewell_model::{AttributeValue, Column, CompareOp, Intrinsic, Predicate, Value};

use super::name::Candidate;
use super::spelling::Respelled;
use crate::scalar::Scalar;
use crate::syntax::ast::{ArithmeticOp, LogicOp};

#[derive(Debug, Clone)]
pub(super) enum Term {
    Constant(Option<Operand>),
    /// The first of these columns that has a value.
    Names(Vec<Slot>),
    Not(Box<Term>),
    Negate(Box<Term>),
    Exists(Box<Term>),
    Arithmetic(ArithmeticOp, Box<Term>, Box<Term>),
    Compare(CompareOp, Box<Term>, Box<Term>),
    Regex(Predicate, Box<Term>),
    /// A comparison with the other spellings of what was sent.
    Respelled(Box<Respelled>),
    Logic(LogicOp, Vec<Term>),
}

/// A column of a [`Term`], and where its value lies in a row.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    candidate: Candidate,
    index: usize,
    /// Index of the kind of the span, where the candidate asks for it.
    kind_index: usize,
}

/// A value, and the map of its names where it is an attribute that has one.
#[derive(Debug, Clone, Copy)]
struct Read<'a> {
    value: Value<'a>,
    names: Option<&'static ValueMap>,
}

#[derive(Debug)]
pub(super) struct TermTest(pub(super) Term);

impl RowTest for TermTest {
    fn test(&self, values: &[Value<'_>]) -> bool {
        self.0.is_true(values)
    }
}

impl Slot {
    pub(super) fn new(candidate: Candidate) -> Self {
        Self {
            candidate,
            index: 0,
            kind_index: 0,
        }
    }

    fn number(&mut self, columns: &mut Vec<Column>) {
        self.index = place(columns, &self.candidate.column);
        if self.candidate.kinds != KindRule::Any {
            self.kind_index = place(columns, &self.candidate.kind_column());
        }
    }

    pub(super) fn value<'a>(&self, values: &[Value<'a>]) -> Value<'a> {
        if self.candidate.kinds != KindRule::Any {
            let kind = match values.get(self.kind_index) {
                Some(Value::Kind(kind)) => *kind,
                _ => 0,
            };
            debug_assert_eq!(KIND_SERVER, 2, "kinds are OTLP numbers");
            if !self.candidate.kinds.holds(kind) {
                return Value::Nil;
            }
        }
        let value = values.get(self.index).copied().unwrap_or(Value::Nil);
        match self.candidate.derived {
            None => value,
            Some(derived) => derived.of(value),
        }
    }
}

impl Term {
    pub(super) fn has_names(&self) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Names(_) | Self::Respelled(_) => true,
            Self::Not(inner)
            | Self::Negate(inner)
            | Self::Exists(inner)
            | Self::Regex(_, inner) => inner.has_names(),
            Self::Arithmetic(_, left, right) | Self::Compare(_, left, right) => {
                left.has_names() || right.has_names()
            }
            Self::Logic(_, terms) => terms.iter().any(Self::has_names),
        }
    }

    /// True for one name whose value is taken as it lies, but for texts.
    pub(super) fn is_plain_name(&self) -> bool {
        let Self::Names(slots) = self else {
            return false;
        };
        let [slot] = slots.as_slice() else {
            return false;
        };
        slot.candidate.kinds == KindRule::Any && slot.candidate.derived.is_none()
    }

    /// The names of which each must have a value for the term to be true.
    pub(super) fn needed(&self) -> Vec<Vec<&Candidate>> {
        match self {
            Self::Compare(_, left, right) => {
                [left.needed_for_a_value(), right.needed_for_a_value()].concat()
            }
            Self::Regex(_, inner) | Self::Exists(inner) => inner.needed_for_a_value(),
            Self::Logic(LogicOp::And, terms) => terms.iter().flat_map(Self::needed).collect(),
            Self::Not(_) | Self::Respelled(_) | Self::Logic(LogicOp::Or, _) => Vec::new(),
            Self::Constant(_) | Self::Names(_) | Self::Negate(_) | Self::Arithmetic(..) => {
                self.needed_for_a_value()
            }
        }
    }

    /// The same for it to have a value at all. A condition always has one.
    fn needed_for_a_value(&self) -> Vec<Vec<&Candidate>> {
        match self {
            Self::Names(slots) => vec![slots.iter().map(|slot| &slot.candidate).collect()],
            Self::Negate(inner) => inner.needed_for_a_value(),
            Self::Arithmetic(_, left, right) => {
                [left.needed_for_a_value(), right.needed_for_a_value()].concat()
            }
            _ => Vec::new(),
        }
    }

    /// Gives every column its place in a row.
    pub(super) fn number_columns(&mut self, columns: &mut Vec<Column>) {
        match self {
            Self::Constant(_) => {}
            Self::Names(slots) => slots.iter_mut().for_each(|slot| slot.number(columns)),
            Self::Respelled(others) => {
                let slots = others.slots_mut().into_iter();
                slots.for_each(|slot| slot.number(columns));
            }
            Self::Not(inner)
            | Self::Negate(inner)
            | Self::Exists(inner)
            | Self::Regex(_, inner) => {
                inner.number_columns(columns);
            }
            Self::Arithmetic(_, left, right) | Self::Compare(_, left, right) => {
                left.number_columns(columns);
                right.number_columns(columns);
            }
            Self::Logic(_, terms) => terms
                .iter_mut()
                .for_each(|term| term.number_columns(columns)),
        }
    }

    pub(super) fn is_true(&self, values: &[Value<'_>]) -> bool {
        self.is_bool(true, values)
    }

    /// Whether a condition is this, or an attribute says it: an array if one of its elements does.
    fn is_bool(&self, wanted: bool, values: &[Value<'_>]) -> bool {
        values_match(self.value(values), CompareOp::Equal, Value::Bool(wanted))
    }

    pub(super) fn value<'a>(&'a self, values: &[Value<'a>]) -> Value<'a> {
        match self {
            Self::Constant(constant) => constant.as_ref().map_or(Value::Nil, Operand::as_value),
            Self::Names(_) => self.read(values).value,
            // False for what is no boolean: `!` of it is no match.
            Self::Not(inner) => Value::Bool(inner.is_bool(false, values)),
            Self::Negate(inner) => negate(inner.value(values)),
            Self::Exists(inner) => Value::Bool(!inner.value(values).is_nil()),
            Self::Arithmetic(op, left, right) => {
                arithmetic(*op, left.value(values), right.value(values))
            }
            Self::Compare(op, left, right) => Value::Bool(compare(*op, left, right, values)),
            Self::Regex(predicate, inner) => {
                Value::Bool(regex_matches(predicate, inner.read(values)))
            }
            Self::Respelled(others) => Value::Bool(others.is_true(values)),
            Self::Logic(LogicOp::And, terms) => {
                Value::Bool(terms.iter().all(|term| term.is_true(values)))
            }
            Self::Logic(LogicOp::Or, terms) => {
                Value::Bool(terms.iter().any(|term| term.is_true(values)))
            }
        }
    }

    /// The value by its new name, owned.
    pub(super) fn scalar(&self, values: &[Value<'_>]) -> Option<Scalar> {
        let read = self.read(values);
        let items = renamed_items(read.value, read.names);
        Scalar::of(renamed(read.value, read.names, items.as_deref(), false))
    }

    /// The value, and the map of its names where it is an attribute that has one.
    fn read<'a>(&'a self, values: &[Value<'a>]) -> Read<'a> {
        let Self::Names(slots) = self else {
            return Read {
                value: self.value(values),
                names: None,
            };
        };
        slots
            .iter()
            .map(|slot| Read {
                value: slot.value(values),
                names: slot.candidate.values,
            })
            .find(|read| !read.value.is_nil())
            .unwrap_or(Read {
                value: Value::Nil,
                names: None,
            })
    }

    /// Whether the term is a trace id, which is compared without its leading zeros.
    fn is_trace_id(&self) -> bool {
        let Self::Names(slots) = self else {
            return false;
        };
        slots.iter().any(|slot| {
            matches!(
                slot.candidate.column,
                Column::Intrinsic(Intrinsic::TraceId | Intrinsic::LinkTraceId)
            )
        })
    }
}

/// What stands on one side of a comparison. An attribute is read by its own names; a constant by
/// those of what it is compared with.
fn compare(op: CompareOp, left: &Term, right: &Term, values: &[Value<'_>]) -> bool {
    let (a, b) = (left.read(values), right.read(values));
    if a.value.is_nil() || b.value.is_nil() {
        return false;
    }
    let names_of = |term: &Term, own: &Read<'_>, other: &Read<'_>| match term {
        Term::Constant(_) => other.names,
        _ => own.names,
    };
    let (a_names, b_names) = (names_of(left, &a, &b), names_of(right, &b, &a));
    let (a_items, b_items) = (
        renamed_items(a.value, a_names),
        renamed_items(b.value, b_names),
    );
    let trims = left.is_trace_id() || right.is_trace_id();
    let a = renamed(a.value, a_names, a_items.as_deref(), trims);
    let b = renamed(b.value, b_names, b_items.as_deref(), trims);
    values_match(a, op, b)
}

/// The elements of an array by their new names, where that changes anything.
fn renamed_items(
    value: Value<'_>,
    names: Option<&'static ValueMap>,
) -> Option<Vec<AttributeValue>> {
    match (value, names) {
        (Value::Array(items), Some(map)) => Some(map.apply_to_all(items)),
        _ => None,
    }
}

fn renamed<'a>(
    value: Value<'a>,
    names: Option<&'static ValueMap>,
    items: Option<&'a [AttributeValue]>,
    trims: bool,
) -> Value<'a> {
    match (value, items) {
        (_, Some(items)) => Value::Array(items),
        (Value::String(text), _) => {
            let text = names.map_or(text, |map| map.apply(text));
            Value::String(if trims {
                text.trim_start_matches('0')
            } else {
                text
            })
        }
        (value, _) => value,
    }
}

/// A value that was renamed matches by any of its names.
fn regex_matches(predicate: &Predicate, read: Read<'_>) -> bool {
    let Some(map) = read.names else {
        return !read.value.is_nil() && predicate.matches(read.value);
    };
    let negated = matches!(predicate, Predicate::Regex { negated: true, .. });
    let by_names = |text: &str| {
        let names = map.synonyms(text);
        let mut names = names.iter().map(|name| Value::String(name));
        if negated {
            names.all(|name| predicate.matches(name))
        } else {
            names.any(|name| predicate.matches(name))
        }
    };
    let item =
        |item: &AttributeValue| matches!(item, AttributeValue::String(text) if by_names(text));
    match read.value {
        Value::String(text) => by_names(text),
        Value::Array(items) if negated => !items.is_empty() && items.iter().all(item),
        Value::Array(items) => items.iter().any(item),
        _ => false,
    }
}

fn place(columns: &mut Vec<Column>, column: &Column) -> usize {
    let known = columns.iter().position(|other| other == column);
    known.unwrap_or_else(|| {
        columns.push(column.clone());
        columns.len() - 1
    })
}

pub(crate) fn arithmetic(op: ArithmeticOp, left: Value<'_>, right: Value<'_>) -> Value<'static> {
    if let (Value::Int(a), Value::Int(b)) = (left, right) {
        return whole(op, a, b).map_or(Value::Nil, Value::Int);
    }
    let (Some(a), Some(b)) = (number(left), number(right)) else {
        return Value::Nil;
    };
    Value::Float(match op {
        ArithmeticOp::Add => a + b,
        ArithmeticOp::Subtract => a - b,
        ArithmeticOp::Multiply => a * b,
        ArithmeticOp::Divide => a / b,
        ArithmeticOp::Modulo => a % b,
        ArithmeticOp::Power => a.powf(b),
    })
}

pub(crate) fn negate(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Int(value) => Value::Int(value.wrapping_neg()),
        Value::Duration(value) => Value::Duration(value.wrapping_neg()),
        Value::Float(value) => Value::Float(-value),
        _ => Value::Nil,
    }
}

fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) | Value::Duration(value) => Some(value as f64),
        Value::Float(value) => Some(value),
        _ => None,
    }
}

fn whole(op: ArithmeticOp, a: i64, b: i64) -> Option<i64> {
    match op {
        ArithmeticOp::Add => Some(a.wrapping_add(b)),
        ArithmeticOp::Subtract => Some(a.wrapping_sub(b)),
        ArithmeticOp::Multiply => Some(a.wrapping_mul(b)),
        ArithmeticOp::Divide => (b != 0).then(|| a.wrapping_div(b)),
        ArithmeticOp::Modulo => (b != 0).then(|| a.wrapping_rem(b)),
        ArithmeticOp::Power => {
            let exact = u32::try_from(b).ok().and_then(|b| a.checked_pow(b));
            // The cast saturates: too large becomes the largest, a fraction becomes zero.
            Some(exact.unwrap_or_else(|| (a as f64).powf(b as f64) as i64))
        }
    }
}

/// A scalar value as a constant.
pub(super) fn operand_of(value: Value<'_>) -> Option<Operand> {
    Some(match value {
        Value::String(text) => Operand::String(Arc::from(text)),
        Value::Int(value) => Operand::Int(value),
        Value::Float(value) => Operand::Float(value),
        Value::Bool(value) => Operand::Bool(value),
        Value::Duration(value) => Operand::Duration(value),
        Value::Status(code) => Operand::Status(code),
        Value::Kind(code) => Operand::Kind(code),
        Value::Nil | Value::Array(_) | Value::Opaque => return None,
    })
}
