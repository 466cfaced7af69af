//! What is wrong with the store and yet no reason not to be ready, each with what to do about it.

use std::sync::Arc;

use tracewell_model::limits;
use tracewell_store::Store;
use tracewell_store::recovery::Recovery;
use tracewell_store::snapshot::MissingBlock;

use crate::config::Config;

/// Things of one kind are named up to so many; the log has all of them.
const NAMED_MAX: usize = 10;

pub(super) fn warnings(store: &Store, config: &Config) -> Vec<String> {
    let mut warnings = of_missing(&store.blocks_missing(), config);
    warnings.extend(of_start(&store.recovery(), config));
    warnings.extend(store.bucket_failing().map(|reason| {
        format!(
            "the bucket {reason}; blocks wait on the local disk, and answers that miss what lies only in the \
             bucket say that they are partial"
        )
    }));
    let set_aside = store.set_aside();
    let lines = set_aside
        .iter()
        .map(|(id, reason)| format!("block {id} cannot be merged and is set aside: {reason}"));
    warnings.extend(some_of(lines, set_aside.len()));
    let damaged = store.damaged();
    let lines = damaged
        .iter()
        .map(|(id, reason)| format!("block {id} is damaged, answers miss spans of it: {reason}"));
    warnings.extend(some_of(lines, damaged.len()));
    if !set_aside.is_empty() || !damaged.is_empty() {
        let folder = config.blocks_path().join("blocks");
        warnings.push(format!(
            "to mend blocks that are damaged or set aside: `tracewell block verify {}/<block>` says what is damaged; \
             restore its files from a backup and restart, or leave it to retention",
            folder.display()
        ));
    }
    warnings.extend(
        store
            .refusing()
            .into_iter()
            .map(|limit| refusing(limit, config)),
    );
    warnings
}

fn of_missing(missing: &[Arc<MissingBlock>], config: &Config) -> Vec<String> {
    let lines = missing
        .iter()
        .map(|block| format!("block {} cannot be read: {}", block.entry.id, block.reason));
    let mut warnings = some_of(lines, missing.len());
    if !missing.is_empty() {
        warnings.push(format!(
            "answers miss the spans of blocks that cannot be read: restore their files below {} from a \
             backup and restart, or leave them to retention",
            config.blocks_path().display()
        ));
    }
    warnings
}

/// What the start found and nothing but another start undoes.
fn of_start(recovery: &Recovery, config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let damaged = &recovery.manifests_damaged;
    let lines = damaged
        .iter()
        .map(|manifest| format!("{} cannot be read: {}", manifest.name, manifest.reason));
    warnings.extend(some_of(lines, damaged.len()));
    if !damaged.is_empty() {
        warnings.push(format!(
            "manifest {} counts in the place of newer ones that cannot be read, and the log was replayed \
             from there: nothing is to be done, but look after the disk",
            recovery.manifest
        ));
    }
    let wal = config.wal_path();
    if recovery.n_log_damage > 0 {
        warnings.push(format!(
            "{} stretches of the write-ahead log in {} could not be read: the process's log names each; \
             the spans in them are lost unless a backup of the folder has them",
            recovery.n_log_damage,
            wal.display()
        ));
    }
    if recovery.records_unreadable > 0 {
        warnings.push(format!(
            "{} records of the write-ahead log in {} are whole and could not be decoded: keep a copy of the \
             folder and report it, this is a bug or the log of a newer version",
            recovery.records_unreadable,
            wal.display()
        ));
    }
    warnings
}

/// Why new spans are answered 429, and what helps.
fn refusing(limit: &'static str, config: &Config) -> String {
    let blocks = config.blocks_path();
    match limit {
        limits::DISK_RESERVE_BYTES => format!(
            "new spans are refused: less than limits.disk_reserve_bytes is free on the volume of {}; free some \
             space, or lower retention.disk or retention.age",
            blocks.display()
        ),
        limits::WAITING_BLOCKS => format!(
            "new spans are refused: more first blocks wait for a merge than limits.waiting_blocks_max; it \
             passes when merging catches up, else the process's log says why merges fail, or the disk of {} is \
             too slow for what comes in",
            blocks.display()
        ),
        other => format!("new spans are refused: {other} is used up"),
    }
}

