//! What a query may use: time by cancellation, bytes read, and memory that it shares with the other
//! queries of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use crate::source::{SourceError, SourceResult};
use crate::span::Span;

/// Memory for whole traces and answers, shared by all queries that run and by answers until they are
/// sent.
#[derive(Debug)]
pub struct QueryMemory {
    held_bytes: AtomicU64,
    bytes_max: u64,
}

/// Memory that a query or its answer takes until this is dropped, which may be long after the query has
/// ended: a client may read slowly. A copy takes as much again.
#[derive(Debug, Default)]
pub struct HeldMemory {
    /// `None` where nothing is counted.
    memory: Option<Arc<QueryMemory>>,
    n_bytes: u64,
}

/// What every call of a source runs under.
#[derive(Debug, Clone)]
pub struct QueryContext(Arc<QueryBudget>);

/// The shared state behind a [`QueryContext`].
#[derive(Debug)]
struct QueryBudget {
    cancel: CancellationToken,
    /// Bytes that may still be read.
    bytes_left: AtomicU64,
    bytes_max: u64,
    inspected_spans: AtomicU64,
    groups: AtomicU64,
    groups_ruled_out: AtomicU64,
    memory: Arc<QueryMemory>,
    /// Of fetched spans, as [`Span::bytes`] counts them.
    held_bytes: AtomicU64,
    held_spans: AtomicU64,
    held_spans_max: AtomicU64,
    left_out_spans: AtomicU64,
}

// === impl QueryMemory ===

impl QueryMemory {
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            held_bytes: AtomicU64::new(0),
            bytes_max,
        })
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub fn held_bytes(&self) -> u64 {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Holds so many bytes, if they fit beside what is held or nothing is.
    pub fn try_hold(self: &Arc<Self>, n_bytes: u64) -> Option<HeldMemory> {
        let fits = |held: u64| held == 0 || held.saturating_add(n_bytes) <= self.bytes_max;
        let add = |held: u64| fits(held).then(|| held.saturating_add(n_bytes));
        self.held_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .ok()?;
        let memory = Some(Arc::clone(self));
        Some(HeldMemory { memory, n_bytes })
    }

    /// In one step, so that no other query sees both or neither.
    fn change(&self, from: u64, to: u64) {
        if to >= from {
            self.held_bytes.fetch_add(to - from, Ordering::Relaxed);
        } else {
            self.held_bytes.fetch_sub(from - to, Ordering::Relaxed);
        }
    }
}

// === impl HeldMemory ===

impl HeldMemory {
    /// Nothing yet.
    pub fn of(memory: &Arc<QueryMemory>) -> Self {
        let memory = Some(Arc::clone(memory));
        Self { memory, n_bytes: 0 }
    }

    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// False where what is held is not counted.
    pub fn is_counted(&self) -> bool {
        self.memory.is_some()
    }

    /// What was held is gone, and so many bytes are held in its place.
    pub fn resize(&mut self, n_bytes: u64) {
        if let Some(memory) = &self.memory {
            memory.change(self.n_bytes, n_bytes);
            self.n_bytes = n_bytes;
        }
    }
}

impl HeldMemory {
    /// Holds what another one held, too.
    pub fn add(&mut self, mut other: Self) {
        let n_bytes = std::mem::take(&mut other.n_bytes);
        match &self.memory {
            None => {
                self.memory = other.memory.take();
                self.n_bytes = n_bytes;
            }
            Some(_) => self.n_bytes += n_bytes,
        }
    }
}

impl Clone for HeldMemory {
    fn clone(&self) -> Self {
        let mut copy = Self {
            memory: self.memory.clone(),
            n_bytes: 0,
        };
        copy.resize(self.n_bytes);
        copy
    }
}

impl PartialEq for HeldMemory {
    fn eq(&self, other: &Self) -> bool {
        self.n_bytes == other.n_bytes
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.resize(0);
    }
}

