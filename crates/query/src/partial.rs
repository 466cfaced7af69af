//! What one source knows of traces that lie in several: partial results that combine.
//!
//! Filters are single bits here, so that adding two fragments of a trace is an `or`. The binary form
//! is stable: a version byte, then little-endian numbers. What can be cached or sent to another
//! process is this, never a finished trace.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use tracewell_model::TraceId;

/// Fragments of traces, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenTraces {
    traces: BTreeMap<TraceId, OpenTrace>,
}

/// What is known of a trace so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTrace {
    /// One bit per filter of the plan: set where a span has matched.
    pub filters: u64,
    /// Spans that matched some filter.
    pub n_matched: u64,
    /// The earliest start seen; of matching fragments only, so that it may be too late.
    pub start_unix_nano: u64,
    /// True if a matching fragment has a span that starts in the window.
    pub in_window: bool,
}

/// Bytes that are no [`OpenTraces`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartialError {
    #[error("partial result of version {seen}, this version reads {known}")]
    Version { seen: u8, known: u8 },
    #[error("partial result of {seen} bytes, expected {expected}")]
    Length { seen: usize, expected: usize },
}

const VERSION: u8 = 1;
/// Id, filters, matched, start, in the window (0 or 1).
const TRACE_BYTES: usize = 16 + 8 + 8 + 8 + 1;
const HEAD_BYTES: usize = 1 + 8;

impl OpenTrace {
    /// Adds what another fragment of the trace knows.
    pub fn add(&mut self, fragment: Self) {
        self.filters |= fragment.filters;
        self.n_matched = self.n_matched.saturating_add(fragment.n_matched);
        self.start_unix_nano = self.start_unix_nano.min(fragment.start_unix_nano);
        self.in_window |= fragment.in_window;
    }
}

impl OpenTraces {
    /// Adds what another fragment of the trace knows.
    pub fn add(&mut self, id: TraceId, fragment: OpenTrace) {
        match self.traces.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(fragment);
            }
            Entry::Occupied(mut entry) => entry.get_mut().add(fragment),
        }
    }

    /// Adds what another source knows.
    pub fn combine(&mut self, other: &Self) {
        for (id, trace) in &other.traces {
            self.add(*id, *trace);
        }
    }

    pub fn get(&self, id: &TraceId) -> Option<&OpenTrace> {
        self.traces.get(id)
    }

    pub fn len(&self) -> usize {
        self.traces.len()
    }

    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.traces.len() * TRACE_BYTES);
        bytes.push(VERSION);
        bytes.extend((self.traces.len() as u64).to_le_bytes());
        for (id, trace) in &self.traces {
            bytes.extend(id.0);
            bytes.extend(trace.filters.to_le_bytes());
            bytes.extend(trace.n_matched.to_le_bytes());
            bytes.extend(trace.start_unix_nano.to_le_bytes());
            bytes.push(u8::from(trace.in_window));
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PartialError> {
        match bytes.first() {
            Some(&VERSION) | None => {}
            Some(&seen) => {
                return Err(PartialError::Version {
                    seen,
                    known: VERSION,
                });
            }
        }
        let wrong_length = |expected| PartialError::Length {
            seen: bytes.len(),
            expected,
        };
        let n = bytes
            .get(1..HEAD_BYTES)
            .and_then(|bytes| <[u8; 8]>::try_from(bytes).ok())
            .map(u64::from_le_bytes)
            .ok_or_else(|| wrong_length(HEAD_BYTES))?;
        let body = bytes.get(HEAD_BYTES..).unwrap_or_default();
        let (traces, rest) = body.as_chunks::<TRACE_BYTES>();
        if traces.len() as u64 != n || !rest.is_empty() {
            let expected = usize::try_from(n)
                .unwrap_or(usize::MAX)
                .saturating_mul(TRACE_BYTES)
                .saturating_add(HEAD_BYTES);
            return Err(wrong_length(expected));
        }
        let mut all = Self::default();
        for trace in traces {
            let (id, numbers) = trace.split_at(16);
            let id: [u8; 16] = id.try_into().unwrap_or_default();
            let (numbers, in_window) = numbers.as_chunks::<8>();
            let ([filters, n_matched, start], [in_window]) = (numbers, in_window) else {
                return Err(wrong_length(HEAD_BYTES));
            };
            all.add(
                TraceId(id),
                OpenTrace {
                    filters: u64::from_le_bytes(*filters),
                    n_matched: u64::from_le_bytes(*n_matched),
                    start_unix_nano: u64::from_le_bytes(*start),
                    in_window: *in_window != 0,
                },
            );
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(filters: u64, n_matched: u64, start_unix_nano: u64) -> OpenTrace {
        OpenTrace {
            filters,
            n_matched,
            start_unix_nano,
            in_window: start_unix_nano == 20,
        }
    }

    #[test]
    fn fragments_add_up_in_any_order_and_survive_their_binary_form() {
        let (a, b) = (TraceId([1; 16]), TraceId([2; 16]));
        let mut left = OpenTraces::default();
        left.add(a, open(1, 2, 30));
        let mut right = OpenTraces::default();
        right.add(a, open(6, 1, 20));
        right.add(b, open(4, 1, 50));
        let mut both = left.clone();
        both.combine(&right);
        right.combine(&left);
        assert_eq!(both, right);
        assert_eq!(both.get(&a), Some(&open(7, 3, 20)));
        assert!(!both.get(&b).unwrap().in_window);
        let bytes = both.to_bytes();
        assert_eq!(OpenTraces::from_bytes(&bytes), Ok(both));
        assert_eq!(bytes[..9], [1, 2, 0, 0, 0, 0, 0, 0, 0]);
        for n in 0..bytes.len() {
            assert!(OpenTraces::from_bytes(&bytes[..n]).is_err());
        }
        assert!(OpenTraces::from_bytes(&[9]).is_err());
    }
}
