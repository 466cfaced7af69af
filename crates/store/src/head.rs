//! The head: what was acknowledged and is in no block yet, searchable at once.
//!
//! It is a row of [`Generation`]s. One fills; the others are frozen and are being cut into blocks. A
//! generation is a contiguous range of the log and becomes exactly one first block. This module
//! decides when a generation is full or old, what the head may hold, and in which order sources are
//! seen; rows lie in [`generation`], and a query reads a [`GenerationSnapshot`].
//!
//! It does not write blocks and knows no manifest: the store removes a generation in the same step in
//! which its block enters the snapshot ([`Head::remove_with`]).
//!
//! Limits: `Limits::generation_bytes` per generation, `Limits::head_bytes` together, the second
//! enforced before a batch goes to the log ([`Head::reserve`]).

mod append;
mod columns;
mod entities;
pub mod generation;
mod keys;
mod leaves;
mod snapshot;
mod sorted;
/// There is no room for a batch at this moment.
fn full() -> WriteError {
    WriteError::Busy {
        limit: HEAD_BYTES,
        retry_after: RETRY_AFTER,
    }
}

#[cfg(test)]
mod tests;
mod traces;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tracewell_model::limits::HEAD_BYTES;
use tracewell_model::sink::{LogPosition, WriteError};
use tracewell_model::{Limits, SpanBatch, TenantId, TraceId};

pub use generation::Generation;
pub use snapshot::GenerationSnapshot;
pub use sorted::SortedGroup;

/// When a generation is full, and what all of them may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadOptions {
    pub generation_bytes: u64,
    pub head_bytes: u64,
    /// A generation older than this is frozen by [`Head::freeze_if_older`].
    pub max_block_duration: Duration,
}

/// All generations that are in no block.
#[derive(Debug)]
pub struct Head {
    options: HeadOptions,
    /// Held while a batch is appended: there is one appender.
    appender: Mutex<()>,
    /// Oldest first; the last one fills. Held for moments.
    generations: Mutex<Vec<Arc<Generation>>>,
    /// Bytes promised to batches that are on their way through the log.
    reserved_bytes: Arc<AtomicU64>,
    n_created: AtomicU64,
}

/// Room in the head for one batch. Given back when dropped, which is after the batch was appended
/// and counts by itself, or when its write failed.
#[derive(Debug)]
pub struct Reservation {
    n_bytes: u64,
    total: Arc<AtomicU64>,
}

/// Says whether blocks hold spans of a trace that the head sees for the first time, and tells those
/// blocks that the trace is shared now. It is called before the span can be seen by a query.
pub trait TraceLookup {
    fn share(&self, tenant: &TenantId, id: TraceId) -> bool;
}

/// For a store without blocks.
#[derive(Debug, Clone, Copy)]
pub struct NoBlocks;

/// Cutting a generation takes about a second; a client need not wait longer to try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

// === impl HeadOptions ===

impl HeadOptions {
    pub fn new(limits: &Limits, max_block_duration: Duration) -> Self {
        Self {
            generation_bytes: limits.generation_bytes(),
            head_bytes: limits.head_bytes(),
            max_block_duration,
        }
    }
}

// === impl TraceLookup ===

impl TraceLookup for NoBlocks {
    fn share(&self, _tenant: &TenantId, _id: TraceId) -> bool {
        false
    }
}

// === impl Reservation ===

impl Drop for Reservation {
    fn drop(&mut self) {
        self.total.fetch_sub(self.n_bytes, Ordering::Relaxed);
    }
}

// === impl Head ===

impl Head {
    /// A head whose first generation begins at a position of the log.
    pub fn new(options: HeadOptions, from: LogPosition) -> Self {
        Self {
            options,
            appender: Mutex::new(()),
            generations: Mutex::new(vec![Arc::new(Generation::new(0, from))]),
            reserved_bytes: Arc::default(),
            n_created: AtomicU64::new(1),
        }
    }

    /// Takes room for a batch before it is written to the log, so that what is durable always fits.
    pub fn reserve(&self, batch: &SpanBatch) -> Result<Reservation, WriteError> {
        let n_bytes = generation::bytes_of(batch);
        let max = self.options.head_bytes;
        if n_bytes > max {
            return Err(WriteError::TooLarge {
                limit: HEAD_BYTES,
                seen: n_bytes,
                max,
            });
        }
        let held = self.n_bytes();
        let before = self.reserved_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        let reservation = Reservation {
            n_bytes,
            total: Arc::clone(&self.reserved_bytes),
        };
        if held.saturating_add(before).saturating_add(n_bytes) > max {
            return Err(full());
        }
        Ok(reservation)
    }

    /// Whether there is any room at all.
    pub fn has_room(&self) -> Result<(), WriteError> {
        let taken = self.reserved_bytes.load(Ordering::Relaxed);
        match self.n_bytes().saturating_add(taken) < self.options.head_bytes {
            true => Ok(()),
            false => Err(full()),
        }
    }

