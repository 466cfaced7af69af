mod aliases;
mod comparisons;
mod explain;
mod huge;
mod series;
mod tags;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use rand::Rng;
use tracewell_model::clock::TimeRange;
use tracewell_model::source::Snapshot;
use tracewell_model::{
    AttributeScope, AttributeValue, Event, Limits, Resource, Span, SpanId, TenantId, Trace, TraceId,
};

use super::*;
use crate::error::Error;
use crate::fixtures::{
    self, PlainSnapshots, PlainSource, StillClock, block_on, caller, text, trace_id,
};
use crate::limit::QueryLimit;
use crate::pipeline;
use crate::request::{
    Around, SearchQuery, TagName, TagScope, TagSearch, TagValueType, TraceSummary,
};
use crate::row::TraceFacts;

fn engine(snapshots: Arc<PlainSnapshots>) -> Engine {
    Engine::new(snapshots, Limits::default(), Arc::new(StillClock))
}

fn request(query: SearchQuery, window: TimeRange, limit: usize) -> SearchRequest {
    SearchRequest {
        caller: caller(),
        query,
        window,
        limit,
        spans_per_spanset: 3,
        found: None,
    }
}

fn trace_ql(text: &str) -> SearchQuery {
    SearchQuery::TraceQl(text.to_owned())
}

fn search_all(engine: &Engine, text: &str) -> SearchResponse {
    block_on(engine.search(request(trace_ql(text), TimeRange::ALL, 100))).unwrap()
}

fn ids(traces: &[TraceSummary]) -> Vec<u64> {
    traces
        .iter()
        .map(|trace| u64::from_be_bytes(trace.trace_id.0[8..].try_into().unwrap()))
        .collect()
}

/// The answer over whole traces, without sources.
fn expected(plan: &Plan, traces: &[Trace], window: TimeRange, limit: usize) -> Vec<(TraceId, u64)> {
    let mut found: Vec<(Reverse<u64>, TraceId, u64)> = traces
        .iter()
        .filter(|trace| fixtures::in_window(&trace.spans, window))
        .filter_map(|trace| {
            let sets = pipeline::spansets(plan, &TraceFacts::of(&trace.spans));
            let start = trace.spans.iter().map(|span| span.start_unix_nano).min();
            Some((
                Reverse(start.unwrap()),
                trace.trace_id,
                sets.first()?.spans.len() as u64,
            ))
        })
        .collect();
    found.sort_unstable();
    found.truncate(limit);
    found.into_iter().map(|(_, id, n)| (id, n)).collect()
}

#[test]
fn fragments_do_not_change_an_answer() {
    let (mut n_queries, mut n_telling) = (0, 0);
    for seed in 0..400 {
        let mut rng = fixtures::rng(seed);
        let traces = fixtures::traces(&mut rng, 20);
        let n_sources = rng.random_range(1..6);
        let engine = engine(fixtures::snapshots(fixtures::spread(
            &mut rng, &traces, n_sources,
        )));
        for _ in 0..12 {
            let text = fixtures::query(&mut rng);
            let Ok(plan) = engine.plan(&text, Aliases::Resolve) else {
                continue;
            };
            let window = if rng.random() {
                let start = rng.random_range(500..4_000);
                TimeRange {
                    start,
                    end: start + rng.random_range(1..2_000),
                }
            } else {
                TimeRange::ALL
            };
            let limit = rng.random_range(1..25);
            let answer = block_on(engine.search(request(trace_ql(&text), window, limit))).unwrap();
            assert_eq!(answer.partial, Vec::<String>::new());
            let found: Vec<(TraceId, u64)> = answer
                .traces
                .iter()
                .map(|trace| (trace.trace_id, trace.spansets[0].matched))
                .collect();
            let wanted = expected(&plan, &traces, window, limit);
            assert_eq!(found, wanted, "seed {seed}: {text} in {window:?}, {limit}");
            n_queries += 1;
            n_telling += usize::from(!wanted.is_empty() && wanted.len() < traces.len());
        }
    }
    assert!(n_queries > 2_500, "{n_queries}");
    assert!(n_telling * 10 > n_queries * 4, "{n_telling} of {n_queries}");
}

