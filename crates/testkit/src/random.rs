//! Random traces and queries, from a seed: the same seed gives the same data on every machine.
//!
//! [`traces`] makes spans with every field and type of OTLP, either with wild content (for round
//! trips) or from a small vocabulary (so that queries hit); [`query`] makes TraceQL over that
//! vocabulary. Print the seed when a test fails.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub mod query;
pub mod traces;

pub use query::{random_query, random_series_query};
pub use traces::{TraceOptions, random_traces, scatter};

/// A seeded source of choices.
#[derive(Debug, Clone)]
pub struct Random(SmallRng);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// From 0 to `end`, which is not included; 0 if there is nothing below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            0
        } else {
            self.0.random_range(0..end)
        }
    }

    /// From 0 to `end`, which is not included.
    pub fn number(&mut self, end: u64) -> u64 {
        if end == 0 {
            0
        } else {
            self.0.random_range(0..end)
        }
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    /// One of a list that is not empty.
    ///
    /// # Panics
    /// If the list is empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let index = self.below(items.len());
        items.get(index).expect("there is something to pick from")
    }

    /// All 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.random()
    }

    /// A number of any magnitude.
    pub fn magnitude(&mut self) -> u64 {
        let shift = self.0.random_range(0..64u32);
        self.bits() >> shift
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        self.0.random()
    }

    /// Up to `max` of what `make` makes.
    pub fn up_to<T>(&mut self, max: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let n = self.below(max + 1);
        (0..n).map(|_| make(self)).collect()
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }
}
