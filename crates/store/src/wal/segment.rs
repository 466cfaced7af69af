//! The files of a log: their names, what is found when a log is opened, and spares for later.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use tracewell_model::Clock;

use super::WalError;
use super::format::{Epoch, PAGE_BYTES, SLOT_BYTES, SegmentHeader, VERSION, round_up};
use super::reader::{Step, Walk, read_header};
use super::window::Window;
use crate::disk::{Disk, DiskFile};

const SEGMENT_SUFFIX: &str = ".wal";
const FILLING_SUFFIX: &str = ".filling";
/// A file without a header is a spare if nothing of its epoch lies in its first bytes.
const SPARE_LOOK_BYTES: u64 = 1 << 20;
/// Zeros are written and synced so much at a time, so that no ack waits long behind them.
const FILL_BYTES: usize = 1 << 20;

/// A file with records in it.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) epoch: Epoch,
    /// `None` if both copies are damaged.
    pub(super) header: Option<SegmentHeader>,
    /// Number of the first record.
    pub(super) first: u64,
    /// One more than the number of the last record that is durable.
    end: AtomicU64,
    /// Bytes in use.
    bytes: AtomicU64,
    /// Nothing in the file was written before.
    pub(super) since: Moment,
    /// Its header is durable: numbers go on from it, whether a record follows or not.
    begun: AtomicBool,
}

/// Monotonic time of the log's clock, which for files of an earlier process lies before its zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) i128);

/// A file that is ready to become a segment.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) epoch: Epoch,
    /// It may be written up to here without growing.
    pub(super) bytes: u64,
    /// When the oldest of what it still holds was written; `None` if it holds nothing but zeros.
    pub(super) since: Option<Moment>,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In the order of the log.
    pub(super) segments: Vec<Arc<Segment>>,
    /// Files that hold nothing of use and may be used again.
    pub(super) unused: Vec<(PathBuf, Moment)>,
    pub(super) log_id: Option<u128>,
    /// The largest counter of an epoch.
    pub(super) counter: u32,
    /// One more than the largest number of a record that there is witness of, the segment behind it included.
    pub(super) end: u64,
    /// No smaller number may be given.
    pub(super) next: u64,
}

// === impl Segment ===

impl Segment {
    pub(super) fn new(spare: Spare, header: SegmentHeader, now: Moment) -> Self {
        Self {
            path: spare.path,
            file: spare.file,
            epoch: spare.epoch,
            header: Some(header),
            first: header.first,
            end: AtomicU64::new(header.first),
            bytes: AtomicU64::new(0),
            since: spare.since.unwrap_or(now),
            begun: AtomicBool::new(false),
        }
    }

