//! What is kept of each tenant: the limits that hold for it, how much of them it has used, its counters.
//!
//! A request looks its tenant up once, in a map that is replaced as a whole and read without a lock; so a
//! new version of the limits holds from one request to the next. A tenant that is limited is so by itself:
//! nothing here is shared but the map. Those that the limits name always have an entry of their own; of
//! others the first [`KNOWN_MAX`]; those that come after them share what they may use, and are counted as
//! `_other`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderMap;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracewell_model::{Limits, RetentionAges, TenantId};

use crate::live::{AllLive, LiveTraces, Taken};
use crate::metrics::{IngestMetrics, TenantMetrics, other_tenants};
use crate::rate::RateLimit;
use crate::refusal::Refusal;
use crate::tenancy::{TENANT_HEADER, Tenancy, TenantError};
use crate::tokens::{Bearer, Tokens};

/// Whose limits are which, each whole: what an entry did not say is as it is for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantLimits {
    pub others: Limits,
    pub named: BTreeMap<TenantId, Limits>,
    /// How long what they sent is kept: no business of the receivers, but of the same file.
    pub retention: RetentionAges,
}

/// All tenants that have been met or named.
#[derive(Debug)]
pub struct Tenants {
    known: ArcSwap<Known>,
    /// Whoever makes a new map of the present one.
    changing: Mutex<()>,
    metrics: Arc<IngestMetrics>,
    /// Who must show a token, if anybody.
    tokens: ArcSwapOption<Tokens>,
    basis: Basis,
}

/// What all tenants share.
#[derive(Debug, Clone)]
struct Basis {
    /// Times of the rates count from here.
    origin: Instant,
    live: Arc<AllLive>,
}

/// One tenant under the limits that hold now.
#[derive(Debug)]
pub struct Tenant {
    pub id: TenantId,
    pub limits: Arc<Limits>,
    /// Queries that may run at the same time, if that is limited.
    pub queries: Option<Arc<Semaphore>>,
    /// Queries that wait for one of those.
    pub queries_waiting: Arc<AtomicUsize>,
    pub(crate) metrics: Arc<TenantMetrics>,
    /// Traces that grow, where there is a limit on them.
    live: Option<Arc<LiveTraces>>,
    /// What was used lives on when other limits change.
    rate: Arc<RateLimit>,
    origin: Instant,
}

#[derive(Debug)]
struct Known {
    limits: TenantLimits,
    /// Limits that are equal are one.
    others: Arc<Limits>,
    tenants: HashMap<TenantId, Arc<Tenant>>,
    single: Arc<Tenant>,
    shared: Arc<Tenant>,
}

pub(crate) const TENANT_RATE: &str = "limits.tenant_bytes_per_second_max";
const NO_OPERATOR: &str =
    "this is the operator's, who has no token: write one under \"*\" in tenants.tokens_path";
const TENANT_BURST: &str = "limits.tenant_burst_bytes_max";
/// Tenants without a name in the limits that have entries of their own: some 400 bytes each.
pub const KNOWN_MAX: usize = 4_096;

// === impl TenantLimits ===

impl From<Limits> for TenantLimits {
    /// The same for all.
    fn from(others: Limits) -> Self {
        Self {
            others,
            named: BTreeMap::new(),
            retention: RetentionAges::default(),
        }
    }
}

// === impl Tenants ===

impl Tenants {
    pub fn new(limits: TenantLimits, metrics: Arc<IngestMetrics>) -> Arc<Self> {
        let basis = Basis {
            origin: Instant::now(),
            live: AllLive::new(Arc::clone(&metrics)),
        };
        let known = Known::new(limits, &metrics, &basis, &HashMap::new());
        Arc::new(Self {
            known: ArcSwap::from_pointee(known),
            changing: Mutex::new(()),
            metrics,
            tokens: ArcSwapOption::empty(),
            basis,
        })
    }

    pub fn metrics(&self) -> &Arc<IngestMetrics> {
        &self.metrics
    }

    /// From now on these tokens are asked for, or none.
    pub fn set_tokens(&self, tokens: Option<Tokens>) {
        self.tokens.store(tokens.map(Arc::new));
    }

