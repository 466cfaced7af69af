//! Retries are recognised by their request: the same body is acknowledged again, not stored again.
//!
//! The hash of every accepted body is kept for ten minutes, the newest [`REQUESTS_KEPT_MAX`] at most.
//! A repeat that comes while the first is still on its way to the log waits for the result of the
//! first. What this is not: it does not compare spans; fragments are joined by merges and queries.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracewell_model::TenantId;
use tracewell_model::sink::WriteError;

/// How long a request is remembered: longer than any exporter retries (OTLP's default is 1 minute).
pub const REQUEST_KEPT_NANO: u64 = 600 * 1_000_000_000;
/// How many are remembered: 200 requests a second for ten minutes, 64 bytes each, 8 MB.
pub const REQUESTS_KEPT_MAX: usize = 1 << 17;

/// The hash of a request as received, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestKey(u128);

/// The requests of the last ten minutes.
#[derive(Debug, Default)]
pub struct Requests {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<RequestKey, Slot, foldhash::fast::RandomState>,
    /// Accepted ones, oldest first.
    accepted: VecDeque<(RequestKey, u64)>,
}

#[derive(Debug)]
enum Slot {
    /// On its way; these wait for the result.
    Pending(Vec<oneshot::Sender<Result<(), WriteError>>>),
    Accepted,
}

/// What a request is.
#[derive(Debug)]
pub enum Turn {
    /// To be stored; the ticket says how it ended.
    First(Ticket),
    /// Accepted before.
    Repeated,
    /// The same request is on its way: its result is the result. The sender is gone where the first
    /// was given up before anything was stored.
    Pending(oneshot::Receiver<Result<(), WriteError>>),
}

/// The right to store one request. Dropped without a result, it says that nothing was stored.
#[derive(Debug)]
pub struct Ticket {
    requests: Arc<Requests>,
    key: RequestKey,
    finished: bool,
}

// === impl RequestKey ===

impl RequestKey {
    /// Two tenants may send the same body.
    pub fn new(tenant: &TenantId, request_hash: u128) -> Self {
        let tenant = twox_hash::XxHash3_64::oneshot(tenant.as_str().as_bytes());
        Self(request_hash ^ u128::from(tenant))
    }
}

// === impl Requests ===

impl Requests {
    /// Says what a request is; `now` is monotonic.
    pub fn begin(self: &Arc<Self>, key: RequestKey, now: u64) -> Turn {
        let mut state = self.state.lock();
        state.forget(now);
        match state.slots.get_mut(&key) {
            Some(Slot::Accepted) => Turn::Repeated,
            Some(Slot::Pending(waiting)) => {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                Turn::Pending(receiver)
            }
            None => {
                state.slots.insert(key, Slot::Pending(Vec::new()));
                Turn::First(Ticket {
                    requests: Arc::clone(self),
                    key,
                    finished: false,
                })
            }
        }
    }

    /// Whether a request was accepted before.
    pub fn has_accepted(&self, key: RequestKey, now: u64) -> bool {
        let mut state = self.state.lock();
        state.forget(now);
        matches!(state.slots.get(&key), Some(Slot::Accepted))
    }

    /// Remembers a request that was found in the log, accepted `age` ago. To be called in the order
    /// of the log.
    pub fn remember(&self, key: RequestKey, now: u64, age: u64) {
        if age >= REQUEST_KEPT_NANO {
            return;
        }
        let mut state = self.state.lock();
        if state.slots.insert(key, Slot::Accepted).is_none() {
            // Older than the process: as if accepted now, which errs on the side of remembering.
            state.accepted.push_back((key, now));
        }
        state.forget(now);
    }

    /// Requests that are remembered or on their way.
    pub fn n_requests(&self) -> usize {
        self.state.lock().slots.len()
    }
}

// === impl State ===

impl State {
    fn forget(&mut self, now: u64) {
        while let Some((key, at)) = self.accepted.front() {
            let expired = now.saturating_sub(*at) >= REQUEST_KEPT_NANO;
            if !expired && self.accepted.len() <= REQUESTS_KEPT_MAX {
                break;
            }
            self.slots.remove(key);
            self.accepted.pop_front();
        }
    }
}

