//! A visit as spans with times and outcomes, before anything is encoded.

use super::Random;
use crate::demo::shop::{Call, Mode, Node, OPERATIONS, Operation};
use crate::demo::template::Template;

/// A span as it will be.
#[derive(Debug, Clone)]
pub(super) struct PlannedSpan {
    /// Index in the operations.
    pub(super) operation: usize,
    /// Index of the process that makes it.
    pub(super) process: usize,
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) link: Option<([u8; 16], [u8; 8])>,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) outcome: Outcome,
    /// 0 for the first try.
    pub(super) attempt: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Fine,
    Failed,
    /// Something that it called failed.
    FailedBelow,
}

/// Walks trees of calls. Holds its buffers from visit to visit.
#[derive(Debug)]
pub(super) struct Planner {
    pub(super) spans: Vec<PlannedSpan>,
    /// Calls over queues that begin after their producer ended.
    queued: Vec<Queued>,
    /// The first process of every service.
    first_process: Vec<usize>,
}

#[derive(Debug)]
struct Queued {
    node: &'static Node,
    trace_id: [u8; 16],
    parent: Option<[u8; 8]>,
    link: Option<([u8; 16], [u8; 8])>,
    start: u64,
}

/// Where in the tree of spans a call happens.
#[derive(Debug, Clone, Copy)]
struct Place {
    trace_id: [u8; 16],
    parent: Option<[u8; 8]>,
    link: Option<([u8; 16], [u8; 8])>,
    attempt: u8,
}

/// A visit has at most so many spans; the deepest tree has a hundred.
const SPANS_MAX: usize = 4_096;
const MICROSECOND: u64 = 1_000;

// === impl Planner ===

impl Planner {
    pub(super) fn new(first_process: Vec<usize>) -> Self {
        Self {
            spans: Vec::new(),
            queued: Vec::new(),
            first_process,
        }
    }

    /// Fills `spans` with one visit.
    pub(super) fn plan(
        &mut self,
        root: &'static Node,
        start: u64,
        templates: &[Template],
        random: &mut Random,
    ) {
        self.spans.clear();
        let place = Place {
            trace_id: random.id16(),
            parent: None,
            link: None,
            attempt: 0,
        };
        self.walk(root, place, start, templates, random);
        while let Some(queued) = self.queued.pop() {
            let place = Place {
                trace_id: queued.trace_id,
                parent: queued.parent,
                link: queued.link,
                attempt: 0,
            };
            self.walk(queued.node, place, queued.start, templates, random);
        }
    }

    /// One span and all that it calls; its end and whether it failed.
    fn walk(
        &mut self,
        node: &'static Node,
        place: Place,
        start: u64,
        templates: &[Template],
        random: &mut Random,
    ) -> (u64, bool) {
        let operation = index_of(node.operation);
        let Some(template) = templates.get(operation) else {
            return (start, false);
        };
        if self.spans.len() >= SPANS_MAX {
            return (start, false);
        }
        let work = own_work(node, random);
        let index = self.spans.len();
        let span_id = random.id8();
        let first = self
            .first_process
            .get(template.service)
            .copied()
            .unwrap_or(0);
        let instances = crate::demo::shop::SERVICES
            .get(template.service)
            .map_or(1, |service| u64::from(service.instances));
        self.spans.push(PlannedSpan {
            operation,
            process: first + random.below(instances) as usize,
            trace_id: place.trace_id,
            span_id,
            parent: place.parent,
            link: place.link,
            start,
            end: start,
            outcome: Outcome::Fine,
            attempt: place.attempt,
        });
        let inside = Place {
            trace_id: place.trace_id,
            parent: Some(span_id),
            link: None,
            attempt: 0,
        };
        let mut outcome = Outcome::Fine;
        let mut cursor = start + work / 2;
        if random.below(10_000) < u64::from(template.failure_rate) {
            outcome = Outcome::Failed;
        } else {
            for call in node.calls {
                let (end, failed) = self.call(call, inside, cursor, templates, random);
                cursor = end;
                if failed {
                    outcome = Outcome::FailedBelow;
                    break;
                }
            }
        }
        let end = cursor + work.div_ceil(2);
        if let Some(span) = self.spans.get_mut(index) {
            span.end = end;
            span.outcome = outcome;
        }
        (end, outcome != Outcome::Fine)
    }

    fn call(
        &mut self,
        call: &'static Call,
        place: Place,
        start: u64,
        templates: &[Template],
        random: &mut Random,
    ) -> (u64, bool) {
        if random.below(100) >= u64::from(call.chance) {
            return (start, false);
        }
        let mut end = start;
        for _ in 0..random.between(call.times.0, call.times.1) {
            match call.mode {
                Mode::Wait { retries } => {
                    let (done, failed) =
                        self.wait(call.node, place, end, retries, templates, random);
                    end = done;
                    if failed {
                        return (end, true);
                    }
                }
                Mode::Together => {
                    let begin = start + random.below(200) * MICROSECOND;
                    let (done, _) = self.walk(call.node, place, begin, templates, random);
                    end = end.max(done);
                }
                Mode::Queue | Mode::QueueLinked => self.enqueue(call, place, end, random),
            }
        }
        (end, false)
    }

    /// Tries again after a failure, each time after a longer pause.
    fn wait(
        &mut self,
        node: &'static Node,
        place: Place,
        start: u64,
        retries: u8,
        templates: &[Template],
        random: &mut Random,
    ) -> (u64, bool) {
        let mut begin = start;
        for attempt in 0..=retries {
            let place = Place { attempt, ..place };
            let (end, failed) = self.walk(node, place, begin, templates, random);
            if !failed {
                return (end, false);
            }
            begin = end + (u64::from(attempt) + 1) * 50_000 * MICROSECOND;
        }
        (begin, true)
    }

    fn enqueue(&mut self, call: &'static Call, place: Place, now: u64, random: &mut Random) {
        // Consumers poll: some milliseconds as a rule, sometimes seconds.
        let lag = match random.below(50) {
            0 => random.below(5_000_000),
            _ => 2_000 + random.below(40_000),
        };
        let linked = call.mode == Mode::QueueLinked;
        let producer = place.parent.map(|parent| (place.trace_id, parent));
        self.queued.push(Queued {
            node: call.node,
            trace_id: if linked {
                random.id16()
            } else {
                place.trace_id
            },
            parent: if linked { None } else { place.parent },
            link: producer.filter(|_| linked),
            start: now + lag * MICROSECOND,
        });
    }
}

/// Own time in nanoseconds: skewed to the short end, with a long tail.
fn own_work(node: &Node, random: &mut Random) -> u64 {
    let (from, to) = node.work;
    let low = random.between(from, to).min(random.between(from, to));
    let work = u64::from(low) * MICROSECOND + random.below(MICROSECOND);
    if random.below(10_000) < u64::from(node.slow) {
        work * 30
    } else {
        work
    }
}

/// The index of an operation; the tables name them by reference.
fn index_of(operation: &'static Operation) -> usize {
    OPERATIONS
        .iter()
        .position(|known| std::ptr::eq(*known, operation))
        .unwrap_or(usize::MAX)
}
