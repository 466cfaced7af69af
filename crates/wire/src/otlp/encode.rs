//! Owned spans to OTLP protobuf `TracesData`, which has the same bytes as an
//! `ExportTraceServiceRequest`: grouped by resource and scope, in order of first appearance.

use std::collections::HashMap;
use std::sync::Arc;

use tracewell_model::{Event, Link, Resource, Scope, Span, Trace};

use super::canonical::{canonical_resource, canonical_scope, write_resource, write_scope};
use super::value::write_key_value;
use crate::protobuf::Writer;

pub fn encode_traces(traces: &[Trace]) -> Vec<u8> {
    encode_spans(traces.iter().flat_map(|trace| &trace.spans))
}

/// Encodes spans. Resources are one if their canonical bytes are equal, scopes likewise within a
/// resource; spans of one scope keep their order.
pub fn encode_spans<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<u8> {
    Groups::of(spans).encode()
}

/// Spans by resource and scope, as OTLP nests them, in order of first appearance.
#[derive(Debug, Default)]
pub struct Groups<'a> {
    pub resources: Vec<ResourceGroup<'a>>,
    by_content: HashMap<Vec<u8>, usize>,
    /// The same by address: the spans of a request share their resources and scopes.
    by_address: HashMap<(usize, usize), (usize, usize)>,
}

#[derive(Debug)]
pub struct ResourceGroup<'a> {
    pub resource: &'a Resource,
    pub scopes: Vec<ScopeGroup<'a>>,
    by_content: HashMap<Vec<u8>, usize>,
}

#[derive(Debug)]
pub struct ScopeGroup<'a> {
    pub scope: &'a Scope,
    pub spans: Vec<&'a Span>,
}

// === impl Groups ===

impl<'a> Groups<'a> {
    /// Resources are one if their canonical bytes are equal, scopes likewise within a resource.
    pub fn of(spans: impl IntoIterator<Item = &'a Span>) -> Self {
        let mut groups = Self::default();
        for span in spans {
            groups.add(span);
        }
        groups
    }

    fn add(&mut self, span: &'a Span) {
        let address = (
            Arc::as_ptr(&span.resource).addr(),
            Arc::as_ptr(&span.scope).addr(),
        );
        let (resource_index, scope_index) = match self.by_address.get(&address) {
            Some(indices) => *indices,
            None => {
                let indices = self.place(&span.resource, &span.scope);
                self.by_address.insert(address, indices);
                indices
            }
        };
        if let Some(group) = self
            .resources
            .get_mut(resource_index)
            .and_then(|resource| resource.scopes.get_mut(scope_index))
        {
            group.spans.push(span);
        }
    }

    fn place(&mut self, resource: &'a Resource, scope: &'a Scope) -> (usize, usize) {
        let n_resources = self.resources.len();
        let resource_index = *self
            .by_content
            .entry(canonical_resource(resource))
            .or_insert(n_resources);
        if resource_index == n_resources {
            self.resources.push(ResourceGroup {
                resource,
                scopes: Vec::new(),
                by_content: HashMap::new(),
            });
        }
        let Some(group) = self.resources.get_mut(resource_index) else {
            return (resource_index, 0);
        };
        let n_scopes = group.scopes.len();
        let scope_index = *group
            .by_content
            .entry(canonical_scope(scope))
            .or_insert(n_scopes);
        if scope_index == n_scopes {
            let spans = Vec::new();
            group.scopes.push(ScopeGroup { scope, spans });
        }
        (resource_index, scope_index)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        for group in &self.resources {
            out.message(1, |out| {
                write_resource(out, group.resource);
                for group in &group.scopes {
                    out.message(2, |out| {
                        write_scope(out, group.scope);
                        for span in &group.spans {
                            out.message(2, |out| write_span(out, span));
                        }
                        out.bytes_unless_empty(3, group.scope.schema_url.as_bytes());
                    });
                }
                out.bytes_unless_empty(3, group.resource.schema_url.as_bytes());
            });
        }
        out.into_bytes()
    }
}

/// The content of a `Span` message.
fn write_span(out: &mut Writer, span: &Span) {
    out.bytes(1, &span.trace_id.0);
    out.bytes(2, &span.span_id.0);
    out.bytes_unless_empty(3, span.trace_state.as_bytes());
    if let Some(parent) = span.parent_span_id {
        out.bytes(4, &parent.0);
    }
    out.bytes_unless_empty(5, span.name.as_bytes());
    out.int32_unless_zero(6, span.kind);
    out.fixed64_unless_zero(7, span.start_unix_nano);
    out.fixed64_unless_zero(8, span.end_unix_nano);
    for attribute in &span.attributes {
        write_key_value(out, 9, attribute);
    }
    out.varint_unless_zero(10, u64::from(span.dropped_attributes_count));
    for event in &span.events {
        out.message(11, |out| write_event(out, event));
    }
    out.varint_unless_zero(12, u64::from(span.dropped_events_count));
    for link in &span.links {
        out.message(13, |out| write_link(out, link));
    }
    out.varint_unless_zero(14, u64::from(span.dropped_links_count));
    if let Some(status) = &span.status {
        out.message(15, |out| {
            out.bytes_unless_empty(2, status.message.as_bytes());
            out.int32_unless_zero(3, status.code);
        });
    }
    out.fixed32_unless_zero(16, span.flags);
}

fn write_event(out: &mut Writer, event: &Event) {
    out.fixed64_unless_zero(1, event.time_unix_nano);
    out.bytes_unless_empty(2, event.name.as_bytes());
    for attribute in &event.attributes {
        write_key_value(out, 3, attribute);
    }
    out.varint_unless_zero(4, u64::from(event.dropped_attributes_count));
}

fn write_link(out: &mut Writer, link: &Link) {
    out.bytes(1, &link.trace_id.0);
    out.bytes(2, &link.span_id.0);
    out.bytes_unless_empty(3, link.trace_state.as_bytes());
    for attribute in &link.attributes {
        write_key_value(out, 4, attribute);
    }
    out.varint_unless_zero(5, u64::from(link.dropped_attributes_count));
    out.fixed32_unless_zero(6, link.flags);
}
