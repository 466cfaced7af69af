//! The thread that writes the log: takes what waits, writes it as one group, syncs once, hands it on.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tracewell_model::limits::DISK_FULL;
use tracewell_model::sink::{LogPosition, LogRecord, WriteError};

use super::format::{
    GroupFooter, PAGE_BYTES, RecordHeader, SLOT_BYTES, SegmentHeader, VERSION, round_up,
};
use super::mark::{MARK_EVERY, Mark};
use super::segment::{Moment, Segment, Spare};
use super::{Committed, Durability, Shared, WalState};

/// Two parts of a vectored write for each, and Linux takes 1,024 in one call.
const GROUP_RECORDS_MAX: usize = 500;
/// How long a sender should wait for an operator to make room.
const DISK_FULL_RETRY: std::time::Duration = std::time::Duration::from_secs(10);

/// A record that waits to be written.
#[derive(Debug)]
pub(super) struct Request<P> {
    pub(super) record: LogRecord,
    pub(super) payload: P,
    pub(super) ack: oneshot::Sender<Result<LogPosition, WriteError>>,
}

pub(super) struct Writer<P> {
    shared: Arc<Shared<P>>,
    hook: Box<dyn FnMut(Committed<P>) + Send>,
    mark: Mark,
    active: Option<Active>,
    /// Number of the next record.
    next: u64,
    /// Numbers from here up to `next` were given and never acknowledged.
    void_from: u64,
    /// Groups in a row whose outcome is not known.
    n_failed: u32,
    scratch: Vec<u8>,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    offset: u64,
    /// It may be written up to here.
    capacity: u64,
    /// Its file was empty when it was taken: the directory is not synced yet, and syncs are slow.
    is_unfilled: bool,
}

/// A part of a group, in the order of the file.
#[derive(Debug)]
enum Part {
    Scratch(Range<usize>),
    Payload(usize),
}

#[derive(Debug)]
enum Failure {
    /// Nothing was written; the number of the group was not used.
    NoFile(io::Error),
    /// Nobody knows what is on disk.
    Unknown(io::Error),
}

// === impl Writer ===

