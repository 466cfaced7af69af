//! Retention by age on a fake clock, with the formats and files of the product: nothing inside the
//! policy goes; a block length after it left the policy, nothing is read by API, lies in a block or
//! in a file of the log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tracewell_model::sink::SpanSink;
use tracewell_model::source::Snapshots;
use tracewell_model::{Clock, Limits, RetentionAges, TenantId, TimeRange, TraceId};
use tracewell_query::request::{Caller, TraceRequest};
use tracewell_query::{Aliases, Around, Engine};
use tracewell_store::block::ParquetFormat;
use tracewell_store::disk::{Disk, LocalDisk};
use tracewell_store::objects::DiskObjects;
use tracewell_store::{Store, StoreConfig};
use tracewell_testkit::FakeClock;

use crate::harness::eventually;
use crate::load;

const HOUR: Duration = Duration::from_secs(3_600);
/// One tenant has an age of its own, half that of all others.
const TENANTS: [(&str, u64); 2] = [("single-tenant", AGE_HOURS), ("short", AGE_HOURS / 2)];
const AGE_HOURS: u64 = 48;
/// A block covers a day of arrivals at most.
const BLOCK_HOURS: u64 = 24;
const LOADED_HOURS: u64 = 100;
/// By whom, in which hour, and which trace.
type Sent = (usize, u64, TraceId);

#[test]
fn what_left_the_policy_is_gone_from_answers_blocks_and_log_a_block_length_later() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(FakeClock::default());
    let kept = runtime.block_on(Kept::open(folder.path(), &clock));
    let mut sent: Vec<Sent> = Vec::new();
    let mut n_gone = 0;
    // Afterwards nobody sends anything any more, and what is there must go all the same.
    for hour in 0..LOADED_HOURS + AGE_HOURS + BLOCK_HOURS + 1 {
        if hour < LOADED_HOURS {
            for tenant in 0..TENANTS.len() {
                let id = runtime.block_on(kept.send(tenant, hour));
                sent.push((tenant, hour, id));
            }
        }
        clock.advance(HOUR);
        runtime.block_on(kept.work());
        if hour % 9 == 0 || hour + 3 > LOADED_HOURS + AGE_HOURS + BLOCK_HOURS {
            n_gone = check(&runtime, &kept, &sent, hour + 1);
        }
    }
    assert_eq!(n_gone, sent.len(), "everything has left the policy");
    assert_eq!(kept.block_folders(), Vec::<String>::new());
    println!(
        "{n_gone} traces left the policy in {} hours",
        LOADED_HOURS + AGE_HOURS + BLOCK_HOURS
    );
}

/// Returns how many traces have left the policy a block length ago.
fn check(runtime: &tokio::runtime::Runtime, kept: &Kept, sent: &[Sent], now: u64) -> usize {
    // How long ago one left the policy of its tenant, less than nothing while it is inside.
    let outside = |(tenant, at, _): &Sent| {
        let age = TENANTS.map(|(_, age)| age)[*tenant];
        i64::try_from(now - at).unwrap() - i64::try_from(age).unwrap()
    };
    for sent in sent.iter().filter(|sent| outside(sent) <= 0) {
        let n = runtime.block_on(kept.n_spans(sent));
        assert_eq!(n, load::N_SPANS, "{sent:?} at {now} is inside the policy");
    }
    let is_gone = |sent: &&Sent| outside(sent) > BLOCK_HOURS as i64;
    let gone: Vec<&Sent> = sent.iter().filter(is_gone).collect();
    for sent in &gone {
        let n = runtime.block_on(kept.n_spans(sent));
        assert_eq!(n, 0, "{sent:?} at {now} has left the policy");
    }
    // The log lets go of what left the policy of all.
    let of_all = |sent: &&&Sent| now - sent.1 > AGE_HOURS + BLOCK_HOURS;
    let markers = gone.iter().filter(of_all);
    let markers: BTreeSet<String> = markers.map(|(.., id)| load::marker(*id)).collect();
    // Files of the log are let go by a thread of its own.
    eventually("the files hold nothing that left the policy", || {
        runtime.block_on(kept.work());
        match markers_in(&kept.folder, &markers) {
            found if found.is_empty() => Ok(()),
            found => Err(format!("at {now}: {found:?}")),
        }
    });
    let live = runtime.block_on(kept.n_blocks());
    let folders = kept.block_folders();
    assert_eq!(
        folders.len() as u64,
        live,
        "no files of a block that is gone: {folders:?}"
    );
    gone.len()
}