#[test]
fn a_search_by_tags_has_its_own_meaning() {
    for seed in 0..300 {
        let mut rng = fixtures::rng(seed);
        let traces = fixtures::traces(&mut rng, 20);
        let engine = engine(fixtures::snapshots(fixtures::spread(&mut rng, &traces, 3)));
        let all = [
            ("a", "x"),
            ("b", "y"),
            ("name", "E"),
            ("service.name", "ho"),
            ("status.code", "error"),
            ("root.name", "send"),
        ];
        let tags = TagSearch {
            tags: all
                .iter()
                .filter(|_| rng.random_bool(0.35))
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            duration_nano_min: rng.random_bool(0.3).then_some(300),
            duration_nano_max: rng.random_bool(0.3).then_some(500),
        };
        let plan = crate::plan::tags::TagPlan::new(
            &tags,
            Aliases::Resolve,
            PlanLimits::from(&Limits::default()),
        )
        .unwrap();
        let mut wanted: Vec<(Reverse<u64>, TraceId)> = traces
            .iter()
            .filter(|trace| plan.matches(&TraceFacts::of(&trace.spans)))
            .map(|trace| {
                let start = trace.spans.iter().map(|span| span.start_unix_nano).min();
                (Reverse(start.unwrap()), trace.trace_id)
            })
            .collect();
        wanted.sort_unstable();
        let answer = block_on(engine.search(request(
            SearchQuery::Tags(tags.clone()),
            TimeRange::ALL,
            100,
        )))
        .unwrap();
        let found: Vec<TraceId> = answer.traces.iter().map(|trace| trace.trace_id).collect();
        let wanted: Vec<TraceId> = wanted.into_iter().map(|(_, id)| id).collect();
        assert_eq!(found, wanted, "seed {seed}: {tags:?}");
        assert!(answer.traces.iter().all(|trace| trace.spansets.is_empty()));
    }
}

fn service(name: &str) -> Arc<Resource> {
    Arc::new(Resource {
        present: true,
        attributes: vec![text("service.name", name)],
        ..Resource::default()
    })
}

fn span(trace: u64, id: u64, start: u64, attributes: Vec<tracewell_model::KeyValue>) -> Span {
    Span {
        resource: service("shop"),
        trace_id: trace_id(trace),
        span_id: SpanId(id.to_be_bytes()),
        name: format!("span {id}"),
        start_unix_nano: start,
        end_unix_nano: start + 10,
        attributes,
        ..Span::default()
    }
}

fn one_source(spans: Vec<Span>) -> Arc<PlainSnapshots> {
    fixtures::snapshots(vec![PlainSource::new("block 1", spans, BTreeSet::new(), 2)])
}

#[test]
fn tags_that_need_one_resource_are_not_found_in_two() {
    let mut cart = span(1, 2, 110, vec![text("b", "y")]);
    cart.resource = service("cart");
    let spans = vec![
        span(1, 1, 100, vec![text("a", "x")]),
        cart,
        span(2, 1, 100, vec![text("a", "x")]),
        span(2, 2, 110, vec![text("b", "y")]),
    ];
    let engine = engine(one_source(spans));
    let find = |tags: &[(&str, &str)]| {
        let tags = TagSearch {
            tags: tags
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..TagSearch::default()
        };
        let query = SearchQuery::Tags(tags);
        ids(&block_on(engine.search(request(query, TimeRange::ALL, 10)))
            .unwrap()
            .traces)
    };
    assert_eq!(find(&[("a", "x"), ("b", "y")]), [2]);
    assert_eq!(find(&[("a", "x"), ("service.name", "car")]), [1]);
    assert_eq!(find(&[]), [1, 2]);
    assert_eq!(find(&[("a", "X")]), Vec::<u64>::new());
}

