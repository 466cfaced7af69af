//! The syntax tree of TraceQL, the whole language.
//!
//! Parentheses are not kept: the printer puts them where precedence needs them. Spans of text are
//! kept for messages and do not count when trees are compared.

use std::fmt;
use std::sync::Arc;

use tracewell_model::{AttributeScope, CompareOp};

/// A range of bytes of the query text. All spans are equal, so that trees compare by meaning.
#[derive(Debug, Clone, Copy, Default, Eq)]
pub struct TextSpan {
    pub from: usize,
    pub to: usize,
}

impl PartialEq for TextSpan {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl TextSpan {
    pub(crate) fn new(from: usize, to: usize) -> Self {
        Self { from, to }
    }
}

/// A whole query.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub root: Root,
    pub hints: Vec<Hint>,
}

impl Query {
    /// True for a metrics query: it yields series, and no traces.
    pub fn is_series(&self) -> bool {
        matches!(self.root, Root::Metrics(_))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Root {
    Pipeline(Pipeline),
    Metrics(MetricsExpr),
}

/// `with(name=value)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Hint {
    pub name: String,
    pub value: Literal,
}

/// Stages between `|`; at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    pub stages: Vec<Stage>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    Spanset(SpansetExpr),
    /// `count() > 2`; at least one side holds an aggregate.
    ScalarFilter {
        left: ScalarExpr,
        op: CompareOp,
        right: ScalarExpr,
        span: TextSpan,
    },
    By(Expr, TextSpan),
    Coalesce(TextSpan),
    Select(Vec<Expr>, TextSpan),
}

