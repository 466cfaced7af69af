//! `AnyValue` and `KeyValue` messages to and from owned values.
//!
//! The decoder follows protobuf's rules for fields that are written twice, as the walk's `merge`
//! does for whole requests.

use tracewell_model::{AttributeValue, KeyValue};

use super::decode::{DEPTH_MAX, DecodeError};
use super::fields;
use crate::protobuf::{Cursor, Damage, END, Problem, Writer};

/// Encodes an `AnyValue`; an empty value is an empty message.
pub fn encode_any_value(value: &AttributeValue) -> Vec<u8> {
    let mut out = Writer::default();
    write_any_value(&mut out, value);
    out.into_bytes()
}

/// Decodes an `AnyValue` of at most [`DEPTH_MAX`] levels.
pub fn decode_any_value(message: &[u8]) -> Result<AttributeValue, DecodeError> {
    let mut value = AttributeValue::Empty;
    merge_any_value(&mut value, message, DEPTH_MAX)
        .map_err(|damage| DecodeError::new(damage.inside("AnyValue"), message))?;
    Ok(value)
}

pub(super) fn write_any_value(out: &mut Writer, value: &AttributeValue) {
    match value {
        AttributeValue::Empty => {}
        AttributeValue::String(text) => out.bytes(1, text.as_bytes()),
        AttributeValue::Bool(value) => out.varint(2, u64::from(*value)),
        AttributeValue::Int(value) => out.varint(3, *value as u64),
        AttributeValue::Double(value) => out.fixed64(4, value.to_bits()),
        AttributeValue::Array(items) => out.message(5, |out| {
            for item in items {
                out.message(1, |out| write_any_value(out, item));
            }
        }),
        AttributeValue::KvList(entries) => out.message(6, |out| {
            entries.iter().for_each(|entry| {
                write_key_value(out, 1, entry);
            });
        }),
        AttributeValue::Bytes(bytes) => out.bytes(7, bytes),
    }
}

/// Writes a `KeyValue` in a field; its value is always written, also if it is empty.
pub fn write_key_value(out: &mut Writer, field: u32, attribute: &KeyValue) {
    out.message(field, |out| {
        out.bytes_unless_empty(1, attribute.key.as_bytes());
        out.message(2, |out| write_any_value(out, &attribute.value));
    });
}

pub(super) fn read_key_value(message: &[u8], depth: usize) -> Result<KeyValue, Damage> {
    let mut attribute = KeyValue::default();
    let mut cursor = Cursor::new(message);
    loop {
        match cursor.tag()? {
            END => return Ok(attribute),
            0x0a => attribute.key = cursor.text()?.to_owned(),
            0x12 => merge_any_value(&mut attribute.value, cursor.bytes()?, depth)?,
            tag => cursor.unknown(tag, fields::KEY_VALUE)?,
        }
    }
}

/// Reads an `AnyValue` into a value that may hold one already. `depth` is how many levels of
/// arrays and lists are still allowed.
pub(super) fn merge_any_value(
    value: &mut AttributeValue,
    message: &[u8],
    depth: usize,
) -> Result<(), Damage> {
    let mut cursor = Cursor::new(message);
    loop {
        let start = cursor;
        match cursor.tag()? {
            END => return Ok(()),
            0x0a => *value = AttributeValue::String(cursor.text()?.to_owned()),
            0x10 => *value = AttributeValue::Bool(cursor.varint()? != 0),
            0x18 => *value = AttributeValue::Int(cursor.varint()? as i64),
            0x21 => *value = AttributeValue::Double(f64::from_bits(cursor.fixed64()?)),
            0x2a => {
                let mut items = match std::mem::take(value) {
                    AttributeValue::Array(items) => items,
                    _ => Vec::new(),
                };
                read_array(&mut items, cursor.bytes()?, less(depth, start)?)?;
                *value = AttributeValue::Array(items);
            }
            0x32 => {
                let mut entries = match std::mem::take(value) {
                    AttributeValue::KvList(entries) => entries,
                    _ => Vec::new(),
                };
                read_list(&mut entries, cursor.bytes()?, less(depth, start)?)?;
                *value = AttributeValue::KvList(entries);
            }
            0x3a => *value = AttributeValue::Bytes(cursor.bytes()?.to_owned()),
            tag => cursor.unknown(tag, fields::ANY_VALUE)?,
        }
    }
}

fn less(depth: usize, at: Cursor<'_>) -> Result<usize, Damage> {
    depth
        .checked_sub(1)
        .ok_or_else(|| at.damage(Problem::TooDeep { limit: DEPTH_MAX }))
}

fn read_array(items: &mut Vec<AttributeValue>, message: &[u8], depth: usize) -> Result<(), Damage> {
    let mut cursor = Cursor::new(message);
    loop {
        match cursor.tag()? {
            END => return Ok(()),
            0x0a => {
                let mut item = AttributeValue::Empty;
                merge_any_value(&mut item, cursor.bytes()?, depth)?;
                items.push(item);
            }
            tag => cursor.unknown(tag, fields::ARRAY_VALUE)?,
        }
    }
}

fn read_list(entries: &mut Vec<KeyValue>, message: &[u8], depth: usize) -> Result<(), Damage> {
    let mut cursor = Cursor::new(message);
    loop {
        match cursor.tag()? {
            END => return Ok(()),
            0x0a => entries.push(read_key_value(cursor.bytes()?, depth)?),
            tag => cursor.unknown(tag, fields::KEY_VALUE_LIST)?,
        }
    }
}
