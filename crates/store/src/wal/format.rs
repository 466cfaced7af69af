//! The bytes of the log: docs/format/wal.md is the contract, this is its only encoder and decoder.

use tracewell_model::TenantId;
use tracewell_model::sink::{LogRecord, RecordKind};

/// Groups begin and end at multiples of it.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Records begin at multiples of it; headers and footers have this size.
pub(super) const SLOT_BYTES: u64 = 64;
pub(super) const SLOT: usize = SLOT_BYTES as usize;
/// Where the second copy of the segment header lies.
pub(super) const HEADER_COPY_OFFSET: u64 = 2048;
/// The version that is written, and the newest that is read.
pub(super) const VERSION: u32 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"TWWALSEG";
const MARK_MAGIC: [u8; 8] = *b"TWWALEND";
const RECORD_MAGIC: [u8; 4] = *b"TwRc";
const FOOTER_MAGIC: [u8; 4] = *b"TwGf";
const _: () = assert!(RECORD_MAGIC[0] == FOOTER_MAGIC[0]);
const ENCODING_PLAIN: u8 = 0;
/// The checksum of a header covers everything before it.
const CHECKSUM_AT: usize = SLOT - 4;

/// Names a segment for ever; a recycled file gets a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Epoch(pub(super) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) version: u32,
    pub(super) epoch: Epoch,
    pub(super) log_id: u128,
    /// Numbers from here up to `first` were never acknowledged.
    pub(super) void_from: u64,
    pub(super) first: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) content_crc: u32,
    pub(super) number: u64,
    pub(super) arrival_unix_nano: u64,
    pub(super) request_hash: u128,
    pub(super) payload_bytes: u32,
    pub(super) tenant_bytes: u8,
    pub(super) kind: u8,
    pub(super) encoding: u8,
    /// A byte that version 1 leaves zero is not.
    pub(super) from_the_future: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupFooter {
    pub(super) n_records: u32,
    pub(super) first: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

/// Where a log ends, as far as it is noted beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MarkSlot {
    pub(super) version: u32,
    pub(super) log_id: u128,
    /// One more than the number of the last record.
    pub(super) next: u64,
}

/// What lies in a slot, if it proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Record(RecordHeader),
    Footer(GroupFooter),
    /// Zeros, payload, damage, or an older epoch's.
    Unproven,
}

// === impl Epoch ===

impl Epoch {
    /// The epoch of the log's n-th segment. The salt keeps it from being guessed.
    pub(super) fn new(log_id: u128, counter: u32) -> Self {
        let mut seed = [0; 20];
        put(&mut seed, 0, &log_id.to_le_bytes());
        put(&mut seed, 16, &counter.to_le_bytes());
        let salt = twox_hash::XxHash3_64::oneshot(&seed) & u64::from(u32::MAX);
        Self(u64::from(counter) << 32 | salt)
    }

