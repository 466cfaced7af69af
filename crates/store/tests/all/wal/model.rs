//! The log against a list: whatever is appended, forgotten and opened again, both hold the same.

use std::sync::Arc;

use proptest::prelude::*;
use tracewell_model::sink::LogPosition;
use tracewell_store::wal::{Wal, WalOptions};
use tracewell_testkit::{FakeClock, RecordingDisk};

use super::{block_on, options, read, record};

#[derive(Debug, Clone)]
enum Step {
    /// Records that are queued before the first is waited for.
    Append(Vec<usize>),
    /// Forgets this share of what is there, in percent.
    Forget(u64),
    Stop,
    Kill,
    /// Reads from this share on.
    Read(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![8 => 0..400usize, 3 => 0..9_000usize, 1 => 0..70_000usize];
    prop_oneof![
        6 => prop::collection::vec(size, 1..8).prop_map(Step::Append),
        2 => (0..=100u64).prop_map(Step::Forget),
        1 => Just(Step::Stop),
        1 => Just(Step::Kill),
        2 => (0..=100u64).prop_map(Step::Read),
    ]
}

fn open(disk: &RecordingDisk, n_spares: usize) -> Wal<u64> {
    let clock = Arc::new(FakeClock::default());
    let options = WalOptions {
        n_spares,
        ..options()
    };
    Wal::open(Arc::new(disk.clone()), clock, options, |_| {}).unwrap()
}

fn run(steps: Vec<Step>, n_spares: usize) -> Result<(), TestCaseError> {
    let mut disk = RecordingDisk::new();
    let mut wal = open(&disk, n_spares);
    // The number of a record is its index, and its id.
    let (mut n_records, mut forgotten) = (0, 0);
    for step in steps {
        match step {
            Step::Append(sizes) => {
                let commits: Vec<_> = (n_records..)
                    .zip(&sizes)
                    .map(|(id, size)| wal.submit(record(id, *size), id).unwrap())
                    .collect();
                for commit in commits {
                    prop_assert_eq!(block_on(commit).unwrap(), LogPosition(n_records));
                    n_records += 1;
                }
            }
            Step::Forget(share) => {
                forgotten = forgotten.max(n_records * share / 100);
                wal.forget(LogPosition(forgotten));
            }
            Step::Stop => {
                drop(wal);
                wal = open(&disk, n_spares);
            }
            Step::Kill => {
                let left = disk.after_kill();
                drop(wal);
                disk = left;
                wal = open(&disk, n_spares);
            }
            Step::Read(share) => {
                let from = forgotten + (n_records - forgotten) * share / 100;
                let (records, damage) = read(wal.read_from(LogPosition(from)));
                let expected: Vec<_> = (from..n_records).map(|id| (id, id)).collect();
                prop_assert_eq!(damage, vec![]);
                prop_assert_eq!(records, expected);
            }
        }
        prop_assert_eq!(wal.next_position(), LogPosition(n_records));
    }
    let (records, damage) = read(wal.read_from(LogPosition(forgotten)));
    prop_assert_eq!(damage, vec![]);
    prop_assert_eq!(records.len() as u64, n_records - forgotten);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_log_holds_what_a_list_holds(
        steps in prop::collection::vec(step(), 1..30),
        n_spares in 0..3usize,
    ) {
        run(steps, n_spares)?;
    }
}
