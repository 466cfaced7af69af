//! One merge: blocks in, larger blocks out, in one commit.
//!
//! First the trace rows of all inputs are read: they say where each trace goes and which slice of
//! time it belongs to. From level 2 on most groups are copied as they are ([`super::copy`]). Each slice
//! of the other traces is put together from the groups that hold rows of it, and written. Groups are decoded as often as slices need them; under load a slice needs few, because
//! what arrived together started together. Memory: the trace rows, one slice, decoded groups (one at
//! least) and their strings, each up to a share of `Limits::merge_bytes`. What this is not: it does not choose its inputs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use tracewell_model::shared::SharedIds;
use tracewell_model::source::QueryContext;
use tracewell_model::{TenantId, TraceId};

use super::copy::LeftOfInputs;
use super::gather::{Gather, Source};
use super::pieces::{GroupKey, Piece, TracePieces, slices, traces_of};
use super::plan::{MergePlan, Target};
use super::share::FirstLook;
use crate::bucket::in_time;
use crate::codec::{BlockReader, BlockTarget, BlockWriter, Rows};
use crate::cut::entry_of;
use crate::error::{StoreError, StoreResult};
use crate::manifest::{BlockEntry, BlockId, Change};
use crate::metrics::StoreMetrics;
use crate::partition::{Bounds, Partition};
use crate::snapshot::{Blocks, Home, LiveBlock, TRACE_HORIZON_NANO};
use crate::store::Store;
use crate::table::{Dictionary, DictionaryBuilder, SpanTable};

/// What a span of a slice takes while it is encoded, as measured with the demo's spans: 225 bytes in
/// the table that is put together, 105 for where its attributes go, 65 of encoded columns.
const SPAN_BYTES: u64 = 448;

/// Of one merge of first blocks, for which ingest waits, so much is spent on asking the bucket where late
/// traces began.
const EARLY_NANO_MAX: u64 = 2_000_000_000;

/// What becomes one block.
#[derive(Debug)]
pub(super) struct Output {
    tenant: TenantId,
    partition: Partition,
    /// By start.
    pub(super) traces: Vec<TracePieces>,
}

/// The inputs of one merge and what has been decoded of them.
pub(super) struct Inputs {
    pub(super) blocks: Vec<Arc<LiveBlock>>,
    /// Of the groups that were decoded of late and of the slice that is put together.
    dictionary: DictionaryBuilder,
    decoded: Vec<Decoded>,
    decoded_bytes_max: usize,
    dictionary_bytes_max: usize,
    /// Of the inputs that groups are copied from.
    pub(super) left: LeftOfInputs,
}

struct Decoded {
    key: GroupKey,
    table: Arc<SpanTable>,
    /// `None` for that of [`Inputs`].
    dictionary: Option<Arc<Dictionary>>,
    bytes: usize,
}

/// Counts of one merge.
#[derive(Debug, Default)]
struct Counts {
    spans: u64,
    equal: u64,
    by_arrival: u64,
    late: u64,
    groups_copied: u64,
    spans_copied: u64,
    groups_encoded: u64,
    bytes: u64,
    joined: u64,
    twins: u64,
}

type Pieces = BTreeMap<TenantId, Vec<Piece>>;

impl Store {
    pub(super) async fn merge(
        &self,
        plan: &MergePlan,
        home: Home,
        blocks: &Arc<Blocks>,
        new: &mut Vec<BlockId>,
    ) -> Result<(), MergeFailure> {
        let core = &self.core;
        let mut inputs = Inputs {
            blocks: plan
                .inputs
                .iter()
                .filter_map(|id| blocks.get(*id))
                .map(Arc::clone)
                .collect(),
            dictionary: DictionaryBuilder::new(),
            decoded: Vec::new(),
            decoded_bytes_max: (self.merge_bytes() / 8) as usize,
            dictionary_bytes_max: (self.merge_bytes() / 8) as usize,
            left: LeftOfInputs::new(),
        };
        let mut counts = Counts::default();
        let pieces = self.pieces(&inputs).await?;
        let outputs = self
            .outputs(plan, blocks, &inputs, &pieces, &mut counts)
            .await?;
        let look = self.still_shared(&inputs, plan);
        let mut live = Vec::new();
        for output in outputs {
            let id = self.begin_block();
            new.push(id);
            let pieces = pieces.get(&output.tenant).map_or(&[][..], Vec::as_slice);
            counts.joined += n_joined(&output.traces, pieces);
            let block = self
                .write_output(
                    id,
                    plan,
                    output,
                    pieces,
                    &mut inputs,
                    &look.joined,
                    &mut counts,
                )
                .await?;
            counts.bytes += block.entry.bytes;
            live.push(block);
        }
        let change = Change {
            remove: plan.inputs.clone(),
            add: live.iter().map(|block| block.entry.clone()).collect(),
            ..Change::default()
        };
        let bucket = core.bucket.as_ref().filter(|_| home == Home::Bucket);
        if let Some(bucket) = bucket {
            let live = self.move_to_bucket(bucket, live).await?;
            let _no_other = bucket.begin_swap().await;
            self.commit_in_bucket(bucket, &change).await?;
            self.publish_merge(plan, live, &inputs, &look);
            // Nothing names the copies here.
            for id in new {
                self.delete_block(*id).await;
            }
        } else {
            let publish = || self.publish_merge(plan, live, &inputs, &look);
            self.commit(&change, publish)
                .await
                .map_err(|failure| MergeFailure {
                    is_absent: failure.is_absent,
                    error: failure.error,
                })?;
        }
        counts.report(&core.metrics, &inputs, plan);
        Ok(())
    }

