//! The numbered manifests of one store, as objects.
//!
//! One writer owns a chain; a second one that commits is noticed, because numbers are created only
//! if absent. It deletes manifests that are trimmed, never blocks: see [`crate::retention`] and the
//! sweep in `snapshot`.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::{BlockId, MANIFEST_BYTES_MAX, Manifest, ManifestError};
use crate::error::{StoreError, StoreResult};

/// Manifests that are kept. The two newest are what recovery needs; the others tell what was.
pub const MANIFESTS_KEPT: usize = 8;

pub(crate) const FOLDER: &str = "manifest";
const EXTENSION: &str = ".manifest";
const DIGITS: usize = 20;

/// Reads and extends the chain.
#[derive(Debug)]
pub struct ManifestChain {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The number that the next attempt uses; numbers of failed attempts are left out.
    next_number: u64,
    /// Oldest first, the newest that counts included; unreadable ones too, without content.
    kept: Vec<Kept>,
}

/// One object of the chain.
#[derive(Debug, Clone)]
struct Kept {
    number: u64,
    /// `None` if it could not be read.
    blocks: Option<Vec<BlockId>>,
}

/// What was found when a chain was opened.
#[derive(Debug, Clone, Default)]
pub struct Opened {
    /// The newest readable one; number 0 and empty if there is none.
    pub manifest: Manifest,
    /// Newer ones that could not be read, newest first.
    pub damaged: Vec<DamagedManifest>,
    /// Objects in the folder with names of another form.
    pub foreign: Vec<String>,
}

/// A manifest that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedManifest {
    pub name: String,
    pub reason: String,
}

// === impl ManifestChain ===

impl ManifestChain {
    /// Lists the chain and reads it, newest first. A version from the future is an error: what it
    /// says must not be dropped by committing an older state on top of it. One that the object store
    /// does not give counts as damaged.
    pub async fn open(objects: Arc<dyn ObjectStore>, prefix: &Path) -> StoreResult<(Self, Opened)> {
        let folder = prefix.clone().join(FOLDER);
        let listed: Vec<_> = objects
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(|e| StoreError::object("list", &folder, e))?;
        let mut opened = Opened::default();
        let mut numbers = Vec::new();
        for meta in listed {
            match number_of(&meta.location) {
                Some(number) => numbers.push((number, meta)),
                None => opened.foreign.push(meta.location.to_string()),
            }
        }
        numbers.sort_unstable_by_key(|(number, _)| *number);
        let mut chain = Self {
            objects,
            prefix: prefix.clone(),
            next_number: numbers.last().map_or(1, |(number, _)| number + 1),
            kept: Vec::with_capacity(numbers.len()),
        };
        let mut found = None;
        for (number, meta) in numbers.iter().rev() {
            let (blocks, reason) = match chain.read(*number, meta.size).await {
                Ok(Ok(manifest)) => {
                    let blocks = manifest.blocks.iter().map(|entry| entry.id).collect();
                    found = found.or(Some(manifest));
                    (Some(blocks), None)
                }
                Ok(Err(error @ ManifestError::Version { .. })) if found.is_none() => {
                    return Err(StoreError::Manifest {
                        name: meta.location.to_string(),
                        source: error,
                    });
                }
                // The log makes up for one. Where several cannot be reached the fault may pass, and
                // what they say must not be dropped.
                Err(error) if found.is_none() && !opened.damaged.is_empty() => return Err(error),
                Ok(Err(error)) => (None, Some(error.to_string())),
                Err(error) => (None, Some(error.to_string())),
            };
            if let (Some(reason), true) = (reason, found.is_none()) {
                let name = meta.location.to_string();
                opened.damaged.push(DamagedManifest { name, reason });
            }
            let number = *number;
            chain.kept.push(Kept { number, blocks });
        }
        chain.kept.reverse();
        opened.manifest = found.unwrap_or_default();
        Ok((chain, opened))
    }

