//! Reading a request body: capped, timed, and counted against the budget as it arrives.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;
use tracewell_model::limits::REQUEST_BYTES;

use crate::admission::Reservation;
use crate::refusal::Refusal;

/// What a body may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) bytes_max: u64,
    /// Between two pieces.
    pub(crate) pause_max: Duration,
    /// From the first to the last piece.
    pub(crate) total_max: Duration,
}

/// What tells the length of a body before it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// The head of the request, or nothing.
    Head(Option<u64>),
    /// gRPC: one byte of flags, then four of length, however they are cut into pieces.
    Prefix,
}

/// Reserved ahead of the bytes at most, so that large bodies need few reservations.
const RESERVE_STEP: u64 = 64 << 10;
/// In front of a gRPC message.
pub(crate) const PREFIX_BYTES: u64 = 5;
/// A claimed length is trusted up to here when the buffer is made.
const FIRST_BUFFER_BYTES_MAX: u64 = 1 << 20;

/// Reads the body to its end. A claimed length is checked and sizes the buffer, nothing more: what
/// has sent nothing holds nothing of the budget.
pub(crate) async fn read<B>(
    mut body: B,
    length: Length,
    limits: BodyLimits,
    reservation: &mut Reservation,
) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut claimed = match length {
        Length::Head(claimed) => claimed,
        Length::Prefix => None,
    };
    check_size(claimed.unwrap_or(0), limits)?;
    let start = Instant::now();
    let end = start + limits.total_max;
    let mut collected = Collected::default();
    loop {
        let deadline = end.min(Instant::now() + limits.pause_max);
        let Ok(frame) = tokio::time::timeout_at(deadline, body.frame()).await else {
            return Err(Refusal::SlowBody {
                waited: start.elapsed(),
            });
        };
        match frame {
            None => return Ok(collected.finish()),
            Some(Err(error)) => {
                return Err(Refusal::Gone {
                    reason: error.to_string(),
                });
            }
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    continue; // Trailers: nothing in them is ours.
                };
                let total = collected.len() + data.len() as u64;
                check_size(total, limits)?;
                reservation.grow_to(room_for(total)).await?;
                collected.push(data, claimed);
                if length == Length::Prefix && claimed.is_none() {
                    claimed = claimed_by_prefix(collected.bytes());
                    check_size(claimed.unwrap_or(0), limits)?;
                }
            }
        }
    }
}

/// Reads and forgets what a sender still has to say, so that it gets to read why it was refused:
/// most HTTP/1 clients write all of a request before they read anything. Bounded in bytes and time.
pub(crate) async fn drain<B>(mut body: B, bytes_max: u64, within: Duration)
where
    B: Body<Data = Bytes> + Unpin,
{
    let reading = async {
        let mut n = 0;
        while let Some(Ok(frame)) = body.frame().await {
            n += frame.data_ref().map_or(0, |data| data.len() as u64);
            if n > bytes_max {
                break;
            }
        }
    };
    // Either way the refusal is sent next.
    if tokio::time::timeout(within, reading).await.is_err() {
        tracing::debug!("a refused request was not read to its end");
    }
}

/// What is reserved for so many bytes: at most twice as much, as the buffer grows.
fn room_for(n_bytes: u64) -> u64 {
    let step = n_bytes.next_power_of_two().min(RESERVE_STEP);
    n_bytes.next_multiple_of(step)
}

/// The length of a whole gRPC body, if its beginning is there.
fn claimed_by_prefix(data: &[u8]) -> Option<u64> {
    match data {
        [_flags, a, b, c, d, ..] => {
            let len = u32::from_be_bytes([*a, *b, *c, *d]);
            Some(u64::from(len) + PREFIX_BYTES)
        }
        _ => None,
    }
}

fn check_size(seen: u64, limits: BodyLimits) -> Result<(), Refusal> {
    if seen > limits.bytes_max {
        return Err(Refusal::TooLarge {
            limit: REQUEST_BYTES,
            seen,
            max: limits.bytes_max,
        });
    }
    Ok(())
}

/// A body of one piece is not copied.
#[derive(Debug, Default)]
struct Collected {
    first: Bytes,
    rest: Option<BytesMut>,
}

impl Collected {
    fn bytes(&self) -> &[u8] {
        self.rest.as_deref().unwrap_or(&self.first)
    }

    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn push(&mut self, data: Bytes, claimed: Option<u64>) {
        match &mut self.rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if self.first.is_empty() => self.first = data,
            None => {
                let guess = claimed.unwrap_or(0).min(FIRST_BUFFER_BYTES_MAX) as usize;
                let needed = self.first.len() + data.len();
                let mut rest = BytesMut::with_capacity(guess.max(needed * 2));
                rest.extend_from_slice(&self.first);
                rest.extend_from_slice(&data);
                self.rest = Some(rest);
            }
        }
    }

    fn finish(self) -> Bytes {
        self.rest.map_or(self.first, BytesMut::freeze)
    }
}
