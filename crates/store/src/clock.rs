//! The clock that arrivals are stamped with, and the ages that retention judges by (docs/adr/0014).
//!
//! A wall clock may be wrong, by years and for weeks, and the same step may be an error or its
//! correction. So arrivals follow it, and ages do not: a step ahead makes nothing older until what came
//! before it has been kept for the whole retention age on the monotonic clock. Pure arithmetic over
//! readings of two clocks; what this is not: it reads none, and deletes nothing.

use serde::{Deserialize, Serialize};

/// A wall clock that departs from the monotonic one by more than this has jumped.
pub const CLOCK_JUMP_NANO: u64 = 3_600 * 1_000_000_000;
/// How long a clock that went back must stay there before it is believed.
pub const CLOCK_SETTLE_NANO: u64 = 24 * 3_600 * 1_000_000_000;
/// Of more jumps the oldest two become one, as old as the younger: they are left out for longer.
const JUMPS_MAX: usize = 100;

/// The wall clock as it is believed, and how far it jumped of late.
#[derive(Debug, Clone)]
pub struct BelievedClock {
    /// Monotonic time of the start. What was seen before is known as if it had been seen then.
    started: u64,
    /// `None` until anything was seen.
    line: Option<Line>,
    /// The offset of a clock that went back and is not believed yet, and since when.
    behind: Option<(i128, u64)>,
    /// Jumps ahead that ages leave out, the oldest first.
    jumps: Vec<Jump>,
    /// Monotonic time at which the clock went back last.
    went_back_at: Option<i128>,
}

/// Wall minus monotonic time.
#[derive(Debug, Clone, Copy)]
struct Line {
    believed: i128,
    /// As believed after the last jump, so that many small steps are one in the end.
    anchor: i128,
}

#[derive(Debug, Clone, Copy)]
struct Jump {
    /// Monotonic time; before the start it is negative.
    at: i128,
    nanos: u64,
}

/// What a manifest says of the clock, so that the next start knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockRecord {
    /// As believed when the manifest was written.
    pub seen_unix_nano: u64,
    /// Jumps ahead that ages leave out, the oldest first.
    pub jumps: Vec<JumpRecord>,
    /// How long ago the clock went back last.
    pub went_back_ago_nano: Option<u64>,
}

/// One jump ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JumpRecord {
    pub ago_nano: u64,
    pub nanos: u64,
}

/// How old arrivals are at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ages {
    /// Unix time, as believed.
    now: u64,
    /// What is left out of it.
    jumps: Vec<JumpRecord>,
    since_back: Option<u64>,
}

// === impl BelievedClock ===

impl BelievedClock {
    pub fn new(monotonic_nano: u64) -> Self {
        Self {
            started: monotonic_nano,
            line: None,
            behind: None,
            jumps: Vec::new(),
            went_back_at: None,
        }
    }

    /// Goes on from what a manifest says.
    pub fn resume(&mut self, record: &ClockRecord) {
        let started = i128::from(self.started);
        let before = |ago: u64| started - i128::from(ago);
        self.follow(offset(record.seen_unix_nano, self.started));
        self.jumps = record
            .jumps
            .iter()
            .map(|jump| Jump {
                at: before(jump.ago_nano),
                nanos: jump.nanos,
            })
            .collect();
        self.went_back_at = record.went_back_ago_nano.map(before);
    }

    /// Learns from an arrival that was stamped before this start. To be called in the order of arrival.
    pub fn recall(&mut self, arrival_unix_nano: u64) {
        let seen = offset(arrival_unix_nano, self.started);
        match &mut self.line {
            Some(line) if is_near(seen, line.believed) => {
                line.believed = seen.max(line.believed);
                line.anchor = line.believed;
            }
            Some(_) => self.jump(seen, self.started),
            None => self.follow(seen),
        }
    }

    /// The Unix time to stamp with. Ahead the clock is followed at once, and back as far as that takes back
    /// jumps ahead; further back only after a day.
    pub fn now(&mut self, unix_nano: u64, monotonic_nano: u64) -> u64 {
        let seen = offset(unix_nano, monotonic_nano);
        match &mut self.line {
            None => self.follow(seen),
            Some(line) if is_near(seen, line.anchor) => {
                line.believed = seen;
                self.behind = None;
            }
            Some(line) => {
                let back = line.anchor - seen;
                if back <= i128::from(self.left_out()) + i128::from(CLOCK_JUMP_NANO)
                    || self.has_stayed_behind(seen, monotonic_nano)
                {
                    self.jump(seen, monotonic_nano);
                }
            }
        }
        self.line
            .map_or(unix_nano, |line| line.unix_at(monotonic_nano))
    }

    /// What is older than the longest retention age needs no protection from jumps.
    pub fn ages(&mut self, unix_nano: u64, monotonic_nano: u64, retention_nano: u64) -> Ages {
        let now = self.now(unix_nano, monotonic_nano);
        self.jumps
            .retain(|jump| since(jump.at, monotonic_nano) < retention_nano);
        Ages {
            now,
            jumps: self.records(monotonic_nano),
            since_back: self.went_back_at.map(|at| since(at, monotonic_nano)),
        }
    }

