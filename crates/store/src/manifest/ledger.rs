//! The one place that commits: the newest manifest, and what may be forgotten after it.
//!
//! One damaged manifest must lose nothing. So the log behind a commit is forgotten, and the files
//! that it replaced are deleted, only when the next manifest stands too. A store at rest *settles*: it
//! writes its newest manifest once more.

use super::chain::ManifestChain;
use super::{BlockId, Change, Manifest};
use crate::clock::ClockRecord;
use crate::error::{StoreError, StoreResult};

/// A store that has not committed for so long settles.
pub const SETTLE_NANO: u64 = 5 * 1_000_000_000;

/// The newest manifest and its chain. Held under one lock: commits come one after the other.
#[derive(Debug)]
pub struct Ledger {
    chain: ManifestChain,
    manifest: Manifest,
    /// Name of the local log in manifests.
    log: String,
    /// Records before this are covered by the two newest manifests.
    forgettable_to: u64,
    settled: bool,
    committed_at: u64,
}

// === impl Ledger ===

impl Ledger {
    pub fn new(chain: ManifestChain, manifest: Manifest, log: String, monotonic: u64) -> Self {
        Self {
            settled: manifest.number == 0,
            chain,
            manifest,
            log,
            forgettable_to: 0,
            committed_at: monotonic,
        }
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn log(&self) -> &str {
        &self.log
    }

    pub fn chain(&self) -> &ManifestChain {
        &self.chain
    }

    /// The first record that no block covers.
    pub fn covered_to(&self) -> u64 {
        self.manifest.covered_to(&self.log)
    }

    /// The log may forget what lies before.
    pub fn forgettable_to(&self) -> u64 {
        self.forgettable_to
    }

    /// Writes the manifest after a change. `unix` is what it says about its time.
    pub async fn commit(
        &mut self,
        change: &Change,
        clock: Option<ClockRecord>,
        unix: u64,
        monotonic: u64,
    ) -> StoreResult<()> {
        let mut next = self
            .manifest
            .with(change)
            .map_err(|source| StoreError::Manifest {
                name: format!("change of manifest {}", self.manifest.number),
                source,
            })?;
        next.clock = clock;
        let covered = self.covered_to();
        self.manifest = self.chain.commit(next, unix).await?;
        self.forgettable_to = covered;
        self.settled = change.is_empty();
        self.committed_at = monotonic;
        Ok(())
    }

    /// True if a copy of the newest manifest would let something go.
    pub fn wants_to_settle(&self, monotonic: u64) -> bool {
        !self.settled && monotonic.saturating_sub(self.committed_at) >= SETTLE_NANO
    }

    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// True if what the last failed commit named can be deleted: the manifest is not there.
    pub async fn failed_without_trace(&self) -> bool {
        self.chain.last_attempt_is_absent().await
    }

    pub async fn trim(&mut self) -> StoreResult<usize> {
        self.chain.trim().await
    }

    pub fn is_needed(&self, id: BlockId) -> bool {
        self.chain.is_needed(id)
    }
}
