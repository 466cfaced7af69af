//! Reads segments in order, whatever happened to them: every record that proves itself is served,
//! and every number that is missing is named with its place (docs/format/wal.md).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use tracewell_model::sink::{LogDamage, LogPosition, LogRecord};

use super::format::{
    Epoch, GroupFooter, HEADER_COPY_OFFSET, PAGE_BYTES, RecordHeader, SLOT, SLOT_BYTES,
    SegmentHeader, Slot, epoch_of_record, may_be_proven,
};
use super::segment::Segment;
use super::window::Window;

const STRIDE_BYTES_MAX: usize = 1 << 18;

/// The records of a log, oldest first, and its damage where it lies.
///
/// It pins the segments that it has still to read: their files stay what they are while it lives.
#[derive(Debug)]
pub struct LogReader<'a> {
    segments: VecDeque<Input<'a>>,
    walk: Option<(String, Walk<'a>)>,
    /// Holds the segment that is read now.
    pinned: Option<Arc<Segment>>,
    /// Where a gap before the next segment would lie: file, offset, length.
    behind: Option<(String, Range<u64>)>,
    /// The number that comes next if nothing is missing.
    expected: u64,
    /// Numbers outside are neither served nor missed.
    wanted: Range<u64>,
    voids: Vec<Range<u64>>,
    ready: VecDeque<Result<(LogPosition, LogRecord), LogDamage>>,
}

#[derive(Debug)]
enum Input<'a> {
    Segment(Arc<Segment>),
    Memory(&'a [u8]),
}

/// Goes through one segment.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) window: Window<'a>,
    epoch: Epoch,
    /// How far it looks where nothing proves itself.
    stride: usize,
    offset: u64,
    /// End of what proved itself last.
    pub(super) proven_end: u64,
    pub(super) expected: u64,
    /// Records with a smaller number are hopped over, their content unread.
    content_from: u64,
    /// Looks no further.
    pub(super) len: u64,
}

#[derive(Debug)]
pub(super) enum Step {
    Record(u64, LogRecord),
    /// A record whose content was not asked for.
    Hop(u64),
    Lost {
        place: Range<u64>,
        numbers: Range<u64>,
        reason: &'static str,
    },
}

// === impl LogReader ===

impl<'a> LogReader<'a> {
    /// Reads the numbers in `wanted` from segments in the order of the log.
    /// `void` holds numbers that were never given, besides those that the segments name.
    pub(super) fn new(segments: Vec<Arc<Segment>>, wanted: Range<u64>, void: Range<u64>) -> Self {
        let mut voids: Vec<_> = segments.iter().map(|segment| segment.void()).collect();
        voids.push(void);
        let segments = segments
            .into_iter()
            .filter(|segment| segment.end() > wanted.start)
            .map(Input::Segment)
            .collect();
        Self::over(segments, wanted, voids)
    }

    /// Reads the bytes of one segment file. For inspection and for fuzzing: it takes any bytes.
    pub fn of_bytes(bytes: &'a [u8]) -> Self {
        Self::over(VecDeque::from([Input::Memory(bytes)]), 0..u64::MAX, vec![])
    }

    fn over(segments: VecDeque<Input<'a>>, wanted: Range<u64>, voids: Vec<Range<u64>>) -> Self {
        Self {
            segments,
            walk: None,
            pinned: None,
            behind: None,
            expected: wanted.start,
            wanted,
            voids,
            ready: VecDeque::new(),
        }
    }

    fn open_next(&mut self) -> bool {
        match self.segments.pop_front() {
            Some(Input::Segment(segment)) => self.open_segment(&segment),
            Some(Input::Memory(bytes)) => self.open_memory(bytes),
            None => return false,
        }
        true
    }

    fn open_segment(&mut self, segment: &Arc<Segment>) {
        let name = segment.name();
        let window = match Window::over(Arc::clone(&segment.file)) {
            Ok(window) => window,
            Err(error) => {
                self.report(&name, 0..0, error.to_string());
                return;
            }
        };
        if segment.header.is_none() {
            self.report(&name, 0..PAGE_BYTES, "both segment headers".to_owned());
        }
        let first = segment.first;
        if first > self.expected {
            let (file, place) = self.behind.take().unwrap_or_else(|| (name.clone(), 0..0));
            self.lose(&file, place, self.expected..first, "records are missing");
        }
        let mut walk = Walk::new(window, segment.epoch, first);
        walk.content_from = self.wanted.start;
        self.walk = Some((name, walk));
        self.pinned = Some(Arc::clone(segment));
    }

