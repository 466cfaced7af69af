//! Whole traces, whatever the store has made of them: the engine over a real store against the
//! oracle of testkit, before and after merging; and planted bugs that must not go unseen.
//!
//! `TRACEWELL_ORACLE_QUERIES` sets how many random queries are asked, each before and after merging
//! (4,000 in `make check`, 100,000 in `make test`), `TRACEWELL_ORACLE_SEED` from which seed on.

mod ask;
mod data;
mod operators;
mod planted;
mod series;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;
use tracewell_model::source::{QueryContext, QueryMemory};
use tracewell_model::{Clock, Limits, Span, SpanId, TenantId, TimeRange, TraceId};
use tracewell_query::Aliases;
use tracewell_testkit::{FakeClock, Random};

use crate::harness::setting;
use ask::{Case, Expected};
use data::{DataSet, Places};
use planted::Bug;

/// In `make check`: less than half a minute of one core.
const QUERIES: u64 = 4_000;
const QUERIES_IN_FULL: u64 = 100_000;
/// Building, merging and reading a data set by id costs about as much as twenty queries.
const QUERIES_PER_SET: u64 = 250;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn cases(seed: u64, data: &DataSet, n: u64) -> Vec<(Case, Expected)> {
    let mut random = Random::new(!seed);
    let spans = data.oracle.spans();
    let draw = |_| {
        let case = ask::random_case(&mut random, &data.oracle, &spans);
        let expected = ask::expected(&data.oracle, &case);
        (case, expected)
    };
    (0..n).map(draw).collect()
}

#[derive(Debug, Default)]
struct Tally {
    queries: usize,
    refused: usize,
    telling: usize,
    /// Metrics queries, and those whose answer is not all of one value.
    series: usize,
    telling_series: usize,
    sets: usize,
    /// Data sets with a head and blocks of so many levels, before all was merged; 0 without a head.
    levels: BTreeMap<usize, usize>,
    /// Traces that lie in several groups of one block, once all is merged.
    n_split: usize,
    wrong: Vec<String>,
}

impl Tally {
    async fn compare(&mut self, data: &DataSet, cases: &[(Case, Expected)], what: &str) {
        let engine = ask::engine(data, data.snapshots());
        for (case, expected) in cases {
            let found = match engine.search(ask::request(case)).await {
                Ok(response) => ask::lines(response),
                Err(error) => {
                    self.refused += 1;
                    println!("{what}: refused {}: {error}", case.text);
                    continue;
                }
            };
            if let Some(difference) = ask::difference(expected, &found) {
                self.wrong.push(format!("{what}: {case:?}: {difference}"));
            }
        }
    }

