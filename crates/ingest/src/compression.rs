//! Decompression of request bodies, capped.
//!
//! It works in steps, so that the caller can reserve memory before each and move a long job to
//! the CPU pool. What a body becomes is bounded by `limits.request_decoded_bytes_max` and zstd's
//! window by [`ZSTD_WINDOW_LOG_MAX`]; a bomb costs at most that. A step reads no more than it may yield, and a
//! body that yields next to nothing of what it is (a million empty members) ends there.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// How a body is compressed, as `Content-Encoding` and `grpc-encoding` name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    Identity,
    Gzip,
    Zstd,
    /// The zlib format as HTTP means it; bare deflate data is understood too.
    Deflate,
}

/// Why a body could not be decompressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InflateError {
    #[error("body is not {}: {source}", encoding.name())]
    Malformed {
        encoding: Encoding,
        source: io::Error,
    },
    #[error("body is {} of {read} bytes and more that decompress to {yielded}", encoding.name())]
    Hollow {
        encoding: Encoding,
        read: usize,
        yielded: usize,
    },
    #[error("body decompresses to more than {limit} bytes, which is its limit")]
    TooLarge { limit: u64 },
}

/// One body being decompressed.
pub struct Inflate {
    encoding: Encoding,
    source: Source,
    out: Vec<u8>,
    bytes_max: usize,
}

enum Source {
    Gzip(Box<MultiGzDecoder<Portions>>),
    Zlib(Box<ZlibDecoder<Portions>>),
    Deflate(Box<DeflateDecoder<Portions>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Portions>>),
}

/// A body that is read in portions: behind the end of one, reading would block.
struct Portions {
    rest: Bytes,
    /// What may still be read of this portion.
    left: usize,
}

/// 8 MiB: what zstd's ordinary levels (up to 19) need.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// A body that is larger already gets room for all that it may become, at most so much at a time.
const GROWN_BYTES: usize = 128 << 10;
const RESERVED_BYTES_MAX: usize = 64 << 20;
/// Two blocks of zstd, which yields nothing of a part of one.
const PORTION_BYTES_MIN: usize = 256 << 10;
/// A portion that yields less than this share of itself is no way to write data.
const YIELD_ONE_IN: usize = 64;

// === impl Encoding ===

impl Encoding {
    pub const ALL: [Self; 4] = [Self::Identity, Self::Gzip, Self::Zstd, Self::Deflate];
    /// For `Accept-Encoding` and `grpc-accept-encoding`.
    pub const ACCEPTED: &'static str = "gzip,zstd,deflate,identity";

    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
        }
    }

    /// The encoding behind a header's value; `None` if it is not one of ours.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        let aliases: [(&[u8], Self); 6] = [
            (b"", Self::Identity),
            (b"identity", Self::Identity),
            (b"gzip", Self::Gzip),
            (b"x-gzip", Self::Gzip),
            (b"zstd", Self::Zstd),
            (b"deflate", Self::Deflate),
        ];
        aliases
            .iter()
            .find(|(name, _)| value.eq_ignore_ascii_case(name))
            .map(|(_, encoding)| *encoding)
    }
}

// === impl Inflate ===

