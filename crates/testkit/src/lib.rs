//! For tests alone: a clock and a disk that do what a test tells them, random traces and queries,
//! and an oracle that knows the answers.
//!
//! Nothing of it is part of the product. Start at [`recording_disk`] for power cuts and at
//! [`oracle`] for what a search must answer.

pub mod clock;
pub mod gcs_stub;
pub mod oracle;
pub mod random;
pub mod recording_disk;
pub mod unreliable_objects;

pub use clock::FakeClock;
pub use gcs_stub::GcsStub;
pub use oracle::Oracle;
pub use random::Random;
pub use recording_disk::{RecordingDisk, Replay, Synced, UnsyncedDisk};
pub use unreliable_objects::UnreliableObjects;
