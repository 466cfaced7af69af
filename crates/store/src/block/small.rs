//! The small files of a block (meta, checksums, shared ids): read whole, and checked.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::checksum::{Segments, decode_checksums};
use super::error::{BlockError, BlockResult};
use super::meta::META_BYTES_MAX;
use super::schema::CHECKSUMS_FILE;

/// The object with the checksums of all files of a block. It is read again when the cache has let go
/// what came of it.
#[derive(Debug, Clone)]
pub(super) struct SumsFile {
    pub(super) folder: Path,
    pub(super) crc32c: String,
}

// === impl SumsFile ===

impl SumsFile {
    /// The checksums of all files of the block.
    pub(super) async fn read(
        &self,
        store: &Arc<dyn ObjectStore>,
    ) -> BlockResult<Vec<(String, Segments)>> {
        let sums = read(store, &self.folder, CHECKSUMS_FILE).await?;
        check(&self.folder, CHECKSUMS_FILE, &sums, &self.crc32c)?;
        decode_checksums(&sums)
    }
}

pub(super) async fn read(
    store: &Arc<dyn ObjectStore>,
    folder: &Path,
    name: &str,
) -> BlockResult<bytes::Bytes> {
    let path = folder.clone().join(name);
    let failed = |source| BlockError::Object {
        action: "read",
        path: path.to_string(),
        source,
    };
    let found = store.get(&path).await.map_err(failed)?;
    if found.meta.size > META_BYTES_MAX as u64 {
        return Err(BlockError::TooMany {
            what: "bytes of a small file",
            seen: found.meta.size,
            max: META_BYTES_MAX as u64,
        });
    }
    found.bytes().await.map_err(failed)
}

pub(super) fn check(folder: &Path, name: &str, bytes: &[u8], expected: &str) -> BlockResult<()> {
    let seen = crc32c::crc32c(bytes);
    let expected = u32::from_str_radix(expected, 16).unwrap_or(!seen);
    if seen == expected {
        return Ok(());
    }
    let path = folder.clone().join(name).to_string();
    Err(BlockError::Damaged {
        path,
        offset: 0,
        len: bytes.len() as u64,
        expected,
        seen,
    })
}
