//! Syncs and writes that fail, and a disk that is full: what was acknowledged stays, what was refused
//! stays away, and senders are told what to do.

use std::sync::Arc;

use tracewell_model::sink::{LogPosition, WriteError};
use tracewell_store::wal::{Durability, Wal, WalOptions, WalState};
use tracewell_testkit::{FakeClock, RecordingDisk};

use super::{append, block_on, open, options, read, record};
use crate::logged::listen;

const NOT_WRITTEN: &str = "write-ahead log could not be written";

/// Ids that the log holds, and no damage.
fn ids(wal: &Wal) -> Vec<u64> {
    let (records, damage) = read(wal.read_from(LogPosition(0)));
    assert_eq!(damage, []);
    records.into_iter().map(|(_, id)| id).collect()
}

#[test]
fn a_sync_that_fails_costs_its_requests_alone() {
    // A group is one sync in a segment that is in use, two in a new one; `at` counts from the third group.
    for (at, is_write) in [(0, false), (1, false), (0, true), (2, true)] {
        let log = listen();
        let disk = RecordingDisk::new();
        let wal = open(&disk, options());
        append(&wal, 0, 100).unwrap();
        append(&wal, 1, 7_000).unwrap();
        if is_write {
            disk.fail_writes(at, 1);
        } else {
            disk.fail_syncs(at, 1);
        }
        let mut expected = vec![0, 1];
        let mut n_failed = 0;
        for id in 2..12 {
            match append(&wal, id, 3_000) {
                Ok(_) => expected.push(id),
                Err(WriteError::Log { reason }) => {
                    assert!(reason.contains("as planned"), "{reason}");
                    n_failed += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(n_failed, 1);
        let told = [NOT_WRITTEN, "ERROR", ".wal", "as planned"];
        assert_eq!(log.n_with(&told), 1, "{:?}", log.lines());
        assert_eq!(wal.state(), WalState::Running);
        assert_eq!(wal.stats().failed_groups, 1);
        assert_eq!(ids(&wal), expected);
        drop(wal);
        // The refused record does not come back, whatever was written of it.
        for seed in 0..50 {
            let left = disk.power_cut(disk.n_operations(), seed);
            assert_eq!(ids(&open(&left, options())), expected, "seed {seed}");
        }
        assert_eq!(ids(&open(&disk.after_kill(), options())), expected);
    }
}

#[test]
fn a_power_cut_after_a_failed_sync_keeps_what_was_acknowledged() {
    let disk = RecordingDisk::new();
    let wal = open(&disk, options());
    append(&wal, 0, 100).unwrap();
    disk.fail_syncs(0, 1);
    append(&wal, 1, 5_000).unwrap_err();
    let failed_at = disk.n_operations();
    append(&wal, 2, 100).unwrap();
    drop(wal);
    let mut n_came_back = 0;
    for seed in 0..200 {
        let wal = open(&disk.power_cut(failed_at, seed), options());
        let (records, _) = read(wal.read_from(LogPosition(0)));
        assert_eq!(records[0], (0, 0));
        n_came_back += records.len() - 1;
        // Its number is not given again if anything tells of it.
        let next = append(&wal, 3, 10).unwrap();
        assert!(next as usize >= records.len());
    }
    // It may: it was never acknowledged, nor refused for what it holds.
    assert!(n_came_back > 0);
}

#[test]
fn two_failures_in_a_row_stop_ingest_and_not_reading() {
    let log = listen();
    let disk = RecordingDisk::new();
    let wal = open(&disk, options());
    append(&wal, 0, 100).unwrap();
    disk.fail_syncs(0, 2);
    append(&wal, 1, 100).unwrap_err();
    let second = append(&wal, 2, 100).unwrap_err();
    assert!(
        second.to_string().contains("ingest has stopped"),
        "{second}"
    );
    let third = append(&wal, 3, 100);
    assert!(matches!(third, Err(WriteError::Halted { .. })), "{third:?}");
    assert!(matches!(wal.state(), WalState::Stopped { .. }));
    assert_eq!(log.n_with(&[NOT_WRITTEN, "as planned"]), 2);
    let stopped = ["the write-ahead log takes nothing more", "as planned"];
    assert_eq!(log.n_with(&stopped), 1, "{:?}", log.lines());
    assert_eq!(ids(&wal), [0]);
    drop(wal);
    let wal = open(&disk.after_kill(), options());
    append(&wal, 4, 100).unwrap();
    let (records, _) = read(wal.read_from(LogPosition(0)));
    let acknowledged = records.iter().filter(|(_, id)| [0, 4].contains(id));
    assert_eq!(acknowledged.count(), 2);
}

#[test]
fn one_failure_now_and_then_does_not_stop_ingest() {
    let disk = RecordingDisk::new();
    let wal = open(&disk, options());
    for round in 0..10 {
        disk.fail_syncs(0, 1);
        append(&wal, round * 2, 100).unwrap_err();
        append(&wal, round * 2 + 1, 100).unwrap();
    }
    let expected: Vec<u64> = (0..10).map(|round| round * 2 + 1).collect();
    assert_eq!(ids(&wal), expected);
    assert_eq!(wal.state(), WalState::Running);
}

#[test]
fn a_full_disk_is_named_and_left_behind() {
    for n_spares in [0, 2] {
        let log = listen();
        let disk = RecordingDisk::new();
        disk.set_capacity(150_000);
        let options = WalOptions {
            n_spares,
            ..options()
        };
        let wal = open(&disk, options.clone());
        let mut expected = Vec::new();
        let mut n_refused = 0;
        for id in 0..60 {
            match append(&wal, id, 5_000) {
                Ok(_) => expected.push(id),
                Err(WriteError::Busy { limit, .. }) => {
                    assert_eq!(limit, tracewell_model::limits::DISK_FULL);
                    n_refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(n_refused > 20, "{n_refused}");
        let told = log.n_with(&[NOT_WRITTEN, "no storage space"]);
        assert!(told > 0, "{:?}", log.lines());
        assert!(expected.len() > 8, "{expected:?}");
        assert_eq!(ids(&wal), expected);
        // Room comes back, by the log's own doing or from elsewhere.
        disk.set_capacity(u64::MAX);
        append(&wal, 100, 5_000).unwrap();
        expected.push(100);
        assert_eq!(ids(&wal), expected);
        drop(wal);
        assert_eq!(ids(&open(&disk.after_kill(), options)), expected);
    }
}

#[test]
fn forgetting_makes_room_on_a_full_disk() {
    let disk = RecordingDisk::new();
    disk.set_capacity(100_000);
    let wal = open(&disk, options());
    let refused = (0..).find(|id| append(&wal, *id, 5_000).is_err()).unwrap();
    wal.forget(LogPosition(refused));
    // Files are removed or used again by another thread.
    let went_on = (0..100_000).find(|_| append(&wal, 500, 5_000).is_ok());
    assert!(went_on.is_some());
}

#[test]
fn without_syncs_a_log_survives_a_kill() {
    let disk = RecordingDisk::new();
    let options = WalOptions {
        durability: Durability::Os,
        ..options()
    };
    let wal = open(&disk, options.clone());
    let before = disk.syncs();
    for id in 0..20 {
        append(&wal, id, 3_000).unwrap();
    }
    drop(wal);
    assert_eq!(disk.syncs(), before);
    let expected: Vec<u64> = (0..20).collect();
    assert_eq!(ids(&open(&disk.after_kill(), options)), expected);
}

#[test]
fn an_ack_follows_the_sync_of_its_record() {
    let disk = RecordingDisk::new();
    let watched = disk.clone();
    let clock = Arc::new(FakeClock::default());
    let wal: Wal<()> = Wal::open(Arc::new(disk.clone()), clock, options(), move |_| {
        let last = watched.syncs().last().copied();
        assert_eq!(last, Some(watched.n_operations()), "written and not synced");
    })
    .unwrap();
    for id in 0..30 {
        let commit = wal.submit(record(id, 2_000), ()).unwrap();
        block_on(commit).unwrap();
    }
}
