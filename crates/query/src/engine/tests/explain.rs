//! What a query would do, in words.

use super::*;
use crate::plan::DecidedBy;

fn explain(query: &str, window: TimeRange) -> Explanation {
    let block = |n: u64, start| {
        let spans = vec![span(n, 1, start, Vec::new())];
        let mut block = PlainSource::new(&format!("block {n}"), spans, BTreeSet::new(), 1);
        block.set_tenant(Some(TenantId::single()));
        block
    };
    let engine = engine(fixtures::snapshots(vec![block(1, 100), block(2, 900)]));
    engine.explain(query, &caller(), window).unwrap()
}

/// What sources are asked of traces that they hold whole.
fn asked(query: &str) -> Vec<String> {
    let explained = explain(query, TimeRange::ALL);
    let plans = explained.plans.iter();
    let filters = plans.flat_map(|plan| &plan.filters);
    filters.map(|filter| filter.scan.clone()).collect()
}

#[test]
fn a_filter_is_shown_by_what_sources_are_asked() {
    for (query, expected) in [
        ("{ }", "true"),
        (
            "{ status = error && duration > 1500ms }",
            "span:status = error && span:duration > 1500ms",
        ),
        (
            "{ resource.\"a b\" =~ \"x|\\\"\" }",
            "resource.\"a b\" =~ \"x|\\\"\"",
        ),
        (
            "{ span.shop.id = nil || kind = server }",
            "span.shop.id = nil || span:kind = server",
        ),
        (
            "{ span.http.method = \"GET\" }",
            "span.http.request.method = \"GET\" || (span.http.request.method = nil && span.http.method = \"GET\")",
        ),
        (
            "{ span.url.query = \"a\" }",
            "span.url.query = \"a\" || (span.url.query = nil && query(span.http.target) = \"a\")",
        ),
        (
            "{ span.db.system > \"a\" }",
            "new_name(span.db.system.name) > \"a\" || (span.db.system.name = nil && new_name(span.db.system) > \"a\")",
        ),
        (
            "{ span.a + span.b > 1 }",
            "span.a != nil && span.b != nil && row by row of span.a, span.b",
        ),
        (
            "{ event:name = \"exception\" }",
            "one event has (event:name = \"exception\")",
        ),
        ("{ traceDuration > 1s }", "trace:duration > 1s"),
    ] {
        assert_eq!(asked(query), [expected], "{query}");
    }
}

#[test]
fn an_explanation_says_what_decides_and_where_it_looks() {
    let decided = |query: &str| {
        let explained = explain(query, TimeRange::ALL);
        let plan = &explained.plans[0];
        (
            plan.decided_by,
            plan.requires.clone(),
            plan.columns.join(", "),
        )
    };
    let one = |by| (by, "1".to_owned(), String::new());
    assert_eq!(decided("{ status = error }"), one(DecidedBy::Filters));
    assert_eq!(decided("{ span:childCount > 1 }"), one(DecidedBy::Traces));
    assert_eq!(
        decided("({ .a = 1 } || { .b = 1 }) && { .c = 1 }"),
        (
            DecidedBy::Filters,
            "(1 or 2) and 3".to_owned(),
            String::new()
        )
    );
    assert_eq!(
        decided("{ status = error } | avg(duration) > 1s"),
        (
            DecidedBy::Columns,
            "1".to_owned(),
            "span:start, span:duration".to_owned()
        )
    );
    let series = explain("{ status = error } | rate() by (name)", TimeRange::ALL);
    assert!(series.is_series);
    assert_eq!(series.plans[0].columns, ["span:start", "span:name"]);
    // Of a trace that may lie elsewhere too, less can be asked.
    let fragments = explain("{ traceDuration > 1s }", TimeRange::ALL);
    let filter = &fragments.plans[0].filters[0];
    assert_eq!(filter.fragment.as_deref(), Some("true"));
    // How many spans one stands for is no column.
    let weighted = "{ } | rate() with (extrapolate=true)";
    let decided_by = |query| explain(query, TimeRange::ALL).plans[0].decided_by;
    assert_eq!(decided_by(weighted), DecidedBy::Traces);
    assert_eq!(decided_by("{ } | rate()"), DecidedBy::Columns);
    let comparison = explain("{ } | compare({ status = error })", TimeRange::ALL);
    let selection = comparison.plans[0].selection.as_deref();
    assert_eq!(selection, Some("span:status = error"));
    assert_eq!(comparison.plans[0].filters.len(), 1);
    assert_eq!(comparison.plans[0].decided_by, DecidedBy::Columns);
    let columns = &comparison.plans[0].columns;
    assert!(columns.ends_with(&["span.*".to_owned(), "resource.*".to_owned()]));
    let half = TimeRange {
        start: 500,
        end: 1_000,
    };
    let explained = explain("{ }", half);
    assert_eq!(
        (explained.all.n_sources, explained.in_window.n_sources),
        (2, 1)
    );
    assert_eq!(
        (explained.all.n_spans, explained.in_window.n_bytes),
        (2, 100)
    );
}

#[test]
fn how_much_others_have_is_not_told() {
    let one = |tenant: Option<TenantId>| {
        let spans = vec![span(1, 1, 100, Vec::new())];
        let mut source = PlainSource::new("block", spans, BTreeSet::new(), 1);
        source.set_tenant(tenant);
        source
    };
    let other = TenantId::new("other").unwrap();
    let sources = vec![one(None), one(Some(TenantId::single())), one(Some(other))];
    let engine = engine(fixtures::snapshots(sources));
    let explained = engine.explain("{ }", &caller(), TimeRange::ALL).unwrap();
    let all = explained.all;
    assert_eq!((all.n_sources, all.n_shared, all.n_spans), (2, 1, 1));
}
