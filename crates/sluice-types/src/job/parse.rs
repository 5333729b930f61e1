//! From bytes to [`Job`]: the fast way for good jobs, the slow one that names the field at fault for the rest.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::document::{FIELDS, MAILBOX_FIELDS};
use super::{BODY_MAX_BYTES, Job, JobDocument, MailboxDocument, check};
use crate::{Refusal, RefusalReason};

impl Job {
    /// Reads and checks the body of a job.
    ///
    /// # Errors
    /// A [`Refusal`] that names the first field at fault; hostile bytes cost at most one pass over 256 KiB.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.len() > BODY_MAX_BYTES {
            let detail = format!("the body has {} bytes, at most {BODY_MAX_BYTES} are allowed", body.len());
            return Err(Refusal::new(RefusalReason::TooLarge, "", detail));
        }
        // Serde reads a struct from a list of its values, too.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(diagnose(body));
        }
        // At once, and not string by string.
        let text = std::str::from_utf8(body).map_err(|_| diagnose(body))?;
        let document: JobDocument = serde_json::from_str(text).map_err(|_| diagnose(body))?;
        Self::from_document(document, fingerprint(body))
    }

    /// Checks a document that was built in this process.
    ///
    /// # Errors
    /// A [`Refusal`] that names the first field at fault.
    pub fn from_document(document: JobDocument, fingerprint: i64) -> Result<Self, Refusal> {
        check::check(document, fingerprint)
    }

    /// The id in a body that was refused for another reason, if one can be read.
    #[must_use]
    pub fn peek_id(body: &[u8]) -> Option<String> {
        let value: Value = serde_json::from_slice(body.get(..body.len().min(BODY_MAX_BYTES))?).ok()?;
        let id = value.get("id")?.as_str()?;
        crate::JobId::new(id).ok().map(|id| id.to_string())
    }
}

/// First 64 bits of the SHA-256 of a body.
#[must_use]
pub fn fingerprint(body: &[u8]) -> i64 {
    let digest = Sha256::digest(body);
    let mut first = [0_u8; 8];
    for (to, from) in first.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    i64::from_be_bytes(first)
}

/// Finds out what is wrong with a body that did not parse. Only refused jobs pay for this.
fn diagnose(body: &[u8]) -> Refusal {
    if let Err(error) = std::str::from_utf8(body) {
        let detail = format!("the body is not UTF-8 (first bad byte at {})", error.valid_up_to());
        return Refusal::new(RefusalReason::NotUtf8, "", detail);
    }
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => {
            let detail = format!(
                "the body is not JSON that can be read (line {}, column {}; at most 128 levels deep)",
                error.line(),
                error.column()
            );
            return Refusal::new(RefusalReason::NotJson, "", detail);
        }
    };
    let Some(object) = value.as_object() else {
        return Refusal::new(RefusalReason::WrongType, "", "the body is not a JSON object");
    };
    if object.get("v").is_some_and(|v| v.as_u64() != Some(1)) {
        return check::unknown_version();
    }
    if let Some(field) = object.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return unknown_field(field);
    }
    for mailbox in ["from", "to", "reply_to"] {
        let inner = object.get(mailbox).and_then(Value::as_object);
        if let Some(field) = inner.and_then(|o| o.keys().find(|key| !MAILBOX_FIELDS.contains(&key.as_str())))
        {
            return unknown_field(&format!("{mailbox}.{field}"));
        }
    }
    wrong_type(body)
}

fn unknown_field(field: &str) -> Refusal {
    let shown: String = field.chars().filter(|c| !c.is_control()).take(64).collect();
    Refusal::new(RefusalReason::UnknownField, shown, "there is no such field; is it misspelt?")
}

/// All names are known and it is JSON: what is left is a value of the wrong type, or a key given twice.
fn wrong_type(body: &[u8]) -> Refusal {
    let mut reader = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, JobDocument>(&mut reader) {
        Ok(_) => Refusal::new(RefusalReason::NotJson, "", "there is more after the JSON object"),
        Err(error) => {
            let path = error.path().to_string();
            let field = if path == "." { String::new() } else { path };
            Refusal::new(RefusalReason::WrongType, field, "has the wrong JSON type, or is given twice")
        }
    }
}

impl MailboxDocument {
    /// A mailbox with an address and perhaps a name.
    #[must_use]
    pub fn new(email: impl Into<String>, name: Option<String>) -> Self {
        Self { email: Some(email.into()), name }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
