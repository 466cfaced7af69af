//! Newtypes for everything that names something: traces, spans, tenants, content.

use std::fmt;
use std::sync::Arc;

/// A 128-bit trace id. A 64-bit id (Zipkin, old Jaeger) is one with a zero high half.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// A 64-bit span id, unique within a trace if its sender behaves.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

/// The 128-bit hash (XXH3, big-endian) of a resource, scope or shape: the same content has the same
/// hash in every block, so that joins need no file name.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 16]);

/// Who owns the data. Part of every key; [`TenantId::single`] until tenants are switched on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

/// Text that is no id: what it was and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    #[error("{text:?} has {seen} hex digits, expected 1 to {max}")]
    Length {
        text: String,
        seen: usize,
        max: usize,
    },
    #[error("{text:?} is not hexadecimal at character {position}")]
    Digit { text: String, position: usize },
    #[error("tenant id has {seen} bytes, expected 1 to {max}")]
    TenantLength { seen: usize, max: usize },
    #[error("tenant id {text:?} is not allowed: letters, digits and !-_.*'() only, not . or ..")]
    TenantCharacter { text: String },
}

/// The name of the one tenant until tenants are switched on; also Tempo's storage prefix.
pub const SINGLE_TENANT: &str = "single-tenant";
/// Tempo's limit for a tenant id, in bytes.
pub const TENANT_BYTES_MAX: usize = 150;

// === impl TraceId ===

impl TraceId {
    /// Parses 1 to 32 hex digits; a short id is padded with zeros on the left, as Tempo does.
    pub fn from_hex(text: &str) -> Result<Self, IdError> {
        parse_hex(text).map(Self)
    }

    /// True for the id of sixteen zero bytes, which no valid span carries.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 16]
    }
}

// === impl SpanId ===

impl SpanId {
    /// Parses 1 to 16 hex digits, padded with zeros on the left.
    pub fn from_hex(text: &str) -> Result<Self, IdError> {
        parse_hex(text).map(Self)
    }

    pub fn is_zero(&self) -> bool {
        self.0 == [0; 8]
    }
}

// === impl ContentHash ===

impl ContentHash {
    /// Hashes content bytes; the algorithm is part of the block format (docs/format/block.md).
    pub fn of(content: &[u8]) -> Self {
        Self(twox_hash::XxHash3_128::oneshot(content).to_be_bytes())
    }
}

// === impl TenantId ===

impl TenantId {
    /// The tenant of a server on which tenants are not switched on.
    pub fn single() -> Self {
        Self(Arc::from(SINGLE_TENANT))
    }

    /// Checks Tempo's rules: 1 to 150 bytes of `a-zA-Z0-9!-_.*'()`, neither `.` nor `..`.
    pub fn new(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > TENANT_BYTES_MAX {
            return Err(IdError::TenantLength {
                seen: text.len(),
                max: TENANT_BYTES_MAX,
            });
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!-_.*'()".contains(&b);
        if text == "." || text == ".." || !text.bytes().all(allowed) {
            return Err(IdError::TenantCharacter {
                text: text.to_owned(),
            });
        }
        Ok(Self(Arc::from(text)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! hex_display {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
hex_display!(TraceId);
hex_display!(SpanId);
hex_display!(ContentHash);

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], IdError> {
    let max = N * 2;
    if text.is_empty() || text.len() > max {
        return Err(IdError::Length {
            text: excerpt(text),
            seen: text.len(),
            max,
        });
    }
    let mut bytes = [0u8; N];
    for (position, digit) in text.bytes().rev().enumerate() {
        let Some(value) = (digit as char).to_digit(16) else {
            let position = text.len() - 1 - position;
            return Err(IdError::Digit {
                text: excerpt(text),
                position,
            });
        };
        if let Some(byte) = bytes.get_mut(N - 1 - position / 2) {
            *byte |= (value as u8) << (4 * (position % 2));
        }
    }
    Ok(bytes)
}

/// At most 64 characters of hostile text go into a message.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_are_padded_on_the_left() {
        let id = TraceId::from_hex("Abc").unwrap();
        assert_eq!(id.to_string(), "00000000000000000000000000000abc");
        assert_eq!(
            SpanId::from_hex("ff").unwrap().to_string(),
            "00000000000000ff"
        );
    }

    #[test]
    fn what_is_no_id_is_refused() {
        assert!(matches!(
            TraceId::from_hex(""),
            Err(IdError::Length { seen: 0, .. })
        ));
        assert!(matches!(
            TraceId::from_hex(&"0".repeat(33)),
            Err(IdError::Length { .. })
        ));
        assert!(matches!(
            TraceId::from_hex("12x4"),
            Err(IdError::Digit { position: 2, .. })
        ));
        assert!(TenantId::new("..").is_err());
        assert!(TenantId::new("a/b").is_err());
        assert!(TenantId::new("team-a").is_ok());
    }
}
