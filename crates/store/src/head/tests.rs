use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow_array::cast::AsArray;
use bytes::Bytes;
use futures::TryStreamExt;
use hashbrown::{HashMap, HashSet};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracewell_model::clock::TimeRange;
use tracewell_model::shared::SharedIds;
use tracewell_model::source::{
    KeyQuery, KeyWhat, LeafBatch, LeafQuery, QueryContext, SpanSource, TraceSet,
};
use tracewell_model::{
    AttributeScope, AttributeValue, Column, Filter, Intrinsic, Span, SpanId, Trace,
};
use tracewell_wire::otlp::{decode_stored, encode_spans, spans_of};

use super::*;
use crate::scan::tests::naive::{self, Place};
use crate::scan::tests::{random, values};

const MIB: u64 = 1 << 20;

fn options(generation_bytes: u64, head_bytes: u64) -> HeadOptions {
    HeadOptions {
        generation_bytes,
        head_bytes,
        max_block_duration: Duration::from_secs(120),
    }
}

fn batch_of(tenant: &TenantId, spans: &[Span]) -> SpanBatch {
    let body = Bytes::from(encode_spans(spans));
    decode_stored(tenant.clone(), body).unwrap().batch
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn leaves(source: &GenerationSnapshot, query: LeafQuery) -> Vec<LeafBatch> {
    now(source
        .leaves(query, QueryContext::unlimited())
        .try_collect())
    .unwrap()
}

fn by_trace(spans: &[Span]) -> HashMap<TraceId, Trace> {
    let mut traces: HashMap<TraceId, Trace> = HashMap::new();
    for span in spans {
        let trace = traces.entry(span.trace_id).or_default();
        trace.trace_id = span.trace_id;
        trace.spans.push(span.clone());
    }
    for trace in traces.values_mut() {
        trace
            .spans
            .sort_by_key(|span| (span.start_unix_nano, span.span_id));
    }
    traces
}

/// Appends random requests; returns what each sent, in order.
fn fill(
    head: &Head,
    rng: &mut StdRng,
    n_requests: u64,
    n_spans: usize,
    n_traces: u64,
) -> Vec<Vec<Span>> {
    let first = head.next_position().0;
    let mut sent = Vec::new();
    let mut n_sent = 0;
    for position in first..first + n_requests {
        let mut spans = random::spans(rng, n_spans, n_traces);
        for span in &mut spans {
            n_sent += 1;
            // Span ids are unique here, so that traces have one order.
            span.span_id = random::span_id(position * 1_000_000 + n_sent);
        }
        let batch = batch_of(&TenantId::single(), &spans);
        head.append(&batch, LogPosition(position), 0, &NoBlocks);
        sent.push(spans_of(&batch));
    }
    sent
}

#[test]
fn what_was_appended_comes_back_as_it_was() {
    for seed in 0..12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let head = Head::new(options(64 * MIB, 128 * MIB), LogPosition(5));
        // Some seeds fill several batches, others only the open one.
        let n_requests = if seed % 4 == 0 { 40 } else { 3 };
        let sent: Vec<Span> = fill(&head, &mut rng, n_requests, 300, 90).concat();
        let (snapshots, ()) = head.pin_with(|| ());
        let [snapshot] = snapshots.as_slice() else {
            panic!("one generation")
        };
        assert_eq!(snapshot.summary().n_spans as usize, sent.len());
        let expected = by_trace(&sent);
        let mut ids: Vec<TraceId> = expected.keys().copied().collect();
        ids.push(TraceId([9; 16]));
        ids.sort_unstable();
        let ctx = QueryContext::unlimited();
        let got = now(snapshot.fetch(&TenantId::single(), &ids, ctx.clone())).unwrap();
        assert_eq!(got.len(), expected.len(), "seed {seed}");
        for trace in &got {
            assert_eq!(*trace, expected[&trace.trace_id], "seed {seed}");
        }
        let rows = now(snapshot.traces(&TenantId::single(), &ids, ctx.clone())).unwrap();
        assert_eq!(rows.len(), expected.len());
        for row in rows {
            check_trace_row(&row, &expected[&row.trace_id]);
        }
        let stranger = TenantId::new("stranger").unwrap();
        assert!(
            now(snapshot.fetch(&stranger, &ids, ctx))
                .unwrap()
                .is_empty()
        );
        assert!(!snapshot.may_contain(&stranger, got[0].trace_id));
        assert!(snapshot.may_contain(&TenantId::single(), got[0].trace_id));
    }
}

