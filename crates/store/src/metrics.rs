//! What the store counts: plain atomics. The binary exports every one of them under its name here,
//! `tracewell_store_<name>_total`, and those that Tempo's dashboards ask for under Tempo's names too.

use std::sync::atomic::{AtomicU64, Ordering};

use tracewell_model::limits;

/// Levels of blocks: first ones, those of one partition, and those that were merged again.
pub const LEVELS: usize = 3;

/// What merges did with blocks of one level.
#[derive(Debug, Default)]
pub struct MergedLevel {
    /// Blocks of this level that were merged into others.
    pub blocks: AtomicU64,
    /// Bytes of the blocks of this level that were written.
    pub bytes: AtomicU64,
    /// Traces in those of which fragments of several blocks were joined.
    pub traces_joined: AtomicU64,
}

macro_rules! store_metrics {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counters since the start of the process; each only grows.
        #[derive(Debug, Default)]
        pub struct StoreMetrics {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
            /// What merges did, by the level of the blocks that it is about.
            pub merged_by_level: [MergedLevel; LEVELS],
        }

        impl StoreMetrics {
            /// Name, help text and value of every counter.
            pub fn values(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((
                    stringify!($name),
                    concat!($($doc),+).trim_ascii(),
                    self.$name.load(Ordering::Relaxed),
                ),)+]
            }
        }
    };
}

store_metrics! {
    /// Requests that were made durable.
    requests_accepted,
    /// Requests that were acknowledged again because their body was accepted before.
    requests_repeated,
    /// Spans that were made durable.
    spans_accepted,
    /// Bytes of requests that were made durable.
    bytes_accepted,
    /// Requests refused because the head was full.
    refused_head_bytes,
    /// Requests refused because too many first blocks waited for a merge.
    refused_waiting_blocks,
    /// Requests refused because the volume had less space than the reserve.
    refused_disk_reserve,
    /// Requests refused because of the bytes between socket and head.
    refused_in_flight_bytes,
    /// Requests refused because the write-ahead log had no room left.
    refused_log_bytes,
    /// Requests refused because too much waited to be written to the write-ahead log.
    refused_log_queue,
    /// Requests refused because the volume was full when their record was written.
    refused_disk_full,
    /// Requests refused for a reason that has no counter of its own: a bug.
    refused_other,
    /// Requests refused because they are larger than a limit allows at all.
    refused_too_large,
    /// Requests that failed in the write-ahead log.
    requests_failed,
    /// First blocks that were cut from the head.
    blocks_cut,
    /// Spans in first blocks that were cut.
    spans_cut,
    /// Merges that were committed.
    merges,
    /// Blocks that merges replaced.
    blocks_merged,
    /// Bytes of the blocks that merges wrote.
    bytes_merged,
    /// Traces of which a merge joined fragments of several blocks.
    traces_joined,
    /// Spans that merges wrote.
    spans_merged,
    /// Groups that merges copied as they lay in their inputs.
    groups_copied,
    /// Spans in groups that merges copied.
    spans_copied,
    /// Groups that merges put together and encoded.
    groups_encoded,
    /// Blocks that a merge could not read and left alone.
    blocks_set_aside,
    /// Spans equal in every field that merges dropped.
    spans_deduplicated,
    /// Spans that merges found to share their id with another of their trace and to differ from it; all
    /// are kept, and each merge that reads them counts them.
    spans_twin,
    /// Traces filed by arrival because the clock of their sender was off.
    traces_filed_by_arrival,
    /// Traces whose late fragment was filed in an earlier partition.
    traces_filed_late,
    /// Manifests written.
    manifests_committed,
    /// Commits that failed; the work is tried again.
    commits_failed,
    /// First blocks that could not be written; the work is tried again.
    cuts_failed,
    /// Merges that failed and are tried again.
    merges_failed,
    /// Rounds of upkeep that failed and are tried again.
    upkeeps_failed,
    /// Runs of retention, and deletions of what it dropped, that failed and are tried again.
    retentions_failed,
    /// Blocks dropped because of their age.
    blocks_expired_by_age,
    /// Blocks dropped because of the bytes of all blocks.
    blocks_expired_by_bytes,
    /// Spans in blocks that retention dropped.
    spans_expired,
    /// Blocks whose files were deleted: replaced ones and expired ones.
    blocks_deleted,
    /// Blocks whose files were deleted because retention had dropped them. A block that was dropped
    /// before the process started counts as replaced.
    blocks_expired_deleted,
    /// Objects deleted that no manifest named for a day.
    objects_swept,
    /// Traces begun in the head; one in several generations counts in each.
    traces_created,
    /// Traces found in more than one source.
    traces_shared,
    /// Blocks that were uploaded to the bucket.
    blocks_uploaded,
    /// Bytes of the blocks that were uploaded to the bucket.
    bytes_uploaded,
    /// Manifests that this process wrote in the bucket.
    bucket_manifests_committed,
    /// Rounds with the bucket that failed and are tried again.
    bucket_rounds_failed,
    /// Requests that read from blocks in the bucket.
    bucket_reads,
    /// Bytes that were read from blocks in the bucket; what the cache gives does not count.
    bucket_bytes_read,
    /// Pieces of the cache that made room for others.
    cache_pieces_evicted,
    /// Pieces of the cache that were damaged and fetched again.
    cache_pieces_damaged,
    /// Records replayed from the log at the start.
    records_replayed,
    /// Records of the log that could not be decoded at the start.
    records_unreadable,
}

// === impl StoreMetrics ===

impl StoreMetrics {
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// The counter of requests that a limit refused for a while.
    pub(crate) fn refused(&self, limit: &str) -> &AtomicU64 {
        match limit {
            limits::HEAD_BYTES => &self.refused_head_bytes,
            limits::IN_FLIGHT_BYTES => &self.refused_in_flight_bytes,
            limits::DISK_RESERVE_BYTES => &self.refused_disk_reserve,
            limits::DISK_FULL => &self.refused_disk_full,
            limits::WAITING_BLOCKS => &self.refused_waiting_blocks,
            limits::LOG_BYTES => &self.refused_log_bytes,
            limits::LOG_QUEUE_BYTES => &self.refused_log_queue,
            _ => &self.refused_other,
        }
    }

    /// The counters of a level; a level from the future counts as the highest.
    pub(crate) fn merged(&self, level: u8) -> &MergedLevel {
        let [first, second, highest] = &self.merged_by_level;
        match level {
            0 => first,
            1 => second,
            _ => highest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_refuses_for_a_while_has_a_counter_of_its_own() {
        let metrics = StoreMetrics::default();
        // These refuse for good, and are counted as too large; the last is not the store's.
        let for_good = [
            limits::REQUEST_BYTES,
            limits::REQUEST_DECODED_BYTES,
            limits::LOG_RECORD_BYTES,
            limits::LIVE_TRACES,
        ];
        let for_a_while = || {
            let all = limits::REFUSALS.iter().map(|refusing| refusing.text);
            all.filter(|text| !for_good.contains(text))
        };
        for limit in for_a_while() {
            StoreMetrics::add(metrics.refused(limit), 1);
        }
        let refused: Vec<u64> = metrics
            .values()
            .into_iter()
            .filter(|(name, _, _)| name.starts_with("refused_"))
            .map(|(_, _, n)| n)
            .collect();
        assert_eq!(refused.iter().sum::<u64>(), for_a_while().count() as u64);
        assert!(refused.iter().all(|n| *n <= 1), "{refused:?}");
        assert_eq!(metrics.refused_other.load(Ordering::Relaxed), 0);
    }
}
