//! Resources, scopes and tenants of a generation, each kept once.
//!
//! Senders repeat the same message in every request, so the raw bytes are looked up first; only bytes
//! never seen are decoded, and two encodings of one resource meet at its canonical hash.

use std::sync::Arc;

use hashbrown::HashMap;
use tracewell_model::batch::{ResourceRow, ScopeRow};
use tracewell_model::{ContentHash, SpanBatch, TenantId};
use tracewell_wire::otlp::{canonical_resource, canonical_scope, resource_of, scope_of};

use crate::table::{Dictionary, ResourceEntry, ScopeEntry, Strings};

type Indexes = HashMap<ContentHash, u32, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
pub(super) struct Entities {
    tenants: Arc<Vec<TenantId>>,
    resources: Arc<Vec<Arc<ResourceEntry>>>,
    scopes: Arc<Vec<Arc<ScopeEntry>>>,
    /// Hashes of raw bytes and of canonical bytes; both name the same index.
    resource_indexes: Indexes,
    scope_indexes: Indexes,
    n_bytes: usize,
}

/// An entry costs about its canonical bytes twice (as strings with their headers) and two map slots.
const ENTRY_BYTES: usize = 256;

impl Entities {
    pub(super) fn dictionary(&self, strings: Strings) -> Dictionary {
        Dictionary {
            strings,
            resources: Arc::clone(&self.resources),
            scopes: Arc::clone(&self.scopes),
            tenants: Arc::clone(&self.tenants),
        }
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    pub(super) fn tenant_index(&self, tenant: &TenantId) -> Option<u16> {
        let index = self.tenants.iter().position(|other| other == tenant)?;
        u16::try_from(index).ok()
    }

    pub(super) fn tenants(&self) -> &[TenantId] {
        &self.tenants
    }

    /// False if a new tenant would exceed what 16 bits name.
    pub(super) fn can_take(&self, tenant: &TenantId) -> bool {
        self.tenants.len() < usize::from(u16::MAX) || self.tenant_index(tenant).is_some()
    }

    /// The index of a tenant that [`Entities::can_take`] said yes to.
    pub(super) fn tenant(&mut self, tenant: &TenantId) -> u16 {
        if let Some(index) = self.tenant_index(tenant) {
            return index;
        }
        let index = self.tenants.len() as u16;
        Arc::make_mut(&mut self.tenants).push(tenant.clone());
        self.n_bytes += ENTRY_BYTES;
        index
    }

    pub(super) fn resource(&mut self, batch: &SpanBatch, row: &ResourceRow) -> u32 {
        let raw = raw_hash(batch, row.message, row.schema_url);
        if let Some(index) = self.resource_indexes.get(&raw) {
            return *index;
        }
        let resource = resource_of(batch, row);
        let canonical = canonical_resource(&resource);
        let hash = ContentHash::of(&canonical);
        let index = self.resource_indexes.get(&hash).copied();
        let index = index.unwrap_or_else(|| {
            let entry = ResourceEntry {
                hash,
                resource: Arc::new(resource),
            };
            self.n_bytes += canonical.len() * 2 + ENTRY_BYTES;
            let resources = Arc::make_mut(&mut self.resources);
            resources.push(Arc::new(entry));
            resources.len() as u32 - 1
        });
        self.n_bytes += 32;
        self.resource_indexes.insert(raw, index);
        self.resource_indexes.insert(hash, index);
        index
    }

    pub(super) fn scope(&mut self, batch: &SpanBatch, row: &ScopeRow) -> u32 {
        let raw = raw_hash(batch, row.message, row.schema_url);
        if let Some(index) = self.scope_indexes.get(&raw) {
            return *index;
        }
        let scope = scope_of(batch, row);
        let canonical = canonical_scope(&scope);
        let hash = ContentHash::of(&canonical);
        let index = self.scope_indexes.get(&hash).copied();
        let index = index.unwrap_or_else(|| {
            let entry = ScopeEntry {
                hash,
                scope: Arc::new(scope),
            };
            self.n_bytes += canonical.len() * 2 + ENTRY_BYTES;
            let scopes = Arc::make_mut(&mut self.scopes);
            scopes.push(Arc::new(entry));
            scopes.len() as u32 - 1
        });
        self.n_bytes += 32;
        self.scope_indexes.insert(raw, index);
        self.scope_indexes.insert(hash, index);
        index
    }
}

/// Tells raw bytes apart from each other and, by their first byte, from any canonical encoding.
fn raw_hash(
    batch: &SpanBatch,
    message: Option<tracewell_model::batch::Slice>,
    schema_url: tracewell_model::batch::Slice,
) -> ContentHash {
    let bytes = message.map(|message| batch.bytes(message));
    let url = batch.bytes(schema_url);
    let mut content = Vec::with_capacity(16 + bytes.map_or(0, <[u8]>::len) + url.len());
    content.push(0xff);
    content.push(u8::from(bytes.is_some()));
    content.extend_from_slice(&(url.len() as u64).to_le_bytes());
    content.extend_from_slice(url);
    content.extend_from_slice(bytes.unwrap_or_default());
    ContentHash::of(&content)
}
