//! A scan of blocks of several groups beside a naive evaluation: filters of every column, windows
//! that cut through groups, shared traces, other tenants.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracewell_model::shared::SharedIds;
use tracewell_model::source::{LeafQuery, QueryContext, SpanSource, TraceSet};
use tracewell_model::{Filter, Span, SpanId, TenantId, TimeRange, TraceId};

use super::sample::table_of;
use super::{ID, memory, open, options};
use crate::block::source::BlockSource;
use crate::block::{BlockWriter, KeyCounts};
use crate::scan::tests::naive::{self, Place};
use crate::scan::tests::random;

type Traces = BTreeMap<TraceId, Vec<Span>>;
type Rows = BTreeMap<(TraceId, SpanId), (Vec<bool>, Vec<String>)>;

/// What a scan says: bits and values of matching spans, whether traces are in the window, shared ones.
type Answer = (Rows, BTreeMap<TraceId, bool>, BTreeSet<TraceId>);

/// Random traces, each within one time slice of 300 of which there are so many.
fn traces(rng: &mut StdRng, n_slices: u64) -> Vec<(TenantId, Traces)> {
    let mut n_spans = 0;
    let mut tenants = Vec::new();
    for name in ["a", "b"] {
        let mut traces = Traces::new();
        for slice in 0..n_slices {
            for mut span in random::spans(rng, 60, 12) {
                n_spans += 1;
                span.span_id = random::span_id(n_spans);
                span.trace_id.0[0] = slice as u8 + 1;
                let length = span.end_unix_nano.wrapping_sub(span.start_unix_nano);
                span.start_unix_nano = slice * 300 + span.start_unix_nano * 3 / 10;
                span.end_unix_nano = span.start_unix_nano.saturating_add_signed(length as i64);
                traces.entry(span.trace_id).or_default().push(span);
            }
        }
        for spans in traces.values_mut() {
            spans.sort_by_key(|span| (span.start_unix_nano, span.span_id));
        }
        tenants.push((TenantId::new(name).unwrap(), traces));
    }
    tenants
}

/// One group for each slice, the newest first; keys become columns as the first group wants.
async fn write(store: &Arc<dyn ObjectStore>, tenants: &[(TenantId, Traces)], n_slices: u64) {
    let mut writer = None;
    for slice in (0..n_slices).rev() {
        let mut spans: Vec<(TenantId, Span)> = Vec::new();
        for (tenant, traces) in tenants {
            let of_slice = traces.iter().filter(|(id, _)| id.0[0] == slice as u8 + 1);
            let of_slice = of_slice.flat_map(|(_, spans)| spans);
            spans.extend(of_slice.map(|span| (tenant.clone(), span.clone())));
        }
        let (table, dictionary) = table_of(&spans);
        let rows: Vec<u32> = (0..table.n_spans() as u32).collect();
        let writer = writer.get_or_insert_with(|| {
            let promotion = KeyCounts::of(&table, &dictionary.strings, &rows).choose();
            let options = options(ID, (slice % 2) as u8, promotion);
            BlockWriter::new(Arc::clone(store), &Path::from("blocks"), options).unwrap()
        });
        writer.append(&table, &dictionary, &rows).await.unwrap();
    }
    writer.unwrap().finish(&SharedIds::default()).await.unwrap();
}

fn query(rng: &mut StdRng, tenant: &TenantId, traces: &Traces) -> LeafQuery {
    let filters: Arc<[Filter]> = (0..rng.random_range(1..4))
        .map(|_| random::filter(rng, 2, None))
        .collect();
    let fragment_filters = rng.random_bool(0.3).then(|| {
        let filter = |_: &Filter| random::filter(rng, 1, None);
        filters.iter().map(filter).collect()
    });
    let start = rng.random_range(0..1_500);
    let window = match rng.random_range(0..3) {
        0 => TimeRange::ALL,
        _ => TimeRange {
            start,
            end: start + rng.random_range(1..700),
        },
    };
    let mut some = |chance| -> Arc<[TraceId]> {
        let ids = traces.keys().copied();
        ids.filter(|_| rng.random_bool(chance)).collect()
    };
    let only = some(0.2);
    let also = TraceSet::Ids(some(0.5));
    LeafQuery {
        tenant: tenant.clone(),
        filters,
        fragment_filters,
        window,
        also: match rng.random_range(0..3) {
            0 => TraceSet::none(),
            1 => TraceSet::All,
            _ => also,
        },
        only: rng.random_bool(0.25).then_some(only),
        needs_all: false,
        spans: true,
        columns: random::columns(rng),
    }
}