    /// Makes the spans of a log record searchable. Positions must rise from call to call. Returns the
    /// generation that this made full, to be cut (also listed by [`Head::frozen`]); the batch lies wholly in one generation.
    ///
    /// `now_nano` is monotonic and only used for the age of a generation.
    pub fn append(
        &self,
        batch: &SpanBatch,
        position: LogPosition,
        now_nano: u64,
        blocks: &dyn TraceLookup,
    ) -> Option<Arc<Generation>> {
        let _one_at_a_time = self.appender.lock();
        if !self.filling()?.can_take(&batch.tenant) {
            // Not returned: it is found by [`Head::frozen`] as every frozen one is.
            self.freeze_last();
        }
        let generations = self.generations.lock().clone();
        let (filling, older) = generations.split_last()?;
        filling.append(batch, position, now_nano, |tenant, id| {
            let mut shared = blocks.share(tenant, id);
            for generation in older {
                if generation.holds(tenant, id) {
                    generation.shared().insert(id);
                    shared = true;
                }
            }
            shared
        });
        (filling.n_bytes() >= self.options.generation_bytes)
            .then(|| self.freeze_last())
            .flatten()
    }

    /// Freezes the filling generation if it is older than `max_block_duration`.
    pub fn freeze_if_older(&self, now_nano: u64) -> Option<Arc<Generation>> {
        let _one_at_a_time = self.appender.lock();
        let max = u64::try_from(self.options.max_block_duration.as_nanos()).unwrap_or(u64::MAX);
        let born_nano = self.filling()?.born_nano()?;
        (now_nano.saturating_sub(born_nano) >= max)
            .then(|| self.freeze_last())
            .flatten()
    }

    /// Freezes the filling generation, however young; `None` if it is empty.
    pub fn freeze(&self) -> Option<Arc<Generation>> {
        let _one_at_a_time = self.appender.lock();
        self.freeze_last()
    }

    /// The generations that wait for their block, oldest first.
    pub fn frozen(&self) -> Vec<Arc<Generation>> {
        let generations = self.generations.lock();
        let n_frozen = generations.len().saturating_sub(1);
        generations.iter().take(n_frozen).map(Arc::clone).collect()
    }

    /// All generations, oldest first: the last one fills.
    pub fn generations(&self) -> Vec<Arc<Generation>> {
        self.generations.lock().clone()
    }

    /// Removes a generation and calls `publish` while no snapshot can be taken, so that its spans
    /// are seen either here or in the block, and never in both.
    pub fn remove_with<R>(&self, sequence: u64, publish: impl FnOnce() -> R) -> R {
        let mut generations = self.generations.lock();
        generations.retain(|generation| generation.sequence() != sequence);
        publish()
    }

    /// Snapshots of all generations, newest first, and whatever `read` reads of the blocks at the
    /// same moment. The newest generation is copied first: a trace that is marked as shared later
    /// only costs a join.
    pub fn pin_with<R>(&self, read: impl FnOnce() -> R) -> (Vec<Arc<GenerationSnapshot>>, R) {
        let (generations, rest) = {
            let generations = self.generations.lock();
            (generations.clone(), read())
        };
        let snapshots = generations
            .iter()
            .rev()
            .map(|generation| generation.snapshot())
            .filter(|snapshot| snapshot.n_spans() > 0)
            .collect();
        (snapshots, rest)
    }

    /// The first log position that is not in the head: where the next batch will lie, or later.
    pub fn next_position(&self) -> LogPosition {
        self.filling()
            .map_or(LogPosition(0), |generation| generation.range().1)
    }

    /// Bytes of all generations.
    pub fn n_bytes(&self) -> u64 {
        self.generations
            .lock()
            .iter()
            .map(|generation| generation.n_bytes())
            .sum()
    }

    /// Spans of all generations.
    pub fn n_spans(&self) -> u64 {
        let generations = self.generations.lock().clone();
        generations.iter().map(|it| it.n_spans()).sum()
    }

    /// How many traces of each tenant there are; one counts in each generation that holds spans of it.
    pub fn traces_by_tenant(&self) -> BTreeMap<TenantId, u64> {
        let generations = self.generations.lock().clone();
        let mut all = BTreeMap::new();
        for (tenant, n) in generations.iter().flat_map(|it| it.traces_by_tenant()) {
            *all.entry(tenant).or_default() += n;
        }
        all
    }

    /// Every trace of every generation may lie elsewhere too.
    pub fn share_all(&self) {
        let generations = self.generations.lock().clone();
        generations.iter().for_each(|it| it.shared().set_all());
    }

    fn filling(&self) -> Option<Arc<Generation>> {
        self.generations.lock().last().map(Arc::clone)
    }

    /// Only called by who holds `appender`.
    fn freeze_last(&self) -> Option<Arc<Generation>> {
        let filling = self.filling()?;
        if filling.is_empty() {
            return None;
        }
        filling.freeze();
        let sequence = self.n_created.fetch_add(1, Ordering::Relaxed);
        let next = Generation::new(sequence, filling.range().1);
        self.generations.lock().push(Arc::new(next));
        Some(filling)
    }
}
