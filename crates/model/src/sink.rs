//! The seams on the way in: who takes a batch, and who listens; and what a log in between holds.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::batch::SpanBatch;
use crate::id::TenantId;

/// Takes batches and makes them durable.
pub trait SpanSink: Send + Sync + std::fmt::Debug {
    /// Resolves when the spans are as durable as the configuration promises; they are searchable
    /// soon after. `request_hash` is that of the body as received, before anything was rejected; of what was
    /// accepted, where the rest may pass later.
    fn write(&self, batch: SpanBatch, request_hash: u128)
    -> BoxFuture<'_, Result<Ack, WriteError>>;

    /// Why a batch of so many bytes would be refused at this moment, as far as that can be told without it. Counts as
    /// a refusal: to be asked for a batch that goes no further then.
    fn refuses(&self, n_bytes: u64) -> Option<WriteError>;

    /// Whether a request was stored before, as far as it is remembered: writing it again would be acknowledged as
    /// repeated.
    fn has_stored(&self, tenant: &TenantId, request_hash: u128) -> bool;
}

/// What an acknowledgement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// True if the same body was accepted before and nothing was stored again.
    pub repeated: bool,
}

/// Why a batch was not made durable. Nothing of it was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A named part of the budget is used up; a retry after the delay has a chance.
    #[error("{limit} is used up, try again in {retry_after:?}")]
    Busy {
        limit: &'static str,
        retry_after: Duration,
    },
    /// The batch alone exceeds what the limit allows; no retry can help.
    #[error("request needs {seen} bytes of {limit}, which allows {max}")]
    TooLarge {
        limit: &'static str,
        seen: u64,
        max: u64,
    },
    /// The log could not be written or synced; what comes next is written elsewhere.
    #[error("write-ahead log: {reason}")]
    Log { reason: String },
    /// Something broke for good.
    #[error("until a restart nothing is taken: {reason}")]
    Halted { reason: String },
    #[error("shutting down")]
    Stopping,
}

/// A position in an ingest log: records lie at increasing positions, without a promise of density.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition(pub u64);

/// What a record is about. The codes are part of the WAL format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    Spans = 1,
}

/// One accepted request as the log holds it.
#[derive(Debug, Clone)]
pub struct LogRecord {
    pub tenant: TenantId,
    pub kind: RecordKind,
    pub arrival_unix_nano: u64,
    /// Hash of the body as received.
    pub request_hash: u128,
    /// OTLP protobuf of exactly what was accepted.
    pub payload: Bytes,
}

/// A stretch of the log that could not be read, named by its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} at byte {offset}: {len} bytes unreadable: {reason}")]
pub struct LogDamage {
    pub file: String,
    pub offset: u64,
    pub len: u64,
    pub reason: String,
}

/// Sees every acknowledged batch, before any sampling.
pub trait SpanTap: Send + Sync + std::fmt::Debug {
    /// Must not block. After a crash the batches of the log's tail come again, marked.
    fn accepted(&self, batch: &SpanBatch, seen: Seen);
}

/// Whether a tap may have seen a batch before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    First,
    /// Replayed after a restart: it may have been seen by the process before.
    Maybe,
}
