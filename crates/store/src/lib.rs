//! Bytes on disk: the write-ahead log, the head, blocks, merging, retention and manifests.

pub mod block;
pub mod disk;
pub mod error;
pub mod manifest;
pub mod partition;
pub mod shared;
pub mod scan;
pub mod table;
pub mod wal;

pub use error::{StoreError, StoreResult};
