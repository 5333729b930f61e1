//! `[[esp]]`: one account at an email service provider.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sluice_types::{EspId, GroupName, LimitSpec};

use crate::duration::DurationText;
use crate::limits::read_esp_limits;
use crate::reader::{self, Section};
use crate::sandbox::Sandbox;
use crate::schema::esp_files;
use crate::smtp_url::{SmtpTls, SmtpUrl};
use crate::warmup::Warmup;
use crate::web_url::check_base_url;

const MAX_IN_FLIGHT: u32 = 256;
const MAX_IN_FLIGHT_HIGH: u32 = 65_536;
const TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT_LOW: Duration = Duration::from_secs(1);
const TIMEOUT_HIGH: Duration = Duration::from_secs(600);
const ALLOW_PLAIN_HTTP: bool = false;
const WEBHOOK_UNSIGNED: bool = false;
/// SendGrid tries for a day, and whether it signs anew each time is not documented.
const WEBHOOK_MAX_AGE: Duration = Duration::from_secs(25 * 3600);
const WEBHOOK_MAX_AGE_LOW: Duration = Duration::from_secs(60);
/// Ids of events are kept for longer, so that a call that is repeated by a stranger changes nothing.
const WEBHOOK_MAX_AGE_HIGH: Duration = Duration::from_secs(3 * 24 * 3600);
/// Where the ESP that is there when none is configured writes what it would have sent.
const SANDBOX_JOURNAL: &str = "sandbox.jsonl";
/// Name of the one ESP when none is configured.
const SANDBOX_NAME: &str = "sandbox";

/// How to talk to an ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EspKind {
    /// Any mail server that relays for us.
    Smtp,
    /// SendGrid's v3 interface.
    Sendgrid,
    /// Delivers nothing.
    Sandbox,
    /// Amazon SES. Not available in this version.
    Ses,
    /// Mailgun. Not available in this version.
    Mailgun,
    /// Postmark. Not available in this version.
    Postmark,
    /// Resend. Not available in this version.
    Resend,
    /// SparkPost. Not available in this version.
    Sparkpost,
    /// Brevo. Not available in this version.
    Brevo,
    /// Mailjet. Not available in this version.
    Mailjet,
}

impl EspKind {
    /// The kinds that this version can talk to.
    pub const AVAILABLE: [Self; 3] = [Self::Smtp, Self::Sendgrid, Self::Sandbox];

    /// The word used in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Sendgrid => "sendgrid",
            Self::Sandbox => "sandbox",
            Self::Ses => "ses",
            Self::Mailgun => "mailgun",
            Self::Postmark => "postmark",
            Self::Resend => "resend",
            Self::Sparkpost => "sparkpost",
            Self::Brevo => "brevo",
            Self::Mailjet => "mailjet",
        }
    }

    /// The keys that mean something to this kind, of those that not every kind has.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Smtp => &["url", "url_file", "tls_ca_file", "hello_name"],
            Self::Sandbox => &["sandbox"],
            Self::Sendgrid => &[
                "base_url",
                "allow_plain_http",
                "http_version",
                "api_key",
                "api_key_file",
                "tls_ca_file",
                "webhook_public_key",
                "webhook_unsigned",
                "webhook_max_age",
            ],
            Self::Ses
            | Self::Mailgun
            | Self::Postmark
            | Self::Resend
            | Self::Sparkpost
            | Self::Brevo
            | Self::Mailjet => {
                &["base_url", "allow_plain_http", "http_version", "api_key", "api_key_file", "tls_ca_file"]
            }
        }
    }
}

/// Which HTTP is spoken with an ESP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpVersion {
    /// What the ESP agrees to.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// HTTP/1.1 only.
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2 only.
    #[serde(rename = "2")]
    Http2,
}

/// With what every uncompressed P-256 key in base64 of DER begins (RFC 5480), and how many characters follow up to the padding.
const P256_PREFIX: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";
const P256_POINT_CHARS: usize = 86;

/// Every key that not every kind has.
const KEYS_BY_KIND: [&str; 13] = [
    "url",
    "url_file",
    "tls_ca_file",
    "hello_name",
    "sandbox",
    "base_url",
    "allow_plain_http",
    "http_version",
    "api_key",
    "api_key_file",
    "webhook_public_key",
    "webhook_unsigned",
    "webhook_max_age",
];

