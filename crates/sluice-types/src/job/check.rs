//! The rules of every field, in the order of the document.

use std::collections::BTreeMap;

use super::{HEADERS_MAX, Job, JobDocument, LINE_MAX_BYTES, Mailbox, MailboxDocument};
use crate::{
    Address, Campaign, Class, JobId, NameError, PoolName, Refusal, RefusalReason, Tenant, Timestamp,
};

const URL_MAX_BYTES: usize = 2048;
const HEADER_NAME_MAX_BYTES: usize = 64;
const METADATA_MAX: usize = 32;
const METADATA_MAX_BYTES: usize = 4096;

/// Header names that Sluice, the ESP or the transport sets; a job may not.
const RESERVED_HEADERS: [&str; 19] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "sender",
    "return-path",
    "received",
    "dkim-signature",
    "mime-version",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "authentication-results",
    "arc-seal",
    "arc-message-signature",
    "arc-authentication-results",
];
/// Prefixes of such names.
const RESERVED_PREFIXES: [&str; 5] = ["content-", "resent-", "x-sluice-", "x-sg-", "x-smtpapi"];
/// The prefix of what Sluice itself hands to an ESP beside the metadata.
const RESERVED_METADATA: &str = "sluice_";

pub(super) fn unknown_version() -> Refusal {
    Refusal::new(RefusalReason::UnknownVersion, "v", "this version of the format is not known; write 1")
}

pub(super) fn check(document: JobDocument, fingerprint: i64) -> Result<Job, Refusal> {
    match document.v {
        Some(1) => {}
        Some(_) => return Err(unknown_version()),
        None => return Err(missing("v")),
    }
    let id = name("id", document.id.as_deref().ok_or_else(|| missing("id"))?, JobId::new)?;
    let tenant = optional_name("tenant", document.tenant.as_deref(), Tenant::new)?.unwrap_or_default();
    let class = match document.class.as_deref() {
        None => Class::default(),
        Some(word) => {
            Class::from_word(word).ok_or_else(|| invalid("class", "is neither `transactional` nor `bulk`"))?
        }
    };
    let pool = optional_name("pool", document.pool.as_deref(), PoolName::new)?.unwrap_or_default();
    let campaign = optional_name("campaign", document.campaign.as_deref(), Campaign::new)?;
    let from = mailbox("from", document.from.ok_or_else(|| missing("from"))?)?;
    let to = mailbox("to", document.to.ok_or_else(|| missing("to"))?)?;
    let reply_to = document.reply_to.map(|it| mailbox("reply_to", it)).transpose()?;
    let subject = document.subject.ok_or_else(|| missing("subject"))?;
    check_subject(&subject)?;
    // An ESP takes no empty part.
    let (html, text) = (filled(document.html), filled(document.text));
    if html.is_none() && text.is_none() {
        return Err(Refusal::new(
            RefusalReason::MissingField,
            "html",
            "`html` or `text` is required, and not empty",
        ));
    }
    let headers = document.headers.unwrap_or_default();
    check_headers(&headers)?;
    if let Some(url) = &document.unsubscribe_url {
        check_unsubscribe_url(url)?;
    }
    let metadata = document.metadata.unwrap_or_default();
    check_metadata(&metadata)?;
    Ok(Job {
        id,
        tenant,
        class,
        pool,
        campaign,
        from,
        to,
        reply_to,
        subject,
        html,
        text,
        vars: document.vars,
        headers,
        unsubscribe_url: document.unsubscribe_url,
        metadata,
        send_at: timestamp("send_at", document.send_at.as_deref())?,
        expires_at: timestamp("expires_at", document.expires_at.as_deref())?,
        fingerprint,
    })
}

fn filled(body: Option<String>) -> Option<String> {
    body.filter(|body| !body.is_empty())
}

/// The rule for a subject, before and after rendering: one line of at most [`LINE_MAX_BYTES`].
///
/// # Errors
/// A [`Refusal`] for the field `subject`.
pub fn check_subject(subject: &str) -> Result<(), Refusal> {
    check_line(subject, || "subject".to_owned())
}

/// The names of fields are put together only for a refusal: good jobs, nearly all, are checked without an allocation.
fn check_line(line: &str, field: impl FnOnce() -> String) -> Result<(), Refusal> {
    if line.len() > LINE_MAX_BYTES {
        return Err(invalid(&field(), &format!("is longer than {LINE_MAX_BYTES} bytes")));
    }
    // Without a look at each character where that is not needed, as nearly always.
    let is_plain = line.bytes().all(|b| (b' '..=b'~').contains(&b));
    if !is_plain && line.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{2029}') {
        return Err(invalid(&field(), "has a line break or another control character"));
    }
    Ok(())
}