    fn open_memory(&mut self, bytes: &'a [u8]) {
        let mut window = Window::Memory(bytes);
        let header = read_header(&mut window, None);
        let page = window.read(PAGE_BYTES, SLOT);
        let Some(epoch) = header.map(|h| h.epoch).or_else(|| epoch_of_record(page)) else {
            let len = bytes.len() as u64;
            self.report("memory", 0..len, "no segment of a log".to_owned());
            return;
        };
        let first = header.map_or(0, |header| header.first);
        self.expected = first;
        let mut walk = Walk::new(window, epoch, first);
        walk.content_from = 0;
        self.walk = Some(("memory".to_owned(), walk));
    }

    fn close_walk(&mut self, name: String, walk: &Walk<'a>) {
        self.expected = self.expected.max(walk.expected);
        let place = walk.proven_end..walk.window.len().max(walk.proven_end);
        self.behind = Some((name, place));
    }

    /// What must be there by number and is not, after the last segment.
    fn finish(&mut self) {
        if self.wanted.end != u64::MAX {
            let (file, place) = self.behind.take().unwrap_or_default();
            let missing = self.expected..self.wanted.end;
            self.lose(&file, place, missing, "the log ends too early");
        }
        self.wanted = self.wanted.end..self.wanted.end;
    }

    fn take_unreadable(&mut self, name: &str, walk: &mut Walk<'a>) {
        while let Some(page) = walk.window.next_unreadable() {
            self.report(name, page.offset..page.offset + page.len, page.reason);
        }
    }

    /// Reports what is lost, unless nobody was promised any of it.
    fn lose(&mut self, file: &str, place: Range<u64>, numbers: Range<u64>, reason: &str) {
        let from = numbers.start.max(self.wanted.start);
        let to = numbers.end.min(self.wanted.end);
        let promised = promised_of(from..to, &self.voids);
        if let (Some(first), Some(last)) = (promised.first(), promised.last()) {
            let n: u64 = promised.iter().map(|run| run.end - run.start).sum();
            let (first, last) = (first.start, last.end - 1);
            let reason = format!("{n} records lost, {first} to {last}: {reason}");
            self.report(file, place, reason);
        }
    }

    fn report(&mut self, file: &str, place: Range<u64>, reason: String) {
        self.ready.push_back(Err(LogDamage {
            file: file.to_owned(),
            offset: place.start,
            len: place.end.saturating_sub(place.start),
            reason,
        }));
    }

    fn is_void(&self, number: u64) -> bool {
        self.voids.iter().any(|void| void.contains(&number))
    }
}

