//! Time as a parameter: nothing below the binary reads the clock of the machine by itself.

/// Where "now" comes from. Tests use a fake one.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Nanoseconds since the Unix epoch. It may jump in both directions.
    fn now_unix_nano(&self) -> u64;
    /// Nanoseconds since some start; never goes back, and goes on while the machine sleeps.
    fn monotonic_nano(&self) -> u64;
}

/// A half-open range of Unix nanoseconds: `start <= t < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    pub start: u64,
    pub end: u64,
}

// === impl TimeRange ===

impl TimeRange {
    /// Every time there is, but for the very last nanosecond of 2554.
    pub const ALL: Self = Self {
        start: 0,
        end: u64::MAX,
    };

    pub fn contains(&self, unix_nano: u64) -> bool {
        // The last nanosecond belongs to ALL: a hostile span must not fall out of every window.
        self.start <= unix_nano && (unix_nano < self.end || self.end == u64::MAX)
    }

    /// True if some time in `min..=max` lies in the range.
    pub fn intersects(&self, min: u64, max: u64) -> bool {
        self.start <= max && (min < self.end || self.end == u64::MAX)
    }

    /// True if every time in `min..=max` lies in the range.
    pub fn covers(&self, min: u64, max: u64) -> bool {
        self.contains(min) && self.contains(max)
    }
}
