//! Fewer, larger blocks in their final encodings.

pub mod gather;
pub mod plan;
mod run;
