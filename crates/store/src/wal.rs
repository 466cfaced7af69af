//! The write-ahead log: a request is acknowledged when its record is durable here.
//!
//! [`Wal::submit`] puts a record into a bounded queue and returns a future. One thread takes all that
//! waits, writes it in one call, syncs once, hands every record in order to the commit hook, and then
//! resolves the futures. So a sync is shared by all that came while the one before it ran, and no
//! runtime thread ever blocks. With a record travels a payload of the caller's choice (the decoded
//! batch), so that the hook need not decode what was decoded before.
//!
//! After a start, [`Wal::read_from`] replays: every record that is whole, and every loss with its
//! place. It may also be called while the log is written; it ends with what was durable when it began.
//!
//! It is not a place where anything is decided: a record holds what was accepted, and repeats are
//! recognised by its `request_hash` in the store. After a failed sync the outcome of a record is
//! unknown until the next group is durable, which voids it; a power cut before that may bring it back, and
//! its hash says what it is.
//!
//! Limits: [`WalOptions`]. The format, and how damage is read: docs/format/wal.md.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tracewell_model::Clock;
use tracewell_model::limits::{LOG_BYTES, LOG_QUEUE_BYTES, LOG_RECORD_BYTES};
use tracewell_model::sink::{LogDamage, LogPosition, LogRecord, WriteError};

use crate::disk::{Disk, create_dir_durably};
use crate::threads;

mod format;
mod mark;
mod reader;
mod segment;
mod spares;
mod window;
mod writer;

#[cfg(test)]
mod tests;

pub use reader::LogReader;

use mark::Mark;
use segment::{Found, Segment};
use spares::Spares;
use writer::{Request, Writer};

/// How long a sender should wait when a queue is full: a few groups are written in that time.
const QUEUE_FULL_RETRY: Duration = Duration::from_secs(1);

/// Reads the bytes of one segment file, whatever they are: for inspection and for fuzzing.
pub fn read_bytes(
    bytes: &[u8],
) -> impl Iterator<Item = Result<(LogPosition, LogRecord), LogDamage>> + '_ {
    LogReader::of_bytes(bytes)
}

/// What an acknowledgement promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// The record is on the disk: it survives a power cut.
    #[default]
    Fsync,
    /// The record is with the operating system: it survives the end of this process alone.
    Os,
}

/// The shape of a log. The defaults are right for a server; tests take smaller ones.
#[derive(Debug, Clone)]
pub struct WalOptions {
    /// The directory; created if it is not there. It belongs to the log alone.
    pub dir: PathBuf,
    /// The id that the log gets if it is new: a random number. See [`Wal::log_id`].
    pub new_log_id: u128,
    /// No record gets a smaller number: the end of what manifests cover.
    pub next_at_least: LogPosition,
    pub durability: Durability,
    /// 64 MiB hold 190,000 spans of 356 bytes, two generations of the head.
    pub segment_bytes: u64,
    /// What one sync may wait for: 4 MiB take 4 ms at 1 GB/s.
    pub group_bytes_max: u64,
    /// Three times the largest request.
    pub record_bytes_max: u64,
    /// Records that wait to be written: the budget of requests in flight.
    pub queue_bytes_max: u64,
    /// All segments with records: sixteen times the head.
    pub log_bytes_max: u64,
    /// A file holds nothing older: it is written from its beginning again, and when that was so long
    /// ago the log goes on in another one. With the time of two restarts in between it is gone
    /// within a day, as retention promises.
    pub file_age_max: Duration,
    /// Free space that files are not filled into beforehand.
    pub reserve_bytes: u64,
    /// Segments filled beforehand. One lasts for a second at 64 MB/s, which is as long as filling takes.
    /// While a quarter of the volume is free, four times as many are kept ready of those that were let go.
    pub n_spares: usize,
}

/// The write-ahead log. Dropping it writes what waits, then ends its threads.
pub struct Wal<P: Send + 'static = ()> {
    shared: Arc<Shared<P>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A record that is durable, on its way to the head.