    /// For the next manifest. Reads no wall clock, so that it may be asked for while a start still learns
    /// what was seen before. `None` while nothing was.
    pub fn record(&self, monotonic_nano: u64) -> Option<ClockRecord> {
        let line = self.line?;
        Some(ClockRecord {
            seen_unix_nano: line.unix_at(monotonic_nano),
            jumps: self.records(monotonic_nano),
            went_back_ago_nano: self.went_back_at.map(|at| since(at, monotonic_nano)),
        })
    }

    fn records(&self, monotonic_nano: u64) -> Vec<JumpRecord> {
        let jumps = self.jumps.iter();
        jumps
            .map(|jump| JumpRecord {
                ago_nano: since(jump.at, monotonic_nano),
                nanos: jump.nanos,
            })
            .collect()
    }

    fn left_out(&self) -> u64 {
        let nanos = self.jumps.iter().map(|jump| jump.nanos);
        nanos.fold(0, u64::saturating_add)
    }

    /// True once the clock has been there for a day.
    fn has_stayed_behind(&mut self, seen: i128, monotonic_nano: u64) -> bool {
        let since = match self.behind {
            Some((offset, since)) if is_near(seen, offset) => since,
            _ => {
                tracing::warn!("the clock went back: arrivals follow it after a day");
                monotonic_nano
            }
        };
        self.behind = Some((seen, since));
        monotonic_nano.saturating_sub(since) >= CLOCK_SETTLE_NANO
    }

    fn jump(&mut self, seen: i128, monotonic_nano: u64) {
        let Some(line) = self.line else {
            return self.follow(seen);
        };
        let by = seen - line.anchor.min(line.believed);
        let nanos = u64::try_from(by.unsigned_abs()).unwrap_or(u64::MAX);
        let at = i128::from(monotonic_nano);
        tracing::info!(
            seconds = by / 1_000_000_000,
            "the clock jumped, or nobody saw time pass: retention leaves a jump ahead out until what \
             came before it has been kept for its age"
        );
        if by > 0 {
            self.jumps.push(Jump { at, nanos });
            self.join_oldest();
        } else {
            self.take_back(nanos);
            self.went_back_at = Some(at);
        }
        self.follow(seen);
    }

    /// The latest jumps are taken back first, so that what is left is the furthest that the clock went
    /// ahead of any moment that still counts.
    fn take_back(&mut self, mut nanos: u64) {
        while let Some(last) = self.jumps.last_mut() {
            if last.nanos > nanos {
                last.nanos -= nanos;
                return;
            }
            nanos -= last.nanos;
            self.jumps.pop();
        }
    }

    fn join_oldest(&mut self) {
        if self.jumps.len() > JUMPS_MAX {
            let oldest = self.jumps.remove(0);
            if let Some(next) = self.jumps.first_mut() {
                next.nanos = next.nanos.saturating_add(oldest.nanos);
            }
        }
    }

    fn follow(&mut self, seen: i128) {
        self.line = Some(Line {
            believed: seen,
            anchor: seen,
        });
        self.behind = None;
    }
}

// === impl Line ===

impl Line {
    fn unix_at(self, monotonic_nano: u64) -> u64 {
        u64::try_from(i128::from(monotonic_nano) + self.believed).unwrap_or(0)
    }
}

fn offset(unix_nano: u64, monotonic_nano: u64) -> i128 {
    i128::from(unix_nano) - i128::from(monotonic_nano)
}

fn is_near(a: i128, b: i128) -> bool {
    (a - b).unsigned_abs() <= u128::from(CLOCK_JUMP_NANO)
}

fn since(at: i128, monotonic_nano: u64) -> u64 {
    u64::try_from(i128::from(monotonic_nano) - at).unwrap_or(0)
}

// === impl Ages ===

impl Ages {
    /// Of a clock that never jumped.
    pub fn at(now_unix_nano: u64) -> Self {
        Self {
            now: now_unix_nano,
            jumps: Vec::new(),
            since_back: None,
        }
    }

    /// How old an arrival is for certain, within an hour.
    pub fn of(&self, arrival_unix_nano: u64) -> u64 {
        self.leaving_out(arrival_unix_nano, u64::MAX)
    }

    /// True of what has been kept for longer than an age: jumps that are older than that leave nothing out.
    pub fn exceeds(&self, arrival_unix_nano: u64, age_nano: u64) -> bool {
        self.leaving_out(arrival_unix_nano, age_nano) > age_nano
    }

    /// Unix time without the jumps that are left out.
    pub fn counted_now(&self) -> u64 {
        self.counted(u64::MAX)
    }

    fn leaving_out(&self, arrival_unix_nano: u64, age_nano: u64) -> u64 {
        if arrival_unix_nano > self.now.saturating_add(CLOCK_JUMP_NANO) {
            // Stamped before the clock went back.
            return self.since_back.unwrap_or(0);
        }
        self.counted(age_nano).saturating_sub(arrival_unix_nano)
    }

    /// Unix time without the jumps that are no older than an age.
    fn counted(&self, age_nano: u64) -> u64 {
        let young = self.jumps.iter().filter(|jump| jump.ago_nano <= age_nano);
        let left_out = young.map(|jump| jump.nanos).fold(0, u64::saturating_add);
        self.now.saturating_sub(left_out)
    }
}

#[cfg(test)]
mod tests;
