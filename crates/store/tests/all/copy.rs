//! Merges that copy groups: the blocks that come of them answer as those of a store do that encodes
//! everything again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::cast::AsArray;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;
use tracewell_model::predicate::Operand;
use tracewell_model::shared::SharedIds;
use tracewell_model::source::*;
use tracewell_model::{
    AttributeScope, AttributeValue, Clock, Column, CompareOp, Filter, KeyValue, Leaf, Predicate,
    Span, TenantId, TimeRange, TraceId,
};
use tracewell_store::block::{BlockReader as Block, ParquetFormat};
use tracewell_store::codec::{BlockFormat, BlockReader, BlockTarget, BlockWriter, Rows, Written};
use tracewell_store::disk::Disk;
use tracewell_store::manifest::BlockEntry;
use tracewell_store::objects::DiskObjects;
use tracewell_store::{StoreConfig, StoreResult};
use tracewell_testkit::random::{TraceOptions, random_traces};
use tracewell_testkit::{FakeClock, Random, RecordingDisk};

use crate::world::*;

const SEEDS: u64 = 3;
const PHASES: u64 = 6;
const SCOPES: [AttributeScope; 4] = [
    AttributeScope::Span,
    AttributeScope::Event,
    AttributeScope::Link,
    AttributeScope::Resource,
];

/// The same format, but that no group is copied.
#[derive(Debug, Default)]
struct Encoding(ParquetFormat);

struct EncodingWriter(Box<dyn BlockWriter>);

impl BlockFormat for Encoding {
    fn version(&self) -> u16 {
        self.0.version()
    }

    fn create(&self, target: BlockTarget) -> StoreResult<Box<dyn BlockWriter>> {
        Ok(Box::new(EncodingWriter(self.0.create(target)?)))
    }

    fn open<'a>(
        &'a self,
        objects: &'a Arc<dyn ObjectStore>,
        folder: Path,
        entry: &'a BlockEntry,
    ) -> BoxFuture<'a, StoreResult<Arc<dyn BlockReader>>> {
        self.0.open(objects, folder, entry)
    }
}

impl BlockWriter for EncodingWriter {
    fn group<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, StoreResult<()>> {
        self.0.group(rows)
    }

    fn finish(self: Box<Self>, shared: SharedIds) -> BoxFuture<'static, StoreResult<Written>> {
        self.0.finish(shared)
    }
}

/// A store, its disk, and what it was sent.
struct Sent {
    world: World,
    disk: RecordingDisk,
    spans: Vec<Span>,
}

#[derive(Debug, Default)]
struct Counts {
    spans: usize,
    groups_copied: u64,
    groups_encoded: u64,
    spans_copied: u64,
    equal: u64,
    matches: usize,
}

fn config(seed: u64) -> StoreConfig {
    let mut config = small_config(u128::from(seed) + 1);
    config.limits.memory_bytes = 16 << 20;
    config.group_spans = 24;
    config.merge.blocks_max = 1_000;
    config
}

fn attribute(key: &str, value: AttributeValue) -> KeyValue {
    let key = key.to_owned();
    KeyValue { key, value }
}

/// Traces one after the other, each phase with keys of its own; some spans come a phase late, and some
/// twice.
fn phases(seed: u64, now: u64) -> Vec<Vec<Span>> {
    let mut random = Random::new(seed);
    let mut phases = vec![Vec::new(); PHASES as usize + 1];
    for phase in 0..PHASES {
        for number in 0..40 {
            let options = TraceOptions {
                start: now + phase * 40 * SECOND + number * SECOND,
                width: SECOND / 2,
                odd: false,
                wild: random.percent(10),
                ..TraceOptions::default()
            };
            for mut span in random_traces(&mut random, 1, &options) {
                let code = match phase % 2 {
                    0 => AttributeValue::Int(200 + number as i64 % 3),
                    _ => AttributeValue::String(format!("{}", 200 + number % 3)),
                };
                span.attributes.push(attribute("code", code));
                let of_phase = AttributeValue::String(format!("v{}", number % 5));
                span.attributes
                    .push(attribute(&format!("phase.{phase}"), of_phase));
                let case = if phase % 3 == 0 { "userId" } else { "userid" };
                let value = AttributeValue::String(case.to_owned());
                span.attributes.push(attribute(case, value));
                if random.percent(1) {
                    // Too rare for a column in some phases.
                    let value = AttributeValue::Int(number as i64);
                    span.attributes.push(attribute("phase.0", value));
                }
                // Of few traces, so that not every group is split.
                let is_late = number == 37 && random.percent(50);
                if number == 38 && random.percent(30) {
                    phases[phase as usize + 1].push(span.clone());
                }
                phases[phase as usize + usize::from(is_late)].push(span);
            }
        }
    }
    phases
}

