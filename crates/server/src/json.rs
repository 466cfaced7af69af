//! Writing JSON by hand, piece by piece, by the rules of protobuf's JSON form as Tempo writes it
//! (gogo `jsonpb`): zero values are left out by the caller, 64-bit integers are strings, bytes are
//! base64, numbers that are none are strings.
//!
//! It writes into one buffer and hands full pieces to whoever sends them, so that a large trace
//! never lies in memory as text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tracewell_wire::otlp::json::write_string;

/// Takes finished pieces of output; false if nobody wants more.
pub(crate) trait Pieces {
    fn piece(&mut self, bytes: Vec<u8>) -> bool;
}

/// A JSON document being written.
#[derive(Debug)]
pub(crate) struct Json<P> {
    out: Vec<u8>,
    pieces: P,
    /// True right after `{` or `[`: no comma before the next.
    is_first: bool,
    is_wanted: bool,
}

const PIECE_BYTES: usize = 64 << 10;
/// Doubles below print as integers without losing a digit.
const EXACT_INTEGER_MAX: f64 = 1e15;

// === impl Json ===

impl<P: Pieces> Json<P> {
    pub(crate) fn new(pieces: P) -> Self {
        Self {
            out: Vec::with_capacity(4 << 10),
            pieces,
            is_first: true,
            is_wanted: true,
        }
    }

    /// The last piece, and what took the pieces.
    pub(crate) fn finish(mut self) -> P {
        if self.is_wanted {
            self.pieces.piece(std::mem::take(&mut self.out));
        }
        self.pieces
    }

    /// `"key":`, with a comma before it where one is due. Keys are plain names of ours.
    pub(crate) fn key(&mut self, key: &str) -> &mut Self {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.is_first = true;
        self
    }

    /// The same for a key that came from outside.
    pub(crate) fn text_key(&mut self, key: &str) -> &mut Self {
        self.string(key);
        self.out.push(b':');
        self.is_first = true;
        self
    }

    pub(crate) fn object(&mut self, content: impl FnOnce(&mut Self)) {
        self.nested(b'{', b'}', content);
    }

    pub(crate) fn array<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.nested(b'[', b']', |json| {
            for item in items {
                if !json.is_wanted {
                    return;
                }
                write(json, item);
            }
        });
    }

    fn nested(&mut self, open: u8, close: u8, content: impl FnOnce(&mut Self)) {
        self.comma();
        self.out.push(open);
        self.is_first = true;
        content(self);
        self.out.push(close);
        self.is_first = false;
        self.hand_over();
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.comma();
        write_string(&mut self.out, text);
        self.is_first = false;
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    /// A number of at most 32 bits.
    pub(crate) fn number(&mut self, value: impl Into<i64>) {
        let value: i64 = value.into();
        self.raw(&value.to_string());
    }

    /// A number as it stands, for answers that are no protobuf.
    pub(crate) fn plain(&mut self, value: impl std::fmt::Display) {
        self.raw(&value.to_string());
    }

    /// A 64-bit number, which is a string in JSON.
    pub(crate) fn long(&mut self, value: impl std::fmt::Display) {
        self.raw(&format!("\"{value}\""));
    }

    pub(crate) fn double(&mut self, value: f64) {
        if value.is_nan() {
            self.raw("\"NaN\"");
        } else if value.is_infinite() {
            self.raw(if value > 0.0 {
                "\"Infinity\""
            } else {
                "\"-Infinity\""
            });
        } else if value.fract() == 0.0 && value.abs() < EXACT_INTEGER_MAX {
            self.raw(&format!("{value:.0}"));
        } else {
            self.raw(&format!("{value:e}"));
        }
    }

    pub(crate) fn base64(&mut self, bytes: &[u8]) {
        let text = STANDARD.encode(bytes);
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'"');
        self.is_first = false;
    }

    fn raw(&mut self, text: &str) {
        self.comma();
        self.out.extend_from_slice(text.as_bytes());
        self.is_first = false;
    }

    fn comma(&mut self) {
        if !self.is_first {
            self.out.push(b',');
        }
    }

    fn hand_over(&mut self) {
        if self.out.len() >= PIECE_BYTES && self.is_wanted {
            let next = Vec::with_capacity(PIECE_BYTES + (PIECE_BYTES >> 2));
            let full = std::mem::replace(&mut self.out, next);
            self.is_wanted = self.pieces.piece(full);
        }
        if !self.is_wanted {
            self.out.clear();
        }
    }

    // Fields that are left out where they hold the zero value.

    pub(crate) fn string_unless_empty(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.key(key).string(text);
        }
    }

    pub(crate) fn number_unless_zero(&mut self, key: &str, value: u32) {
        if value != 0 {
            self.key(key).number(value);
        }
    }

    pub(crate) fn long_unless_zero(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.key(key).long(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Whole(Vec<u8>);

    impl Pieces for Whole {
        fn piece(&mut self, bytes: Vec<u8>) -> bool {
            self.0.extend_from_slice(&bytes);
            true
        }
    }

    fn written(write: impl FnOnce(&mut Json<Whole>)) -> String {
        let mut json = Json::new(Whole::default());
        write(&mut json);
        String::from_utf8(json.finish().0).unwrap()
    }

    #[test]
    fn strings_survive_a_parser() {
        for text in [
            "",
            "plain",
            "\"\\\n\r\t\u{0}\u{1f}\u{7f}é\u{1F980}",
            "a\u{8}b",
        ] {
            let json = written(|json| json.string(text));
            let parsed: String = serde_json::from_str(&json).unwrap();
            assert_eq!(parsed, text, "{json}");
        }
    }

    #[test]
    fn doubles_survive_a_parser() {
        let values = [
            0.0,
            -0.0,
            1.0,
            -1.5,
            0.1,
            1e15,
            1e21,
            1e300,
            5e-324,
            f64::MAX,
            f64::MIN_POSITIVE,
            123_456_789_012_345.0,
            1.0 / 3.0,
        ];
        for value in values {
            let json = written(|json| json.double(value));
            let parsed: f64 = json.parse().unwrap();
            assert_eq!(parsed.to_bits(), value.to_bits(), "{json}");
            serde_json::from_str::<serde_json::Value>(&json).unwrap();
        }
        assert_eq!(written(|json| json.double(f64::NAN)), "\"NaN\"");
        assert_eq!(
            written(|json| json.double(f64::NEG_INFINITY)),
            "\"-Infinity\""
        );
    }

    #[test]
    fn commas_stand_between_and_nowhere_else() {
        let json = written(|json| {
            json.object(|json| {
                json.key("a").array([1u32, 2], |json, n| json.number(n));
                json.key("b").object(|_| {});
                json.key("c").array(["x", "y"], |json, text| {
                    json.object(|json| json.key("t").string(text));
                });
                json.key("d").bool(true);
            });
        });
        assert_eq!(
            json,
            r#"{"a":[1,2],"b":{},"c":[{"t":"x"},{"t":"y"}],"d":true}"#
        );
    }

    #[test]
    fn a_reader_that_left_ends_the_writing() {
        struct Few(usize);
        impl Pieces for Few {
            fn piece(&mut self, _bytes: Vec<u8>) -> bool {
                self.0 += 1;
                self.0 < 2
            }
        }
        let mut json = Json::new(Few(0));
        let mut n_written = 0;
        json.array(0..1_000_000u32, |json, n| {
            n_written += 1;
            json.object(|json| json.key("n").number(n));
        });
        assert!(n_written < 100_000, "{n_written}");
        assert_eq!(json.finish().0, 2);
    }
}
