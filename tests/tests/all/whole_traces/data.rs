//! One data set: random traces in a real store, cut and merged at random while they arrive.

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use tracewell_model::sink::{SpanSink, WriteError};
use tracewell_model::source::Snapshots;
use tracewell_model::{Clock, Limits, Span, TenantId};
use tracewell_store::block::{BlockCache, ParquetFormat};
use tracewell_store::{Store, StoreConfig};
use tracewell_testkit::random::{TraceOptions, random_traces, scatter};
use tracewell_testkit::{FakeClock, Oracle, Random, RecordingDisk};

const SECOND: u64 = 1_000_000_000;

/// A store, and the oracle that knows the same spans.
#[derive(Debug)]
pub(super) struct DataSet {
    pub(super) store: Arc<Store>,
    pub(super) clock: Arc<FakeClock>,
    pub(super) oracle: Oracle,
    n_requests: u128,
}

/// How many sources of each kind a snapshot has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) head: usize,
    pub(super) levels: [u64; 3],
}

impl DataSet {
    /// Writes everything; afterwards fragments of one trace lie wherever chance has put them.
    pub(super) async fn scattered(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let clock = Arc::new(FakeClock::default());
        let spans = spans(&mut random, clock.now_unix_nano());
        let mut config = small_config(seed);
        config.limits.memory_bytes = *random.pick(&[512 << 10, 8 << 20]);
        // Reading small groups is most of what a query costs here.
        const GROUP_SPANS: [usize; 8] = [10_000, 40, 10_000, 40, 10_000, 150, 10_000, 40];
        config.group_spans = match seed % 20 {
            0 => 4,
            10 => 6,
            _ => GROUP_SPANS[seed as usize % 8],
        };
        config.merge.blocks_max = 2 + random.below(5);
        let mut cache = BlockCache::default();
        if seed % 100 == 50 {
            // With no room to keep anything all is read from pages again, by the selected rows alone. It takes
            // twenty times as long: footers are not kept either, and many groups have large ones.
            cache = BlockCache::new(0);
            config.group_spans = 10_000;
        }
        let store = open(config, &clock, cache).await;
        let mut data = Self {
            store,
            clock,
            oracle: Oracle::new(spans.iter().cloned()),
            n_requests: 0,
        };
        let n_parts = 4 + random.below(7);
        let mut parts = scatter(&mut random, spans, n_parts, 30);
        repeat_some(&mut random, &mut parts);
        let ages = random.percent(70);
        for (index, part) in parts.into_iter().enumerate() {
            if random.percent(20) {
                let other = TenantId::new("other").unwrap();
                data.write(&other, &renamed(&part)).await;
            }
            data.write(&TenantId::single(), &part).await;
            // As time goes by: the oldest is merged twice, the newest not even cut.
            let (flush, merge, n_merges) = match index * 10 / n_parts {
                _ if index + 1 == n_parts => (5, 0, 0),
                _ if !ages => (45, 25, 1 + random.below(3)),
                0..5 => (90, 60, 5),
                5..7 => (90, 60, 1),
                _ => (60, 0, 0),
            };
            if random.percent(flush) {
                data.store.flush().await.unwrap();
            }
            for _ in 0..n_merges * usize::from(random.percent(merge)) {
                data.store.merge_next(true).await.unwrap();
            }
        }
        data
    }

    /// These spans in the head.
    pub(super) async fn in_head(spans: &[Span]) -> Self {
        let clock = Arc::new(FakeClock::default());
        let mut data = Self {
            store: open(small_config(1), &clock, BlockCache::default()).await,
            clock,
            oracle: Oracle::new(spans.iter().cloned()),
            n_requests: 0,
        };
        data.write(&TenantId::single(), spans).await;
        data
    }

    /// One block of these spans, with so many in a row group.
    pub(super) async fn in_groups(spans: &[Span], group_spans: usize) -> Self {
        let clock = Arc::new(FakeClock::default());
        let mut config = small_config(1);
        config.group_spans = group_spans;
        let mut data = Self {
            store: open(config, &clock, BlockCache::default()).await,
            clock,
            oracle: Oracle::new(spans.iter().cloned()),
            n_requests: 0,
        };
        // Merging splits what is too long for a group.
        for part in spans.chunks(group_spans) {
            data.write(&TenantId::single(), part).await;
            data.store.flush().await.unwrap();
        }
        data.merge_all().await;
        data
    }

    /// Cuts and merges until nothing is left to merge.
    pub(super) async fn merge_all(&self) {
        self.store.flush().await.unwrap();
        while self.store.merge_next(true).await.unwrap() {}
    }

    pub(super) fn snapshots(&self) -> Arc<dyn Snapshots> {
        Arc::clone(&self.store) as Arc<dyn Snapshots>
    }

