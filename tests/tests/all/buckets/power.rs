//! The store on the recording disk with its blocks in the bucket of a real S3 server: the power goes at random
//! moments of uploads, commits and merges there. The next life has what the disk kept and what the bucket took,
//! among it what was on its way; everything that was acknowledged must be there, in every field, once.
//!
//! `TRACEWELL_POWER_CUTS` sets the number of cuts, `TRACEWELL_SEED` the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::path::Path;
use tracewell_model::sink::SpanSink as _;
use tracewell_model::source::{QueryContext, Snapshots as _};
use tracewell_model::{Clock, Limits, Span, TenantId, TraceId};
use tracewell_store::block::ParquetFormat;
use tracewell_store::bucket::BucketConfig;
use tracewell_store::manifest::BlockId;
use tracewell_store::objects::DiskObjects;
use tracewell_store::{Store, StoreConfig};
use tracewell_testkit::random::{TraceOptions, random_traces};
use tracewell_testkit::{FakeClock, Random, RecordingDisk};
use tracewell_wire::otlp::{decode, encode_spans};

use crate::harness::blocks::{manifests, names_in};
use crate::harness::object_server::BUCKET;
use crate::harness::s3::{ACCESS_KEY, Kind, S3, SECRET_KEY};
use crate::harness::setting;

const CUTS: u64 = 40;
const FOLDER: &str = "power/tracewell";
const TRACES: usize = 6;
const REQUESTS: usize = 4;
/// Of work that was never let go on to its end.
const FIRST_WORK: Duration = Duration::from_millis(100);
/// An upload that has begun is cut within this time.
const BEGUN: Duration = Duration::from_millis(3);
/// Of a call that a cut left with the server.
const ARRIVES: Duration = Duration::from_millis(50);

/// Equal forms are equal spans: NaN, too.
type Form = (String, Vec<u8>);
type Sent = BTreeMap<TraceId, BTreeSet<Form>>;

/// What outlives a cut, and what is known of it.
struct Scene {
    s3: S3,
    clock: Arc<FakeClock>,
    disk: RecordingDisk,
    random: Random,
    sent: Sent,
    n_lives: u128,
    /// About as long as each work takes; the power goes within it.
    lasts: BTreeMap<Work, Duration>,
    counts: Counts,
}

/// What a life is at when the power goes, in the order in which it comes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Flush,
    Merge,
    Upload,
}

#[derive(Debug, Default)]
struct Counts {
    cuts: u64,
    /// Lives whose work was done before the power went.
    whole: u64,
    /// Parts of a block had come to the bucket when the power went, and no manifest named it.
    uploads: u64,
    spans: usize,
}

