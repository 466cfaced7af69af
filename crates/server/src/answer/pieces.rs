//! Pieces of an answer, from the thread that writes it to the connection that sends it.
//!
//! Few wait at a time. The thread waits for room until the time of the answer is over; the connection
//! is then cut, and so it is when the thread ends before the answer is complete.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use parking_lot::{Condvar, Mutex};

/// Pieces between the thread that writes and the connection that sends.
const PIECES_WAITING_MAX: usize = 4;

/// The side of the thread.
#[derive(Debug)]
pub(crate) struct Sending {
    shared: Arc<Shared>,
    deadline: Instant,
}

/// The body of the answer.
#[derive(Debug)]
pub(super) struct Received(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    has_room: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    end: End,
    /// True once nobody receives any more.
    is_left: bool,
    receiver: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum End {
    #[default]
    Open,
    Complete,
    Cut,
}

/// An answer is to be sent within `time_max`.
pub(super) fn channel(time_max: Duration) -> (Sending, Received) {
    let shared = Arc::new(Shared::default());
    let sending = Sending {
        shared: Arc::clone(&shared),
        deadline: Instant::now() + time_max,
    };
    (sending, Received(shared))
}

// === impl Sending ===

impl Sending {
    /// Waits for room. An error means that the client left or was too slow.
    pub(super) fn send(&self, bytes: Bytes) -> io::Result<()> {
        let mut queue = self.shared.queue.lock();
        while queue.pieces.len() >= PIECES_WAITING_MAX && !queue.is_left {
            let waited = self.shared.has_room.wait_until(&mut queue, self.deadline);
            if waited.timed_out() {
                tracing::debug!("a client did not read its answer in time");
                cut(&mut queue);
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        if queue.is_left || queue.end == End::Cut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        queue.pieces.push_back(bytes);
        wake(&mut queue);
        Ok(())
    }

    /// Everything was sent, unless some of it could not be.
    pub(super) fn complete(self) {
        let mut queue = self.shared.queue.lock();
        if queue.end == End::Open {
            queue.end = End::Complete;
        }
    }
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(Bytes::copy_from_slice(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        if queue.end == End::Open {
            cut(&mut queue);
        }
        wake(&mut queue);
    }
}

/// What waits is of no use without the rest.
fn cut(queue: &mut Queue) {
    queue.end = End::Cut;
    queue.pieces.clear();
}

fn wake(queue: &mut Queue) {
    if let Some(receiver) = queue.receiver.take() {
        receiver.wake();
    }
}

// === impl Received ===

impl Stream for Received {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut queue = self.0.queue.lock();
        if let Some(piece) = queue.pieces.pop_front() {
            self.0.has_room.notify_one();
            return Poll::Ready(Some(Ok(piece)));
        }
        match queue.end {
            End::Open => {
                queue.receiver = Some(cx.waker().clone());
                Poll::Pending
            }
            End::Complete => Poll::Ready(None),
            End::Cut => Poll::Ready(Some(Err(io::Error::other("the answer was cut short")))),
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.is_left = true;
        queue.pieces.clear();
        self.0.has_room.notify_one();
    }
}
