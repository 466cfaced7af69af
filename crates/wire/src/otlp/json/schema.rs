//! The OTLP messages of a trace request as a table.

/// A message.
#[derive(Debug)]
pub(super) struct Schema {
    pub name: &'static str,
    pub fields: &'static [Field],
}

#[derive(Debug)]
pub(super) struct Field {
    /// The name in lowerCamelCase, which OTLP writes.
    pub camel: &'static str,
    /// The name of the proto file, which ProtoJSON accepts as well.
    pub snake: &'static str,
    pub number: u32,
    pub kind: Kind,
    /// Written also where the message has it not: readers that are generated from the proto miss it.
    pub is_always_written: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    Message(&'static Schema),
    Messages(&'static Schema),
    Text,
    Texts,
    /// Bytes, in hex by OTLP's exception.
    Id,
    /// Bytes, in base64.
    Bytes,
    Fixed64,
    Fixed32,
    Uint32,
    Int64,
    Bool,
    Double,
    Enum(&'static [(&'static str, i32)]),
}

impl Schema {
    /// Messages have at most 16 fields, and the frequent ones stand first.
    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields
            .iter()
            .find(|field| field.camel == name || field.snake == name)
    }
}

const fn field(number: u32, camel: &'static str, snake: &'static str, kind: Kind) -> Field {
    Field {
        camel,
        snake,
        number,
        kind,
        is_always_written: false,
    }
}

const fn always(field: Field) -> Field {
    Field {
        is_always_written: true,
        ..field
    }
}

pub(super) static REQUEST: Schema = Schema {
    name: "ExportTraceServiceRequest",
    fields: &[field(
        1,
        "resourceSpans",
        "resource_spans",
        Kind::Messages(&RESOURCE_SPANS),
    )],
};

static RESOURCE_SPANS: Schema = Schema {
    name: "ResourceSpans",
    fields: &[
        field(1, "resource", "resource", Kind::Message(&RESOURCE)),
        field(2, "scopeSpans", "scope_spans", Kind::Messages(&SCOPE_SPANS)),
        field(3, "schemaUrl", "schema_url", Kind::Text),
    ],
};

static RESOURCE: Schema = Schema {
    name: "Resource",
    fields: &[
        field(1, "attributes", "attributes", Kind::Messages(&KEY_VALUE)),
        field(
            2,
            "droppedAttributesCount",
            "dropped_attributes_count",
            Kind::Uint32,
        ),
        field(3, "entityRefs", "entity_refs", Kind::Messages(&ENTITY_REF)),
    ],
};

static ENTITY_REF: Schema = Schema {
    name: "EntityRef",
    fields: &[
        always(field(1, "schemaUrl", "schema_url", Kind::Text)),
        always(field(2, "type", "type", Kind::Text)),
        always(field(3, "idKeys", "id_keys", Kind::Texts)),
        always(field(4, "descriptionKeys", "description_keys", Kind::Texts)),
    ],
};

static SCOPE_SPANS: Schema = Schema {
    name: "ScopeSpans",
    fields: &[
        field(1, "scope", "scope", Kind::Message(&SCOPE)),
        field(2, "spans", "spans", Kind::Messages(&SPAN)),
        field(3, "schemaUrl", "schema_url", Kind::Text),
    ],
};

static SCOPE: Schema = Schema {
    name: "InstrumentationScope",
    fields: &[
        field(1, "name", "name", Kind::Text),
        field(2, "version", "version", Kind::Text),
        field(3, "attributes", "attributes", Kind::Messages(&KEY_VALUE)),
        field(
            4,
            "droppedAttributesCount",
            "dropped_attributes_count",
            Kind::Uint32,
        ),
    ],
};

