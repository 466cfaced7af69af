//! A `SpanBatch` into the open batch of a generation: the hot path between log and head.
//!
//! Columns that need no translation are copied as they are; text becomes codes; resources, scopes and
//! traces become indexes. No allocation per span.

use std::ops::Range;

use tracewell_model::batch::{Rows, Slice, ValueSlice};
use tracewell_model::value::AttributeType;
use tracewell_model::{SpanBatch, TraceId};

use super::generation::State;
use crate::table::{AttributeRows, Interner, Runs, STATUS_ABSENT, StringCode};

/// How far a batch was appended, and what was learned of it on the way.
pub(super) struct Cursor {
    next: usize,
    tenant: Option<u16>,
    /// Index in the generation of each resource and scope of the batch, once it was used.
    resources: Vec<Option<u32>>,
    scopes: Vec<Option<u32>>,
}

impl Cursor {
    pub(super) fn new(batch: &SpanBatch) -> Self {
        Self {
            next: 0,
            tenant: None,
            resources: vec![None; batch.resources.len()],
            scopes: vec![None; batch.scopes.len()],
        }
    }

    pub(super) fn n_appended(&self) -> usize {
        self.next
    }

    /// Appends up to `n_max` spans; true if there are more. `new_trace` is called before the first
    /// span of a trace that the generation did not hold.
    pub(super) fn append(
        &mut self,
        state: &mut State,
        batch: &SpanBatch,
        n_max: usize,
        new_trace: impl FnMut(TraceId),
    ) -> bool {
        let to = (self.next + n_max).min(batch.n_spans());
        let rows = self.next..to;
        let tenant = *self
            .tenant
            .get_or_insert_with(|| state.entities.tenant(&batch.tenant));
        self.traces(state, batch, rows.clone(), tenant, new_trace);
        self.owners(state, batch, rows.clone());
        fixed(state, batch, rows.clone(), tenant);
        texts(state, batch, rows.clone());
        lists(state, batch, rows);
        self.next = to;
        to < batch.n_spans()
    }

    fn traces(
        &self,
        state: &mut State,
        batch: &SpanBatch,
        rows: Range<usize>,
        tenant: u16,
        mut new_trace: impl FnMut(TraceId),
    ) {
        let ids = batch.spans.trace_id.get(rows).unwrap_or_default();
        let mut last: Option<(TraceId, u32)> = None;
        for id in ids {
            let index = match last {
                Some((last_id, index)) if last_id == *id => index,
                _ => {
                    let (index, new) = state.traces.index(tenant, *id);
                    if new {
                        new_trace(*id);
                    }
                    index
                }
            };
            last = Some((*id, index));
            state.open.trace.push(index);
        }
    }

    fn owners(&mut self, state: &mut State, batch: &SpanBatch, rows: Range<usize>) {
        for scope in batch.spans.scope.get(rows).unwrap_or_default() {
            let scope = *scope as usize;
            let Some(scope_row) = batch.scopes.get(scope) else {
                debug_assert!(false, "a batch names its own scopes");
                continue;
            };
            let resource = scope_row.resource as usize;
            let entities = &mut state.entities;
            if let Some(known) = self.scopes.get_mut(scope) {
                let index = *known.get_or_insert_with(|| entities.scope(batch, scope_row));
                state.open.table.spans.scope.push(index);
            }
            if let (Some(known), Some(row)) = (
                self.resources.get_mut(resource),
                batch.resources.get(resource),
            ) {
                let index = *known.get_or_insert_with(|| entities.resource(batch, row));
                state.open.table.spans.resource.push(index);
            }
        }
    }
}

