//! Fewer, larger blocks in their final encodings.

mod copy;
pub mod gather;
mod next;
mod pieces;
pub mod plan;
mod run;
mod share;
