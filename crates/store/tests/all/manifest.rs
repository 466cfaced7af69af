//! A manifest of every released version is read by every later one.

use tracewell_model::TenantId;
use tracewell_store::clock::{ClockRecord, JumpRecord};
use tracewell_store::manifest::{
    BlockEntry, BlockFile, BlockId, CLASS_DEFAULT, LogRange, Manifest,
};
use tracewell_store::partition::{Bounds, Partition};

const VERSION_1: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/manifest-v1.manifest"
);
const NUMBER: u64 = 42;

fn log(id: u8, from: u64, to: u64) -> LogRange {
    LogRange {
        log: format!("wal-{:032x}", u128::from(id) << 96 | 1),
        from,
        to,
    }
}

fn block(n: u8, level: u8) -> BlockEntry {
    let start = 1_789_000_000_000_000_000 + u64::from(n);
    let file = |name: &str, bytes: u64| BlockFile {
        name: name.to_owned(),
        bytes,
    };
    let files = vec![file("spans.parquet", 8_000_000), file("meta.json", 4_321)];
    BlockEntry {
        id: BlockId([n; 16]),
        level,
        format: 1,
        tenant: None,
        partition: None,
        class: CLASS_DEFAULT.to_owned(),
        spans: 130_000,
        traces: 12_000 + u64::from(n),
        trace_start: Bounds(start, start + 60),
        span_start: Bounds(17, u64::MAX),
        arrival: Bounds(start + 100, start + 200),
        bytes: files.iter().map(|file| file.bytes).sum(),
        files,
        log: None,
        made_from: Vec::new(),
        delete_set: None,
        writer: None,
    }
}

/// Every field, and every form that it has.
fn every_field() -> Manifest {
    let hour = Partition::hour_of(1_789_000_000_000_000_000);
    Manifest {
        number: NUMBER,
        created_unix_nano: 1_789_000_000_123_456_789,
        clock: Some(ClockRecord {
            seen_unix_nano: 1_789_000_000_123_456_000,
            jumps: vec![JumpRecord {
                ago_nano: 86_400_000_000_000,
                nanos: 1_296_000_000_000_000,
            }],
            went_back_ago_nano: Some(90_000_000_000_000),
        }),
        covered: vec![log(1, 0, 81_920), log(2, 0, 7), log(2, 9, u64::MAX)],
        keeper: None,
        blocks: vec![
            BlockEntry {
                log: Some(log(1, 73_728, 81_920)),
                ..block(0x0a, 0)
            },
            BlockEntry {
                tenant: Some(TenantId::single()),
                partition: Some(hour),
                made_from: vec![BlockId([0x01; 16]), BlockId([0xff; 16])],
                ..block(0xb1, 1)
            },
            BlockEntry {
                tenant: Some(TenantId::new("other").unwrap()),
                partition: Some(hour.day()),
                class: "long".to_owned(),
                files: Vec::new(),
                bytes: 0,
                delete_set: Some("deletes/1".to_owned()),
                ..block(0xc2, 2)
            },
        ],
    }
}

/// `UPDATE_FORMAT_GOLDEN=1` writes the file anew; only for a version that was never released.
#[test]
fn version_1_is_read_and_still_written() {
    let today = every_field().encode().unwrap();
    if std::env::var_os("UPDATE_FORMAT_GOLDEN").is_some() {
        std::fs::write(VERSION_1, &today).unwrap();
    }
    let golden = std::fs::read(VERSION_1).unwrap();
    let read = Manifest::decode(NUMBER, &golden).unwrap();
    assert_eq!(read, every_field());
    assert!(read.encode().unwrap() == golden, "read and written again");
    assert!(today == golden, "the writer no longer writes version 1");
}

/// The table and the example of docs/format/manifest.md.
#[test]
fn the_page_of_the_format_is_true() {
    let golden = std::fs::read(VERSION_1).unwrap();
    let number = |at: usize, n: usize| {
        let bytes = golden[at..at + n].iter().rev();
        bytes.fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let body = &golden[40..];
    assert_eq!(&golden[..8], b"TWMANIF\0");
    assert_eq!((number(8, 2), number(10, 2)), (1, 0));
    assert_eq!(number(12, 4), u64::from(crc32c::crc32c(body)));
    assert_eq!((number(16, 8), number(24, 8)), (body.len() as u64, NUMBER));
    assert_eq!(number(32, 4), u64::from(crc32c::crc32c(&golden[..32])));
    assert_eq!(number(36, 4), 0);

    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format/manifest.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, example) = page.split_once("```json\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let example: serde_json::Value = serde_json::from_str(example).unwrap();
    let manifest: Manifest = serde_json::from_value(example.clone()).unwrap();
    assert_eq!(serde_json::to_value(&manifest).unwrap(), example);
    let golden: serde_json::Value = serde_json::from_slice(body).unwrap();
    let names = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(names(&golden), names(&example));
    assert_eq!(names(&golden["blocks"][0]), names(&example["blocks"][0]));
}