    pub(super) fn name(&self) -> String {
        self.epoch.file_name()
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn holds_records(&self) -> bool {
        self.end() > self.first
    }

    /// Whether numbers go on from this segment if those before it go.
    pub(super) fn holds_place(&self) -> bool {
        self.holds_records() || self.begun.load(Ordering::Acquire)
    }

    /// Its header is durable, and nothing behind it.
    pub(super) fn begin(&self) {
        self.bytes.store(PAGE_BYTES, Ordering::Relaxed);
        self.begun.store(true, Ordering::Release);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn grown_to(&self, end: u64, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.end.store(end, Ordering::Release);
    }

    /// Numbers before its first that nobody was promised.
    pub(super) fn void(&self) -> Range<u64> {
        match &self.header {
            Some(header) => header.void_from..header.first,
            None => self.first..self.first,
        }
    }
}

// === impl Moment ===

impl Moment {
    pub(super) fn now(clock: &dyn Clock) -> Self {
        Self(i128::from(clock.monotonic_nano()))
    }

    /// Of a file that was found: when it was written last. One from the future is from now.
    fn of_file(disk: &dyn Disk, path: &Path, clock: &dyn Clock) -> io::Result<Self> {
        let modified = disk.metadata(path)?.modified;
        let unix = modified.duration_since(SystemTime::UNIX_EPOCH);
        let unix = unix.map_or(0, |since| since.as_nanos());
        let age = u128::from(clock.now_unix_nano()).saturating_sub(unix);
        let age = i128::try_from(age).unwrap_or(i128::MAX);
        Ok(Self(Self::now(clock).0.saturating_sub(age)))
    }
}

// === impl Epoch ===

impl Epoch {
    pub(super) fn file_name(self) -> String {
        format!("{:016x}{SEGMENT_SUFFIX}", self.0)
    }

    fn filling_name(self) -> String {
        format!("{:016x}{FILLING_SUFFIX}", self.0)
    }

    fn of_name(name: &str, suffix: &str) -> Option<Self> {
        let digits = name.strip_suffix(suffix)?;
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let named = digits.len() == 16 && digits.bytes().all(lower);
        named
            .then(|| u64::from_str_radix(digits, 16).ok())?
            .map(Self)
    }
}

// === impl Found ===

impl Found {
    /// Looks at every file of a log. Deletes what was being filled, cuts off unused ends.
    pub(super) fn scan(disk: &dyn Disk, dir: &Path, clock: &dyn Clock) -> Result<Self, WalError> {
        let mut found = Self::default();
        let entries = disk.list(dir).map_err(WalError::io("list", dir))?;
        for entry in entries {
            let path = dir.join(&entry.name);
            if Epoch::of_name(&entry.name, FILLING_SUFFIX).is_some() {
                disk.remove(&path).map_err(WalError::io("remove", &path))?;
            } else if let Some(epoch) = Epoch::of_name(&entry.name, SEGMENT_SUFFIX) {
                found.counter = found.counter.max(epoch.counter());
                let since =
                    Moment::of_file(disk, &path, clock).map_err(WalError::io("look at", &path))?;
                found.look_at(disk, path, epoch, since)?;
            }
        }
        disk.sync_dir(dir).map_err(WalError::io("sync", dir))?;
        found
            .segments
            .sort_by_key(|segment| (segment.first, segment.epoch));
        Ok(found)
    }

    fn look_at(
        &mut self,
        disk: &dyn Disk,
        path: PathBuf,
        epoch: Epoch,
        since: Moment,
    ) -> Result<(), WalError> {
        let file = disk.open(&path).map_err(WalError::io("open", &path))?;
        let mut window = Window::over(Arc::clone(&file)).map_err(WalError::io("look at", &path))?;
        let header = read_header(&mut window, Some(epoch));
        if let Some(any) = header.or_else(|| read_header(&mut window, None)) {
            self.is_of_this_log(&path, &any)?;
        }
        let first = header.map_or(0, |header| header.first);
        self.next = self.next.max(first);
        // What came before its void was acknowledged.
        self.end = self.end.max(header.map_or(0, |header| header.void_from));
        let mut walk = Walk::new(window, epoch, first);
        if header.is_none() {
            walk.len = walk.len.min(SPARE_LOOK_BYTES);
        }
        let Some(mut step) = walk.next() else {
            return match header {
                Some(header) => self.begun(path, file, epoch, header, since),
                None => {
                    self.unused.push((path, since));
                    Ok(())
                }
            };
        };
        walk.len = walk.window.len();
        let first = match (&header, &step) {
            (Some(header), _) => header.first,
            (None, Step::Record(number, _) | Step::Hop(number)) => *number,
            (None, Step::Lost { numbers, .. }) => numbers.end,
        };
        while let Some(next) = walk.next() {
            step = next;
        }
        drop(step);
        let used = round_up(walk.proven_end, PAGE_BYTES);
        self.end = self.end.max(walk.expected);
        self.next = self.next.max(walk.expected);
        if walk.window.next_unreadable().is_some() {
            // What could not be read now may be read later: its numbers must stay its own.
            let n_records_max = walk.len / SLOT_BYTES;
            self.next = self.next.max(walk.expected.saturating_add(n_records_max));
        } else if used < walk.len {
            file.set_len(used)
                .map_err(WalError::io("cut the unused end off", &path))?;
        }
        // What a killed process wrote and did not sync is read from the caches: from now on it is
        // served, and a repeat of it acknowledged, so that it must be durable.
        file.sync_data().map_err(WalError::io("sync", &path))?;
        self.segments.push(Arc::new(Segment {
            path,
            file,
            epoch,
            header,
            first,
            end: AtomicU64::new(walk.expected),
            bytes: AtomicU64::new(used),
            since,
            begun: AtomicBool::new(header.is_some()),
        }));
        Ok(())
    }

    /// A segment in which no record became durable keeps its place: it may be all that is left of a
    /// log whose records were all forgotten.
    fn begun(
        &mut self,
        path: PathBuf,
        file: Arc<dyn DiskFile>,
        epoch: Epoch,
        header: SegmentHeader,
        since: Moment,
    ) -> Result<(), WalError> {
        file.set_len(PAGE_BYTES)
            .and_then(|()| file.sync_data())
            .map_err(WalError::io("cut the unused end off", &path))?;
        self.segments.push(Arc::new(Segment {
            path,
            file,
            epoch,
            header: Some(header),
            first: header.first,
            end: AtomicU64::new(header.first),
            bytes: AtomicU64::new(PAGE_BYTES),
            since,
            begun: AtomicBool::new(true),
        }));
        Ok(())
    }

    fn is_of_this_log(&mut self, path: &Path, header: &SegmentHeader) -> Result<(), WalError> {
        if header.version > VERSION {
            return Err(WalError::Version {
                file: path.to_owned(),
                seen: header.version,
                max: VERSION,
            });
        }
        match self.log_id {
            Some(log_id) if log_id != header.log_id => Err(WalError::TwoLogs {
                file: path.to_owned(),
            }),
            _ => {
                self.log_id = Some(header.log_id);
                Ok(())
            }
        }
    }
}

// === impl Spare ===

impl Spare {
    /// An empty file: it grows as it is written, and each sync writes metadata too.
    pub(super) fn empty(disk: &dyn Disk, dir: &Path, epoch: Epoch) -> io::Result<Self> {
        let path = dir.join(epoch.file_name());
        Ok(Self {
            file: disk.create(&path)?,
            path,
            epoch,
            bytes: 0,
            since: None,
        })
    }

    /// A file of zeros, durable in content and name. `None` if `stop` says so in between.
    pub(super) fn filled(
        disk: &dyn Disk,
        dir: &Path,
        epoch: Epoch,
        bytes: u64,
        stop: &dyn Fn() -> bool,
    ) -> io::Result<Option<Self>> {
        let filling = dir.join(epoch.filling_name());
        let file = disk.create(&filling)?;
        let filled = fill(&*file, 0..bytes, stop);
        if matches!(filled, Ok(true)) {
            return Self::named(disk, dir, epoch, &filling, file, bytes, None).map(Some);
        }
        disk.remove(&filling)?;
        filled.map(|_| None)
    }

    /// A file of no more use, made as long as it must be, under a name of its own: what it holds
    /// means nothing there.
    pub(super) fn recycled(
        disk: &dyn Disk,
        dir: &Path,
        epoch: Epoch,
        (old, since): (&Path, Moment),
        bytes: u64,
        stop: &dyn Fn() -> bool,
    ) -> io::Result<Option<Self>> {
        let file = disk.open(old)?;
        let len = file.len()?;
        let filling = dir.join(epoch.filling_name());
        disk.rename(old, &filling)?;
        let filled = fill(&*file, len.min(bytes)..bytes, stop);
        if matches!(filled, Ok(true)) {
            let bytes = len.max(bytes);
            return Self::named(disk, dir, epoch, &filling, file, bytes, Some(since)).map(Some);
        }
        disk.remove(&filling)?;
        filled.map(|_| None)
    }

    fn named(
        disk: &dyn Disk,
        dir: &Path,
        epoch: Epoch,
        filling: &Path,
        file: Arc<dyn DiskFile>,
        bytes: u64,
        since: Option<Moment>,
    ) -> io::Result<Self> {
        let path = dir.join(epoch.file_name());
        disk.rename(filling, &path)?;
        disk.sync_dir(dir)?;
        Ok(Self {
            path,
            file,
            epoch,
            bytes,
            since,
        })
    }
}

fn fill(file: &dyn DiskFile, range: Range<u64>, stop: &dyn Fn() -> bool) -> io::Result<bool> {
    let zeros = vec![0; FILL_BYTES];
    let mut offset = range.start;
    while offset < range.end {
        if stop() {
            return Ok(false);
        }
        let len = (range.end - offset).min(FILL_BYTES as u64);
        file.write_at(zeros.get(..len as usize).unwrap_or_default(), offset)?;
        file.sync_data()?;
        offset += len;
    }
    Ok(true)
}