fn missing(field: &str) -> Refusal {
    Refusal::new(RefusalReason::MissingField, field, "is required")
}

fn invalid(field: &str, detail: &str) -> Refusal {
    Refusal::new(RefusalReason::InvalidValue, field, detail)
}

fn name<T>(field: &str, text: &str, new: fn(&str) -> Result<T, NameError>) -> Result<T, Refusal> {
    new(text).map_err(|error| invalid(field, &error.to_string()))
}

fn optional_name<T>(
    field: &str,
    text: Option<&str>,
    new: fn(&str) -> Result<T, NameError>,
) -> Result<Option<T>, Refusal> {
    text.map(|text| name(field, text, new)).transpose()
}

fn mailbox(field: &str, document: MailboxDocument) -> Result<Mailbox, Refusal> {
    let email_field = || format!("{field}.email");
    let email = document.email.ok_or_else(|| missing(&email_field()))?;
    let email = Address::parse(&email).map_err(|error| invalid(&email_field(), &error.to_string()))?;
    if let Some(name) = &document.name {
        check_line(name, || format!("{field}.name"))?;
    }
    Ok(Mailbox { email, name: document.name.filter(|name| !name.trim().is_empty()) })
}

fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if headers.len() > HEADERS_MAX {
        return Err(invalid("headers", &format!("has more than {HEADERS_MAX} entries")));
    }
    let mut seen: Vec<&str> = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let field = || {
            let printable: String =
                name.chars().filter(char::is_ascii_graphic).take(HEADER_NAME_MAX_BYTES).collect();
            format!("headers.{printable}")
        };
        // The `ftext` of RFC 5322 section 3.6.8: printable ASCII but the colon.
        let well_formed = (1..=HEADER_NAME_MAX_BYTES).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        if !well_formed {
            return Err(invalid(&field(), "is not a header name"));
        }
        let starts_with =
            |prefix: &&str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if RESERVED_HEADERS.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
            || RESERVED_PREFIXES.iter().any(starts_with)
        {
            return Err(invalid(&field(), "is a reserved header name"));
        }
        if seen.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            return Err(invalid(&field(), "is given twice in different case"));
        }
        seen.push(name);
        check_line(value, field)?;
    }
    Ok(())
}

fn check_unsubscribe_url(url: &str) -> Result<(), Refusal> {
    let field = "unsubscribe_url";
    if url.len() > URL_MAX_BYTES {
        return Err(invalid(field, &format!("is longer than {URL_MAX_BYTES} bytes")));
    }
    let host = url
        .strip_prefix("https://")
        .and_then(|rest| rest.split(['/', '?', '#', ':']).next())
        .unwrap_or_default();
    let is_allowed = |b: u8| {
        b.is_ascii_graphic()
            && !matches!(b, b'<' | b'>' | b'"' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b',')
    };
    let well_formed = !host.is_empty() && url.bytes().all(is_allowed);
    if well_formed {
        Ok(())
    } else {
        Err(invalid(field, "is not an https URL without spaces, commas or brackets (RFC 8058)"))
    }
}

fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if metadata.len() > METADATA_MAX {
        return Err(invalid("metadata", &format!("has more than {METADATA_MAX} entries")));
    }
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > METADATA_MAX_BYTES {
        return Err(invalid("metadata", &format!("is longer than {METADATA_MAX_BYTES} bytes")));
    }
    for (key, value) in metadata {
        let field = || {
            let shown: String = key.chars().filter(char::is_ascii_graphic).take(64).collect();
            format!("metadata.{shown}")
        };
        let label = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if !label || key == "job_id" {
            return Err(invalid(
                &field(),
                "is not a key of letters, digits, `_`, `-` and `.`, or is reserved",
            ));
        }
        if key.starts_with(RESERVED_METADATA) {
            return Err(invalid(&field(), "is reserved: Sluice's own keys at the ESP begin with `sluice_`"));
        }
        if value.chars().any(char::is_control) {
            return Err(invalid(&field(), "has a control character"));
        }
    }
    Ok(())
}

fn timestamp(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, Refusal> {
    text.map(|text| {
        Timestamp::parse(text).ok_or_else(|| {
            invalid(field, "is not an RFC 3339 time with offset, such as 2026-11-24T12:00:00Z")
        })
    })
    .transpose()
}
