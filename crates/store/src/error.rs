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
    /// Of a block that another one is merged from, met while that one was written.
    #[error("{source}")]
    Input { block: BlockId, source: Box<Self> },
    /// Others changed what the bucket holds: what was begun on it came to nothing.
    #[error("the bucket: {reason}")]
    Overtaken { reason: String },
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
    pub(crate) fn is_not_found(&self) -> bool {
        let source = match self {
            Self::Object { source, .. } => source,
            _ => return false,
        };
        matches!(source, object_store::Error::NotFound { .. })
    }

    /// True if an object store says that there is no such bucket: a client has no error of its own for
    /// that, so that the code in the answer must say it.
    pub fn is_no_bucket(&self) -> bool {
        let codes = ["NoSuchBucket", "ContainerNotFound"];
        let source = match self {
            Self::Object { source, .. } => source.to_string(),
            _ => return false,
        };
        codes.iter().any(|code| source.contains(code))
    }

    /// True if an object store said that it will not: who we are, or what we asked for, is wrong.
    pub fn is_refused(&self) -> bool {
        use object_store::Error;
        let source = match self {
            Self::Object { source, .. } => source,
            _ => return false,
        };
        matches!(
            source,
            Error::PermissionDenied { .. }
                | Error::Unauthenticated { .. }
                | Error::NotSupported { .. }
                | Error::NotImplemented { .. }
        )
    }

    /// True if an object store gave no answer, so that nobody knows what it holds.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Object { .. }) && !self.is_not_found()
    }

    pub(crate) fn object(action: &'static str, path: &Path, source: object_store::Error) -> Self {
        Self::Object {
            action,
            path: path.to_string(),
            source,
        }
    }
}
