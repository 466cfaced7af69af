//! A block opened for reading: its meta, its files, and the trace rows of its groups.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, UInt64Type};
use hashbrown::HashMap;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::RwLock;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::bloom_filter::Sbbf;
use tracewell_model::shared::SharedIds;
use tracewell_model::source::QueryContext;
use tracewell_model::{TenantId, TraceId};

use super::arrays::{Texts, named};
use super::cache::{BlockCache, Part};
use super::checksum::{Segments, decode_shared};
use super::error::{BlockError, BlockResult};
use super::file::TableReader;
use super::meta::{BlockMeta, GroupMeta};
use super::schema::{META_FILE, SHARED_FILE, Table};
use super::small::{SumsFile, check, read};
use super::traces::TraceRun;
use crate::manifest::BlockId;

#[derive(Debug)]
pub struct BlockReader {
    pub(super) meta: BlockMeta,
    tables: Vec<TableReader>,
    shared: SharedIds,
    /// Bloom filters of trace ids, by group, while the block is young: 15 to 29 bits a trace.
    filters: RwLock<Option<Vec<Option<Sbbf>>>>,
    cache: Arc<BlockCache>,
    /// The first damage that a query met.
    damage: OnceLock<String>,
}

/// The trace rows of one group as far as a scan needs them: 40 bytes a trace.
#[derive(Debug, Default)]
pub(super) struct GroupTraces {
    pub(super) runs: Vec<TraceRun>,
    pub(super) ends: Vec<u64>,
    /// First run of each tenant, in order.
    pub(super) tenants: Vec<(String, usize)>,
}

// === impl BlockReader ===

