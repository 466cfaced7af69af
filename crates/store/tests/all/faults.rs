//! Damaged manifests, full disks, failed syncs, clocks that jump, workers that panic.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use object_store::ObjectStore;
use rand::Rng;
use tracewell_model::limits::DISK_FULL;
use tracewell_model::sink::WriteError;
use tracewell_model::{Clock, Span, SpanId, TenantId, TraceId};
use tracewell_store::block::ParquetFormat;
use tracewell_store::codec::*;
use tracewell_store::disk::Disk;
use tracewell_store::manifest::BlockEntry;
use tracewell_store::{StoreConfig, StoreError, StoreResult};
use tracewell_testkit::{FakeClock, RecordingDisk};

use crate::logged::{Listener, listen};
use crate::world::*;

struct Bench {
    clock: Arc<FakeClock>,
    disk: RecordingDisk,
    sender: Sender,
    expected: Expected,
    /// Not acknowledged; may be there.
    maybe: Expected,
    n_opened: u128,
    config: fn(u128) -> StoreConfig,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(FakeClock::default());
        Self {
            disk: new_disk(&clock),
            clock,
            sender: Sender::new(seed),
            expected: Expected::new(),
            maybe: Expected::new(),
            n_opened: 0,
            config: small_config,
        }
    }

    async fn open(&mut self) -> World {
        self.n_opened += 1;
        let (disk, config) = (self.disk.clone(), (self.config)(self.n_opened));
        World::open(Arc::new(disk), &self.clock, config)
            .await
            .unwrap()
    }

    /// Ends the process and starts it again on the same files.
    async fn reopen(&mut self, world: World) -> World {
        drop(world);
        self.disk = self.disk.after_kill();
        self.open().await
    }

    async fn write(&mut self, world: &World) -> Result<bool, WriteError> {
        let request = self.sender.request(self.clock.now_unix_nano());
        let written = world.write(&request).await;
        let list = match written {
            Ok(_) => &mut self.expected,
            Err(_) => &mut self.maybe,
        };
        remember(list, &request);
        written
    }

    async fn check(&self, world: &World, what: &str) {
        world.check(&self.expected, &self.maybe, what).await;
    }

    /// What the next start would find if the power went now.
    async fn check_after_power_cut(&self, what: &str) {
        for seed in (0..21).step_by(stride() as usize) {
            let left = self.disk.power_cut(self.disk.n_operations(), seed);
            let config = (self.config)(1 << 64 | u128::from(seed));
            let opened = World::open(Arc::new(left), &self.clock, config).await;
            let (world, what) = (opened.unwrap(), format!("{what}, power cut of seed {seed}"));
            let recovery = world.store.recovery();
            assert!(recovery.blocks_missing.is_empty(), "{what}: {recovery:?}");
            self.check(&world, &what).await;
        }
    }

    /// Files below a folder of the store, in the order of their names.
    fn files(&self, folder: &str) -> Vec<PathBuf> {
        fn walk(disk: &RecordingDisk, dir: &Path, files: &mut Vec<PathBuf>) {
            for entry in disk.list(dir).unwrap_or_default() {
                let path = dir.join(entry.name);
                if entry.is_dir {
                    walk(disk, &path, files);
                } else {
                    files.push(path);
                }
            }
        }
        let mut files = Vec::new();
        let root = Path::new("/data/objects/tracewell").join(folder);
        walk(&self.disk, &root, &mut files);
        files.sort();
        files
    }

    fn flip(&mut self, path: &Path) {
        let bytes = self.disk.metadata(path).unwrap().len;
        let bit = self.sender.rng.random_range(0..bytes * 8);
        self.disk.flip_bit(path, bit).unwrap();
    }
}

