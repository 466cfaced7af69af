//! Traces of one tenant that grow: how many there are, and how large each is by now.
//!
//! A trace lives while spans of it come; 10 to 20 seconds after the last one it is forgotten, and grows anew if
//! it comes back. Only tenants with a limit on their traces are looked after. What a request adds is taken back
//! if it is not stored. Traces beyond [`REMEMBERED_MAX`], of all tenants together, pass unseen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tracewell_model::{Limits, TraceId};
use tracewell_wire::otlp::{Admit, Reason};

type Sizes = HashMap<TraceId, u64>;

/// The traces of one tenant.
#[derive(Debug)]
pub(crate) struct LiveTraces {
    state: Mutex<State>,
    /// Traces of all tenants.
    remembered: Arc<AtomicUsize>,
}

/// In two ages, so that what has gone quiet is forgotten all at once.
#[derive(Debug, Default)]
struct State {
    young: Sizes,
    old: Sizes,
    /// Since when `young` fills.
    since: Duration,
}

/// What one request adds.
#[derive(Debug)]
pub(crate) struct Taken {
    live: Arc<LiveTraces>,
    limits: Arc<Limits>,
    now: Duration,
    added: Vec<(TraceId, u64)>,
}

/// Some 40 bytes each.
const REMEMBERED_MAX: usize = 1 << 20;
const AGE: Duration = Duration::from_secs(10);

// === impl LiveTraces ===

impl LiveTraces {
    pub(crate) fn new(remembered: Arc<AtomicUsize>) -> Self {
        Self {
            state: Mutex::default(),
            remembered,
        }
    }

    /// Whether any of the limits asks for it.
    pub(crate) fn are_limited(limits: &Limits) -> bool {
        limits.tenant_traces_max != Limits::NONE || limits.trace_bytes_max != Limits::NONE
    }

    fn add(&self, now: Duration, id: TraceId, n_bytes: u64, limits: &Limits) -> Result<(), Reason> {
        let mut state = self.state.lock();
        self.forget(&mut state, now);
        let known = match state.young.get(&id) {
            Some(known) => Some(*known),
            None => state.old.remove(&id),
        };
        let after = known.unwrap_or(0).saturating_add(n_bytes);
        let fits = after <= limits.trace_bytes_max;
        if let Some(before) = known {
            state.young.insert(id, if fits { after } else { before });
            return fits.then_some(()).ok_or(Reason::TraceTooLarge);
        }
        let n_live = (state.young.len() + state.old.len()) as u64;
        if n_live >= limits.tenant_traces_max {
            return Err(Reason::LiveTracesExceeded);
        }
        if !fits {
            return Err(Reason::TraceTooLarge);
        }
        if self.remembered.fetch_add(1, Ordering::Relaxed) >= REMEMBERED_MAX {
            self.remembered.fetch_sub(1, Ordering::Relaxed);
            return Ok(());
        }
        state.young.insert(id, after);
        Ok(())
    }

    fn forget(&self, state: &mut State, now: Duration) {
        let age = now.saturating_sub(state.since);
        if age < AGE {
            return;
        }
        let gone = std::mem::replace(&mut state.old, std::mem::take(&mut state.young));
        let mut n_gone = gone.len();
        if age >= AGE * 2 {
            n_gone += std::mem::take(&mut state.old).len();
        }
        self.remembered.fetch_sub(n_gone, Ordering::Relaxed);
        state.since = now;
    }

    fn take_back(&self, id: TraceId, n_bytes: u64) {
        let state = &mut *self.state.lock();
        for sizes in [&mut state.young, &mut state.old] {
            if let Some(size) = sizes.get_mut(&id) {
                *size = size.saturating_sub(n_bytes);
                if *size == 0 {
                    sizes.remove(&id);
                    self.remembered.fetch_sub(1, Ordering::Relaxed);
                }
                return;
            }
        }
    }
}

