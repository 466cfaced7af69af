//! Bytes on disk: the write-ahead log, the head, blocks, merging, retention and manifests.

pub mod block;
pub mod dedup;
pub mod disk;
pub mod error;
pub mod head;
pub mod manifest;
pub mod merge;
pub mod metrics;
pub mod objects;
pub mod partition;
pub mod retention;
pub mod scan;
pub mod shared;
pub mod table;
pub mod wal;

pub use error::{StoreError, StoreResult};
