//! Bits flipped in every kind of page of real blocks, before a start and while the store runs, and
//! files cut short: what is lost is named with its place, the rest is served once, nothing panics.

mod chain;
mod places;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use futures::TryStreamExt;
use object_store::path::Path;
use parking_lot::Mutex;
use tracewell_model::column::{Column, Intrinsic};
use tracewell_model::sink::WriteError;
use tracewell_model::source::*;
use tracewell_model::{
    AttributeScope, AttributeValue, Clock, CompareOp, Filter, KeyValue, Leaf, Level, Predicate,
    Span, TenantId, TimeRange, TraceId,
};
use tracewell_store::block::BlockReader;
use tracewell_store::disk::Disk;
use tracewell_store::manifest::BlockId;
use tracewell_store::objects::DiskObjects;
use tracewell_store::{StoreConfig, StoreResult};
use tracewell_testkit::random::{TraceOptions, random_traces, scatter};
use tracewell_testkit::{FakeClock, Random, RecordingDisk};

use self::places::{Place, places_of};
use crate::logged::logged;
use crate::world::*;

/// Frequent keys are columns of their own, the last is too rare for one.
const KEYS: [&str; 4] = ["http.method", "n", "a", "rare"];
const SCOPES: [AttributeScope; 5] = [
    AttributeScope::Span,
    AttributeScope::Resource,
    AttributeScope::Instrumentation,
    AttributeScope::Event,
    AttributeScope::Link,
];
/// Of one kind of page, table and level: columns, blocks and row groups by chance.
const PLACES_OF_KIND: usize = 2;
/// Every so many trials the damaged store is merged too.
const MERGED_EVERY: usize = 5;

/// A store with blocks of every level, in two partitions, of two tenants; its disk is copied for each trial.
struct Plant {
    disk: RecordingDisk,
    now: u64,
    expected: Expected,
    ids: Vec<(TenantId, TraceId)>,
    /// What each source answers while it is whole.
    answers: BTreeMap<String, Answers>,
    /// The spans of each source.
    held: BTreeMap<String, Expected>,
    level_of: BTreeMap<String, u8>,
}

/// One answer per question.
type Answers = Vec<(&'static str, SourceResult<String>)>;

/// What is done to a file.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Flip { bit: u64 },
    Cut { bytes: u64 },
    Remove,
}

/// When the harm shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// The store is started on the damaged disk.
    AtRest,
    /// The store is open and has read nothing but what its start reads.
    Running,
}

#[derive(Debug, Default)]
struct Counts {
    trials: u64,
    at_start: u64,
    by_answers: u64,
    by_verify_alone: u64,
    merged: u64,
    set_aside: u64,
    /// By table and kind of page: how often, and how often an answer or the start met it.
    by_kind: BTreeMap<String, (u64, u64)>,
}

fn config(random: u128) -> StoreConfig {
    let mut config = small_config(random);
    config.limits.memory_bytes = 16 << 20;
    config.group_spans = 60;
    config.merge.blocks_max = 1_000;
    config
}

fn spans(random: &mut Random, now: u64, wild: bool) -> Vec<Span> {
    let options = TraceOptions {
        start: now - 10 * SECOND,
        odd: false,
        wild,
        ..TraceOptions::default()
    };
    let mut spans = random_traces(random, 24, &options);
    for span in &mut spans {
        span.attributes.push(text("http.method", "GET"));
        if random.percent(1) {
            span.attributes.push(text("rare", "x"));
        }
    }
    spans
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: AttributeValue::String(value.to_owned()),
    }
}

/// Sends random traces of both tenants in some requests, and cuts a block after each.
async fn send(world: &World, random: &mut Random, now: u64, expected: &mut Expected) {
    for tenant in [TenantId::single(), TenantId::new("other").unwrap()] {
        let wild = tenant != TenantId::single();
        let spans = spans(random, now, wild);
        for part in scatter(random, spans, 2, 20) {
            let request = request(&tenant, part);
            world.write(&request).await.unwrap();
            remember(expected, &request);
        }
        world.store.flush().await.unwrap();
    }
}

// === impl Plant ===

