//! OTLP protobuf to OTLP/JSON: the way back, by the same table.

use super::schema::{self, Field, Kind, Schema};
use crate::otlp::DecodeError;
use crate::protobuf::{self, Cursor, Damage, Problem};

/// Appends the OTLP/JSON of a trace request, or of `TracesData`, on one line. What the message has is
/// written, zeros included, so that [`super::json_to_protobuf`] gives the message
/// back as [`crate::otlp::encode`] writes it; but a NaN loses its payload, and fields that the table does
/// not know are left out. A message that has a field twice is merged as protobuf merges it.
pub fn protobuf_to_json(body: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let start = out.len();
    let written = write_message(out, &schema::REQUEST, body, 0);
    written.map_err(|damage| {
        out.truncate(start);
        DecodeError::new(damage, body)
    })
}

fn write_message(
    out: &mut Vec<u8>,
    schema: &'static Schema,
    message: &[u8],
    depth: usize,
) -> Result<(), Damage> {
    let limit = super::MESSAGE_DEPTH_MAX;
    if depth > limit {
        let damage = Cursor::new(message).damage(Problem::TooDeep { limit });
        return Err(damage.inside(schema.name));
    }
    // Once as a whole, so that what the table does not know is checked, too.
    let known = schema
        .fields
        .iter()
        .fold(0u32, |known, field| known | 1 << field.number);
    let present = fields_of(message, known).map_err(|damage| damage.inside(schema.name))?;
    out.push(b'{');
    let mut is_first = true;
    for field in schema.fields {
        if present >> field.number & 1 == 0 && !field.is_always_written {
            continue;
        }
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        out.push(b'"');
        out.extend_from_slice(field.camel.as_bytes());
        out.extend_from_slice(b"\":");
        write_field(out, field, message, depth).map_err(|damage| damage.inside(schema.name))?;
    }
    out.push(b'}');
    Ok(())
}

/// Which of the `known` fields a message has, a bit for each number; all of it is walked.
fn fields_of(message: &[u8], known: u32) -> Result<u32, Damage> {
    let mut cursor = Cursor::new(message);
    let mut present = 0;
    while let Some(field) = cursor.field()? {
        if field.number < u32::BITS {
            present |= 1 << field.number;
        }
    }
    Ok(present & known)
}

/// The value of a field, its default where the message has it not.
fn write_field(
    out: &mut Vec<u8>,
    field: &'static Field,
    message: &[u8],
    depth: usize,
) -> Result<(), Damage> {
    match field.kind {
        Kind::Messages(schema) => write_list(out, message, field, |out, content| {
            write_message(out, schema, content, depth + 1)
        }),
        Kind::Texts => write_list(out, message, field, write_text),
        Kind::Message(schema) => {
            let mut parts = contents(message, field);
            let first = parts.next().transpose()?.unwrap_or_default();
            match parts.next().transpose()? {
                None => write_message(out, schema, first, depth + 1),
                // Protobuf merges messages as if they stood behind each other.
                Some(second) => {
                    let mut merged = [first, second].concat();
                    for part in parts {
                        merged.extend_from_slice(part?);
                    }
                    let written = write_message(out, schema, &merged, depth + 1);
                    // Places within what was merged are no places of the body.
                    written.map_err(|damage| Cursor::new(message).damage(damage.problem))
                }
            }
        }
        _ => write_scalar(out, field, message),
    }
}

fn write_list(
    out: &mut Vec<u8>,
    message: &[u8],
    field: &'static Field,
    mut write: impl FnMut(&mut Vec<u8>, &[u8]) -> Result<(), Damage>,
) -> Result<(), Damage> {
    out.push(b'[');
    for (index, content) in contents(message, field).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, content?)?;
    }
    out.push(b']');
    Ok(())
}

/// What a length-delimited field holds, each time that the message has it.
fn contents<'a>(
    message: &'a [u8],
    field: &'static Field,
) -> impl Iterator<Item = Result<&'a [u8], Damage>> {
    let mut cursor = Cursor::new(message);
    std::iter::from_fn(move || {
        loop {
            let start = cursor;
            match cursor.field() {
                Ok(None) => return None,
                Ok(Some(found)) if found.number != field.number => {}
                Ok(Some(found)) if found.wire_type == protobuf::BYTES => {
                    return Some(Ok(found.content));
                }
                Ok(Some(found)) => {
                    return Some(Err(start.damage(Problem::WrongWireType {
                        field: found.number,
                        wire_type: found.wire_type,
                    })));
                }
                Err(damage) => return Some(Err(damage)),
            }
        }
    })
}

/// The last of a field that cannot be a list.
fn write_scalar(out: &mut Vec<u8>, field: &'static Field, message: &[u8]) -> Result<(), Damage> {
    match &field.kind {
        Kind::Text | Kind::Id | Kind::Bytes => {
            let mut last: &[u8] = &[];
            for content in contents(message, field) {
                last = content?;
            }
            match field.kind {
                Kind::Text => write_text(out, last)?,
                Kind::Id => super::text::write_hex(out, last),
                _ => super::text::write_base64(out, last),
            }
        }
        kind => {
            let bits = last_number(message, field)?;
            let text = match kind {
                Kind::Fixed64 => format!("\"{bits}\""),
                Kind::Int64 => format!("\"{}\"", bits as i64),
                Kind::Bool => (bits != 0).to_string(),
                // OTLP asks for the numbers of enums.
                Kind::Enum(_) => (bits as i32).to_string(),
                Kind::Double => super::text::double_as_json(f64::from_bits(bits)),
                _ => (bits as u32).to_string(),
            };
            out.extend_from_slice(text.as_bytes());
        }
    }
    Ok(())
}

fn last_number(message: &[u8], field: &'static Field) -> Result<u64, Damage> {
    let expected = match field.kind {
        Kind::Fixed64 | Kind::Double => protobuf::FIXED64,
        Kind::Fixed32 => protobuf::FIXED32,
        _ => protobuf::VARINT,
    };
    let mut cursor = Cursor::new(message);
    let mut last = 0;
    loop {
        let start = cursor;
        let tag = cursor.tag()?;
        if tag == protobuf::END {
            return Ok(last);
        }
        if tag >> 3 != field.number {
            cursor.unknown(tag, 0)?;
            continue;
        }
        let wire_type = (tag & 7) as u8;
        if wire_type != expected {
            let field = field.number;
            return Err(start.damage(Problem::WrongWireType { field, wire_type }));
        }
        last = match wire_type {
            protobuf::FIXED64 => cursor.fixed64()?,
            protobuf::FIXED32 => u64::from(cursor.fixed32()?),
            _ => cursor.varint()?,
        };
    }
}

fn write_text(out: &mut Vec<u8>, content: &[u8]) -> Result<(), Damage> {
    let Ok(text) = std::str::from_utf8(content) else {
        return Err(Cursor::new(content).damage(Problem::NotUtf8));
    };
    super::text::write_string(out, text);
    Ok(())
}
