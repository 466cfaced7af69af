//! Stores with a bucket: what is uploaded stays, several processes see the same, and whatever the
//! bucket does nothing is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parking_lot::Mutex;
use rand::Rng;
use tracewell_model::source::{QueryContext, Snapshots};
use tracewell_model::{Clock, RetentionAges, TenantId, TraceId};
use tracewell_store::StoreConfig;
use tracewell_store::bucket::BucketConfig;
use tracewell_testkit::{FakeClock, RecordingDisk, UnreliableObjects};

use crate::world::*;

/// A process: its disk, which outlives it, and what it runs.
struct Process {
    disk: RecordingDisk,
    world: World,
}

fn config(random: u128, bucket: &Arc<dyn ObjectStore>) -> StoreConfig {
    let mut config = small_config(random);
    config.bucket = Some(BucketConfig {
        objects: Arc::clone(bucket),
        prefix: Path::from("traces/tracewell"),
        cache_dir: "/data/cache".into(),
        cache_bytes: 8 << 20,
        upload_after: minutes(5),
        replaced_kept: minutes(60),
    });
    config
}

impl Process {
    async fn start(
        disk: RecordingDisk,
        clock: &Arc<FakeClock>,
        bucket: &Arc<dyn ObjectStore>,
        random: u128,
    ) -> Self {
        let opened = World::open(Arc::new(disk.clone()), clock, config(random, bucket)).await;
        let world = opened.unwrap();
        Self { disk, world }
    }

    async fn new(clock: &Arc<FakeClock>, bucket: &Arc<dyn ObjectStore>, random: u128) -> Self {
        Self::start(new_disk(clock), clock, bucket, random).await
    }

    /// Ends as a killed process does, and starts again.
    async fn restart(self, clock: &Arc<FakeClock>, bucket: &Arc<dyn ObjectStore>, n: u128) -> Self {
        let disk = self.disk.after_kill();
        drop(self);
        Self::start(disk, clock, bucket, n).await
    }