#[test]
fn a_damaged_newest_manifest_loses_nothing() {
    let (mut n_damaged, n_seeds) = (0, 12 / stride());
    for seed in 0..n_seeds {
        runtime().block_on(async {
            let mut bench = Bench::new(seed);
            let mut world = bench.open().await;
            for step in 0..12 {
                for _ in 0..bench.sender.rng.random_range(1..8) {
                    bench.write(&world).await.unwrap();
                }
                match bench.sender.rng.random_range(0..4) {
                    0 => drop(world.store.merge_next(true).await.unwrap()),
                    1 => world.store.upkeep().await.unwrap(),
                    _ => world.store.flush().await.unwrap(),
                }
                if bench.sender.rng.random_bool(0.5) {
                    world.store.delete_retired().await.unwrap();
                }
                drop(world);
                bench.disk = bench.disk.after_kill();
                let manifests = bench.files("manifest");
                let newest = manifests
                    .last()
                    .filter(|_| bench.sender.rng.random_bool(0.5));
                if let Some(newest) = newest.cloned() {
                    bench.flip(&newest);
                    n_damaged += 1;
                }
                let is_damaged = newest.is_some();
                world = bench.open().await;
                let recovery = world.store.recovery();
                assert_eq!(is_damaged, !recovery.manifests_damaged.is_empty());
                assert!(recovery.blocks_missing.is_empty(), "{recovery:?}");
                bench
                    .check(&world, &format!("seed {seed}, step {step}"))
                    .await;
                // The manifest after a damaged one has to stand before the next is damaged.
                world.store.flush().await.unwrap();
                for _ in 0..2 {
                    bench.write(&world).await.unwrap();
                    world.store.flush().await.unwrap();
                }
            }
        });
    }
    println!("{n_damaged} damaged manifests in {n_seeds} seeds");
    assert!(n_damaged > 3 * n_seeds);
}

#[test]
fn a_manifest_that_cannot_be_reached_stops_no_start() {
    runtime().block_on(async {
        let mut bench = Bench::new(3);
        let mut world = bench.open().await;
        for _ in 0..4 {
            bench.write(&world).await.unwrap();
            world.store.flush().await.unwrap();
        }
        let unreadable = |bench: &mut Bench, places: std::ops::Range<usize>| {
            bench.disk = bench.disk.after_kill();
            for path in &bench.files("manifest")[places] {
                let bytes = bench.disk.metadata(path).unwrap().len;
                bench.disk.make_unreadable(path, 0..bytes).unwrap();
            }
        };
        drop(world);
        unreadable(&mut bench, 0..2);
        world = bench.open().await;
        assert!(world.store.recovery().manifests_damaged.is_empty());
        bench.check(&world, "two old ones").await;
        drop(world);
        unreadable(&mut bench, 3..4);
        world = bench.open().await;
        let damaged = world.store.recovery().manifests_damaged;
        assert_eq!(damaged.len(), 1, "{damaged:?}");
        bench.check(&world, "the newest").await;
        // Of two the log does not make up for what they say.
        drop(world);
        unreadable(&mut bench, 2..4);
        let (disk, config) = (bench.disk.clone(), small_config(9));
        let opened = World::open(Arc::new(disk), &bench.clock, config).await;
        assert!(
            matches!(opened, Err(StoreError::Object { .. })),
            "{opened:?}"
        );
    });
}

#[test]
fn a_share_of_the_volume_leaves_room_for_what_others_keep_there() {
    const VOLUME: u64 = 4 << 20;
    runtime().block_on(async {
        let mut bench = Bench::new(3);
        bench.disk.set_capacity(VOLUME);
        bench.config = |random| {
            let mut config = small_config(random);
            config.retention_bytes = Some(VOLUME / 5 * 4);
            config.retention_is_share = true;
            // What is kept ready for the log is not somebody else's.
            config.wal.n_spares = 4;
            config
        };
        let world = bench.open().await;
        for _ in 0..30 {
            bench.write(&world).await.unwrap();
            world.store.flush().await.unwrap();
        }
        let rounds = async || {
            wait_for_spares(&world, 4).await;
            upkeep_rounds(&world).await
        };
        let before = rounds().await;
        bench.check(&world, "alone").await;
        // So much that what is left for blocks is half of what they have.
        let spare_bytes = world.store.status().await.wal.spare_bytes;
        let free = bench.disk.space(Path::new("/data")).unwrap().free;
        let left = VOLUME - VOLUME / 5 * 4 - before / 2 - spare_bytes;
        let ballast = vec![1; (free - left) as usize];
        bench.disk.install(Path::new("/data/ballast"), &ballast);
        let after = rounds().await;
        println!("{before} bytes of blocks, beside others {after}");
        assert!(
            after <= before / 2 && after > before / 3,
            "{after} of {before}"
        );
        let free = bench.disk.space(Path::new("/data")).unwrap().free;
        assert!(free + spare_bytes >= VOLUME / 5, "{free} bytes are free");
        // Others that take nearly all of it do not make retention drop everything.
        let all = vec![1; free as usize - 100_000];
        bench.disk.install(Path::new("/data/more ballast"), &all);
        let kept = rounds().await;
        let floor = VOLUME / 5 * 4 / 16;
        println!("beside a full volume {kept}");
        assert!(kept > floor / 2 && kept <= after, "{kept}");
    });
}

