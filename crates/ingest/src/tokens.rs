//! Bearer tokens: who may say what of which tenant.
//!
//! With tokens every request that brings or asks for spans shows one (RFC 6750, `Authorization: Bearer ...`), and the
//! token says whose it is: a tenant can name no other. The operator's token stands for every tenant, and for what
//! belongs to the process. Tokens are looked up by a keyed hash: how
//! long a refusal takes depends on a hash that nobody outside can know.

use std::collections::HashMap;
use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tracewell_model::TenantId;

use crate::tenancy::TenantError;

/// All tokens that there are.
#[derive(Clone, Default)]
pub struct Tokens {
    by_text: HashMap<Box<str>, Bearer>,
}

/// Who shows a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    Tenant(TenantId),
    Operator,
}

/// Why a token is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    #[error("a token has {MIN} characters at least, so that nobody guesses it")]
    TooShort,
    #[error("a token is of letters, digits and -._~+/= (RFC 6750)")]
    Characters,
    #[error("the token is somebody else's already")]
    Taken,
}

/// 96 bits and more where each character is one of 64.
const MIN: usize = 16;

// === impl Tokens ===

impl Tokens {
    pub fn add(&mut self, token: &str, bearer: Bearer) -> Result<(), TokenError> {
        if token.len() < MIN {
            return Err(TokenError::TooShort);
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        if !token.chars().all(is_allowed) {
            return Err(TokenError::Characters);
        }
        match self.by_text.insert(token.into(), bearer) {
            None => Ok(()),
            Some(_) => Err(TokenError::Taken),
        }
    }

    /// Whether anybody may look at the process.
    pub fn has_operator(&self) -> bool {
        self.by_text
            .values()
            .any(|bearer| *bearer == Bearer::Operator)
    }

    /// Who asks, by the token that the request shows.
    pub(crate) fn bearer(&self, headers: &HeaderMap) -> Result<&Bearer, TenantError> {
        let value = headers.get(AUTHORIZATION).ok_or(TenantError::NoToken)?;
        let token = value.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let known = token.and_then(|token| self.by_text.get(token));
        known.ok_or(TenantError::WrongToken)
    }
}

impl fmt::Debug for Tokens {
    /// Without the tokens themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bearers: Vec<&Bearer> = self.by_text.values().collect();
        bearers.sort_by_key(|bearer| format!("{bearer:?}"));
        f.debug_tuple("Tokens").field(&bearers).finish()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaa";
    const O: &str = "oooooooooooooooo";

    fn tenant(name: &str) -> Bearer {
        Bearer::Tenant(TenantId::new(name).unwrap())
    }

    #[test]
    fn a_token_says_who_asks() {
        let mut tokens = Tokens::default();
        tokens.add(A, tenant("a")).unwrap();
        assert!(!tokens.has_operator());
        tokens.add(O, Bearer::Operator).unwrap();
        assert!(tokens.has_operator());
        let bearer = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(text));
            tokens.bearer(&headers).cloned()
        };
        assert_eq!(bearer("Bearer aaaaaaaaaaaaaaaa"), Ok(tenant("a")));
        assert_eq!(bearer("bearer  oooooooooooooooo"), Ok(Bearer::Operator));
        for wrong in [
            "Bearer aaaaaaaaaaaaaaa",
            "Bearer aaaaaaaaaaaaaaab",
            "Basic aaaaaaaaaaaaaaaa",
            "aaaaaaaaaaaaaaaa",
            "Bearer",
            "",
        ] {
            assert_eq!(bearer(wrong), Err(TenantError::WrongToken), "{wrong}");
        }
        let nothing = tokens.bearer(&HeaderMap::new());
        assert_eq!(nothing, Err(TenantError::NoToken));
        let shown = format!("{tokens:?}");
        assert!(!shown.contains(A) && shown.contains("Operator"), "{shown}");
    }

    #[test]
    fn a_token_is_long_and_of_one() {
        let mut tokens = Tokens::default();
        assert_eq!(tokens.add("short", tenant("a")), Err(TokenError::TooShort));
        let blank = "aaaaaaaa aaaaaaaa";
        assert_eq!(tokens.add(blank, tenant("a")), Err(TokenError::Characters));
        tokens.add(A, tenant("a")).unwrap();
        assert_eq!(tokens.add(A, tenant("b")), Err(TokenError::Taken));
    }
}
