//! The power goes at every sync of a store at work, and at random points between.
//!
//! The real store runs on the recording disk: it writes, cuts, merges, drops, settles and recycles,
//! and the record of one such life is cut at many points. Every disk that a cut leaves is opened, and
//! every span that was acknowledged before the cut must be there once, unless it may have expired.
//!
//! One life in four is cut at every sync, right before it and right behind it; of the others some
//! syncs are drawn, and moments in between.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;
use tracewell_model::Clock;
use tracewell_store::disk::Disk;
use tracewell_store::{StoreConfig, StoreError};
use tracewell_testkit::{FakeClock, RecordingDisk, UnsyncedDisk};

use crate::world::*;

const LIVES: u64 = 3;
const LIVES_IN_FULL: u64 = 16;
/// Of so many lives one is cut at every sync.
const WHOLE_LIVES: u64 = 4;
/// Cuts of one life besides those at syncs.
const RANDOM_CUTS: usize = 30;
const SYNC_CUTS_MAX: usize = 50;
/// After one cut of so many the store goes on: it cuts and merges all that it found.
const GO_ON_EVERY: usize = 3;

/// What was acknowledged when so many operations were recorded.
struct Acked {
    at: usize,
    arrival: u64,
    request: Request,
}

/// What happened in a life.
struct Life {
    disk: RecordingDisk,
    acked: Vec<Acked>,
    /// Written when the life ended; they may be there.
    refused: Vec<Request>,
    end: u64,
    config: StoreConfig,
    counts: Counts,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    cuts_of_power: u64,
    lives_cut_at_every_sync: u64,
    cuts_at_syncs: u64,
    requests: u64,
    blocks_cut: u64,
    merges: u64,
    expired: u64,
    deleted: u64,
    replayed: u64,
    manifests: u64,
    groups_copied: u64,
    groups_encoded: u64,
}

fn config(random: u128) -> StoreConfig {
    let mut config = small_config(random);
    config.limits.memory_bytes = 128 << 10;
    config.retention_age = minutes(10);
    // In every third life a group has few traces, so that some are not split over blocks and are
    // copied. Opening many groups costs twice the time.
    if random % 3 == 1 {
        config.group_spans = 4;
    }
    // The log goes on in other files, record or not, every few steps.
    config.wal.file_age_max = minutes(8);
    config.merge.partition_wait_nano = 0;
    config
}

/// Lives for a hundred steps or so. `behind` is what the store believes to be its disk.
async fn live(seed: u64, disk: RecordingDisk, behind: Arc<dyn Disk>) -> Life {
    let clock = Arc::new(FakeClock::default());
    let mut sender = Sender::new(seed);
    let config = config(u128::from(seed) + 1);
    let world = World::open(behind, &clock, config.clone()).await.unwrap();
    let mut life = Life {
        disk,
        acked: Vec::new(),
        refused: Vec::new(),
        end: 0,
        config,
        counts: Counts::default(),
    };
    for _ in 0..120 {
        let store = &world.store;
        match sender.rng.random_range(0..24) {
            0 => while store.cut_next().await.unwrap() {},
            1 => store.flush().await.unwrap(),
            2 => drop(store.merge_next(false).await.unwrap()),
            3 => drop(store.merge_next(true).await.unwrap()),
            4 => store.upkeep().await.unwrap(),
            5 => store.settle(true).await.unwrap(),
            6 => clock.advance(minutes(sender.rng.random_range(1..12))),
            _ => {
                let request = sender.request(clock.now_unix_nano());
                match world.write(&request).await {
                    Ok(_) => life.acked.push(Acked {
                        at: life.disk.n_operations(),
                        arrival: clock.now_unix_nano(),
                        request,
                    }),
                    Err(_) => life.refused.push(request),
                }
            }
        }
    }
    let status = world.store.status().await;
    assert_eq!(status.poisoned, None);
    let counted: std::collections::BTreeMap<_, _> = world
        .store
        .metrics()
        .values()
        .into_iter()
        .map(|(name, _, n)| (name, n))
        .collect();
    life.counts.requests = counted["requests_accepted"];
    life.counts.blocks_cut = counted["blocks_cut"];
    life.counts.merges = counted["merges"];
    life.counts.expired = counted["blocks_expired_by_age"];
    life.counts.deleted = counted["blocks_deleted"];
    life.counts.manifests = counted["manifests_committed"];
    life.counts.groups_copied = counted["groups_copied"];
    life.counts.groups_encoded = counted["groups_encoded"];
    life.end = clock.now_unix_nano();
    life
}

/// Opens what a cut left. Returns what is wrong with it, or how many records were replayed.
async fn look(
    life: &Life,
    at: usize,
    cut: RecordingDisk,
    goes_on: bool,
    what: &str,
) -> Result<u64, String> {
    let clock = Arc::new(FakeClock::new(life.end));
    let disk: Arc<dyn Disk> = Arc::new(cut);
    let mut config = life.config.clone();
    config.random += 1 << 64;
    let world = World::open(disk, &clock, config)
        .await
        .map_err(|error| format!("{what}: {error}"))?;
    let oldest = life.end - 10 * 60 * SECOND;
    let (mut expected, mut maybe) = (Expected::new(), Expected::new());
    for acked in &life.acked {
        let must = acked.at <= at && acked.arrival >= oldest;
        remember(
            if must { &mut expected } else { &mut maybe },
            &acked.request,
        );
    }
    for request in &life.refused {
        remember(&mut maybe, request);
    }
    world.compare(&expected, &maybe, what).await?;
    if goes_on {
        go_on(&world, what).await?;
        world
            .compare(&expected, &maybe, &format!("{what}, merged"))
            .await?;
    }
    let recovery = world.store.recovery();
    if recovery.blocks_missing.is_empty() && recovery.manifests_damaged.is_empty() {
        Ok(recovery.records_replayed)
    } else {
        Err(format!("{what}: {recovery:?}"))
    }
}

