//! The power goes at every sync of a store at work, and at random points between.
//!
//! The real store runs on the recording disk: it writes, cuts, merges, drops, settles, recycles and
//! starts again, and the record of one such life is cut at many points. Every disk that a cut leaves is
//! opened at the time of the cut, and every span that was acknowledged before must be stored there
//! once, unless retention may have dropped it by then.
//!
//! Most lives are short, because a cut costs what the store holds then; in the long ones blocks are
//! merged again and expire. Each is cut at every sync, right before it and right behind it, but for
//! the long one of `make check`, which is cut at a third of its syncs. What this is not: a test of the
//! runtime: the disks that cuts leave are opened without one.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use rand::Rng;
use tracewell_model::{Clock, TenantId, TraceId};
use tracewell_store::disk::Disk;
use tracewell_store::{Store, StoreConfig, StoreError};
use tracewell_testkit::{FakeClock, RecordingDisk, Synced, UnsyncedDisk};

use crate::world::*;

const LONG: Plan = Plan {
    n_steps: 100,
    n_actions: 24,
};
const SHORT: Plan = Plan {
    n_steps: 30,
    n_actions: 14,
};
/// Long and short lives.
const LIVES: (u64, u64) = (1, 8);
const LIVES_IN_FULL: (u64, u64) = (2, 24);
/// Cuts at syncs for one at a random point.
const SYNC_CUTS_PER_RANDOM: usize = 4;
/// After one cut of so many the store goes on: it cuts and merges all that it found.
const GO_ON_EVERY: u64 = 10;

/// How a life is lived.
#[derive(Clone, Copy)]
struct Plan {
    /// Half of them before the store is started again.
    n_steps: u64,
    /// What a step may be: the first seven are work, the others are requests.
    n_actions: u32,
}

/// When a step began.
#[derive(Clone, Copy)]
struct Moment {
    /// So many operations were recorded.
    at: usize,
    now: u64,
    /// Retention has dropped nothing that arrived then or later, and does not in this step.
    oldest_kept: u64,
}

/// What was acknowledged when so many operations were recorded.
struct Acked {
    at: usize,
    arrival: u64,
    request: Request,
}

/// What happened in a life.
struct Life {
    disk: RecordingDisk,
    steps: Vec<Moment>,
    acked: Vec<Acked>,
    /// They may be there.
    refused: Vec<Request>,
    /// So many operations were recorded when the store was started again.
    half: usize,
    config: StoreConfig,
    counts: Counts,
}

/// What a start must find, and what it may find.
struct Promise {
    must: Expected,
    maybe: Expected,
}

/// What a start found as promised.
struct Found {
    n_must: u64,
    n_replayed: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    /// Each with a seed of its own.
    cuts_of_power: u64,
    cuts_at_syncs: u64,
    syncs: u64,
    cuts_behind_first_ack: u64,
    /// Those of them at which a span had to be there.
    cuts_with_must: u64,
    /// Spans that had to be there and were, over all cuts.
    spans_must: u64,
    replayed: u64,
    requests: u64,
    blocks_cut: u64,
    merges: u64,
    expired: u64,
    deleted: u64,
    manifests: u64,
    groups_copied: u64,
    groups_encoded: u64,
    /// Of the log.
    files_reused: u64,
}

fn config(seed: u64) -> StoreConfig {
    let mut config = small_config(u128::from(seed) + 1);
    config.limits.memory_bytes = 128 << 10;
    config.retention_ages = minutes(10).into();
    // In every third life a group has few traces, so that some are not split over blocks and are
    // copied. Opening many groups costs twice the time.
    if seed.is_multiple_of(3) {
        config.group_spans = 4;
    }
    // The log goes on in other files, record or not, every few steps.
    config.wal.file_age_max = minutes(8);
    config.merge.partition_wait_nano = 0;
    // In every second life the log has its next file ready and uses old ones again.
    config.wal.n_spares = (seed % 2) as usize;
    config
}

