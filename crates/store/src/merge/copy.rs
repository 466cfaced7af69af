//! Which groups of a merge's inputs are copied as they are.
//!
//! A group is copied if no trace of it lies in another group of the inputs (by the ids of the trace
//! rows, so that fragments are joined and equal spans found), if it is large enough, and if it is a
//! slice of time still. What becomes of the others, [`super::run`] does: they are decoded and encoded
//! again. What this is not: columns are not looked at here, the block that is written does that.

use std::collections::{BTreeMap, HashSet};

use super::pieces::{GroupKey, Piece, TracePieces};
use super::plan::{MergePlan, Target};
use super::run::{Inputs, Output};
use crate::block::KeyCounts;
use crate::codec::BlockWriter;
use crate::error::StoreResult;
use crate::store::Store;
use crate::table::{DictionaryBuilder, SpanTable};

/// A group has at least one in so many of the spans that a group may have. Two smaller ones fit into
/// one, so that groups would pile up if they were copied; of two larger ones no fewer can be made.
const SPANS_ONE_IN: u64 = 2;
/// Of the spans whose traces start within a group's bounds it holds at least one in so many. What
/// overlaps more (senders whose clocks are off, traces that came late, data that was imported in no
/// order of time) is cut into slices of time anew, or a narrow window would visit many groups.
const OVERLAP_ONE_IN: u64 = 2;

/// A group that may be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) key: GroupKey,
    pub(super) n_spans: u64,
    pub(super) start_min: u64,
    pub(super) start_max: u64,
}

/// What is left of an input's counts of keys when those of decoded groups are taken away.
#[derive(Debug, Default)]
pub(super) struct Left {
    counts: KeyCounts,
    decoded: HashSet<u32>,
}

/// The groups of one input that are copied have these counts together.
pub(super) type LeftOfInputs = BTreeMap<u16, Left>;

/// The groups that may be copied, by their last trace start. `traces` are those of one output, sorted
/// by start.
pub(super) fn candidates(
    traces: &[TracePieces],
    pieces: &[Piece],
    n_spans_max: u64,
) -> Vec<Candidate> {
    let mut groups: BTreeMap<GroupKey, (Candidate, bool)> = BTreeMap::new();
    let mut spans_until = Vec::with_capacity(traces.len() + 1);
    let mut n_spans = 0;
    for trace in traces {
        spans_until.push(n_spans);
        n_spans += u64::from(trace.n_rows);
        let run = trace.of(pieces);
        for piece in run {
            let key = (piece.input, piece.group);
            let start = piece.start_unix_nano;
            let new = Candidate {
                key,
                n_spans: 0,
                start_min: start,
                start_max: start,
            };
            let (group, is_split) = groups.entry(key).or_insert((new, false));
            group.n_spans += u64::from(piece.n_rows);
            group.start_min = group.start_min.min(start);
            group.start_max = group.start_max.max(start);
            *is_split |= run.len() > 1;
        }
    }
    spans_until.push(n_spans);
    let until = |trace: usize| spans_until.get(trace).copied().unwrap_or(n_spans);
    let is_fit = |group: &Candidate| {
        let from = traces.partition_point(|trace| trace.start_unix_nano < group.start_min);
        let to = traces.partition_point(|trace| trace.start_unix_nano <= group.start_max);
        let n_within = until(to).saturating_sub(until(from));
        group.n_spans.saturating_mul(SPANS_ONE_IN) >= n_spans_max
            && n_within <= group.n_spans.saturating_mul(OVERLAP_ONE_IN)
    };
    let whole = groups.into_values().filter(|(_, is_split)| !is_split);
    let mut fit: Vec<Candidate> = whole.map(|(group, _)| group).filter(is_fit).collect();
    fit.sort_unstable_by_key(|group| (group.start_max, group.start_min, group.key));
    fit
}

impl Store {
    /// The groups that the output takes as they are, by their last trace start. Their traces are no
    /// longer among those of the output.
    pub(super) async fn copies(
        &self,
        plan: &MergePlan,
        output: &mut Output,
        pieces: &[Piece],
        inputs: &mut Inputs,
        writer: &mut dyn BlockWriter,
    ) -> StoreResult<Vec<Candidate>> {
        if plan.target == Target::First {
            return Ok(Vec::new());
        }
        let (mut groups, mut outlines) = (Vec::new(), Vec::new());
        for group in candidates(&output.traces, pieces, self.slice_spans()) {
            let Some(block) = inputs.block(group.key.0) else {
                continue;
            };
            let outline = block.reader.outline(group.key.1 as usize).await;
            if let Some(outline) = self.or_set_aside(&block, outline)?
                // Spans that are not of this output would come along.
                && outline.n_spans == group.n_spans
            {
                groups.push(group);
                outlines.push(outline);
            }
        }
        let n_rows = output.traces.iter().map(|trace| u64::from(trace.n_rows));
        let n_spans: u64 = n_rows.sum();
        let is_all = groups.iter().map(|group| group.n_spans).sum::<u64>() == n_spans;
        let admitted = writer.admit(&outlines, is_all);
        let groups = groups.into_iter().zip(admitted);
        let copies: Vec<Candidate> = groups
            .filter(|(_, admitted)| *admitted)
            .map(|(group, _)| group)
            .collect();
        let keys: HashSet<GroupKey> = copies.iter().map(|group| group.key).collect();
        output.traces.retain(|trace| {
            let piece = pieces.get(trace.from as usize);
            piece.is_none_or(|piece| !keys.contains(&(piece.input, piece.group)))
        });
        inputs.begin_counts(&copies);
        Ok(copies)
    }

    /// Copies one group. Returns how many spans.
    pub(super) async fn write_copy(
        &self,
        group: &Candidate,
        inputs: &Inputs,
        writer: &mut dyn BlockWriter,
    ) -> StoreResult<u64> {
        let Some(block) = inputs.block(group.key.0) else {
            return Ok(0);
        };
        let copy = block.reader.copy(group.key.1 as usize).await;
        writer.copy(self.or_set_aside(&block, copy)?).await?;
        Ok(group.n_spans)
    }
}

// === impl Inputs ===

impl Inputs {
    fn begin_counts(&mut self, copies: &[Candidate]) {
        self.left.clear();
        for group in copies {
            let input = group.key.0;
            let counts = || self.block(input)?.reader.key_counts();
            if !self.left.contains_key(&input)
                && let Some(counts) = counts()
            {
                let decoded = HashSet::new();
                self.left.insert(input, Left { counts, decoded });
            }
        }
    }
}

// === impl Left ===

impl Left {
    /// Takes away what a decoded group has, once. Where keys are missing from the counts they are no more
    /// than an estimate, and the group may have any number of keys.
    pub(super) fn without(
        &mut self,
        group: u32,
        table: &SpanTable,
        dictionary: &DictionaryBuilder,
    ) {
        if self.decoded.insert(group) && !self.counts.truncated {
            let rows: Vec<u32> = (0..table.n_spans() as u32).collect();
            let counts = KeyCounts::of(table, &dictionary.strings.snapshot(), &rows);
            self.counts.subtract(&counts);
        }
    }

    pub(super) fn counts(&self) -> &KeyCounts {
        &self.counts
    }
}

#[cfg(test)]
mod tests;
