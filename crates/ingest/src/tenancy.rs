//! Whose a request is: what the header `X-Scope-OrgID` says, for receivers and query surfaces alike.
//!
//! It takes whoever asks at their word, unless there are tokens ([`crate::tokens`]).

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderValue, StatusCode};
use tracewell_model::TenantId;

/// Whose data a request brings or asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tenancy {
    /// Everything belongs to the one tenant; the header is ignored.
    #[default]
    Single,
    /// The header `X-Scope-OrgID` names it, and a request without it is refused.
    FromHeader,
    /// The same; a question may name several (`a|b`).
    SeveralFromHeader,
}

/// Why a request has no tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TenantError {
    /// Tempo's words, which clients match on.
    #[error("no org id")]
    Missing,
    #[error("{reason}")]
    Invalid { reason: String },
    #[error("this server asks for a token: send it as `Authorization: Bearer TOKEN`")]
    NoToken,
    #[error("the token is nobody's here")]
    WrongToken,
    /// Who shows the token is known, and may not.
    #[error("the token is {whose}, and {what}")]
    Forbidden { whose: String, what: &'static str },
}

/// The header that names a tenant.
pub const TENANT_HEADER: &str = "x-scope-orgid";
const SEVERAL_HEADERS: &str = "X-Scope-OrgID is there more than once: who asks must be told by one; let the proxy that \
     sets it take away what clients send";
const SEVERAL_TENANTS: &str = "X-Scope-OrgID names several tenants (a|b): spans belong to one, and questions may name several \
     only while tenants.query_several is on";
/// Tenants of one question: each is asked by itself.
const SEVERAL_MAX: usize = 32;

// === impl TenantError ===

impl TenantError {
    /// How it is answered over HTTP.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::Missing | Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
        }
    }

    /// The value of `WWW-Authenticate`, for whoever may come again with a token (RFC 6750, section 3).
    pub fn challenge(&self) -> Option<HeaderValue> {
        let asks = matches!(self, Self::NoToken | Self::WrongToken);
        asks.then(|| HeaderValue::from_static("Bearer"))
    }
}

// === impl Tenancy ===

impl Tenancy {
    /// The tenants of a request with these headers, sorted: one, unless several may be named.
    pub fn tenants(self, headers: &HeaderMap) -> Result<BTreeSet<TenantId>, TenantError> {
        if self == Self::Single {
            return Ok(BTreeSet::from([TenantId::single()]));
        }
        let invalid = |reason: &str| TenantError::Invalid {
            reason: reason.to_owned(),
        };
        let mut values = headers.get_all(TENANT_HEADER).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Err(TenantError::Missing),
            (Some(value), None) => value,
            // The first one would be the client's, behind a proxy that adds its own.
            (Some(_), Some(_)) => return Err(invalid(SEVERAL_HEADERS)),
        };
        let text = value
            .to_str()
            .map_err(|_| invalid("tenant id is not text"))?;
        if text.is_empty() {
            return Err(TenantError::Missing);
        }
        if text.contains('|') && self != Self::SeveralFromHeader {
            return Err(invalid(SEVERAL_TENANTS));
        }
        let ids = text.split('|').map(TenantId::new);
        let ids: Result<BTreeSet<TenantId>, _> = ids.collect();
        let ids = ids.map_err(|error| invalid(&error.to_string()))?;
        match ids.len() {
            ..=SEVERAL_MAX => Ok(ids),
            n => Err(invalid(&format!(
                "X-Scope-OrgID names {n} tenants; a question may name {SEVERAL_MAX}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(values: &[&'static str]) -> Result<String, TenantError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                TENANT_HEADER,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        let single = Tenancy::Single.tenants(&headers).unwrap();
        assert!(
            single.iter().eq([&TenantId::single()]),
            "the header means nothing"
        );
        let names = |tenancy: Tenancy| {
            let ids: Vec<String> = tenancy
                .tenants(&headers)?
                .iter()
                .map(ToString::to_string)
                .collect();
            Ok(ids.join(" "))
        };
        let one = names(Tenancy::FromHeader);
        let several = names(Tenancy::SeveralFromHeader);
        assert!(one == several || one.is_err(), "{one:?} {several:?}");
        one
    }

    #[test]
    fn one_header_names_one_tenant() {
        assert_eq!(tenant(&["team-a"]).as_deref(), Ok("team-a"));
        assert_eq!(tenant(&["!-_.*'()aZ9"]).as_deref(), Ok("!-_.*'()aZ9"));
        assert_eq!(tenant(&[]), Err(TenantError::Missing));
        assert_eq!(tenant(&[""]), Err(TenantError::Missing));
        for (values, words) in [
            (&["a", "b"][..], "more than once"),
            (&["a", "a"], "more than once"),
            (&["a|b"], "tenants.query_several"),
            (&["a/b"], "not allowed"),
            (&[".."], "not allowed"),
            (&["a b"], "not allowed"),
            (&["\u{e4}"], "not text"),
        ] {
            let error = tenant(values).unwrap_err();
            assert!(
                matches!(&error, TenantError::Invalid { reason } if reason.contains(words)),
                "{values:?}: {error}"
            );
        }
    }

    #[test]
    fn a_question_may_name_several() {
        let ask = |value: String| {
            let mut headers = HeaderMap::new();
            headers.insert(TENANT_HEADER, HeaderValue::from_str(&value).unwrap());
            let ids = Tenancy::SeveralFromHeader.tenants(&headers)?;
            Ok::<_, TenantError>(ids.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(ask("b|a|b".to_owned()).unwrap(), ["a", "b"]);
        assert_eq!(ask("a".to_owned()).unwrap(), ["a"]);
        for wrong in ["a|", "|", "a|b/c", "a||b"] {
            assert!(ask(wrong.to_owned()).is_err(), "{wrong}");
        }
        let many = |n: usize| {
            (0..n)
                .map(|it| format!("t{it}"))
                .collect::<Vec<_>>()
                .join("|")
        };
        assert_eq!(ask(many(SEVERAL_MAX)).unwrap().len(), SEVERAL_MAX);
        let error = ask(many(SEVERAL_MAX + 1)).unwrap_err().to_string();
        assert!(error.contains("33 tenants"), "{error}");
    }

    #[test]
    fn a_tenant_id_has_at_most_150_bytes() {
        let id: &'static str = "x".repeat(150).leak();
        assert_eq!(tenant(&[id]).as_deref(), Ok(id));
        let error = tenant(&["x".repeat(151).leak()]).unwrap_err();
        assert!(error.to_string().contains("150"), "{error}");
    }
}
