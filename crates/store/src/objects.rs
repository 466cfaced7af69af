//! Objects as files: an [`ObjectStore`] over a [`Disk`], for blocks and manifests.
//!
//! The crate's own local store never syncs. Here an object, its name and the directories above it are
//! durable before a put returns. It is written under `.staging` first, about 1 MiB at a time with a sync
//! behind each, so that no ack of the log waits behind a large one, and gets its name by a hard link: it
//! is there whole or not at all, and [`PutMode::Create`] is exclusive among all processes.
//!
//! A key is a path below the root, part by part; the file's name is the part as the key spells it. Files that are no
//! valid keys are not listed. Directories that a delete leaves empty are removed.
//!
//! A put that fails leaves no name, but after a power cut there may be one: whole, and unknown to whoever
//! was told of the failure. Who asks for it is told that it is absent only once a sync has said so.
//!
//! What it is not: a store for [`PutMode::Update`], for attributes and tags, or for several processes
//! that write at the same time. A finished multipart upload is as exclusive as `Create`: objects are
//! written once, under a fresh name. A delete is not synced: what comes back after a power cut is swept
//! as what no manifest names.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::{Path, PathPart};
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile, FileMetadata, create_dir_durably, parent_of};
use crate::threads;

mod upload;

use upload::{Upload, write_synced};

const STORE: &str = "disk";
const STAGING: &str = ".staging";
/// So much is copied out of memory where a query works, in less than a millisecond; more of it elsewhere.
const AT_ONCE_BYTES: u64 = 4 << 20;
/// An answer up to this size is read in one piece, a larger one is streamed in such pieces.
const PIECE_BYTES: u64 = 4 << 20;

/// Objects below a directory. Clones are the same store.
#[derive(Debug, Clone)]
pub struct DiskObjects {
    files: Arc<Files>,
}

#[derive(Debug)]
struct Files {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    n_staged: AtomicU64,
    /// Directories whose names this process has synced. Held while names come and go, so that no
    /// directory is removed between its creation and its first name.
    durable_dirs: Mutex<HashSet<PathBuf>>,
    /// Names that were taken back and that a power cut may bring back: no sync has said that they are
    /// gone.
    may_come_back: Mutex<HashSet<PathBuf>>,
}

/// A file under `.staging`.
#[derive(Debug)]
struct Staged {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

// === impl DiskObjects ===

impl DiskObjects {
    /// Opens a store; the directory is created if it is not there. What an earlier process left
    /// under `.staging` is removed.
    pub fn open(disk: Arc<dyn Disk>, root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let staging = root.join(STAGING);
        create_dir_durably(&*disk, &staging)?;
        for entry in disk.list(&staging)? {
            disk.remove(&staging.join(entry.name))?;
        }
        Ok(Self::for_reading(disk, root))
    }

    /// Opens a store that another process may own: nothing is created and nothing is removed. To
    /// write to it is not meant.
    pub fn for_reading(disk: Arc<dyn Disk>, root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            files: Arc::new(Files {
                disk,
                durable_dirs: Mutex::new(HashSet::from([root.clone()])),
                root,
                n_staged: AtomicU64::new(0),
                may_come_back: Mutex::default(),
            }),
        }
    }

    /// Runs a call that blocks where it may: on the blocking pool of the runtime, or here if there
    /// is none.
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Arc<Files>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let files = Arc::clone(&self.files);
        blocking(move || call(&files)).await
    }
}

impl fmt::Display for DiskObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk({})", self.files.root.display())
    }
}

