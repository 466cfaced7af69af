//! Tests of the wire formats against other implementations and hostile input.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod generate;
mod hostile;
mod prost_agrees;