pub(super) static SPAN: Schema = Schema {
    name: "Span",
    fields: &[
        field(1, "traceId", "trace_id", Kind::Id),
        field(2, "spanId", "span_id", Kind::Id),
        field(4, "parentSpanId", "parent_span_id", Kind::Id),
        field(5, "name", "name", Kind::Text),
        field(6, "kind", "kind", Kind::Enum(SPAN_KINDS)),
        field(
            7,
            "startTimeUnixNano",
            "start_time_unix_nano",
            Kind::Fixed64,
        ),
        field(8, "endTimeUnixNano", "end_time_unix_nano", Kind::Fixed64),
        field(9, "attributes", "attributes", Kind::Messages(&KEY_VALUE)),
        field(11, "events", "events", Kind::Messages(&EVENT)),
        field(13, "links", "links", Kind::Messages(&LINK)),
        field(15, "status", "status", Kind::Message(&STATUS)),
        field(3, "traceState", "trace_state", Kind::Text),
        field(16, "flags", "flags", Kind::Fixed32),
        field(
            10,
            "droppedAttributesCount",
            "dropped_attributes_count",
            Kind::Uint32,
        ),
        field(
            12,
            "droppedEventsCount",
            "dropped_events_count",
            Kind::Uint32,
        ),
        field(14, "droppedLinksCount", "dropped_links_count", Kind::Uint32),
    ],
};

const SPAN_KINDS: &[(&str, i32)] = &[
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
];

static EVENT: Schema = Schema {
    name: "Event",
    fields: &[
        field(1, "timeUnixNano", "time_unix_nano", Kind::Fixed64),
        field(2, "name", "name", Kind::Text),
        field(3, "attributes", "attributes", Kind::Messages(&KEY_VALUE)),
        field(
            4,
            "droppedAttributesCount",
            "dropped_attributes_count",
            Kind::Uint32,
        ),
    ],
};

static LINK: Schema = Schema {
    name: "Link",
    fields: &[
        field(1, "traceId", "trace_id", Kind::Id),
        field(2, "spanId", "span_id", Kind::Id),
        field(3, "traceState", "trace_state", Kind::Text),
        field(4, "attributes", "attributes", Kind::Messages(&KEY_VALUE)),
        field(
            5,
            "droppedAttributesCount",
            "dropped_attributes_count",
            Kind::Uint32,
        ),
        field(6, "flags", "flags", Kind::Fixed32),
    ],
};

static STATUS: Schema = Schema {
    name: "Status",
    fields: &[
        field(3, "code", "code", Kind::Enum(STATUS_CODES)),
        field(2, "message", "message", Kind::Text),
    ],
};

const STATUS_CODES: &[(&str, i32)] = &[
    ("STATUS_CODE_UNSET", 0),
    ("STATUS_CODE_OK", 1),
    ("STATUS_CODE_ERROR", 2),
];

static KEY_VALUE: Schema = Schema {
    name: "KeyValue",
    fields: &[
        always(field(1, "key", "key", Kind::Text)),
        field(2, "value", "value", Kind::Message(&ANY_VALUE)),
    ],
};

static ANY_VALUE: Schema = Schema {
    name: "AnyValue",
    fields: &[
        field(1, "stringValue", "string_value", Kind::Text),
        field(3, "intValue", "int_value", Kind::Int64),
        field(2, "boolValue", "bool_value", Kind::Bool),
        field(4, "doubleValue", "double_value", Kind::Double),
        field(5, "arrayValue", "array_value", Kind::Message(&ARRAY_VALUE)),
        field(
            6,
            "kvlistValue",
            "kvlist_value",
            Kind::Message(&KEY_VALUE_LIST),
        ),
        field(7, "bytesValue", "bytes_value", Kind::Bytes),
    ],
};

static ARRAY_VALUE: Schema = Schema {
    name: "ArrayValue",
    fields: &[always(field(
        1,
        "values",
        "values",
        Kind::Messages(&ANY_VALUE),
    ))],
};

static KEY_VALUE_LIST: Schema = Schema {
    name: "KeyValueList",
    fields: &[always(field(
        1,
        "values",
        "values",
        Kind::Messages(&KEY_VALUE),
    ))],
};