impl Plant {
    async fn new(seed: u64) -> Self {
        let clock = Arc::new(FakeClock::default());
        clock.advance(minutes(30));
        let disk = new_disk(&clock);
        let mut random = Random::new(seed);
        let mut expected = Expected::new();
        let world = World::open(Arc::new(disk.clone()), &clock, config(1)).await;
        let world = world.unwrap();
        // Two blocks of level 1 for each tenant become one of level 2.
        for _ in 0..2 {
            send(&world, &mut random, clock.now_unix_nano(), &mut expected).await;
            assert!(world.store.merge_next(true).await.unwrap());
        }
        while world.store.merge_next(true).await.unwrap() {}
        clock.advance(minutes(60));
        send(&world, &mut random, clock.now_unix_nano(), &mut expected).await;
        assert!(world.store.merge_next(true).await.unwrap());
        clock.advance(minutes(3));
        send(&world, &mut random, clock.now_unix_nano(), &mut expected).await;
        world.store.settle(true).await.unwrap();
        world.store.delete_retired().await.unwrap();
        let status = world.store.status().await;
        let levels: Vec<u8> = status.by_level.keys().copied().collect();
        assert_eq!((levels, status.by_partition.len()), (vec![0, 1, 2], 2));
        let mut ids: Vec<_> = expected
            .keys()
            .map(|(tenant, trace, _)| (tenant.clone(), *trace))
            .collect();
        ids.dedup();
        drop(world);
        // Only what is there now, so that a copy costs no more.
        let copy = new_disk(&clock);
        for path in disk.files() {
            copy.install(&path, &disk.content(&path).unwrap());
        }
        let mut plant = Self {
            disk: copy,
            now: clock.now_unix_nano(),
            expected,
            ids,
            answers: BTreeMap::new(),
            held: BTreeMap::new(),
            level_of: BTreeMap::new(),
        };
        plant.learn().await;
        plant
    }

    async fn open(&self, disk: &RecordingDisk, start: u64) -> StoreResult<World> {
        let clock = Arc::new(FakeClock::new(self.now));
        World::open(
            Arc::new(disk.clone()),
            &clock,
            config(u128::from(start) + 2),
        )
        .await
    }

    /// What the sources hold and answer while everything is whole.
    async fn learn(&mut self) {
        let disk = self.disk.after_kill();
        let world = self.open(&disk, 0).await.unwrap();
        let nothing = Expected::new();
        world.check(&self.expected, &nothing, "the plant").await;
        for source in world.store.pin().sources {
            let name = source.summary().name.clone();
            let answers = self.ask(&*source).await;
            assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
            let mut held = Expected::new();
            for (tenant, span) in read_source(&*source, &self.ids).await.unwrap() {
                held.insert((tenant, span.trace_id, span.span_id), span);
            }
            let id = name.strip_prefix("block ").unwrap();
            let meta = self.block(&disk, id).await.unwrap();
            self.level_of.insert(id.to_owned(), meta.meta().level);
            self.answers.insert(name.clone(), answers);
            self.held.insert(name, held);
        }
        let n_held: usize = self.held.values().map(BTreeMap::len).sum();
        assert_eq!(n_held, self.expected.len(), "no span lies in two blocks");
    }