#[test]
fn a_summary_shows_what_the_conditions_name() {
    let mut first = span(1, 1, 100, vec![text("http.method", "GET"), text("b", "x")]);
    first.status = Some(tracewell_model::Status {
        code: 2,
        message: String::new(),
    });
    first.events = vec![Event {
        name: "exception".to_owned(),
        time_unix_nano: 105,
        ..Event::default()
    }];
    let mut child = span(1, 2, 102, vec![text("http.request.method", "GET")]);
    child.parent_span_id = Some(SpanId(1u64.to_be_bytes()));
    child.resource = service("cart");
    let engine = engine(one_source(vec![first, child]));
    let answer = search_all(
        &engine,
        "{ span.http.request.method = \"GET\" && duration < 1s && (status = error || event:name = \"x\" || span.c = nil) }",
    );
    let trace = &answer.traces[0];
    assert_eq!(trace.root.as_ref().unwrap().name, "span 1");
    assert_eq!((trace.start_unix_nano, trace.duration_nano), (100, 12));
    let services: Vec<_> = trace
        .services
        .iter()
        .map(|service| (service.service.as_str(), service.n_spans, service.n_errors))
        .collect();
    assert_eq!(services, [("cart", 1, 0), ("shop", 1, 1)]);
    let spanset = &trace.spansets[0];
    assert_eq!(spanset.matched, 2);
    assert_eq!(
        spanset.spans[0].attributes,
        [
            text("http.request.method", "GET"),
            text("status", "error"),
            text("event:name", "exception"),
        ]
    );
    assert_eq!(
        spanset.spans[1].attributes,
        [text("http.request.method", "GET"), text("status", "unset"),]
    );
}

#[test]
fn a_trace_is_joined_from_all_of_its_fragments() {
    for seed in 0..200 {
        let mut rng = fixtures::rng(seed);
        let traces = fixtures::traces(&mut rng, 10);
        let engine = engine(fixtures::snapshots(fixtures::spread(&mut rng, &traces, 4)));
        for trace in &traces {
            let mut request = TraceRequest {
                caller: caller(),
                trace_id: trace.trace_id,
                window: TimeRange::ALL,
                filter: None,
                around: Around::default(),
            };
            let answer = block_on(engine.trace_by_id(request.clone())).unwrap();
            let mut found = answer.trace.unwrap();
            let mut wanted = trace.clone();
            for trace in [&mut found, &mut wanted] {
                trace.spans.sort_by_cached_key(|span| format!("{span:?}"));
            }
            assert_eq!(format!("{found:?}"), format!("{wanted:?}"), "seed {seed}");
            request.filter = Some("{ status = error }".to_owned());
            let answer = block_on(engine.trace_by_id(request.clone())).unwrap();
            let errors = answer.trace.unwrap().spans;
            assert!(errors.iter().all(|span| span.status_code() == 2));
            let n = trace
                .spans
                .iter()
                .filter(|span| span.status_code() == 2)
                .count();
            assert_eq!(errors.len(), n);
            request.around.ancestors = u32::MAX;
            let answer = block_on(engine.trace_by_id(request)).unwrap();
            let with_ancestors = answer.trace.unwrap().spans;
            let parents = errors.iter().filter_map(|span| span.parent_span_id);
            for parent in parents {
                let is_parent = |span: &&Span| span.span_id == parent;
                let n_of = |spans: &[Span]| spans.iter().filter(is_parent).count();
                assert_eq!(n_of(&with_ancestors), n_of(&trace.spans), "seed {seed}");
            }
        }
    }
}

#[test]
fn a_trace_that_is_not_there_is_no_error() {
    let engine = engine(one_source(vec![span(1, 1, 100, Vec::new())]));
    let mut request = TraceRequest {
        caller: caller(),
        trace_id: trace_id(5),
        window: TimeRange::ALL,
        filter: None,
        around: Around::default(),
    };
    let answer = block_on(engine.trace_by_id(request.clone())).unwrap();
    assert_eq!((answer.trace, answer.partial.len()), (None, 0));
    for filter in ["{ } && { }", "{ traceDuration > 1s }"] {
        request.filter = Some(filter.to_owned());
        let error = block_on(engine.trace_by_id(request.clone())).unwrap_err();
        assert!(matches!(error, Error::Request(_)), "{error}");
    }
}

