//! How long the traces of each tenant are kept.
//!
//! What the configuration says, for the store to go by and for the status page to show. What expires is
//! decided in `tracewell-store`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::TenantId;

/// An age for everybody, and those of single tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionAges {
    pub others: Duration,
    pub named: BTreeMap<TenantId, Duration>,
}

impl RetentionAges {
    /// The age of one tenant.
    pub fn of(&self, tenant: &TenantId) -> Duration {
        self.named.get(tenant).copied().unwrap_or(self.others)
    }

    /// What spans of several tenants are kept for.
    pub fn longest(&self) -> Duration {
        let named = self.named.values().copied();
        named.fold(self.others, Duration::max)
    }
}

impl From<Duration> for RetentionAges {
    /// The same for all.
    fn from(others: Duration) -> Self {
        Self {
            others,
            named: BTreeMap::new(),
        }
    }
}

impl Default for RetentionAges {
    fn default() -> Self {
        Self::from(Duration::from_secs(14 * 86_400))
    }
}