/// The first few, and how many there are more.
fn some_of(lines: impl Iterator<Item = String>, n: usize) -> Vec<String> {
    let mut some: Vec<String> = lines.take(NAMED_MAX).collect();
    if n > NAMED_MAX {
        some.push(format!("and {} more of these", n - NAMED_MAX));
    }
    some
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use tracewell_model::sink::SpanSink;
    use tracewell_model::source::{QueryContext, Snapshots};
    use tracewell_model::{Clock, Span, SpanId, TenantId, Trace, TraceId};
    use tracewell_store::StoreConfig;
    use tracewell_store::block::ParquetFormat;
    use tracewell_store::disk::Disk;
    use tracewell_store::manifest::chain::DamagedManifest;
    use tracewell_store::objects::DiskObjects;
    use tracewell_testkit::{FakeClock, RecordingDisk};

    use super::*;

    async fn open(disk: &Arc<RecordingDisk>, clock: &Arc<FakeClock>, random: u128) -> Arc<Store> {
        let mut config = StoreConfig::new("/data", random);
        config.retention_bytes = Some(u64::MAX);
        config.limits.disk_reserve_bytes = 0;
        config.wal.segment_bytes = 64 << 10;
        config.wal.n_spares = 0;
        let disk = Arc::clone(disk) as Arc<dyn Disk>;
        let objects = DiskObjects::open(Arc::clone(&disk), "/data/objects").unwrap();
        let (format, clock) = (Arc::new(ParquetFormat::default()), Arc::clone(clock));
        let clock = clock as Arc<dyn Clock>;
        let opened = Store::open(config, format, disk, Arc::new(objects), clock, Vec::new());
        opened.await.unwrap().0
    }

    async fn write_one(store: &Store, trace_id: TraceId, start_unix_nano: u64) {
        let span = Span {
            trace_id,
            span_id: SpanId([1; 8]),
            start_unix_nano,
            ..Span::default()
        };
        let spans = vec![span];
        let body = tracewell_wire::otlp::encode_traces(&[Trace { trace_id, spans }]);
        let decoded = tracewell_wire::otlp::decode_stored(TenantId::single(), body.into());
        store.write(decoded.unwrap().batch, 1).await.unwrap();
    }

    #[tokio::test]
    async fn a_block_that_cannot_be_read_is_named_until_retention_drops_it() {
        let clock = Arc::new(FakeClock::default());
        let disk = Arc::new(RecordingDisk::with_clock(
            Arc::clone(&clock) as Arc<dyn Clock>
        ));
        let store = open(&disk, &clock, 1).await;
        write_one(&store, TraceId([1; 16]), clock.now_unix_nano()).await;
        store.flush().await.unwrap();
        let config = Config::default();
        assert_eq!(warnings(&store, &config), Vec::<String>::new());
        drop(store);
        let disk = Arc::new(disk.after_kill());
        let is_of_block = |path: &&PathBuf| path.starts_with("/data/objects/tracewell/blocks");
        let files = disk.files();
        disk.remove(files.iter().find(is_of_block).unwrap())
            .unwrap();
        let store = open(&disk, &clock, 2).await;
        let text = warnings(&store, &config).join("\n");
        assert!(text.contains("cannot be read") && text.contains("leave them to retention"));
        clock.advance(Duration::from_secs(400 * 3_600));
        store.upkeep().await.unwrap();
        assert_eq!(warnings(&store, &config), Vec::<String>::new());
    }

    #[tokio::test]
    async fn damage_that_a_query_meets_is_named() {
        let clock = Arc::new(FakeClock::default());
        let disk = Arc::new(RecordingDisk::with_clock(
            Arc::clone(&clock) as Arc<dyn Clock>
        ));
        let store = open(&disk, &clock, 1).await;
        let id = TraceId([1; 16]);
        write_one(&store, id, clock.now_unix_nano()).await;
        store.flush().await.unwrap();
        let config = Config::default();
        assert_eq!(warnings(&store, &config), Vec::<String>::new());
        let files = disk.files();
        let is_of_spans = |path: &&PathBuf| path.ends_with("spans.parquet");
        let spans = files.iter().find(is_of_spans).unwrap();
        let bytes = disk.metadata(spans).unwrap().len;
        for byte in (0..bytes).step_by(16) {
            disk.flip_bit(spans, 8 * byte).unwrap();
        }
        let tenant = TenantId::single();
        for _ in 0..2 {
            let snapshot = store.pin();
            let (ids, ctx) = ([id], QueryContext::unlimited());
            let fetched = snapshot.sources[0].fetch(&tenant, &ids, ctx);
            fetched.await.unwrap_err();
        }
        let text = warnings(&store, &config);
        assert_eq!(text.len(), 2, "{text:?}");
        assert!(text[0].contains("is damaged, answers miss spans of it"));
        assert!(text[0].contains("spans.parquet") && text[1].contains("block verify"));
    }

    #[test]
    fn whatever_the_start_found_is_named_with_what_to_do() {
        let config = Config::default();
        assert!(of_start(&Recovery::default(), &config).is_empty());
        let manifest = DamagedManifest {
            name: "manifest/7".to_owned(),
            reason: "checksum".to_owned(),
        };
        let recovery = Recovery {
            manifest: 6,
            manifests_damaged: vec![manifest; NAMED_MAX + 2],
            n_log_damage: 3,
            records_unreadable: 5,
            ..Recovery::default()
        };
        let text = of_start(&recovery, &config).join("\n");
        for words in [
            "manifest/7 cannot be read: checksum",
            "and 2 more of these",
            "manifest 6 counts",
            "3 stretches of the write-ahead log",
            "5 records of the write-ahead log",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[test]
    fn a_refusal_names_the_key_that_helps() {
        let config = Config::default();
        for limit in [limits::DISK_RESERVE_BYTES, limits::WAITING_BLOCKS] {
            assert!(refusing(limit, &config).contains(limit), "{limit}");
        }
    }
}
