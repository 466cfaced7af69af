//! The intervals of a metrics query.

/// Intervals of equal length, or one that is as long as the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Where the first interval ends, in Unix nanoseconds.
    first_end: u64,
    step: u64,
    n: usize,
    is_instant: bool,
}

/// Intervals of one query, so that each may be a pixel of a wide screen.
pub const INTERVALS_MAX: u64 = 10_000;

/// Why there are no such intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AxisError {
    #[error("start must be before end")]
    Empty,
    #[error("step must be above 0")]
    NoStep,
    #[error("step of {} is too small, minimum step for this range is {}", seconds(*.step), seconds(*.step_min))]
    TooMany { step: u64, step_min: u64 },
}

impl Axis {
    /// The intervals of `step` nanoseconds that cover a range: from the multiple of the step before its start,
    /// and the interval that ends there, to the multiple behind its end.
    pub fn of_range(start: u64, end: u64, step: u64) -> Result<Self, AxisError> {
        if start >= end {
            return Err(AxisError::Empty);
        }
        if step == 0 {
            return Err(AxisError::NoStep);
        }
        let first_end = start / step * step;
        let last_end = end.div_ceil(step).saturating_mul(step);
        let n = (last_end - first_end) / step + 1;
        if n > INTERVALS_MAX {
            let step_min = (end - start).div_ceil(INTERVALS_MAX - 2);
            return Err(AxisError::TooMany { step, step_min });
        }
        Ok(Self {
            first_end,
            step,
            n: usize::try_from(n).unwrap_or(usize::MAX),
            is_instant: false,
        })
    }

    /// One interval, with both of its ends.
    pub fn instant(start: u64, end: u64) -> Result<Self, AxisError> {
        if start >= end {
            return Err(AxisError::Empty);
        }
        Ok(Self {
            first_end: end,
            step: end - start,
            n: 1,
            is_instant: true,
        })
    }

    /// How many intervals there are.
    pub fn n(&self) -> usize {
        self.n
    }

    pub fn is_instant(&self) -> bool {
        self.is_instant
    }

    /// The interval of a time.
    pub fn interval(&self, unix_nano: u64) -> Option<usize> {
        let index = match self.first_end.checked_sub(unix_nano) {
            Some(before) if before < self.step => 0,
            // An instant has both of its ends.
            Some(before) if before == self.step && self.is_instant => 0,
            Some(_) => return None,
            None => 1 + (unix_nano - self.first_end - 1) / self.step,
        };
        usize::try_from(index).ok().filter(|index| *index < self.n)
    }

    /// [`Self::interval`] for times that lie near each other: an interval is worked out once for those in it.
    pub(crate) fn finder(&self) -> impl FnMut(u64) -> Option<usize> {
        let axis = *self;
        let mut known: Option<(u64, u64, usize)> = None;
        move |unix_nano| {
            if let Some((after, end, interval)) = known
                && after < unix_nano
                && unix_nano <= end
            {
                return Some(interval);
            }
            let interval = axis.interval(unix_nano)?;
            let end = axis.end_of(interval);
            known = Some((end.saturating_sub(axis.step), end, interval));
            Some(interval)
        }
    }

    /// Where an interval ends, in Unix nanoseconds.
    pub fn end_of(&self, interval: usize) -> u64 {
        let n = u64::try_from(interval).unwrap_or(u64::MAX);
        self.first_end.saturating_add(self.step.saturating_mul(n))
    }

    /// Starts of spans that are counted, half-open.
    pub fn window(&self) -> tracewell_model::TimeRange {
        let open = u64::from(!self.is_instant);
        let start = self.first_end.checked_sub(self.step);
        tracewell_model::TimeRange {
            start: start.map_or(0, |start| start + open),
            end: self.end_of(self.n.saturating_sub(1)).saturating_add(1),
        }
    }

    /// Of one interval.
    pub fn seconds(&self) -> f64 {
        self.step as f64 / 1e9
    }

    /// The step where none is asked for: at most 240 intervals, of a length that people count in.
    pub fn default_step(start: u64, end: u64) -> u64 {
        const SECOND: u64 = 1_000_000_000;
        const UNITS: [u64; 6] = [3_600, 300, 60, 15, 5, 1];
        let range = end.saturating_sub(start);
        let share = range / 240;
        if range < 60 * SECOND {
            let unit = 50_000_000;
            return (share / unit * unit).max(unit);
        }
        let units = UNITS.iter().map(|unit| unit * SECOND);
        let unit = units
            .into_iter()
            .find(|unit| *unit < share)
            .unwrap_or(SECOND);
        (share / unit * unit).max(SECOND)
    }
}

fn seconds(nanos: u64) -> crate::scalar::GoDuration {
    crate::scalar::GoDuration(i64::try_from(nanos).unwrap_or(i64::MAX))
}
