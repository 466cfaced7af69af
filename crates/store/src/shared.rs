//! Which traces of a source may have spans in other sources.
//!
//! Every source of a snapshot holds one [`SharedTraces`]. It is symmetric: when an id turns up in a
//! second source, both learn it. A block stores the ids that it shared with *older* blocks when it
//! was committed, so that after a restart the older ones learn them again from it.
//!
//! Too many ids are harmless (such traces are joined for nothing), a missing one is not: the trace
//! would be evaluated in parts. When the ids of a source outgrow their limit it says "all".
//! What this is not: it does not find the ids. The store does, asking each source when a trace id turns up.

use std::sync::Arc;

use hashbrown::HashSet;
use parking_lot::RwLock;
use tracewell_model::TraceId;

/// Ids that one source remembers: 4 MB of memory at worst. Above it every trace counts as shared.
pub const SHARED_TRACES_MAX: usize = 1 << 17;

/// The ids of one source that may lie in others too. Grows while the source lives.
#[derive(Debug, Default)]
pub struct SharedTraces {
    ids: RwLock<Arc<SharedIds>>,
}

/// A consistent copy of [`SharedTraces`], cheap to take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedIds {
    ids: HashSet<TraceId, foldhash::fast::FixedState>,
    all: bool,
}

// === impl SharedTraces ===

impl SharedTraces {
    /// Starts with what a block stored; `None` says that every trace may be shared.
    pub fn new(ids: Option<impl IntoIterator<Item = TraceId>>) -> Self {
        let mut shared = SharedIds::default();
        match ids {
            Some(ids) => ids.into_iter().for_each(|id| shared.insert(id)),
            None => shared.set_all(),
        }
        Self {
            ids: RwLock::new(Arc::new(shared)),
        }
    }

    pub fn insert(&self, id: TraceId) {
        let mut ids = self.ids.write();
        if !ids.contains(id) {
            Arc::make_mut(&mut ids).insert(id);
        }
    }

    pub fn set_all(&self) {
        Arc::make_mut(&mut self.ids.write()).set_all();
    }

    /// The state now: to be taken once per call of a source.
    pub fn ids(&self) -> Arc<SharedIds> {
        Arc::clone(&self.ids.read())
    }
}

// === impl SharedIds ===

impl SharedIds {
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
        (!self.all).then(|| {
            let mut ids: Vec<TraceId> = self.ids.iter().copied().collect();
            ids.sort_unstable();
            ids
        })
    }

    /// `None` if every trace may be shared.
    pub fn iter(&self) -> Option<impl Iterator<Item = TraceId> + '_> {
        (!self.all).then(|| self.ids.iter().copied())
    }

    fn insert(&mut self, id: TraceId) {
        if self.all {
            return;
        }
        if self.ids.len() >= SHARED_TRACES_MAX {
            self.set_all();
        } else {
            self.ids.insert(id);
        }
    }

    fn set_all(&mut self) {
        self.all = true;
        self.ids = HashSet::default();
    }
}
