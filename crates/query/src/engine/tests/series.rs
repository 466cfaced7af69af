//! Series over sources that share traces.

use super::super::gather::OPEN_SPANS_MAX;
use super::*;
use crate::request::{SeriesRequest, SeriesResponse};

const END: u64 = 10_000;

pub(super) fn series(engine: &Engine, query: &str) -> SeriesResponse {
    let request = SeriesRequest {
        caller: caller(),
        query: query.to_owned(),
        start: 0,
        end: END,
        step_nano: Some(1_000),
        exemplars_max: 0,
        series_max: None,
    };
    block_on(engine.series(request)).unwrap()
}

/// Of all series and intervals together.
fn sum(answer: &SeriesResponse) -> f64 {
    let values = answer.series.iter().flat_map(|series| &series.values);
    values.flatten().sum()
}

#[test]
fn series_are_the_same_however_the_spans_of_shared_traces_are_met() {
    let queries = [
        "{ } | count_over_time()",
        "{ status = error } | count_over_time() by (name)",
        "{ } | max_over_time(duration) by (resource.service.name)",
        "{ .a != nil } && { kind = server } | count_over_time()",
    ];
    let (mut n_few, mut n_many) = (0, 0);
    for seed in 0..120 {
        let mut rng = fixtures::rng(seed);
        let n_traces = rng.random_range(2..40);
        let traces = fixtures::traces(&mut rng, n_traces);
        let sources = fixtures::spread(&mut rng, &traces, 4);
        // More than are kept: those of shared traces are asked for again, and fewer at once until they fit.
        let shared = sources[0].shared_traces();
        let of_shared = traces
            .iter()
            .filter(|trace| shared.contains(&trace.trace_id));
        match of_shared.map(|trace| trace.spans.len()).sum::<usize>() > OPEN_SPANS_MAX {
            true => n_many += 1,
            false => n_few += 1,
        }
        let spread = engine(fixtures::snapshots(sources));
        let whole = engine(one_source(
            traces
                .iter()
                .flat_map(|trace| trace.spans.clone())
                .collect(),
        ));
        for query in queries {
            let (found, wanted) = (series(&spread, query), series(&whole, query));
            assert_eq!(found.series, wanted.series, "{query}, seed {seed}");
            assert!(found.partial.is_empty(), "{:?}", found.partial);
        }
    }
    assert!(n_few > 20 && n_many > 20, "{n_few} and {n_many}");
}

#[test]
fn a_source_that_fails_on_the_way_is_named_and_no_span_counts_twice() {
    let mut n_less = 0;
    for seed in 0..60 {
        let mut rng = fixtures::rng(seed);
        let n_traces = rng.random_range(2..40);
        let traces = fixtures::traces(&mut rng, n_traces);
        let n_spans: usize = traces.iter().map(|trace| trace.spans.len()).sum();
        let mut sources = fixtures::spread(&mut rng, &traces, 3);
        let broken = &mut sources[1];
        broken.broken_after = Some(rng.random_range(0..3));
        let kept = [&sources[0], &sources[2]];
        let told: BTreeSet<(TraceId, String)> = kept
            .iter()
            .flat_map(|source| source.spans())
            .map(|span| (span.trace_id, format!("{span:?}")))
            .collect();
        let answer = series(
            &engine(fixtures::snapshots(sources)),
            "{ } | count_over_time()",
        );
        let counted = sum(&answer) as usize;
        assert!(
            counted >= told.len(),
            "{counted} of {}, seed {seed}",
            told.len()
        );
        assert!(counted <= n_spans, "{counted} of {n_spans}, seed {seed}");
        n_less += usize::from(counted < n_spans);
        let [reason] = answer.partial.as_slice() else {
            panic!("{:?}", answer.partial);
        };
        assert_eq!(
            reason,
            "source 1 is damaged: a page does not fit its checksum"
        );
    }
    assert!(n_less > 10, "{n_less}");
}
