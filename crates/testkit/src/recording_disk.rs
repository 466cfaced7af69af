//! A disk in memory that knows what a power cut would leave.
//!
//! Every change is recorded. For any point in the record and any seed, [`RecordingDisk::power_cut`]
//! gives the disk that the next start would find: the content of a file is there as far as
//! `sync_data` returned, a name as far as `sync_dir` of its directory returned, and of the rest a random part,
//! sector by sector, some of them torn. Names survive one by one or in order, as the seed says.
//!
//! It also fails on demand: syncs and writes that return an error (what was not synced then is never
//! synced by a later call, as on Linux), a full disk, stretches that cannot be read, flipped bits.
//!
//! It is no model of speed, and of one process at a time. Paths are absolute.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tracewell_model::Clock;
use tracewell_store::disk::{
    DirectoryEntry, Disk, DiskFile, DiskLock, DiskSpace, FileMetadata, parent_of,
};

mod model;
mod unsynced;

pub use unsynced::{Synced, UnsyncedDisk};

use model::{Inode, Model, Node, Operation};

/// The disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct RecordingDisk {
    state: Arc<Mutex<State>>,
}

/// Goes through the record of a disk, and cuts the power where it is told to.
#[derive(Debug)]
pub struct Replay {
    model: Model,
    operations: Vec<Operation>,
    at: usize,
}

#[derive(Debug)]
struct State {
    /// The disk before the first operation of the record.
    base: Model,
    live: Model,
    operations: Vec<Operation>,
    locks: BTreeSet<PathBuf>,
    clock: Option<Arc<dyn Clock>>,
    faults: Faults,
}

#[derive(Debug)]
struct Faults {
    capacity_bytes: u64,
    /// A folder that is a volume of its own, and its size.
    mount: Option<(PathBuf, u64)>,
    sync_errors: Range<usize>,
    n_syncs: usize,
    write_errors: Range<usize>,
    /// The write that finds the disk full.
    full_at: Option<usize>,
    n_writes: usize,
    n_opened_at_once: usize,
    unreadable: Vec<(Inode, Range<u64>)>,
}

#[derive(Debug)]
struct File {
    state: Arc<Mutex<State>>,
    inode: Inode,
    is_writable: bool,
}

#[derive(Debug)]
struct Lock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

// === impl RecordingDisk ===

impl RecordingDisk {
    /// An empty disk with a root directory.
    pub fn new() -> Self {
        Self::from_model(Model::new())
    }

