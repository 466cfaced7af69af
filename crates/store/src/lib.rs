//! Bytes on disk: the write-ahead log, the head, blocks, merging, retention and manifests.

pub mod block;
pub mod bucket;
pub mod clock;
pub mod codec;
pub mod cut;
pub mod dedup;
pub mod disk;
pub mod error;
pub mod head;
pub mod manifest;
pub mod merge;
pub mod metrics;
pub mod objects;
pub mod partition;
pub mod recent;
pub mod recovery;
pub mod retention;
pub mod scan;
pub mod shared;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod table;
mod threads;
pub mod upkeep;
pub mod wal;
pub mod workers;

pub use error::{StoreError, StoreResult};
pub use store::{Store, StoreConfig};
pub use workers::{RunningWorkers, Workers};