    /// Whose request it is, and whether who sends it may say so.
    pub fn admit(&self, tenancy: Tenancy, headers: &HeaderMap) -> Result<Arc<Tenant>, TenantError> {
        let tenancy = match tenancy {
            Tenancy::SeveralFromHeader => Tenancy::FromHeader,
            one => one,
        };
        Ok(self.admit_several(tenancy, headers)?.0)
    }

    /// The same for a question, which may be about several: the first of them, and the others.
    pub fn admit_several(
        &self,
        tenancy: Tenancy,
        headers: &HeaderMap,
    ) -> Result<(Arc<Tenant>, Vec<Arc<Tenant>>), TenantError> {
        let tokens = self.tokens.load();
        let bearer = tokens.as_ref().map(|it| it.bearer(headers)).transpose()?;
        let ids = match (tenancy, bearer) {
            (Tenancy::Single, _) => BTreeSet::from([TenantId::single()]),
            // The token says it, and the header need not.
            (_, Some(Bearer::Tenant(id))) if !headers.contains_key(TENANT_HEADER) => {
                BTreeSet::from([id.clone()])
            }
            (_, _) => tenancy.tenants(headers)?,
        };
        if let Some(Bearer::Tenant(own)) = bearer
            && ids.iter().any(|id| id != own)
        {
            return Err(TenantError::Forbidden {
                whose: format!("that of {own}"),
                what: "a tenant sends and asks for its own",
            });
        }
        if tenancy == Tenancy::Single {
            return Ok((self.single(), Vec::new()));
        }
        let mut tenants = ids.iter().map(|id| self.get(id));
        let first = tenants.next().ok_or(TenantError::Missing)?;
        Ok((first, tenants.collect()))
    }

    /// Whether a request may ask for what belongs to the process. Anybody may where there are no tokens; where
    /// only tenants have any, nobody.
    pub fn admit_operator(&self, headers: &HeaderMap) -> Result<(), TenantError> {
        let tokens = self.tokens.load();
        let Some(tokens) = tokens.as_ref() else {
            return Ok(());
        };
        match tokens.bearer(headers)? {
            Bearer::Operator => Ok(()),
            Bearer::Tenant(id) => Err(TenantError::Forbidden {
                whose: format!("that of {id}"),
                what: match tokens.has_operator() {
                    true => "this is the operator's",
                    false => NO_OPERATOR,
                },
            }),
        }
    }

    /// The one tenant of a server without tenants.
    pub fn single(&self) -> Arc<Tenant> {
        Arc::clone(&self.known.load().single)
    }

    pub fn get(&self, id: &TenantId) -> Arc<Tenant> {
        if let Some(tenant) = self.known.load().tenants.get(id) {
            return Arc::clone(tenant);
        }
        self.meet(id)
    }

    /// Takes what is known of a tenant up, for the first time.
    fn meet(&self, id: &TenantId) -> Arc<Tenant> {
        let _changing = self.changing.lock();
        let known = self.known.load();
        if let Some(tenant) = known.tenants.get(id) {
            return Arc::clone(tenant);
        }
        if known.tenants.len() >= KNOWN_MAX + known.limits.named.len() {
            return Arc::new(known.shared.with_id(id));
        }
        let limits = Arc::clone(&known.others);
        let tenant = Tenant::new(id, limits, self.metrics.tenant(id), &self.basis, None);
        let tenant = Arc::new(tenant);
        let mut tenants = known.tenants.clone();
        tenants.insert(id.clone(), Arc::clone(&tenant));
        self.known.store(Arc::new(Known {
            limits: known.limits.clone(),
            others: Arc::clone(&known.others),
            tenants,
            single: Arc::clone(&known.single),
            shared: Arc::clone(&known.shared),
        }));
        tenant
    }

    /// From now on these limits hold. What tenants have used of those that stay the same stays counted.
    pub fn replace(&self, limits: TenantLimits) {
        let _changing = self.changing.lock();
        let before = self.known.load();
        let mut tenants = before.tenants.clone();
        for tenant in [&before.single, &before.shared] {
            tenants.insert(tenant.id.clone(), Arc::clone(tenant));
        }
        let known = Known::new(limits, &self.metrics, &self.basis, &tenants);
        self.known.store(Arc::new(known));
    }

