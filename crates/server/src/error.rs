//! What goes wrong on a query surface, and the one place where it becomes an HTTP status.
//!
//! Bodies are plain text in the wording of Tempo's API, which clients match on.

use std::time::Duration;

use http::StatusCode;
use tracewell_ingest::TenantError;
use tracewell_query::{Error as QueryError, ErrorKind, QueryLimit};

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The request is wrong and stays so.
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    NotFound(String),
    /// Empty body: as Tempo answers an unknown trace.
    #[error("")]
    NoSuchTrace,
    /// The query is right and exceeds a limit, which the message names.
    #[error("{message}")]
    Limited { limit: QueryLimit, message: String },
    #[error("no org id")]
    NoTenant,
    #[error("{0}")]
    NotAllowed(TenantError),
    #[error("too many queries: {waiting} are waiting for {limit}, try again in {retry_after:?}")]
    Busy {
        limit: &'static str,
        waiting: usize,
        retry_after: Duration,
    },
    #[error("query took longer than {limit:?}, which is its limit (limits.query_ms_max)")]
    TimedOut { limit: Duration },
    #[error("query cancelled")]
    Cancelled,
    /// There is no such thing here.
    #[error("{0}")]
    NotServed(String),
    #[error("{0}")]
    Internal(String),
    #[error("{0}")]
    Unavailable(String),
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// nginx's code for a client that left; Tempo uses it too.
pub(crate) const CLIENT_CLOSED_REQUEST: u16 = 499;

// === impl ApiError ===

impl ApiError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::Limited { .. } => StatusCode::BAD_REQUEST,
            Self::NotFound(_) | Self::NoSuchTrace => StatusCode::NOT_FOUND,
            Self::NoTenant => StatusCode::UNAUTHORIZED,
            Self::NotAllowed(error) => error.http_status(),
            Self::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Cancelled => StatusCode::from_u16(CLIENT_CLOSED_REQUEST)
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            Self::NotServed(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What is told of a panic.
    pub(crate) fn bug() -> Self {
        Self::Internal(String::from("internal error, which is a bug of the server"))
    }

    /// The status of a gRPC call. Source: grpc/grpc, `doc/statuscodes.md`.
    pub(crate) fn grpc_code(&self) -> u16 {
        match self.status().as_u16() {
            400 => 3,
            401 => 16,
            403 => 7,
            404 => 5,
            429 => 8,
            CLIENT_CLOSED_REQUEST => 1,
            501 => 12,
            503 => 14,
            504 => 4,
            _ => 13,
        }
    }

    /// The limit that refused the request, by its name in counters.
    pub(crate) fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Limited { limit, .. } => Some(limit.name()),
            Self::TimedOut { .. } => Some(QueryLimit::Time.name()),
            Self::Busy { limit, .. } => Some(limit),
            _ => None,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

impl From<TenantError> for ApiError {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Missing => Self::NoTenant,
            TenantError::Invalid { reason } => Self::BadRequest(reason),
            refused => Self::NotAllowed(refused),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error.kind() {
            ErrorKind::Invalid => {
                let message = match error.is_about_text() {
                    true => format!("invalid TraceQL query: {error}"),
                    false => error.to_string(),
                };
                match error.limit() {
                    Some(limit) => Self::Limited { limit, message },
                    None => Self::BadRequest(message),
                }
            }
            ErrorKind::Cancelled => Self::Cancelled,
            ErrorKind::Internal => Self::Internal(error.to_string()),
        }
    }
}
