//! A dictionary while it grows.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tracewell_model::span::attribute_bytes;
use tracewell_model::{ContentHash, TenantId};

use super::{Dictionary, Interner, ResourceEntry, ScopeEntry};

/// Grows a [`Dictionary`] over the rows of any number of groups and blocks, so that their tables
/// share it. Equal strings have equal codes, equal resources and scopes equal numbers.
#[derive(Debug, Default)]
pub struct DictionaryBuilder {
    pub strings: Interner,
    resources: Vec<Arc<ResourceEntry>>,
    resource_numbers: HashMap<ContentHash, u32, FixedState>,
    scopes: Vec<Arc<ScopeEntry>>,
    scope_numbers: HashMap<ContentHash, u32, FixedState>,
    tenants: Vec<TenantId>,
    /// Of resources and scopes.
    entity_bytes: usize,
}

/// What a resource or scope takes beside its attributes: an estimate.
const ENTITY_BYTES: usize = 256;

// === impl DictionaryBuilder ===

impl DictionaryBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// What the rows so far name.
    pub fn dictionary(&self) -> Dictionary {
        Dictionary {
            strings: self.strings.snapshot(),
            resources: Arc::new(self.resources.clone()),
            scopes: Arc::new(self.scopes.clone()),
            tenants: Arc::new(self.tenants.clone()),
        }
    }

    pub fn n_bytes(&self) -> usize {
        self.strings.n_bytes() + self.entity_bytes
    }

    pub fn tenants(&self) -> &[TenantId] {
        &self.tenants
    }

    /// The number of a resource, new or known.
    pub fn resource(&mut self, entry: &Arc<ResourceEntry>) -> u32 {
        let next = number(self.resources.len());
        let number = *self.resource_numbers.entry(entry.hash).or_insert(next);
        if number == next {
            self.entity_bytes += ENTITY_BYTES + attribute_bytes(&entry.resource.attributes);
            self.resources.push(Arc::clone(entry));
        }
        number
    }

    /// The number of a scope, new or known.
    pub fn scope(&mut self, entry: &Arc<ScopeEntry>) -> u32 {
        let next = number(self.scopes.len());
        let number = *self.scope_numbers.entry(entry.hash).or_insert(next);
        if number == next {
            self.entity_bytes += ENTITY_BYTES + attribute_bytes(&entry.scope.attributes);
            self.scopes.push(Arc::clone(entry));
        }
        number
    }

    /// The number of a tenant, new or known; `None` if there are more than a number holds.
    pub fn tenant(&mut self, tenant: &TenantId) -> Option<u16> {
        // Tenants of one merge are few.
        let known = self.tenants.iter().position(|other| other == tenant);
        let number = known.unwrap_or_else(|| {
            self.tenants.push(tenant.clone());
            self.tenants.len() - 1
        });
        u16::try_from(number).ok()
    }

    /// The number of a resource that was added.
    pub fn resource_number(&self, hash: &ContentHash) -> Option<u32> {
        self.resource_numbers.get(hash).copied()
    }

    /// The number of a scope that was added.
    pub fn scope_number(&self, hash: &ContentHash) -> Option<u32> {
        self.scope_numbers.get(hash).copied()
    }
}

fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
