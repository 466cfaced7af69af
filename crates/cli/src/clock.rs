//! The machine's clock: the only one that reads it for the parts of the server.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};
use tracewell_model::Clock;

/// Counts the time for which the machine sleeps, which `std::time::Instant` does not on Linux.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

#[derive(Debug)]
pub(crate) struct SystemClock;

/// Unix nanoseconds.
pub(crate) fn now() -> u64 {
    SystemClock.now_unix_nano()
}

/// A moment in UTC, to the second.
pub(crate) fn utc(unix_nano: u64) -> String {
    let seconds = i64::try_from(unix_nano / 1_000_000_000).ok();
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(
        || format!("{unix_nano} ns after 1970"),
        |time| time.to_string(),
    )
}

// === impl SystemClock ===

impl Clock for SystemClock {
    fn now_unix_nano(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn monotonic_nano(&self) -> u64 {
        nanos(clock_gettime(MONOTONIC))
    }
}

fn nanos(time: Timespec) -> u64 {
    let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanos).unwrap_or(0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Where the machine never slept, the clocks that do and do not count it are equal; both count since
    /// it was started, which `Instant` says nothing of.
    #[test]
    fn monotonic_time_is_that_since_the_machine_was_started() {
        let boot = || nanos(clock_gettime(ClockId::Boottime));
        for _ in 0..100 {
            let (before, seen, after) = (boot(), SystemClock.monotonic_nano(), boot());
            assert!((before..=after).contains(&seen), "{before} {seen} {after}");
        }
    }
}
