//! A whole store on a recording disk, with a memory of what it acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tracewell_model::sink::{SpanSink, WriteError};
use tracewell_model::source::{QueryContext, Snapshots, SourceError};
use tracewell_model::value::{AttributeValue, KeyValue};
use tracewell_model::{
    Clock, Event, Limits, Link, Resource, Scope, Span, SpanBatch, SpanId, Status, TenantId, TraceId,
};
use tracewell_store::block::ParquetFormat;
use tracewell_store::codec::BlockFormat;
use tracewell_store::disk::Disk;
use tracewell_store::objects::DiskObjects;
use tracewell_store::{Store, StoreConfig, StoreResult, Workers};
use tracewell_testkit::{FakeClock, RecordingDisk};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const HOUR: u64 = 3_600 * SECOND;

/// Spans that must be there.
pub(crate) type Expected = BTreeMap<(TenantId, TraceId, SpanId), Span>;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Arc<Store>,
}

/// A request and its hash.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) batch: SpanBatch,
    pub(crate) hash: u128,
    pub(crate) spans: Vec<Span>,
}

/// Makes requests; every span that it makes is another one.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) rng: SmallRng,
    n_spans: u64,
    n_traces: u64,
}

/// Wakes a thread that waits for a future.
struct Unparker(std::thread::Thread);

/// Small, so that everything happens in a second: a generation holds about a dozen requests.
pub(crate) fn small_config(random: u128) -> StoreConfig {
    let mut config = StoreConfig::new("/data", random);
    let mut limits = Limits::default();
    limits.memory_bytes = 512 << 10;
    limits.disk_reserve_bytes = 0;
    limits.waiting_blocks_max = 1_000;
    config.limits = limits;
    config.retention_bytes = Some(u64::MAX);
    config.group_spans = 40;
    config.wal.segment_bytes = 64 << 10;
    config.wal.n_spares = 0;
    config.merge.blocks_min = 3;
    config.merge.blocks_max = 5;
    config
}

/// Waits until so many files are ready for the log, whose thread does nothing more then.
pub(crate) async fn wait_for_spares(world: &World, n: u64) {
    let begun = Instant::now();
    loop {
        let wal = world.store.status().await.wal;
        if wal.spares >= n && wal.spares_in_work == 0 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{wal:?}");
        std::thread::yield_now();
    }
}

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl World {
    pub(crate) async fn open(
        disk: Arc<dyn Disk>,
        clock: &Arc<FakeClock>,
        config: StoreConfig,
    ) -> StoreResult<Self> {
        let format = Arc::new(ParquetFormat::default());
        let opened = Self::open_with_workers(disk, clock, config, format).await;
        opened.map(|(world, _)| world)
    }

    /// A new store on a disk of its own.
    pub(crate) async fn new(config: StoreConfig) -> (Self, Arc<FakeClock>) {
        let clock = Arc::new(FakeClock::default());
        let disk = Arc::new(new_disk(&clock));
        let world = Self::open(disk, &clock, config).await.unwrap();
        (world, clock)
    }

    pub(crate) async fn open_with_workers(
        disk: Arc<dyn Disk>,
        clock: &Arc<FakeClock>,
        config: StoreConfig,
        format: Arc<dyn BlockFormat>,
    ) -> StoreResult<(Self, Workers)> {
        let objects = DiskObjects::open(Arc::clone(&disk), "/data/objects").unwrap();
        let dyn_clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
        let (store, workers) = Store::open(
            config,
            format,
            disk,
            Arc::new(objects),
            dyn_clock,
            Vec::new(),
        )
        .await?;
        Ok((Self { store }, workers))
    }

    pub(crate) async fn write(&self, request: &Request) -> Result<bool, WriteError> {
        let written = self.store.write(request.batch.clone(), request.hash);
        written.await.map(|ack| ack.repeated)
    }

    /// Everything that a snapshot holds of some traces, with how often.
    pub(crate) async fn read(&self, ids: &[(TenantId, TraceId)]) -> Vec<(TenantId, Span)> {
        let (spans, errors) = self.read_partial(ids).await;
        assert!(errors.is_empty(), "{errors:?}");
        spans
    }

    /// The same where some of it cannot be read, with the reasons.
    pub(crate) async fn read_partial(
        &self,
        ids: &[(TenantId, TraceId)],
    ) -> (Vec<(TenantId, Span)>, Vec<SourceError>) {
        let snapshot = self.store.pin();
        let mut by_tenant: BTreeMap<&TenantId, Vec<TraceId>> = BTreeMap::new();
        for (tenant, id) in ids {
            by_tenant.entry(tenant).or_default().push(*id);
        }
        let (mut spans, mut errors) = (Vec::new(), Vec::new());
        for (tenant, ids) in &mut by_tenant {
            ids.sort_unstable();
            ids.dedup();
            for source in &snapshot.sources {
                match source.fetch(tenant, ids, QueryContext::unlimited()).await {
                    Ok(traces) => {
                        let of_tenant = traces.into_iter().flat_map(|trace| trace.spans);
                        spans.extend(of_tenant.map(|span| ((*tenant).clone(), span)));
                    }
                    Err(error) => errors.push(error),
                }
            }
        }
        (spans, errors)
    }

    /// Panics unless every expected span is there once, as it was sent, and no other span twice.
    pub(crate) async fn check(&self, expected: &Expected, maybe: &Expected, what: &str) {
        if let Err(problem) = self.compare(expected, maybe, what).await {
            panic!("{problem}");
        }
    }

    /// Says what is wrong with what is there: lost, there twice, or not as it was sent.
    pub(crate) async fn compare(
        &self,
        expected: &Expected,
        maybe: &Expected,
        what: &str,
    ) -> Result<(), String> {
        let ids: Vec<_> = expected
            .keys()
            .chain(maybe.keys())
            .map(|(tenant, trace, _)| (tenant.clone(), *trace))
            .collect();
        compare(self.read(&ids).await, expected, maybe, what)
    }
}

