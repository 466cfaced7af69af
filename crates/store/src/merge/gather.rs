//! Rows of several span tables put together into one, strings interned once.
//!
//! A merge gathers the fragments of each trace here. In the result equal strings have equal codes, so
//! that "equal in every field" is a comparison of numbers. What this is not: it reads and writes no
//! block, and does not choose rows.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tracewell_model::SpanId;
use tracewell_model::value::AttributeType;

use crate::table::{
    AttributeRows, Dictionary, DictionaryBuilder, Interner, Runs, SpanTable, StringCode,
};

const UNSET: u32 = u32::MAX;

/// Where rows are put together.
#[derive(Debug, Default)]
pub struct Gather {
    table: SpanTable,
}

/// A table that rows are taken from.
#[derive(Debug)]
pub struct Source<'a> {
    table: &'a SpanTable,
    /// `None` where the table is numbered as the result is.
    renumber: Option<Renumber<'a>>,
}

/// The numbers of a source in the result, as far as they were met.
#[derive(Debug)]
struct Renumber<'a> {
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
    /// How many share their id with another of their trace and differ from it.
    pub n_twins: u64,
}

// === impl Source ===

impl<'a> Source<'a> {
    /// A table with a dictionary of its own.
    pub fn new(table: &'a SpanTable, dictionary: &'a Dictionary) -> Self {
        Self {
            table,
            renumber: Some(Renumber {
                dictionary,
                codes: vec![UNSET; dictionary.strings.n_strings()],
                resources: vec![UNSET; dictionary.resources.len()],
                scopes: vec![UNSET; dictionary.scopes.len()],
                tenants: vec![UNSET; dictionary.tenants.len()],
            }),
        }
    }

    /// A table whose dictionary is the one that rows are gathered into: they are copied as they are.
    pub fn of_same_dictionary(table: &'a SpanTable) -> Self {
        let renumber = None;
        Self { table, renumber }
    }

    fn codes(&mut self, to: &mut Vec<StringCode>, into: &mut Interner, from: &[StringCode]) {
        match &mut self.renumber {
            None => to.extend_from_slice(from),
            Some(numbers) => to.extend(from.iter().map(|code| numbers.code(into, *code))),
        }
    }

    fn attributes(&mut self, to: &mut AttributeRows, into: &mut Interner, run: &Range<usize>) {
        let from = &self.table.attributes;
        let types = part(&from.value_type, run);
        to.value_type.extend_from_slice(types);
        let (keys, values) = (part(&from.key, run), part(&from.value, run));
        let Some(numbers) = &mut self.renumber else {
            to.key.extend_from_slice(keys);
            to.value.extend_from_slice(values);
            return;
        };
        to.key
            .extend(keys.iter().map(|key| numbers.code(into, *key)));
        let values = types.iter().zip(values);
        to.value.extend(values.map(|(value_type, value)| {
            if is_code(*value_type) {
                let code = StringCode(u32::try_from(*value).unwrap_or(UNSET));
                u64::from(numbers.code(into, code).0)
            } else {
                *value
            }
        }));
    }
}

// === impl Renumber ===

impl Renumber<'_> {
    fn code(&mut self, into: &mut Interner, code: StringCode) -> StringCode {
        let strings = &self.dictionary.strings;
        StringCode(renumbered(&mut self.codes, code.0 as usize, || {
            into.intern(strings.get(code)).0
        }))
    }

    fn resource(&mut self, into: &mut DictionaryBuilder, index: u32) -> u32 {
        let entry = self.dictionary.resources.get(index as usize);
        renumbered(&mut self.resources, index as usize, || {
            entry.map_or(UNSET, |entry| into.resource(entry))
        })
    }

    fn scope(&mut self, into: &mut DictionaryBuilder, index: u32) -> u32 {
        let entry = self.dictionary.scopes.get(index as usize);
        renumbered(&mut self.scopes, index as usize, || {
            entry.map_or(UNSET, |entry| into.scope(entry))
        })
    }

    fn tenant(&mut self, into: &mut DictionaryBuilder, index: u16) -> u16 {
        let tenant = self.dictionary.tenants.get(usize::from(index));
        let new = renumbered(&mut self.tenants, usize::from(index), || {
            let new = tenant.and_then(|tenant| into.tenant(tenant));
            new.map_or(UNSET, u32::from)
        });
        u16::try_from(new).unwrap_or(u16::MAX)
    }
}

fn renumbered(known: &mut [u32], index: usize, find: impl FnOnce() -> u32) -> u32 {
    match known.get_mut(index) {
        Some(known) if *known != UNSET => *known,
        Some(unknown) => {
            *unknown = find();
            *unknown
        }
        None => find(),
    }
}

// === impl Gather ===

