//! OTLP/JSON to OTLP protobuf, so that there is one decoder; and back, in [`mod@write`].
//!
//! A table says which fields a message has; serde visitors write each field as it is read, so that
//! no tree of the body is built. By the rules of proto3 JSON and of OTLP: lowerCamelCase and
//! snake_case names, 64-bit integers as numbers or strings, enums as numbers or names, `null` as
//! absent, unknown fields ignored, ids in hex. A value that its field cannot have refuses its span
//! alone: the span is written as a mark that the decoder knows. Text that is no JSON, and what is
//! wrong outside of spans, fails the body with line and column. Half of a surrogate pair reads as U+FFFD.
//! Source: opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding"; protobuf.dev, "ProtoJSON".

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess};
use serde::de::{Unexpected, Visitor};
use tracewell_model::{Limits, TenantId};

use self::schema::{Field, Kind, Schema};
use super::decode::{Admit, DecodeError, Decoded, REFUSED_IN_JSON, decode_marked};
use crate::protobuf::Writer;

mod schema;
mod text;
mod write;

pub use text::write_string;
pub use write::protobuf_to_json;

/// Of a span.
const TRACE_ID_FIELD: u32 = 1;
/// Messages within messages. An attribute list within a list takes three.
const MESSAGE_DEPTH_MAX: usize = 256;
/// Of a message that may quote the body.
const REASON_CHARS_MAX: usize = 200;

/// Decodes an OTLP/JSON request as a client sent it.
pub fn decode_json(tenant: TenantId, body: &[u8], limits: &Limits) -> Result<Decoded, DecodeError> {
    decode_json_admitted(tenant, body, limits, None)
}

/// As [`decode_json`]; `admit` may refuse spans that break no limit by themselves.
pub fn decode_json_admitted(
    tenant: TenantId,
    body: &[u8],
    limits: &Limits,
    admit: Option<&mut (dyn Admit + 'static)>,
) -> Result<Decoded, DecodeError> {
    let limit = limits.request_decoded_bytes_max;
    let seen = body.len() as u64;
    if seen > limit {
        return Err(DecodeError::TooLarge { limit, seen });
    }
    let (written, wrong) = write_request(body)?;
    let mut decoded = decode_marked(tenant, Bytes::from(written), limits, admit)?;
    decoded.rejected.set_detail(wrong);
    Ok(decoded)
}

/// Writes the request of an OTLP/JSON body as protobuf, which is never longer. A span with a value that
/// its field cannot have is written without a valid id.
pub fn json_to_protobuf(body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    write_request(body).map(|(written, _)| written)
}

/// The request as protobuf, and what is wrong with the first span that is refused for a value.
fn write_request(body: &[u8]) -> Result<(Vec<u8>, Option<String>), DecodeError> {
    match write_as_sent(body) {
        // Half of a pair of surrogates is what is left of a text that was cut within a character, as
        // JavaScript does and writes. One such text must not cost its whole request.
        Err(error @ DecodeError::Json { .. }) => match text::without_halves(body) {
            Some(body) => write_as_sent(&body),
            None => Err(error),
        },
        result => result,
    }
}

fn write_as_sent(body: &[u8]) -> Result<(Vec<u8>, Option<String>), DecodeError> {
    let mut out = Output {
        protobuf: Writer::with_capacity(body.len() / 2),
        is_in_span: false,
        wrong: None,
        first_wrong: None,
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    // The visitors count levels themselves; what they skip is skipped without recursion.
    json.disable_recursion_limit();
    let root = MessageVisitor {
        schema: &schema::REQUEST,
        depth: 0,
        out: &mut out,
    };
    json.deserialize_map(root)
        .and_then(|()| json.end())
        .map_err(|error| json_error(&error))?;
    Ok((out.protobuf.into_bytes(), out.first_wrong))
}

pub(super) fn json_error(error: &serde_json::Error) -> DecodeError {
    let text = error.to_string();
    let reason = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(text, _)| text);
    DecodeError::Json {
        line: error.line(),
        column: error.column(),
        reason: reason.chars().take(REASON_CHARS_MAX).collect(),
    }
}

/// What is written, and what is wrong with the span that is being read.
struct Output {
    protobuf: Writer,
    is_in_span: bool,
    wrong: Option<String>,
    /// Of the first span for which something was.
    first_wrong: Option<String>,
}

/// Reads the fields of one object and writes them as the content of a message.
struct MessageVisitor<'w> {
    schema: &'static Schema,
    depth: usize,
    out: &'w mut Output,
}

