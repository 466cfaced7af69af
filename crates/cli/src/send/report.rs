//! What a sender saw.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Request;

/// Counts of one connection, or of several together.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Acknowledged and not rejected.
    pub(crate) n_spans: u64,
    pub(crate) n_requests: u64,
    pub(crate) n_bytes: u64,
    pub(crate) n_retries: u64,
    pub(crate) n_rejected: u64,
    /// Never acknowledged.
    pub(crate) n_lost: u64,
    pub(crate) seconds: f64,
    /// The last thing that went wrong.
    pub(crate) trouble: Option<String>,
    /// Microseconds from when a request was due, or else was first tried, to its acknowledgement.
    #[serde(skip)]
    pub(crate) latencies: Vec<u32>,
    /// Some of the traces that were sent.
    #[serde(skip)]
    pub(crate) trace_ids: Vec<[u8; 16]>,
}

// === impl Report ===

impl Report {
    pub(super) fn accepted(
        &mut self,
        request: &Request,
        n_rejected: u64,
        message: &str,
        latency: Duration,
    ) {
        self.n_spans += (request.n_spans as u64).saturating_sub(n_rejected);
        self.n_requests += 1;
        self.n_bytes += request.body.len() as u64;
        self.n_rejected += n_rejected;
        self.latencies
            .push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        if n_rejected > 0 {
            self.trouble = Some(message.to_owned());
        }
    }

    pub(super) fn retried(&mut self, reason: &str) {
        self.n_retries += 1;
        self.trouble = Some(reason.to_owned());
    }

    pub(super) fn lost(&mut self, request: &Request, reason: &str) {
        self.n_lost += request.n_spans as u64;
        self.trouble = Some(reason.to_owned());
    }

    /// The report of a task that did not come back.
    pub(crate) fn broken(reason: &str) -> Self {
        Self {
            n_lost: 1,
            trouble: Some(reason.to_owned()),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.n_spans += other.n_spans;
        self.n_requests += other.n_requests;
        self.n_bytes += other.n_bytes;
        self.n_retries += other.n_retries;
        self.n_rejected += other.n_rejected;
        self.n_lost += other.n_lost;
        self.trouble = other.trouble.or(self.trouble.take());
        self.latencies.extend(other.latencies);
    }

    pub(crate) fn spans_per_second(&self) -> f64 {
        self.n_spans as f64 / self.seconds.max(1e-9)
    }

    /// Milliseconds below which so many of a hundred acknowledgements came.
    pub(crate) fn latency_ms(&self, percentile: usize) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let index = (sorted.len() * percentile / 100).min(last);
        f64::from(sorted.get(index).copied().unwrap_or(0)) / 1_000.0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} spans in {} requests acknowledged in {:.2} s: {:.0} spans/s, {:.1} MB/s, \
             ack p50 {:.1} ms, p99 {:.1} ms",
            self.n_spans,
            self.n_requests,
            self.seconds,
            self.spans_per_second(),
            self.n_bytes as f64 / 1e6 / self.seconds.max(1e-9),
            self.latency_ms(50),
            self.latency_ms(99),
        )?;
        if self.n_retries + self.n_rejected + self.n_lost > 0 {
            writeln!(
                f,
                "{} retries, {} spans rejected, {} spans lost; last trouble: {}",
                self.n_retries,
                self.n_rejected,
                self.n_lost,
                self.trouble.as_deref().unwrap_or("none")
            )?;
        }
        Ok(())
    }
}
