//! Spans for the tests of blocks: random ones of every form, and the fixed ones of the golden blocks.

#![expect(
    clippy::too_many_lines,
    reason = "every field of a span, one after the other"
)]

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracewell_model::{
    AttributeValue, ContentHash, Event, KeyValue, Link, Resource, Scope, Span, SpanId, Status,
    TenantId, TraceId,
};
use tracewell_wire::otlp::{canonical_resource, canonical_scope, encode_any_value};

use crate::table::{
    AttributeRows, Dictionary, Interner, ResourceEntry, Runs, STATUS_ABSENT, ScopeEntry, SpanTable,
};

/// A table of these spans, sorted as a group of a block is.
pub(crate) fn table_of(spans: &[(TenantId, Span)]) -> (SpanTable, Dictionary) {
    let mut spans = spans.to_vec();
    spans.sort_by(|(tenant, a), (other, b)| {
        let key = |span: &Span| (span.trace_id, span.start_unix_nano, span.span_id);
        (tenant, key(a)).cmp(&(other, key(b)))
    });
    let mut strings = Interner::new();
    let mut table = SpanTable::default();
    let (mut resources, mut scopes, mut tenants) = (Vec::new(), Vec::new(), Vec::new());
    for (tenant, span) in &spans {
        let rows = &mut table.spans;
        rows.tenant.push(place(&mut tenants, tenant.clone()) as u16);
        rows.trace_id.push(span.trace_id);
        rows.span_id.push(span.span_id);
        rows.has_parent.push(span.parent_span_id.is_some());
        rows.parent_span_id
            .push(span.parent_span_id.unwrap_or_default());
        rows.start_unix_nano.push(span.start_unix_nano);
        rows.end_unix_nano.push(span.end_unix_nano);
        rows.name.push(strings.intern(span.name.as_bytes()));
        rows.kind.push(span.kind);
        rows.status_code.push(
            span.status
                .as_ref()
                .map_or(STATUS_ABSENT, |status| status.code),
        );
        let message = span.status.as_ref().map_or("", |status| &status.message);
        rows.status_message.push(strings.intern(message.as_bytes()));
        rows.trace_state
            .push(strings.intern(span.trace_state.as_bytes()));
        rows.flags.push(span.flags);
        rows.dropped_attributes.push(span.dropped_attributes_count);
        rows.dropped_events.push(span.dropped_events_count);
        rows.dropped_links.push(span.dropped_links_count);
        let hash = ContentHash::of(&canonical_resource(&span.resource));
        let entry = ResourceEntry {
            hash,
            resource: Arc::clone(&span.resource),
        };
        rows.resource.push(place(&mut resources, Arc::new(entry)));
        let hash = ContentHash::of(&canonical_scope(&span.scope));
        let entry = ScopeEntry {
            hash,
            scope: Arc::clone(&span.scope),
        };
        rows.scope.push(place(&mut scopes, Arc::new(entry)));
        push_list(
            &span.attributes,
            &mut strings,
            &mut table.attributes,
            &mut rows.attributes,
        );
        rows.events
            .push(table.events.len() as u32, span.events.len() as u32);
        for event in &span.events {
            table.events.time_unix_nano.push(event.time_unix_nano);
            table
                .events
                .name
                .push(strings.intern(event.name.as_bytes()));
            table
                .events
                .dropped_attributes
                .push(event.dropped_attributes_count);
            push_list(
                &event.attributes,
                &mut strings,
                &mut table.attributes,
                &mut table.events.attributes,
            );
        }
        rows.links
            .push(table.links.len() as u32, span.links.len() as u32);
        for link in &span.links {
            table.links.trace_id.push(link.trace_id);
            table.links.span_id.push(link.span_id);
            table
                .links
                .trace_state
                .push(strings.intern(link.trace_state.as_bytes()));
            table.links.flags.push(link.flags);
            table
                .links
                .dropped_attributes
                .push(link.dropped_attributes_count);
            push_list(
                &link.attributes,
                &mut strings,
                &mut table.attributes,
                &mut table.links.attributes,
            );
        }
    }
    let dictionary = Dictionary {
        strings: strings.snapshot(),
        resources: Arc::new(resources),
        scopes: Arc::new(scopes),
        tenants: Arc::new(tenants),
    };
    (table, dictionary)
}

