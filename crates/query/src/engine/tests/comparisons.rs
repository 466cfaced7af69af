//! `compare()` over sources: by columns, by whole traces, and in little memory.

use super::series::series;
use super::*;
use tracewell_model::KeyValue;

use crate::request::SeriesResponse;
use crate::scalar::Scalar;

/// How many spans one stands for is no column, and each stands for itself.
const BY_TRACES: &str = " with (extrapolate=true)";

#[test]
fn a_comparison_is_the_same_by_columns_and_by_whole_traces() {
    let queries = [
        "{ } | compare({ status = error })",
        "{ kind = server } | compare({ .a != nil }, 2)",
        "{ .b != nil } || { name = \"get\" } | compare({ duration > 20ns }, 3, 1000, 6000)",
        "{ status = error } | by(name) | compare({ span.a = \"x\" })",
        "{ } >> { } | compare({ status = error })",
    ];
    let mut n_selected = 0;
    for seed in 0..80 {
        let mut rng = fixtures::rng(seed);
        let n_traces = rng.random_range(2..40);
        let mut traces = fixtures::traces(&mut rng, n_traces);
        // More attributes than are asked for at once, and sometimes more than are asked for at all.
        let n_keys = [0, 30, 3_000][seed as usize % 3];
        for span in traces.iter_mut().flat_map(|trace| &mut trace.spans) {
            for _ in 0..n_keys / 30 {
                let key = format!("key.{}", rng.random_range(0..n_keys));
                let value = AttributeValue::Int(rng.random_range(0..4));
                span.attributes.push(KeyValue { key, value });
            }
        }
        let spread = engine(fixtures::snapshots(fixtures::spread(&mut rng, &traces, 4)));
        let spans = traces.iter().flat_map(|trace| trace.spans.clone());
        let whole = engine(one_source(spans.collect()));
        for query in queries {
            let wanted = series(&whole, &format!("{query}{BY_TRACES}"));
            for engine in [&spread, &whole] {
                let found = series(engine, query);
                assert_eq!(found.series, wanted.series, "{query}, seed {seed}");
                assert!(found.partial.is_empty(), "{:?}", found.partial);
            }
            let labels = wanted.series.iter().flat_map(|series| &series.labels);
            let selection = ("__meta_type".to_owned(), text_of("selection"));
            n_selected += labels.filter(|label| **label == selection).count();
        }
    }
    assert!(n_selected > 1_000, "{n_selected}");
}

#[test]
fn a_comparison_in_little_memory_shows_frequent_values_and_says_what_it_may_miss() {
    let of = |id: u16| {
        let pod = if id.is_multiple_of(3) { "a" } else { "b" };
        let order = AttributeValue::String(format!("order {id}"));
        let order = KeyValue {
            key: "order".to_owned(),
            value: order,
        };
        span(u64::from(id), 1, 100, vec![text("pod", pod), order])
    };
    let spans: Vec<Span> = (1..=6_000).map(of).collect();
    let asked = |memory_bytes: u64| -> SeriesResponse {
        let mut limits = Limits::default();
        limits.query_memory_bytes_max = memory_bytes;
        let engine = Engine::new(one_source(spans.clone()), limits, Arc::new(StillClock));
        series(&engine, "{ } | compare({ status = error }, 3)")
    };
    let count = |answer: &SeriesResponse, label: (&str, &str)| {
        let label = (label.0.to_owned(), text_of(label.1));
        let mut series = answer.series.iter();
        let found = series.find(|series| series.labels.contains(&label))?;
        Some(found.values.iter().flatten().sum::<f64>())
    };
    let (roomy, tight) = (asked(64 << 20), asked(512 << 10));
    for answer in [&roomy, &tight] {
        assert!(answer.partial.is_empty(), "{:?}", answer.partial);
    }
    let scarce = asked(64 << 10);
    for answer in [&roomy, &tight, &scarce] {
        assert_eq!(count(answer, ("span.pod", "a")), Some(2_000.0));
        assert_eq!(count(answer, ("span.pod", "b")), Some(4_000.0));
        assert_eq!(count(answer, ("span.pod", "nil")), Some(6_000.0));
        assert_eq!(count(answer, ("span.order", "nil")), Some(6_000.0));
        assert!(count(answer, ("__meta_error", "__too_many_values__")).is_some());
    }
    let [reason] = scarce.partial.as_slice() else {
        panic!("{:?}", scarce.partial);
    };
    assert!(
        reason.starts_with("with all values the comparison would take more than 32768 bytes"),
        "{reason}"
    );
    let mut limits_hit = scarce.stats.limits_hit.iter();
    assert!(limits_hit.any(|limit| limit == QueryLimit::MemoryBytes));
}

fn text_of(text: &str) -> Scalar {
    Scalar::String(text.into())
}
