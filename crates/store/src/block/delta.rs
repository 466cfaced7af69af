//! DELTA_BINARY_PACKED, the encoding of integers with many distinct values.
//!
//! Blocks of differences between neighbours, each less the smallest of its block, packed in miniblocks
//! of their own width. Source: the encodings of the Parquet format, "Delta Encoding". Only written here:
//! the parquet crate reads it.

use std::hash::Hash;

use super::hybrid::varint;

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
