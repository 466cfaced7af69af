//! Bytes and numbers written as text.

/// Pairs of hex digits in either case.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs
        .iter()
        .map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8))
        .collect()
}

/// Standard or URL-safe alphabet, with or without padding, as ProtoJSON asks for.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    if text.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for byte in group {
            bits = bits << 6 | sextet(*byte)?;
        }
        bits <<= 6 * (4 - group.len());
        let [_, decoded @ ..] = bits.to_be_bytes();
        bytes.extend(decoded.iter().take(group.len() - 1));
    }
    Some(bytes)
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// A number, or one of the three that JSON cannot write.
pub(super) fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust would read "inf" and "nan" too.
        _ if text
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) =>
        {
            text.parse().ok()
        }
        _ => None,
    }
}

/// A number as it is read again, or one of the three strings.
pub(super) fn double_as_json(double: f64) -> String {
    if double.is_nan() {
        return "\"NaN\"".to_owned();
    }
    match double.is_infinite() {
        true if double > 0.0 => "\"Infinity\"".to_owned(),
        true => "\"-Infinity\"".to_owned(),
        // The shortest digits that are this double, and always a point or an exponent.
        false => format!("{double:?}"),
    }
}

/// Appends a JSON string: in quotes, with the escapes that JSON asks for. What is copied is copied in runs
/// between the characters that need one.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= b' ' && !matches!(byte, b'"' | b'\\') {
            continue;
        }
        out.extend_from_slice(bytes.get(written..at).unwrap_or_default());
        written = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\t' => out.extend_from_slice(br"\t"),
            b'\r' => out.extend_from_slice(br"\r"),
            control => {
                out.extend_from_slice(b"\\u00");
                extend_by_hex(out, &[*control]);
            }
        }
    }
    out.extend_from_slice(bytes.get(written..).unwrap_or_default());
    out.push(b'"');
}

/// In quotes, two lower-case digits a byte.
pub(super) fn write_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    extend_by_hex(out, bytes);
    out.push(b'"');
}

fn extend_by_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    out.extend(halves.filter_map(|half| DIGITS.get(usize::from(half))));
}

/// In quotes, in the standard alphabet, padded.
pub(super) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for group in bytes.chunks(3) {
        let mut bits = 0u32;
        for byte in group {
            bits = bits << 8 | u32::from(*byte);
        }
        bits <<= 8 * (3 - group.len());
        for place in 0..4 {
            let digit = ALPHABET.get((bits >> (18 - 6 * place) & 63) as usize);
            let is_there = place <= group.len();
            out.push(*digit.filter(|_| is_there).unwrap_or(&b'='));
        }
    }
    out.push(b'"');
}

/// JSON with U+FFFD for each escaped half of a pair of surrogates that has no other half; `None` if it has
/// no such. Of the same length, so that places stay what they are.
pub(super) fn without_halves(json: &[u8]) -> Option<Vec<u8>> {
    let mut changed: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(found) = json
        .get(at..)
        .and_then(|rest| rest.iter().position(|b| *b == b'\\'))
    {
        at += found;
        at += match (escaped(json, at), escaped(json, at + ESCAPE)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 2 * ESCAPE,
            (Some(0xd800..=0xdfff), _) => {
                let json = changed.get_or_insert_with(|| json.to_vec());
                if let Some(half) = json.get_mut(at..at + ESCAPE) {
                    half.copy_from_slice(br"\ufffd");
                }
                ESCAPE
            }
            (Some(_), _) => ESCAPE,
            // Another escape: a backslash behind it begins none.
            (None, _) => 2,
        };
    }
    changed
}

/// Bytes of `\uXXXX`.
const ESCAPE: usize = 6;

/// The code unit that is escaped at a place.
fn escaped(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE)?.strip_prefix(br"\u")?;
    let digit = |unit: u16, byte: &u8| Some(unit << 4 | char::from(*byte).to_digit(16)? as u16);
    digits.iter().try_fold(0, digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_surrogate_pairs_are_replaced() {
        let replaced =
            |json: &str| without_halves(json.as_bytes()).map(|b| String::from_utf8(b).unwrap());
        for (json, expected) in [
            (r#""hello \ud83d""#, r#""hello \ufffd""#),
            (
                r#""\uDE00\ud83d\ud83d\ude00\ud83d\n""#,
                r#""\ufffd\ufffd\ud83d\ude00\ufffd\n""#,
            ),
            (r#""\ud83d\u0041\\""#, r#""\ufffd\u0041\\""#),
        ] {
            assert_eq!(replaced(json).as_deref(), Some(expected), "{json}");
        }
        for json in [
            r#""\ud83d\ude00""#,
            r#""\\ud83d""#,
            r#""\u00e9\ud8""#,
            r#""\"#,
            "",
        ] {
            assert_eq!(replaced(json), None, "{json}");
        }
    }

    #[test]
    fn base64_in_both_alphabets_with_and_without_padding() {
        for text in ["+/8=", "-_8=", "+/8", "-_8"] {
            assert_eq!(base64(text).unwrap(), [0xfb, 0xff], "{text}");
        }
        assert!(base64("").unwrap().is_empty());
        assert_eq!(base64("aGVsbG8=").unwrap(), b"hello");
        assert!(base64("a").is_none());
        assert!(base64("ab\n=").is_none());
    }

    #[test]
    fn hex_in_both_cases() {
        assert_eq!(hex("00fFa0").unwrap(), [0, 0xff, 0xa0]);
        assert!(hex("0").is_none());
        assert!(hex("0g").is_none());
        assert!(hex("+1").is_none());
    }
}