/// A store in a folder of the real file system.
struct Kept {
    folder: PathBuf,
    clock: Arc<FakeClock>,
    store: Arc<Store>,
    engine: Engine,
}

// === impl Kept ===

impl Kept {
    async fn open(folder: &Path, clock: &Arc<FakeClock>) -> Self {
        let mut config = StoreConfig::new(folder, 7);
        let ages = TENANTS.map(|(name, age)| (id_of(name), HOUR * age as u32));
        config.retention_ages = RetentionAges {
            others: HOUR * AGE_HOURS as u32,
            named: ages.into(),
        };
        config.retention_bytes = Some(u64::MAX);
        config.limits.disk_reserve_bytes = 0;
        config.limits.waiting_blocks_max = 1_000;
        // Half a day of requests, and one more kept ready.
        config.wal.segment_bytes = 64 << 10;
        let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
        let objects = DiskObjects::open(Arc::clone(&disk), folder.join("objects")).unwrap();
        let dyn_clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
        let format = Arc::new(ParquetFormat::default());
        let opened = Store::open(
            config,
            format,
            disk,
            Arc::new(objects),
            Arc::clone(&dyn_clock),
            Vec::new(),
        );
        // What the workers do, the test does in its own time.
        let (store, _workers) = opened.await.unwrap();
        let snapshots = Arc::clone(&store) as Arc<dyn Snapshots>;
        Self {
            folder: folder.to_owned(),
            clock: Arc::clone(clock),
            store,
            engine: Engine::new(snapshots, Limits::default(), dyn_clock),
        }
    }

    async fn send(&self, tenant: usize, hour: u64) -> TraceId {
        let sender = tenant as u64;
        let (id, body) = load::request_at(3, sender, hour, self.clock.now_unix_nano());
        let limits = Limits::default();
        let decoded =
            tracewell_wire::otlp::decode(id_of(TENANTS[tenant].0), Bytes::from(body), &limits)
                .unwrap();
        self.store
            .write(decoded.batch, u128::from(hour * 2 + sender))
            .await
            .unwrap();
        id
    }

    /// What an hour brings: a cut, merges, retention, and the manifest after which files go.
    async fn work(&self) {
        self.store.flush().await.unwrap();
        while self.store.merge_next(false).await.unwrap() {}
        for _ in 0..2 {
            self.store.upkeep().await.unwrap();
            self.store.settle(true).await.unwrap();
        }
        self.store.upkeep().await.unwrap();
    }

    async fn n_spans(&self, (tenant, _, id): &Sent) -> usize {
        let request = TraceRequest {
            caller: Caller {
                query_ms_max: None,
                tenant: id_of(TENANTS[*tenant].0),
                cancel: CancellationToken::new(),
                aliases: Aliases::Off,
            },
            trace_id: *id,
            window: TimeRange::ALL,
            filter: None,
            around: Around::default(),
        };
        let answer = self.engine.trace_by_id(request).await.unwrap();
        answer.trace.map_or(0, |trace| trace.spans.len())
    }

    async fn n_blocks(&self) -> u64 {
        let status = self.store.status().await;
        status.by_level.values().map(|sums| sums.blocks).sum()
    }

    fn block_folders(&self) -> Vec<String> {
        let folder = self.folder.join("objects/tracewell/blocks");
        // It goes with the last block; that the path is right shows in every check before.
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }
}

fn id_of(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

/// Which of the texts stand in which file. Bodies lie in the log as they were sent; blocks are
/// compressed, and are asked for by what is read from them.
fn markers_in(folder: &Path, markers: &BTreeSet<String>) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // The log's own thread renames and removes.
            let Ok(bytes) = std::fs::read(&path) else {
                continue;
            };
            for at in 0..bytes.len().saturating_sub(5) {
                let is_marker = bytes[at..].starts_with(b"mark-");
                let text = || bytes.get(at..at + 38).map(String::from_utf8_lossy);
                if let Some(text) = is_marker.then(text).flatten()
                    && markers.contains(&*text)
                {
                    found.push((path.clone(), text.into_owned()));
                }
            }
        }
    }
    found
}
