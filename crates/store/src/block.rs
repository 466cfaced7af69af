//! Blocks: immutable sets of Parquet tables in an object store (docs/format/block.md).
//!
//! [`schema`] names what lies in a block; a writer encodes row groups of a
//! [`crate::table::SpanTable`] and a reader serves scans, merges and traces by id from ranges of the
//! files. It is not a place for manifests (what exists) or merging (what is made of what).

pub mod schema;