fn place<T: PartialEq>(entries: &mut Vec<T>, entry: T) -> u32 {
    let found = entries.iter().position(|other| *other == entry);
    found.unwrap_or_else(|| {
        entries.push(entry);
        entries.len() - 1
    }) as u32
}

fn push_list(list: &[KeyValue], strings: &mut Interner, out: &mut AttributeRows, runs: &mut Runs) {
    let start = out.len() as u32;
    for attribute in list {
        let key = strings.intern(attribute.key.as_bytes());
        let value = match &attribute.value {
            AttributeValue::Empty => 0,
            AttributeValue::String(text) => u64::from(strings.intern(text.as_bytes()).0),
            AttributeValue::Bool(value) => u64::from(*value),
            AttributeValue::Int(value) => *value as u64,
            AttributeValue::Double(value) => value.to_bits(),
            AttributeValue::Bytes(bytes) => u64::from(strings.intern(bytes).0),
            other => u64::from(strings.intern(&encode_any_value(other)).0),
        };
        out.push(key, attribute.value.attribute_type(), value);
    }
    runs.push(start, list.len() as u32);
}

pub(crate) fn spans_of(table: &SpanTable, dictionary: &Dictionary) -> Vec<(TenantId, Span)> {
    (0..table.n_spans())
        .map(|row| {
            let tenant = dictionary.tenants[usize::from(table.spans.tenant[row])].clone();
            (tenant, table.span(dictionary, row).unwrap())
        })
        .collect()
}

/// Random spans with every field and type, odd times, ids that repeat, keys that differ in case.
pub(crate) fn random_spans(seed: u64, n: usize) -> Vec<(TenantId, Span)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let rng = &mut rng;
    let resources: Vec<Arc<Resource>> = (0..4)
        .map(|number| {
            Arc::new(Resource {
                present: number > 0,
                attributes: if number > 0 {
                    random_list(rng, 6)
                } else {
                    Vec::new()
                },
                dropped_attributes_count: if number > 0 { number } else { 0 },
                schema_url: if number == 2 {
                    "https://s/1".to_owned()
                } else {
                    String::new()
                },
                ..Resource::default()
            })
        })
        .collect();
    let scopes: Vec<Arc<Scope>> = (0..3)
        .map(|number| {
            Arc::new(Scope {
                present: number > 0,
                name: if number > 0 {
                    format!("scope{number}")
                } else {
                    String::new()
                },
                attributes: if number > 1 {
                    random_list(rng, 3)
                } else {
                    Vec::new()
                },
                ..Scope::default()
            })
        })
        .collect();
    let mut spans = Vec::new();
    while spans.len() < n {
        let tenant = TenantId::new(["a", "b"][rng.random_range(0..2)]).unwrap();
        let trace_id = TraceId(rng.random());
        let start: u64 = 1_700_000_000_000_000_000 + rng.random_range(0..60_000_000_000);
        let n_spans = rng.random_range(1..12);
        let ids: Vec<SpanId> = (0..n_spans).map(|_| SpanId(rng.random())).collect();
        for number in 0..n_spans {
            let start = if rng.random_bool(0.02) {
                rng.random()
            } else {
                start + rng.random_range(0..1_000_000)
            };
            let end = match rng.random_range(0..20) {
                0 => start.wrapping_sub(rng.random_range(0..1000)),
                1 => rng.random(),
                2 => u64::MAX,
                _ => start.wrapping_add(rng.random_range(0..2_000_000)),
            };
            let span = Span {
                resource: Arc::clone(&resources[rng.random_range(0..resources.len())]),
                scope: Arc::clone(&scopes[rng.random_range(0..scopes.len())]),
                trace_id,
                span_id: if rng.random_bool(0.05) {
                    ids[0]
                } else {
                    ids[number]
                },
                parent_span_id: match rng.random_range(0..10) {
                    0 => None,
                    1 => Some(SpanId::default()),
                    2 => Some(SpanId(rng.random())),
                    _ => Some(ids[rng.random_range(0..ids.len())]),
                },
                trace_state: if rng.random_bool(0.1) {
                    "a=b".to_owned()
                } else {
                    String::new()
                },
                flags: if rng.random_bool(0.3) {
                    rng.random()
                } else {
                    0x101
                },
                name: format!("op {}", rng.random_range(0..30)),
                kind: rng.random_range(-1..7),
                start_unix_nano: start,
                end_unix_nano: end,
                attributes: random_list(rng, 10),
                dropped_attributes_count: rng.random_range(0..3),
                events: (0..rng.random_range(0..3))
                    .map(|_| Event {
                        time_unix_nano: rng.random(),
                        name: ["exception", "", "retry"][rng.random_range(0..3)].to_owned(),
                        attributes: random_list(rng, 4),
                        dropped_attributes_count: rng.random_range(0..2),
                    })
                    .collect(),
                dropped_events_count: rng.random_range(0..2),
                links: (0..rng.random_range(0..2))
                    .map(|_| Link {
                        trace_id: TraceId(rng.random()),
                        span_id: SpanId(rng.random()),
                        trace_state: if rng.random() {
                            "l=1".to_owned()
                        } else {
                            String::new()
                        },
                        attributes: random_list(rng, 2),
                        dropped_attributes_count: rng.random_range(0..2),
                        flags: rng.random_range(0..3),
                    })
                    .collect(),
                dropped_links_count: rng.random_range(0..2),
                status: rng.random_bool(0.7).then(|| Status {
                    code: rng.random_range(0..4),
                    message: if rng.random_bool(0.2) {
                        "it broke".to_owned()
                    } else {
                        String::new()
                    },
                }),
            };
            spans.push((tenant.clone(), span));
        }
    }
    spans
}

