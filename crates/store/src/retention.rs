//! Which blocks go: whole ones, by the age of their tenant and by bytes, judged by when their spans
//! arrived and by [`Ages`], which know of a clock that jumped.
//!
//! Pure decisions over manifest entries. A block covers at most a day of arrivals
//! ([`crate::partition::ARRIVAL_SPREAD_MAX_NANO`]), so what is older than the retention age is gone
//! a day later at the latest, and nothing younger goes. A first block holds spans of all tenants and is
//! kept for the longest age; it lasts until it is merged, a minute as a rule. Deleting is not done here.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use tracewell_model::RetentionAges;

use crate::clock::Ages;
use crate::manifest::{BlockEntry, BlockId};

/// How long and how much is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    pub ages: Arc<RetentionAges>,
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
            let arrival = block.arrival.1;
            if ages.exceeds(arrival, self.age_nano_max(block)) {
                expired.by_age.push(block.id);
            } else {
                let age = ages.of(arrival);
                bytes = bytes.saturating_add(block.bytes);
                kept.push((Reverse(age), arrival, block));
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

    fn age_nano_max(&self, block: &BlockEntry) -> u64 {
        let age = match &block.tenant {
            Some(tenant) => self.ages.of(tenant),
            None => self.ages.longest(),
        };
        nanos(age)
    }
}

pub(crate) fn nanos(age: Duration) -> u64 {
    u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)
}

// === impl Expired ===

impl Expired {
    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty() && self.by_bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tracewell_model::TenantId;

    use super::*;
    use crate::manifest::CLASS_DEFAULT;
    use crate::partition::Bounds;

    const DAY: u64 = 24 * 3_600 * 1_000_000_000;

    fn days(n: u64) -> Duration {
        Duration::from_nanos(n * DAY)
    }

    fn same_for_all(age: Duration) -> Arc<RetentionAges> {
        Arc::new(age.into())
    }

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
            ages: same_for_all(days(14)),
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
    fn a_block_goes_by_the_age_of_its_tenant_and_one_of_several_by_the_longest() {
        let id = |name: &str| TenantId::new(name).unwrap();
        let ages = [("short", 2), ("long", 90)];
        let ages = ages.map(|(name, age)| (id(name), days(age)));
        let retention = Retention {
            ages: Arc::new(RetentionAges {
                others: days(14),
                named: ages.into(),
            }),
            bytes_max: u64::MAX,
        };
        let start = 100 * DAY;
        let tenants = [
            (Some("short"), 2),
            (Some("long"), 90),
            (Some("not-named"), 14),
            (None, 90),
        ];
        let mut blocks = Vec::new();
        for (at, (tenant, age)) in (0u8..).zip(tenants) {
            for day in 0..40u8 {
                let from = start + u64::from(day) * DAY;
                let mut block = block(at * 40 + day, (from, from + DAY), 1);
                block.tenant = tenant.map(id);
                blocks.push((block, age * DAY));
            }
        }
        for now in (0..150 * 4).map(|quarter| start + quarter * DAY / 4) {
            let entries = blocks.iter().map(|(block, _)| block);
            let gone = retention.expired(entries, &Ages::at(now)).by_age;
            for (block, age) in &blocks {
                let is_gone = gone.contains(&block.id);
                let inside = block.arrival.1 >= now.saturating_sub(*age);
                assert_eq!(is_gone, !inside, "{block:?} at {now}");
                // Its first span left the policy a block length ago.
                if now.saturating_sub(*age) > block.arrival.0 + DAY {
                    assert!(is_gone, "{block:?} at {now}");
                }
            }
        }
    }

    #[test]
    fn by_bytes_the_oldest_go_and_no_more_than_needed() {
        let retention = Retention {
            ages: same_for_all(days(1)),
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
            ages: same_for_all(days(1)),
            bytes_max: 0,
        };
        assert_eq!(all.expired(&blocks, &Ages::at(now)).by_bytes.len(), 3);
    }
}