#[derive(Debug)]
pub struct Committed<P> {
    pub position: LogPosition,
    pub record: LogRecord,
    /// What came with it to [`Wal::submit`].
    pub payload: P,
}

/// Resolves when the record is durable and the commit hook has seen it. Dropping it cancels nothing.
#[derive(Debug)]
#[must_use = "the outcome of a write is known only here"]
pub struct Commit(oneshot::Receiver<Result<LogPosition, WriteError>>);

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    #[error("{action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{file} has version {seen} of the log, this program reads up to {max}")]
    Version { file: PathBuf, seen: u32, max: u32 },
    #[error("{file} is of another log than the files beside it")]
    TwoLogs { file: PathBuf },
    #[error("a thread of the write-ahead log does not start: {source}")]
    Thread { source: io::Error },
}

/// Whether the log takes records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalState {
    Running,
    /// Nothing is taken any more; what is there can be read.
    Stopped {
        reason: String,
    },
}

/// Counters since the log was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Groups written; each is one sync.
    pub groups: u64,
    pub records: u64,
    /// Bytes written, headers and padding included.
    pub bytes: u64,
    /// Groups whose write or sync failed, or for which there was no file.
    pub failed_groups: u64,
    /// Time spent in syncs.
    pub sync_nanos: u64,
    /// Bytes of all segments with records.
    pub log_bytes: u64,
    /// Bytes that wait to be written.
    pub queue_bytes: u64,
    /// Files that are ready for use next.
    pub spares: u64,
    /// Files that are made ready or removed, or wait for it.
    pub spares_in_work: u64,
    /// Bytes of both kinds, at most.
    pub spare_bytes: u64,
    /// Files that were taken again after their records were forgotten.
    pub files_reused: u64,
}

struct Shared<P> {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: WalOptions,
    log_id: u128,
    /// Numbers that were left out when the log was opened.
    opened_void: Range<u64>,
    queue: Mutex<Queue<P>>,
    wake: Condvar,
    /// In the order of the log; the last may be the active one.
    segments: Mutex<Vec<Arc<Segment>>>,
    spares: Spares,
    /// One more than the number of the last durable record.
    committed: AtomicU64,
    stats: Counters,
}

#[derive(Debug)]
struct Queue<P> {
    requests: VecDeque<Request<P>>,
    bytes: u64,
    stopping: bool,
    /// The log is to go on in another segment.
    roll: bool,
    /// Why nothing is taken any more.
    stopped_for: Option<String>,
}

#[derive(Debug, Default)]
struct Counters {
    groups: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    failed_groups: AtomicU64,
    sync_nanos: AtomicU64,
}

// === impl WalOptions ===

impl WalOptions {
    pub fn new(dir: impl Into<PathBuf>, new_log_id: u128) -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            dir: dir.into(),
            new_log_id,
            next_at_least: LogPosition(0),
            durability: Durability::Fsync,
            segment_bytes: 64 * MIB,
            group_bytes_max: 4 * MIB,
            record_bytes_max: 64 * MIB,
            queue_bytes_max: 32 * MIB,
            log_bytes_max: 2_048 * MIB,
            file_age_max: Duration::from_secs(6 * 3_600),
            reserve_bytes: 0,
            n_spares: 1,
        }
    }
}

// === impl Wal ===

