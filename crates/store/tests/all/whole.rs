//! The whole store: what was acknowledged is served once, from wherever it lies.

use std::sync::Arc;

use tracewell_model::Clock;
use tracewell_store::block::ParquetFormat;
use tracewell_store::codec::BlockFormat;

use crate::plain::PlainFormat;
use crate::world::*;

#[test]
fn a_span_comes_back_as_it_was_sent_from_head_log_and_every_level() {
    for seed in 0..30u64 {
        runtime().block_on(round_trip(seed, || Arc::new(PlainFormat)));
    }
}

#[test]
fn a_span_comes_back_as_it_was_sent_from_real_blocks() {
    for seed in 0..6u64 {
        runtime().block_on(round_trip(seed, || Arc::new(ParquetFormat::default())));
    }
}

async fn round_trip(seed: u64, format: fn() -> Arc<dyn BlockFormat>) {
    let clock = Arc::new(tracewell_testkit::FakeClock::default());
    let disk = new_disk(&clock);
    let mut sender = Sender::new(seed);
    let mut expected = Expected::new();
    let nothing = Expected::new();
    let world = World::open(Arc::new(disk.clone()), &clock, small_config(1), format())
        .await
        .unwrap();
    for _ in 0..30 {
        let request = sender.request(clock.now_unix_nano());
        assert!(!world.write(&request).await.unwrap());
        assert!(world.write(&request).await.unwrap(), "a repeat is known");
        remember(&mut expected, &request);
        world.store.cut_next().await.unwrap();
    }
    let what = |place: &str| format!("seed {seed}, {place}");
    world.check(&expected, &nothing, &what("head")).await;

    drop(world);
    let killed = disk.after_kill();
    let world = World::open(Arc::new(killed.clone()), &clock, small_config(2), format())
        .await
        .unwrap();
    assert!(world.store.recovery().is_clean());
    world.check(&expected, &nothing, &what("log")).await;
    for _ in 0..20 {
        let request = sender.request(clock.now_unix_nano());
        assert!(!world.write(&request).await.unwrap());
        remember(&mut expected, &request);
        world.store.flush().await.unwrap();
    }
    world.check(&expected, &nothing, &what("level 0")).await;
    while world.store.merge_next(true).await.unwrap() {
        world.check(&expected, &nothing, &what("a merge")).await;
    }
    let status = world.store.status().await;
    assert!(!status.by_level.contains_key(&0), "{status:?}");
    assert!(status.by_level.contains_key(&1) || status.by_level.contains_key(&2));
    world.store.settle(true).await.unwrap();
    world.store.delete_retired().await.unwrap();

    drop(world);
    let world = World::open(
        Arc::new(killed.after_kill()),
        &clock,
        small_config(3),
        format(),
    )
    .await
    .unwrap();
    assert!(world.store.recovery().is_clean());
    world
        .check(&expected, &nothing, &what("merged, reopened"))
        .await;
}

#[test]
fn spans_equal_in_every_field_become_one_where_fragments_are_joined() {
    runtime().block_on(async {
        let clock = Arc::new(tracewell_testkit::FakeClock::default());
        let disk = new_disk(&clock);
        let world = World::open(
            Arc::new(disk),
            &clock,
            small_config(1),
            Arc::new(PlainFormat),
        )
        .await
        .unwrap();
        let mut sender = Sender::new(3);
        let one = sender.request(clock.now_unix_nano());
        let tenant = one.batch.tenant.clone();
        // The same spans, cut differently by a retry, and one that only shares an id.
        let mut spans = one.spans.clone();
        let mut other = spans[0].clone();
        other.name.push('!');
        spans.push(other);
        let two = request(&tenant, spans);
        let ids: Vec<_> = two
            .spans
            .iter()
            .map(|span| (tenant.clone(), span.trace_id))
            .collect();
        for request in [&one, &two] {
            assert!(!world.write(request).await.unwrap());
            world.store.flush().await.unwrap();
        }
        let n_sent = one.spans.len() + two.spans.len();
        assert_eq!(world.read(&ids).await.len(), n_sent);
        while world.store.merge_next(true).await.unwrap() {}
        assert_eq!(world.read(&ids).await.len(), two.spans.len());
        let equal = &world.store.metrics().spans_deduplicated;
        assert_eq!(
            equal.load(std::sync::atomic::Ordering::Relaxed),
            one.spans.len() as u64
        );
    });
}

