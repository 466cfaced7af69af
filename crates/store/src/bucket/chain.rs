//! The numbered manifests of a bucket, which several processes extend.
//!
//! Same bytes and names as the chain of the local disk ([`crate::manifest::chain`]); what differs is who
//! may write. Numbers have no gaps: a commit is the newest manifest with a change, created only if
//! absent under the next number. Whoever comes second reads what the first wrote and applies the change
//! to that. So nothing is lost whatever the processes believe of each other, and a put whose answer never
//! came is settled by looking at what lies under its number.
//!
//! A listing is not relied on: from the newest number that is known the chain is followed number by
//! number. The first manifest is never deleted, so that a bucket whose listing comes back empty is not
//! taken for a new one. What this is not: it opens no block and decides on none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::remote::{bounded, delete, list};
use crate::error::{StoreError, StoreResult};
use crate::manifest::chain::{FOLDER, MANIFESTS_KEPT, number_of, path_of};
use crate::manifest::{BlockId, Change, MANIFEST_BYTES_MAX, Manifest, ManifestError};

/// How often a commit that others overtake is applied again before it is left for the next round.
const ATTEMPTS_MAX: usize = 16;
/// No look at the newest number for so long: others may delete what we know before long. Far less than
/// manifests are kept.
const LIST_AGAIN_NANO: u64 = 60 * 1_000_000_000;
/// The number that is never deleted.
const ANCHOR: u64 = 1;

/// Reads and extends the chain of a bucket.
#[derive(Debug)]
pub struct SharedChain {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The newest that is known; number 0 for a bucket without one.
    newest: Manifest,
    /// Kept manifests as far as this process has read them, with what each names.
    history: BTreeMap<u64, Named>,
    /// Monotonic time of the last look.
    looked_at: u64,
}

/// What a manifest names, and when it was made.
#[derive(Debug, Clone)]
struct Named {
    created_unix_nano: u64,
    blocks: BTreeSet<BlockId>,
}

// === impl SharedChain ===

impl SharedChain {
    /// Reads the newest manifest and, for what may be deleted, those that are kept.
    pub async fn open(
        objects: Arc<dyn ObjectStore>,
        prefix: &Path,
        monotonic: u64,
    ) -> StoreResult<Self> {
        let mut chain = Self {
            objects,
            prefix: prefix.clone(),
            newest: Manifest::default(),
            history: BTreeMap::new(),
            looked_at: monotonic,
        };
        // What is wrong with keys is told by a get; to a listing it is an error as any other.
        chain.read(ANCHOR).await?;
        chain.list().await?;
        chain.follow().await?;
        Ok(chain)
    }

    pub fn newest(&self) -> &Manifest {
        &self.newest
    }

    /// True if any manifest that is known names the block: it was committed once.
    pub fn has_named(&self, id: BlockId) -> bool {
        self.is_named(id)
            || self
                .newest
                .blocks
                .iter()
                .any(|entry| entry.made_from.contains(&id))
    }

    /// Looks for newer manifests.
    pub async fn refresh(&mut self, monotonic: u64) -> StoreResult<()> {
        if monotonic.saturating_sub(self.looked_at) > LIST_AGAIN_NANO {
            self.list().await?;
        }
        self.follow().await?;
        self.looked_at = monotonic;
        Ok(())
    }

    /// Applies a change to the newest manifest there is. When this returns an error other than
    /// [`StoreError::Overtaken`] the outcome is not known, and what the change names must be left alone:
    /// the same change may be committed again later.
    pub async fn commit(
        &mut self,
        change: &Change,
        edit: &(dyn Fn(&mut Manifest) + Sync),
        (unix, monotonic): (u64, u64),
    ) -> StoreResult<()> {
        self.refresh(monotonic).await?;
        for _ in 0..ATTEMPTS_MAX {
            let mut next = self.rebased(change)?;
            edit(&mut next);
            next.number = self.newest.number + 1;
            next.created_unix_nano = unix;
            if self.put(&next).await? {
                self.adopt(next);
                return Ok(());
            }
            // Somebody else has this number.
            self.follow().await?;
        }
        Err(StoreError::Overtaken {
            reason: format!("others committed {ATTEMPTS_MAX} times meanwhile"),
        })
    }

    /// Deletes the manifests of which nothing needs to be known any more.
    pub async fn trim(&mut self, unix: u64, age_nano: u64) -> StoreResult<()> {
        for number in self.old(unix, age_nano) {
            if number != ANCHOR {
                delete(&*self.objects, &path_of(&self.prefix, number)).await?;
            }
            self.history.remove(&number);
        }
        Ok(())
    }

    /// Leaves those to who deletes them.
    pub fn forget(&mut self, unix: u64, age_nano: u64) {
        for number in self.old(unix, age_nano) {
            self.history.remove(&number);
        }
    }

    /// Deletes what a process that ended has left of the chain: manifests older than all that are kept.
    pub async fn sweep(&self) -> StoreResult<()> {
        let oldest = self.history.keys().next().copied().unwrap_or(0);
        for number in self
            .listed()
            .await?
            .range(ANCHOR + 1..oldest.max(ANCHOR + 1))
        {
            delete(&*self.objects, &path_of(&self.prefix, *number)).await?;
        }
        Ok(())
    }

    /// All that are kept but the newest ones and those that were made within `age`.
    fn old(&self, unix: u64, age_nano: u64) -> Vec<u64> {
        let n_old = self.history.len().saturating_sub(MANIFESTS_KEPT);
        let old = self.history.iter().take(n_old);
        let old = old.filter(|(_, named)| unix.saturating_sub(named.created_unix_nano) >= age_nano);
        old.map(|(number, _)| *number).collect()
    }