/// One entry of `[[esp]]`. Without any there is one of kind `sandbox` with the name `sandbox`.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = esp_files)]
pub struct EspConfig {
    /// Its name in pools, metrics and records: a-z 0-9 _ -, at most 64 bytes. Required, used once. A new name is a new
    /// account with fresh limits.
    #[schemars(with = "String")]
    pub name: EspId,
    /// `smtp`, `sendgrid` or `sandbox`; `ses`, `mailgun`, `postmark`, `resend`, `sparkpost`, `brevo` and `mailjet` are kept
    /// for later versions. Required.
    pub kind: EspKind,
    /// Base address of its interface; may point at a stand-in. https, or http to loopback. Default: the ESP's own. Not for
    /// `smtp`.
    pub base_url: Option<String>,
    /// Whether `base_url` may be plain http to another machine, for a stand-in in a test network. Default `false`.
    #[schemars(default)]
    pub allow_plain_http: bool,
    /// `auto`: HTTP/2 where the ESP agrees to it in the TLS handshake, else HTTP/1.1. `1.1` or `2`: only that one; `2` speaks it
    /// over plain http as well. With HTTP/2 up to 256 calls share a connection: fewer of these and less CPU, and as many
    /// unknown sends when one is lost. Default `auto`. Not for `smtp`.
    #[schemars(default)]
    pub http_version: HttpVersion,
    /// Key of its interface. A secret; `api_key_file` names a file that holds it. Required with `sendgrid`, no default.
    #[schemars(with = "Option<String>")]
    pub api_key: Option<SecretString>,
    /// Limits of the account, such as `100/s burst 100`, `50000/h`, `1000000/day`, `10 connections`; all of them hold,
    /// over all replicas. None by default.
    #[schemars(with = "Option<Vec<String>>")]
    pub limits: Vec<LimitSpec>,
    /// `[esp.warmup]`: how much a fresh account may send on each of its first days. No default: it is warm.
    #[schemars(default, with = "Warmup")]
    pub warmup: Option<Warmup>,
    /// Calls at the same time from one process, 1 to 65536, default 256. More: more connections and more unknown sends
    /// when a worker dies. Less: a slow ESP caps throughput sooner.
    #[schemars(with = "Option<u32>")]
    pub max_in_flight: u32,
    /// Longest wait for an answer, 1s to 10min, default 30s. More: a dead ESP ties up jobs for longer. Less: more sends
    /// whose answer is lost, which may go out twice.
    #[schemars(with = "Option<DurationText>")]
    pub timeout: Duration,
    /// SendGrid's verification key of the signed event webhook, in base64. With it `POST /webhooks/NAME` takes what SendGrid
    /// signed, and nothing else; without it the route is off, unless `webhook_unsigned`. `sendgrid` only, no default.
    pub webhook_public_key: Option<String>,
    /// Whether anybody who reaches `POST /webhooks/NAME` may report events, which moves jobs and suppresses recipients: for
    /// tests, or behind a proxy that checks who calls. Default `false`. `sendgrid` only.
    #[schemars(default)]
    pub webhook_unsigned: bool,
    /// How long ago a webhook call may have been signed, 1min to 3d, default 25h. More: an outage of ours may last longer
    /// before reports are lost. Less: who has recorded a call can repeat it for a shorter time, though repeated events
    /// change nothing. `sendgrid` only.
    #[schemars(with = "Option<DurationText>")]
    pub webhook_max_age: Duration,
    /// Address of the mail server, `smtps://user:secret@host:465` or `smtp://host:587?tls=required` (the default),
    /// `opportunistic` or `none`. A secret; `url_file` names a file that holds it. Required with `smtp`, for no other.
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// PEM file of further authorities that may sign the server's certificate, beside the system's. No default.
    pub tls_ca_file: Option<PathBuf>,
    /// Name that we greet the mail server with (RFC 5321 section 4.1.1.1). Default: the machine's. `smtp` only.
    pub hello_name: Option<String>,
    /// `[esp.sandbox]`: how the sandbox behaves. `sandbox` only.
    #[schemars(default)]
    pub sandbox: Sandbox,
}

impl EspConfig {
    pub(crate) fn read(
        section: &mut Section<'_, '_>,
        names: &mut BTreeSet<EspId>,
        groups: &BTreeSet<GroupName>,
    ) -> Option<Self> {
        let name = section.name("name", names);
        let kind = read_kind(section);
        if let Some(kind) = kind {
            check_keys(section, kind);
        }
        let has_url = section.has("url") || section.has("url_file");
        let has_api_key = section.has("api_key") || section.has("api_key_file");
        let base_url = section.text("base_url");
        let allow_plain_http = section.switch("allow_plain_http", ALLOW_PLAIN_HTTP);
        let http_version = section.word("http_version", HttpVersion::default());
        let api_key = section.secret("api_key", "api_key_file");
        let limits = read_esp_limits(section, "limits");
        let warmup = section.optional_section("warmup", |section| Warmup::read(section, groups));
        let max_in_flight = section.number("max_in_flight", MAX_IN_FLIGHT, 1..=MAX_IN_FLIGHT_HIGH);
        let timeout = section.duration("timeout", TIMEOUT, TIMEOUT_LOW..=TIMEOUT_HIGH);
        let webhook_public_key = section.text("webhook_public_key");
        let webhook_unsigned = section.switch("webhook_unsigned", WEBHOOK_UNSIGNED);
        let webhook_max_age =
            section.duration("webhook_max_age", WEBHOOK_MAX_AGE, WEBHOOK_MAX_AGE_LOW..=WEBHOOK_MAX_AGE_HIGH);
        let url = section.secret("url", "url_file");
        let tls_ca_file = section.path("tls_ca_file");
        let hello_name = section.text("hello_name");
        let sandbox = section.section("sandbox", Sandbox::read);
        match kind {
            Some(EspKind::Smtp) if !has_url => section.fault("url", "is required with kind = \"smtp\""),
            Some(EspKind::Sendgrid) if !has_api_key => {
                section.fault("api_key", "is required with kind = \"sendgrid\" (or api_key_file)");
            }
            _ => {}
        }
        if let Some(Err(fault)) = base_url.as_deref().map(|url| check_base_url(url, allow_plain_http)) {
            section.fault("base_url", fault);
        }
        check_webhook(section, webhook_public_key.as_deref(), webhook_unsigned);
        if kind == Some(EspKind::Smtp) {
            check_smtp(section, url.as_ref(), hello_name.as_deref());
        }
        Some(Self {
            name: name?,
            kind: kind?,
            base_url,
            allow_plain_http,
            http_version,
            api_key,
            limits,
            warmup,
            max_in_flight,
            timeout,
            webhook_public_key,
            webhook_unsigned,
            webhook_max_age,
            url,
            tls_ca_file,
            hello_name,
            sandbox,
        })
    }

