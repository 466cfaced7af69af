//! Tests of the store against the testkit: one binary, a module for each subject.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod faults;
mod objects;
mod plain;
mod power;
mod wal;
mod whole;
mod world;
