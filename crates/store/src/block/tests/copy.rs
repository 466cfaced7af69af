//! Groups copied from blocks with other columns: the block that comes of it answers as one that was
//! encoded, byte for byte what it was where it was copied.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tracewell_model::predicate::Operand;
use tracewell_model::shared::SharedIds;
use tracewell_model::source::{
    KeyQuery, KeyWhat, LeafBatch, LeafQuery, SpanSource, TraceRow, TraceSet,
};
use tracewell_model::value::AttributeType;
use tracewell_model::{AttributeScope, Column, CompareOp, Filter, Leaf, Predicate, TimeRange};

use super::super::copy::{ColumnUnion, GroupCopy, GroupOutline};
use super::super::entities::Entity;
use super::super::schema::{Owner, PROMOTED_COLUMNS_MAX, PromotedKey, Table};
use super::*;
use crate::table::{ResourceEntry, ScopeEntry};

type Spans = Vec<(TenantId, Span)>;

const COPIED: BlockId = BlockId([8; 16]);
const ENCODED: BlockId = BlockId([9; 16]);
const KEYS: [&str; 9] = [
    "userid",
    "userId",
    "USERID",
    "a:int",
    "http.method",
    "rare\nkey",
    "",
    "key7",
    "nowhere",
];
const SCOPES: [AttributeScope; 3] = [
    AttributeScope::Span,
    AttributeScope::Event,
    AttributeScope::Link,
];

#[derive(Debug, Default)]
struct Counts {
    copied: usize,
    encoded: usize,
    /// Columns that a copied group lacks, and those of them whose values lie in its attribute table.
    lacking: usize,
    lacking_with_values: usize,
    matches: usize,
}

fn counts_of(groups: &[Spans]) -> KeyCounts {
    let mut counts = KeyCounts::default();
    for spans in groups {
        let (table, dictionary) = table_of(spans);
        let rows: Vec<u32> = (0..table.n_spans() as u32).collect();
        counts.add(&KeyCounts::of(&table, &dictionary.strings, &rows));
    }
    counts
}

async fn write_groups(
    store: &Arc<dyn ObjectStore>,
    id: BlockId,
    groups: &[Spans],
    promotion: Promotion,
) -> BlockReader {
    let options = options(id, 1, promotion);
    let mut writer = BlockWriter::new(Arc::clone(store), &Path::from("blocks"), options).unwrap();
    for spans in groups {
        let (table, dictionary) = table_of(spans);
        let rows: Vec<u32> = (0..table.n_spans() as u32).collect();
        writer.append(&table, &dictionary, &rows).await.unwrap();
    }
    writer.finish(&SharedIds::all()).await.unwrap();
    open(store, id).await
}

/// Copies the groups of blocks into one, but for those that are to be encoded again.
async fn copy_groups(
    store: &Arc<dyn ObjectStore>,
    id: BlockId,
    inputs: &[BlockReader],
    encode: &[(usize, usize)],
) -> WrittenBlock {
    let mut union = ColumnUnion::default();
    let mut counts = KeyCounts::default();
    for (number, input) in inputs.iter().enumerate() {
        counts.add(&KeyCounts::of_meta(input.meta()));
        for group in 0..input.n_groups() {
            let outline = input.outline(group).await.unwrap().expect("can be copied");
            assert!(encode.contains(&(number, group)) || union.admit(&outline));
        }
    }
    let options = options(id, 2, counts.choose_beside(&union.keys));
    let mut writer = BlockWriter::new(Arc::clone(store), &Path::from("blocks"), options).unwrap();
    for (number, input) in inputs.iter().enumerate() {
        let mut left = KeyCounts::of_meta(input.meta());
        for group in 0..input.n_groups() {
            if !encode.contains(&(number, group)) {
                let copy = input.copy_group(group).await.unwrap();
                writer.append_copy(copy).await.unwrap();
                continue;
            }
            let mut builder = DictionaryBuilder::new();
            let ctx = QueryContext::unlimited();
            let table = input.read_group(group, None, &mut builder, &ctx);
            let table = table.await.unwrap();
            let dictionary = builder.dictionary();
            let rows: Vec<u32> = (0..table.n_spans() as u32).collect();
            left.subtract(&KeyCounts::of(&table, &dictionary.strings, &rows));
            writer.append(&table, &dictionary, &rows).await.unwrap();
        }
        writer.count(&left);
    }
    writer.finish(&SharedIds::all()).await.unwrap()
}

