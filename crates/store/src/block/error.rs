//! What can go wrong with a block, with the place and the numbers that explain it.

use parquet::errors::ParquetError;

use crate::manifest::BlockId;

pub type BlockResult<T> = Result<T, BlockError>;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    #[error("{action} {path}: {source}")]
    Object {
        action: &'static str,
        path: String,
        source: object_store::Error,
    },
    #[error("{file}: {source}")]
    Parquet {
        file: &'static str,
        source: ParquetError,
    },
    /// Bytes that are not what was written.
    #[error(
        "{path} at byte {offset}, {len} bytes: checksum is {seen:08x}, expected {expected:08x}"
    )]
    Damaged {
        path: String,
        offset: u64,
        len: u64,
        expected: u32,
        seen: u32,
    },
    /// Content that contradicts itself or the format.
    #[error("{file}: {reason}")]
    Malformed { file: String, reason: String },
    #[error("version {needed} of the block format is needed, this program reads up to {known}")]
    Version { needed: u32, known: u32 },
    #[error("{what}: {seen} where at most {max} are allowed")]
    TooMany {
        what: &'static str,
        seen: u64,
        max: u64,
    },
    /// Of a block that another one is merged from.
    #[error("{source}")]
    Input { block: BlockId, source: Box<Self> },
    /// A query's budget or cancellation, passed on as it is.
    #[error(transparent)]
    Query(#[from] tracewell_model::source::SourceError),
}

// === impl BlockError ===

impl BlockError {
    pub(super) fn parquet(file: &'static str) -> impl FnOnce(ParquetError) -> Self {
        move |source| Self::Parquet { file, source }
    }

    pub(super) fn malformed(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed {
            file: file.into(),
            reason: reason.into(),
        }
    }

    /// True where the bytes are at fault: the block is to be set aside.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Malformed { .. } | Self::Parquet { .. }
        )
    }
}
