//! Asks a split-block Bloom filter as it lies in a file for one value.
//!
//! The parquet crate's type copies a filter to ask it; one of 200,000 values has 250 KB, of which an
//! answer needs 32 bytes. What this is not: a writer.

use twox_hash::XxHash64;

/// Odd constants of the format, one per word of a block.
const SALT: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];
const BLOCK_BYTES: usize = 32;

/// False only if the value was never inserted. `None` if these bytes (header and blocks) are no filter.
pub(super) fn may_hold(filter: &[u8], value: &[u8]) -> Option<bool> {
    let n_bytes = n_bytes(filter)?;
    let blocks = filter.get(filter.len().checked_sub(n_bytes)?..)?;
    let n_blocks = (n_bytes / BLOCK_BYTES) as u64;
    let hash = XxHash64::oneshot(0, value);
    let block = ((hash >> 32) * n_blocks) >> 32;
    let block = blocks.chunks_exact(BLOCK_BYTES).nth(block as usize)?;
    let (words, _) = block.as_chunks::<4>();
    let low = hash as u32;
    let has_all = words.iter().zip(SALT).all(|(word, salt)| {
        let bit = low.wrapping_mul(salt) >> 27;
        u32::from_le_bytes(*word) >> bit & 1 == 1
    });
    Some(has_all)
}

/// The first field of the header, a zigzag integer of Thrift's compact protocol.
fn n_bytes(filter: &[u8]) -> Option<usize> {
    const FIRST_FIELD_I32: u8 = 0x15;
    let (head, rest) = filter.split_first()?;
    let mut value = 0u64;
    for (byte, shift) in rest.iter().zip((0..35).step_by(7)) {
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let n_bytes = (value >> 1) as usize;
            let is_sound = *head == FIRST_FIELD_I32
                && value & 1 == 0
                && n_bytes > 0
                && n_bytes.is_multiple_of(BLOCK_BYTES);
            return is_sound.then_some(n_bytes);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use parquet::bloom_filter::Sbbf;

    use super::*;

    #[test]
    fn answers_as_the_crate_does() {
        let mut filter = Sbbf::new_with_ndv_fpp(500, 0.01).unwrap();
        let name = |i: usize| format!("user-{i:05}").into_bytes();
        (0..500).for_each(|i| filter.insert::<[u8]>(&name(i)));
        let mut bytes = Vec::new();
        filter.write(&mut bytes).unwrap();
        for i in 0..5_000 {
            let expected = filter.check::<[u8]>(&name(i));
            assert_eq!(may_hold(&bytes, &name(i)), Some(expected), "{i}");
            assert!(expected || i >= 500);
        }
    }

    #[test]
    fn refuses_what_is_no_filter() {
        for bytes in [
            &b""[..],
            b"\x15",
            b"\x15\x40",
            b"\x16\x40",
            &[0x15, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(may_hold(bytes, b"x"), None, "{bytes:?}");
        }
    }
}
