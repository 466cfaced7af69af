//! How the threads of the store are started.

use std::io;
use std::thread::{Builder, JoinHandle};

use tracing::dispatcher;

/// Starts a thread that logs where its starter does, also where that is not the log of the process.
pub(crate) fn start(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let log = dispatcher::get_default(Clone::clone);
    Builder::new()
        .name(name.to_owned())
        .spawn(move || dispatcher::with_default(&log, work))
}
