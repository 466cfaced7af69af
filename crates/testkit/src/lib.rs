//! For tests alone: a clock and a disk that do what a test tells them.
//!
//! Nothing of it is part of the product. Start at [`recording_disk`] for power cuts.

pub mod clock;
pub mod recording_disk;

pub use clock::FakeClock;
pub use recording_disk::{RecordingDisk, Replay, UnsyncedDisk};