#[async_trait]
impl ObjectStore for DiskObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let location = location.clone();
        self.blocking(move |files| {
            let replace = match options.mode {
                PutMode::Create => false,
                PutMode::Overwrite => true,
                PutMode::Update(_) => return Err(not_supported("conditional update")),
            };
            let path = files.path_of(&location)?;
            let staged = files.stage().map_err(|e| failed(&location, e))?;
            let named = write_synced(&*staged.file, &payload, 0)
                .and_then(|()| files.name_staged(&staged, &path, replace));
            files.unstage(&staged);
            named.map_err(|error| failed(&location, error))?;
            files.put_result(&path, &location)
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let location = location.clone();
        self.blocking(move |files| {
            let path = files.path_of(&location)?;
            let staged = files.stage().map_err(|e| failed(&location, e))?;
            let upload = Upload::new(Arc::clone(files), location, path, staged);
            Ok(Box::new(upload) as Box<dyn MultipartUpload>)
        })
        .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let location = location.clone();
        self.blocking(move |files| files.get(location, &options))
            .await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        // A thread that may wait costs more than what is in memory.
        if let Some(pieces) = self.files.at_once(location, ranges) {
            return Ok(pieces);
        }
        let (location, ranges) = (location.clone(), ranges.to_vec());
        self.blocking(move |files| {
            let path = files.path_of(&location)?;
            let read = || -> io::Result<Vec<Bytes>> {
                let file = files.disk.open_read(&path)?;
                ranges
                    .into_iter()
                    .map(|range| read_range(&*file, range))
                    .collect()
            };
            read().map_err(|error| failed(&location, error))
        })
        .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .then(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    store.blocking(move |files| files.delete(location)).await
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = self.clone();
        let prefix = prefix.cloned().unwrap_or_default();
        let found = async move { store.blocking(move |files| files.list_all(&prefix)).await };
        stream::once(found)
            .flat_map(|found| match found {
                Ok(objects) => stream::iter(objects.into_iter().map(Ok)).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        self.blocking(move |files| files.list_one(&prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (from, to) = (from.clone(), to.clone());
        self.blocking(move |files| {
            let (old, new) = (files.path_of(&from)?, files.path_of(&to)?);
            // Objects never change, so that a second name is a copy.
            files
                .link(&old, &new, options.mode == CopyMode::Overwrite)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => failed(&to, error),
                    _ => failed(&from, error),
                })
        })
        .await
    }
}

// === impl Files ===

impl Files {
    fn path_of(&self, location: &Path) -> Result<PathBuf> {
        let mut path = self.root.clone();
        if location.is_root() || location.parts().next() == Some(PathPart::from(STAGING)) {
            return Err(not_supported("this key"));
        }
        for part in location.parts() {
            let part = part.as_ref();
            // The type promises it; a path outside of the root must be impossible here.
            if part.is_empty() || part == "." || part == ".." || part.contains(['/', '\0']) {
                return Err(not_supported("this key"));
            }
            path.push(part);
        }
        Ok(path)
    }

    /// Ranges of an object, if all of them lie in memory. What is amiss is told by who reads them next.
    fn at_once(&self, location: &Path, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        let mut lens = ranges
            .iter()
            .map(|range| range.end.saturating_sub(range.start));
        if lens.try_fold(0, u64::checked_add)? > AT_ONCE_BYTES {
            return None;
        }
        let file = self.disk.open_at_once(&self.path_of(location).ok()?)?;
        let read = |range: &Range<u64>| {
            let n = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
            let mut bytes = vec![0; n];
            file.read_at_once(&mut bytes, range.start)
                .then(|| Bytes::from(bytes))
        };
        ranges.iter().map(read).collect()
    }

    fn dir_of(&self, prefix: &Path) -> PathBuf {
        let parts = prefix.parts();
        parts.fold(self.root.clone(), |path, part| path.join(part.as_ref()))
    }

    fn stage(&self) -> io::Result<Staged> {
        let number = self.n_staged.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(STAGING).join(format!("{number:016x}"));
        let file = self.disk.create(&path)?;
        Ok(Staged { path, file })
    }

    /// Removes the staging name. What is left is removed by the next start.
    fn unstage(&self, staged: &Staged) {
        if let Err(error) = self.disk.remove(&staged.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %staged.path.display(), %error, "staged file was not removed");
        }
    }

    /// Gives a synced file its name, durably.
    fn name_staged(&self, staged: &Staged, path: &FilePath, replace: bool) -> io::Result<()> {
        if replace {
            self.with_dirs(path, || self.disk.rename(&staged.path, path))
        } else {
            self.link_new(&staged.path, path)
        }
    }

    /// A name that is not durable is taken back. Until a sync says that it is gone it may come back
    /// with the file, and nobody is told that it is absent.
    fn link_new(&self, from: &FilePath, to: &FilePath) -> io::Result<()> {
        let is_linked = AtomicBool::new(false);
        let link = || {
            let linked = self.disk.hard_link(from, to);
            is_linked.store(linked.is_ok(), Ordering::Relaxed);
            linked
        };
        let named = self.with_dirs(to, link);
        if named.is_err() && is_linked.into_inner() {
            self.may_come_back.lock().insert(to.to_owned());
            if let Err(error) = self.disk.remove(to) {
                tracing::warn!(path = %to.display(), %error, "unsynced name was not removed");
            }
        }
        named
    }

    /// Says of a name that is not there that it stays so, or fails.
    fn settle_absence(&self, path: &FilePath) -> io::Result<()> {
        if !self.may_come_back.lock().contains(path) {
            return Ok(());
        }
        self.disk.sync_dir(parent_of(path))?;
        self.may_come_back.lock().remove(path);
        Ok(())
    }

    /// Gives an object another name, durably.
    fn link(&self, from: &FilePath, to: &FilePath, replace: bool) -> io::Result<()> {
        if !replace {
            return self.link_new(from, to);
        }
        // A link replaces nothing, a rename does: through a name of its own.
        let number = self.n_staged.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(STAGING).join(format!("{number:016x}"));
        self.disk.hard_link(from, &path)?;
        let renamed = self.with_dirs(to, || self.disk.rename(&path, to));
        // A rename to another name of the same file does nothing.
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => renamed,
        }
    }

    /// Makes a name below directories that are durable, and makes it durable.
    fn with_dirs(&self, path: &FilePath, make_name: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let dir = parent_of(path);
        let mut durable_dirs = self.durable_dirs.lock();
        self.make_dirs(&mut durable_dirs, dir)?;
        let made = match make_name() {
            // Somebody else may have removed a directory that was empty.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                durable_dirs.retain(|dir| *dir == self.root);
                self.make_dirs(&mut durable_dirs, dir)?;
                make_name()
            }
            made => made,
        };
        if made.is_err() {
            self.prune(&mut durable_dirs, dir);
        }
        drop(durable_dirs);
        made?;
        self.disk.sync_dir(dir)
    }

    /// Removes directories that hold nothing, from this one up.
    fn prune(&self, durable: &mut HashSet<PathBuf>, dir: &FilePath) {
        for dir in dir.ancestors() {
            if dir == self.root || self.disk.remove_dir(dir).is_err() {
                // In use by another object, or gone already.
                break;
            }
            durable.remove(dir);
        }
    }

    /// Creates what is missing below the root, and syncs each name once in this process: an earlier
    /// one may have been killed before it did.
    fn make_dirs(&self, durable: &mut HashSet<PathBuf>, dir: &FilePath) -> io::Result<()> {
        let mut missing: Vec<&FilePath> = dir
            .ancestors()
            .take_while(|dir| !durable.contains(*dir))
            .collect();
        while let Some(dir) = missing.pop() {
            self.disk.create_dir_all(dir)?;
            self.disk.sync_dir(parent_of(dir))?;
            durable.insert(dir.to_owned());
        }
        Ok(())
    }

    fn get(self: &Arc<Self>, location: Path, options: &GetOptions) -> Result<GetResult> {
        let path = self.path_of(&location)?;
        let open = || -> io::Result<_> {
            let metadata = match self.disk.metadata(&path) {
                Err(error) if is_absent(&error) => {
                    self.settle_absence(&path)?;
                    return Err(error);
                }
                metadata => metadata?,
            };
            if metadata.is_dir {
                return Err(io::ErrorKind::NotFound.into());
            }
            Ok((self.disk.open_read(&path)?, metadata))
        };
        let (file, metadata) = open().map_err(|error| failed(&location, error))?;
        let meta = object_meta(location.clone(), metadata);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => range.as_range(meta.size).map_err(generic)?,
            None => 0..meta.size,
        };
        let pieces = if options.head {
            stream::empty().boxed()
        } else if range.end - range.start <= PIECE_BYTES {
            let bytes = read_range(&*file, range.clone()).map_err(|e| failed(&location, e))?;
            stream::iter([Ok(bytes)]).boxed()
        } else {
            stream_range(file, location, range.clone())
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(pieces),
            meta,
            range,
            attributes: object_store::Attributes::new(),
        })
    }

    fn put_result(&self, path: &FilePath, location: &Path) -> Result<PutResult> {
        let metadata = self.disk.metadata(path).map_err(|e| failed(location, e))?;
        Ok(PutResult {
            e_tag: Some(e_tag(metadata)),
            version: None,
        })
    }

    fn delete(&self, location: Path) -> Result<Path> {
        let path = self.path_of(&location)?;
        let mut durable_dirs = self.durable_dirs.lock();
        self.disk.remove(&path).map_err(|e| failed(&location, e))?;
        self.prune(&mut durable_dirs, parent_of(&path));
        Ok(location)
    }

    fn list_all(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        let mut waiting = vec![prefix.clone()];
        while let Some(prefix) = waiting.pop() {
            let one = self.list_one(&prefix)?;
            found.extend(one.objects);
            waiting.extend(one.common_prefixes);
        }
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    fn list_one(&self, prefix: &Path) -> Result<ListResult> {
        let dir = self.dir_of(prefix);
        let entries = match self.disk.list(&dir) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => Vec::new(),
            Err(error) => return Err(failed(prefix, error)),
        };
        let mut list = ListResult {
            common_prefixes: Vec::new(),
            objects: Vec::new(),
        };
        for entry in entries {
            let Ok(part) = PathPart::parse(&entry.name) else {
                continue;
            };
            if prefix.is_root() && entry.name == STAGING {
                continue;
            }
            let location = prefix.clone().join(part);
            if entry.is_dir {
                list.common_prefixes.push(location);
                continue;
            }
            match self.disk.metadata(&dir.join(&entry.name)) {
                Ok(metadata) => list.objects.push(object_meta(location, metadata)),
                // Deleted since the directory was read.
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(failed(&location, error)),
            }
        }
        list.common_prefixes.sort();
        list.objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(list)
    }
}

