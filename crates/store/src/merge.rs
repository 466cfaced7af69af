//! Fewer, larger blocks in their final encodings.

pub mod plan;
