//! What the status page says of the process and its store.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracewell_server::{FactValue, Section};
use tracewell_store::bucket::BucketStatus;
use tracewell_store::metrics::StoreMetrics;
use tracewell_store::status::{BlockSums, Stage, StoreStatus};

use super::host::Process;
use crate::clock;

/// What is taken each second, over the time between the last two looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Rates {
    last: Option<(Instant, Taken)>,
    spans: f64,
    bytes: f64,
    requests: f64,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy)]
struct Taken {
    spans: u64,
    bytes: u64,
    requests: u64,
}

/// Looks that are nearer to each other say nothing of a rate.
const LOOKS_APART: Duration = Duration::from_secs(1);

pub(super) fn sections(process: &Process) -> Vec<Section> {
    let mut sections = vec![of_process(process), process.rates().section()];
    if let Some(status) = process.store_status() {
        sections.push(of_head(&status));
        sections.push(of_blocks(&status));
        sections.push(of_partitions(&status));
        let bucket = status.bucket.as_ref();
        sections.extend(bucket.map(|bucket| of_bucket(bucket, status.bucket_block_bytes)));
        sections.push(of_disk(&status));
        sections.extend(of_damage(&status));
    }
    sections
}

fn of_process(process: &Process) -> Section {
    let up = process.started().elapsed().as_secs_f64();
    let mut section = Section::new("process").with("up", FactValue::Seconds(up));
    let addresses = process.addresses();
    for (name, address) in [
        ("http", &addresses.http),
        ("query grpc", &addresses.query_grpc),
        ("otlp grpc", &addresses.otlp_grpc),
        ("otlp http", &addresses.otlp_http),
    ] {
        let address = super::or_off(address.as_ref());
        section.push(name, FactValue::Text(address));
    }
    let path = process.loaded().config.storage.path.display();
    section.with("data", FactValue::Text(path.to_string()))
}

fn of_head(status: &StoreStatus) -> Section {
    let mut section = Section::new("head")
        .with("spans", FactValue::Count(status.head_spans))
        .with(
            "traces",
            FactValue::Count(status.head_traces.values().sum()),
        )
        .with("bytes", FactValue::Bytes(status.head_bytes))
        .with(
            "generations waiting for their block",
            FactValue::Count(status.generations.len().saturating_sub(1) as u64),
        );
    for generation in &status.generations {
        let stage = match generation.stage {
            Stage::Filling => "filling",
            Stage::Frozen => "frozen",
            Stage::Cutting => "cutting",
        };
        let age = Duration::from_nanos(generation.age_nano).as_secs_f64();
        section.push(
            format!("generation {}, {stage}", generation.sequence),
            FactValue::Group(vec![
                ("spans", FactValue::Count(generation.spans)),
                ("bytes", FactValue::Bytes(generation.bytes)),
                ("old", FactValue::Seconds(age)),
            ]),
        );
    }
    section
}

fn of_blocks(status: &StoreStatus) -> Section {
    let mut section = Section::new("blocks")
        .with("manifest", FactValue::Count(status.manifest))
        .with(
            "waiting for a merge",
            FactValue::Count(status.blocks_waiting as u64),
        )
        .with(
            "replaced, not deleted yet",
            FactValue::Count(status.blocks_retired as u64),
        );
    if let Some(oldest) = status.oldest_span_unix_nano {
        section.push("oldest readable span", FactValue::Text(clock::utc(oldest)));
        let age = Duration::from_nanos(clock::now().saturating_sub(oldest));
        section.push("its age", FactValue::Seconds(age.as_secs_f64()));
    }
    for (level, sums) in &status.by_level {
        section.push(format!("level {level}"), of_sums(sums));
    }
    section
        .with(
            "bytes of filters in memory",
            FactValue::Bytes(status.filter_bytes),
        )
        .with(
            "foreign objects, left alone",
            FactValue::Count(status.recovery.n_foreign),
        )
}

fn of_partitions(status: &StoreStatus) -> Section {
    let mut section = Section::new("blocks by partition");
    // The newest is looked for first.
    for (partition, sums) in status.by_partition.iter().rev() {
        section.push(partition.clone(), of_sums(sums));
    }
    section
}

fn of_sums(sums: &BlockSums) -> FactValue {
    FactValue::Group(vec![
        ("blocks", FactValue::Count(sums.blocks)),
        ("spans", FactValue::Count(sums.spans)),
        ("traces", FactValue::Count(sums.traces)),
        ("bytes", FactValue::Bytes(sums.bytes)),
    ])
}

