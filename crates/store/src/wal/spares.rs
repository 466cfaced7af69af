//! Keeps spares ready, on a thread of its own, so that no ack waits for a file to be filled.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use tracewell_model::Clock;

use super::WalOptions;
use super::format::Epoch;
use super::segment::{Moment, Segment, Spare};
use crate::disk::Disk;

/// Files that are used again wait for their turn up to so many times what is filled beforehand. What a cut
/// lets go of comes while the next file is filled already; were it not kept, none would ever be used again.
const KEPT_TIMES: usize = 4;
/// That many are kept only while a share of one in so many of the volume is free.
const KEPT_FREE_ONE_IN: u64 = 4;

/// Spares of one log, and the work that makes them.
#[derive(Debug)]
pub(super) struct Spares {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: WalOptions,
    log_id: u128,
    counter: AtomicU32,
    n_reused: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Spare>,
    old: VecDeque<Old>,
    /// A file is being filled, taken again or removed.
    working: bool,
    /// Filling failed; nothing is tried until something changes.
    resting: bool,
    stopping: bool,
}

/// What [`super::WalStats`] says of spares.
pub(super) struct Counts {
    pub(super) ready: u64,
    pub(super) in_work: u64,
    pub(super) bytes: u64,
    pub(super) reused: u64,
}

/// A file that nobody needs.
#[derive(Debug)]
enum Old {
    /// Readers may still hold it.
    Segment(Arc<Segment>),
    File(PathBuf, Moment),
}

// === impl Spares ===

