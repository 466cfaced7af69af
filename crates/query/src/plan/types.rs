//! Which expressions mean something: the static types of TraceQL.
//!
//! Attributes can hold anything, so only what is wrong for every value is refused here. What does
//! not go together at run time does not match, and is no error.

use tracewell_model::column::ColumnLevel;
use tracewell_model::{AttributeScope, CompareOp};

use super::{Context, PlanLimits};
use crate::error::{Error, Result};
use crate::request::Aliases;
use crate::syntax::ast::{Expr, ExprKind, IntrinsicField, Literal};

use tracewell_model::Intrinsic;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// An attribute: known at run time.
    Any,
    Nil,
    String,
    /// Ints, floats and durations mix.
    Number,
    Bool,
    Status,
    Kind,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Self::Any => "an attribute",
            Self::Nil => "nil",
            Self::String => "a string",
            Self::Number => "a number or duration",
            Self::Bool => "a boolean",
            Self::Status => "a status",
            Self::Kind => "a kind",
        }
    }

    /// In a word, for a tree that is shown.
    fn word(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Nil => "nil",
            Self::String => "string",
            Self::Number => "number",
            Self::Bool => "boolean",
            Self::Status => "status",
            Self::Kind => "kind",
        }
    }

    fn may_be(self, other: Self) -> bool {
        self == other || self == Self::Any
    }
}

impl Context<'_> {
    /// A filter must be boolean.
    pub(super) fn check_filter(&self, expr: &Expr) -> Result<()> {
        let found = self.type_of(expr)?;
        if found.may_be(Type::Bool) {
            return Ok(());
        }
        Err(self.type_error(
            expr.span,
            format!("a filter must be a condition, this is {}", found.name()),
        ))
    }

    pub(super) fn type_of(&self, expr: &Expr) -> Result<Type> {
        match &expr.kind {
            ExprKind::Literal(literal) => Ok(literal_type(literal)),
            ExprKind::Attribute(_) => Ok(Type::Any),
            ExprKind::Intrinsic(name) => match name.field {
                IntrinsicField::Column(column) => Ok(intrinsic_type(column)),
                IntrinsicField::Parent => Err(self.type_error(
                    expr.span,
                    "`parent` is a span and no value; `parent.x` is an attribute of it",
                )),
            },
            ExprKind::Not(inner) => {
                self.expect(inner, Type::Bool, "`!` takes a condition")?;
                Ok(Type::Bool)
            }
            ExprKind::Negate(inner) => {
                self.expect(inner, Type::Number, "`-` takes a number")?;
                Ok(Type::Number)
            }
            ExprKind::Arithmetic(_, left, right) => {
                for side in [left, right] {
                    self.expect(side, Type::Number, "arithmetic takes numbers")?;
                }
                Ok(Type::Number)
            }
            ExprKind::Regex { left, .. } => {
                self.expect(left, Type::String, "a regular expression takes a string")?;
                Ok(Type::Bool)
            }
            ExprKind::Logic(_, terms) => {
                for term in terms {
                    self.expect(term, Type::Bool, "`&&` and `||` take conditions")?;
                }
                Ok(Type::Bool)
            }
            ExprKind::Compare(op, left, right) => self.comparison(expr, *op, left, right),
        }
    }

    pub(super) fn expect(&self, expr: &Expr, wanted: Type, rule: &str) -> Result<()> {
        let found = self.type_of(expr)?;
        if found.may_be(wanted) {
            return Ok(());
        }
        Err(self.type_error(expr.span, format!("{rule}, this is {}", found.name())))
    }

    fn comparison(&self, expr: &Expr, op: CompareOp, left: &Expr, right: &Expr) -> Result<Type> {
        let (a, b) = (self.type_of(left)?, self.type_of(right)?);
        let is_equality = matches!(op, CompareOp::Equal | CompareOp::NotEqual);
        if a == Type::Nil || b == Type::Nil {
            if !is_equality {
                return Err(self.type_error(expr.span, "nil takes only `=` and `!=`"));
            }
            if op == CompareOp::Equal {
                self.check_can_be_nil(if a == Type::Nil { right } else { left })?;
            }
            return Ok(Type::Bool);
        }
        let ordered_by_nothing =
            |side: Type| matches!(side, Type::Bool | Type::Status | Type::Kind);
        if !is_equality
            && let Some(side) = [a, b].into_iter().find(|side| ordered_by_nothing(*side))
        {
            return Err(self.type_error(
                expr.span,
                format!("{} takes only `=` and `!=`", side.name()),
            ));
        }
        if a.may_be(b) || b.may_be(a) {
            return Ok(Type::Bool);
        }
        Err(self.type_error(expr.span, format!("{} never equals {}", a.name(), b.name())))
    }

    /// Intrinsics are not asked for; most of them every span has.
    fn check_can_be_nil(&self, expr: &Expr) -> Result<()> {
        let never: Option<Error> = match &expr.kind {
            ExprKind::Intrinsic(name) => {
                let may_be_missing = "`= nil` cannot be asked of an intrinsic";
                let message = match name.field {
                    IntrinsicField::Column(Intrinsic::ParentId) => {
                        format!("{may_be_missing}: `nestedSetParent < 0` finds roots")
                    }
                    IntrinsicField::Column(column) if !is_of_every_span(column) => {
                        may_be_missing.to_owned()
                    }
                    _ => format!("`{}` is never nil", name.written),
                };
                Some(self.type_error(expr.span, message))
            }
            ExprKind::Attribute(name)
                if name.scope == Some(AttributeScope::Resource)
                    && &*name.key == "service.name"
                    && !name.of_parent =>
            {
                Some(self.type_error(
                    expr.span,
                    "`= nil` cannot be asked of `resource.service.name`",
                ))
            }
            _ => None,
        };
        never.map_or(Ok(()), Err)
    }
}

/// What is known of the value of an expression before any span is; `None` where its types do not go together.
pub(crate) fn static_type(expr: &Expr) -> Option<&'static str> {
    let limits = PlanLimits::from(&tracewell_model::Limits::default());
    let ctx = Context::new("", Aliases::Resolve, limits);
    ctx.type_of(expr).ok().map(Type::word)
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Nil => Type::Nil,
        Literal::String(_) => Type::String,
        Literal::Int(_) | Literal::Float(_) | Literal::Duration(_) => Type::Number,
        Literal::Bool(_) => Type::Bool,
        Literal::Status(_) => Type::Status,
        Literal::Kind(_) => Type::Kind,
    }
}

fn intrinsic_type(intrinsic: Intrinsic) -> Type {
    match intrinsic {
        Intrinsic::Duration
        | Intrinsic::TraceDuration
        | Intrinsic::EventTimeSinceStart
        | Intrinsic::Start
        | Intrinsic::ChildCount
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::NestedSetParent => Type::Number,
        Intrinsic::Status => Type::Status,
        Intrinsic::Kind => Type::Kind,
        Intrinsic::Name
        | Intrinsic::StatusMessage
        | Intrinsic::SpanId
        | Intrinsic::ParentId
        | Intrinsic::TraceId
        | Intrinsic::RootName
        | Intrinsic::RootService
        | Intrinsic::EventName
        | Intrinsic::LinkTraceId
        | Intrinsic::LinkSpanId
        | Intrinsic::InstrumentationName
        | Intrinsic::InstrumentationVersion => Type::String,
    }
}

fn is_of_every_span(intrinsic: Intrinsic) -> bool {
    let is_of_root = matches!(intrinsic, Intrinsic::RootName | Intrinsic::RootService);
    !is_of_root && !matches!(intrinsic.level(), ColumnLevel::Event | ColumnLevel::Link)
}
