//! What SendGrid's answer means. Pure. See its "Errors" page of the v3 API as of November 2026.

use std::time::Duration;

use serde::Deserialize;
use sluice_types::{Category, DeferralScope, Outcome, clean_detail};

/// Longest message id that is kept.
const MESSAGE_ID_MAX_BYTES: usize = 256;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A response whose status has been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    pub(super) status: u16,
    /// Of the header `X-Message-Id`.
    pub(super) message_id: Option<&'a str>,
    /// Of `Retry-After` or `X-RateLimit-Reset`.
    pub(super) retry_after: Option<Duration>,
    /// Whether its `Content-Type` is `text/html`.
    pub(super) is_html: bool,
    /// What could be read of it; `None` when it did not end in time.
    pub(super) body: Option<&'a [u8]>,
}

impl Reply<'_> {
    /// Whether this is a web page and so not the API's answer: a proxy's, or that of another server at a wrong `base_url`.
    /// The type alone does not tell: frameworks put it on an empty body and on JSON too. One that does not end is a page.
    fn is_page(&self) -> bool {
        let begins_as_one = |body: &[u8]| {
            body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body).trim_ascii_start().starts_with(b"<")
        };
        self.is_html && self.body.is_none_or(begins_as_one)
    }
}

/// `{"errors":[{"message","field","help"}]}`; anything else counts as no errors.
#[derive(Debug, Default, Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<ErrorItem>,
}

#[derive(Debug, Deserialize)]
struct ErrorItem {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    field: Option<String>,
}

/// The outcome of the call.
pub(super) fn outcome(reply: &Reply<'_>) -> Outcome {
    if matches!(reply.status, 200..=299 | 400 | 403 | 413) && reply.is_page() {
        let detail = format!("{} with a web page, which is not the API's answer", reply.status);
        return Outcome::Faulted { category: Category::Protocol, detail };
    }
    if (200..300).contains(&reply.status) {
        return Outcome::Accepted { provider_message_id: message_id(reply.message_id) };
    }
    let errors = serde_json::from_slice::<Errors>(reply.body.unwrap_or_default()).unwrap_or_default().errors;
    let field = errors.iter().find_map(|it| it.field.as_deref()).unwrap_or_default();
    let message = errors.iter().find_map(|it| it.message.as_deref()).unwrap_or_default();
    let detail = detail(reply.status, field, message);
    let rejected = |category| Outcome::Rejected { category, detail: detail.clone() };
    let faulted = |category| Outcome::Faulted { category, detail: detail.clone() };
    match reply.status {
        400 if field.starts_with("personalizations") && field.contains("email") => {
            rejected(Category::RecipientUnknown)
        }
        400 if is_from(field) => rejected(Category::SenderConfig),
        400 | 413 => rejected(Category::Content),
        // Used-up credits are a 401 too.
        401 if message.to_ascii_lowercase().contains("credits") => faulted(Category::Account),
        401 => faulted(Category::Auth),
        // One tenant's unverified sender must not stop the account for all the others.
        403 if is_from(field) => rejected(Category::SenderConfig),
        403 => faulted(Category::Account),
        429 => Outcome::Deferred {
            retry_after: reply.retry_after,
            scope: DeferralScope::Esp,
            category: Category::Throttled,
            detail,
        },
        // A gateway passed the request on and lost the answer: RFC 9110 section 15.6.5.
        504 => Outcome::Unknown { detail },
        500..=599 => faulted(Category::ServerError),
        _ => faulted(Category::Protocol),
    }
}

fn is_from(field: &str) -> bool {
    field == "from" || field.starts_with("from.")
}

