//! The store as the configuration wants it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use object_store::ObjectStore;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tracewell_model::Clock;
use tracewell_store::block::{BlockCache, ParquetFormat};
use tracewell_store::codec::BlockFormat;
use tracewell_store::disk::{Disk, DiskLock, LocalDisk};
use tracewell_store::merge::plan::MergePolicy;
use tracewell_store::objects::DiskObjects;
use tracewell_store::wal::Durability;
use tracewell_store::{Store, StoreConfig, Workers};

use super::folder::LOCK;
use super::{bucket, folder};
use crate::config;
use crate::config::load::Loaded;
use crate::config::values::DiskShare;

/// An open store, its workers, and what keeps other processes away for as long as it is held.
pub(super) struct Opened {
    pub(super) store: Arc<Store>,
    pub(super) workers: Workers,
    /// What queries keep of blocks.
    pub(super) cache: Arc<BlockCache>,
    pub(super) locks: Vec<Box<dyn DiskLock>>,
}

pub(super) async fn open(loaded: &Loaded, clock: Arc<dyn Clock>) -> Result<Opened> {
    let config = &loaded.config;
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let mut locks = Vec::new();
    let blocks = config.blocks_path();
    let wal = config.wal_path();
    for (path, key) in [(&blocks, "storage.path"), (&wal, "storage.wal_path")] {
        locks.push(folder::claim(&*disk, path, key)?);
    }
    let objects = DiskObjects::open(Arc::clone(&disk), &blocks)
        .with_context(|| format!("opening {}, see storage.path", blocks.display()))?;
    let objects: Arc<dyn ObjectStore> = Arc::new(objects);
    let cache = Arc::new(BlockCache::new(config.limits.cache_bytes()));
    let format: Arc<dyn BlockFormat> = Arc::new(ParquetFormat {
        cache: Arc::clone(&cache),
        // As much as the disk syncs at a time.
        part_bytes: 1 << 20,
    });
    let random = SmallRng::try_from_os_rng()
        .context("asking the system for random numbers")?
        .random();
    let mut store = StoreConfig::new(&blocks, random);
    // The folder is Tracewell's own already.
    store.prefix = object_store::path::Path::default();
    store.limits = config.limits.clone();
    store.durability = match config.storage.durability {
        config::Durability::Sync => Durability::Fsync,
        config::Durability::Os => Durability::Os,
    };
    let retention = &loaded.tenant_limits.retention;
    store.retention_ages.clone_from(retention);
    store.retention_bytes = Some(share(config.retention.disk, &*disk, &blocks)?);
    store.retention_is_share = matches!(config.retention.disk, DiskShare::Percent(_));
    store.max_block_duration = config.storage.max_block_duration;
    store.merge = MergePolicy::new(config.limits.merge_bytes(), format.version());
    for folder in [&blocks, &wal] {
        let volume = disk.space(folder).with_context(|| {
            format!("asking for the size of the volume of {}", folder.display())
        })?;
        store.fit(volume);
    }
    store.beside = vec![LOCK.to_owned(), bucket::CACHE.to_owned()];
    store.bucket = bucket::open(loaded, &*disk)?;
    let store_bucket = store
        .bucket
        .as_ref()
        .map(|bucket| bucket.objects.to_string());
    // A log elsewhere leaves no name of its own beside the blocks.
    if wal.parent() == Some(&blocks) {
        let name = wal.file_name().map(|name| name.to_string_lossy());
        store.beside.extend(name.map(|name| name.into_owned()));
    }
    store.wal.dir = wal;
    let opened = Store::open(store, format, disk, objects, clock, Vec::new()).await;
    let (store, workers) = opened.map_err(|error| match store_bucket {
        Some(name) => bucket::explain(error, &name),
        None => error.into(),
    })?;
    Ok(Opened {
        store,
        workers,
        cache,
        locks,
    })
}

pub(super) fn share(share: DiskShare, disk: &dyn Disk, folder: &Path) -> Result<u64> {
    match share {
        DiskShare::Bytes(bytes) => Ok(bytes),
        DiskShare::Percent(percent) => {
            let space = disk.space(folder).with_context(|| {
                format!("asking for the size of the volume of {}", folder.display())
            })?;
            Ok(space.total / 100 * u64::from(percent))
        }
    }
}
