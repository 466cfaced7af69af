//! Every operator over every pair of types, on spans of which each has one pair: the engine against the oracle, from
//! the head and from a block. What never meets, because the query is refused before, is a place in the table too.

use std::collections::BTreeMap;

use tracewell_model::{
    AttributeValue, Clock, KeyValue, Limits, Span, SpanId, Status, TimeRange, TraceId,
};
use tracewell_query::plan::{Plan, PlanLimits};
use tracewell_query::{Aliases, parse};
use tracewell_testkit::FakeClock;

use super::data::DataSet;
use super::{Case, ask, runtime};

/// So often each operator meets each pair of types at least.
const MEETINGS_MIN: u64 = 100;

/// Types that a value has when a query runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    Nil,
    Text,
    Int,
    Float,
    Bool,
    Duration,
    Status,
    Kind,
    Texts,
    Ints,
    Floats,
    Bools,
    Opaque,
}

use Type::*;

const TYPES: [Type; 13] = [
    Nil, Text, Int, Float, Bool, Duration, Status, Kind, Texts, Ints, Floats, Bools, Opaque,
];

const OPERATORS: [&str; 16] = [
    "=", "!=", "<", "<=", ">", ">=", "=~", "!~", "+", "-", "*", "/", "%", "^", "&&", "||",
];

/// One side of an operator: how it is written, and its types where they do not depend on the span.
struct Side {
    text: String,
    constant: Option<Type>,
}

fn values(of: Type) -> Vec<AttributeValue> {
    let text = |text: &str| AttributeValue::String(text.to_owned());
    let int = AttributeValue::Int;
    let list = |items: &[AttributeValue]| AttributeValue::Array(items.to_vec());
    let (double, bool) = (AttributeValue::Double, AttributeValue::Bool);
    match of {
        Nil => vec![AttributeValue::Empty; 3],
        Text => vec![text("x"), text("y"), text("")],
        Int => vec![int(2), int(-3), int(i64::MAX)],
        Float => vec![double(2.0), double(-0.5), double(f64::NAN)],
        Bool => vec![bool(true), bool(false), bool(true)],
        Texts => vec![list(&[text("x"), text("y")]), list(&[text("x")]), list(&[])],
        Ints => vec![list(&[int(2), int(0)]), list(&[int(-3)]), list(&[int(7)])],
        Floats => vec![
            list(&[double(0.5)]),
            list(&[double(2.0), double(f64::INFINITY)]),
            list(&[double(-0.0)]),
        ],
        Bools => vec![
            list(&[bool(true)]),
            list(&[bool(false), bool(true)]),
            list(&[bool(false)]),
        ],
        Opaque => vec![
            AttributeValue::Bytes(vec![1]),
            AttributeValue::KvList(Vec::new()),
            list(&[int(1), text("x")]),
        ],
        // Attributes hold none of these: spans do, and constants.
        Duration | Status | Kind => Vec::new(),
    }
}

/// Each value of `a` with each of `b`, a trace each.
fn spans(start: u64) -> Vec<(Span, [Type; 2])> {
    let all = TYPES.into_iter().flat_map(|of| {
        let values = values(of).into_iter();
        values.map(move |value| (of, value))
    });
    let all: Vec<(Type, AttributeValue)> = all.collect();
    let attribute = |key: &str, value: &AttributeValue| KeyValue {
        key: key.to_owned(),
        value: value.clone(),
    };
    let mut spans = Vec::new();
    for (type_a, a) in &all {
        for (type_b, b) in &all {
            let n = spans.len() as u64 + 1;
            let span = Span {
                trace_id: TraceId(u128::from(n).to_be_bytes()),
                span_id: SpanId(n.to_be_bytes()),
                name: ["x", "y", "z"][n as usize % 3].to_owned(),
                kind: (n % 6) as i32,
                status: Some(Status {
                    code: (n % 3) as i32,
                    message: String::new(),
                }),
                start_unix_nano: start + n,
                end_unix_nano: start + n + n % 4,
                attributes: vec![attribute("a", a), attribute("b", b)],
                ..Span::default()
            };
            spans.push((span, [*type_a, *type_b]));
        }
    }
    spans
}

fn sides(attribute: &str) -> Vec<Side> {
    let constants = [
        ("name", Text),
        ("\"x\"", Text),
        ("2", Int),
        ("-3", Int),
        ("0.5", Float),
        ("true", Bool),
        ("duration", Duration),
        ("2ns", Duration),
        ("status", Status),
        ("error", Status),
        ("kind", Kind),
        ("server", Kind),
        ("nil", Nil),
    ];
    let mut sides: Vec<Side> = constants
        .iter()
        .map(|(text, of)| Side {
            text: (*text).to_owned(),
            constant: Some(*of),
        })
        .collect();
    sides.push(Side {
        text: attribute.to_owned(),
        constant: None,
    });
    sides
}

