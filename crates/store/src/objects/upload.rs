//! Objects that are written piece by piece, and what all objects are written with.

use std::sync::atomic::AtomicUsize;

use object_store::UploadPart;

use super::*;

/// So much is written, then synced: a sync of the log waits for no more of ours than that.
const SYNC_BYTES: usize = 1 << 20;

/// An object on its way. It has no name before it is complete, and leaves nothing if it never is.
#[derive(Debug)]
pub(super) struct Upload {
    files: Arc<Files>,
    location: Path,
    path: PathBuf,
    staged: Option<Arc<Staged>>,
    /// Where the next part begins.
    offset: u64,
    n_parts: usize,
    /// Parts that are durable.
    n_written: Arc<AtomicUsize>,
}

// === impl Upload ===

impl Upload {
    pub(super) fn new(files: Arc<Files>, location: Path, path: PathBuf, staged: Staged) -> Self {
        Self {
            files,
            location,
            path,
            staged: Some(Arc::new(staged)),
            offset: 0,
            n_parts: 0,
            n_written: Arc::new(AtomicUsize::new(0)),
        }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let offset = self.offset;
        self.offset += data.content_length() as u64;
        self.n_parts += 1;
        let (location, n_written) = (self.location.clone(), Arc::clone(&self.n_written));
        let staged = self.staged.clone();
        Box::pin(blocking(move || {
            let staged = staged.ok_or_else(|| not_supported("a part of a closed upload"))?;
            write_synced(&*staged.file, &data, offset).map_err(|e| failed(&location, e))?;
            n_written.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let n_lost = self.n_parts - self.n_written.load(Ordering::Relaxed).min(self.n_parts);
        let Some(staged) = self.staged.take() else {
            return Err(not_supported("a second end of an upload"));
        };
        let files = Arc::clone(&self.files);
        let (location, path) = (self.location.clone(), self.path.clone());
        blocking(move || {
            let named = if n_lost > 0 {
                Err(io::Error::other(format!("{n_lost} parts are not written")))
            } else {
                files.name_staged(&staged, &path, false)
            };
            files.unstage(&staged);
            named.map_err(|error| failed(&location, error))?;
            files.put_result(&path, &location)
        })
        .await
    }

    async fn abort(&mut self) -> Result<()> {
        let (staged, files) = (self.staged.take(), Arc::clone(&self.files));
        blocking(move || {
            staged.iter().for_each(|staged| files.unstage(staged));
            Ok(())
        })
        .await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.files.unstage(&staged);
        }
    }
}

/// Writes a payload and syncs it, a piece at a time.
pub(super) fn write_synced(
    file: &dyn DiskFile,
    payload: &PutPayload,
    mut offset: u64,
) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = Vec::new();
    let mut held = 0;
    for chunk in payload {
        for piece in chunk.chunks(SYNC_BYTES) {
            if held > 0 && held + piece.len() > SYNC_BYTES {
                write_piece(file, &mut slices, &mut offset, &mut held)?;
            }
            slices.push(IoSlice::new(piece));
            held += piece.len();
        }
    }
    write_piece(file, &mut slices, &mut offset, &mut held)
}

fn write_piece(
    file: &dyn DiskFile,
    slices: &mut Vec<IoSlice<'_>>,
    offset: &mut u64,
    held: &mut usize,
) -> io::Result<()> {
    file.write_vectored_at(slices, *offset)?;
    file.sync_data()?;
    slices.clear();
    *offset += std::mem::take(held) as u64;
    Ok(())
}
