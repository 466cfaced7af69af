//! Calls to an object store that may be far away, slow or gone.

use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::error::{StoreError, StoreResult};

/// No single call may take longer, whatever the client of the store allows.
pub(super) const CALL_MAX: Duration = Duration::from_secs(60);

/// Of a reason that an object store gives.
const REASON_CHARS_MAX: usize = 300;
/// A start waits no longer for the bucket.
const START_MAX: Duration = Duration::from_secs(20);

/// What a start does with the bucket.
pub(super) async fn patiently<T>(first: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
    let silence = || StoreError::object("read", &Path::default(), silent(START_MAX));
    let result = in_time(START_MAX, first).await;
    result.unwrap_or_else(|| Err(silence()))
}

/// `None` if it takes longer, where there is a runtime to tell the time.
pub(crate) async fn in_time<T>(time: Duration, call: impl Future<Output = T>) -> Option<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => tokio::time::timeout(time, call).await.ok(),
        Err(_) => Some(call.await),
    }
}

fn silent(time: Duration) -> object_store::Error {
    object_store::Error::Generic {
        store: "bucket",
        source: format!("no answer within {} s", time.as_secs()).into(),
    }
}

/// Gives up a call after [`CALL_MAX`], where there is a runtime to tell the time.
pub(super) async fn bounded<T>(
    action: &'static str,
    path: &Path,
    call: impl Future<Output = object_store::Result<T>>,
) -> StoreResult<T> {
    within(CALL_MAX, call)
        .await
        .map_err(|source| StoreError::object(action, path, shortened(source)))
}

/// Object stores answer with pages of XML. Its code and message are what a person can use.
fn shortened(error: object_store::Error) -> object_store::Error {
    use object_store::Error;
    match error {
        Error::Generic { store, source } => {
            let source = in_short(&source.to_string()).into();
            Error::Generic { store, source }
        }
        Error::PermissionDenied { path, source } => {
            let source = in_short(&source.to_string()).into();
            Error::PermissionDenied { path, source }
        }
        Error::Unauthenticated { path, source } => {
            let source = in_short(&source.to_string()).into();
            Error::Unauthenticated { path, source }
        }
        Error::NotFound { path, source } => {
            let source = in_short(&source.to_string()).into();
            Error::NotFound { path, source }
        }
        error => error,
    }
}

fn in_short(text: &str) -> String {
    let head = text.lines().next().unwrap_or_default();
    let head = head.split("<?xml").next().unwrap_or_default().trim();
    let mut short: String = head.chars().take(REASON_CHARS_MAX).collect();
    for name in ["Code", "Message"] {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let found = text
            .split_once(&open)
            .and_then(|(_, rest)| rest.split_once(&close));
        if let Some((value, _)) = found {
            let value: String = value.chars().take(REASON_CHARS_MAX).collect();
            short = format!("{short} {value}");
        }
    }
    short
}

/// The same with an error of the object store.
pub(super) async fn within<T>(
    time: Duration,
    call: impl Future<Output = object_store::Result<T>>,
) -> object_store::Result<T> {
    let result = in_time(time, call).await;
    result.unwrap_or_else(|| Err(silent(time)))
}

/// What lies below a folder.
pub(super) async fn list(objects: &dyn ObjectStore, folder: &Path) -> StoreResult<Vec<ObjectMeta>> {
    bounded("list", folder, objects.list(Some(folder)).try_collect()).await
}

/// Deletes an object, if it is there.
pub(super) async fn delete(objects: &dyn ObjectStore, path: &Path) -> StoreResult<()> {
    match bounded("delete", path, objects.delete(path)).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