impl Iterator for LogReader<'_> {
    type Item = Result<(LogPosition, LogRecord), LogDamage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let Some((name, mut walk)) = self.walk.take() else {
                if self.open_next() {
                    continue;
                }
                self.finish();
                return self.ready.pop_front();
            };
            let step = walk.next();
            self.take_unreadable(&name, &mut walk);
            match step {
                // Written by now, but not when this reader was made: nothing from here on is wanted.
                Some(Step::Record(number, _)) if number >= self.wanted.end => {
                    self.segments.clear();
                    self.close_walk(name, &walk);
                    continue;
                }
                Some(Step::Record(number, record)) if !self.is_void(number) => {
                    self.ready.push_back(Ok((LogPosition(number), record)));
                }
                Some(Step::Lost {
                    place,
                    numbers,
                    reason,
                }) => self.lose(&name, place, numbers, reason),
                Some(Step::Record(..) | Step::Hop(_)) => {}
                None => {
                    self.close_walk(name, &walk);
                    continue;
                }
            }
            self.walk = Some((name, walk));
        }
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    pub(super) fn new(window: Window<'a>, epoch: Epoch, first: u64) -> Self {
        Self {
            len: window.len(),
            window,
            epoch,
            stride: PAGE_BYTES as usize,
            offset: PAGE_BYTES,
            proven_end: PAGE_BYTES,
            expected: first,
            content_from: u64::MAX,
        }
    }

    pub(super) fn next(&mut self) -> Option<Step> {
        while self.offset.saturating_add(SLOT_BYTES) <= self.len {
            let slot = self.window.read(self.offset, SLOT);
            let step = match Slot::parse(slot, self.epoch, self.offset) {
                Slot::Record(header) if header.number >= self.expected => self.record(&header),
                Slot::Footer(footer) => self.footer(&footer),
                _ => {
                    self.skip();
                    None
                }
            };
            if step.is_some() {
                return step;
            }
        }
        None
    }

    /// On to the next slot that may prove itself. Looks a page far at first, then farther and farther:
    /// behind most records there are a few zeros, behind the last group tens of megabytes.
    fn skip(&mut self) {
        self.offset += SLOT_BYTES;
        if self.offset.saturating_sub(self.proven_end) < PAGE_BYTES {
            self.stride = PAGE_BYTES as usize;
        }
        let rest = usize::try_from(self.len.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let ahead = self.window.read(self.offset, rest.min(self.stride));
        let n_skipped = ahead
            .chunks_exact(SLOT)
            .take_while(|slot| !may_be_proven(slot))
            .count();
        self.offset += n_skipped as u64 * SLOT_BYTES;
        self.stride = (self.stride * 2).min(STRIDE_BYTES_MAX);
    }

    fn record(&mut self, header: &RecordHeader) -> Option<Step> {
        let number = header.number;
        if number > self.expected {
            // The slot is looked at again by the next call, as the one that is expected.
            let numbers = self.expected..number;
            let place = self.proven_end..self.offset;
            self.expected = number;
            return Some(Step::Lost {
                place,
                numbers,
                reason: "no record header is left",
            });
        }
        let content_at = self.offset + SLOT_BYTES;
        let place = self.offset..(self.offset + header.record_bytes()).min(self.window.len());
        let whole = content_at + header.content_bytes() as u64 <= self.window.len();
        self.expected = number.saturating_add(1);
        self.offset = place.end;
        self.proven_end = place.end;
        let opened = if !whole {
            Err("the file ends inside of it")
        } else if number < self.content_from {
            return Some(Step::Hop(number));
        } else {
            header.open(self.window.read(content_at, header.content_bytes()))
        };
        Some(match opened {
            Ok(record) => Step::Record(number, record),
            Err(reason) => Step::Lost {
                place,
                numbers: number..self.expected,
                reason,
            },
        })
    }

    fn footer(&mut self, footer: &GroupFooter) -> Option<Step> {
        let numbers = self.expected..footer.end();
        let place = self.proven_end..self.offset;
        self.offset += SLOT_BYTES;
        self.proven_end = self.offset;
        if numbers.is_empty() {
            return None;
        }
        self.expected = numbers.end;
        Some(Step::Lost {
            place,
            numbers,
            reason: "no record header is left",
        })
    }
}

/// The copy of the segment header that is right, if one is, and of the epoch asked for.
pub(super) fn read_header(window: &mut Window<'_>, epoch: Option<Epoch>) -> Option<SegmentHeader> {
    [0, HEADER_COPY_OFFSET].into_iter().find_map(|offset| {
        let header = SegmentHeader::parse(window.read(offset, SLOT))?;
        epoch
            .is_none_or(|epoch| epoch == header.epoch)
            .then_some(header)
    })
}

/// The parts of a range that lie in none of the others.
fn promised_of(range: Range<u64>, voids: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut parts = vec![range];
    parts.retain(|part| !part.is_empty());
    for void in voids {
        parts = parts
            .into_iter()
            .flat_map(|part| {
                [
                    part.start..part.end.min(void.start),
                    part.start.max(void.end)..part.end,
                ]
            })
            // At once: of a log that was killed often, each void would double the empty parts.
            .filter(|part| !part.is_empty())
            .collect();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_voids_leave_no_more_parts_than_lie_between_them() {
        let voids: Vec<Range<u64>> = (0..200).map(|at| at * 10..at * 10 + 3).collect();
        let parts = promised_of(0..2_000, &voids);
        assert_eq!(parts.len(), 200);
        assert_eq!(parts.first(), Some(&(3..10)));
        assert_eq!(parts.last(), Some(&(1_993..2_000)));
        assert_eq!(promised_of(5..5, &voids), []);
        assert_eq!(promised_of(0..3, &voids), []);
    }
}