impl Spares {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: WalOptions,
        log_id: u128,
        counter: u32,
        unused: Vec<(PathBuf, Moment)>,
    ) -> Self {
        let unused = unused.into_iter();
        let state = State {
            old: unused.map(|(path, since)| Old::File(path, since)).collect(),
            ..State::default()
        };
        Self {
            disk,
            clock,
            options,
            log_id,
            counter: AtomicU32::new(counter),
            n_reused: AtomicU64::new(0),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// A spare that is filled, if one is ready now.
    pub(super) fn take(&self) -> Option<Spare> {
        let mut state = self.state.lock();
        state.resting = false;
        let spare = state.ready.pop_front();
        self.changed.notify_one();
        spare
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.state.lock().ready.is_empty()
    }

    /// An empty file, for when none is ready.
    pub(super) fn take_empty(&self) -> io::Result<Spare> {
        Spare::empty(&*self.disk, &self.options.dir, self.next_epoch())
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.state.lock();
        let ready_bytes: u64 = state.ready.iter().map(|spare| spare.bytes).sum();
        let in_work = state.old.len() as u64 + u64::from(state.working);
        Counts {
            ready: state.ready.len() as u64,
            in_work,
            bytes: ready_bytes + in_work.saturating_mul(self.options.segment_bytes),
            reused: self.n_reused.load(Ordering::Relaxed),
        }
    }

    /// Takes a segment whose records are all forgotten.
    pub(super) fn recycle(&self, segment: Arc<Segment>) {
        let mut state = self.state.lock();
        state.old.push_back(Old::Segment(segment));
        state.resting = false;
        self.changed.notify_one();
    }

    /// Has spares deleted that still hold what was written too long ago, and those that the volume has no
    /// more room for.
    pub(super) fn expire(&self) {
        let n_kept_max = self.n_kept_max();
        let mut state = self.state.lock();
        let is_old = |spare: &Spare| spare.since.is_some_and(|since| self.is_old(since));
        let (mut old, ready) = std::mem::take(&mut state.ready)
            .into_iter()
            .partition::<Vec<_>, _>(is_old);
        state.ready = ready.into();
        let n_kept = state.ready.len().min(n_kept_max);
        old.extend(state.ready.split_off(n_kept));
        for spare in old {
            let since = spare.since.unwrap_or_else(|| Moment::now(&*self.clock));
            state.old.push_back(Old::File(spare.path, since));
            state.resting = false;
            self.changed.notify_one();
        }
    }

    /// Whether what was written then must go.
    pub(super) fn is_old(&self, since: Moment) -> bool {
        let age = Moment::now(&*self.clock).0.saturating_sub(since.0);
        u128::try_from(age).is_ok_and(|age| age > self.options.file_age_max.as_nanos())
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_one();
    }

    /// The thread.
    pub(super) fn run(&self) {
        loop {
            let work = {
                let mut state = self.state.lock();
                loop {
                    if state.stopping {
                        return;
                    }
                    let old = state.old.pop_front();
                    let is_short = state.ready.len() < self.options.n_spares && !state.resting;
                    if old.is_some() || is_short {
                        state.working = true;
                        break old;
                    }
                    self.changed.wait(&mut state);
                }
            };
            let made = self.work(work);
            let mut state = self.state.lock();
            state.working = false;
            match made {
                Ok(spare) => state.ready.extend(spare),
                Err(error) => {
                    tracing::warn!(
                        dir = %self.options.dir.display(),
                        %error,
                        "no spare segment could be prepared: the log goes on with growing files"
                    );
                    state.resting = true;
                }
            }
        }
    }

    fn work(&self, old: Option<Old>) -> io::Result<Option<Spare>> {
        let epoch = self.next_epoch();
        let (disk, dir) = (&*self.disk, self.options.dir.as_path());
        let bytes = self.options.segment_bytes;
        let stop = || self.state.lock().stopping;
        let Some(old) = old else {
            self.check_space(bytes)?;
            return Spare::filled(disk, dir, epoch, bytes, &stop);
        };
        let Some((path, since)) = self.reusable(old)? else {
            return Ok(None);
        };
        let spare = Spare::recycled(disk, dir, epoch, (&path, since), bytes, &stop)?;
        self.n_reused
            .fetch_add(u64::from(spare.is_some()), Ordering::Relaxed);
        Ok(spare)
    }

    /// Spares that may be ready at a time.
    fn n_kept_max(&self) -> usize {
        let is_roomy = self
            .disk
            .space(&self.options.dir)
            .is_ok_and(|space| space.free >= space.total / KEPT_FREE_ONE_IN);
        let n_spares = self.options.n_spares;
        match is_roomy {
            true => n_spares.saturating_mul(KEPT_TIMES),
            false => n_spares,
        }
    }

    /// Filling must not take the space that is kept free.
    fn check_space(&self, bytes: u64) -> io::Result<()> {
        let free = self.disk.space(&self.options.dir)?.free;
        let wanted = self.options.reserve_bytes.saturating_add(bytes);
        if free < wanted {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("{free} bytes are free, with the reserve {wanted} are wanted"),
            ));
        }
        Ok(())
    }

    /// An old file that is worth keeping; others are removed.
    fn reusable(&self, old: Old) -> io::Result<Option<(PathBuf, Moment)>> {
        let (path, since, is_read) = match old {
            Old::File(path, since) => (path, since, false),
            // Readers keep what they have open when the name goes, so that they see no new bytes.
            Old::Segment(segment) => {
                let is_read = Arc::strong_count(&segment) > 1;
                (segment.path.clone(), segment.since, is_read)
            }
        };
        let n_kept_max = self.n_kept_max();
        let is_wanted = self.state.lock().ready.len() < n_kept_max;
        let (len, wanted) = (self.disk.metadata(&path)?.len, self.options.segment_bytes);
        let is_oversized = len > wanted.saturating_mul(2);
        let may_grow = len >= wanted || self.check_space(wanted - len).is_ok();
        if is_wanted && may_grow && !is_read && !is_oversized && !self.is_old(since) {
            return Ok(Some((path, since)));
        }
        self.disk.remove(&path)?;
        Ok(None)
    }

    fn next_epoch(&self) -> Epoch {
        Epoch::new(
            self.log_id,
            self.counter.fetch_add(1, Ordering::Relaxed) + 1,
        )
    }
}
