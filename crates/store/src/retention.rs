//! Which blocks go: whole ones, by age and by bytes, judged by when their spans arrived and by
//! [`Ages`], which know of a clock that jumped.
//!
//! Pure decisions over manifest entries. A block covers at most a day of arrivals
//! ([`crate::partition::ARRIVAL_SPREAD_MAX_NANO`]), so what is older than the retention age is gone
//! a day later at the latest, and nothing younger goes. Deleting is not done here.

use std::cmp::Reverse;

use crate::clock::Ages;
use crate::manifest::{BlockEntry, BlockId};

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

// === impl Retention ===

impl Retention {
    /// Blocks that go by age do not count as bytes.
    pub fn expired<'a>(
        &self,
        blocks: impl IntoIterator<Item = &'a BlockEntry>,
        ages: &Ages,
    ) -> Expired {
        let mut expired = Expired::default();
        let mut kept = Vec::new();
        let mut bytes = 0u64;
        for block in blocks {
            let age = ages.of(block.arrival.1);
            if age > self.age_nano {
                expired.by_age.push(block.id);
            } else {
                bytes = bytes.saturating_add(block.bytes);
                kept.push((Reverse(age), block.arrival.1, block));
            }
        }
        kept.sort_unstable_by_key(|(age, arrival, block)| (*age, *arrival, block.id));
        for (_, _, block) in kept {
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
            writer: None,
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
            let gone = retention.expired(&blocks, &Ages::at(now)).by_age;
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
        let expired = retention.expired(&blocks, &Ages::at(now));
        assert_eq!(expired.by_age, [blocks[3].id]);
        assert_eq!(expired.by_bytes, [blocks[2].id]);
        let all = Retention {
            age_nano: DAY,
            bytes_max: 0,
        };
        assert_eq!(all.expired(&blocks, &Ages::at(now)).by_bytes.len(), 3);
    }
}
