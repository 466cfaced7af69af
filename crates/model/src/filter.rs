//! What one pair of TraceQL braces became: a boolean tree over leaf predicates, evaluated per span.
//!
//! The planner has resolved everything before: aliases, unscoped names, constant folding, and the
//! binding of event and link conditions. A source evaluates it over columns in any order it likes;
//! the result per span is defined by the tree alone.

use std::sync::Arc;

use crate::column::Column;
use crate::predicate::{ArrayKind, Predicate};
use crate::value::Value;

/// A boolean tree. A span for which it is true has its bit set.
#[derive(Debug, Clone)]
pub enum Filter {
    Constant(bool),
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Leaf(Leaf),
    Compute(Compute),
    /// True if for one event (or link) of the span the inner tree is true; on a span without any,
    /// the inner tree is evaluated once with every column of that level absent. The inner tree may
    /// also name columns of the span and what is above it, the same for all its events.
    Each {
        level: Level,
        filter: Box<Filter>,
    },
}

/// The two lists that a span carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    Event,
    Link,
}

/// One column and what its value must satisfy.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub column: Column,
    pub predicate: Predicate,
    /// The result where the column has no value in a row: true for `x = nil`, else false.
    pub when_absent: bool,
}

/// An expression over several columns, such as `span.a + span.b > 10`: evaluated row by row.
#[derive(Debug, Clone)]
pub struct Compute {
    pub columns: Arc<[Column]>,
    pub test: Arc<dyn RowTest>,
}

/// The test of a [`Compute`]; gets one value per column, in order.
pub trait RowTest: Send + Sync + std::fmt::Debug {
    fn test(&self, values: &[Value<'_>]) -> bool;
}

// === impl Filter ===

impl Filter {
    /// Calls `visit` for every column of the tree, repeats included.
    pub fn for_each_column(&self, visit: &mut dyn FnMut(&Column)) {
        match self {
            Self::Constant(_) => {}
            Self::And(inner) | Self::Or(inner) => {
                inner
                    .iter()
                    .for_each(|filter| filter.for_each_column(visit));
            }
            Self::Not(inner) | Self::Each { filter: inner, .. } => inner.for_each_column(visit),
            Self::Leaf(leaf) => visit(&leaf.column),
            Self::Compute(compute) => compute.columns.iter().for_each(visit),
        }
    }
}

// === impl Leaf ===

impl Leaf {
    /// The leaf for one value, `Nil` included.
    pub fn matches(&self, value: Value<'_>) -> bool {
        if value.is_nil() {
            self.when_absent
        } else {
            self.predicate.matches(value)
        }
    }

    /// What the numbers or bytes of this leaf's column mean.
    pub fn array_kind(&self) -> ArrayKind {
        ArrayKind::of(&self.column)
    }
}
