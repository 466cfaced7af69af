//! Answers for several tenants, put together.
//!
//! Each tenant is asked by itself: what a condition says of a trace holds for the spans of one tenant. A trace
//! that several have spans of is one in the answer. What this is not: it joins no fragments of one tenant, which
//! the engine does.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::request::{
    QueryStats, SearchResponse, Spanset, TagNamesResponse, TagValuesResponse, TraceResponse,
    TraceSummary,
};

// === impl SearchResponse ===

impl SearchResponse {
    /// Adds what another tenant has; the newest `limit` traces of both stay.
    pub fn add(&mut self, other: Self, limit: usize, spans_per_spanset: usize) {
        for trace in other.traces {
            let same = |known: &&mut TraceSummary| known.trace_id == trace.trace_id;
            match self.traces.iter_mut().find(same) {
                Some(known) => known.add(trace, spans_per_spanset),
                None => self.traces.push(trace),
            }
        }
        self.traces
            .sort_by_key(|trace| (Reverse(trace.start_unix_nano), trace.trace_id));
        self.traces.truncate(limit);
        self.stats.add(&other.stats);
        self.partial.extend(other.partial);
        self.held.add(other.held);
    }
}

// === impl TraceSummary ===

impl TraceSummary {
    fn add(&mut self, other: Self, spans_per_spanset: usize) {
        let end_of = |trace: &Self| trace.start_unix_nano.saturating_add(trace.duration_nano);
        let end = end_of(self).max(end_of(&other));
        self.start_unix_nano = self.start_unix_nano.min(other.start_unix_nano);
        self.duration_nano = end - self.start_unix_nano;
        self.root = self.root.take().or(other.root);
        for spanset in other.spansets {
            // Groups of different values, and numbers of one tenant alone, stay apart.
            let same = |known: &&mut Spanset| known.attributes == spanset.attributes;
            match self.spansets.iter_mut().find(same) {
                Some(known) => known.add(spanset, spans_per_spanset),
                None => self.spansets.push(spanset),
            }
        }
        for service in other.services {
            let same = |known: &&mut crate::request::ServiceStats| known.service == service.service;
            match self.services.iter_mut().find(same) {
                Some(known) => {
                    known.n_spans += service.n_spans;
                    known.n_errors += service.n_errors;
                }
                None => self.services.push(service),
            }
        }
        self.services.sort_by(|a, b| a.service.cmp(&b.service));
    }
}

// === impl Spanset ===

impl Spanset {
    fn add(&mut self, other: Self, spans_per_spanset: usize) {
        self.matched += other.matched;
        self.spans.extend(other.spans);
        self.spans
            .sort_by_key(|span| (span.start_unix_nano, span.span_id));
        self.spans.truncate(spans_per_spanset);
    }
}

// === impl TraceResponse ===

impl TraceResponse {
    /// Adds the spans that another tenant has of the trace.
    pub fn add(&mut self, other: Self) {
        match (&mut self.trace, other.trace) {
            (Some(known), Some(more)) => known.spans.extend(more.spans),
            (known @ None, more) => *known = more,
            (Some(_), None) => {}
        }
        self.stats.add(&other.stats);
        self.partial.extend(other.partial);
        self.held.add(other.held);
    }
}

// === impl TagNamesResponse ===

impl TagNamesResponse {
    /// Adds the names that another tenant has, up to `limit` of each scope.
    pub fn add(&mut self, other: Self, limit: usize) {
        for scope in other.scopes {
            match self
                .scopes
                .iter_mut()
                .find(|known| known.scope == scope.scope)
            {
                Some(known) => {
                    let names = std::mem::take(&mut known.names).into_iter();
                    let all: BTreeSet<String> = names.chain(scope.names).collect();
                    self.truncated |= all.len() > limit;
                    known.names = all.into_iter().take(limit).collect();
                }
                None => self.scopes.push(scope),
            }
        }
        self.stats.add(&other.stats);
        self.partial.extend(other.partial);
        self.truncated |= other.truncated;
    }
}

// === impl TagValuesResponse ===

impl TagValuesResponse {
    /// Adds the values that another tenant has, up to `limit`.
    pub fn add(&mut self, other: Self, limit: usize) {
        let known: BTreeSet<_> = self.values.iter().cloned().collect();
        let new = other.values.into_iter();
        self.values.extend(new.filter(|it| !known.contains(it)));
        self.values.sort();
        self.truncated |= other.truncated || self.values.len() > limit;
        self.values.truncate(limit);
        self.stats.add(&other.stats);
        self.partial.extend(other.partial);
        self.held.add(other.held);
    }
}

// === impl QueryStats ===

impl QueryStats {
    fn add(&mut self, other: &Self) {
        self.inspected_bytes += other.inspected_bytes;
        self.inspected_spans += other.inspected_spans;
        self.inspected_traces += other.inspected_traces;
        self.left_out_spans += other.left_out_spans;
        self.duplicate_spans += other.duplicate_spans;
        self.twin_spans += other.twin_spans;
        for limit in other.limits_hit.iter() {
            self.limits_hit.insert(limit);
        }
        self.n_sources += other.n_sources;
        self.n_sources_done += other.n_sources_done;
        self.source_bytes += other.source_bytes;
        self.elapsed_nano += other.elapsed_nano;
        self.n_groups += other.n_groups;
        self.n_groups_ruled_out += other.n_groups_ruled_out;
    }
}
