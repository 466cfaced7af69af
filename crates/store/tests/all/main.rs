//! Tests of the store against the testkit: one binary, a module for each subject.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod bucket;
mod copy;
mod damage;
mod faults;
mod logged;
mod manifest;
mod objects;
mod power;
mod round_trip;
mod taps;
mod wal;
mod whole;
mod world;
