//! The write-ahead log on disks that fail.

mod crash;
mod damage;
mod fault;
mod golden;
mod model;
mod spares;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tracewell_model::TenantId;
use tracewell_model::sink::{LogDamage, LogPosition, LogRecord, RecordKind, WriteError};
use tracewell_store::disk::Disk;
use tracewell_store::wal::{Wal, WalOptions};
use tracewell_testkit::FakeClock;

const DIR: &str = "/data/wal";
const LOG_ID: u128 = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;

/// A small log without spares: what it does to its disk is always the same.
fn options() -> WalOptions {
    WalOptions {
        segment_bytes: 32 << 10,
        n_spares: 0,
        ..WalOptions::new(DIR, LOG_ID)
    }
}

fn open(disk: &(impl Disk + Clone + 'static), options: WalOptions) -> Wal {
    let clock = Arc::new(FakeClock::default());
    Wal::open(Arc::new(disk.clone()), clock, options, |_| {}).unwrap()
}

/// A record whose content follows from its id, which stands where the request's hash does.
fn record(id: u64, payload_bytes: usize) -> LogRecord {
    let payload: Vec<u8> = (0..payload_bytes)
        .map(|i| (id as usize * 131 + i * 7 + i / 251) as u8)
        .collect();
    LogRecord {
        tenant: TenantId::new(if id.is_multiple_of(3) {
            "team-a"
        } else {
            "single-tenant"
        })
        .unwrap(),
        kind: RecordKind::Spans,
        arrival_unix_nano: id * 1_000,
        request_hash: u128::from(id) << 64 | payload_bytes as u128,
        payload: Bytes::from(payload),
    }
}

/// The id of a record, if it is exactly what was written.
fn id_of(seen: &LogRecord) -> u64 {
    let id = (seen.request_hash >> 64) as u64;
    let expected = record(id, seen.request_hash as u64 as usize);
    assert_eq!(seen.tenant, expected.tenant);
    assert_eq!(seen.arrival_unix_nano, expected.arrival_unix_nano);
    assert_eq!(seen.payload, expected.payload, "record {id} is garbage");
    id
}

/// Position and id of every record, and the damage.
fn read(
    items: impl Iterator<Item = Result<(LogPosition, LogRecord), LogDamage>>,
) -> (Vec<(u64, u64)>, Vec<LogDamage>) {
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Ok((position, record)) => records.push((position.0, id_of(&record))),
            Err(lost) => damage.push(lost),
        }
    }
    assert!(
        records.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "positions do not grow: {records:?}"
    );
    (records, damage)
}

fn append(wal: &Wal, id: u64, payload_bytes: usize) -> Result<u64, WriteError> {
    let commit = wal.submit(record(id, payload_bytes), ())?;
    block_on(commit).map(|position| position.0)
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

/// The segments and spares of a log.
fn segments(disk: &tracewell_testkit::RecordingDisk) -> Vec<PathBuf> {
    let mut files = disk.files();
    files.retain(|file| file.extension().is_some_and(|it| it == "wal"));
    files
}

/// The segment of a log that has only one.
fn only_file(disk: &tracewell_testkit::RecordingDisk) -> PathBuf {
    let files = segments(disk);
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}