    /// The trace rows of all inputs by tenant, each sorted by trace.
    async fn pieces(&self, inputs: &Inputs) -> StoreResult<Pieces> {
        let mut pieces = Pieces::new();
        for (input, block) in inputs.blocks.iter().enumerate() {
            let mut n_rows = 0;
            for group in 0..block.reader.n_groups() {
                let traces = block.reader.group_traces(group).await;
                for trace in self.or_set_aside(block, traces)? {
                    n_rows += u64::from(trace.n_rows);
                    let piece = Piece {
                        trace_id: trace.trace_id,
                        start_unix_nano: trace.start_unix_nano,
                        input: input as u16,
                        group: group as u32,
                        first_row: trace.first_row,
                        n_rows: trace.n_rows,
                    };
                    match pieces.get_mut(&trace.tenant) {
                        Some(list) => list.push(piece),
                        None => {
                            // All may be of one tenant. What is not touched takes no memory.
                            let n_pieces = match pieces.is_empty() {
                                true => inputs.n_traces(),
                                false => 1,
                            };
                            let mut list = Vec::with_capacity(n_pieces);
                            list.push(piece);
                            pieces.insert(trace.tenant, list);
                        }
                    }
                }
            }
            if n_rows != block.entry.spans {
                let seen = format!("{n_rows} spans of {}", block.entry.spans);
                let error = StoreError::Block {
                    id: block.entry.id,
                    reason: format!("its trace rows name {seen}"),
                };
                return self.or_set_aside(block, Err(error));
            }
        }
        for list in pieces.values_mut() {
            list.sort_unstable_by_key(|piece| {
                (piece.trace_id, piece.input, piece.group, piece.first_row)
            });
        }
        Ok(pieces)
    }

    /// What goes where.
    async fn outputs(
        &self,
        plan: &MergePlan,
        blocks: &Blocks,
        inputs: &Inputs,
        pieces: &Pieces,
        counts: &mut Counts,
    ) -> StoreResult<Vec<Output>> {
        let mut outputs: BTreeMap<(TenantId, Partition), Vec<TracePieces>> = BTreeMap::new();
        for (tenant, pieces) in pieces {
            let early = match plan.target {
                Target::First => {
                    self.early_starts(plan, blocks, inputs, tenant, pieces)
                        .await?
                }
                Target::Partition { .. } => HashMap::default(),
            };
            let mut is_first = true;
            for trace in traces_of(pieces) {
                let partition = match &plan.target {
                    Target::Partition { partition, .. } => *partition,
                    Target::First => self.file(&trace, pieces, inputs, &early, counts),
                };
                let parts = outputs.entry((tenant.clone(), partition)).or_default();
                if std::mem::take(&mut is_first) {
                    // All may be of one partition. What is not touched takes no memory.
                    parts.reserve_exact(pieces.len());
                }
                trace.add_parts(pieces, self.slice_spans(), parts);
            }
        }
        Ok(outputs
            .into_iter()
            .map(|((tenant, partition), mut traces)| {
                // Groups are slices of time, the oldest first.
                traces.sort_unstable_by_key(|trace| (trace.start_unix_nano, trace.from));
                Output {
                    tenant,
                    partition,
                    traces,
                }
            })
            .collect())
    }

