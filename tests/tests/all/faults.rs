//! Faults of the real process: kills, and the order of syncs and answers.

mod kill;
mod sync_order;
