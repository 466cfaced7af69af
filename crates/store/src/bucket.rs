//! An object store behind the local disk: where blocks go to stay.
//!
//! The bucket has a chain of manifests of its own ([`chain`]) for what is uploaded. A block of level 1 or
//! above is uploaded, committed in the bucket, and then leaves the local manifest; from then on it is read
//! through pieces on the local disk ([`cache`]). Every process that is given the bucket sees all of its
//! blocks. One of them, the keeper that the manifest names, merges them and retires them; that it is one
//! spares work, and that each change is made on top of the newest manifest is what keeps them right.
//!
//! A bucket that fails, hangs or is away stops nothing: blocks wait on the local disk, acks go on, and
//! answers that miss its blocks say so. What this is not: a place for the log or for first blocks.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;

use crate::disk::Disk;
use crate::error::{StoreError, StoreResult};
use crate::manifest::{BlockEntry, BlockId, Keeper, Manifest};
use crate::metrics::StoreMetrics;
use crate::recovery::share_again;
use crate::snapshot::Home;
use crate::store::Store;

pub mod cache;
pub mod chain;
mod keep;
mod remote;
mod upload;
mod view;

use cache::{CacheStats, CachedObjects};
use chain::SharedChain;
pub(crate) use remote::in_time;

/// How often others' commits are looked for: what another process uploads is seen within this time.
pub const REFRESH_NANO: u64 = 10 * NANOS_PER_SECOND;
/// A start waits no longer to learn what others keep in the bucket.
const FOREIGN_MAX: Duration = Duration::from_secs(2);
/// A keeper that commits nothing for so long is one no more.
pub const KEEPER_NANO: u64 = 600 * NANOS_PER_SECOND;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// An object store, and how it is to be used.
#[derive(Debug, Clone)]
pub struct BucketConfig {
    pub objects: Arc<dyn ObjectStore>,
    /// Tracewell's own folder in it.
    pub prefix: Path,
    /// Where pieces of its objects are kept.
    pub cache_dir: PathBuf,
    pub cache_bytes: u64,
    /// What is durable here for so long lies in the bucket too, if the bucket takes it.
    pub upload_after: Duration,
    /// How long the files of blocks that are replaced stay: others may read them.
    pub replaced_kept: Duration,
}

/// The bucket of a store.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) config: BucketConfig,
    pub(crate) cached: CachedObjects,
    /// The same, as readers take it.
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// Names this process in manifests: its log, so that it is the keeper still after a crash. A log has one
    /// process at a time.
    process: String,
    /// `None` until the bucket has been read for the first time.
    chain: tokio::sync::Mutex<Option<SharedChain>>,
    /// One merge there at a time, whoever asks for it.
    pub(crate) merging: tokio::sync::Mutex<()>,
    /// Who holds it brings the view in line with the manifest.
    swapping: tokio::sync::Mutex<()>,
    /// One round at a time, whoever asks for it.
    rounds: tokio::sync::Mutex<Rounds>,
    contact: Mutex<Contact>,
    /// What a start found beside Tracewell's own folder: objects and folders, not what lies in those.
    n_foreign: Mutex<Option<u64>>,
}

/// When what is done now and then was done, on the monotonic clock.
#[derive(Debug, Default)]
struct Rounds {
    refreshed_at: Option<u64>,
    tidied_at: Option<u64>,
    swept_at: Option<u64>,
    /// Deleted, and named by manifests that are kept.
    deleted: BTreeSet<BlockId>,
}

/// How it stands with the bucket.
#[derive(Debug, Clone, Default)]
pub struct Contact {
    /// Number of the newest manifest that was read; `None` before the first.
    pub manifest: Option<u64>,
    /// Who may merge and retire there.
    pub keeper: Option<Keeper>,
    pub is_keeper: bool,
    /// Why the last round failed, if it did, and since when rounds fail (monotonic).
    pub failing: Option<(String, u64)>,
}

/// The bucket in numbers.
#[derive(Debug, Clone)]
pub struct BucketStatus {
    pub name: String,
    pub contact: Contact,
    pub cache: CacheStats,
    /// Blocks that wait to be uploaded, and their bytes.
    pub waiting: (u64, u64),
    /// How long ago the oldest span arrived that lies on this machine alone.
    pub oldest_waiting_nano: Option<u64>,
    /// How long it has failed, if it does.
    pub failing_nano: Option<u64>,
    /// Objects and folders beside Tracewell's own, as the start found them; `None` if it did not get to know.
    pub n_foreign: Option<u64>,
}

