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
use tracewell_ingest::Tenant;
use tracewell_model::Limits;

use crate::error::{ApiError, ApiResult};

/// Admits queries.
#[derive(Debug)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    n_waiting: AtomicUsize,
    waiting_max: usize,
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
    of_tenant: Option<OwnedSemaphorePermit>,
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
const QUERIES: &str = "limits.queries_max";
const TENANT_QUERIES: &str = "limits.tenant_queries_max";
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

    /// How long an answer may take to be sent.
    pub(crate) fn answer_time_max(&self) -> Duration {
        self.answer_time_max
    }

    /// Runs a query under a token that is cancelled when this future is dropped or times out.
    pub(crate) async fn run<T, F>(
        &self,
        tenant: &Tenant,
        query: impl FnOnce(CancellationToken) -> F,
    ) -> ApiResult<(T, Permit)>
    where
        F: Future<Output = tracewell_query::Result<T>>,
    {
        let permit = self.enter(tenant).await?;
        let time_max = Duration::from_millis(tenant.limits.query_ms_max);
        let cancel = CancellationToken::new();
        let _on_drop = cancel.clone().drop_guard();
        match tokio::time::timeout(time_max + self.grace, query(cancel)).await {
            Ok(answer) => Ok((answer?, permit)),
            Err(_) => Err(ApiError::TimedOut { limit: time_max }),
        }
    }

    /// First the tenant's own turn: who waits for that takes no place in the queue of all.
    async fn enter(&self, tenant: &Tenant) -> ApiResult<Permit> {
        let begun = Instant::now();
        let of_tenant = match &tenant.queries {
            Some(turns) => Some(self.turn_of(tenant, turns).await?),
            None => None,
        };
        let permit = |query| Permit {
            query,
            of_tenant,
            sending: Arc::clone(&self.sending),
            answer_time_max: self.answer_time_max,
        };
        if let Ok(query) = Arc::clone(&self.permits).try_acquire_owned() {
            self.queue_seconds.observe(begun.elapsed().as_secs_f64());
            return Ok(permit(query));
        }
        let waiting = Waiting::new(&self.n_waiting);
        if waiting.n_before >= self.waiting_max {
            return Err(self.busy(QUERIES, waiting.n_before));
        }
        let turn = Arc::clone(&self.permits).acquire_owned();
        let turn = tokio::time::timeout(self.wait_max, turn).await;
        self.queue_seconds.observe(begun.elapsed().as_secs_f64());
        match turn {
            Ok(Ok(query)) => Ok(permit(query)),
            Ok(Err(_)) => Err(ApiError::Unavailable(String::from("shutting down"))),
            Err(_) => Err(self.busy(QUERIES, self.n_waiting())),
        }
    }

    /// One of the queries that a tenant may run.
    async fn turn_of(
        &self,
        tenant: &Tenant,
        turns: &Arc<Semaphore>,
    ) -> ApiResult<OwnedSemaphorePermit> {
        if let Ok(turn) = Arc::clone(turns).try_acquire_owned() {
            return Ok(turn);
        }
        let n_max = usize::try_from(tenant.limits.tenant_queries_max).unwrap_or(usize::MAX);
        let waiting = Waiting::new(&tenant.queries_waiting);
        if waiting.n_before >= n_max.saturating_mul(WAITING_PER_RUNNING) {
            return Err(self.busy(TENANT_QUERIES, waiting.n_before));
        }
        let turn = Arc::clone(turns).acquire_owned();
        match tokio::time::timeout(self.wait_max, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(ApiError::Unavailable(String::from("shutting down"))),
            Err(_) => Err(self.busy(TENANT_QUERIES, waiting.n_before)),
        }
    }

    fn busy(&self, limit: &'static str, waiting: usize) -> ApiError {
        self.refused.fetch_add(1, Ordering::Relaxed);
        ApiError::Busy {
            limit,
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
        drop(self.of_tenant);
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
    use tracewell_ingest::Tenants;
    use tracewell_model::TenantId;

    use super::*;

    fn limits() -> Limits {
        let mut limits = Limits::default();
        limits.queries_max = 1;
        limits.query_ms_max = 20;
        limits
    }

    fn gate() -> Gate {
        Gate::new(&limits(), Duration::from_secs(1))
    }

    fn tenants(limits: Limits) -> Arc<Tenants> {
        Tenants::new(limits.into(), Arc::default())
    }

    fn anybody() -> Arc<Tenant> {
        tenants(limits()).single()
    }

    #[tokio::test]
    async fn a_tenant_with_too_many_queries_waits_alone() {
        let mut limits = limits();
        limits.queries_max = 2;
        limits.tenant_queries_max = 1;
        let mut gate = Gate::new(&limits, Duration::from_secs(1));
        gate.wait_max = Duration::from_millis(20);
        let tenants = tenants(limits);
        let named = |name: &str| tenants.get(&TenantId::new(name).unwrap());
        let first = gate.enter(&named("greedy")).await.unwrap();
        let refused = gate.enter(&named("greedy")).await.unwrap_err();
        assert_eq!(refused.limit(), Some(TENANT_QUERIES));
        assert!(refused.to_string().contains(TENANT_QUERIES), "{refused}");
        // The queue of all is untouched, and so is the other's turn.
        assert_eq!(gate.n_waiting(), 0);
        let other = gate.enter(&named("modest")).await.unwrap();
        let sent = first.until_sent();
        drop(other);
        assert!(gate.enter(&named("greedy")).await.is_ok(), "it has ended");
        drop(sent);
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_turn_is_told_to_come_again() {
        let mut gate = gate();
        gate.wait_max = Duration::from_millis(20);
        let permit = gate.enter(&anybody()).await.unwrap();
        let anybody = anybody();
        let waited = tokio::time::timeout(Duration::from_secs(20), gate.enter(&anybody)).await;
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
        assert!(gate.run(&anybody(), late).await.is_ok());
        gate.grace = Duration::ZERO;
        let never = |_| std::future::pending::<tracewell_query::Result<()>>();
        let error = gate.run(&anybody(), never).await.unwrap_err();
        assert!(matches!(error, ApiError::TimedOut { .. }), "{error}");
    }

    #[tokio::test]
    async fn an_answer_that_is_sent_makes_room_for_a_query_as_long_as_few_are() {
        let gate = gate();
        let mut sent = Vec::new();
        for _ in 0..SENDING_PER_RUNNING {
            sent.push(gate.enter(&anybody()).await.unwrap().until_sent());
        }
        let last = gate.enter(&anybody()).await.unwrap().until_sent();
        assert_eq!(gate.permits.available_permits(), 0);
        drop(last);
        assert_eq!(gate.permits.available_permits(), 1);
    }
}