/// The filters that tell what an operator makes of two sides.
fn filters(left: &str, op: &str, right: &str) -> Vec<String> {
    match op {
        "+" | "-" | "*" | "/" | "%" | "^" => [
            "!= nil", "= nil", "> 1", "<= 2", "= 0", "!= 4", "< 0.5", ">= 1ns", "= span.a",
            "> span.b", "= 4.0", "!= -6",
        ]
        .iter()
        .map(|test| format!("{{ ({left} {op} {right}) {test} }}"))
        .collect(),
        _ => vec![
            format!("{{ {left} {op} {right} }}"),
            format!("{{ !({left} {op} {right}) }}"),
            format!("{{ ({left} {op} {right}) = true }}"),
            format!("{{ ({left} {op} {right}) = false }}"),
            format!("{{ ({left} {op} {right}) != span.a }}"),
            format!("{{ span.b = true || ({left} {op} {right}) }}"),
            format!("{{ {left} {op} {right} && span.a != nil }}"),
            format!("{{ ({left} {op} {right}) != true && span.b != nil }}"),
            format!("{{ ({left} {op} {right}) = (span.a = 2) }}"),
            format!("{{ name = \"x\" && {left} {op} {right} }}"),
            format!("{{ name != \"x\" || !({left} {op} {right}) }}"),
            format!("{{ ({left} {op} {right}) && true }}"),
        ],
    }
}

fn is_refused(text: &str) -> bool {
    let limits = PlanLimits::from(&Limits::default());
    let planned = parse(text)
        .ok()
        .map(|query| Plan::new(text, &query, Aliases::Off, limits));
    !matches!(planned, Some(Ok(_)))
}

#[test]
fn every_operator_meets_every_pair_of_types() {
    runtime().block_on(async {
        let spans = spans(FakeClock::default().now_unix_nano());
        let plain: Vec<Span> = spans.iter().map(|(span, _)| span.clone()).collect();
        let head = DataSet::in_head(&plain).await;
        let block = DataSet::in_groups(&plain, 100).await;
        let mut met: BTreeMap<(&str, Type, Type), u64> = BTreeMap::new();
        // In `make check` a few of each kind.
        let is_full = std::env::var_os("TRACEWELL_TEST_FULL").is_some();
        let (mut n_drawn, one_of) = (0, if is_full { 1 } else { 7 });
        let (mut n_queries, mut n_telling, mut wrong) = (0, 0, Vec::new());
        for op in OPERATORS {
            for left in sides("span.a") {
                for right in sides("span.b") {
                    for text in filters(&left.text, op, &right.text) {
                        n_drawn += 1;
                        if n_drawn % one_of != 0 || is_refused(&text) {
                            continue;
                        }
                        for (_, [a, b]) in &spans {
                            let pair = (left.constant.unwrap_or(*a), right.constant.unwrap_or(*b));
                            *met.entry((op, pair.0, pair.1)).or_default() += 1;
                        }
                        n_queries += 1;
                        let case = case(text);
                        let expected = ask::expected(&head.oracle, &case);
                        n_telling += u64::from(expected.tells);
                        for data in [&head, &block] {
                            let engine = ask::engine(data, data.snapshots());
                            let found = engine.search(ask::request(&case)).await.unwrap();
                            let difference = ask::difference(&expected, &ask::lines(found));
                            wrong.extend(difference.map(|it| format!("{}: {it}", case.text)));
                        }
                    }
                }
            }
        }
        println!("{n_queries} queries, of which {n_telling} tell spans apart");
        print_table(&met);
        assert!(
            wrong.is_empty(),
            "{} differ: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
        for op in OPERATORS {
            for left in TYPES {
                for right in TYPES {
                    let n = met.get(&(op, left, right)).copied().unwrap_or(0);
                    let is_right = match never_meet(op, left, right) {
                        true => n == 0,
                        false => n >= MEETINGS_MIN || !is_full,
                    };
                    assert!(is_right, "{left:?} {op} {right:?}: {n}");
                }
            }
        }
    });
}

/// What the type check refuses: statuses, kinds and durations are known before any span is.
fn never_meet(op: &str, left: Type, right: Type) -> bool {
    let is_code = |of| matches!(of, Status | Kind);
    match op {
        "=" | "!=" => {
            let is_static = |of| is_code(of) || of == Duration;
            is_static(left) && is_static(right) && left != right
        }
        "=~" | "!~" => right != Text || is_code(left) || left == Duration,
        "&&" | "||" => [left, right]
            .iter()
            .any(|of| is_code(*of) || *of == Duration),
        _ => is_code(left) || is_code(right),
    }
}

fn case(text: String) -> Case {
    Case {
        text,
        aliases: Aliases::Off,
        window: TimeRange::ALL,
        limit: 2_000,
        spans_max: 3,
    }
}

/// How often each pair of types met under each operator; `-` where every query of the pair is refused.
fn print_table(met: &BTreeMap<(&str, Type, Type), u64>) {
    for op in OPERATORS {
        println!(
            "{op:<10}{}",
            TYPES.map(|of| format!("{:>9}", format!("{of:?}"))).concat()
        );
        for left in TYPES {
            let row = TYPES.map(|right| match met.get(&(op, left, right)) {
                None => format!("{:>9}", "-"),
                Some(n) => format!("{n:>9}"),
            });
            println!("{:<10}{}", format!("{left:?}"), row.concat());
        }
    }
}