impl Drop for LiveTraces {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let n = state.young.len() + state.old.len();
        self.remembered.fetch_sub(n, Ordering::Relaxed);
    }
}

// === impl Taken ===

impl Taken {
    pub(crate) fn new(live: &Arc<LiveTraces>, limits: &Arc<Limits>, now: Duration) -> Self {
        Self {
            live: Arc::clone(live),
            limits: Arc::clone(limits),
            now,
            added: Vec::new(),
        }
    }

    /// Nothing of the request was stored, or it was stored before.
    pub(crate) fn give_back(mut self) {
        self.start_again();
    }
}

impl Admit for Taken {
    fn admit(&mut self, trace_id: TraceId, n_bytes: usize) -> Result<(), Reason> {
        let n_bytes = n_bytes as u64;
        self.live.add(self.now, trace_id, n_bytes, &self.limits)?;
        match self.added.last_mut() {
            Some((id, n)) if *id == trace_id => *n += n_bytes,
            _ => self.added.push((trace_id, n_bytes)),
        }
        Ok(())
    }

    fn start_again(&mut self) {
        for (id, n_bytes) in self.added.drain(..) {
            self.live.take_back(id, n_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(traces: u64, bytes: u64) -> Arc<Limits> {
        let mut limits = Limits::default();
        limits.tenant_traces_max = traces;
        limits.trace_bytes_max = bytes;
        Arc::new(limits)
    }

    fn id(n: u8) -> TraceId {
        TraceId([n; 16])
    }

    #[test]
    fn traces_are_counted_while_they_live_and_measured_while_they_grow() {
        let remembered = Arc::new(AtomicUsize::new(0));
        let live = Arc::new(LiveTraces::new(Arc::clone(&remembered)));
        let limits = limits(2, 100);
        let at = |seconds: u64| Taken::new(&live, &limits, Duration::from_secs(100 + seconds));
        assert_eq!(at(0).admit(id(1), 60), Ok(()));
        assert_eq!(at(0).admit(id(2), 10), Ok(()));
        assert_eq!(at(1).admit(id(3), 1), Err(Reason::LiveTracesExceeded));
        assert_eq!(at(1).admit(id(1), 41), Err(Reason::TraceTooLarge));
        assert_eq!(
            at(1).admit(id(1), 40),
            Ok(()),
            "what was refused is not counted"
        );
        assert_eq!(remembered.load(Ordering::Relaxed), 2);
        // The second has been quiet for two ages, the first has not.
        assert_eq!(at(12).admit(id(1), 0), Ok(()));
        assert_eq!(at(12).admit(id(3), 1), Err(Reason::LiveTracesExceeded));
        assert_eq!(at(23).admit(id(3), 1), Ok(()));
        assert_eq!(at(23).admit(id(1), 1), Err(Reason::TraceTooLarge));
        assert_eq!(at(60).admit(id(1), 100), Ok(()), "it grows anew");
        assert_eq!(remembered.load(Ordering::Relaxed), 1);
        drop(live);
    }

    #[test]
    fn what_was_not_stored_does_not_count() {
        let remembered = Arc::new(AtomicUsize::new(0));
        let live = Arc::new(LiveTraces::new(Arc::clone(&remembered)));
        let limits = limits(1, 100);
        let taken = || Taken::new(&live, &limits, Duration::ZERO);
        let mut request = taken();
        assert_eq!(request.admit(id(1), 60), Ok(()));
        assert_eq!(request.admit(id(1), 40), Ok(()));
        request.give_back();
        assert_eq!(remembered.load(Ordering::Relaxed), 0);
        let mut request = taken();
        assert_eq!(request.admit(id(2), 100), Ok(()));
        request.start_again();
        assert_eq!(request.admit(id(2), 100), Ok(()), "asked for again");
        drop(request);
        assert_eq!(taken().admit(id(2), 1), Err(Reason::TraceTooLarge));
        drop(live);
        assert_eq!(remembered.load(Ordering::Relaxed), 0);
    }
}
