//! The client: settings, and connections of their own for each purpose.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::claim::Looks;
use crate::connections::Connections;
use crate::slots::AnswerTimes;
use crate::strands::StrandsAfter;
use crate::{ConnectError, tls};

/// How much longer than the server we wait, so that its own word on a timeout arrives first.
const ANSWER_GRACE: Duration = Duration::from_secs(2);
/// Idle time before the kernel asks whether the peer still lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// Connections for slot leases and pings: one works, one takes over when it hangs.
const CONTROL_CONNECTIONS: usize = 2;
/// Connections for the fleet's document: one works, one takes over when it hangs.
const FLEET_CONNECTIONS: usize = 2;
/// Longest time that a replica which went away in between may keep the fleet's document from the others.
const FLEET_IDLE_MAX: Duration = Duration::from_secs(5);
/// Connections for relays: due jobs and released ones, each with their transaction open while they are published, and
/// a look for more.
const RELAY_CONNECTIONS: usize = 3;
/// Longest time that a relay may publish before the server takes its rows back.
const RELAY_IDLE_MAX: Duration = Duration::from_secs(60);
/// Longest question of an operator.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Small lookups by key on statistics that may be stale or missing: nested loops over indexes are the plan at any
/// size, and a plan made while the tables were empty must not survive as a scan.
const WRITER_PLANS: &str = "-c jit=off -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off \
    -c plan_cache_mode=force_generic_plan";

/// Guards re-read a row after they have waited for its lock, which the stricter levels refuse to do.
const ISOLATION: &str = "-c default_transaction_isolation=read\\ committed";

/// How to reach the store.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// `postgres://user:secret@host:port/database?sslmode=require`; several hosts may be named, the one that takes
    /// writes is used.
    ///
    /// TLS is always verified (`verify-full`); without `sslmode` it is used where the server offers it, except to
    /// this machine itself.
    pub url: SecretString,
    /// PEM file of the certificates to trust in place of the machine's.
    pub tls_ca_file: Option<PathBuf>,
    /// PEM files of our own certificate chain and its key, for a server that asks for one.
    pub tls_pair: Option<(PathBuf, PathBuf)>,
    /// This worker's name in claims: unique among all processes that ever claim.
    pub worker: String,
    /// Connections for claims, records and parking. More let batches overlap (group commit), each costs the server a
    /// process.
    pub writers: usize,
    /// Connections for operators' questions and housekeeping.
    pub pool_size: usize,
    /// Tables longer than so many bytes are counted by a sample of that size when an operator asks how many rows there
    /// are of each kind: a whole scan would be slow, and tear at the disk each time.
    pub count_max_bytes: u64,
    /// By how much later than at once a lease of slots begins at most, where the store's answers take so long that slots of
    /// this instant would have closed when they arrive.
    pub lease_lead_max: Duration,
    /// Longest wait for a new connection.
    pub connect_timeout: Duration,
    /// Longest statement on the way of a job; the server gives up then, and we a little later.
    pub statement_timeout: Duration,
}

impl PostgresSettings {
    /// Settings with the defaults: 4 writers, 4 connections for questions, counts of 1 GiB, 5 s to connect, 10 s for
    /// a statement.
    #[must_use]
    pub fn new(url: SecretString, worker: impl Into<String>) -> Self {
        Self {
            url,
            tls_ca_file: None,
            tls_pair: None,
            worker: worker.into(),
            writers: 4,
            pool_size: 4,
            count_max_bytes: 1 << 30,
            lease_lead_max: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
        }
    }
}

/// The store on Postgres: ledger, slots and console. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Postgres {
    pub(crate) worker: Arc<str>,
    /// Longest table that is counted as a whole.
    pub(crate) count_max_bytes: f64,
    /// Claims, records, parking and refusals.
    pub(crate) writers: Connections,
    /// What the claims of first attempts look for.
    pub(crate) looks: Arc<Looks>,
    /// Slot leases and pings.
    pub(crate) control: Connections,
    /// How long the leases took lately.
    pub(crate) lease_answers: Arc<AnswerTimes>,
    /// What the replicas tell each other.
    pub(crate) fleet: Connections,
    /// Due jobs and lines.
    pub(crate) relay: Connections,
    /// The flow after which the next look for due jobs begins.
    pub(crate) flows_after: Arc<Mutex<String>>,
    /// The strands after which the next look into lines begins.
    pub(crate) strands_after: Arc<Mutex<StrandsAfter>>,
    /// Operators' questions, housekeeping and migrations.
    pub(crate) readers: Connections,
}

