//! Files of a log that are used again.

use std::time::{Duration, Instant};

use tracewell_model::sink::LogPosition;
use tracewell_store::wal::WalOptions;
use tracewell_testkit::RecordingDisk;

use super::{append, open, options};

/// A log that lets go of records as fast as it takes them fills a few files and no more.
#[test]
fn files_that_were_let_go_are_used_again() {
    let disk = RecordingDisk::new();
    let options = WalOptions {
        n_spares: 1,
        ..options()
    };
    let segment_bytes = options.segment_bytes;
    let wal = open(&disk, options);
    for id in 0..100 {
        // A segment holds three of these.
        let position = append(&wal, id, 9_000).unwrap();
        wal.forget(LogPosition(position));
        // The next file is there before it is wanted, as it is where a file lasts for a second.
        let begun = Instant::now();
        while wal.spare_bytes() < segment_bytes {
            assert!(begun.elapsed() < Duration::from_secs(60), "no spare");
            std::thread::yield_now();
        }
    }
    let n_created = disk.n_created();
    assert!((2..=4).contains(&n_created), "{n_created} files");
    assert!(disk.files().len() <= 6, "{:?}", disk.files());
}
