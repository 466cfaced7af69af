//! Blocks: immutable sets of Parquet tables in an object store (docs/format/block.md).
//!
//! [`schema`] names what lies in a block; a writer encodes row groups of a
//! [`crate::table::SpanTable`] and a reader serves scans, merges and traces by id from ranges of the
//! files. It is not a place for manifests (what exists) or merging (what is made of what).

mod arrays;
mod bits;
mod bloom;
mod cache;
mod checksum;
mod chunk;
mod codec;
mod coder;
mod collect;
mod columns;
mod compression;
mod copy;
mod decode;
mod delta;
mod encode;
mod entities;
pub mod error;
mod file;
mod flat;
mod hybrid;
pub mod inspect;
pub mod keys;
mod leaves;
mod lists;
pub mod meta;
mod page;
mod prune;
mod read;
mod rest;
mod rows;
pub mod schema;
pub mod shape;
mod side;
mod small;
mod small_columns;
mod source;
mod tags;
#[cfg(test)]
mod tests;
mod traces;
mod upload;
mod value;
mod write;

pub use cache::{BlockCache, CacheStatus};
pub use codec::ParquetFormat;
pub use copy::{GroupCopy, GroupOutline};
pub use error::{BlockError, BlockResult};
pub use inspect::{BlockInspection, BlockVerification};
pub use keys::{KeyCounts, Promotion};
pub use meta::BlockMeta;
pub use read::BlockReader;
pub use source::BlockSource;
pub use write::{BlockOptions, BlockWriter, WrittenBlock};