    /// The partition of a trace: by its earliest start that can be believed, also in older blocks.
    fn file(
        &self,
        trace: &TracePieces,
        pieces: &[Piece],
        inputs: &Inputs,
        early: &HashMap<TraceId, u64, RandomState>,
        counts: &mut Counts,
    ) -> Partition {
        let bounds = &self.core.config.clock_bounds;
        let mut believed = None;
        let mut arrival = Bounds::NONE;
        for piece in trace.of(pieces) {
            let arrived = inputs.arrival(piece.input);
            arrival = arrival.with(arrived);
            if bounds.believes(piece.start_unix_nano, arrived) {
                let start = believed.unwrap_or(u64::MAX).min(piece.start_unix_nano);
                believed = Some(start);
            }
        }
        let Some(start) = believed else {
            counts.by_arrival += 1;
            return Partition::hour_of(arrival.0);
        };
        let id = trace.of(pieces).first().map(|piece| piece.trace_id);
        match id.and_then(|id| early.get(&id)) {
            Some(&earlier) if earlier < start && bounds.believes(earlier, arrival) => {
                let partition = Partition::hour_of(earlier);
                counts.late += u64::from(partition != Partition::hour_of(start));
                partition
            }
            _ => Partition::hour_of(start),
        }
    }

    /// Where traces began whose earlier fragments lie in blocks that are not merged here.
    async fn early_starts(
        &self,
        plan: &MergePlan,
        blocks: &Blocks,
        inputs: &Inputs,
        tenant: &TenantId,
        pieces: &[Piece],
    ) -> StoreResult<HashMap<TraceId, u64, RandomState>> {
        let shared: Vec<_> = inputs
            .blocks
            .iter()
            .map(|block| block.reader.shared().ids())
            .collect();
        let mut ids: Vec<TraceId> = pieces
            .iter()
            .map(|piece| piece.trace_id)
            .filter(|id| shared.iter().any(|shared| shared.contains(*id)))
            .collect();
        ids.dedup();
        let mut starts = HashMap::default();
        let clock = &self.core.clock;
        let until = clock.monotonic_nano().saturating_add(EARLY_NANO_MAX);
        for block in inputs.outside(plan, blocks) {
            let held: Vec<TraceId> = ids
                .iter()
                .copied()
                .filter(|id| block.reader.may_contain(tenant, *id))
                .collect();
            if held.is_empty() {
                continue;
            }
            // A block that cannot be read must not stop the merge of others: its traces are filed by
            // what is known.
            let reader = &block.reader;
            let read = reader.traces(tenant, &held, QueryContext::unlimited());
            let read = match block.home {
                Home::Local => Some(read.await),
                Home::Bucket => {
                    let left = until.saturating_sub(clock.monotonic_nano());
                    in_time(Duration::from_nanos(left), read).await
                }
            };
            match read {
                Some(Ok(rows)) => rows.iter().for_each(|row| {
                    let start = starts.entry(row.trace_id).or_insert(u64::MAX);
                    *start = row.start_unix_nano.min(*start);
                }),
                Some(Err(error)) => {
                    tracing::warn!(%error, "the start of late traces is not known");
                }
                None => tracing::warn!("the bucket is slow, the start of late traces is not known"),
            }
        }
        Ok(starts)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all of them change from output to output"
    )]
    async fn write_output(
        &self,
        id: BlockId,
        plan: &MergePlan,
        mut output: Output,
        pieces: &[Piece],
        inputs: &mut Inputs,
        joined: &SharedIdsOf,
        counts: &mut Counts,
    ) -> StoreResult<LiveBlock> {
        let core = &self.core;
        let arrivals = inputs.blocks.iter().map(|block| block.entry.arrival);
        let arrival = arrivals.fold(Bounds::NONE, Bounds::with);
        let level = level_of(plan);
        let folder = core.config.block_folder(id);
        let mut writer = core.format.create(BlockTarget {
            id,
            objects: Arc::clone(&core.objects),
            folder: folder.clone(),
            level,
            tenant: Some(output.tenant.clone()),
            arrival,
            created_unix_nano: core.clock.now_unix_nano(),
            inputs: inputs.readers(),
        })?;
        let shared = joined.of(&output.traces, pieces);
        let n_spans = self
            .write_groups(plan, &mut output, pieces, inputs, &mut *writer, counts)
            .await?;
        let written = match writer.finish(shared).await {
            // What is wrong with an input is not wrong with the block that is written.
            Err(StoreError::Input { block, source }) => {
                let error = Err(*source);
                match inputs.blocks.iter().find(|input| input.entry.id == block) {
                    Some(input) => self.or_set_aside(input, error)?,
                    None => error?,
                }
            }
            written => written?,
        };
        if written.spans != n_spans {
            return Err(StoreError::Block {
                id,
                reason: format!("holds {} spans of {n_spans}", written.spans),
            });
        }
        counts.spans += n_spans;
        let entry = BlockEntry {
            level,
            tenant: Some(output.tenant),
            partition: Some(output.partition),
            class: inputs.class(),
            made_from: inputs.made_from(plan),
            writer: inputs.writer(),
            ..entry_of(id, core.format.version(), arrival, &written)
        };
        let reader = core.format.open(&core.objects, folder, &entry).await?;
        reader.load_filters().await?;
        Ok(LiveBlock {
            entry,
            reader,
            home: Home::Local,
        })
    }

    /// Writes all groups, by their last trace start. Returns how many spans.
    async fn write_groups(
        &self,
        plan: &MergePlan,
        output: &mut Output,
        pieces: &[Piece],
        inputs: &mut Inputs,
        writer: &mut dyn BlockWriter,
        counts: &mut Counts,
    ) -> StoreResult<u64> {
        let copies = self.copies(plan, output, pieces, inputs, writer).await?;
        counts.groups_copied += copies.len() as u64;
        counts.spans_copied += copies.iter().map(|group| group.n_spans).sum::<u64>();
        let slices = slices(&output.traces, pieces, &copies, self.slice_spans());
        let mut n_spans = 0;
        let mut rest = copies.iter().peekable();
        for slice in slices {
            let last = slice.last().map_or(0, |trace| trace.start_unix_nano);
            while let Some(group) = rest.next_if(|group| group.start_max <= last) {
                n_spans += self.write_copy(group, inputs, writer).await?;
            }
            n_spans += self
                .write_slice(slice, pieces, inputs, writer, counts)
                .await?;
        }
        for group in rest {
            n_spans += self.write_copy(group, inputs, writer).await?;
        }
        for left in std::mem::take(&mut inputs.left).values() {
            writer.count_copied(left.counts());
        }
        Ok(n_spans)
    }

    /// Puts the traces of one slice together and writes them. Returns how many spans.
    async fn write_slice(
        &self,
        slice: &[TracePieces],
        pieces: &[Piece],
        inputs: &mut Inputs,
        writer: &mut dyn BlockWriter,
        counts: &mut Counts,
    ) -> StoreResult<u64> {
        let mut runs: Vec<&Piece> = slice.iter().flat_map(|trace| trace.of(pieces)).collect();
        runs.sort_unstable_by_key(|piece| (piece.input, piece.group, piece.first_row));
        let expected: u64 = slice.iter().map(|trace| u64::from(trace.n_rows)).sum();
        inputs.turn_dictionary();
        let mut gather = Gather::default();
        for same_group in runs.chunk_by(|a, b| (a.input, a.group) == (b.input, b.group)) {
            let Some(first) = same_group.first() else {
                continue;
            };
            let (table, dictionary) = self.decoded(inputs, first.input, first.group).await?;
            let mut source = match &dictionary {
                Some(dictionary) => Source::new(&table, dictionary),
                None => Source::of_same_dictionary(&table),
            };
            gather.reserve(expected as usize, &table);
            for piece in same_group {
                let from = piece.first_row as usize;
                let rows = from..from + piece.n_rows as usize;
                gather.push(&mut source, &mut inputs.dictionary, rows);
            }
        }
        let gathered = gather.finish(&inputs.dictionary);
        let n_spans = gathered.order.len() as u64;
        if n_spans + gathered.n_equal != expected {
            return Err(StoreError::Block {
                id: BlockId::default(),
                reason: format!("a merge found {n_spans} of {expected} spans"),
            });
        }
        counts.equal += gathered.n_equal;
        counts.groups_encoded += 1;
        counts.twins += gathered.n_twins;
        writer
            .group(Rows {
                table: &gathered.table,
                dictionary: &gathered.dictionary,
                order: &gathered.order,
            })
            .await?;
        Ok(n_spans)
    }

    async fn decoded(
        &self,
        inputs: &mut Inputs,
        input: u16,
        group: u32,
    ) -> StoreResult<(Arc<SpanTable>, Option<Arc<Dictionary>>)> {
        if let Some(known) = inputs.known((input, group)) {
            return Ok(known);
        }
        let Some(block) = inputs.block(input) else {
            return Err(StoreError::Log {
                reason: format!("a merge has no input {input}"),
            });
        };
        let read = block
            .reader
            .group(group as usize, &mut inputs.dictionary)
            .await;
        let table = Arc::new(self.or_set_aside(&block, read)?);
        if let Some(left) = inputs.left.get_mut(&input) {
            left.without(group, &table, &inputs.dictionary);
        }
        inputs.remember((input, group), Arc::clone(&table));
        Ok((table, None))
    }

    /// The result takes the place of the inputs. Ids that came to be shared meanwhile are shared by
    /// the result; while this runs nothing is appended, so that none is missed.
    fn publish_merge(
        &self,
        plan: &MergePlan,
        live: Vec<LiveBlock>,
        inputs: &Inputs,
        look: &FirstLook,
    ) {
        let core = &self.core;
        let _no_append = core.arrivals.lock();
        let (all, since) = self.shared_since(inputs, plan, look);
        for block in &live {
            if all {
                block.reader.shared().set_all();
            }
            for id in &since {
                if block.may_hold(*id) {
                    block.reader.shared().insert(*id);
                }
            }
        }
        let live = live.into_iter().map(Arc::new).collect();
        core.blocks.replace(&plan.inputs, live);
    }

    pub(super) fn slice_spans(&self) -> u64 {
        // A quarter is for trace rows, an eighth for decoded groups, an eighth for their dictionary.
        let fits = self.merge_bytes() / 2 / SPAN_BYTES;
        fits.min(self.core.config.group_spans as u64).max(1)
    }

    /// An input that cannot be read is never merged again by this process, so that the others are.
    pub(super) fn or_set_aside<T>(
        &self,
        block: &LiveBlock,
        result: StoreResult<T>,
    ) -> StoreResult<T> {
        if let Err(error) = &result
            && !(block.home == Home::Bucket && error.is_unreachable())
        {
            self.core.set_aside(block.entry.id, error);
        }
        result
    }
}