impl<P: Send + 'static> Wal<P> {
    /// Opens a log or makes a new one. Reads headers, not records: a start costs little.
    ///
    /// The hook runs on the log's thread, once for each record of this process, in order, after the
    /// record is durable and before its [`Commit`] resolves. While it runs nothing is written: it
    /// should hand on and return. If it panics the log stops. Records from before the start do not come
    /// to it: ask [`Wal::read_from`] for them.
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: WalOptions,
        hook: impl FnMut(Committed<P>) + Send + 'static,
    ) -> Result<Self, WalError> {
        let dir = &options.dir;
        create_dir_durably(&*disk, dir).map_err(WalError::io("create", dir))?;
        let found = Found::scan(&*disk, dir, &*clock)?;
        let mark = Mark::open(Arc::clone(&disk), dir, found.log_id, clock.monotonic_nano());
        let log_id = found.log_id.or(mark.log_id()).unwrap_or(options.new_log_id);
        // What is noted and not there is lost; numbers behind that were never given.
        let given = found.end.max(mark.next());
        let next = given.max(found.next).max(options.next_at_least.0);
        let shared = Arc::new(Shared {
            log_id,
            opened_void: given..next,
            queue: Mutex::default(),
            wake: Condvar::new(),
            segments: Mutex::new(found.segments),
            spares: Spares::new(
                Arc::clone(&disk),
                Arc::clone(&clock),
                options.clone(),
                log_id,
                found.counter,
                found.unused,
            ),
            committed: AtomicU64::new(next),
            stats: Counters::default(),
            disk,
            clock,
            options,
        });
        let wal = Self {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
        };
        let mut writer = Writer::new(Arc::clone(&shared), Box::new(hook), mark, given..next);
        wal.start("wal-writer", move || writer.run())?;
        wal.start("wal-spares", move || shared.spares.run())?;
        Ok(wal)
    }

    /// Queues a record. An error here means that nothing of it was written.
    pub fn submit(&self, record: LogRecord, payload: P) -> Result<Commit, WriteError> {
        let options = &self.shared.options;
        let bytes = record.payload.len() as u64;
        let max = options.record_bytes_max.min(u64::from(u32::MAX));
        if bytes > max {
            return Err(WriteError::TooLarge {
                limit: LOG_RECORD_BYTES,
                seen: bytes,
                max,
            });
        }
        if self.shared.log_bytes() > options.log_bytes_max {
            return Err(busy(LOG_BYTES));
        }
        let (ack, commit) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        if let Some(reason) = &queue.stopped_for {
            return Err(WriteError::Halted {
                reason: reason.clone(),
            });
        }
        if queue.stopping {
            return Err(WriteError::Stopping);
        }
        // A record larger than the queue may still go alone.
        if queue.bytes > 0 && queue.bytes + bytes > options.queue_bytes_max {
            return Err(busy(LOG_QUEUE_BYTES));
        }
        queue.bytes += bytes;
        queue.requests.push_back(Request {
            record,
            payload,
            ack,
        });
        self.shared.wake.notify_one();
        Ok(Commit(commit))
    }

    /// The records from a position on that are durable now, oldest first, and the damage between.
    ///
    /// # Hidden contract
    /// Nothing from `from` on was forgotten: what is missing there is reported as lost.
    pub fn read_from(&self, from: LogPosition) -> LogReader<'static> {
        let shared = &self.shared;
        // In this order: what is committed now lies in the segments that are there then.
        let end = shared.committed.load(Ordering::Acquire);
        let segments = shared.segments.lock().clone();
        LogReader::new(segments, from.0.min(end)..end, shared.opened_void.clone())
    }

    /// Everything before the position may go: files that hold nothing else are used again. Returns at
    /// once. The last segment with a durable header stays, so that numbers outlive records.
    pub fn forget(&self, up_to: LogPosition) {
        let mut segments = self.shared.segments.lock();
        let Some(last) = segments.iter().rposition(|segment| segment.holds_place()) else {
            return;
        };
        let n_old = segments
            .iter()
            .take(last)
            .take_while(|segment| segment.end() <= up_to.0)
            .count();
        let old: Vec<_> = segments.drain(..n_old).collect();
        drop(segments);
        for segment in old {
            self.shared.spares.recycle(segment);
        }
    }

    /// Sees to it that no file holds what was written longer ago than `file_age_max`, as far as it may
    /// be forgotten. To be called now and then; returns at once. True if there are old segments that
    /// [`Wal::forget`] has yet to let go.
    pub fn expire(&self) -> bool {
        let shared = &self.shared;
        shared.spares.expire();
        let segments = shared.segments.lock();
        let is_old = |segment: &Arc<Segment>| shared.spares.is_old(segment.since);
        let roll = segments.last().is_some_and(is_old);
        let forget = segments.iter().rev().skip(1).any(is_old);
        drop(segments);
        if roll {
            shared.queue.lock().roll = true;
            shared.wake.notify_one();
        }
        forget
    }

    /// The position that the next durable record gets at least.
    pub fn next_position(&self) -> LogPosition {
        LogPosition(self.shared.committed.load(Ordering::Acquire))
    }

    /// Names this log for ever, in its files and in the manifests that cover ranges of it.
    pub fn log_id(&self) -> u128 {
        self.shared.log_id
    }

    pub fn state(&self) -> WalState {
        self.shared.state()
    }

    pub fn stats(&self) -> WalStats {
        let counters = &self.shared.stats;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let spares = self.shared.spares.counts();
        WalStats {
            groups: get(&counters.groups),
            records: get(&counters.records),
            bytes: get(&counters.bytes),
            failed_groups: get(&counters.failed_groups),
            sync_nanos: get(&counters.sync_nanos),
            log_bytes: self.shared.log_bytes(),
            queue_bytes: self.shared.queue.lock().bytes,
            spares: spares.ready,
            spares_in_work: spares.in_work,
            spare_bytes: spares.bytes,
            files_reused: spares.reused,
        }
    }

    /// Takes nothing more, writes what waits, and returns when the threads have ended. Blocks for
    /// a sync or two. A second call does nothing.
    pub fn stop(&self) {
        self.shared.queue.lock().stopping = true;
        self.shared.wake.notify_one();
        self.shared.spares.stop();
        let threads: Vec<_> = self.threads.lock().drain(..).collect();
        for thread in threads {
            // The hook may own the last handle of the log.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the write-ahead log panicked outside of its guard");
            }
        }
    }

    fn start(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), WalError> {
        let shared = Arc::clone(&self.shared);
        let guarded = move || {
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                shared.stop_for("a thread of the log panicked, ingest has stopped".to_owned());
            }
        };
        let started = threads::start(name, guarded);
        let thread = started.map_err(|source| WalError::Thread { source })?;
        self.threads.lock().push(thread);
        Ok(())
    }
}

