//! OTLP protobuf, written by hand: the sender shares the cores with the server that it measures, so
//! what is the same in every span of an operation is encoded once and copied.
//!
//! Field numbers are those of opentelemetry-proto 1.x `trace.proto` and `common.proto`.

/// Appends fields of one protobuf message.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A length-delimited field: message, text or bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field << 3));
    put_varint(out, value);
}

pub(crate) fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field << 3 | 1));
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    put_varint(out, u64::from(field << 3 | 5));
    out.extend_from_slice(&value.to_le_bytes());
}

/// Bytes that a varint takes.
pub(crate) fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// A scalar of an attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Int(i64),
    Double(f64),
    Bool(bool),
}

/// A `KeyValue` as a field of its owner: field 9 of a span, 3 of an event, 4 of a link, 1 of a
/// resource, 3 of a scope.
pub(crate) fn put_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: Scalar<'_>) {
    // The value message, without its own length.
    let value_len = match value {
        Scalar::Text(text) => 1 + varint_len(text.len() as u64) + text.len(),
        Scalar::Int(value) => 1 + varint_len(value as u64),
        Scalar::Double(_) => 9,
        Scalar::Bool(_) => 2,
    };
    let key_len = 1 + varint_len(key.len() as u64) + key.len();
    let total = key_len + 1 + varint_len(value_len as u64) + value_len;
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, total as u64);
    put_bytes(out, 1, key.as_bytes());
    put_varint(out, 2 << 3 | 2);
    put_varint(out, value_len as u64);
    match value {
        Scalar::Text(text) => put_bytes(out, 1, text.as_bytes()),
        Scalar::Bool(value) => put_uint(out, 2, u64::from(value)),
        Scalar::Int(value) => put_uint(out, 3, value as u64),
        Scalar::Double(value) => put_fixed64(out, 4, value.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_varints() {
        for value in [
            0,
            1,
            127,
            128,
            16_383,
            16_384,
            u64::from(u32::MAX),
            u64::MAX,
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
    }
}
