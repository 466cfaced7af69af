//! The whole store: what was acknowledged is served once, from wherever it lies.

use std::sync::Arc;

use tracewell_model::Clock;

use crate::plain::PlainFormat;
use crate::world::*;

#[test]
fn a_span_comes_back_as_it_was_sent_from_head_log_and_every_level() {
    for seed in 0..30u64 {
        runtime().block_on(round_trip(seed));
    }
}

async fn round_trip(seed: u64) {
    let clock = Arc::new(tracewell_testkit::FakeClock::default());
    let disk = new_disk(&clock);
    let mut sender = Sender::new(seed);
    let mut expected = Expected::new();
    let nothing = Expected::new();
    let format = || Arc::new(PlainFormat);
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