/// Only some of the columns, so that two blocks differ in them.
fn some_of(rng: &mut StdRng, mut promotion: Promotion) -> Promotion {
    promotion.keys.retain(|_| rng.random_bool(0.6));
    // The rest of a block's room is for the columns of others.
    promotion.keys.truncate(PROMOTED_COLUMNS_MAX / 3);
    promotion
}

#[tokio::test]
async fn copied_groups_answer_as_encoded_ones_do() {
    let mut counts = Counts::default();
    for seed in 0..4u64 {
        let mut rng = StdRng::seed_from_u64(seed);
        let store = memory();
        let mut inputs = Vec::new();
        let mut groups = Vec::new();
        for (number, n_groups) in [2, 3].into_iter().enumerate() {
            let of_block: Vec<Spans> = (0..n_groups)
                .map(|group| random_spans(seed * 100 + number as u64 * 10 + group, 90))
                .collect();
            let promotion = some_of(&mut rng, counts_of(&of_block).choose());
            let id = BlockId([number as u8 + 1; 16]);
            inputs.push(write_groups(&store, id, &of_block, promotion).await);
            groups.extend(of_block);
        }
        let encode = [(0, 1)];
        copy_groups(&store, COPIED, &inputs, &encode).await;
        let copied = open(&store, COPIED).await;
        let promotion = counts_of(&groups).choose();
        let encoded = write_groups(&store, ENCODED, &groups, promotion).await;
        let what = format!("seed {seed}");
        check_same_content(&copied, &encoded, &what).await;
        check_bytes(&inputs, &copied, &encode, &what, &mut counts).await;
        let all: Spans = groups.into_iter().flatten().collect();
        check_answers(copied, encoded, &all, &what, &mut counts).await;
        // A block of copies is copied again.
        let copied = [open(&store, COPIED).await];
        let again = copy_groups(&store, BlockId([10; 16]), &copied, &[]).await;
        assert_eq!(again.meta.spans, all.len() as u64);
        assert_eq!(again.meta.columns, copied[0].meta().columns);
        let again = open(&store, BlockId([10; 16])).await;
        check_same_content(&again, &copied[0], &what).await;
    }
    println!("copied and encoded: {counts:?}");
    assert!(counts.copied > 0 && counts.encoded > 0, "{counts:?}");
    assert!(counts.lacking_with_values > 50, "{counts:?}");
    assert!(counts.matches > 2_000, "{counts:?}");
}

