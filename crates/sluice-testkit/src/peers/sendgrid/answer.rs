//! What the stand-in can answer, and the words for it in a recipient's local part.

use std::time::Duration;

use serde_json::json;

use crate::peers::HttpAnswer;

/// What `Retry-After` says when the script gives no seconds.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long `slow` takes when the script gives no milliseconds.
const DEFAULT_SLOWNESS: Duration = Duration::from_secs(1);

/// One answer of the stand-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendGridAnswer {
    /// 202 with `X-Message-Id`.
    Accept,
    /// The same, after a while.
    AcceptAfter(Duration),
    /// This status with SendGrid's JSON of errors.
    Status(u16),
    /// 429 with `Retry-After` in whole seconds.
    TooManyRequests(Duration),
    /// 400 with a body that is not the JSON it claims to be.
    Garbage,
    /// Closes the connection without an answer; the message was not accepted.
    CutBefore,
    /// Accepts the message and closes the connection without an answer.
    CutAfter,
    /// Says nothing until the client gives up; the message was not accepted.
    Hang,
}

impl SendGridAnswer {
    /// Reads the script in a recipient's local part, up to its `+`: `r400` (any status), `r429` or `r429-SECONDS`,
    /// `slow` or `slowMILLISECONDS`, `garbage`, `cut-before`, `cut-after`, `hang`. Anything else is accepted.
    pub fn for_recipient(email: &str) -> Self {
        let local = email.split('@').next().unwrap_or_default();
        let word = local.split('+').next().unwrap_or_default();
        match word {
            "cut-before" => Self::CutBefore,
            "cut-after" => Self::CutAfter,
            "garbage" => Self::Garbage,
            "hang" => Self::Hang,
            "slow" => Self::AcceptAfter(DEFAULT_SLOWNESS),
            "r429" => Self::TooManyRequests(DEFAULT_RETRY_AFTER),
            _ => numbered(word).unwrap_or(Self::Accept),
        }
    }

    /// Whether the message counts as sent.
    pub fn accepts(self) -> bool {
        match self {
            Self::Accept | Self::AcceptAfter(_) | Self::CutAfter => true,
            Self::Status(status) => status < 300,
            Self::TooManyRequests(_) | Self::Garbage | Self::CutBefore | Self::Hang => false,
        }
    }

    /// The status the client sees, if it sees one.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Accept | Self::AcceptAfter(_) => Some(202),
            Self::Status(status) => Some(status),
            Self::TooManyRequests(_) => Some(429),
            Self::Garbage => Some(400),
            Self::CutBefore | Self::CutAfter | Self::Hang => None,
        }
    }

    pub(super) fn to_http(self, message_id: &str) -> HttpAnswer {
        match self {
            Self::Accept | Self::AcceptAfter(_) => HttpAnswer::Reply {
                status: 202,
                headers: vec![("X-Message-Id".to_owned(), message_id.to_owned())],
                body: Vec::new(),
                after: if let Self::AcceptAfter(delay) = self { delay } else { Duration::ZERO },
            },
            Self::Status(status) => refusal(status, Vec::new(), "scripted"),
            Self::TooManyRequests(wait) => refusal(
                429,
                vec![("Retry-After".to_owned(), wait.as_secs().to_string())],
                "too many requests",
            ),
            Self::Garbage => HttpAnswer::Reply {
                status: 400,
                headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
                body: b"{\"errors\": [{\"message\": \"cut in the mid".to_vec(),
                after: Duration::ZERO,
            },
            Self::CutBefore | Self::CutAfter => HttpAnswer::Cut,
            Self::Hang => HttpAnswer::Hang,
        }
    }
}

/// SendGrid's form of an error.
pub(super) fn refusal(status: u16, mut headers: Vec<(String, String)>, message: &str) -> HttpAnswer {
    headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
    let body =
        json!({"errors": [{"message": message, "field": null, "help": null}]}).to_string().into_bytes();
    HttpAnswer::Reply { status, headers, body, after: Duration::ZERO }
}

fn numbered(word: &str) -> Option<SendGridAnswer> {
    if let Some(millis) = word.strip_prefix("slow") {
        return Some(SendGridAnswer::AcceptAfter(Duration::from_millis(millis.parse().ok()?)));
    }
    if let Some(seconds) = word.strip_prefix("r429-") {
        return Some(SendGridAnswer::TooManyRequests(Duration::from_secs(seconds.parse().ok()?)));
    }
    let status: u16 = word.strip_prefix('r')?.parse().ok()?;
    (200..600).contains(&status).then_some(SendGridAnswer::Status(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_part_is_the_script() {
        let check = |email: &str, expected: SendGridAnswer| {
            assert_eq!(SendGridAnswer::for_recipient(email), expected, "{email}");
        };
        check("ada@example.com", SendGridAnswer::Accept);
        check("rachel@example.com", SendGridAnswer::Accept);
        check("slowly@example.com", SendGridAnswer::Accept);
        check("r400+ada@example.com", SendGridAnswer::Status(400));
        check("r500@example.com", SendGridAnswer::Status(500));
        check("r7@example.com", SendGridAnswer::Accept);
        check("r429+1@example.com", SendGridAnswer::TooManyRequests(Duration::from_secs(1)));
        check("r429-7+1@example.com", SendGridAnswer::TooManyRequests(Duration::from_secs(7)));
        check("slow250+ada@example.com", SendGridAnswer::AcceptAfter(Duration::from_millis(250)));
        check("cut-after+ada@example.com", SendGridAnswer::CutAfter);
    }
}