    /// The limits that hold for all that are not named, and those that are.
    pub fn limits(&self) -> TenantLimits {
        self.known.load().limits.clone()
    }
}

// === impl Known ===

impl Known {
    fn new(
        limits: TenantLimits,
        metrics: &IngestMetrics,
        basis: &Basis,
        before: &HashMap<TenantId, Arc<Tenant>>,
    ) -> Self {
        let others = Arc::new(limits.others.clone());
        let tenant = |id: &TenantId| {
            let named = limits.named.get(id).cloned().map(Arc::new);
            let limits = named.unwrap_or_else(|| Arc::clone(&others));
            let before = before.get(id);
            let counted = before.map_or_else(|| metrics.tenant(id), |it| Arc::clone(&it.metrics));
            Arc::new(Tenant::new(id, limits, counted, basis, before))
        };
        let ids = before.keys().chain(limits.named.keys());
        let tenants = ids.map(|id| (id.clone(), tenant(id))).collect();
        Self {
            single: tenant(&TenantId::single()),
            shared: Arc::new(Tenant::new(
                &other_tenants(),
                Arc::clone(&others),
                Arc::clone(&metrics.others),
                basis,
                before.get(&other_tenants()),
            )),
            tenants,
            others: Arc::clone(&others),
            limits: limits.clone(),
        }
    }
}

// === impl Tenant ===

