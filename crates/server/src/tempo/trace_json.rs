//! Spans as Tempo's JSON writes them: OTLP's names, ids in base64, enums by name, zero values left
//! out. Nothing is lost: what was sent as an empty message is an empty object.

use tracewell_model::{AttributeValue, Event, KeyValue, Link, Resource, Scope, Span};
use tracewell_wire::otlp::Groups;

use crate::json::{Json, Pieces};

const KINDS: &[&str] = &[
    "",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
const STATUS_CODES: &[&str] = &["", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// A list of `ResourceSpans`.
pub(crate) fn write_groups<P: Pieces>(json: &mut Json<P>, groups: &Groups<'_>) {
    json.array(&groups.resources, |json, group| {
        json.object(|json| {
            write_resource(json, group.resource);
            json.key("scopeSpans").array(&group.scopes, |json, group| {
                json.object(|json| {
                    write_scope(json, group.scope);
                    json.key("spans")
                        .array(&group.spans, |json, span| write_span(json, span));
                    json.string_unless_empty("schemaUrl", &group.scope.schema_url);
                });
            });
            json.string_unless_empty("schemaUrl", &group.resource.schema_url);
        });
    });
}

fn write_resource<P: Pieces>(json: &mut Json<P>, resource: &Resource) {
    if !resource.present {
        return;
    }
    json.key("resource").object(|json| {
        write_attributes(json, &resource.attributes);
        json.number_unless_zero("droppedAttributesCount", resource.dropped_attributes_count);
        if resource.entity_refs.is_empty() {
            return;
        }
        json.key("entityRefs")
            .array(&resource.entity_refs, |json, entity| {
                json.object(|json| {
                    json.string_unless_empty("schemaUrl", &entity.schema_url);
                    json.string_unless_empty("type", &entity.entity_type);
                    write_strings(json, "idKeys", &entity.id_keys);
                    write_strings(json, "descriptionKeys", &entity.description_keys);
                });
            });
    });
}

fn write_strings<P: Pieces>(json: &mut Json<P>, key: &str, strings: &[String]) {
    if !strings.is_empty() {
        json.key(key).array(strings, |json, text| json.string(text));
    }
}

fn write_scope<P: Pieces>(json: &mut Json<P>, scope: &Scope) {
    if !scope.present {
        return;
    }
    json.key("scope").object(|json| {
        json.string_unless_empty("name", &scope.name);
        json.string_unless_empty("version", &scope.version);
        write_attributes(json, &scope.attributes);
        json.number_unless_zero("droppedAttributesCount", scope.dropped_attributes_count);
    });
}

fn write_span<P: Pieces>(json: &mut Json<P>, span: &Span) {
    json.object(|json| {
        json.key("traceId").base64(&span.trace_id.0);
        json.key("spanId").base64(&span.span_id.0);
        json.string_unless_empty("traceState", &span.trace_state);
        if let Some(parent) = span.parent_span_id {
            json.key("parentSpanId").base64(&parent.0);
        }
        json.number_unless_zero("flags", span.flags);
        json.string_unless_empty("name", &span.name);
        write_enum(json, "kind", span.kind, KINDS);
        json.long_unless_zero("startTimeUnixNano", span.start_unix_nano);
        json.long_unless_zero("endTimeUnixNano", span.end_unix_nano);
        write_attributes(json, &span.attributes);
        json.number_unless_zero("droppedAttributesCount", span.dropped_attributes_count);
        if !span.events.is_empty() {
            json.key("events").array(&span.events, write_event);
        }
        json.number_unless_zero("droppedEventsCount", span.dropped_events_count);
        if !span.links.is_empty() {
            json.key("links").array(&span.links, write_link);
        }
        json.number_unless_zero("droppedLinksCount", span.dropped_links_count);
        if let Some(status) = &span.status {
            json.key("status").object(|json| {
                json.string_unless_empty("message", &status.message);
                write_enum(json, "code", status.code, STATUS_CODES);
            });
        }
    });
}

fn write_event<P: Pieces>(json: &mut Json<P>, event: &Event) {
    json.object(|json| {
        json.long_unless_zero("timeUnixNano", event.time_unix_nano);
        json.string_unless_empty("name", &event.name);
        write_attributes(json, &event.attributes);
        json.number_unless_zero("droppedAttributesCount", event.dropped_attributes_count);
    });
}

fn write_link<P: Pieces>(json: &mut Json<P>, link: &Link) {
    json.object(|json| {
        json.key("traceId").base64(&link.trace_id.0);
        json.key("spanId").base64(&link.span_id.0);
        json.string_unless_empty("traceState", &link.trace_state);
        write_attributes(json, &link.attributes);
        json.number_unless_zero("droppedAttributesCount", link.dropped_attributes_count);
        json.number_unless_zero("flags", link.flags);
    });
}

/// An `attributes` field, unless there are none.
pub(crate) fn write_attributes<P: Pieces>(json: &mut Json<P>, attributes: &[KeyValue]) {
    if !attributes.is_empty() {
        json.key("attributes").array(attributes, write_key_value);
    }
}

/// Labels of a series.
pub(crate) fn write_labels<P: Pieces>(json: &mut Json<P>, labels: &[KeyValue]) {
    if !labels.is_empty() {
        json.key("labels").array(labels, write_key_value);
    }
}

fn write_key_value<P: Pieces>(json: &mut Json<P>, attribute: &KeyValue) {
    json.object(|json| {
        json.string_unless_empty("key", &attribute.key);
        json.key("value");
        write_value(json, &attribute.value);
    });
}

/// An `AnyValue`. It recurses as deep as the value was nested, which ingest bounds.
fn write_value<P: Pieces>(json: &mut Json<P>, value: &AttributeValue) {
    json.object(|json| match value {
        AttributeValue::Empty => {}
        AttributeValue::String(text) => json.key("stringValue").string(text),
        AttributeValue::Bool(value) => json.key("boolValue").bool(*value),
        AttributeValue::Int(value) => json.key("intValue").long(value),
        AttributeValue::Double(value) => json.key("doubleValue").double(*value),
        AttributeValue::Bytes(bytes) => json.key("bytesValue").base64(bytes),
        AttributeValue::Array(items) => json.key("arrayValue").object(|json| {
            if !items.is_empty() {
                json.key("values").array(items, write_value);
            }
        }),
        AttributeValue::KvList(items) => json.key("kvlistValue").object(|json| {
            if !items.is_empty() {
                json.key("values").array(items, write_key_value);
            }
        }),
    });
}

/// An enum by its name, or by its number if it has no name here. Zero is left out.
fn write_enum<P: Pieces>(json: &mut Json<P>, key: &str, code: i32, names: &[&str]) {
    if code == 0 {
        return;
    }
    let name = usize::try_from(code).ok().and_then(|code| names.get(code));
    match name {
        Some(name) => json.key(key).string(name),
        None => json.key(key).number(code),
    }
}
