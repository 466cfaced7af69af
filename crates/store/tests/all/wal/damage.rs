//! What the medium does to a log: every record is served as it was, or named as lost with its place.

use std::path::Path;

use proptest::prelude::*;
use tracewell_model::sink::{LogDamage, LogPosition};
use tracewell_store::disk::Disk;
use tracewell_store::wal::LogReader;
use tracewell_testkit::RecordingDisk;

use super::{DIR, append, id_of, only_file, open, options, read, segments};

const PAGE: usize = 4096;

/// A log of one segment: its bytes, and where each record lies in them.
fn small_log(sizes: &[usize]) -> (Vec<u8>, Vec<std::ops::Range<u64>>) {
    let disk = RecordingDisk::new();
    let wal = open(&disk, options());
    for (id, size) in sizes.iter().enumerate() {
        append(&wal, id as u64, *size).unwrap();
    }
    drop(wal);
    let bytes = disk.content(&only_file(&disk)).unwrap();
    let mut places = Vec::new();
    let mut at = PAGE;
    for (id, size) in sizes.iter().enumerate() {
        let tenant = super::record(id as u64, 0).tenant.as_str().len();
        places.push(at as u64..(at + 64 + tenant + size) as u64);
        at += (64 + tenant + size).next_multiple_of(64) + 64;
        at = at.next_multiple_of(PAGE);
    }
    assert_eq!(bytes.len(), at);
    (bytes, places)
}

fn disk_with(path: &Path, bytes: &[u8]) -> RecordingDisk {
    let disk = RecordingDisk::new();
    disk.install(path, bytes);
    disk
}

fn segment_path() -> std::path::PathBuf {
    let disk = RecordingDisk::new();
    let wal = open(&disk, options());
    append(&wal, 0, 0).unwrap();
    drop(wal);
    only_file(&disk)
}

/// Every record is served, or some damage lies where it lies.
fn check_all_accounted(
    places: &[std::ops::Range<u64>],
    records: &[(u64, u64)],
    damage: &[LogDamage],
    what: &str,
) {
    for (number, place) in places.iter().enumerate() {
        let number = number as u64;
        let served = records.contains(&(number, number));
        let named = damage
            .iter()
            .any(|lost| lost.offset < place.end && place.start < lost.offset + lost.len.max(1));
        assert!(
            served || named,
            "{what}: record {number} at {place:?} is neither served nor named: {damage:?}"
        );
    }
    assert!(records.iter().all(|(position, id)| position == id));
}

#[test]
fn a_log_cut_anywhere_serves_what_is_left() {
    let (bytes, places) = small_log(&[10, 300, 0, 5_000, 100]);
    let path = segment_path();
    for len in 0..bytes.len() {
        let disk = disk_with(&path, &bytes[..len]);
        let wal = open(&disk, options());
        let (records, damage) = read(wal.read_from(LogPosition(0)));
        let whole = places.iter().filter(|place| place.end <= len as u64);
        assert_eq!(records.len(), whole.count(), "cut at {len}: {damage:?}");
        // A record of which the header is left is named.
        let torn = places
            .iter()
            .find(|place| place.start + 64 <= len as u64 && place.end > len as u64);
        if let Some(place) = torn {
            assert_eq!(damage.len(), 1, "cut at {len}: {damage:?}");
            assert_eq!(damage[0].offset, place.start, "cut at {len}");
        }
        if len % 16 != 0 {
            continue;
        }
        // It goes on, and nothing seen before is harmed.
        let next = append(&wal, 77, 40).unwrap();
        let numbers = records.len() as u64 + u64::from(torn.is_some());
        assert_eq!(next, numbers, "cut at {len}");
        drop(wal);
        let wal = open(&disk.after_kill(), options());
        let (again, _) = read(wal.read_from(LogPosition(0)));
        assert_eq!(again[..records.len()], records[..]);
        assert_eq!(again.last(), Some(&(next, 77)));
    }
}

#[test]
fn a_bit_flipped_anywhere_garbles_nothing() {
    let (bytes, places) = small_log(&[10, 300, 0, 100]);
    let path = segment_path();
    let mut n_named = 0;
    for at in 0..bytes.len() as u64 {
        let bit = at * 8 + (at * 5 + at / 64) % 8;
        let disk = disk_with(&path, &bytes);
        disk.flip_bit(&path, bit).unwrap();
        let wal = open(&disk, options());
        let (records, damage) = read(wal.read_from(LogPosition(0)));
        check_all_accounted(&places, &records, &damage, &format!("bit {bit}"));
        assert!(records.len() + 1 >= places.len(), "bit {bit}: {damage:?}");
        n_named += damage.len();

        let flipped = disk.content(&path).unwrap();
        let (records, damage) = read(LogReader::of_bytes(&flipped));
        check_all_accounted(&places, &records, &damage, &format!("bit {bit}, by bytes"));
    }
    assert!(n_named > 4 * 64, "{n_named}");
}

