//! A log of every released version is read by every later one.

use std::path::Path;

use tracewell_model::sink::LogPosition;
use tracewell_store::wal::{LogReader, Wal};
use tracewell_testkit::RecordingDisk;

use super::{DIR, LOG_ID, append, only_file, open, options, read};

const VERSION_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/wal-v1.wal");
/// Payload bytes of the records, by id.
const SIZES: [usize; 4] = [5, 100, 0, 4_000];

fn write_today() -> (String, Vec<u8>) {
    let disk = RecordingDisk::new();
    let wal: Wal = open(&disk, options());
    for (id, size) in SIZES.iter().enumerate() {
        append(&wal, id as u64, *size).unwrap();
    }
    drop(wal);
    let path = only_file(&disk);
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    (name, disk.content(&path).unwrap())
}

/// `UPDATE_FORMAT_GOLDEN=1` writes the file anew; only for a version that was never released.
#[test]
fn version_1_is_read_and_still_written() {
    let (name, today) = write_today();
    if std::env::var_os("UPDATE_FORMAT_GOLDEN").is_some() {
        std::fs::create_dir_all(Path::new(VERSION_1).parent().unwrap()).unwrap();
        std::fs::write(VERSION_1, &today).unwrap();
    }
    let golden = std::fs::read(VERSION_1).unwrap();
    assert!(today == golden, "the writer no longer writes version 1");
    let expected: Vec<(u64, u64)> = (0..SIZES.len() as u64).map(|id| (id, id)).collect();
    assert_eq!(
        read(LogReader::of_bytes(&golden)),
        (expected.clone(), vec![])
    );

    let disk = RecordingDisk::new();
    disk.install(&Path::new(DIR).join(name), &golden);
    let wal = open(&disk, options());
    assert_eq!(wal.log_id(), LOG_ID);
    assert_eq!(read(wal.read_from(LogPosition(0))), (expected, vec![]));
}

/// The example in docs/format/wal.md is the start of the golden file.
#[test]
fn the_example_of_the_format_is_true() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format/wal.md");
    let page = std::fs::read_to_string(page).unwrap();
    let golden = std::fs::read(VERSION_1).unwrap();
    for range in [0..64, 4096..4160 + 6 + 5, 8192 - 64..8192] {
        let lines = hex_lines(&golden, range);
        assert!(page.contains(&lines), "docs/format/wal.md lacks:\n{lines}");
    }
}

fn hex_lines(bytes: &[u8], range: std::ops::Range<usize>) -> String {
    range
        .clone()
        .step_by(16)
        .map(|at| {
            let line = &bytes[at..range.end.min(at + 16)];
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("    {at:04x}  {}\n", hex.join(" "))
        })
        .collect()
}
