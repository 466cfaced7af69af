//! The power goes, at every sync and at random points between: whatever was acknowledged is there,
//! once.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tracewell_model::sink::LogPosition;
use tracewell_store::disk::Disk;
use tracewell_store::wal::{Wal, WalOptions};
use tracewell_testkit::{FakeClock, RecordingDisk, UnsyncedDisk};

use super::{DIR, LOG_ID, append, block_on, open, read, record};

/// What a run promised, by the number of operations on its disk at that time.
#[derive(Debug, Default)]
struct Promises {
    /// Id, position, time.
    acked: Vec<(u64, u64, usize)>,
    /// Position, time.
    forgotten: Vec<(u64, usize)>,
}

fn options(n_spares: usize) -> WalOptions {
    WalOptions {
        segment_bytes: 24 << 10,
        n_spares,
        ..WalOptions::new(DIR, LOG_ID)
    }
}

/// Appends in bursts, forgets, and opens the log again, as a seed says. `under` is the disk that the
/// log sees, `disk` the record of it.
fn run(disk: &RecordingDisk, under: Arc<dyn Disk>, seed: u64) -> Promises {
    let mut random = SmallRng::seed_from_u64(seed);
    let promises = Arc::new(Mutex::new(Promises::default()));
    let mut id = 0;
    for _ in 0..random.random_range(1..4) {
        let (told, watched) = (Arc::clone(&promises), disk.clone());
        let clock = Arc::new(FakeClock::default());
        let n_spares = random.random_range(0..3);
        let wal: Wal<u64> = Wal::open(Arc::clone(&under), clock, options(n_spares), move |done| {
            let now = watched.n_operations();
            told.lock().acked.push((done.payload, done.position.0, now));
        })
        .unwrap();
        for _ in 0..random.random_range(1..10) {
            let commits: Vec<_> = (0..random.random_range(1..6))
                .map(|_| {
                    id += 1;
                    let bytes = match random.random_range(0..10) {
                        0 => random.random_range(0..30_000),
                        1..4 => random.random_range(0..5_000),
                        _ => random.random_range(0..300),
                    };
                    wal.submit(record(id, bytes), id).unwrap()
                })
                .collect();
            let mut last = 0;
            for commit in commits {
                last = block_on(commit).unwrap().0;
            }
            if random.random_range(0..4) == 0 {
                let up_to = random.random_range(0..=last);
                promises.lock().forgotten.push((up_to, disk.n_operations()));
                wal.forget(LogPosition(up_to));
            }
        }
    }
    Arc::into_inner(promises).unwrap().into_inner()
}

/// Opens what a power cut left and compares it with what was promised until then.
fn check(left: &RecordingDisk, at: usize, promises: &Promises) -> Result<(), String> {
    let forgotten = promises.forgotten.iter();
    let from = forgotten
        .filter(|(_, time)| *time < at)
        .map(|(up_to, _)| *up_to)
        .max()
        .unwrap_or(0);
    let promised = promises.acked.iter();
    let promised: Vec<_> = promised
        .filter(|(_, position, time)| *time <= at && *position >= from)
        .collect();
    let wal = open(left, options(0));
    let (records, damage) = read(wal.read_from(LogPosition(from)));
    let mut times_seen = HashMap::new();
    for (position, id) in &records {
        *times_seen.entry((*id, *position)).or_insert(0) += 1;
    }
    for (id, position, _) in &promised {
        if times_seen.remove(&(*id, *position)) != Some(1) {
            return Err(format!(
                "record {id} was acknowledged at {position} and is not there; damage: {damage:?}"
            ));
        }
    }
    // What was never acknowledged may be there too, under its own number and once.
    let unpromised = times_seen.into_iter();
    for ((id, position), n) in unpromised {
        let taken = promised.iter().any(|p| p.0 == id || p.1 == position);
        if n > 1 || taken {
            return Err(format!("record {id} at {position} is there {n} times"));
        }
    }
    let next = append(&wal, 1_000_000, 100).map_err(|error| error.to_string())?;
    if records.iter().any(|(position, _)| *position >= next) {
        return Err(format!("number {next} is given twice"));
    }
    Ok(())
}

