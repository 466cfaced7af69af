//! Damaged manifests, full disks, failed syncs, clocks that jump, workers that panic.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use object_store::ObjectStore;
use rand::Rng;
use tracewell_model::Clock;
use tracewell_model::sink::WriteError;
use tracewell_store::block::ParquetFormat;
use tracewell_store::codec::*;
use tracewell_store::disk::Disk;
use tracewell_store::manifest::BlockEntry;
use tracewell_store::{StoreConfig, StoreResult};
use tracewell_testkit::{FakeClock, RecordingDisk};

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
    let mut n_damaged = 0;
    for seed in 0..12 {
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
    println!("{n_damaged} damaged manifests in 12 seeds");
    assert!(n_damaged > 30);
}

#[test]
fn a_full_disk_and_failed_syncs_lose_nothing_that_was_acknowledged() {
    let (mut n_refused, mut n_failed) = (0, 0);
    for seed in 0..20u64 {
        runtime().block_on(async {
            let mut bench = Bench::new(seed);
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

#[test]
fn a_clock_that_jumps_loses_nothing() {
    const YEAR: u64 = 365 * 24 * HOUR;
    for seed in 0..20 {
        runtime().block_on(async {
            let mut bench = Bench::new(seed);
            bench.config = |random| {
                let mut config = small_config(random);
                config.retention_age = minutes(60 * 24);
                config
            };
            let world = bench.open().await;
            let start = bench.clock.now_unix_nano();
            for step in 0..60 {
                match bench.sender.rng.random_range(0..8) {
                    0 => bench.clock.jump_to(start + 5 * YEAR),
                    1 => bench.clock.jump_to(start - 5 * YEAR),
                    2 => bench.clock.jump_to(start + bench.clock.monotonic_nano()),
                    3 => world.store.flush().await.unwrap(),
                    4 => drop(world.store.merge_next(false).await.unwrap()),
                    5 => world.store.upkeep().await.unwrap(),
                    _ => drop(bench.write(&world).await.unwrap()),
                }
                bench.clock.advance(std::time::Duration::from_secs(20));
                bench
                    .check(&world, &format!("seed {seed}, step {step}"))
                    .await;
            }
        });
    }
}

/// A format that panics when it is told to.
#[derive(Debug, Default)]
struct Panicking {
    told: AtomicBool,
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
        self.format.open(objects, folder, entry)
    }
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