// === impl Bucket ===

impl Bucket {
    pub(crate) fn open(
        config: BucketConfig,
        disk: Arc<dyn Disk>,
        reserve_bytes: u64,
        log: &str,
        metrics: Arc<StoreMetrics>,
    ) -> StoreResult<Self> {
        let cached = CachedObjects::open(
            Arc::clone(&config.objects),
            disk,
            config.cache_dir.clone(),
            (config.cache_bytes, reserve_bytes.saturating_mul(2)),
            metrics,
        )
        .map_err(|error| StoreError::Log {
            reason: format!("the cache in {}: {error}", config.cache_dir.display()),
        })?;
        Ok(Self {
            objects: Arc::new(cached.clone()),
            cached,
            config,
            process: log.to_owned(),
            chain: tokio::sync::Mutex::default(),
            merging: tokio::sync::Mutex::default(),
            swapping: tokio::sync::Mutex::default(),
            rounds: tokio::sync::Mutex::default(),
            contact: Mutex::default(),
            n_foreign: Mutex::default(),
        })
    }

    /// Where the objects of a block lie in the bucket.
    pub(crate) fn block_folder(&self, entry: &BlockEntry) -> Path {
        self.blocks_folder().join(entry.id.to_string())
    }

    fn blocks_folder(&self) -> Path {
        self.config.prefix.clone().join("blocks")
    }

    /// Reads the newest manifest, or the first time opens the chain.
    pub(crate) async fn look(&self, monotonic: u64) -> StoreResult<()> {
        let mut slot = self.chain.lock().await;
        let chain = match &mut *slot {
            Some(chain) => {
                chain.refresh(monotonic).await?;
                chain
            }
            empty @ None => {
                let objects = Arc::clone(&self.config.objects);
                let opened = SharedChain::open(objects, &self.config.prefix, monotonic).await?;
                empty.insert(opened)
            }
        };
        self.met(chain.newest());
        Ok(())
    }

    /// Counts what lies beside Tracewell's own folder and in it, a level deep each: a Tempo's folder of a
    /// tenant may hold millions of objects.
    async fn count_foreign(&self) {
        let own = &self.config.prefix;
        let mut beside: Vec<_> = own.parts().collect();
        let folder = beside.pop();
        let beside: Path = beside.into_iter().collect();
        let mine = ["blocks", "manifest"].map(|name| own.clone().join(name));
        let is_own = |path: &Path| *path == *own || mine.contains(path);
        let mut n_foreign = 0;
        for place in [folder.map(|_| beside), Some(own.clone())]
            .into_iter()
            .flatten()
        {
            let listing = self.config.objects.list_with_delimiter(Some(&place));
            let Some(Ok(listed)) = in_time(FOREIGN_MAX, listing).await else {
                return;
            };
            let folders = listed.common_prefixes.iter();
            n_foreign += folders.filter(|path| !is_own(path)).count();
            n_foreign += listed.objects.len();
        }
        if n_foreign > 0 {
            tracing::warn!(
                objects_and_folders = n_foreign,
                "what lies in the bucket beside Tracewell's own is left alone"
            );
        }
        *self.n_foreign.lock() = u64::try_from(n_foreign).ok();
    }

    fn met(&self, manifest: &Manifest) {
        let mut contact = self.contact.lock();
        contact.manifest = Some(manifest.number);
        contact.keeper.clone_from(&manifest.keeper);
        let keeper = manifest.keeper.as_ref();
        contact.is_keeper = keeper.is_some_and(|keeper| keeper.process == self.process);
    }

    pub(crate) fn contact(&self) -> Contact {
        self.contact.lock().clone()
    }

    /// Remembers how a round went, and says so where that changes.
    fn went(&self, result: &StoreResult<bool>, monotonic: u64) {
        let mut contact = self.contact.lock();
        match (result, &mut contact.failing) {
            (Ok(_), failing) => {
                if let Some((_, since)) = failing.take() {
                    let seconds = monotonic.saturating_sub(since) / NANOS_PER_SECOND;
                    tracing::info!(seconds, "the bucket answers again");
                }
            }
            (Err(error), Some((reason, _))) => *reason = error.to_string(),
            (Err(error), failing @ None) => {
                tracing::error!(%error, "the bucket fails; blocks wait on the local disk");
                *failing = Some((error.to_string(), monotonic));
            }
        }
    }

    /// Until the guard is dropped nobody else swaps blocks of the bucket.
    pub(crate) async fn begin_swap(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.swapping.lock().await
    }

