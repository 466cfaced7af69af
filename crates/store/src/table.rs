//! Spans as columns with interned strings: the one in-memory form of the store.
//!
//! The head appends to it, the block writer encodes it (in any row order), the block reader decodes
//! a row group back into it for a merge, and a trace by id is made of its rows. It is lossless:
//! every field of every span, in order, duplicates of keys included.
//!
//! It is not a place for queries: those see Arrow arrays made from it.

use std::sync::Arc;

use tracewell_model::value::AttributeType;
use tracewell_model::{ContentHash, SpanId, TenantId, TraceId};

/// A code of [`Strings`]. Codes are dense, from 0; equal strings of one table may have two codes
/// only if they lie in tables that were put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StringCode(pub u32);

/// Interned byte strings, in chunks so that a reader can hold what is there while more is added.
#[derive(Debug, Clone, Default)]
pub struct Strings {
    pub chunks: Vec<Arc<StringChunk>>,
}

/// A run of interned strings. Codes `base..base + offsets.len() - 1`.
#[derive(Debug, Clone, Default)]
pub struct StringChunk {
    pub base: u32,
    /// One more than strings; `offsets[i]..offsets[i + 1]` is string `base + i`.
    pub offsets: Vec<u32>,
    /// Valid UTF-8 for every code that a text column names; attribute values of the types bytes,
    /// array, strings and key-value list lie here too, as bytes.
    pub bytes: Vec<u8>,
}

/// The columns of some spans. All vectors of one group have the same length.
#[derive(Debug, Clone, Default)]
pub struct SpanTable {
    pub spans: SpanRows,
    pub events: EventRows,
    pub links: LinkRows,
    /// Attributes of spans, events and links; each owner has a run of them, in the order sent.
    pub attributes: AttributeRows,
    pub resources: Vec<Arc<ResourceEntry>>,
    pub scopes: Vec<Arc<ScopeEntry>>,
    pub tenants: Vec<TenantId>,
}

/// One row per span.
#[derive(Debug, Clone, Default)]
pub struct SpanRows {
    /// Index in [`SpanTable::tenants`].
    pub tenant: Vec<u16>,
    pub trace_id: Vec<TraceId>,
    pub span_id: Vec<SpanId>,
    /// Meaningful where `has_parent`.
    pub parent_span_id: Vec<SpanId>,
    pub has_parent: Vec<bool>,
    pub start_unix_nano: Vec<u64>,
    pub end_unix_nano: Vec<u64>,
    pub name: Vec<StringCode>,
    pub kind: Vec<i32>,
    /// The OTLP code, or [`STATUS_ABSENT`] where no status message was sent.
    pub status_code: Vec<i32>,
    pub status_message: Vec<StringCode>,
    pub trace_state: Vec<StringCode>,
    pub flags: Vec<u32>,
    pub dropped_attributes: Vec<u32>,
    pub dropped_events: Vec<u32>,
    pub dropped_links: Vec<u32>,
    /// Index in [`SpanTable::resources`].
    pub resource: Vec<u32>,
    /// Index in [`SpanTable::scopes`].
    pub scope: Vec<u32>,
    /// End of the span's run in [`SpanTable::attributes`]; see [`Runs`].
    pub attributes: Runs,
    pub events: Runs,
    pub links: Runs,
}

/// Runs of rows in another group: run `i` is `starts[i]..starts[i] + lens[i]`.
#[derive(Debug, Clone, Default)]
pub struct Runs {
    pub starts: Vec<u32>,
    pub lens: Vec<u32>,
}

#[derive(Debug, Clone, Default)]
pub struct EventRows {
    pub time_unix_nano: Vec<u64>,
    pub name: Vec<StringCode>,
    pub dropped_attributes: Vec<u32>,
    pub attributes: Runs,
}

#[derive(Debug, Clone, Default)]
pub struct LinkRows {
    pub trace_id: Vec<TraceId>,
    pub span_id: Vec<SpanId>,
    pub trace_state: Vec<StringCode>,
    pub flags: Vec<u32>,
    pub dropped_attributes: Vec<u32>,
    pub attributes: Runs,
}

/// One row per attribute.
#[derive(Debug, Clone, Default)]
pub struct AttributeRows {
    pub key: Vec<StringCode>,
    pub value_type: Vec<AttributeType>,
    /// By type: the code of a string; the code of the content of a bytes value; the code of the
    /// whole OTLP `AnyValue` message of an array, strings or key-value list; the bits of an int or
    /// double; 0 or 1 for a bool; 0 for empty.
    pub value: Vec<u64>,
}

/// A distinct resource.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceEntry {
    /// Hash of the canonical encoding (docs/format/block.md).
    pub hash: ContentHash,
    pub resource: Arc<tracewell_model::Resource>,
}

/// A distinct instrumentation scope.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopeEntry {
    pub hash: ContentHash,
    pub scope: Arc<tracewell_model::Scope>,
}

/// The status code of a span that was sent without a status message.
pub const STATUS_ABSENT: i32 = i32::MIN;

// === impl Strings ===

impl Strings {
    /// The bytes behind a code; empty for a code that is not there.
    pub fn get(&self, code: StringCode) -> &[u8] {
        let chunk = self.chunks.partition_point(|chunk| chunk.base <= code.0);
        chunk
            .checked_sub(1)
            .and_then(|chunk| self.chunks.get(chunk))
            .map_or(&[], |chunk| chunk.get(code))
    }

    pub fn text(&self, code: StringCode) -> &str {
        std::str::from_utf8(self.get(code)).unwrap_or_default()
    }

    pub fn n_strings(&self) -> usize {
        self.chunks
            .last()
            .map_or(0, |chunk| chunk.base as usize + chunk.n_strings())
    }
}

// === impl StringChunk ===

impl StringChunk {
    pub fn n_strings(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The bytes of a code of this chunk; empty for any other.
    pub fn get(&self, code: StringCode) -> &[u8] {
        let Some(index) = code.0.checked_sub(self.base) else {
            return &[];
        };
        let index = index as usize;
        match (self.offsets.get(index), self.offsets.get(index + 1)) {
            (Some(&from), Some(&to)) => self
                .bytes
                .get(from as usize..to as usize)
                .unwrap_or_default(),
            _ => &[],
        }
    }
}

// === impl Runs ===

impl Runs {
    pub fn push(&mut self, start: u32, len: u32) {
        self.starts.push(start);
        self.lens.push(len);
    }

    pub fn get(&self, row: usize) -> std::ops::Range<usize> {
        match (self.starts.get(row), self.lens.get(row)) {
            (Some(&start), Some(&len)) => start as usize..start as usize + len as usize,
            _ => 0..0,
        }
    }
}

// === impl SpanTable ===

impl SpanTable {
    pub fn n_spans(&self) -> usize {
        self.spans.trace_id.len()
    }
}
