//! Any bytes as a segment of the write-ahead log: the reader ends, and positions only grow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracewell_store::wal::LogReader;

fuzz_target!(|data: &[u8]| {
    let mut last = None;
    for item in LogReader::of_bytes(data) {
        match item {
            Ok((position, _)) => {
                assert!(last < Some(position), "positions grow");
                last = Some(position);
            }
            Err(damage) => drop(damage.to_string()),
        }
    }
});
