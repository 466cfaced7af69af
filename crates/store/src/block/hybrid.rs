//! Parquet's RLE / bit-packing hybrid, the encoding of dictionary codes and definition levels.
//!
//! A run of eight or more equal values is written as a run; all else is packed in groups of eight.
//! Reading yields the runs as they lie: what to make of them, a scan knows best.

/// Bits that hold every code up to `max`; at least one, which every reader accepts.
pub(super) fn width_of(max: u32) -> u8 {
    (32 - max.leading_zeros()).max(1) as u8
}

/// Appends the encoding of `values`, each below `2^width`.
pub(super) fn encode(values: &[u32], width: u8, out: &mut Vec<u8>) {
    let mut packed_from: usize = 0;
    let mut at: usize = 0;
    for run in values.chunk_by(|a, b| a == b) {
        // A packed stretch ends on a multiple of eight, so it may take the first of the run.
        let pending = at - packed_from;
        let taken = pending.next_multiple_of(8) - pending;
        if run.len() >= taken + 8 {
            let stretch = values.get(packed_from..at + taken).unwrap_or_default();
            pack(stretch, width, out);
            let len = run.len() - taken;
            varint((len as u64) << 1, out);
            let value = run.first().copied().unwrap_or_default().to_le_bytes();
            out.extend(value.iter().take(usize::from(width).div_ceil(8)));
            packed_from = at + run.len();
        }
        at += run.len();
    }
    pack(values.get(packed_from..).unwrap_or_default(), width, out);
}

/// Appends the encoding of `n_rows` bits, those of the given rows (ascending, counted from `first`) set.
/// It is that of [`encode`] at width one, by the runs of what may be a few rows among many.
pub(super) fn encode_bits(rows: &[u32], first: usize, n_rows: usize, out: &mut Vec<u8>) {
    let mut pending = Vec::new();
    let mut add = |value: u32, n: usize| {
        let taken = pending.len().next_multiple_of(8) - pending.len();
        if n < taken + 8 {
            pending.extend(std::iter::repeat_n(value, n));
            return;
        }
        pending.extend(std::iter::repeat_n(value, taken));
        pack(&pending, 1, out);
        pending.clear();
        varint(((n - taken) as u64) << 1, out);
        out.push(value as u8);
    };
    let mut at = 0;
    for run in rows.chunk_by(|a, b| *a + 1 == *b) {
        let from = run.first().map_or(at, |row| *row as usize - first);
        if from > at {
            add(0, from - at);
        }
        add(1, run.len());
        at = from + run.len();
    }
    if n_rows > at {
        add(0, n_rows - at);
    }
    pack(&pending, 1, out);
}

/// One packed stretch; the last group is filled with zeros.
fn pack(values: &[u32], width: u8, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(8);
    varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * usize::from(width);
    out.reserve(groups * usize::from(width));
    let (mut bits, mut n_bits) = (0u64, 0u32);
    for value in values {
        bits |= u64::from(*value) << n_bits;
        n_bits += u32::from(width);
        if n_bits >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            n_bits -= 32;
        }
    }
    out.extend_from_slice(&(bits as u32).to_le_bytes());
    out.resize(end, 0);
}

/// A number in groups of seven bits, the lowest first.
pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front.
pub(super) fn unvarint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// One stretch of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run<'a> {
    Same {
        value: u32,
        n: usize,
    },
    /// `n` values, packed by eight; the last group may be filled up.
    Packed {
        bytes: &'a [u8],
        n: usize,
    },
}

/// The stretches of `n_left` values. An item is `None`, and the last one, where the bytes are no such
/// encoding.
#[derive(Debug)]
pub(super) struct Runs<'a> {
    bytes: &'a [u8],
    width: u8,
    n_left: usize,
}

impl<'a> Runs<'a> {
    pub(super) fn new(bytes: &'a [u8], width: u8, n_values: usize) -> Self {
        Self {
            bytes,
            width,
            n_left: n_values,
        }
    }

    fn read(&mut self) -> Option<Run<'a>> {
        if self.width > 32 {
            return None;
        }
        let width = usize::from(self.width);
        if width == 0 {
            // The only value there is.
            let n = self.n_left;
            return Some(Run::Same { value: 0, n });
        }
        let head = unvarint(&mut self.bytes)?;
        let n = usize::try_from(head >> 1).ok()?;
        if head & 1 == 0 {
            let (value, rest) = self.bytes.split_at_checked(width.div_ceil(8))?;
            self.bytes = rest;
            let mut word = [0; 4];
            word.iter_mut()
                .zip(value)
                .for_each(|(to, from)| *to = *from);
            let value = u32::from_le_bytes(word);
            let n = n.min(self.n_left);
            return Some(Run::Same { value, n });
        }
        // The last group may be cut short by writers that save bytes.
        let len = n.checked_mul(width)?.min(self.bytes.len());
        let (bytes, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        let n = n.checked_mul(8)?.min(self.n_left);
        // What lies behind the last value is not looked at: it may be much.
        let bytes = bytes.get(..n.div_ceil(8) * width).unwrap_or(bytes);
        Some(Run::Packed { bytes, n })
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Option<Run<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.n_left == 0 {
            return None;
        }
        let run = self.read().filter(|run| match run {
            Run::Same { n, .. } | Run::Packed { n, .. } => *n > 0,
        });
        self.n_left = match run {
            Some(Run::Same { n, .. } | Run::Packed { n, .. }) => self.n_left - n,
            None => 0,
        };
        Some(run)
    }
}
