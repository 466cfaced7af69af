//! Blocks there and back: nothing is lost, damage is named, golden blocks stay readable.

mod copy;
mod flat;
mod many;
mod sample;
mod scan;
mod tags;

use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tracewell_model::predicate::Operand;
use tracewell_model::source::{LeafQuery, QueryContext, SpanSource, TraceSet};
use tracewell_model::{
    AttributeScope, AttributeValue, Column, CompareOp, Filter, Leaf, Predicate, Span, TenantId,
    TraceId,
};

use super::*;
use crate::manifest::BlockId;
use crate::table::DictionaryBuilder;
use sample::{golden_spans, random_spans, spans_of, table_of};

const ID: BlockId = BlockId([7; 16]);

fn options(id: BlockId, level: u8, promotion: Promotion) -> BlockOptions {
    BlockOptions {
        id,
        level,
        tenant: None,
        promotion,
        created_unix_nano: 1,
        arrival_unix_nano: (1, 2),
        inputs: Vec::new(),
        part_bytes: 5 << 20,
    }
}

/// Writes spans as one group.
async fn write(
    store: &Arc<dyn ObjectStore>,
    id: BlockId,
    level: u8,
    spans: &[(TenantId, Span)],
) -> WrittenBlock {
    let (table, dictionary) = table_of(spans);
    let rows: Vec<u32> = (0..table.n_spans() as u32).collect();
    let promotion = KeyCounts::of(&table, &dictionary.strings, &rows).choose();
    let options = options(id, level, promotion);
    let mut writer = BlockWriter::new(Arc::clone(store), &Path::from("blocks"), options).unwrap();
    writer.append(&table, &dictionary, &rows).await.unwrap();
    writer
        .finish(&[TraceId([3; 16])].into_iter().collect())
        .await
        .unwrap()
}

async fn open(store: &Arc<dyn ObjectStore>, id: BlockId) -> BlockReader {
    BlockReader::open(Arc::clone(store), &Path::from("blocks"), id, Arc::default())
        .await
        .unwrap()
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

async fn read_all(block: &BlockReader) -> Vec<(TenantId, Span)> {
    let ctx = QueryContext::unlimited();
    let mut spans = Vec::new();
    for group in 0..block.n_groups() {
        let mut builder = DictionaryBuilder::new();
        let table = block
            .read_group(group, None, &mut builder, &ctx)
            .await
            .unwrap();
        spans.extend(spans_of(&table, &builder.dictionary()));
    }
    spans
}

fn sorted(mut spans: Vec<(TenantId, Span)>) -> Vec<String> {
    spans.sort_by(|a, b| {
        let key = |span: &Span| (span.trace_id, span.start_unix_nano, span.span_id);
        (&a.0, key(&a.1)).cmp(&(&b.0, key(&b.1)))
    });
    let mut texts: Vec<String> = spans.iter().map(|span| format!("{span:?}")).collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn random_spans_come_back_as_they_were() {
    for seed in 0..6 {
        for (level, n) in [(0, 700), (1, 300), (1, 1)] {
            let spans = random_spans(seed, n);
            let store = memory();
            write(&store, ID, level, &spans).await;
            let block = open(&store, ID).await;
            let found = sorted(read_all(&block).await);
            let expected = sorted(spans);
            assert_eq!(found.len(), expected.len(), "seed {seed} level {level}");
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "seed {seed} level {level}");
            }
        }
    }
}

#[tokio::test]
async fn a_block_is_read_whatever_the_cache_lets_go() {
    let spans = random_spans(5, 500);
    let store = memory();
    write(&store, ID, 1, &spans).await;
    let (root, ctx) = (Path::from("blocks"), QueryContext::unlimited());
    for bytes_max in [0, 20_000] {
        let cache = Arc::new(BlockCache::new(bytes_max));
        let open = BlockReader::open(Arc::clone(&store), &root, ID, Arc::clone(&cache));
        let block = open.await.unwrap();
        for _ in 0..2 {
            assert_eq!(sorted(read_all(&block).await), sorted(spans.clone()));
            assert!(cache.status().bytes <= bytes_max);
        }
        assert!(block.verify().await.damage.is_empty());
        // What the filters say is the same when they are kept and when they are read.
        let stranger = TraceId([0xab; 16]);
        let id = spans[0].1.trace_id;
        for is_young in [false, true, false] {
            match is_young {
                true => block.load_filters().await.unwrap(),
                false => block.forget_filters(),
            }
            assert!(block.may_contain(id));
            assert_eq!(block.may_contain(stranger), !is_young);
            assert!(block.may_hold_trace(0, id, &ctx).await.unwrap());
            assert!(!block.may_hold_trace(0, stranger, &ctx).await.unwrap());
        }
    }
}

