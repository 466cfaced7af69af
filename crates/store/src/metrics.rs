//! What the store counts: plain atomics that server and cli export under `tracewell_store_*`.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! store_metrics {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Counters since the start of the process; each only grows.
        #[derive(Debug, Default)]
        pub struct StoreMetrics {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
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
    /// Traces filed by arrival because the clock of their sender was off.
    traces_filed_by_arrival,
    /// Traces whose late fragment was filed in an earlier partition.
    traces_filed_late,
    /// Manifests written.
    manifests_committed,
    /// Commits that failed; the work is tried again.
    commits_failed,
    /// Cuts, merges and retention runs that failed and are tried again.
    work_failed,
    /// Blocks dropped because of their age.
    blocks_expired_by_age,
    /// Blocks dropped because of the bytes of all blocks.
    blocks_expired_by_bytes,
    /// Spans in blocks that retention dropped.
    spans_expired,
    /// Blocks whose files were deleted.
    blocks_deleted,
    /// Objects deleted that no manifest named for a day.
    objects_swept,
    /// Traces found in more than one source.
    traces_shared,
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
}
