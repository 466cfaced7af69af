//! Rows of several span tables put together into one, strings interned once.
//!
//! A merge gathers the fragments of each trace here. In the result equal strings have equal codes, so
//! that "equal in every field" is a comparison of numbers. What this is not: it reads and writes no
//! block, and does not choose rows.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tracewell_model::value::AttributeType;
use tracewell_model::{ContentHash, TenantId};

use crate::table::{
    AttributeRows, Dictionary, Interner, ResourceEntry, Runs, ScopeEntry, SpanTable, StringCode,
};

const UNSET: u32 = u32::MAX;

/// Where rows are put together.
#[derive(Debug, Default)]
pub struct Gather {
    table: SpanTable,
    interner: Interner,
    resources: Vec<Arc<ResourceEntry>>,
    scopes: Vec<Arc<ScopeEntry>>,
    tenants: Vec<TenantId>,
    resource_index: HashMap<ContentHash, u32, FixedState>,
    scope_index: HashMap<ContentHash, u32, FixedState>,
}

/// A table that rows are taken from, with what its codes are in the result.
#[derive(Debug)]
pub struct Source<'a> {
    table: &'a SpanTable,
    dictionary: &'a Dictionary,
    codes: Vec<u32>,
    resources: Vec<u32>,
    scopes: Vec<u32>,
    tenants: Vec<u32>,
}

/// A finished table and the order that its rows are to be written in.
#[derive(Debug)]
pub struct Gathered {
    pub table: SpanTable,
    pub dictionary: Dictionary,
    /// Rows by tenant, trace id, start and span id; those equal in every field to an earlier one are
    /// left out.
    pub order: Vec<u32>,
    /// How many were left out.
    pub n_equal: u64,
}

// === impl Source ===

impl<'a> Source<'a> {
    pub fn new(table: &'a SpanTable, dictionary: &'a Dictionary) -> Self {
        Self {
            table,
            dictionary,
            codes: vec![UNSET; dictionary.strings.n_strings()],
            resources: vec![UNSET; dictionary.resources.len()],
            scopes: vec![UNSET; dictionary.scopes.len()],
            tenants: vec![UNSET; dictionary.tenants.len()],
        }
    }
}

// === impl Gather ===

impl Gather {
    pub fn n_spans(&self) -> usize {
        self.table.n_spans()
    }

    /// Bytes of rows and strings.
    pub fn n_bytes(&self) -> usize {
        self.table.n_bytes() + self.interner.n_bytes()
    }

    /// Adds one row. A row that the source does not have adds nothing.
    pub fn push(&mut self, source: &mut Source<'_>, row: usize) {
        let from = &source.table.spans;
        let Some(&trace_id) = from.trace_id.get(row) else {
            return;
        };
        let tenant = self.tenant(source, at(&from.tenant, row));
        let resource = self.resource(source, at(&from.resource, row));
        let scope = self.scope(source, at(&from.scope, row));
        let name = self.code(source, at(&from.name, row));
        let status_message = self.code(source, at(&from.status_message, row));
        let trace_state = self.code(source, at(&from.trace_state, row));
        let attributes = self.attributes(source, from.attributes.get(row));
        let events = self.events(source, from.events.get(row));
        let links = self.links(source, from.links.get(row));
        let to = &mut self.table.spans;
        to.tenant.push(tenant);
        to.trace_id.push(trace_id);
        to.span_id.push(at(&from.span_id, row));
        to.parent_span_id.push(at(&from.parent_span_id, row));
        to.has_parent.push(at(&from.has_parent, row));
        to.start_unix_nano.push(at(&from.start_unix_nano, row));
        to.end_unix_nano.push(at(&from.end_unix_nano, row));
        to.name.push(name);
        to.kind.push(at(&from.kind, row));
        to.status_code.push(at(&from.status_code, row));
        to.status_message.push(status_message);
        to.trace_state.push(trace_state);
        to.flags.push(at(&from.flags, row));
        to.dropped_attributes
            .push(at(&from.dropped_attributes, row));
        to.dropped_events.push(at(&from.dropped_events, row));
        to.dropped_links.push(at(&from.dropped_links, row));
        to.resource.push(resource);
        to.scope.push(scope);
        push_run(&mut to.attributes, attributes);
        push_run(&mut to.events, events);
        push_run(&mut to.links, links);
    }