/// The spans, the meta, shapes, resources and scopes say the same.
async fn check_same_content(copied: &BlockReader, encoded: &BlockReader, what: &str) {
    let ctx = QueryContext::unlimited();
    assert_eq!(
        sorted(read_all(copied).await),
        sorted(read_all(encoded).await)
    );
    let report = copied.verify().await;
    assert!(report.damage.is_empty(), "{what}: {report:?}");
    let sums = |block: &BlockReader| {
        let meta = block.meta();
        let spans = (meta.span_start_min, meta.span_start_max);
        let traces = (meta.trace_start_min, meta.trace_start_max);
        let rows: Vec<u64> = meta.tables.iter().map(|table| table.rows).collect();
        // The attribute table has more rows where a group lacks a column.
        (
            meta.spans,
            meta.traces,
            spans,
            traces,
            meta.end_max,
            rows[..4].to_vec(),
        )
    };
    assert_eq!(sums(copied), sums(encoded), "{what}");
    let keys = |block: &BlockReader| -> BTreeMap<_, _> {
        let keys = block.meta().keys.iter();
        keys.map(|key| {
            let name = (key.level.clone(), key.key.clone(), key.value_type.clone());
            (name, (key.count, key.first, key.bytes))
        })
        .collect()
    };
    assert_eq!(keys(copied), keys(encoded), "{what}");
    let mut shapes = Vec::new();
    for block in [copied, encoded] {
        let mut owners = BTreeMap::<_, u64>::new();
        for group in 0..block.n_groups() {
            for (owner, shape, n) in block.all_shapes(group, &ctx).await.unwrap().of {
                *owners.entry((owner, shape.hash)).or_default() += n;
            }
        }
        shapes.push(owners);
    }
    assert_eq!(shapes[0], shapes[1], "{what}");
    let of = all_entities::<ResourceEntry>(copied).await;
    assert_eq!(of, all_entities(encoded).await, "{what}");
    let of = all_entities::<ScopeEntry>(copied).await;
    assert_eq!(of, all_entities(encoded).await, "{what}");
}

async fn all_entities<T: Entity>(block: &BlockReader) -> Vec<Arc<T>> {
    let ctx = QueryContext::unlimited();
    let mut entities = Vec::new();
    for row_group in 0..block.n_entity_groups::<T>(&ctx).await.unwrap() {
        let entries = block.entity_group(row_group, &ctx).await;
        entities.extend(entries.unwrap());
    }
    entities
}

/// Chunks, indexes and filters of copied groups are those of their blocks; columns that they lack are
/// nulls.
async fn check_bytes(
    inputs: &[BlockReader],
    copied: &BlockReader,
    encode: &[(usize, usize)],
    what: &str,
    counts: &mut Counts,
) {
    let ctx = QueryContext::unlimited();
    let mut place = 0;
    for (number, input) in inputs.iter().enumerate() {
        for group in 0..input.n_groups() {
            let meta = copied.meta().groups[place].clone();
            if encode.contains(&(number, group)) {
                assert!(meta.lacking.is_empty());
                counts.encoded += 1;
                place += 1;
                continue;
            }
            let from = input.copy_group(group).await.unwrap();
            let to = copied.copy_group(place).await.unwrap();
            assert_eq!(from.meta.id, meta.id, "{what}");
            check_chunks(from, to, what);
            for name in &meta.lacking {
                let owner = Owner::from_name(name.split('.').next().unwrap()).unwrap();
                let names = [name.as_str()];
                let column = copied.columns(place, owner.table(), &names, None, &ctx);
                let column = column.await.unwrap().unwrap();
                assert_eq!(column.column(0).null_count(), column.num_rows(), "{what}");
            }
            counts.lacking += meta.lacking.len();
            counts.lacking_with_values += lacking_with_values(copied, place).await;
            counts.copied += 1;
            place += 1;
        }
    }
    assert_eq!(place, copied.n_groups());
}

fn check_chunks(from: GroupCopy, to: GroupCopy, what: &str) {
    assert_eq!(from.tables.len(), to.tables.len());
    for (from, mut to) in from.tables.into_iter().zip(to.tables) {
        assert_eq!(from.n_rows, to.n_rows);
        for (name, chunk) in from.chunks {
            let copy = to.chunks.remove(&name).unwrap();
            assert!(chunk.bytes == copy.bytes, "{what}: {name}");
            let (a, b) = (&chunk.close, &copy.close);
            assert_eq!(a.column_index, b.column_index, "{what}: {name}");
            assert_eq!(a.offset_index, b.offset_index, "{what}: {name}");
            assert_eq!(a.metadata.statistics(), b.metadata.statistics());
            let stats = a.metadata.page_encoding_stats();
            assert!(stats.is_some() && stats == b.metadata.page_encoding_stats());
            let bits = |close: &parquet::column::writer::ColumnCloseResult| {
                close.bloom_filter.as_ref().map(|filter| {
                    let mut bytes = Vec::new();
                    filter.write(&mut bytes).unwrap();
                    bytes
                })
            };
            assert!(bits(a) == bits(b), "{what}: {name}");
        }
        assert!(to.chunks.is_empty());
    }
}

