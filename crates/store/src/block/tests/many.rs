//! Blocks in which hardly two spans are alike: each has keys, a resource and a scope of its own. What is
//! read whole of other blocks is read here for what is asked about.

use tracewell_model::KeyValue;

use super::super::meta::KeyMeta;
use super::tags::{check_first, check_names};
use super::*;

const N: usize = 4_500;

/// Groups of some seeds, two together with more keys than a meta lists, more entries of shapes than are read whole,
/// and more resources and scopes than a row group has.
fn groups(seeds: [usize; 2], tenants: &[&str]) -> Vec<Vec<(TenantId, Span)>> {
    let own = |name: String, value: &str| KeyValue {
        key: name,
        value: AttributeValue::String(value.to_owned()),
    };
    let group = |seed: usize| {
        let spans = random_spans(seed as u64, N).into_iter().enumerate();
        let spans = spans.map(|(number, (_, mut span))| {
            let number = seed * N + number;
            span.trace_id.0[0] = seed as u8;
            let list = &mut span.attributes;
            list.insert(list.len() / 2, own(format!("own.{number}"), "v7"));
            list.push(own(format!("own.{number}"), "later"));
            list.push(own(format!("other.{number}"), "v1"));
            list.extend((0..3).map(|at| own(format!("all.{at}"), "v7")));
            let mut resource = (*span.resource).clone();
            let instance = own("service.instance.id".to_owned(), &format!("v{number}"));
            resource.attributes.push(instance);
            resource.present = true;
            span.resource = Arc::new(resource);
            let mut scope = (*span.scope).clone();
            scope.attributes.push(own(format!("scope.{number}"), "v7"));
            scope.present = true;
            span.scope = Arc::new(scope);
            let tenant = tenants[number % tenants.len()];
            (TenantId::new(tenant).unwrap(), span)
        });
        spans.collect()
    };
    seeds.map(group).into()
}

async fn write_groups(
    store: &Arc<dyn ObjectStore>,
    id: BlockId,
    groups: &[Vec<(TenantId, Span)>],
    tenant: Option<TenantId>,
) {
    let mut writer = None;
    for spans in groups {
        let (table, dictionary) = table_of(spans);
        let rows: Vec<u32> = (0..table.n_spans() as u32).collect();
        let writer = writer.get_or_insert_with(|| {
            let promotion = KeyCounts::of(&table, &dictionary.strings, &rows).choose();
            let options = BlockOptions {
                tenant: tenant.clone(),
                ..options(id, 1, promotion)
            };
            BlockWriter::new(Arc::clone(store), &Path::from("blocks"), options).unwrap()
        });
        writer.append(&table, &dictionary, &rows).await.unwrap();
    }
    writer.unwrap().finish(&Default::default()).await.unwrap();
}

#[tokio::test]
async fn blocks_of_spans_that_have_nothing_in_common() {
    let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
    for tenants in [vec!["a"], vec!["a", "b"]] {
        let groups = groups([1, 2], &tenants);
        let store = memory();
        let alone = (tenants.len() == 1).then(|| a.clone());
        write_groups(&store, ID, &groups, alone).await;
        let block = open(&store, ID).await;
        let meta = block.meta();
        assert!(meta.keys_truncated);
        assert_eq!(meta.keys.len(), schema::KEYS_LISTED_MAX);
        assert!(meta.table(schema::Table::Resources).unwrap().rows > N as u64);
        assert!(block.verify().await.damage.is_empty());
        let spans: Vec<_> = groups.into_iter().flatten().collect();
        assert_eq!(sorted(read_all(&block).await), sorted(spans.clone()));

        let source = BlockSource::new(Arc::new(block)).unwrap();
        for tenant in [&a, &b] {
            let what = format!("{tenants:?}, {tenant}");
            let keys = [
                "all.1", "own.4507", "own.9001", "userid", "key7", "", "nowhere",
            ];
            let keys = (AttributeScope::Span, keys.as_slice());
            check_conditions(&source, tenant, &spans, keys, &what).await;
            let keys = ["service.instance.id", "service.name", "nowhere"];
            let keys = (AttributeScope::Resource, keys.as_slice());
            check_conditions(&source, tenant, &spans, keys, &what).await;
            let keys = ["scope.4507", "scope.13000"];
            let keys = (AttributeScope::Instrumentation, keys.as_slice());
            check_conditions(&source, tenant, &spans, keys, &what).await;
            let names = check_names(&source, tenant, &spans, &what).await;
            if !names.is_empty() {
                for limits in [(700, usize::MAX), (usize::MAX, 3_000)] {
                    check_first(&source, tenant, &names, limits).await;
                }
            }
        }
        let ctx = QueryContext::unlimited();
        for (tenant, span) in spans.iter().step_by(1_000) {
            let found = source.fetch(tenant, &[span.trace_id], ctx.clone()).await;
            let found = found.unwrap().into_iter().flat_map(|trace| trace.spans);
            let found = found.map(|span| (tenant.clone(), span)).collect();
            let expected = spans
                .iter()
                .filter(|(of, other)| of == tenant && other.trace_id == span.trace_id);
            assert_eq!(sorted(found), sorted(expected.cloned().collect()));
        }
    }
}