    async fn block(
        &self,
        disk: &RecordingDisk,
        id: &str,
    ) -> tracewell_store::block::BlockResult<BlockReader> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let objects = Arc::new(DiskObjects::open(disk, "/data/objects").unwrap());
        let id = BlockId::parse(id).unwrap();
        BlockReader::open(objects, &Path::from("tracewell/blocks"), id, Arc::default()).await
    }

    /// Every kind of question, each over everything.
    async fn ask(&self, source: &dyn SpanSource) -> Answers {
        let mut answers = Answers::new();
        let ctx = QueryContext::unlimited;
        for tenant in [TenantId::single(), TenantId::new("other").unwrap()] {
            let of_tenant = self.ids.iter().filter(|(of, _)| *of == tenant);
            let ids: Vec<TraceId> = of_tenant.map(|(_, id)| *id).collect();
            let fetched = source.fetch(&tenant, &ids, ctx()).await;
            answers.push(("fetch", fetched.map(|traces| format!("{traces:?}"))));
            let rows = source.traces(&tenant, &ids, ctx()).await;
            answers.push(("traces", rows.map(|rows| format!("{rows:?}"))));
            let query = LeafQuery {
                tenant: tenant.clone(),
                filters: filters().into(),
                window: TimeRange::ALL,
                only: Some(ids.into()),
                fragment_filters: None,
                also: tracewell_model::source::TraceSet::none(),
                needs_all: false,
                spans: true,
                columns: Arc::default(),
            };
            let leaves: SourceResult<Vec<LeafBatch>> =
                source.leaves(query, ctx()).try_collect().await;
            answers.push(("leaves", leaves.map(|leaves| leaf_text(&leaves))));
            for (name, what) in [
                ("keys", KeyWhat::Keys(SCOPES.to_vec())),
                ("values", KeyWhat::Values(columns())),
            ] {
                let query = KeyQuery {
                    tenant: tenant.clone(),
                    window: TimeRange::ALL,
                    what,
                    filter: Filter::Constant(true),
                    n_max: 10_000,
                    text_bytes_max: usize::MAX,
                };
                let keys = source.keys(&query, ctx()).await;
                answers.push((name, keys.map(|answer| format!("{answer:?}"))));
            }
        }
        answers
    }

    /// The places of blocks of one level, in the order of their names.
    fn places(&self, level: u8) -> Vec<Place> {
        let mut places = Vec::new();
        for path in self.disk.files() {
            let text = path.to_str().unwrap();
            let Some(rest) = text.strip_prefix("/data/objects/tracewell/blocks/") else {
                continue;
            };
            let (block, _) = rest.split_once('/').unwrap();
            if self.level_of[block] == level {
                let bytes = self.disk.content(&path).unwrap();
                places.extend(places_of(&path, block, bytes));
            }
        }
        places
    }

    async fn trial(&self, place: &Place, harm: Harm, when: When, number: usize) -> Seen {
        let what = format!("trial {number}, {harm:?} {when:?} in {place:?}");
        let disk = self.disk.after_kill();
        let before = match when {
            When::Running => Some(self.open(&disk, number as u64).await.unwrap()),
            When::AtRest => None,
        };
        harm.inflict(&disk, place);
        let (world, start_log) = match before {
            Some(world) => (world, Vec::new()),
            None => {
                let (opened, lines) = logged(self.open(&disk, number as u64)).await;
                let opened = opened.unwrap_or_else(|error| panic!("{what}: no start: {error}"));
                (opened, lines)
            }
        };
        let mut seen = Seen::default();
        let name = format!("block {}", place.block);
        let snapshot = world.store.pin();
        if let [missing] = snapshot.missing.as_slice() {
            seen.at_start = true;
            place.check_named(missing, harm, &what);
            let told = |line: &String| line.contains(&place.block) && line.contains("missing from");
            assert!(start_log.iter().any(told), "{what}: {start_log:?}");
        } else {
            assert!(snapshot.missing.is_empty(), "{what}");
        }
        for source in &snapshot.sources {
            let source_name = &source.summary().name;
            if *source_name == name {
                seen.by_answers = self.check_answers(&**source, place, harm, &what).await;
            }
        }
        seen.by_verify = self.check_verify(&disk, place, harm, &what).await;
        self.check_rest(&world, &name, &what).await;
        if number.is_multiple_of(MERGED_EVERY) {
            seen.merged = true;
            seen.set_aside = self.merge(&world, place, &what).await;
            self.check_rest(&world, &name, &format!("{what}, merged"))
                .await;
        }
        seen
    }

    /// Each answer is the right one or names the place. True if one is not the right one.
    async fn check_answers(
        &self,
        source: &dyn SpanSource,
        place: &Place,
        harm: Harm,
        what: &str,
    ) -> bool {
        let name = &source.summary().name;
        let mut met = false;
        let answers = self.ask(source).await;
        for ((question, answer), (_, right)) in answers.iter().zip(&self.answers[name]) {
            match answer {
                Ok(_) => assert!(answer == right, "{what}: {question} is wrong: {answer:?}"),
                Err(
                    SourceError::Damaged {
                        source_name,
                        reason,
                    }
                    | SourceError::Io {
                        source_name,
                        reason,
                    },
                ) => {
                    assert_eq!(source_name, name, "{what}");
                    place.check_named(reason, harm, what);
                    met = true;
                }
                Err(error) => panic!("{what}: {question}: {error}"),
            }
        }
        met
    }

    /// `block verify` finds all damage, and nothing else.
    async fn check_verify(
        &self,
        disk: &RecordingDisk,
        place: &Place,
        harm: Harm,
        what: &str,
    ) -> bool {
        match self.block(disk, &place.block).await {
            Err(error) => {
                place.check_named(&error.to_string(), harm, what);
                false
            }
            Ok(block) => {
                let damage = block.verify().await.damage;
                assert!(!damage.is_empty(), "{what}: verify finds nothing");
                for text in damage {
                    place.check_named(&text, harm, what);
                }
                true
            }
        }
    }

    /// Everything outside of the damaged block is there once; of that block, what is there is right.
    async fn check_rest(&self, world: &World, damaged: &str, what: &str) {
        let (mut rest, lost) = (self.expected.clone(), &self.held[damaged]);
        rest.retain(|key, _| !lost.contains_key(key));
        let (spans, errors) = world.read_partial(&self.ids).await;
        compare(spans, &rest, lost, what).unwrap();
        assert!(errors.len() <= 1, "{what}: {errors:?}");
    }

    /// Merges all that can be merged. True if the damaged block was set aside.
    async fn merge(&self, world: &World, place: &Place, what: &str) -> bool {
        let ((), lines) = logged(async {
            for _ in 0..20 {
                match world.store.merge_next(true).await {
                    Ok(true) | Err(_) => {}
                    Ok(false) => return,
                }
            }
            panic!("{what}: merging does not end");
        })
        .await;
        let status = world.store.status().await;
        let set_aside: Vec<String> = status
            .blocks_set_aside
            .keys()
            .map(BlockId::to_string)
            .collect();
        if set_aside.is_empty() {
            return false;
        }
        assert_eq!(set_aside, std::slice::from_ref(&place.block), "{what}");
        let told = |line: &String| line.contains(&place.block) && line.contains("set aside");
        assert!(lines.iter().any(told), "{what}: {lines:?}");
        true
    }
}