/// How many columns a group lacks that shapes of the group say values of.
async fn lacking_with_values(block: &BlockReader, group: usize) -> usize {
    let shapes = block.all_shapes(group, &QueryContext::unlimited()).await;
    let shapes = shapes.unwrap();
    let meta = &block.meta().groups[group];
    let columns = block.meta().columns.iter();
    let lacking = columns.filter(|column| meta.lacking.contains(&column.column));
    let has = |column: &&super::super::meta::ColumnMeta| {
        shapes.of.iter().any(|(owner, shape, _)| {
            Some(*owner) == column.owner()
                && shape.entries.iter().any(|entry| {
                    entry.first
                        && *entry.key == *column.key
                        && entry.value_type.name() == column.value_type
                })
        })
    };
    lacking.filter(has).count()
}

/// What queries read of both.
async fn check_answers(
    copied: BlockReader,
    encoded: BlockReader,
    spans: &Spans,
    what: &str,
    counts: &mut Counts,
) {
    let copied = BlockSource::new(Arc::new(copied)).unwrap();
    let encoded = BlockSource::new(Arc::new(encoded)).unwrap();
    let ctx = QueryContext::unlimited;
    let tenant = TenantId::new("a").unwrap();
    let columns = SCOPES
        .iter()
        .flat_map(|scope| KEYS.map(|key| Column::attribute(*scope, key)));
    let columns: Vec<Column> = columns.collect();
    for column in &columns {
        for predicate in predicates() {
            let found = leaves(&copied, &tenant, column, &predicate).await;
            let expected = leaves(&encoded, &tenant, column, &predicate).await;
            assert_eq!(found, expected, "{what}: {column:?} {predicate:?}");
            counts.matches += found.len();
        }
    }
    for what_keys in [
        KeyWhat::Keys(SCOPES.to_vec()),
        KeyWhat::Values(columns.clone()),
    ] {
        let query = KeyQuery {
            tenant: tenant.clone(),
            window: TimeRange::ALL,
            what: what_keys,
            filter: Filter::Constant(true),
            n_max: 100_000,
            text_bytes_max: usize::MAX,
        };
        let text = async |source: &BlockSource| {
            let answer = source.keys(&query, ctx()).await.unwrap();
            let values = answer.values.iter().map(|value| format!("{value:?}"));
            (answer.keys, values.collect::<BTreeSet<_>>())
        };
        assert_eq!(text(&copied).await, text(&encoded).await, "{what}");
    }
    let ids = spans.iter().filter(|(of, _)| *of == tenant);
    let ids: BTreeSet<TraceId> = ids.map(|(_, span)| span.trace_id).collect();
    let ids: Vec<TraceId> = ids.into_iter().collect();
    let rows = async |source: &BlockSource| {
        let mut rows: Vec<TraceRow> = source.traces(&tenant, &ids, ctx()).await.unwrap();
        rows.sort_by_key(|row| row.trace_id);
        format!("{rows:?}")
    };
    assert_eq!(rows(&copied).await, rows(&encoded).await, "{what}");
    for ids in ids.chunks(7) {
        let fetch = async |source: &BlockSource| {
            let traces = source.fetch(&tenant, ids, ctx()).await.unwrap();
            let spans = traces.into_iter().flat_map(|trace| trace.spans);
            sorted(spans.map(|span| (tenant.clone(), span)).collect())
        };
        assert_eq!(fetch(&copied).await, fetch(&encoded).await, "{what}");
    }
}