/// Of what a merged block names, its inputs have some alone and some together.
#[tokio::test]
async fn resources_and_scopes_are_read_from_the_inputs_of_a_merge() {
    let ids = [BlockId([1; 16]), BlockId([2; 16])];
    let store = memory();
    let (mut inputs, mut spans) = (Vec::new(), Vec::new());
    for (id, seeds) in ids.into_iter().zip([[1, 2], [2, 3]]) {
        let groups = groups(seeds, &["a"]);
        write_groups(&store, id, &groups, None).await;
        inputs.push(Arc::new(open(&store, id).await));
        spans.extend(groups.into_iter().skip(inputs.len() - 1).flatten());
    }
    let ctx = QueryContext::unlimited();
    let mut writer = None;
    for (input, group) in [(0, 0), (0, 1), (1, 1)] {
        let mut builder = DictionaryBuilder::new();
        let input: &BlockReader = &inputs[input];
        let table = input.read_group(group, None, &mut builder, &ctx).await;
        let (table, dictionary) = (table.unwrap(), builder.dictionary());
        let rows: Vec<u32> = (0..table.n_spans() as u32).collect();
        let writer = writer.get_or_insert_with(|| {
            let options = BlockOptions {
                inputs: inputs.clone(),
                ..options(ID, 2, Promotion::default())
            };
            BlockWriter::new(Arc::clone(&store), &Path::from("blocks"), options).unwrap()
        });
        writer.append(&table, &dictionary, &rows).await.unwrap();
    }
    writer.unwrap().finish(&Default::default()).await.unwrap();
    let block = open(&store, ID).await;
    let resources = block.meta().table(schema::Table::Resources).unwrap();
    assert!(resources.rows > 3 * N as u64 - 10, "{}", resources.rows);
    assert!(block.verify().await.damage.is_empty());
    assert_eq!(sorted(read_all(&block).await), sorted(spans));
}

/// The most frequent are kept, and that others are missing is said.
#[test]
fn counts_of_keys_are_bounded() {
    let name = |number: u32| schema::PromotedKey {
        owner: schema::Owner::Span,
        key: format!("key.{number}").into(),
        value_type: tracewell_model::value::AttributeType::Int,
    };
    let mut counts = KeyCounts::default();
    let mut seen = 0;
    for part in 0..60u32 {
        let mut of_part = KeyCounts::default();
        for number in (0..100).chain(100 + part * 1_000..100 + (part + 1) * 1_000) {
            let meta = KeyMeta {
                level: "span".to_owned(),
                key: String::new(),
                value_type: "int".to_owned(),
                count: 1,
                first: 1,
                distinct: 1,
                bytes: 8,
            };
            of_part.keys.insert(name(number), (&meta).into());
        }
        counts.add(&of_part);
        seen = seen.max(counts.keys.len());
    }
    assert!((30_000..=45_000).contains(&seen), "{seen}");
    assert!(counts.truncated);
    for number in 0..100 {
        assert_eq!(counts.keys[&name(number)].count, 60);
    }
}