/// Two sources, each with one span: with the old and the new name of a key.
fn two_sources() -> Engine {
    let spans = |id, method: &str| vec![span(id, 1, 100 * id, vec![text(method, "GET")])];
    let sources = vec![
        PlainSource::new("block 1", spans(1, "http.method"), BTreeSet::new(), 1),
        PlainSource::new(
            "block 2",
            spans(2, "http.request.method"),
            BTreeSet::new(),
            1,
        ),
    ];
    engine(fixtures::snapshots(sources))
}

#[test]
fn names_come_from_every_source_up_to_limits() {
    let engine = two_sources();
    let limited = |filter: Option<&str>, limit, bytes_max| {
        block_on(engine.tag_names(TagNamesRequest {
            caller: caller(),
            scopes: vec![
                TagScope::Attribute(AttributeScope::Span),
                TagScope::Attribute(AttributeScope::Resource),
                TagScope::Intrinsic,
            ],
            window: TimeRange::ALL,
            filter: filter.map(str::to_owned),
            limit,
            bytes_max,
        }))
        .unwrap()
    };
    let names = |filter: Option<&str>, limit| limited(filter, limit, 1_000);
    let answer = names(None, 100);
    assert_eq!(
        answer.scopes[0].names,
        ["http.method", "http.request.method"]
    );
    assert_eq!(answer.scopes[1].names, ["service.name"]);
    assert!(answer.scopes[2].names.contains(&"span:duration".to_owned()));
    assert!(!answer.truncated);
    assert!(names(None, 1).truncated);
    let few = limited(None, 100, 12);
    assert!(few.truncated);
    assert_eq!(few.scopes[0].names, ["http.method"]);
    assert_eq!(few.scopes[1].names, ["service.name"]);
    let filtered = names(
        Some("{ name = \"span 1\" && trace:id = \"10000000000000001\" && .x = "),
        100,
    );
    assert_eq!(filtered.scopes[0].names, ["http.method"]);
}

#[test]
fn values_come_from_every_source() {
    let engine = two_sources();
    let values = |name: TagName| {
        block_on(engine.tag_values(TagValuesRequest {
            caller: caller(),
            name,
            window: TimeRange::ALL,
            filter: None,
            limit: 10,
            bytes_max: 1_000,
        }))
        .map(|answer| {
            answer
                .values
                .into_iter()
                .map(|value| (value.value_type, value.value))
                .collect::<Vec<_>>()
        })
    };
    let string = |text: &str| (TagValueType::String, text.to_owned());
    let named = |text: &str| values(TagName::TraceQl(text.to_owned()));
    assert_eq!(named("span.http.method").unwrap(), [string("GET")]);
    assert_eq!(named(".service.name").unwrap(), [string("shop")]);
    assert_eq!(
        values(TagName::Bare("service.name".to_owned())).unwrap(),
        [string("shop")]
    );
    assert_eq!(named("name").unwrap(), [string("span 1")]);
    assert_eq!(
        named("status").unwrap()[0],
        (TagValueType::Keyword, "error".to_owned())
    );
    assert_eq!(named("duration").unwrap(), []);
    assert!(matches!(named("nonsense"), Err(Error::Syntax(_))));
}

