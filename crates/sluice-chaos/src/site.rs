//! Everything around the replicas of one run, and the handles to break it.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluice_testkit::peers::{SendGridAnswer, SendGridStandIn};
use sluice_testkit::services::{PrivatePostgres, PrivateRabbitMq, TcpProxy};

use crate::fleet::Fleet;
use crate::limits::{GMAIL_PER_SECOND, GRID_BURST, GRID_PER_SECOND, SLOW_PER_SECOND};

/// How long a claim holds in these runs.
pub(crate) const CLAIM_TTL: Duration = Duration::from_secs(6);

/// A broker and a database that all runs of a process share: each run has a vhost and a database of its own.
#[derive(Debug)]
pub struct Servers {
    pub(crate) broker: PrivateRabbitMq,
    pub(crate) database: PrivatePostgres,
}

impl Servers {
    /// Starts both.
    ///
    /// # Panics
    /// If one does not start.
    #[must_use]
    pub fn start() -> Self {
        Self { broker: PrivateRabbitMq::start(), database: PrivatePostgres::start() }
    }
}

/// One run's surroundings.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) servers: Arc<Servers>,
    /// Past the proxies.
    pub(crate) amqp_url: String,
    pub(crate) db_url: String,
    pub(crate) to_broker: TcpProxy,
    pub(crate) to_database: TcpProxy,
    pub(crate) to_esp: TcpProxy,
    pub(crate) esp: Arc<SendGridStandIn>,
    pub(crate) fleet: Arc<Fleet>,
}

impl Site {
    /// A fresh vhost, database and stand-in, each behind a proxy. With the binary of an older version replicas are of that one at
    /// first, and speak HTTP/1.1; else, with an odd `seed`, they speak HTTP/2 with the ESP that most jobs go to.
    pub(crate) fn new(servers: &Arc<Servers>, old: Option<PathBuf>, seed: u64) -> Self {
        let (amqp_url, db_url) = (servers.broker.create_vhost(), servers.database.create_database());
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let to_broker = TcpProxy::start(local(servers.broker.port()));
        let to_database = TcpProxy::start(local(servers.database.port()));
        let esp = Arc::new(SendGridStandIn::start());
        let esp_port: u16 = esp
            .url()
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .expect("the stand-in's url ends with its port");
        let to_esp = TcpProxy::start(local(esp_port));
        defer_first_calls(&esp);
        let through = |url: &str, from: u16, to: &TcpProxy| {
            url.replace(&format!(":{from}/"), &format!(":{}/", to.addr().port()))
        };
        let handle = tokio::runtime::Handle::current();
        handle.block_on(crate::heard::listen(&amqp_url)).expect("a fresh vhost takes a queue for results");
        let config = config(
            &through(&amqp_url, servers.broker.port(), &to_broker),
            &through(&db_url, servers.database.port(), &to_database),
            to_esp.addr(),
            esp.api_key(),
            // An older version may not know the key.
            if old.is_none() && seed % 2 == 1 { "http_version = \"2\"" } else { "" },
        );
        let fleet = Arc::new(Fleet::new(config, old));
        Self { servers: Arc::clone(servers), amqp_url, db_url, to_broker, to_database, to_esp, esp, fleet }
    }

    /// The vhost's name.
    pub(crate) fn vhost(&self) -> &str {
        self.amqp_url.rsplit('/').next().unwrap_or_default()
    }

    /// Runs SQL on the run's database, past the proxy; whether it went through.
    pub(crate) fn sql(&self, sql: &str) -> bool {
        let (url, sql) = (self.db_url.clone(), sql.to_owned());
        tokio::runtime::Handle::current().block_on(async move {
            match crate::judge::connect(&url).await {
                Some(client) => client.batch_execute(&sql).await.is_ok(),
                None => false,
            }
        })
    }

    /// Mends every line and the ESP, whatever was broken.
    pub(crate) fn mend(&self) {
        self.esp.answer_all(None);
        self.esp.cut_at_head(false);
        for proxy in [&self.to_broker, &self.to_database, &self.to_esp] {
            proxy.black_hole(false);
            proxy.delay(Duration::ZERO);
            proxy.narrow(0);
            proxy.lose_answers(false);
            proxy.refuse(false);
        }
    }
}

/// The first call for a job to `defer1+...` is answered 429, later ones are not.
fn defer_first_calls(esp: &SendGridStandIn) {
    let seen: Mutex<HashSet<String>> = Mutex::default();
    esp.script(move |call| {
        let is_first = || {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(call.job_id.clone().unwrap_or_default())
        };
        (call.recipient.starts_with("defer1+") && is_first())
            .then_some(SendGridAnswer::TooManyRequests(Duration::from_secs(1)))
    });
}

/// Short spans everywhere, so that a run sees claims lapse, breakers open and close, and doubts resolved.
fn config(amqp: &str, db: &str, esp: SocketAddr, key: &str, http_version: &str) -> String {
    let claim_ttl = CLAIM_TTL.as_secs();
    format!(
        r#"
        [queue]
        kind = "rabbitmq"
        url = "{amqp}"
        heartbeat = "3s"
        delivery_limit = 1000
        results = true

        [store]
        kind = "postgres"
        url = "{db}"
        pool_size = 4

        [log]
        filter = "warn"

        [mx]
        enabled = false

        [worker]
        claim_ttl = "{claim_ttl}s"
        hold_max = "3s"
        lane_hold_max = "3s"
        drain_timeout = "20s"
        unhealthy_release = "4s"

        [retry.bulk]
        initial = "500ms"
        max = "2s"
        give_up_after = "30min"

        [retry.transactional]
        initial = "500ms"
        max = "2s"
        give_up_after = "30min"

        [unknown]
        window = "2s"

        [breaker]
        window = "10s"
        open = "1s"
        open_max = "2s"

        [brake]
        enabled = false

        [[esp]]
        name = "grid"
        kind = "sendgrid"
        base_url = "http://{esp}"
        api_key = "{key}"
        {http_version}
        timeout = "2s"
        max_in_flight = 64
        limits = ["{GRID_PER_SECOND}/s burst {GRID_BURST}"]

        [[esp]]
        name = "slow"
        kind = "sendgrid"
        base_url = "http://{esp}"
        api_key = "{key}"
        timeout = "2s"
        limits = ["{SLOW_PER_SECOND}/s"]

        [[esp]]
        name = "badtls"
        kind = "sendgrid"
        base_url = "https://{esp}"
        api_key = "{key}"
        timeout = "2s"

        [[pool]]
        name = "default"
        members = [{{ esp = "grid" }}]

        [[pool]]
        name = "slow"
        members = [{{ esp = "slow" }}]

        [[pool]]
        name = "tls"
        members = [{{ esp = "badtls" }}]
        failover = ["grid"]

        [[domain_group]]
        name = "gmail"
        domains = ["gmail.com", "googlemail.com"]
        limits = ["{GMAIL_PER_SECOND}/s"]

        [[domain_group]]
        name = "microsoft"
        domains = ["outlook.com"]
        "#
    )
}