/// Runs a call that blocks on the blocking pool of the runtime, or here if there is none or this is a
/// thread of the store: to wake another thread and be woken by it costs more than most reads do.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) if !threads::may_block() => {
            runtime.spawn_blocking(call).await.map_err(generic)?
        }
        _ => call(),
    }
}

/// The bytes of a range; one that ends behind the file is cut, as every object store does.
fn read_range(file: &dyn DiskFile, range: Range<u64>) -> io::Result<Bytes> {
    let end = range.end.min(file.len()?);
    if range.start > end {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("range starts at {} of {end} bytes", range.start),
        ));
    }
    let mut bytes = vec![0; (end - range.start) as usize];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

fn stream_range(
    file: Arc<dyn DiskFile>,
    location: Path,
    range: Range<u64>,
) -> BoxStream<'static, Result<Bytes>> {
    let pieces = (range.start..range.end).step_by(PIECE_BYTES as usize);
    stream::iter(pieces)
        .then(move |start| {
            let (file, location) = (Arc::clone(&file), location.clone());
            let piece = start..range.end.min(start + PIECE_BYTES);
            blocking(move || read_range(&*file, piece).map_err(|e| failed(&location, e)))
        })
        .boxed()
}

fn object_meta(location: Path, metadata: FileMetadata) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: metadata.modified.into(),
        size: metadata.len,
        e_tag: Some(e_tag(metadata)),
        version: None,
    }
}

fn e_tag(metadata: FileMetadata) -> String {
    let since = metadata.modified.duration_since(std::time::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    format!("{nanos:x}-{:x}", metadata.len)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn failed(location: &Path, error: io::Error) -> Error {
    let path = location.to_string();
    let source = Box::new(error);
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            Error::NotFound { path, source }
        }
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source },
        _ => Error::Generic {
            store: STORE,
            source,
        },
    }
}

fn generic(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic {
        store: STORE,
        source: Box::new(source),
    }
}

fn not_supported(what: &'static str) -> Error {
    Error::NotSupported {
        source: format!("{what} is not supported on a disk").into(),
    }
}