    async fn tend(&self) {
        while self.world.store.tend_bucket(true).await.unwrap() {}
    }
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

async fn send(process: &Process, sender: &mut Sender, now: u64, n: usize, sent: &mut Expected) {
    for _ in 0..n {
        let request = sender.request(now);
        process.world.write(&request).await.unwrap();
        remember(sent, &request);
    }
}

/// A trace that lies in several sources is known to each of them.
fn check_shared(world: &World, sent: &Expected, what: &str) {
    let sources = world.store.pin().sources;
    let ids: BTreeSet<(TenantId, TraceId)> =
        sent.keys().map(|key| (key.0.clone(), key.1)).collect();
    for (tenant, id) in ids {
        let holds = |rows: Vec<_>| !rows.is_empty();
        let of = sources.iter().filter(|source| {
            let rows = source.traces(
                &tenant,
                std::slice::from_ref(&id),
                QueryContext::unlimited(),
            );
            holds(run_here(rows).unwrap())
        });
        let of: Vec<_> = of.collect();
        if of.len() > 1 {
            for source in of {
                let name = &source.summary().name;
                assert!(source.shared_ids().contains(id), "{what}: {name} and {id}");
            }
        }
    }
}

async fn names(bucket: &Arc<dyn ObjectStore>, prefix: &str) -> Vec<String> {
    let listed = bucket.list(Some(&Path::from(prefix)));
    let names = listed.map_ok(|meta| meta.location.to_string());
    names.try_collect().await.unwrap()
}

#[test]
fn what_is_uploaded_outlives_the_disk() {
    run_here(async {
        let (clock, bucket) = (Arc::new(FakeClock::default()), memory());
        // A Tempo has written here, and goes on.
        for name in ["traces/single-tenant/0b1e/meta.json", "traces/work.json"] {
            bucket.put(&Path::from(name), "{}".into()).await.unwrap();
        }
        let mut process = Process::new(&clock, &bucket, 1).await;
        let (mut sender, mut sent) = (Sender::new(5), Expected::new());
        for round in 0..6 {
            send(&process, &mut sender, clock.now_unix_nano(), 30, &mut sent).await;
            process.world.store.flush().await.unwrap();
            process
                .world
                .check(&sent, &Expected::new(), "flushed")
                .await;
            check_shared(&process.world, &sent, "flushed");
            while process
                .world
                .store
                .merge_next(round % 2 == 0)
                .await
                .unwrap()
            {}
            process.world.check(&sent, &Expected::new(), "merged").await;
            check_shared(&process.world, &sent, "merged");
            if round % 2 == 1 {
                process = process.restart(&clock, &bucket, 10 + round).await;
                process
                    .world
                    .check(&sent, &Expected::new(), "started again")
                    .await;
                check_shared(&process.world, &sent, "started again");
            }
            clock.advance(minutes(7));
            process.world.store.upkeep().await.unwrap();
        }
        // Time for the manifest to settle: nothing of blocks stays on the local disk but pieces.
        clock.advance(minutes(1));
        process.world.store.upkeep().await.unwrap();
        process.world.store.upkeep().await.unwrap();
        let files = process.disk.files();
        let of_blocks =
            |path: &&std::path::PathBuf| path.starts_with("/data/objects/tracewell/blocks");
        assert_eq!(files.iter().find(of_blocks), None);
        let status = process.world.store.status().await.bucket.unwrap();
        assert_eq!((status.waiting, status.oldest_waiting_nano), ((0, 0), None));

        // Another machine, with nothing but the bucket.
        let other = Process::new(&clock, &bucket, 99).await;
        other
            .world
            .check(&sent, &Expected::new(), "another disk")
            .await;
        check_shared(&other.world, &sent, "another disk");
        assert_eq!(names(&bucket, "traces/single-tenant").await.len(), 1);
        assert_eq!(
            names(&bucket, "traces")
                .await
                .iter()
                .filter(|name| name.contains("work.json"))
                .count(),
            1
        );
    });
}

#[test]
fn several_processes_see_one_bucket() {
    run_here(async {
        let (clock, bucket) = (Arc::new(FakeClock::default()), memory());
        let writer = Process::new(&clock, &bucket, 1).await;
        let readers = [
            Process::new(&clock, &bucket, 2).await,
            Process::new(&clock, &bucket, 3).await,
        ];
        let (mut sender, mut sent) = (Sender::new(6), Expected::new());
        for round in 0..8 {
            send(&writer, &mut sender, clock.now_unix_nano(), 25, &mut sent).await;
            writer.world.store.flush().await.unwrap();
            // Longer than the writer is the keeper: whoever comes first merges, and the others follow.
            clock.advance(minutes(11));
            let merger = match round % 3 {
                0 => &writer,
                n => &readers[n - 1],
            };
            merger.tend().await;
            while merger.world.store.merge_next(true).await.unwrap() {}
            for process in [&writer, &readers[0], &readers[1]] {
                process.tend().await;
                process
                    .world
                    .check(&sent, &Expected::new(), "in each")
                    .await;
                check_shared(&process.world, &sent, "in each");
            }
        }
        let merges = readers
            .iter()
            .map(|it| it.world.store.metrics().merges.load(Ordering::Relaxed));
        assert!(merges.sum::<u64>() > 0, "the readers never merged");
        // Readers of one writer's blocks join no trace that need not be.
        let sources = readers[1].world.store.pin().sources;
        assert!(sources.iter().all(|source| !source.shared_ids().is_all()));

        // What was replaced goes once nobody can have reason to read it.
        let before = names(&bucket, "traces/tracewell/blocks").await.len();
        clock.advance(minutes(61));
        for process in [&writer, &readers[0], &readers[1]] {
            process.tend().await;
        }
        let after = names(&bucket, "traces/tracewell/blocks").await.len();
        assert!(after < before, "{before} objects, then {after}");
        for process in [&writer, &readers[0], &readers[1]] {
            process
                .world
                .check(&sent, &Expected::new(), "after deleting")
                .await;
        }
        // And what is too old.
        clock.advance(minutes(60 * 340));
        for _ in 0..2 {
            for process in [&writer, &readers[0], &readers[1]] {
                process.tend().await;
            }
            clock.advance(minutes(61));
        }
        for process in [&writer, &readers[0], &readers[1]] {
            process.tend().await;
            assert!(process.world.store.pin().sources.is_empty());
        }
        assert_eq!(
            names(&bucket, "traces/tracewell/blocks").await,
            Vec::<String>::new()
        );
        let manifests = names(&bucket, "traces/tracewell/manifest").await;
        assert!(manifests.len() <= 2 + 8, "{manifests:?}");
    });
}

/// A process whose upload was committed without its knowing, and which comes back when what came of the block was
/// merged again and nothing names it any more, does not upload it a second time.
#[test]
fn what_was_merged_while_its_writer_was_away_is_not_uploaded_again() {
    run_here(async {
        let (clock, bucket) = (Arc::new(FakeClock::default()), memory());
        let unreliable = UnreliableObjects::new(Arc::clone(&bucket), 1);
        let way: Arc<dyn ObjectStore> = Arc::new(unreliable.clone());
        let (mut sender, mut sent) = (Sender::new(7), Expected::new());
        let other = Process::new(&clock, &bucket, 2).await;
        send(&other, &mut sender, clock.now_unix_nano(), 5, &mut sent).await;
        // The first manifest is never deleted, and is not to name the block.
        other.world.store.flush().await.unwrap();
        let first = blocks_of(&bucket).await;
        let writer = Process::new(&clock, &way, 1).await;
        send(&writer, &mut sender, clock.now_unix_nano(), 5, &mut sent).await;
        // It dies between the commit in the bucket and its own.
        unreliable.set_away(true);
        writer.world.store.flush().await.unwrap_err();
        let disk = writer.disk.after_kill();
        unreliable.set_away(false);
        writer.world.store.flush().await.unwrap();
        drop(writer);
        let uploaded = blocks_of(&bucket).await;
        let uploaded: BTreeSet<String> = uploaded.difference(&first).cloned().collect();
        assert!(!uploaded.is_empty());

        // Longer than what was replaced is kept, and than the manifests are that named it.
        for _ in 0..8 {
            send(&other, &mut sender, clock.now_unix_nano(), 5, &mut sent).await;
            other.world.store.flush().await.unwrap();
            clock.advance(minutes(11));
            other.tend().await;
            while other.world.store.merge_next(true).await.unwrap() {}
        }
        clock.advance(minutes(61));
        other.tend().await;
        let left = blocks_of(&bucket).await;
        assert!(uploaded.is_disjoint(&left), "{uploaded:?} of {left:?}");

        let writer = Process::start(disk, &clock, &way, 3).await;
        writer.tend().await;
        other.tend().await;
        let nothing = Expected::new();
        for (process, what) in [(&writer, "the writer"), (&other, "the other")] {
            process.world.check(&sent, &nothing, what).await;
            check_shared(&process.world, &sent, what);
        }
        let after = blocks_of(&bucket).await;
        assert!(uploaded.is_disjoint(&after), "{uploaded:?} of {after:?}");
    });
}

/// Folders of blocks.
async fn blocks_of(bucket: &Arc<dyn ObjectStore>) -> BTreeSet<String> {
    let names = names(bucket, "traces/tracewell/blocks").await;
    let blocks = names.iter().filter_map(|name| name.split('/').nth(3));
    blocks.map(str::to_owned).collect()
}

/// The keeper of a bucket drops what one tenant has there by the age of that tenant, which may change
/// meanwhile.
#[test]
fn a_tenant_has_an_age_of_its_own_in_a_bucket() {
    run_here(async {
        let (clock, bucket) = (Arc::new(FakeClock::default()), memory());
        let process = Process::new(&clock, &bucket, 1).await;
        let store = &process.world.store;
        let (mut sender, mut sent) = (Sender::new(6), Expected::new());
        for _ in 0..4 {
            send(&process, &mut sender, clock.now_unix_nano(), 25, &mut sent).await;
            store.flush().await.unwrap();
            while store.merge_next(true).await.unwrap() {}
            clock.advance(minutes(11));
            process.tend().await;
        }
        let other = TenantId::new("other").unwrap();
        let (of_other, of_rest): (Expected, Expected) = sent
            .into_iter()
            .partition(|((tenant, ..), _)| *tenant == other);
        assert!(!of_other.is_empty() && !of_rest.is_empty());
        let set_age = |hours: u64| {
            let mut ages = RetentionAges::default();
            ages.named.insert(other.clone(), minutes(60 * hours));
            store.set_retention_ages(ages);
        };
        let all = || of_other.iter().chain(&of_rest);
        let all: Expected = all()
            .map(|(key, span)| (key.clone(), span.clone()))
            .collect();
        for (hours, age, is_there) in [(30, 48, true), (0, 24, false)] {
            set_age(age);
            clock.advance(minutes(60 * hours));
            store.upkeep().await.unwrap();
            process.tend().await;
            let expected = if is_there { &all } else { &of_rest };
            let what = format!("with an age of {age} h");
            process.world.check(expected, &Expected::new(), &what).await;
            let ids: Vec<_> = of_other.keys().map(|key| (key.0.clone(), key.1)).collect();
            let n = process.world.read(&ids).await.len();
            assert_eq!(n > 0, is_there, "{what}: {n} spans");
        }
    });
}

#[test]
fn traces_of_several_writers_are_joined() {
    run_here(async {
        let (clock, bucket) = (Arc::new(FakeClock::default()), memory());
        let writers = [
            Process::new(&clock, &bucket, 1).await,
            Process::new(&clock, &bucket, 2).await,
        ];
        // One sender, whose traces are spread over both.
        let (mut sender, mut sent) = (Sender::new(7), Expected::new());
        for round in 0..6usize {
            for n in 0..20 {
                let writer = &writers[(n + round) % 2];
                send(writer, &mut sender, clock.now_unix_nano(), 1, &mut sent).await;
            }
            if round % 2 == 0 {
                writers[0].world.store.flush().await.unwrap();
                writers[1].tend().await;
                check_shared(&writers[1].world, &sent, "one has flushed");
            }
            for writer in writers.iter().chain(&writers) {
                writer.world.store.flush().await.unwrap();
                while writer.world.store.merge_next(true).await.unwrap() {}
                writer.tend().await;
            }
            for writer in &writers {
                writer.tend().await;
                writer
                    .world
                    .check(&sent, &Expected::new(), "both have flushed")
                    .await;
                check_shared(&writer.world, &sent, "both have flushed");
            }
            clock.advance(minutes(11));
        }
    });
}

/// A bucket that fails at random, is away, loses listings and answers late, below a store that is killed
/// now and then, beside another one that merges.
#[test]
fn whatever_the_bucket_does_nothing_is_lost() {
    let n_seeds = if is_full() { 40 } else { 12 };
    for_seeds(0..n_seeds, |seed| run_here(one_life(seed)));
}

async fn one_life(seed: u64) {
    let clock = Arc::new(FakeClock::default());
    let unreliable = UnreliableObjects::new(memory(), seed);
    let bucket: Arc<dyn ObjectStore> = Arc::new(unreliable.clone());
    let mut process = Process::new(&clock, &bucket, 1).await;
    let other = Process::new(&clock, &bucket, 2).await;
    let (mut sender, mut sent) = (Sender::new(seed), Expected::new());
    let nothing = Expected::new();
    for step in 0..60u128 {
        unreliable.fail(sender.rng.random_range(0..60));
        unreliable.set_away(sender.rng.random_ratio(1, 6));
        if sender.rng.random_ratio(1, 3) {
            unreliable.arrive().await;
        }
        let store = &process.world.store;
        // What fails is tried again: no error here is more than a delay.
        match sender.rng.random_range(0..9) {
            0..=2 => {
                let n = sender.rng.random_range(1..20);
                send(&process, &mut sender, clock.now_unix_nano(), n, &mut sent).await;
            }
            3 => drop(store.flush().await),
            4 => drop(store.merge_next(true).await),
            5 => drop(store.tend_bucket(true).await),
            6 => {
                drop(other.world.store.tend_bucket(true).await);
                drop(other.world.store.merge_next(true).await);
            }
            7 => {
                let wait = sender.rng.random_range(0..20);
                clock.advance(minutes(wait));
                store.upkeep().await.unwrap();
            }
            _ => {
                let disk = process.disk.after_kill();
                drop(process);
                process = Process::start(disk, &clock, &bucket, 10 + step).await;
                let what = format!("seed {seed}, step {step}: started again");
                // Whole, or it says that it is not.
                if process.world.store.pin().missing.is_empty() {
                    unreliable.fail(0);
                    unreliable.set_away(false);
                    process.world.check(&sent, &nothing, &what).await;
                    check_shared(&process.world, &sent, &what);
                }
            }
        }
        assert_eq!(
            process.world.store.poisoned(),
            None,
            "seed {seed}, step {step}"
        );
    }
    unreliable.fail(0);
    unreliable.set_away(false);
    settle(
        seed,
        [&process, &other],
        (&unreliable, &bucket),
        &clock,
        &sent,
    )
    .await;
}

/// Everything arrives in the end, and is the same for all.
async fn settle(
    seed: u64,
    processes: [&Process; 2],
    (unreliable, bucket): (&UnreliableObjects, &Arc<dyn ObjectStore>),
    clock: &Arc<FakeClock>,
    sent: &Expected,
) {
    let [process, other] = processes;
    let nothing = Expected::new();
    for round in 0..3 {
        unreliable.arrive().await;
        process.world.store.flush().await.unwrap();
        while process.world.store.merge_next(true).await.unwrap() {}
        other.tend().await;
        while other.world.store.merge_next(true).await.unwrap() {}
        process.tend().await;
        for it in processes {
            let what = format!("seed {seed}, end {round}");
            assert_eq!(it.world.store.pin().missing, Vec::<String>::new(), "{what}");
            it.world.check(sent, &nothing, &what).await;
            check_shared(&it.world, sent, &what);
        }
        clock.advance(minutes(30));
    }
    assert!(unreliable.n_faults() > 0);
    let third = Process::new(clock, bucket, 3).await;
    third
        .world
        .check(sent, &nothing, &format!("seed {seed}: another disk"))
        .await;
}

/// What the bucket is asked for while it hangs holds nothing up that ingest waits for; what is merged on
/// the local disk meanwhile, and what comes in, is whole when the bucket goes on.
#[test]
fn first_blocks_are_merged_while_a_merge_in_the_bucket_hangs() {
    for seed in 0..8 {
        run_here(hang(seed));
    }
}

async fn hang(seed: u64) {
    let clock = Arc::new(FakeClock::default());
    let gate = Arc::new(Gate::default());
    let bucket = Arc::clone(&gate) as Arc<dyn ObjectStore>;
    let process = Process::new(&clock, &bucket, 1).await;
    let store = &process.world.store;
    let (mut sender, mut sent) = (Sender::new(seed), Expected::new());
    let now = clock.now_unix_nano();
    for _ in 0..3 {
        send(&process, &mut sender, now, 30, &mut sent).await;
        store.flush().await.unwrap();
    }
    send(&process, &mut sender, now, 40, &mut sent).await;
    while store.cut_next().await.unwrap() {}
    gate.is_shut.store(true, Ordering::Relaxed);
    let mut hanging = std::pin::pin!(store.merge_in_bucket(true));
    assert!(futures::poll!(hanging.as_mut()).is_pending());
    send(&process, &mut sender, now, 40, &mut sent).await;
    let mut n_merged = 0;
    loop {
        let step = futures::poll!(std::pin::pin!(store.merge_here(true)));
        let Poll::Ready(merged) = step else {
            panic!("seed {seed}: first blocks wait for the bucket");
        };
        if !merged.unwrap() && !store.cut_next().await.unwrap() {
            break;
        }
        n_merged += 1;
    }
    assert!(n_merged > 0, "seed {seed}");
    let upkeep = futures::poll!(std::pin::pin!(store.upkeep()));
    assert!(
        upkeep.is_ready(),
        "seed {seed}: upkeep waits for the bucket"
    );
    let check = async |world: &World, sent: &Expected, what: &str| {
        let what = format!("seed {seed}: {what}");
        world.check(sent, &Expected::new(), &what).await;
        check_shared(world, sent, &what);
    };
    check(&process.world, &sent, "hanging").await;
    gate.is_shut.store(false, Ordering::Relaxed);
    assert!(hanging.await.unwrap(), "seed {seed}");
    check(&process.world, &sent, "it went on").await;
    store.flush().await.unwrap();
    while store.merge_next(true).await.unwrap() {}
    check(&process.world, &sent, "merged").await;
    let other = Process::new(&clock, &bucket, 2).await;
    check(&other.world, &sent, "another disk").await;
}

/// A bucket whose puts wait for as long as it is shut.
#[derive(Debug, Default)]
struct Gate {
    inner: InMemory,
    is_shut: AtomicBool,
}

impl std::fmt::Display for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Gate {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        while self.is_shut.load(Ordering::Relaxed) {
            futures::pending!();
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A bucket that remembers what it was like, and how far the disk was, before and after every put.
#[derive(Debug)]
struct Moments {
    inner: Arc<InMemory>,
    disk: RecordingDisk,
    moments: Mutex<Vec<(usize, InMemory)>>,
}

impl Moments {
    fn remember(&self) {
        let moment = (self.disk.n_operations(), self.inner.fork());
        self.moments.lock().push(moment);
    }
}

impl std::fmt::Display for Moments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Moments {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.remember();
        let put = self.inner.put_opts(location, payload, options).await;
        self.remember();
        put
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.remember();
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The power fails around every put of some lives: of what was not synced each disk has another part, and
/// the bucket is as it was at that moment.
#[test]
fn power_cuts_beside_a_bucket_lose_nothing() {
    let n_seeds = if is_full() { 6 } else { 2 };
    let n_cuts = AtomicUsize::new(0);
    for_seeds(0..n_seeds, |seed| {
        let n = run_here(life_with_power_cuts(seed));
        n_cuts.fetch_add(n, Ordering::Relaxed);
    });
    let n_cuts = n_cuts.into_inner();
    println!("{n_seeds} lives, {n_cuts} cuts");
    assert!(n_cuts > 20 * n_seeds as usize);
}

/// One life, then each of its moments: how many.
async fn life_with_power_cuts(seed: u64) -> usize {
    let clock = Arc::new(FakeClock::default());
    let disk = new_disk(&clock);
    let moments = Arc::new(Moments {
        inner: Arc::default(),
        disk: disk.clone(),
        moments: Mutex::default(),
    });
    let bucket: Arc<dyn ObjectStore> = Arc::clone(&moments) as Arc<dyn ObjectStore>;
    let process = Process::start(disk.clone(), &clock, &bucket, 1).await;
    let (mut sender, mut sent) = (Sender::new(seed), Expected::new());
    let mut cuts = Vec::new();
    for step in 0..16u64 {
        let store = &process.world.store;
        match step % 4 {
            0 => {
                let n = sender.rng.random_range(5..30);
                send(&process, &mut sender, clock.now_unix_nano(), n, &mut sent).await;
            }
            1 => store.flush().await.unwrap(),
            2 => while store.merge_next(true).await.unwrap() {},
            _ => {
                clock.advance(minutes(sender.rng.random_range(0..40)));
                store.upkeep().await.unwrap();
                store.tend_bucket(true).await.unwrap();
            }
        }
        moments.remember();
        let of_step = std::mem::take(&mut *moments.moments.lock());
        let stride = if is_full() { 1 } else { 5 };
        let of_step = of_step
            .into_iter()
            .rev()
            .step_by(stride)
            .collect::<Vec<_>>();
        let expected = Arc::new(sent.clone());
        let of_step = of_step.into_iter().rev();
        cuts.extend(of_step.map(|(at, fork)| (step, at, fork, Arc::clone(&expected))));
    }
    let nothing = Expected::new();
    let mut replay = disk.replay();
    let n_cuts = cuts.len();
    for (n, (step, at, fork, sent)) in cuts.into_iter().enumerate() {
        replay.advance_to(at);
        let cut = replay.power_cut(seed << 32 | n as u64);
        let bucket: Arc<dyn ObjectStore> = Arc::new(fork);
        let after = Process::start(cut, &clock, &bucket, n as u128 + 2).await;
        let what = format!("seed {seed}, step {step}, operation {at}");
        after.world.check(&sent, &nothing, &what).await;
        if n % 8 == 0 {
            check_shared(&after.world, &sent, &what);
            after.world.store.flush().await.unwrap();
            while after.world.store.merge_next(true).await.unwrap() {}
            after.tend().await;
            let what = format!("{what}, and on");
            after.world.check(&sent, &nothing, &what).await;
        }
    }
    n_cuts
}
