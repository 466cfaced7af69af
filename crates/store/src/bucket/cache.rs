//! Objects of a bucket, read through pieces on the local disk.
//!
//! Blocks never change, so a piece of one is right for as long as it is whole. Ranges are read in pieces
//! of [`PIECE_BYTES`], those that lie side by side in one request; what is uploaded leaves its pieces here,
//! so that what was written is not read back. Each piece is a file with a checksum, written without a
//! sync: one that a power cut or the disk has spoiled is fetched again. The least recently used go when
//! the cache is full or the volume is. What this is not: a cache of listings, manifests or anything else
//! that could go stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use foldhash::fast::RandomState;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use hashbrown::HashMap;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use super::remote::{CALL_MAX, within};
use crate::disk::Disk;
use crate::metrics::StoreMetrics;
use crate::objects::blocking;

/// What is fetched and kept as one. A page of a block has 32 KiB, a footer some hundred: a request to an
/// object store takes as long as half a megabyte.
pub const PIECE_BYTES: u64 = 512 << 10;
/// Pieces that lie side by side come in one request, up to so many.
const PIECES_JOINED: u64 = 16;
/// Requests of one read that run at the same time.
const REQUESTS_AT_ONCE: usize = 8;

const MAGIC: [u8; 8] = *b"TWPIECE\0";
const HEADER_BYTES: usize = 24;
/// Between a name and the number of a piece.
const MARK: char = '~';

/// An [`ObjectStore`] that keeps what is read of blocks. Clones share the pieces.
#[derive(Debug, Clone)]
pub struct CachedObjects {
    remote: Arc<dyn ObjectStore>,
    pieces: Arc<Pieces>,
}

/// The pieces on the local disk.
#[derive(Debug)]
struct Pieces {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    bytes_max: u64,
    /// Of the volume, left free.
    reserve_bytes: u64,
    index: Mutex<Index>,
    n_staged: AtomicU64,
    metrics: Arc<StoreMetrics>,
}

#[derive(Debug, Default)]
struct Index {
    pieces: HashMap<PieceKey, Known, RandomState>,
    /// The least recently used first.
    by_use: BTreeMap<u64, PieceKey>,
    bytes: u64,
    /// Of pieces that are being written.
    writing: u64,
    tick: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PieceKey {
    /// Folder and name of the file within its block.
    folder: String,
    file: String,
    number: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    bytes: u64,
    used: u64,
}

/// What a cache holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    pub bytes: u64,
    pub bytes_max: u64,
    pub pieces: u64,
}

// === impl CachedObjects ===

impl CachedObjects {
    /// Opens a cache; what an earlier process left in the directory counts.
    pub fn open(
        remote: Arc<dyn ObjectStore>,
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        (bytes_max, reserve_bytes): (u64, u64),
        metrics: Arc<StoreMetrics>,
    ) -> io::Result<Self> {
        disk.create_dir_all(&dir)?;
        let pieces = Pieces {
            disk,
            dir,
            bytes_max,
            reserve_bytes,
            index: Mutex::default(),
            n_staged: AtomicU64::new(0),
            metrics,
        };
        pieces.find()?;
        Ok(Self {
            remote,
            pieces: Arc::new(pieces),
        })
    }

    pub fn stats(&self) -> CacheStats {
        let index = self.pieces.index.lock();
        CacheStats {
            bytes: index.bytes,
            bytes_max: self.pieces.bytes_max,
            pieces: index.pieces.len() as u64,
        }
    }

    /// Keeps a stretch of an object that is known here: it begins with a piece, and ends with one or with
    /// the object.
    pub async fn keep(&self, location: &Path, offset: u64, bytes: Bytes, object_bytes: u64) {
        let Some((folder, file)) = place_of(location) else {
            return;
        };
        let pieces = Arc::clone(&self.pieces);
        let keep = move || {
            for (n, start) in (0..bytes.len()).step_by(PIECE_BYTES as usize).enumerate() {
                let end = bytes.len().min(start + PIECE_BYTES as usize);
                let key = PieceKey {
                    folder: folder.clone(),
                    file: file.clone(),
                    number: offset / PIECE_BYTES + n as u64,
                };
                pieces.put(key, &bytes.slice(start..end), object_bytes);
            }
            Ok(())
        };
        // What cannot be kept is fetched when it is asked for.
        drop(blocking(keep).await);
    }

