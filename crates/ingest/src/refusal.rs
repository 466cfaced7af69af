//! Why a request was refused, and what each protocol says then: the one place where an error of
//! this crate or of the sink becomes an HTTP status, a gRPC status and a retry hint.
//!
//! The rule: a retry hint stands where a retry of the same bytes can succeed, and nowhere else.
//! OTLP senders retry 429, 502, 503 and 504, and RESOURCE_EXHAUSTED only with RetryInfo.

use std::time::Duration;

use http::StatusCode;
use tonic::Code;
use tracewell_model::TenantId;
use tracewell_model::limits::REQUEST_DECODED_BYTES;
use tracewell_model::sink::WriteError;
use tracewell_wire::otlp::DecodeError;

use crate::compression::{Encoding, InflateError};
use crate::tenancy::TenantError;
use crate::tenants::TENANT_RATE;

/// Why a whole request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("{reason}")]
    BadBody { reason: String },
    #[error("{reason}")]
    ContentType { reason: String },
    #[error(
        "the encoding {seen:?} is not supported, send one of {}",
        Encoding::ACCEPTED
    )]
    Encoding { seen: String },
    #[error("request of {seen} bytes exceeds {limit}, which is {max}")]
    TooLarge {
        limit: &'static str,
        seen: u64,
        max: u64,
    },
    #[error("{limit} is used up, try again in {retry_after:?}")]
    Busy {
        limit: &'static str,
        retry_after: Duration,
    },
    /// Begins as Tempo's words do.
    #[error(
        "RATE_LIMITED: {seen} bytes are more than tenant {tenant} may send now; \
         limits.tenant_bytes_per_second_max is {rate}, limits.tenant_burst_bytes_max {burst}; try again in \
         {retry_after:?}"
    )]
    RateLimited {
        tenant: TenantId,
        seen: u64,
        rate: u64,
        burst: u64,
        retry_after: Duration,
    },
    #[error("nothing was stored: {reason}")]
    Log {
        reason: String,
        /// `None` where nothing helps but a restart.
        retry_after: Option<Duration>,
    },
    #[error("shutting down, nothing was stored")]
    Stopping,
    #[error("the request body did not arrive within {waited:?}")]
    SlowBody { waited: Duration },
    /// Nobody is left to answer.
    #[error("the client left: {reason}")]
    Gone { reason: String },
    #[error("no org id")]
    NoTenant,
    #[error("{reason}")]
    BadTenant { reason: String },
    #[error("{0}")]
    NotAllowed(TenantError),
    #[error("internal error, which is a bug of the server; nothing was stored")]
    Internal,
}

/// How long a sender should wait while the server stops: the time of a restart.
const RETRY_AFTER_STOP: Duration = Duration::from_secs(2);
/// After a write of the log that failed: the next goes to another file.
const RETRY_AFTER_LOG: Duration = Duration::from_secs(1);

// === impl Refusal ===

