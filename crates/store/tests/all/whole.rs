//! The whole store: equal spans become one, late fragments find their partition, and what is too old
//! goes.

use std::sync::Arc;

use tracewell_model::source::Snapshots;
use tracewell_model::{Clock, SpanId, TenantId};

use crate::world::*;

#[test]
fn spans_equal_in_every_field_become_one_where_fragments_are_joined() {
    runtime().block_on(async {
        let (world, clock) = World::new(small_config(1)).await;
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
        let twins = &world.store.metrics().spans_twin;
        assert_eq!(twins.load(std::sync::atomic::Ordering::Relaxed), 1);
    });
}

#[test]
fn a_late_fragment_is_filed_in_the_partition_of_its_trace() {
    runtime().block_on(async {
        let (world, clock) = World::new(small_config(1)).await;
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
fn of_old_blocks_a_start_keeps_what_they_share_and_no_filters() {
    runtime().block_on(async {
        let clock = Arc::new(tracewell_testkit::FakeClock::default());
        let mut disk = new_disk(&clock);
        let open = async |disk: &tracewell_testkit::RecordingDisk, random| {
            let disk = Arc::new(disk.clone());
            World::open(disk, &clock, small_config(random))
                .await
                .unwrap()
        };
        let mut world = open(&disk, 1).await;
        let mut sender = Sender::new(3);
        let mut span = sender.request(clock.now_unix_nano()).spans.remove(0);
        let mut alone = span.clone();
        alone.trace_id = tracewell_model::TraceId([3; 16]);
        for n in 1..3 {
            (span.start_unix_nano, span.span_id) = (clock.now_unix_nano(), SpanId([n; 8]));
            let spans = [vec![span.clone()], vec![alone.clone(); usize::from(n == 1)]].concat();
            let request = request(&TenantId::single(), spans);
            world.write(&request).await.unwrap();
            world.store.flush().await.unwrap();
            assert!(world.store.merge_next(true).await.unwrap());
            clock.advance(minutes(70));
        }
        for (start, hours) in [0, 1, 30].into_iter().enumerate() {
            clock.advance(minutes(60 * hours));
            if start > 0 {
                drop(world);
                disk = disk.after_kill();
                world = open(&disk, 2 + start as u128).await;
            }
            let status = world.store.status().await;
            let of_sources = world.store.pin().sources;
            let shares = |id| {
                let sources = of_sources.iter();
                sources
                    .filter(|source| source.shared_ids().contains(id))
                    .count()
            };
            assert_eq!(status.by_level[&1].blocks, 3, "{status:?}");
            assert_eq!((shares(span.trace_id), shares(alone.trace_id)), (2, 0));
            assert_eq!(status.filter_bytes == 0, hours == 30, "{hours}: {status:?}");
        }
    });
}

#[test]
fn retention_keeps_what_is_inside_the_policy_and_drops_the_rest_within_a_block() {
    for seed in 0..2u64 {
        runtime().block_on(retention(seed));
    }
}

async fn retention(seed: u64) {
    const AGE: u64 = 48 * HOUR;
    let mut config = small_config(1);
    config.retention_ages = std::time::Duration::from_nanos(AGE).into();
    let (world, clock) = World::new(config).await;
    let mut sender = Sender::new(seed);
    let mut sent: Vec<(u64, Request)> = Vec::new();
    for _ in 0..45 {
        let now = clock.now_unix_nano();
        let request = sender.request(now);
        world.write(&request).await.unwrap();
        sent.push((now, request));
        clock.advance(minutes(180));
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
    // Merged by hours and days: about three days of one request in three hours in few blocks.
    let n_blocks: u64 = status.by_level.values().map(|sums| sums.blocks).sum();
    assert!(n_blocks < 30, "{status:?}");
}

fn ids_of(expected: &Expected) -> Vec<(tracewell_model::TenantId, tracewell_model::TraceId)> {
    let keys = expected.keys();
    keys.map(|(tenant, id, _)| (tenant.clone(), *id)).collect()
}
