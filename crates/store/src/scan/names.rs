//! The names of attributes and how often they occur, for tag names.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use tracewell_model::AttributeScope;
use tracewell_model::source::{KeyAnswer, KeyInfo, KeyQuery};
use tracewell_model::value::AttributeType;

use super::Distinct;

/// Counts names over several units. Of each scope it keeps the first in order, as many as the query asks
/// for: that there may be a key of its own for every span must not take memory for each.
#[derive(Debug)]
pub struct Names {
    n_max: usize,
    bytes_max: usize,
    scopes: BTreeMap<AttributeScope, OfScope>,
    /// True once names were left out.
    truncated: bool,
}

#[derive(Debug, Default)]
struct OfScope {
    counts: HashMap<(String, AttributeType), u64>,
    n_bytes: usize,
}

/// So many beyond a limit are kept before those that are too many are let go.
const SLACK: usize = 1_024;

// === impl Names ===

impl Names {
    pub fn new(query: &KeyQuery) -> Self {
        Self {
            n_max: query.n_max,
            bytes_max: query.text_bytes_max,
            scopes: BTreeMap::new(),
            truncated: false,
        }
    }

    /// Adds so many occurrences of a name with values of a type.
    pub fn add(&mut self, scope: AttributeScope, key: &str, value_type: AttributeType, n: u64) {
        let of_scope = self.scopes.entry(scope).or_default();
        // Most are known: they are found without a copy of the key.
        if let Some(count) = of_scope.counts.get_mut(&Name(key, value_type)) {
            *count += n;
            return;
        }
        of_scope.counts.insert((key.to_owned(), value_type), n);
        of_scope.n_bytes += key.len();
        if of_scope.counts.len() / 2 > self.n_max.saturating_add(SLACK)
            || of_scope.n_bytes / 2 > self.bytes_max.saturating_add(SLACK)
        {
            self.truncated |= of_scope.cut(self.n_max, self.bytes_max);
        }
    }

    /// The names by scope, in order, with values that were collected beside them.
    pub fn answer(mut self, values: Distinct) -> KeyAnswer {
        let mut keys = Vec::new();
        for (scope, mut of_scope) in self.scopes {
            self.truncated |= of_scope.cut(self.n_max, self.bytes_max);
            let mut counts: Vec<_> = of_scope.counts.into_iter().collect();
            counts.sort_unstable();
            keys.extend(counts.into_iter().map(|((key, value_type), n)| KeyInfo {
                scope,
                key,
                value_type,
                n,
            }));
        }
        KeyAnswer {
            keys,
            values: values.values,
            truncated: self.truncated || values.truncated,
        }
    }
}

// === impl OfScope ===

impl OfScope {
    /// Keeps the first names up to both limits. True if there were others.
    fn cut(&mut self, n_max: usize, bytes_max: usize) -> bool {
        if self.counts.len() <= n_max && self.n_bytes <= bytes_max {
            return false;
        }
        let mut counts: Vec<_> = self.counts.drain().collect();
        counts.sort_unstable();
        let mut n_bytes = 0;
        let fits = counts.iter().take(n_max).take_while(|((key, _), _)| {
            n_bytes += key.len();
            n_bytes <= bytes_max
        });
        let n = fits.count();
        counts.truncate(n);
        self.n_bytes = counts.iter().map(|((key, _), _)| key.len()).sum();
        self.counts.extend(counts);
        true
    }
}

/// A name that is looked for.
#[derive(Hash)]
struct Name<'a>(&'a str, AttributeType);

impl hashbrown::Equivalent<(String, AttributeType)> for Name<'_> {
    fn equivalent(&self, key: &(String, AttributeType)) -> bool {
        (self.0, self.1) == (key.0.as_str(), key.1)
    }
}
