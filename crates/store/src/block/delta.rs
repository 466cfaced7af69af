//! DELTA_BINARY_PACKED, the encoding of integers with many distinct values.
//!
//! Blocks of differences between neighbours, each less the smallest of its block, packed in miniblocks
//! of their own width. Source: the encodings of the Parquet format, "Delta Encoding".

use std::hash::Hash;

use super::hybrid::{unvarint, varint};

/// Differences in one block, and in one of its miniblocks.
const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;
const MINIBLOCKS: usize = BLOCK / MINIBLOCK;

/// The integers of Parquet's physical types. Differences wrap as the type does.
pub(super) trait Integer: Copy + Ord + Hash {
    type Bytes: AsRef<[u8]>;

    fn wide(self) -> i64;
    /// A difference as the type would have it.
    fn wrap(difference: i64) -> i64;
    /// A sum of differences as the type would have it.
    fn narrow(sum: i64) -> Self;
    fn bytes(self) -> Self::Bytes;
    /// Unsigned values compare as these do.
    fn flipped(self) -> Self;
}

impl Integer for i32 {
    type Bytes = [u8; 4];

    fn wide(self) -> i64 {
        i64::from(self)
    }

    fn wrap(difference: i64) -> i64 {
        i64::from(difference as i32)
    }

    fn narrow(sum: i64) -> Self {
        sum as i32
    }

    fn bytes(self) -> [u8; 4] {
        self.to_le_bytes()
    }

    fn flipped(self) -> Self {
        self ^ Self::MIN
    }
}

impl Integer for i64 {
    type Bytes = [u8; 8];

    fn wide(self) -> i64 {
        self
    }

    fn wrap(difference: i64) -> i64 {
        difference
    }

    fn narrow(sum: i64) -> Self {
        sum
    }

    fn bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }

    fn flipped(self) -> Self {
        self ^ Self::MIN
    }
}

/// Bits that hold every difference between neighbours, less the smallest.
pub(super) fn width_of<T: Integer>(values: &[T]) -> u32 {
    let (min, max) = differences(values).fold((i64::MAX, i64::MIN), |(min, max), difference| {
        (min.min(difference), max.max(difference))
    });
    if min > max {
        return 0;
    }
    64 - (max.wrapping_sub(min) as u64).leading_zeros()
}

/// Appends the encoding of the values.
pub(super) fn encode<T: Integer>(values: &[T], out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint(MINIBLOCKS as u64, out);
    varint(values.len() as u64, out);
    varint(zigzag(values.first().map_or(0, |first| first.wide())), out);
    let mut all = differences(values);
    let mut block = [0; BLOCK];
    loop {
        let mut n = 0;
        for (place, difference) in block.iter_mut().zip(&mut all) {
            *place = difference;
            n += 1;
        }
        let block = block.get(..n).unwrap_or_default();
        let Some(min) = block.iter().min() else {
            return;
        };
        varint(zigzag(*min), out);
        let mut less = [[0u64; MINIBLOCK]; MINIBLOCKS];
        let mut widths = [0u8; MINIBLOCKS];
        let places = less.iter_mut().zip(&mut widths);
        for ((less, width), block) in places.zip(block.chunks(MINIBLOCK)) {
            let mut bits = 0;
            for (less, difference) in less.iter_mut().zip(block) {
                *less = difference.wrapping_sub(*min) as u64;
                bits |= *less;
            }
            *width = (64 - bits.leading_zeros()) as u8;
        }
        out.extend_from_slice(&widths);
        for (less, width) in less.iter().zip(widths) {
            pack(less, width, out);
        }
    }
}

/// Appends `n` values of an encoding; `None` if the bytes are none of so many. Blocks and miniblocks may be of
/// any size that the format allows.
pub(super) fn decode<T: Integer>(bytes: &[u8], n: usize, out: &mut Vec<T>) -> Option<()> {
    let mut bytes = bytes;
    let block = usize::try_from(unvarint(&mut bytes)?).ok()?;
    let n_miniblocks = usize::try_from(unvarint(&mut bytes)?).ok()?;
    let n_stated = unvarint(&mut bytes)?;
    let miniblock = block.checked_div(n_miniblocks)?;
    let is_sound = miniblock > 0 && miniblock % MINIBLOCK == 0 && miniblock * n_miniblocks == block;
    if !is_sound || n_stated != n as u64 {
        return None;
    }
    let mut last = unzigzag(unvarint(&mut bytes)?);
    let mut left = n;
    if left > 0 {
        out.push(T::narrow(last));
        left -= 1;
    }
    while left > 0 {
        let min = unzigzag(unvarint(&mut bytes)?);
        let (widths, rest) = bytes.split_at_checked(n_miniblocks)?;
        bytes = rest;
        for width in widths {
            // What lies behind the last value is not there, whatever its width says.
            for _ in 0..miniblock / MINIBLOCK {
                if left == 0 {
                    break;
                }
                let (packed, rest) = bytes.split_at_checked(usize::from(*width) * MINIBLOCK / 8)?;
                bytes = rest;
                let taken = left.min(MINIBLOCK);
                let less = unpack(packed, *width)?;
                out.extend(less.iter().take(taken).map(|less| {
                    last = last.wrapping_add(min).wrapping_add(*less as i64);
                    T::narrow(last)
                }));
                left -= taken;
            }
        }
    }
    Some(())
}

/// Inverse of [`pack`]: any `width` up to 64.
fn unpack(packed: &[u8], width: u8) -> Option<[u64; MINIBLOCK]> {
    /// A value of any width lies in the 16 bytes from that of its first bit on.
    const PADDED: usize = MINIBLOCK * 8 + 16;
    let mut values = [0; MINIBLOCK];
    let width = usize::from(width);
    if width == 0 {
        return Some(values);
    }
    let mut padded = [0; PADDED];
    padded.get_mut(..packed.len())?.copy_from_slice(packed);
    let mask = u64::MAX >> 64usize.checked_sub(width)?;
    // With the bits before it, a value up to that width lies in eight bytes.
    if width <= 57 {
        for (at, value) in (0..).step_by(width).zip(&mut values) {
            let word = padded.get(at / 8..)?.first_chunk()?;
            *value = u64::from_le_bytes(*word) >> (at % 8) & mask;
        }
    } else {
        for (at, value) in (0..).step_by(width).zip(&mut values) {
            let word = padded.get(at / 8..)?.first_chunk()?;
            *value = (u128::from_le_bytes(*word) >> (at % 8)) as u64 & mask;
        }
    }
    Some(values)
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn differences<T: Integer>(values: &[T]) -> impl Iterator<Item = i64> {
    let neighbours = values.iter().zip(values.get(1..).unwrap_or_default());
    neighbours.map(|(value, next)| T::wrap(next.wide().wrapping_sub(value.wide())))
}

fn pack(values: &[u64; MINIBLOCK], width: u8, out: &mut Vec<u8>) {
    let (mut bits, mut n_bits) = (0u128, 0);
    for value in values {
        bits |= u128::from(*value) << n_bits;
        n_bits += u32::from(width);
        if n_bits >= 64 {
            out.extend_from_slice(&(bits as u64).to_le_bytes());
            bits >>= 64;
            n_bits -= 64;
        }
    }
    // 32 values of any width end with a word of 32 bits.
    if n_bits > 0 {
        out.extend_from_slice(&(bits as u32).to_le_bytes());
    }
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}