fn predicates() -> Vec<Predicate> {
    let compare = |op, operand| Predicate::Compare { op, operand };
    vec![
        Predicate::Exists,
        compare(CompareOp::Equal, Operand::String("v7".into())),
        compare(CompareOp::NotEqual, Operand::String("v1".into())),
        compare(CompareOp::Greater, Operand::Int(0)),
    ]
}

/// The spans that match, and whether each batch keeps what those before it promised.
async fn leaves(
    source: &BlockSource,
    tenant: &TenantId,
    column: &Column,
    predicate: &Predicate,
) -> BTreeSet<(Vec<u8>, Vec<u8>)> {
    use arrow_array::cast::AsArray;
    let leaf = Leaf {
        column: column.clone(),
        predicate: predicate.clone(),
        when_absent: false,
    };
    let query = LeafQuery {
        tenant: tenant.clone(),
        filters: Arc::from([Filter::Leaf(leaf)]),
        window: TimeRange::ALL,
        only: None,
        fragment_filters: None,
        also: TraceSet::none(),
        needs_all: false,
        spans: true,
        columns: Arc::default(),
    };
    let ctx = QueryContext::unlimited();
    let batches: Vec<LeafBatch> = source.leaves(query, ctx).try_collect().await.unwrap();
    let mut found = BTreeSet::new();
    let mut unread = Some(u64::MAX);
    for batch in &batches {
        for trace in &batch.traces {
            assert!(unread.is_some_and(|unread| trace.start_unix_nano <= unread));
        }
        unread = batch.unread_start_max;
        for row in batch.bits[0].set_indices() {
            let id = |name: &str| {
                let ids = batch.spans.column_by_name(name).unwrap();
                ids.as_fixed_size_binary().value(row).to_vec()
            };
            found.insert((id("trace_id"), id("span_id")));
        }
    }
    assert_eq!(unread, None);
    found
}

/// A key that is a column of one group and lies in the attribute table of another; of two types; two
/// keys that differ in case.
#[tokio::test]
async fn keys_are_found_in_columns_and_in_attribute_rows() {
    let store = memory();
    let mut inputs = Vec::new();
    for number in 0..2u8 {
        let groups = [golden_spans(number)];
        let mut promotion = counts_of(&groups).choose();
        let dropped = ["http.status_code", "userid", "http.method"];
        promotion
            .keys
            .retain(|key| number == 1 || !dropped.contains(&&*key.key));
        let id = BlockId([number + 1; 16]);
        inputs.push(write_groups(&store, id, &groups, promotion).await);
    }
    let written = copy_groups(&store, COPIED, &inputs, &[]).await;
    let lacking = &written.meta.groups[0].lacking;
    for column in ["span.http.method", "span.http.status_code", "span.userid"] {
        assert!(lacking.iter().any(|name| name == column), "{lacking:?}");
    }
    let source = BlockSource::new(Arc::new(open(&store, COPIED).await)).unwrap();
    let check = async |key: &str, operand: Operand, expected: usize| {
        let op = CompareOp::Equal;
        let predicate = Predicate::Compare { op, operand };
        let column = Column::attribute(AttributeScope::Span, key);
        let found = leaves(&source, &TenantId::single(), &column, &predicate).await;
        assert_eq!(found.len(), expected, "{key}");
    };
    check("http.method", Operand::String("GET".into()), 36).await;
    check("http.method", Operand::String("second".into()), 0).await;
    check("http.status_code", Operand::Int(200), 9).await;
    check("http.status_code", Operand::Int(201), 9).await;
    check("http.status_code", Operand::String("200".into()), 18).await;
    check("userid", Operand::String("lower".into()), 36).await;
    check("userId", Operand::String("camel".into()), 18).await;
    check("userId", Operand::String("lower".into()), 0).await;
}