    pub(super) fn counter(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

// === impl SegmentHeader ===

impl SegmentHeader {
    /// The header page, both copies in it.
    pub(super) fn append_page(&self, out: &mut Vec<u8>) {
        let mut slot = [0; SLOT];
        put(&mut slot, 0, &SEGMENT_MAGIC);
        put(&mut slot, 8, &self.version.to_le_bytes());
        put(&mut slot, 16, &self.epoch.0.to_le_bytes());
        put(&mut slot, 24, &self.log_id.to_le_bytes());
        put(&mut slot, 40, &self.void_from.to_le_bytes());
        put(&mut slot, 48, &self.first.to_le_bytes());
        seal(&mut slot);
        let start = out.len();
        out.extend_from_slice(&slot);
        out.resize(start + HEADER_COPY_OFFSET as usize, 0);
        out.extend_from_slice(&slot);
        out.resize(start + PAGE_BYTES as usize, 0);
    }

    /// One copy, of whatever epoch and version, if its checksum is right.
    pub(super) fn parse(slot: &[u8]) -> Option<Self> {
        let proven = bytes_at(slot, 0)? == SEGMENT_MAGIC && is_sealed(slot);
        let header = Self {
            version: u32::from_le_bytes(bytes_at(slot, 8)?),
            epoch: Epoch(u64::from_le_bytes(bytes_at(slot, 16)?)),
            log_id: u128::from_le_bytes(bytes_at(slot, 24)?),
            void_from: u64::from_le_bytes(bytes_at(slot, 40)?),
            first: u64::from_le_bytes(bytes_at(slot, 48)?),
        };
        proven.then_some(header)
    }
}

// === impl RecordHeader ===

impl RecordHeader {
    /// Appends header and tenant of a record; the payload follows.
    pub(super) fn append(record: &LogRecord, epoch: Epoch, number: u64, out: &mut Vec<u8>) {
        let tenant = record.tenant.as_str().as_bytes();
        let crc = crc32c::crc32c_append(crc32c::crc32c(tenant), &record.payload);
        let mut slot = [0; SLOT];
        put(&mut slot, 0, &RECORD_MAGIC);
        put(&mut slot, 4, &crc.to_le_bytes());
        put(&mut slot, 8, &epoch.0.to_le_bytes());
        put(&mut slot, 16, &number.to_le_bytes());
        put(&mut slot, 24, &record.arrival_unix_nano.to_le_bytes());
        put(&mut slot, 32, &record.request_hash.to_le_bytes());
        put(&mut slot, 48, &(record.payload.len() as u32).to_le_bytes());
        let small = [record.kind as u8, ENCODING_PLAIN, tenant.len() as u8];
        put(&mut slot, 52, &small);
        seal(&mut slot);
        out.extend_from_slice(&slot);
        out.extend_from_slice(tenant);
    }

    /// Bytes of the record in the file, the zeros behind it included.
    pub(super) fn record_bytes(&self) -> u64 {
        let content = u64::from(self.tenant_bytes) + u64::from(self.payload_bytes);
        round_up(SLOT_BYTES + content, SLOT_BYTES)
    }

    pub(super) fn content_bytes(&self) -> usize {
        usize::from(self.tenant_bytes) + self.payload_bytes as usize
    }

    /// The record behind a proven header, or why there is none.
    pub(super) fn open(&self, content: &[u8]) -> Result<LogRecord, &'static str> {
        if content.len() != self.content_bytes() || crc32c::crc32c(content) != self.content_crc {
            return Err("checksum of the content is wrong");
        }
        if self.encoding != ENCODING_PLAIN || self.from_the_future {
            return Err("written by a later version");
        }
        if self.kind != RecordKind::Spans as u8 {
            return Err("kind of record is not known");
        }
        let (tenant, payload) = content
            .split_at_checked(usize::from(self.tenant_bytes))
            .ok_or("too short for its tenant")?;
        let tenant = std::str::from_utf8(tenant)
            .ok()
            .and_then(|text| TenantId::new(text).ok())
            .ok_or("tenant id is not valid")?;
        Ok(LogRecord {
            tenant,
            kind: RecordKind::Spans,
            arrival_unix_nano: self.arrival_unix_nano,
            request_hash: self.request_hash,
            payload: bytes::Bytes::copy_from_slice(payload),
        })
    }

    fn parse(slot: &[u8]) -> Option<Self> {
        let [kind, encoding, tenant_bytes, ..]: [u8; 8] = bytes_at(slot, 52)?;
        let zeros: [u8; 5] = bytes_at(slot, 55)?;
        Some(Self {
            content_crc: u32::from_le_bytes(bytes_at(slot, 4)?),
            number: u64::from_le_bytes(bytes_at(slot, 16)?),
            arrival_unix_nano: u64::from_le_bytes(bytes_at(slot, 24)?),
            request_hash: u128::from_le_bytes(bytes_at(slot, 32)?),
            payload_bytes: u32::from_le_bytes(bytes_at(slot, 48)?),
            tenant_bytes,
            kind,
            encoding,
            from_the_future: zeros != [0; 5],
        })
    }
}

// === impl GroupFooter ===

impl GroupFooter {
    pub(super) fn append(&self, epoch: Epoch, out: &mut Vec<u8>) {
        let mut slot = [0; SLOT];
        put(&mut slot, 0, &FOOTER_MAGIC);
        put(&mut slot, 4, &self.n_records.to_le_bytes());
        put(&mut slot, 8, &epoch.0.to_le_bytes());
        put(&mut slot, 16, &self.first.to_le_bytes());
        put(&mut slot, 24, &self.offset.to_le_bytes());
        put(&mut slot, 32, &self.bytes.to_le_bytes());
        seal(&mut slot);
        out.extend_from_slice(&slot);
    }

