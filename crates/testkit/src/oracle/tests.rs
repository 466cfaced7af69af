use std::sync::Arc;

use tracewell_model::{AttributeValue, Event, KeyValue, Resource, Status};

use super::*;
use crate::random::{Random, TraceOptions, random_query, random_traces};

fn attribute(key: &str, value: AttributeValue) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value,
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::String(value.to_owned())
}

fn span(trace: u8, id: u8, start: u64) -> Span {
    Span {
        trace_id: TraceId([trace; 16]),
        span_id: SpanId([id; 8]),
        start_unix_nano: start,
        end_unix_nano: start + 10,
        ..Span::default()
    }
}

const EVERYTHING: Question = Question {
    window: TimeRange::ALL,
    limit: 100,
    aliases: Aliases::Resolve,
};

/// Whether a query matches one span.
#[track_caller]
fn check(span: &Span, query: &str, expected: bool) {
    let oracle = Oracle::new([span.clone()]);
    let found = oracle.search(query, EVERYTHING).unwrap();
    assert_eq!(!found.is_empty(), expected, "{query}");
}

/// A span with something of everything.
fn telling_span() -> Span {
    Span {
        resource: Arc::new(Resource {
            present: true,
            attributes: vec![
                attribute("service.name", text("shop")),
                attribute("where", text("resource")),
            ],
            ..Resource::default()
        }),
        name: "GET /".to_owned(),
        kind: 2,
        status: Some(Status {
            code: 2,
            message: "no".to_owned(),
        }),
        attributes: vec![
            attribute("s", text("a\nb")),
            attribute("n", AttributeValue::Int(5)),
            attribute("d", AttributeValue::Double(0.5)),
            attribute("yes", AttributeValue::Bool(true)),
            attribute("no", AttributeValue::Bool(false)),
            attribute("empty", AttributeValue::Empty),
            attribute("list", AttributeValue::Array(vec![text("x"), text("y")])),
            attribute("where", text("span")),
            attribute("http.method", text("GET")),
            attribute("db.system", text("mssql")),
            attribute("nil", text("nil")),
            attribute("accent", text("é")),
        ],
        events: vec![
            Event {
                name: "one".to_owned(),
                attributes: vec![attribute("k", text("1"))],
                ..Event::default()
            },
            Event {
                name: "two".to_owned(),
                attributes: vec![attribute("k", text("2"))],
                ..Event::default()
            },
        ],
        ..span(1, 1, 100)
    }
}

