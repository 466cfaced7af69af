use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

const HOUR: u64 = 3_600 * 1_000_000_000;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY;
const AGE: u64 = 14 * DAY;
const T: u64 = 20_000 * DAY;

/// A store's clock, and a machine's.
struct Machine {
    clock: BelievedClock,
    unix: u64,
    monotonic: u64,
}

impl Machine {
    fn new(unix: u64) -> Self {
        let mut machine = Self {
            clock: BelievedClock::new(0),
            unix,
            monotonic: 0,
        };
        assert_eq!(machine.stamp(), unix);
        machine
    }

    fn pass(&mut self, nanos: u64) {
        self.unix += nanos;
        self.monotonic += nanos;
    }

    fn stamp(&mut self) -> u64 {
        self.clock.now(self.unix, self.monotonic)
    }

    fn ages(&mut self) -> Ages {
        self.clock.ages(self.unix, self.monotonic, AGE)
    }

    fn record(&self) -> ClockRecord {
        self.clock.record(self.monotonic).unwrap()
    }

    fn is_kept(&mut self, arrival: u64) -> bool {
        self.ages().of(arrival) <= AGE
    }

    /// A start after a reboot, from a manifest that is so old and the arrivals since.
    fn restart(&mut self, record: &ClockRecord, arrivals: &[u64]) {
        self.monotonic = 5;
        self.clock = BelievedClock::new(self.monotonic);
        self.clock.resume(record);
        arrivals
            .iter()
            .for_each(|arrival| self.clock.recall(*arrival));
    }
}

#[test]
fn a_jump_ahead_is_followed_and_makes_nothing_older() {
    // By 15 days of sleep that no clock counted, from 1970 to the right time, by years too far.
    for (from, jump) in [(T, 15 * DAY), (100, T), (T, 10 * YEAR)] {
        let mut machine = Machine::new(from);
        let old = machine.stamp();
        machine.pass(DAY);
        machine.unix += jump;
        let new = machine.stamp();
        assert_eq!(new, machine.unix, "arrivals follow the clock at once");
        machine.pass(25 * HOUR);
        assert!(machine.is_kept(old) && machine.is_kept(new), "{jump}");
        // To the moment: after its age what came before is gone, and what came after is not yet.
        machine.pass(AGE - DAY - 25 * HOUR);
        assert!(machine.is_kept(old) && machine.is_kept(new));
        machine.pass(1);
        assert!(!machine.is_kept(old) && machine.is_kept(new));
        machine.pass(DAY - 1);
        assert!(machine.is_kept(new));
        machine.pass(1);
        assert!(!machine.is_kept(new));
    }
}

/// One tenant has an age of a day: the jump that others are protected from keeps it no longer.
#[test]
fn a_jump_is_left_out_of_a_shorter_age_until_that_has_passed() {
    let mut machine = Machine::new(T);
    let old = machine.stamp();
    machine.unix += 10 * YEAR;
    let new = machine.stamp();
    machine.pass(DAY);
    let mut is_over = |arrival| machine.ages().exceeds(arrival, DAY);
    assert!(!is_over(old) && !is_over(new));
    machine.pass(1);
    assert!(machine.ages().exceeds(old, DAY) && machine.ages().exceeds(new, DAY));
    assert!(
        machine.is_kept(old) && machine.is_kept(new),
        "for an age of two weeks"
    );
}

#[test]
fn a_jump_ahead_that_is_taken_back_leaves_no_trace_but_on_what_it_stamped() {
    let mut machine = Machine::new(T);
    let old = machine.stamp();
    machine.pass(DAY);
    machine.unix += 73 * YEAR;
    let meanwhile = machine.stamp();
    machine.pass(HOUR);
    machine.unix -= 73 * YEAR;
    assert_eq!(machine.stamp(), machine.unix, "at once");
    machine.pass(AGE - DAY - HOUR);
    assert!(machine.is_kept(old) && machine.is_kept(meanwhile));
    machine.pass(HOUR);
    assert!(!machine.is_kept(old) && machine.is_kept(meanwhile));
    // An age after the clock was right again, not 73 years.
    machine.pass(DAY + 1);
    assert!(!machine.is_kept(meanwhile));
}

#[test]
fn a_clock_that_goes_back_is_followed_after_a_day() {
    let mut machine = Machine::new(T);
    machine.pass(DAY);
    let old = machine.stamp();
    machine.unix -= 5 * YEAR;
    assert_eq!(machine.stamp(), old);
    machine.pass(DAY - 1);
    assert_eq!(machine.stamp(), old + DAY - 1);
    // It was an error, of which nothing is left.
    machine.unix += 5 * YEAR;
    assert_eq!(machine.stamp(), machine.unix);
    machine.pass(AGE - DAY + 2);
    assert!(!machine.is_kept(old));
    // It was an error before: what was stamped ahead goes an age after that is believed.
    let ahead = machine.stamp();
    machine.unix -= 5 * YEAR;
    machine.stamp();
    machine.pass(DAY);
    assert_eq!(machine.stamp(), machine.unix);
    machine.pass(AGE);
    assert!(machine.is_kept(ahead));
    machine.pass(1);
    assert!(!machine.is_kept(ahead));
}