fn check_trace_row(row: &tracewell_model::source::TraceRow, trace: &Trace) {
    let spans = &trace.spans;
    let start = spans.iter().map(|span| span.start_unix_nano).min();
    let end = spans.iter().map(|span| span.end_unix_nano).max();
    assert_eq!(Some(row.start_unix_nano), start);
    assert_eq!(Some(row.end_unix_nano), end);
    assert_eq!(row.n_spans as usize, spans.len());
    let n_errors = spans.iter().filter(|span| span.status_code() == 2).count();
    assert_eq!(row.n_errors as usize, n_errors);
    let root = spans.iter().find(|span| span.is_root());
    let seen = row
        .root
        .as_ref()
        .map(|root| (root.span_id, root.name.as_str()));
    assert_eq!(seen, root.map(|root| (root.span_id, root.name.as_str())));
    if let (Some(seen), Some(root)) = (&row.root, root) {
        assert_eq!(seen.service, root.resource.service_name());
    }
}

/// Spans with bits, as (trace, span) -> bits, and the ids reported as shared.
/// Bits and values of a span.
type Row = (Vec<bool>, Vec<String>);
type Answer = (HashMap<(TraceId, SpanId), Row>, HashSet<TraceId>);

fn answer_of(batches: &[LeafBatch], starts: &HashMap<TraceId, u64>) -> Answer {
    let mut matched = HashMap::new();
    let mut shared = HashSet::new();
    let mut last: Option<(std::cmp::Reverse<u64>, TraceId)> = None;
    for (i, batch) in batches.iter().enumerate() {
        let of_batch = |id: &TraceId| batch.traces.iter().any(|run| run.trace_id == *id);
        assert!(
            batch.shared.iter().all(of_batch),
            "ids come with their rows"
        );
        let ids = batch.traces.iter().map(|run| run.trace_id);
        assert!(ids.into_iter().all(|id| !shared.contains(&id)));
        shared.extend(batch.shared.iter().copied());
        let trace_ids = batch.spans.column(0).as_fixed_size_binary();
        let span_ids = batch.spans.column(1).as_fixed_size_binary();
        let mut row = 0;
        for trace in &batch.traces {
            assert_eq!(trace.from as usize, row, "runs follow each other");
            assert_eq!(trace.start_unix_nano, starts[&trace.trace_id]);
            let place = Some((std::cmp::Reverse(trace.start_unix_nano), trace.trace_id));
            assert!(last < place || last.is_none(), "newest first, then by id");
            last = place;
            for at in trace.from as usize..trace.to as usize {
                assert_eq!(trace_ids.value(at), trace.trace_id.0);
                let id = SpanId(span_ids.value(at).try_into().unwrap());
                let bits: Vec<bool> = batch.bits.iter().map(|bits| bits.value(at)).collect();
                assert!(bits.contains(&true));
                let found = (bits, naive::values_of(batch, at));
                assert!(matched.insert((trace.trace_id, id), found).is_none());
            }
            row = trace.to as usize;
        }
        assert_eq!(row, batch.spans.num_rows());
        let next = batches.get(i + 1).and_then(|next| next.traces.first());
        assert_eq!(
            batch.unread_start_max,
            next.map(|trace| trace.start_unix_nano)
        );
    }
    (matched, shared)
}

fn naive_answer(
    query: &LeafQuery,
    traces: &HashMap<TraceId, Trace>,
    shared_ids: &SharedIds,
) -> Answer {
    let mut matched = HashMap::new();
    let mut shared = HashSet::new();
    let starts = || traces.values().flat_map(|trace| &trace.spans);
    let starts = || starts().map(|span| span.start_unix_nano);
    let (first, last) = (starts().min().unwrap(), starts().max().unwrap());
    let is_cut = query.window.intersects(first, last);
    for (id, trace) in traces {
        let is_shared = query.only.is_none() && shared_ids.contains(*id);
        let takes_part = match &query.only {
            Some(ids) => ids.contains(id),
            None => {
                is_in_window(trace, query.window)
                    || (is_shared && (is_cut || query.also.contains(*id)))
            }
        };
        if !takes_part {
            continue;
        }
        let filters = match &query.fragment_filters {
            Some(filters) if is_shared => filters,
            _ => &query.filters,
        };
        let mut has_match = false;
        for span in &trace.spans {
            let place = Place::new(span, &trace.spans);
            let bits: Vec<bool> = filters.iter().map(|f| place.holds(f)).collect();
            if bits.contains(&true) {
                let found = (bits, place.values(&query.columns));
                matched.insert((*id, span.span_id), found);
                has_match = true;
            }
        }
        if is_shared && has_match {
            shared.insert(*id);
        }
    }
    (matched, shared)
}