    pub(super) async fn places(&self) -> Places {
        let status = self.store.status().await;
        let blocks = |level: u8| status.by_level.get(&level).map_or(0, |sums| sums.blocks);
        let levels = [blocks(0), blocks(1), blocks(2)];
        let snapshot = self.store.pin();
        let n_blocks = levels.iter().sum::<u64>() as usize;
        Places {
            head: snapshot.sources.len() - n_blocks,
            levels,
        }
    }

    async fn write(&mut self, tenant: &TenantId, spans: &[Span]) {
        if spans.is_empty() {
            return;
        }
        let body = Bytes::from(tracewell_wire::otlp::encode_spans(spans));
        let decoded = tracewell_wire::otlp::decode(tenant.clone(), body, &Limits::default());
        let decoded = decoded.unwrap();
        assert!(decoded.rejected.is_empty());
        self.n_requests += 1;
        loop {
            match self
                .store
                .write(decoded.batch.clone(), self.n_requests)
                .await
            {
                Ok(ack) => {
                    assert!(!ack.repeated);
                    return;
                }
                Err(WriteError::Busy { .. }) => self.store.flush().await.unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn small_config(seed: u64) -> StoreConfig {
    let mut config = StoreConfig::new("/data", u128::from(seed) + 1);
    config.limits.disk_reserve_bytes = 0;
    config.limits.waiting_blocks_max = 1_000;
    config.retention_bytes = Some(u64::MAX);
    config.wal.segment_bytes = 64 << 10;
    config.wal.n_spares = 0;
    config
}

async fn open(config: StoreConfig, clock: &Arc<FakeClock>, cache: BlockCache) -> Arc<Store> {
    let dyn_clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let disk = Arc::new(RecordingDisk::with_clock(Arc::clone(&dyn_clock)));
    let format = Arc::new(ParquetFormat {
        cache: Arc::new(cache),
        ..ParquetFormat::default()
    });
    let opened = Store::open(
        config,
        format,
        disk,
        // On a disk every read would be a visit to another thread.
        Arc::new(InMemory::new()),
        dyn_clock,
        Vec::new(),
    );
    opened.await.unwrap().0
}

/// Traces around the end of a day, some at one time, some with clocks that are far off.
fn spans(random: &mut Random, now: u64) -> Vec<Span> {
    let n_traces = 12 + random.below(28);
    let options = TraceOptions {
        start: now - 10 * SECOND,
        width: 20 * SECOND,
        spans_max: 8,
        ..TraceOptions::default()
    };
    let mut spans = random_traces(random, n_traces, &options);
    let mut first_of_last = None;
    for trace in spans.chunk_by_mut(|a, b| a.trace_id == b.trace_id) {
        let first = trace.iter().map(|span| span.start_unix_nano).min().unwrap();
        match random.below(40) {
            // Traces that start at one time: their order is that of their ids.
            0..8 => first_of_last
                .into_iter()
                .for_each(|to| shift(trace, first, to)),
            8 => shift(trace, first, now - 3 * 3_600 * SECOND),
            9 => shift(trace, first, now + 30 * 3_600 * SECOND),
            10 => shift(trace, first, 17),
            _ => {}
        }
        let one = random.below(trace.len());
        match random.below(60) {
            0 => trace[one].start_unix_nano = u64::MAX - 5,
            1 => trace[one].start_unix_nano -= trace[one].start_unix_nano.min(7_200 * SECOND),
            2 => make_cycle(trace),
            _ => {}
        }
        first_of_last = trace.iter().map(|span| span.start_unix_nano).min();
    }
    spans
}

fn shift(trace: &mut [Span], from: u64, to: u64) {
    for span in trace {
        let moved = |time: u64| time.wrapping_sub(from).wrapping_add(to);
        span.start_unix_nano = moved(span.start_unix_nano);
        span.end_unix_nano = moved(span.end_unix_nano);
    }
}

/// Every span has a parent: there is no root.
fn make_cycle(trace: &mut [Span]) {
    let ids: Vec<_> = trace.iter().map(|span| span.span_id).collect();
    for (index, span) in trace.iter_mut().enumerate() {
        span.parent_span_id = Some(ids[(index + 1) % ids.len()]);
    }
}

/// Senders send again what they are not sure of, in other company.
fn repeat_some(random: &mut Random, parts: &mut [Vec<Span>]) {
    let all: Vec<Span> = parts.iter().flatten().cloned().collect();
    for span in all {
        if random.percent(8) {
            let to = random.below(parts.len());
            parts[to].push(span);
        }
    }
}

/// The same ids with other content, as another tenant may have them.
fn renamed(spans: &[Span]) -> Vec<Span> {
    let mut spans = spans.to_vec();
    for span in &mut spans {
        "not yours".clone_into(&mut span.name);
        span.attributes.clear();
    }
    spans
}
