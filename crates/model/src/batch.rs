//! One accepted request as columns over its own bytes.
//!
//! `tracewell-wire` fills a [`SpanBatch`] in one walk over an OTLP protobuf body; JSON is turned
//! into protobuf first, so that there is one walk. Text and nested values stay where they are and
//! are named by offset: nothing is copied, and the batch can be sent between tasks.

use bytes::Bytes;

use crate::id::{SpanId, TenantId, TraceId};

/// A slice of [`SpanBatch::body`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slice {
    pub offset: u32,
    pub len: u32,
}

/// A contiguous run of rows in another column group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rows {
    pub from: u32,
    pub to: u32,
}

/// An attribute value, scalars in place.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum ValueSlice {
    #[default]
    Empty,
    /// Valid UTF-8.
    String(Slice),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// The content of the bytes value.
    Bytes(Slice),
    /// The whole `AnyValue` message around an array; every string in it is valid UTF-8.
    Array(Slice),
    /// The whole `AnyValue` message around an array of strings with at least one element.
    Strings(Slice),
    /// The whole `AnyValue` message around a key-value list.
    KvList(Slice),
}

/// The spans of one request. Every string named by it is valid UTF-8, every id has its right length,
/// every [`Rows`] lies within its columns: `tracewell-wire` checked it.
#[derive(Debug, Clone)]
pub struct SpanBatch {
    pub tenant: TenantId,
    /// An OTLP `ExportTraceServiceRequest`, exactly the accepted spans.
    pub body: Bytes,
    pub resources: Vec<ResourceRow>,
    pub scopes: Vec<ScopeRow>,
    pub spans: SpanColumns,
    pub events: EventColumns,
    pub links: LinkColumns,
    pub attributes: AttributeColumns,
}

/// One `ResourceSpans`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResourceRow {
    /// The `Resource` message, if it was there.
    pub message: Option<Slice>,
    pub schema_url: Slice,
    /// Its attributes in [`SpanBatch::attributes`].
    pub attributes: Rows,
}

/// One `ScopeSpans`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScopeRow {
    /// Index in [`SpanBatch::resources`].
    pub resource: u32,
    /// The `InstrumentationScope` message, if it was there.
    pub message: Option<Slice>,
    pub schema_url: Slice,
    pub name: Slice,
    pub version: Slice,
    pub attributes: Rows,
}

/// One row per span, in the order of the request.
#[derive(Debug, Clone, Default)]
pub struct SpanColumns {
    /// Index in [`SpanBatch::scopes`].
    pub scope: Vec<u32>,
    pub trace_id: Vec<TraceId>,
    pub span_id: Vec<SpanId>,
    pub parent_span_id: Vec<Option<SpanId>>,
    pub trace_state: Vec<Slice>,
    pub flags: Vec<u32>,
    pub name: Vec<Slice>,
    pub kind: Vec<i32>,
    pub start_unix_nano: Vec<u64>,
    pub end_unix_nano: Vec<u64>,
    pub attributes: Vec<Rows>,
    pub events: Vec<Rows>,
    pub links: Vec<Rows>,
    /// Dropped attributes, events and links.
    pub dropped: Vec<[u32; 3]>,
    /// `None` where the sender wrote no status message.
    pub status_code: Vec<Option<i32>>,
    pub status_message: Vec<Slice>,
}

#[derive(Debug, Clone, Default)]
pub struct EventColumns {
    pub time_unix_nano: Vec<u64>,
    pub name: Vec<Slice>,
    pub attributes: Vec<Rows>,
    pub dropped_attributes_count: Vec<u32>,
}

#[derive(Debug, Clone, Default)]
pub struct LinkColumns {
    pub trace_id: Vec<TraceId>,
    pub span_id: Vec<SpanId>,
    pub trace_state: Vec<Slice>,
    pub flags: Vec<u32>,
    pub attributes: Vec<Rows>,
    pub dropped_attributes_count: Vec<u32>,
}

/// The attributes of resources, scopes, spans, events and links, each owner's in a row.
#[derive(Debug, Clone, Default)]
pub struct AttributeColumns {
    pub keys: Vec<Slice>,
    pub values: Vec<ValueSlice>,
}

// === impl SpanBatch ===

impl SpanBatch {
    pub fn n_spans(&self) -> usize {
        self.spans.trace_id.len()
    }

    /// The bytes behind a slice; empty for a slice that does not lie in the body.
    pub fn bytes(&self, slice: Slice) -> &[u8] {
        let from = slice.offset as usize;
        self.body
            .get(from..from + slice.len as usize)
            .unwrap_or_default()
    }

    /// The text behind a slice that holds text.
    pub fn text(&self, slice: Slice) -> &str {
        std::str::from_utf8(self.bytes(slice)).unwrap_or_default()
    }
}

// === impl Rows ===

impl Rows {
    pub fn range(self) -> std::ops::Range<usize> {
        self.from as usize..self.to as usize
    }

    pub fn len(self) -> usize {
        self.range().len()
    }

    pub fn is_empty(self) -> bool {
        self.range().is_empty()
    }
}