// === impl Ticket ===

impl Ticket {
    /// Says how it ended, to everyone who waits too.
    pub fn finish(mut self, result: &Result<(), WriteError>, now: u64) {
        self.finished = true;
        let mut state = self.requests.state.lock();
        let waiting = if result.is_ok() {
            state.accepted.push_back((self.key, now));
            state.slots.insert(self.key, Slot::Accepted)
        } else {
            state.slots.remove(&self.key)
        };
        drop(state);
        if let Some(Slot::Pending(waiting)) = waiting {
            for sender in waiting {
                // Whoever left does not need the answer.
                drop(sender.send(result.clone()));
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.finished {
            self.requests.state.lock().slots.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u128) -> RequestKey {
        RequestKey::new(&TenantId::single(), n)
    }

    fn first(requests: &Arc<Requests>, n: u128, now: u64) -> Ticket {
        match requests.begin(key(n), now) {
            Turn::First(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_repeat_is_known_for_ten_minutes() {
        let requests = Arc::new(Requests::default());
        first(&requests, 1, 5).finish(&Ok(()), 5);
        assert!(matches!(requests.begin(key(1), 6), Turn::Repeated));
        let last = 5 + REQUEST_KEPT_NANO - 1;
        assert!(matches!(requests.begin(key(1), last), Turn::Repeated));
        drop(first(&requests, 1, last + 1));
        assert_eq!(requests.n_requests(), 0);
    }

    #[test]
    fn another_tenant_may_send_the_same_body() {
        let requests = Arc::new(Requests::default());
        first(&requests, 1, 0).finish(&Ok(()), 0);
        let other = RequestKey::new(&TenantId::new("other").unwrap(), 1);
        assert!(matches!(requests.begin(other, 0), Turn::First(_)));
    }

    #[test]
    fn a_repeat_of_a_pending_one_gets_its_result() {
        let failed = WriteError::Log {
            reason: "disk".to_owned(),
        };
        for result in [Ok(()), Err(failed)] {
            let requests = Arc::new(Requests::default());
            let ticket = first(&requests, 1, 0);
            let Turn::Pending(mut waiting) = requests.begin(key(1), 0) else {
                panic!("not pending");
            };
            assert!(waiting.try_recv().is_err());
            ticket.finish(&result, 1);
            assert_eq!(waiting.try_recv().unwrap(), result);
            let again = requests.begin(key(1), 2);
            assert_eq!(matches!(again, Turn::Repeated), result.is_ok());
        }
    }

    #[test]
    fn a_ticket_that_is_dropped_frees_the_request() {
        let requests = Arc::new(Requests::default());
        let ticket = first(&requests, 1, 0);
        let Turn::Pending(mut waiting) = requests.begin(key(1), 0) else {
            panic!("not pending");
        };
        drop(ticket);
        assert!(matches!(
            waiting.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        ));
        drop(first(&requests, 1, 0));
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_kept() {
        let requests = Arc::new(Requests::default());
        let n = REQUESTS_KEPT_MAX as u128 + 10;
        for i in 0..n {
            first(&requests, i, 0).finish(&Ok(()), 0);
        }
        assert!(matches!(requests.begin(key(n - 1), 0), Turn::Repeated));
        assert!(matches!(requests.begin(key(10), 0), Turn::Repeated));
        assert!(matches!(requests.begin(key(9), 0), Turn::First(_)));
        assert_eq!(requests.n_requests(), REQUESTS_KEPT_MAX);
    }

    #[test]
    fn what_the_log_holds_is_remembered_if_it_is_young() {
        let requests = Arc::new(Requests::default());
        requests.remember(key(1), 7, REQUEST_KEPT_NANO);
        requests.remember(key(2), 7, REQUEST_KEPT_NANO - 1);
        assert!(matches!(requests.begin(key(1), 7), Turn::First(_)));
        assert!(matches!(requests.begin(key(2), 7), Turn::Repeated));
    }
}