impl<P: Send + 'static> Writer<P> {
    pub(super) fn new(
        shared: Arc<Shared<P>>,
        hook: Box<dyn FnMut(Committed<P>) + Send>,
        mark: Mark,
        void: Range<u64>,
    ) -> Self {
        Self {
            shared,
            hook,
            mark,
            active: None,
            next: void.end,
            void_from: void.start,
            n_failed: 0,
            scratch: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// The thread. Returns when the log stops and everything that waited is written.
    pub(super) fn run(&mut self) {
        let mut group = VecDeque::new();
        while self.take_group(&mut group) {
            if group.is_empty() {
                self.roll();
                self.note_end(self.mark.is_behind(self.void_from));
            } else {
                self.commit(&mut group);
                let now = self.shared.clock.monotonic_nano();
                self.note_end(self.mark.is_due(self.void_from, now));
            }
        }
        self.note_end(self.mark.is_behind(self.void_from));
        self.cut_unused_end();
    }

    /// Notes beside the log where it ends.
    fn note_end(&mut self, is_due: bool) {
        if is_due {
            let (log_id, durability) = (self.shared.log_id, self.shared.options.durability);
            let now = self.shared.clock.monotonic_nano();
            self.mark.write(log_id, self.void_from, durability, now);
        }
    }

    /// So that the next start need not look for records there.
    fn cut_unused_end(&self) {
        let Some(active) = &self.active else {
            return;
        };
        if active.offset == 0 {
            return;
        }
        if let Err(error) = active.segment.file.set_len(active.offset) {
            let file = active.segment.name();
            tracing::warn!(file, %error, "unused end of the segment was not cut off");
        }
    }

    /// Waits for records and takes as many as one group may hold; none if the log is to go on in
    /// another segment, or if nothing came for a while and where it ends is not noted. False at the end.
    fn take_group(&self, group: &mut VecDeque<Request<P>>) -> bool {
        let bytes_max = self.shared.options.group_bytes_max;
        let mut bytes = 0;
        let mut queue = self.shared.queue.lock();
        while queue.requests.is_empty() {
            if queue.stopping {
                return false;
            }
            if std::mem::take(&mut queue.roll) {
                return true;
            }
            match self.mark.is_behind(self.void_from) {
                true => {
                    let waited = self.shared.wake.wait_for(&mut queue, MARK_EVERY);
                    if waited.timed_out() && queue.requests.is_empty() {
                        return true;
                    }
                }
                false => self.shared.wake.wait(&mut queue),
            }
        }
        while let Some(request) = queue.requests.front() {
            let record_bytes = request.record.payload.len() as u64;
            let is_full = group.len() == GROUP_RECORDS_MAX || bytes + record_bytes > bytes_max;
            if is_full && !group.is_empty() {
                break;
            }
            bytes += record_bytes;
            group.extend(queue.requests.pop_front());
        }
        queue.bytes -= bytes;
        true
    }

    fn commit(&mut self, group: &mut VecDeque<Request<P>>) {
        if let WalState::Stopped { reason } = self.shared.state() {
            return fail(group, &WriteError::Halted { reason });
        }
        let first = self.next;
        if let Err(failure) = self.write(group) {
            let error = self.failed(first + group.len() as u64, failure);
            return fail(group, &error);
        }
        self.n_failed = 0;
        self.next = first + group.len() as u64;
        self.void_from = self.next;
        self.shared.committed.store(self.next, Ordering::Release);
        for (request, number) in group.drain(..).zip(first..) {
            let position = LogPosition(number);
            (self.hook)(Committed {
                position,
                record: request.record,
                payload: request.payload,
            });
            // A sender that has gone away is no reason to stop.
            drop(request.ack.send(Ok(position)));
        }
    }

    /// Goes on in another segment whose header is durable, so that those before it can be forgotten
    /// although no record comes.
    fn roll(&mut self) {
        let is_old = match self.shared.segments.lock().last() {
            Some(last) => self.shared.spares.is_old(last.since),
            None => false,
        };
        if !is_old || self.shared.state() != WalState::Running {
            return;
        }
        if let Err(error) = self.begin_segment() {
            tracing::warn!(%error, "the log could not go on in another segment, trying again");
            if let Some(active) = self.active.take() {
                self.give_up(&active.segment);
            }
        }
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        self.active = None;
        self.next_segment(0)?;
        let Some(active) = &mut self.active else {
            return Err(io::Error::other("no active segment"));
        };
        let segment = &active.segment;
        let Some(header) = &segment.header else {
            return Err(io::Error::other("a new segment has no header"));
        };
        self.scratch.clear();
        header.append_page(&mut self.scratch);
        segment.file.write_at(&self.scratch, 0)?;
        if self.shared.options.durability == Durability::Fsync {
            segment.file.sync_data()?;
            if active.is_unfilled {
                self.shared.disk.sync_dir(&self.shared.options.dir)?;
            }
        }
        active.offset = PAGE_BYTES;
        segment.begin();
        Ok(())
    }

    fn write(&mut self, group: &VecDeque<Request<P>>) -> Result<(), Failure> {
        let bytes = group_bytes(group);
        self.make_room(bytes).map_err(Failure::NoFile)?;
        let Some(active) = &mut self.active else {
            return Err(Failure::NoFile(io::Error::other("no active segment")));
        };
        self.scratch.clear();
        self.parts.clear();
        let start = active.offset;
        let group_offset = start.max(PAGE_BYTES);
        let segment = &active.segment;
        if let (0, Some(header)) = (start, &segment.header) {
            header.append_page(&mut self.scratch);
        }
        let mut done = 0;
        for (index, (request, number)) in group.iter().zip(self.next..).enumerate() {
            let header_at = self.scratch.len();
            RecordHeader::append(&request.record, segment.epoch, number, &mut self.scratch);
            let content = self.scratch.len() - header_at + request.record.payload.len();
            let zeros = round_up(content as u64, SLOT_BYTES) as usize - content;
            self.parts.push(Part::Scratch(done..self.scratch.len()));
            self.parts.push(Part::Payload(index));
            done = self.scratch.len();
            self.scratch.resize(done + zeros, 0);
        }
        let payloads: usize = group.iter().map(|r| r.record.payload.len()).sum();
        let written = (self.scratch.len() + payloads) as u64 + start - group_offset;
        let zeros = (bytes - SLOT_BYTES).saturating_sub(written) as usize;
        self.scratch.resize(self.scratch.len() + zeros, 0);
        let footer = GroupFooter {
            n_records: group.len() as u32,
            first: self.next,
            offset: group_offset,
            bytes,
        };
        footer.append(segment.epoch, &mut self.scratch);
        self.parts.push(Part::Scratch(done..self.scratch.len()));

        write_parts(&self.shared, active, group, &self.scratch, &self.parts)
            .map_err(Failure::Unknown)?;
        active.offset = group_offset + bytes;
        let end = self.next + group.len() as u64;
        active.segment.grown_to(end, active.offset);
        let stats = &self.shared.stats;
        stats.groups.fetch_add(1, Ordering::Relaxed);
        stats
            .records
            .fetch_add(group.len() as u64, Ordering::Relaxed);
        stats.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a segment active that can take a group of so many bytes.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(active) = &self.active {
            let fits = active.offset + bytes <= active.capacity;
            let is_better = active.is_unfilled && self.shared.spares.is_ready();
            if fits && !is_better {
                return Ok(());
            }
        }
        self.next_segment(bytes)
    }

    fn next_segment(&mut self, bytes: u64) -> io::Result<()> {
        let (spare, is_unfilled) = match self.shared.spares.take() {
            Some(spare) => (spare, false),
            None => (self.shared.spares.take_empty()?, true),
        };
        self.activate(spare, is_unfilled, bytes);
        Ok(())
    }

    fn activate(&mut self, spare: Spare, is_unfilled: bool, bytes: u64) {
        let header = SegmentHeader {
            version: VERSION,
            epoch: spare.epoch,
            log_id: self.shared.log_id,
            void_from: self.void_from,
            first: self.next,
        };
        let capacity = spare
            .bytes
            .max(self.shared.options.segment_bytes)
            .max(PAGE_BYTES + bytes);
        let now = Moment::now(&*self.shared.clock);
        let segment = Arc::new(Segment::new(spare, header, now));
        self.shared.segments.lock().push(Arc::clone(&segment));
        self.active = Some(Active {
            segment,
            offset: 0,
            capacity,
            is_unfilled,
        });
    }

    /// Gives the segment up. `next` is the first number that the group did not use.
    fn failed(&mut self, next: u64, failure: Failure) -> WriteError {
        let stats = &self.shared.stats;
        stats.failed_groups.fetch_add(1, Ordering::Relaxed);
        let (is_unknown, error) = match failure {
            Failure::NoFile(error) => (false, error),
            Failure::Unknown(error) => (true, error),
        };
        let file = match self.active.take() {
            Some(active) if is_unknown => {
                self.next = next;
                self.give_up(&active.segment);
                active.segment.name()
            }
            active => {
                self.active = active;
                String::from("new segment")
            }
        };
        tracing::error!(file, %error, "write-ahead log could not be written");
        let is_full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        if is_full {
            return WriteError::Busy {
                limit: DISK_FULL,
                retry_after: DISK_FULL_RETRY,
            };
        }
        let reason = format!("{file}: {error}");
        if is_unknown {
            self.n_failed += 1;
            if self.n_failed > 1 {
                let reason = format!("ingest has stopped, two writes in a row failed; {reason}");
                self.shared.stop_for(reason.clone());
                return WriteError::Halted { reason };
            }
        }
        WriteError::Log { reason }
    }

    /// A segment in which no record is durable leaves the log with its file.
    fn give_up(&self, segment: &Arc<Segment>) {
        if segment.holds_place() {
            return;
        }
        self.shared
            .segments
            .lock()
            .retain(|other| !Arc::ptr_eq(other, segment));
        if let Err(error) = self.shared.disk.remove(&segment.path) {
            tracing::warn!(file = segment.name(), %error, "failed segment was not removed");
        }
    }
}

/// Bytes of a group in the file: whole pages, the footer at the end of the last.
fn group_bytes<P>(group: &VecDeque<Request<P>>) -> u64 {
    let records: u64 = group
        .iter()
        .map(|request| {
            let content = request.record.tenant.as_str().len() + request.record.payload.len();
            round_up(SLOT_BYTES + content as u64, SLOT_BYTES)
        })
        .sum();
    round_up(records + SLOT_BYTES, PAGE_BYTES)
}

fn write_parts<P>(
    shared: &Shared<P>,
    active: &Active,
    group: &VecDeque<Request<P>>,
    scratch: &[u8],
    parts: &[Part],
) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts
        .iter()
        .map(|part| match part {
            Part::Scratch(range) => scratch.get(range.clone()).unwrap_or_default(),
            Part::Payload(index) => group
                .get(*index)
                .map_or(&[][..], |request| &request.record.payload),
        })
        .map(IoSlice::new)
        .collect();
    let file = &active.segment.file;
    file.write_vectored_at(&mut slices, active.offset)?;
    if shared.options.durability == Durability::Fsync {
        let start = shared.clock.monotonic_nano();
        file.sync_data()?;
        if active.offset == 0 && active.is_unfilled {
            shared.disk.sync_dir(&shared.options.dir)?;
        }
        let took = shared.clock.monotonic_nano().saturating_sub(start);
        shared.stats.sync_nanos.fetch_add(took, Ordering::Relaxed);
    }
    Ok(())
}

fn fail<P>(group: &mut VecDeque<Request<P>>, error: &WriteError) {
    for request in group.drain(..) {
        drop(request.ack.send(Err(error.clone())));
    }
}
