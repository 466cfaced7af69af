//! What happens to one export request, whatever protocol brought it: decompress, decode, hand to
//! the sink, count.
//!
//! Work of up to [`INLINE_BYTES`] (about half a millisecond) is done where the request is; more
//! goes to a bounded pool of blocking threads, in steps, each of which is reserved first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracewell_model::limits::REQUEST_DECODED_BYTES;
use tracewell_model::sink::SpanSink;
use tracewell_model::{Limits, SpanBatch};
use tracewell_wire::otlp::response::PartialSuccess;
use tracewell_wire::otlp::{self, Admit, DecodeError, Decoded, Rejections, Signal};

use crate::admission::{Admission, Reservation};
use crate::compression::{Encoding, Inflate};
use crate::live::Taken;
use crate::metrics::{Format, IngestMetrics, Protocol, RequestLabels};
use crate::refusal::Refusal;
use crate::tenants::Tenant;

/// One export request without its body.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) protocol: Protocol,
    pub(crate) signal: Signal,
    pub(crate) format: Format,
    pub(crate) encoding: Encoding,
}

/// The shared state of all ingest listeners.
#[derive(Debug)]
pub(crate) struct Intake {
    sink: Arc<dyn SpanSink>,
    /// What holds whoever sends.
    limits: Limits,
    pub(crate) metrics: Arc<IngestMetrics>,
    pub(crate) admission: Admission,
    /// Threads that decode or decompress large bodies at the same time.
    workers: Arc<Semaphore>,
}

const NO_METRICS: &str = "this is a tracing backend and keeps no metrics: set \
     OTEL_METRICS_EXPORTER=none in the application, or send its metrics elsewhere";
const NO_LOGS: &str = "this is a tracing backend and keeps no logs: set \
     OTEL_LOGS_EXPORTER=none in the application, or send its logs elsewhere";
/// Decoded and decompressed on the spot.
const INLINE_BYTES: usize = 256 << 10;
/// What one visit of the pool decompresses.
const STEP_BYTES: usize = 2 << 20;

// === impl Intake ===

