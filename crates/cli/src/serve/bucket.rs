//! The object store as the configuration wants it.

use anyhow::Result;
use object_store::path::Path;
use tracewell_store::StoreError;
use tracewell_store::bucket::BucketConfig;
use tracewell_store::disk::Disk;

use super::storage::share;
use crate::config::load::Loaded;

/// The name of Tracewell's own folder in a bucket.
const FOLDER: &str = "tracewell";
/// Where pieces of the bucket's blocks lie, beside the blocks of the local disk.
pub(super) const CACHE: &str = "cache";

/// The bucket, if one is written. Nothing is asked of it yet.
pub(super) fn open(loaded: &Loaded, disk: &dyn Disk) -> Result<Option<BucketConfig>> {
    let (config, bucket) = (&loaded.config, &loaded.config.bucket);
    let Some(objects) = loaded.objects.clone() else {
        return Ok(None);
    };
    let blocks = config.blocks_path();
    Ok(Some(BucketConfig {
        objects,
        prefix: Path::from(bucket.prefix.as_str()).join(FOLDER),
        cache_dir: blocks.join(CACHE),
        cache_bytes: share(bucket.cache, disk, &blocks)?,
        upload_after: bucket.upload_after,
        replaced_kept: bucket.replaced_kept,
    }))
}

/// What to do about a bucket that says no.
pub(super) fn explain(error: StoreError, name: &str) -> anyhow::Error {
    let hint = if error.is_refused() {
        "it refuses these keys: look at bucket.access_key and bucket.secret_key, or at the role of this machine, \
         and at what they may do there: read, write, list and delete"
    } else if error.is_no_bucket() {
        "there is no such bucket: look at bucket.name, bucket.endpoint and bucket.region, and make it first"
    } else {
        return error.into();
    };
    anyhow::Error::new(error).context(format!("{name}: {hint}"))
}