#[test]
fn values_of_a_tag_take_the_memory_of_queries() {
    let source = |name: &str, ids: std::ops::Range<u64>| {
        let spans = ids.map(|n| span(n, 1, n, vec![text("a", &format!("value {n}"))]));
        PlainSource::new(name, spans.collect(), BTreeSet::new(), 1)
    };
    let sources = vec![source("block 1", 1..11), source("block 2", 1..21)];
    let snapshots = fixtures::snapshots(sources);
    let ask = |memory_bytes: u64, bytes_max: usize| {
        let mut limits = Limits::default();
        limits.query_memory_bytes_max = memory_bytes;
        let engine = Engine::new(snapshots.clone(), limits, Arc::new(StillClock));
        let answer = block_on(engine.tag_values(TagValuesRequest {
            caller: caller(),
            name: TagName::TraceQl("span.a".to_owned()),
            window: TimeRange::ALL,
            filter: None,
            limit: 100,
            bytes_max,
        }))
        .unwrap();
        // The answer holds its memory, and nothing else does.
        assert_eq!(engine.memory().held_bytes(), answer.held.n_bytes());
        assert!(answer.held.n_bytes() > 8 * answer.values.len() as u64);
        answer
    };
    let all = ask(1 << 20, 1_000);
    assert_eq!((all.values.len(), all.truncated), (20, false));
    assert!(all.partial.is_empty());
    let few = ask(1 << 20, 100);
    assert!(few.truncated && few.values.len() < 20);
    // The second source has room for what the answer leaves.
    let few = ask(1_000, 1_000);
    assert!(few.truncated && few.values.len() < 20);
    assert!(few.partial[0].starts_with("values are left out"));
    let hit: Vec<QueryLimit> = few.stats.limits_hit.iter().collect();
    assert_eq!(hit, [QueryLimit::MemoryBytes, QueryLimit::Tags]);
}

/// The second source has nothing new, though the limit was reached before it was asked.
#[test]
fn as_many_names_as_the_limit_are_all_of_them() {
    let source = |name: &str, id, key: &str| {
        let spans = vec![span(id, 1, 100 * id, vec![text(key, "x")])];
        PlainSource::new(name, spans, BTreeSet::new(), 1)
    };
    let truncated = |second: &str| {
        let sources = vec![source("block 1", 1, "a"), source("block 2", 2, second)];
        let answer = block_on(
            engine(fixtures::snapshots(sources)).tag_names(TagNamesRequest {
                caller: caller(),
                scopes: vec![TagScope::Attribute(AttributeScope::Span)],
                window: TimeRange::ALL,
                filter: None,
                limit: 1,
                bytes_max: 1_000,
            }),
        )
        .unwrap();
        assert_eq!(answer.scopes[0].names.len(), 1);
        answer.truncated
    };
    assert!(!truncated("a"));
    assert!(truncated("b"));
}

/// Where a condition over several columns cannot be asked of a source, the names that it needs can.
#[test]
fn names_that_nobody_has_cost_no_look_at_traces() {
    let engine = two_sources();
    for query in [
        "{ -.nokey = 1 }",
        "{ .http.method = .nokey }",
        "{ event.a = link.b }",
        "{ span.a + .b > 1 }",
        "{ !.nokey = true }",
        "{ -.nokey != nil }",
        "{ .http.method =~ \"GET\" && .a = .b }",
    ] {
        let answer = search_all(&engine, query);
        assert_eq!(answer.traces.len(), 0, "{query}");
        assert_eq!(answer.stats.inspected_traces, 0, "{query}");
    }
    // What needs no value of a name still holds without one.
    for query in [
        "{ (.nokey = .other) = false }",
        "{ !(.nokey = .other) }",
        "{ !.nokey = false }",
        "{ !.nokey != true }",
        "{ -.nokey = nil }",
        "{ .http.method = .http.method }",
    ] {
        assert_eq!(search_all(&engine, query).traces.len(), 2, "{query}");
    }
}

// === what goes wrong ===

#[test]
fn a_damaged_source_makes_an_answer_partial() {
    let mut broken = PlainSource::new(
        "block 2",
        vec![span(2, 1, 200, Vec::new())],
        BTreeSet::new(),
        1,
    );
    broken.broken_after = Some(0);
    let sources = vec![
        PlainSource::new(
            "block 1",
            vec![span(1, 1, 100, Vec::new())],
            BTreeSet::new(),
            1,
        ),
        broken,
    ];
    let snapshots = fixtures::snapshots(sources);
    let mut snapshot = snapshots.0.clone();
    snapshot.missing.push("block 3 is set aside".to_owned());
    let engine = engine(Arc::new(PlainSnapshots(snapshot)));
    let answer = search_all(&engine, "{ }");
    assert_eq!(ids(&answer.traces), [1]);
    assert_eq!(
        answer.partial,
        [
            "block 2 is damaged: a page does not fit its checksum",
            "block 3 is set aside"
        ]
    );
    assert_eq!(
        (answer.stats.n_sources, answer.stats.n_sources_done),
        (2, 1)
    );
}