/// For another start, which shares no random number with the first.
fn restarted(config: &StoreConfig, start: u128) -> StoreConfig {
    let mut config = config.clone();
    config.random += start << 64;
    config.wal.new_log_id = config.random;
    config
}

/// Lives on the disks that are put before the recording one, half of the life on each.
async fn live(
    seed: u64,
    plan: Plan,
    fronts: impl FnOnce(Arc<dyn Disk>) -> [Arc<dyn Disk>; 2],
) -> Life {
    let clock = Arc::new(FakeClock::default());
    let mut sender = Sender::new(seed);
    let disk = new_disk(&clock);
    let fronts = fronts(Arc::new(disk.clone()));
    let mut life = Life {
        disk,
        steps: Vec::new(),
        acked: Vec::new(),
        refused: Vec::new(),
        half: 0,
        config: config(seed),
        counts: Counts::default(),
    };
    for (start, front) in (0..).zip(fronts) {
        life.half = life.disk.n_operations();
        life.begin_step(&clock, false);
        let config = restarted(&life.config, start);
        let world = World::open(front, &clock, config).await.unwrap();
        for _ in 0..plan.n_steps / 2 {
            // What the thread of the spares does lies between the steps, so that it is the same each time.
            wait_for_spares(&world, life.config.wal.n_spares as u64).await;
            let action = sender.rng.random_range(0..plan.n_actions);
            step(action, &world, &clock, &mut sender, &mut life).await;
        }
        assert_eq!(world.store.poisoned(), None);
        assert_eq!(stored_once(&world.store), Ok(()), "life {seed}");
        life.counts.count(&world.store);
        life.counts.files_reused += world.store.status().await.wal.files_reused;
    }
    life
}