impl BlockReader {
    /// Reads meta, sums and shared ids; tables are opened when they are asked for.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        root: &Path,
        id: BlockId,
        cache: Arc<BlockCache>,
    ) -> BlockResult<Self> {
        let folder = root.clone().join(id.to_string());
        let meta = BlockMeta::decode(&read(&store, &folder, META_FILE).await?)?;
        if meta.block_id()? != id {
            return Err(BlockError::malformed(
                META_FILE,
                format!("describes block {}", meta.id),
            ));
        }
        let sums_file = SumsFile {
            folder: folder.clone(),
            crc32c: meta.checksums.crc32c.clone(),
        };
        let sums = sums_file.read(&store).await?;
        let mut sums: HashMap<String, Segments> = sums.into_iter().collect();
        let shared = read(&store, &folder, SHARED_FILE).await?;
        check(&folder, SHARED_FILE, &shared, &meta.shared.crc32c)?;
        let mut shared: SharedIds = match decode_shared(&shared)? {
            Some(ids) => ids.into_iter().collect(),
            None => SharedIds::all(),
        };
        for id in meta.split_traces()? {
            shared.insert_split(id);
        }
        let mut tables = Vec::new();
        for table in Table::ALL {
            let lacks =
                || BlockError::malformed(META_FILE, format!("lacks the table {}", table.name()));
            let entry = meta.table(table).ok_or_else(lacks)?.clone();
            let segments = sums.remove(&entry.file).ok_or_else(lacks)?;
            let path = folder.clone().join(&*entry.file);
            let (store, sums, cache) = (Arc::clone(&store), sums_file.clone(), Arc::clone(&cache));
            let reader = TableReader::new(store, path, table, entry, sums, cache);
            reader.keep_segments(segments)?;
            tables.push(reader);
        }
        Ok(Self {
            meta,
            tables,
            shared,
            filters: RwLock::new(None),
            cache,
            damage: OnceLock::new(),
        })
    }

    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Ids shared with older blocks when this one was committed, and those that lie in several groups.
    pub fn shared(&self) -> &SharedIds {
        &self.shared
    }

    /// The first damage that a query met, with its place.
    pub fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// Reported once for a block: every query that comes by meets it again.
    pub(super) fn report_damage(&self, reason: &str) {
        if self.damage.set(reason.to_owned()).is_ok() {
            tracing::error!(
                block = self.meta.id,
                reason,
                "a query met damage: answers miss spans of this block"
            );
        }
    }

    pub fn n_groups(&self) -> usize {
        self.meta.groups.len()
    }

    pub(super) fn table(&self, table: Table) -> &TableReader {
        self.tables.get(table as usize).expect("a reader per table")
    }

    pub(super) fn group(&self, group: usize) -> BlockResult<&GroupMeta> {
        self.meta
            .groups
            .get(group)
            .ok_or_else(|| BlockError::malformed(META_FILE, "lacks a group"))
    }

    /// Columns of a group in one of its tables; `None` if it has no rows there.
    pub(super) async fn columns(
        &self,
        group: usize,
        table: Table,
        names: &[&str],
        selection: Option<RowSelection>,
        ctx: &QueryContext,
    ) -> BlockResult<Option<RecordBatch>> {
        match self.group(group)?.row_group(table) {
            Some(row_group) => {
                let reader = self.table(table);
                reader
                    .columns(row_group, names, selection, ctx)
                    .await
                    .map(Some)
            }
            None => Ok(None),
        }
    }

    /// False only if the group holds no trace of the id.
    pub(super) async fn may_hold_trace(
        &self,
        group: usize,
        id: TraceId,
        ctx: &QueryContext,
    ) -> BlockResult<bool> {
        let Some(row_group) = self.group(group)?.row_group(Table::Traces) else {
            return Ok(false);
        };
        if let Some(known) = self.filters.read().as_ref().and_then(|all| all.get(group)) {
            return Ok(passes(known.as_ref(), id));
        }
        let reader = self.table(Table::Traces);
        reader.may_hold(row_group, "trace_id", &id.0, ctx).await
    }

    /// What is known without reading: false only if no filter that is loaded lets the id pass.
    pub fn may_contain(&self, id: TraceId) -> bool {
        match &*self.filters.read() {
            Some(filters) => filters.iter().any(|filter| passes(filter.as_ref(), id)),
            None => true,
        }
    }

    /// Loads the filters of trace ids, so that [`Self::may_contain`] can say no.
    pub async fn load_filters(&self) -> BlockResult<()> {
        let ctx = QueryContext::unlimited();
        let reader = self.table(Table::Traces);
        let mut filters = Vec::with_capacity(self.n_groups());
        for group in 0..self.n_groups() {
            filters.push(match self.group(group)?.row_group(Table::Traces) {
                Some(row_group) => reader.bloom(row_group, "trace_id", &ctx).await?,
                None => None,
            });
        }
        *self.filters.write() = Some(filters);
        Ok(())
    }

    /// Bytes of the filters that are loaded.
    pub fn filter_bytes(&self) -> u64 {
        const BLOCK_BYTES: usize = 32;
        let filters = self.filters.read();
        let loaded = filters.iter().flatten().flatten();
        loaded
            .map(|filter| (filter.num_blocks() * BLOCK_BYTES) as u64)
            .sum()
    }

    /// Lets the filters go: [`Self::may_contain`] knows nothing any more, and a lookup reads the
    /// filter that it needs.
    pub fn forget_filters(&self) {
        *self.filters.write() = None;
    }

    pub(super) async fn traces_of(
        &self,
        group: usize,
        ctx: &QueryContext,
    ) -> BlockResult<Arc<GroupTraces>> {
        let read = async {
            let traces = self.read_traces(group, ctx).await?;
            let bytes = traces.bytes();
            Ok((traces, bytes))
        };
        let table = self.table(Table::Traces);
        table.kept_or(Part::Traces, group as u64, read).await
    }

    async fn read_traces(&self, group: usize, ctx: &QueryContext) -> BlockResult<GroupTraces> {
        let names = [
            "tenant",
            "trace_id",
            "start_unix_nano",
            "end_unix_nano",
            "first_row",
            "row_count",
        ];
        let mut traces = GroupTraces::default();
        let Some(batch) = self
            .columns(group, Table::Traces, &names, None, ctx)
            .await?
        else {
            return Ok(traces);
        };
        let ids = named(&batch, "trace_id")?.as_fixed_size_binary();
        let starts = named(&batch, "start_unix_nano")?.as_primitive::<UInt64Type>();
        let firsts = named(&batch, "first_row")?.as_primitive::<Int32Type>();
        let counts = named(&batch, "row_count")?.as_primitive::<Int32Type>();
        let tenants = Texts::of(&batch, "tenant")?;
        traces.runs.reserve_exact(batch.num_rows());
        let mut next = 0u32;
        for row in 0..batch.num_rows() {
            let end = firsts.value(row).checked_add(counts.value(row));
            let (from, end) = (firsts.value(row) as u32, end.unwrap_or(0) as u32);
            if from != next || end <= from || counts.value(row) <= 0 {
                return Err(BlockError::malformed(
                    "traces",
                    "runs of rows do not follow each other",
                ));
            }
            next = end;
            let trace_id = TraceId(id16(ids.value(row)));
            let tenant = tenants.get(row).unwrap_or_default();
            let is_new = traces.tenants.last().is_none_or(|(last, _)| last != tenant);
            let last = traces.runs.last().filter(|_| !is_new);
            if last.is_some_and(|last| last.trace_id >= trace_id) {
                return Err(BlockError::malformed("traces", "are not in order"));
            }
            if is_new {
                traces.tenants.push((tenant.to_owned(), row));
            }
            traces.runs.push(TraceRun {
                trace_id,
                from,
                to: next,
                start_unix_nano: starts.value(row),
            });
        }
        if u64::from(next) != self.group(group)?.spans {
            return Err(BlockError::malformed(
                "traces",
                "rows do not add up to the group's spans",
            ));
        }
        traces.ends = named(&batch, "end_unix_nano")?
            .as_primitive::<UInt64Type>()
            .values()
            .to_vec();
        Ok(traces)
    }
}

