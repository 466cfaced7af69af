//! What a predicate or a projection can name: intrinsics and attributes, each at one level.

use std::sync::Arc;

/// Where an attribute lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttributeScope {
    Span,
    Resource,
    Event,
    Link,
    Instrumentation,
}

/// A fact every span, event, link or trace has without an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intrinsic {
    Name,
    /// Nanoseconds, never negative.
    Duration,
    Start,
    Status,
    StatusMessage,
    Kind,
    /// Lowercase hex.
    SpanId,
    /// Lowercase hex; absent on a root.
    ParentId,
    /// Lowercase hex, leading zeros trimmed on both sides of a comparison.
    TraceId,
    /// Duration of the whole trace: last end minus first start.
    TraceDuration,
    RootName,
    RootService,
    EventName,
    /// Event time minus span start in nanoseconds; may be negative.
    EventTimeSinceStart,
    LinkTraceId,
    LinkSpanId,
    InstrumentationName,
    InstrumentationVersion,
    /// Spans whose direct parent this one is.
    ChildCount,
    /// Numbers of the nested set of the whole trace, from 1; 0 for a span that hangs on no root.
    NestedSetLeft,
    NestedSetRight,
    /// `NestedSetLeft` of the parent; -1 for a root.
    NestedSetParent,
}

/// One column. An attribute's key is exact here: aliases and unscoped names are resolved before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    Intrinsic(Intrinsic),
    Attribute {
        scope: AttributeScope,
        key: Arc<str>,
    },
    /// The same of the direct parent span, where that is in the trace.
    OfParent(Box<Column>),
}

/// The row that a column belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ColumnLevel {
    Trace,
    Resource,
    Instrumentation,
    Span,
    Event,
    Link,
    /// Of a span, and known only where the whole trace is: no source is asked for it.
    Tree,
}

// === impl Column ===

impl Column {
    pub fn attribute(scope: AttributeScope, key: &str) -> Self {
        Self::Attribute {
            scope,
            key: Arc::from(key),
        }
    }

    pub fn level(&self) -> ColumnLevel {
        match self {
            Self::Attribute { scope, .. } => match scope {
                AttributeScope::Span => ColumnLevel::Span,
                AttributeScope::Resource => ColumnLevel::Resource,
                AttributeScope::Event => ColumnLevel::Event,
                AttributeScope::Link => ColumnLevel::Link,
                AttributeScope::Instrumentation => ColumnLevel::Instrumentation,
            },
            Self::Intrinsic(intrinsic) => intrinsic.level(),
            Self::OfParent(_) => ColumnLevel::Tree,
        }
    }
}

// === impl Intrinsic ===

impl Intrinsic {
    pub fn level(self) -> ColumnLevel {
        match self {
            Self::TraceDuration | Self::RootName | Self::RootService => ColumnLevel::Trace,
            Self::EventName | Self::EventTimeSinceStart => ColumnLevel::Event,
            Self::LinkTraceId | Self::LinkSpanId => ColumnLevel::Link,
            Self::InstrumentationName | Self::InstrumentationVersion => {
                ColumnLevel::Instrumentation
            }
            Self::ChildCount
            | Self::NestedSetLeft
            | Self::NestedSetRight
            | Self::NestedSetParent => ColumnLevel::Tree,
            _ => ColumnLevel::Span,
        }
    }
}