fn is_in_window(trace: &Trace, window: TimeRange) -> bool {
    let mut starts = trace.spans.iter().map(|span| span.start_unix_nano);
    starts.any(|start| window.contains(start))
}

fn random_query(rng: &mut StdRng, n_traces: u64) -> LeafQuery {
    let filters: Vec<Filter> = (0..rng.random_range(1..4))
        .map(|_| random::filter(rng, 2, None))
        .collect();
    let from = rng.random_range(0..1000);
    let window = match rng.random_range(0..3) {
        0 => TimeRange::ALL,
        1 => TimeRange {
            start: from,
            end: from + rng.random_range(1..400),
        },
        // Before or behind everything.
        _ => TimeRange {
            start: from + 100_000,
            end: from + 100_001,
        },
    };
    let fragment_filters = rng.random_bool(0.3).then(|| {
        let filter = |_: &Filter| random::filter(rng, 1, None);
        filters.iter().map(filter).collect()
    });
    let also = match rng.random_range(0..3) {
        0 => TraceSet::All,
        1 => TraceSet::none(),
        _ => {
            let mut ids: Vec<TraceId> = (0..n_traces).map(random::trace_id).collect();
            ids.retain(|_| rng.random());
            ids.sort_unstable();
            TraceSet::Ids(ids.into())
        }
    };
    let only = (rng.random_range(0..3) == 0).then(|| {
        let mut ids: Vec<TraceId> = (0..n_traces + 2)
            .filter(|_| rng.random())
            .map(random::trace_id)
            .collect();
        ids.sort_unstable();
        ids.into()
    });
    LeafQuery {
        tenant: TenantId::single(),
        filters: filters.into(),
        fragment_filters,
        window,
        also,
        only,
        needs_all: false,
        spans: true,
        columns: random::columns(rng),
    }
}

fn check_leaves(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let head = Head::new(options(64 * MIB, 128 * MIB), LogPosition(0));
    let n_requests = rng.random_range(1..5);
    let n_traces = rng.random_range(1..40);
    let sent: Vec<Span> = fill(&head, &mut rng, n_requests, 60, n_traces).concat();
    let generation = head.filling().unwrap();
    for n in 0..n_traces {
        if rng.random_range(0..5) == 0 {
            generation.shared().insert(random::trace_id(n));
        }
    }
    let shared_ids = generation.shared().ids();
    let (snapshots, ()) = head.pin_with(|| ());
    let traces = by_trace(&sent);
    let starts = traces
        .iter()
        .map(|(id, trace)| (*id, trace.spans[0].start_unix_nano));
    let starts: HashMap<TraceId, u64> = starts.collect();
    for _ in 0..12 {
        let query = random_query(&mut rng, n_traces);
        let batches = leaves(&snapshots[0], query.clone());
        for run in batches.iter().flat_map(|batch| &batch.traces) {
            let in_window = is_in_window(&traces[&run.trace_id], query.window);
            assert_eq!(run.in_window, in_window);
        }
        let (matched, shared) = answer_of(&batches, &starts);
        let (expected, expected_shared) = naive_answer(&query, &traces, &shared_ids);
        assert_eq!(matched, expected, "seed {seed}, query {query:#?}");
        assert_eq!(shared, expected_shared, "seed {seed}");
    }
}

#[test]
fn leaves_agree_with_a_naive_scan() {
    (0..150).for_each(check_leaves);
}

#[test]
fn large_answers_come_in_batches_of_whole_traces() {
    let mut rng = StdRng::seed_from_u64(3);
    let head = Head::new(options(512 * MIB, 1024 * MIB), LogPosition(0));
    let sent: Vec<Span> = fill(&head, &mut rng, 20, 2_000, 300).concat();
    let query = LeafQuery {
        tenant: TenantId::single(),
        filters: [Filter::Constant(true)].into(),
        fragment_filters: None,
        window: TimeRange::ALL,
        also: TraceSet::none(),
        only: None,
        needs_all: false,
        spans: true,
        columns: Arc::default(),
    };
    let (snapshots, ()) = head.pin_with(|| ());
    let batches = leaves(&snapshots[0], query);
    assert!(batches.len() > 1);
    let starts = by_trace(&sent);
    let starts = starts
        .iter()
        .map(|(id, trace)| (*id, trace.spans[0].start_unix_nano));
    let (matched, _) = answer_of(&batches, &starts.collect());
    assert_eq!(matched.len(), sent.len());
}

