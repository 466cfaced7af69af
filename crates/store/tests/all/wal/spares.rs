//! Files of a log that are used again.

use std::time::{Duration, Instant};

use tracewell_model::sink::LogPosition;
use tracewell_store::wal::WalOptions;
use tracewell_testkit::RecordingDisk;

use super::{append, open, options, segments};

/// Waits for what the thread of the spares does.
fn wait(what: &str, is_done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no {what}");
        std::thread::yield_now();
    }
}

/// A log that lets go of records as fast as it takes them fills a few files and no more.
#[test]
fn files_that_were_let_go_are_used_again() {
    let disk = RecordingDisk::new();
    let options = WalOptions {
        n_spares: 1,
        ..options()
    };
    let wal = open(&disk, options);
    for id in 0..100 {
        // A segment holds three of these.
        let position = append(&wal, id, 9_000).unwrap();
        wal.forget(LogPosition(position));
        // The next file is there before it is wanted, as it is where a file lasts for a second.
        wait("a spare", || wal.stats().spares > 0);
    }
    let n_created = disk.n_created();
    let n_reused = wal.stats().files_reused;
    assert!(n_reused > 30, "{n_reused} files");
    assert!((2..=4).contains(&n_created), "{n_created} files");
    assert!(segments(&disk).len() <= 6, "{:?}", segments(&disk));
}

/// On a volume that is nearly full no more is kept than is filled beforehand.
#[test]
fn spares_make_room_where_there_is_little() {
    let disk = RecordingDisk::new();
    let options = WalOptions {
        n_spares: 1,
        ..options()
    };
    let segment_bytes = options.segment_bytes;
    let wal = open(&disk, options);
    let mut last = 0;
    for id in 0..40 {
        last = append(&wal, id, 9_000).unwrap();
    }
    wal.forget(LogPosition(last));
    wait("four spares", || segments(&disk).len() == 5);
    // With two spares and a file that holds one record there is still less than a quarter free.
    disk.set_capacity(3 * segment_bytes);
    wal.expire();
    wait("room", || segments(&disk).len() == 2);
    wait("spare", || wal.stats().spare_bytes == segment_bytes);
    append(&wal, 100, 9_000).unwrap();
}
