//! One entry of the journal.

use std::time::Instant;

use serde_json::Value;

use crate::peers::HttpRequest;

/// What reached the stand-in, and what became of it.
#[derive(Debug, Clone)]
pub struct SendGridCall {
    /// When the whole request was there.
    pub received: Instant,
    /// `1.1` or `2`: the HTTP that it came over.
    pub version: &'static str,
    /// `custom_args.job_id`, of the call or of its first personalization.
    pub job_id: Option<String>,
    /// The first recipient.
    pub recipient: String,
    /// Whether the key was the right one.
    pub authorized: bool,
    /// The status answered; `None` if the connection was cut or left hanging.
    pub status: Option<u16>,
    /// Whether the message counts as sent, whatever the client was told.
    pub accepted: bool,
    /// What `X-Message-Id` said, or would have said.
    pub message_id: String,
    /// The body, for a look at subject and content; null after the first 10,000 calls, so that a load test does not
    /// fill the memory.
    pub body: Value,
}

/// What SendGrid would find wrong with a body (v3 API reference, Mail Send).
pub(super) fn fault_in(request: &HttpRequest, body: &Value) -> Option<&'static str> {
    let text =
        |pointer: &str| body.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if !request.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return Some("content-type is not application/json");
    }
    if !text("/personalizations/0/to/0/email") {
        return Some("personalizations.0.to.0.email is missing");
    }
    if !text("/from/email") {
        return Some("from.email is missing");
    }
    if !text("/subject") && !text("/personalizations/0/subject") {
        return Some("subject is missing");
    }
    if !text("/content/0/value") || !text("/content/0/type") {
        return Some("content.0 is missing");
    }
    if let Some(args) = body.get("custom_args").or_else(|| body.pointer("/personalizations/0/custom_args"))
        && !args.as_object().is_some_and(|args| args.values().all(Value::is_string))
    {
        return Some("custom_args holds something that is not text");
    }
    None
}

pub(super) fn job_id_in(body: &Value) -> Option<String> {
    let places = ["/custom_args/job_id", "/personalizations/0/custom_args/job_id"];
    places.iter().find_map(|place| body.pointer(place)?.as_str().map(str::to_owned))
}

pub(super) fn recipient_in(body: &Value) -> String {
    body.pointer("/personalizations/0/to/0/email").and_then(Value::as_str).unwrap_or_default().to_owned()
}
