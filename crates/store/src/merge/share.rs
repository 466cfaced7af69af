//! Which traces the results of a merge share with other sources: a look before they are written, and a
//! short one while nothing is appended. What this is not: it marks nothing as shared.

use std::sync::Arc;

use tracewell_model::TraceId;
use tracewell_model::source::SpanSource;

use super::plan::MergePlan;
use super::run::{IdSet, Inputs, SharedIdsOf};
use crate::head::GenerationSnapshot;
use crate::snapshot::{Blocks, LiveBlock};
use crate::store::Store;

/// What the inputs shared when the results were begun.
#[derive(Debug)]
pub(super) struct FirstLook {
    pub(super) joined: SharedIdsOf,
    /// Shared ids that nobody else held.
    dropped: IdSet,
    /// The shared ids of all inputs, those of several counted in each.
    n_ids: usize,
    blocks: Arc<Blocks>,
    /// The newest generation that took no more spans.
    frozen_to: Option<u64>,
}

impl Store {
    /// The shared ids of the inputs: those that other sources may hold too, and the others.
    pub(super) fn still_shared(&self, inputs: &Inputs, plan: &MergePlan) -> FirstLook {
        let core = &self.core;
        // In this order, so that what moves meanwhile is new to the second look.
        let frozen = core.head.frozen();
        let blocks = core.blocks.load();
        let (generations, ()) = core.head.pin_with(|| ());
        let mut joined = SharedIdsOf::default();
        let mut dropped = IdSet::default();
        let mut n_ids = 0;
        for block in &inputs.blocks {
            let ids = block.reader.shared().ids();
            n_ids += ids.n_ids();
            let Some(ids) = ids.iter() else {
                joined.all = true;
                continue;
            };
            for id in ids {
                // What cannot be asked may hold it.
                let elsewhere = blocks.unreachable.is_some()
                    || inputs
                        .outside(plan, &blocks)
                        .any(|block| block.may_hold(id))
                    || generations.iter().any(|generation| holds(generation, id));
                if elsewhere {
                    joined.ids.insert(id);
                } else {
                    dropped.insert(id);
                }
            }
        }
        FirstLook {
            joined,
            dropped,
            n_ids,
            blocks,
            frozen_to: frozen.last().map(|generation| generation.sequence()),
        }
    }

    /// What the first look could not see: whether the results share all traces, and the ids that became
    /// shared since. Acks wait for it: an id that was dropped is looked for only in sources that are new
    /// or still grew, and one that the inputs learned is taken as it is.
    pub(super) fn shared_since(
        &self,
        inputs: &Inputs,
        plan: &MergePlan,
        look: &FirstLook,
    ) -> (bool, Vec<TraceId>) {
        let now: Vec<_> = inputs
            .blocks
            .iter()
            .map(|block| block.reader.shared().ids())
            .collect();
        let mut since = Vec::new();
        // They only grow.
        if now.iter().map(|ids| ids.n_ids()).sum::<usize>() != look.n_ids {
            let ids = now.iter().filter_map(|ids| ids.iter()).flatten();
            since.extend(
                ids.filter(|id| !look.joined.ids.contains(id) && !look.dropped.contains(id)),
            );
        }
        if !look.dropped.is_empty() {
            let blocks = self.core.blocks.load();
            let is_new = |block: &&Arc<LiveBlock>| look.blocks.get(block.entry.id).is_none();
            let new: Vec<_> = inputs.outside(plan, &blocks).filter(is_new).collect();
            let (generations, ()) = self.core.head.pin_with(|| ());
            let grew = generations.iter().filter(|generation| {
                let frozen_to = look.frozen_to;
                frozen_to.is_none_or(|last| generation.sequence() > last)
            });
            let grew: Vec<_> = grew.collect();
            since.extend(look.dropped.iter().copied().filter(|id| {
                new.iter().any(|block| block.may_hold(*id))
                    || grew.iter().any(|generation| holds(generation, *id))
            }));
        }
        (now.iter().any(|ids| ids.is_all()), since)
    }
}

fn holds(generation: &GenerationSnapshot, id: TraceId) -> bool {
    let tenants = generation.dictionary().tenants.iter();
    tenants
        .into_iter()
        .any(|tenant| generation.may_contain(tenant, id))
}