#[test]
fn a_query_stops_when_nobody_waits_or_its_budget_is_used_up() {
    let spans: Vec<Span> = (1..50).map(|n| span(n, 1, n * 10, Vec::new())).collect();
    let snapshots = one_source(spans);
    let left = engine(Arc::clone(&snapshots));
    let gone = request(trace_ql("{ }"), TimeRange::ALL, 10);
    gone.caller.cancel.cancel();
    assert_eq!(block_on(left.search(gone)), Err(Error::Cancelled));

    let mut limits = Limits::default();
    limits.query_read_bytes_max = 5_500;
    let poor = Engine::new(snapshots.clone(), limits, Arc::new(StillClock));
    let answer = search_all(&poor, "{ name = \"nothing\" }");
    assert_eq!(
        answer.partial,
        ["query read 5500 bytes, which is its limit (limits.query_read_bytes_max)"]
    );
    // Two batches of two settle one trace: the rest is not read.
    let first = block_on(poor.search(request(trace_ql("{ }"), TimeRange::ALL, 1))).unwrap();
    assert_eq!((ids(&first.traces), first.partial.len()), (vec![49], 0));
}

#[test]
fn a_search_that_a_limit_stops_answers_with_what_it_has_found() {
    // The last is found by the last batch but one that may be read.
    let named = |n| match n {
        47.. | 33 => "rare",
        _ => "usual",
    };
    let spans = (1..50).map(|n| span(n, 1, n * 10, vec![text("a", named(n))]));
    let snapshots = one_source(spans.collect());
    let mut limits = Limits::default();
    limits.query_read_bytes_max = 10_500;
    let poor = Engine::new(snapshots, limits, Arc::new(StillClock));
    let answer = search_all(&poor, "{ span.a = \"rare\" }");
    assert_eq!(ids(&answer.traces), [49, 48, 47, 33]);
    assert_eq!(
        answer.partial,
        ["query read 10500 bytes, which is its limit (limits.query_read_bytes_max)"]
    );
}

#[test]
fn a_huge_trace_is_shown_in_part() {
    let spans: Vec<Span> = (1..30)
        .map(|n| {
            span(
                1,
                n,
                n,
                vec![tracewell_model::KeyValue {
                    key: "n".to_owned(),
                    value: AttributeValue::Int(n as i64),
                }],
            )
        })
        .collect();
    let mut limits = Limits::default();
    limits.trace_spans_max = 20;
    let engine = Engine::new(one_source(spans), limits, Arc::new(StillClock));
    let answer = search_all(&engine, "{ span.n > 9 }");
    assert_eq!(answer.traces[0].spansets[0].matched, 20);
    assert_eq!(answer.traces[0].duration_nano, 38);
    assert_eq!(answer.partial.len(), 1);
    let by_id = block_on(engine.trace_by_id(TraceRequest {
        caller: caller(),
        trace_id: trace_id(1),
        window: TimeRange::ALL,
        filter: None,
        around: Around::default(),
    }))
    .unwrap();
    assert_eq!(
        by_id.partial,
        ["the trace has more than 20 spans (limits.trace_spans_max), 9 of them are left out"]
    );
    assert_eq!(by_id.trace.unwrap().spans.len(), 20);
}