#[test]
fn power_cuts_beside_versitygw_lose_nothing() {
    let n_cuts = setting("TRACEWELL_POWER_CUTS", CUTS);
    let seed = setting("TRACEWELL_SEED", 20_261_129);
    println!("{n_cuts} cuts, seed {seed}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut scene = Scene::new(seed);
    for n in 0..n_cuts {
        runtime.block_on(scene.live_and_lose_power(n));
    }
    runtime.block_on(scene.end());
    println!("{:?}, work lasted {:?}", scene.counts, scene.lasts);
    assert!(scene.counts.uploads > 0, "no upload was cut short");
    assert!(
        scene.counts.whole < n_cuts * 3 / 4,
        "too few lives were cut"
    );
}

// === impl Work ===

impl Work {
    const ALL: [Self; 3] = [Self::Flush, Self::Merge, Self::Upload];

    async fn run(self, store: &Store) {
        match self {
            Self::Flush => store.flush().await.unwrap(),
            Self::Merge => while store.merge_next(true).await.unwrap() {},
            Self::Upload => while store.tend_bucket(true).await.unwrap() {},
        }
    }
}

// === impl Scene ===

impl Scene {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(FakeClock::default());
        let dyn_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        Self {
            s3: S3::start(Kind::Versity),
            disk: RecordingDisk::with_clock(dyn_clock),
            clock,
            random: Random::new(seed),
            sent: Sent::new(),
            n_lives: 0,
            lasts: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    fn bucket(&self) -> Arc<dyn ObjectStore> {
        let client = AmazonS3Builder::new()
            .with_bucket_name(BUCKET)
            .with_endpoint(format!("http://{}", self.s3.endpoint()))
            .with_region("us-east-1")
            .with_allow_http(true)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_access_key_id(ACCESS_KEY)
            .with_secret_access_key(SECRET_KEY);
        Arc::new(client.build().unwrap())
    }

    async fn open(&mut self, disk: &RecordingDisk) -> Arc<Store> {
        self.n_lives += 1;
        let mut config = StoreConfig::new("/data", self.n_lives);
        config.limits.memory_bytes = 512 << 10;
        config.limits.disk_reserve_bytes = 0;
        config.limits.waiting_blocks_max = 1_000;
        config.retention_bytes = Some(u64::MAX);
        config.group_spans = 40;
        config.wal.segment_bytes = 64 << 10;
        config.wal.n_spares = (self.n_lives % 2) as usize;
        config.wal.new_log_id = self.n_lives;
        config.merge.blocks_min = 3;
        config.merge.blocks_max = 5;
        config.merge.partition_wait_nano = 0;
        config.bucket = Some(BucketConfig {
            objects: self.bucket(),
            prefix: Path::from(FOLDER),
            cache_dir: "/data/cache".into(),
            cache_bytes: 8 << 20,
            upload_after: Duration::from_secs(300),
            replaced_kept: Duration::from_secs(3_600),
        });
        let disk = Arc::new(disk.clone());
        let objects = DiskObjects::open(Arc::clone(&disk) as _, "/data/objects").unwrap();
        let opened = Store::open(
            config,
            Arc::new(ParquetFormat::default()),
            disk,
            Arc::new(objects),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            Vec::new(),
        );
        opened.await.unwrap().0
    }

    /// Starts, finds everything, takes some requests, and loses power while it writes blocks, merges or
    /// uploads.
    async fn live_and_lose_power(&mut self, n: u64) {
        let disk = self.disk.clone();
        let store = self.open(&disk).await;
        self.check(&store, &format!("life {n}")).await;
        self.send(&store).await;
        let last = *self.random.pick(&Work::ALL);
        for work in Work::ALL.into_iter().take_while(|work| *work != last) {
            work.run(&store).await;
        }
        let lasts = self.lasts.entry(last).or_insert(FIRST_WORK);
        let time = self.random.below(lasts.as_micros() as usize + 1);
        let time = Duration::from_micros(time as u64);
        let folder = self.s3.objects().join(FOLDER);
        let left = unnamed(&folder);
        let waits_for_it = last == Work::Upload && self.random.percent(80);
        // A part of the uploads is cut where it matters, however long it takes to come there.
        let cut = async {
            if waits_for_it {
                upload_begun(&folder).await;
                tokio::time::sleep(time.min(BEGUN)).await;
            } else {
                tokio::time::sleep(time).await;
            }
        };
        let start = Instant::now();
        let is_whole = tokio::select! {
            () = last.run(&store) => true,
            () = cut => false,
        };
        self.disk = disk.power_cut(disk.n_operations(), n);
        self.counts.cuts += 1;
        if is_whole {
            self.counts.whole += 1;
            *lasts = start.elapsed();
        } else {
            // It may have become slower than it was the last time it was left alone.
            *lasts = *lasts * 5 / 4;
            let is_begun = !unnamed(&folder).is_subset(&left);
            self.counts.uploads += u64::from(is_begun);
        }
        assert_eq!(store.poisoned(), None, "life {n}");
        drop(store);
        // What the server has of a call that was cut off it may do yet.
        tokio::time::sleep(ARRIVES).await;
        let minutes = self.random.below(5) as u64;
        self.clock.advance(Duration::from_secs(60 * minutes));
    }

    async fn send(&mut self, store: &Store) {
        let options = TraceOptions {
            start: self.clock.now_unix_nano() - 1_000_000_000,
            wild: true,
            odd: true,
            ..TraceOptions::default()
        };
        let mut spans = random_traces(&mut self.random, TRACES, &options);
        let forms: BTreeSet<Form> = spans.iter().map(form).collect();
        // Equal spans of one request are both kept until a merge.
        let mut seen = BTreeSet::new();
        spans.retain(|span| seen.insert(form(span)));
        assert_eq!(forms.len(), spans.len());
        self.random.shuffle(&mut spans);
        for part in spans.chunks(spans.len().div_ceil(REQUESTS)) {
            let body = Bytes::from(encode_spans(part));
            let tenant = TenantId::single();
            let batch = decode(tenant, body, &Limits::default()).unwrap().batch;
            let hash = self.random.bits();
            store.write(batch, hash.into()).await.unwrap();
            for span in part {
                self.sent
                    .entry(span.trace_id)
                    .or_default()
                    .insert(form(span));
            }
        }
    }

    /// All that was acknowledged is there once, as it was sent, and nothing else.
    async fn check(&mut self, store: &Store, what: &str) {
        let snapshot = store.pin();
        assert_eq!(snapshot.missing, Vec::<String>::new(), "{what}");
        let ids: Vec<TraceId> = self.sent.keys().copied().collect();
        let tenant = TenantId::single();
        let mut found: Vec<Form> = Vec::new();
        for source in &snapshot.sources {
            let traces = source.fetch(&tenant, &ids, QueryContext::unlimited());
            let traces = traces.await.unwrap();
            found.extend(traces.iter().flat_map(|trace| &trace.spans).map(form));
        }
        found.sort_unstable();
        let mut sent: Vec<&Form> = self.sent.values().flatten().collect();
        sent.sort_unstable();
        for (sent, found) in sent.iter().zip(&found) {
            assert_eq!(sent.0, found.0, "{what}");
            assert_eq!(sent.1, found.1, "{what}");
        }
        assert_eq!(sent.len(), found.len(), "{what}");
        self.counts.spans = sent.len();
        let twice = &store.metrics().spans_deduplicated;
        assert_eq!(twice.load(Ordering::Relaxed), 0, "{what}");
    }

    /// The last life goes on to the end, and a machine without a disk finds all of it.
    async fn end(&mut self) {
        let disk = self.disk.clone();
        let store = self.open(&disk).await;
        self.check(&store, "the end").await;
        for work in Work::ALL {
            work.run(&store).await;
        }
        self.check(&store, "the end, uploaded").await;
        drop(store);
        let empty = RecordingDisk::with_clock(Arc::clone(&self.clock) as Arc<dyn Clock>);
        let store = self.open(&empty).await;
        self.check(&store, "another disk").await;
    }
}

/// Blocks of which the bucket has a part, and that no manifest names.
fn unnamed(folder: &FilePath) -> BTreeSet<String> {
    let all = manifests(&folder.join("manifest"));
    let ids = all.iter().flat_map(|it| &it.blocks).map(|it| it.id);
    let listed: BTreeSet<String> = ids.map(|id: BlockId| id.to_string()).collect();
    let there: BTreeSet<String> = names_in(&folder.join("blocks")).into_iter().collect();
    there.difference(&listed).cloned().collect()
}

/// Waits until the bucket has a part of one block more.
async fn upload_begun(folder: &FilePath) {
    let before = unnamed(folder);
    while unnamed(folder).is_subset(&before) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn form(span: &Span) -> Form {
    (format!("{span:?}"), encode_spans([span]))
}
