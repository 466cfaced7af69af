//! Text to tokens.
//!
//! Attribute names are greedy: `.a-b+c` is one attribute, and `.a - .b` needs its spaces. The only
//! state is the place in the text.

use std::sync::Arc;

use tracewell_model::AttributeScope;

use super::ast::{AttributeName, INTRINSICS, IntrinsicName, TextSpan};
use super::error::SyntaxError;
use super::token::{SYMBOLS, Symbol, Token, excerpt};

pub(super) struct Lexer<'a> {
    text: &'a str,
    offset: usize,
}

type LexResult<T> = Result<T, SyntaxError>;

const SCOPES: &[(&str, AttributeScope)] = &[
    ("span", AttributeScope::Span),
    ("resource", AttributeScope::Resource),
    ("event", AttributeScope::Event),
    ("link", AttributeScope::Link),
    ("instrumentation", AttributeScope::Instrumentation),
];

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, offset: 0 }
    }

    /// The next token and where it lies. At the end of the text, `End` again and again.
    pub(super) fn next(&mut self) -> LexResult<(Token, TextSpan)> {
        let trimmed = self.rest().trim_start();
        self.offset = self.text.len() - trimmed.len();
        let from = self.offset;
        let token = self.token()?;
        Ok((token, TextSpan::new(from, self.offset)))
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.offset += c.len_utf8();
        Some(c)
    }

    fn error(&self, from: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.text, TextSpan::new(from, self.offset), message)
    }

    fn token(&mut self) -> LexResult<Token> {
        let Some(first) = self.peek() else {
            return Ok(Token::End);
        };
        match first {
            '"' => self.string(),
            '`' => self.raw_string(),
            '0'..='9' => self.number(),
            '.' if self
                .rest()
                .as_bytes()
                .get(1)
                .is_some_and(u8::is_ascii_digit) =>
            {
                self.number()
            }
            '.' => {
                self.bump();
                self.attribute(None, false)
            }
            c if c == '_' || c.is_alphabetic() => self.word(),
            _ => self.symbol(),
        }
    }

    fn symbol(&mut self) -> LexResult<Token> {
        let rest = self.rest();
        let symbol = SYMBOLS
            .iter()
            .find(|symbol| rest.starts_with(symbol.text()));
        let from = self.offset;
        let Some(&symbol) = symbol else {
            let c = self.bump().unwrap_or(' ');
            let error = self.error(from, format!("unexpected character {c:?}"));
            return Err(match c {
                '\'' => error.with_hint("strings are written in double quotes or backticks"),
                '&' => error.with_hint("and is written `&&`"),
                '#' => error.with_hint("TraceQL has no comments"),
                _ => error,
            });
        };
        self.offset += symbol.text().len();
        if symbol == Symbol::Equal && self.peek() == Some('=') {
            return Err(self
                .error(from, "unexpected `==`")
                .with_hint("equality is written `=`"));
        }
        Ok(Token::Symbol(symbol))
    }

    // === words and attributes ===

    fn word(&mut self) -> LexResult<Token> {
        let rest = self.rest();
        let len = rest
            .find(|c: char| c != '_' && !c.is_alphanumeric())
            .unwrap_or(rest.len());
        let word = rest.get(..len).unwrap_or_default();
        let from = self.offset;
        self.offset += len;
        match self.peek() {
            Some('.') => {
                let scope = SCOPES.iter().find(|(name, _)| *name == word);
                if scope.is_some() || word == "parent" {
                    self.bump();
                    return self.attribute(scope.map(|(_, scope)| *scope), word == "parent");
                }
                Err(self
                    .error(from, format!("`{}.` is no scope", excerpt(word)))
                    .with_hint(format!(
                        "write `.{0}…` for any scope, or `span.{0}…`",
                        excerpt(word)
                    )))
            }
            Some(':') => self.scoped_intrinsic(from),
            _ => Ok(IntrinsicName::find(word)
                .map_or_else(|| Token::Word(word.to_owned()), Token::Intrinsic)),
        }
    }

    fn scoped_intrinsic(&mut self, from: usize) -> LexResult<Token> {
        self.bump();
        while self.peek().is_some_and(|c| c == '_' || c.is_alphanumeric()) {
            self.bump();
        }
        let text = self.text.get(from..self.offset).unwrap_or_default();
        if let Some(name) = IntrinsicName::find(text) {
            return Ok(Token::Intrinsic(name));
        }
        let error = self.error(from, format!("`{}` is no intrinsic", excerpt(text)));
        let scope = text.split_inclusive(':').next().unwrap_or_default();
        let known: Vec<&str> = INTRINSICS
            .iter()
            .map(|name| name.written)
            .filter(|written| written.starts_with(scope))
            .collect();
        Err(if known.is_empty() {
            error.with_hint(
                "intrinsics have the scopes trace:, span:, event:, link: and instrumentation:",
            )
        } else {
            error.with_hint(format!("there are {}", known.join(", ")))
        })
    }

    /// The name behind a scope's dot.
    fn attribute(&mut self, scope: Option<AttributeScope>, of_parent: bool) -> LexResult<Token> {
        let mut scope = scope;
        if of_parent {
            for (prefix, inner) in [
                ("span.", AttributeScope::Span),
                ("resource.", AttributeScope::Resource),
            ] {
                if self.rest().starts_with(prefix) {
                    self.offset += prefix.len();
                    scope = Some(inner);
                    break;
                }
            }
        }
        let from = self.offset;
        let mut key = String::new();
        while let Some(c) = self.peek() {
            if c == '"' {
                self.quoted_part(&mut key)?;
            } else if is_attribute_rune(c) {
                key.push(c);
                self.bump();
            } else {
                break;
            }
        }
        if key.is_empty() {
            return Err(self.error(from, "an attribute name is missing behind the dot"));
        }
        Ok(Token::Attribute(AttributeName {
            scope,
            of_parent,
            key: Arc::from(key),
        }))
    }

    fn quoted_part(&mut self, key: &mut String) -> LexResult<()> {
        let from = self.offset;
        self.bump();
        loop {
            match self.bump() {
                None => return Err(self.error(from, "a quoted attribute name does not end")),
                Some('"') => return Ok(()),
                Some('\\') => match self.bump() {
                    Some(c @ ('"' | '\\')) => key.push(c),
                    _ => {
                        return Err(self
                            .error(from, "invalid escape in a quoted attribute name")
                            .with_hint("only `\\\"` and `\\\\` are escapes there"));
                    }
                },
                Some(c) => key.push(c),
            }
        }
    }

    // === strings ===

    fn raw_string(&mut self) -> LexResult<Token> {
        let from = self.offset;
        self.bump();
        let rest = self.rest();
        let Some(len) = rest.find('`') else {
            self.offset = self.text.len();
            return Err(self.error(from, "a string does not end"));
        };
        self.offset += len + 1;
        // As in Go, carriage returns are no part of a raw string.
        let text = rest.get(..len).unwrap_or_default().replace('\r', "");
        Ok(Token::String(text))
    }

    fn string(&mut self) -> LexResult<Token> {
        let from = self.offset;
        self.bump();
        let mut bytes = Vec::new();
        loop {
            match self.bump() {
                None | Some('\n') => return Err(self.error(from, "a string does not end")),
                Some('"') => break,
                Some('\\') => self.escape(&mut bytes)?,
                Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Token::String(text)),
            Err(_) => Err(self.error(from, "a string is not valid UTF-8")),
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> LexResult<()> {
        let from = self.offset - 1;
        let simple = match self.bump() {
            Some('a') => 7,
            Some('b') => 8,
            Some('f') => 12,
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('v') => 11,
            Some('\\') => b'\\',
            Some('"') => b'"',
            Some('x') => self.digits(from, 2, 16)? as u8,
            Some(c @ '0'..='7') => {
                let high = c.to_digit(8).unwrap_or(0);
                let code = high * 64 + self.digits(from, 2, 8)?;
                match u8::try_from(code) {
                    Ok(byte) => byte,
                    Err(_) => return Err(self.error(from, "invalid escape in a string")),
                }
            }
            Some(c @ ('u' | 'U')) => {
                let code = self.digits(from, if c == 'u' { 4 } else { 8 }, 16)?;
                let Some(c) = char::from_u32(code) else {
                    return Err(self.error(from, "invalid escape in a string"));
                };
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => {
                return Err(self
                    .error(from, "invalid escape in a string")
                    .with_hint("write `\\\\` for a backslash, or the string in backticks"));
            }
        };
        bytes.push(simple);
        Ok(())
    }

    fn digits(&mut self, from: usize, n: usize, radix: u32) -> LexResult<u32> {
        let mut code: u32 = 0;
        for _ in 0..n {
            let Some(digit) = self.bump().and_then(|c| c.to_digit(radix)) else {
                return Err(self.error(from, "invalid escape in a string"));
            };
            code = code.wrapping_mul(radix).wrapping_add(digit);
        }
        Ok(code)
    }

    // === numbers ===

    fn number(&mut self) -> LexResult<Token> {
        let rest = self.rest();
        let from = self.offset;
        let duration_len = rest
            .find(|c: char| !c.is_ascii_digit() && !".nsu\u{b5}\u{3bc}mhdwy".contains(c))
            .unwrap_or(rest.len());
        let candidate = rest.get(..duration_len).unwrap_or_default();
        if candidate.ends_with(|c: char| c.is_alphabetic()) {
            self.offset += duration_len;
            return match parse_duration(candidate) {
                Some(nanos) => Ok(Token::Duration(nanos)),
                None => Err(self
                    .error(from, format!("{} is no duration", excerpt(candidate)))
                    .with_hint("durations look like 1h30m, 250ms or 1.5s; days, weeks and years take whole numbers")),
            };
        }
        let (len, is_float) = number_len(rest);
        let text = rest.get(..len).unwrap_or_default();
        self.offset += len;
        if self.peek().is_some_and(char::is_alphabetic) {
            return Err(self.error(
                from,
                format!(
                    "{} is no number",
                    excerpt(rest.get(..len + 1).unwrap_or(text))
                ),
            ));
        }
        if is_float {
            return match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Token::Float(value)),
                _ => Err(self.error(from, format!("{} is no number", excerpt(text)))),
            };
        }
        text.parse()
            .map(Token::Int)
            .map_err(|_| self.error(from, format!("{} does not fit in 64 bits", excerpt(text))))
    }
}