    /// Deletes what is kept of the objects of a folder: of a block that is gone.
    pub async fn forget(&self, folder: &Path) {
        let Some(folder) = folder.filename().map(str::to_owned) else {
            return;
        };
        let pieces = Arc::clone(&self.pieces);
        let forget = move || {
            pieces.forget(&folder);
            Ok(())
        };
        // What stays goes when room is needed.
        drop(blocking(forget).await);
    }

    /// The bytes of a piece, and of its object.
    async fn kept(&self, key: &PieceKey) -> Option<(Bytes, u64)> {
        let (pieces, key) = (Arc::clone(&self.pieces), key.clone());
        blocking(move || Ok(pieces.get(&key))).await.ok().flatten()
    }

    /// Fetches a run of pieces in one request, and keeps them.
    async fn fetch(&self, location: &Path, run: Range<u64>) -> Result<(Range<u64>, Bytes)> {
        let wanted = run.start * PIECE_BYTES..run.end * PIECE_BYTES;
        let options = GetOptions {
            range: Some(GetRange::Bounded(wanted.clone())),
            ..GetOptions::default()
        };
        let get = async {
            let found = self.remote.get_opts(location, options).await?;
            let size = found.meta.size;
            Ok((found.bytes().await?, size))
        };
        let (bytes, size) = within(CALL_MAX, get).await?;
        let metrics = &self.pieces.metrics;
        StoreMetrics::add(&metrics.bucket_reads, 1);
        StoreMetrics::add(&metrics.bucket_bytes_read, bytes.len() as u64);
        self.keep(location, wanted.start, bytes.clone(), size).await;
        Ok((wanted.start..wanted.start + bytes.len() as u64, bytes))
    }

    async fn read_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let Some((folder, file)) = place_of(location) else {
            return within(CALL_MAX, self.remote.get_ranges(location, ranges)).await;
        };
        let wanted: BTreeSet<u64> = ranges
            .iter()
            .filter(|range| range.start < range.end)
            .flat_map(|range| range.start / PIECE_BYTES..range.end.div_ceil(PIECE_BYTES))
            .collect();
        let mut found: BTreeMap<u64, (Range<u64>, Bytes)> = BTreeMap::new();
        let mut missing = Vec::new();
        for number in wanted {
            let key = PieceKey {
                folder: folder.clone(),
                file: file.clone(),
                number,
            };
            match self.kept(&key).await {
                Some((bytes, _)) => {
                    let start = number * PIECE_BYTES;
                    found.insert(start, (start..start + bytes.len() as u64, bytes));
                }
                None => missing.push(number),
            }
        }
        let fetched: Vec<_> = stream::iter(runs(&missing))
            .map(|run| self.fetch(location, run))
            .buffered(REQUESTS_AT_ONCE)
            .try_collect()
            .await?;
        found.extend(
            fetched
                .into_iter()
                .map(|(at, bytes)| (at.start, (at, bytes))),
        );
        ranges.iter().map(|range| cut(&found, range)).collect()
    }

    /// The length of an object of which a piece is kept.
    async fn size(&self, location: &Path) -> Option<u64> {
        let (folder, file) = place_of(location)?;
        let key = PieceKey {
            folder,
            file,
            number: 0,
        };
        self.kept(&key).await.map(|(_, size)| size)
    }

    /// A whole object, if it is a single piece that is kept.
    async fn small(&self, location: &Path) -> Option<Bytes> {
        let (folder, file) = place_of(location)?;
        let key = PieceKey {
            folder,
            file,
            number: 0,
        };
        let (bytes, size) = self.kept(&key).await?;
        (bytes.len() as u64 == size).then_some(bytes)
    }
}

impl fmt::Display for CachedObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cached({})", self.remote)
    }
}

#[async_trait]
impl ObjectStore for CachedObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.remote.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.remote.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_plain = options.range.is_none()
            && options.if_match.is_none()
            && options.if_none_match.is_none()
            && options.if_modified_since.is_none()
            && options.if_unmodified_since.is_none()
            && options.version.is_none()
            && !options.head;
        if options.head
            && let Some(size) = self.size(location).await
        {
            return Ok(whole(location, size, Bytes::new()));
        }
        if !is_plain {
            return within(CALL_MAX, self.remote.get_opts(location, options)).await;
        }
        let bytes = match self.small(location).await {
            Some(bytes) => bytes,
            None => {
                let get = async { self.remote.get_opts(location, options).await?.bytes().await };
                let bytes = within(CALL_MAX, get).await?;
                let metrics = &self.pieces.metrics;
                StoreMetrics::add(&metrics.bucket_reads, 1);
                StoreMetrics::add(&metrics.bucket_bytes_read, bytes.len() as u64);
                self.keep(location, 0, bytes.clone(), bytes.len() as u64)
                    .await;
                bytes
            }
        };
        Ok(whole(location, bytes.len() as u64, bytes))
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.read_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.remote.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.remote.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.remote.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.remote.copy_opts(from, to, options).await
    }
}

