//! Why a question has no answer.

use tracewell_model::source::SourceError;

use crate::limit::QueryLimit;
use crate::syntax::ast::TextSpan;
use crate::syntax::{Position, SyntaxError};

/// Why a question has no answer. An answer that misses something is no error: it says so itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no TraceQL.
    #[error("{0}")]
    Syntax(SyntaxError),
    /// The text is TraceQL and means nothing: types that do not go together, a bad regex.
    #[error("type error at {position}: {message}")]
    Type {
        position: Position,
        span: TextSpan,
        message: String,
    },
    /// The text is right and this version cannot execute it.
    #[error("{construct} (at {position}) is not built yet")]
    NotBuilt {
        position: Position,
        span: TextSpan,
        construct: String,
    },
    /// A parameter of a request is wrong.
    #[error("{0}")]
    Request(String),
    /// The query is right and larger than a limit.
    #[error("the query has {seen} {what}, the limit is {limit}")]
    TooLarge {
        what: &'static str,
        seen: u64,
        limit: u64,
    },
    /// The text is right and takes more than a limit allows.
    #[error("{message}")]
    Limited { limit: QueryLimit, message: String },
    /// The client left.
    #[error("query cancelled")]
    Cancelled,
    /// Nothing could be read at all.
    #[error(transparent)]
    Source(SourceError),
}

pub type Result<T> = std::result::Result<T, Error>;

/// What kind of status a surface answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// 400: the same question fails again.
    Invalid,
    /// 499: nobody waits for the answer.
    Cancelled,
    /// 500: a fault of this side.
    Internal,
}

impl Error {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Source(_) => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }

    /// True where the text of the query is at fault, so that a surface can say "invalid TraceQL
    /// query" before the message.
    pub fn is_about_text(&self) -> bool {
        matches!(
            self,
            Self::Syntax(_) | Self::Type { .. } | Self::NotBuilt { .. } | Self::Limited { .. }
        )
    }

    /// The limit that the query is refused for, if it is one.
    pub fn limit(&self) -> Option<QueryLimit> {
        match self {
            Self::Syntax(error) => error.limit,
            Self::Limited { limit, .. } => Some(*limit),
            Self::TooLarge { .. } => Some(QueryLimit::Conditions),
            _ => None,
        }
    }

    pub(crate) fn type_error(text: &str, span: TextSpan, message: impl Into<String>) -> Self {
        Self::Type {
            position: Position::of(text, span.from),
            span,
            message: message.into(),
        }
    }

    pub(crate) fn not_built(text: &str, span: TextSpan, construct: impl Into<String>) -> Self {
        Self::NotBuilt {
            position: Position::of(text, span.from),
            span,
            construct: construct.into(),
        }
    }
}

impl From<SyntaxError> for Error {
    fn from(error: SyntaxError) -> Self {
        Self::Syntax(error)
    }
}
