//! A disk on which syncs are a lie, all of them or those of one kind: what a build without them would do.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use tracewell_store::disk::{DirectoryEntry, Disk, DiskFile, DiskLock, DiskSpace, FileMetadata};

/// Does all that the disk under it does, but the syncs that it ignores. A crash test that passes on it
/// proves nothing.
#[derive(Debug)]
pub struct UnsyncedDisk {
    disk: Arc<dyn Disk>,
    ignores: fn(Synced<'_>) -> bool,
}

/// What a sync is of.
#[derive(Debug, Clone, Copy)]
pub enum Synced<'a> {
    /// The content of a file, by the name that it was opened with.
    File(&'a Path),
    /// The names in a directory.
    Directory(&'a Path),
}

#[derive(Debug)]
struct UnsyncedFile {
    file: Arc<dyn DiskFile>,
    is_ignored: bool,
}

// === impl UnsyncedDisk ===

impl UnsyncedDisk {
    /// Ignores every sync.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self::ignoring(disk, |_| true)
    }

    pub fn ignoring(disk: Arc<dyn Disk>, ignores: fn(Synced<'_>) -> bool) -> Self {
        Self { disk, ignores }
    }

    fn wrap(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let is_ignored = (self.ignores)(Synced::File(path));
        Arc::new(UnsyncedFile { file, is_ignored })
    }
}

impl Disk for UnsyncedDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(path)?;
        Ok(self.wrap(path, file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path)?;
        Ok(self.wrap(path, file))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_read(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMetadata> {
        self.disk.metadata(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.disk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.hard_link(from, to)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        if (self.ignores)(Synced::Directory(dir)) {
            return Ok(());
        }
        self.disk.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.disk.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

// === impl UnsyncedFile ===

impl DiskFile for UnsyncedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.file.write_vectored_at(parts, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.is_ignored {
            return Ok(());
        }
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
