//! The protobuf wire format: a cursor that borrows, and a writer.
//!
//! The cursor never allocates and never trusts a length. It knows nothing of any schema but what a
//! caller's match says; what the match does not name goes to [`Cursor::unknown`]. Groups, which no
//! schema here uses and which would need recursion to be skipped, are refused.
//! Source: protobuf.dev, "Encoding".

use std::fmt;

/// What is wrong with a message, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Bytes that were left to read when it was noticed, as an address: see [`Damage::offset_in`].
    address: usize,
    /// The message in which it was noticed; empty until [`Damage::inside`] names it.
    pub message: &'static str,
    pub problem: Problem,
}

/// The ways in which bytes are no protobuf message of the expected schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The message ends within a number.
    Truncated,
    /// More than ten bytes, or more than 64 bits.
    VarintTooLong,
    /// A length prefix names more bytes than there are.
    LengthBeyondEnd { len: u64, left: u64 },
    /// A field of the schema in another type than the schema's.
    WrongWireType { field: u32, wire_type: u8 },
    /// A group (wire types 3 and 4).
    Group { field: u32 },
    /// Wire types 6 and 7 do not exist.
    NoSuchWireType { field: u32, wire_type: u8 },
    /// Field numbers go from 1 to 2^29 - 1.
    FieldNumber { tag: u64 },
    /// A text that must be UTF-8 and is not.
    NotUtf8,
    /// Messages within messages beyond what is read.
    TooDeep { limit: usize },
}

/// Reads one message, front to back.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

/// One field as it lies in its message.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub number: u32,
    pub wire_type: u8,
    /// The content of a length-delimited field; empty for numbers.
    pub content: &'a [u8],
    /// Tag and content as they were written.
    pub raw: &'a [u8],
}

/// The tag that [`Cursor::tag`] returns at the end of the message; no field has it.
pub const END: u32 = 0;

pub const VARINT: u8 = 0;
pub const FIXED64: u8 = 1;
pub const BYTES: u8 = 2;
pub const FIXED32: u8 = 5;

/// Writes messages into one buffer; lengths are put in when a message is complete.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    out: Vec<u8>,
}

/// The tag of a field in a wire type.
pub const fn tag_of(field: u32, wire_type: u8) -> u32 {
    field << 3 | wire_type as u32
}

/// True if the bytes are UTF-8. Most strings in traces are short and ASCII.
#[inline]
pub fn is_utf8(bytes: &[u8]) -> bool {
    if bytes.len() < 64 {
        bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
    } else {
        simdutf8::basic::from_utf8(bytes).is_ok()
    }
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    #[inline]
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field's tag, or [`END`].
    #[inline(always)]
    pub fn tag(&mut self) -> Result<u32, Damage> {
        match self.rest.split_first() {
            None => Ok(END),
            Some((&byte, rest)) if (8..0x80).contains(&byte) => {
                self.rest = rest;
                Ok(u32::from(byte))
            }
            Some(_) => self.long_tag(),
        }
    }

    #[inline(never)]
    fn long_tag(&mut self) -> Result<u32, Damage> {
        let start = *self;
        let tag = self.long_varint()?;
        match u32::try_from(tag) {
            Ok(tag) if tag >> 3 != 0 => Ok(tag),
            _ => Err(start.damage(Problem::FieldNumber { tag })),
        }
    }

    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64, Damage> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high, rest @ ..] if *high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Damage> {
        let mut value = 0u64;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            if index == 9 && byte > 1 {
                return Err(self.damage(Problem::VarintTooLong));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(self.damage(Problem::Truncated))
    }

    /// The content of a length-delimited field. The length is checked before anything else.
    #[inline(always)]
    pub fn bytes(&mut self) -> Result<&'a [u8], Damage> {
        let start = *self;
        let len = self.varint()?;
        match usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len))
        {
            Some((content, rest)) => {
                self.rest = rest;
                Ok(content)
            }
            None => Err(start.damage(Problem::LengthBeyondEnd {
                len,
                left: self.rest.len() as u64,
            })),
        }
    }

    /// Like [`Cursor::bytes`], for a text.
    pub fn text(&mut self) -> Result<&'a str, Damage> {
        let start = *self;
        let bytes = self.bytes()?;
        simdutf8::basic::from_utf8(bytes).map_err(|_| start.damage(Problem::NotUtf8))
    }

    #[inline(always)]
    pub fn fixed64(&mut self) -> Result<u64, Damage> {
        match self.rest.split_first_chunk::<8>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(u64::from_le_bytes(*bytes))
            }
            None => Err(self.damage(Problem::Truncated)),
        }
    }

    #[inline(always)]
    pub fn fixed32(&mut self) -> Result<u32, Damage> {
        match self.rest.split_first_chunk::<4>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(u32::from_le_bytes(*bytes))
            }
            None => Err(self.damage(Problem::Truncated)),
        }
    }

    /// Skips a field that the caller's match did not name. `known` has a bit for each field number
    /// of the schema: one of those came here only because its wire type is wrong.
    #[inline(never)]
    pub fn unknown(&mut self, tag: u32, known: u32) -> Result<(), Damage> {
        let field = tag >> 3;
        let wire_type = (tag & 7) as u8;
        if field < 32 && known >> field & 1 == 1 {
            return Err(self.damage(Problem::WrongWireType { field, wire_type }));
        }
        match wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            BYTES => self.bytes().map(drop),
            FIXED32 => self.fixed32().map(drop),
            3 | 4 => Err(self.damage(Problem::Group { field })),
            _ => Err(self.damage(Problem::NoSuchWireType { field, wire_type })),
        }
    }

    /// The next field of any kind, or `None` at the end.
    pub fn field(&mut self) -> Result<Option<Field<'a>>, Damage> {
        let start = *self;
        let tag = self.tag()?;
        if tag == END {
            return Ok(None);
        }
        let wire_type = (tag & 7) as u8;
        let mut content: &[u8] = &[];
        if wire_type == BYTES {
            content = self.bytes()?;
        } else {
            self.unknown(tag, 0)?;
        }
        let len = start.rest.len() - self.rest.len();
        Ok(Some(Field {
            number: tag >> 3,
            wire_type,
            content,
            raw: start.rest.get(..len).unwrap_or_default(),
        }))
    }

    /// Damage at the place where the cursor stands.
    #[cold]
    pub fn damage(&self, problem: Problem) -> Damage {
        Damage {
            address: self.rest.as_ptr().addr(),
            message: "",
            problem,
        }
    }
}