#[test]
fn a_page_that_is_gone_costs_its_records_alone() {
    let (bytes, places) = small_log(&[10, 9_000, 300, 100]);
    let path = segment_path();
    for page in (0..bytes.len()).step_by(PAGE) {
        for fill in [0, 0xff, 0x54] {
            let mut damaged = bytes.clone();
            damaged[page..page + PAGE].fill(fill);
            let disk = disk_with(&path, &damaged);
            let wal = open(&disk, options());
            let (records, damage) = read(wal.read_from(LogPosition(0)));
            let is_last = page + PAGE == bytes.len();
            let hit = |place: &&std::ops::Range<u64>| {
                place.start < (page + PAGE) as u64 && (page as u64) < place.end
            };
            let n_hit = places.iter().filter(hit).count();
            assert_eq!(records.len(), places.len() - n_hit, "page {page}");
            // Header and footer of the last group lie in one page: nothing is left to tell of it.
            assert!(is_last || !damage.is_empty(), "page {page}");
        }
        let disk = disk_with(&path, &bytes);
        let range = page as u64..(page + PAGE) as u64;
        disk.make_unreadable(&path, range).unwrap();
        let wal = open(&disk, options());
        let (records, damage) = read(wal.read_from(LogPosition(0)));
        check_all_accounted(
            &places,
            &records,
            &damage,
            &format!("page {page} unreadable"),
        );
        let reason = if page == 0 {
            "both segment headers"
        } else {
            "read fails as planned"
        };
        assert!(
            damage.iter().any(|lost| lost.reason == reason),
            "{damage:?}"
        );
    }
}

#[test]
fn a_segment_that_is_gone_is_missed_by_number() {
    let disk = RecordingDisk::new();
    let wal = open(&disk, options());
    for id in 0..20 {
        append(&wal, id, 9_000).unwrap();
    }
    drop(wal);
    let files = segments(&disk);
    assert!(files.len() > 4);
    for gone in &files {
        let left = disk.after_kill();
        Disk::remove(&left, gone).unwrap();
        let wal = open(&left, options());
        let (records, damage) = read(wal.read_from(LogPosition(0)));
        assert_eq!(damage.len(), 1, "{damage:?}");
        assert!(damage[0].reason.contains("records lost"), "{damage:?}");
        assert!(records.len() < 20 && records.len() >= 20 - 4);
    }
}

/// Six groups, and a mark that tells of them.
fn marked_log() -> (RecordingDisk, std::path::PathBuf) {
    let disk = RecordingDisk::new();
    let wal = open(&disk, options());
    for id in 0..6 {
        append(&wal, id, 100).unwrap();
    }
    drop(wal);
    let path = only_file(&disk);
    (disk, path)
}

#[test]
fn groups_that_the_newest_segment_has_lost_are_named() {
    let (disk, path) = marked_log();
    let bytes = disk.content(&path).unwrap();
    let pages = 1 + 6;
    assert_eq!(bytes.len(), pages * PAGE);
    for n_left in 0..6 {
        let end = (1 + n_left) * PAGE;
        let cut = bytes[..end].to_vec();
        let zeroed = [&bytes[..end], &vec![0; bytes.len() - end]].concat();
        for left in [Some(cut), Some(zeroed), None] {
            let what = format!("{n_left} groups of {:?} bytes", left.as_ref().map(Vec::len));
            let damaged = disk.after_kill();
            Disk::remove(&damaged, &path).unwrap();
            let is_gone = left.is_none();
            let n_left = match left {
                Some(bytes) => {
                    damaged.install(&path, &bytes);
                    n_left as u64
                }
                None => 0,
            };
            let wal = open(&damaged, options());
            assert_eq!(wal.log_id(), super::LOG_ID, "{what}");
            let (records, damage) = read(wal.read_from(LogPosition(0)));
            let served: Vec<(u64, u64)> = (0..n_left).map(|id| (id, id)).collect();
            assert_eq!(records, served, "{what}");
            let [lost] = damage.as_slice() else {
                panic!("{what}: {damage:?}");
            };
            let reason = format!(
                "{} records lost, {n_left} to 5: the log ends too early",
                6 - n_left
            );
            assert_eq!(lost.reason, reason, "{what}");
            // Their numbers are not given again: if the file comes back, so do they.
            assert_eq!(append(&wal, 77, 40).unwrap(), 6, "{what}");
            drop(wal);
            let wal = open(&damaged.after_kill(), options());
            let (records, damage) = read(wal.read_from(LogPosition(0)));
            assert_eq!(records.last(), Some(&(6, 77)), "{what}");
            let [lost] = damage.as_slice() else {
                panic!("{what}: {damage:?}");
            };
            let lost_again = format!("{} records lost, {n_left} to 5", 6 - n_left);
            assert!(lost.reason.starts_with(&lost_again), "{what}: {lost:?}");
            drop(wal);
            if is_gone {
                // Another has its name by now.
                continue;
            }
            let repaired = damaged.after_kill();
            Disk::remove(&repaired, &path).unwrap();
            repaired.install(&path, &bytes);
            let wal = open(&repaired, options());
            let (records, damage) = read(wal.read_from(LogPosition(0)));
            assert_eq!((records.len(), damage), (7, vec![]), "{what}");
        }
    }
}