impl Gather {
    /// Room for so many spans, with about as many attributes each as those of `like`.
    pub fn reserve(&mut self, n_spans: usize, like: &SpanTable) {
        // A little more, so that the estimate by the next source does not move all of it.
        let share = |n: usize| n_spans.saturating_mul(n + n / 32) / like.n_spans().max(1);
        self.table.reserve(
            n_spans,
            share(like.events.len()),
            share(like.links.len()),
            share(like.attributes.len()),
        );
    }

    /// Adds rows in their order. Rows that the source does not have add nothing.
    pub fn push(
        &mut self,
        source: &mut Source<'_>,
        into: &mut DictionaryBuilder,
        rows: Range<usize>,
    ) {
        let table = source.table;
        let n_rows = table.n_spans();
        let rows = &(rows.start.min(n_rows)..rows.end.min(n_rows));
        let (to, from) = (&mut self.table.spans, &table.spans);
        let (tenants, resources, scopes) = (
            part(&from.tenant, rows),
            part(&from.resource, rows),
            part(&from.scope, rows),
        );
        match &mut source.renumber {
            None => {
                to.tenant.extend_from_slice(tenants);
                to.resource.extend_from_slice(resources);
                to.scope.extend_from_slice(scopes);
            }
            Some(numbers) => {
                let tenants = tenants.iter().map(|at| numbers.tenant(into, *at));
                to.tenant.extend(tenants);
                let resources = resources.iter().map(|at| numbers.resource(into, *at));
                to.resource.extend(resources);
                let scopes = scopes.iter().map(|at| numbers.scope(into, *at));
                to.scope.extend(scopes);
            }
        }
        copy(&mut to.trace_id, &from.trace_id, rows);
        copy(&mut to.span_id, &from.span_id, rows);
        copy(&mut to.parent_span_id, &from.parent_span_id, rows);
        copy(&mut to.has_parent, &from.has_parent, rows);
        copy(&mut to.start_unix_nano, &from.start_unix_nano, rows);
        copy(&mut to.end_unix_nano, &from.end_unix_nano, rows);
        copy(&mut to.kind, &from.kind, rows);
        copy(&mut to.status_code, &from.status_code, rows);
        copy(&mut to.flags, &from.flags, rows);
        copy(&mut to.dropped_attributes, &from.dropped_attributes, rows);
        copy(&mut to.dropped_events, &from.dropped_events, rows);
        copy(&mut to.dropped_links, &from.dropped_links, rows);
        let into = &mut into.strings;
        source.codes(&mut to.name, into, part(&from.name, rows));
        let messages = part(&from.status_message, rows);
        source.codes(&mut to.status_message, into, messages);
        let states = part(&from.trace_state, rows);
        source.codes(&mut to.trace_state, into, states);
        for row in rows.clone() {
            let run = &from.attributes.get(row);
            push_run(&mut to.attributes, self.table.attributes.len(), run.len());
            source.attributes(&mut self.table.attributes, into, run);
        }
        self.push_events(source, into, rows);
        self.push_links(source, into, rows);
    }

    fn push_events(&mut self, source: &mut Source<'_>, into: &mut Interner, rows: &Range<usize>) {
        let (to, table) = (&mut self.table, source.table);
        let from = &table.events;
        for row in rows.clone() {
            let run = &table.spans.events.get(row);
            push_run(&mut to.spans.events, to.events.len(), run.len());
            copy(&mut to.events.time_unix_nano, &from.time_unix_nano, run);
            let dropped = &mut to.events.dropped_attributes;
            copy(dropped, &from.dropped_attributes, run);
            source.codes(&mut to.events.name, into, part(&from.name, run));
            for event in run.clone() {
                let attributes = &from.attributes.get(event);
                let start = to.attributes.len();
                push_run(&mut to.events.attributes, start, attributes.len());
                source.attributes(&mut to.attributes, into, attributes);
            }
        }
    }

    fn push_links(&mut self, source: &mut Source<'_>, into: &mut Interner, rows: &Range<usize>) {
        let (to, table) = (&mut self.table, source.table);
        let from = &table.links;
        for row in rows.clone() {
            let run = &table.spans.links.get(row);
            push_run(&mut to.spans.links, to.links.len(), run.len());
            copy(&mut to.links.trace_id, &from.trace_id, run);
            copy(&mut to.links.span_id, &from.span_id, run);
            copy(&mut to.links.flags, &from.flags, run);
            let dropped = &mut to.links.dropped_attributes;
            copy(dropped, &from.dropped_attributes, run);
            let states = part(&from.trace_state, run);
            source.codes(&mut to.links.trace_state, into, states);
            for link in run.clone() {
                let attributes = &from.attributes.get(link);
                let start = to.attributes.len();
                push_run(&mut to.links.attributes, start, attributes.len());
                source.attributes(&mut to.attributes, into, attributes);
            }
        }
    }

