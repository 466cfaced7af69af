//! One generation of the head: rows, dictionaries and the map of its traces.
//!
//! Rows lie in batches. A batch of [`BATCH_SPANS`] spans is full, sealed and shared by reference. A
//! snapshot seals the open batch early if it has become large enough to be scanned as it is, and
//! copies it otherwise: so a reader holds the lock for microseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;
use tracewell_model::sink::LogPosition;
use tracewell_model::{SpanBatch, TenantId, TraceId};

use super::append::Cursor;
use super::entities::Entities;
use super::snapshot::GenerationSnapshot;
use crate::shared::SharedTraces;
use crate::table::{Interner, SpanTable, StringCode};

/// Spans of a full batch.
pub(super) const BATCH_SPANS: usize = 8_192;
/// A snapshot seals an open batch of this size instead of copying it (some 300 KB).
const SEAL_SPANS: usize = 1_024;
/// A batch with so many attributes is full, however few its spans: 13 bytes each.
const BATCH_ATTRIBUTES: usize = 1 << 18;
/// As [`SEAL_SPANS`], for spans with many attributes.
const SEAL_ATTRIBUTES: usize = 1 << 15;
/// Rows that are appended before a waiting reader gets the lock: about half a millisecond.
const ROWS_PER_LOCK: usize = 1_024;

/// A contiguous range of the log in memory.
#[derive(Debug)]
pub struct Generation {
    core: Arc<Core>,
    /// The last snapshot, good for as long as nothing is appended.
    cached: Mutex<Option<Arc<GenerationSnapshot>>>,
}

/// What a generation and its snapshots share.
#[derive(Debug)]
pub(super) struct Core {
    sequence: u64,
    shared: Arc<SharedTraces>,
    n_bytes: AtomicU64,
    state: Mutex<State>,
}

/// Sealed rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    pub(super) table: SpanTable,
    /// Index of each span's trace in the generation.
    pub(super) trace: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct State {
    from: LogPosition,
    to: LogPosition,
    born_nano: Option<u64>,
    sealed: Vec<Arc<Batch>>,
    n_sealed_spans: usize,
    n_sealed_bytes: usize,
    pub(super) open: Batch,
    pub(super) strings: Interner,
    pub(super) entities: Entities,
    pub(super) traces: TraceMap,
    pub(super) start_min: u64,
    pub(super) start_max: u64,
    /// Spans appended: a snapshot with so many is up to date.
    n_spans: usize,
}

/// (tenant, trace id) -> dense index.
#[derive(Debug, Default)]
pub(super) struct TraceMap {
    keys: Vec<(u16, TraceId)>,
    /// How many there are of each tenant.
    by_tenant: Vec<u64>,
    table: HashTable<u32>,
    hasher: RandomState,
}

/// What a batch will take at most: fixed columns, attributes, and text if none of it is known yet.
pub(super) fn bytes_of(batch: &SpanBatch) -> u64 {
    const SPAN: usize = 160;
    const ITEM: usize = 80;
    const ATTRIBUTE: usize = 13;
    let n = batch.n_spans() * SPAN
        + (batch.events.name.len() + batch.links.span_id.len()) * ITEM
        + batch.attributes.keys.len() * ATTRIBUTE
        + batch.body.len();
    n as u64
}

// === impl Generation ===

impl Generation {
    pub(super) fn new(sequence: u64, from: LogPosition) -> Self {
        let mut strings = Interner::new();
        let empty = strings.intern(b"");
        debug_assert_eq!(empty, StringCode(0), "absent text is code 0");
        let core = Core {
            sequence,
            shared: Arc::default(),
            n_bytes: AtomicU64::new(0),
            state: Mutex::new(State {
                from,
                to: from,
                born_nano: None,
                sealed: Vec::new(),
                n_sealed_spans: 0,
                n_sealed_bytes: 0,
                open: Batch::default(),
                strings,
                entities: Entities::default(),
                traces: TraceMap::default(),
                start_min: u64::MAX,
                start_max: 0,
                n_spans: 0,
            }),
        };
        Self {
            core: Arc::new(core),
            cached: Mutex::new(None),
        }
    }

