//! A frozen generation of the head becomes a first block.
//!
//! The manifest that lists the block says which records of the log it covers; in the same step the
//! generation leaves the snapshot, and after the next manifest the log forgets the records. What this
//! is not: it does not decide when a generation is full or old (see [`crate::head`]).

use std::sync::Arc;

use crate::codec::{BlockTarget, Rows, Written};
use crate::error::{StoreError, StoreResult};
use crate::head::{Generation, GenerationSnapshot};
use crate::manifest::{BlockEntry, BlockId, CLASS_DEFAULT, Change, LogRange};
use crate::metrics::StoreMetrics;
use crate::partition::Bounds;
use crate::snapshot::{Home, LiveBlock};
use crate::store::Store;
use tracewell_model::shared::SharedIds;

/// Spans of a row group of a first block: a merge reads whole groups, each for two slices or three.
const GROUP_SPANS_MAX: usize = 16_384;

impl Store {
    /// Cuts the oldest frozen generation. False if there is none.
    pub async fn cut_next(&self) -> StoreResult<bool> {
        let cut = self.cut_oldest().await;
        if cut.is_err() {
            StoreMetrics::add(&self.core.metrics.cuts_failed, 1);
        }
        cut
    }

    async fn cut_oldest(&self) -> StoreResult<bool> {
        let _one_at_a_time = self.cutting.lock().await;
        let core = &self.core;
        let Some(generation) = core.head.frozen().into_iter().next() else {
            return Ok(false);
        };
        let (from, to) = generation.range();
        let log = LogRange {
            log: self.ledger.lock().await.log().to_owned(),
            from: from.0,
            to: to.0,
        };
        let snapshot = generation.snapshot();
        if snapshot.n_spans() == 0 {
            let change = Change {
                cover: vec![log],
                ..Change::default()
            };
            let publish = || core.publish_cut(&generation, None);
            self.commit(&change, publish).await.map_err(|f| f.error)?;
            return Ok(true);
        }
        let id = self.begin_block();
        tracing::debug!(block = %id, spans = snapshot.n_spans(), "a generation is cut");
        let result = self.cut_into(id, &generation, &snapshot, log).await;
        self.end_block(id);
        result.map(|()| true)
    }

    async fn cut_into(
        &self,
        id: BlockId,
        generation: &Arc<Generation>,
        snapshot: &GenerationSnapshot,
        log: LogRange,
    ) -> StoreResult<()> {
        let core = &self.core;
        let arrival = core.arrivals.lock().of(generation.sequence());
        let written = match self
            .write_generation(id, generation, snapshot, arrival)
            .await
        {
            Ok(written) => written,
            Err(error) => {
                self.delete_block(id).await;
                return Err(error);
            }
        };
        let entry = BlockEntry {
            log: Some(log),
            level: 0,
            ..entry_of(id, core.format.version(), arrival, &written)
        };
        let folder = core.config.block_folder(id);
        let reader = match core.format.open(&core.objects, folder, &entry).await {
            Ok(reader) => reader,
            Err(error) => {
                self.delete_block(id).await;
                return Err(error);
            }
        };
        let change = Change {
            add: vec![entry.clone()],
            ..Change::default()
        };
        let publish = || {
            core.publish_cut(
                generation,
                Some(LiveBlock {
                    entry,
                    reader,
                    home: Home::Local,
                }),
            )
        };
        if let Err(failure) = self.commit(&change, publish).await {
            if failure.is_absent {
                self.delete_block(id).await;
            }
            return Err(failure.error);
        }
        StoreMetrics::add(&core.metrics.blocks_cut, 1);
        StoreMetrics::add(&core.metrics.spans_cut, written.spans);
        core.merge_wanted.notify_one();
        Ok(())
    }

    async fn write_generation(
        &self,
        id: BlockId,
        generation: &Generation,
        snapshot: &GenerationSnapshot,
        arrival: Bounds,
    ) -> StoreResult<Written> {
        let core = &self.core;
        let mut writer = core.format.create(BlockTarget {
            id,
            objects: Arc::clone(&core.objects),
            folder: core.config.block_folder(id),
            level: 0,
            tenant: None,
            arrival,
            created_unix_nano: core.clock.now_unix_nano(),
            inputs: Vec::new(),
        })?;
        // The head gives the newest group first, a block begins with the oldest.
        let groups = snapshot.sorted_groups(core.config.group_spans.min(GROUP_SPANS_MAX));
        for group in groups.into_iter().rev() {
            let table = snapshot.table(&group.rows);
            let order: Vec<u32> = (0..table.n_spans() as u32).collect();
            let rows = Rows {
                table: &table,
                dictionary: snapshot.dictionary(),
                order: &order,
            };
            writer.group(rows).await?;
        }
        let written = writer
            .finish(SharedIds::clone(&generation.shared().ids()))
            .await?;
        if written.spans == snapshot.n_spans() as u64 {
            Ok(written)
        } else {
            Err(StoreError::Block {
                id,
                reason: format!(
                    "holds {} spans of a generation of {}",
                    written.spans,
                    snapshot.n_spans()
                ),
            })
        }
    }
}

/// The entry of a block that was written; level, tenant and origin are left to the caller.
pub(crate) fn entry_of(id: BlockId, format: u16, arrival: Bounds, written: &Written) -> BlockEntry {
    BlockEntry {
        id,
        level: 0,
        format,
        tenant: None,
        partition: None,
        class: CLASS_DEFAULT.to_owned(),
        spans: written.spans,
        traces: written.traces,
        trace_start: written.trace_start,
        span_start: written.span_start,
        arrival,
        bytes: written.files.iter().map(|file| file.bytes).sum(),
        files: written.files.clone(),
        log: None,
        made_from: Vec::new(),
        delete_set: None,
        writer: None,
    }
}
