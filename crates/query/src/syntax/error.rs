//! Where in a text something is wrong, what was expected there, and how to mend it.

use std::fmt;

use super::ast::TextSpan;
use crate::limit::QueryLimit;

/// A place in a text, counted from 1; columns are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// Text that is no TraceQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    pub span: TextSpan,
    pub position: Position,
    /// What is wrong, without its place.
    pub message: String,
    /// What could have stood there.
    pub expected: Vec<&'static str>,
    /// How to mend it, where that can be guessed.
    pub hint: Option<String>,
    /// The limit that the text exceeds, if that is what is wrong.
    pub limit: Option<QueryLimit>,
}

impl Position {
    /// The place of a byte offset; an offset behind the end is the end.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: 1 + before.bytes().filter(|byte| *byte == b'\n').count(),
            column: 1 + before
                .get(line_start..)
                .map_or(0, |line| line.chars().count()),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, col {}", self.line, self.column)
    }
}

impl SyntaxError {
    pub(crate) fn new(text: &str, span: TextSpan, message: impl Into<String>) -> Self {
        Self {
            span,
            position: Position::of(text, span.from),
            message: message.into(),
            expected: Vec::new(),
            hint: None,
            limit: None,
        }
    }

    pub(crate) fn with_limit(mut self, limit: QueryLimit) -> Self {
        self.limit = Some(limit);
        self.with_hint(format!("{} sets it", limit.name()))
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parse error at {}: {}", self.position, self.message)?;
        match self.expected.as_slice() {
            [] => {}
            [one] => write!(f, ", expected {one}")?,
            [first, middle @ .., last] => {
                write!(f, ", expected {first}")?;
                for item in middle {
                    write!(f, ", {item}")?;
                }
                write!(f, " or {last}")?;
            }
        }
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SyntaxError {}
