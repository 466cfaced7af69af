//! Strings arrays between OTLP `AnyValue` messages and lists of texts.

use tracewell_model::AttributeValue;
use tracewell_wire::otlp::encode_any_value;
use tracewell_wire::protobuf::Cursor;

use super::error::{BlockError, BlockResult};

/// `AnyValue.array_value`, `ArrayValue.values`, `AnyValue.string_value`.
const ARRAY_VALUE: u32 = 5;
const VALUES: u32 = 1;
const STRING_VALUE: u32 = 1;

/// Appends the elements of a message around an array of strings.
pub(super) fn strings_of<'a>(message: &'a [u8], out: &mut Vec<&'a [u8]>) -> BlockResult<()> {
    for_each(message, ARRAY_VALUE, &mut |array| {
        for_each(array, VALUES, &mut |element| {
            let mut text: &[u8] = &[];
            for_each(element, STRING_VALUE, &mut |content| {
                text = content;
                Ok(())
            })?;
            out.push(text);
            Ok(())
        })
    })
}

fn for_each<'a>(
    message: &'a [u8],
    number: u32,
    visit: &mut dyn FnMut(&'a [u8]) -> BlockResult<()>,
) -> BlockResult<()> {
    let mut cursor = Cursor::new(message);
    let malformed = |_| BlockError::malformed("attribute", "not an AnyValue message");
    while let Some(field) = cursor.field().map_err(malformed)? {
        if field.number == number {
            visit(field.content)?;
        }
    }
    Ok(())
}

/// The message around an array of these strings.
pub(super) fn message_of_strings<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let items = texts.map(|text| AttributeValue::String(text.to_owned()));
    encode_any_value(&AttributeValue::Array(items.collect()))
}
