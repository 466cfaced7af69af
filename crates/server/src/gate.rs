//! How many queries run at a time, and for how long.
//!
//! A query beyond the limit waits its turn; too many that wait, and those that wait too long, are
//! refused with a retry hint. The deadline counts from the start of the query, not of the wait. When
//! the client leaves, the handler's future is dropped, and with it the guard that cancels the query's
//! token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracewell_model::Limits;

use crate::error::{ApiError, ApiResult};

/// Admits queries.
#[derive(Debug)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    n_waiting: AtomicUsize,
    waiting_max: usize,
    time_max: Duration,
    wait_max: Duration,
    grace: Duration,
    /// For answers that are still being sent though their queries have ended.
    sending: Arc<Semaphore>,
    answer_time_max: Duration,
    pub(crate) refused: AtomicU64,
    pub(crate) queue_seconds: Histogram,
}

/// A permit for as long as an answer is made.
#[derive(Debug)]
pub(crate) struct Permit {
    query: OwnedSemaphorePermit,
    sending: Arc<Semaphore>,
    answer_time_max: Duration,
}

/// For every query that runs, so many may wait.
const WAITING_PER_RUNNING: usize = 16;
/// For every query that may run, so many answers may be sent to clients that are slow to read; each
/// has a thread and about 400 KiB on the way. Further ones are sent on the permits of their queries.
const SENDING_PER_RUNNING: usize = 2;
/// Half of what a query may take by default: who waits longer is better told to come again.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The engine stops at its deadline by itself, with an answer in part. Only one that does not stop
/// this long after it is cut off.
const GRACE: Duration = Duration::from_secs(1);
const RETRY_AFTER: Duration = Duration::from_secs(1);
const QUEUE_SECONDS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0];

// === impl Gate ===

impl Gate {
    pub(crate) fn new(limits: &Limits, answer_time_max: Duration) -> Self {
        let running_max = limits.queries_max.max(1);
        Self {
            permits: Arc::new(Semaphore::new(running_max)),
            n_waiting: AtomicUsize::new(0),
            waiting_max: running_max * WAITING_PER_RUNNING,
            time_max: Duration::from_millis(limits.query_ms_max),
            wait_max: WAIT_MAX,
            grace: GRACE,
            sending: Arc::new(Semaphore::new(running_max * SENDING_PER_RUNNING)),
            answer_time_max,
            refused: AtomicU64::new(0),
            queue_seconds: Histogram::new(QUEUE_SECONDS),
        }
    }

    pub(crate) fn n_waiting(&self) -> usize {
        self.n_waiting.load(Ordering::Relaxed)
    }

    /// Runs a query under a token that is cancelled when this future is dropped or times out.
    pub(crate) async fn run<T, F>(
        &self,
        query: impl FnOnce(CancellationToken) -> F,
    ) -> ApiResult<(T, Permit)>
    where
        F: Future<Output = tracewell_query::Result<T>>,
    {
        let permit = self.enter().await?;
        let cancel = CancellationToken::new();
        let _on_drop = cancel.clone().drop_guard();
        match tokio::time::timeout(self.time_max + self.grace, query(cancel)).await {
            Ok(answer) => Ok((answer?, permit)),
            Err(_) => Err(ApiError::TimedOut {
                limit: self.time_max,
            }),
        }
    }

    async fn enter(&self) -> ApiResult<Permit> {
        let permit = |query| Permit {
            query,
            sending: Arc::clone(&self.sending),
            answer_time_max: self.answer_time_max,
        };
        if let Ok(query) = Arc::clone(&self.permits).try_acquire_owned() {
            self.queue_seconds.observe(0.0);
            return Ok(permit(query));
        }
        let begun = Instant::now();
        let waiting = Waiting::new(&self.n_waiting);
        if waiting.n_before >= self.waiting_max {
            return Err(self.busy(waiting.n_before));
        }
        let turn = Arc::clone(&self.permits).acquire_owned();
        let turn = tokio::time::timeout(self.wait_max, turn).await;
        self.queue_seconds.observe(begun.elapsed().as_secs_f64());
        match turn {
            Ok(Ok(query)) => Ok(permit(query)),
            Ok(Err(_)) => Err(ApiError::Unavailable(String::from("shutting down"))),
            Err(_) => Err(self.busy(self.n_waiting())),
        }
    }

    fn busy(&self, waiting: usize) -> ApiError {
        self.refused.fetch_add(1, Ordering::Relaxed);
        ApiError::Busy {
            waiting,
            retry_after: RETRY_AFTER,
        }
    }
}

// === impl Permit ===

impl Permit {
    /// How long an answer may take to be sent.
    pub(crate) fn answer_time_max(&self) -> Duration {
        self.answer_time_max
    }

    /// The query has ended: makes room for another, unless too many answers are sent already.
    pub(crate) fn until_sent(self) -> OwnedSemaphorePermit {
        self.sending.try_acquire_owned().unwrap_or(self.query)
    }
}

/// Counts one who waits, however the wait ends.
struct Waiting<'a> {
    n: &'a AtomicUsize,
    n_before: usize,
}

impl<'a> Waiting<'a> {
    fn new(n: &'a AtomicUsize) -> Self {
        let n_before = n.fetch_add(1, Ordering::Relaxed);
        Self { n, n_before }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.n.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        let mut limits = Limits::default();
        limits.queries_max = 1;
        limits.query_ms_max = 20;
        Gate::new(&limits, Duration::from_secs(1))
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_turn_is_told_to_come_again() {
        let mut gate = gate();
        gate.wait_max = Duration::from_millis(20);
        let permit = gate.enter().await.unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(20), gate.enter()).await;
        let refused = waited.expect("a bounded wait").unwrap_err();
        assert_eq!(refused.retry_after(), Some(RETRY_AFTER));
        assert_eq!(
            (gate.n_waiting(), gate.refused.load(Ordering::Relaxed)),
            (0, 1)
        );
        drop(permit);
    }

    #[tokio::test]
    async fn an_engine_that_stops_at_its_deadline_is_heard() {
        let mut gate = gate();
        gate.grace = Duration::from_secs(20);
        let late = |_| async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            Ok(())
        };
        assert!(gate.run(late).await.is_ok());
        gate.grace = Duration::ZERO;
        let never = |_| std::future::pending::<tracewell_query::Result<()>>();
        let error = gate.run(never).await.unwrap_err();
        assert!(matches!(error, ApiError::TimedOut { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_answer_that_is_sent_makes_room_for_a_query_as_long_as_few_are() {
        let gate = gate();
        let mut sent = Vec::new();
        for _ in 0..SENDING_PER_RUNNING {
            sent.push(gate.enter().await.unwrap().until_sent());
        }
        let last = gate.enter().await.unwrap().until_sent();
        assert_eq!(gate.permits.available_permits(), 0);
        drop(last);
        assert_eq!(gate.permits.available_permits(), 1);
    }
}
