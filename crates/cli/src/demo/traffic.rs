//! Visits to the shop as OTLP requests: walks the tree of calls, makes the spans, and collects them
//! per process as an SDK does, so that the spans of one trace arrive in several requests.
//!
//! The same seed and the same start times make the same bytes.

mod plan;
mod render;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use super::encode::{put_bytes, put_varint, varint_len};
use super::shop::{Node, SERVICES, VISITS};
use super::template::{self, Template};
use crate::send::Request;
use plan::{PlannedSpan, Planner};
use render::{Renderer, Visit};

/// The source of all traffic.
#[derive(Debug)]
pub(crate) struct Traffic {
    random: Random,
    planner: Planner,
    renderer: Renderer,
    templates: Vec<Template>,
    processes: Vec<Process>,
    /// Spans that their process holds back, by when they are due.
    held: BinaryHeap<Reverse<Held>>,
    ready: VecDeque<Request>,
    batch: usize,
    /// Spans that may still be made.
    left: u64,
    n_made: u64,
    span: Vec<u8>,
}

/// A process of a service and the spans that it has not sent yet.
#[derive(Debug)]
struct Process {
    resource: Vec<u8>,
    scopes: Vec<Vec<u8>>,
    /// Spans as fields of `ScopeSpans`, one buffer per scope.
    buffers: Vec<Vec<u8>>,
    n_spans: usize,
}

/// A span that is sent later than it was made; ordered by when.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: u64,
    /// Keeps the order of spans that are due together.
    number: u64,
    process: usize,
    scope: usize,
    span: Vec<u8>,
}

/// When a span leaves its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As soon as its batch is full; a few are late by so many other spans.
    Bulk,
    /// After it ended; a few are late by many seconds.
    Live,
}

/// One span in so many is late.
const LATE_ONE_IN: u64 = 250;
/// How late, in spans, in bulk.
const LATE_SPANS: u64 = 20_000;
/// How late at most, live.
const LATE_NANO_MAX: u64 = 20_000_000_000;

/// A small random source with the few distributions that are needed.
#[derive(Debug)]
pub(crate) struct Random(SmallRng);

// === impl Traffic ===

impl Traffic {
    /// At most `n_spans` spans, in requests of at most `batch`.
    pub(crate) fn new(seed: u64, batch: usize, n_spans: u64) -> Self {
        let mut first_process = Vec::new();
        let mut processes = Vec::new();
        for service in SERVICES {
            first_process.push(processes.len());
            for instance in 0..service.instances {
                let scopes = template::scopes(service);
                processes.push(Process {
                    resource: template::resource(service, instance, seed),
                    buffers: scopes.iter().map(|_| Vec::new()).collect(),
                    scopes,
                    n_spans: 0,
                });
            }
        }
        Self {
            random: Random::new(seed),
            planner: Planner::new(first_process),
            renderer: Renderer::default(),
            templates: template::templates(),
            processes,
            held: BinaryHeap::new(),
            ready: VecDeque::new(),
            batch: batch.max(1),
            left: n_spans,
            n_made: 0,
            span: Vec::with_capacity(1_024),
        }
    }

    /// True when all spans were made; some may still be held.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Makes the spans of one visit that begins at the given time: one trace, or a few that link to
    /// each other.
    pub(crate) fn visit(&mut self, start_unix_nano: u64, pace: Pace) {
        let root = self.pick_visit();
        let visit = Visit::new(&mut self.random);
        self.planner
            .plan(root, start_unix_nano, &self.templates, &mut self.random);
        let n_spans = usize::try_from(self.left).map_or(self.planner.spans.len(), |left| {
            left.min(self.planner.spans.len())
        });
        self.left -= n_spans as u64;
        for index in 0..n_spans {
            let Some(planned) = self.planner.spans.get(index) else {
                break;
            };
            let Some(template) = self.templates.get(planned.operation) else {
                continue;
            };
            self.span.clear();
            self.renderer
                .render(&mut self.span, planned, template, &visit, &mut self.random);
            let (process, scope) = (planned.process, template.scope);
            let due = due(planned, pace, self.n_made, &mut self.random);
            self.n_made += 1;
            match due {
                None => self.buffer_own(process, scope),
                Some(due) => self.held.push(Reverse(Held {
                    due,
                    number: self.n_made,
                    process,
                    scope,
                    span: self.span.clone(),
                })),
            }
        }
        if pace == Pace::Bulk {
            self.release(self.n_made);
        }
    }