fn with_a_spare(random: u128) -> StoreConfig {
    let mut config = small_config(random);
    config.wal.n_spares = 1;
    config
}

/// Several rounds of upkeep; returns the bytes of the blocks that are left.
async fn upkeep_rounds(world: &World) -> u64 {
    for _ in 0..4 {
        world.store.upkeep().await.unwrap();
        world.store.settle(true).await.unwrap();
    }
    world.store.status().await.block_bytes
}

/// A share is one of the volume that the blocks lie on, and so is what others keep.
#[test]
fn blocks_on_a_volume_of_their_own_are_kept_by_its_room() {
    const VOLUME: u64 = 2 << 20;
    const BLOCKS: &str = "/data/objects";
    runtime().block_on(async {
        let mut bench = Bench::new(4);
        bench.config = |random| {
            let mut config = small_config(random);
            config.data_dir = BLOCKS.into();
            config.retention_bytes = Some(VOLUME / 5 * 4);
            config.retention_is_share = true;
            config.limits.disk_reserve_bytes = VOLUME / 10;
            config
        };
        bench.disk.mount(Path::new(BLOCKS), VOLUME);
        // The disk around it, with the log, is nearly full of other things: that costs no blocks.
        bench.disk.set_capacity(64 << 20);
        let ballast = vec![1; 60 << 20];
        bench.disk.install(Path::new("/data/ballast"), &ballast);
        let world = bench.open().await;
        for _ in 0..20 {
            bench.write(&world).await.unwrap();
            world.store.flush().await.unwrap();
        }
        let before = upkeep_rounds(&world).await;
        bench.check(&world, "beside a full disk").await;
        assert!(before > VOLUME / 16, "{before} bytes of blocks");
        // Others on the volume do.
        let others = Path::new(BLOCKS).join("ballast");
        let room = before / 2;
        let ballast = vec![1; (VOLUME / 5 * 4 - room) as usize];
        bench.disk.install(&others, &ballast);
        let after = upkeep_rounds(&world).await;
        println!("{before} bytes of blocks, beside others on their volume {after}");
        assert!(after <= room && after > 0, "{after} of {before}");
        // And the reserve is one of it.
        let free = bench.disk.space(Path::new(BLOCKS)).unwrap().free;
        let ballast = vec![1; (free - VOLUME / 20) as usize];
        let more = Path::new(BLOCKS).join("more ballast");
        bench.disk.install(&more, &ballast);
        world.store.check_space();
        let refused = bench.write(&world).await.unwrap_err();
        assert!(
            refused.to_string().contains("disk_reserve_bytes"),
            "{refused}"
        );
    });
}

