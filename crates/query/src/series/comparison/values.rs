//! The values of one attribute, and how often each was met. Frequent ones are found in bounded memory.
//!
//! Of more values than are told apart the rarest are forgotten, half of them at a time. A value that is met again
//! may have been met before as often as any that was forgotten. That grows by one with every half of the places
//! that are met: of `n` spans and `m` places it is `2 n / m` at most, so that no value that more spans have is
//! missed. This is Space-Saving (Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k
//! elements in data streams", 2005), with half of the places given up at once.

use std::cmp::Ordering;

use foldhash::HashMap;

use crate::scalar::Scalar;
use crate::series::Axis;

/// Bytes of the place of a value and of a cell: estimates.
const VALUE_BYTES: u64 = 128;
const CELL_BYTES: u64 = 24;

/// The values of one attribute.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) total: Cells,
    each: HashMap<Scalar, Counted>,
    /// So many spans a value may have that is not among them.
    n_forgotten: f64,
    n_bytes: u64,
}

#[derive(Debug, Default)]
struct Counted {
    cells: Cells,
    /// So many spans more it may have, from before it was forgotten.
    before: f64,
}

/// How many spans there are, in all and by interval.
#[derive(Debug, Default)]
pub(super) struct Cells {
    n: f64,
    /// In the order of the intervals; none of nothing.
    by_interval: Vec<(u32, f64)>,
}

// === impl Values ===

impl Values {
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// True if there are more values than so many.
    pub(super) fn are_more_than(&self, n_max: usize) -> bool {
        self.n_forgotten > 0.0 || self.each.len() > n_max
    }

    /// Spans by which a count may be too low, if that is more than a hundredth of all.
    pub(super) fn n_uncertain(&self) -> Option<f64> {
        (self.n_forgotten > self.total.n / 100.0).then_some(self.n_forgotten)
    }

    /// Adds spans of one value and interval. So many values are told apart at most.
    pub(super) fn add(&mut self, value: Scalar, interval: u32, n: f64, n_max: usize) {
        self.n_bytes += self.total.add(interval, n);
        if let Some(counted) = self.each.get_mut(&value) {
            self.n_bytes += counted.cells.add(interval, n);
            return;
        }
        if self.each.len() >= n_max {
            self.forget_all_but(n_max / 2);
        }
        let mut counted = Counted {
            cells: Cells::default(),
            before: self.n_forgotten,
        };
        self.n_bytes += VALUE_BYTES + value.n_bytes() + counted.cells.add(interval, n);
        self.each.insert(value, counted);
    }

    /// Keeps so many values, the most frequent; of those as frequent the smaller.
    pub(super) fn forget_all_but(&mut self, n_kept: usize) {
        if self.each.len() <= n_kept {
            return;
        }
        let each = self.each.iter();
        let mut all: Vec<(f64, Scalar)> = each
            .map(|(value, counted)| (counted.n_at_most(), value.clone()))
            .collect();
        all.select_nth_unstable_by(n_kept, |(a, of_a), (b, of_b)| {
            b.total_cmp(a).then_with(|| of_a.cmp(of_b))
        });
        for (n, value) in all.iter().skip(n_kept) {
            self.n_forgotten = self.n_forgotten.max(*n);
            if let Some(counted) = self.each.remove(value) {
                let n_bytes = VALUE_BYTES + value.n_bytes() + counted.cells.n_bytes();
                self.n_bytes = self.n_bytes.saturating_sub(n_bytes);
            }
        }
    }

    /// Gives back the room of what was forgotten.
    pub(super) fn shrink(&mut self) {
        self.each.shrink_to_fit();
    }

