//! Random traces.

use std::sync::Arc;

use tracewell_model::alias::JOINS;
use tracewell_model::span::EntityRef;
use tracewell_model::{
    AttributeValue, Event, KeyValue, Link, Resource, Scope, Span, SpanId, Status, TraceId,
};

use super::Random;

/// What the traces are like.
#[derive(Debug, Clone, Copy)]
pub struct TraceOptions {
    /// Spans of one trace; at least one.
    pub spans_max: usize,
    /// Trace starts lie in `start..start + width`, in nanoseconds.
    pub start: u64,
    pub width: u64,
    /// How long a trace takes, in nanoseconds; at least one.
    pub duration_max: u64,
    /// Contents of every kind instead of a small vocabulary: for round trips.
    pub wild: bool,
    /// Now and then: times that make no sense, parents in a circle, spans that share an id,
    /// spans that are sent twice.
    pub odd: bool,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            spans_max: 6,
            start: 1_790_000_000_000_000_000,
            width: 10_000_000_000,
            duration_max: 2_000_000_000,
            wild: false,
            odd: true,
        }
    }
}

/// Keys of the small vocabulary. Some are old and new names of one attribute, two differ in case
/// alone, and a key may hold values of any type.
pub const KEYS: &[&str] = &[
    "a",
    "b",
    "A",
    "n",
    "http.method",
    "http.request.method",
    "http.status_code",
    "http.response.status_code",
    "db.system",
    "db.system.name",
    "net.peer.name",
    "server.address",
    "client.address",
    "http.host",
    "rpc.service",
    "rpc.method",
    "code.namespace",
    "code.function",
    "code.function.name",
    "a key",
];
pub const NAMES: &[&str] = &["GET /", "POST /cart", "query", "send", ""];
pub const TEXTS: &[&str] = &[
    "x",
    "y",
    "x:80",
    "x/y",
    "y.x",
    "GET",
    "POST",
    "mssql",
    "microsoft.sql_server",
    "é",
    "",
];
pub const SERVICES: &[&str] = &["shop", "cart", "db"];
pub const EVENT_NAMES: &[&str] = &["exception", "retry", "x"];
pub const LIBRARIES: &[&str] = &["lib-a", "lib-b", ""];

/// The spans of `n` traces. Resources and scopes are few and shared, as in real requests.
pub fn random_traces(random: &mut Random, n: usize, options: &TraceOptions) -> Vec<Span> {
    let resources: Vec<_> = (0..4)
        .map(|_| Arc::new(resource(random, options.wild)))
        .collect();
    let scopes: Vec<_> = (0..3)
        .map(|_| Arc::new(scope(random, options.wild)))
        .collect();
    let mut spans = Vec::new();
    for _ in 0..n {
        let trace = trace(random, options, &resources, &scopes);
        spans.extend(trace);
    }
    spans
}

/// Deals spans out to `n` parts, as they would lie in several requests or sources. A trace mostly
/// stays together; `late_percent` of the spans go anywhere.
pub fn scatter(
    random: &mut Random,
    spans: Vec<Span>,
    n: usize,
    late_percent: u32,
) -> Vec<Vec<Span>> {
    let n = n.max(1);
    let mut parts = vec![Vec::new(); n];
    let mut home = (TraceId::default(), 0);
    for span in spans {
        if home.0 != span.trace_id {
            home = (span.trace_id, random.below(n));
        }
        let part = if random.percent(late_percent) {
            random.below(n)
        } else {
            home.1
        };
        if let Some(part) = parts.get_mut(part) {
            part.push(span);
        }
    }
    parts
}

fn trace(
    random: &mut Random,
    options: &TraceOptions,
    resources: &[Arc<Resource>],
    scopes: &[Arc<Scope>],
) -> Vec<Span> {
    let trace_id = trace_id(random);
    let start = options.start.saturating_add(random.number(options.width));
    let n_spans = 1 + random.below(options.spans_max);
    let mut spans: Vec<Span> = Vec::with_capacity(n_spans + 1);
    for index in 0..n_spans {
        let mut span = Span {
            resource: Arc::clone(random.pick(resources)),
            scope: Arc::clone(random.pick(scopes)),
            trace_id,
            parent_span_id: (index > 0).then(|| random.pick(&spans).span_id),
            ..span(random, start, options)
        };
        if options.odd {
            make_odd(random, &mut span, &spans);
        }
        spans.push(span);
    }
    if options.odd && random.percent(10) {
        let again = random.pick(&spans).clone();
        spans.push(again);
    }
    spans
}

