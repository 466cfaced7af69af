//! What can go wrong in the store, with the place and the numbers that explain it.

use object_store::path::Path;

use crate::manifest::{BlockId, ManifestError};

pub type StoreResult<T> = Result<T, StoreError>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("{action} {path}: {source}")]
    Object {
        action: &'static str,
        path: String,
        source: object_store::Error,
    },
    #[error("{name}: {source}")]
    Manifest { name: String, source: ManifestError },
    /// Somebody else commits to the same store: this process must not go on.
    #[error("{name} exists already: another process writes to this store")]
    SecondWriter { name: String },
    #[error("block {id}: {reason}")]
    Block { id: BlockId, reason: String },
    #[error("write-ahead log: {reason}")]
    Log { reason: String },
    /// A worker panicked or met a broken invariant; ingest has stopped.
    #[error("the store has stopped taking spans: {reason}")]
    Poisoned { reason: String },
    #[error("stopping")]
    Stopping,
}

// === impl StoreError ===

impl StoreError {
    pub(crate) fn object(action: &'static str, path: &Path, source: object_store::Error) -> Self {
        Self::Object {
            action,
            path: path.to_string(),
            source,
        }
    }
}
