//! Traces of one tenant that grow: how many there are, and how large each is by now.
//!
//! A trace lives while spans of it come; 10 to 20 seconds after the last one it is forgotten, and grows anew if
//! it comes back. Only tenants with a limit on their traces are looked after. What a request adds is taken back
//! unless it is stored. Traces beyond [`REMEMBERED_MAX`] of all tenants together, or [`SHARE_MAX`] of one, are
//! taken as they come, and counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tracewell_model::limits::LIVE_TRACES;
use tracewell_model::{Limits, TraceId};
use tracewell_wire::otlp::{Admit, Reason};

use crate::metrics::IngestMetrics;

type Sizes = HashMap<TraceId, u64>;

/// The traces of all tenants.
#[derive(Debug)]
pub(crate) struct AllLive {
    n_traces: AtomicUsize,
    of_tenants: Mutex<OfTenants>,
    metrics: Arc<IngestMetrics>,
}

#[derive(Debug, Default)]
struct OfTenants {
    all: Vec<Weak<LiveTraces>>,
    /// When all of them were last asked to forget.
    swept: Duration,
}

/// The traces of one tenant.
#[derive(Debug)]
pub(crate) struct LiveTraces {
    state: Mutex<State>,
    all: Arc<AllLive>,
}

/// In two ages, so that what has gone quiet is forgotten all at once.
#[derive(Debug, Default)]
struct State {
    young: Sizes,
    old: Sizes,
    /// Since when `young` fills.
    since: Duration,
}

/// What one request adds. Dropped, it takes it back.
#[derive(Debug)]
pub(crate) struct Taken {
    live: Arc<LiveTraces>,
    limits: Arc<Limits>,
    now: Duration,
    added: Vec<(TraceId, u64)>,
}

/// Some 40 bytes each.
const REMEMBERED_MAX: usize = 1 << 20;
/// Of one tenant: others shall have room too.
const SHARE_MAX: usize = REMEMBERED_MAX / 4;
const AGE: Duration = Duration::from_secs(10);
/// Tenants that send nothing are not asked to forget more often than that.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

// === impl AllLive ===

impl AllLive {
    pub(crate) fn new(metrics: Arc<IngestMetrics>) -> Arc<Self> {
        Arc::new(Self {
            n_traces: AtomicUsize::new(0),
            of_tenants: Mutex::default(),
            metrics,
        })
    }

    /// Room for one more, if there is any; who has it counts it.
    fn reserve(&self, now: Duration) -> bool {
        if self.has_reserved() {
            return true;
        }
        self.sweep(now);
        self.has_reserved()
    }

    fn has_reserved(&self) -> bool {
        let before = self.n_traces.fetch_add(1, Ordering::Relaxed);
        if before >= REMEMBERED_MAX {
            self.give_back(1);
        }
        before < REMEMBERED_MAX
    }

    fn give_back(&self, n: usize) {
        self.n_traces.fetch_sub(n, Ordering::Relaxed);
    }

    /// Lets tenants forget that send nothing any more. One that is busy forgets by itself.
    fn sweep(&self, now: Duration) {
        let mut tenants = self.of_tenants.lock();
        if now.saturating_sub(tenants.swept) < SWEEP_EVERY {
            return;
        }
        tenants.swept = now;
        tenants.all.retain(|tenant| {
            let Some(live) = tenant.upgrade() else {
                return false;
            };
            if let Some(mut state) = live.state.try_lock() {
                live.forget(&mut state, now);
            }
            true
        });
    }
}

// === impl LiveTraces ===

impl LiveTraces {
    pub(crate) fn new(all: &Arc<AllLive>) -> Arc<Self> {
        let live = Arc::new(Self {
            state: Mutex::default(),
            all: Arc::clone(all),
        });
        all.of_tenants.lock().all.push(Arc::downgrade(&live));
        live
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
        let n_live = state.young.len() + state.old.len();
        if n_live as u64 >= limits.tenant_traces_max {
            return Err(Reason::LiveTracesExceeded);
        }
        if !fits {
            return Err(Reason::TraceTooLarge);
        }
        if n_live >= SHARE_MAX || !self.all.reserve(now) {
            self.all.metrics.count_limit(LIVE_TRACES, 1);
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
        self.all.give_back(n_gone);
        state.since = now;
    }

    fn take_back(&self, id: TraceId, n_bytes: u64) {
        let state = &mut *self.state.lock();
        for sizes in [&mut state.young, &mut state.old] {
            if let Some(size) = sizes.get_mut(&id) {
                *size = size.saturating_sub(n_bytes);
                if *size == 0 {
                    sizes.remove(&id);
                    self.all.give_back(1);
                }
                return;
            }
        }
    }
}

impl Drop for LiveTraces {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.all.give_back(state.young.len() + state.old.len());
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

