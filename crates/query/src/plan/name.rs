//! From a name to the columns under which its value may lie.

use std::sync::Arc;

use tracewell_model::alias::{self, Derived, KindRule, ValueMap};
use tracewell_model::{AttributeScope, Column, Intrinsic, Leaf, Predicate};
use tracewell_model::{CompareOp, Filter, predicate::Operand};

use crate::request::Aliases;
use crate::syntax::ast::{AttributeName, Expr, ExprKind, IntrinsicField};

/// One column that may hold the value of a name. Of several, the first that has a value counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) column: Column,
    /// On spans of which kind the column has this meaning.
    pub(crate) kinds: KindRule,
    /// Old values and their new names; both are read as the new one.
    pub(crate) values: Option<&'static ValueMap>,
    /// How the value is made of what the column holds.
    pub(crate) derived: Option<Derived>,
}

/// Where an unscoped attribute is looked for, in this order.
const SCOPES: [AttributeScope; 5] = [
    AttributeScope::Span,
    AttributeScope::Resource,
    AttributeScope::Event,
    AttributeScope::Link,
    AttributeScope::Instrumentation,
];

impl Candidate {
    pub(crate) fn of_intrinsic(intrinsic: Intrinsic) -> Self {
        Self::of_column(Column::Intrinsic(intrinsic))
    }

    /// What the column holds, on spans of every kind.
    pub(crate) fn of_column(column: Column) -> Self {
        Self {
            column,
            kinds: KindRule::Any,
            values: None,
            derived: None,
        }
    }

    /// A leaf that is false where there is no value.
    pub(crate) fn leaf(&self, predicate: Predicate) -> Filter {
        let predicate = match self.derived {
            None => predicate,
            Some(derived) => Predicate::Derived {
                derived,
                inner: Box::new(predicate),
            },
        };
        leaf(self.column.clone(), predicate)
    }

    /// Where the kind of the span lies that the value is of.
    pub(crate) fn kind_column(&self) -> Column {
        let kind = Column::Intrinsic(Intrinsic::Kind);
        match self.column {
            Column::OfParent(_) => Column::OfParent(Box::new(kind)),
            _ => kind,
        }
    }

    pub(crate) fn of_parent(self) -> Self {
        Self {
            column: Column::OfParent(Box::new(self.column)),
            ..self
        }
    }

    /// The condition on the kind of the span, where there is one.
    pub(crate) fn kind_filter(&self) -> Option<Filter> {
        let op = match self.kinds {
            KindRule::Any => return None,
            KindRule::Server => CompareOp::Equal,
            KindRule::NotServer => CompareOp::NotEqual,
        };
        Some(leaf(
            self.kind_column(),
            Predicate::Compare {
                op,
                operand: Operand::Kind(alias::KIND_SERVER),
            },
        ))
    }
}

/// Every column of an attribute, best first.
pub(crate) fn candidates(name: &AttributeName, aliases: Aliases) -> Vec<Candidate> {
    let scopes = match &name.scope {
        Some(scope) => std::slice::from_ref(scope),
        None => &SCOPES,
    };
    let mut all = Vec::new();
    for scope in scopes {
        match aliases {
            Aliases::Off => all.push(Candidate::of_column(Column::Attribute {
                scope: *scope,
                key: Arc::clone(&name.key),
            })),
            Aliases::Resolve => {
                all.extend(
                    alias::names(*scope, &name.key)
                        .into_iter()
                        .map(|name| Candidate {
                            column: Column::attribute(*scope, name.key),
                            kinds: name.kinds,
                            values: name.values,
                            derived: name.derived,
                        }),
                );
            }
        }
    }
    all
}

/// The columns of an expression that is nothing but a name.
pub(crate) fn candidates_of(expr: &Expr, aliases: Aliases) -> Option<Vec<Candidate>> {
    match &expr.kind {
        ExprKind::Attribute(name) if name.of_parent => {
            let all = candidates(name, aliases).into_iter();
            Some(all.map(Candidate::of_parent).collect())
        }
        ExprKind::Attribute(name) => Some(candidates(name, aliases)),
        ExprKind::Intrinsic(name) => match name.field {
            IntrinsicField::Column(column) => Some(vec![Candidate::of_intrinsic(column)]),
            IntrinsicField::Parent => None,
        },
        _ => None,
    }
}

/// A leaf that is false where there is no value.
pub(crate) fn leaf(column: Column, predicate: Predicate) -> Filter {
    Filter::Leaf(Leaf {
        column,
        predicate,
        when_absent: false,
    })
}
