//! Questions and answers of the engine, as surfaces translate them.

use tokio_util::sync::CancellationToken;
use tracewell_model::clock::TimeRange;
use tracewell_model::source::{HeldMemory, SourceSummary};
use tracewell_model::{AttributeScope, KeyValue, SpanId, TenantId, Trace, TraceId, Value};

use crate::limit::LimitsHit;
use crate::plan::Explained;
use crate::series::{Axis, Series};

/// What every question says: whose data, and until when.
#[derive(Debug, Clone)]
pub struct Caller {
    pub tenant: TenantId,
    /// How long the answer may take, if the tenant has a time of its own.
    pub query_ms_max: Option<u64>,
    /// Fires when nobody waits for the answer any more.
    pub cancel: CancellationToken,
    /// Whether old and new names of semantic conventions are one attribute.
    pub aliases: Aliases,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Aliases {
    #[default]
    Resolve,
    /// Every name means only itself.
    Off,
}

/// Which traces match, newest first.
#[derive(Debug, Clone)]
pub struct SearchRequest {
    pub caller: Caller,
    pub query: SearchQuery,
    /// A trace takes part if one of its spans starts here.
    pub window: TimeRange,
    /// At most so many traces.
    pub limit: usize,
    /// At most so many spans are shown of each spanset.
    pub spans_per_spanset: usize,
    /// Who wants to hear of traces of the answer as they are found, before all are; in no order. The answer
    /// has them all the same.
    pub found: Option<Found>,
}

/// Where traces go as they are found.
pub type Found = tokio::sync::mpsc::UnboundedSender<TraceSummary>;

#[derive(Debug, Clone)]
pub enum SearchQuery {
    /// TraceQL; the text `{ }` matches every trace.
    TraceQl(String),
    /// Tempo's search by tags, which has its own meaning.
    Tags(TagSearch),
}

/// Conditions of a search by tags; without any, every trace matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagSearch {
    pub tags: Vec<(String, String)>,
    /// Of the whole trace, in nanoseconds, both inclusive.
    pub duration_nano_min: Option<u64>,
    pub duration_nano_max: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct SearchResponse {
    pub traces: Vec<TraceSummary>,
    pub stats: QueryStats,
    /// Why the answer may miss something; empty for a complete one.
    pub partial: Vec<String>,
    /// What `traces` takes of the memory of queries: to be dropped with them.
    pub held: HeldMemory,
}

/// What reading cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueryStats {
    pub inspected_bytes: u64,
    pub inspected_spans: u64,
    pub inspected_traces: u64,
    /// Spans of traces in the answer that the memory of a query had no room for.
    pub left_out_spans: u64,
    /// Spans equal in every field to another of their trace, which count once.
    pub duplicate_spans: u64,
    /// Spans that share their id with another of their trace and differ from it; all are kept.
    pub twin_spans: u64,
    /// What the answer misses something for, or would have missed.
    pub limits_hit: LimitsHit,
    /// Sources of the snapshot, and how many of them were read to their end or to where it did not
    /// matter any more.
    pub n_sources: usize,
    pub n_sources_done: usize,
    pub source_bytes: u64,
    /// How long it took, once it had its turn.
    pub elapsed_nano: u64,
    /// Row groups with spans in the window that a search or series came to, and how many of them statistics and
    /// filters ruled out. The head has none.
    pub n_groups: u64,
    pub n_groups_ruled_out: u64,
}

/// What a query would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The query as the program would write it.
    pub canonical: String,
    /// True for a metrics query, which yields series.
    pub is_series: bool,
    /// One for a search, and of series one for each pipeline.
    pub plans: Vec<Explained>,
    pub all: SourceSums,
    /// What lies in sources that have a span in the window: no other is read, but for fragments.
    pub in_window: SourceSums,
    /// What an answer would miss, since it is known to be gone or cannot be read.
    pub missing: Vec<String>,
}

/// Sums over the head generations and blocks that may hold something of the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceSums {
    pub n_sources: usize,
    /// Of those, how many hold something of other tenants too. How much, is not this one's to know.
    pub n_shared: usize,
    /// In sources that are the tenant's alone.
    pub n_spans: u64,
    pub n_bytes: u64,
}

impl SourceSums {
    pub(crate) fn add(&mut self, summary: &SourceSummary) {
        self.n_sources += 1;
        if summary.tenant.is_none() {
            self.n_shared += 1;
            return;
        }
        self.n_spans += summary.n_spans;
        self.n_bytes += summary.bytes;
    }
}

