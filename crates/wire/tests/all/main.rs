//! Tests of the wire formats against other implementations and hostile input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod answers;
mod generate;
mod hostile;
mod json;
mod prost_agrees;
