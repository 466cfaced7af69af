//! Stretches of time that hold few enough traces for one search.

use anyhow::{Result, bail};

/// What one search is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) start: u64,
    /// Not part of it.
    pub(super) end: u64,
    pub(super) limit: usize,
}

/// Goes through a time, oldest first, in Unix nanoseconds.
#[derive(Debug)]
pub(super) struct Stretches {
    start: u64,
    end: u64,
    width: u64,
    /// What a server answered whole at most.
    width_max: u64,
    limit: usize,
}

/// So many traces are held as ids, and few enough for one to be written every moment.
const LIMIT: usize = 1_000;
/// What a server of this API gives at most.
const LIMIT_MAX: usize = 262_144;
const WIDTH_FIRST: u64 = 60_000_000_000;
const WIDTH_MIN: u64 = 1_000_000;

// === impl Stretch ===

impl Stretch {
    pub(super) fn holds(&self, unix_nano: u64) -> bool {
        (self.start..self.end).contains(&unix_nano)
    }
}

// === impl Stretches ===

impl Stretches {
    pub(super) fn new(start: u64, end: u64) -> Self {
        Self {
            start,
            end,
            width: WIDTH_FIRST,
            width_max: u64::MAX,
            limit: LIMIT,
        }
    }

    /// What to ask for: the same again, smaller or with a higher limit, after one that held too much.
    pub(super) fn current(&self) -> Option<Stretch> {
        (self.start < self.end).then(|| Stretch {
            start: self.start,
            end: self.end.min(self.start.saturating_add(self.width)),
            limit: self.limit,
        })
    }

    /// Told that the server did not get through: the next stretch is shorter. False if it cannot be.
    pub(super) fn narrow(&mut self) -> bool {
        let was = self.width.min(self.end.saturating_sub(self.start));
        self.width = (was / 4).max(WIDTH_MIN);
        self.width_max = self.width;
        self.width < was
    }

    /// Told how many traces the search gave, and how many of them start in the stretch. If those may not be
    /// all, the next stretch is another attempt at the same time; else it is the one after it.
    pub(super) fn is_too_much(&mut self, n_found: usize, n_starting: usize) -> Result<bool> {
        if n_found < self.limit {
            self.start = self.start.saturating_add(self.width).min(self.end);
            if n_found * 4 < self.limit {
                self.width = self.width.saturating_mul(2).min(self.width_max);
                self.limit = (self.limit / 2).max(LIMIT);
            }
            return Ok(false);
        }
        // Traces that reach into the stretch reach into a smaller one, too.
        let can_shrink = self.width > WIDTH_MIN;
        if can_shrink && (n_starting * 2 >= n_found || self.limit == LIMIT_MAX) {
            self.width = (self.width / 4).max(WIDTH_MIN);
        } else if self.limit < LIMIT_MAX {
            self.limit = (self.limit * 4).min(LIMIT_MAX);
        } else {
            bail!(
                "{n_found} traces or more have a span within one millisecond; a narrower query tells them apart"
            );
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes through traces that start at `starts` and last for `duration`; what each search is asked for,
    /// and which traces are counted to a stretch.
    fn walk(starts: &[u64], duration: u64, end: u64) -> Result<(Vec<Stretch>, Vec<u64>)> {
        let mut stretches = Stretches::new(0, end);
        let (mut asked, mut counted) = (Vec::new(), Vec::new());
        while let Some(stretch) = stretches.current() {
            let reaching = starts
                .iter()
                .filter(|start| **start < stretch.end && **start + duration >= stretch.start);
            // Newest first, as a search gives them.
            let found: Vec<&u64> = reaching.clone().rev().take(stretch.limit).collect();
            let n_starting = found.iter().filter(|it| ***it >= stretch.start).count();
            asked.push(stretch.clone());
            if !stretches.is_too_much(found.len(), n_starting)? {
                counted.extend(reaching.filter(|start| **start >= stretch.start));
            }
            assert!(asked.len() < 100_000);
        }
        Ok((asked, counted))
    }

    #[test]
    fn every_trace_is_counted_once() {
        let dense: Vec<u64> = (0..50_000).map(|number| number * 1_000_000).collect();
        for duration in [0, 2_000_000_000] {
            let (asked, mut counted) = walk(&dense, duration, 3_600_000_000_000).unwrap();
            counted.sort_unstable();
            assert_eq!(counted, dense, "lasting {duration}");
            assert!(asked.len() < 2_000, "{}", asked.len());
        }
    }

    #[test]
    fn empty_centuries_take_few_searches() {
        let (asked, counted) = walk(&[], 0, u64::MAX).unwrap();
        assert!(asked.len() < 50 && counted.is_empty(), "{}", asked.len());
        assert_eq!(asked.last().unwrap().end, u64::MAX);
    }

    #[test]
    fn a_stretch_that_is_too_long_for_a_server_is_cut_and_does_not_grow_back() {
        let day = 86_400_000_000_000;
        let mut stretches = Stretches::new(0, day);
        let mut asked = 0;
        while let Some(stretch) = stretches.current() {
            asked += 1;
            match stretch.end - stretch.start > day / 100 {
                true => assert!(stretches.narrow()),
                false => assert!(!stretches.is_too_much(0, 0).unwrap()),
            }
        }
        assert!((100..500).contains(&asked), "{asked}");
        let mut stretches = Stretches::new(0, day);
        let narrowed = std::iter::from_fn(|| stretches.narrow().then_some(())).count();
        assert!(narrowed < 10, "it ends at a millisecond");
    }

    #[test]
    fn more_than_a_search_can_give_is_an_error() {
        let at_once = vec![5; LIMIT_MAX];
        let error = walk(&at_once, 0, 10_000_000).unwrap_err().to_string();
        assert!(error.contains("within one millisecond"), "{error}");
        let (_, counted) = walk(&at_once[..LIMIT_MAX - 1], 0, 10_000_000).unwrap();
        assert_eq!(counted.len(), LIMIT_MAX - 1);
    }
}
