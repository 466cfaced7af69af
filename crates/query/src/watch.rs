//! When a computation has to end, however far it is.
//!
//! Between steps the engine asks for its deadline by itself. Inside of one trace nothing waits: a trace may have a
//! million spans, and a span may have a million pairs of an event and a link. Loops over those ask here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio_util::sync::CancellationToken;
use tracewell_model::Clock;

/// Steps between two looks at the clock: a tenth of a millisecond.
const STEPS: u32 = 1 << 10;

/// The end of one question: its deadline, or that nobody waits for the answer any more.
#[derive(Debug)]
pub(crate) struct Watch {
    cancel: CancellationToken,
    clock: Arc<dyn Clock>,
    deadline_nano: u64,
    /// Until the next look.
    n_left: AtomicU32,
    is_over: AtomicBool,
}

// === impl Watch ===

impl Watch {
    pub(crate) fn new(
        cancel: CancellationToken,
        clock: Arc<dyn Clock>,
        deadline_nano: u64,
    ) -> Self {
        Self {
            cancel,
            clock,
            deadline_nano,
            n_left: AtomicU32::new(STEPS),
            is_over: AtomicBool::new(false),
        }
    }

    /// To be told of steps before they are taken: true if they are not worth it any more. What was computed since the
    /// last answer is to be thrown away then.
    pub(crate) fn spend(&self, n_steps: usize) -> bool {
        let n_steps = u32::try_from(n_steps).unwrap_or(u32::MAX);
        // Steps of two threads may count as those of one: it is looked at a little later.
        match self.n_left.load(Ordering::Relaxed).checked_sub(n_steps) {
            Some(n_left) => self.n_left.store(n_left, Ordering::Relaxed),
            None => {
                self.n_left.store(STEPS, Ordering::Relaxed);
                return self.look();
            }
        }
        self.is_over()
    }

    /// Whether it is over by now.
    pub(crate) fn look(&self) -> bool {
        if self.cancel.is_cancelled() || self.clock.monotonic_nano() > self.deadline_nano {
            self.is_over.store(true, Ordering::Relaxed);
        }
        self.is_over()
    }

    /// Whether it was, when it was looked at last.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}
