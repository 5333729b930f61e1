//! `GET /`: the page for people, with its script and its style.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::dashboard::{PAGE, SCRIPT, STYLE};

/// Only what comes from here runs and is asked; nothing may frame it, and no form leads elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// The dashboard: how fleet, ESPs, limits and waiting jobs stand
///
/// It asks the status routes every 2 s, with the token that it is given, where they need one.
#[utoipa::path(
    get,
    path = "/",
    tag = "process",
    responses((status = 200, description = "a page for browsers", body = String, content_type = "text/html"))
)]
pub(super) async fn page() -> Response {
    file("text/html; charset=utf-8", PAGE.as_str())
}

/// The script of the dashboard
#[utoipa::path(
    get,
    path = "/dashboard.js",
    tag = "process",
    responses((status = 200, description = "for the page", body = String, content_type = "text/javascript"))
)]
pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

/// The style of the dashboard
#[utoipa::path(
    get,
    path = "/dashboard.css",
    tag = "process",
    responses((status = 200, description = "for the page", body = String, content_type = "text/css"))
)]
pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

fn file(kind: &'static str, text: &'static str) -> Response {
    const HEADERS: [(HeaderName, &str); 2] =
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::REFERRER_POLICY, "no-referrer")];
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}
