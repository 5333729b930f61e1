//! SendGrid's event webhook: a signed JSON array.
//!
//! Source: Twilio SendGrid's "Event Webhook Reference" (stored copies of November 2026): the kinds of events, their
//! fields, and that `custom_args` come back as top-level keys of each.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::{Map, Value};
use sluice_engine::{EspEvent, Reading, Suppress, SuppressReason, Webhook, WebhookCall};
use sluice_types::{
    Address, Category, EspId, EventKind, JobId, Tenant, Timestamp, WebhookRefusal, clean_detail,
};

use super::custom_args::{ATTEMPT, JOB_ID, PLAIN_ATTEMPT, PLAIN_JOB_ID, PLAIN_TENANT, TENANT};
use super::signature::VerificationKey;
use crate::SettingsError;
use crate::webhook::{EVENTS_MAX, believable, check_age, event_id, from_unix_seconds};

/// The longest id of a message that is kept.
const MESSAGE_ID_MAX_BYTES: usize = 256;

/// How the webhook of an account is read.
#[derive(Clone, Debug)]
pub struct SendGridWebhookSettings {
    /// The account.
    pub id: EspId,
    /// SendGrid's "verification key", base64 of a DER public key; `None`: calls are taken unsigned.
    pub public_key: Option<String>,
    /// How long ago a call may have been signed.
    pub max_age: Duration,
}

/// Reads SendGrid's event webhook.
#[derive(Debug)]
pub struct SendGridWebhook {
    id: EspId,
    key: Option<VerificationKey>,
    max_age: Duration,
}

impl SendGridWebhook {
    /// Checks the key.
    ///
    /// # Errors
    /// When it is no base64 of a P-256 public key.
    pub fn new(settings: &SendGridWebhookSettings) -> Result<Self, SettingsError> {
        let key = match settings.public_key.as_deref() {
            None => None,
            Some(text) => Some(VerificationKey::parse(text).ok_or(SettingsError::Invalid {
                esp: settings.id.clone(),
                field: "webhook_public_key",
                problem: "is no P-256 public key in base64, as SendGrid shows it",
            })?),
        };
        Ok(Self { id: settings.id.clone(), key, max_age: settings.max_age })
    }
}

impl Webhook for SendGridWebhook {
    fn esp(&self) -> &EspId {
        &self.id
    }

    fn read(&self, call: &WebhookCall<'_>) -> Result<Reading, WebhookRefusal> {
        if let Some(key) = &self.key {
            check_age(key.check(call)?, call.now, self.max_age)?;
        }
        let Events(items) = serde_json::from_slice(call.body).map_err(|_| WebhookRefusal::Malformed)?;
        let items = items.ok_or(WebhookRefusal::TooMany)?;
        let mut reading = Reading::default();
        for item in &items {
            match event(item, call.now) {
                Read::Ours(event) => reading.events.push(*event),
                Read::Foreign => reading.foreign += 1,
                Read::Unreadable => reading.unreadable += 1,
            }
        }
        Ok(reading)
    }
}

/// The items of the array; none when there are more than [`EVENTS_MAX`], of which the rest was skipped.
struct Events(Option<Vec<Item>>);

/// An object, or something else that is no event.
type Item = Option<Map<String, Value>>;

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Events;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Events, A::Error> {
                let mut taken = Vec::new();
                while taken.len() < EVENTS_MAX {
                    let Some(item) = items.next_element::<Value>()? else { return Ok(Events(Some(taken))) };
                    taken.push(match item {
                        Value::Object(fields) => Some(fields),
                        _ => None,
                    });
                }
                if items.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(Events(Some(taken)));
                }
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Events(None))
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}

/// What one item of the array is.
enum Read {
    Ours(Box<EspEvent>),
    Foreign,
    Unreadable,
}

/// Under which names an event carries our arguments.
struct Names {
    job: &'static str,
    tenant: &'static str,
    attempt: Option<&'static str>,
}

const PLAIN_NAMES: Names = Names { job: PLAIN_JOB_ID, tenant: PLAIN_TENANT, attempt: Some(PLAIN_ATTEMPT) };

fn event(item: &Item, now: Timestamp) -> Read {
    let Some(item) = item else { return Read::Unreadable };
    let text = |key: &str| item.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    // Our own arguments of the send: what lacks them was not sent by us, or by something before us. Mail in flight has the
    // names of versions before.
    let names = match item.contains_key(JOB_ID) {
        true => Names { job: JOB_ID, tenant: TENANT, attempt: Some(ATTEMPT) },
        // SendGrid's own count of tries stands in that field then, or beside it.
        false if text("event") == Some("deferred") => Names { attempt: None, ..PLAIN_NAMES },
        false => PLAIN_NAMES,
    };
    let Some(job_text) = text(names.job) else { return Read::Foreign };
    let Some(what) = text("event").map(|word| told(word, &text)) else { return Read::Unreadable };
    let Some(what) = what else { return Read::Foreign };
    let (Ok(job), Ok(tenant)) = (JobId::new(job_text), text(names.tenant).map(Tenant::new).transpose())
    else {
        return Read::Unreadable;
    };
    let message_id = text("sg_message_id")
        .filter(|id| id.len() <= MESSAGE_ID_MAX_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic()));
    let seconds = item.get("timestamp").and_then(whole_number);
    let attempt = names.attempt.and_then(|name| item.get(name)).and_then(whole_number);
    let attempt = attempt.and_then(|it| u32::try_from(it).ok());
    let suppress = what
        .suppress
        .and_then(|reason| Some(Suppress { recipient: Address::parse(text("email")?).ok()?, reason }));
    let at = seconds.map(|it| it.to_string()).unwrap_or_default();
    Read::Ours(Box::new(EspEvent {
        event_id: event_id(
            text("sg_event_id"),
            &[job_text, what.kind.as_str(), &at, text("sg_message_id").unwrap_or_default()],
        ),
        job,
        tenant,
        attempt,
        kind: what.kind,
        // The events add to what the send answered as `X-Message-Id` a part that begins with `.filter` or `.recvd`.
        provider_message_id: message_id
            .and_then(|id| id.split('.').next())
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
        occurred_at: believable(seconds.and_then(from_unix_seconds), now),
        category: what.category,
        detail: text("reason").or_else(|| text("response")).map(clean_detail).filter(|it| !it.is_empty()),
        suppress,
    }))
}

