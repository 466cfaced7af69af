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
}

/// One column. An attribute's key is exact here: aliases and unscoped names are resolved before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    Intrinsic(Intrinsic),
    Attribute {
        scope: AttributeScope,
        key: Arc<str>,
    },
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
            _ => ColumnLevel::Span,
        }
    }
}