// === impl Pieces ===

impl Pieces {
    /// Takes in what lies in the directory; what is none of ours by its name is left alone.
    fn find(&self) -> io::Result<()> {
        let mut index = self.index.lock();
        for folder in self.disk.list(&self.dir)? {
            if !folder.is_dir {
                continue;
            }
            let path = self.dir.join(&folder.name);
            for file in self.disk.list(&path)? {
                let Some((name, number)) = parse_name(&file.name) else {
                    if file.name.ends_with(STAGED) {
                        drop(self.disk.remove(&path.join(&file.name)));
                    }
                    continue;
                };
                let bytes = self.disk.metadata(&path.join(&file.name))?.len;
                let key = PieceKey {
                    folder: folder.name.clone(),
                    file: name.to_owned(),
                    number,
                };
                index.insert(key, bytes);
            }
        }
        drop(index);
        self.take_room(0);
        Ok(())
    }

    fn path_of(&self, key: &PieceKey) -> PathBuf {
        let PieceKey {
            folder,
            file,
            number,
        } = key;
        self.dir.join(folder).join(format!("{file}{MARK}{number}"))
    }

    fn get(&self, key: &PieceKey) -> Option<(Bytes, u64)> {
        if !self.index.lock().touch(key) {
            return None;
        }
        let read = || -> io::Result<Option<(Bytes, u64)>> {
            let file = self.disk.open_read(&self.path_of(key))?;
            let mut bytes = vec![0; file.len()? as usize];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(decode(bytes.into()))
        };
        match read() {
            Ok(Some(piece)) => Some(piece),
            seen => {
                if matches!(seen, Ok(None)) {
                    tracing::warn!(piece = ?key, "a cached piece is damaged and is fetched again");
                    StoreMetrics::add(&self.metrics.cache_pieces_damaged, 1);
                }
                self.remove(key);
                None
            }
        }
    }

    /// Keeps a piece. What cannot be kept is no loss.
    fn put(&self, key: PieceKey, bytes: &[u8], object_bytes: u64) {
        let n_bytes = (HEADER_BYTES + bytes.len()) as u64;
        if n_bytes > self.bytes_max || !self.take_room(n_bytes) {
            return;
        }
        let path = self.path_of(&key);
        let dir = self.dir.join(&key.folder);
        let number = self.n_staged.fetch_add(1, Ordering::Relaxed);
        let staged = dir.join(format!("{number:016x}{STAGED}"));
        let write = || -> io::Result<()> {
            self.disk.create_dir_all(&dir)?;
            let file = self.disk.create(&staged)?;
            file.write_at(&header(bytes, object_bytes), 0)?;
            file.write_at(bytes, HEADER_BYTES as u64)?;
            self.disk.rename(&staged, &path)
        };
        let written = write();
        let mut index = self.index.lock();
        index.writing -= n_bytes;
        match written {
            Ok(()) => index.insert(key, n_bytes),
            Err(error) => {
                drop(index);
                tracing::debug!(path = %path.display(), %error, "a piece was not kept");
                drop(self.disk.remove(&staged));
            }
        }
    }

    /// Lets the least recently used go until there is room, and takes that. False where it does not help.
    fn take_room(&self, n_bytes: u64) -> bool {
        loop {
            let space = self.disk.space(&self.dir);
            let needed = self.reserve_bytes.saturating_add(n_bytes);
            let is_low = space.is_ok_and(|space| space.free < needed);
            let oldest = {
                let mut index = self.index.lock();
                let is_full = index.bytes + index.writing + n_bytes > self.bytes_max;
                if !is_full && !is_low {
                    index.writing += n_bytes;
                    return true;
                }
                index.oldest()
            };
            let Some(oldest) = oldest else {
                return false;
            };
            self.remove(&oldest);
            StoreMetrics::add(&self.metrics.cache_pieces_evicted, 1);
        }
    }

