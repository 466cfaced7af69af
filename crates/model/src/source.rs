//! The seam on the way out: one head generation or one block, as a query reads it.
//!
//! A snapshot is a list of sources in which no span lies twice, but fragments of one trace may lie
//! in several. A source knows which of its traces may be *shared* so; all others are finished
//! inside it. See docs/adr for why a shared trace is always a candidate.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Schema;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub use crate::budget::{HeldMemory, QueryContext, QueryMemory};
use crate::clock::TimeRange;
use crate::column::{AttributeScope, Column};
use crate::filter::Filter;
use crate::id::{TenantId, TraceId};
use crate::shared::SharedIds;
use crate::span::Trace;
use crate::value::{AttributeType, AttributeValue};
use crate::values::ColumnValues;

/// One head generation or one block.
pub trait SpanSource: Send + Sync + std::fmt::Debug {
    fn summary(&self) -> &SourceSummary;

    /// Scans for spans that satisfy at least one filter, newest row groups first.
    fn leaves(&self, query: LeafQuery, ctx: QueryContext)
    -> BoxStream<'_, SourceResult<LeafBatch>>;

    /// The trace rows of the given ids (sorted), for as many as the source holds.
    fn traces<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<TraceRow>>>;

    /// All spans of the given ids (sorted), whole and lossless; ids it does not hold are left out, and
    /// so are spans once [`QueryContext::is_full`], which the context counts.
    fn fetch<'a>(
        &'a self,
        tenant: &'a TenantId,
        ids: &'a [TraceId],
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<Vec<Trace>>>;

    /// Attribute keys with types and counts, or the distinct values of columns: as many as the query
    /// asks for, and of values no more once [`QueryContext::is_full`]. The context counts values until it
    /// is told that they are not held any more.
    fn keys<'a>(
        &'a self,
        query: &'a KeyQuery,
        ctx: QueryContext,
    ) -> BoxFuture<'a, SourceResult<KeyAnswer>>;

    /// False only if the source holds no span of the trace.
    fn may_contain(&self, tenant: &TenantId, id: TraceId) -> bool;

    /// The traces here that may have spans in other sources.
    fn shared_ids(&self) -> Arc<SharedIds>;
}

/// Pins what there is to read. Sources keep their files alive for as long as they are held.
pub trait Snapshots: Send + Sync + std::fmt::Debug {
    /// Head generations, then local blocks, then those of the object store; no span twice.
    fn pin(&self) -> Snapshot;
}

/// One consistent view of everything that was acknowledged and is kept.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub sources: Vec<Arc<dyn SpanSource>>,
    /// Blocks that are known and cannot be read, each with the reason: an answer that misses one
    /// says that it is partial.
    pub missing: Vec<String>,
}

/// What a planner may know of a source without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSummary {
    /// Unique within a snapshot; for messages.
    pub name: String,
    /// `None` if it holds spans of several tenants.
    pub tenant: Option<TenantId>,
    /// Smallest and largest span start, in Unix nanoseconds.
    pub span_start_min: u64,
    pub span_start_max: u64,
    /// Largest start of a trace fragment: no trace of this source starts later.
    pub trace_start_max: u64,
    pub n_spans: u64,
    pub n_traces: u64,
    pub bytes: u64,
}

/// What `leaves` is asked.
#[derive(Debug, Clone)]
pub struct LeafQuery {
    pub tenant: TenantId,
    /// One bit per filter and span comes back.
    pub filters: Arc<[Filter]>,
    /// Asked instead of `filters` of spans whose trace may be [shared](SpanSource::shared_ids), where a
    /// filter means something else on a part of a trace. As many as `filters`.
    pub fragment_filters: Option<Arc<[Filter]>>,
    /// A trace takes part if one of its spans here starts in the window. A shared trace may take part
    /// wherever its spans here start, and so do those of `only`.
    pub window: TimeRange,
    /// Shared traces that must take part wherever their spans here start. Ignored when `only` is set.
    pub also: TraceSet,
    /// Look at these traces alone (sorted), all of their spans, wherever they start.
    pub only: Option<Arc<[TraceId]>>,
    /// True if every batch will be taken. Otherwise the newest may be all that is, and no other is begun before it
    /// was delivered.
    pub needs_all: bool,
    /// Whether `LeafBatch::spans` is to be filled.
    pub spans: bool,
    /// What `LeafBatch::columns` is to hold: none of events, of links or of the tree, which have none for a span.
    pub columns: Arc<[Column]>,
}

/// Traces by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceSet {
    /// These, sorted.
    Ids(Arc<[TraceId]>),
    All,
}

/// The matches of one row group (or of a part of the head).
#[derive(Debug)]
pub struct LeafBatch {
    /// One row per span with at least one bit, the spans of a trace in one run:
    /// `trace_id` FixedSizeBinary(16), `span_id` FixedSizeBinary(8), `start_unix_nano` UInt64. Rows
    /// without columns where they were not asked for.
    pub spans: RecordBatch,
    /// One buffer per filter, as long as `spans`.
    pub bits: Vec<BooleanBuffer>,
    /// One for each of [`LeafQuery::columns`], as long as `spans`.
    pub columns: Vec<ColumnValues>,
    /// For runs of `spans`: start of the trace as far as this source knows it.
    pub traces: Vec<LeafTrace>,
    /// The traces of this batch that may have spans in other sources and, where columns are asked, those that may
    /// hold a span twice here: what `spans`, `bits` and `columns` say of them settles nothing. None where
    /// [`LeafQuery::only`] is set.
    pub shared: Vec<TraceId>,
    /// No trace that this stream has still to deliver starts later. `None` after the last batch.
    pub unread_start_max: Option<u64>,
}

