//! Bytes on disk: the write-ahead log, the head, blocks, merging, retention and manifests.

pub mod table;
