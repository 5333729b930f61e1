//! What the stand-in can answer, and the words for it in a recipient's local part.

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::peers::HttpAnswer;

/// What `Retry-After` says when the script gives no seconds.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long `slow` takes when the script gives no milliseconds.
const DEFAULT_SLOWNESS: Duration = Duration::from_secs(1);

/// What a gzip bomb unpacks to.
const BOMB_BYTES: usize = 32 * 1024 * 1024;

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
    /// Accepts the message, and breaks off in the middle of the answer's status line.
    HalfAnswer,
    /// Accepts the message, and answers a few bytes at a time, with this pause between two of them.
    Drip(Duration),
    /// 307 to the same place; the message was not accepted.
    Redirect,
    /// 202 with a body of some megabytes, compressed to a thousandth.
    GzipBomb,
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
            Self::Accept
            | Self::AcceptAfter(_)
            | Self::CutAfter
            | Self::HalfAnswer
            | Self::Drip(_)
            | Self::GzipBomb => true,
            Self::Status(status) => status < 300,
            Self::TooManyRequests(_) | Self::Garbage | Self::CutBefore | Self::Hang | Self::Redirect => false,
        }
    }

    /// The status the client sees, if it sees one.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Accept | Self::AcceptAfter(_) | Self::Drip(_) | Self::GzipBomb => Some(202),
            Self::Redirect => Some(307),
            Self::Status(status) => Some(status),
            Self::TooManyRequests(_) => Some(429),
            Self::Garbage => Some(400),
            Self::CutBefore | Self::CutAfter | Self::Hang | Self::HalfAnswer => None,
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
            Self::HalfAnswer => {
                HttpAnswer::Raw { bytes: b"HTTP/1.1 20".to_vec(), step: 64, pause: Duration::ZERO }
            }
            Self::Drip(pause) => {
                let head = format!("HTTP/1.1 202 Accepted\r\nX-Message-Id: {message_id}\r\n");
                let bytes = format!("{head}Content-Length: 0\r\nConnection: close\r\n\r\n").into_bytes();
                HttpAnswer::Raw { bytes, step: 8, pause }
            }
            Self::Redirect => HttpAnswer::Reply {
                status: 307,
                headers: vec![("Location".to_owned(), "/v3/mail/send".to_owned())],
                body: Vec::new(),
                after: Duration::ZERO,
            },
            Self::GzipBomb => HttpAnswer::Reply {
                status: 202,
                headers: vec![
                    ("X-Message-Id".to_owned(), message_id.to_owned()),
                    ("Content-Encoding".to_owned(), "gzip".to_owned()),
                ],
                body: gzip_bomb().to_vec(),
                after: Duration::ZERO,
            },
        }
    }
}

/// Zeros, packed.
fn gzip_bomb() -> &'static [u8] {
    static PACKED: OnceLock<Vec<u8>> = OnceLock::new();
    PACKED.get_or_init(|| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(&vec![0; BOMB_BYTES]).expect("a vector can be written to");
        packer.finish().expect("a vector can be written to")
    })
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