async fn sent(seed: u64, format: Arc<dyn BlockFormat>) -> Sent {
    let clock = Arc::new(FakeClock::default());
    clock.advance(minutes(30));
    let disk = new_disk(&clock);
    let behind: Arc<dyn Disk> = Arc::new(disk.clone());
    let opened = World::open_with_workers(behind, &clock, config(seed), format).await;
    let (world, _workers) = opened.unwrap();
    let mut spans = Vec::new();
    for (number, phase) in phases(seed, clock.now_unix_nano()).into_iter().enumerate() {
        for part in phase.chunks(25) {
            let request = request(&TenantId::single(), part.to_vec());
            world.write(&request).await.unwrap();
        }
        spans.extend(phase);
        world.store.flush().await.unwrap();
        assert!(world.store.merge_next(true).await.unwrap());
        // Half of it becomes a block of level 2, which is merged again with the rest.
        if number == 3 {
            while world.store.merge_next(true).await.unwrap() {}
        }
    }
    while world.store.merge_next(true).await.unwrap() {}
    Sent { world, disk, spans }
}

fn predicates() -> Vec<Predicate> {
    let compare = |op, operand| Predicate::Compare { op, operand };
    vec![
        Predicate::Exists,
        compare(CompareOp::Equal, Operand::String("v1".into())),
        compare(CompareOp::Equal, Operand::String("201".into())),
        compare(CompareOp::NotEqual, Operand::String("userid".into())),
        compare(CompareOp::Equal, Operand::Int(201)),
        compare(CompareOp::Greater, Operand::Int(5)),
    ]
}

fn columns() -> Vec<Column> {
    let of_spans = ["code", "userid", "userId", "phase.0", "a", "A"];
    let of_spans = of_spans.map(|key| Column::attribute(AttributeScope::Span, key));
    let of_events = ["a", "n"].map(|key| Column::attribute(AttributeScope::Event, key));
    of_spans.into_iter().chain(of_events).collect()
}

impl Sent {
    /// Everything that its blocks answer, one text each.
    async fn answers(&self, counts: &mut Counts) -> BTreeMap<String, BTreeSet<String>> {
        let mut answers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let tenant = TenantId::single();
        let ids: BTreeSet<TraceId> = self.spans.iter().map(|span| span.trace_id).collect();
        let ids: Vec<TraceId> = ids.into_iter().collect();
        let starts = self.spans.iter().map(|span| span.start_unix_nano);
        let middle = starts.clone().min().unwrap() / 2 + starts.max().unwrap() / 2;
        let window = TimeRange {
            start: middle,
            end: middle + 20 * SECOND,
        };
        let ctx = QueryContext::unlimited;
        for source in &self.world.store.pin().sources {
            let traces = source.fetch(&tenant, &ids, ctx()).await.unwrap();
            let spans = traces.into_iter().flat_map(|trace| trace.spans);
            let spans = spans.map(|span| format!("{span:?}"));
            answers.entry("fetch".to_owned()).or_default().extend(spans);
            let rows = source.traces(&tenant, &ids, ctx()).await.unwrap();
            let rows = rows.iter().map(|row| format!("{row:?}"));
            answers.entry("traces".to_owned()).or_default().extend(rows);
            for window in [TimeRange::ALL, window] {
                for (name, what) in [
                    ("keys", KeyWhat::Keys(SCOPES.to_vec())),
                    ("values", KeyWhat::Values(columns())),
                ] {
                    let query = KeyQuery {
                        tenant: tenant.clone(),
                        window,
                        what,
                        filter: Filter::Constant(true),
                        n_max: 10_000,
                        text_bytes_max: usize::MAX,
                    };
                    let answer = source.keys(&query, ctx()).await.unwrap();
                    let keys = answer.keys.iter().map(|key| format!("{key:?}"));
                    let values = answer.values.iter().map(|value| format!("{value:?}"));
                    let texts = answers.entry(format!("{name} {window:?}")).or_default();
                    texts.extend(keys.chain(values));
                }
                for (number, column) in columns().into_iter().enumerate() {
                    // All of them in the whole, some in the narrow window.
                    let step = if window == TimeRange::ALL { 1 } else { 3 };
                    for predicate in predicates().into_iter().skip(number % step).step_by(step) {
                        let name = format!("{column:?} {predicate:?} {window:?}");
                        let found = leaves(&**source, &column, &predicate, window).await;
                        counts.matches += found.len();
                        answers.entry(name).or_default().extend(found);
                    }
                }
            }
        }
        answers
    }

