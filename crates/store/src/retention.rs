//! Which blocks go: whole ones, by age and by bytes, judged by when their spans arrived.
//!
//! Pure decisions over manifest entries. A block covers at most a day of arrivals
//! ([`crate::partition::ARRIVAL_SPREAD_MAX_NANO`]), so what is older than the retention age is gone
//! a day later at the latest, and nothing younger goes. Deleting is not done here.

use crate::manifest::{BlockEntry, BlockId};

/// A wall clock that departs from the monotonic one by more than this has jumped.
pub const CLOCK_JUMP_NANO: u64 = 3_600 * 1_000_000_000;
/// How long a clock that jumped must stay there before it is believed.
pub const CLOCK_SETTLE_NANO: u64 = 24 * 3_600 * 1_000_000_000;

/// How long and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub age_nano: u64,
    /// Bytes of all blocks.
    pub bytes_max: u64,
}

/// What has to go, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    pub by_age: Vec<BlockId>,
    pub by_bytes: Vec<BlockId>,
}

/// The wall clock as arrivals are stamped and retention believes it. A clock that is set wrong by
/// years, even for a moment, must neither delete everything nor date what arrives so that it is deleted
/// when the clock is right again: a jump in either direction is believed only after a day.
#[derive(Debug, Clone, Copy)]
pub struct BelievedClock {
    /// Wall minus monotonic time, as believed.
    offset: i128,
    /// The offset of a clock that jumped, and since when on the monotonic clock.
    jumped: Option<(i128, u64)>,
}

// === impl Retention ===

impl Retention {
    /// `now` is Unix time. Blocks that go by age do not count as bytes.
    pub fn expired<'a>(
        &self,
        blocks: impl IntoIterator<Item = &'a BlockEntry>,
        now: u64,
    ) -> Expired {
        let oldest_kept = now.saturating_sub(self.age_nano);
        let mut expired = Expired::default();
        let mut kept = Vec::new();
        let mut bytes = 0u64;
        for block in blocks {
            if block.arrival.1 < oldest_kept {
                expired.by_age.push(block.id);
            } else {
                bytes = bytes.saturating_add(block.bytes);
                kept.push(block);
            }
        }
        kept.sort_unstable_by_key(|block| (block.arrival.1, block.id));
        for block in kept {
            if bytes <= self.bytes_max {
                break;
            }
            bytes -= block.bytes;
            expired.by_bytes.push(block.id);
        }
        expired
    }
}

// === impl Expired ===

impl Expired {
    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty() && self.by_bytes.is_empty()
    }
}

// === impl BelievedClock ===

impl BelievedClock {
    pub fn new(unix_nano: u64, monotonic_nano: u64) -> Self {
        Self {
            offset: offset(unix_nano, monotonic_nano),
            jumped: None,
        }
    }

    /// The Unix time to stamp and to judge by.
    pub fn now(&mut self, unix_nano: u64, monotonic_nano: u64) -> u64 {
        let seen = offset(unix_nano, monotonic_nano);
        let near = |a: i128, b: i128| (a - b).unsigned_abs() <= u128::from(CLOCK_JUMP_NANO);
        if near(seen, self.offset) {
            self.offset = seen;
            self.jumped = None;
        } else {
            let since = match self.jumped {
                Some((offset, since)) if near(seen, offset) => since,
                _ => {
                    tracing::warn!(
                        seconds = (seen - self.offset) / 1_000_000_000,
                        "the clock jumped: arrivals and retention believe it after a day"
                    );
                    monotonic_nano
                }
            };
            self.jumped = Some((seen, since));
            if monotonic_nano.saturating_sub(since) >= CLOCK_SETTLE_NANO {
                self.offset = seen;
                self.jumped = None;
            }
        }
        u64::try_from(i128::from(monotonic_nano) + self.offset).unwrap_or(0)
    }
}