#[test]
fn a_segment_without_a_record_tells_of_those_before_it() {
    let disk = RecordingDisk::new();
    let wal = open(&disk, options());
    // A segment holds two of these.
    for id in 0..3 {
        append(&wal, id, 9_000).unwrap();
    }
    drop(wal);
    let [old, new] = segments(&disk).try_into().unwrap();
    let damaged = disk.after_kill();
    Disk::remove(&damaged, &Path::new(DIR).join("mark")).unwrap();
    let cut = |path: &Path, pages: usize| {
        let file = damaged.open(path).unwrap();
        file.set_len((pages * PAGE) as u64).unwrap();
    };
    cut(&old, 1 + 3);
    cut(&new, 1);
    let wal = open(&damaged, options());
    let (records, damage) = read(wal.read_from(LogPosition(0)));
    assert_eq!(records, [(0, 0)]);
    let [lost] = damage.as_slice() else {
        panic!("{damage:?}");
    };
    let named = "1 records lost, 1 to 1";
    assert!(lost.reason.starts_with(named), "{lost:?}");
}

#[test]
fn a_mark_that_is_damaged_or_of_another_log_says_nothing() {
    let (disk, path) = marked_log();
    let mark = Path::new(DIR).join("mark");
    let bytes = disk.content(&mark).unwrap();
    let is_named = |mark_bytes: Option<&[u8]>| {
        let damaged = disk.after_kill();
        damaged
            .open(&path)
            .unwrap()
            .set_len(2 * PAGE as u64)
            .unwrap();
        Disk::remove(&damaged, &mark).unwrap();
        if let Some(bytes) = mark_bytes {
            damaged.install(&mark, bytes);
        }
        let wal = open(&damaged, options());
        let (records, damage) = read(wal.read_from(LogPosition(0)));
        assert_eq!(records, [(0, 0)]);
        // It is written anew, and tells of what comes.
        append(&wal, 1, 10).unwrap();
        drop(wal);
        let next = |bytes: &[u8], at: usize| bytes.get(at + 32..at + 40).map(<[u8]>::to_vec);
        let written = damaged.content(&mark).unwrap();
        let last = if damage.is_empty() { 2u64 } else { 7 };
        let copies = [next(&written, 0), next(&written, PAGE)];
        assert!(
            copies.contains(&Some(last.to_le_bytes().to_vec())),
            "{copies:?}"
        );
        !damage.is_empty()
    };
    assert!(is_named(Some(&bytes)));
    assert!(!is_named(None));
    for bit in 0..64 * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!is_named(Some(&flipped)), "bit {bit}");
    }
    assert!(!is_named(Some(&[])));
    let (other, _) = {
        let disk = RecordingDisk::new();
        let of_another = tracewell_store::wal::WalOptions {
            new_log_id: 5,
            ..options()
        };
        let wal = open(&disk, of_another);
        for id in 0..6 {
            append(&wal, id, 100).unwrap();
        }
        drop(wal);
        (disk.content(&mark).unwrap(), disk)
    };
    assert!(!is_named(Some(&other)));
}

#[test]
fn a_record_inside_of_a_payload_is_no_record() {
    let (inner, _) = small_log(&[200]);
    let disk = RecordingDisk::new();
    let options = tracewell_store::wal::WalOptions {
        new_log_id: 5,
        ..options()
    };
    let wal = open(&disk, options.clone());
    let mut hostile = super::record(0, 0);
    // On any alignment, and with the header in front of it destroyed below.
    hostile.payload = bytes::Bytes::from(inner[PAGE - 64 - 13..].to_vec());
    super::block_on(wal.submit(hostile, ()).unwrap()).unwrap();
    append(&wal, 1, 10).unwrap();
    drop(wal);
    let path = only_file(&disk);
    disk.flip_bit(&path, PAGE as u64 * 8 + 200).unwrap();
    let wal = open(&disk, options);
    let records: Vec<_> = wal.read_from(LogPosition(0)).collect();
    let n_lost = records.iter().filter(|item| item.is_err()).count();
    assert_eq!((records.len(), n_lost), (2, 1), "{records:?}");
    assert_eq!(id_of(&records[1].as_ref().unwrap().1), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        for item in LogReader::of_bytes(&bytes) {
            prop_assert!(item.is_err());
        }
    }

    #[test]
    fn damaged_bytes_are_read_without_harm(
        changes in prop::collection::vec((0..28_000usize, any::<u8>()), 0..40),
        sizes in prop::collection::vec(0..3_000usize, 1..5),
    ) {
        let (mut bytes, _) = small_log(&sizes);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        read(LogReader::of_bytes(&bytes));
    }
}