/// A limit in bytes that the log alone has reached leaves some to blocks, the newest.
#[test]
fn a_log_beyond_the_limit_costs_no_new_block() {
    const LIMIT: u64 = 512 << 10;
    runtime().block_on(async {
        let mut bench = Bench::new(5);
        bench.config = |random| {
            let mut config = small_config(random);
            config.retention_bytes = Some(LIMIT);
            config.wal.segment_bytes = 2 << 20;
            config
        };
        let world = bench.open().await;
        let log_bytes = async || world.store.status().await.wal.log_bytes;
        while log_bytes().await < LIMIT {
            bench.expected.clear();
            bench.clock.advance(Duration::from_secs(1));
            bench.write(&world).await.unwrap();
            world.store.flush().await.unwrap();
        }
        let left = upkeep_rounds(&world).await;
        println!("{left} bytes of blocks beside {} of log", log_bytes().await);
        assert!(left <= LIMIT / 16, "{left} bytes of blocks");
        bench.check(&world, "the newest").await;
    });
}

#[test]
fn a_full_disk_and_failed_syncs_lose_nothing_that_was_acknowledged() {
    let (mut n_refused, mut n_failed) = (0, 0);
    for seed in 0..20u64 {
        runtime().block_on(async {
            let mut bench = Bench::new(seed);
            if seed % 2 == 1 {
                bench.config = with_a_spare;
            }
            let mut world = bench.open().await;
            for step in 0..40 {
                let used: u64 = ["", "../../wal"]
                    .iter()
                    .flat_map(|folder| bench.files(folder))
                    .map(|path| bench.disk.metadata(&path).unwrap().len)
                    .sum();
                match bench.sender.rng.random_range(0..12) {
                    0 => bench
                        .disk
                        .set_capacity(used + bench.sender.rng.random_range(0..4_000)),
                    1 | 2 => bench.disk.set_capacity(u64::MAX),
                    3 => bench
                        .disk
                        .fail_syncs(bench.sender.rng.random_range(0..6), 1),
                    4 => n_failed += u32::from(world.store.flush().await.is_err()),
                    5 => n_failed += u32::from(world.store.merge_next(true).await.is_err()),
                    6 => n_failed += u32::from(world.store.upkeep().await.is_err()),
                    _ => n_refused += u32::from(bench.write(&world).await.is_err()),
                }
                bench
                    .check(&world, &format!("seed {seed}, step {step}"))
                    .await;
            }
            bench.disk.set_capacity(u64::MAX);
            world = bench.reopen(world).await;
            bench.check(&world, &format!("seed {seed}, reopened")).await;
            assert!(world.store.recovery().blocks_missing.is_empty());
            bench.write(&world).await.unwrap();
            world.store.flush().await.unwrap();
            while world.store.merge_next(true).await.unwrap() {}
            bench.check(&world, &format!("seed {seed}, merged")).await;
        });
    }
    println!("20 seeds: {n_refused} requests refused, {n_failed} steps failed");
    assert!(n_refused > 20 && n_failed > 20);
}

/// Requests, cuts and merges through all levels. Returns what was refused or failed. `look` is called
/// after each step.
async fn work(bench: &mut Bench, world: &World, mut look: impl AsyncFnMut(&Bench)) -> Vec<String> {
    let mut failed = Vec::new();
    for step in "wwcwwcmwwcmmmmmu".chars() {
        let done = match step {
            'w' => bench
                .write(world)
                .await
                .map(drop)
                .map_err(|e| e.to_string()),
            'c' => world.store.flush().await.map_err(|e| e.to_string()),
            'm' => world
                .store
                .merge_next(true)
                .await
                .map(drop)
                .map_err(|e| e.to_string()),
            _ => world.store.upkeep().await.map_err(|e| e.to_string()),
        };
        failed.extend(done.err());
        look(bench).await;
    }
    failed
}

async fn nothing(_: &Bench) {}

/// The log tells of each write that was refused because of the disk. A step of a worker is told by the worker.
fn check_told(log: &Listener, failed: &[String], what: &str) {
    let of_log = |error: &String| {
        let marks = ["write-ahead log", "until a restart", DISK_FULL];
        marks.iter().any(|mark| error.contains(mark))
    };
    let told = log.n_with(&["ERROR", "write-ahead log could not be written"]);
    let is_told = told > 0 || !failed.iter().any(of_log);
    assert!(is_told, "{what}: {failed:?}, {:?}", log.lines());
}