fn random_list(rng: &mut StdRng, n_max: usize) -> Vec<KeyValue> {
    const KEYS: [&str; 9] = [
        "service.name",
        "userid",
        "userId",
        "USERID",
        "a:int",
        "http.method",
        "rare\nkey",
        "",
        "x~y",
    ];
    (0..rng.random_range(0..=n_max))
        .map(|_| {
            let key = match rng.random_range(0..10) {
                0..6 => KEYS[rng.random_range(0..KEYS.len())].to_owned(),
                _ => format!("key{}", rng.random_range(0..300)),
            };
            KeyValue {
                key,
                value: random_value(rng, 2),
            }
        })
        .collect()
}

fn random_value(rng: &mut StdRng, depth: u32) -> AttributeValue {
    let text = |rng: &mut StdRng| {
        format!(
            "v{}{}",
            rng.random_range(0..50),
            "é".repeat(rng.random_range(0..40))
        )
    };
    match rng.random_range(0..if depth > 0 { 12 } else { 7 }) {
        0 => AttributeValue::Empty,
        1 => AttributeValue::Bool(rng.random()),
        2 => AttributeValue::Int(rng.random()),
        3 => AttributeValue::Double(f64::from(rng.random_range(-5i32..5)) / 4.0),
        4 => AttributeValue::Bytes((0..rng.random_range(0..5)).map(|_| rng.random()).collect()),
        5 | 6 => AttributeValue::String(text(rng)),
        7 => AttributeValue::String(String::new()),
        8 | 9 => AttributeValue::Array(
            (0..rng.random_range(0..4))
                .map(|_| AttributeValue::String(text(rng)))
                .collect(),
        ),
        10 => AttributeValue::Array(
            (0..rng.random_range(0..3))
                .map(|_| random_value(rng, depth - 1))
                .collect(),
        ),
        _ => AttributeValue::KvList(
            (0..rng.random_range(0..3))
                .map(|number| KeyValue {
                    key: format!("k{number}"),
                    value: random_value(rng, depth - 1),
                })
                .collect(),
        ),
    }
}

