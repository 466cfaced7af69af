//! The query string of a request: percent-decoded pairs, and typed access with Tempo's messages.
//!
//! The number of pairs is bounded; hyper bounds the length of the whole target.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::error::{ApiError, ApiResult};
use crate::time;

/// The pairs of a query string, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

const PARAMS_MAX: usize = 1_000;

// === impl Params ===

impl Params {
    pub(crate) fn parse(query: Option<&str>) -> ApiResult<Self> {
        let mut pairs = Vec::new();
        for pair in query.unwrap_or_default().split('&') {
            if pair.is_empty() {
                continue;
            }
            if pairs.len() == PARAMS_MAX {
                return Err(ApiError::BadRequest(format!(
                    "more than {PARAMS_MAX} parameters"
                )));
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(key)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// One more, which comes before those of its name.
    pub(crate) fn put(&mut self, key: &str, value: String) {
        self.0.insert(0, (key.to_owned(), value));
    }

    /// Pairs that were no query string.
    pub(crate) fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The first value of a parameter, unless it is empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| &**value)
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// A number that may be left out. The message is `invalid <key>: ...`.
    pub(crate) fn number(&self, key: &str) -> ApiResult<Option<i64>> {
        self.get(key)
            .map(|text| {
                text.parse::<i64>().map_err(|_| {
                    ApiError::BadRequest(format!("invalid {key}: {text:?} is no whole number"))
                })
            })
            .transpose()
    }

    /// A duration as Go writes it, in nanoseconds.
    pub(crate) fn duration_nano(&self, key: &str) -> ApiResult<Option<u64>> {
        self.get(key)
            .map(|text| {
                time::parse_duration(text)
                    .map_err(|error| ApiError::BadRequest(format!("invalid {key}: {error}")))
            })
            .transpose()
    }
}

/// `%41` and `+`, as forms write them.
fn decode(text: &str) -> ApiResult<String> {
    let text = if text.contains('+') {
        Cow::Owned(text.replace('+', " "))
    } else {
        Cow::Borrowed(text)
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'%' {
            bytes.push(*byte);
            rest = after;
            continue;
        }
        let escaped = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| ApiError::BadRequest(format!("invalid URL escape in {text:?}")))?;
        bytes.push(escaped);
        rest = after.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes)
        .map_err(|_| ApiError::BadRequest(String::from("a parameter is not UTF-8")))
}

/// Pairs in logfmt, as Tempo's `tags` parameter holds them: `a=b c="d e"`.
pub(crate) fn parse_logfmt(text: &str) -> ApiResult<Vec<(String, String)>> {
    let invalid = |what: &str, at: usize| {
        let position = at + 1;
        ApiError::BadRequest(format!("invalid tags: {what} at pos {position}"))
    };
    let mut tags: Vec<(String, String)> = Vec::new();
    let mut keys = HashSet::new();
    let mut chars = text.char_indices().peekable();
    loop {
        while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        let Some(&(start, _)) = chars.peek() else {
            return Ok(tags);
        };
        let mut key = String::new();
        while let Some((_, c)) = chars.next_if(|(_, c)| !c.is_whitespace() && *c != '=') {
            if c == '"' {
                return Err(invalid("unexpected '\"'", start));
            }
            key.push(c);
        }
        if key.is_empty() {
            return Err(invalid("unexpected '='", start));
        }
        let mut value = String::new();
        if chars.next_if(|(_, c)| *c == '=').is_some() {
            if let Some((at, _)) = chars.next_if(|(_, c)| *c == '"') {
                quoted(&mut chars, &mut value)
                    .ok_or_else(|| invalid("unterminated quoted value", at))?;
            } else {
                while let Some((at, c)) = chars.next_if(|(_, c)| !c.is_whitespace()) {
                    if c == '"' || c == '=' {
                        return Err(invalid(&format!("unexpected {c:?}"), at));
                    }
                    value.push(c);
                }
            }
        }
        if !keys.insert(key.clone()) {
            return Err(ApiError::BadRequest(format!(
                "invalid tags: tag {key} has been set twice"
            )));
        }
        tags.push((key, value));
    }
}

/// The rest of a quoted value; `None` if it has no end.
fn quoted(chars: &mut impl Iterator<Item = (usize, char)>, value: &mut String) -> Option<()> {
    loop {
        match chars.next()?.1 {
            '"' => return Some(()),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let params = Params::parse(Some("q=%7B%20.a%3D%22b+c%22%20%7D&limit=5&x&empty=")).unwrap();
        assert_eq!(params.get("q"), Some("{ .a=\"b c\" }"));
        assert_eq!(params.number("limit").unwrap(), Some(5));
        assert_eq!(params.get("empty"), None);
        assert!(Params::parse(Some("q=%zz")).is_err());
        assert!(Params::parse(Some("q=%ff")).is_err());
        assert!(Params::parse(Some("q=%4")).is_err());
    }

    #[test]
    fn tags_are_logfmt() {
        let tags = parse_logfmt(r#" a=b service.name="shop \"1\"" flag c= "#).unwrap();
        let expected = [
            ("a", "b"),
            ("service.name", "shop \"1\""),
            ("flag", ""),
            ("c", ""),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(tags, expected);
    }

    #[test]
    fn tags_that_are_wrong_say_where() {
        for (text, message) in [
            ("a=b a=c", "invalid tags: tag a has been set twice"),
            ("=b", "invalid tags: unexpected '=' at pos 1"),
            ("a=\"b", "invalid tags: unterminated quoted value at pos 3"),
            ("a=b=c", "invalid tags: unexpected '=' at pos 4"),
        ] {
            assert_eq!(parse_logfmt(text).unwrap_err().to_string(), message);
        }
    }
}
