//! A job as the bytes of an Internet message (RFC 5322, MIME).

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message, MultiPart, SinglePart};
use sluice_types::{Address, Job, Timestamp};

/// Longest line without its CRLF, RFC 5322 section 2.1.1.
const LINE_MAX_BYTES: usize = 998;
/// A longer unsubscribe URL is folded; white space inside the angle brackets is ignored (RFC 2369 section 2).
const URL_PIECE_BYTES: usize = 900;

/// Why a job cannot be written as a message. The text holds no value of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MessageError {
    #[error("the {0} has a control character")]
    ControlCharacter(&'static str),
    #[error("a header name is not valid")]
    HeaderName,
    #[error("a header has a line longer than 998 bytes (RFC 5322 section 2.1.1)")]
    LongLine,
    #[error("the message could not be built")]
    Build,
}

/// A message and its envelope.
pub(super) struct Letter {
    pub(super) from: lettre::Address,
    pub(super) to: lettre::Address,
    pub(super) bytes: Vec<u8>,
}

/// Writes `job` with the date `now`. The `Message-ID` is the same for each attempt, so that receivers can drop a second copy.
pub(super) fn build(job: &Job, now: Timestamp) -> Result<Letter, MessageError> {
    check(job)?;
    let from = address(&job.from.email);
    let to = address(&job.to.email);
    let date = UNIX_EPOCH + Duration::from_micros(u64::try_from(now.as_micros()).unwrap_or(0));
    let mut builder = Message::builder()
        .from(Mailbox::new(job.from.name.clone(), from.clone()))
        .to(Mailbox::new(job.to.name.clone(), to.clone()))
        .subject(job.subject.as_str())
        .date(date)
        .message_id(Some(message_id(job)));
    if let Some(reply_to) = &job.reply_to {
        builder = builder.reply_to(Mailbox::new(reply_to.name.clone(), address(&reply_to.email)));
    }
    for (name, value) in &job.headers {
        let name = HeaderName::new_from_ascii(name.clone()).map_err(|_| MessageError::HeaderName)?;
        builder = builder.raw_header(HeaderValue::new(name, value.clone()));
    }
    let header = |name, value| HeaderValue::new(HeaderName::new_from_ascii_str(name), value);
    builder = builder.raw_header(header("X-Sluice-Job-Id", job.id.as_str().to_owned()));
    if let Some(url) = &job.unsubscribe_url {
        builder = builder
            .raw_header(header("List-Unsubscribe", format!("<{}>", folded(url))))
            .raw_header(header("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
    }
    let plain = job.text.as_deref().map(|text| part(ContentType::TEXT_PLAIN, text));
    let html = job.html.as_deref().map(|html| part(ContentType::TEXT_HTML, html));
    let message = match (plain, html) {
        // The richest alternative stands last, RFC 2046 section 5.1.4.
        (Some(plain), Some(html)) => {
            builder.multipart(MultiPart::alternative().singlepart(plain).singlepart(html))
        }
        (Some(single), None) | (None, Some(single)) => builder.singlepart(single),
        (None, None) => builder.singlepart(part(ContentType::TEXT_PLAIN, "")),
    };
    let mut bytes = message.map_err(|_| MessageError::Build)?.formatted();
    if bytes.ends_with(b"\r\n") {
        // The line end before the final dot is written with the dot.
        bytes.truncate(bytes.len() - 2);
    }
    if header_lines(&bytes).any(|line| line.len() > LINE_MAX_BYTES) {
        return Err(MessageError::LongLine);
    }
    Ok(Letter { from, to, bytes })
}

/// A job is checked where it is taken; this keeps line breaks out whatever happened to it since.
fn check(job: &Job) -> Result<(), MessageError> {
    let names = [Some(&job.from), Some(&job.to), job.reply_to.as_ref()].into_iter().flatten();
    let names = names.filter_map(|mailbox| mailbox.name.as_deref()).map(|name| ("display name", name));
    let headers = job.headers.values().map(|value| ("header", value.as_str()));
    let url = job.unsubscribe_url.as_deref().map(|url| ("unsubscribe URL", url));
    let lines = names.chain(headers).chain(url).chain([("subject", job.subject.as_str())]);
    for (what, line) in lines {
        if line.chars().any(char::is_control) {
            return Err(MessageError::ControlCharacter(what));
        }
    }
    Ok(())
}

fn address(address: &Address) -> lettre::Address {
    let (local, domain) = address.as_str().rsplit_once('@').unwrap_or_default();
    // Our own type has checked more than lettre's would: plain `atext` and dots before the @, a host name after it.
    lettre::Address::new_dangerous(local, domain)
}

/// `<JOB-ID.TENANT-HASH@FROM-DOMAIN>`. What may not stand in a `dot-atom` (RFC 5322 section 3.2.3) becomes `=XX`, and so
/// does `=` itself: two jobs never share an id.
fn message_id(job: &Job) -> String {
    let id = job.id.as_str();
    let mut left = String::with_capacity(id.len() + 17);
    let mut after_dot = true;
    for (at, byte) in id.bytes().enumerate() {
        let misplaced_dot = byte == b'.' && (after_dot || at + 1 == id.len());
        if (byte.is_ascii_alphanumeric() || b"._+-".contains(&byte)) && !misplaced_dot {
            left.push(char::from(byte));
        } else {
            left.push_str(&format!("={byte:02X}"));
        }
        after_dot = byte == b'.' && !misplaced_dot;
    }
    let tenant = fnv1a(job.tenant.as_str().as_bytes());
    format!("<{left}.{tenant:016x}@{}>", job.from.email.domain())
}

/// FNV-1a, 64 bits: tells tenants apart without naming them, and is the same in every build.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn folded(url: &str) -> String {
    if url.len() <= URL_PIECE_BYTES {
        return url.to_owned();
    }
    let mut folded = String::with_capacity(url.len() + 4);
    for (at, character) in url.chars().enumerate() {
        if at > 0 && at % URL_PIECE_BYTES == 0 {
            folded.push(' ');
        }
        folded.push(character);
    }
    folded
}

fn part(content_type: ContentType, text: &str) -> SinglePart {
    let text = with_crlf(text);
    let body = if text.contains('\0') {
        // NUL is not allowed in a 7-bit body, RFC 2045 section 2.7.
        Body::new_with_encoding(text, ContentTransferEncoding::Base64).unwrap_or_else(Body::new)
    } else {
        Body::new(text)
    };
    SinglePart::builder().header(content_type).body(body)
}

/// Ends every line with CRLF. A bare CR is a line end to some servers and none to others, which is how one message is
/// smuggled into another. (lettre would do it for LF, in a time that grows with the square of the length.)
fn with_crlf(text: &str) -> String {
    if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n")
    } else {
        text.replace('\n', "\r\n")
    }
}

fn header_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|&b| b == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .take_while(|line| !line.is_empty())
}

#[cfg(test)]
mod tests;