/// Works while a fault waits, then without it, and after a power cut: whatever was acknowledged is
/// there once, and the log tells of the fault. The power is also cut after the step in which the fault
/// `shows`. Returns how much failed; `goes_on` says that a restart is not needed.
async fn work_through(
    what: &str,
    goes_on: bool,
    fault: impl FnOnce(&RecordingDisk),
    shows: impl Fn(&RecordingDisk) -> bool,
    heal: impl FnOnce(&RecordingDisk),
) -> usize {
    let log = listen();
    let mut bench = Bench::new(7);
    let world = bench.open().await;
    fault(&bench.disk);
    let mut looked = false;
    let failed = work(&mut bench, &world, async |bench: &Bench| {
        if !looked && shows(&bench.disk) {
            looked = true;
            bench.check_after_power_cut(what).await;
        }
    })
    .await;
    check_told(&log, &failed, what);
    bench.check(&world, what).await;
    heal(&bench.disk);
    let again = work(&mut bench, &world, nothing).await;
    assert!(
        again.is_empty() || !goes_on,
        "{what}: {failed:?}, then {again:?}"
    );
    bench.check(&world, &format!("{what}, healed")).await;
    drop(world);
    bench.disk = bench.disk.power_cut(bench.disk.n_operations(), 7);
    let world = bench.open().await;
    let recovery = world.store.recovery();
    assert!(recovery.blocks_missing.is_empty(), "{what}: {recovery:?}");
    bench.check(&world, &format!("{what}, reopened")).await;
    let again = work(&mut bench, &world, nothing).await;
    assert!(
        again.is_empty(),
        "{what}: {failed:?}, after a restart {again:?}"
    );
    bench.check(&world, &format!("{what}, at the end")).await;
    failed.len()
}

#[test]
fn a_disk_that_is_full_at_any_write_loses_nothing() {
    const WRITES_MIN: u64 = 60;
    let (n_writes, n_full) = (AtomicU64::new(0), AtomicU64::new(0));
    let n_failed = AtomicU64::new(0);
    for_seeds(0..1_000, |number| {
        let write = number * stride();
        // A run that had no such write is behind the last; the others are about to find out.
        if n_writes.load(Ordering::Relaxed) + 8 * stride() < write {
            return;
        }
        let fired = AtomicBool::new(false);
        let failed = runtime().block_on(work_through(
            &format!("full at write {write}"),
            true,
            |disk| disk.fill_at_write(write as usize),
            |disk| disk.space(Path::new("/data")).unwrap().total < u64::MAX,
            |disk| {
                let space = disk.space(Path::new("/data")).unwrap();
                fired.store(space.total < u64::MAX, Ordering::Relaxed);
                disk.set_capacity(u64::MAX);
            },
        ));
        if fired.into_inner() {
            n_writes.fetch_max(write + 1, Ordering::Relaxed);
            n_full.fetch_add(1, Ordering::Relaxed);
            n_failed.fetch_add(u64::from(failed > 0), Ordering::Relaxed);
        }
    });
    let (n_writes, n_full) = (n_writes.into_inner(), n_full.into_inner());
    let n_failed = n_failed.into_inner();
    println!("a full disk at {n_full} of {n_writes} writes; {n_failed} were noticed outside");
    assert!(n_writes > WRITES_MIN && n_failed > n_full / 2);
}