    /// Sorts the rows and finds those that are equal in every field to an earlier one.
    pub fn finish(self) -> Gathered {
        let (table, tenants) = (self.table, self.tenants);
        let rows = &table.spans;
        let mut order: Vec<u32> = (0..u32::try_from(table.n_spans()).unwrap_or(u32::MAX)).collect();
        order.sort_by_cached_key(|&row| {
            let row = row as usize;
            (
                tenants.get(usize::from(at(&rows.tenant, row))),
                at(&rows.trace_id, row),
                at(&rows.start_unix_nano, row),
                at(&rows.span_id, row),
                row,
            )
        });
        let mut kept: Vec<u32> = Vec::with_capacity(order.len());
        let mut n_equal = 0;
        for row in order {
            let twin = kept
                .iter()
                .rev()
                .take_while(|&&other| same_place(&table, other as usize, row as usize))
                .any(|&other| equal(&table, other as usize, row as usize));
            if twin {
                n_equal += 1;
            } else {
                kept.push(row);
            }
        }
        Gathered {
            dictionary: Dictionary {
                strings: self.interner.snapshot(),
                resources: Arc::new(self.resources),
                scopes: Arc::new(self.scopes),
                tenants: Arc::new(tenants),
            },
            order: kept,
            n_equal,
            table,
        }
    }

    fn attributes(&mut self, source: &mut Source<'_>, run: std::ops::Range<usize>) -> Run {
        let start = self.table.attributes.key.len();
        for row in run.clone() {
            let from = &source.table.attributes;
            let value_type = at_or(&from.value_type, row, AttributeType::Empty);
            let (key, value) = (at(&from.key, row), at(&from.value, row));
            let key = self.code(source, key);
            let value = match value_type {
                AttributeType::String
                | AttributeType::Bytes
                | AttributeType::Array
                | AttributeType::KvList
                | AttributeType::Strings => {
                    let code = StringCode(u32::try_from(value).unwrap_or(UNSET));
                    u64::from(self.code(source, code).0)
                }
                AttributeType::Bool
                | AttributeType::Int
                | AttributeType::Double
                | AttributeType::Empty => value,
            };
            let to = &mut self.table.attributes;
            to.key.push(key);
            to.value_type.push(value_type);
            to.value.push(value);
        }
        (start, run.len())
    }

    fn events(&mut self, source: &mut Source<'_>, run: std::ops::Range<usize>) -> Run {
        let start = self.table.events.name.len();
        for row in run.clone() {
            let from = &source.table.events;
            let attributes = from.attributes.get(row);
            let name = self.code(source, at(&from.name, row));
            let attributes = self.attributes(source, attributes);
            let from = &source.table.events;
            let to = &mut self.table.events;
            to.time_unix_nano.push(at(&from.time_unix_nano, row));
            to.name.push(name);
            to.dropped_attributes
                .push(at(&from.dropped_attributes, row));
            push_run(&mut to.attributes, attributes);
        }
        (start, run.len())
    }

    fn links(&mut self, source: &mut Source<'_>, run: std::ops::Range<usize>) -> Run {
        let start = self.table.links.trace_id.len();
        for row in run.clone() {
            let from = &source.table.links;
            let attributes = from.attributes.get(row);
            let trace_state = self.code(source, at(&from.trace_state, row));
            let attributes = self.attributes(source, attributes);
            let from = &source.table.links;
            let to = &mut self.table.links;
            to.trace_id.push(at(&from.trace_id, row));
            to.span_id.push(at(&from.span_id, row));
            to.trace_state.push(trace_state);
            to.flags.push(at(&from.flags, row));
            to.dropped_attributes
                .push(at(&from.dropped_attributes, row));
            push_run(&mut to.attributes, attributes);
        }
        (start, run.len())
    }

    fn code(&mut self, source: &mut Source<'_>, code: StringCode) -> StringCode {
        let index = code.0 as usize;
        if let Some(&known) = source.codes.get(index)
            && known != UNSET
        {
            return StringCode(known);
        }
        let new = self.interner.intern(source.dictionary.strings.get(code)).0;
        if let Some(slot) = source.codes.get_mut(index) {
            *slot = new;
        }
        StringCode(new)
    }

    fn resource(&mut self, source: &mut Source<'_>, index: u32) -> u32 {
        let (Some(slot), Some(entry)) = (
            source.resources.get_mut(index as usize),
            source.dictionary.resources.get(index as usize),
        ) else {
            return index;
        };
        if *slot == UNSET {
            let list = &mut self.resources;
            *slot = *self.resource_index.entry(entry.hash).or_insert_with(|| {
                list.push(Arc::clone(entry));
                n_before(list.len())
            });
        }
        *slot
    }

    fn scope(&mut self, source: &mut Source<'_>, index: u32) -> u32 {
        let (Some(slot), Some(entry)) = (
            source.scopes.get_mut(index as usize),
            source.dictionary.scopes.get(index as usize),
        ) else {
            return index;
        };
        if *slot == UNSET {
            let list = &mut self.scopes;
            *slot = *self.scope_index.entry(entry.hash).or_insert_with(|| {
                list.push(Arc::clone(entry));
                n_before(list.len())
            });
        }
        *slot
    }

