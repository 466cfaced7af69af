//! Which traces of a source may have spans in other sources.
//!
//! It is symmetric: an id that turns up in a second source is shared for both. Too many ids are
//! harmless (such traces are joined for nothing), a missing one is not: the trace would be evaluated in
//! parts. When the ids of a source outgrow their limit it says "all". A trace that lies in several
//! parts of one source is *split*, which is shared with itself.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use crate::id::TraceId;

/// Ids that one source remembers: 4 MB of memory at worst. Above it every trace counts as shared.
pub const SHARED_TRACES_MAX: usize = 1 << 17;

/// The traces of one source that may lie in others too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedIds {
    ids: HashSet<TraceId, RandomState>,
    all: bool,
    /// Sorted; every one is shared.
    split: Vec<TraceId>,
}

// === impl SharedIds ===

impl SharedIds {
    /// Every trace may be shared.
    pub fn all() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    pub fn contains(&self, id: TraceId) -> bool {
        self.all || self.ids.contains(&id)
    }

    /// True if every trace may be shared.
    pub fn is_all(&self) -> bool {
        self.all
    }

    pub fn n_ids(&self) -> usize {
        self.ids.len()
    }

    /// Sorted, for storing. `None` if every trace may be shared.
    pub fn sorted(&self) -> Option<Vec<TraceId>> {
        let mut ids: Vec<TraceId> = self.iter()?.collect();
        ids.sort_unstable();
        Some(ids)
    }

    /// `None` if every trace may be shared.
    pub fn iter(&self) -> Option<impl Iterator<Item = TraceId> + '_> {
        (!self.all).then(|| self.ids.iter().copied())
    }

    pub fn insert(&mut self, id: TraceId) {
        if self.all {
            return;
        }
        if self.ids.len() >= SHARED_TRACES_MAX && !self.ids.contains(&id) {
            self.set_all();
        } else {
            self.ids.insert(id);
        }
    }

    /// The traces that lie in several parts of the source itself, sorted.
    pub fn split(&self) -> &[TraceId] {
        &self.split
    }

    /// No limit of their own: a trace is split when it outgrows a slice of a merge, so that there are fewer
    /// than a block has row groups.
    pub fn insert_split(&mut self, id: TraceId) {
        self.insert(id);
        if let Err(place) = self.split.binary_search(&id) {
            self.split.insert(place, id);
        }
    }

    pub fn set_all(&mut self) {
        self.all = true;
        self.ids = HashSet::default();
    }
}

impl FromIterator<TraceId> for SharedIds {
    fn from_iter<I: IntoIterator<Item = TraceId>>(ids: I) -> Self {
        let mut shared = Self::default();
        ids.into_iter().for_each(|id| shared.insert(id));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_ids_are_all() {
        let id = |n: usize| TraceId((n as u128).to_be_bytes());
        let mut shared: SharedIds = (0..SHARED_TRACES_MAX).map(id).collect();
        shared.insert(id(0));
        assert!(!shared.is_all() && shared.n_ids() == SHARED_TRACES_MAX);
        assert!(!shared.contains(id(SHARED_TRACES_MAX)));
        shared.insert(id(SHARED_TRACES_MAX));
        assert!(shared.is_all() && shared.contains(id(SHARED_TRACES_MAX + 1)));
        assert_eq!(shared.sorted(), None);
    }
}