    /// Unique within a head; rises with age.
    pub fn sequence(&self) -> u64 {
        self.core.sequence
    }

    /// The positions of the log that it holds, half-open.
    pub fn range(&self) -> (LogPosition, LogPosition) {
        let state = self.core.state.lock();
        (state.from, state.to)
    }

    pub fn n_bytes(&self) -> u64 {
        self.core.n_bytes.load(Ordering::Relaxed)
    }

    pub fn n_spans(&self) -> u64 {
        self.core.state.lock().n_spans as u64
    }

    /// How many traces of each tenant there are.
    pub fn traces_by_tenant(&self) -> Vec<(TenantId, u64)> {
        let state = self.core.state.lock();
        let counts = state.traces.by_tenant.iter().copied();
        state
            .entities
            .tenants()
            .iter()
            .cloned()
            .zip(counts)
            .collect()
    }

    pub fn is_empty(&self) -> bool {
        let state = self.core.state.lock();
        state.from == state.to
    }

    /// Traces that other sources may hold as well.
    pub fn shared(&self) -> &Arc<SharedTraces> {
        &self.core.shared
    }

    pub fn holds(&self, tenant: &TenantId, id: TraceId) -> bool {
        self.core.trace_index(tenant, id).is_some()
    }

    /// All that was appended so far.
    pub fn snapshot(&self) -> Arc<GenerationSnapshot> {
        let mut cached = self.cached.lock();
        let mut state = self.core.state.lock();
        if let Some(cached) = &*cached
            && cached.n_spans() == state.n_spans
        {
            return Arc::clone(cached);
        }
        let large = state.open.table.n_spans() >= SEAL_SPANS
            || state.open.table.attributes.len() >= SEAL_ATTRIBUTES;
        if large {
            state.seal();
        }
        let mut batches = state.sealed.clone();
        if state.open.table.n_spans() > 0 {
            batches.push(Arc::new(state.open.clone()));
        }
        let snapshot = Arc::new(GenerationSnapshot::new(
            Arc::clone(&self.core),
            batches,
            state.entities.dictionary(state.strings.snapshot()),
            state.traces.keys.len(),
            (state.start_min, state.start_max),
        ));
        *cached = Some(Arc::clone(&snapshot));
        snapshot
    }

    /// Appends a record; `is_shared` is asked once for every trace that is new here.
    pub(super) fn append(
        &self,
        batch: &SpanBatch,
        position: LogPosition,
        now_nano: u64,
        mut is_shared: impl FnMut(&TenantId, TraceId) -> bool,
    ) {
        let mut cursor = Cursor::new(batch);
        let mut state = self.core.state.lock();
        debug_assert!(state.to <= position, "positions rise");
        state.born_nano.get_or_insert(now_nano);
        loop {
            let room = BATCH_SPANS.saturating_sub(state.open.table.n_spans());
            let n_before = cursor.n_appended();
            let more = cursor.append(&mut state, batch, room.min(ROWS_PER_LOCK), |id| {
                if is_shared(&batch.tenant, id) {
                    self.core.shared.insert(id);
                }
            });
            state.n_spans += cursor.n_appended() - n_before;
            if state.open.table.n_spans() >= BATCH_SPANS
                || state.open.table.attributes.len() >= BATCH_ATTRIBUTES
            {
                state.seal();
            }
            if !more {
                break;
            }
            parking_lot::MutexGuard::bump(&mut state);
        }
        state.to = LogPosition(position.0 + 1);
        let n_bytes = state.n_bytes();
        self.core.n_bytes.store(n_bytes as u64, Ordering::Relaxed);
    }

    /// Nothing is appended from here on.
    pub(super) fn freeze(&self) {
        let mut state = self.core.state.lock();
        state.seal();
        self.core
            .n_bytes
            .store(state.n_bytes() as u64, Ordering::Relaxed);
    }

    /// When its earliest span started, in Unix nanoseconds.
    pub(crate) fn start_min(&self) -> Option<u64> {
        let state = self.core.state.lock();
        (state.n_spans > 0).then_some(state.start_min)
    }