/// What noticed the harm.
#[derive(Debug, Default)]
struct Seen {
    at_start: bool,
    by_answers: bool,
    by_verify: bool,
    merged: bool,
    set_aside: bool,
}

/// Every span with its bits, in the order in which they came.
fn leaf_text(batches: &[LeafBatch]) -> String {
    let mut text = String::new();
    for batch in batches {
        let traces = batch.spans.column(0).as_fixed_size_binary();
        let ids = batch.spans.column(1).as_fixed_size_binary();
        let starts = batch.spans.column(2).as_primitive::<UInt64Type>();
        for row in 0..batch.spans.num_rows() {
            let (trace, id, start) = (traces.value(row), ids.value(row), starts.value(row));
            write!(text, "{trace:?} {id:?} {start} ").unwrap();
            for bits in &batch.bits {
                text.push(if bits.value(row) { '1' } else { '0' });
            }
            text.push('\n');
        }
        writeln!(text, "{:?}", batch.traces).unwrap();
    }
    text
}

async fn read_source(
    source: &dyn SpanSource,
    ids: &[(TenantId, TraceId)],
) -> SourceResult<Vec<(TenantId, Span)>> {
    let mut spans = Vec::new();
    for (tenant, id) in ids {
        for trace in source
            .fetch(tenant, &[*id], QueryContext::unlimited())
            .await?
        {
            spans.extend(trace.spans.into_iter().map(|span| (tenant.clone(), span)));
        }
    }
    Ok(spans)
}