/// The spans of golden block `number`, 0 or 1. They never change.
pub(crate) fn golden_spans(number: u8) -> Vec<(TenantId, Span)> {
    let text = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: AttributeValue::String(value.to_owned()),
    };
    let int = |key: &str, value: i64| KeyValue {
        key: key.to_owned(),
        value: AttributeValue::Int(value),
    };
    let mut spans = Vec::new();
    for trace in 0..6u8 {
        for index in 0..3u8 {
            let service = ["shop", "cart", "stock"][usize::from(index)];
            let start = 1_790_000_000_000_000_000
                + u64::from(number) * 60_000_000_000
                + u64::from(trace) * 1_000_000_000
                + u64::from(index) * 1_000_000;
            let id = |index: u8| SpanId([number, trace, index, 1, 2, 3, 4, 5]);
            let mut attributes = vec![text("http.method", "GET"), text("userid", "lower")];
            attributes.push(if number == 0 {
                int("http.status_code", 200 + i64::from(trace % 2))
            } else {
                text("http.status_code", "200")
            });
            if number == 1 {
                attributes.push(text("userId", "camel"));
                attributes.push(KeyValue {
                    key: "tags".to_owned(),
                    value: AttributeValue::Array(vec![
                        AttributeValue::String("a".to_owned()),
                        AttributeValue::String("b".to_owned()),
                    ]),
                });
            }
            if trace == 0 && index == 2 {
                attributes.push(text("http.method", "second"));
                attributes.push(KeyValue {
                    key: "empty".to_owned(),
                    value: AttributeValue::Empty,
                });
            }
            if trace == 5 && index == 1 {
                // A key that no column may have: it is not printable.
                attributes.push(text("app.\u{1}", "hidden"));
                attributes.push(KeyValue {
                    key: "blob".to_owned(),
                    value: AttributeValue::Bytes(vec![0, 1, 2]),
                });
            }
            let error = trace % 3 == 1 && index == 2;
            spans.push((
                TenantId::single(),
                Span {
                    resource: Arc::new(Resource {
                        present: true,
                        attributes: vec![
                            text("service.name", service),
                            text("host.name", "host-1"),
                            int("process.pid", 7),
                        ],
                        ..Resource::default()
                    }),
                    scope: Arc::new(Scope {
                        present: true,
                        name: "golden".to_owned(),
                        version: "1".to_owned(),
                        ..Scope::default()
                    }),
                    trace_id: TraceId([number, trace, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]),
                    span_id: id(index),
                    parent_span_id: match index {
                        0 => None,
                        2 if trace == 2 => Some(SpanId([0xee; 8])),
                        _ => Some(id(index - 1)),
                    },
                    flags: 0x101,
                    name: format!("op{index}"),
                    kind: [2, 1, 3][usize::from(index)],
                    start_unix_nano: start,
                    end_unix_nano: if trace == 4 && index == 1 {
                        start - 5
                    } else {
                        start + 2_000_000 * u64::from(trace + 1)
                    },
                    attributes,
                    events: if error {
                        vec![Event {
                            time_unix_nano: start + 10,
                            name: "exception".to_owned(),
                            attributes: vec![
                                text("exception.type", "IOError"),
                                text("exception.message", "disk on fire"),
                            ],
                            dropped_attributes_count: 0,
                        }]
                    } else {
                        Vec::new()
                    },
                    links: if trace == 3 && index == 0 {
                        vec![Link {
                            trace_id: TraceId([9; 16]),
                            span_id: SpanId([8; 8]),
                            attributes: vec![text("why", "retry")],
                            ..Link::default()
                        }]
                    } else {
                        Vec::new()
                    },
                    status: error.then(|| Status {
                        code: 2,
                        message: "failed".to_owned(),
                    }),
                    ..Span::default()
                },
            ));
        }
    }
    spans
}
