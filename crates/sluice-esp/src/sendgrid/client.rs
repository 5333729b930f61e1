//! The one call: `POST /v3/mail/send`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use secrecy::{ExposeSecret, SecretString};
use sluice_engine::{Answer, Clock, Esp, QuotaHint, ReadyCall, WrittenCall};
use sluice_types::{Category, EspId, Job, Outcome};
use tokio::time::{Instant, timeout_at};

use super::convert::{Reply, outcome};
use super::request;
use crate::{HttpVersion, SettingsError, http, retry_hint};

/// SendGrid's public address.
pub const SENDGRID_BASE_URL: &str = "https://api.sendgrid.com";
const PATH: &str = "/v3/mail/send";
/// The window's size, what is left of it, and when it ends. The general Web API sends these; mail/send is said not to.
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// What SendGrid calls the message.
const MESSAGE_ID: HeaderName = HeaderName::from_static("x-message-id");
/// The status has been read: the body only adds words, and is not worth a long wait.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// One SendGrid account.
#[derive(Clone, Debug)]
pub struct SendGridSettings {
    /// The account.
    pub id: EspId,
    /// [`SENDGRID_BASE_URL`], the EU host, or a stand-in.
    pub base_url: String,
    /// Whether `base_url` may be `http://` to any host; else only to one off the public network.
    pub allow_plain_http: bool,
    /// A key with the scope `mail.send`.
    pub api_key: SecretString,
    /// Which HTTP is spoken.
    pub http_version: HttpVersion,
    /// For one call in all.
    pub timeout: Duration,
    /// A further certificate authority, PEM; beside the machine's own.
    pub tls_ca_file: Option<PathBuf>,
}

/// One SendGrid account.
pub struct SendGridEsp {
    id: EspId,
    timeout: Duration,
    client: http::Client,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SendGridEsp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendGridEsp").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SendGridEsp {
    /// Checks `settings`. Connects only when there is something to send.
    ///
    /// # Errors
    /// When a setting breaks a rule, the file of `tls_ca_file` cannot be used, or TLS cannot be set up.
    pub fn new(settings: &SendGridSettings, clock: Arc<dyn Clock>) -> Result<Self, SettingsError> {
        let esp = &settings.id;
        let invalid = |field, problem| SettingsError::Invalid { esp: esp.clone(), field, problem };
        let key = settings.api_key.expose_secret().trim();
        if key.is_empty() {
            return Err(invalid("api_key", "is empty"));
        }
        if settings.timeout.is_zero() {
            return Err(invalid("timeout", "must be longer than zero"));
        }
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}"))
            .map_err(|_| invalid("api_key", "has a character that no key has"))?;
        authorization.set_sensitive(true);
        let endpoint = http::endpoint(esp, &settings.base_url, settings.allow_plain_http, PATH)?;
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            // Without it SendGrid answers 406.
            (ACCEPT, HeaderValue::from_static("*/*")),
            (USER_AGENT, HeaderValue::from_static(http::USER_AGENT)),
        ]);
        let (version, ca_file) = (settings.http_version, settings.tls_ca_file.as_deref());
        Ok(Self {
            id: esp.clone(),
            timeout: settings.timeout,
            client: http::client(esp, endpoint, headers, version, settings.timeout, ca_file)?,
            clock,
        })
    }

    async fn read(&self, mut answer: http::Answer, deadline: Instant) -> Answer {
        let (status, headers) = (answer.head.status, &answer.head.headers);
        let retry_after = if status.is_success() { None } else { self.retry_after(headers) };
        let quota = self.quota(status, headers);
        let message_id = text(headers, &MESSAGE_ID).map(str::to_owned);
        let is_html = text(headers, &CONTENT_TYPE).is_some_and(is_html);
        let body = if status.is_success() && !is_html && answer.may_stay_unread() {
            Some(Vec::new())
        } else {
            let patience = deadline.min(Instant::now() + BODY_TIMEOUT);
            let body = Box::pin(answer.body(http::ANSWER_MAX_BYTES));
            timeout_at(patience, body).await.ok()
        };
        answer.leave();
        let reply = Reply {
            status: status.as_u16(),
            message_id: message_id.as_deref(),
            retry_after,
            is_html,
            body: body.as_deref(),
        };
        Answer { outcome: outcome(&reply), quota }
    }

    fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        let now = self.clock.now();
        text(headers, &RETRY_AFTER)
            .and_then(|value| retry_hint::retry_after(value, now))
            .or_else(|| text(headers, &RESET).and_then(|value| retry_hint::rate_limit_reset(value, now)))
    }

    /// What is left for the account: nothing for as long as a 503 asks us to stay away (RFC 9110 section 15.6.4).
    fn quota(&self, status: StatusCode, headers: &HeaderMap) -> Option<QuotaHint> {
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let pause = text(headers, &RETRY_AFTER)
                .and_then(|value| retry_hint::retry_after(value, self.clock.now()));
            if let Some(resets_in) = pause {
                return Some(QuotaHint { remaining: 0, resets_in });
            }
        }
        let (remaining, reset) = (text(headers, &REMAINING)?, text(headers, &RESET)?);
        retry_hint::quota(text(headers, &LIMIT), remaining, reset, self.clock.now())
    }
}

#[async_trait]
impl Esp for SendGridEsp {
    fn id(&self) -> &EspId {
        &self.id
    }

    fn write(&self, job: &Job, attempt: u32) -> Result<Box<dyn WrittenCall<'_> + '_>, Answer> {
        match request::body(job, attempt) {
            Ok(body) => Ok(Box::new(SendGridWritten { esp: self, body: body.into() })),
            Err(_) => Err(Outcome::Rejected {
                category: Category::Content,
                detail: "the job cannot be written as JSON".to_owned(),
            }
            .into()),
        }
    }
}

/// What is posted.
struct SendGridWritten<'e> {
    esp: &'e SendGridEsp,
    body: Bytes,
}

#[async_trait]
impl<'e> WrittenCall<'e> for SendGridWritten<'e> {
    async fn ready(self: Box<Self>) -> Result<Box<dyn ReadyCall + 'e>, Answer> {
        let Self { esp, body } = *self;
        match esp.client.line(body.len()).await {
            Ok(line) => Ok(Box::new(SendGridCall { esp, line, body })),
            Err(error) => Err(http::failure(&error).into()),
        }
    }
}

/// What is posted, and the line that it goes over.
struct SendGridCall<'e> {
    esp: &'e SendGridEsp,
    line: http::Line,
    body: Bytes,
}

#[async_trait]
impl ReadyCall for SendGridCall<'_> {
    async fn make(self: Box<Self>) -> Answer {
        let Self { esp, line, body } = *self;
        let deadline = Instant::now() + esp.timeout;
        // Connecting has a shorter timeout of its own, so at this one the request may have been written.
        match timeout_at(deadline, esp.client.post(line, body)).await {
            Ok(Ok(answer)) => esp.read(answer, deadline).await,
            Ok(Err(error)) => http::failure(&error).into(),
            Err(_) => Outcome::Unknown { detail: "no answer in time".to_owned() }.into(),
        }
    }
}

/// Whether a `Content-Type` is that of a web page, whatever its parameters.
fn is_html(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|it| it.trim().eq_ignore_ascii_case("text/html"))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
