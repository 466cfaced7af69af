//! Test data: random traces that share few names and values, random queries about them, and a
//! source that holds plain spans.

mod source;

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;
use tracewell_model::{
    AttributeValue, Clock, Event, KeyValue, Link, Resource, Scope, Span, SpanId, Status, TenantId,
    Trace, TraceId,
};

use crate::request::{Aliases, Caller};

pub(crate) use source::{PlainSnapshots, PlainSource, in_window, matches, snapshots, spread};

pub(crate) fn rng(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

pub(crate) fn attribute(key: &str, value: AttributeValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value,
    }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, AttributeValue::String(value.to_owned()))
}

#[derive(Debug)]
pub(crate) struct StillClock;

impl Clock for StillClock {
    fn now_unix_nano(&self) -> u64 {
        1_000_000
    }

    fn monotonic_nano(&self) -> u64 {
        0
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T> + Send) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn caller() -> Caller {
    Caller {
        query_ms_max: None,
        tenant: TenantId::single(),
        cancel: CancellationToken::new(),
        aliases: Aliases::Resolve,
    }
}

// === random traces ===

const KEYS: [&str; 10] = [
    "a",
    "a",
    "a",
    "b",
    "b",
    "http.method",
    "http.request.method",
    "net.peer.name",
    "server.address",
    "http.host",
];

fn value(rng: &mut SmallRng) -> AttributeValue {
    use AttributeValue as V;
    let string =
        |rng: &mut SmallRng| V::String((*["x", "y", "xy", "x:1"].choose(rng).unwrap()).to_owned());
    match rng.random_range(0..20) {
        0..6 => string(rng),
        6..11 => V::Int(rng.random_range(0..3)),
        11..13 => V::Double(*[0.5, 1.0, 2.0].choose(rng).unwrap()),
        13..15 => V::Bool(rng.random()),
        15 => V::Empty,
        16 => V::Bytes(vec![1]),
        17 => V::Array(Vec::new()),
        18 => V::Array(vec![string(rng), string(rng)]),
        _ => V::Array(vec![V::Int(rng.random_range(0..3)), string(rng)]),
    }
}

fn attributes(rng: &mut SmallRng, keys: &[&str], n_max: usize) -> Vec<KeyValue> {
    (0..rng.random_range(0..=n_max))
        .map(|_| attribute(keys.choose(rng).unwrap(), value(rng)))
        .collect()
}

pub(crate) fn trace_id(n: u64) -> TraceId {
    TraceId((u128::from(n) << 64 | u128::from(n)).to_be_bytes())
}

/// Traces of one to eight spans, whose starts lie within a few thousand nanoseconds.
pub(crate) fn traces(rng: &mut SmallRng, n: u64) -> Vec<Trace> {
    let resources: Vec<Arc<Resource>> = ["shop", "cart", ""]
        .iter()
        .map(|service| {
            let mut all = vec![text("service.name", service)];
            all.extend(attributes(rng, &["a", "deployment.environment"], 2));
            Arc::new(Resource {
                present: true,
                attributes: all,
                ..Resource::default()
            })
        })
        .collect();
    let scope = Arc::new(Scope {
        present: true,
        name: "lib".to_owned(),
        version: "1".to_owned(),
        attributes: vec![text("a", "x")],
        ..Scope::default()
    });
    (1..=n)
        .map(|number| {
            let base = rng.random_range(1_000..4_000);
            let n_spans = rng.random_range(1..=8);
            let spans = (0..n_spans)
                .map(|index| Span {
                    resource: Arc::clone(resources.choose(rng).unwrap()),
                    scope: if rng.random_bool(0.2) {
                        Arc::clone(&scope)
                    } else {
                        Arc::default()
                    },
                    ..span(rng, trace_id(number), base, index)
                })
                .collect();
            let mut trace = Trace {
                trace_id: trace_id(number),
                spans,
            };
            trace.deduplicate();
            trace
        })
        .collect()
}

fn span(rng: &mut SmallRng, id: TraceId, base: u64, index: u64) -> Span {
    let start = base + rng.random_range(0..500);
    let end = (start + rng.random_range(0..200)).saturating_sub(20);
    Span {
        trace_id: id,
        span_id: SpanId((index + 1).to_be_bytes()),
        parent_span_id: match rng.random_range(0..4) {
            0 => None,
            1 => Some(SpanId([0; 8])),
            _ => Some(SpanId(rng.random_range(1..9u64).to_be_bytes())),
        },
        name: (*["GET /", "send", ""].choose(rng).unwrap()).to_owned(),
        kind: rng.random_range(0..6),
        start_unix_nano: start,
        end_unix_nano: end,
        attributes: attributes(rng, &KEYS, 4),
        events: (0..rng.random_range(0..3))
            .map(|_| Event {
                time_unix_nano: base + rng.random_range(0..600),
                name: (*["exception", "retry"].choose(rng).unwrap()).to_owned(),
                attributes: attributes(rng, &["a", "b"], 2),
                dropped_attributes_count: 0,
            })
            .collect(),
        links: (0..rng.random_range(0..3))
            .map(|_| Link {
                trace_id: trace_id(rng.random_range(1..4)),
                attributes: attributes(rng, &["a", "b"], 2),
                ..Link::default()
            })
            .collect(),
        status: rng.random_bool(0.6).then(|| Status {
            code: rng.random_range(0..3),
            message: (*["", "x"].choose(rng).unwrap()).to_owned(),
        }),
        ..Span::default()
    }
}

// === random queries ===

/// Texts of which most mean something.
pub(crate) fn query(rng: &mut SmallRng) -> String {
    match rng.random_range(0..10) {
        0..6 => filter(rng),
        6 => format!("{} || {}", filter(rng), filter(rng)),
        7 | 8 => format!("{} && {}", filter(rng), filter(rng)),
        _ => format!("({} || {}) && {}", filter(rng), filter(rng), filter(rng)),
    }
}

pub(crate) fn filter(rng: &mut SmallRng) -> String {
    if rng.random_bool(0.03) {
        return "{ }".to_owned();
    }
    let depth = rng.random_range(0..4);
    format!("{{ {} }}", condition(rng, depth))
}

fn condition(rng: &mut SmallRng, depth: u32) -> String {
    if depth > 0 {
        let (a, b) = (condition(rng, depth - 1), condition(rng, depth - 1));
        return match rng.random_range(0..7) {
            0..3 => format!("({a}) && ({b})"),
            3..6 => format!("({a}) || ({b})"),
            _ => format!("!({a})"),
        };
    }
    let name = name(rng);
    let op = *["=", "!=", "<", "<=", ">", ">="].choose(rng).unwrap();
    match rng.random_range(0..16) {
        0..5 => format!("{name} {op} {}", constant(rng)),
        5 => format!("{} {op} {name}", constant(rng)),
        6 | 7 => {
            let pattern = *["x", "x.*", ".", "x|GET.*|exc.*"].choose(rng).unwrap();
            let op = *["=~", "!~"].choose(rng).unwrap();
            format!("{name} {op} \"{pattern}\"")
        }
        8 => format!("{name} = nil"),
        9 => format!("{name} != nil"),
        10 => name,
        11 => format!("!{name}"),
        12 => format!("{name} {op} {}", self::name(rng)),
        13 => {
            let arithmetic = *["+", "-", "*", "/", "%", "^"].choose(rng).unwrap();
            format!(
                "{name} {arithmetic} {} {op} {}",
                self::name(rng),
                constant(rng)
            )
        }
        14 => {
            let status = *["ok", "error", "unset"].choose(rng).unwrap();
            format!("status {} {status}", ["=", "!="].choose(rng).unwrap())
        }
        _ => {
            let kind = *["server", "client", "internal"].choose(rng).unwrap();
            format!("kind {} {kind}", ["=", "!="].choose(rng).unwrap())
        }
    }
}

fn name(rng: &mut SmallRng) -> String {
    let scope = *[
        "span.",
        "span.",
        "span.",
        "resource.",
        "event.",
        "event.",
        "link.",
        ".",
        "instrumentation.",
    ]
    .choose(rng)
    .unwrap();
    match rng.random_range(0..10) {
        0..7 => format!("{scope}{}", ["a", "b", "a"].choose(rng).unwrap()),
        7 => format!("span.{}", KEYS.choose(rng).unwrap()),
        _ => (*[
            "name",
            "duration",
            "statusMessage",
            "traceDuration",
            "rootName",
            "rootServiceName",
            "span:id",
            "span:parentID",
            "trace:id",
            "event:name",
            "event:timeSinceStart",
            "link:traceID",
            "instrumentation:name",
            "resource.service.name",
            "resource.deployment.environment.name",
        ]
        .choose(rng)
        .unwrap())
        .to_owned(),
    }
}

fn constant(rng: &mut SmallRng) -> String {
    (*[
        "\"x\"",
        "\"x\"",
        "\"y\"",
        "1",
        "1",
        "true",
        "\"GET /\"",
        "\"shop\"",
        "\"exception\"",
        "\"00000000000000010000000000000001\"",
        "0",
        "1",
        "2",
        "-1",
        "1.5",
        "100ns",
        "300ns",
        "true",
        "false",
        "\"0000000000000002\"",
    ]
    .choose(rng)
    .unwrap())
    .to_owned()
}