impl Refusal {
    /// The name in counters; one per variant.
    pub fn label(&self) -> &'static str {
        match self {
            Self::BadBody { .. } => "bad_request",
            Self::ContentType { .. } => "unsupported_content_type",
            Self::Encoding { .. } => "unsupported_encoding",
            Self::TooLarge { .. } => "too_large",
            Self::Busy { .. } => "busy",
            Self::RateLimited { .. } => "rate_limited",
            Self::Log { .. } => "log_error",
            Self::Stopping => "stopping",
            Self::SlowBody { .. } => "slow_body",
            Self::Gone { .. } => "client_gone",
            Self::NoTenant => "no_tenant",
            Self::BadTenant { .. } => "bad_tenant",
            Self::NotAllowed(_) => "not_allowed",
            Self::Internal => "internal_error",
        }
    }

    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::BadBody { .. } | Self::BadTenant { .. } | Self::Gone { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::ContentType { .. } | Self::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy { .. } | Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Log { .. } | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::SlowBody { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::NoTenant => StatusCode::UNAUTHORIZED,
            Self::NotAllowed(error) => error.http_status(),
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub fn grpc_code(&self) -> Code {
        match self {
            Self::BadBody { .. }
            | Self::BadTenant { .. }
            | Self::ContentType { .. }
            | Self::TooLarge { .. } => Code::InvalidArgument,
            Self::Encoding { .. } => Code::Unimplemented,
            Self::Busy { .. } | Self::RateLimited { .. } => Code::ResourceExhausted,
            Self::Log { .. } | Self::Stopping => Code::Unavailable,
            Self::SlowBody { .. } => Code::DeadlineExceeded,
            Self::Gone { .. } => Code::Cancelled,
            Self::NotAllowed(TenantError::Forbidden { .. }) => Code::PermissionDenied,
            Self::NoTenant | Self::NotAllowed(_) => Code::Unauthenticated,
            Self::Internal => Code::Internal,
        }
    }

    /// The limit that refuses, by its name in counters.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge { limit, .. } | Self::Busy { limit, .. } => Some(limit),
            Self::RateLimited { .. } => Some(TENANT_RATE),
            _ => None,
        }
    }

    /// After how long the same bytes may be sent again with hope; `None`: see [`Self::http_status`].
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } | Self::RateLimited { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Log { retry_after, .. } => *retry_after,
            Self::Stopping => Some(RETRY_AFTER_STOP),
            _ => None,
        }
    }
}

impl From<WriteError> for Refusal {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Busy { limit, retry_after } => Self::Busy { limit, retry_after },
            WriteError::TooLarge { limit, seen, max } => Self::TooLarge { limit, seen, max },
            WriteError::Stopping => Self::Stopping,
            log @ WriteError::Log { .. } => Self::Log {
                reason: log.to_string(),
                retry_after: Some(RETRY_AFTER_LOG),
            },
            // The model may grow variants: what is not known is an outage.
            other => Self::Log {
                reason: other.to_string(),
                retry_after: None,
            },
        }
    }
}

impl From<TenantError> for Refusal {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Missing => Self::NoTenant,
            TenantError::Invalid { reason } => Self::BadTenant { reason },
            refused => Self::NotAllowed(refused),
        }
    }
}

impl From<InflateError> for Refusal {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::TooLarge { limit } => Self::TooLarge {
                limit: REQUEST_DECODED_BYTES,
                seen: limit.saturating_add(1),
                max: limit,
            },
            malformed => Self::BadBody {
                reason: malformed.to_string(),
            },
        }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLarge { limit, seen } => Self::TooLarge {
                limit: REQUEST_DECODED_BYTES,
                seen,
                max: limit,
            },
            malformed => Self::BadBody {
                reason: malformed.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use tracewell_model::limits::HEAD_BYTES;

    use super::*;

    #[test]
    fn a_retry_hint_stands_only_where_a_retry_helps() {
        let table: [(WriteError, u16, Code, bool); 5] = [
            (
                WriteError::Busy {
                    limit: HEAD_BYTES,
                    retry_after: Duration::from_secs(3),
                },
                429,
                Code::ResourceExhausted,
                true,
            ),
            (
                WriteError::TooLarge {
                    limit: HEAD_BYTES,
                    seen: 2,
                    max: 1,
                },
                413,
                Code::InvalidArgument,
                false,
            ),
            (
                WriteError::Log {
                    reason: String::from("a sync failed"),
                },
                503,
                Code::Unavailable,
                true,
            ),
            (
                WriteError::Halted {
                    reason: String::from("two syncs failed"),
                },
                503,
                Code::Unavailable,
                false,
            ),
            (WriteError::Stopping, 503, Code::Unavailable, true),
        ];
        for (error, status, code, is_hinted) in table {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.http_status().as_u16(), status);
            assert_eq!(refusal.grpc_code(), code);
            assert_eq!(refusal.retry_after().is_some(), is_hinted, "{refusal}");
        }
        let bad = Refusal::BadBody {
            reason: String::from("x"),
        };
        assert_eq!(bad.http_status().as_u16(), 400);
        assert_eq!(bad.grpc_code(), Code::InvalidArgument);
        assert_eq!(bad.retry_after(), None);
    }
}
