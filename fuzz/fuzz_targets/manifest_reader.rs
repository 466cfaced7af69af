//! Any bytes as a manifest: what is read is written again and means the same, and what a start and a
//! commit compute from it ends. The first byte chooses whether length and sums are made to agree with the
//! rest, so that damage which no checksum sees is read as well.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tracewell_store::clock::BelievedClock;
use tracewell_store::manifest::{Change, LogRange, Manifest};
use tracewell_store::retention::Retention;

const HEADER_BYTES: usize = 40;
const DAY: u64 = 24 * 3_600 * 1_000_000_000;

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    let mut bytes = bytes.to_vec();
    if choice & 0x80 != 0 {
        seal(&mut bytes);
    }
    let Some(number) = bytes.get(24..32) else {
        assert!(Manifest::decode(1, &bytes).is_err());
        return;
    };
    let number = u64::from_le_bytes(number.try_into().expect("eight bytes"));
    let Ok(manifest) = Manifest::decode(number, &bytes) else {
        return;
    };
    let again = manifest.encode().expect("what was read is written");
    assert_eq!(Manifest::decode(number, &again), Ok(manifest.clone()));
    start_from(&manifest);
    commit_to(&manifest);
});

/// Makes length and checksums agree with the bytes.
fn seal(bytes: &mut [u8]) {
    let Some((header, body)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() else {
        return;
    };
    header[12..16].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    header[16..24].copy_from_slice(&(body.len() as u64).to_le_bytes());
    let sum = crc32c::crc32c(&header[..32]);
    header[32..36].copy_from_slice(&sum.to_le_bytes());
}

fn start_from(manifest: &Manifest) {
    let mut clock = BelievedClock::new(DAY);
    if let Some(record) = &manifest.clock {
        clock.resume(record);
    }
    let newest = manifest.blocks.iter().map(|entry| entry.arrival.1).max();
    newest.into_iter().for_each(|arrival| clock.recall(arrival));
    let ages = clock.ages(20_000 * DAY, DAY, 14 * DAY);
    let _ = clock.record(DAY);
    let retention = Retention {
        ages: Arc::default(),
        bytes_max: manifest.bytes() / 2,
    };
    let _ = retention.expired(&manifest.blocks, &ages);
}

fn commit_to(manifest: &Manifest) {
    for range in &manifest.covered {
        let _ = manifest.covered_to(&range.log);
    }
    let next = |range: &LogRange| LogRange {
        log: range.log.clone(),
        from: range.to,
        to: range.to.saturating_add(1),
    };
    let mut moved = manifest.blocks.clone();
    moved.iter_mut().for_each(|entry| entry.id.0[0] ^= 1);
    for change in [
        Change {
            remove: manifest.blocks.iter().map(|entry| entry.id).collect(),
            add: moved,
            ..Change::default()
        },
        Change {
            forget: manifest.blocks.iter().map(|entry| entry.id).collect(),
            cover: manifest.covered.iter().map(next).collect(),
            ..Change::default()
        },
    ] {
        if let Ok(changed) = manifest.with(&change) {
            let bytes = changed.encode().expect("what was read is written");
            assert_eq!(Manifest::decode(changed.number, &bytes), Ok(changed));
        }
    }
}