impl Intake {
    pub(crate) fn new(
        sink: Arc<dyn SpanSink>,
        limits: Limits,
        metrics: Arc<IngestMetrics>,
        admission: Admission,
    ) -> Self {
        let n_workers = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            sink,
            limits,
            metrics,
            admission,
            workers: Arc::new(Semaphore::new(n_workers)),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes a request's whole body, as it came over the wire.
    pub(crate) async fn export(
        &self,
        call: &Call,
        tenant: &Arc<Tenant>,
        wire: Bytes,
        reservation: &mut Reservation,
    ) -> Result<PartialSuccess, Refusal> {
        let start = Instant::now();
        let metrics = &self.metrics;
        metrics
            .wire_bytes
            .fetch_add(wire.len() as u64, Ordering::Relaxed);
        let body = self.inflate(call.encoding, wire, reservation).await?;
        metrics
            .decoded_bytes
            .fetch_add(body.len() as u64, Ordering::Relaxed);
        // The columns of a batch are about as large as its body; JSON becomes protobuf besides.
        let n_copies = match call.format {
            Format::Protobuf => 2,
            Format::Json => 3,
        };
        reservation.grow_to(n_copies * body.len() as u64).await?;
        // Before it is decoded: whoever sends too much shall cost little.
        if let Err(refusal) = tenant.take_bytes(body.len() as u64) {
            if call.signal == Signal::Traces {
                self.count_refused(call, tenant, &refusal, call.format, body)
                    .await?;
            }
            return Err(refusal);
        }
        match call.signal {
            Signal::Traces => {
                let answer = self.spans(call, tenant, body).await?;
                metrics.observe_ack(start.elapsed());
                Ok(answer)
            }
            Signal::Metrics | Signal::Logs => self.reject_all(call, body).await,
        }
    }

    /// Counts a finished request; to be called once for each.
    pub(crate) fn count(&self, call: &Call, result: &Result<PartialSuccess, Refusal>) {
        let outcome = match result {
            Ok(answer) if answer.rejected == 0 => "ok",
            Ok(_) => "partial",
            Err(refusal) => refusal.label(),
        };
        if let Err(refusal) = result
            && let Some(limit) = refusal.limit()
        {
            self.metrics.count_limit(limit, 1);
        }
        self.metrics.count_request(RequestLabels {
            protocol: call.protocol,
            signal: call.signal,
            format: call.format,
            encoding: call.encoding,
            outcome,
        });
    }

    async fn spans(
        &self,
        call: &Call,
        tenant: &Arc<Tenant>,
        body: Bytes,
    ) -> Result<PartialSuccess, Refusal> {
        let n_bytes = body.len();
        let request_hash = twox_hash::XxHash3_128::oneshot(&body);
        let (owner, format) = (Arc::clone(tenant), call.format);
        let is_new = || !self.sink.has_stored(&tenant.id, request_hash);
        // Under more than can be taken, what is refused shall not be decoded first.
        if let Some(error) = self.sink.refuses(n_bytes as u64)
            && is_new()
        {
            let refusal = Refusal::from(error);
            self.count_refused(call, tenant, &refusal, format, body)
                .await?;
            return Err(refusal);
        }
        // A retry of what is stored is not counted a second time.
        let mut taken = tenant.take_traces().filter(|_| is_new());
        let (decoded, taken) = self
            .compute(n_bytes, move || {
                let decoded = decode(format, &owner, body, taken.as_mut());
                (decoded, taken)
            })
            .await?;
        let decoded = decoded?;
        // What the tenant's traces left no room for may find some later: the retry is another request.
        let request_hash = match decoded.rejected.may_pass_later() {
            true => twox_hash::XxHash3_128::oneshot(&decoded.batch.body),
            false => request_hash,
        };
        let stored = self
            .store(call, tenant, decoded, request_hash, n_bytes)
            .await?;
        if let Some(taken) = taken.filter(|_| stored.is_new) {
            taken.keep();
        }
        Ok(stored.answer)
    }

    async fn store(
        &self,
        call: &Call,
        tenant: &Arc<Tenant>,
        decoded: Decoded,
        request_hash: u128,
        n_bytes: usize,
    ) -> Result<Stored, Refusal> {
        let rejected = decoded.rejected;
        self.count_rejected(call, tenant, &rejected);
        let answer = PartialSuccess {
            rejected: rejected.total(),
            message: rejected.sentence(),
        };
        let n_spans = decoded.batch.n_spans() as u64;
        if n_spans == 0 {
            // Nothing to keep: an empty request, or one that was refused whole.
            let is_new = false;
            return Ok(Stored { answer, is_new });
        }
        let n_traces = n_traces(&decoded.batch);
        let body = decoded.batch.body.clone();
        match self.sink.write(decoded.batch, request_hash).await {
            Ok(ack) => {
                if ack.repeated {
                    self.metrics
                        .repeated_requests
                        .fetch_add(1, Ordering::Relaxed);
                } else {
                    self.metrics.traces_per_batch.observe(n_traces as f64);
                    let n_bytes = n_bytes as u64;
                    self.metrics
                        .count_accepted(call.protocol, &tenant.metrics, n_spans, n_bytes);
                }
                let is_new = !ack.repeated;
                Ok(Stored { answer, is_new })
            }
            Err(error) => {
                let refusal = Refusal::from(error);
                self.count_refused(call, tenant, &refusal, Format::Protobuf, body)
                    .await?;
                Err(refusal)
            }
        }
    }

    /// Counts spans that were refused alone.
    fn count_rejected(&self, call: &Call, tenant: &Tenant, rejected: &Rejections) {
        for (service, reason, n) in rejected.by_service() {
            self.metrics
                .count_refused(call.protocol, (tenant, service), reason.label(), n);
            if let Some(limit) = reason.limit() {
                self.metrics.count_limit(limit, n);
            }
        }
    }

    /// Counts the spans of a request that was refused as a whole.
    async fn count_refused(
        &self,
        call: &Call,
        tenant: &Tenant,
        refusal: &Refusal,
        format: Format,
        body: Bytes,
    ) -> Result<(), Refusal> {
        let by_service = self
            .compute(body.len(), move || by_service(format, &body))
            .await?;
        for (service, n) in by_service {
            self.metrics
                .count_refused(call.protocol, (tenant, &service), refusal.label(), n);
        }
        Ok(())
    }

    /// Metrics and logs are understood, counted and rejected, so that a stock SDK, which sends all
    /// three signals, runs without an error and is told what to set.
    async fn reject_all(&self, call: &Call, body: Bytes) -> Result<PartialSuccess, Refusal> {
        let (signal, format) = (call.signal, call.format);
        let n = self
            .compute(body.len(), move || -> Result<u64, DecodeError> {
                match format {
                    Format::Protobuf => signal.count_protobuf(&body),
                    Format::Json => signal.count_json(&body),
                }
            })
            .await??;
        let (counter, message) = match signal {
            Signal::Metrics => (&self.metrics.rejected_points, NO_METRICS),
            Signal::Logs | Signal::Traces => (&self.metrics.rejected_log_records, NO_LOGS),
        };
        counter.fetch_add(n, Ordering::Relaxed);
        Ok(PartialSuccess {
            rejected: n,
            message: message.to_owned(),
        })
    }

    async fn inflate(
        &self,
        encoding: Encoding,
        wire: Bytes,
        reservation: &mut Reservation,
    ) -> Result<Bytes, Refusal> {
        let limit = self.limits.request_decoded_bytes_max;
        let n_wire = wire.len();
        let Some(mut inflate) = Inflate::new(encoding, wire.clone(), limit)? else {
            let seen = n_wire as u64;
            return if seen > limit {
                Err(Refusal::TooLarge {
                    limit: REQUEST_DECODED_BYTES,
                    seen,
                    max: limit,
                })
            } else {
                Ok(wire)
            };
        };
        drop(wire);
        reservation.grow_to((n_wire + INLINE_BYTES) as u64).await?;
        let mut is_complete = inflate.step(INLINE_BYTES)?;
        while !is_complete {
            let next = n_wire + inflate.n_bytes() + STEP_BYTES;
            reservation.grow_to(next as u64).await?;
            (inflate, is_complete) = self
                .compute(usize::MAX, move || {
                    inflate
                        .step(STEP_BYTES)
                        .map(|is_complete| (inflate, is_complete))
                })
                .await??;
        }
        let body = inflate.finish();
        reservation.shrink_to(body.len() as u64);
        Ok(body)
    }

    /// Runs work over so many bytes: here if it is short, else on the pool.
    async fn compute<T, F>(&self, n_bytes: usize, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if n_bytes <= INLINE_BYTES {
            return Ok(work());
        }
        let worker = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .map_err(|_| Refusal::Stopping)?;
        let done = tokio::task::spawn_blocking(move || {
            let _worker = worker;
            work()
        });
        done.await.map_err(|error| {
            if error.is_panic() {
                tracing::error!(%error, "decoding ended in a panic, which is a bug");
                Refusal::Internal
            } else {
                Refusal::Stopping
            }
        })
    }
}

/// What became of a request that was read.
struct Stored {
    answer: PartialSuccess,
    /// False if there was nothing to store.
    is_new: bool,
}

fn decode(
    format: Format,
    tenant: &Tenant,
    body: Bytes,
    taken: Option<&mut Taken>,
) -> Result<Decoded, DecodeError> {
    let admit = taken.map(|taken| taken as &mut (dyn Admit + 'static));
    let id = tenant.id.clone();
    match format {
        Format::Protobuf => otlp::decode_admitted(id, body, &tenant.limits, admit),
        Format::Json => otlp::decode_json_admitted(id, &body, &tenant.limits, admit),
    }
}

/// The spans of a request by the service that sent them; none of one that cannot be read.
fn by_service(format: Format, body: &[u8]) -> BTreeMap<String, u64> {
    let counted = match format {
        Format::Protobuf => otlp::spans_by_service(body),
        Format::Json => {
            otlp::json_to_protobuf(body).and_then(|written| otlp::spans_by_service(&written))
        }
    };
    counted.unwrap_or_default()
}

/// How many traces a batch holds spans of. Most batches hold them in runs.
fn n_traces(batch: &SpanBatch) -> usize {
    let mut ids = batch.spans.trace_id.clone();
    ids.dedup();
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}
