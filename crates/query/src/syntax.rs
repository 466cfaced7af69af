//! TraceQL as text: lexer, parser, syntax tree and printer for the whole language.
//!
//! What a name means, which types go together and what can be executed today is decided later, in
//! `plan`. Every depth and size is bounded by [`SyntaxLimits`], so that hostile text costs no more
//! than its length. Start reading at [`ast`].

pub mod ast;
mod error;
mod lexer;
mod parser;
mod print;
mod suggest;
mod token;

#[cfg(test)]
mod tests;

pub use error::{Position, SyntaxError};
pub use print::print_attribute;
pub(crate) use print::{aggregate_text, arithmetic_text, compare_text, logic_text};
pub use suggest::distance;

use ast::{Expr, Query};

/// What bounds a parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntaxLimits {
    /// Longest text.
    pub bytes_max: usize,
    /// Levels of parentheses, operators and pipelines.
    pub depth_max: usize,
}

impl Default for SyntaxLimits {
    fn default() -> Self {
        Self::from(&tracewell_model::Limits::default())
    }
}

impl From<&tracewell_model::Limits> for SyntaxLimits {
    fn from(limits: &tracewell_model::Limits) -> Self {
        Self {
            bytes_max: limits.query_bytes_max,
            depth_max: limits.query_depth_max,
        }
    }
}

/// Parses a query under the default limits.
pub fn parse(text: &str) -> Result<Query, SyntaxError> {
    parse_with(text, SyntaxLimits::default())
}

/// Parses a query.
pub fn parse_with(text: &str, limits: SyntaxLimits) -> Result<Query, SyntaxError> {
    parser::parse_query(text, limits)
}

/// Parses the name of an attribute or intrinsic that stands alone, as tag values take it.
pub fn parse_attribute_name(text: &str, limits: SyntaxLimits) -> Result<Expr, SyntaxError> {
    parser::parse_attribute_name(text, limits)
}

/// What can be saved of a query that filters tag values: the whole of it, else those terms of its
/// top-level `&&` that parse. `None` where nothing can be.
pub fn parse_lenient(text: &str, limits: SyntaxLimits) -> Option<Query> {
    parser::parse_lenient(text, limits)
}
