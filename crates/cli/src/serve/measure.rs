//! The numbers of one scrape that the store and the operating system know.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracewell_model::TenantId;
use tracewell_server::metrics::{Metric, Samples};
use tracewell_store::bucket::BucketStatus;
use tracewell_store::metrics::StoreMetrics;
use tracewell_store::status::StoreStatus;

/// Tempo's word for a trace whose sender has a wrong clock.
const WRONG_CLOCK: &str = "outside_ingestion_time_slack";

/// Everything that the store counts, under its own names, and under those that Tempo's dashboards ask
/// for.
pub(super) fn counters(samples: &mut Samples, metrics: &StoreMetrics, has_tenants: bool) {
    for (name, help, value) in metrics.values() {
        samples.add_of_store(name, help, value);
    }
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    for (metric, counter) in [
        (Metric::BlocksCut, &metrics.blocks_cut),
        (Metric::CutFailures, &metrics.cuts_failed),
        (Metric::BucketFailures, &metrics.bucket_rounds_failed),
        (Metric::MergeFailures, &metrics.merges_failed),
        (Metric::DuplicateSpans, &metrics.spans_deduplicated),
        (Metric::TwinSpans, &metrics.spans_twin),
        (Metric::RetentionDeleted, &metrics.blocks_expired_deleted),
        (Metric::RetentionFailures, &metrics.retentions_failed),
        (Metric::WalRecordsDropped, &metrics.records_unreadable),
    ] {
        samples.add(metric, Vec::new(), get(counter));
    }
    let expired = get(&metrics.blocks_expired_by_age) + get(&metrics.blocks_expired_by_bytes);
    samples.add(Metric::RetentionMarked, Vec::new(), expired);
    samples.add(
        Metric::TracesCreated,
        everybody(has_tenants),
        get(&metrics.traces_created),
    );
    let odd = [
        everybody(has_tenants),
        vec![("reason", WRONG_CLOCK.to_owned())],
    ]
    .concat();
    samples.add(Metric::Warnings, odd, get(&metrics.traces_filed_by_arrival));
    for (level, merged) in metrics.merged_by_level.iter().enumerate() {
        for (metric, counter) in [
            (Metric::MergedBlocks, &merged.blocks),
            (Metric::MergedBytes, &merged.bytes),
            (Metric::MergedTraces, &merged.traces_joined),
        ] {
            samples.add(metric, vec![("level", level.to_string())], get(counter));
        }
    }
}

/// What the store held when it was looked at last.
pub(super) fn state(samples: &mut Samples, status: &StoreStatus, has_tenants: bool) {
    samples.add(Metric::HeadBytes, everybody(has_tenants), status.head_bytes);
    for (metric, by_tenant) in [
        (Metric::HeadTraces, &status.head_traces),
        (Metric::BlocklistLength, &status.blocks_by_tenant),
    ] {
        // None of the one tenant would be no data to a dashboard.
        if !by_tenant.contains_key(&TenantId::single()) {
            samples.add(metric, tenant(&TenantId::single()), 0);
        }
        for (id, n) in by_tenant {
            samples.add(metric, tenant(id), *n);
        }
    }
    let n_damaged =
        status.blocks_missing + status.blocks_set_aside.len() + status.blocks_damaged.len();
    for (metric, value) in [
        (Metric::HeadSpans, status.head_spans),
        (Metric::MergeWaiting, status.blocks_waiting as u64),
        (Metric::DamagedBlocks, n_damaged as u64),
        (Metric::FilterBytes, status.filter_bytes),
        (Metric::ForeignObjects, status.recovery.n_foreign),
        (Metric::WalBytes, status.wal.log_bytes),
        (Metric::WalWrittenBytes, status.wal.bytes),
        (Metric::WalRecords, status.wal.records),
        (Metric::WalSyncs, status.wal.groups),
        (Metric::WalSyncFailures, status.wal.failed_groups),
        (Metric::WalDamage, status.recovery.n_log_damage),
    ] {
        samples.add(metric, Vec::new(), value);
    }
    let seconds = Duration::from_nanos(status.wal.sync_nanos).as_secs_f64();
    samples.add_float(Metric::WalSyncSeconds, Vec::new(), seconds);
    if let Ok(space) = &status.space {
        samples.add(Metric::DiskFreeBytes, Vec::new(), space.free);
    }
    if let Some(bucket) = &status.bucket {
        of_bucket(samples, bucket);
    }
    for (level, sums) in &status.by_level {
        let labels = || vec![("level", level.to_string())];
        samples.add(Metric::Blocks, labels(), sums.blocks);
        samples.add(Metric::BlockBytes, labels(), sums.bytes);
        samples.add(Metric::BlockSpans, labels(), sums.spans);
    }
}

fn of_bucket(samples: &mut Samples, bucket: &BucketStatus) {
    let contact = &bucket.contact;
    for (metric, value) in [
        (Metric::BucketFailing, u64::from(contact.failing.is_some())),
        (Metric::BucketKeeper, u64::from(contact.is_keeper)),
        (Metric::BucketManifest, contact.manifest.unwrap_or(0)),
        (Metric::BucketForeign, bucket.n_foreign.unwrap_or(0)),
        (Metric::BucketWaitingBlocks, bucket.waiting.0),
        (Metric::BucketWaitingBytes, bucket.waiting.1),
        (Metric::BucketCacheBytes, bucket.cache.bytes),
        (Metric::BucketCacheBytesMax, bucket.cache.bytes_max),
    ] {
        samples.add(metric, Vec::new(), value);
    }
    for (metric, nanos) in [
        (Metric::BucketOldestWaiting, bucket.oldest_waiting_nano),
        (Metric::BucketViewAge, bucket.failing_nano),
    ] {
        let seconds = Duration::from_nanos(nanos.unwrap_or(0)).as_secs();
        samples.add(metric, Vec::new(), seconds);
    }
}

/// The process, as Linux sees it; nothing elsewhere.
pub(super) fn process(samples: &mut Samples) {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return;
    };
    // The name of the program may hold blanks; the fields after its bracket do not.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let fields: Vec<u64> = fields
        .split_ascii_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let cpu = (field(14) + field(15)) as f64 / ticks;
    samples.add_float(Metric::ProcessCpuSeconds, Vec::new(), cpu);
    samples.add(Metric::ProcessThreads, Vec::new(), field(20));
    samples.add(Metric::ProcessVirtualBytes, Vec::new(), field(23));
    let resident = field(24) * rustix::param::page_size() as u64;
    samples.add(Metric::ProcessResidentBytes, Vec::new(), resident);
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        samples.add(Metric::ProcessOpenFiles, Vec::new(), open.count() as u64);
    }
    let system = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = system.lines().find_map(|line| line.strip_prefix("btime "));
    if let Some(booted) = booted.and_then(|text| text.trim().parse::<f64>().ok()) {
        let started = booted + field(22) as f64 / ticks;
        samples.add_float(Metric::ProcessStartSeconds, Vec::new(), started);
    }
}

/// Tempo's dashboards sum and group by the label. What is not counted by tenant is that of the one there is, or of
/// all.
fn everybody(has_tenants: bool) -> Vec<(&'static str, String)> {
    match has_tenants {
        false => tenant(&TenantId::single()),
        true => vec![("tenant", "_all".to_owned())],
    }
}

fn tenant(tenant: &TenantId) -> Vec<(&'static str, String)> {
    vec![("tenant", tenant.to_string())]
}