#[test]
fn keys_and_values_are_those_of_the_selected_spans() {
    let mut rng = StdRng::seed_from_u64(11);
    let head = Head::new(options(64 * MIB, 128 * MIB), LogPosition(0));
    let sent: Vec<Span> = fill(&head, &mut rng, 4, 200, 20).concat();
    let (snapshots, ()) = head.pin_with(|| ());
    let window = TimeRange {
        start: 100,
        end: 700,
    };
    let filter = random::filter(&mut rng, 1, None);
    let traces = by_trace(&sent);
    let selected: Vec<&Span> = sent
        .iter()
        .filter(|span| {
            window.contains(span.start_unix_nano)
                && Place::new(span, &traces[&span.trace_id].spans).holds(&filter)
        })
        .collect();
    assert!(!selected.is_empty() && selected.len() < sent.len());
    let ask = |what: KeyWhat, n_max: usize| {
        let query = KeyQuery {
            tenant: TenantId::single(),
            window,
            what,
            filter: filter.clone(),
            n_max,
            text_bytes_max: usize::MAX,
        };
        now(snapshots[0].keys(&query, QueryContext::unlimited())).unwrap()
    };
    let scopes = vec![AttributeScope::Span, AttributeScope::Resource];
    let few = ask(KeyWhat::Keys(scopes.clone()), 1);
    let of_each = few.keys.iter().map(|info| info.scope);
    assert!(few.truncated && of_each.eq(scopes.iter().copied()));
    let answer = ask(KeyWhat::Keys(scopes), 1_000);
    let mut counts: HashMap<_, u64> = HashMap::new();
    for span in &selected {
        for (scope, list) in [
            (AttributeScope::Span, &span.attributes),
            (AttributeScope::Resource, &span.resource.attributes),
        ] {
            for attribute in list {
                let key = (
                    scope,
                    attribute.key.clone(),
                    attribute.value.attribute_type(),
                );
                *counts.entry(key).or_default() += 1;
            }
        }
    }
    let got = answer
        .keys
        .iter()
        .map(|info| ((info.scope, info.key.clone(), info.value_type), info.n));
    assert_eq!(got.collect::<HashMap<_, _>>(), counts);
    assert!(!answer.truncated);

    let names = vec![Column::Intrinsic(Intrinsic::Name)];
    let answer = ask(KeyWhat::Values(names.clone()), 1_000);
    let got = answer.values.iter().map(|info| match &info.value {
        AttributeValue::String(text) => text.clone(),
        other => panic!("{other:?} is no name"),
    });
    let expected: HashSet<String> = selected.iter().map(|span| span.name.clone()).collect();
    assert_eq!(got.collect::<HashSet<_>>(), expected);
    let answer = ask(KeyWhat::Values(names), 2);
    assert!(answer.truncated && answer.values.len() == 2);
}

#[test]
fn values_are_held_once_up_to_a_limit_on_bytes() {
    let head = Head::new(options(64 * MIB, 128 * MIB), LogPosition(0));
    let batch = batch_of(&TenantId::single(), &values::spans());
    head.append(&batch, LogPosition(0), 0, &NoBlocks);
    let (snapshots, ()) = head.pin_with(|| ());
    now(values::check_limits(&*snapshots[0]));
}

