//! Under which name a server is called that asks for no token. A page of anybody can have its own name lead to this machine
//! (DNS rebinding), and then a browser here asks and orders for it; but the browser still says by which name it calls.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};

use crate::error::ApiError;

/// Refuses a request that calls this machine by a name that anybody could have given it. One without a name is let through:
/// browsers always say one.
///
/// # Errors
/// The answer for the client.
pub(crate) fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let of_headers = headers.get_all(header::HOST).iter().map(|it| it.to_str().unwrap_or_default());
    let mut names = uri.authority().map(Authority::as_str).into_iter().chain(of_headers);
    if names.all(is_local) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::MISDIRECTED_REQUEST,
        "wrong_host",
        "without tokens this server answers who calls it localhost, or by an address of the loopback; add [[http.token]] \
         entries, or say http.allow_unauthenticated = true",
    ))
}

/// `localhost`, a name below it, or an address of the loopback, with any port or none.
fn is_local(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host().to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(
        |_| host == "localhost" || host.ends_with(".localhost"),
        |address| address.to_canonical().is_loopback(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_give_are_local() {
        for (authority, local) in [
            ("localhost", true),
            ("LOCALHOST:8025", true),
            ("sluice.localhost:8025", true),
            ("127.0.0.1:8025", true),
            ("127.9.9.9", true),
            ("[::1]:8025", true),
            ("[::ffff:127.0.0.1]", true),
            ("evil.example:8025", false),
            ("localhost.evil.example", false),
            ("notlocalhost", false),
            ("192.168.1.7", false),
            ("0.0.0.0:8025", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_local(authority), local, "{authority}");
        }
    }
}