#[test]
fn small_steps_are_no_jump_until_they_add_up_to_one() {
    let mut machine = Machine::new(T);
    let old = machine.stamp();
    machine.unix += HOUR;
    assert_eq!(machine.stamp(), machine.unix);
    assert_eq!(machine.ages().of(old), HOUR);
    for _ in 0..47 {
        machine.unix += HOUR / 2;
        assert_eq!(machine.stamp(), machine.unix);
        assert!(machine.ages().of(old) <= HOUR);
    }
}

#[test]
fn a_start_knows_what_the_last_run_saw() {
    // Switched off for a month, set wrong by years, set to 1970.
    for (back, ahead) in [(0, 30 * DAY), (0, 2 * YEAR), (T, 0)] {
        let mut machine = Machine::new(T);
        let old = machine.stamp();
        machine.pass(DAY);
        let newest = machine.stamp();
        let record = machine.record();
        machine.unix = machine.unix - back + ahead;
        machine.restart(&record, &[]);
        let stamp = machine.stamp();
        assert_eq!(stamp, machine.unix.max(newest), "1970 is not believed");
        if back > 0 {
            machine.pass(DAY);
            assert_eq!(machine.stamp(), machine.unix, "but after a day");
        }
        machine.pass(AGE - DAY);
        assert!(machine.is_kept(old) && machine.is_kept(newest) && machine.is_kept(stamp));
        machine.pass(DAY + 1);
        assert!(!machine.is_kept(old) && !machine.is_kept(newest));
    }
}

#[test]
fn a_jump_is_known_to_starts_after_it() {
    let mut machine = Machine::new(T);
    let old = machine.stamp();
    let before = machine.record();
    machine.unix += 2 * YEAR;
    let new = machine.stamp();
    let after = machine.record();
    // By the manifest; or by the log, where the process ended before it wrote one.
    for (record, log) in [(&after, &[][..]), (&before, &[new])] {
        let mut machine = Machine::new(new);
        for _ in 0..5 {
            machine.restart(record, log);
            assert_eq!(machine.stamp(), new);
            assert!(machine.is_kept(old));
        }
        let record = machine.record();
        assert_eq!(record.jumps.len(), 1);
        machine.pass(AGE - DAY);
        let record = machine.record();
        machine.restart(&record, &[]);
        assert!(machine.is_kept(old));
        machine.pass(DAY + 1);
        assert!(!machine.is_kept(old));
    }
    // A store without a record: by its newest block.
    let mut clock = BelievedClock::new(9);
    clock.recall(T);
    let ages = clock.ages(T + YEAR, 9, AGE);
    assert_eq!((ages.of(T), ages.of(T + YEAR)), (0, 0));
}

/// Whatever clock and starts do, nothing goes before its age by time that passed, but for what is too
/// small to be a jump; and once they are quiet, everything goes two ages and a day later.
#[test]
fn nothing_goes_early_and_everything_goes() {
    for seed in 0..300 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut machine = Machine::new(T);
        let mut passed = 0;
        let mut sent = Vec::new();
        let mut record = machine.record();
        let mut since_record = Vec::new();
        for step in 0..300 {
            let jump = match rng.random_range(0..3) {
                0 => rng.random_range(2 * HOUR..40 * HOUR),
                1 => rng.random_range(DAY..30 * DAY),
                _ => 5 * YEAR,
            };
            match rng.random_range(0..12) {
                0 => machine.unix += jump,
                1 => machine.unix = machine.unix.saturating_sub(jump).max(YEAR),
                2 => machine.unix = T + passed,
                3 => {
                    let off = rng.random_range(0..3) * rng.random_range(0..5 * DAY);
                    machine.unix += off;
                    passed += off;
                    machine.restart(&record, &since_record);
                }
                4 => {
                    record = machine.record();
                    since_record.clear();
                }
                5 | 6 => {
                    let at = machine.stamp();
                    sent.push((at, passed));
                    since_record.push(at);
                }
                _ => {
                    let nanos = rng.random_range(0..2 * DAY);
                    machine.pass(nanos);
                    passed += nanos;
                }
            }
            let ages = machine.ages();
            for (at, sent_at) in &sent {
                let (age, old) = (ages.of(*at), passed - sent_at);
                assert!(
                    age <= old + HOUR || old >= AGE,
                    "seed {seed}, step {step}: {at} is {age} old after {old}: {ages:?}"
                );
            }
        }
        for _ in 0..2 * (AGE + DAY) / HOUR {
            machine.pass(HOUR);
            sent.retain(|(at, _)| machine.is_kept(*at));
        }
        assert_eq!(sent, [], "seed {seed}: {:?}", machine.ages());
    }
}

#[test]
fn many_jumps_are_left_out_no_less() {
    let mut machine = Machine::new(T);
    let old = machine.stamp();
    for _ in 0..3 * JUMPS_MAX {
        machine.unix += 2 * HOUR;
        machine.stamp();
    }
    assert_eq!(machine.ages().of(old), 0);
    let record = machine.record();
    assert_eq!(record.jumps.len(), JUMPS_MAX);
    assert_eq!(record.seen_unix_nano, machine.unix);
}
