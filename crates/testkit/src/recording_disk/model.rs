//! What is in the caches and what is on the medium, and what a power cut makes of both.

use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tracewell_store::disk::{DirectoryEntry, parent_of};

use super::{Names, system_time};

/// What a disk writes as one piece, if it is not torn.
const SECTOR_BYTES: u64 = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Directory,
    File(Inode),
}

/// One recorded change or sync.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Create {
        path: PathBuf,
        inode: Inode,
        unix_nano: u64,
    },
    Write {
        inode: Inode,
        offset: u64,
        bytes: Arc<[u8]>,
        unix_nano: u64,
    },
    SetLen {
        inode: Inode,
        len: u64,
    },
    Sync(Inode),
    /// What waited then may or may not be on the medium; no later sync puts it there.
    SyncFailed(Inode),
    Remove(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    CreateDirectory(PathBuf),
    SyncDirectory(PathBuf),
}

#[derive(Debug, Clone)]
pub(super) struct Model {
    files: Vec<Content>,
    names: Names,
    durable_names: Names,
    /// Changes of names that no sync of their directory has followed.
    pending_names: Vec<NameChange>,
    /// Of files that have a name, kept up with every change: summing them anew took most of a replay.
    used_bytes: u64,
}

#[derive(Debug, Clone, Default)]
struct Content {
    // Shared until they change: thousands of cuts are made of one record.
    current: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    pending: Vec<Change>,
    /// Changes whose sync failed.
    adrift: Vec<Change>,
    unix_nano: u64,
    /// In [`Model::names`].
    n_names: usize,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Arc<[u8]>),
    SetLen(u64),
}

/// Names in one directory that change together.
#[derive(Debug, Clone)]
struct NameChange {
    dir: PathBuf,
    set: Vec<(PathBuf, Option<Node>)>,
}

/// How much of what was not synced survives.
#[derive(Debug, Clone, Copy)]
struct Luck {
    /// Chance of a sector or name, in percent.
    percent: u32,
    /// Names survive in the order of their changes, up to some point.
    names_in_order: bool,
}

// === impl Operation ===

impl Operation {
    pub(super) fn is_sync(&self) -> bool {
        matches!(self, Self::Sync(_) | Self::SyncDirectory(_))
    }
}

// === impl Model ===

impl Model {
    pub(super) fn new() -> Self {
        let names = Names::from([(PathBuf::from("/"), Node::Directory)]);
        Self {
            files: Vec::new(),
            durable_names: names.clone(),
            names,
            pending_names: Vec::new(),
            used_bytes: 0,
        }
    }

    pub(super) fn next_inode(&self) -> Inode {
        Inode(self.files.len())
    }

