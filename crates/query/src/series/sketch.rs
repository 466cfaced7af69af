//! Quantiles of many numbers in little memory: DDSketch (Masson, Rim, Lee, VLDB 2019).
//!
//! A bucket holds the numbers of one relative width, so that a quantile is right within 1 % of its value,
//! and two sketches add up to that of all their numbers. The quantile `q` of `n` numbers is that of rank
//! `floor(q * (n - 1))`.

use std::collections::BTreeMap;

/// Relative error of a quantile.
pub const ERROR: f64 = 0.01;
/// Smaller numbers are zero.
const TINY: f64 = 1e-12;

/// Counts, which may be weights, by bucket.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sketch {
    negative: BTreeMap<i32, f64>,
    zero: f64,
    positive: BTreeMap<i32, f64>,
    n: f64,
}

/// Where a number is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// By the bucket of its amount.
    Negative(i32),
    Zero,
    Positive(i32),
}

impl Place {
    /// `None` for what is no number.
    pub fn of(value: f64) -> Option<Self> {
        if value.is_nan() {
            return None;
        }
        Some(if value.abs() < TINY {
            Self::Zero
        } else if value > 0.0 {
            Self::Positive(bucket(value))
        } else {
            Self::Negative(bucket(-value))
        })
    }
}

impl Sketch {
    pub fn add_at(&mut self, place: Place, weight: f64) {
        self.n += weight;
        match place {
            Place::Negative(bucket) => *self.negative.entry(bucket).or_default() += weight,
            Place::Zero => self.zero += weight,
            Place::Positive(bucket) => *self.positive.entry(bucket).or_default() += weight,
        }
    }

    /// Adds the numbers of another.
    pub fn merge(&mut self, other: Self) {
        self.n += other.n;
        self.zero += other.zero;
        for (own, more) in [
            (&mut self.negative, other.negative),
            (&mut self.positive, other.positive),
        ] {
            for (bucket, n) in more {
                *own.entry(bucket).or_default() += n;
            }
        }
    }

    /// `None` where there are no numbers.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.n <= 0.0 {
            return None;
        }
        let rank = (q * (self.n - 1.0)).max(0.0).floor();
        let mut before = 0.0;
        let negative = self.negative.iter().rev().map(|(at, n)| (-middle(*at), *n));
        let zero = std::iter::once((0.0, self.zero));
        let positive = self.positive.iter().map(|(at, n)| (middle(*at), *n));
        let mut last = None;
        for (value, n) in negative.chain(zero).chain(positive) {
            if n <= 0.0 {
                continue;
            }
            before += n;
            last = Some(value);
            if before > rank {
                break;
            }
        }
        last
    }

    /// Buckets that are in use.
    pub fn n_buckets(&self) -> usize {
        self.negative.len() + self.positive.len() + 1
    }
}

fn ln_gamma() -> f64 {
    ((1.0 + ERROR) / (1.0 - ERROR)).ln()
}

fn bucket(value: f64) -> i32 {
    // The cast saturates: infinity has a bucket of its own.
    (value.ln() / ln_gamma()).ceil() as i32
}

/// What differs from no number of the bucket by more than the error.
fn middle(bucket: i32) -> f64 {
    let upper = (f64::from(bucket) * ln_gamma()).exp();
    upper * (1.0 - ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Sketch {
        fn add(&mut self, value: f64, weight: f64) {
            if let Some(place) = Place::of(value) {
                self.add_at(place, weight);
            }
        }
    }

    #[test]
    fn quantiles_are_right_within_one_percent() {
        let mut numbers: Vec<f64> = (1..=1_000).map(|n| f64::from(n * n) * 0.37).collect();
        numbers.extend((1..=50).map(|n| -f64::from(n)));
        numbers.push(0.0);
        let mut sketch = Sketch::default();
        numbers.iter().for_each(|number| sketch.add(*number, 1.0));
        numbers.sort_by(f64::total_cmp);
        for percent in 0..=100 {
            let q = f64::from(percent) / 100.0;
            let rank = (q * (numbers.len() - 1) as f64).floor() as usize;
            let (exact, found) = (numbers[rank], sketch.quantile(q).unwrap());
            assert!(
                (found - exact).abs() <= exact.abs() * (ERROR + 1e-9),
                "{q}: {found} of {exact}"
            );
        }
    }

    #[test]
    fn weights_count_as_so_many_and_nothing_has_no_quantile() {
        assert_eq!(Sketch::default().quantile(0.5), None);
        let (mut a, mut b) = (Sketch::default(), Sketch::default());
        for (value, n) in [(1.0, 3), (100.0, 1)] {
            a.add(value, f64::from(n));
            (0..n).for_each(|_| b.add(value, 1.0));
        }
        assert_eq!(a, b);
        a.add(f64::NAN, 1.0);
        assert_eq!(a, b);

        let (mut one, mut other) = (Sketch::default(), Sketch::default());
        (0..3).for_each(|_| one.add(1.0, 1.0));
        other.add(100.0, 1.0);
        one.merge(other);
        assert_eq!(one, b);
    }
}