#[test]
fn sorted_groups_hold_every_row_once_in_block_order() {
    let mut rng = StdRng::seed_from_u64(5);
    let head = Head::new(options(64 * MIB, 128 * MIB), LogPosition(0));
    let mut expected: HashMap<TenantId, Vec<Span>> = HashMap::new();
    for position in 0..30 {
        let tenant = TenantId::new(["b", "a", "c"][position as usize % 3]).unwrap();
        let spans = random::spans(&mut rng, 100, 60);
        let batch = batch_of(&tenant, &spans);
        head.append(&batch, LogPosition(position), 0, &NoBlocks);
        expected.entry(tenant).or_default().extend(spans_of(&batch));
    }
    let generation = head.freeze().unwrap();
    assert_eq!(generation.range(), (LogPosition(0), LogPosition(30)));
    let snapshot = generation.snapshot();
    let groups = snapshot.sorted_groups(300);
    let tenants: Vec<&TenantId> = groups
        .iter()
        .map(|group| &snapshot.dictionary().tenants[group.tenant as usize])
        .collect();
    assert!(tenants.is_sorted());
    assert!(groups.len() > 6);
    let mut got: HashMap<TenantId, Vec<Span>> = HashMap::new();
    for (i, group) in groups.iter().enumerate() {
        assert!(group.rows.len() <= 300);
        if let Some(next) = groups.get(i + 1).filter(|next| next.tenant == group.tenant) {
            assert!(group.trace_start_min >= next.trace_start_max);
        }
        let table = snapshot.table(&group.rows);
        let spans: Vec<Span> = (0..table.n_spans())
            .map(|row| table.span(snapshot.dictionary(), row).unwrap())
            .collect();
        assert!(spans.is_sorted_by_key(|s| (s.trace_id, s.start_unix_nano, s.span_id)));
        got.entry(tenants[i].clone()).or_default().extend(spans);
    }
    for spans in expected.values_mut().chain(got.values_mut()) {
        spans.sort_by_cached_key(|span| format!("{span:?}"));
    }
    assert!(got == expected, "the spans are other ones");
}

#[test]
fn a_full_generation_is_frozen_and_a_full_head_refuses() {
    let mut rng = StdRng::seed_from_u64(1);
    let head = Head::new(options(MIB, 3 * MIB), LogPosition(0));
    let batch = batch_of(&TenantId::single(), &random::spans(&mut rng, 500, 50));
    let mut position = 0;
    let refused = loop {
        let reservation = match head.reserve(&batch) {
            Ok(reservation) => reservation,
            Err(refused) => break refused,
        };
        head.append(&batch, LogPosition(position), 0, &NoBlocks);
        drop(reservation);
        position += 1;
        assert!(position < 1_000, "the head never fills");
    };
    assert!(matches!(
        refused,
        WriteError::Busy {
            limit: HEAD_BYTES,
            ..
        }
    ));
    let frozen = head.frozen();
    assert!(frozen.len() >= 2);
    let mut next = LogPosition(0);
    for generation in &frozen {
        assert_eq!(generation.range().0, next, "ranges follow each other");
        // Sealing gave unused room back.
        assert!(generation.n_bytes() >= MIB / 2);
        next = generation.range().1;
    }
    // Its block is in the snapshot: there is room again.
    head.remove_with(frozen[0].sequence(), || ());
    assert!(head.reserve(&batch).is_ok());
    let tiny = Head::new(options(1, 1), LogPosition(0));
    assert!(matches!(
        tiny.reserve(&batch),
        Err(WriteError::TooLarge { .. })
    ));
}

#[test]
fn an_old_generation_is_frozen_an_empty_one_is_not() {
    let mut rng = StdRng::seed_from_u64(1);
    let head = Head::new(options(MIB, 3 * MIB), LogPosition(0));
    let minute = 60_000_000_000;
    assert!(head.freeze_if_older(10 * minute).is_none());
    let batch = batch_of(&TenantId::single(), &random::spans(&mut rng, 5, 2));
    head.append(&batch, LogPosition(0), 10 * minute, &NoBlocks);
    assert!(head.freeze_if_older(11 * minute).is_none());
    assert!(head.freeze_if_older(12 * minute).is_some());
    assert!(head.freeze_if_older(20 * minute).is_none());
    assert_eq!(head.next_position(), LogPosition(1));
}

#[test]
fn a_trace_in_two_generations_or_in_a_block_is_shared() {
    struct Block(TraceId);
    impl TraceLookup for Block {
        fn share(&self, _tenant: &TenantId, id: TraceId) -> bool {
            id == self.0
        }
    }
    let mut rng = StdRng::seed_from_u64(1);
    let head = Head::new(options(MIB, 3 * MIB), LogPosition(0));
    let mut spans = random::spans(&mut rng, 4, 1);
    for (n, span) in (0..).zip(&mut spans) {
        span.trace_id = random::trace_id(n);
    }
    let blocks = Block(random::trace_id(2));
    let single = TenantId::single();
    head.append(&batch_of(&single, &spans[..3]), LogPosition(0), 0, &blocks);
    head.freeze();
    head.append(&batch_of(&single, &spans[1..2]), LogPosition(1), 0, &blocks);
    head.append(&batch_of(&single, &spans[3..]), LogPosition(2), 0, &blocks);
    // The same id of another tenant is another trace.
    let other = TenantId::new("other").unwrap();
    head.append(&batch_of(&other, &spans[..1]), LogPosition(3), 0, &blocks);
    let generations = head.generations.lock().clone();
    let shared = |generation: usize| generations[generation].shared().ids().sorted().unwrap();
    assert_eq!(shared(0), [random::trace_id(1), random::trace_id(2)]);
    assert_eq!(shared(1), [random::trace_id(1)]);
}

