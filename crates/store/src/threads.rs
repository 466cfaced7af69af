//! How the threads of the store are started.

use std::cell::Cell;
use std::io;
use std::thread::{Builder, JoinHandle};

use tracing::dispatcher;

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// True on a thread of the store, which does one thing at a time: what blocks may do so right there.
pub(crate) fn may_block() -> bool {
    MAY_BLOCK.get()
}

/// Starts a thread that logs where its starter does, also where that is not the log of the process.
pub(crate) fn start(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let log = dispatcher::get_default(Clone::clone);
    Builder::new().name(name.to_owned()).spawn(move || {
        MAY_BLOCK.set(true);
        dispatcher::with_default(&log, work);
    })
}
