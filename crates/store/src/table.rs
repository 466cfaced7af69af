//! Spans as columns with interned strings: the one in-memory form of the store.
//!
//! The head appends to it, the block writer encodes it (in any row order), the block reader decodes
//! a row group back into it for a merge, and a trace by id is made of its rows. It is lossless:
//! every field of every span, in order, duplicates of keys included.
//!
//! It is not a place for queries: those see Arrow arrays made from it.

mod dictionary;
mod gather;
mod span;
mod strings;

use std::sync::Arc;

use tracewell_model::value::AttributeType;
use tracewell_model::{ContentHash, Resource, Scope, SpanId, TenantId, TraceId};

pub use dictionary::DictionaryBuilder;
pub use gather::RowAddress;
pub use span::RowError;
pub use strings::{Interner, StringChunk, StringCode, Strings};

/// The columns of some spans. All vectors of one group have the same length.
#[derive(Debug, Clone, Default)]
pub struct SpanTable {
    pub spans: SpanRows,
    pub events: EventRows,
    pub links: LinkRows,
    /// Attributes of spans, events and links; each owner has a run of them, in the order sent.
    pub attributes: AttributeRows,
}

/// What the rows of tables name by number: shared by all tables of one generation, block or merge,
/// and only ever extended, so that a copy made earlier stays right for the rows of its time.
#[derive(Debug, Clone, Default)]
pub struct Dictionary {
    pub strings: Strings,
    pub resources: Arc<Vec<Arc<ResourceEntry>>>,
    pub scopes: Arc<Vec<Arc<ScopeEntry>>>,
    pub tenants: Arc<Vec<TenantId>>,
}

/// One row per span.
#[derive(Debug, Clone, Default)]
pub struct SpanRows {
    /// Index in [`Dictionary::tenants`].
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
    /// Index in [`Dictionary::resources`].
    pub resource: Vec<u32>,
    /// Index in [`Dictionary::scopes`].
    pub scope: Vec<u32>,
    /// In [`SpanTable::attributes`], as those of events and links are.
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
    pub resource: Arc<Resource>,
}

/// A distinct instrumentation scope.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopeEntry {
    pub hash: ContentHash,
    pub scope: Arc<Scope>,
}

/// The status code of a span that was sent without a status message.
pub const STATUS_ABSENT: i32 = i32::MIN;

// === impl Runs ===

impl Runs {
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    fn shrink(&mut self) {
        self.starts.shrink_to_fit();
        self.lens.shrink_to_fit();
    }

    fn n_bytes(&self) -> usize {
        held(&self.starts) + held(&self.lens)
    }

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

    /// Gives unused capacity back: nothing more will be appended.
    pub fn shrink(&mut self) {
        self.spans.shrink();
        self.events.shrink();
        self.links.shrink();
        self.attributes.shrink();
    }

    /// Bytes that the columns hold, unused capacity included.
    pub fn n_bytes(&self) -> usize {
        self.spans.n_bytes()
            + self.events.n_bytes()
            + self.links.n_bytes()
            + self.attributes.n_bytes()
    }
}

// === impl SpanRows, EventRows, LinkRows, AttributeRows ===

fn held<T>(column: &Vec<T>) -> usize {
    column.capacity() * size_of::<T>()
}

impl SpanRows {
    fn shrink(&mut self) {
        self.tenant.shrink_to_fit();
        self.trace_id.shrink_to_fit();
        self.span_id.shrink_to_fit();
        self.parent_span_id.shrink_to_fit();
        self.has_parent.shrink_to_fit();
        self.start_unix_nano.shrink_to_fit();
        self.end_unix_nano.shrink_to_fit();
        self.name.shrink_to_fit();
        self.kind.shrink_to_fit();
        self.status_code.shrink_to_fit();
        self.status_message.shrink_to_fit();
        self.trace_state.shrink_to_fit();
        self.flags.shrink_to_fit();
        self.dropped_attributes.shrink_to_fit();
        self.dropped_events.shrink_to_fit();
        self.dropped_links.shrink_to_fit();
        self.resource.shrink_to_fit();
        self.scope.shrink_to_fit();
        self.attributes.shrink();
        self.events.shrink();
        self.links.shrink();
    }

    fn n_bytes(&self) -> usize {
        held(&self.tenant)
            + held(&self.trace_id)
            + held(&self.span_id)
            + held(&self.parent_span_id)
            + held(&self.has_parent)
            + held(&self.start_unix_nano)
            + held(&self.end_unix_nano)
            + held(&self.name)
            + held(&self.kind)
            + held(&self.status_code)
            + held(&self.status_message)
            + held(&self.trace_state)
            + held(&self.flags)
            + held(&self.dropped_attributes)
            + held(&self.dropped_events)
            + held(&self.dropped_links)
            + held(&self.resource)
            + held(&self.scope)
            + self.attributes.n_bytes()
            + self.events.n_bytes()
            + self.links.n_bytes()
    }
}

impl EventRows {
    pub fn len(&self) -> usize {
        self.time_unix_nano.len()
    }

    pub fn is_empty(&self) -> bool {
        self.time_unix_nano.is_empty()
    }

    fn shrink(&mut self) {
        self.time_unix_nano.shrink_to_fit();
        self.name.shrink_to_fit();
        self.dropped_attributes.shrink_to_fit();
        self.attributes.shrink();
    }

    fn n_bytes(&self) -> usize {
        held(&self.time_unix_nano)
            + held(&self.name)
            + held(&self.dropped_attributes)
            + self.attributes.n_bytes()
    }
}

impl LinkRows {
    pub fn len(&self) -> usize {
        self.trace_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.trace_id.is_empty()
    }

    fn shrink(&mut self) {
        self.trace_id.shrink_to_fit();
        self.span_id.shrink_to_fit();
        self.trace_state.shrink_to_fit();
        self.flags.shrink_to_fit();
        self.dropped_attributes.shrink_to_fit();
        self.attributes.shrink();
    }

    fn n_bytes(&self) -> usize {
        held(&self.trace_id)
            + held(&self.span_id)
            + held(&self.trace_state)
            + held(&self.flags)
            + held(&self.dropped_attributes)
            + self.attributes.n_bytes()
    }
}

impl AttributeRows {
    pub fn len(&self) -> usize {
        self.key.len()
    }

    pub fn is_empty(&self) -> bool {
        self.key.is_empty()
    }

    pub fn push(&mut self, key: StringCode, value_type: AttributeType, value: u64) {
        self.key.push(key);
        self.value_type.push(value_type);
        self.value.push(value);
    }

    fn shrink(&mut self) {
        self.key.shrink_to_fit();
        self.value_type.shrink_to_fit();
        self.value.shrink_to_fit();
    }

    fn n_bytes(&self) -> usize {
        held(&self.key) + held(&self.value_type) + held(&self.value)
    }
}
