use std::path::Path;

use bytes::Bytes;
use tracewell_model::TenantId;
use tracewell_model::limits::LOG_BYTES;
use tracewell_model::sink::RecordKind;
use tracewell_testkit::FakeClock;

use super::*;
use crate::disk::LocalDisk;

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

fn record(payload: impl Into<Vec<u8>>) -> LogRecord {
    LogRecord {
        tenant: TenantId::single(),
        kind: RecordKind::Spans,
        arrival_unix_nano: 7,
        request_hash: 1 << 100,
        payload: Bytes::from(payload.into()),
    }
}

fn small(dir: &Path) -> WalOptions {
    WalOptions {
        segment_bytes: 64 << 10,
        ..WalOptions::new(dir, 42)
    }
}

fn open(options: WalOptions) -> Wal {
    let clock = Arc::new(FakeClock::default());
    Wal::open(Arc::new(LocalDisk), clock, options, |_| {}).unwrap()
}

fn payloads(wal: &Wal, from: u64) -> Vec<(u64, Vec<u8>)> {
    wal.read_from(LogPosition(from))
        .map(|item| item.map(|(at, record)| (at.0, record.payload.to_vec())))
        .collect::<Result<_, _>>()
        .unwrap()
}

fn append(wal: &Wal, payload: impl Into<Vec<u8>>) -> u64 {
    try_append(wal, payload).unwrap().0
}

fn try_append(wal: &Wal, payload: impl Into<Vec<u8>>) -> Result<LogPosition, WriteError> {
    block_on(wal.submit(record(payload), ())?)
}

#[test]
fn what_was_appended_is_read_before_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..4u8 {
        let wal = open(small(dir.path()));
        assert_eq!(wal.log_id(), 42);
        assert_eq!(payloads(&wal, 0), expected);
        for size in [0, 1, 63, 64, 65, 4_000, 4_096, 30_000, 100_000] {
            let payload = vec![round; size];
            let position = append(&wal, payload.clone());
            assert_eq!(position, expected.len() as u64);
            expected.push((position, payload));
        }
        assert_eq!(payloads(&wal, 0), expected);
        assert_eq!(payloads(&wal, 5), expected[5..]);
    }
}

#[test]
fn records_that_wait_share_a_sync_and_come_to_the_hook_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (seen, hook) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(())));
    let (seen_by_hook, gate) = (Arc::clone(&seen), Arc::clone(&hook));
    let held = hook.lock();
    let clock = Arc::new(FakeClock::default());
    let wal: Wal<u32> = Wal::open(Arc::new(LocalDisk), clock, small(dir.path()), move |done| {
        drop(gate.lock());
        seen_by_hook.lock().push((done.position.0, done.payload));
    })
    .unwrap();
    let commits: Vec<_> = (0..300u32)
        .map(|i| wal.submit(record(vec![0; 100]), i).unwrap())
        .collect();
    drop(held);
    for (i, commit) in commits.into_iter().enumerate() {
        assert_eq!(block_on(commit).unwrap().0, i as u64);
    }
    wal.stop();
    let expected: Vec<_> = (0..300u32).map(|i| (u64::from(i), i)).collect();
    assert_eq!(*seen.lock(), expected);
    // The first group waits in the hook while the others are queued.
    assert!(wal.stats().groups <= 3, "{:?}", wal.stats());
    assert!(matches!(
        wal.submit(record("late"), 0),
        Err(WriteError::Stopping)
    ));
}

#[test]
fn forgotten_segments_are_used_again_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(small(dir.path()));
    for i in 0..200u64 {
        let at = append(&wal, vec![i as u8; 10_000]);
        assert_eq!(at, i);
        wal.forget(LogPosition(at + 1));
        let bytes = wal.stats().log_bytes;
        assert!(bytes <= 3 * (64 << 10), "{bytes}");
    }
    drop(wal);
    // Segments and spares; the mark of its end lies beside them.
    let files = std::fs::read_dir(dir.path()).unwrap().count() - 1;
    assert!(files <= 4, "{files} files");
    let wal = open(small(dir.path()));
    assert_eq!(append(&wal, "next"), 200);
    assert_eq!(payloads(&wal, 199).len(), 2);
}