fn columns() -> Vec<Column> {
    use Intrinsic::*;
    let intrinsics = [
        Name,
        Duration,
        Start,
        Status,
        StatusMessage,
        Kind,
        SpanId,
        ParentId,
        TraceDuration,
        RootName,
        RootService,
        InstrumentationName,
        InstrumentationVersion,
    ];
    let mut columns: Vec<Column> = intrinsics.map(Column::Intrinsic).to_vec();
    for key in KEYS {
        columns.push(Column::attribute(AttributeScope::Span, key));
    }
    columns.push(Column::attribute(AttributeScope::Resource, "service.name"));
    columns.push(Column::attribute(AttributeScope::Resource, "a"));
    columns.push(Column::attribute(AttributeScope::Instrumentation, "a"));
    columns
}

/// A filter per column, and those of events and links.
fn filters() -> Vec<Filter> {
    let leaf = |column: Column| {
        let predicate = Predicate::Compare {
            op: CompareOp::NotEqual,
            operand: tracewell_model::predicate::Operand::String("no such value".into()),
        };
        Filter::Or(vec![
            Filter::Leaf(Leaf {
                column: column.clone(),
                predicate,
                when_absent: false,
            }),
            Filter::Leaf(Leaf {
                column,
                predicate: Predicate::Exists,
                when_absent: false,
            }),
        ])
    };
    let mut filters: Vec<Filter> = columns().into_iter().map(leaf).collect();
    for (level, column) in [
        (Level::Event, Column::Intrinsic(Intrinsic::EventName)),
        (
            Level::Event,
            Column::Intrinsic(Intrinsic::EventTimeSinceStart),
        ),
        (Level::Event, Column::attribute(AttributeScope::Event, "a")),
        (Level::Link, Column::Intrinsic(Intrinsic::LinkTraceId)),
        (Level::Link, Column::Intrinsic(Intrinsic::LinkSpanId)),
        (Level::Link, Column::attribute(AttributeScope::Link, "a")),
    ] {
        filters.push(Filter::Each {
            level,
            filter: Box::new(leaf(column)),
        });
    }
    filters
}

// === impl Harm ===

impl Harm {
    fn inflict(self, disk: &RecordingDisk, place: &Place) {
        match self {
            Self::Flip { bit } => disk.flip_bit(&place.path, bit).unwrap(),
            Self::Cut { bytes } => {
                let file = disk.open(&place.path).unwrap();
                file.set_len(bytes).unwrap();
            }
            Self::Remove => disk.remove(&place.path).unwrap(),
        }
    }
}

// === impl Counts ===

impl Counts {
    fn add(&mut self, place: &Place, seen: &Seen) {
        self.trials += 1;
        self.at_start += u64::from(seen.at_start);
        self.by_answers += u64::from(seen.by_answers);
        let met = seen.at_start || seen.by_answers;
        self.by_verify_alone += u64::from(!met && seen.by_verify);
        self.merged += u64::from(seen.merged);
        self.set_aside += u64::from(seen.set_aside);
        let (n, n_met) = self.by_kind.entry(place.kind()).or_default();
        *n += 1;
        *n_met += u64::from(met);
    }
}

#[test]
fn a_flipped_bit_in_any_kind_of_page_is_named_and_the_rest_is_served() {
    let plant = runtime().block_on(Plant::new(1));
    let mut trials: Vec<(Place, Harm, When)> = Vec::new();
    let mut random = Random::new(2);
    for level in 0..3 {
        let mut by_kind: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for place in plant.places(level) {
            by_kind.entry(place.kind()).or_default().push(place);
        }
        for places in by_kind.values() {
            for number in 0..PLACES_OF_KIND {
                let place = random.pick(places);
                let bit = place.range.start * 8 + random.number(8 * place.len());
                let when = [When::AtRest, When::Running][number % 2];
                trials.push((place.clone(), Harm::Flip { bit }, when));
            }
        }
    }
    let counts = run(&plant, &trials);
    println!("flipped bits: {counts:?}");
    let at_least = |found: u64, one_in: u64| found * one_in >= counts.trials;
    assert!(at_least(counts.at_start, 41) && at_least(counts.by_answers, 4));
    assert!(at_least(counts.set_aside, 40));
    for table in ["spans", "traces", "events", "links", "attributes"] {
        for kind in ["data page", "footer"] {
            let (_, met) = counts.by_kind[&format!("{table}.parquet, {kind}")];
            assert!(met > 0, "no {kind} of {table} was met");
        }
    }
}

