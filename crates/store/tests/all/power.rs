//! The power goes at every sync of a store at work, and at random points between.
//!
//! The real store runs on the recording disk: it writes, cuts, merges, drops, settles and recycles,
//! and the record of one such life is cut at many points. Every disk that a cut leaves is opened, and
//! every span that was acknowledged before the cut must be there once, unless it may have expired.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;
use tracewell_model::Clock;
use tracewell_store::StoreConfig;
use tracewell_store::disk::Disk;
use tracewell_testkit::{FakeClock, RecordingDisk, UnsyncedDisk};

use crate::world::*;

/// `TRACEWELL_TEST_LIVES` sets another number, for a long run.
const LIVES: u64 = 12;
/// Cuts of one life besides those at syncs.
const RANDOM_CUTS: usize = 30;
const SYNC_CUTS_MAX: usize = 50;

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
async fn look(life: &Life, at: usize, cut: RecordingDisk, what: &str) -> Result<u64, String> {
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
    // The store goes on from there.
    world
        .store
        .flush()
        .await
        .map_err(|e| format!("{what}: {e}"))?;
    while world
        .store
        .merge_next(true)
        .await
        .map_err(|e| format!("{what}: {e}"))?
    {}
    world
        .compare(&expected, &maybe, &format!("{what}, merged"))
        .await?;
    let recovery = world.store.recovery();
    if recovery.blocks_missing.is_empty() && recovery.manifests_damaged.is_empty() {
        Ok(recovery.records_replayed)
    } else {
        Err(format!("{what}: {recovery:?}"))
    }
}

/// Where the power goes in one life: at syncs and in between.
fn cuts(life: &Life, seed: u64) -> Vec<usize> {
    let mut rng = Sender::new(seed).rng;
    let n = life.disk.n_operations();
    let syncs = life.disk.syncs();
    let step = syncs.len().div_ceil(SYNC_CUTS_MAX).max(1);
    // A sync and the moment before it.
    let mut cuts: Vec<usize> = syncs
        .into_iter()
        .skip(rng.random_range(0..step))
        .step_by(step)
        .map(|at| at - rng.random_range(0..2))
        .collect();
    cuts.extend((0..RANDOM_CUTS).map(|_| rng.random_range(0..=n)));
    cuts.push(n);
    cuts.sort_unstable();
    cuts
}

#[test]
fn every_acknowledged_span_is_there_once_after_a_power_cut() {
    let n_lives = std::env::var("TRACEWELL_TEST_LIVES").map_or(LIVES, |n| n.parse().unwrap());
    let all = Mutex::new(Counts::default());
    for_seeds(0..n_lives, |seed| {
        let disk = new_disk(&Arc::new(FakeClock::default()));
        let behind = Arc::new(disk.clone());
        let life = runtime().block_on(live(seed, disk, behind));
        let mut replay = life.disk.replay();
        let mut counts = life.counts;
        for (number, at) in cuts(&life, seed).into_iter().enumerate() {
            replay.advance_to(at);
            let cut_seed = seed << 32 | number as u64;
            let what = format!("life {seed}, cut {number} at operation {at}, seed {cut_seed}");
            let cut = replay.power_cut(cut_seed);
            match runtime().block_on(look(&life, at, cut, &what)) {
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
                    .block_on(look(&life, at, cut, "unsynced"))
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
    }
}
