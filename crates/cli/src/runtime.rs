//! The runtimes that this process starts. No crate below this one starts any.

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

/// For commands that ask a server and print.
pub(crate) fn small() -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

/// For commands that keep several connections busy.
pub(crate) fn sending() -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")
}