    /// The keys that the blocks state, and whether the blocks are whole.
    async fn keys(&self) -> BTreeMap<String, (u64, u64, u64)> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let objects = Arc::new(DiskObjects::open(disk, "/data/objects").unwrap());
        let mut keys: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
        for source in &self.world.store.pin().sources {
            let id = source.summary().name.strip_prefix("block ").unwrap();
            let id = tracewell_store::manifest::BlockId::parse(id).unwrap();
            let root = Path::from("tracewell/blocks");
            let block = Block::open(
                Arc::clone(&objects) as Arc<dyn ObjectStore>,
                &root,
                id,
                Arc::default(),
            );
            let block = block.await.unwrap();
            let report = block.verify().await;
            assert!(report.damage.is_empty(), "{report:?}");
            for key in &block.meta().keys {
                let name = format!("{} {} {}", key.level, key.key, key.value_type);
                let sum = keys.entry(name).or_default();
                *sum = (sum.0 + key.count, sum.1 + key.first, sum.2 + key.bytes);
            }
            let lasts = block.meta().groups.iter();
            let lasts: Vec<u64> = lasts.map(|group| group.trace_start_max).collect();
            assert!(lasts.is_sorted(), "groups lie by their last trace start");
        }
        keys
    }
}

/// The spans that match; no batch may bring what those before it ruled out.
async fn leaves(
    source: &dyn SpanSource,
    column: &Column,
    predicate: &Predicate,
    window: TimeRange,
) -> BTreeSet<String> {
    let leaf = Leaf {
        column: column.clone(),
        predicate: predicate.clone(),
        when_absent: false,
    };
    let query = LeafQuery {
        tenant: TenantId::single(),
        filters: Arc::from([Filter::Leaf(leaf)]),
        window,
        only: None,
        fragment_filters: None,
        also: TraceSet::none(),
        needs_all: false,
        spans: true,
        columns: Arc::default(),
    };
    let leaves = source.leaves(query, QueryContext::unlimited());
    let batches: Vec<LeafBatch> = leaves.try_collect().await.unwrap();
    let mut found = BTreeSet::new();
    let mut unread = u64::MAX;
    for batch in &batches {
        let starts = batch.traces.iter().map(|trace| trace.start_unix_nano);
        assert!(starts.max().unwrap_or(0) <= unread);
        unread = batch.unread_start_max.unwrap_or(0);
        for row in batch.bits[0].set_indices() {
            let id = |name: &str| {
                let ids = batch.spans.column_by_name(name).unwrap();
                ids.as_fixed_size_binary().value(row).to_vec()
            };
            found.insert(format!("{:?} {:?}", id("trace_id"), id("span_id")));
        }
    }
    found
}

#[test]
fn copied_and_encoded_blocks_answer_alike() {
    let mut counts = Counts::default();
    for seed in 0..SEEDS {
        runtime().block_on(async {
            let copying = sent(seed, Arc::new(ParquetFormat::default())).await;
            let encoding = sent(seed, Arc::new(Encoding::default())).await;
            let metrics = encoding.world.store.metrics();
            assert_eq!(metrics.groups_copied.load(Ordering::Relaxed), 0);
            assert_eq!(copying.keys().await, encoding.keys().await, "seed {seed}");
            let answers = copying.answers(&mut counts).await;
            let expected = encoding.answers(&mut Counts::default()).await;
            for ((name, answer), (_, expected)) in answers.iter().zip(&expected) {
                assert!(answer == expected, "seed {seed}: {name}");
            }
            assert_eq!(answers.len(), expected.len());
            let distinct = copying.spans.iter().map(|span| format!("{span:?}"));
            assert_eq!(answers["fetch"], distinct.collect(), "seed {seed}");
            let equal = |sent: &Sent| {
                let metrics = sent.world.store.metrics();
                metrics.spans_deduplicated.load(Ordering::Relaxed)
            };
            assert_eq!(equal(&copying), equal(&encoding), "seed {seed}");
            let metrics = copying.world.store.metrics();
            counts.spans += copying.spans.len();
            counts.groups_copied += metrics.groups_copied.load(Ordering::Relaxed);
            counts.spans_copied += metrics.spans_copied.load(Ordering::Relaxed);
            counts.groups_encoded += metrics.groups_encoded.load(Ordering::Relaxed);
            counts.equal += equal(&copying);
        });
    }
    println!("seeds 0..{SEEDS}: {counts:?}");
    assert!(counts.groups_copied > 10 * SEEDS, "{counts:?}");
    assert!(counts.groups_encoded > 10 * SEEDS, "{counts:?}");
    assert!(counts.equal > 0 && counts.matches > 3_000, "{counts:?}");
}