    /// So many, the most frequent first; of two as frequent the smaller.
    pub(super) fn most_frequent(&self, n_max: usize) -> Vec<(Scalar, &Cells)> {
        let by_number = |a: &(&Scalar, &Cells), b: &(&Scalar, &Cells)| -> Ordering {
            b.1.n.total_cmp(&a.1.n).then_with(|| a.0.cmp(b.0))
        };
        let each = self.each.iter();
        let mut all: Vec<(&Scalar, &Cells)> = each.map(|(it, of)| (it, &of.cells)).collect();
        if all.len() > n_max {
            all.select_nth_unstable_by(n_max, by_number);
            all.truncate(n_max);
        }
        all.sort_unstable_by(by_number);
        let all = all.into_iter();
        all.map(|(value, cells)| (value.clone(), cells)).collect()
    }
}

// === impl Counted ===

impl Counted {
    fn n_at_most(&self) -> f64 {
        self.before + self.cells.n
    }
}

// === impl Cells ===

impl Cells {
    /// Returns the bytes that it takes more.
    fn add(&mut self, interval: u32, n: f64) -> u64 {
        self.n += n;
        let at = match self.by_interval.last() {
            Some((last, _)) if *last < interval => Err(self.by_interval.len()),
            _ => self.by_interval.binary_search_by_key(&interval, |it| it.0),
        };
        match at {
            Ok(at) => {
                if let Some((_, known)) = self.by_interval.get_mut(at) {
                    *known += n;
                }
                0
            }
            Err(at) => {
                if self.by_interval.is_empty() {
                    // Most values are rare.
                    self.by_interval.reserve_exact(1);
                }
                self.by_interval.insert(at, (interval, n));
                CELL_BYTES
            }
        }
    }

    fn n_bytes(&self) -> u64 {
        CELL_BYTES * self.by_interval.len() as u64
    }

    pub(super) fn on(&self, axis: &Axis) -> Vec<Option<f64>> {
        let mut all = vec![Some(0.0); axis.n()];
        for (interval, n) in &self.by_interval {
            if let Some(place) = all.get_mut(*interval as usize) {
                *place = Some(*n);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Every tenth span has one of ten values, all others have one of their own or of few.
    #[test]
    fn a_frequent_value_is_found_among_any_number_of_rare_ones() {
        let mut rng = StdRng::seed_from_u64(7);
        let (mut values, n_max) = (Values::default(), 256);
        let (mut counts, mut peak) = (std::collections::HashMap::new(), 0);
        let n_spans = 50_000;
        for at in 0..n_spans {
            let value = match rng.random_range(0..10) {
                0 => rng.random_range(0..5),
                1..=6 => 1_000_000 + at,
                _ => rng.random_range(1_000..2_000),
            };
            *counts.entry(value).or_insert(0.0) += 1.0;
            values.add(Scalar::Int(value), 0, 1.0, n_max);
            peak = peak.max(values.n_bytes());
            assert!(values.each.len() <= n_max);
        }
        assert!(peak < 256 * 256, "{peak}");
        assert!(values.n_forgotten <= 2.0 * n_spans as f64 / n_max as f64);
        assert_eq!(values.total.n, n_spans as f64);
        assert!(values.are_more_than(1_000_000));
        for (value, counted) in &values.each {
            let Scalar::Int(value) = value else {
                panic!("{value:?}");
            };
            let (seen, there) = (counted.cells.n, counts[value]);
            assert!(
                seen <= there && there <= counted.n_at_most(),
                "{value}: {seen} of {there}"
            );
        }
        for (value, n) in counts {
            let is_known = values.each.contains_key(&Scalar::Int(value));
            assert!(is_known || n <= values.n_forgotten, "{value}: {n}");
        }
        let shown = values.most_frequent(5).into_iter().map(|(value, _)| value);
        let mut shown: Vec<Scalar> = shown.collect();
        shown.sort();
        assert_eq!(shown, (0..5).map(Scalar::Int).collect::<Vec<_>>());
        let before = values.n_bytes();
        values.forget_all_but(5);
        assert_eq!(values.each.len(), 5);
        assert!(values.n_bytes() < before / 4, "{before}");
    }
}