#[test]
fn acknowledged_records_survive_a_power_cut_at_any_time() {
    let n_cuts = cuts(0..60, false, |seed, at, result| {
        if let Err(error) = result {
            panic!("seed {seed}, power cut after operation {at}: {error}");
        }
    });
    println!("{n_cuts} power cuts");
    assert!(n_cuts > 3_000, "{n_cuts}");
}

#[test]
fn without_syncs_the_check_fails() {
    let mut n_failed = 0;
    let n_cuts = cuts(0..6, true, |_, _, result| {
        n_failed += u32::from(result.is_err());
    });
    println!("{n_failed} of {n_cuts} power cuts lost something");
    assert!(n_failed > 50, "{n_failed} of {n_cuts}");
}

/// Runs a log for each seed, and cuts the power after every sync, before it, and at random points.
fn cuts(
    seeds: std::ops::Range<u64>,
    is_unsynced: bool,
    mut seen: impl FnMut(u64, usize, Result<(), String>),
) -> usize {
    let mut n_cuts = 0;
    for seed in seeds {
        let disk = RecordingDisk::new();
        let under: Arc<dyn Disk> = if is_unsynced {
            Arc::new(UnsyncedDisk::new(Arc::new(disk.clone())))
        } else {
            Arc::new(disk.clone())
        };
        let promises = run(&disk, under, seed);
        let mut random = SmallRng::seed_from_u64(seed);
        let n_operations = disk.n_operations();
        let mut points: Vec<usize> = disk
            .syncs()
            .into_iter()
            .flat_map(|at| [at - 1, at])
            .collect();
        points.extend((0..20).map(|_| random.random_range(0..=n_operations)));
        points.sort_unstable();
        let mut replay = disk.replay();
        for at in points {
            replay.advance_to(at);
            let left = replay.power_cut(random.random());
            seen(seed, at, check(&left, at, &promises));
            n_cuts += 1;
        }
    }
    n_cuts
}

#[test]
fn a_power_cut_during_recovery_costs_nothing() {
    for seed in 0..150 {
        let disk = RecordingDisk::new();
        let promises = run(&disk, Arc::new(disk.clone()), seed);
        let mut random = SmallRng::seed_from_u64(seed);
        let at = random.random_range(0..=disk.n_operations());
        let mut left = disk.power_cut(at, seed);
        for round in 0..3 {
            let wal = open(&left, options(1));
            append(&wal, 2_000_000 + round, 50).unwrap();
            drop(wal);
            left = left.power_cut(random.random_range(0..=left.n_operations()), round);
        }
        // What the rounds added was not promised at `at`, and does no harm.
        if let Err(error) = check(&left, at, &promises) {
            panic!("seed {seed}, power cut after operation {at}, then three more: {error}");
        }
    }
}

/// A killed process leaves records in the caches that were never synced. Once a start has served them, a
/// repeat of their request is acknowledged: they must be durable by then.
#[test]
fn what_a_start_serves_is_durable() {
    for seed in 0..100 {
        let disk = RecordingDisk::new();
        run(
            &disk,
            Arc::new(UnsyncedDisk::new(Arc::new(disk.clone()))),
            seed,
        );
        let disk = disk.after_kill();
        let wal = open(&disk, options(0));
        let (served, damage) = read(wal.read_from(LogPosition(0)));
        drop(wal);
        assert!(!served.is_empty() && damage.iter().all(|lost| lost.offset == 0));
        for cut in 0..5 {
            let left = disk.power_cut(disk.n_operations(), seed * 10 + cut);
            let (again, _) = read(open(&left, options(0)).read_from(LogPosition(0)));
            assert_eq!(again, served, "seed {seed}");
        }
    }
}