    fn tenant(&mut self, source: &mut Source<'_>, index: u16) -> u16 {
        let (Some(slot), Some(tenant)) = (
            source.tenants.get_mut(usize::from(index)),
            source.dictionary.tenants.get(usize::from(index)),
        ) else {
            return index;
        };
        if *slot == UNSET {
            // Tenants of one merge are few.
            let list = &mut self.tenants;
            let known = list.iter().position(|other| other == tenant);
            let code = known.unwrap_or_else(|| {
                list.push(tenant.clone());
                list.len() - 1
            });
            *slot = u32::try_from(code).unwrap_or(UNSET);
        }
        u16::try_from(*slot).unwrap_or(u16::MAX)
    }
}

/// Start and length.
type Run = (usize, usize);

fn push_run(runs: &mut Runs, (start, len): Run) {
    runs.push(
        u32::try_from(start).unwrap_or(u32::MAX),
        u32::try_from(len).unwrap_or(u32::MAX),
    );
}

/// The index of the last of so many.
fn n_before(len: usize) -> u32 {
    u32::try_from(len - 1).unwrap_or(UNSET)
}

fn at<T: Copy + Default>(column: &[T], row: usize) -> T {
    column.get(row).copied().unwrap_or_default()
}

fn at_or<T: Copy>(column: &[T], row: usize, absent: T) -> T {
    column.get(row).copied().unwrap_or(absent)
}

/// Same tenant, trace, start and id: where equal spans lie side by side.
fn same_place(table: &SpanTable, a: usize, b: usize) -> bool {
    let rows = &table.spans;
    at(&rows.tenant, a) == at(&rows.tenant, b)
        && at(&rows.trace_id, a) == at(&rows.trace_id, b)
        && at(&rows.start_unix_nano, a) == at(&rows.start_unix_nano, b)
        && at(&rows.span_id, a) == at(&rows.span_id, b)
}

/// Equal in every field. Doubles are compared by their bits, so that NaN is equal to itself.
fn equal(table: &SpanTable, a: usize, b: usize) -> bool {
    let rows = &table.spans;
    let parent = |row| at(&rows.has_parent, row).then(|| at(&rows.parent_span_id, row));
    same_place(table, a, b)
        && parent(a) == parent(b)
        && at(&rows.end_unix_nano, a) == at(&rows.end_unix_nano, b)
        && at(&rows.name, a) == at(&rows.name, b)
        && at(&rows.kind, a) == at(&rows.kind, b)
        && at(&rows.status_code, a) == at(&rows.status_code, b)
        && at(&rows.status_message, a) == at(&rows.status_message, b)
        && at(&rows.trace_state, a) == at(&rows.trace_state, b)
        && at(&rows.flags, a) == at(&rows.flags, b)
        && at(&rows.dropped_attributes, a) == at(&rows.dropped_attributes, b)
        && at(&rows.dropped_events, a) == at(&rows.dropped_events, b)
        && at(&rows.dropped_links, a) == at(&rows.dropped_links, b)
        && at(&rows.resource, a) == at(&rows.resource, b)
        && at(&rows.scope, a) == at(&rows.scope, b)
        && equal_attributes(
            &table.attributes,
            rows.attributes.get(a),
            rows.attributes.get(b),
        )
        && equal_runs(rows.events.get(a), rows.events.get(b), |a, b| {
            let events = &table.events;
            at(&events.time_unix_nano, a) == at(&events.time_unix_nano, b)
                && at(&events.name, a) == at(&events.name, b)
                && at(&events.dropped_attributes, a) == at(&events.dropped_attributes, b)
                && equal_attributes(
                    &table.attributes,
                    events.attributes.get(a),
                    events.attributes.get(b),
                )
        })
        && equal_runs(rows.links.get(a), rows.links.get(b), |a, b| {
            let links = &table.links;
            at(&links.trace_id, a) == at(&links.trace_id, b)
                && at(&links.span_id, a) == at(&links.span_id, b)
                && at(&links.trace_state, a) == at(&links.trace_state, b)
                && at(&links.flags, a) == at(&links.flags, b)
                && at(&links.dropped_attributes, a) == at(&links.dropped_attributes, b)
                && equal_attributes(
                    &table.attributes,
                    links.attributes.get(a),
                    links.attributes.get(b),
                )
        })
}

fn equal_attributes(
    rows: &AttributeRows,
    a: std::ops::Range<usize>,
    b: std::ops::Range<usize>,
) -> bool {
    equal_runs(a, b, |a, b| {
        at(&rows.key, a) == at(&rows.key, b)
            && at_or(&rows.value_type, a, AttributeType::Empty)
                == at_or(&rows.value_type, b, AttributeType::Empty)
            && at(&rows.value, a) == at(&rows.value, b)
    })
}

fn equal_runs(
    a: std::ops::Range<usize>,
    b: std::ops::Range<usize>,
    equal: impl Fn(usize, usize) -> bool,
) -> bool {
    a.len() == b.len() && a.zip(b).all(|(a, b)| equal(a, b))
}