    async fn compare_series(&mut self, data: &DataSet, cases: &[series::Case], what: &str) {
        for case in cases {
            self.series += 1;
            self.telling_series += usize::from(case.tells());
            if let Some(difference) = case.check(data).await {
                self.wrong.push(format!("{what}: {difference}"));
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.series += other.series;
        self.telling_series += other.telling_series;
        self.queries += other.queries;
        self.refused += other.refused;
        self.telling += other.telling;
        self.sets += other.sets;
        self.n_split += other.n_split;
        for (levels, sets) in other.levels {
            *self.levels.entry(levels).or_default() += sets;
        }
        self.wrong.extend(other.wrong);
    }

    fn saw(&mut self, places: Places) {
        let n_levels = places.levels.iter().filter(|blocks| **blocks > 0).count();
        let n_levels = if places.head > 0 { n_levels } else { 0 };
        *self.levels.entry(n_levels).or_default() += 1;
    }
}

#[test]
fn the_engine_and_the_oracle_agree_before_and_after_merging() {
    let is_full = std::env::var_os("TRACEWELL_TEST_FULL").is_some();
    let otherwise = if is_full { QUERIES_IN_FULL } else { QUERIES };
    let n_queries = setting("TRACEWELL_ORACLE_QUERIES", otherwise);
    let first = setting("TRACEWELL_ORACLE_SEED", 1);
    let seeds = first..first + n_queries.div_ceil(QUERIES_PER_SET);
    let next = AtomicU64::new(seeds.start);
    let tally = Mutex::new(Tally::default());
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..n_threads.min(8) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) || !tally.lock().unwrap().wrong.is_empty() {
                        break;
                    }
                    let of_seed = runtime().block_on(one_set(seed));
                    tally.lock().unwrap().add(of_seed);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    assert!(
        tally.wrong.is_empty(),
        "{} disagree; the first:\n{}",
        tally.wrong.len(),
        tally.wrong[..tally.wrong.len().min(5)].join("\n")
    );
    println!(
        "seeds {seeds:?}: {} queries over {} data sets, each before and after merging; {} % tell \
         traces apart; {} answers refused; data sets by levels of blocks beside the head: {:?}; {} \
         traces split within a block; {} metrics queries, of which {} % have series that vary",
        tally.queries,
        tally.sets,
        tally.telling * 100 / tally.queries,
        tally.refused,
        tally.levels,
        tally.n_split,
        tally.series,
        tally.telling_series * 100 / tally.series
    );
    assert!(tally.telling_series * 100 >= tally.series * 40);
    assert!(tally.n_split * 4 > tally.sets);
    assert!(tally.telling * 100 >= tally.queries * 40);
    assert!(tally.refused * 100 < tally.queries);
    // A head and blocks of all three levels at once: not in a few data sets alone.
    assert!(tally.levels.get(&3).copied().unwrap_or(0) * 5 >= tally.sets);
}

async fn one_set(seed: u64) -> Tally {
    let data = DataSet::scattered(seed).await;
    let cases = cases(seed, &data, QUERIES_PER_SET);
    let mut tally = Tally {
        queries: cases.len(),
        telling: cases.iter().filter(|(_, expected)| expected.tells).count(),
        sets: 1,
        ..Tally::default()
    };
    let places = data.places().await;
    tally.saw(places);
    let what = format!("seed {seed}, {places:?}");
    tally.compare(&data, &cases, &what).await;
    let series = series::cases(seed, &data, QUERIES_PER_SET / 10);
    tally.compare_series(&data, &series, &what).await;
    ask::check_traces_by_id(&data, &what).await;
    data.merge_all().await;
    let places = data.places().await;
    let sources = data.snapshots().pin().sources;
    let split = sources
        .iter()
        .map(|source| source.shared_ids().split().len());
    tally.n_split = split.sum();
    let what = format!("seed {seed}, merged, {places:?}");
    tally.compare(&data, &cases, &what).await;
    tally.compare_series(&data, &series, &what).await;
    ask::check_traces_by_id(&data, &what).await;
    tally
}

/// Every source, whatever it is, stops within one span of the limit, and says how many it left out.
#[test]
fn fetching_keeps_to_its_limit() {
    let (mut n_limited, mut n_heads) = (0, 0);
    for seed in 2_000..2_004 {
        runtime().block_on(async {
            let data = DataSet::scattered(seed).await;
            let ids: Vec<_> = data.oracle.traces().map(|trace| trace.trace_id).collect();
            let span_bytes_max = data.oracle.spans().iter().map(|span| span.bytes()).max();
            for source in data.snapshots().pin().sources {
                let fetch = async |limit: u64| {
                    let ctx = QueryContext::new(
                        CancellationToken::new(),
                        u64::MAX,
                        QueryMemory::new(limit),
                    );
                    let tenant = TenantId::single();
                    let traces = source.fetch(&tenant, &ids, ctx.clone()).await.unwrap();
                    let spans = traces.into_iter().flat_map(|trace| trace.spans);
                    (spans.collect::<Vec<_>>(), ctx.take_left_out())
                };
                let bytes = |spans: &[Span]| spans.iter().map(Span::bytes).sum::<usize>();
                let (all, left_out) = fetch(u64::MAX).await;
                assert_eq!(left_out, 0);
                let limit = bytes(&all) / 2;
                let (some, left_out) = fetch(limit as u64).await;
                assert_eq!(some.len() as u64 + left_out, all.len() as u64);
                assert!(bytes(&some) < limit + span_bytes_max.unwrap());
                n_limited += usize::from(left_out > 0);
                n_heads += usize::from(left_out > 0 && source.summary().name.starts_with("head"));
            }
        });
    }
    println!("{n_limited} sources stopped at the limit, {n_heads} of them generations of the head");
    assert!(n_heads > 0 && n_limited > n_heads);
}

/// A trace in several row groups of a block that the window cuts, with more spans than fit into memory:
/// that none of them starts in the window is seen without reading it whole.
#[test]
fn a_split_trace_before_the_window_leaves_an_answer_complete() {
    const N_SPANS: u64 = 13_000;
    let start = FakeClock::default().now_unix_nano();
    let span = |trace: u8, n: u64| Span {
        trace_id: TraceId([trace; 16]),
        span_id: SpanId((n + 1).to_be_bytes()),
        start_unix_nano: start + n,
        end_unix_nano: start + 2 * N_SPANS,
        ..Span::default()
    };
    let mut spans: Vec<Span> = (0..N_SPANS).map(|n| span(1, n)).collect();
    spans.push(span(2, N_SPANS + 100));
    let mut limits = Limits::default();
    limits.query_memory_bytes_max = 2 << 20;
    runtime().block_on(async {
        let data = DataSet::in_groups(&spans, 5_000).await;
        let sources = data.snapshots().pin().sources;
        let split = sources
            .iter()
            .map(|source| source.shared_ids().split().len());
        assert_eq!((sources.len(), split.sum::<usize>()), (1, 1));
        let find = async |limits: &Limits, from: u64| {
            let engine = ask::engine_within(&data, data.snapshots(), limits.clone());
            let case = Case {
                text: "{ }".to_owned(),
                aliases: Aliases::Off,
                window: TimeRange {
                    start: start + from,
                    end: start + 2 * N_SPANS,
                },
                limit: 10,
                spans_max: 1,
            };
            let answer = engine.search(ask::request(&case)).await.unwrap();
            let ids = answer.traces.iter().map(|trace| trace.trace_id.0[0]);
            (ids.collect::<Vec<_>>(), answer.partial)
        };
        assert_eq!(find(&limits, N_SPANS).await, (vec![2], Vec::new()));
        let all = Limits::default();
        assert_eq!(find(&all, N_SPANS - 1).await, (vec![2, 1], Vec::new()));
    });
}

#[test]
fn planted_bugs_are_found() {
    const SETS: u64 = 8;
    const QUERIES_MAX: u64 = 200;
    let mut unseen: Vec<Bug> = Bug::ALL.to_vec();
    runtime().block_on(async {
        for seed in 1_000..1_000 + SETS {
            let data = DataSet::scattered(seed).await;
            let cases = cases(seed, &data, QUERIES_MAX);
            let mut left = Vec::new();
            let none = first_difference(Bug::Nothing, &data, &cases).await;
            assert_eq!(none, None, "query of seed {seed}");
            for bug in std::mem::take(&mut unseen) {
                match first_difference(bug, &data, &cases).await {
                    Some(n) => println!("{bug:?}: found by query {n} of seed {seed}"),
                    None => left.push(bug),
                }
            }
            unseen = left;
        }
    });
    assert!(unseen.is_empty(), "not found: {unseen:?}");
}

async fn first_difference(bug: Bug, data: &DataSet, cases: &[(Case, Expected)]) -> Option<usize> {
    for (index, (case, expected)) in cases.iter().enumerate() {
        let Some(response) = bug.ask(data, case).await else {
            continue;
        };
        if ask::difference(expected, &ask::lines(response)).is_some() {
            return Some(index + 1);
        }
    }
    None
}
