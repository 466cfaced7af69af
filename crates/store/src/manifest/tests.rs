use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::chain::{MANIFESTS_KEPT, ManifestChain};
use super::*;
use crate::error::StoreError;

fn id(n: u8) -> BlockId {
    BlockId([n; 16])
}

fn entry(n: u8, log: Option<(u64, u64)>) -> BlockEntry {
    BlockEntry {
        id: id(n),
        level: u8::from(log.is_none()),
        format: 1,
        tenant: log.is_none().then(TenantId::single),
        partition: log.is_none().then(|| Partition::hour_of(7_200_000_000_000)),
        class: CLASS_DEFAULT.to_owned(),
        spans: 10,
        traces: 3,
        trace_start: Bounds(1, u64::MAX),
        span_start: Bounds(1, 2),
        arrival: Bounds(3, 4),
        bytes: 100,
        files: vec![BlockFile {
            name: "spans.parquet".to_owned(),
            bytes: 100,
        }],
        log: log.map(|(from, to)| LogRange {
            log: "wal".to_owned(),
            from,
            to,
        }),
        made_from: Vec::new(),
        delete_set: None,
        writer: None,
    }
}

fn add(n: u8, from: u64, to: u64) -> Change {
    Change {
        add: vec![entry(n, Some((from, to)))],
        ..Change::default()
    }
}

#[test]
fn a_manifest_that_says_nothing_of_the_clock_is_read() {
    let bytes = Manifest::default().encode().unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("clock"));
    assert_eq!(Manifest::decode(0, &bytes).unwrap().clock, None);
}

#[test]
fn a_manifest_comes_back_as_it_was_and_any_flipped_bit_is_noticed() {
    let mut manifest = Manifest::default().with(&add(1, 0, 10)).unwrap();
    manifest.number = 42;
    manifest = manifest
        .with(&Change {
            add: vec![entry(9, None)],
            ..Change::default()
        })
        .unwrap();
    let bytes = manifest.encode().unwrap();
    assert_eq!(Manifest::decode(42, &bytes).unwrap(), manifest);
    assert!(matches!(
        Manifest::decode(43, &bytes),
        Err(ManifestError::Number {
            expected: 43,
            seen: 42
        })
    ));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Manifest::decode(42, &damaged).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(Manifest::decode(42, &bytes[..len]).is_err(), "length {len}");
    }
}

#[test]
fn sizes_that_add_up_to_more_than_63_bits_are_refused() {
    let of = |bytes: u64| {
        let mut manifest = Manifest::default().with(&add(1, 0, 10)).unwrap();
        manifest = manifest.with(&add(2, 10, 20)).unwrap();
        manifest.blocks[1].bytes = bytes;
        Manifest::decode(0, &manifest.encode().unwrap())
    };
    let max = i64::MAX as u64 - 100;
    assert_eq!(of(max).unwrap().bytes(), max + 100);
    for bytes in [max + 1, u64::MAX] {
        let refused = of(bytes).unwrap_err();
        assert!(refused.to_string().contains("63 bits"), "{refused}");
    }
}

#[test]
fn a_record_is_covered_once() {
    let manifest = Manifest::default().with(&add(1, 0, 10)).unwrap();
    assert_eq!(manifest.covered_to("wal"), 10);
    assert_eq!(manifest.covered_to("other"), 0);
    for (from, to) in [(0, 10), (9, 12), (0, 1), (3, 4)] {
        assert!(
            matches!(
                manifest.with(&add(2, from, to)),
                Err(ManifestError::Covered { .. })
            ),
            "{from}..{to}"
        );
    }
    // A hole is remembered as one, and closed.
    let manifest = manifest.with(&add(2, 20, 30)).unwrap();
    assert_eq!(
        (manifest.covered_to("wal"), manifest.covered.len()),
        (10, 2)
    );
    let manifest = manifest.with(&add(3, 10, 20)).unwrap();
    assert_eq!(
        (manifest.covered_to("wal"), manifest.covered.len()),
        (30, 1)
    );
    // What is merged or dropped stays covered.
    let manifest = manifest
        .with(&Change {
            remove: vec![id(1), id(2), id(3)],
            add: vec![entry(4, None)],
            ..Change::default()
        })
        .unwrap();
    assert_eq!(manifest.blocks.len(), 1);
    assert_eq!(manifest.covered_to("wal"), 30);
    assert!(matches!(
        manifest.with(&add(5, 0, 1)),
        Err(ManifestError::Covered { .. })
    ));
}

#[test]
fn a_change_names_what_is_there_and_adds_what_is_not() {
    let manifest = Manifest::default().with(&add(1, 0, 10)).unwrap();
    let remove = |n| Change {
        remove: vec![id(n)],
        ..Change::default()
    };
    assert_eq!(
        manifest.with(&remove(2)),
        Err(ManifestError::NotListed(id(2)))
    );
    assert_eq!(
        manifest.with(&add(1, 10, 20)),
        Err(ManifestError::Listed(id(1)))
    );
    let again = Change {
        remove: vec![id(1)],
        add: vec![entry(1, None)],
        ..Change::default()
    };
    assert_eq!(manifest.with(&again), Err(ManifestError::Listed(id(1))));
}

