//! The tokens of TraceQL.

use super::ast::{AttributeName, IntrinsicName};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    End,
    Symbol(Symbol),
    String(String),
    Int(i64),
    Float(f64),
    Duration(i64),
    Attribute(AttributeName),
    Intrinsic(IntrinsicName),
    /// A keyword, function name or unknown word.
    Word(String),
}

macro_rules! symbols {
    ($($name:ident $text:literal),* $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(super) enum Symbol { $($name),* }

        impl Symbol {
            /// As it is written, in the quotes of a message.
            pub(super) fn quoted(self) -> &'static str {
                match self { $(Self::$name => concat!("`", $text, "`")),* }
            }

            pub(super) fn text(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }

        /// Longest first, so that the first that fits is the right one.
        pub(super) const SYMBOLS: &[Symbol] = &[$(Symbol::$name),*];
    };
}

symbols! {
    NotDescendant "!>>", NotAncestor "!<<", UnionDescendant "&>>", UnionAncestor "&<<",
    And "&&", Or "||", NotEqual "!=", EqualRegex "=~", NotRegex "!~",
    LessOrEqual "<=", GreaterOrEqual ">=", Descendant ">>", Ancestor "<<",
    NotChild "!>", NotParent "!<", UnionChild "&>", UnionParent "&<", UnionSibling "&~",
    Equal "=", Less "<", Greater ">", Sibling "~", Not "!", Pipe "|",
    Plus "+", Minus "-", Star "*", Slash "/", Percent "%", Caret "^",
    LeftBrace "{", RightBrace "}", LeftParen "(", RightParen ")", Comma ",",
}

impl Token {
    /// How a message names it.
    pub(super) fn describe(&self, text: &str) -> String {
        match self {
            Self::End => "unexpected end of query".to_owned(),
            Self::Symbol(symbol) => format!("unexpected {}", symbol.quoted()),
            Self::String(_) => "unexpected string".to_owned(),
            Self::Int(_) | Self::Float(_) => format!("unexpected number {}", excerpt(text)),
            Self::Duration(_) => format!("unexpected duration {}", excerpt(text)),
            Self::Attribute(_) | Self::Intrinsic(_) | Self::Word(_) => {
                format!("unexpected `{}`", excerpt(text))
            }
        }
    }
}

/// At most 64 characters of hostile text go into a message.
pub(super) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(64).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
