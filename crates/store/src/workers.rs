//! The threads that cut, merge and keep the house: started and ended by the binary.
//!
//! Each is a loop over one step of the store on a thread of its own, so that no runtime thread does
//! work of theirs; the runtime is lent for timers and the object store. A step that fails is counted,
//! logged and tried again, later each time. One that panics poisons the store: ingest stops with the
//! reason, queries go on. What this is not: a runtime.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::error::{StoreError, StoreResult};
use crate::metrics::StoreMetrics;
use crate::store::Store;
use crate::threads;

/// How long a worker rests when nothing wakes it.
const REST: Duration = Duration::from_secs(1);
/// The longest wait after failures in a row.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often the end of threads is looked for while stopping.
const JOIN_POLL: Duration = Duration::from_millis(5);

/// Work that has to be done, not started yet.
#[derive(Debug)]
#[must_use = "without its workers a store takes spans until its head is full"]
pub struct Workers {
    store: Arc<Store>,
}

/// Workers that run. Dropping it asks them to end and does not wait.
#[derive(Debug)]
pub struct RunningWorkers {
    cancel: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Cut,
    Merge,
    Upkeep,
    Bucket,
    /// Beside [`Work::Merge`], so that no first block waits for the bucket.
    BucketMerge,
}

// === impl Workers ===

impl Workers {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Starts the threads. They use timers and I/O of the runtime behind the handle.
    pub fn start(self, runtime: &Handle) -> std::io::Result<RunningWorkers> {
        let cancel = CancellationToken::new();
        let mut running = RunningWorkers {
            cancel: cancel.clone(),
            threads: Vec::new(),
        };
        let bucket = self.store.core.bucket.iter();
        let bucket = bucket.flat_map(|_| [Work::Bucket, Work::BucketMerge]);
        for work in [Work::Cut, Work::Merge, Work::Upkeep]
            .into_iter()
            .chain(bucket)
        {
            let (store, runtime) = (Arc::clone(&self.store), runtime.clone());
            let cancel = cancel.clone();
            let work_on = move || runtime.block_on(run(&store, work, &cancel));
            running.threads.push(threads::start(work.name(), work_on)?);
        }
        Ok(running)
    }
}

// === impl RunningWorkers ===

impl RunningWorkers {
    /// Asks the workers to end and waits for those that do within the time. What a late one does is
    /// as safe as before a crash. True if all have ended.
    pub async fn stop(mut self, within: Duration) -> bool {
        self.cancel.cancel();
        let all_ended = async {
            while self.threads.iter().any(|thread| !thread.is_finished()) {
                tokio::time::sleep(JOIN_POLL).await;
            }
        };
        let in_time = tokio::time::timeout(within, all_ended).await.is_ok();
        if in_time {
            for thread in self.threads.drain(..) {
                if thread.join().is_err() {
                    tracing::error!("a worker of the store panicked outside of its guard");
                }
            }
        }
        in_time
    }
}

impl Drop for RunningWorkers {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

// === impl Work ===

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Cut => "store-cut",
            Self::Merge => "store-merge",
            Self::Upkeep => "store-upkeep",
            Self::Bucket => "store-bucket",
            // The system shows 15 characters of it.
            Self::BucketMerge => "bucket-merge",
        }
    }

    /// One step. True if there may be more to do at once.
    async fn step(self, store: &Store) -> StoreResult<bool> {
        match self {
            Self::Cut => {
                store.core.freeze_if_old();
                store.cut_next().await
            }
            Self::Merge => store.merge_here(false).await,
            Self::Upkeep => store.upkeep().await.map(|()| false),
            Self::Bucket => store.tend_bucket(false).await,
            Self::BucketMerge => store.merge_in_bucket(false).await,
        }
    }

    /// Steps that others call too count their failures themselves.
    fn count_failure(self, metrics: &StoreMetrics) {
        match self {
            Self::Cut | Self::Merge | Self::Bucket | Self::BucketMerge => {}
            Self::Upkeep => StoreMetrics::add(&metrics.upkeeps_failed, 1),
        }
    }

    /// That the bucket fails is told once, when it begins.
    fn tell_failure(self, error: &StoreError) {
        let worker = self.name();
        match self {
            Self::Bucket => {
                tracing::debug!(worker, %error, "work of the store failed, trying again")
            }
            Self::Cut | Self::Merge | Self::Upkeep | Self::BucketMerge => {
                tracing::error!(worker, %error, "work of the store failed, trying again");
            }
        }
    }

    async fn wait(self, store: &Store) {
        let wanted = match self {
            Self::Cut => &store.core.cut_wanted,
            Self::Merge => &store.core.merge_wanted,
            Self::Upkeep => &store.core.upkeep_wanted,
            Self::Bucket => &store.core.bucket_wanted,
            // What there is to merge comes of uploads and of time.
            Self::BucketMerge => return tokio::time::sleep(REST).await,
        };
        // Nobody wakes it for age alone.
        drop(tokio::time::timeout(REST, wanted.notified()).await);
    }
}

async fn run(store: &Store, work: Work, cancel: &CancellationToken) {
    let mut n_failed = 0u32;
    while !cancel.is_cancelled() {
        let step = AssertUnwindSafe(work.step(store)).catch_unwind().await;
        let rest = match step {
            Ok(Ok(more)) => {
                n_failed = 0;
                if more {
                    continue;
                }
                None
            }
            Ok(Err(error)) => {
                work.count_failure(&store.core.metrics);
                work.tell_failure(&error);
                n_failed += 1;
                Some(RETRY_MAX.min(REST * 2u32.saturating_pow(n_failed.min(5) - 1)))
            }
            Err(panic) => {
                let what = panic_text(&*panic);
                store
                    .core
                    .poison(&format!("{} panicked: {what}", work.name()));
                return;
            }
        };
        let wait = async {
            match rest {
                Some(rest) => tokio::time::sleep(rest).await,
                None => work.wait(store).await,
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = wait => {}
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}