#[test]
fn a_reader_sees_what_was_there_when_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(small(dir.path()));
    for i in 0..30u8 {
        append(&wal, vec![i; 10_000]);
    }
    let mut reader = wal.read_from(LogPosition(0));
    let mut seen = vec![reader.next().unwrap().unwrap()];
    // Everything that it has still to read is forgotten, and its files are wanted for new records.
    for i in 30..130u8 {
        let at = append(&wal, vec![i; 10_000]);
        wal.forget(LogPosition(at));
    }
    seen.extend(reader.map(Result::unwrap));
    assert_eq!(seen.len(), 30);
    for (at, record) in seen {
        assert_eq!(record.payload, vec![at.0 as u8; 10_000]);
    }
}

#[test]
fn a_number_that_the_opener_asks_for_leaves_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    for (at_least, expected) in [(10, 10), (0, 11), (100, 100)] {
        let mut options = small(dir.path());
        options.next_at_least = LogPosition(at_least);
        let wal = open(options);
        payloads(&wal, 0);
        assert_eq!(append(&wal, "x"), expected);
        payloads(&wal, 0);
    }
}

#[test]
fn limits_answer_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(WalOptions {
        record_bytes_max: 1_000,
        log_bytes_max: 20_000,
        ..small(dir.path())
    });
    let error = wal.submit(record(vec![0; 1_001]), ()).unwrap_err();
    assert!(matches!(
        error,
        WriteError::TooLarge {
            seen: 1_001,
            max: 1_000,
            ..
        }
    ));
    let full = (0..1_000)
        .find_map(|_| try_append(&wal, vec![0; 900]).err())
        .unwrap();
    assert!(
        matches!(
            full,
            WriteError::Busy {
                limit: LOG_BYTES,
                ..
            }
        ),
        "{full}"
    );
}

#[test]
fn a_hook_that_panics_stops_ingest_and_not_reading() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(FakeClock::default());
    let wal: Wal = Wal::open(Arc::new(LocalDisk), clock, small(dir.path()), |done| {
        assert!(done.position.0 < 1, "planned");
    })
    .unwrap();
    append(&wal, "first");
    assert!(matches!(
        try_append(&wal, "second"),
        Err(WriteError::Halted { .. })
    ));
    let refused = (0..).find_map(|_| wal.submit(record("third"), ()).err());
    assert!(matches!(refused, Some(WriteError::Halted { .. })));
    assert!(matches!(wal.state(), WalState::Stopped { .. }));
    assert_eq!(payloads(&wal, 0).len(), 2);
}

#[test]
fn files_of_another_log_or_a_later_version_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    for (dir, id) in [(&dir, 1), (&other, 2)] {
        let wal = open(WalOptions {
            new_log_id: id,
            ..small(dir.path())
        });
        append(&wal, "x");
    }
    let clock: Arc<dyn Clock> = Arc::new(FakeClock::default());
    for entry in std::fs::read_dir(other.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let error = Wal::<()>::open(
        Arc::new(LocalDisk),
        Arc::clone(&clock),
        small(dir.path()),
        |_| {},
    );
    assert!(
        matches!(error, Err(WalError::TwoLogs { .. })),
        "{:?}",
        error.err()
    );

    let header = format::SegmentHeader {
        version: 2,
        epoch: format::Epoch::new(2, 9),
        log_id: 2,
        void_from: 0,
        first: 0,
    };
    let mut page = Vec::new();
    header.append_page(&mut page);
    std::fs::write(other.path().join(header.epoch.file_name()), page).unwrap();
    let error = Wal::<()>::open(Arc::new(LocalDisk), clock, small(other.path()), |_| {});
    assert!(matches!(error, Err(WalError::Version { seen: 2, .. })));
}