/// One thread appends and freezes, others scan: each sees what was appended before it began, once.
#[test]
fn scans_see_every_batch_that_was_appended_before_they_began() {
    let mut rng = StdRng::seed_from_u64(1);
    let head = Head::new(options(2 * MIB, 1024 * MIB), LogPosition(0));
    let n_requests = 400u64;
    let requests: Vec<SpanBatch> = (0..n_requests)
        .map(|position| {
            let mut spans = random::spans(&mut rng, 60, 30);
            for (n, span) in (0..).zip(&mut spans) {
                span.span_id = random::span_id(position * 60 + n);
            }
            batch_of(&TenantId::single(), &spans)
        })
        .collect();
    let appended = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut n_scans = 0;
                while !done.load(Ordering::Acquire) || n_scans == 0 {
                    let before = appended.load(Ordering::Acquire) * 60;
                    let (snapshots, ()) = head.pin_with(|| ());
                    let after = (appended.load(Ordering::Acquire) + 1) * 60;
                    let seen = all_span_ids(&snapshots);
                    let distinct: HashSet<SpanId> = seen.iter().copied().collect();
                    assert_eq!(distinct.len(), seen.len(), "none twice");
                    for n in 0..before {
                        assert!(
                            distinct.contains(&random::span_id(n)),
                            "span {n} is missing"
                        );
                    }
                    assert!(seen.len() as u64 <= after);
                    n_scans += 1;
                }
            });
        }
        for (position, batch) in requests.iter().enumerate() {
            head.append(batch, LogPosition(position as u64), 0, &NoBlocks);
            appended.fetch_add(1, Ordering::Release);
            if position % 97 == 0 {
                head.freeze();
            }
        }
        done.store(true, Ordering::Release);
    });
    assert!(head.frozen().len() >= 4);
    let (snapshots, ()) = head.pin_with(|| ());
    assert_eq!(all_span_ids(&snapshots).len() as u64, n_requests * 60);
}

/// By `only`, which includes shared traces.
fn all_span_ids(snapshots: &[Arc<GenerationSnapshot>]) -> Vec<SpanId> {
    let mut ids: Vec<TraceId> = (0..30).map(random::trace_id).collect();
    ids.sort_unstable();
    let query = LeafQuery {
        tenant: TenantId::single(),
        filters: [Filter::Constant(true)].into(),
        window: TimeRange::ALL,
        fragment_filters: None,
        also: TraceSet::none(),
        only: Some(ids.into()),
        needs_all: false,
        spans: true,
        columns: Arc::default(),
    };
    let mut seen = Vec::new();
    for snapshot in snapshots {
        for batch in leaves(snapshot, query.clone()) {
            let span_ids = batch.spans.column(1).as_fixed_size_binary();
            seen.extend(
                span_ids
                    .iter()
                    .map(|id| SpanId(id.unwrap().try_into().unwrap())),
            );
        }
    }
    seen
}

/// Removing a generation and publishing its block is one step for who pins a snapshot.
#[test]
fn a_generation_leaves_in_the_step_in_which_its_block_enters() {
    let mut rng = StdRng::seed_from_u64(1);
    let head = Head::new(options(MIB, 64 * MIB), LogPosition(0));
    let batch = batch_of(&TenantId::single(), &random::spans(&mut rng, 20, 3));
    let n_blocks = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Acquire) {
                let (snapshots, n_blocks) = head.pin_with(|| n_blocks.load(Ordering::Relaxed));
                let n_head: usize = snapshots.iter().map(|snapshot| snapshot.n_spans()).sum();
                let seen = n_blocks * 20 + n_head as u64;
                assert!(seen >= last, "{seen} spans after {last}");
                last = seen;
            }
        });
        for position in 0..300 {
            head.append(&batch, LogPosition(position), 0, &NoBlocks);
            let generation = head.freeze().unwrap();
            head.remove_with(generation.sequence(), || {
                n_blocks.fetch_add(1, Ordering::Relaxed);
            });
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(n_blocks.load(Ordering::Relaxed), 300);
}
