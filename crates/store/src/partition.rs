//! Which hour a trace is filed under, and which block ranges may be merged.
//!
//! Pure arithmetic over Unix nanoseconds; nothing here knows a block or a clock.

use std::fmt;

use serde::{Deserialize, Serialize};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_HOUR: u64 = 3_600 * NANOS_PER_SECOND;
const NANOS_PER_DAY: u64 = 24 * NANOS_PER_HOUR;
const HOURS_PER_DAY: u32 = 24;

/// Blocks whose arrivals would lie further apart are never merged, so that dropping whole blocks
/// keeps to the retention age within a day.
pub const ARRIVAL_SPREAD_MAX_NANO: u64 = NANOS_PER_DAY;

/// An hour of trace start, or the whole day that it was merged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Partition {
    /// Hours since the Unix epoch of its first hour.
    pub hour: u32,
    /// 1 or 24.
    pub hours: u8,
}

/// How far a start may lie from its arrival before the sender's clock is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockBounds {
    pub past_nano: u64,
    pub future_nano: u64,
}

/// Where a trace goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filed {
    pub partition: Partition,
    /// True if the sender's clock was not believed.
    pub by_arrival: bool,
}

/// Smallest and largest arrival, both inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds(pub u64, pub u64);

// === impl Partition ===

impl Partition {
    /// The hour that a time lies in. Times up to the year 2554 fit.
    pub fn hour_of(unix_nano: u64) -> Self {
        Self {
            hour: u32::try_from(unix_nano / NANOS_PER_HOUR).unwrap_or(u32::MAX),
            hours: 1,
        }
    }

    /// The day around it.
    pub fn day(self) -> Self {
        Self {
            hour: self.hour - self.hour % HOURS_PER_DAY,
            hours: 24,
        }
    }

    pub fn is_day(self) -> bool {
        self.hours > 1
    }

    /// First nanosecond behind it.
    pub fn end_unix_nano(self) -> u64 {
        (u64::from(self.hour) + u64::from(self.hours)).saturating_mul(NANOS_PER_HOUR)
    }
}

impl fmt::Display for Partition {
    /// `2026-11-22T19` for an hour, `2026-11-22` for a day, both UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.hour / HOURS_PER_DAY);
        write!(f, "{year:04}-{month:02}-{day:02}")?;
        if self.is_day() {
            Ok(())
        } else {
            write!(f, "T{:02}", self.hour % HOURS_PER_DAY)
        }
    }
}

/// Year, month and day of the proleptic Gregorian calendar, from days since 1970-01-01.
/// Source: Howard Hinnant, "chrono-compatible low-level date algorithms".
fn civil_from_days(days: u32) -> (u32, u32, u32) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + u32::from(month <= 2), month, day)
}

// === impl ClockBounds ===

impl Default for ClockBounds {
    fn default() -> Self {
        Self {
            past_nano: 14 * NANOS_PER_DAY,
            future_nano: NANOS_PER_HOUR,
        }
    }
}

impl ClockBounds {
    /// True if a start can be believed of something that arrived within the bounds.
    pub fn believes(&self, start_unix_nano: u64, arrival: Bounds) -> bool {
        start_unix_nano >= arrival.0.saturating_sub(self.past_nano)
            && start_unix_nano <= arrival.1.saturating_add(self.future_nano)
    }

    /// Files a trace by its start, or by its arrival where the start cannot be believed.
    pub fn file(&self, trace_start_unix_nano: u64, arrival: Bounds) -> Filed {
        let by_arrival = !self.believes(trace_start_unix_nano, arrival);
        let time = if by_arrival {
            arrival.0
        } else {
            trace_start_unix_nano
        };
        Filed {
            partition: Partition::hour_of(time),
            by_arrival,
        }
    }
}

// === impl Bounds ===

impl Bounds {
    /// Contains nothing; the neutral element of [`Bounds::with`].
    pub const NONE: Self = Self(u64::MAX, 0);

    pub fn with(self, other: Self) -> Self {
        Self(self.0.min(other.0), self.1.max(other.1))
    }

    /// Largest minus smallest; zero for nothing.
    pub fn spread(self) -> u64 {
        self.1.saturating_sub(self.0)
    }

    /// True if blocks that arrived within these bounds may become one.
    pub fn may_merge(self) -> bool {
        self.spread() <= ARRIVAL_SPREAD_MAX_NANO
    }

    /// The gap between two stretches of time; zero if they touch.
    pub fn distance(self, other: Self) -> u64 {
        other
            .0
            .saturating_sub(self.1)
            .max(self.0.saturating_sub(other.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = 1_795_375_161 * NANOS_PER_SECOND; // 2026-11-22T19:19:21Z

    #[test]
    fn a_partition_is_an_hour_or_the_day_around_it() {
        let hour = Partition::hour_of(T);
        assert_eq!(hour.to_string(), "2026-11-22T19");
        assert_eq!(hour.day().to_string(), "2026-11-22");
        assert_eq!(hour.day().day(), hour.day());
        assert!(hour.end_unix_nano() > T && hour.end_unix_nano() - T <= NANOS_PER_HOUR);
        assert_eq!(Partition::hour_of(hour.end_unix_nano() - 1), hour);
        assert_ne!(Partition::hour_of(hour.end_unix_nano()), hour);
        assert_eq!(Partition::hour_of(0).to_string(), "1970-01-01T00");
        assert_eq!(Partition::hour_of(u64::MAX).to_string(), "2554-07-21T23");
        // A leap day and the days around it.
        for (days, text) in [
            (11_015, "2000-02-28"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
        ] {
            let day = Partition {
                hour: days * 24,
                hours: 24,
            };
            assert_eq!(day.to_string(), text);
        }
    }

    #[test]
    fn a_clock_that_is_off_is_filed_by_arrival() {
        let bounds = ClockBounds::default();
        let arrival = Bounds(T, T + 60 * NANOS_PER_SECOND);
        let cases = [
            (T, false),
            (T - 14 * NANOS_PER_DAY, false),
            (T - 14 * NANOS_PER_DAY - 1, true),
            (arrival.1 + NANOS_PER_HOUR, false),
            (arrival.1 + NANOS_PER_HOUR + 1, true),
            (0, true),
            (u64::MAX, true),
        ];
        for (start, by_arrival) in cases {
            let filed = bounds.file(start, arrival);
            assert_eq!(filed.by_arrival, by_arrival, "{start}");
            let time = if by_arrival { T } else { start };
            assert_eq!(filed.partition, Partition::hour_of(time), "{start}");
        }
    }

    #[test]
    fn arrivals_more_than_a_day_apart_are_not_merged() {
        let a = Bounds(T, T + 10);
        assert!(a.with(Bounds(T - 5, T)).may_merge());
        assert!(Bounds(T, T + NANOS_PER_DAY).may_merge());
        assert!(
            !a.with(Bounds(T + NANOS_PER_DAY + 1, T + NANOS_PER_DAY + 1))
                .may_merge()
        );
        assert_eq!(Bounds::NONE.with(a), a);
        assert_eq!(a.distance(Bounds(T + 5, T + 7)), 0);
        assert_eq!(a.distance(Bounds(T + 15, T + 17)), 5);
        assert_eq!(Bounds(T + 15, T + 17).distance(a), 5);
    }
}