    /// Sorts the rows and finds those that are equal in every field to an earlier one.
    pub fn finish(self, dictionary: &DictionaryBuilder) -> Gathered {
        let (table, tenants) = (self.table, dictionary.tenants());
        let rows = &table.spans;
        let mut order: Vec<u32> = (0..u32::try_from(table.n_spans()).unwrap_or(u32::MAX)).collect();
        let mut by_name: Vec<usize> = (0..tenants.len()).collect();
        by_name.sort_unstable_by_key(|tenant| tenants.get(*tenant));
        let mut ranks = vec![0usize; tenants.len()];
        for (rank, tenant) in by_name.into_iter().enumerate() {
            if let Some(place) = ranks.get_mut(tenant) {
                *place = rank;
            }
        }
        let key = |row: u32| {
            let row = row as usize;
            (
                ranks.get(usize::from(at(&rows.tenant, row))),
                u128::from_be_bytes(at(&rows.trace_id, row).0),
                at(&rows.start_unix_nano, row),
                u64::from_be_bytes(at(&rows.span_id, row).0),
            )
        };
        // The rows of each source are in order already: a stable sort merges such runs.
        order.sort_by(|a, b| key(*a).cmp(&key(*b)));
        let n_rows = order.len();
        let kept = without_twins(&table, order);
        let n_equal = (n_rows - kept.len()) as u64;
        Gathered {
            dictionary: dictionary.dictionary(),
            n_twins: n_twins(&table, &kept),
            order: kept,
            n_equal,
            table,
        }
    }
}

/// Do values of this type lie in a table as codes of strings?
fn is_code(value_type: AttributeType) -> bool {
    match value_type {
        AttributeType::String
        | AttributeType::Bytes
        | AttributeType::Array
        | AttributeType::KvList
        | AttributeType::Strings => true,
        AttributeType::Bool | AttributeType::Int | AttributeType::Double | AttributeType::Empty => {
            false
        }
    }
}

fn push_run(runs: &mut Runs, start: usize, len: usize) {
    runs.push(
        u32::try_from(start).unwrap_or(u32::MAX),
        u32::try_from(len).unwrap_or(u32::MAX),
    );
}

fn part<'a, T>(column: &'a [T], rows: &Range<usize>) -> &'a [T] {
    let part = column.get(rows.clone());
    debug_assert!(part.is_some(), "columns of one group have the same length");
    part.unwrap_or_default()
}

fn copy<T: Copy>(to: &mut Vec<T>, from: &[T], rows: &Range<usize>) {
    to.extend_from_slice(part(from, rows));
}

/// Drops the rows that are equal in every field to an earlier one.
fn without_twins(table: &SpanTable, order: Vec<u32>) -> Vec<u32> {
    let mut kept: Vec<u32> = Vec::with_capacity(order.len());
    for place in order.chunk_by(|a, b| same_place(table, *a as usize, *b as usize)) {
        if let [only] = place {
            kept.push(*only);
            continue;
        }
        // Many different spans of one id and start must not cost a look at each other.
        let hasher = RandomState::default();
        let hash = |row: u32| hasher.hash_one(gist(table, row as usize));
        let mut seen = HashTable::<u32>::new();
        for row in place {
            let same = |other: &u32| equal(table, *other as usize, *row as usize);
            if seen.find(hash(*row), same).is_none() {
                seen.insert_unique(hash(*row), *row, |row| hash(*row));
                kept.push(*row);
            }
        }
    }
    kept
}

/// Spans beyond the first of each id in their trace.
fn n_twins(table: &SpanTable, order: &[u32]) -> u64 {
    let rows = &table.spans;
    let trace = |row: u32| {
        (
            at(&rows.tenant, row as usize),
            at(&rows.trace_id, row as usize),
        )
    };
    let mut ids: Vec<SpanId> = Vec::new();
    let mut n_twins = 0;
    for run in order.chunk_by(|a, b| trace(*a) == trace(*b)) {
        ids.clear();
        ids.extend(run.iter().map(|row| at(&rows.span_id, *row as usize)));
        ids.sort_unstable();
        ids.dedup();
        n_twins += (run.len() - ids.len()) as u64;
    }
    n_twins
}

/// What two spans of one place most likely differ in.
fn gist(table: &SpanTable, row: usize) -> (u64, u32, Option<SpanId>, &[StringCode], &[u64]) {
    let rows = &table.spans;
    let attributes = rows.attributes.get(row);
    (
        at(&rows.end_unix_nano, row),
        at(&rows.name, row).0,
        at(&rows.has_parent, row).then(|| at(&rows.parent_span_id, row)),
        part(&table.attributes.key, &attributes),
        part(&table.attributes.value, &attributes),
    )
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