impl Postgres {
    /// Makes the client. Connections are made when a call needs one, and made again when they break: a store that is
    /// away shows in the calls, not here.
    ///
    /// # Errors
    /// When the url or the certificate file is no good.
    pub fn connect(settings: PostgresSettings) -> Result<Self, ConnectError> {
        let config = base_config(&settings)?;
        let tls = tls::connector(&config, settings.tls_ca_file.as_deref(), settings.tls_pair.as_ref())?;
        let connect_timeout = settings.connect_timeout;
        let connections = |size: usize, statement_timeout: Duration, options: &str| {
            let config = with_options(&config, statement_timeout, options);
            let call_timeout = statement_timeout + ANSWER_GRACE;
            let pool = pool(config, tls.clone(), size, connect_timeout, call_timeout)?;
            Ok(Connections::new(pool, call_timeout))
        };
        let ending_idle = |max: Duration| {
            format!("{WRITER_PLANS} -c idle_in_transaction_session_timeout={}", max.as_millis())
        };
        Ok(Self {
            worker: Arc::from(settings.worker.as_str()),
            count_max_bytes: settings.count_max_bytes.max(1) as f64,
            writers: connections(settings.writers, settings.statement_timeout, WRITER_PLANS)?,
            looks: Arc::default(),
            lease_answers: Arc::new(AnswerTimes::new(settings.lease_lead_max)),
            control: connections(CONTROL_CONNECTIONS, settings.statement_timeout, WRITER_PLANS)?,
            fleet: connections(FLEET_CONNECTIONS, settings.statement_timeout, &ending_idle(FLEET_IDLE_MAX))?,
            relay: connections(RELAY_CONNECTIONS, settings.statement_timeout, &ending_idle(RELAY_IDLE_MAX))?,
            flows_after: Arc::default(),
            strands_after: Arc::default(),
            readers: connections(settings.pool_size, READ_TIMEOUT, "")?,
        })
    }

    /// Closes every connection; calls fail from here on.
    pub fn close(&self) {
        for connections in [&self.writers, &self.control, &self.fleet, &self.relay, &self.readers] {
            connections.close();
        }
    }
}

/// What all connections share.
fn base_config(settings: &PostgresSettings) -> Result<tokio_postgres::Config, ConnectError> {
    // We verify in full whenever there is TLS; the driver only has no words for it.
    let url = settings
        .url
        .expose_secret()
        .replace("sslmode=verify-full", "sslmode=require")
        .replace("sslmode=verify-ca", "sslmode=require");
    let mut config: tokio_postgres::Config = url.parse().map_err(ConnectError::Url)?;
    config
        .application_name("sluice")
        .connect_timeout(settings.connect_timeout)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES)
        .tcp_user_timeout(settings.statement_timeout + ANSWER_GRACE)
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    if config.get_ssl_mode() == SslMode::Prefer
        && settings.tls_ca_file.is_none()
        && settings.tls_pair.is_none()
        && tls::is_local(&config)
    {
        config.ssl_mode(SslMode::Disable);
    }
    Ok(config)
}

/// `config` with server settings; those that the url asks for come last and win.
fn with_options(
    config: &tokio_postgres::Config,
    statement_timeout: Duration,
    options: &str,
) -> tokio_postgres::Config {
    let mut config = config.clone();
    let timeout_ms = statement_timeout.as_millis();
    let of_url = config.get_options().unwrap_or_default().to_owned();
    config.options(format!("-c statement_timeout={timeout_ms} {ISOLATION} {options} {of_url}"));
    config
}

fn pool(
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    size: usize,
    connect_timeout: Duration,
    wait_timeout: Duration,
) -> Result<Pool, ConnectError> {
    // `Fast` asks only whether the connection is closed; a borrowed one that may be unfit is never given back.
    let manager =
        Manager::from_config(config, tls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Pool::builder(manager)
        .max_size(size.max(1))
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(wait_timeout))
        .create_timeout(Some(connect_timeout))
        .recycle_timeout(Some(connect_timeout))
        .build()
        .map_err(ConnectError::Pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> PostgresSettings {
        PostgresSettings::new(SecretString::from(url), "w1")
    }

    #[test]
    fn a_bad_url_is_told_at_once() {
        assert!(matches!(Postgres::connect(settings("http://x")), Err(ConnectError::Url(_))));
    }

    #[test]
    fn tls_is_left_out_only_to_this_machine() {
        for (url, mode) in [
            ("postgres://a@127.0.0.1/x", SslMode::Disable),
            ("postgres://a@db.example/x", SslMode::Prefer),
            ("postgres://a@127.0.0.1/x?sslmode=require", SslMode::Require),
            ("postgres://a@db.example/x?sslmode=verify-full", SslMode::Require),
        ] {
            assert_eq!(base_config(&settings(url)).unwrap().get_ssl_mode(), mode, "{url}");
        }
    }

    #[test]
    fn options_of_the_url_win() {
        let config = base_config(&settings("postgres://a@db.example/x?options=-c%20jit%3Don")).unwrap();
        let options = with_options(&config, Duration::from_secs(1), WRITER_PLANS);
        assert!(options.get_options().unwrap().ends_with(" -c jit=on"));
    }

    #[test]
    fn debug_hides_the_password() {
        let text = format!("{:?}", settings("postgres://a:hunter2@db.example/x"));
        assert!(!text.contains("hunter2"), "{text}");
    }
}