#[tokio::test]
async fn single_traces_come_back_from_few_pages() {
    let spans = random_spans(11, 900);
    let store = memory();
    write(&store, ID, 1, &spans).await;
    let block = open(&store, ID).await;
    let ctx = QueryContext::unlimited();
    let n_traces = block.meta().traces as usize;
    for only in [vec![0], vec![3, 4, 9], vec![n_traces - 1]] {
        let mut builder = DictionaryBuilder::new();
        let table = block
            .read_group(0, Some(&only), &mut builder, &ctx)
            .await
            .unwrap();
        let found = spans_of(&table, &builder.dictionary());
        let ids: Vec<_> = found
            .iter()
            .map(|(tenant, span)| (tenant.clone(), span.trace_id))
            .collect();
        let expected = spans
            .iter()
            .filter(|(tenant, span)| ids.contains(&(tenant.clone(), span.trace_id)))
            .cloned()
            .collect();
        assert_eq!(sorted(found), sorted(expected));
    }
}

/// A single flipped bit is found wherever it lies, and named with its place.
#[tokio::test]
async fn a_flipped_bit_in_any_segment_is_named() {
    let store = memory();
    let written = write(&store, ID, 1, &golden_spans(0)).await;
    for file in &written.files {
        let path = Path::from("blocks").join(ID.to_string()).join(&*file.name);
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        for at in (0..bytes.len()).step_by(97) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << (at % 8);
            store.put(&path, damaged.into()).await.unwrap();
            let opened = BlockReader::open(
                Arc::clone(&store),
                &Path::from("blocks"),
                ID,
                Arc::default(),
            )
            .await;
            match opened {
                Err(error) => assert!(error.is_damage(), "{} byte {at}: {error}", file.name),
                Ok(block) => {
                    let report = block.verify().await;
                    assert_eq!(report.damage.len(), 1, "{} byte {at}", file.name);
                    assert!(
                        report.damage[0].contains(&file.name),
                        "{}",
                        report.damage[0]
                    );
                }
            }
        }
        store.put(&path, bytes.into()).await.unwrap();
    }
    assert!(open(&store, ID).await.verify().await.damage.is_empty());
}

/// Where the golden blocks of version 1 lie.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/block_v1");

fn golden_id(number: u8) -> BlockId {
    BlockId([0xa0 + number; 16])
}

/// Puts a golden block of a folder into a store.
async fn load_golden(store: &Arc<dyn ObjectStore>, folder: &str, id: BlockId) {
    let folder = std::path::Path::new(folder).join(id.to_string());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let path = Path::from("blocks")
            .join(id.to_string())
            .join(entry.file_name().to_str().unwrap());
        let bytes = std::fs::read(entry.path()).unwrap();
        store.put(&path, bytes.into()).await.unwrap();
    }
}

/// Writes them anew where `UPDATE_FORMAT_GOLDEN` asks for it; a released version's are never written
/// again, so that this has a variable of its own.
#[tokio::test]
async fn golden_blocks_of_version_1_are_read() {
    for number in 0..2 {
        let id = golden_id(number);
        let folder = std::path::Path::new(GOLDEN).join(id.to_string());
        let store = memory();
        if std::env::var_os("UPDATE_FORMAT_GOLDEN").is_some() {
            let written = write(&store, id, number, &golden_spans(number)).await;
            std::fs::create_dir_all(&folder).unwrap();
            for file in written.files {
                let path = Path::from("blocks").join(id.to_string()).join(&*file.name);
                let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
                std::fs::write(folder.join(&file.name), bytes).unwrap();
            }
        }
        let store = memory();
        load_golden(&store, GOLDEN, id).await;
        let block = open(&store, id).await;
        assert_eq!(block.meta().version, 1);
        assert!(block.verify().await.damage.is_empty());
        assert_eq!(sorted(read_all(&block).await), sorted(golden_spans(number)));
        let inspection = block.inspect().await.unwrap();
        assert_eq!(inspection.spans, 18);
        let methods: Vec<_> = inspection
            .attributes
            .iter()
            .filter(|attribute| attribute.key == "http.method")
            .collect();
        assert_eq!(methods[0].column.as_deref(), Some("span.http.method"));
        assert!(methods[0].stored_bytes.unwrap() > 0);
    }
}

