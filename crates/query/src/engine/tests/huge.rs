//! Traces above `limits.trace_spans_max`, which a search does not read whole.

use super::*;

/// A trace of 29 spans, every other one in another source.
fn in_two_sources() -> Engine {
    let spans = (1..30).map(|n| {
        let value = AttributeValue::Int(n as i64);
        span(1, n, n, vec![fixtures::attribute("n", value)])
    });
    let (odd, even): (Vec<Span>, Vec<Span>) =
        spans.partition(|span| !span.start_unix_nano.is_multiple_of(2));
    let shared = BTreeSet::from([trace_id(1)]);
    let sources = vec![
        PlainSource::new("block 1", odd, shared.clone(), 2),
        PlainSource::new("block 2", even, shared, 2),
    ];
    let mut limits = Limits::default();
    limits.trace_spans_max = 20;
    Engine::new(fixtures::snapshots(sources), limits, Arc::new(StillClock))
}

/// The whole trace takes 38 ns and begins with span 1; its fragments take 38 and 36 ns.
#[test]
fn conditions_on_the_trace_are_those_of_all_its_fragments() {
    let engine = in_two_sources();
    for (query, matched) in [
        ("{ traceDuration > 37ns }", Some(29)),
        ("{ traceDuration > 1us }", None),
        ("{ traceDuration < 37ns }", None),
        ("{ !(traceDuration > 37ns) }", None),
        ("{ traceDuration > 37ns && span.n > 9 }", Some(20)),
        ("{ traceDuration > 1us && span.n > 9 }", None),
        ("{ traceDuration > 1us || span.n > 9 }", Some(20)),
        ("{ traceDuration > 1us } || { span.n = 3 }", Some(1)),
        ("{ traceDuration > 1us } && { span.n = 3 }", None),
        ("{ rootName = \"span 1\" }", Some(29)),
        ("{ rootName = \"span 2\" }", None),
        ("{ rootServiceName =~ \"sh.*\" && span.n = 3 }", Some(1)),
        ("{ rootServiceName != \"shop\" }", None),
        ("{ rootName = name }", Some(1)),
        ("{ duration * 4 > traceDuration }", Some(29)),
        ("{ duration * 3 > traceDuration }", None),
    ] {
        let answer = search_all(&engine, query);
        let found = answer.traces.first();
        let found = found.map(|trace| trace.spansets[0].matched);
        assert_eq!(found, matched, "{query}");
        let is_shown = usize::from(matched.is_some());
        assert_eq!(answer.partial.len(), is_shown, "{query}");
    }
}

#[test]
fn a_search_by_tags_asks_for_the_duration_of_the_whole_trace() {
    let engine = in_two_sources();
    let is_found = |min, max| {
        let query = SearchQuery::Tags(TagSearch {
            tags: vec![("root.name".to_owned(), "span".to_owned())],
            duration_nano_min: min,
            duration_nano_max: max,
        });
        let answer = block_on(engine.search(request(query, TimeRange::ALL, 10))).unwrap();
        !answer.traces.is_empty()
    };
    assert!(is_found(Some(38), Some(38)));
    assert!(!is_found(Some(39), None));
    assert!(!is_found(None, Some(37)));
}