/// `bounds` are the first and the last start of each slice, of all tenants.
fn expected(
    query: &LeafQuery,
    traces: &Traces,
    shared: &BTreeSet<TraceId>,
    (bounds, level): (&BTreeMap<u8, (u64, u64)>, u8),
) -> Answer {
    let mut answer = Answer::default();
    for (id, spans) in traces {
        let is_shared = query.only.is_none() && shared.contains(id);
        let mut starts = spans.iter().map(|span| span.start_unix_nano);
        let in_window = starts.any(|start| query.window.contains(start));
        let (first, last) = bounds[&id.0[0]];
        let group_is_read = query.window.intersects(first, last) || query.also.contains(*id);
        let takes_part = match &query.only {
            Some(ids) => ids.contains(id),
            None => in_window || (is_shared && group_is_read),
        };
        if !takes_part {
            continue;
        }
        let filters = match &query.fragment_filters {
            Some(filters) if is_shared => filters,
            _ => &query.filters,
        };
        let mut starts = Vec::new();
        for span in spans {
            let place = Place::new(span, spans);
            let bits: Vec<bool> = filters.iter().map(|filter| place.holds(filter)).collect();
            if bits.contains(&true) {
                let found = (bits, place.values(&query.columns));
                answer.0.insert((*id, span.span_id), found);
                answer.1.insert(*id, in_window);
                answer.2.extend(is_shared.then_some(*id));
                starts.push(span.start_unix_nano);
            }
        }
        // A first block may hold a span twice; whether it does is not looked at.
        let may_repeat = level == 0 && starts.windows(2).any(|pair| pair[0] == pair[1]);
        if may_repeat && query.only.is_none() && !query.columns.is_empty() {
            answer.2.insert(*id);
        }
    }
    answer
}

async fn found(source: &BlockSource, query: LeafQuery) -> Answer {
    let mut answer = Answer::default();
    let batches = source.leaves(query, QueryContext::unlimited());
    let batches: Vec<_> = batches.try_collect().await.unwrap();
    let mut unread = None;
    for batch in batches {
        let of_batch = batch.spans.column_by_name("span_id").cloned();
        for run in &batch.traces {
            assert!(unread.is_none_or(|unread| run.start_unix_nano <= unread));
            assert_eq!(answer.1.insert(run.trace_id, run.in_window), None);
            for row in run.from as usize..run.to as usize {
                let ids = of_batch.as_ref().unwrap();
                let ids = arrow_array::cast::AsArray::as_fixed_size_binary(ids);
                let id = SpanId(ids.value(row).try_into().unwrap());
                let bits = batch.bits.iter().map(|bits| bits.value(row)).collect();
                let found = (bits, naive::values_of(&batch, row));
                assert_eq!(answer.0.insert((run.trace_id, id), found), None);
            }
        }
        answer.2.extend(batch.shared);
        unread = batch.unread_start_max;
    }
    assert_eq!(unread, None);
    answer
}

#[tokio::test]
async fn a_scan_of_groups_agrees_with_a_naive_one() {
    let (mut n_matched, mut n_outside, mut n_named, mut n_queries) = (0, 0, 0, 0);
    for seed in 0..24 {
        let mut rng = StdRng::seed_from_u64(seed);
        let n_slices = rng.random_range(2..6);
        let tenants = traces(&mut rng, n_slices);
        let store = memory();
        write(&store, &tenants, n_slices).await;
        let source = BlockSource::new(Arc::new(open(&store, ID).await)).unwrap();
        let mut shared = BTreeSet::new();
        for id in tenants.iter().flat_map(|(_, traces)| traces.keys()) {
            if rng.random_bool(0.3) {
                source.shared().insert(*id);
                shared.insert(*id);
            }
        }
        let mut bounds: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        for span in tenants
            .iter()
            .flat_map(|(_, traces)| traces.values().flatten())
        {
            let (start, slice) = (span.start_unix_nano, span.trace_id.0[0]);
            let (first, last) = bounds.entry(slice).or_insert((start, start));
            (*first, *last) = (start.min(*first), start.max(*last));
        }
        for _ in 0..40 {
            let (tenant, traces) = &tenants[rng.random_range(0..2)];
            let query = query(&mut rng, tenant, traces);
            let level = source.reader().meta().level;
            let expected = expected(&query, traces, &shared, (&bounds, level));
            n_queries += 1;
            n_matched += expected.0.len();
            let n = expected.1.values().filter(|in_window| !**in_window).count();
            match &query.only {
                Some(_) => n_named += n,
                None => n_outside += n,
            }
            let found = found(&source, query.clone()).await;
            assert_eq!(found, expected, "seed {seed}, {query:#?}");
        }
    }
    println!(
        "{n_queries} queries, {n_matched} matches, outside of a window {n_outside} shared traces and \
         {n_named} named ones"
    );
    assert!(n_matched > 10_000 && n_outside > 200 && n_named > 100);
}

#[tokio::test]
async fn groups_come_newest_first() {
    let mut rng = StdRng::seed_from_u64(1);
    let tenants = traces(&mut rng, 5);
    let store = memory();
    write(&store, &tenants, 5).await;
    let source = BlockSource::new(Arc::new(open(&store, ID).await)).unwrap();
    let query = LeafQuery {
        tenant: tenants[0].0.clone(),
        filters: [Filter::Constant(true)].into(),
        fragment_filters: None,
        window: TimeRange::ALL,
        also: TraceSet::none(),
        only: None,
        needs_all: false,
        spans: false,
        columns: Arc::default(),
    };
    let batches = source.leaves(query, QueryContext::unlimited());
    let batches: Vec<_> = batches.try_collect().await.unwrap();
    let slices: Vec<u8> = batches
        .iter()
        .map(|batch| batch.traces[0].trace_id.0[0])
        .collect();
    assert!(slices.is_sorted_by_key(|slice| Reverse(*slice)) && slices.len() == 5);
}