    /// The request is stored.
    pub(crate) fn keep(mut self) {
        self.added.clear();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
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

    fn kept(mut taken: Taken, id: TraceId, n_bytes: usize) -> Result<(), Reason> {
        let admitted = taken.admit(id, n_bytes);
        taken.keep();
        admitted
    }

    fn remembered(all: &AllLive) -> usize {
        all.n_traces.load(Ordering::Relaxed)
    }

    #[test]
    fn traces_are_counted_while_they_live_and_measured_while_they_grow() {
        let all = AllLive::new(Arc::default());
        let live = LiveTraces::new(&all);
        let limits = limits(2, 100);
        let add = |seconds: u64, n: u8, n_bytes: usize| {
            let now = Duration::from_secs(100 + seconds);
            kept(Taken::new(&live, &limits, now), id(n), n_bytes)
        };
        assert_eq!(add(0, 1, 60), Ok(()));
        assert_eq!(add(0, 2, 10), Ok(()));
        assert_eq!(add(1, 3, 1), Err(Reason::LiveTracesExceeded));
        assert_eq!(add(1, 1, 41), Err(Reason::TraceTooLarge));
        assert_eq!(add(1, 1, 40), Ok(()), "what was refused is not counted");
        assert_eq!(remembered(&all), 2);
        // The second has been quiet for two ages, the first has not.
        assert_eq!(add(12, 1, 0), Ok(()));
        assert_eq!(add(12, 3, 1), Err(Reason::LiveTracesExceeded));
        assert_eq!(add(23, 3, 1), Ok(()));
        assert_eq!(add(23, 1, 1), Err(Reason::TraceTooLarge));
        assert_eq!(add(60, 1, 100), Ok(()), "it grows anew");
        assert_eq!(remembered(&all), 1);
    }

    #[test]
    fn what_was_not_stored_does_not_count() {
        let all = AllLive::new(Arc::default());
        let live = LiveTraces::new(&all);
        let limits = limits(1, 100);
        let taken = || Taken::new(&live, &limits, Duration::ZERO);
        let mut request = taken();
        assert_eq!(request.admit(id(1), 60), Ok(()));
        assert_eq!(request.admit(id(1), 40), Ok(()));
        // As where its client leaves.
        drop(request);
        assert_eq!(remembered(&all), 0);
        let mut request = taken();
        assert_eq!(request.admit(id(2), 100), Ok(()));
        request.start_again();
        assert_eq!(request.admit(id(2), 100), Ok(()), "asked for again");
        request.keep();
        assert_eq!(taken().admit(id(2), 1), Err(Reason::TraceTooLarge));
        drop(live);
        assert_eq!(remembered(&all), 0);
    }

    /// Tenants that fill what can be remembered and fall silent take nothing from others.
    #[test]
    fn silent_tenants_are_forgotten_and_none_has_all_the_room() {
        let all = AllLive::new(Arc::default());
        let limits = limits(u64::MAX - 1, 100);
        let numbered = |n: usize| TraceId((n as u128 + 1).to_be_bytes());
        let mut silent = Vec::new();
        for _ in 0..REMEMBERED_MAX / SHARE_MAX {
            let live = LiveTraces::new(&all);
            let mut request = Taken::new(&live, &limits, Duration::ZERO);
            for n in 0..SHARE_MAX + 5 {
                assert_eq!(request.admit(numbered(n), 1), Ok(()));
            }
            request.keep();
            silent.push(live);
        }
        assert_eq!(remembered(&all), REMEMBERED_MAX);
        let passed = 5 * silent.len() as u64;
        assert_eq!(all.metrics.limits_hit(), [(LIVE_TRACES, passed)]);
        let live = LiveTraces::new(&all);
        let add = |seconds: u64, n_bytes: usize| {
            let now = Duration::from_secs(seconds);
            kept(Taken::new(&live, &limits, now), id(9), n_bytes)
        };
        assert_eq!(add(5, 60), Ok(()), "there is no room");
        assert_eq!(add(5, 60), Ok(()), "and it passes unseen");
        assert_eq!(add(25, 60), Ok(()));
        assert_eq!(add(25, 60), Err(Reason::TraceTooLarge), "the limit holds");
        assert_eq!(remembered(&all), 1);
        drop(silent);
        assert_eq!(remembered(&all), 1);
    }
}