impl Tenant {
    fn new(
        id: &TenantId,
        limits: Arc<Limits>,
        metrics: Arc<TenantMetrics>,
        basis: &Basis,
        before: Option<&Arc<Self>>,
    ) -> Self {
        let same = before.filter(|it| it.limits.tenant_queries_max == limits.tenant_queries_max);
        let queries = match (same, limits.tenant_queries_max) {
            (Some(same), _) => same.queries.clone(),
            (None, Limits::NONE) => None,
            (None, n) => {
                let n = usize::try_from(n).unwrap_or(usize::MAX);
                Some(Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS))))
            }
        };
        // A bucket counts in time, which is worth something else at another rate: it begins full.
        let rate_of = |limits: &Limits| {
            let burst = limits.tenant_burst_bytes_max;
            (limits.tenant_bytes_per_second_max, burst)
        };
        let same = before.filter(|it| rate_of(&it.limits) == rate_of(&limits));
        let rate = same.map_or_else(Arc::default, |it| Arc::clone(&it.rate));
        // What lives goes on to do so under other limits.
        let live = LiveTraces::are_limited(&limits).then(|| {
            let known = before.and_then(|it| it.live.clone());
            known.unwrap_or_else(|| LiveTraces::new(&basis.live))
        });
        Self {
            id: id.clone(),
            limits,
            queries,
            queries_waiting: Arc::default(),
            metrics,
            live,
            rate,
            origin: basis.origin,
        }
    }

    /// Another tenant, which shares what this one may use. Never its data.
    fn with_id(&self, id: &TenantId) -> Self {
        Self {
            id: id.clone(),
            limits: Arc::clone(&self.limits),
            queries: self.queries.clone(),
            queries_waiting: Arc::clone(&self.queries_waiting),
            metrics: Arc::clone(&self.metrics),
            live: self.live.clone(),
            rate: Arc::clone(&self.rate),
            origin: self.origin,
        }
    }

    /// Takes so many bytes from what the tenant may send, or says when they will be there.
    pub(crate) fn take_bytes(&self, n_bytes: u64) -> Result<(), Refusal> {
        match self.limits.tenant_bytes_per_second_max {
            // Most have no such limit, and look at no clock.
            Limits::NONE => Ok(()),
            _ => self.take_bytes_at(self.origin.elapsed(), n_bytes),
        }
    }

    /// Counts the traces of a request while it is decoded, where they are limited.
    pub(crate) fn take_traces(&self) -> Option<Taken> {
        let live = self.live.as_ref()?;
        Some(Taken::new(live, &self.limits, self.origin.elapsed()))
    }

    fn take_bytes_at(&self, now: Duration, n_bytes: u64) -> Result<(), Refusal> {
        let rate = self.limits.tenant_bytes_per_second_max;
        let burst = self.limits.tenant_burst_bytes_max;
        if rate == 0 || n_bytes > burst {
            let (limit, max) = match rate {
                0 => (TENANT_RATE, 0),
                _ => (TENANT_BURST, burst),
            };
            // No time will come at which it passes.
            return Err(Refusal::TooLarge {
                limit,
                seen: n_bytes,
                max,
            });
        }
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.rate
            .take(now, n_bytes, rate, burst)
            .map_err(|wait| Refusal::RateLimited {
                tenant: self.id.clone(),
                seen: n_bytes,
                rate,
                burst,
                retry_after: Duration::from_nanos(wait),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> TenantId {
        TenantId::new(text).unwrap()
    }

    fn limits(rate: u64) -> Limits {
        let mut limits = Limits::default();
        limits.tenant_bytes_per_second_max = rate;
        limits.tenant_burst_bytes_max = 1_000;
        limits
    }

    fn named(rate: u64) -> TenantLimits {
        TenantLimits {
            others: limits(10),
            named: BTreeMap::from([(id("named"), limits(rate))]),
            retention: RetentionAges::default(),
        }
    }

    #[test]
    fn each_tenant_has_a_rate_of_its_own_and_new_limits_keep_what_was_used() {
        let tenants = Tenants::new(named(100), Arc::default());
        let start = Duration::ZERO;
        for name in ["a", "b", "named"] {
            let tenant = tenants.get(&id(name));
            assert_eq!(tenant.take_bytes_at(start, 1_000), Ok(()), "{name}");
            assert!(tenant.take_bytes_at(start, 1).is_err(), "{name}");
        }
        let wait = |name: &str, seconds: u64| {
            let now = Duration::from_secs(seconds);
            let refusal = tenants.get(&id(name)).take_bytes_at(now, 500).unwrap_err();
            refusal.retry_after().unwrap()
        };
        assert_eq!(wait("a", 0), Duration::from_secs(50));
        assert_eq!(wait("named", 0), Duration::from_secs(5));
        assert_eq!(wait("named", 4), Duration::from_secs(1));
        tenants.replace(named(100));
        assert_eq!(wait("named", 4), Duration::from_secs(1), "nothing changed");
        tenants.replace(named(1_000));
        let later = Duration::from_secs(4);
        let tenant = tenants.get(&id("named"));
        assert_eq!(tenant.take_bytes_at(later, 1_000), Ok(()), "a new rate");
        assert_eq!(wait("named", 4), Duration::from_millis(500));
        assert_eq!(wait("a", 4), Duration::from_secs(46), "of another tenant");
        let named_id = id("named");
        let too_large = tenants.get(&named_id).take_bytes(1_001).unwrap_err();
        assert_eq!(too_large.retry_after(), None);
        assert!(too_large.to_string().contains(TENANT_BURST), "{too_large}");
        tenants.replace(named(0));
        let nothing = tenants.get(&named_id).take_bytes(1).unwrap_err();
        assert_eq!(nothing.retry_after(), None);
        tenants.replace(named(Limits::NONE));
        assert_eq!(tenants.get(&named_id).take_bytes(u64::MAX), Ok(()));
    }

    #[test]
    fn very_many_tenants_share_what_is_left_and_named_ones_do_not() {
        let tenants = Tenants::new(named(100), Arc::default());
        for n in 0..KNOWN_MAX + 10 {
            tenants.get(&id(&format!("t{n}")));
        }
        let shares = |name: &str| {
            let tenant = tenants.get(&id(name));
            assert_eq!(tenant.id, id(name), "its data is its own");
            Arc::ptr_eq(&tenant.rate, &tenants.known.load().shared.rate)
        };
        assert!(shares("one-more") && shares("and-another"));
        assert!(!shares("named") && !shares("t0"));
        tenants.replace(named(5));
        assert!(shares("and-one-more") && !shares("named"));
    }
}