// === impl QueryContext ===

impl QueryContext {
    /// May read `bytes_max`, and `fetch` may hold spans while there is memory.
    pub fn new(cancel: CancellationToken, bytes_max: u64, memory: Arc<QueryMemory>) -> Self {
        Self(Arc::new(QueryBudget {
            cancel,
            bytes_left: AtomicU64::new(bytes_max),
            bytes_max,
            inspected_spans: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            groups_ruled_out: AtomicU64::new(0),
            memory,
            held_bytes: AtomicU64::new(0),
            held_spans: AtomicU64::new(0),
            held_spans_max: AtomicU64::new(u64::MAX),
            left_out_spans: AtomicU64::new(0),
        }))
    }

    /// Neither deadline nor limit: for tests and maintenance.
    pub fn unlimited() -> Self {
        let memory = QueryMemory::new(u64::MAX);
        Self::new(CancellationToken::new(), u64::MAX, memory)
    }

    /// To be called at every row group and before every larger read.
    pub fn check(&self) -> SourceResult<()> {
        if self.0.cancel.is_cancelled() {
            Err(SourceError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Takes bytes from the budget before they are read.
    pub fn read_bytes(&self, n: u64) -> SourceResult<()> {
        self.check()?;
        self.0
            .bytes_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(n)
            })
            .map(drop)
            .map_err(|_| SourceError::Budget {
                limit: self.0.bytes_max,
            })
    }

    /// From now on `fetch` holds no more spans than this at a time.
    pub fn hold_at_most(&self, n_spans: u64) {
        self.0.held_spans_max.store(n_spans, Ordering::Relaxed);
    }

    /// To be told of every span that `fetch` has made.
    pub fn hold(&self, span: &Span) {
        self.hold_bytes(span.bytes() as u64);
        self.0.held_spans.fetch_add(1, Ordering::Relaxed);
    }

    /// To be told of what an answer holds.
    pub fn hold_bytes(&self, n: u64) {
        self.0.held_bytes.fetch_add(n, Ordering::Relaxed);
        self.0.memory.held_bytes.fetch_add(n, Ordering::Relaxed);
    }

    /// Counts memory among that of queries until what is returned is dropped.
    pub fn hold_while(&self, n_bytes: u64) -> HeldMemory {
        let memory = Some(Arc::clone(&self.0.memory));
        let mut held = HeldMemory { memory, n_bytes: 0 };
        held.resize(n_bytes);
        held
    }

    /// True once queries hold as much as they may: what is left is to be left out. The last span that
    /// was taken may lie beyond the limit.
    pub fn is_full(&self) -> bool {
        let budget = &self.0;
        budget.memory.held_bytes() >= budget.memory.bytes_max
            || budget.held_spans.load(Ordering::Relaxed)
                >= budget.held_spans_max.load(Ordering::Relaxed)
    }

    pub fn leave_out(&self, n_spans: u64) {
        self.0.left_out_spans.fetch_add(n_spans, Ordering::Relaxed);
    }

    /// To be called when what was fetched is not held any more; `kept_bytes` of an answer still are.
    pub fn release(&self, kept_bytes: u64) {
        self.0.held_spans.store(0, Ordering::Relaxed);
        let held = self.0.held_bytes.swap(kept_bytes, Ordering::Relaxed);
        self.0.memory.change(held, kept_bytes);
    }

    /// To be called at the end, when an answer of so many bytes is all that is still held: it goes on
    /// to hold them.
    pub fn keep(&self, answer_bytes: u64) -> HeldMemory {
        self.release(answer_bytes);
        self.0.held_bytes.fetch_sub(answer_bytes, Ordering::Relaxed);
        HeldMemory {
            memory: Some(Arc::clone(&self.0.memory)),
            n_bytes: answer_bytes,
        }
    }

    /// How many spans were left out since this was asked last.
    pub fn take_left_out(&self) -> u64 {
        self.0.left_out_spans.swap(0, Ordering::Relaxed)
    }

    pub fn memory(&self) -> &QueryMemory {
        &self.0.memory
    }

    /// How many bytes may be read in all.
    pub fn bytes_max(&self) -> u64 {
        self.0.bytes_max
    }

    pub fn inspected_bytes(&self) -> u64 {
        self.0.bytes_max - self.0.bytes_left.load(Ordering::Relaxed)
    }

    pub fn add_inspected_spans(&self, n: u64) {
        self.0.inspected_spans.fetch_add(n, Ordering::Relaxed);
    }

    pub fn inspected_spans(&self) -> u64 {
        self.0.inspected_spans.load(Ordering::Relaxed)
    }

    /// To be told of every row group with spans in the window that a scan comes to, and whether statistics and filters
    /// tell that it holds no match.
    pub fn note_group(&self, is_ruled_out: bool) {
        self.0.groups.fetch_add(1, Ordering::Relaxed);
        let n = u64::from(is_ruled_out);
        self.0.groups_ruled_out.fetch_add(n, Ordering::Relaxed);
    }

    /// Of how many it was told, and how many of them held no match.
    pub fn groups(&self) -> (u64, u64) {
        let n = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (n(&self.0.groups), n(&self.0.groups_ruled_out))
    }
}

// === impl QueryBudget ===

impl Drop for QueryBudget {
    fn drop(&mut self) {
        let held = *self.held_bytes.get_mut();
        self.memory.held_bytes.fetch_sub(held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_share_their_memory_and_give_it_back() {
        let memory = QueryMemory::new(100);
        let query = || QueryContext::new(CancellationToken::new(), 0, Arc::clone(&memory));
        let (one, other) = (query(), query());
        one.hold_bytes(60);
        other.hold_bytes(39);
        assert!(!one.is_full() && !other.is_full());
        other.hold_bytes(1);
        assert!(one.is_full() && other.is_full());
        one.release(10);
        assert_eq!(memory.held_bytes(), 50);
        drop(one);
        assert_eq!(memory.held_bytes(), 40);
        drop(other);
        assert_eq!(memory.held_bytes(), 0);
    }

    #[test]
    fn what_does_not_fit_is_not_held_unless_it_is_alone() {
        let memory = QueryMemory::new(100);
        let alone = memory.try_hold(1_000).unwrap();
        assert_eq!(memory.held_bytes(), 1_000);
        assert!(memory.try_hold(1).is_none());
        drop(alone);
        let _some = memory.try_hold(60).unwrap();
        assert!(memory.try_hold(41).is_none());
        let _more = memory.try_hold(40).unwrap();
        assert_eq!(memory.held_bytes(), 100);
    }

    #[test]
    fn an_answer_holds_its_memory_when_its_query_has_ended() {
        let memory = QueryMemory::new(100);
        let ctx = QueryContext::new(CancellationToken::new(), 0, Arc::clone(&memory));
        ctx.hold_bytes(90);
        let mut held = ctx.keep(40);
        assert_eq!(memory.held_bytes(), 40);
        drop(ctx);
        assert_eq!(memory.held_bytes(), 40);
        let copy = held.clone();
        held.resize(15);
        assert_eq!((held.n_bytes(), memory.held_bytes()), (15, 55));
        drop(copy);
        drop(held);
        assert_eq!(memory.held_bytes(), 0);
        let mut uncounted = HeldMemory::default();
        uncounted.resize(7);
        assert_eq!(uncounted, HeldMemory::default());
    }

    #[test]
    fn a_bound_of_spans_is_one_of_memory() {
        let ctx = QueryContext::unlimited();
        ctx.hold_at_most(2);
        ctx.hold(&Span::default());
        assert!(!ctx.is_full());
        ctx.hold(&Span::default());
        assert!(ctx.is_full());
        ctx.release(0);
        assert!(!ctx.is_full());
    }
}