/// Something that yields spansets.
#[derive(Debug, Clone, PartialEq)]
pub struct SpansetExpr {
    pub kind: SpansetKind,
    pub span: TextSpan,
    pub(super) height: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SpansetKind {
    /// `{ ... }`; `None` for the empty braces.
    Filter(Option<Expr>),
    Logic(LogicOp, Vec<SpansetExpr>),
    Relation(Relation, Box<SpansetExpr>, Box<SpansetExpr>),
    /// A pipeline in parentheses.
    Pipeline(Box<Pipeline>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogicOp {
    And,
    Or,
}

/// A structural operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Relation {
    pub kin: Kin,
    pub mode: RelationMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kin {
    Child,
    Descendant,
    Parent,
    Ancestor,
    Sibling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelationMode {
    Plain,
    Negated,
    Union,
}

/// An expression over the fields of a span, inside braces.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: TextSpan,
    pub(super) height: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    Literal(Literal),
    Attribute(AttributeName),
    Intrinsic(IntrinsicName),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Arithmetic(ArithmeticOp, Box<Expr>, Box<Expr>),
    Compare(CompareOp, Box<Expr>, Box<Expr>),
    /// `=~` and, negated, `!~`.
    Regex {
        negated: bool,
        left: Box<Expr>,
        pattern: Arc<str>,
        pattern_span: TextSpan,
    },
    /// Two or more terms; `a && b && c` is one node.
    Logic(LogicOp, Vec<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArithmeticOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Nil,
    String(Arc<str>),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// Nanoseconds.
    Duration(i64),
    /// OTLP code.
    Status(i32),
    /// OTLP code.
    Kind(i32),
}

/// `span.x`, `.x` and so on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AttributeName {
    /// `None`: every scope in turn.
    pub scope: Option<AttributeScope>,
    /// `parent.x`: of the parent span.
    pub of_parent: bool,
    pub key: Arc<str>,
}

/// An intrinsic and how it was written.
#[derive(Debug, Clone, Copy)]
pub struct IntrinsicName {
    pub field: IntrinsicField,
    pub written: &'static str,
}

impl PartialEq for IntrinsicName {
    fn eq(&self, other: &Self) -> bool {
        self.field == other.field
    }
}

/// Every intrinsic of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntrinsicField {
    Column(tracewell_model::Intrinsic),
    /// A span, which is no value.
    Parent,
}

/// Arithmetic over aggregates.
#[derive(Debug, Clone, PartialEq)]
pub struct ScalarExpr {
    pub kind: ScalarKind,
    pub span: TextSpan,
    pub(super) height: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ScalarKind {
    Literal(Literal),
    Aggregate(Aggregate, Option<Box<Expr>>),
    Arithmetic(ArithmeticOp, Box<ScalarExpr>, Box<ScalarExpr>),
    Negate(Box<ScalarExpr>),
    /// A pipeline in parentheses that ends in an aggregate.
    Pipeline(Box<Pipeline>, Box<ScalarExpr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    Count,
    Min,
    Max,
    Avg,
    Sum,
}

/// Something that yields time series.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsExpr {
    pub kind: MetricsKind,
    pub span: TextSpan,
    /// Of the function or the stage alone, without what it is of.
    pub place: TextSpan,
    pub(super) height: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MetricsKind {
    Pipeline {
        pipeline: Pipeline,
        function: MetricsFunction,
        by: Vec<Expr>,
    },
    /// A second stage over an expression: `| topk(3)`, `> 5`.
    Stage(Box<MetricsExpr>, MetricsStage),
    Arithmetic(ArithmeticOp, Box<MetricsExpr>, Box<MetricsExpr>),
    Scalar(ScalarExpr),
}

#[derive(Debug, Clone, PartialEq)]
pub enum MetricsFunction {
    Rate,
    CountOverTime,
    OverTime(OverTime, Box<Expr>),
    QuantileOverTime(Box<Expr>, Vec<f64>),
    Compare {
        selection: Option<Box<Expr>>,
        top: Option<i64>,
        window: Option<(i64, i64)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OverTime {
    Min,
    Max,
    Sum,
    Avg,
    Histogram,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MetricsStage {
    Top(i64),
    Bottom(i64),
    Compare(CompareOp, ScalarExpr),
}

// === tables of names ===

use IntrinsicField as Field;
use tracewell_model::Intrinsic as Column;

/// Every intrinsic as it can be written.
pub const INTRINSICS: &[IntrinsicName] = &[
    named("duration", Field::Column(Column::Duration)),
    named("name", Field::Column(Column::Name)),
    named("status", Field::Column(Column::Status)),
    named("statusMessage", Field::Column(Column::StatusMessage)),
    named("kind", Field::Column(Column::Kind)),
    named("traceDuration", Field::Column(Column::TraceDuration)),
    named("rootName", Field::Column(Column::RootName)),
    named("rootServiceName", Field::Column(Column::RootService)),
    named("nestedSetLeft", Field::Column(Column::NestedSetLeft)),
    named("nestedSetRight", Field::Column(Column::NestedSetRight)),
    named("nestedSetParent", Field::Column(Column::NestedSetParent)),
    named("parent", Field::Parent),
    named("span:duration", Field::Column(Column::Duration)),
    named("span:name", Field::Column(Column::Name)),
    named("span:status", Field::Column(Column::Status)),
    named("span:statusMessage", Field::Column(Column::StatusMessage)),
    named("span:kind", Field::Column(Column::Kind)),
    named("span:id", Field::Column(Column::SpanId)),
    named("span:parentID", Field::Column(Column::ParentId)),
    named("span:childCount", Field::Column(Column::ChildCount)),
    named("trace:duration", Field::Column(Column::TraceDuration)),
    named("trace:rootName", Field::Column(Column::RootName)),
    named("trace:rootService", Field::Column(Column::RootService)),
    named("trace:id", Field::Column(Column::TraceId)),
    named("event:name", Field::Column(Column::EventName)),
    named(
        "event:timeSinceStart",
        Field::Column(Column::EventTimeSinceStart),
    ),
    named("link:traceID", Field::Column(Column::LinkTraceId)),
    named("link:spanID", Field::Column(Column::LinkSpanId)),
    named(
        "instrumentation:name",
        Field::Column(Column::InstrumentationName),
    ),
    named(
        "instrumentation:version",
        Field::Column(Column::InstrumentationVersion),
    ),
];

const fn named(written: &'static str, field: IntrinsicField) -> IntrinsicName {
    IntrinsicName { field, written }
}

impl IntrinsicName {
    /// Finds an intrinsic by its text, scope included.
    pub fn find(text: &str) -> Option<Self> {
        INTRINSICS.iter().find(|name| name.written == text).copied()
    }
}

/// Status names and their OTLP codes.
pub const STATUSES: &[(&str, i32)] = &[("unset", 0), ("ok", 1), ("error", 2)];
/// Kind names and their OTLP codes.
pub const KINDS: &[(&str, i32)] = &[
    ("unspecified", 0),
    ("internal", 1),
    ("server", 2),
    ("client", 3),
    ("producer", 4),
    ("consumer", 5),
];

/// The name of a code, or its number where no name is known.
pub fn code_name(table: &[(&'static str, i32)], code: i32) -> std::borrow::Cow<'static, str> {
    table
        .iter()
        .find(|(_, known)| *known == code)
        .map_or_else(|| code.to_string().into(), |(name, _)| (*name).into())
}

/// The prefix of an attribute of a scope, without its dot.
pub fn scope_name(scope: AttributeScope) -> &'static str {
    match scope {
        AttributeScope::Span => "span",
        AttributeScope::Resource => "resource",
        AttributeScope::Event => "event",
        AttributeScope::Link => "link",
        AttributeScope::Instrumentation => "instrumentation",
    }
}

// === heights ===

/// Anything whose tree has a height, for the limit on depth.
pub(super) fn above(children: impl IntoIterator<Item = usize>) -> usize {
    1 + children.into_iter().max().unwrap_or(0)
}

impl Expr {
    /// A node over its children.
    pub fn new(kind: ExprKind, span: TextSpan) -> Self {
        let height = match &kind {
            ExprKind::Literal(_) | ExprKind::Attribute(_) | ExprKind::Intrinsic(_) => 1,
            ExprKind::Not(inner)
            | ExprKind::Negate(inner)
            | ExprKind::Regex { left: inner, .. } => above([inner.height]),
            ExprKind::Arithmetic(_, left, right) | ExprKind::Compare(_, left, right) => {
                above([left.height, right.height])
            }
            ExprKind::Logic(_, terms) => above(terms.iter().map(|term| term.height)),
        };
        Self { kind, span, height }
    }
}

impl SpansetExpr {
    /// A node over its children.
    pub fn new(kind: SpansetKind, span: TextSpan) -> Self {
        let height = match &kind {
            SpansetKind::Filter(_) => 1,
            SpansetKind::Logic(_, terms) => above(terms.iter().map(|term| term.height)),
            SpansetKind::Relation(_, left, right) => above([left.height, right.height]),
            SpansetKind::Pipeline(pipeline) => above([pipeline.height()]),
        };
        Self { kind, span, height }
    }
}

impl ScalarExpr {
    /// A node over its children.
    pub fn new(kind: ScalarKind, span: TextSpan) -> Self {
        let height = match &kind {
            ScalarKind::Literal(_) | ScalarKind::Aggregate(..) => 1,
            ScalarKind::Arithmetic(_, left, right) => above([left.height, right.height]),
            ScalarKind::Negate(inner) => above([inner.height]),
            ScalarKind::Pipeline(pipeline, end) => above([pipeline.height(), end.height]),
        };
        Self { kind, span, height }
    }
}

impl MetricsExpr {
    /// A node over its children.
    pub fn new(kind: MetricsKind, span: TextSpan) -> Self {
        let height = match &kind {
            MetricsKind::Pipeline { pipeline, .. } => above([pipeline.height()]),
            MetricsKind::Stage(inner, _) => above([inner.height]),
            MetricsKind::Arithmetic(_, left, right) => above([left.height, right.height]),
            MetricsKind::Scalar(scalar) => scalar.height,
        };
        Self {
            kind,
            span,
            place: span,
            height,
        }
    }

    /// The same, and where its own words stand.
    pub(super) fn at(self, place: TextSpan) -> Self {
        Self { place, ..self }
    }
}

impl Pipeline {
    pub(super) fn height(&self) -> usize {
        above(self.stages.iter().map(|stage| match stage {
            Stage::Spanset(expr) => expr.height,
            Stage::ScalarFilter { left, right, .. } => above([left.height, right.height]),
            Stage::By(..) | Stage::Coalesce(_) | Stage::Select(..) => 1,
        }))
    }
}

impl fmt::Display for Kin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Child => ">",
            Self::Descendant => ">>",
            Self::Parent => "<",
            Self::Ancestor => "<<",
            Self::Sibling => "~",
        })
    }
}