#[test]
fn a_sync_that_fails_anywhere_loses_nothing() {
    let (n_before, n_syncs) = runtime().block_on(async {
        let mut bench = Bench::new(7);
        let world = bench.open().await;
        let before = bench.disk.syncs().len();
        assert!(work(&mut bench, &world, nothing).await.is_empty());
        (before, (bench.disk.syncs().len() - before) as u64)
    });
    let n_failed = AtomicU64::new(0);
    // One that fails, and two in a row, of which the log may stop until the next start.
    for_seeds(0..n_syncs.div_ceil(stride()), |number| {
        let sync = number * stride();
        let n = 1 + (sync % 2) as usize;
        let what = format!("{n} syncs fail from {sync} on");
        let fault = |disk: &RecordingDisk| disk.fail_syncs(sync as usize, n);
        // One that came after it has succeeded.
        let shows = |disk: &RecordingDisk| disk.syncs().len() > n_before + sync as usize;
        let heal = |disk: &RecordingDisk| disk.fail_syncs(0, 0);
        let failed = runtime().block_on(work_through(&what, n == 1, fault, shows, heal));
        n_failed.fetch_add(u64::from(failed > 0), Ordering::Relaxed);
    });
    let n_failed = n_failed.into_inner();
    let n_tried = n_syncs.div_ceil(stride());
    println!("failures at {n_tried} of {n_syncs} syncs; {n_failed} were noticed outside");
    assert!(n_syncs > 100 && n_failed > n_tried / 2);
}

const KEPT_HOURS: u64 = 72;

fn keeps_three_days(random: u128) -> StoreConfig {
    let mut config = small_config(random);
    config.retention_ages = Duration::from_secs(KEPT_HOURS * 3_600).into();
    config
}

/// Forward, back, for a moment, for days, over starts: what was sent less than the retention age ago, by
/// time that passed, is there. When the clock has been quiet for long enough, nothing is.
#[test]
fn a_clock_that_jumps_loses_nothing() {
    const YEAR: u64 = 365 * 24 * HOUR;
    let hours = |n: u64| Duration::from_secs(n * 3_600);
    let n_told = AtomicU64::new(0);
    for_seeds(0..24 / stride(), |seed| {
        runtime().block_on(async {
            let log = listen();
            let mut bench = Bench::new(seed);
            bench.config = keeps_three_days;
            let mut world = bench.open().await;
            let start = bench.clock.now_unix_nano();
            let mut sent = Vec::new();
            for step in 0..150 {
                let now = bench.clock.now_unix_nano();
                let by = bench.sender.rng.random_range(2..40);
                match bench.sender.rng.random_range(0..20) {
                    0 => bench.clock.jump_to(now + by * HOUR),
                    1 => bench.clock.jump_to(now - by * HOUR),
                    2 => bench.clock.jump_to(start + 5 * YEAR),
                    3 => bench.clock.jump_to(start - 5 * YEAR),
                    4 | 5 => bench.clock.jump_to(start + bench.clock.monotonic_nano()),
                    6 => world.store.flush().await.unwrap(),
                    7 | 8 => drop(world.store.merge_next(false).await.unwrap()),
                    9 | 10 => bench.clock.advance(hours(by)),
                    11 => world = bench.reopen(world).await,
                    12 => {
                        drop(world);
                        bench.disk = bench.disk.after_kill();
                        bench.clock.advance(hours(by));
                        world = bench.open().await;
                    }
                    _ => {
                        let others = std::mem::take(&mut bench.expected);
                        bench.write(&world).await.unwrap();
                        let keys: Vec<_> = bench.expected.keys().cloned().collect();
                        sent.push((bench.clock.monotonic_nano(), keys));
                        bench.expected.extend(others);
                    }
                }
                bench.clock.advance(Duration::from_secs(20));
                world.store.upkeep().await.unwrap();
                let passed = bench.clock.monotonic_nano();
                sent.retain(|(at, keys)| {
                    let is_inside = passed - at <= KEPT_HOURS * HOUR;
                    for key in keys.iter().filter(|_| !is_inside) {
                        let span = bench.expected.remove(key).unwrap();
                        bench.maybe.insert(key.clone(), span);
                    }
                    is_inside
                });
                let what = format!("seed {seed}, step {step}");
                bench.check(&world, &what).await;
            }
            let left = left_in_the_end(bench, &world).await;
            assert!(
                left.is_empty(),
                "seed {seed}: {} spans are left",
                left.len()
            );
            assert!(log.n_with(&["the clock jumped", "seconds="]) > 0);
            let n = log.n_with(&["WARN", "the clock went back"]) as u64;
            n_told.fetch_add(n, Ordering::Relaxed);
        });
    });
    let n_told = n_told.into_inner();
    println!("the log told {n_told} times that the clock went back");
    assert!(n_told > 0);
}