fn message_id(header: Option<&str>) -> Option<String> {
    let id = header?.trim();
    let plausible =
        (1..=MESSAGE_ID_MAX_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    plausible.then(|| id.to_owned())
}

fn detail(status: u16, field: &str, message: &str) -> String {
    clean_detail(&match (field, message) {
        ("", "") => status.to_string(),
        ("", message) => format!("{status} {message}"),
        (field, message) => format!("{status} {field}: {message}"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &str) -> Outcome {
        answer_of(status, false, body)
    }

    fn answer_of(status: u16, is_html: bool, body: &str) -> Outcome {
        let body = Some(body.as_bytes());
        outcome(&Reply { status, message_id: Some("abc.123"), retry_after: None, is_html, body })
    }

    fn error(field: &str, message: &str) -> String {
        serde_json::json!({"errors": [{"message": message, "field": field, "help": null}], "id": "x"})
            .to_string()
    }

    #[test]
    fn every_2xx_is_accepted() {
        for status in [200, 202, 204] {
            let accepted = Outcome::Accepted { provider_message_id: Some("abc.123".to_owned()) };
            assert_eq!(answer(status, "not json"), accepted);
        }
    }

    #[test]
    fn a_message_id_that_is_none_is_left_out() {
        let long = "x".repeat(257);
        for header in [None, Some(""), Some("a b"), Some(long.as_str())] {
            assert_eq!(message_id(header), None, "{header:?}");
        }
    }

    #[test]
    fn every_status_has_its_category() {
        enum Kind {
            Rejected,
            Faulted,
        }
        use Kind::{Faulted, Rejected};
        let null_field = r#"{"errors":[{"message":"m","field":null}]}"#.to_owned();
        for (status, body, kind, category) in [
            (400, error("personalizations.0.to.0.email", "bad"), Rejected, Category::RecipientUnknown),
            (400, error("personalizations[0].to[0].email", "bad"), Rejected, Category::RecipientUnknown),
            (400, error("personalizations", "required"), Rejected, Category::Content),
            (400, error("from.email", "bad"), Rejected, Category::SenderConfig),
            (400, error("content.0.value", "bad"), Rejected, Category::Content),
            (400, null_field.clone(), Rejected, Category::Content),
            (400, "<html>".to_owned(), Rejected, Category::Content),
            (400, "{\"errors\":17}".to_owned(), Rejected, Category::Content),
            (413, String::new(), Rejected, Category::Content),
            (401, error("", "authorization grant is invalid"), Faulted, Category::Auth),
            (401, error("", "Maximum credits exceeded"), Faulted, Category::Account),
            (403, error("from", "not a verified Sender Identity"), Rejected, Category::SenderConfig),
            (403, null_field, Faulted, Category::Account),
            (403, String::new(), Faulted, Category::Account),
            (404, String::new(), Faulted, Category::Protocol),
            (405, String::new(), Faulted, Category::Protocol),
            (406, String::new(), Faulted, Category::Protocol),
            (418, String::new(), Faulted, Category::Protocol),
            (301, String::new(), Faulted, Category::Protocol),
            (307, String::new(), Faulted, Category::Protocol),
            (500, String::new(), Faulted, Category::ServerError),
            (502, String::new(), Faulted, Category::ServerError),
            (503, error("", "busy"), Faulted, Category::ServerError),
        ] {
            let outcome = answer(status, &body);
            let same_kind = match kind {
                Rejected => matches!(outcome, Outcome::Rejected { .. }),
                Faulted => matches!(outcome, Outcome::Faulted { .. }),
            };
            assert!(same_kind && outcome.category() == Some(category), "{status} {body}: {outcome:?}");
        }
        assert!(matches!(answer(504, ""), Outcome::Unknown { .. }));
    }

    #[test]
    fn a_web_page_is_no_answer_of_the_api() {
        let page = "\r\n<!DOCTYPE html><html><title>Sign in</title></html>";
        for status in [200, 202, 204, 400, 403, 413] {
            let outcome = answer_of(status, true, page);
            let is_fault = matches!(outcome, Outcome::Faulted { category: Category::Protocol, .. });
            assert!(is_fault, "{status}: {outcome:?}");
            // Flask and Express call an empty body, and JSON that is written as text, a page.
            for body in ["", "OK", r#"{"errors":[{"message":"m","field":"from"}]}"#] {
                assert_eq!(answer_of(status, true, body), answer(status, body));
            }
        }
        for status in [401, 404, 429, 500, 502, 504] {
            assert_eq!(answer_of(status, true, page), answer(status, page));
        }
        let marked = format!("\u{feff}{page}");
        assert_eq!(answer_of(200, true, &marked), answer_of(200, true, page));
        let endless =
            outcome(&Reply { status: 200, message_id: None, retry_after: None, is_html: true, body: None });
        assert_eq!(endless, answer_of(200, true, page));
    }

    #[test]
    fn a_throttle_keeps_its_hint_and_concerns_the_account() {
        let wait = Some(Duration::from_secs(7));
        let body = error("", "too many requests");
        let outcome = outcome(&Reply {
            status: 429,
            message_id: None,
            retry_after: wait,
            is_html: false,
            body: Some(body.as_bytes()),
        });
        assert_eq!(
            outcome,
            Outcome::Deferred {
                retry_after: wait,
                scope: DeferralScope::Esp,
                category: Category::Throttled,
                detail: "429 too many requests".to_owned()
            }
        );
    }

    #[test]
    fn a_detail_has_no_address() {
        let body = error("personalizations.0.to.0.email", "Does not contain a valid address: ada@gmail.com");
        assert!(!answer(400, &body).detail().contains("ada"), "{:?}", answer(400, &body));
    }

    proptest! {
        #[test]
        fn any_answer_has_an_outcome(status in 0_u16..1000, body in proptest::collection::vec(any::<u8>(), 0..200), is_html: bool) {
            let outcome = outcome(&Reply { status, message_id: None, retry_after: None, is_html, body: Some(&body) });
            let accepted = matches!(outcome, Outcome::Accepted { .. });
            let is_page = is_html && body.trim_ascii_start().first() == Some(&b'<');
            prop_assert_eq!(accepted, status / 100 == 2 && !is_page);
        }
    }
}
