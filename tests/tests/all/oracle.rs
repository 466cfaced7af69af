//! The engine against the oracle of testkit: two readings of one language.

use tracewell_model::clock::TimeRange;
use tracewell_model::{Limits, SpanId, TraceId};
use tracewell_query::plan::{Plan, PlanLimits};
use tracewell_query::row::TraceFacts;
use tracewell_query::{Aliases, parse, pipeline};
use tracewell_testkit::oracle::Question;
use tracewell_testkit::random::{TraceOptions, random_query, random_traces};
use tracewell_testkit::{Oracle, Random};

const ALL: Question = Question {
    window: TimeRange::ALL,
    limit: usize::MAX,
    aliases: Aliases::Resolve,
};

/// Spans of each spanset of a trace.
type Found = (TraceId, Vec<Vec<SpanId>>);

/// What the planner and the evaluator make of whole traces, sorted as an answer is.
fn planned(oracle: &Oracle, text: &str, aliases: Aliases) -> Option<Vec<Found>> {
    let limits = PlanLimits::from(&Limits::default());
    let plan = Plan::new(text, &parse(text).unwrap(), aliases, limits).ok()?;
    let mut found: Vec<_> = oracle
        .traces()
        .filter_map(|trace| {
            let sets = pipeline::spansets(&plan, &TraceFacts::of(&trace.spans));
            let ids = |spans: &[usize]| spans.iter().map(|i| trace.spans[*i].span_id).collect();
            let ids: Vec<Vec<SpanId>> = sets.iter().map(|set| ids(&set.spans)).collect();
            let start = trace.spans.iter().map(|span| span.start_unix_nano).min();
            (!ids.is_empty()).then_some((std::cmp::Reverse(start), trace.trace_id, ids))
        })
        .collect();
    found.sort();
    Some(found.into_iter().map(|(_, id, ids)| (id, ids)).collect())
}

#[test]
fn plans_mean_what_the_oracle_means() {
    let mut wrong = Vec::new();
    let (mut n_queries, mut n_refused, mut n_telling) = (0, 0, 0);
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let oracle = Oracle::new(random_traces(&mut random, 20, &TraceOptions::default()));
        let spans = oracle.spans();
        for _ in 0..40 {
            let text = random_query(&mut random, &spans);
            let aliases = if random.percent(80) {
                Aliases::Resolve
            } else {
                Aliases::Off
            };
            let Some(engine) = planned(&oracle, &text, aliases) else {
                n_refused += 1;
                continue;
            };
            let question = Question { aliases, ..ALL };
            let expected: Vec<_> = oracle
                .search(&text, question)
                .unwrap()
                .into_iter()
                .map(|found| {
                    let sets = found.spansets.into_iter().map(|set| set.matched);
                    (found.trace_id, sets.collect())
                })
                .collect();
            n_queries += 1;
            n_telling += usize::from(!expected.is_empty() && expected.len() < oracle.n_traces());
            if engine != expected {
                wrong.push(format!("seed {seed}, {aliases:?}: {text}"));
            }
        }
    }
    println!("{n_queries} queries, {n_telling} tell traces apart, {n_refused} were refused");
    assert!(
        wrong.is_empty(),
        "{} disagree:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(n_telling * 10 > n_queries * 4);
    assert!(n_refused * 4 < n_queries);
}