    fn remove(&self, key: &PieceKey) {
        self.index.lock().remove(key);
        drop(self.disk.remove(&self.path_of(key)));
        // The last one takes the folder along.
        drop(self.disk.remove_dir(&self.dir.join(&key.folder)));
    }

    fn forget(&self, folder: &str) {
        let keys: Vec<PieceKey> = {
            let index = self.index.lock();
            let of_folder = index.pieces.keys().filter(|key| key.folder == folder);
            of_folder.cloned().collect()
        };
        keys.iter().for_each(|key| self.remove(key));
    }
}

// === impl Index ===

impl Index {
    fn insert(&mut self, key: PieceKey, bytes: u64) {
        self.remove(&key);
        self.tick += 1;
        self.bytes += bytes;
        self.by_use.insert(self.tick, key.clone());
        let used = self.tick;
        self.pieces.insert(key, Known { bytes, used });
    }

    /// True if the piece is known; then it is the one that was used last.
    fn touch(&mut self, key: &PieceKey) -> bool {
        let Some(known) = self.pieces.get_mut(key) else {
            return false;
        };
        self.tick += 1;
        self.by_use.remove(&known.used);
        known.used = self.tick;
        self.by_use.insert(self.tick, key.clone());
        true
    }

    fn remove(&mut self, key: &PieceKey) {
        if let Some(known) = self.pieces.remove(key) {
            self.by_use.remove(&known.used);
            self.bytes -= known.bytes;
        }
    }

    fn oldest(&self) -> Option<PieceKey> {
        self.by_use.values().next().cloned()
    }
}

const STAGED: &str = ".staged";

/// What a get of a whole object gives.
fn whole(location: &Path, size: u64, bytes: Bytes) -> GetResult {
    GetResult {
        payload: GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed()),
        meta: ObjectMeta {
            location: location.clone(),
            last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
            size,
            e_tag: None,
            version: None,
        },
        range: 0..size,
        attributes: object_store::Attributes::default(),
    }
}

/// Folder and name of an object of a block; `None` for anything else.
fn place_of(location: &Path) -> Option<(String, String)> {
    let mut parts: Vec<String> = location
        .parts()
        .map(|part| part.as_ref().to_owned())
        .collect();
    let (file, folder, blocks) = (parts.pop()?, parts.pop()?, parts.pop()?);
    (blocks == "blocks" && !file.contains(MARK)).then_some((folder, file))
}

fn parse_name(name: &str) -> Option<(&str, u64)> {
    let (name, number) = name.rsplit_once(MARK)?;
    Some((name, number.parse().ok()?))
}

/// Stretches of numbers that lie side by side.
fn runs(numbers: &[u64]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some(run) if run.end == number && run.end - run.start < PIECES_JOINED => run.end += 1,
            _ => runs.push(number..number + 1),
        }
    }
    runs
}

/// A range out of stretches that cover it.
fn cut(found: &BTreeMap<u64, (Range<u64>, Bytes)>, range: &Range<u64>) -> Result<Bytes> {
    let mut bytes: Vec<Bytes> = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let stretch = found.range(..=at).next_back().map(|(_, stretch)| stretch);
        let Some((around, held)) = stretch.filter(|(around, _)| around.end > at) else {
            // Behind the end of the object: cut there, as every object store does.
            break;
        };
        let end = around.end.min(range.end);
        let from = (at - around.start) as usize;
        bytes.push(held.slice(from..from + (end - at) as usize));
        at = end;
    }
    match bytes.len() {
        0 | 1 => Ok(bytes.pop().unwrap_or_default()),
        _ => Ok(bytes.concat().into()),
    }
}

fn header(bytes: &[u8], object_bytes: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let (magic, rest) = header.split_at_mut(8);
    magic.copy_from_slice(&MAGIC);
    let (length, size) = rest.split_at_mut(8);
    let (length, sum) = length.split_at_mut(4);
    length.copy_from_slice(&(bytes.len() as u32).to_le_bytes());
    size.copy_from_slice(&object_bytes.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(size), bytes);
    sum.copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The bytes of a piece and the length of its object, if the file is what was written.
fn decode(file: Bytes) -> Option<(Bytes, u64)> {
    let (seen, _) = file.split_first_chunk::<HEADER_BYTES>()?;
    let size = u64::from_le_bytes(*seen.last_chunk::<8>()?);
    let bytes = file.slice(HEADER_BYTES..);
    (header(&bytes, size) == *seen).then_some((bytes, size))
}

#[cfg(test)]
mod tests;