fn offset(unix_nano: u64, monotonic_nano: u64) -> i128 {
    i128::from(unix_nano) - i128::from(monotonic_nano)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::CLASS_DEFAULT;
    use crate::partition::Bounds;

    const DAY: u64 = 24 * 3_600 * 1_000_000_000;

    fn block(n: u8, arrival: (u64, u64), bytes: u64) -> BlockEntry {
        BlockEntry {
            id: BlockId([n; 16]),
            level: 1,
            format: 1,
            tenant: None,
            partition: None,
            class: CLASS_DEFAULT.to_owned(),
            spans: 1,
            traces: 1,
            trace_start: Bounds(0, 0),
            span_start: Bounds(0, 0),
            arrival: Bounds(arrival.0, arrival.1),
            bytes,
            files: Vec::new(),
            log: None,
            made_from: Vec::new(),
            delete_set: None,
        }
    }

    #[test]
    fn nothing_inside_the_age_goes_and_nothing_outside_stays_a_day_longer() {
        let retention = Retention {
            age_nano: 14 * DAY,
            bytes_max: u64::MAX,
        };
        let start = 100 * DAY;
        let blocks: Vec<_> = (0..200u8)
            .map(|n| {
                let from = start + u64::from(n) * DAY / 7;
                block(n, (from, from + u64::from(n % 8) * DAY / 7), 1)
            })
            .collect();
        for now in (0..400).map(|hour| start + hour * DAY / 24 * 3) {
            let gone = retention.expired(&blocks, now).by_age;
            for block in &blocks {
                let is_gone = gone.contains(&block.id);
                let inside = block.arrival.1 >= now.saturating_sub(14 * DAY);
                assert_eq!(is_gone, !inside, "{block:?} at {now}");
                // One block length after its first span left the policy, a block is gone.
                if now.saturating_sub(14 * DAY) > block.arrival.0 + DAY {
                    assert!(is_gone, "{block:?} at {now}");
                }
            }
        }
    }

    #[test]
    fn by_bytes_the_oldest_go_and_no_more_than_needed() {
        let retention = Retention {
            age_nano: DAY,
            bytes_max: 100,
        };
        let now = 10 * DAY;
        let blocks = [
            block(1, (now, now), 60),
            block(2, (now - 5, now - 1), 30),
            block(3, (now - 4, now - 2), 30),
            block(4, (now - 3 * DAY, now - 2 * DAY), 1_000),
        ];
        let expired = retention.expired(&blocks, now);
        assert_eq!(expired.by_age, [blocks[3].id]);
        assert_eq!(expired.by_bytes, [blocks[2].id]);
        let all = Retention {
            age_nano: DAY,
            bytes_max: 0,
        };
        assert_eq!(all.expired(&blocks, now).by_bytes.len(), 3);
    }

    #[test]
    fn a_clock_that_jumps_is_believed_after_a_day() {
        let mut clock = BelievedClock::new(100 * DAY, 0);
        assert_eq!(clock.now(100 * DAY + 5, 5), 100 * DAY + 5);
        // Ten years ahead for a while, and back.
        assert_eq!(clock.now(3_750 * DAY, 10), 100 * DAY + 10);
        assert_eq!(clock.now(3_751 * DAY - 11, DAY - 1), 101 * DAY - 1);
        assert_eq!(clock.now(101 * DAY, DAY), 101 * DAY);
        // Ahead for good.
        assert_eq!(clock.now(202 * DAY, 2 * DAY), 102 * DAY);
        assert_eq!(clock.now(203 * DAY - 1, 3 * DAY - 1), 103 * DAY - 1);
        assert_eq!(clock.now(203 * DAY, 3 * DAY), 203 * DAY);
        // Back as well.
        assert_eq!(clock.now(50 * DAY, 3 * DAY + 1), 203 * DAY + 1);
        assert_eq!(clock.now(51 * DAY, 4 * DAY + 1), 51 * DAY);
        // A drift within an hour is no jump.
        let drifted = 51 * DAY + CLOCK_JUMP_NANO;
        assert_eq!(clock.now(drifted, 4 * DAY + 1), drifted);
    }
}
