//! Computing that goes on beside the reading of a question, on the other processors.

use std::collections::VecDeque;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// Pieces of work that are begun and not taken yet. Each holds a batch of a source, and of 80,000 spans in groups of
/// one each 20 MB.
const WORKS_MAX: usize = 4;

/// Pieces of work, each some milliseconds, whose results come in the order in which they were begun.
#[derive(Debug)]
pub(super) struct Beside<T>(VecDeque<Work<T>>);

#[derive(Debug)]
enum Work<T> {
    /// There was no runtime to do it beside.
    Done(T),
    Begun(JoinHandle<T>),
}

impl<T> Default for Beside<T> {
    fn default() -> Self {
        Self(VecDeque::with_capacity(WORKS_MAX))
    }
}

impl<T: Send + 'static> Beside<T> {
    /// Begins a piece of work. Where many are begun already, the first of them is waited for, and its result
    /// returned.
    pub(super) async fn begin(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let first = match self.0.len() < WORKS_MAX {
            true => None,
            false => self.next().await?,
        };
        self.0.push_back(match Handle::try_current() {
            Ok(runtime) => Work::Begun(runtime.spawn(async move { work() })),
            Err(_) => Work::Done(work()),
        });
        Ok(first)
    }

    /// The result of the first that was begun; `None` where all were taken.
    pub(super) async fn next(&mut self) -> Result<Option<T>> {
        match self.0.pop_front() {
            None => Ok(None),
            Some(Work::Done(result)) => Ok(Some(result)),
            Some(Work::Begun(task)) => match task.await {
                Ok(result) => Ok(Some(result)),
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // The runtime ends.
                Err(_) => Err(Error::Cancelled),
            },
        }
    }
}