/// A few ids begin with zeros: 64-bit ids of old tracers do.
fn trace_id(random: &mut Random) -> TraceId {
    let mut id: [u8; 16] = random.bytes();
    if random.percent(20) {
        for byte in id.iter_mut().take(8) {
            *byte = 0;
        }
    }
    id[15] |= 1;
    TraceId(id)
}

fn span_id(random: &mut Random) -> SpanId {
    let mut id: [u8; 8] = random.bytes();
    id[0] |= 1;
    SpanId(id)
}

fn make_odd(random: &mut Random, span: &mut Span, others: &[Span]) {
    match random.below(60) {
        0 => span.parent_span_id = Some(span.span_id),
        1 => span.parent_span_id = Some(span_id(random)),
        2 => span.parent_span_id = Some(SpanId([0; 8])),
        3 => span.end_unix_nano = span.start_unix_nano.saturating_sub(1_000),
        4 => span.end_unix_nano = 0,
        5 => span.end_unix_nano = u64::MAX,
        6 if !others.is_empty() => span.span_id = random.pick(others).span_id,
        7 => span.start_unix_nano = span.start_unix_nano.saturating_sub(5_000_000_000),
        8 => span.parent_span_id = None,
        _ => {}
    }
}

fn span(random: &mut Random, start: u64, options: &TraceOptions) -> Span {
    let wild = options.wild;
    let start_unix_nano = start.saturating_add(random.number(options.duration_max));
    let kind = random.below(6) as i32;
    Span {
        span_id: span_id(random),
        trace_state: if wild { text(random) } else { String::new() },
        flags: if wild { random.magnitude() as u32 } else { 1 },
        name: name(random, NAMES, wild),
        kind: if wild && random.percent(5) {
            random.bits() as i32
        } else {
            kind
        },
        start_unix_nano,
        end_unix_nano: start_unix_nano.saturating_add(random.number(options.duration_max)),
        attributes: span_attributes(random, wild),
        dropped_attributes_count: dropped(random, wild),
        events: random.up_to(2, |random| event(random, start_unix_nano, options)),
        dropped_events_count: dropped(random, wild),
        links: random.up_to(2, |random| link(random, wild)),
        dropped_links_count: dropped(random, wild),
        status: random.percent(70).then(|| Status {
            code: random.below(3) as i32,
            message: name(random, &["", "x", "no"], wild),
        }),
        ..Span::default()
    }
}

fn event(random: &mut Random, span_start: u64, options: &TraceOptions) -> Event {
    let since = random.number(options.duration_max);
    Event {
        time_unix_nano: match random.below(10) {
            0 => span_start.saturating_sub(since),
            1 if options.wild => random.magnitude(),
            _ => span_start.saturating_add(since),
        },
        name: name(random, EVENT_NAMES, options.wild),
        attributes: attributes(random, 2, options.wild),
        dropped_attributes_count: dropped(random, options.wild),
    }
}

fn link(random: &mut Random, wild: bool) -> Link {
    Link {
        trace_id: match random.below(4) {
            // The specification allows links to nothing.
            0 if wild => TraceId::default(),
            1 => TraceId([7; 16]),
            _ => trace_id(random),
        },
        span_id: if random.percent(50) {
            SpanId([7; 8])
        } else {
            span_id(random)
        },
        trace_state: if wild { text(random) } else { String::new() },
        attributes: attributes(random, 2, wild),
        dropped_attributes_count: dropped(random, wild),
        flags: if wild { random.magnitude() as u32 } else { 0 },
    }
}

fn resource(random: &mut Random, wild: bool) -> Resource {
    if random.percent(10) {
        return Resource {
            schema_url: name(random, &["", "urn:s"], wild),
            ..Resource::default()
        };
    }
    let mut attributes = attributes(random, 3, wild);
    if random.percent(90) {
        attributes.push(KeyValue {
            key: "service.name".to_owned(),
            value: AttributeValue::String((*random.pick(SERVICES)).to_owned()),
        });
    }
    Resource {
        present: true,
        attributes,
        dropped_attributes_count: dropped(random, wild),
        entity_refs: if wild {
            random.up_to(2, |random| EntityRef {
                schema_url: text(random),
                entity_type: text(random),
                id_keys: random.up_to(2, text),
                description_keys: random.up_to(2, text),
            })
        } else {
            Vec::new()
        },
        schema_url: name(random, &["", "urn:s"], wild),
    }
}

fn scope(random: &mut Random, wild: bool) -> Scope {
    if random.percent(20) {
        return Scope {
            schema_url: name(random, &["", "urn:s"], wild),
            ..Scope::default()
        };
    }
    Scope {
        present: true,
        name: name(random, LIBRARIES, wild),
        version: name(random, &["1", "2"], wild),
        attributes: attributes(random, 2, wild),
        dropped_attributes_count: dropped(random, wild),
        schema_url: name(random, &["", "urn:s"], wild),
    }
}

