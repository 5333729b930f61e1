//! The job as it is written: the JSON document of the contract, before any check.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The JSON body of a job, at most 256 KiB.
///
/// Every field is optional here so that [`super::Job::parse`] can name the one that is missing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(
    title = "Sluice job",
    description = "One email to one recipient, as published to the exchange sluice.jobs."
)]
#[serde(deny_unknown_fields)]
pub struct JobDocument {
    /// Version of this format: 1.
    #[schemars(required, range(min = 1, max = 1))]
    pub v: Option<u64>,
    /// Idempotency key: the same id twice is sent once. 1 to 128 bytes of `A-Z a-z 0-9 . _ : @ + = -`; a UUID is the usual choice.
    #[schemars(required, length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9._:@+=-]+$"))]
    pub id: Option<String>,
    /// Whose job it is; default `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub tenant: Option<String>,
    /// `transactional` (default) or `bulk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::Class>")]
    pub class: Option<String>,
    /// The pool of ESPs that sends it; default `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub pool: Option<String>,
    /// The campaign that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub campaign: Option<String>,
    /// Sender.
    #[schemars(required)]
    pub from: Option<MailboxDocument>,
    /// The one recipient.
    #[schemars(required)]
    pub to: Option<MailboxDocument>,
    /// Where replies go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MailboxDocument>,
    /// Subject; a template when `vars` is present.
    #[schemars(required)]
    pub subject: Option<String>,
    /// HTML body; a template with autoescape when `vars` is present. `html` or `text` is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    /// Text body; a template when `vars` is present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Values for the templates; when absent nothing is rendered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vars: Option<serde_json::Map<String, serde_json::Value>>,
    /// Further headers, at most 64. Names that Sluice or the ESP sets itself are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// https URL for List-Unsubscribe with one-click POST (RFC 8058).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(url)]
    pub unsubscribe_url: Option<String>,
    /// Passed on to the ESP where it can carry it; at most 32 entries and 4 KiB. Keys: letters, digits, `_`, `-` and `.`, neither
    /// `job_id` nor with `sluice_` at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Not before this time (RFC 3339 with offset).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub send_at: Option<String>,
    /// Not after this time (RFC 3339 with offset).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires_at: Option<String>,
}

/// A mailbox as it is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct MailboxDocument {
    /// The address.
    #[schemars(required, email)]
    pub email: Option<String>,
    /// The display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// From an object alone: the derived way takes a list of the values, too.
impl<'de> Deserialize<'de> for MailboxDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = MailboxDocument;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                // The derived one, that `remote` has put here.
                MailboxDocument::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl Serialize for MailboxDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

/// Top-level fields of the document, for naming an unknown one.
pub(super) const FIELDS: [&str; 18] = [
    "v",
    "id",
    "tenant",
    "class",
    "pool",
    "campaign",
    "from",
    "to",
    "reply_to",
    "subject",
    "html",
    "text",
    "vars",
    "headers",
    "unsubscribe_url",
    "metadata",
    "send_at",
    "expires_at",
];

/// Fields of a mailbox.
pub(super) const MAILBOX_FIELDS: [&str; 2] = ["email", "name"];