/// Length of a number, and whether it has a fraction or an exponent.
fn number_len(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        bytes
            .get(from..)
            .unwrap_or_default()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut len = digits(0);
    let mut is_float = false;
    if bytes.get(len) == Some(&b'.') {
        is_float = true;
        len += 1 + digits(len + 1);
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            is_float = true;
            len += 1 + sign + exponent;
        }
    }
    (len, is_float)
}

/// What ends an attribute name outside of quotes.
pub(super) fn is_attribute_rune(c: char) -> bool {
    !c.is_whitespace() && !"{}()=~!<>&|^,".contains(c)
}

const SECOND: u64 = 1_000_000_000;
/// Units of Prometheus, in the order in which they must come, then those that only Go knows.
const UNITS: &[(&str, u64)] = &[
    ("y", 365 * 86_400 * SECOND),
    ("w", 7 * 86_400 * SECOND),
    ("d", 86_400 * SECOND),
    ("h", 3_600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ns", 1),
];
const FIRST_GO_UNIT: usize = 3;
const LAST_PROMETHEUS_UNIT: usize = 6;

/// Prometheus style first (whole numbers, units in order, days to years known), else Go style.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let mut total: u64 = 0;
    let (mut prometheus, mut go) = (true, true);
    let mut last_unit = None;
    let mut rest = text;
    while !rest.is_empty() {
        let (len, is_float) = number_len(rest);
        let (number, behind) = rest.split_at_checked(len)?;
        let unit_len = behind
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(behind.len());
        let (unit_text, behind) = behind.split_at_checked(unit_len)?;
        let unit = UNITS.iter().position(|(name, _)| *name == unit_text)?;
        let (_, nanos) = *UNITS.get(unit)?;
        prometheus &= !is_float && unit <= LAST_PROMETHEUS_UNIT && last_unit < Some(unit);
        go &= unit >= FIRST_GO_UNIT;
        last_unit = Some(unit);
        let part = if is_float {
            let exact = number.parse::<f64>().ok()? * nanos as f64;
            // The cast saturates; the check on the sum refuses what is too large.
            exact as u64
        } else {
            number.parse::<u64>().ok()?.checked_mul(nanos)?
        };
        total = total.checked_add(part)?;
        rest = behind;
    }
    if !(prometheus || go) || last_unit.is_none() {
        return None;
    }
    i64::try_from(total).ok()
}