impl Inflate {
    /// `None` for identity: there is nothing to do.
    pub fn new(
        encoding: Encoding,
        body: Bytes,
        bytes_max: u64,
    ) -> Result<Option<Self>, InflateError> {
        let guess = body.len().saturating_mul(4);
        let is_zlib = is_zlib(&body);
        let reader = Portions {
            rest: body,
            left: 0,
        };
        let source = match encoding {
            Encoding::Identity => return Ok(None),
            Encoding::Gzip => Source::Gzip(Box::new(MultiGzDecoder::new(reader))),
            Encoding::Deflate if is_zlib => Source::Zlib(Box::new(ZlibDecoder::new(reader))),
            Encoding::Deflate => Source::Deflate(Box::new(DeflateDecoder::new(reader))),
            Encoding::Zstd => zstd::stream::read::Decoder::with_buffer(reader)
                .and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                    Ok(Source::Zstd(Box::new(decoder)))
                })
                .map_err(|source| InflateError::Malformed { encoding, source })?,
        };
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Ok(Some(Self {
            encoding,
            source,
            out: Vec::with_capacity(guess.min(bytes_max).min(64 << 10)),
            bytes_max,
        }))
    }

    /// What was decompressed so far.
    pub fn n_bytes(&self) -> usize {
        self.out.len()
    }

    /// Decompresses at most so many further bytes, of as many or [`PORTION_BYTES_MIN`]; true when the body is complete.
    pub fn step(&mut self, n: usize) -> Result<bool, InflateError> {
        // One byte beyond the limit tells "exactly full" from "too large".
        let room = self.bytes_max.saturating_add(1) - self.out.len();
        let wanted = n.min(room);
        if self.out.len() >= GROWN_BYTES {
            // Doubling would hold the body twice for a moment. What is reserved and not written takes
            // no memory.
            let spare = self.out.capacity() - self.out.len();
            if spare < wanted {
                self.out.reserve_exact(room.min(RESERVED_BYTES_MAX));
            }
        }
        let (encoding, before) = (self.encoding, self.out.len());
        let portion = n.max(PORTION_BYTES_MIN);
        self.source.portions().left = portion;
        let read = self.source.read_up_to(wanted, &mut self.out);
        if self.out.len() > self.bytes_max {
            return Err(InflateError::TooLarge {
                limit: self.bytes_max as u64,
            });
        }
        match read {
            Ok(read) => Ok(read < wanted),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let yielded = self.out.len() - before;
                match yielded < portion / YIELD_ONE_IN {
                    true => Err(InflateError::Hollow {
                        encoding,
                        read: portion,
                        yielded,
                    }),
                    false => Ok(false),
                }
            }
            Err(source) => Err(InflateError::Malformed { encoding, source }),
        }
    }

    pub fn finish(self) -> Bytes {
        Bytes::from(self.out)
    }
}

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate")
            .field("encoding", &self.encoding)
            .field("n_bytes", &self.out.len())
            .finish_non_exhaustive()
    }
}

impl Source {
    fn portions(&mut self) -> &mut Portions {
        match self {
            Self::Gzip(reader) => reader.get_mut(),
            Self::Zlib(reader) => reader.get_mut(),
            Self::Deflate(reader) => reader.get_mut(),
            Self::Zstd(reader) => reader.get_mut(),
        }
    }

    fn read_up_to(&mut self, n: usize, out: &mut Vec<u8>) -> io::Result<usize> {
        let n = n as u64;
        match self {
            Self::Gzip(reader) => reader.as_mut().take(n).read_to_end(out),
            Self::Zlib(reader) => reader.as_mut().take(n).read_to_end(out),
            Self::Deflate(reader) => reader.as_mut().take(n).read_to_end(out),
            Self::Zstd(reader) => reader.as_mut().take(n).read_to_end(out),
        }
    }
}

// === impl Portions ===

impl Read for Portions {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(into)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Portions {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 && !self.rest.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let portion = self.rest.get(..self.left);
        Ok(portion.unwrap_or(&self.rest))
    }

    fn consume(&mut self, n: usize) {
        let n = n.min(self.rest.len());
        self.rest.advance(n);
        self.left = self.left.saturating_sub(n);
    }
}

