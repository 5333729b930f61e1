//! Which bodies are read at all: plain JSON, and none that a page of anybody could have made a browser send.

use axum::http::{HeaderMap, StatusCode, header};

use crate::error::ApiError;

/// Only plain JSON is read. A request may leave its type out, unless a browser sent it for a page: a page of anybody can
/// make a browser post without a type to this machine, but must ask first before it may post JSON.
pub(crate) fn check_media_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let unsupported = |message: &'static str| {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    };
    if headers.get(header::CONTENT_ENCODING).is_some_and(|it| it != "identity") {
        return Err(unsupported("compressed bodies are not read").field("content-encoding"));
    }
    let json = match headers.get(header::CONTENT_TYPE) {
        Some(value) => value.to_str().is_ok_and(is_json),
        None => !headers.contains_key(header::ORIGIN),
    };
    if json { Ok(()) } else { Err(unsupported("the body must be application/json").field("content-type")) }
}

/// `application/json` or `application/<something>+json`, with or without parameters.
fn is_json(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.strip_prefix("application/").is_some_and(|subtype| {
        subtype == "json" || subtype.strip_suffix("+json").is_some_and(|it| !it.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_by_any_of_its_names() {
        for (value, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.acme+json", true),
            ("application/+json", false),
            ("text/plain", false),
            ("application/jsonx", false),
            ("text/json", false),
            ("", false),
        ] {
            assert_eq!(is_json(value), json, "{value}");
        }
    }
}