/// Columns that are the same in a batch and in the table.
fn fixed(state: &mut State, batch: &SpanBatch, rows: Range<usize>, tenant: u16) {
    let (from, n) = (&batch.spans, rows.len());
    let spans = &mut state.open.table.spans;
    spans.tenant.extend(std::iter::repeat_n(tenant, n));
    extend(&mut spans.trace_id, &from.trace_id, &rows);
    extend(&mut spans.span_id, &from.span_id, &rows);
    extend(&mut spans.start_unix_nano, &from.start_unix_nano, &rows);
    extend(&mut spans.end_unix_nano, &from.end_unix_nano, &rows);
    extend(&mut spans.kind, &from.kind, &rows);
    extend(&mut spans.flags, &from.flags, &rows);
    let parents = from.parent_span_id.get(rows.clone()).unwrap_or_default();
    spans
        .parent_span_id
        .extend(parents.iter().map(|parent| parent.unwrap_or_default()));
    spans.has_parent.extend(parents.iter().map(Option::is_some));
    let codes = from.status_code.get(rows.clone()).unwrap_or_default();
    spans
        .status_code
        .extend(codes.iter().map(|code| code.unwrap_or(STATUS_ABSENT)));
    let dropped = from.dropped.get(rows.clone()).unwrap_or_default();
    spans
        .dropped_attributes
        .extend(dropped.iter().map(|d| d[0]));
    spans.dropped_events.extend(dropped.iter().map(|d| d[1]));
    spans.dropped_links.extend(dropped.iter().map(|d| d[2]));
    for start in from.start_unix_nano.get(rows).unwrap_or_default() {
        state.start_min = state.start_min.min(*start);
        state.start_max = state.start_max.max(*start);
    }
}

fn extend<T: Copy>(column: &mut Vec<T>, from: &[T], rows: &Range<usize>) {
    column.extend_from_slice(from.get(rows.clone()).unwrap_or_default());
}

fn texts(state: &mut State, batch: &SpanBatch, rows: Range<usize>) {
    let spans = &mut state.open.table.spans;
    let strings = &mut state.strings;
    let mut codes = |column: &mut Vec<StringCode>, from: &[Slice]| {
        let from = from.get(rows.clone()).unwrap_or_default();
        column.extend(from.iter().map(|slice| code(strings, batch, *slice)));
    };
    codes(&mut spans.name, &batch.spans.name);
    codes(&mut spans.status_message, &batch.spans.status_message);
    codes(&mut spans.trace_state, &batch.spans.trace_state);
}

fn code(strings: &mut Interner, batch: &SpanBatch, slice: Slice) -> StringCode {
    if slice.len == 0 {
        // The empty string is the first of every generation.
        return StringCode(0);
    }
    strings.intern(batch.bytes(slice))
}

/// Attributes, events and links.
fn lists(state: &mut State, batch: &SpanBatch, rows: Range<usize>) {
    let table = &mut state.open.table;
    let strings = &mut state.strings;
    let mut last = None;
    for row in rows {
        let of = |column: &[Rows]| column.get(row).copied().unwrap_or_default();
        let run = of(&batch.spans.attributes);
        let start = table.attributes.len();
        push_attributes(
            &mut table.attributes,
            &mut table.spans.attributes,
            strings,
            batch,
            run,
            last,
        );
        last = Some(Before { run, start });
        let events = of(&batch.spans.events);
        let at = table.events.time_unix_nano.len() as u32;
        table.spans.events.push(at, events.len() as u32);
        if !events.is_empty() {
            push_events(
                &mut table.events,
                &mut table.attributes,
                strings,
                batch,
                events,
            );
        }
        let links = of(&batch.spans.links);
        let at = table.links.trace_id.len() as u32;
        table.spans.links.push(at, links.len() as u32);
        if !links.is_empty() {
            push_links(
                &mut table.links,
                &mut table.attributes,
                strings,
                batch,
                links,
            );
        }
    }
}

/// The attributes of the span before: in the batch, and where they went.
#[derive(Clone, Copy)]
struct Before {
    run: Rows,
    start: usize,
}

impl Before {
    /// The code of the key at a place of the run, if it is the same text there. Most spans have the
    /// keys of the span before in the same order: that saves the search for them.
    fn key(
        self,
        table: &AttributeRows,
        batch: &SpanBatch,
        i: usize,
        key: Slice,
    ) -> Option<StringCode> {
        let before = batch.attributes.keys.get(self.run.range())?.get(i)?;
        let same = before.len == key.len && batch.bytes(*before) == batch.bytes(key);
        same.then(|| table.key.get(self.start + i).copied())
            .flatten()
    }