/// One trace of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSummary {
    pub trace_id: TraceId,
    /// `None` where no root span has arrived.
    pub root: Option<RootSummary>,
    pub start_unix_nano: u64,
    pub duration_nano: u64,
    /// Several behind `by()`; none for a search by tags.
    pub spansets: Vec<Spanset>,
    /// By service name.
    pub services: Vec<ServiceStats>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootSummary {
    pub service: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStats {
    pub service: String,
    pub n_spans: u64,
    pub n_errors: u64,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spanset {
    /// How many spans matched; `spans` holds the first of them, by start.
    pub matched: u64,
    pub spans: Vec<SpanSummary>,
    pub attributes: Vec<KeyValue>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SpanSummary {
    pub span_id: SpanId,
    pub name: String,
    pub start_unix_nano: u64,
    pub duration_nano: u64,
    /// Values of what the conditions name: bare keys, status and kind by their names.
    pub attributes: Vec<KeyValue>,
}

/// Time series of the spans that match.
#[derive(Debug, Clone)]
pub struct SeriesRequest {
    pub caller: Caller,
    /// A metrics query of TraceQL.
    pub query: String,
    /// Unix nanoseconds, both inclusive.
    pub start: u64,
    pub end: u64,
    /// `None` for one value over the whole range.
    pub step_nano: Option<u64>,
    /// At most so many spans to look at, unless the query says how many.
    pub exemplars_max: usize,
    pub series_max: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SeriesResponse {
    pub axis: Axis,
    pub series: Vec<Series>,
    pub stats: QueryStats,
    /// Why the answer may miss something; empty for a complete one.
    pub partial: Vec<String>,
}

/// One trace, whole.
#[derive(Debug, Clone)]
pub struct TraceRequest {
    pub caller: Caller,
    pub trace_id: TraceId,
    /// Sources without a span in it need not be read; the trace is not cut to it.
    pub window: TimeRange,
    /// A single TraceQL filter: only matching spans come back.
    pub filter: Option<String>,
    /// And these with them.
    pub around: Around,
}

/// How many levels above and below a span that matches come back with it; `u32::MAX` for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Around {
    pub ancestors: u32,
    pub descendants: u32,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TraceResponse {
    /// `None` where no source holds the trace.
    pub trace: Option<Trace>,
    pub stats: QueryStats,
    pub partial: Vec<String>,
    /// What `trace` takes of the memory of queries: to be dropped with it.
    pub held: HeldMemory,
}

/// Where a tag lies, as an answer groups them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagScope {
    Attribute(AttributeScope),
    Intrinsic,
}

/// Which attribute names occur.
#[derive(Debug, Clone)]
pub struct TagNamesRequest {
    pub caller: Caller,
    pub scopes: Vec<TagScope>,
    pub window: TimeRange,
    /// TraceQL, read leniently: what does not parse does not filter.
    pub filter: Option<String>,
    /// Names of each scope.
    pub limit: usize,
    /// Bytes of the names of each scope.
    pub bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TagNamesResponse {
    /// In the order asked, names sorted.
    pub scopes: Vec<ScopeTags>,
    pub stats: QueryStats,
    pub partial: Vec<String>,
    /// True if the limit cut the answer.
    pub truncated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeTags {
    pub scope: TagScope,
    pub names: Vec<String>,
}

/// Which values a tag has.
#[derive(Debug, Clone)]
pub struct TagValuesRequest {
    pub caller: Caller,
    pub name: TagName,
    pub window: TimeRange,
    /// TraceQL, read leniently: what does not parse does not filter.
    pub filter: Option<String>,
    /// At most so many values, and so many bytes of them.
    pub limit: usize,
    pub bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagName {
    /// As TraceQL writes it: `span.http.method`, `.foo`, `name`.
    TraceQl(String),
    /// A bare key in any scope, or an intrinsic.
    Bare(String),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct TagValuesResponse {
    pub values: Vec<TagValue>,
    pub stats: QueryStats,
    pub partial: Vec<String>,
    pub truncated: bool,
    /// What `values` takes of the memory of queries: to be dropped with them.
    pub held: HeldMemory,
}

/// A value as text, and what it is. Ordered by type, then value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagValue {
    pub value_type: TagValueType,
    pub value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagValueType {
    String,
    Int,
    Float,
    Bool,
    /// Status and kind.
    Keyword,
    Duration,
}

impl TagValueType {
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Keyword => "keyword",
            Self::Duration => "duration",
        }
    }
}

impl TagScope {
    /// Every scope in the order of an answer.
    pub const ALL: [Self; 6] = [
        Self::Attribute(AttributeScope::Span),
        Self::Attribute(AttributeScope::Resource),
        Self::Attribute(AttributeScope::Event),
        Self::Attribute(AttributeScope::Link),
        Self::Attribute(AttributeScope::Instrumentation),
        Self::Intrinsic,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Attribute(scope) => crate::syntax::ast::scope_name(scope),
            Self::Intrinsic => "intrinsic",
        }
    }
}

impl TagValue {
    /// The value of an attribute as text; `None` for what cannot be a condition.
    pub(crate) fn of_value(value: Value<'_>) -> Option<Self> {
        let (value_type, value) = match value {
            Value::String(text) => (TagValueType::String, text.to_owned()),
            Value::Int(value) => (TagValueType::Int, value.to_string()),
            Value::Float(value) => (TagValueType::Float, value.to_string()),
            Value::Bool(value) => (TagValueType::Bool, value.to_string()),
            _ => return None,
        };
        Some(Self { value_type, value })
    }
}