/// Reads the value of one field, or one element of it, and writes the field.
struct FieldSeed<'w> {
    field: &'static Field,
    /// True for an element of a list, which cannot be absent.
    element: bool,
    depth: usize,
    out: &'w mut Output,
}

/// Finds the field that a key names.
struct KeySeed(&'static Schema);

// === impl Output ===

impl Output {
    /// Refuses the span that is being read, or the body if it is none.
    fn wrong<E: serde::de::Error>(&mut self, what: String) -> Result<(), E> {
        if !self.is_in_span {
            return Err(E::custom(what));
        }
        self.wrong.get_or_insert(what);
        Ok(())
    }

    /// Writes one span by `content`; what it has written is taken back if something was wrong.
    fn span<E>(&mut self, content: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        let start = self.protobuf.len();
        self.is_in_span = true;
        content(self)?;
        self.is_in_span = false;
        if let Some(wrong) = self.wrong.take() {
            self.protobuf.truncate(start);
            self.protobuf.bytes(TRACE_ID_FIELD, REFUSED_IN_JSON);
            let wrong = wrong.chars().take(REASON_CHARS_MAX).collect();
            self.first_wrong.get_or_insert(wrong);
        }
        Ok(())
    }
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

// === impl MessageVisitor ===

impl<'de> Visitor<'de> for MessageVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object, {}", self.schema.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.depth > MESSAGE_DEPTH_MAX {
            self.out
                .wrong(format!("more than {MESSAGE_DEPTH_MAX} levels of messages"))?;
            return skip_map(map);
        }
        while let Some(field) = map.next_key_seed(KeySeed(self.schema))? {
            match field {
                Some(field) => map.next_value_seed(FieldSeed {
                    field,
                    element: false,
                    depth: self.depth,
                    out: &mut *self.out,
                })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

// === impl KeySeed ===

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Self::Value, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.field(name))
    }
}

// === impl FieldSeed ===