// === impl Damage ===

impl Damage {
    /// Names the message that was read, unless an inner one was named already.
    #[cold]
    pub fn inside(mut self, message: &'static str) -> Self {
        if self.message.is_empty() {
            self.message = message;
        }
        self
    }

    /// Where it was noticed, given the whole body that the cursor borrowed from.
    pub fn offset_in(&self, body: &[u8]) -> usize {
        self.address
            .saturating_sub(body.as_ptr().addr())
            .min(body.len())
    }
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = |wire_type: u8| match wire_type {
            VARINT => "a varint",
            FIXED64 => "a 64-bit number",
            BYTES => "length-delimited",
            FIXED32 => "a 32-bit number",
            3 | 4 => "a group",
            _ => "of an unknown wire type",
        };
        match *self {
            Self::Truncated => f.write_str("the message ends within a number"),
            Self::VarintTooLong => f.write_str("a varint has more than 64 bits"),
            Self::LengthBeyondEnd { len, left } => {
                write!(f, "a length of {len} bytes where {left} are left")
            }
            Self::WrongWireType { field, wire_type } => {
                write!(
                    f,
                    "field {field} is {}, which the schema forbids",
                    kind(wire_type)
                )
            }
            Self::Group { field } => write!(f, "field {field} is a group, which OTLP never uses"),
            Self::NoSuchWireType { field, wire_type } => {
                write!(f, "field {field} has wire type {wire_type}, which is none")
            }
            Self::FieldNumber { tag } => write!(f, "tag {tag} holds no valid field number"),
            Self::NotUtf8 => f.write_str("a text is not UTF-8"),
            Self::TooDeep { limit } => write!(f, "more than {limit} levels of values"),
        }
    }
}

// === impl Writer ===

impl Writer {
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            out: Vec::with_capacity(capacity),
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    #[inline]
    pub fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn tag(&mut self, field: u32, wire_type: u8) {
        self.raw_varint(u64::from(tag_of(field, wire_type)));
    }

    /// Always written, also for zero.
    pub fn varint(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.raw_varint(value);
    }

