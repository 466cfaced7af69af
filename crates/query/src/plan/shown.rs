//! What an answer shows of matching spans: the values that the conditions name.

use tracewell_model::{AttributeScope, Intrinsic};

use super::Context;
use super::name::{Candidate, candidates_of};
use crate::syntax::ast::{Expr, ExprKind, IntrinsicField};

/// A value to show, and what it is called: a bare key, or the name of an intrinsic.
#[derive(Debug, Clone)]
pub struct Shown {
    pub label: String,
    pub field: ShownField,
    pub(crate) candidates: Vec<Candidate>,
}

/// What tells one shown value from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShownField {
    Attribute(Option<AttributeScope>),
    OfParent(Option<AttributeScope>),
    Intrinsic(Intrinsic),
}

impl Context<'_> {
    /// Adds every name of an expression that an answer shows: not names, durations and ids, which
    /// stand in every answer, nor what belongs to the trace.
    pub(super) fn collect_shown(&self, expr: &Expr, shown: &mut Vec<Shown>) {
        match &expr.kind {
            ExprKind::Literal(_) => {}
            ExprKind::Attribute(name) if name.of_parent => {
                let field = ShownField::OfParent(name.scope);
                self.show(expr, field, format!("parent.{}", name.key), shown);
            }
            ExprKind::Attribute(name) => {
                let field = ShownField::Attribute(name.scope);
                self.show(expr, field, name.key.to_string(), shown);
            }
            ExprKind::Intrinsic(name) => {
                let IntrinsicField::Column(column) = name.field else {
                    return;
                };
                if let Some(label) = label(column) {
                    self.show(expr, ShownField::Intrinsic(column), label.to_owned(), shown);
                }
            }
            ExprKind::Not(inner)
            | ExprKind::Negate(inner)
            | ExprKind::Regex { left: inner, .. } => self.collect_shown(inner, shown),
            ExprKind::Arithmetic(_, left, right) | ExprKind::Compare(_, left, right) => {
                self.collect_shown(left, shown);
                self.collect_shown(right, shown);
            }
            ExprKind::Logic(_, terms) => {
                terms
                    .iter()
                    .for_each(|term| self.collect_shown(term, shown));
            }
        }
    }

    fn show(&self, expr: &Expr, field: ShownField, label: String, shown: &mut Vec<Shown>) {
        let is_known = shown
            .iter()
            .any(|known| known.field == field && known.label == label);
        if is_known {
            return;
        }
        if let Some(candidates) = candidates_of(expr, self.aliases) {
            shown.push(Shown {
                label,
                field,
                candidates,
            });
        }
    }
}

fn label(intrinsic: Intrinsic) -> Option<&'static str> {
    Some(match intrinsic {
        Intrinsic::Status => "status",
        Intrinsic::StatusMessage => "statusMessage",
        Intrinsic::Kind => "kind",
        Intrinsic::EventName => "event:name",
        Intrinsic::EventTimeSinceStart => "event:timeSinceStart",
        Intrinsic::InstrumentationName => "instrumentation:name",
        Intrinsic::InstrumentationVersion => "instrumentation:version",
        Intrinsic::ChildCount => "childCount",
        Intrinsic::NestedSetLeft => "nestedSetLeft",
        Intrinsic::NestedSetRight => "nestedSetRight",
        Intrinsic::NestedSetParent => "nestedSetParent",
        Intrinsic::Name
        | Intrinsic::Duration
        | Intrinsic::Start
        | Intrinsic::SpanId
        | Intrinsic::ParentId
        | Intrinsic::TraceId
        | Intrinsic::TraceDuration
        | Intrinsic::RootName
        | Intrinsic::RootService
        | Intrinsic::LinkTraceId
        | Intrinsic::LinkSpanId => return None,
    })
}