impl FieldSeed<'_> {
    /// A value of a range that the field does not have.
    fn wrong<E: serde::de::Error>(self, seen: Unexpected<'_>) -> Result<(), E> {
        let error = serde::de::value::Error::invalid_value(seen, &self);
        self.out.wrong(error.to_string())
    }

    /// A value of a type that the field does not have.
    fn wrong_type<E: serde::de::Error>(self, seen: Unexpected<'_>) -> Result<(), E> {
        let error = serde::de::value::Error::invalid_type(seen, &self);
        self.out.wrong(error.to_string())
    }
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (&self.field.kind, self.element) {
            (Kind::Messages(_), false) => "a list of objects",
            (Kind::Texts, false) => "a list of strings",
            (Kind::Message(_) | Kind::Messages(_), _) => "an object",
            (Kind::Text | Kind::Texts, _) => "a string",
            (Kind::Id, _) => "an id in hex",
            (Kind::Bytes, _) => "a string in base64",
            (Kind::Fixed64, _) => "an unsigned 64-bit integer, as a number or a string",
            (Kind::Int64, _) => "a 64-bit integer, as a number or a string",
            (Kind::Fixed32 | Kind::Uint32, _) => "an unsigned 32-bit integer",
            (Kind::Enum(_), _) => "an enum, as its number or its name",
            (Kind::Bool, _) => "true or false",
            (Kind::Double, _) => "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
        };
        write!(f, "{what} for {}", self.field.camel)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        if self.element {
            return self.wrong_type(Unexpected::Unit);
        }
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => self
                .out
                .protobuf
                .varint(self.field.number, u64::from(value)),
            _ => return self.wrong_type(Unexpected::Bool(value)),
        }
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        let number = self.field.number;
        let seen = Unexpected::Unsigned(value);
        match self.field.kind {
            Kind::Fixed64 => self.out.protobuf.fixed64(number, value),
            Kind::Int64 if i64::try_from(value).is_ok() => self.out.protobuf.varint(number, value),
            Kind::Enum(_) if i32::try_from(value).is_ok() => {
                self.out.protobuf.varint(number, value)
            }
            Kind::Double => self.out.protobuf.fixed64(number, (value as f64).to_bits()),
            Kind::Fixed32 | Kind::Uint32 => match (u32::try_from(value), &self.field.kind) {
                (Ok(value), Kind::Fixed32) => self.out.protobuf.fixed32(number, value),
                (Ok(value), _) => self.out.protobuf.varint(number, u64::from(value)),
                (Err(_), _) => return self.wrong(seen),
            },
            _ => return self.wrong(seen),
        }
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        let number = self.field.number;
        match (u64::try_from(value), &self.field.kind) {
            (Ok(value), _) => return self.visit_u64(value),
            (_, Kind::Int64) => self.out.protobuf.varint(number, value as u64),
            (_, Kind::Enum(_)) if i32::try_from(value).is_ok() => {
                self.out.protobuf.varint(number, value as u64);
            }
            (_, Kind::Double) => self.out.protobuf.fixed64(number, (value as f64).to_bits()),
            _ => return self.wrong(Unexpected::Signed(value)),
        }
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        if matches!(self.field.kind, Kind::Double) {
            self.out
                .protobuf
                .fixed64(self.field.number, value.to_bits());
            return Ok(());
        }
        // ProtoJSON reads 1e3 and 5.0 as integers. Both bounds are exact as doubles.
        const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
        if value.fract() == 0.0 && (-TWO_TO_63..TWO_TO_63).contains(&value) {
            self.visit_i64(value as i64)
        } else if value.fract() == 0.0 && (TWO_TO_63..2.0 * TWO_TO_63).contains(&value) {
            self.visit_u64(value as u64)
        } else {
            self.wrong(Unexpected::Float(value))
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        let number = self.field.number;
        match &self.field.kind {
            Kind::Text => self.out.protobuf.bytes(number, value.as_bytes()),
            Kind::Texts if self.element => self.out.protobuf.bytes(number, value.as_bytes()),
            // A single byte is the length of no id: the decoder refuses the span for it.
            Kind::Id => match text::hex(value) {
                Some(id) => self.out.protobuf.bytes(number, &id),
                None => self.out.protobuf.bytes(number, &[0]),
            },
            Kind::Bytes => match text::base64(value) {
                Some(bytes) => self.out.protobuf.bytes(number, &bytes),
                None => return self.wrong(Unexpected::Str(value)),
            },
            Kind::Enum(names) => match names.iter().find(|(name, _)| *name == value) {
                Some((_, code)) => self.out.protobuf.varint(number, i64::from(*code) as u64),
                None => return self.visit_number(value),
            },
            Kind::Double => match text::double(value) {
                Some(double) => self.out.protobuf.fixed64(number, double.to_bits()),
                None => return self.wrong(Unexpected::Str(value)),
            },
            Kind::Fixed64 | Kind::Int64 | Kind::Fixed32 | Kind::Uint32 => {
                return self.visit_number(value);
            }
            Kind::Message(_) | Kind::Messages(_) | Kind::Texts | Kind::Bool => {
                return self.wrong_type(Unexpected::Str(value));
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let schema = match self.field.kind {
            Kind::Message(schema) => schema,
            Kind::Messages(schema) if self.element => schema,
            _ => {
                self.wrong_type(Unexpected::Map)?;
                return skip_map(map);
            }
        };
        let (out, depth) = (self.out, self.depth + 1);
        let start = out.protobuf.begin(self.field.number);
        let content = |out: &mut Output| MessageVisitor { schema, depth, out }.visit_map(map);
        match std::ptr::eq(schema, &raw const schema::SPAN) {
            true => out.span(content)?,
            false => content(out)?,
        }
        out.protobuf.end(start);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.element || !matches!(self.field.kind, Kind::Messages(_) | Kind::Texts) {
            self.wrong_type(Unexpected::Seq)?;
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        while seq
            .next_element_seed(FieldSeed {
                field: self.field,
                element: true,
                depth: self.depth,
                out: &mut *self.out,
            })?
            .is_some()
        {}
        Ok(())
    }
}

impl FieldSeed<'_> {
    /// A number within a string.
    fn visit_number<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        if let Ok(number) = value.parse::<u64>() {
            self.visit_u64(number)
        } else if let Ok(number) = value.parse::<i64>() {
            self.visit_i64(number)
        } else {
            self.wrong(Unexpected::Str(value))
        }
    }
}

#[cfg(test)]
mod tests;
