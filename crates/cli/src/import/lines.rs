//! Lines of OTLP JSON to requests.

use std::fmt;
use std::io::{BufRead, Read as _};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use tracewell_model::{Limits, TenantId};
use tracewell_wire::otlp::{self, Rejections};

use crate::send::Request;

/// What was read, and what of it was wrong.
#[derive(Debug, Default, Serialize)]
pub(super) struct Read {
    pub(super) n_lines: u64,
    pub(super) n_spans: u64,
    /// Left out.
    pub(super) n_bad_lines: u64,
    pub(super) n_bad_spans: u64,
}

/// Collects spans until a request is full.
pub(super) struct Lines<F> {
    /// Takes a request; false if nobody will take another.
    hand_over: F,
    /// Spans of a request.
    batch: usize,
    is_taken: bool,
    limits: Limits,
    body: BytesMut,
    n_spans: usize,
    read: Read,
    n_told: u64,
}

/// A line is one trace as a rule; this is one of two million spans.
const LINE_BYTES_MAX: u64 = 1 << 30;
/// Requests are sent when they have so many bytes, whatever their spans: well below what servers take.
const REQUEST_BYTES: usize = 1 << 20;
/// Lines of which is told what is wrong with them.
const TOLD_MAX: u64 = 20;

// === impl Lines ===

impl<F: FnMut(Request) -> bool> Lines<F> {
    pub(super) fn new(batch: usize, hand_over: F) -> Self {
        Self {
            hand_over,
            batch,
            is_taken: true,
            limits: boundless(),
            body: BytesMut::new(),
            n_spans: 0,
            read: Read::default(),
            n_told: 0,
        }
    }

    /// All lines of a file.
    pub(super) fn read(&mut self, name: &str, mut file: impl BufRead) -> Result<()> {
        let mut line = Vec::new();
        for number in 1u64.. {
            line.clear();
            let n_read = file
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
                .with_context(|| name.to_owned())?;
            if n_read == 0 || !self.is_taken {
                break;
            }
            if n_read as u64 == LINE_BYTES_MAX {
                anyhow::bail!("{name}:{number}: longer than {LINE_BYTES_MAX} bytes");
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.read.n_lines += 1;
            match self.add(&line) {
                Ok(refused) if refused.is_empty() => {}
                Ok(refused) => {
                    self.read.n_bad_spans += refused.total();
                    self.tell(&format!("{name}:{number}: {}", refused.sentence()));
                }
                Err(error) => {
                    self.read.n_bad_lines += 1;
                    self.tell(&format!("{name}:{number}: left out: {error}"));
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Read {
        self.flush();
        self.read
    }

    /// Takes the spans of a line; what of them is no span.
    fn add(&mut self, line: &[u8]) -> Result<Rejections, otlp::DecodeError> {
        let decoded = otlp::decode_json(TenantId::single(), line, &self.limits)?;
        let n_spans = decoded.batch.n_spans();
        self.read.n_spans += n_spans as u64;
        let body = &decoded.batch.body;
        if n_spans <= self.batch && body.len() <= REQUEST_BYTES {
            self.append(body, n_spans);
            return Ok(decoded.rejected);
        }
        // A trace that is too large for a request.
        let spans = otlp::spans_of(&decoded.batch);
        let bytes_of_span = body.len() / n_spans.max(1) + 1;
        let n_chunk = self.batch.min(REQUEST_BYTES / bytes_of_span).max(1);
        for chunk in spans.chunks(n_chunk) {
            self.append(&otlp::encode_spans(chunk), chunk.len());
        }
        Ok(decoded.rejected)
    }

    /// Requests behind each other are one request.
    fn append(&mut self, body: &[u8], n_spans: usize) {
        let is_full =
            self.n_spans + n_spans > self.batch || self.body.len() + body.len() > REQUEST_BYTES;
        if is_full {
            self.flush();
        }
        self.body.extend_from_slice(body);
        self.n_spans += n_spans;
    }

    fn flush(&mut self) {
        let n_spans = std::mem::take(&mut self.n_spans);
        let body: Bytes = self.body.split().freeze();
        if n_spans > 0 && self.is_taken {
            self.is_taken = (self.hand_over)(Request {
                body,
                n_spans,
                due: None,
            });
        }
    }

    fn tell(&mut self, text: &str) {
        self.n_told += 1;
        if self.n_told <= TOLD_MAX {
            eprintln!("{text}");
        }
    }
}

/// What a server takes is for it to say.
fn boundless() -> Limits {
    let mut limits = Limits::default();
    limits.request_decoded_bytes_max = u64::MAX;
    for limit in [
        &mut limits.request_spans_max,
        &mut limits.request_items_max,
        &mut limits.attributes_max,
        &mut limits.attribute_key_bytes_max,
        &mut limits.attribute_value_bytes_max,
        &mut limits.attribute_depth_max,
        &mut limits.name_bytes_max,
    ] {
        *limit = usize::MAX;
    }
    limits
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} spans in {} lines", self.n_spans, self.n_lines)?;
        if self.n_bad_lines + self.n_bad_spans > 0 {
            write!(
                f,
                "; {} lines and {} spans left out",
                self.n_bad_lines, self.n_bad_spans
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n_spans: usize, name: &str) -> String {
        let span = |number: usize| {
            format!(
                r#"{{"traceId":"{:032x}","spanId":"{:016x}","name":"{name}"}}"#,
                1,
                number + 1
            )
        };
        let spans: Vec<String> = (0..n_spans).map(span).collect();
        let spans = spans.join(",");
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#) + "\n"
    }

    /// What is read of a file, and the spans of each request.
    fn read(text: &str, batch: usize) -> (Read, Vec<usize>) {
        let mut requests = Vec::new();
        let mut lines = Lines::new(batch, |request| {
            let decoded = otlp::decode_stored(TenantId::single(), request.body).unwrap();
            assert_eq!(decoded.batch.n_spans(), request.n_spans);
            requests.push(request.n_spans);
            true
        });
        lines.read("test.jsonl", text.as_bytes()).unwrap();
        (lines.finish(), requests)
    }

    #[test]
    fn lines_are_put_together_and_taken_apart() {
        let text = [
            line(3, "a"),
            line(4, "b"),
            "\n".to_owned(),
            line(2, "c"),
            line(25, "d"),
        ]
        .concat();
        let (read, requests) = read(&text, 10);
        assert_eq!(requests, [9, 10, 10, 5]);
        assert_eq!((read.n_lines, read.n_spans, read.n_bad_lines), (4, 34, 0));
        let large = "x".repeat(300_000);
        let (_, requests) = self::read(&line(20, &large), 1_000);
        assert_eq!(requests.iter().sum::<usize>(), 20);
        assert!(requests.iter().all(|n| *n <= 3), "{requests:?}");
    }

    #[test]
    fn what_is_wrong_is_left_out_alone() {
        let id = "00000000000000000000000000000001";
        let bad_span = line(2, "a").replacen(id, "1", 1);
        let text = [
            line(1, "a"),
            "{\"resourceSpans\":[\n".to_owned(),
            bad_span,
            line(1, "b"),
        ]
        .concat();
        let (read, requests) = read(&text, 10);
        assert_eq!(requests, [3]);
        let bad = (read.n_bad_lines, read.n_bad_spans);
        assert_eq!((read.n_lines, read.n_spans, bad), (4, 3, (1, 1)));
        // The last line of a file that was cut.
        let cut = line(1, "a") + line(1, "b").get(..30).unwrap();
        assert_eq!(self::read(&cut, 10).0.n_bad_lines, 1);
    }
}