/// Ids that results of a merge share with others.
#[derive(Debug, Default)]
pub(super) struct SharedIdsOf {
    pub(super) ids: IdSet,
    pub(super) all: bool,
}

/// Ids come from the network: nobody may know where one falls.
pub(super) type IdSet = HashSet<TraceId, RandomState>;

#[derive(Debug)]
pub(super) struct MergeFailure {
    /// True if the new objects can be deleted.
    pub(super) is_absent: bool,
    pub(super) error: StoreError,
}

impl From<StoreError> for MergeFailure {
    /// Before the commit nothing names the new objects.
    fn from(error: StoreError) -> Self {
        Self {
            is_absent: true,
            error,
        }
    }
}

// === impl Counts ===

impl Counts {
    fn report(&self, metrics: &StoreMetrics, inputs: &Inputs, plan: &MergePlan) {
        for (counter, n) in [
            (&metrics.merges, 1),
            (&metrics.blocks_merged, inputs.blocks.len() as u64),
            (&metrics.bytes_merged, self.bytes),
            (&metrics.traces_joined, self.joined),
            (&metrics.spans_merged, self.spans),
            (&metrics.spans_deduplicated, self.equal),
            (&metrics.spans_twin, self.twins),
            (&metrics.traces_filed_by_arrival, self.by_arrival),
            (&metrics.traces_filed_late, self.late),
            (&metrics.groups_copied, self.groups_copied),
            (&metrics.spans_copied, self.spans_copied),
            (&metrics.groups_encoded, self.groups_encoded),
        ] {
            StoreMetrics::add(counter, n);
        }
        for block in &inputs.blocks {
            StoreMetrics::add(&metrics.merged(block.entry.level).blocks, 1);
        }
        let written = metrics.merged(level_of(plan));
        StoreMetrics::add(&written.bytes, self.bytes);
        StoreMetrics::add(&written.traces_joined, self.joined);
    }
}