fn of_disk(status: &StoreStatus) -> Section {
    let mut section =
        Section::new("disk").with("kept in blocks", FactValue::Bytes(status.block_bytes));
    // Beside a bucket it is what waits for it, and has no bound of its own.
    if status.bucket.is_none() {
        let bytes_max = FactValue::Bytes(status.retention_bytes_max);
        section.push("may be kept in blocks", bytes_max);
    }
    let section = section.with("write-ahead log", FactValue::Bytes(status.wal.log_bytes));
    match &status.space {
        Ok(space) => section
            .with("free on the volume", FactValue::Bytes(space.free))
            .with("size of the volume", FactValue::Bytes(space.total)),
        Err(error) => section.with(
            "free on the volume",
            FactValue::Text(format!("not known: {error}")),
        ),
    }
}

fn of_damage(status: &StoreStatus) -> Option<Section> {
    let mut section = Section::new("damage");
    if status.blocks_missing > 0 {
        let n = status.blocks_missing as u64;
        section.push("blocks that cannot be read", FactValue::Count(n));
    }
    for (id, reason) in &status.blocks_set_aside {
        section.push(
            format!("block {id} cannot be merged"),
            FactValue::Text(reason.clone()),
        );
    }
    for (id, reason) in &status.blocks_damaged {
        section.push(
            format!("block {id} is damaged"),
            FactValue::Text(reason.clone()),
        );
    }
    (!section.facts.is_empty()).then_some(section)
}

fn of_bucket(bucket: &BucketStatus, block_bytes: u64) -> Section {
    let contact = &bucket.contact;
    let state = match (&contact.failing, contact.manifest) {
        (Some((reason, _)), _) => format!("fails: {reason}"),
        (None, Some(number)) => format!("manifest {number}"),
        (None, None) => "not read yet".to_owned(),
    };
    let keeper = match &contact.keeper {
        _ if contact.is_keeper => "this process".to_owned(),
        Some(keeper) => format!("process {}", keeper.process),
        None => "nobody yet".to_owned(),
    };
    let (n, bytes) = bucket.waiting;
    let age = Duration::from_nanos(bucket.oldest_waiting_nano.unwrap_or(0));
    Section::new("bucket")
        .with("name", FactValue::Text(bucket.name.clone()))
        .with("state", FactValue::Text(state))
        .with("keeper", FactValue::Text(keeper))
        .with("kept in blocks there", FactValue::Bytes(block_bytes))
        .with("blocks not uploaded", FactValue::Count(n))
        .with("bytes not uploaded", FactValue::Bytes(bytes))
        .with(
            "age of the oldest span not uploaded",
            FactValue::Seconds(age.as_secs_f64()),
        )
        .with(
            "foreign objects and folders, left alone",
            FactValue::Count(bucket.n_foreign.unwrap_or(0)),
        )
        .with("cached on this disk", FactValue::Bytes(bucket.cache.bytes))
        .with(
            "may be cached on this disk",
            FactValue::Bytes(bucket.cache.bytes_max),
        )
}

// === impl Rates ===

impl Rates {
    pub(super) fn look(&mut self, metrics: &StoreMetrics, now: Instant) {
        let taken = Taken {
            spans: metrics.spans_accepted.load(Ordering::Relaxed),
            bytes: metrics.bytes_accepted.load(Ordering::Relaxed),
            requests: metrics.requests_accepted.load(Ordering::Relaxed),
        };
        let Some((then, before)) = self.last else {
            self.last = Some((now, taken));
            return;
        };
        let between = now.saturating_duration_since(then);
        if between < LOOKS_APART {
            return;
        }
        let rate =
            |now: u64, before: u64| now.saturating_sub(before) as f64 / between.as_secs_f64();
        *self = Self {
            last: Some((now, taken)),
            spans: rate(taken.spans, before.spans),
            bytes: rate(taken.bytes, before.bytes),
            requests: rate(taken.requests, before.requests),
        };
    }

    fn section(&self) -> Section {
        let total =
            |read: fn(&Taken) -> u64| self.last.as_ref().map_or(0, |(_, taken)| read(taken));
        Section::new("ingest")
            .with("spans taken", FactValue::PerSecond(self.spans))
            .with("bytes taken", FactValue::BytesPerSecond(self.bytes))
            .with("requests taken", FactValue::PerSecond(self.requests))
            .with(
                "spans taken since the start",
                FactValue::Count(total(|taken| taken.spans)),
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_between_looks() {
        let (metrics, start) = (StoreMetrics::default(), Instant::now());
        let mut rates = Rates::default();
        rates.look(&metrics, start);
        metrics.spans_accepted.store(500, Ordering::Relaxed);
        rates.look(&metrics, start + Duration::from_millis(10));
        assert_eq!(rates.spans, 0.0);
        rates.look(&metrics, start + Duration::from_secs(2));
        assert_eq!(rates.spans, 250.0);
        rates.look(&metrics, start + Duration::from_secs(4));
        assert_eq!(rates.spans, 0.0);
    }
}
