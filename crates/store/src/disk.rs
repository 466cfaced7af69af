//! The one narrow seam between the store and files.
//!
//! Everything in this crate that touches a file goes through [`Disk`]: the write-ahead log directly,
//! blocks and manifests through [`crate::objects::DiskObjects`]. So the recording disk of the testkit
//! stands behind all of it, and can say what is left after a power cut.
//!
//! It is not an async interface: calls block, and callers run them on threads of their own or on the
//! blocking pool. It maps nothing into memory. What survives a power cut is only what the caller
//! synced: the content of a file by [`DiskFile::sync_data`], its name (and a removal, rename or link)
//! by [`Disk::sync_dir`] of the directory that holds the name.
//!
//! Read next: [`crate::wal`] and [`crate::objects`].

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

mod local;

pub use local::LocalDisk;

/// A file system, as much of one as the store needs.
pub trait Disk: Send + Sync + Debug {
    /// Creates a file for reading and writing. `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file that exists, for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file that exists, for reading alone.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading if that needs nothing of a device; `None` if it does, or nobody knows.
    fn open_at_once(&self, _path: &Path) -> Option<Arc<dyn DiskFile>> {
        None
    }
    fn metadata(&self, path: &Path) -> io::Result<FileMetadata>;
    /// What lies in a directory, without order. Names that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirectoryEntry>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory that is empty.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, atomically; a file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name. `AlreadyExists` if it is taken: the put-if-absent of this seam.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Creates a directory and those above it where they are missing. Syncs none of them; see
    /// [`create_dir_durably`].
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Returns when the names in a directory are durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Of the volume that holds a path.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;
    /// Takes a file as a lock against other processes, and creates it if needed. The lock is held
    /// until the value is dropped or the process ends. `WouldBlock` if somebody holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file. Calls may come from several threads at once.
pub trait DiskFile: Send + Sync + Debug {
    /// Fills the buffer as far as the file goes; returns less than its length only at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Fills the buffer if all of its bytes are in memory, without waiting for a device. False where they are not,
    /// or nobody knows; the buffer then holds anything.
    fn read_at_once(&self, _buffer: &mut [u8], _offset: u64) -> bool {
        false
    }
    /// Writes all of the bytes; the file grows where needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Writes all of the parts one behind the other. The slices are used up.
    fn write_vectored_at(&self, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Returns when everything written so far, and the length, is durable. After an error nobody
    /// knows what is on disk, and a second call may lie: give the file up.
    fn sync_data(&self) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills the whole buffer; `UnexpectedEof` where the file is too short.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let seen = self.read_at(buffer, offset)?;
        if seen == buffer.len() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!(
                "{seen} of {} bytes at offset {offset}, then the file ends",
                buffer.len()
            ),
        ))
    }
}

/// Holds a lock for as long as it lives.
pub trait DiskLock: Send + Sync + Debug {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMetadata {
    pub len: u64,
    pub modified: SystemTime,
    pub is_dir: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub name: String,
    pub is_dir: bool,
}

/// Bytes of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// What this process may still use.
    pub free: u64,
    pub total: u64,
    /// Two paths whose volumes have one number lie on one.
    pub volume: u64,
}

/// Creates a directory and those above it, and returns when the name of each one created is durable.
/// Where the directory and the one above it are there already, their names are synced too: a process
/// before may have been killed before it did. Those further up are the operator's.
pub fn create_dir_durably(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let all: Vec<&Path> = path
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty())
        .collect();
    for (level, dir) in all.into_iter().enumerate().rev() {
        let is_new = match disk.metadata(dir) {
            Ok(metadata) if metadata.is_dir => false,
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    format!("{} is a file, not a directory", dir.display()),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        if is_new {
            disk.create_dir_all(dir)?;
        } else if level > 1 {
            continue;
        }
        match disk.sync_dir(parent_of(dir)) {
            // Directories of the system, which we did not make and may not touch.
            Err(error) if !is_new && is_refused(&error) => {}
            synced => synced?,
        }
    }
    Ok(())
}

fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Unsupported
    )
}

/// The directory that holds the name of a path; a bare name lies in the working directory.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}