fn run(plant: &Plant, trials: &[(Place, Harm, When)]) -> Counts {
    let counts = Mutex::new(Counts::default());
    for_seeds(0..(trials.len() as u64).div_ceil(stride()), |number| {
        let number = (number * stride()) as usize;
        let (place, harm, when) = &trials[number];
        let seen = runtime().block_on(plant.trial(place, *harm, *when, number));
        counts.lock().add(place, &seen);
    });
    counts.into_inner()
}

#[test]
fn a_file_that_was_cut_or_is_gone_is_named_and_the_rest_is_served() {
    let plant = runtime().block_on(Plant::new(3));
    let mut trials = Vec::new();
    for level in 0..3 {
        let mut by_file: BTreeMap<String, Place> = BTreeMap::new();
        for place in plant.places(level) {
            by_file.insert(place.file.clone(), place);
        }
        for place in by_file.values() {
            let len = plant.disk.metadata(&place.path).unwrap().len;
            let cuts = [0, len / 2, len - 1].map(|bytes| Harm::Cut { bytes });
            for harm in cuts.into_iter().chain([Harm::Remove]) {
                for when in [When::AtRest, When::Running] {
                    trials.push((place.clone(), harm, when));
                }
            }
        }
    }
    let counts = run(&plant, &trials);
    println!("files cut or gone: {counts:?}");
    assert_eq!(counts.at_start, counts.trials / 2);
}

/// First blocks that no merge can read wait for none, so that they do not stop ingest.
#[test]
fn damaged_first_blocks_do_not_stop_ingest() {
    runtime().block_on(async {
        let clock = Arc::new(FakeClock::default());
        let disk = new_disk(&clock);
        let mut config = small_config(1);
        config.limits.waiting_blocks_max = 4;
        let world = World::open(Arc::new(disk.clone()), &clock, config).await;
        let world = world.unwrap();
        let mut sender = Sender::new(1);
        let (mut lost, mut expected) = (Expected::new(), Expected::new());
        for _ in 0..5 {
            let request = sender.request(clock.now_unix_nano());
            world.write(&request).await.unwrap();
            remember(&mut lost, &request);
            world.store.flush().await.unwrap();
        }
        for path in disk.files() {
            if path.ends_with("spans.parquet") {
                // A merge does not read every column.
                let len = disk.metadata(&path).unwrap().len;
                for byte in (8..len / 2).step_by(64) {
                    disk.flip_bit(&path, byte * 8).unwrap();
                }
            }
        }
        let request = sender.request(clock.now_unix_nano());
        let refused = world.write(&request).await.unwrap_err();
        let limit = "limits.waiting_blocks_max";
        assert!(matches!(refused, WriteError::Busy { limit: of, .. } if of == limit));
        for _ in 0..5 {
            world.store.merge_next(true).await.unwrap_err();
        }
        assert!(!world.store.merge_next(true).await.unwrap());
        let status = world.store.status().await;
        assert_eq!(
            (status.blocks_waiting, status.blocks_set_aside.len()),
            (0, 5)
        );
        for reason in status.blocks_set_aside.values() {
            assert!(reason.contains("spans.parquet at byte"), "{reason}");
        }
        for _ in 0..20 {
            let request = sender.request(clock.now_unix_nano());
            world.write(&request).await.unwrap();
            remember(&mut expected, &request);
            world.store.flush().await.unwrap();
            while world.store.merge_next(true).await.unwrap() {}
        }
        let keys = expected.keys().chain(lost.keys());
        let ids: Vec<_> = keys.map(|(tenant, id, _)| (tenant.clone(), *id)).collect();
        let (spans, errors) = world.read_partial(&ids).await;
        compare(spans, &expected, &lost, "beside damaged blocks").unwrap();
        assert_eq!(
            errors.len(),
            5 + usize::from(errors.len() > 5),
            "{errors:?}"
        );
    });
}