    /// The first trace of the last visit.
    pub(crate) fn trace_id(&self) -> Option<[u8; 16]> {
        self.planner.spans.first().map(|span| span.trace_id)
    }

    /// Lets go of the spans that are due: up to a time live, up to a number of spans in bulk.
    pub(crate) fn release(&mut self, due: u64) {
        while self
            .held
            .peek()
            .is_some_and(|Reverse(held)| held.due <= due)
        {
            let Some(Reverse(held)) = self.held.pop() else {
                break;
            };
            self.span = held.span;
            self.buffer_own(held.process, held.scope);
        }
    }

    /// Turns what processes have collected into requests, however little it is.
    pub(crate) fn flush(&mut self) {
        for process in &mut self.processes {
            self.ready.extend(process.request());
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Request> {
        self.ready.pop_front()
    }

    /// Adds `self.span` to its process.
    fn buffer_own(&mut self, process: usize, scope: usize) {
        let Some(process) = self.processes.get_mut(process) else {
            return;
        };
        let Some(buffer) = process.buffers.get_mut(scope) else {
            return;
        };
        put_bytes(buffer, 2, &self.span);
        process.n_spans += 1;
        if process.n_spans >= self.batch {
            self.ready.extend(process.request());
        }
    }

    fn pick_visit(&mut self) -> &'static Node {
        let total: u64 = VISITS.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut ticket = self.random.below(total);
        for (node, weight) in VISITS {
            match ticket.checked_sub(u64::from(*weight)) {
                Some(rest) => ticket = rest,
                None => return node,
            }
        }
        // The tickets are as many as the weights.
        VISITS
            .first()
            .map(|(node, _)| *node)
            .expect("the shop has visits")
    }
}

/// When a span is sent; `None` for at once.
fn due(planned: &PlannedSpan, pace: Pace, n_made: u64, random: &mut Random) -> Option<u64> {
    let late = random.below(LATE_ONE_IN) == 0;
    match pace {
        Pace::Bulk => late.then(|| n_made + LATE_SPANS),
        Pace::Live if late => Some(planned.end + random.below(LATE_NANO_MAX)),
        Pace::Live => Some(planned.end),
    }
}

// === impl Process ===

impl Process {
    /// The collected spans as a request, and nothing collected afterwards.
    fn request(&mut self) -> Option<Request> {
        if self.n_spans == 0 {
            return None;
        }
        let scope_len = |(scope, spans): (&Vec<u8>, &Vec<u8>)| {
            1 + varint_len(scope.len() as u64) + scope.len() + spans.len()
        };
        let used = || {
            self.scopes
                .iter()
                .zip(&self.buffers)
                .filter(|(_, spans)| !spans.is_empty())
        };
        let scopes_len: usize = used()
            .map(|pair| {
                let len = scope_len(pair);
                1 + varint_len(len as u64) + len
            })
            .sum();
        let resource_len = 1 + varint_len(self.resource.len() as u64) + self.resource.len();
        let total = resource_len + scopes_len;
        let mut body = Vec::with_capacity(total + 8);
        put_varint(&mut body, 1 << 3 | 2);
        put_varint(&mut body, total as u64);
        put_bytes(&mut body, 1, &self.resource);
        for (scope, spans) in used() {
            put_varint(&mut body, 2 << 3 | 2);
            put_varint(&mut body, scope_len((scope, spans)) as u64);
            put_bytes(&mut body, 1, scope);
            body.extend_from_slice(spans);
        }
        let n_spans = std::mem::take(&mut self.n_spans);
        self.buffers.iter_mut().for_each(Vec::clear);
        Some(Request {
            body: Bytes::from(body),
            n_spans,
            due: None,
        })
    }
}

// === impl Random ===

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// 0 up to, not including, the bound; the bias of 2^-32 does not matter here.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// Both ends included.
    pub(crate) fn between(&mut self, from: u32, to: u32) -> u32 {
        from + self.below(u64::from(to.saturating_sub(from)) + 1) as u32
    }

    /// Ids are never all zeros.
    pub(crate) fn id8(&mut self) -> [u8; 8] {
        (self.next() | 1).to_le_bytes()
    }

    pub(crate) fn id16(&mut self) -> [u8; 16] {
        ((u128::from(self.next()) << 64) | u128::from(self.next() | 1)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests;