async fn step(action: u32, world: &World, clock: &FakeClock, sender: &mut Sender, life: &mut Life) {
    let store = &world.store;
    life.begin_step(clock, action == 4);
    match action {
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

/// A merge drops spans that are equal in every field. Nothing is sent twice here, so what it drops
/// was stored twice.
fn stored_once(store: &Store) -> Result<(), String> {
    match store.metrics().spans_deduplicated.load(Ordering::Relaxed) {
        0 => Ok(()),
        n => Err(format!("merges found {n} spans that were stored twice")),
    }
}

/// Opens what a cut left, at the time of the cut. Returns what is wrong with it, or what was found.
async fn look(life: &Life, at: usize, cut: RecordingDisk, goes_on: bool) -> Result<Found, String> {
    let moment = life.moment(at);
    let clock = Arc::new(FakeClock::new(moment.now));
    let config = restarted(&life.config, 2);
    let world = World::open(Arc::new(cut), &clock, config)
        .await
        .map_err(|error| error.to_string())?;
    let recovery = world.store.recovery();
    let is_whole = recovery.blocks_missing.is_empty() && recovery.manifests_damaged.is_empty();
    if !is_whole || recovery.records_repeated + recovery.records_unreadable > 0 {
        return Err(format!("{recovery:?}"));
    }
    let promise = life.promise(at, moment.oldest_kept);
    promise.check(&world).await?;
    if goes_on {
        go_on(&world).await.map_err(|error| error.to_string())?;
        stored_once(&world.store)?;
        let promise = life.promise(at, life.oldest_kept(moment.now));
        let checked = promise.check(&world).await;
        checked.map_err(|problem| format!("merged: {problem}"))?;
    }
    Ok(Found {
        n_must: promise.must.len() as u64,
        n_replayed: recovery.records_replayed,
    })
}

async fn go_on(world: &World) -> Result<(), StoreError> {
    world.store.flush().await?;
    while world.store.merge_next(true).await? {}
    world.store.settle(true).await?;
    world.store.upkeep().await
}

// === impl Life ===

impl Life {
    fn begin_step(&mut self, clock: &FakeClock, is_upkeep: bool) {
        let now = clock.now_unix_nano();
        let before = self.steps.last().map_or(0, |step| step.oldest_kept);
        self.steps.push(Moment {
            at: self.disk.n_operations(),
            now,
            oldest_kept: if is_upkeep {
                self.oldest_kept(now)
            } else {
                before
            },
        });
    }

    /// Retention drops nothing that arrived then or later.
    fn oldest_kept(&self, now: u64) -> u64 {
        now - self.config.retention_ages.others.as_nanos() as u64
    }

    /// The step of the last operation before a cut.
    fn moment(&self, at: usize) -> Moment {
        let n_begun = self.steps.partition_point(|step| step.at < at);
        self.steps[n_begun.saturating_sub(1)]
    }

    fn promise(&self, at: usize, oldest_kept: u64) -> Promise {
        let (mut must, mut maybe) = (Expected::new(), Expected::new());
        for acked in &self.acked {
            let is_must = acked.at <= at && acked.arrival >= oldest_kept;
            let expected = if is_must { &mut must } else { &mut maybe };
            remember(expected, &acked.request);
        }
        for request in &self.refused {
            remember(&mut maybe, request);
        }
        Promise { must, maybe }
    }

    /// Where the power goes: right before and right behind one sync of so many, and in between.
    fn cuts(&self, seed: u64, sync_every: usize) -> [Vec<usize>; 2] {
        let syncs = self.disk.syncs().into_iter().step_by(sync_every);
        let mut at_syncs: Vec<usize> = syncs.flat_map(|at| [at - 1, at]).collect();
        at_syncs.dedup();
        let mut rng = Sender::new(seed).rng;
        let n = self.disk.n_operations();
        let n_random = at_syncs.len() / SYNC_CUTS_PER_RANDOM;
        let mut between: Vec<usize> = (0..n_random).map(|_| rng.random_range(0..=n)).collect();
        between.push(n);
        [at_syncs, between]
    }

    /// Cuts the power of the life of a seed; the seeds of its cuts are that one and a number.
    fn cut(&self, life_seed: u64, sync_every: usize) -> Counts {
        let [at_syncs, between] = self.cuts(life_seed, sync_every);
        let mut counts = self.counts;
        counts.syncs = self.disk.syncs().len() as u64;
        counts.cuts_at_syncs = at_syncs.len() as u64;
        let mut cuts = [at_syncs, between].concat();
        cuts.sort_unstable();
        let mut replay = self.disk.replay();
        for (number, at) in (0..).zip(cuts) {
            replay.advance_to(at);
            let seed = life_seed << 32 | number;
            let cut = replay.power_cut(seed);
            let goes_on = number % GO_ON_EVERY == 0;
            match run_here(look(self, at, cut, goes_on)) {
                Ok(found) => counts.found(&found, self.first_ack() <= at),
                Err(problem) => {
                    panic!("life {life_seed}, cut at operation {at}, seed {seed:#x}: {problem}")
                }
            }
        }
        counts
    }

    fn first_ack(&self) -> usize {
        self.acked.first().map_or(usize::MAX, |acked| acked.at)
    }

    /// How many of some cuts at random points are found to have lost something.
    fn n_found_out(&self, seed: u64, n_cuts: u64, between: RangeInclusive<usize>) -> u64 {
        let mut rng = Sender::new(seed).rng;
        let is_found_out = |number: &u64| {
            let at = rng.random_range(between.clone());
            let cut = self.disk.power_cut(at, seed << 32 | number);
            run_here(look(self, at, cut, true)).is_err()
        };
        (0..n_cuts).filter(is_found_out).count() as u64
    }
}

// === impl Promise ===

impl Promise {
    /// Counts the spans that are stored: nothing joins equal ones here.
    async fn check(&self, world: &World) -> Result<(), String> {
        let keys = self.must.keys().chain(self.maybe.keys());
        let ids: Vec<(TenantId, TraceId)> = keys
            .map(|(tenant, trace, _)| (tenant.clone(), *trace))
            .collect();
        let (spans, errors) = world.read_partial(&ids).await;
        if let Some(error) = errors.first() {
            return Err(error.to_string());
        }
        let n_read = spans.len() as u64;
        compare(spans, &self.must, &self.maybe, "cut")?;
        let status = world.store.status().await;
        let in_blocks: u64 = status.by_level.values().map(|sums| sums.spans).sum();
        match status.head_spans + in_blocks {
            n_stored if n_stored == n_read => Ok(()),
            n_stored => Err(format!("{n_stored} spans are stored, {n_read} were read")),
        }
    }
}

// === impl Counts ===

impl Counts {
    fn found(&mut self, found: &Found, is_behind_first_ack: bool) {
        self.cuts_of_power += 1;
        self.replayed += found.n_replayed;
        self.spans_must += found.n_must;
        self.cuts_behind_first_ack += u64::from(is_behind_first_ack);
        self.cuts_with_must += u64::from(is_behind_first_ack && found.n_must > 0);
    }

    fn count(&mut self, store: &Store) {
        let values = store.metrics().values().into_iter();
        let counted: BTreeMap<_, _> = values.map(|(name, _, n)| (name, n)).collect();
        self.requests += counted["requests_accepted"];
        self.blocks_cut += counted["blocks_cut"];
        self.merges += counted["merges"];
        self.expired += counted["blocks_expired_by_age"];
        self.deleted += counted["blocks_deleted"];
        self.manifests += counted["manifests_committed"];
        self.groups_copied += counted["groups_copied"];
        self.groups_encoded += counted["groups_encoded"];
    }

    fn add(&mut self, other: &Self) {
        self.cuts_of_power += other.cuts_of_power;
        self.cuts_at_syncs += other.cuts_at_syncs;
        self.syncs += other.syncs;
        self.cuts_behind_first_ack += other.cuts_behind_first_ack;
        self.cuts_with_must += other.cuts_with_must;
        self.spans_must += other.spans_must;
        self.replayed += other.replayed;
        self.requests += other.requests;
        self.blocks_cut += other.blocks_cut;
        self.merges += other.merges;
        self.expired += other.expired;
        self.deleted += other.deleted;
        self.manifests += other.manifests;
        self.groups_copied += other.groups_copied;
        self.groups_encoded += other.groups_encoded;
        self.files_reused += other.files_reused;
    }
}

#[test]
fn every_acknowledged_span_is_there_once_after_a_power_cut() {
    let (n_long, n_short) = if is_full() { LIVES_IN_FULL } else { LIVES };
    let n_lives = n_long + n_short;
    let all = Mutex::new(Counts::default());
    for_seeds(0..n_lives, |seed| {
        // The long ones first: the last life keeps one processor busy and the others idle.
        let (plan, sync_every) = if seed < n_long {
            (LONG, stride() as usize)
        } else {
            (SHORT, 1)
        };
        let life = live(seed, plan, |disk| [Arc::clone(&disk), disk]);
        let life = runtime().block_on(life);
        let counts = life.cut(seed, sync_every);
        let (n_cuts, n_syncs) = (counts.cuts_of_power, counts.syncs);
        let (first, last) = (seed << 32, (seed << 32) + n_cuts - 1);
        println!("life {seed}: {n_syncs} syncs, {n_cuts} cuts of seeds {first:#x}..={last:#x}");
        all.lock().add(&counts);
    });
    let all = all.into_inner();
    println!("lives of seeds 0..{n_lives}: {all:?}");
    assert!(all.cuts_of_power > n_lives * 300, "{all:?}");
    assert!(!is_full() || all.cuts_at_syncs > all.syncs, "{all:?}");
    let n_behind = all.cuts_behind_first_ack;
    assert!(n_behind > all.cuts_of_power / 10 * 9, "{all:?}");
    assert!(all.cuts_with_must > n_behind / 100 * 95, "{all:?}");
    assert!(all.spans_must > n_behind * 10, "{all:?}");
    assert!(all.groups_copied > 0 && all.groups_encoded > 0, "{all:?}");
    for (n, n_min) in [
        (all.blocks_cut, n_lives),
        (all.merges, n_lives / 2),
        (all.deleted, n_lives / 2),
        (all.expired, n_lives / 8),
        (all.files_reused, n_lives / 2),
    ] {
        assert!(n >= n_min, "too little happened: {all:?}");
    }
}

#[test]
fn a_disk_that_ignores_syncs_is_found_out() {
    let mut found = 0;
    for seed in 0..4 {
        let life = live(seed, LONG, |disk| {
            let front: Arc<dyn Disk> = Arc::new(UnsyncedDisk::new(disk));
            [Arc::clone(&front), front]
        });
        let life = runtime().block_on(life);
        let end = life.disk.n_operations();
        found += life.n_found_out(seed, 8, end..=end);
    }
    println!("{found} of 32 power cuts without syncs were found out");
    assert!(found >= 30);
}

/// Each kind of sync is one that a change could take out alone.
#[test]
fn a_disk_that_ignores_one_kind_of_sync_is_found_out() {
    const LOG: &str = "/data/wal";
    const OBJECTS: &str = "/data/objects";
    type Ignores = fn(Synced<'_>) -> bool;
    // How many of 32 cuts must be found out: names that are not synced are there often enough.
    let kinds: [(&str, u64, Ignores); 4] = [
        (
            "files of the log",
            24,
            |sync| matches!(sync, Synced::File(path) if path.starts_with(LOG)),
        ),
        (
            "files of objects",
            24,
            |sync| matches!(sync, Synced::File(path) if path.starts_with(OBJECTS)),
        ),
        (
            "directories of the log",
            14,
            |sync| matches!(sync, Synced::Directory(path) if path.starts_with(LOG)),
        ),
        (
            "directories of objects",
            8,
            |sync| matches!(sync, Synced::Directory(path) if path.starts_with(OBJECTS)),
        ),
    ];
    for (kind, found_min, ignores) in kinds {
        let mut found = 0;
        for seed in 0..4 {
            let life = live(seed, LONG, |disk| {
                let front: Arc<dyn Disk> = Arc::new(UnsyncedDisk::ignoring(disk, ignores));
                [Arc::clone(&front), front]
            });
            let life = runtime().block_on(life);
            let end = life.disk.n_operations();
            found += life.n_found_out(seed, 8, life.first_ack()..=end);
        }
        println!("{found} of 32 power cuts without syncs of {kind} were found out");
        assert!(found >= found_min, "{kind}: {found}");
    }
}

/// Judged by the end of its life, a store may have lost all of the first half: it has expired then.
#[test]
fn a_disk_that_ignores_syncs_for_the_first_half_of_a_life_is_found_out_there() {
    let mut found = 0;
    for seed in 0..12 {
        let life = live(seed, LONG, |disk| {
            [Arc::new(UnsyncedDisk::new(Arc::clone(&disk))), disk]
        });
        let life = runtime().block_on(life);
        found += life.n_found_out(seed, 8, life.first_ack()..=life.half);
    }
    println!("{found} of 96 power cuts in a first half without syncs were found out");
    assert!(found >= 90);
}

#[test]
fn a_span_that_is_stored_twice_is_found_out() {
    runtime().block_on(async {
        let (world, clock) = World::new(config(0)).await;
        let request = Sender::new(0).request(clock.now_unix_nano());
        let mut again = request.clone();
        again.hash += 1;
        let mut promise = Promise {
            must: Expected::new(),
            maybe: Expected::new(),
        };
        remember(&mut promise.must, &request);
        world.write(&request).await.unwrap();
        assert_eq!(promise.check(&world).await, Ok(()));
        world.write(&again).await.unwrap();
        // In one generation, in one block, and in two of them; then a merge drops it.
        let is_found_out = async || promise.check(&world).await.unwrap_err().contains("twice");
        assert!(is_found_out().await);
        world.store.flush().await.unwrap();
        assert!(is_found_out().await);
        again.hash += 1;
        world.write(&again).await.unwrap();
        assert!(is_found_out().await);
        assert_eq!(stored_once(&world.store), Ok(()));
        go_on(&world).await.unwrap();
        assert!(stored_once(&world.store).is_err());
    });
}
