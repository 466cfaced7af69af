//! Tests over several crates and over the real process, in one binary.
//!
//! Modules whose names the steps of `cargo xtask test` know: `e2e`, `crashes`, `buckets`, `soak`, `python`, `exporters`,
//! `grammar` and `container` start the real binary or other programs; all others run in this process and belong to
//! `make check`. A fresh machine needs no preparation: what a test needs, [`harness`] builds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

mod buckets;
mod certificates;
mod container;
mod crashes;
mod doomed;
mod e2e;
mod exporters;
mod grammar;
mod harness;
mod load;
mod oracle;
mod python;
mod retention;
mod soak;
mod steady;
mod whole_traces;

/// Reading small row groups is allocating for the most part, and this is the faster one at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