// === impl SharedIdsOf ===

impl SharedIdsOf {
    /// Those among some traces, and those of them that come in parts.
    fn of(&self, traces: &[TracePieces], pieces: &[Piece]) -> SharedIds {
        let id_of = |trace: &TracePieces| Some(trace.of(pieces).first()?.trace_id);
        let mut shared = match self.all {
            true => SharedIds::all(),
            false => {
                let ids = traces.iter().filter_map(id_of);
                ids.filter(|id| self.ids.contains(id)).collect()
            }
        };
        let parts = traces.iter().filter(|trace| trace.is_part(pieces));
        for id in parts.filter_map(id_of) {
            shared.insert_split(id);
        }
        shared
    }
}

// === impl Inputs ===

impl Inputs {
    pub(super) fn block(&self, input: u16) -> Option<Arc<LiveBlock>> {
        self.blocks.get(usize::from(input)).map(Arc::clone)
    }

    fn arrival(&self, input: u16) -> Bounds {
        self.blocks
            .get(usize::from(input))
            .map_or(Bounds::NONE, |block| block.entry.arrival)
    }

    /// As their manifest entries count them.
    fn n_traces(&self) -> usize {
        let traces = self.blocks.iter().map(|block| block.entry.traces as usize);
        traces.sum()
    }