    /// Whether `POST /webhooks/NAME` is on.
    #[must_use]
    pub const fn takes_webhooks(&self) -> bool {
        self.webhook_public_key.is_some() || self.webhook_unsigned
    }

    /// The one ESP when none is configured.
    pub(crate) fn sandbox() -> Option<Self> {
        Some(Self {
            name: SANDBOX_NAME.parse().ok()?,
            kind: EspKind::Sandbox,
            base_url: None,
            allow_plain_http: ALLOW_PLAIN_HTTP,
            http_version: HttpVersion::default(),
            api_key: None,
            limits: Vec::new(),
            warmup: None,
            max_in_flight: MAX_IN_FLIGHT,
            timeout: TIMEOUT,
            webhook_public_key: None,
            webhook_unsigned: WEBHOOK_UNSIGNED,
            webhook_max_age: WEBHOOK_MAX_AGE,
            url: None,
            tls_ca_file: None,
            hello_name: None,
            sandbox: Sandbox { journal: Some(SANDBOX_JOURNAL.into()), ..reader::defaults(Sandbox::read) },
        })
    }
}

fn read_kind(section: &mut Section<'_, '_>) -> Option<EspKind> {
    let kind: EspKind = section.required_word("kind")?;
    if !EspKind::AVAILABLE.contains(&kind) {
        let available = EspKind::AVAILABLE.map(EspKind::as_str).join(", ");
        let kind = kind.as_str();
        section
            .fault("kind", format_args!("kind `{kind}` is not available in this version ({available} are)"));
    }
    Some(kind)
}

/// A key that the kind does not look at is hardly meant.
fn check_keys(section: &mut Section<'_, '_>, kind: EspKind) {
    for key in KEYS_BY_KIND {
        if section.has(key) && !kind.keys().contains(&key) {
            section.fault(key, format_args!("means nothing with kind = \"{}\"", kind.as_str()));
        }
    }
}

fn check_webhook(section: &mut Section<'_, '_>, public_key: Option<&str>, unsigned: bool) {
    // Whether the point lies on the curve is left to whoever checks signatures.
    let is_p256 = |key: &str| {
        let point = key.trim().strip_prefix(P256_PREFIX).and_then(|rest| rest.strip_suffix("=="));
        let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/".contains(&b);
        point.is_some_and(|point| point.len() == P256_POINT_CHARS && point.bytes().all(is_base64))
    };
    if public_key.is_some_and(|key| !is_p256(key)) {
        section.fault(
            "webhook_public_key",
            "must be the verification key as SendGrid shows it: a P-256 key in base64, 124 characters that begin with \
             `MFkwEwYH` and end with `==`, no PEM lines",
        );
    }
    match (public_key, unsigned) {
        (Some(_), true) => {
            section.fault("webhook_unsigned", "is true while webhook_public_key is set: drop one of the two");
        }
        (None, true) => section.warn(
            "webhook_unsigned",
            "whoever reaches the webhook's route can move jobs and suppress recipients; set webhook_public_key",
        ),
        (_, false) => {}
    }
}

fn check_smtp(section: &mut Section<'_, '_>, url: Option<&SecretString>, hello_name: Option<&str>) {
    match url.map(|url| SmtpUrl::parse(url.expose_secret())) {
        Some(Err(error)) => section.fault("url", error),
        Some(Ok(url)) => {
            let readable = matches!(url.tls, SmtpTls::None | SmtpTls::Opportunistic);
            if readable && url.credentials.is_some() && !url.is_loopback {
                section.warn(
                    "url",
                    "the password may cross the network in plain text; use smtps:// or tls=required",
                );
            }
        }
        None => {}
    }
    let is_host = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
    };
    if hello_name.is_some_and(|name| !is_host(name)) {
        section.fault("hello_name", "must be a host name, or an IP address in brackets");
    }
}