    /// Blocks that a kept manifest names and none that was the newest within `age`: no process that
    /// looks now and then reads them any more.
    pub fn replaced(&self, unix: u64, age_nano: u64) -> BTreeSet<BlockId> {
        let mut replaced: BTreeSet<BlockId> = BTreeSet::new();
        let mut in_use: BTreeSet<BlockId> = BTreeSet::new();
        let mut succeeded = None;
        for named in self.history.values().rev() {
            // A manifest was the newest until the one after it was made.
            let is_used = succeeded.is_none_or(|since| unix.saturating_sub(since) < age_nano);
            match is_used {
                true => in_use.extend(&named.blocks),
                false => replaced.extend(&named.blocks),
            }
            succeeded = Some(named.created_unix_nano);
        }
        replaced.retain(|id| !in_use.contains(id));
        replaced
    }

    pub fn is_named(&self, id: BlockId) -> bool {
        self.history
            .values()
            .any(|named| named.blocks.contains(&id))
    }

    /// The newest manifest after a change; what of it is so already is left out.
    fn rebased(&self, change: &Change) -> StoreResult<Manifest> {
        let mut rest = change.clone();
        rest.add.retain(|entry| !self.has_named(entry.id));
        let is_done = rest.add.is_empty() && !change.add.is_empty();
        // A merge that is committed has taken out its inputs.
        if is_done {
            rest.remove.retain(|id| self.newest.block(*id).is_some());
        }
        self.newest.with(&rest).map_err(|source| match source {
            ManifestError::NotListed(id) => StoreError::Overtaken {
                reason: format!("block {id} was merged or dropped by another process"),
            },
            source => StoreError::Manifest {
                name: format!("change of the bucket's manifest {}", self.newest.number),
                source,
            },
        })
    }

    /// True if the manifest stands under its number, false if another one does.
    async fn put(&self, manifest: &Manifest) -> StoreResult<bool> {
        let path = path_of(&self.prefix, manifest.number);
        let bytes = manifest.encode().map_err(|source| StoreError::Manifest {
            name: path.to_string(),
            source,
        })?;
        let bytes = Bytes::from(bytes);
        let options = PutOptions::from(PutMode::Create);
        let put = self.objects.put_opts(&path, bytes.clone().into(), options);
        match bounded("create", &path, put).await {
            Ok(_) => Ok(true),
            // The answer to an attempt may get lost, and the client that tries again meets its own.
            Err(error) => match self.read(manifest.number).await {
                Ok(Some((_, seen))) => Ok(seen == bytes),
                Ok(None) | Err(_) => Err(error),
            },
        }
    }

    /// Reads what a listing shows and is not known: the newest, and the others, for what they name was
    /// committed once.
    async fn list(&mut self) -> StoreResult<()> {
        let numbers = self.listed().await?;
        let newest = numbers.last().copied().unwrap_or(0);
        if newest > self.newest.number {
            match self.read(newest).await? {
                Some((manifest, _)) => self.adopt(manifest),
                None => return Err(self.lossy(newest)),
            }
        } else if newest == 0 && self.newest.number == 0 && self.read(ANCHOR).await?.is_some() {
            return Err(self.lossy(ANCHOR));
        }
        for number in numbers {
            // Another process may delete it at this moment.
            if !self.history.contains_key(&number)
                && let Some((manifest, _)) = self.read(number).await?
            {
                self.remember(&manifest);
            }
        }
        Ok(())
    }

    async fn listed(&self) -> StoreResult<BTreeSet<u64>> {
        let listed = list(&*self.objects, &self.prefix.clone().join(FOLDER)).await?;
        let numbers = listed.iter();
        Ok(numbers
            .filter_map(|meta| number_of(&meta.location))
            .collect())
    }

    fn lossy(&self, number: u64) -> StoreError {
        StoreError::Overtaken {
            reason: format!(
                "the listing of {} and what is there differ about manifest {number}",
                self.prefix.clone().join(FOLDER)
            ),
        }
    }

    /// Reads on from the newest number that is known.
    async fn follow(&mut self) -> StoreResult<()> {
        while let Some((manifest, _)) = self.read(self.newest.number + 1).await? {
            self.adopt(manifest);
        }
        Ok(())
    }

    async fn read(&self, number: u64) -> StoreResult<Option<(Manifest, Bytes)>> {
        let path = path_of(&self.prefix, number);
        let read = async {
            let found = self.objects.get(&path).await?;
            match found.meta.size <= MANIFEST_BYTES_MAX {
                true => found.bytes().await.map(Ok),
                false => Ok(Err(found.meta.size)),
            }
        };
        let malformed = |source| StoreError::Manifest {
            name: format!("{path} in the bucket"),
            source,
        };
        let bytes = match bounded("read", &path, read).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(seen)) => {
                return Err(malformed(ManifestError::Length {
                    expected: MANIFEST_BYTES_MAX,
                    seen,
                }));
            }
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let manifest = Manifest::decode(number, &bytes).map_err(malformed)?;
        Ok(Some((manifest, bytes)))
    }

    fn adopt(&mut self, manifest: Manifest) {
        self.remember(&manifest);
        self.newest = manifest;
    }

    fn remember(&mut self, manifest: &Manifest) {
        let named = Named {
            created_unix_nano: manifest.created_unix_nano,
            blocks: manifest.blocks.iter().map(|entry| entry.id).collect(),
        };
        self.history.insert(manifest.number, named);
    }
}
