//! Attributes within the walk: one row each, scalars in place, nested values checked and named.

use tracewell_model::batch::{Slice, ValueSlice};

use super::{Stop, Walk};
use crate::otlp::fields;
use crate::otlp::reject::Reason;
use crate::protobuf::{Cursor, END, is_utf8};

impl Walk<'_> {
    /// Reads a `KeyValue` and appends its row.
    #[inline]
    pub(super) fn attribute(&mut self, message: &[u8]) -> Result<(), Stop> {
        let mut key = Slice::default();
        let mut value = ValueSlice::Empty;
        let mut seen = false;
        let mut cursor = Cursor::new(message);
        loop {
            match cursor.tag()? {
                END => break,
                // Also of two keys each must be a text: readers of the message see both.
                0x0a => key = self.key(cursor.bytes()?)?,
                0x12 => {
                    let content = cursor.bytes()?;
                    // Two values are merged by protobuf's rules, which needs them in one piece.
                    self.ambiguous |= seen;
                    seen = true;
                    value = self.any_value(content)?;
                }
                tag => cursor.unknown(tag, fields::KEY_VALUE)?,
            }
        }
        if self.attributes.keys.len() >= self.attributes_end {
            return Err(Stop::Refused(Reason::TooManyAttributes));
        }
        self.attributes.keys.push(key);
        self.attributes.values.push(value);
        Ok(())
    }

    #[inline]
    fn key(&self, key: &[u8]) -> Result<Slice, Stop> {
        if key.len() > self.caps.key_bytes {
            return Err(Stop::Refused(Reason::AttributeKeyTooLarge));
        }
        self.text(key)
    }

    /// Reads an `AnyValue`: the last field that is set counts.
    #[inline]
    fn any_value(&mut self, message: &[u8]) -> Result<ValueSlice, Stop> {
        let mut value = ValueSlice::Empty;
        let mut cursor = Cursor::new(message);
        loop {
            match cursor.tag()? {
                END => return Ok(value),
                0x0a => {
                    let text = self.content(cursor.bytes()?)?;
                    value = ValueSlice::String(self.text(text)?);
                }
                0x10 => value = ValueSlice::Bool(cursor.varint()? != 0),
                0x18 => value = ValueSlice::Int(cursor.varint()? as i64),
                0x21 => value = ValueSlice::Double(f64::from_bits(cursor.fixed64()?)),
                0x2a => {
                    let content = self.content(cursor.bytes()?)?;
                    self.ambiguous |= is_message(value);
                    let whole = self.slice(message);
                    value = match self.array(content, 1)? {
                        Elements::Strings => ValueSlice::Strings(whole),
                        Elements::None | Elements::Others => ValueSlice::Array(whole),
                    };
                }
                0x32 => {
                    let content = self.content(cursor.bytes()?)?;
                    self.ambiguous |= is_message(value);
                    self.key_value_list(content, 1)?;
                    value = ValueSlice::KvList(self.slice(message));
                }
                0x3a => value = ValueSlice::Bytes(self.slice(self.content(cursor.bytes()?)?)),
                tag => cursor.unknown(tag, fields::ANY_VALUE)?,
            }
        }
    }

    #[inline]
    fn content<'a>(&self, content: &'a [u8]) -> Result<&'a [u8], Stop> {
        if content.len() > self.caps.value_bytes {
            return Err(Stop::Refused(Reason::AttributeTooLarge));
        }
        Ok(content)
    }

    /// Checks an `ArrayValue` whose elements stand at a depth.
    fn array(&mut self, message: &[u8], depth: usize) -> Result<Elements, Stop> {
        self.check_depth(depth)?;
        let mut elements = Elements::None;
        let mut cursor = Cursor::new(message);
        loop {
            match cursor.tag()? {
                END => return Ok(elements),
                0x0a => {
                    self.add_items(1)?;
                    let string = self.element(cursor.bytes()?, depth)?;
                    elements = match elements {
                        Elements::None | Elements::Strings if string => Elements::Strings,
                        _ => Elements::Others,
                    };
                }
                tag => cursor.unknown(tag, fields::ARRAY_VALUE)?,
            }
        }
    }

    /// Checks a `KeyValueList`. Keys within values are bounded by the value's size.
    fn key_value_list(&mut self, message: &[u8], depth: usize) -> Result<(), Stop> {
        self.check_depth(depth)?;
        let mut cursor = Cursor::new(message);
        loop {
            match cursor.tag()? {
                END => return Ok(()),
                0x0a => {
                    self.add_items(1)?;
                    self.entry(cursor.bytes()?, depth)?;
                }
                tag => cursor.unknown(tag, fields::KEY_VALUE_LIST)?,
            }
        }
    }

    fn entry(&mut self, message: &[u8], depth: usize) -> Result<(), Stop> {
        let mut cursor = Cursor::new(message);
        loop {
            match cursor.tag()? {
                END => return Ok(()),
                0x0a => check_utf8(cursor.bytes()?)?,
                0x12 => drop(self.element(cursor.bytes()?, depth)?),
                tag => cursor.unknown(tag, fields::KEY_VALUE)?,
            }
        }
    }

    /// Checks a nested `AnyValue`; true if it is a string.
    fn element(&mut self, message: &[u8], depth: usize) -> Result<bool, Stop> {
        let mut string = false;
        let mut cursor = Cursor::new(message);
        loop {
            let tag = cursor.tag()?;
            match tag {
                END => return Ok(string),
                0x0a => check_utf8(cursor.bytes()?)?,
                0x10 | 0x18 => drop(cursor.varint()?),
                0x21 => drop(cursor.fixed64()?),
                0x2a => drop(self.array(cursor.bytes()?, depth + 1)?),
                0x32 => self.key_value_list(cursor.bytes()?, depth + 1)?,
                0x3a => drop(cursor.bytes()?),
                tag => {
                    cursor.unknown(tag, fields::ANY_VALUE)?;
                    continue;
                }
            }
            string = tag == 0x0a;
        }
    }

    #[inline]
    fn check_depth(&self, depth: usize) -> Result<(), Stop> {
        if depth > self.caps.depth {
            return Err(Stop::Refused(Reason::AttributeTooDeep));
        }
        Ok(())
    }
}

/// True for a value that protobuf would merge a second one of its kind into.
fn is_message(value: ValueSlice) -> bool {
    matches!(
        value,
        ValueSlice::Array(_) | ValueSlice::Strings(_) | ValueSlice::KvList(_)
    )
}

/// What an array holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Elements {
    None,
    Strings,
    Others,
}

fn check_utf8(bytes: &[u8]) -> Result<(), Stop> {
    if is_utf8(bytes) {
        Ok(())
    } else {
        Err(Stop::Refused(Reason::InvalidUtf8))
    }
}
