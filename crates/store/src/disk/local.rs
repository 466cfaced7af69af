//! [`Disk`] over the file system of this machine: `std::fs`, and `rustix` for what `std` lacks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::ReadWriteFlags;

use super::{DirectoryEntry, Disk, DiskFile, DiskLock, DiskSpace, FileMetadata};

/// The most slices that Linux takes in one call (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

/// The disks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

#[derive(Debug)]
struct LocalFile(File);

/// The lock goes with the open file.
#[derive(Debug)]
struct LocalLock(#[expect(dead_code, reason = "kept open for its lock")] File);

// === impl LocalDisk ===

impl Disk for LocalDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        Ok(Arc::new(LocalFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(LocalFile(file)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(LocalFile(File::open(path)?)))
    }

    fn open_at_once(&self, path: &Path) -> Option<Arc<dyn DiskFile>> {
        // Names that are in memory; not every kernel knows the flag.
        let (flags, mode) = (OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let file = openat2(CWD, path, flags, mode, ResolveFlags::CACHED);
        Some(Arc::new(LocalFile(File::from(file.ok()?))))
    }

    fn metadata(&self, path: &Path) -> io::Result<FileMetadata> {
        let metadata = std::fs::metadata(path)?;
        Ok(FileMetadata {
            len: metadata.len(),
            modified: metadata.modified()?,
            is_dir: metadata.is_dir(),
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let is_dir = entry.file_type()?.is_dir();
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirectoryEntry { name, is_dir });
            }
        }
        Ok(entries)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let volume = rustix::fs::statvfs(path)?;
        Ok(DiskSpace {
            free: volume.f_bavail.saturating_mul(volume.f_frsize),
            total: volume.f_blocks.saturating_mul(volume.f_frsize),
            volume: rustix::fs::stat(path)?.st_dev,
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(LocalLock(file))),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!("{} is locked by another process", path.display()),
            )),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

// === impl LocalFile ===

impl DiskFile for LocalFile {
    fn read_at(&self, mut buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut seen = 0;
        while !buffer.is_empty() {
            match self.0.read_at(buffer, offset + seen as u64) {
                Ok(0) => break,
                Ok(n) => {
                    seen += n;
                    buffer = buffer.get_mut(n..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(seen)
    }

    fn read_at_once(&self, buffer: &mut [u8], offset: u64) -> bool {
        let n_wanted = buffer.len();
        // To the system the last number means where the file stands.
        if offset > i64::MAX as u64 {
            return false;
        }
        let parts = &mut [IoSliceMut::new(buffer)];
        // Not every file system knows the flag: those say so, and are read elsewhere.
        let read = rustix::io::preadv2(&self.0, parts, offset, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|n| n == n_wanted)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn write_vectored_at(&self, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        // Empty parts at the front would look like a write of nothing.
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let some = parts.get(..SLICES_MAX).unwrap_or(parts);
            match rustix::io::pwritev(&self.0, some, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    IoSlice::advance_slices(&mut parts, n);
                    offset += n as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

// === impl LocalLock ===

impl DiskLock for LocalLock {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectored_writes_longer_than_one_call_arrive_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = LocalDisk.create(&dir.path().join("f")).unwrap();
        let pieces: Vec<Vec<u8>> = (0..3_000usize).map(|i| vec![i as u8; i % 7]).collect();
        let mut parts: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p)).collect();
        file.write_vectored_at(&mut parts, 10).unwrap();
        let expected: Vec<u8> = pieces.concat();
        let mut seen = vec![0; expected.len()];
        file.read_exact_at(&mut seen, 10).unwrap();
        assert_eq!(seen, expected);
        assert_eq!(file.len().unwrap(), 10 + expected.len() as u64);
        assert!(file.read_exact_at(&mut seen, 11).is_err());
    }

    #[test]
    fn what_is_in_memory_is_read_at_once_and_nothing_beyond_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = LocalDisk.create(&dir.path().join("f")).unwrap();
        let bytes: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        file.write_at(&bytes, 0).unwrap();
        let mut seen = vec![0; 5_000];
        let probe = File::open(dir.path().join("f")).unwrap();
        let mut byte = [0];
        let parts = &mut [IoSliceMut::new(&mut byte)];
        let known = rustix::io::preadv2(&probe, parts, 0, ReadWriteFlags::NOWAIT);
        // A file system that does not know the flag is read by who may wait.
        assert_eq!(file.read_at_once(&mut seen, 90_000), known.is_ok());
        if known.is_ok() {
            assert_eq!(seen, bytes[90_000..95_000]);
        }
        if let Some(opened) = LocalDisk.open_at_once(&dir.path().join("f")) {
            assert_eq!(opened.len().unwrap(), 100_000);
        }
        assert!(LocalDisk.open_at_once(&dir.path().join("g")).is_none());
        assert!(!file.read_at_once(&mut seen, 95_001));
        assert!(!file.read_at_once(&mut seen, u64::MAX));
    }

    #[test]
    fn names_are_exclusive_and_locks_are_held_once() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let taken = |result: io::Result<()>| result.unwrap_err().kind();
        LocalDisk.create(&a).unwrap();
        assert_eq!(
            taken(LocalDisk.create(&a).map(drop)),
            io::ErrorKind::AlreadyExists
        );
        LocalDisk.hard_link(&a, &b).unwrap();
        assert_eq!(
            taken(LocalDisk.hard_link(&a, &b)),
            io::ErrorKind::AlreadyExists
        );
        let lock = LocalDisk.lock(&dir.path().join("lock")).unwrap();
        assert_eq!(
            taken(LocalDisk.lock(&dir.path().join("lock")).map(drop)),
            io::ErrorKind::WouldBlock
        );
        drop(lock);
        LocalDisk.lock(&dir.path().join("lock")).unwrap();
        let space = LocalDisk.space(dir.path()).unwrap();
        assert!(space.free <= space.total && space.total > 0);
    }

    #[test]
    fn missing_directories_are_created() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        crate::disk::create_dir_durably(&LocalDisk, &deep).unwrap();
        crate::disk::create_dir_durably(&LocalDisk, &deep).unwrap();
        assert!(LocalDisk.metadata(&deep).unwrap().is_dir);
        LocalDisk.create(&deep.join("file")).unwrap();
        assert!(crate::disk::create_dir_durably(&LocalDisk, &deep.join("file")).is_err());
    }
}