    /// Monotonic time of its first record.
    pub(crate) fn born_nano(&self) -> Option<u64> {
        self.core.state.lock().born_nano
    }

    /// False if the generation has as many tenants as its rows can name: freeze it first.
    pub(super) fn can_take(&self, tenant: &TenantId) -> bool {
        self.core.state.lock().entities.can_take(tenant)
    }
}

// === impl Core ===

impl Core {
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn shared(&self) -> &SharedTraces {
        &self.shared
    }

    pub(super) fn trace_index(&self, tenant: &TenantId, id: TraceId) -> Option<u32> {
        let state = self.state.lock();
        let tenant = state.entities.tenant_index(tenant)?;
        state.traces.find(tenant, id)
    }

    /// The indexes of several traces, those that are here.
    pub(super) fn trace_indexes(&self, tenant: &TenantId, ids: &[TraceId]) -> Vec<u32> {
        let state = self.state.lock();
        let Some(tenant) = state.entities.tenant_index(tenant) else {
            return Vec::new();
        };
        ids.iter()
            .filter_map(|id| state.traces.find(tenant, *id))
            .collect()
    }

    pub(super) fn string_code(&self, text: &[u8]) -> Option<StringCode> {
        self.state.lock().strings.find(text)
    }
}

// === impl State ===

impl State {
    fn seal(&mut self) {
        if self.open.table.n_spans() == 0 {
            return;
        }
        let mut batch = std::mem::take(&mut self.open);
        batch.table.shrink();
        batch.trace.shrink_to_fit();
        self.n_sealed_spans += batch.table.n_spans();
        self.n_sealed_bytes += batch.n_bytes();
        self.sealed.push(Arc::new(batch));
    }

    fn n_bytes(&self) -> usize {
        self.n_sealed_bytes
            + self.open.n_bytes()
            + self.strings.n_bytes()
            + self.entities.n_bytes()
            + self.traces.n_bytes()
    }
}

// === impl Batch ===

impl Batch {
    fn n_bytes(&self) -> usize {
        self.table.n_bytes() + self.trace.capacity() * size_of::<u32>()
    }
}

// === impl TraceMap ===

impl TraceMap {
    pub(super) fn find(&self, tenant: u16, id: TraceId) -> Option<u32> {
        let key = (tenant, id);
        let found = |index: &u32| self.keys.get(*index as usize) == Some(&key);
        self.table.find(self.hash(&key), found).copied()
    }

    /// The index of a trace, and whether it is new.
    pub(super) fn index(&mut self, tenant: u16, id: TraceId) -> (u32, bool) {
        if let Some(index) = self.find(tenant, id) {
            return (index, false);
        }
        let key = (tenant, id);
        // A generation of 32 MB holds far fewer than 2^32 traces.
        let index = self.keys.len() as u32;
        let hash = self.hash(&key);
        self.keys.push(key);
        let of_tenant = usize::from(tenant);
        if self.by_tenant.len() <= of_tenant {
            self.by_tenant.resize(of_tenant + 1, 0);
        }
        if let Some(n) = self.by_tenant.get_mut(of_tenant) {
            *n += 1;
        }
        let (keys, hasher) = (&self.keys, &self.hasher);
        self.table.insert_unique(hash, index, |index| {
            keys.get(*index as usize)
                .map_or(0, |key| hash_of(hasher, key))
        });
        (index, true)
    }

    fn hash(&self, key: &(u16, TraceId)) -> u64 {
        hash_of(&self.hasher, key)
    }

    fn n_bytes(&self) -> usize {
        self.keys.capacity() * size_of::<(u16, TraceId)>() + self.table.capacity() * 5 * 8 / 7
    }
}

/// The id as two words: hashing it byte by byte would cost more than the probe.
fn hash_of(hasher: &RandomState, (tenant, id): &(u16, TraceId)) -> u64 {
    use std::hash::BuildHasher;
    hasher.hash_one((u128::from_be_bytes(id.0), *tenant))
}
