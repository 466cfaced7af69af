//! A witness of where the log ends, beside it: docs/format/wal.md, "The mark".
//!
//! Numbers are dense, so that every record tells of those before it. Of the last ones of the newest segment nothing
//! tells, if the file ends too early. So the writer notes now and then which number comes next, outside of what an
//! acknowledgement waits for: what is lost behind the last note is not named, and that is what came within a second.
//! A mark that cannot be written or read costs nothing but that.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Durability;
use super::format::{MarkSlot, PAGE_BYTES, SLOT, VERSION};
use crate::disk::{Disk, DiskFile};

/// How far the mark may lie behind.
pub(super) const MARK_EVERY: Duration = Duration::from_secs(1);
const NAME: &str = "mark";
/// Two copies are written in turn, each in a page of its own: one is whole whatever happens to the other.
const PLACES: [u64; 2] = [0, PAGE_BYTES];

/// What is known of the end of a log.
#[derive(Debug)]
pub(super) struct Mark {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    /// Of the log that the mark is of.
    log_id: Option<u128>,
    /// One more than the largest number that is noted.
    next: u64,
    /// Which copy is written next.
    turn: usize,
    /// When it was written last, in nanoseconds of the log's clock.
    written_nano: u64,
    has_failed: bool,
}

// === impl Mark ===

impl Mark {
    /// Reads the mark of a log, if it has one; of any log where it is not known of which.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        log_id: Option<u128>,
        now_nano: u64,
    ) -> Self {
        let path = dir.join(NAME);
        let mut mark = Self {
            disk,
            path,
            file: None,
            log_id: None,
            next: 0,
            turn: 0,
            written_nano: now_nano,
            has_failed: false,
        };
        if let Err(error) = mark.read(log_id)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(
                file = NAME,
                %error,
                "where the log ends is not known: what its newest file has lost cannot be named"
            );
        }
        mark
    }

    fn read(&mut self, log_id: Option<u128>) -> io::Result<()> {
        let file = self.disk.open(&self.path)?;
        let mut failed = None;
        for (turn, place) in PLACES.into_iter().enumerate() {
            let mut slot = [0; SLOT];
            let found = match file.read_at(&mut slot, place) {
                Ok(n) => slot.get(..n).and_then(MarkSlot::parse),
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            let is_own = |found: &MarkSlot| {
                found.version <= VERSION && log_id.is_none_or(|id| id == found.log_id)
            };
            if let Some(found) = found.filter(is_own)
                && found.next > self.next
            {
                self.log_id = Some(found.log_id);
                self.next = found.next;
                self.turn = (turn + 1) % PLACES.len();
            }
        }
        self.file = Some(file);
        match failed {
            Some(error) if self.log_id.is_none() => Err(error),
            _ => Ok(()),
        }
    }

    /// Of an earlier process that noted something.
    pub(super) fn log_id(&self) -> Option<u128> {
        self.log_id
    }

    /// One more than the largest number that is noted; 0 if none is.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// True if there is more than is noted, since a while.
    pub(super) fn is_due(&self, next: u64, now_nano: u64) -> bool {
        self.is_behind(next)
            && now_nano.saturating_sub(self.written_nano) >= MARK_EVERY.as_nanos() as u64
    }

    pub(super) fn is_behind(&self, next: u64) -> bool {
        next > self.next
    }

    /// Notes that all numbers before `next` were given to records that are durable.
    pub(super) fn write(&mut self, log_id: u128, next: u64, durability: Durability, now_nano: u64) {
        self.written_nano = now_nano;
        let slot = MarkSlot {
            version: VERSION,
            log_id,
            next,
        };
        match self.try_write(slot, durability) {
            Ok(()) => {
                self.next = next;
                self.turn = (self.turn + 1) % PLACES.len();
                self.has_failed = false;
            }
            Err(error) => {
                // After a failed sync nobody knows what is on disk, and a second one may lie.
                self.file = None;
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::warn!(file = NAME, %error, "where the log ends could not be noted, trying again");
                }
            }
        }
    }

    fn try_write(&mut self, slot: MarkSlot, durability: Durability) -> io::Result<()> {
        let is_new = self.file.is_none();
        let file = match self.file.take() {
            Some(file) => file,
            None => match self.disk.create(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.disk.open(&self.path)?
                }
                created => created?,
            },
        };
        let place = PLACES.get(self.turn).copied().unwrap_or_default();
        file.write_at(&slot.bytes(), place)?;
        if durability == Durability::Fsync {
            file.sync_data()?;
            if let (true, Some(dir)) = (is_new, self.path.parent()) {
                self.disk.sync_dir(dir)?;
            }
        }
        self.file = Some(file);
        Ok(())
    }
}