async fn go_on(world: &World, what: &str) -> Result<(), String> {
    let fail = |error: StoreError| format!("{what}: {error}");
    world.store.flush().await.map_err(fail)?;
    while world.store.merge_next(true).await.map_err(fail)? {}
    Ok(())
}

/// Where the power goes in one life: at syncs, and in between.
struct Cuts {
    at_syncs: Vec<usize>,
    between: Vec<usize>,
}

fn cuts(life: &Life, seed: u64, is_whole: bool) -> Cuts {
    let mut rng = Sender::new(seed).rng;
    let n = life.disk.n_operations();
    let syncs = life.disk.syncs();
    let at_syncs = if is_whole {
        syncs.into_iter().flat_map(|at| [at - 1, at]).collect()
    } else {
        let step = syncs.len().div_ceil(SYNC_CUTS_MAX).max(1);
        let first = rng.random_range(0..step);
        // A sync or the moment before it.
        let drawn = syncs.into_iter().skip(first).step_by(step);
        drawn.map(|at| at - rng.random_range(0..2)).collect()
    };
    let mut between: Vec<usize> = (0..RANDOM_CUTS).map(|_| rng.random_range(0..=n)).collect();
    between.push(n);
    Cuts { at_syncs, between }
}

#[test]
fn every_acknowledged_span_is_there_once_after_a_power_cut() {
    let n_lives = if is_full() { LIVES_IN_FULL } else { LIVES };
    let all = Mutex::new(Counts::default());
    for_seeds(0..n_lives, |seed| {
        let disk = new_disk(&Arc::new(FakeClock::default()));
        let behind = Arc::new(disk.clone());
        let life = runtime().block_on(live(seed, disk, behind));
        let mut replay = life.disk.replay();
        let mut counts = life.counts;
        // The long ones first: the last life keeps one processor busy and the others idle.
        let is_whole = seed < n_lives / WHOLE_LIVES;
        let Cuts { at_syncs, between } = cuts(&life, seed, is_whole);
        counts.lives_cut_at_every_sync = u64::from(is_whole);
        counts.cuts_at_syncs = at_syncs.len() as u64;
        let mut at_all = [at_syncs, between].concat();
        at_all.sort_unstable();
        for (number, at) in at_all.into_iter().enumerate() {
            replay.advance_to(at);
            let cut_seed = seed << 32 | number as u64;
            let what = format!("life {seed}, cut {number} at operation {at}, seed {cut_seed}");
            let cut = replay.power_cut(cut_seed);
            let goes_on = number % GO_ON_EVERY == 0;
            match runtime().block_on(look(&life, at, cut, goes_on, &what)) {
                Ok(replayed) => counts.replayed += replayed,
                Err(problem) => panic!("{problem}"),
            }
            counts.cuts_of_power += 1;
        }
        all.lock().add(&counts);
    });
    let all = all.into_inner();
    println!("lives of seeds 0..{n_lives}: {all:?}");
    assert!(all.cuts_of_power > n_lives * 60, "{all:?}");
    assert!(all.groups_copied > 0 && all.groups_encoded > 0, "{all:?}");
    assert_eq!(all.lives_cut_at_every_sync, n_lives / WHOLE_LIVES);
    for n in [all.blocks_cut, all.merges, all.expired, all.deleted] {
        assert!(n >= n_lives, "too little happened: {all:?}");
    }
}

#[test]
fn a_disk_that_ignores_syncs_is_found_out() {
    let mut found = 0;
    for seed in 0..4 {
        let disk = new_disk(&Arc::new(FakeClock::default()));
        let behind = Arc::new(UnsyncedDisk(Arc::new(disk.clone())));
        let life = runtime().block_on(live(seed, disk, behind));
        let at = life.disk.n_operations();
        for cut_seed in 0..8 {
            let cut = life.disk.power_cut(at, cut_seed);
            found += u32::from(
                runtime()
                    .block_on(look(&life, at, cut, true, "unsynced"))
                    .is_err(),
            );
        }
    }
    println!("{found} of 32 power cuts without syncs were found out");
    assert!(found > 24);
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.blocks_cut += other.blocks_cut;
        self.merges += other.merges;
        self.expired += other.expired;
        self.deleted += other.deleted;
        self.manifests += other.manifests;
        self.groups_copied += other.groups_copied;
        self.groups_encoded += other.groups_encoded;
        self.replayed += other.replayed;
        self.cuts_of_power += other.cuts_of_power;
        self.lives_cut_at_every_sync += other.lives_cut_at_every_sync;
        self.cuts_at_syncs += other.cuts_at_syncs;
    }
}