    /// Files get their times from a clock; without one every time is the epoch.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let disk = Self::new();
        disk.state.lock().clock = Some(clock);
        disk
    }

    fn from_model(model: Model) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                base: model.clone(),
                live: model,
                operations: Vec::new(),
                locks: BTreeSet::new(),
                clock: None,
                faults: Faults {
                    capacity_bytes: u64::MAX,
                    mount: None,
                    sync_errors: 0..0,
                    n_syncs: 0,
                    write_errors: 0..0,
                    full_at: None,
                    n_writes: 0,
                    n_opened_at_once: 0,
                    unreadable: Vec::new(),
                },
            })),
        }
    }

    /// How many changes and syncs are recorded. An acknowledgement that is given now must survive
    /// every power cut at or behind this number.
    pub fn n_operations(&self) -> usize {
        self.state.lock().operations.len()
    }

    /// Files that were created; a rename makes none.
    pub fn n_created(&self) -> usize {
        let state = self.state.lock();
        let is_create = |operation: &&Operation| matches!(operation, Operation::Create { .. });
        state.operations.iter().filter(is_create).count()
    }

    /// The numbers behind each sync of a file or directory.
    pub fn syncs(&self) -> Vec<usize> {
        let state = self.state.lock();
        let numbered = state.operations.iter().zip(1..);
        numbered
            .filter(|(operation, _)| operation.is_sync())
            .map(|(_, number)| number)
            .collect()
    }

    /// The most bytes that were written to one file between two of its syncs.
    pub fn unsynced_bytes_max(&self) -> u64 {
        let state = self.state.lock();
        let mut unsynced: BTreeMap<Inode, u64> = BTreeMap::new();
        let mut max = 0;
        for operation in &state.operations {
            match operation {
                Operation::Write { inode, bytes, .. } => {
                    let held = unsynced.entry(*inode).or_default();
                    *held += bytes.len() as u64;
                    max = max.max(*held);
                }
                Operation::Sync(inode) => drop(unsynced.remove(inode)),
                _ => {}
            }
        }
        max
    }

    /// The disk that a start finds if the power was cut after `at` operations.
    pub fn power_cut(&self, at: usize, seed: u64) -> Self {
        let mut replay = self.replay();
        replay.advance_to(at);
        replay.power_cut(seed)
    }

    /// For many power cuts of one record, in its order.
    pub fn replay(&self) -> Replay {
        let state = self.state.lock();
        Replay {
            model: state.base.clone(),
            operations: state.operations.clone(),
            at: 0,
        }
    }

    /// The disk as a process finds it that was started after another was killed: nothing is lost, and
    /// what was not synced still is not.
    pub fn after_kill(&self) -> Self {
        Self::from_model(self.state.lock().live.clone())
    }

    /// Lets `n` calls of `sync_data` and `sync_dir` fail, after `skip` more that do not.
    pub fn fail_syncs(&self, skip: usize, n: usize) {
        let faults = &mut self.state.lock().faults;
        let from = faults.n_syncs + skip;
        faults.sync_errors = from..from.saturating_add(n);
    }

    /// Lets `n` writes fail, after `skip` more that do not. Half of their bytes are written.
    pub fn fail_writes(&self, skip: usize, n: usize) {
        let faults = &mut self.state.lock().faults;
        let from = faults.n_writes + skip;
        faults.write_errors = from..from.saturating_add(n);
    }

    /// Writes beyond so many bytes, in all files together, fail as on a full disk.
    pub fn set_capacity(&self, bytes: u64) {
        let faults = &mut self.state.lock().faults;
        faults.capacity_bytes = bytes;
        faults.full_at = None;
    }

    /// Makes a folder a volume of so many bytes. What is in it no longer counts for the disk around it, whose
    /// size is all that writes heed.
    pub fn mount(&self, folder: &Path, bytes: u64) {
        self.state.lock().faults.mount = Some((folder.to_owned(), bytes));
    }

    /// Lets the disk be full from a write on, after `skip` more that are not: half of its bytes still
    /// fit. [`Self::set_capacity`] makes room again.
    pub fn fill_at_write(&self, skip: usize) {
        let faults = &mut self.state.lock().faults;
        faults.full_at = Some(faults.n_writes + skip);
    }

    /// Reads that touch the range fail.
    pub fn make_unreadable(&self, path: &Path, range: Range<u64>) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.live.file(path)?;
        state.faults.unreadable.push((inode, range));
        Ok(())
    }

    /// Changes one bit of a file as if the medium had done it.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.live.file(path)?;
        state.live.damage(inode, bit / 8, 1 << (bit % 8));
        Ok(())
    }

    /// Puts a durable file there, with its directories, in place of any other. For tests that make
    /// the disk which they start from; it is not recorded.
    pub fn install(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state.lock();
        state.live.install(path, bytes);
        state.base = state.live.clone();
        state.operations.clear();
    }

    /// What a reader sees in a file.
    pub fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        let inode = state.live.file(path)?;
        Ok(state.live.bytes(inode).to_vec())
    }

    /// Every file that has a name.
    pub fn files(&self) -> Vec<PathBuf> {
        self.state.lock().live.files()
    }

    fn opened(&self, path: &Path, is_writable: bool) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.state.lock().live.file(path)?;
        Ok(Arc::new(File {
            state: Arc::clone(&self.state),
            inode,
            is_writable,
        }))
    }
}