impl<P: Send + 'static> std::fmt::Debug for Wal<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.fmt(f)
    }
}

impl<P: Send + 'static> Drop for Wal<P> {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl Commit ===

impl Future for Commit {
    type Output = Result<LogPosition, WriteError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| {
            // The other end is dropped unanswered only when the writer died with the record.
            answer.unwrap_or_else(|_| {
                Err(WriteError::Halted {
                    reason: "the log stopped before the outcome was known".to_owned(),
                })
            })
        })
    }
}

// === impl WalError ===

impl WalError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

// === impl Shared ===

impl<P> Shared<P> {
    fn state(&self) -> WalState {
        match &self.queue.lock().stopped_for {
            Some(reason) => WalState::Stopped {
                reason: reason.clone(),
            },
            None => WalState::Running,
        }
    }

    fn stop_for(&self, reason: String) {
        tracing::error!(reason, "the write-ahead log takes nothing more");
        let waiting = {
            let mut queue = self.queue.lock();
            queue.stopped_for.get_or_insert(reason.clone());
            queue.bytes = 0;
            std::mem::take(&mut queue.requests)
        };
        for request in waiting {
            let reason = reason.clone();
            drop(request.ack.send(Err(WriteError::Halted { reason })));
        }
    }

    fn log_bytes(&self) -> u64 {
        let segments = self.segments.lock();
        segments.iter().map(|segment| segment.bytes()).sum()
    }
}

impl<P> std::fmt::Debug for Shared<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .field("committed", &self.committed)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl<P> Default for Queue<P> {
    fn default() -> Self {
        Self {
            requests: VecDeque::new(),
            bytes: 0,
            stopping: false,
            roll: false,
            stopped_for: None,
        }
    }
}

fn busy(limit: &'static str) -> WriteError {
    WriteError::Busy {
        limit,
        retry_after: QUEUE_FULL_RETRY,
    }
}