/// Its spans start before the window and end in it; the source delivers it because it is shared.
#[test]
fn a_large_trace_outside_of_the_window_is_not_read_whole() {
    let long = |n| {
        let mut span = span(3, n, n, vec![text("a", "x")]);
        span.end_unix_nano = 900;
        span
    };
    let mut spans: Vec<Span> = (1..=200).map(long).collect();
    spans.push(span(4, 1, 600, vec![text("a", "x")]));
    let span_bytes = spans[0].bytes() as u64;
    let window = TimeRange {
        start: 500,
        end: 1_000,
    };
    let find = |spans: &[Span], memory_spans: u64, trace_spans_max| {
        let mut limits = Limits::default();
        limits.query_memory_bytes_max = memory_spans * span_bytes;
        limits.trace_spans_max = trace_spans_max;
        let shared = BTreeSet::from([trace_id(3)]);
        let source = PlainSource::new("block 1", spans.to_vec(), shared, 2);
        let snapshots = fixtures::snapshots(vec![source]);
        let engine = Engine::new(snapshots, limits, Arc::new(StillClock));
        let query = trace_ql("{ span.a = \"x\" }");
        let answer = block_on(engine.search(request(query, window, 10))).unwrap();
        (ids(&answer.traces), answer.partial)
    };
    let complete = |ids: &[u64]| (ids.to_vec(), Vec::<String>::new());
    assert_eq!(find(&spans, 20, 1_000), complete(&[4]));
    assert_eq!(find(&spans, 20, 100), complete(&[4]));
    // One that matches nothing and never ended is in the window all the same.
    let mut open = span(3, 300, 700, Vec::new());
    open.end_unix_nano = 0;
    spans
        .iter_mut()
        .for_each(|span| span.end_unix_nano = span.start_unix_nano);
    spans.push(open);
    assert_eq!(find(&spans, 1_000, 1_000), complete(&[4, 3]));
    let (shown, partial) = find(&spans, 20, 100);
    assert_eq!((shown, partial.len()), (vec![4, 3], 1), "{partial:?}");
}

#[test]
fn a_trace_beyond_the_memory_of_a_query_is_evaluated_in_part() {
    let named = |id, n, name: String| {
        let mut span = span(id, n, n, Vec::new());
        span.name = name;
        span
    };
    let small = (1..=10).map(|n| named(1, n, "x".repeat(2_000)));
    let large = (20..=60).map(|n| named(2, n, "x".repeat(2_000)));
    let spans: Vec<Span> = small.chain(large).collect();
    let span_bytes = spans[0].bytes() as u64;
    let mut limits = Limits::default();
    limits.query_memory_bytes_max = 30 * span_bytes;
    let engine = Engine::new(one_source(spans), limits, Arc::new(StillClock));
    let answer = search_all(&engine, "{ }");
    let matched: Vec<u64> = answer
        .traces
        .iter()
        .map(|trace| trace.spansets[0].matched)
        .collect();
    // Together they are too large; alone, the small one is whole, and what the answer shows of it
    // takes the room of three spans.
    assert_eq!(matched, [27, 10]);
    assert_eq!(answer.stats.left_out_spans, 14);
    assert_eq!(answer.partial.len(), 1, "{:?}", answer.partial);
    assert!(answer.partial[0].starts_with("14 spans are left out"));
    // The answer holds its memory, and nothing else does.
    assert_eq!(engine.memory().held_bytes(), answer.held.n_bytes());
    assert!(answer.held.n_bytes() > span_bytes);
    drop(answer);
    assert_eq!(engine.memory().held_bytes(), 0);
    let by_id = |id| {
        block_on(engine.trace_by_id(TraceRequest {
            caller: caller(),
            trace_id: trace_id(id),
            window: TimeRange::ALL,
            filter: None,
            around: Around::default(),
        }))
        .unwrap()
    };
    let whole = by_id(1);
    assert_eq!(whole.trace.as_ref().unwrap().spans.len(), 10);
    assert!(whole.partial.is_empty());
    assert_eq!(engine.memory().held_bytes(), 10 * span_bytes);
    // As long as somebody has it there is room for less.
    assert_eq!(by_id(2).trace.unwrap().spans.len(), 20);
    drop(whole);
    let cut = by_id(2);
    assert_eq!(cut.trace.unwrap().spans.len(), 30);
    assert_eq!(cut.stats.left_out_spans, 11);
    assert_eq!(cut.partial.len(), 1);
}

#[test]
fn an_empty_store_has_answers() {
    let engine = engine(Arc::new(PlainSnapshots(Snapshot::default())));
    assert_eq!(search_all(&engine, "{ }"), SearchResponse::default());
}
