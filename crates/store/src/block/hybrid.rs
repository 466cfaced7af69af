//! Parquet's RLE / bit-packing hybrid, the encoding of dictionary codes and definition levels.
//!
//! Only the writing half: reading is the parquet crate's. A run of eight or more equal values is a
//! run; all else is packed in groups of eight.

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

/// One packed stretch; the last group is filled with zeros.
fn pack(values: &[u32], width: u8, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(8);
    varint((groups as u64) << 1 | 1, out);
    let (mut bits, mut n_bits) = (0u64, 0u32);
    let padding = groups * 8 - values.len();
    for value in values
        .iter()
        .copied()
        .chain(std::iter::repeat_n(0, padding))
    {
        bits |= u64::from(value) << n_bits;
        n_bits += u32::from(width);
        while n_bits >= 8 {
            out.push(bits as u8);
            bits >>= 8;
            n_bits -= 8;
        }
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