    pub(super) fn node(&self, path: &Path) -> io::Result<Node> {
        let node = self.names.get(path).copied();
        node.ok_or_else(|| io::Error::new(ErrorKind::NotFound, path.display().to_string()))
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<Inode> {
        match self.node(path)? {
            Node::File(inode) => Ok(inode),
            Node::Directory => Err(ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn bytes(&self, inode: Inode) -> &[u8] {
        self.files.get(inode.0).map_or(&[], |file| &file.current)
    }

    pub(super) fn modified(&self, inode: Inode) -> SystemTime {
        system_time(self.files.get(inode.0).map_or(0, |file| file.unix_nano))
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    pub(super) fn bytes_below(&self, folder: &Path) -> u64 {
        let files = self
            .names
            .iter()
            .filter(|(path, _)| path.starts_with(folder));
        let bytes = files.map(|(_, node)| match node {
            Node::File(inode) => self.bytes(*inode).len() as u64,
            Node::Directory => 0,
        });
        bytes.sum()
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        let is_file = |node: &Node| matches!(node, Node::File(_));
        let files = self.names.iter().filter(|(_, node)| is_file(node));
        files.map(|(path, _)| path.clone()).collect()
    }

    pub(super) fn must_be_directory(&self, path: &Path) -> io::Result<()> {
        match self.node(path)? {
            Node::Directory => Ok(()),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.must_be_directory(dir)?;
        // In the order of paths a directory is followed by all that lies below it. Paths are compared as
        // bytes, because part by part takes longer than everything else here.
        let behind = (Bound::Excluded(dir), Bound::Unbounded);
        let below = self.names.range::<Path, _>(behind);
        let below = below.take_while(|(path, _)| is_below(path, dir));
        Ok(below
            .filter(|(path, _)| parent_of(path).as_os_str() == dir.as_os_str())
            .map(|(path, node)| DirectoryEntry {
                name: path
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned())
                    .unwrap_or_default(),
                is_dir: *node == Node::Directory,
            })
            .collect())
    }

    pub(super) fn apply(&mut self, operation: &Operation) -> io::Result<()> {
        match operation {
            Operation::Create {
                path,
                inode,
                unix_nano,
            } => {
                self.must_be_free(path)?;
                self.files.push(Content {
                    unix_nano: *unix_nano,
                    ..Content::default()
                });
                self.change_names(parent_of(path), vec![(path, Some(Node::File(*inode)))])?;
            }
            Operation::Write {
                inode,
                offset,
                bytes,
                unix_nano,
            } => {
                self.update(*inode, |file| {
                    file.unix_nano = *unix_nano;
                    file.change(Change::Write(*offset, Arc::clone(bytes)));
                })?;
            }
            Operation::SetLen { inode, len } => {
                self.update(*inode, |file| file.change(Change::SetLen(*len)))?;
            }
            Operation::Sync(inode) => self.content(*inode)?.sync(),
            Operation::SyncFailed(inode) => {
                let file = self.content(*inode)?;
                file.adrift.append(&mut file.pending);
            }
            Operation::Remove(path) => {
                self.node(path)?;
                self.change_names(parent_of(path), vec![(path, None)])?;
            }
            Operation::Rename { from, to } => self.rename(from, to)?,
            Operation::Link { from, to } => {
                let inode = self.file(from)?;
                self.must_be_free(to)?;
                self.change_names(parent_of(to), vec![(to, Some(Node::File(inode)))])?;
            }
            Operation::CreateDirectory(path) => {
                self.must_be_free(path)?;
                self.change_names(parent_of(path), vec![(path, Some(Node::Directory))])?;
            }
            Operation::SyncDirectory(dir) => self.sync_names(dir),
        }
        Ok(())
    }

    /// The state after the caches are gone.
    pub(super) fn power_cut(&self, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let percents = [0, 10, 50, 50, 90, 100];
        let luck = Luck {
            percent: percents
                .get(random.random_range(0..percents.len()))
                .copied()
                .unwrap_or_default(),
            names_in_order: random.random(),
        };
        let mut left = self.clone();
        for file in &mut left.files {
            file.power_cut(luck, &mut random);
        }
        for change in std::mem::take(&mut left.pending_names) {
            if random.random_range(0..100) < luck.percent {
                set_names(&mut left.durable_names, &change);
            } else if luck.names_in_order {
                break;
            }
        }
        left.drop_orphans();
        left.names = left.durable_names.clone();
        left.count_all();
        left
    }

    pub(super) fn sync_all(&mut self) {
        for file in &mut self.files {
            file.durable = Arc::clone(&file.current);
            file.pending.clear();
            file.adrift.clear();
        }
        self.pending_names.clear();
        self.durable_names = self.names.clone();
    }

    pub(super) fn damage(&mut self, inode: Inode, offset: u64, mask: u8) {
        let Some(file) = self.files.get_mut(inode.0) else {
            return;
        };
        for bytes in [&mut file.current, &mut file.durable] {
            if let Some(byte) = Arc::make_mut(bytes).get_mut(offset as usize) {
                *byte ^= mask;
            }
        }
    }

    pub(super) fn install(&mut self, path: &Path, bytes: &[u8]) {
        for dir in path.ancestors().skip(1) {
            self.names.insert(dir.to_owned(), Node::Directory);
        }
        let inode = self.next_inode();
        self.names.insert(path.to_owned(), Node::File(inode));
        self.files.push(Content {
            current: Arc::new(bytes.to_vec()),
            ..Content::default()
        });
        self.sync_all();
        self.count_all();
    }

    fn content(&mut self, inode: Inode) -> io::Result<&mut Content> {
        let file = self.files.get_mut(inode.0);
        file.ok_or_else(|| io::Error::other("no such inode"))
    }

    fn must_be_free(&self, path: &Path) -> io::Result<()> {
        if !path.is_absolute() {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.must_be_directory(parent_of(path))?;
        match self.names.contains_key(path) {
            true => Err(ErrorKind::AlreadyExists.into()),
            false => Ok(()),
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        // Directories are not renamed by anything that is tested with this disk.
        let node = Node::File(self.file(from)?);
        self.must_be_directory(parent_of(to))?;
        if parent_of(from) == parent_of(to) {
            let both = vec![(from, None), (to, Some(node))];
            self.change_names(parent_of(from), both)?;
        } else {
            self.change_names(parent_of(to), vec![(to, Some(node))])?;
            self.change_names(parent_of(from), vec![(from, None)])?;
        }
        Ok(())
    }

    fn change_names(&mut self, dir: &Path, set: Vec<(&Path, Option<Node>)>) -> io::Result<()> {
        let change = NameChange {
            dir: dir.to_owned(),
            set: set
                .into_iter()
                .map(|(path, node)| (path.to_owned(), node))
                .collect(),
        };
        for (path, node) in &change.set {
            self.set_name(path, *node)?;
        }
        self.pending_names.push(change);
        Ok(())
    }

    fn sync_names(&mut self, dir: &Path) {
        let pending = std::mem::take(&mut self.pending_names);
        for change in pending {
            if change.dir == dir {
                set_names(&mut self.durable_names, &change);
            } else {
                self.pending_names.push(change);
            }
        }
    }

    /// A name whose directory is gone is gone.
    fn drop_orphans(&mut self) {
        let mut kept = Names::new();
        for (path, node) in &self.durable_names {
            let parent = path.parent();
            if parent.is_none_or(|dir| kept.get(dir) == Some(&Node::Directory)) {
                kept.insert(path.clone(), *node);
            }
        }
        self.durable_names = kept;
    }

    /// Changes a file, and what all of them take.
    fn update(&mut self, inode: Inode, change: impl FnOnce(&mut Content)) -> io::Result<()> {
        let file = self.content(inode)?;
        let before = file.used_bytes();
        change(file);
        let after = file.used_bytes();
        self.used_bytes = self.used_bytes - before + after;
        Ok(())
    }

    fn set_name(&mut self, path: &Path, node: Option<Node>) -> io::Result<()> {
        let replaced = match node {
            Some(node) => self.names.insert(path.to_owned(), node),
            None => self.names.remove(path),
        };
        if let Some(Node::File(inode)) = node {
            self.update(inode, |file| file.n_names += 1)?;
        }
        if let Some(Node::File(inode)) = replaced {
            self.update(inode, |file| file.n_names -= 1)?;
        }
        Ok(())
    }

    /// After the names have become others.
    fn count_all(&mut self) {
        for file in &mut self.files {
            file.n_names = 0;
        }
        for node in self.names.values() {
            if let Node::File(inode) = node
                && let Some(file) = self.files.get_mut(inode.0)
            {
                file.n_names += 1;
            }
        }
        self.used_bytes = self.files.iter().map(Content::used_bytes).sum();
    }
}

// === impl Content ===

impl Content {
    fn used_bytes(&self) -> u64 {
        match self.n_names {
            0 => 0,
            _ => self.current.len() as u64,
        }
    }

    fn change(&mut self, change: Change) {
        make(Arc::make_mut(&mut self.current), &change);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            make(Arc::make_mut(&mut self.durable), &change);
        }
    }

    fn power_cut(&mut self, luck: Luck, random: &mut SmallRng) {
        let durable_len = self.durable.len();
        let adrift = std::mem::take(&mut self.adrift);
        let pending = std::mem::take(&mut self.pending);
        for change in adrift.iter().chain(&pending) {
            match change {
                Change::SetLen(_) if random.random_range(0..100) < luck.percent => {
                    make(Arc::make_mut(&mut self.durable), change);
                }
                Change::SetLen(_) => {}
                Change::Write(offset, bytes) => {
                    for (at, sector) in sectors(*offset, bytes) {
                        if random.random_range(0..100) < luck.percent {
                            self.write_sector(at, sector, random);
                        }
                    }
                }
            }
        }
        // The length is metadata of its own: data may be there that no length tells of.
        if self.durable.len() > durable_len && random.random_range(0..4) == 0 {
            let kept = random.random_range(durable_len..=self.durable.len());
            Arc::make_mut(&mut self.durable).truncate(kept);
        }
        self.current = Arc::clone(&self.durable);
    }

    fn write_sector(&mut self, at: u64, sector: &[u8], random: &mut SmallRng) {
        let is_torn = random.random_range(0..8) == 0;
        let len = if is_torn {
            random.random_range(0..=sector.len())
        } else {
            sector.len()
        };
        let kept = sector.get(..len).unwrap_or_default();
        make(
            Arc::make_mut(&mut self.durable),
            &Change::Write(at, kept.into()),
        );
    }
}

fn is_below(path: &Path, dir: &Path) -> bool {
    let (path, dir) = (path.as_os_str(), dir.as_os_str());
    path.as_encoded_bytes().starts_with(dir.as_encoded_bytes())
}

/// The pieces of a write that lie in one sector each.
fn sectors(offset: u64, bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let (mut at, mut rest) = (offset, bytes);
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let len = (SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len() as u64);
        let (piece, behind) = rest.split_at(len as usize);
        pieces.push((at, piece));
        (at, rest) = (at + len, behind);
    }
    pieces
}

fn make(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::SetLen(len) => content.resize(*len as usize, 0),
        Change::Write(offset, bytes) => {
            let end = *offset as usize + bytes.len();
            if !bytes.is_empty() && content.len() < end {
                content.resize(end, 0);
            }
            if let Some(target) = content.get_mut(*offset as usize..end) {
                target.copy_from_slice(bytes);
            }
        }
    }
}

fn set_names(names: &mut Names, change: &NameChange) {
    for (path, node) in &change.set {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}