/// The same of spans that were read.
pub(crate) fn compare(
    spans: Vec<(TenantId, Span)>,
    expected: &Expected,
    maybe: &Expected,
    what: &str,
) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (tenant, span) in spans {
        let key = (tenant, span.trace_id, span.span_id);
        let sent = expected.get(&key).or_else(|| maybe.get(&key));
        if Some(&span) != sent {
            return Err(format!("{what}: not sent so: {span:?}"));
        }
        if !seen.insert(key) {
            return Err(format!("{what}: there twice: {span:?}"));
        }
    }
    match expected.keys().find(|key| !seen.contains(*key)) {
        Some(key) => Err(format!("{what}: {key:?} was acknowledged and is lost")),
        None => Ok(()),
    }
}

impl Sender {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            n_spans: 0,
            n_traces: 1,
        }
    }

    /// One to six spans of new or recent traces, most of one tenant.
    pub(crate) fn request(&mut self, now: u64) -> Request {
        let tenant = if self.rng.random_ratio(1, 5) {
            TenantId::new("other").unwrap()
        } else {
            TenantId::single()
        };
        let n = self.rng.random_range(1..=6);
        let spans: Vec<Span> = (0..n).map(|_| self.span(now)).collect();
        request(&tenant, spans)
    }

    fn span(&mut self, now: u64) -> Span {
        self.n_spans += 1;
        if self.rng.random_ratio(1, 3) {
            self.n_traces += 1;
        }
        let recent = self.n_traces.saturating_sub(self.rng.random_range(0..12));
        let trace = recent.max(1);
        let mut trace_id = [7; 16];
        trace_id[..8].copy_from_slice(&trace.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        let start = match self.rng.random_range(0..20) {
            0 => now - 2 * HOUR,
            1 => 17,
            2 => u64::MAX - 5,
            _ => now - self.rng.random_range(0..10 * SECOND),
        };
        let text = |rng: &mut SmallRng| {
            let n = rng.random_range(0..40);
            "x".repeat(n)
        };
        Span {
            resource: Arc::new(Resource {
                present: true,
                attributes: vec![KeyValue {
                    key: "service.name".to_owned(),
                    value: AttributeValue::String(format!("s{}", trace % 3)),
                }],
                ..Resource::default()
            }),
            scope: Arc::new(Scope::default()),
            trace_id: TraceId(trace_id),
            span_id: SpanId(self.n_spans.to_be_bytes()),
            parent_span_id: self.rng.random_bool(0.5).then_some(SpanId([1; 8])),
            name: format!("n{}", self.rng.random_range(0..4)),
            kind: self.rng.random_range(0..6),
            start_unix_nano: start,
            end_unix_nano: start.saturating_add(self.rng.random_range(0..SECOND)),
            attributes: vec![
                KeyValue {
                    key: "k".to_owned(),
                    value: AttributeValue::String(text(&mut self.rng)),
                },
                KeyValue {
                    key: "k".to_owned(),
                    value: AttributeValue::Double(f64::from(self.rng.random::<u32>())),
                },
                KeyValue {
                    key: "list".to_owned(),
                    value: AttributeValue::Array(vec![
                        AttributeValue::Int(1),
                        AttributeValue::Empty,
                    ]),
                },
            ],
            events: vec![Event {
                time_unix_nano: start,
                name: text(&mut self.rng),
                ..Event::default()
            }],
            links: vec![Link {
                trace_id: TraceId([9; 16]),
                span_id: SpanId([9; 8]),
                ..Link::default()
            }],
            status: self.rng.random_bool(0.5).then(Status::default),
            ..Span::default()
        }
    }
}

pub(crate) fn request(tenant: &TenantId, spans: Vec<Span>) -> Request {
    let body = Bytes::from(tracewell_wire::otlp::encode_spans(&spans));
    let hash = u128::from(crc32c::crc32c(&body)) << 64 | body.len() as u128;
    let decoded = tracewell_wire::otlp::decode(tenant.clone(), body, &Limits::default()).unwrap();
    assert!(decoded.rejected.is_empty());
    Request {
        batch: decoded.batch,
        hash,
        spans,
    }
}

pub(crate) fn remember(expected: &mut Expected, request: &Request) {
    for span in &request.spans {
        let key = (request.batch.tenant.clone(), span.trace_id, span.span_id);
        expected.insert(key, span.clone());
    }
}

pub(crate) fn new_disk(clock: &Arc<FakeClock>) -> RecordingDisk {
    RecordingDisk::with_clock(Arc::clone(clock) as Arc<dyn Clock>)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Runs a future without a runtime: the store then asks its disk on this thread. Over a disk in memory
/// that takes half the time of handing every call to another thread.
pub(crate) fn run_here<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unparker(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

pub(crate) fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// True in `make test`, false in `make check`, which has to be quick: faults are then put at a third
/// of the places, and fewer lives are lived.
pub(crate) fn is_full() -> bool {
    std::env::var_os("TRACEWELL_TEST_FULL").is_some()
}

/// Every how many places a fault is put. Odd, so that what alternates from place to place still does.
pub(crate) fn stride() -> u64 {
    if is_full() { 1 } else { 3 }
}

/// Runs a test for each seed, on all processors.
pub(crate) fn for_seeds(seeds: std::ops::Range<u64>, run: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    run(seed);
                }
            });
        }
    });
}