/// What of everything is there after the clock was quiet for long enough.
async fn left_in_the_end(mut bench: Bench, world: &World) -> Vec<(TenantId, Span)> {
    world.store.flush().await.unwrap();
    for _ in 0..2 * KEPT_HOURS + 3 * 24 {
        bench.clock.advance(Duration::from_secs(3_600));
        world.store.upkeep().await.unwrap();
    }
    bench.maybe.append(&mut bench.expected);
    let ids = bench.maybe.keys();
    let ids: Vec<_> = ids.map(|(tenant, id, _)| (tenant.clone(), *id)).collect();
    world.read(&ids).await
}

/// A clock that went back is not believed for a day, so that it makes no block wait longer, or shorter.
#[tokio::test]
async fn merges_go_by_the_clock_that_stamps_arrivals() {
    let mut bench = Bench::new(1);
    let world = bench.open().await;
    bench.write(&world).await.unwrap();
    bench.clock.jump_to(bench.clock.now_unix_nano() - 48 * HOUR);
    bench.write(&world).await.unwrap();
    world.store.flush().await.unwrap();
    assert!(!world.store.merge_next(false).await.unwrap());
    bench.clock.advance(minutes(2));
    assert!(world.store.merge_next(false).await.unwrap());
}

/// What a server that was right all the time has, after a machine that slept for 15 days unseen.
#[tokio::test]
async fn spans_of_before_a_lasting_jump_are_kept_for_their_age() {
    let mut bench = Bench::new(1);
    bench.config = keeps_three_days;
    let world = bench.open().await;
    bench.write(&world).await.unwrap();
    let now = bench.clock.now_unix_nano();
    bench.clock.jump_to(now + 15 * 24 * HOUR);
    bench.write(&world).await.unwrap();
    let filed_by_arrival = || {
        let metrics = world.store.metrics();
        metrics.traces_filed_by_arrival.load(Ordering::Relaxed)
    };
    world.store.flush().await.unwrap();
    while world.store.merge_next(true).await.unwrap() {}
    let before = filed_by_arrival();
    for hour in 0..25 {
        let now = bench.clock.now_unix_nano();
        let span = Span {
            trace_id: TraceId([100 + hour; 16]),
            span_id: SpanId([1; 8]),
            start_unix_nano: now,
            end_unix_nano: now,
            ..Span::default()
        };
        let request = request(&TenantId::single(), vec![span]);
        world.write(&request).await.unwrap();
        remember(&mut bench.expected, &request);
        bench.clock.advance(minutes(60));
        world.store.flush().await.unwrap();
        while world.store.merge_next(true).await.unwrap() {}
        world.store.upkeep().await.unwrap();
    }
    bench.check(&world, "25 hours after the jump").await;
    assert_eq!(
        filed_by_arrival(),
        before,
        "its spans are as old as they say"
    );
    // Neither that jump nor another one is forgotten by a start, and one that is wrong by 400 days
    // deletes nothing.
    let now = bench.clock.now_unix_nano();
    bench.clock.jump_to(now + 400 * 24 * HOUR);
    let world = bench.reopen(world).await;
    world.store.upkeep().await.unwrap();
    bench.check(&world, "a start 400 days ahead").await;
    let world = bench.reopen(world).await;
    world.store.upkeep().await.unwrap();
    bench.check(&world, "and another one").await;
}

/// A format that panics when it is told to.
#[derive(Debug, Default)]
struct Panicking {
    told: AtomicBool,
    /// To open what it has written.
    refuses: AtomicBool,
    format: ParquetFormat,
}

impl BlockFormat for Panicking {
    fn version(&self) -> u16 {
        1
    }

    fn create(&self, target: BlockTarget) -> StoreResult<Box<dyn BlockWriter>> {
        assert!(!self.told.load(Ordering::Relaxed), "told to panic");
        self.format.create(target)
    }

