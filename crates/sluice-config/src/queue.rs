//! `[queue]`: where jobs come from.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::duration::{self, DurationText};
use crate::key_pair;
use crate::reader::{self, Section};
use crate::schema::url_file;
use crate::web_url::has_scheme_and_host;

const DECLARE: bool = true;
const RESULTS: bool = false;
const DELIVERY_LIMIT: u32 = 20;
const HEARTBEAT: Duration = Duration::from_secs(15);
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
const HEARTBEAT_MAX: Duration = Duration::from_secs(600);

/// What holds the lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// The file of `store.path`; one process, no server.
    #[default]
    Embedded,
    /// A RabbitMQ server; any number of replicas.
    Rabbitmq,
}

/// `[queue]`: where jobs come from.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(default, deny_unknown_fields, transform = url_file)]
pub struct Queue {
    /// What holds the lanes: `embedded` (one process, no server) or `rabbitmq` (any number of replicas). Goes with
    /// `store.kind`: both embedded or both servers. Default `embedded`.
    pub kind: QueueKind,
    /// Address of the RabbitMQ server, `amqp://user:secret@host:5672/vhost` or `amqps://` for TLS. A secret; `url_file`
    /// names a file that holds it. Required with `rabbitmq`, no default.
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// PEM file of the authorities that sign the server's certificate, in place of the system's. No default.
    pub tls_ca_file: Option<PathBuf>,
    /// PEM file of the certificate chain that we show the server, where it asks for one, and of its key in `tls_key_file`. No default.
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file of that certificate's key. No default.
    pub tls_key_file: Option<PathBuf>,
    /// Whether Sluice declares its exchanges and queues at start. `false` for accounts that may not; then somebody else
    /// has to, and a missing queue stops the start. Default `true`.
    pub declare: bool,
    /// How often a message may come back without an ack before it is dead-lettered, 1 to 1000, default 20. From the second
    /// time on (of a limit below 8: the first) a message is decoded in a child process first, and whatever kills that one goes to the
    /// dead letters after as many deaths (20 at most); good messages that come back half as often are renewed. More: a job
    /// that brings workers down later than in decoding does so more often. Less: fewer crashes in a row, before anybody
    /// could look, dead-letter good messages. Part of the queues' declaration: a change needs new queues.
    pub delivery_limit: u32,
    /// Whether every final state of a job is published to the exchange `sluice.results`, with the key `TENANT.STATE`. It must be the
    /// same for all replicas: the one that was started last decides. `true` costs a row more for each final state, which goes once the
    /// broker has it, or after a week. Default `false`.
    pub results: bool,
    /// Pause between signs of life on the broker's connections, 1s to 10min, default 15s. More: a dead connection is
    /// noticed later. Less: a short hiccup of the network costs a reconnect, and its deliveries come again.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub heartbeat: Duration,
}

impl Queue {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        let has_url = section.has("url") || section.has("url_file");
        let kind = section.word("kind", QueueKind::default());
        let (url, tls_ca_file) = (section.secret("url", "url_file"), section.path("tls_ca_file"));
        let (tls_cert_file, tls_key_file) = key_pair::read(section);
        let queue = Self {
            kind,
            url,
            tls_ca_file,
            tls_cert_file,
            tls_key_file,
            declare: section.switch("declare", DECLARE),
            delivery_limit: section.number("delivery_limit", DELIVERY_LIMIT, 1..=1000),
            results: section.switch("results", RESULTS),
            heartbeat: section.duration("heartbeat", HEARTBEAT, HEARTBEAT_MIN..=HEARTBEAT_MAX),
        };
        match queue.kind {
            QueueKind::Embedded if has_url => {
                section.fault("url", "goes with kind = \"rabbitmq\"; the kind is `embedded`");
            }
            QueueKind::Embedded if queue.tls_ca_file.is_some() => {
                section.fault("tls_ca_file", "goes with kind = \"rabbitmq\"; the kind is `embedded`");
            }
            QueueKind::Embedded if queue.tls_cert_file.is_some() => {
                section.fault("tls_cert_file", "goes with kind = \"rabbitmq\"; the kind is `embedded`");
            }
            QueueKind::Embedded if queue.results => {
                section.fault("results", "goes with kind = \"rabbitmq\"; the kind is `embedded`");
            }
            QueueKind::Rabbitmq if !has_url => section.fault("url", "is required with kind = \"rabbitmq\""),
            QueueKind::Embedded | QueueKind::Rabbitmq => {}
        }
        if queue.url.as_ref().is_some_and(|url| !has_scheme_and_host(url, &["amqp", "amqps"])) {
            section.fault("url", "must be an amqp:// or amqps:// address with a host");
        }
        let has_tls_files = queue.tls_ca_file.is_some() || queue.tls_cert_file.is_some();
        if has_tls_files && queue.url.as_ref().is_some_and(|url| url.expose_secret().starts_with("amqp://")) {
            section
                .warn("url", "is without TLS (amqp://), so the tls files are not used; amqps:// uses them");
        }
        queue
    }
}

impl Default for Queue {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