/// A whole number, written as a number or as a text.
fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What an event says of a message.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    kind: EventKind,
    category: Option<Category>,
    suppress: Option<SuppressReason>,
}

/// `None` for an event that says nothing of a message's fate.
fn told<'a>(word: &str, text: &impl Fn(&str) -> Option<&'a str>) -> Option<Told> {
    let plain = |kind| Told { kind, category: None, suppress: None };
    Some(match word {
        "processed" => plain(EventKind::Processed),
        "deferred" => Told { category: Some(Category::Temporary), ..plain(EventKind::Deferred) },
        "delivered" => plain(EventKind::Delivered),
        "bounce" => bounced(text),
        "dropped" => dropped(text("reason").unwrap_or_default()),
        "spamreport" => Told { suppress: Some(SuppressReason::Complaint), ..plain(EventKind::Complained) },
        "unsubscribe" | "group_unsubscribe" => {
            Told { suppress: Some(SuppressReason::Unsubscribe), ..plain(EventKind::Unsubscribed) }
        }
        "open" => plain(EventKind::Opened),
        "click" => plain(EventKind::Clicked),
        // `group_resubscribe` too: a person takes a suppression back, with `sluice suppress remove`.
        _ => return None,
    })
}

/// A bounce is hard, and suppresses, when the mailbox is at fault and not the message, its sender, the way or the moment.
fn bounced<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> Told {
    let status = text("status").unwrap_or_default();
    let class = text("bounce_classification").unwrap_or_default();
    let blocked = text("type") == Some("blocked");
    let category = match (class, subject_and_detail(status)) {
        ("Content", _) => Category::Content,
        ("Reputation" | "Frequency or Volume Too High", _) => Category::Policy,
        _ if status.starts_with('4') => Category::RecipientUnavailable,
        // Of RFC 3463, as far as they tell whose fault it is.
        (_, Some((1, 7 | 8))) => Category::SenderConfig,
        (_, Some((2, 3) | (3, 3 | 4) | (6, _))) => Category::Content,
        // A full mailbox (RFC 3463 section 3.3).
        (_, Some((2, 2))) => Category::RecipientUnavailable,
        // Its owner has changed (RFC 7293).
        (_, Some((7, 17 | 18))) => Category::RecipientUnknown,
        (_, Some((3, 0) | (7, _))) => Category::Policy,
        (_, Some((3, _))) => Category::Temporary,
        // Outlook says 5.4.1 for a tenant without such a recipient; 5.4.4 is a domain without a host.
        (_, Some((4, detail))) if !matches!(detail, 1 | 4) => Category::RecipientUnavailable,
        // Outlook says 5.5.0 for a mailbox that is not there.
        (_, Some((5, detail))) if detail != 0 => Category::Protocol,
        ("Technical Failure", _) => Category::Temporary,
        _ if blocked => Category::Policy,
        _ => Category::RecipientUnknown,
    };
    let hard = !blocked && category == Category::RecipientUnknown;
    Told {
        kind: EventKind::Bounced,
        category: Some(category),
        suppress: hard.then_some(SuppressReason::Bounce),
    }
}

/// Subject and detail of a permanent status (RFC 3463) such as `5.1.1`.
fn subject_and_detail(status: &str) -> Option<(u16, u16)> {
    let (subject, detail) = status.trim().strip_prefix("5.")?.split_once('.')?;
    Some((subject.parse().ok()?, detail.parse().ok()?))
}

/// SendGrid's own lists say "never again"; its other reasons concern the message.
fn dropped(reason: &str) -> Told {
    let (category, suppress) = match reason {
        "Bounced Address" => (Category::Suppressed, Some(SuppressReason::Bounce)),
        "Spam Reporting Address" => (Category::Suppressed, Some(SuppressReason::Complaint)),
        "Unsubscribed Address" => (Category::Suppressed, Some(SuppressReason::Unsubscribe)),
        "Invalid" => (Category::RecipientUnknown, Some(SuppressReason::Bounce)),
        "Spam Content (if Spam Checker app enabled)" | "Spam Content" => (Category::Content, None),
        _ => (Category::Policy, None),
    };
    Told { kind: EventKind::Dropped, category: Some(category), suppress }
}

#[cfg(test)]
mod tests;