    /// True if this process may merge and retire in the bucket: it is the keeper, or nobody is.
    fn may_keep(&self, manifest: &Manifest, unix: u64) -> bool {
        let keeper = manifest.keeper.as_ref();
        keeper.is_none_or(|keeper| keeper.process == self.process || keeper.until_unix_nano <= unix)
    }

    /// Makes this process the keeper where it may be.
    fn kept(&self, manifest: &mut Manifest, unix: u64) {
        if self.may_keep(manifest, unix) {
            manifest.keeper = Some(Keeper {
                process: self.process.clone(),
                until_unix_nano: unix.saturating_add(KEEPER_NANO),
            });
        }
    }
}

impl Store {
    /// Looks into the bucket for the first time, if there is one. A bucket that does not answer is no
    /// reason not to start; one that says no is.
    pub(crate) async fn look_at_bucket(&self) -> StoreResult<()> {
        let Some(bucket) = &self.core.bucket else {
            return Ok(());
        };
        let now = self.core.clock.monotonic_nano();
        let first = async {
            bucket.look(now).await?;
            self.follow_bucket(bucket).await.map(|()| false)
        };
        let result = remote::patiently(first).await;
        bucket.went(&result, now);
        if result.is_ok() {
            bucket.count_foreign().await;
        }
        let blocks = self.core.blocks.load();
        share_again(&blocks, self.core.clock.now_unix_nano()).await;
        match result {
            Err(error) if error.is_refused() || error.is_no_bucket() => Err(error),
            Err(error @ StoreError::Manifest { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// One round with the bucket, if there is one: what others did, uploads that are due, and what a
    /// keeper does. True if there may be more to do at once.
    pub async fn tend_bucket(&self, hurry: bool) -> StoreResult<bool> {
        let Some(bucket) = &self.core.bucket else {
            return Ok(false);
        };
        let mut rounds = bucket.rounds.lock().await;
        let result = self.bucket_round(bucket, &mut rounds, hurry).await;
        bucket.went(&result, self.core.clock.monotonic_nano());
        if result.is_err() {
            StoreMetrics::add(&self.core.metrics.bucket_rounds_failed, 1);
        }
        result
    }

    async fn bucket_round(
        &self,
        bucket: &Bucket,
        rounds: &mut Rounds,
        hurry: bool,
    ) -> StoreResult<bool> {
        let now = self.core.clock.monotonic_nano();
        let is_due =
            |at: Option<u64>, every: u64| at.is_none_or(|at| now.saturating_sub(at) >= every);
        if hurry || is_due(rounds.refreshed_at, REFRESH_NANO) {
            bucket.look(now).await?;
            self.follow_bucket(bucket).await?;
            rounds.refreshed_at = Some(now);
        }
        if self.upload_due(bucket, hurry).await? {
            return Ok(true);
        }
        if hurry || is_due(rounds.tidied_at, 6 * REFRESH_NANO) {
            self.retain_in_bucket(bucket).await?;
            self.delete_in_bucket(bucket, rounds).await?;
            rounds.tidied_at = Some(now);
        }
        if is_due(rounds.swept_at, crate::upkeep::SWEEP_EVERY_NANO) {
            self.sweep_bucket(bucket).await?;
            rounds.swept_at = Some(now);
        }
        Ok(false)
    }

    pub(crate) fn bucket_status(&self) -> Option<BucketStatus> {
        let bucket = self.core.bucket.as_ref()?;
        let blocks = self.core.blocks.load();
        let here = blocks.live.iter().filter(|block| block.home == Home::Local);
        let waiting = here.clone().filter(|block| block.entry.level > 0);
        let waiting = waiting.fold((0, 0), |(n, bytes), block| {
            (n + 1, bytes + block.entry.bytes)
        });
        let of_blocks = here.map(|block| block.entry.arrival.0).min();
        let of_head = self.core.arrivals.lock().oldest();
        let oldest = [of_blocks, of_head].into_iter().flatten().min();
        let (now, contact) = (self.believed_now(), bucket.contact());
        Some(BucketStatus {
            name: bucket.config.objects.to_string(),
            failing_nano: contact
                .failing
                .as_ref()
                .map(|(_, since)| self.core.clock.monotonic_nano().saturating_sub(*since)),
            contact,
            n_foreign: *bucket.n_foreign.lock(),
            cache: bucket.cached.stats(),
            waiting,
            oldest_waiting_nano: oldest.map(|arrival| now.saturating_sub(arrival)),
        })
    }
}