    /// The same for a text value.
    fn text(self, table: &AttributeRows, batch: &SpanBatch, i: usize, text: Slice) -> Option<u64> {
        let values = batch.attributes.values.get(self.run.range())?;
        let Some(ValueSlice::String(before)) = values.get(i) else {
            return None;
        };
        let same = before.len == text.len && batch.bytes(*before) == batch.bytes(text);
        same.then(|| table.value.get(self.start + i).copied())
            .flatten()
    }
}

fn push_attributes(
    table: &mut AttributeRows,
    runs: &mut Runs,
    strings: &mut Interner,
    batch: &SpanBatch,
    rows: Rows,
    before: Option<Before>,
) {
    runs.push(table.len() as u32, rows.len() as u32);
    let keys = batch.attributes.keys.get(rows.range()).unwrap_or_default();
    let values = batch
        .attributes
        .values
        .get(rows.range())
        .unwrap_or_default();
    for (i, (key, value)) in keys.iter().zip(values).enumerate() {
        let known = before.and_then(|before| before.key(table, batch, i, *key));
        let key = known.unwrap_or_else(|| code(strings, batch, *key));
        let mut of = |slice: Slice| u64::from(code(strings, batch, slice).0);
        let (value_type, value) = match *value {
            ValueSlice::Empty => (AttributeType::Empty, 0),
            ValueSlice::String(text) => {
                let known = before.and_then(|before| before.text(table, batch, i, text));
                (AttributeType::String, known.unwrap_or_else(|| of(text)))
            }
            ValueSlice::Bool(value) => (AttributeType::Bool, u64::from(value)),
            ValueSlice::Int(value) => (AttributeType::Int, value as u64),
            ValueSlice::Double(value) => (AttributeType::Double, value.to_bits()),
            ValueSlice::Bytes(bytes) => (AttributeType::Bytes, of(bytes)),
            ValueSlice::Array(message) => (AttributeType::Array, of(message)),
            ValueSlice::Strings(message) => (AttributeType::Strings, of(message)),
            ValueSlice::KvList(message) => (AttributeType::KvList, of(message)),
        };
        table.push(key, value_type, value);
    }
}

fn push_events(
    events: &mut crate::table::EventRows,
    attributes: &mut AttributeRows,
    strings: &mut Interner,
    batch: &SpanBatch,
    rows: Rows,
) {
    let from = &batch.events;
    for row in rows.range() {
        let slice = from.name.get(row).copied().unwrap_or_default();
        events.name.push(code(strings, batch, slice));
        let time = from.time_unix_nano.get(row).copied().unwrap_or_default();
        events.time_unix_nano.push(time);
        let dropped = from.dropped_attributes_count.get(row).copied();
        events.dropped_attributes.push(dropped.unwrap_or_default());
        let run = from.attributes.get(row).copied().unwrap_or_default();
        push_attributes(
            attributes,
            &mut events.attributes,
            strings,
            batch,
            run,
            None,
        );
    }
}

fn push_links(
    links: &mut crate::table::LinkRows,
    attributes: &mut AttributeRows,
    strings: &mut Interner,
    batch: &SpanBatch,
    rows: Rows,
) {
    let from = &batch.links;
    for row in rows.range() {
        let trace_id = from.trace_id.get(row).copied().unwrap_or_default();
        links.trace_id.push(trace_id);
        let span_id = from.span_id.get(row).copied().unwrap_or_default();
        links.span_id.push(span_id);
        let slice = from.trace_state.get(row).copied().unwrap_or_default();
        links.trace_state.push(code(strings, batch, slice));
        links
            .flags
            .push(from.flags.get(row).copied().unwrap_or_default());
        let dropped = from.dropped_attributes_count.get(row).copied();
        links.dropped_attributes.push(dropped.unwrap_or_default());
        let run = from.attributes.get(row).copied().unwrap_or_default();
        push_attributes(attributes, &mut links.attributes, strings, batch, run, None);
    }
}
