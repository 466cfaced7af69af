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

use parking_lot::RwLock;
use tracewell_model::TraceId;
use tracewell_model::shared::SharedIds;

/// The ids of one source that may lie in others too. Grows while the source lives.
#[derive(Debug, Default)]
pub struct SharedTraces {
    ids: RwLock<Arc<SharedIds>>,
}

// === impl SharedTraces ===

impl SharedTraces {
    /// Starts with what a block stored.
    pub fn new(ids: SharedIds) -> Self {
        Self {
            ids: RwLock::new(Arc::new(ids)),
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