/// A description whose sum is right and that names row groups which the files do not have: an
/// error for whoever reads, not a panic.
#[tokio::test]
async fn row_groups_that_are_not_there_are_named() {
    let store = memory();
    write(&store, ID, 1, &golden_spans(0)).await;
    let path = Path::from("blocks").join(ID.to_string()).join("meta.json");
    let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
    let whole = String::from_utf8(bytes.to_vec()).unwrap();
    let (_, members) = whole.split_once('\n').unwrap();
    for table in ["spans", "traces", "events", "links", "attributes", "shapes"] {
        let changed = members.replace(&format!("\"{table}\":0"), &format!("\"{table}\":5"));
        assert_ne!(changed, members, "{table}");
        let sum = crc32c::crc32c(changed.as_bytes());
        let changed = format!("{{\"crc32c\":\"{sum:08x}\",\n{changed}");
        store.put(&path, changed.into()).await.unwrap();
        let block = open(&store, ID).await;
        let mut builder = DictionaryBuilder::new();
        let ctx = QueryContext::unlimited();
        for only in [None, Some(&[0, 1, 2, 3, 4, 5][..])] {
            let error = block.read_group(0, only, &mut builder, &ctx).await;
            assert!(error.unwrap_err().is_damage(), "{table}");
        }
        assert!(!block.verify().await.damage.is_empty(), "{table}");
    }
}

/// Conditions on first occurrences of some keys, asked of a block and of the spans that went in.
async fn check_conditions(
    source: &BlockSource,
    tenant: &TenantId,
    spans: &[(TenantId, Span)],
    (scope, keys): (AttributeScope, &[&str]),
    what: &str,
) {
    let predicates = [
        Predicate::Exists,
        compared(CompareOp::Equal, Operand::String("v7".into())),
        compared(CompareOp::Greater, Operand::Int(0)),
        compared(CompareOp::NotEqual, Operand::String("v1".into())),
    ];
    for (key, predicate) in keys.iter().flat_map(|key| {
        let predicates = predicates.clone();
        predicates.map(|predicate| (*key, predicate))
    }) {
        let leaf = Leaf {
            column: Column::attribute(scope, key),
            predicate,
            when_absent: false,
        };
        let query = LeafQuery {
            tenant: tenant.clone(),
            filters: Arc::from([Filter::Leaf(leaf.clone())]),
            window: tracewell_model::TimeRange::ALL,
            only: None,
            fragment_filters: None,
            also: TraceSet::none(),
            needs_all: false,
            spans: true,
            columns: Arc::default(),
        };
        let ctx = QueryContext::unlimited();
        let batches: Vec<_> = source
            .leaves(query, ctx.clone())
            .try_collect()
            .await
            .unwrap();
        let found = batches.iter().map(|batch| batch.bits[0].count_set_bits());
        let expected = spans.iter().filter(|(of, span)| {
            let list = match scope {
                AttributeScope::Resource => &span.resource.attributes,
                AttributeScope::Instrumentation => &span.scope.attributes,
                _ => &span.attributes,
            };
            let first = list.iter().find(|attribute| attribute.key == key);
            let value = first.map_or(&AttributeValue::Empty, |attribute| &attribute.value);
            *of == *tenant && leaf.matches(value.as_value())
        });
        assert_eq!(
            found.sum::<usize>(),
            expected.count(),
            "{what} key {key:?} {:?}",
            leaf.predicate
        );
        assert_eq!(ctx.memory().held_bytes(), 0, "{what}");
    }
}

fn compared(op: CompareOp, operand: Operand) -> Predicate {
    Predicate::Compare { op, operand }
}

/// What a query reads of a block agrees with the spans that went in.
#[tokio::test]
async fn a_block_answers_as_its_spans_do() {
    let tenant = TenantId::new("a").unwrap();
    for seed in 20..26 {
        let spans = random_spans(seed, 400);
        let store = memory();
        write(&store, ID, (seed % 2) as u8, &spans).await;
        let source = BlockSource::new(Arc::new(open(&store, ID).await)).unwrap();
        let ctx = QueryContext::unlimited;
        let keys = [
            "userid",
            "userId",
            "http.method",
            "rare\nkey",
            "",
            "key7",
            "key12",
            "nowhere",
        ];
        let keys = (AttributeScope::Span, keys.as_slice());
        let what = format!("seed {seed}");
        check_conditions(&source, &tenant, &spans, keys, &what).await;
        let mut ids: Vec<TraceId> = spans
            .iter()
            .filter(|(of, _)| *of == tenant)
            .map(|(_, span)| span.trace_id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let rows = source.traces(&tenant, &ids, ctx()).await.unwrap();
        assert_eq!(rows.len(), ids.len(), "seed {seed}");
        let fetched = source.fetch(&tenant, &ids, ctx()).await.unwrap();
        let fetched = fetched
            .into_iter()
            .flat_map(|trace| trace.spans)
            .map(|span| (tenant.clone(), span))
            .collect();
        let expected = spans
            .iter()
            .filter(|(of, _)| *of == tenant)
            .cloned()
            .collect();
        assert_eq!(sorted(fetched), sorted(expected), "seed {seed}");
    }
}