#[tokio::test]
async fn damage_in_a_copied_page_is_named() {
    let store = memory();
    let mut inputs = Vec::new();
    for number in 0..2u8 {
        let groups = [golden_spans(number)];
        let promotion = counts_of(&groups).choose();
        inputs.push(write_groups(&store, BlockId([number + 1; 16]), &groups, promotion).await);
    }
    let written = copy_groups(&store, COPIED, &inputs, &[]).await;
    let mut n = 0;
    for file in &written.files {
        let folder = Path::from("blocks").join(COPIED.to_string());
        let path = folder.join(&*file.name);
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        for at in (0..bytes.len()).step_by(211) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << (at % 8);
            store.put(&path, damaged.into()).await.unwrap();
            let root = Path::from("blocks");
            match BlockReader::open(Arc::clone(&store), &root, COPIED, Arc::default()).await {
                Err(error) => assert!(error.is_damage(), "{} byte {at}: {error}", file.name),
                Ok(block) => {
                    let damage = block.verify().await.damage;
                    assert_eq!(damage.len(), 1, "{} byte {at}: {damage:?}", file.name);
                    assert!(damage[0].contains(&file.name), "{damage:?}");
                    // Nor is it copied on.
                    for group in 0..block.n_groups() {
                        match block.copy_group(group).await {
                            Ok(_) => {}
                            Err(error) => assert!(error.is_damage(), "{error}"),
                        }
                    }
                }
            }
            n += 1;
        }
        store.put(&path, bytes.into()).await.unwrap();
    }
    println!("{n} flipped bits were named");
    assert!(open(&store, COPIED).await.verify().await.damage.is_empty());
}

/// The block that DuckDB and Polars read: the golden blocks of version 1, copied into one.
#[tokio::test]
async fn a_copy_of_the_golden_blocks_is_read() {
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/block_v1_copied");
    let id = BlockId([0xac; 16]);
    let folder = std::path::Path::new(FOLDER).join(id.to_string());
    let store = memory();
    let mut inputs = Vec::new();
    for number in 0..2 {
        load_golden(&store, GOLDEN, golden_id(number)).await;
        inputs.push(open(&store, golden_id(number)).await);
    }
    let written = copy_groups(&store, id, &inputs, &[]).await;
    if std::env::var_os("UPDATE_FORMAT_GOLDEN").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for file in written.files {
            let path = Path::from("blocks").join(id.to_string()).join(&*file.name);
            let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
            std::fs::write(folder.join(&file.name), bytes).unwrap();
        }
    }
    let store = memory();
    load_golden(&store, FOLDER, id).await;
    let block = open(&store, id).await;
    assert!(block.verify().await.damage.is_empty());
    let spans = golden_spans(0).into_iter().chain(golden_spans(1));
    assert_eq!(sorted(read_all(&block).await), sorted(spans.collect()));
    for group in &block.meta().groups {
        assert!(!group.lacking.is_empty());
    }
}

#[test]
fn a_group_that_brings_too_many_columns_is_not_admitted() {
    let outline = |keys: std::ops::Range<usize>, prefix: &str| GroupOutline {
        n_spans: 1,
        promoted: keys
            .map(|key| PromotedKey {
                owner: Owner::Span,
                key: Arc::from(format!("{prefix}{key}")),
                value_type: AttributeType::String,
            })
            .collect(),
    };
    let mut union = ColumnUnion::default();
    assert!(union.admit(&outline(0..150, "key")));
    assert!(!union.admit(&outline(100..201, "key")));
    assert_eq!(union.keys.len(), 150);
    assert!(union.admit(&outline(50..PROMOTED_COLUMNS_MAX, "key")));
    assert!(!union.admit(&outline(0..1, "other")));
    assert!(union.admit(&outline(3..7, "key")));
    assert_eq!(union.keys.len(), PROMOTED_COLUMNS_MAX);
    let names = Table::Spans.columns().len() + PROMOTED_COLUMNS_MAX;
    let promotion = KeyCounts::default().choose_beside(&union.keys);
    let schemas = super::super::write::Schemas::new(&promotion).unwrap();
    assert_eq!(schemas.of(Table::Spans).columns.len(), names);
}