    /// Writes the manifest under the next number and returns it so. When this returns an error the
    /// outcome may be unknown: the objects that the manifest names must be left alone.
    pub async fn commit(&mut self, mut manifest: Manifest, now: u64) -> StoreResult<Manifest> {
        manifest.number = self.next_number;
        manifest.created_unix_nano = now;
        let path = self.path(manifest.number);
        let bytes = manifest.encode().map_err(|source| StoreError::Manifest {
            name: path.to_string(),
            source,
        })?;
        self.next_number += 1;
        let options = PutOptions::from(PutMode::Create);
        self.objects
            .put_opts(&path, Bytes::from(bytes).into(), options)
            .await
            .map_err(|e| match e {
                object_store::Error::AlreadyExists { .. } => StoreError::SecondWriter {
                    name: path.to_string(),
                },
                e => StoreError::object("create", &path, e),
            })?;
        self.kept.push(Kept {
            number: manifest.number,
            blocks: Some(manifest.blocks.iter().map(|entry| entry.id).collect()),
        });
        Ok(manifest)
    }

    /// True if the last attempt to commit left nothing behind, not even something that could come
    /// back: then what it named can be deleted. The object store says "not found" of a name that it took
    /// back only when that is durable; any other error leaves the outcome open.
    pub async fn last_attempt_is_absent(&self) -> bool {
        let path = self.path(self.next_number.saturating_sub(1));
        matches!(
            self.objects.head(&path).await,
            Err(object_store::Error::NotFound { .. })
        )
    }

    /// Deletes what is older than the newest [`MANIFESTS_KEPT`].
    pub async fn trim(&mut self) -> StoreResult<usize> {
        let n = self.kept.len().saturating_sub(MANIFESTS_KEPT);
        for _ in 0..n {
            let Some(oldest) = self.kept.first() else {
                break;
            };
            let path = self.path(oldest.number);
            match self.objects.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => return Err(StoreError::object("delete", &path, e)),
            }
            self.kept.remove(0);
        }
        Ok(n)
    }

    /// True if recovery may need the block: one of the two newest readable manifests names it.
    pub fn is_needed(&self, id: BlockId) -> bool {
        self.kept
            .iter()
            .rev()
            .filter_map(|kept| kept.blocks.as_ref())
            .take(2)
            .any(|blocks| blocks.contains(&id))
    }

    /// Blocks that a kept manifest names and the newest does not: replaced or expired.
    pub fn replaced(&self) -> Vec<BlockId> {
        let newest = self.kept.iter().rev().find_map(|kept| kept.blocks.as_ref());
        let mut ids: Vec<BlockId> = self
            .kept
            .iter()
            .filter_map(|kept| kept.blocks.as_ref())
            .flatten()
            .copied()
            .filter(|id| newest.is_some_and(|newest| !newest.contains(id)))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// True if a manifest that is kept names the block.
    pub fn is_named(&self, id: BlockId) -> bool {
        self.kept
            .iter()
            .filter_map(|kept| kept.blocks.as_ref())
            .any(|blocks| blocks.contains(&id))
    }

    fn path(&self, number: u64) -> Path {
        path_of(&self.prefix, number)
    }

    /// The outer error is the object store's, the inner one is about the bytes.
    async fn read(&self, number: u64, bytes: u64) -> StoreResult<Result<Manifest, ManifestError>> {
        if bytes > MANIFEST_BYTES_MAX {
            return Ok(Err(ManifestError::Length {
                expected: MANIFEST_BYTES_MAX,
                seen: bytes,
            }));
        }
        let path = self.path(number);
        let read = async { self.objects.get(&path).await?.bytes().await };
        let bytes = read
            .await
            .map_err(|e| StoreError::object("read", &path, e))?;
        Ok(Manifest::decode(number, &bytes))
    }
}

pub(crate) fn path_of(prefix: &Path, number: u64) -> Path {
    let name = format!("{number:0DIGITS$}{EXTENSION}");
    prefix.clone().join(FOLDER).join(name)
}

pub(crate) fn number_of(path: &Path) -> Option<u64> {
    let digits = path.filename()?.strip_suffix(EXTENSION)?;
    let all_digits = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}