    fn class(&self) -> String {
        self.blocks
            .first()
            .map_or_else(String::new, |block| block.entry.class.clone())
    }

    /// The inputs, and in a bucket what they were merged from there: who uploaded a block of those, and does not
    /// know that it did, may come back when no manifest names it any more.
    fn made_from(&self, plan: &MergePlan) -> Vec<BlockId> {
        let there = self.blocks.iter().filter(|it| it.home == Home::Bucket);
        // First merges are made of blocks that never were there.
        let merged = there.filter(|it| it.entry.level > 1);
        let before = merged.flat_map(|it| &it.entry.made_from);
        plan.inputs.iter().chain(before).copied().collect()
    }

    /// The log that the spans of all inputs came through, where it is one and the bucket says so.
    fn writer(&self) -> Option<String> {
        let mut writers = self.blocks.iter().map(|block| &block.entry.writer);
        let first = writers.next()?;
        writers
            .all(|writer| writer == first)
            .then(|| first.clone())?
    }

    fn readers(&self) -> Vec<Arc<dyn BlockReader>> {
        self.blocks
            .iter()
            .map(|block| Arc::clone(&block.reader))
            .collect()
    }

    /// Blocks that are not merged here and may hold fragments of the same traces.
    pub(super) fn outside<'a>(
        &self,
        plan: &'a MergePlan,
        blocks: &'a Blocks,
    ) -> impl Iterator<Item = &'a Arc<LiveBlock>> + use<'a> {
        let arrivals = self.blocks.iter().map(|block| block.entry.arrival);
        let arrival = arrivals.fold(Bounds::NONE, Bounds::with);
        blocks.live.iter().filter(move |block| {
            !plan.inputs.contains(&block.entry.id)
                && block.entry.arrival.distance(arrival) <= TRACE_HORIZON_NANO
        })
    }

    /// Begins a new dictionary when the old one has grown too large. Groups that are still held keep
    /// the one that they were decoded with.
    fn turn_dictionary(&mut self) {
        if self.dictionary.n_bytes() <= self.dictionary_bytes_max {
            return;
        }
        let old = std::mem::take(&mut self.dictionary);
        let recent = self.decoded.iter_mut();
        let mut recent = recent.filter(|known| known.dictionary.is_none()).peekable();
        if recent.peek().is_some() {
            let old = Arc::new(old.dictionary());
            recent.for_each(|known| known.dictionary = Some(Arc::clone(&old)));
        }
    }

    fn known(&mut self, key: GroupKey) -> Option<(Arc<SpanTable>, Option<Arc<Dictionary>>)> {
        let index = self.decoded.iter().position(|known| known.key == key)?;
        // The most recently used lies last.
        let known = self.decoded.remove(index);
        let group = (Arc::clone(&known.table), known.dictionary.clone());
        self.decoded.push(known);
        Some(group)
    }

    fn remember(&mut self, key: GroupKey, table: Arc<SpanTable>) {
        let bytes = table.n_bytes();
        let mut held: usize = bytes + self.decoded.iter().map(|known| known.bytes).sum::<usize>();
        while held > self.decoded_bytes_max && !self.decoded.is_empty() {
            held -= self.decoded.remove(0).bytes;
        }
        if held <= self.decoded_bytes_max {
            self.decoded.push(Decoded {
                key,
                table,
                dictionary: None,
                bytes,
            });
        }
    }
}

/// How many traces have pieces in several inputs.
fn n_joined(traces: &[TracePieces], pieces: &[Piece]) -> u64 {
    let is_joined = |trace: &&TracePieces| {
        let run = trace.of(pieces);
        let ends = run.first().zip(run.last());
        ends.is_some_and(|(first, last)| first.input != last.input)
    };
    traces.iter().filter(is_joined).count() as u64
}

/// The level of what a merge writes.
fn level_of(plan: &MergePlan) -> u8 {
    match plan.target {
        Target::First => 1,
        Target::Partition { .. } => 2,
    }
}