    /// Always written, also for zero.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Always written, also for zero.
    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, FIXED32);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Always written, also if empty.
    pub fn bytes(&mut self, field: u32, content: &[u8]) {
        self.tag(field, BYTES);
        self.raw_varint(content.len() as u64);
        self.out.extend_from_slice(content);
    }

    /// A proto3 scalar: the default is not written.
    pub fn varint_unless_zero(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.varint(field, value);
        }
    }

    /// A proto3 enum or int32: negative numbers take ten bytes.
    pub fn int32_unless_zero(&mut self, field: u32, value: i32) {
        self.varint_unless_zero(field, i64::from(value) as u64);
    }

    pub fn fixed64_unless_zero(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.fixed64(field, value);
        }
    }

    pub fn fixed32_unless_zero(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.fixed32(field, value);
        }
    }

    pub fn bytes_unless_empty(&mut self, field: u32, content: &[u8]) {
        if !content.is_empty() {
            self.bytes(field, content);
        }
    }

    /// A field that was encoded before.
    pub fn raw(&mut self, field: &[u8]) {
        self.out.extend_from_slice(field);
    }

    /// Opens a message; what is written until [`Writer::end`] is its content.
    pub fn begin(&mut self, field: u32) -> usize {
        self.tag(field, BYTES);
        self.out.push(0);
        self.out.len()
    }

    /// Takes back what was written from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// Closes the message that began at `start`: its length goes in front of it. A content of 128
    /// bytes or more is moved up by the bytes that its length needs.
    pub fn end(&mut self, start: usize) {
        let content_len = self.out.len().saturating_sub(start);
        let extra = varint_len(content_len as u64) - 1;
        if extra > 0 {
            self.out.resize(self.out.len() + extra, 0);
            self.out
                .copy_within(start..start + content_len, start + extra);
        }
        let mut rest = content_len as u64;
        let header = start.saturating_sub(1)..start + extra;
        for byte in self.out.get_mut(header).unwrap_or_default() {
            *byte = rest as u8 | 0x80;
            rest >>= 7;
        }
        if let Some(last) = self.out.get_mut((start + extra).saturating_sub(1)) {
            *last &= 0x7f;
        }
    }

    /// A message, always written, also if empty.
    pub fn message(&mut self, field: u32, content: impl FnOnce(&mut Self)) {
        let start = self.begin(field);
        content(self);
        self.end(start);
    }
}

/// How many bytes a number takes as a varint.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                let mut writer = Writer::default();
                writer.raw_varint(value);
                let bytes = writer.into_bytes();
                assert_eq!(bytes.len(), varint_len(value));
                let mut cursor = Cursor::new(&bytes);
                assert_eq!(cursor.varint(), Ok(value));
                assert!(cursor.is_empty());
                for cut in 0..bytes.len() {
                    let cut = Cursor::new(&bytes[..cut]).varint().unwrap_err();
                    assert_eq!(cut.problem, Problem::Truncated);
                }
            }
        }
    }

    #[test]
    fn a_varint_beyond_64_bits_is_refused() {
        let too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        let damage = Cursor::new(&too_large).varint().unwrap_err();
        assert_eq!(damage.problem, Problem::VarintTooLong);
        let damage = Cursor::new(&[0x80; 11]).varint().unwrap_err();
        assert_eq!(damage.problem, Problem::VarintTooLong);
    }

    #[test]
    fn lengths_are_put_in_front_of_messages_of_any_size() {
        for size in [0, 1, 127, 128, 16_383, 16_384, 2_097_152] {
            let mut writer = Writer::default();
            writer.message(3, |writer| writer.out.resize(writer.out.len() + size, 7));
            writer.varint(4, 9);
            let bytes = writer.into_bytes();
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(cursor.tag(), Ok(tag_of(3, BYTES)));
            let content = cursor.bytes().unwrap();
            assert_eq!(content.len(), size);
            assert!(content.iter().all(|byte| *byte == 7));
            assert_eq!(cursor.tag(), Ok(tag_of(4, VARINT)));
        }
    }

    #[test]
    fn what_is_no_field_is_named_with_its_place() {
        let body = [0x08, 0x01, 0x1b];
        let mut cursor = Cursor::new(&body);
        let tag = cursor.tag().unwrap();
        cursor.unknown(tag, 0).unwrap();
        let tag = cursor.tag().unwrap();
        let damage = cursor.unknown(tag, 0).unwrap_err();
        assert_eq!(damage.problem, Problem::Group { field: 3 });
        assert_eq!(damage.offset_in(&body), 3);
        let damage = Cursor::new(&[0x05]).tag().unwrap_err();
        assert_eq!(damage.problem, Problem::FieldNumber { tag: 5 });
    }
}
