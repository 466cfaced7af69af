//! A token bucket that many threads take from without a lock.
//!
//! It holds one number: the time at which it will be full again. Taking bytes moves that time on by what
//! they cost at the rate of the moment; so rate and size may change while it is used.

use std::sync::atomic::{AtomicU64, Ordering};

/// Empty of memory: a bucket that nobody took from is full.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    /// In nanoseconds; in the past, the bucket is full.
    full_at: AtomicU64,
}

const SECOND: u128 = 1_000_000_000;

// === impl RateLimit ===

impl RateLimit {
    /// Takes bytes at this time from a bucket that holds `burst` and gets `rate` a second; else the
    /// nanoseconds until it has them.
    ///
    /// # Hidden contract
    /// The rate is not zero, and the bytes are no more than the burst: they would never be there.
    pub(crate) fn take(&self, now: u64, n_bytes: u64, rate: u64, burst: u64) -> Result<(), u64> {
        debug_assert!(rate > 0 && n_bytes <= burst, "it can never pass");
        let nanos = |bytes: u64| {
            let nanos = u128::from(bytes) * SECOND / u128::from(rate.max(1));
            u64::try_from(nanos).unwrap_or(u64::MAX)
        };
        let (cost, depth) = (nanos(n_bytes), nanos(burst));
        let mut wait = 0;
        let taken = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                let full_at = full_at.max(now).saturating_add(cost);
                wait = full_at.saturating_sub(now.saturating_add(depth));
                (wait == 0).then_some(full_at)
            });
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_burst_passes_then_the_rate() {
        let bucket = RateLimit::default();
        assert_eq!(bucket.take(0, 600, 100, 1_000), Ok(()));
        assert_eq!(bucket.take(0, 400, 100, 1_000), Ok(()));
        assert_eq!(bucket.take(0, 10, 100, 1_000), Err(100 * MS));
        // Who was refused took nothing.
        assert_eq!(bucket.take(99 * MS, 10, 100, 1_000), Err(MS));
        assert_eq!(bucket.take(100 * MS, 10, 100, 1_000), Ok(()));
        assert_eq!(bucket.take(100 * MS, 1, 100, 1_000), Err(10 * MS));
        // After a long rest it is full, and no fuller.
        let later = 3_600_000 * MS;
        assert_eq!(bucket.take(later, 1_000, 100, 1_000), Ok(()));
        assert!(bucket.take(later, 1, 100, 1_000).is_err());
    }

    #[test]
    fn threads_together_take_no_more_than_there_is() {
        let bucket = RateLimit::default();
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        if bucket.take(0, 1, 1, 1_500).is_ok() {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 1_500);
    }
}
