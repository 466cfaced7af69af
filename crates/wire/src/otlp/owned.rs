//! A batch's rows as owned spans: for taps, tests and answers, not for the hot path.

use std::sync::Arc;

use tracewell_model::batch::{ResourceRow, Rows, ScopeRow, Slice, ValueSlice};
use tracewell_model::{
    AttributeValue, Event, KeyValue, Link, Resource, Scope, Span, SpanBatch, Status,
};

use super::canonical::{merge_resource, merge_scope};
use super::decode::DEPTH_MAX;
use super::value::merge_any_value;

/// The resource of a row, with everything that its message holds.
pub fn resource_of(batch: &SpanBatch, row: &ResourceRow) -> Resource {
    let mut resource = Resource::default();
    if let Some(message) = row.message {
        let outcome = merge_resource(&mut resource, batch.bytes(message));
        debug_assert!(outcome.is_ok(), "the walk checked this message");
    }
    batch
        .text(row.schema_url)
        .clone_into(&mut resource.schema_url);
    resource
}

/// The scope of a row, with everything that its message holds.
pub fn scope_of(batch: &SpanBatch, row: &ScopeRow) -> Scope {
    let mut scope = Scope::default();
    if let Some(message) = row.message {
        let outcome = merge_scope(&mut scope, batch.bytes(message));
        debug_assert!(outcome.is_ok(), "the walk checked this message");
    }
    batch.text(row.schema_url).clone_into(&mut scope.schema_url);
    scope
}

/// An attribute value of the batch, owned.
pub fn value_of(batch: &SpanBatch, value: ValueSlice) -> AttributeValue {
    match value {
        ValueSlice::Empty => AttributeValue::Empty,
        ValueSlice::String(text) => AttributeValue::String(batch.text(text).to_owned()),
        ValueSlice::Bool(value) => AttributeValue::Bool(value),
        ValueSlice::Int(value) => AttributeValue::Int(value),
        ValueSlice::Double(value) => AttributeValue::Double(value),
        ValueSlice::Bytes(bytes) => AttributeValue::Bytes(batch.bytes(bytes).to_owned()),
        ValueSlice::Array(message) | ValueSlice::Strings(message) | ValueSlice::KvList(message) => {
            let mut value = AttributeValue::Empty;
            let outcome = merge_any_value(&mut value, batch.bytes(message), DEPTH_MAX);
            debug_assert!(outcome.is_ok(), "the walk checked this message");
            value
        }
    }
}

/// Every span of the batch, in the order of the request; equal rows share a resource and scope.
pub fn spans_of(batch: &SpanBatch) -> Vec<Span> {
    let resources: Vec<Arc<Resource>> = batch
        .resources
        .iter()
        .map(|row| Arc::new(resource_of(batch, row)))
        .collect();
    let scopes: Vec<(Arc<Resource>, Arc<Scope>)> = batch
        .scopes
        .iter()
        .map(|row| {
            let resource = resources.get(row.resource as usize).cloned();
            (resource.unwrap_or_default(), Arc::new(scope_of(batch, row)))
        })
        .collect();
    (0..batch.n_spans())
        .filter_map(|index| {
            let scope = scopes.get(*batch.spans.scope.get(index)? as usize)?;
            span(batch, index, scope)
        })
        .collect()
}

fn span(
    batch: &SpanBatch,
    index: usize,
    (resource, scope): &(Arc<Resource>, Arc<Scope>),
) -> Option<Span> {
    let spans = &batch.spans;
    let [
        dropped_attributes_count,
        dropped_events_count,
        dropped_links_count,
    ] = *spans.dropped.get(index)?;
    let message = text(batch, &spans.status_message, index);
    Some(Span {
        resource: Arc::clone(resource),
        scope: Arc::clone(scope),
        trace_id: *spans.trace_id.get(index)?,
        span_id: *spans.span_id.get(index)?,
        parent_span_id: *spans.parent_span_id.get(index)?,
        trace_state: text(batch, &spans.trace_state, index),
        flags: *spans.flags.get(index)?,
        name: text(batch, &spans.name, index),
        kind: *spans.kind.get(index)?,
        start_unix_nano: *spans.start_unix_nano.get(index)?,
        end_unix_nano: *spans.end_unix_nano.get(index)?,
        attributes: attributes(batch, *spans.attributes.get(index)?),
        dropped_attributes_count,
        events: spans
            .events
            .get(index)?
            .range()
            .filter_map(|row| event(batch, row))
            .collect(),
        dropped_events_count,
        links: spans
            .links
            .get(index)?
            .range()
            .filter_map(|row| link(batch, row))
            .collect(),
        dropped_links_count,
        status: spans
            .status_code
            .get(index)?
            .map(|code| Status { code, message }),
    })
}

fn event(batch: &SpanBatch, row: usize) -> Option<Event> {
    let events = &batch.events;
    Some(Event {
        time_unix_nano: *events.time_unix_nano.get(row)?,
        name: text(batch, &events.name, row),
        attributes: attributes(batch, *events.attributes.get(row)?),
        dropped_attributes_count: *events.dropped_attributes_count.get(row)?,
    })
}

fn link(batch: &SpanBatch, row: usize) -> Option<Link> {
    let links = &batch.links;
    Some(Link {
        trace_id: *links.trace_id.get(row)?,
        span_id: *links.span_id.get(row)?,
        trace_state: text(batch, &links.trace_state, row),
        attributes: attributes(batch, *links.attributes.get(row)?),
        dropped_attributes_count: *links.dropped_attributes_count.get(row)?,
        flags: *links.flags.get(row)?,
    })
}

fn attributes(batch: &SpanBatch, rows: Rows) -> Vec<KeyValue> {
    let columns = &batch.attributes;
    rows.range()
        .filter_map(|row| {
            Some(KeyValue {
                key: batch.text(*columns.keys.get(row)?).to_owned(),
                value: value_of(batch, *columns.values.get(row)?),
            })
        })
        .collect()
}

fn text(batch: &SpanBatch, column: &[Slice], row: usize) -> String {
    let slice = column.get(row).copied().unwrap_or_default();
    batch.text(slice).to_owned()
}
