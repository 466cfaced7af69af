//! What the log says while something is done on this thread, and on the threads of logs and stores that
//! are opened meanwhile.

use std::fmt::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

/// Takes in what is logged until it is dropped.
pub(crate) struct Listener {
    lines: Lines,
    _guard: DefaultGuard,
}

pub(crate) fn listen() -> Listener {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    Listener { lines, _guard }
}

/// The result, and the lines with their fields. The future must not leave the thread.
pub(crate) async fn logged<T>(doing: impl Future<Output = T>) -> (T, Vec<String>) {
    let log = listen();
    let result = doing.await;
    let lines = log.lines();
    (result, lines)
}

impl Listener {
    /// The level and fields of each line so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.0.lock().clone()
    }

    /// How many lines hold all of the words.
    pub(crate) fn n_with(&self, words: &[&str]) -> usize {
        let lines = self.lines.0.lock();
        let holds = |line: &&String| words.iter().all(|word| line.contains(word));
        lines.iter().filter(holds).count()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}
