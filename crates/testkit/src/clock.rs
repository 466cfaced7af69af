//! A clock that stands still until a test moves it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracewell_model::Clock;

/// Wall time and monotonic time move together, except where a test makes the wall clock jump.
#[derive(Debug)]
pub struct FakeClock {
    unix_nano: AtomicU64,
    monotonic_nano: AtomicU64,
}

// === impl FakeClock ===

impl FakeClock {
    /// Starts at a Unix time in nanoseconds.
    pub fn new(unix_nano: u64) -> Self {
        Self {
            unix_nano: AtomicU64::new(unix_nano),
            monotonic_nano: AtomicU64::new(0),
        }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.unix_nano.fetch_add(by, Ordering::SeqCst);
        self.monotonic_nano.fetch_add(by, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, forward or back, as an operator or NTP does.
    pub fn jump_to(&self, unix_nano: u64) {
        self.unix_nano.store(unix_nano, Ordering::SeqCst);
    }
}

impl Default for FakeClock {
    /// 2026-11-22 00:00:00 UTC.
    fn default() -> Self {
        Self::new(1_795_305_600_000_000_000)
    }
}

impl Clock for FakeClock {
    fn now_unix_nano(&self) -> u64 {
        self.unix_nano.load(Ordering::SeqCst)
    }

    fn monotonic_nano(&self) -> u64 {
        self.monotonic_nano.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_moves_the_wall_clock_alone() {
        let clock = FakeClock::default();
        let start = clock.now_unix_nano();
        clock.advance(Duration::from_secs(2));
        clock.jump_to(5);
        clock.advance(Duration::from_nanos(1));
        assert_eq!((clock.now_unix_nano(), start > 5), (6, true));
        assert_eq!(clock.monotonic_nano(), 2_000_000_001);
        assert_eq!(FakeClock::default().now_unix_nano() % 86_400_000_000_000, 0);
    }
}
