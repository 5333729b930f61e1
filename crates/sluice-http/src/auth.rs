//! Who may call: everybody, or whoever holds a configured token with the scope that a route needs.

use std::hint::black_box;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

use crate::error::ApiError;
use crate::host::check_host;
use crate::state::Context;

/// Who may call. `/health`, `/ready`, `/metrics` and the page of the dashboard stay open in any case.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody who reaches the port: where `allow_unauthenticated` says so.
    Open,
    /// Everybody on this machine who calls it by its own name: for loopback.
    Local,
    /// Whoever holds one of these; nobody when there is none.
    Tokens(Arc<[Token]>),
}

/// What a token allows. No scope implies another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Put jobs in.
    Publish,
    /// Look at states, limits and results.
    Read,
    /// Change limits, breakers, suppressions, dead letters.
    Operate,
}

/// A token as it is configured: never the token itself. Its `Debug` does not show the digest.
#[derive(Clone)]
pub struct Token {
    /// Whose it is; shown in logs.
    pub name: String,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it allows.
    pub scopes: Vec<Scope>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// Who calls: the name of the token, or nobody known.
#[derive(Clone, Debug)]
pub(crate) struct Caller(Option<Arc<str>>);

impl Caller {
    /// For records of who has changed something.
    pub(crate) fn name(&self) -> &str {
        self.0.as_deref().unwrap_or("http")
    }
}

/// Lets a request through when its token has the scope of the route.
pub(crate) async fn check_scope(
    State((context, scope)): State<(Arc<Context>, Scope)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if matches!(context.app.access, Access::Local) {
        check_host(request.uri(), request.headers())?;
    }
    let token = check(&context.app.access, request.headers(), scope)?;
    let caller = Caller(token.map(|token| Arc::from(token.name.as_str())));
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// The token of the request; `None` where none is needed.
fn check<'a>(access: &'a Access, headers: &HeaderMap, scope: Scope) -> Result<Option<&'a Token>, ApiError> {
    let Access::Tokens(tokens) = access else { return Ok(None) };
    let Some(secret) = bearer(headers) else {
        return Err(unauthorized(
            "this route needs the header `Authorization: Bearer TOKEN`",
            r#"Bearer realm="sluice""#,
        ));
    };
    let Some(token) = find(tokens, &Sha256::digest(secret).into()) else {
        return Err(unauthorized(
            "this token is not known",
            r#"Bearer realm="sluice", error="invalid_token""#,
        ));
    };
    if token.scopes.contains(&scope) {
        return Ok(Some(token));
    }
    tracing::warn!(token = %token.name, needed = scope.as_str(), "a token without the scope was used");
    let (message, challenge) = match scope {
        Scope::Publish => (
            "this token lacks the scope `publish`",
            r#"Bearer realm="sluice", error="insufficient_scope", scope="publish""#,
        ),
        Scope::Read => (
            "this token lacks the scope `read`",
            r#"Bearer realm="sluice", error="insufficient_scope", scope="read""#,
        ),
        Scope::Operate => (
            "this token lacks the scope `operate`",
            r#"Bearer realm="sluice", error="insufficient_scope", scope="operate""#,
        ),
    };
    Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
        .header(header::WWW_AUTHENTICATE, challenge))
}

fn unauthorized(message: &'static str, challenge: &'static str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
        .header(header::WWW_AUTHENTICATE, challenge)
}

/// The credentials of `Authorization: Bearer ...`, when there is exactly one such header.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, rest) = value.as_bytes().split_at_checked("Bearer ".len())?;
    let secret = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !secret.is_empty()).then_some(secret)
}

/// The token with this digest. Every entry is compared in full, so the time tells nothing about any of them.
fn find<'a>(tokens: &'a [Token], digest: &[u8; 32]) -> Option<&'a Token> {
    let mut found = None;
    for token in tokens {
        let difference = token.sha256.iter().zip(digest).fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
        if black_box(difference) == 0 {
            found = Some(token);
        }
    }
    found
}

impl Scope {
    /// The word, as it is configured.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn token(name: &str, secret: &str) -> Token {
        Token { name: name.to_owned(), sha256: Sha256::digest(secret).into(), scopes: vec![Scope::Read] }
    }

    #[test]
    fn a_token_is_found_by_its_digest_alone() {
        let tokens = [token("a", "one"), token("b", "two")];
        let found = |secret: &str| find(&tokens, &Sha256::digest(secret).into()).map(|it| it.name.as_str());
        assert_eq!(found("one"), Some("a"));
        assert_eq!(found("two"), Some("b"));
        assert_eq!(found("three"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn only_one_bearer_header_counts() {
        for (values, secret) in [
            (&["Bearer x"][..], Some(&b"x"[..])),
            (&["bearer  x "], Some(b"x")),
            (&["Bearer"], None),
            (&["Bearer "], None),
            (&["Basic eDp5"], None),
            (&["Bearerx"], None),
            (&["Bearer x", "Bearer y"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(bearer(&headers), secret, "{values:?}");
        }
    }

    #[test]
    fn debug_shows_no_digest() {
        assert_eq!(format!("{:?}", token("a", "x")), r#"Token { name: "a", scopes: [Read], .. }"#);
    }
}