/// A group without a filter may hold every id.
fn passes(filter: Option<&Sbbf>, id: TraceId) -> bool {
    filter.is_none_or(|filter| filter.check::<[u8]>(&id.0))
}

// === impl GroupTraces ===

impl GroupTraces {
    fn bytes(&self) -> u64 {
        let run_bytes = size_of::<TraceRun>() + size_of::<u64>();
        (self.runs.len() * run_bytes + self.tenants.len() * 64) as u64
    }

    /// Tenants and the numbers of their runs.
    pub(super) fn by_tenant(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        let ends = self.tenants.iter().skip(1).map(|(_, first)| *first);
        let tenants = self.tenants.iter().zip(ends.chain([self.runs.len()]));
        tenants.map(|((name, first), end)| (name.as_str(), *first..end))
    }

    /// The numbers of the runs of one tenant.
    pub(super) fn of_tenant(&self, tenant: &TenantId) -> Range<usize> {
        let found = self.by_tenant().find(|(name, _)| *name == tenant.as_str());
        found.map_or(0..0, |(_, range)| range)
    }

    /// The numbers of the runs of these ids (sorted) of a tenant. Runs are in the order of ids too.
    pub(super) fn find(&self, tenant: &TenantId, ids: &[TraceId]) -> Vec<usize> {
        let range = self.of_tenant(tenant);
        let runs = self.runs.get(range.clone()).unwrap_or_default();
        let mut found = Vec::new();
        let mut from = 0;
        for id in ids {
            let rest = runs.get(from..).unwrap_or_default();
            from += rest.partition_point(|run| run.trace_id < *id);
            if runs.get(from).is_some_and(|run| run.trace_id == *id) {
                found.push(range.start + from);
                from += 1;
            }
        }
        found
    }
}

impl Drop for BlockReader {
    fn drop(&mut self) {
        let files: Vec<u64> = self.tables.iter().map(|table| table.number).collect();
        self.cache.forget(&files);
    }
}

pub(super) fn id16(bytes: &[u8]) -> [u8; 16] {
    bytes.try_into().unwrap_or_default()
}

pub(super) fn id8(bytes: &[u8]) -> [u8; 8] {
    bytes.try_into().unwrap_or_default()
}
