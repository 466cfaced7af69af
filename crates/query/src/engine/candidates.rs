//! Traces that may be part of an answer, newest first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tracewell_model::TraceId;

/// The order of an answer: start descending, then id ascending.
pub(super) type Place = (Reverse<u64>, TraceId);

/// What is known of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// An upper bound of the filters holds.
    Likely,
    /// What else is asked was looked at, too, but for what only the whole trace tells.
    Decided,
    /// The filters hold.
    Certain,
}

#[derive(Debug)]
pub(super) struct Candidates {
    by_place: BTreeMap<Place, Standing>,
    /// Traces that the answer still takes.
    wanted: usize,
    n_max: usize,
    /// Cut back to what can matter when there are so many.
    n_before_cut: usize,
}

impl Candidates {
    pub(super) fn new(wanted: usize, n_max: usize) -> Self {
        Self {
            by_place: BTreeMap::new(),
            wanted,
            n_max,
            n_before_cut: wanted.saturating_mul(4).max(1_024).min(n_max),
        }
    }

    pub(super) fn insert(&mut self, start: u64, id: TraceId, standing: Standing) {
        self.by_place.insert((Reverse(start), id), standing);
    }

    pub(super) fn remove(&mut self, place: &Place) {
        self.by_place.remove(place);
    }

    /// The first candidates that nothing unread can come before and that are no more than likely.
    pub(super) fn likely(&self, unread_start_max: Option<u64>, n_max: usize) -> Vec<Place> {
        let settled = self.all_settled(unread_start_max);
        let likely = settled.filter(|(_, standing)| **standing == Standing::Likely);
        likely.take(n_max).map(|(place, _)| *place).collect()
    }

    pub(super) fn took(&mut self) {
        self.wanted = self.wanted.saturating_sub(1);
    }

    /// Drops what lies behind enough certain ones. False if there are still too many, and some that
    /// could matter had to be dropped.
    pub(super) fn cut(&mut self) -> bool {
        if self.by_place.len() < self.n_before_cut {
            return true;
        }
        let last = self
            .by_place
            .iter()
            .filter(|(_, standing)| **standing == Standing::Certain)
            .nth(self.wanted.saturating_sub(1))
            .map(|(place, _)| *place);
        if let Some(last) = last {
            let behind = self.by_place.split_off(&last);
            if let Some(standing) = behind.get(&last) {
                self.by_place.insert(last, *standing);
            }
        }
        self.n_before_cut = self
            .by_place
            .len()
            .saturating_mul(2)
            .max(1_024)
            .min(self.n_max);
        if self.by_place.len() < self.n_max {
            return true;
        }
        while self.by_place.len() > self.n_max / 2 {
            self.by_place.pop_last();
        }
        false
    }

    /// The first candidates that nothing unread can come before, as many as are wanted.
    pub(super) fn settled(&self, unread_start_max: Option<u64>) -> Vec<Place> {
        let settled = self.all_settled(unread_start_max);
        settled.take(self.wanted).map(|(place, _)| *place).collect()
    }

    fn all_settled(
        &self,
        unread_start_max: Option<u64>,
    ) -> impl Iterator<Item = (&Place, &Standing)> {
        let is_settled =
            move |place: &Place| unread_start_max.is_none_or(|unread| place.0.0 > unread);
        let all = self.by_place.iter();
        all.take_while(move |(place, _)| is_settled(place))
    }
}
