//! Faults of the real process: kills, a small disk, and the order of syncs and answers.

mod kill;
mod small_disk;
mod sync_order;