#[test]
fn the_language_as_its_reference_says() {
    let one = telling_span();
    for (query, expected) in [
        ("{ }", true),
        ("{ span.n = 5 }", true),
        ("{ span.n = 5.0 }", true),
        ("{ span.n = \"5\" }", false),
        ("{ span.n != \"5\" }", false),
        ("{ span.missing != 1 }", false),
        ("{ !(span.missing = 1) }", true),
        ("{ span.missing = nil }", true),
        ("{ span.empty = nil }", true),
        ("{ span.nil = nil }", false),
        ("{ nil != span.n }", true),
        ("{ span.yes && !span.no }", true),
        ("{ !span.missing }", false),
        ("{ span.s =~ \"a.b\" }", true),
        ("{ span.s =~ \"a\" }", false),
        (r"{ span.s =~ `a\sb` }", true),
        (r"{ span.accent =~ `\w` }", false),
        (r"{ span.accent =~ `\W` }", true),
        (r"{ span.list =~ `\<|\[|x` }", true),
        ("{ span.missing !~ \"a\" }", false),
        ("{ span.n !~ \"a\" }", false),
        ("{ span.list = \"x\" }", true),
        ("{ span.list != \"x\" }", false),
        ("{ span.list != \"z\" }", true),
        ("{ \"y\" = span.list }", true),
        ("{ .where = \"span\" }", true),
        ("{ .where = \"resource\" }", false),
        ("{ resource.where = \"resource\" }", true),
        ("{ span.http.request.method = \"GET\" }", true),
        ("{ span.db.system.name = \"microsoft.sql_server\" }", true),
        ("{ span.db.system = \"mssql\" }", true),
        ("{ span.db.system.name =~ \"micro.*\" }", true),
        (
            "{ duration = 10ns && duration < 1ms && duration >= 10 }",
            true,
        ),
        ("{ span.n * 2 + 1 = 11 }", true),
        ("{ span.n / 0 = 0 || span.n % 0 = 0 }", false),
        ("{ span.n / 2 = 2 && span.n / 2.0 = 2.5 }", true),
        ("{ 2 ^ 3 = 8 }", true),
        (
            "{ status = error && kind = server && statusMessage = \"no\" }",
            true,
        ),
        ("{ event:name = \"one\" && event.k = \"1\" }", true),
        ("{ event:name = \"one\" && event.k = \"2\" }", false),
        ("{ event.k = \"1\" } && { event.k = \"2\" }", true),
        ("{ event:name != \"one\" }", true),
        ("{ link.x = nil }", true),
        ("{ trace:id = \"01010101010101010101010101010101\" }", true),
        ("{ trace:id = \"1010101010101010101010101010101\" }", true),
        (
            "{ rootName = \"GET /\" && rootServiceName = \"shop\" }",
            true,
        ),
        ("{ nil = nil }", false),
    ] {
        check(&one, query, expected);
    }
}

#[test]
fn spansets_windows_and_order() {
    let mut spans = vec![span(1, 1, 100), span(1, 2, 200), span(2, 1, 150)];
    spans[0].name = "a".to_owned();
    spans[1].name = "b".to_owned();
    spans[2].name = "b".to_owned();
    spans.push(spans[2].clone());
    let oracle = Oracle::new(spans);
    let ids = |query: &str, window: TimeRange, limit: usize| -> Vec<(u8, usize)> {
        let question = Question {
            window,
            limit,
            ..EVERYTHING
        };
        let found = oracle.search(query, question).unwrap();
        let short = |found: &Found| (found.trace_id.0[0], found.spansets[0].matched.len());
        found.iter().map(short).collect()
    };
    let all = TimeRange::ALL;
    assert_eq!(ids("{ }", all, 9), [(2, 1), (1, 2)]);
    assert_eq!(ids("{ }", all, 1), [(2, 1)]);
    assert_eq!(
        ids("{ name = \"a\" } && { name = \"b\" }", all, 9),
        [(1, 2)]
    );
    assert_eq!(
        ids("{ name = \"a\" } || { name = \"b\" }", all, 9),
        [(2, 1), (1, 2)]
    );
    // The window chooses traces, the matching span may lie outside of it.
    let window = TimeRange {
        start: 200,
        end: 201,
    };
    assert_eq!(ids("{ name = \"a\" }", window, 9), [(1, 1)]);
    let window = TimeRange {
        start: 101,
        end: 200,
    };
    assert_eq!(ids("{ name = \"a\" }", window, 9), []);
}

#[test]
fn most_random_queries_tell_traces_apart() {
    let (mut n, mut telling, mut unknown) = (0, 0, 0);
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let spans = random_traces(&mut random, 25, &TraceOptions::default());
        let oracle = Oracle::new(spans);
        let spans = oracle.spans();
        for _ in 0..25 {
            let query = random_query(&mut random, &spans);
            match oracle.search(&query, EVERYTHING) {
                Ok(found) => {
                    n += 1;
                    telling += usize::from(!found.is_empty() && found.len() < oracle.n_traces());
                }
                Err(error) => {
                    unknown += 1;
                    println!("seed {seed}: {query}: {error}");
                }
            }
        }
    }
    println!("{n} queries, {telling} tell traces apart, {unknown} are unknown");
    assert!(unknown == 0 && telling * 100 > n * 50);
}