#[test]
fn block_ids_are_read_in_one_spelling() {
    let text = "0185c0ffee00000000000000000000a1";
    assert_eq!(BlockId::parse(text).unwrap().to_string(), text);
    for wrong in ["", "a1", &text.to_uppercase(), &format!("+{}", &text[1..])] {
        assert_eq!(BlockId::parse(wrong), None, "{wrong}");
    }
}

fn objects() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

async fn chain(objects: &Arc<dyn ObjectStore>) -> (ManifestChain, super::chain::Opened) {
    ManifestChain::open(Arc::clone(objects), &Path::from("tracewell"))
        .await
        .unwrap()
}

fn path(number: u64) -> Path {
    Path::from(format!("tracewell/manifest/{number:020}.manifest"))
}

#[tokio::test]
async fn the_chain_goes_on_where_it_was_and_is_trimmed() {
    let objects = objects();
    let (mut first, opened) = chain(&objects).await;
    assert_eq!(opened.manifest, Manifest::default());
    let mut manifest = opened.manifest;
    for n in 1..=20u8 {
        let change = add(n, u64::from(n) - 1, u64::from(n));
        manifest = first
            .commit(manifest.with(&change).unwrap(), 77)
            .await
            .unwrap();
        assert_eq!(manifest.number, u64::from(n));
        first.trim().await.unwrap();
    }
    let (mut second, opened) = chain(&objects).await;
    assert_eq!(opened.manifest, manifest);
    assert!(opened.damaged.is_empty() && opened.foreign.is_empty());
    let next = second.commit(manifest.clone(), 78).await.unwrap();
    assert_eq!(next.number, 21);
    for number in 0..30 {
        let there = objects.head(&path(number)).await.is_ok();
        let kept = (21 - MANIFESTS_KEPT as u64..=21).contains(&number);
        assert_eq!(there, kept, "{number}");
    }
    // The first one does not know that another writes too, and must not win.
    assert!(matches!(
        first.commit(manifest, 79).await,
        Err(StoreError::SecondWriter { .. })
    ));
}

#[tokio::test]
async fn a_damaged_newest_manifest_falls_back_and_is_named() {
    let objects = objects();
    let (mut writer, opened) = chain(&objects).await;
    let one = writer
        .commit(opened.manifest.with(&add(1, 0, 10)).unwrap(), 1)
        .await
        .unwrap();
    let two = writer
        .commit(one.with(&add(2, 10, 20)).unwrap(), 2)
        .await
        .unwrap();
    let mut bytes = two.encode().unwrap();
    bytes.truncate(70);
    objects.put(&path(2), bytes.into()).await.unwrap();
    objects
        .put(&Path::from("tracewell/manifest/notes.txt"), "x".into())
        .await
        .unwrap();
    let (mut writer, opened) = chain(&objects).await;
    assert_eq!(opened.manifest, one);
    assert_eq!(opened.damaged.len(), 1);
    assert_eq!(opened.damaged[0].name, path(2).to_string());
    assert_eq!(opened.foreign, ["tracewell/manifest/notes.txt"]);
    // The number of the damaged one is not used again.
    let next = writer.commit(opened.manifest, 3).await.unwrap();
    assert_eq!(next.number, 3);
    let (_, opened) = chain(&objects).await;
    assert_eq!(opened.manifest, next);
    assert!(opened.damaged.is_empty());
}

#[tokio::test]
async fn a_manifest_from_the_future_is_not_overruled() {
    let objects = objects();
    let (mut writer, opened) = chain(&objects).await;
    let one = writer.commit(opened.manifest, 1).await.unwrap();
    let mut bytes = one.encode().unwrap();
    bytes[8] = 9;
    let sum = crc32c::crc32c(&bytes[..32]).to_le_bytes();
    bytes[32..36].copy_from_slice(&sum);
    objects.put(&path(1), bytes.into()).await.unwrap();
    let opened = ManifestChain::open(objects, &Path::from("tracewell")).await;
    assert!(matches!(
        opened,
        Err(StoreError::Manifest {
            source: ManifestError::Version { seen: 9 },
            ..
        })
    ));
}

#[tokio::test]
async fn a_replaced_block_is_needed_until_the_next_manifest_stands() {
    let objects = objects();
    let (mut writer, opened) = chain(&objects).await;
    let one = writer
        .commit(opened.manifest.with(&add(1, 0, 10)).unwrap(), 1)
        .await
        .unwrap();
    let merge = Change {
        remove: vec![id(1)],
        add: vec![entry(2, None)],
        ..Change::default()
    };
    let two = writer.commit(one.with(&merge).unwrap(), 2).await.unwrap();
    assert!(writer.is_needed(id(1)));
    assert_eq!(writer.replaced(), [id(1)]);
    // A start at this moment must know that its files go once nobody needs them.
    let (reader, _) = chain(&objects).await;
    assert!(reader.is_needed(id(1)));
    assert_eq!(reader.replaced(), [id(1)]);
    writer.commit(two, 3).await.unwrap();
    assert!(!writer.is_needed(id(1)) && writer.is_needed(id(2)));
    assert_eq!(writer.replaced(), [id(1)]);
    assert!(writer.is_named(id(1)) && !writer.is_named(id(7)));
    // The same after a restart.
    let (reader, _) = chain(&objects).await;
    assert_eq!(reader.replaced(), [id(1)]);
}