    fn open<'a>(
        &'a self,
        objects: &'a Arc<dyn ObjectStore>,
        folder: object_store::path::Path,
        entry: &'a BlockEntry,
    ) -> BoxFuture<'a, StoreResult<Arc<dyn BlockReader>>> {
        if self.refuses.load(Ordering::Relaxed) {
            let (id, reason) = (entry.id, "told to refuse".to_owned());
            return Box::pin(async move { Err(StoreError::Block { id, reason }) });
        }
        self.format.open(objects, folder, entry)
    }
}

#[tokio::test]
async fn a_block_that_cannot_be_opened_when_it_is_cut_leaves_nothing() {
    let mut bench = Bench::new(1);
    let format = Arc::new(Panicking::default());
    let (disk, config) = (bench.disk.clone(), small_config(1));
    let format_of_store = Arc::clone(&format) as Arc<dyn BlockFormat>;
    let opened = World::open_with_workers(Arc::new(disk), &bench.clock, config, format_of_store);
    let (world, _workers) = opened.await.unwrap();
    bench.write(&world).await.unwrap();
    format.refuses.store(true, Ordering::Relaxed);
    world.store.flush().await.unwrap_err();
    assert!(
        bench.files("blocks").is_empty(),
        "{:?}",
        bench.files("blocks")
    );
    format.refuses.store(false, Ordering::Relaxed);
    world.store.flush().await.unwrap();
    bench.check(&world, "cut at last").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_cut_and_merge_and_a_panic_stops_ingest_alone() {
    let mut bench = Bench::new(1);
    let format = Arc::new(Panicking::default());
    let (disk, config) = (bench.disk.clone(), small_config(1));
    let format_of_store = Arc::clone(&format) as Arc<dyn BlockFormat>;
    let (world, workers) =
        World::open_with_workers(Arc::new(disk), &bench.clock, config, format_of_store)
            .await
            .unwrap();
    let running = workers.start(&tokio::runtime::Handle::current()).unwrap();
    let metrics = Arc::clone(world.store.metrics());
    let wait = async || tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    while metrics.merges.load(Ordering::Relaxed) < 2 {
        match bench.write(&world).await {
            Ok(_) | Err(WriteError::Busy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        wait().await;
    }
    bench.check(&world, "with workers").await;
    format.told.store(true, Ordering::Relaxed);
    let error = loop {
        match bench.write(&world).await {
            Ok(_) | Err(WriteError::Busy { .. }) => wait().await,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("told to panic"), "{error}");
    assert!(world.store.poisoned().unwrap().contains("told to panic"));
    bench.check(&world, "poisoned").await;
    assert!(running.stop(std::time::Duration::from_secs(60)).await);
    world.store.stop();
    bench.check(&world, "stopped").await;
    let world = bench.reopen(world).await;
    bench.check(&world, "reopened").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_says_that_the_disk_is_full_and_goes_on_when_it_is_not() {
    let log = listen();
    let mut bench = Bench::new(1);
    let (disk, config) = (bench.disk.clone(), small_config(1));
    let format = Arc::new(ParquetFormat::default());
    let opened = World::open_with_workers(Arc::new(disk), &bench.clock, config, format);
    let (world, workers) = opened.await.unwrap();
    for _ in 0..10 {
        bench.write(&world).await.unwrap();
    }
    // Old enough to be cut.
    bench.clock.advance(minutes(60));
    bench.disk.set_capacity(0);
    let running = workers.start(&tokio::runtime::Handle::current()).unwrap();
    let metrics = Arc::clone(world.store.metrics());
    let until = async |is_so: &dyn Fn() -> bool| {
        for _ in 0..10_000 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?}", log.lines());
    };
    let told = ["ERROR", "work of the store failed", "store-cut"];
    until(&|| log.n_with(&told) > 0).await;
    assert!(log.n_with(&["no storage space"]) > 0, "{:?}", log.lines());
    bench.disk.set_capacity(u64::MAX);
    until(&|| metrics.blocks_cut.load(Ordering::Relaxed) > 0).await;
    bench.check(&world, "cut at last").await;
    assert!(running.stop(Duration::from_secs(60)).await);
}