#[test]
fn a_late_fragment_is_filed_in_the_partition_of_its_trace() {
    runtime().block_on(async {
        let clock = Arc::new(tracewell_testkit::FakeClock::default());
        let disk = new_disk(&clock);
        let world = World::open(
            Arc::new(disk),
            &clock,
            small_config(1),
            Arc::new(PlainFormat),
        )
        .await
        .unwrap();
        let tenant = tracewell_model::TenantId::single();
        let mut span = Sender::new(3)
            .request(clock.now_unix_nano())
            .spans
            .remove(0);
        for hours in 0..3u64 {
            span.start_unix_nano = clock.now_unix_nano();
            span.span_id = tracewell_model::SpanId([hours as u8 + 1; 8]);
            world
                .write(&request(&tenant, vec![span.clone()]))
                .await
                .unwrap();
            world.store.flush().await.unwrap();
            while world.store.merge_next(false).await.unwrap() {}
            clock.advance(minutes(70));
            while world.store.merge_next(false).await.unwrap() {}
        }
        let status = world.store.status().await;
        assert_eq!(status.by_partition.len(), 1, "{status:?}");
        assert_eq!(status.by_partition["2026-11-22T00"].spans, 3);
        let late = &world.store.metrics().traces_filed_late;
        assert_eq!(late.load(std::sync::atomic::Ordering::Relaxed), 2);
    });
}

#[test]
fn retention_keeps_what_is_inside_the_policy_and_drops_the_rest_within_a_block() {
    for seed in 0..3u64 {
        runtime().block_on(retention(seed));
    }
}

async fn retention(seed: u64) {
    const AGE: u64 = 48 * HOUR;
    let clock = Arc::new(tracewell_testkit::FakeClock::default());
    let disk = new_disk(&clock);
    let mut config = small_config(1);
    config.retention_age = std::time::Duration::from_nanos(AGE);
    let world = World::open(Arc::new(disk), &clock, config, Arc::new(PlainFormat))
        .await
        .unwrap();
    let mut sender = Sender::new(seed);
    let mut sent: Vec<(u64, Request)> = Vec::new();
    for _ in 0..130 {
        let now = clock.now_unix_nano();
        let request = sender.request(now);
        world.write(&request).await.unwrap();
        sent.push((now, request));
        clock.advance(minutes(60));
        world.store.flush().await.unwrap();
        while world.store.merge_next(false).await.unwrap() {}
        for _ in 0..2 {
            world.store.upkeep().await.unwrap();
            world.store.settle(true).await.unwrap();
        }
        let now = clock.now_unix_nano();
        let (mut inside, mut leaving) = (Expected::new(), Expected::new());
        let mut outside = Vec::new();
        for (arrival, request) in &sent {
            match now - arrival {
                age if age <= AGE => remember(&mut inside, request),
                age if age <= AGE + 24 * HOUR => remember(&mut leaving, request),
                _ => outside.extend(
                    request
                        .spans
                        .iter()
                        .map(|span| (request.batch.tenant.clone(), span.trace_id, span.span_id)),
                ),
            }
        }
        let what = format!("seed {seed} at {now}");
        let ids: Vec<_> = outside.iter().map(|(t, id, _)| (t.clone(), *id)).collect();
        for (tenant, span) in world.read(&ids).await {
            let key = (tenant, span.trace_id, span.span_id);
            assert!(
                !outside.contains(&key),
                "{what}: {key:?} is outside of the policy"
            );
        }
        let read = world.read(&ids_of(&inside)).await;
        let there: std::collections::BTreeSet<_> = read
            .iter()
            .map(|(t, span)| (t.clone(), span.trace_id, span.span_id))
            .collect();
        assert!(inside.keys().all(|key| there.contains(key)), "{what}");
    }
    let status = world.store.status().await;
    assert_eq!(status.blocks_retired, 0, "{status:?}");
    // Merged by hours and days: about three days of one request an hour in few blocks.
    let n_blocks: u64 = status.by_level.values().map(|sums| sums.blocks).sum();
    assert!(n_blocks < 60, "{status:?}");
}

fn ids_of(expected: &Expected) -> Vec<(tracewell_model::TenantId, tracewell_model::TraceId)> {
    let keys = expected.keys();
    keys.map(|(tenant, id, _)| (tenant.clone(), *id)).collect()
}