impl Default for RecordingDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Disk for RecordingDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let inode = state.live.next_inode();
        let unix_nano = state.now();
        state.perform(Operation::Create {
            path: path.to_owned(),
            inode,
            unix_nano,
        })?;
        drop(state);
        self.opened(path, true)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.opened(path, true)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.opened(path, false)
    }

    /// Every second time.
    fn open_at_once(&self, path: &Path) -> Option<Arc<dyn DiskFile>> {
        let is_known = {
            let faults = &mut self.state.lock().faults;
            faults.n_opened_at_once += 1;
            faults.n_opened_at_once.is_multiple_of(2)
        };
        is_known.then(|| self.opened(path, false).ok())?
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMetadata> {
        let state = self.state.lock();
        match state.live.node(path)? {
            Node::Directory => Ok(FileMetadata {
                len: 0,
                modified: UNIX_EPOCH,
                is_dir: true,
            }),
            Node::File(inode) => Ok(FileMetadata {
                len: state.live.bytes(inode).len() as u64,
                modified: state.live.modified(inode),
                is_dir: false,
            }),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.state.lock().live.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.live.file(path)?;
        state.perform(Operation::Remove(path.to_owned()))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.live.list(path)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        state.perform(Operation::Remove(path.to_owned()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().perform(Operation::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().perform(Operation::Link {
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut missing: Vec<&Path> = path
            .ancestors()
            .take_while(|dir| state.live.node(dir).is_err())
            .collect();
        while let Some(dir) = missing.pop() {
            state.perform(Operation::CreateDirectory(dir.to_owned()))?;
        }
        match state.live.node(path)? {
            Node::Directory => Ok(()),
            Node::File(_) => Err(ErrorKind::AlreadyExists.into()),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.live.must_be_directory(dir)?;
        state.faults.sync()?;
        state.perform(Operation::SyncDirectory(dir.to_owned()))
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let state = self.state.lock();
        let (total, mount) = (state.faults.capacity_bytes, &state.faults.mount);
        let mounted = mount
            .as_ref()
            .map_or(0, |(folder, _)| state.live.bytes_below(folder));
        let (used, total, volume) = match mount {
            Some((folder, bytes)) if path.starts_with(folder) => (mounted, *bytes, 1),
            _ => (state.live.used_bytes() - mounted, total, 0),
        };
        Ok(DiskSpace {
            free: total.saturating_sub(used),
            total,
            volume,
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state.lock();
        state.live.list(parent_of(path))?;
        if !state.locks.insert(path.to_owned()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock {
            state: Arc::clone(&self.state),
            path: path.to_owned(),
        }))
    }
}

// === impl Replay ===

impl Replay {
    pub fn n_operations(&self) -> usize {
        self.operations.len()
    }

    /// Goes on to the state after `at` operations; it never goes back.
    pub fn advance_to(&mut self, at: usize) {
        let operations = self.operations.get(self.at..at).unwrap_or_default();
        for operation in operations {
            let applied = self.model.apply(operation);
            debug_assert!(applied.is_ok(), "{operation:?} was performed before");
        }
        self.at = self.at.max(at);
    }

    pub fn power_cut(&self, seed: u64) -> RecordingDisk {
        RecordingDisk::from_model(self.model.power_cut(seed))
    }
}

// === impl State ===

impl State {
    fn perform(&mut self, operation: Operation) -> io::Result<()> {
        self.live.apply(&operation)?;
        self.operations.push(operation);
        Ok(())
    }

    fn now(&self) -> u64 {
        self.clock.as_ref().map_or(0, |clock| clock.now_unix_nano())
    }
}

// === impl Faults ===

impl Faults {
    fn sync(&mut self) -> io::Result<()> {
        let number = self.n_syncs;
        self.n_syncs += 1;
        if self.sync_errors.contains(&number) {
            return Err(io::Error::other("sync fails as planned"));
        }
        Ok(())
    }

    fn writes_fail(&mut self) -> bool {
        let number = self.n_writes;
        self.n_writes += 1;
        self.write_errors.contains(&number)
    }
}

// === impl File ===

impl File {
    /// Writes what fits, and fails if that is not all.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        if !self.is_writable {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let len = state.live.bytes(self.inode).len() as u64;
        let used = state.live.used_bytes();
        let faults = &mut state.faults;
        if faults
            .full_at
            .take_if(|at| *at == faults.n_writes)
            .is_some()
        {
            faults.capacity_bytes = used + bytes.len() as u64 / 2;
        }
        let free = faults.capacity_bytes.saturating_sub(used);
        let end_max = len.saturating_add(free);
        let fitting = end_max.saturating_sub(offset).min(bytes.len() as u64) as usize;
        let failing = state.faults.writes_fail();
        let written = if failing { fitting / 2 } else { fitting };
        let unix_nano = state.now();
        state.perform(Operation::Write {
            inode: self.inode,
            offset,
            bytes: bytes.get(..written).unwrap_or_default().into(),
            unix_nano,
        })?;
        if failing {
            return Err(io::Error::other("write fails as planned"));
        }
        if fitting < bytes.len() {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state.lock();
        let end = offset + buffer.len() as u64;
        let mut unreadable = state.faults.unreadable.iter();
        if unreadable.any(|(inode, r)| *inode == self.inode && r.start < end && offset < r.end) {
            return Err(io::Error::other("read fails as planned"));
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let held = state.live.bytes(self.inode).get(from..).unwrap_or_default();
        let len = held.len().min(buffer.len());
        let ((to, _), (from, _)) = (buffer.split_at_mut(len), held.split_at(len));
        to.copy_from_slice(from);
        Ok(len)
    }

    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> bool {
        let n_wanted = buffer.len();
        self.read_at(buffer, offset).is_ok_and(|n| n == n_wanted)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, offset)
    }

    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let whole = parts
            .iter()
            .map(|part| &**part)
            .collect::<Vec<_>>()
            .concat();
        self.write(&whole, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Err(error) = state.faults.sync() {
            state.perform(Operation::SyncFailed(self.inode))?;
            return Err(error);
        }
        state.perform(Operation::Sync(self.inode))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state.lock().perform(Operation::SetLen {
            inode: self.inode,
            len,
        })
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().live.bytes(self.inode).len() as u64)
    }
}

// === impl Lock ===

impl DiskLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        self.state.lock().locks.remove(&self.path);
    }
}

fn system_time(unix_nano: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_nano)
}

/// Names by path, in the order of paths.
type Names = BTreeMap<PathBuf, Node>;

#[cfg(test)]
mod tests;
