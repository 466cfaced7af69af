//! One object on its way to the store: small ones in one put, larger ones in parts.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};

use super::error::{BlockError, BlockResult};

/// Size of every part but the last: the least that every object store takes.
pub(super) const PART_BYTES: usize = 5 << 20;

#[derive(Debug)]
pub(super) struct Upload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    buffer: Vec<u8>,
    part_bytes: usize,
    parts: Option<Box<dyn MultipartUpload>>,
}

// === impl Upload ===

impl Upload {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path, part_bytes: usize) -> Self {
        Self {
            store,
            path,
            buffer: Vec::new(),
            part_bytes: part_bytes.max(1),
            parts: None,
        }
    }

    /// Holds less than a part when it returns.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> BlockResult<()> {
        let mut rest = bytes;
        while self.buffer.len() + rest.len() >= self.part_bytes {
            let (last, later) = rest.split_at(self.part_bytes - self.buffer.len());
            let mut part = std::mem::take(&mut self.buffer);
            part.reserve_exact(last.len());
            part.extend_from_slice(last);
            self.part(part).await?;
            rest = later;
        }
        // Few large writes: room for twice as much would be a third of a merge's memory.
        self.buffer.reserve_exact(rest.len());
        self.buffer.extend_from_slice(rest);
        Ok(())
    }

    async fn part(&mut self, part: Vec<u8>) -> BlockResult<()> {
        let parts = match &mut self.parts {
            Some(parts) => parts,
            None => {
                let parts = self.store.put_multipart(&self.path).await;
                self.parts.insert(parts.map_err(failed(&self.path))?)
            }
        };
        parts
            .put_part(Bytes::from(part).into())
            .await
            .map_err(failed(&self.path))
    }

    pub(super) async fn finish(mut self) -> BlockResult<()> {
        let rest = std::mem::take(&mut self.buffer);
        if self.parts.is_none() {
            let put = self.store.put(&self.path, Bytes::from(rest).into()).await;
            return put.map(drop).map_err(failed(&self.path));
        }
        if !rest.is_empty() {
            self.part(rest).await?;
        }
        if let Some(mut parts) = self.parts.take() {
            parts.complete().await.map_err(failed(&self.path))?;
        }
        Ok(())
    }

    pub(super) async fn abort(mut self) {
        if let Some(mut parts) = self.parts.take()
            && let Err(error) = parts.abort().await
        {
            // What no manifest names is swept after a day.
            tracing::warn!(path = %self.path, %error, "could not abort an upload");
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(object_store::Error) -> BlockError {
    let path = path.to_string();
    move |source| BlockError::Object {
        action: "write",
        path,
        source,
    }
}