/// RFC 1950: method 8, and the first two bytes are a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    match body {
        [method, flags, ..] => {
            method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31)
        }
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use super::*;

    pub(crate) fn compress(encoding: Encoding, data: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        match encoding {
            Encoding::Identity => data.to_vec(),
            Encoding::Gzip => {
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), level);
                writer.write_all(data).unwrap();
                writer.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), level);
                writer.write_all(data).unwrap();
                writer.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(data, 3).unwrap(),
        }
    }

    fn inflate(encoding: Encoding, body: Vec<u8>, max: u64) -> Result<Bytes, InflateError> {
        let mut inflate = Inflate::new(encoding, body.into(), max)?.unwrap();
        while !inflate.step(1_000)? {}
        Ok(inflate.finish())
    }

    /// Bodies that decompress to nothing, or to a byte for every hundred.
    #[test]
    fn what_yields_next_to_nothing_ends_early() {
        let empty = |encoding| compress(encoding, b"");
        let (gzip, zstd) = (empty(Encoding::Gzip), empty(Encoding::Zstd));
        // Stored blocks of no byte, none of them the last.
        let deflate = vec![0, 0, 0, 0xff, 0xff];
        let sparse = [gzip.repeat(8), compress(Encoding::Gzip, b"x")].concat();
        for (encoding, unit) in [
            (Encoding::Gzip, gzip),
            (Encoding::Zstd, zstd),
            (Encoding::Deflate, deflate),
            (Encoding::Gzip, sparse),
        ] {
            let body = unit.repeat((4 << 20) / unit.len());
            let mut inflate = Inflate::new(encoding, body.into(), 1 << 30)
                .unwrap()
                .unwrap();
            let error = inflate.step(256 << 10).unwrap_err();
            assert!(matches!(error, InflateError::Hollow { .. }), "{error}");
            let left = inflate.source.portions().rest.len();
            assert!(left > 3 << 20, "{left} bytes are left");
        }
        // Members as small as anybody writes them.
        let small = compress(Encoding::Gzip, b"a span");
        let body = small.repeat(40_000);
        let inflated = inflate(Encoding::Gzip, body, 1 << 20).unwrap();
        assert_eq!(inflated.len(), 6 * 40_000);
    }

    const COMPRESSED: [Encoding; 3] = [Encoding::Gzip, Encoding::Zstd, Encoding::Deflate];

    #[test]
    fn each_encoding_comes_back_in_steps() {
        let data: Vec<u8> = (0..100_000u32).flat_map(|n| n.to_le_bytes()).collect();
        for encoding in COMPRESSED {
            let body = compress(encoding, &data);
            assert_eq!(inflate(encoding, body, 1 << 20).unwrap(), data);
        }
    }

    #[test]
    fn bare_deflate_is_understood() {
        let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), Default::default());
        writer.write_all(b"hello hello hello").unwrap();
        let body = writer.finish().unwrap();
        assert_eq!(
            inflate(Encoding::Deflate, body, 100).unwrap(),
            "hello hello hello"
        );
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_exactly_full_passes() {
        let data = vec![0u8; 4 << 20];
        for encoding in COMPRESSED {
            let body = compress(encoding, &data);
            assert!(body.len() < data.len() / 500, "{}", encoding.name());
            let error = inflate(encoding, body.clone(), (4 << 20) - 1).unwrap_err();
            assert!(matches!(error, InflateError::TooLarge { .. }), "{error}");
            assert_eq!(inflate(encoding, body, 4 << 20).unwrap().len(), data.len());
        }
    }

    #[test]
    fn what_is_cut_or_noise_is_malformed() {
        for encoding in COMPRESSED {
            let mut body = compress(encoding, &vec![7u8; 10_000]);
            body.truncate(body.len() / 2);
            for body in [body, b"certainly not compressed".to_vec()] {
                let error = inflate(encoding, body, 1 << 20).unwrap_err();
                assert!(
                    matches!(error, InflateError::Malformed { .. }),
                    "{encoding:?}: {error}"
                );
            }
        }
    }

    #[test]
    fn names_are_parsed_as_http_writes_them() {
        assert_eq!(Encoding::parse(b" GZIP "), Some(Encoding::Gzip));
        assert_eq!(Encoding::parse(b""), Some(Encoding::Identity));
        assert_eq!(Encoding::parse(b"br"), None);
        assert_eq!(Encoding::parse(b"gzip, gzip"), None);
    }
}