impl LeafBatch {
    /// What it says of some of its traces, without the columns of `spans`. `None` if it says too little of them.
    pub fn of_traces(&self, is_taken: &[bool]) -> Option<Self> {
        let (mut rows, mut traces) = (Vec::new(), Vec::new());
        let n = self.spans.num_rows();
        let taken = self.traces.iter().zip(is_taken);
        for (trace, _) in taken.filter(|(_, is_taken)| **is_taken) {
            if trace.from > trace.to || trace.to as usize > n {
                return None;
            }
            let from = rows.len() as u32;
            rows.extend(trace.from..trace.to);
            let to = rows.len() as u32;
            traces.push(LeafTrace { from, to, ..*trace });
        }
        let bits_of = |bits: &BooleanBuffer| {
            let bit = |row: &u32| bits.value(*row as usize);
            (bits.len() == n).then(|| rows.iter().map(bit).collect())
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let spans = RecordBatch::try_new_with_options(Schema::empty().into(), Vec::new(), &options);
        Some(Self {
            spans: spans.ok()?,
            bits: self.bits.iter().map(bits_of).collect::<Option<_>>()?,
            columns: self.columns.iter().map(|it| it.take(&rows)).collect(),
            traces,
            shared: Vec::new(),
            unread_start_max: self.unread_start_max,
        })
    }
}

impl TraceSet {
    pub fn none() -> Self {
        Self::Ids(Arc::default())
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Self::Ids(ids) if ids.is_empty())
    }

    pub fn contains(&self, id: TraceId) -> bool {
        match self {
            Self::Ids(ids) => ids.binary_search(&id).is_ok(),
            Self::All => true,
        }
    }
}

impl LeafBatch {
    /// No matches.
    pub fn nothing(n_filters: usize, unread_start_max: Option<u64>) -> Self {
        Self {
            spans: RecordBatch::new_empty(Arc::new(arrow_schema::Schema::empty())),
            bits: vec![BooleanBuffer::new_unset(0); n_filters],
            columns: Vec::new(),
            traces: Vec::new(),
            shared: Vec::new(),
            unread_start_max,
        }
    }
}

/// One run of rows of a [`LeafBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafTrace {
    pub trace_id: TraceId,
    pub from: u32,
    pub to: u32,
    /// First span start of this source's fragment.
    pub start_unix_nano: u64,
    /// True if one of its spans here starts in the window. Always for a trace that is not shared, unless
    /// [`LeafQuery::only`] is set.
    pub in_window: bool,
}

/// The row of a trace, as far as one source holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceRow {
    pub trace_id: TraceId,
    pub start_unix_nano: u64,
    pub end_unix_nano: u64,
    /// Service and name of the earliest root span here, if there is one, and its start.
    pub root: Option<TraceRoot>,
    pub n_spans: u64,
    pub n_errors: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceRoot {
    pub start_unix_nano: u64,
    pub span_id: crate::id::SpanId,
    pub service: String,
    pub name: String,
}

/// What `keys` is asked.
#[derive(Debug, Clone)]
pub struct KeyQuery {
    pub tenant: TenantId,
    pub window: TimeRange,
    pub what: KeyWhat,
    /// Only spans that satisfy it count; `Constant(true)` for all.
    pub filter: Filter,
    /// At most so many keys of each scope, or values.
    pub n_max: usize,
    /// At most so many bytes of text in values; keys are short.
    pub text_bytes_max: usize,
}

#[derive(Debug, Clone)]
pub enum KeyWhat {
    /// The keys of these scopes.
    Keys(Vec<AttributeScope>),
    /// The distinct values of these columns.
    Values(Vec<Column>),
}

/// What `keys` answers; the part that was asked for is filled.
#[derive(Debug, Clone, Default)]
pub struct KeyAnswer {
    pub keys: Vec<KeyInfo>,
    pub values: Vec<KeyValueInfo>,
    /// True if a limit cut the answer short.
    pub truncated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    pub scope: AttributeScope,
    pub key: String,
    pub value_type: AttributeType,
    /// How often it occurs; 0 where the source does not count.
    pub n: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct KeyValueInfo {
    pub column: Column,
    /// Scalars only; arrays come as their elements. Status and kind come as `Int` codes.
    pub value: AttributeValue,
}

/// Why a source could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The client left or the deadline passed.
    #[error("query cancelled")]
    Cancelled,
    #[error("query read {limit} bytes, which is its limit (limits.query_read_bytes_max)")]
    Budget { limit: u64 },
    /// The source was set aside: the answer is partial.
    #[error("{source_name} is damaged: {reason}")]
    Damaged { source_name: String, reason: String },
    #[error("reading {source_name}: {reason}")]
    Io { source_name: String, reason: String },
}

pub type SourceResult<T> = Result<T, SourceError>;
