//! A total order of spans by all they hold, for joining fragments: start and id first, so that it
//! is also the order in which a trace is shown, then every other field.
//!
//! Two spans are [`Ordering::Equal`] only if they are equal in every field. Doubles compare by
//! their bits, as merging compares them: a NaN is equal to itself, and zero is not minus zero. What
//! comes first among different spans of one start and id has no meaning; only broken senders have
//! such spans, and they may have as many as they like, so that nothing here allocates.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{EntityRef, Event, Link, Resource, Scope, Span, Status};
use crate::value::{AttributeValue, KeyValue};

// Each function takes its type apart field by field, so that a new field cannot be forgotten.

pub(super) fn compare(a: &Span, b: &Span) -> Ordering {
    let Span {
        resource,
        scope,
        trace_id,
        span_id,
        parent_span_id,
        trace_state,
        flags,
        name,
        kind,
        start_unix_nano,
        end_unix_nano,
        attributes,
        dropped_attributes_count,
        events,
        dropped_events_count,
        links,
        dropped_links_count,
        status,
    } = a;
    (start_unix_nano, span_id, trace_id, end_unix_nano)
        .cmp(&(
            &b.start_unix_nano,
            &b.span_id,
            &b.trace_id,
            &b.end_unix_nano,
        ))
        .then_with(|| (parent_span_id, kind, flags).cmp(&(&b.parent_span_id, &b.kind, &b.flags)))
        .then_with(|| (name, trace_state).cmp(&(&b.name, &b.trace_state)))
        .then_with(|| {
            let other = (
                &b.dropped_attributes_count,
                &b.dropped_events_count,
                &b.dropped_links_count,
            );
            (
                dropped_attributes_count,
                dropped_events_count,
                dropped_links_count,
            )
                .cmp(&other)
        })
        .then_with(|| compare_status(status.as_ref(), b.status.as_ref()))
        .then_with(|| compare_attributes(attributes, &b.attributes))
        .then_with(|| compare_lists(events, &b.events, compare_events))
        .then_with(|| compare_lists(links, &b.links, compare_links))
        .then_with(|| compare_shared(resource, &b.resource, compare_resources))
        .then_with(|| compare_shared(scope, &b.scope, compare_scopes))
}

fn compare_status(a: Option<&Status>, b: Option<&Status>) -> Ordering {
    fn parts(status: &Status) -> (i32, &str) {
        let Status { code, message } = status;
        (*code, message)
    }
    a.map(parts).cmp(&b.map(parts))
}

fn compare_events(a: &Event, b: &Event) -> Ordering {
    let Event {
        time_unix_nano,
        name,
        attributes,
        dropped_attributes_count,
    } = a;
    (time_unix_nano, name, dropped_attributes_count)
        .cmp(&(&b.time_unix_nano, &b.name, &b.dropped_attributes_count))
        .then_with(|| compare_attributes(attributes, &b.attributes))
}

fn compare_links(a: &Link, b: &Link) -> Ordering {
    let Link {
        trace_id,
        span_id,
        trace_state,
        attributes,
        dropped_attributes_count,
        flags,
    } = a;
    (trace_id, span_id, trace_state)
        .cmp(&(&b.trace_id, &b.span_id, &b.trace_state))
        .then_with(|| {
            (dropped_attributes_count, flags).cmp(&(&b.dropped_attributes_count, &b.flags))
        })
        .then_with(|| compare_attributes(attributes, &b.attributes))
}

fn compare_resources(a: &Resource, b: &Resource) -> Ordering {
    let Resource {
        present,
        attributes,
        dropped_attributes_count,
        entity_refs,
        schema_url,
    } = a;
    (present, dropped_attributes_count, schema_url)
        .cmp(&(&b.present, &b.dropped_attributes_count, &b.schema_url))
        .then_with(|| compare_lists(entity_refs, &b.entity_refs, compare_entities))
        .then_with(|| compare_attributes(attributes, &b.attributes))
}

fn compare_entities(a: &EntityRef, b: &EntityRef) -> Ordering {
    let EntityRef {
        schema_url,
        entity_type,
        id_keys,
        description_keys,
    } = a;
    (schema_url, entity_type, id_keys, description_keys).cmp(&(
        &b.schema_url,
        &b.entity_type,
        &b.id_keys,
        &b.description_keys,
    ))
}

fn compare_scopes(a: &Scope, b: &Scope) -> Ordering {
    let Scope {
        present,
        name,
        version,
        attributes,
        dropped_attributes_count,
        schema_url,
    } = a;
    (present, name, version)
        .cmp(&(&b.present, &b.name, &b.version))
        .then_with(|| {
            (dropped_attributes_count, schema_url)
                .cmp(&(&b.dropped_attributes_count, &b.schema_url))
        })
        .then_with(|| compare_attributes(attributes, &b.attributes))
}

fn compare_attributes(a: &[KeyValue], b: &[KeyValue]) -> Ordering {
    compare_lists(a, b, |a, b| {
        let KeyValue { key, value } = a;
        key.cmp(&b.key)
            .then_with(|| compare_values(value, &b.value))
    })
}

fn compare_values(a: &AttributeValue, b: &AttributeValue) -> Ordering {
    use AttributeValue as Value;
    match (a, b) {
        (Value::Empty, Value::Empty) => Ordering::Equal,
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Double(a), Value::Double(b)) => a.to_bits().cmp(&b.to_bits()),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => compare_lists(a, b, compare_values),
        (Value::KvList(a), Value::KvList(b)) => compare_attributes(a, b),
        _ => kind(a).cmp(&kind(b)),
    }
}

/// The place of each kind of value among the others.
fn kind(value: &AttributeValue) -> u8 {
    match value {
        AttributeValue::Empty => 0,
        AttributeValue::String(_) => 1,
        AttributeValue::Bool(_) => 2,
        AttributeValue::Int(_) => 3,
        AttributeValue::Double(_) => 4,
        AttributeValue::Bytes(_) => 5,
        AttributeValue::Array(_) => 6,
        AttributeValue::KvList(_) => 7,
    }
}

fn compare_lists<T>(a: &[T], b: &[T], compare: impl Fn(&T, &T) -> Ordering) -> Ordering {
    let mut pairs = a.iter().zip(b);
    let different = pairs.find_map(|(a, b)| Some(compare(a, b)).filter(|order| order.is_ne()));
    different.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn compare_shared<T>(a: &Arc<T>, b: &Arc<T>, compare: impl Fn(&T, &T) -> Ordering) -> Ordering {
    if Arc::ptr_eq(a, b) {
        Ordering::Equal
    } else {
        compare(a, b)
    }
}