    /// One more than the number of the group's last record.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.n_records))
    }

    fn parse(slot: &[u8]) -> Option<Self> {
        Some(Self {
            n_records: u32::from_le_bytes(bytes_at(slot, 4)?),
            first: u64::from_le_bytes(bytes_at(slot, 16)?),
            offset: u64::from_le_bytes(bytes_at(slot, 24)?),
            bytes: u64::from_le_bytes(bytes_at(slot, 32)?),
        })
    }
}

// === impl MarkSlot ===

impl MarkSlot {
    pub(super) fn bytes(&self) -> [u8; SLOT] {
        let mut slot = [0; SLOT];
        put(&mut slot, 0, &MARK_MAGIC);
        put(&mut slot, 8, &self.version.to_le_bytes());
        put(&mut slot, 16, &self.log_id.to_le_bytes());
        put(&mut slot, 32, &self.next.to_le_bytes());
        seal(&mut slot);
        slot
    }

    /// One copy, of whatever version, if its checksum is right.
    pub(super) fn parse(slot: &[u8]) -> Option<Self> {
        let proven = bytes_at(slot, 0)? == MARK_MAGIC && is_sealed(slot);
        let mark = Self {
            version: u32::from_le_bytes(bytes_at(slot, 8)?),
            log_id: u128::from_le_bytes(bytes_at(slot, 16)?),
            next: u64::from_le_bytes(bytes_at(slot, 32)?),
        };
        proven.then_some(mark)
    }
}

// === impl Slot ===

impl Slot {
    /// Looks at the first 64 bytes. `offset` is where they lie in the file.
    pub(super) fn parse(slot: &[u8], epoch: Epoch, offset: u64) -> Self {
        let Some(magic) = bytes_at::<4>(slot, 0) else {
            return Self::Unproven;
        };
        if magic != RECORD_MAGIC && magic != FOOTER_MAGIC {
            return Self::Unproven;
        }
        if bytes_at(slot, 8) != Some(epoch.0.to_le_bytes()) || !is_sealed(slot) {
            return Self::Unproven;
        }
        if magic == RECORD_MAGIC {
            return RecordHeader::parse(slot).map_or(Self::Unproven, Self::Record);
        }
        match GroupFooter::parse(slot) {
            // It must be about the group that ends with it.
            Some(footer)
                if footer.offset.checked_add(footer.bytes) == offset.checked_add(SLOT_BYTES) =>
            {
                Self::Footer(footer)
            }
            _ => Self::Unproven,
        }
    }
}

/// False only for a slot that proves nothing; much cheaper than to look.
pub(super) fn may_be_proven(slot: &[u8]) -> bool {
    slot.first() == RECORD_MAGIC.first()
}

/// The epoch that a proven record header at the start of `slot` carries, whichever it is.
pub(super) fn epoch_of_record(slot: &[u8]) -> Option<Epoch> {
    let epoch = Epoch(u64::from_le_bytes(bytes_at(slot, 8)?));
    matches!(Slot::parse(slot, epoch, 0), Slot::Record(_)).then_some(epoch)
}

pub(super) fn round_up(bytes: u64, to: u64) -> u64 {
    bytes.div_ceil(to).saturating_mul(to)
}

fn bytes_at<const N: usize>(slot: &[u8], at: usize) -> Option<[u8; N]> {
    slot.get(at..at + N)?.try_into().ok()
}

fn put(slot: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(target) = slot.get_mut(at..at + bytes.len()) {
        target.copy_from_slice(bytes);
    }
}

fn seal(slot: &mut [u8; SLOT]) {
    let crc = checksum(slot);
    put(slot, CHECKSUM_AT, &crc.to_le_bytes());
}

fn is_sealed(slot: &[u8]) -> bool {
    bytes_at(slot, CHECKSUM_AT).is_some_and(|crc| crc == checksum(slot).to_le_bytes())
}

fn checksum(slot: &[u8]) -> u32 {
    crc32c::crc32c(slot.get(..CHECKSUM_AT).unwrap_or_default())
}