/// Now and then with both halves of an attribute that was two, or with one that is one today.
fn span_attributes(random: &mut Random, wild: bool) -> Vec<KeyValue> {
    let mut all = attributes(random, 4, wild);
    if random.percent(20) {
        let join = random.pick(JOINS);
        let (qualifier, part) = (*random.pick(TEXTS), *random.pick(TEXTS));
        let separator = *random.pick(join.separators.0);
        let whole = [*random.pick(TEXTS), separator, *random.pick(TEXTS)].concat();
        let halves = [
            (join.qualifier, qualifier.to_owned()),
            (join.part, part.to_owned()),
        ];
        let sent: &[(&str, String)] = match random.below(5) {
            0 => &[(join.whole, whole)],
            1 | 2 => &[halves.as_slice(), &[(join.whole, whole)]].concat(),
            _ => &halves,
        };
        all.extend(sent.iter().map(|(key, text)| KeyValue {
            key: (*key).to_owned(),
            value: AttributeValue::String(text.clone()),
        }));
    }
    all
}

fn attributes(random: &mut Random, max: usize, wild: bool) -> Vec<KeyValue> {
    random.up_to(max, |random| KeyValue {
        key: name(random, KEYS, wild),
        value: if wild {
            wild_value(random, 3)
        } else {
            plain_value(random)
        },
    })
}

fn dropped(random: &mut Random, wild: bool) -> u32 {
    match random.below(4) {
        0 if wild => random.magnitude() as u32,
        1 => 1,
        _ => 0,
    }
}

fn name(random: &mut Random, names: &[&str], wild: bool) -> String {
    if wild && random.percent(50) {
        text(random)
    } else {
        (*random.pick(names)).to_owned()
    }
}

/// Text with what breaks careless code in it.
fn text(random: &mut Random) -> String {
    const PARTS: &[&str] = &[
        "", "a", "é", "数据", "\0", "\"", "\\", "\n", " ", "😀", "nil", "~",
    ];
    let n = if random.percent(3) { 300 } else { 6 };
    random.up_to(n, |random| *random.pick(PARTS)).concat()
}

/// A value of the vocabulary: few values, every type.
fn plain_value(random: &mut Random) -> AttributeValue {
    let text = |random: &mut Random| AttributeValue::String((*random.pick(TEXTS)).to_owned());
    match random.below(20) {
        0..8 => text(random),
        8..12 => AttributeValue::Int(*random.pick(&[0, 1, 2, 200, 500, -1])),
        12 => AttributeValue::Double(*random.pick(&[0.5, 1.0, 200.0, -0.0, f64::INFINITY])),
        13 | 14 => AttributeValue::Bool(random.percent(50)),
        15 => AttributeValue::Empty,
        16 => AttributeValue::Bytes(vec![1, 2]),
        17 => AttributeValue::Array(random.up_to(3, text)),
        18 => AttributeValue::Array(
            random.up_to(3, |random| AttributeValue::Int(random.number(3) as i64)),
        ),
        _ => match random.below(3) {
            0 => AttributeValue::KvList(Vec::new()),
            1 => AttributeValue::Array(vec![AttributeValue::Int(1), text(random)]),
            _ => AttributeValue::Array(vec![AttributeValue::Bool(random.percent(50))]),
        },
    }
}

fn wild_value(random: &mut Random, depth: usize) -> AttributeValue {
    match random.below(if depth == 0 { 7 } else { 10 }) {
        0 => AttributeValue::Empty,
        1 | 2 => AttributeValue::String(text(random)),
        3 => AttributeValue::Bool(random.percent(50)),
        4 => AttributeValue::Int(random.magnitude() as i64),
        // Not a NaN: spans are compared with `==` where they come back.
        5 => AttributeValue::Double(finite(f64::from_bits(random.bits()))),
        6 => AttributeValue::Bytes(random.up_to(20, |random| random.bits() as u8)),
        7 => AttributeValue::Array(random.up_to(3, |random| wild_value(random, depth - 1))),
        8 => AttributeValue::Array(random.up_to(3, |random| AttributeValue::String(text(random)))),
        _ => AttributeValue::KvList(random.up_to(3, |random| KeyValue {
            key: text(random),
            value: wild_value(random, depth - 1),
        })),
    }
}

fn finite(value: f64) -> f64 {
    if value.is_nan() { f64::INFINITY } else { value }
}
