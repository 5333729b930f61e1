//! Servers, stand-ins and replicas of one scenario.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_testkit::peers::{
    PikaSummary, SendGridStandIn, SmtpStandIn, publish_jobs, publish_jobs_with_pika,
};
use sluice_testkit::services::{
    PrivatePostgres, PrivateRabbitMq, SluiceProcess, shared_postgres, shared_rabbitmq, sluice_binary,
};

use super::floor::Floor;
use super::skewed_clock::skewed_clock;

/// How long something may take that has no bound of its own: a test is no measurement, and machines are shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A server of all scenarios, or one that a scenario may kill.
#[derive(Debug)]
enum Server<T: 'static> {
    Shared(&'static T),
    Own(Box<T>),
}

impl<T> Server<T> {
    fn get(&self) -> &T {
        match self {
            Self::Shared(server) => server,
            Self::Own(server) => server,
        }
    }
}

/// What a scenario wants to be different.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// A broker and a database of its own, to be killed.
    pub(crate) own_servers: bool,
    /// More TOML, after everything else.
    pub(crate) more: String,
    /// How long a claim stands.
    pub(crate) claim_ttl: &'static str,
    /// How long a job is held in memory for a limit of its whole lane.
    pub(crate) lane_hold_max: &'static str,
    /// The timeout of both ESPs.
    pub(crate) timeout: &'static str,
    /// Of the ESP with an HTTP interface.
    pub(crate) http_version: &'static str,
    /// Who is asked for mail exchangers; nobody without.
    pub(crate) name_server: Option<SocketAddr>,
    /// No other scenario runs meanwhile: what is judged depends on when things happen.
    pub(crate) alone: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            own_servers: false,
            more: String::new(),
            claim_ttl: "20s",
            lane_hold_max: "5s",
            timeout: "5s",
            http_version: "auto",
            name_server: None,
            alone: false,
        }
    }
}

/// Servers and stand-ins of one scenario; replicas are started from it.
#[derive(Debug)]
pub(crate) struct Rig {
    broker: Server<PrivateRabbitMq>,
    database: Server<PrivatePostgres>,
    pub(crate) amqp_url: String,
    pub(crate) db_url: String,
    pub(crate) sendgrid: SendGridStandIn,
    pub(crate) smtp: SmtpStandIn,
    options: Options,
    _floor: Floor,
}

impl Rig {
    pub(crate) fn new(options: Options) -> Self {
        let floor = if options.alone { Floor::alone() } else { Floor::shared() };
        let (broker, database) = if options.own_servers {
            (Server::Own(Box::new(PrivateRabbitMq::start())), Server::Own(Box::new(PrivatePostgres::start())))
        } else {
            (Server::Shared(shared_rabbitmq()), Server::Shared(shared_postgres()))
        };
        Self {
            amqp_url: broker.get().create_vhost(),
            db_url: database.get().create_database(),
            broker,
            database,
            sendgrid: SendGridStandIn::start(),
            smtp: SmtpStandIn::start(),
            options,
            _floor: floor,
        }
    }

    pub(crate) fn broker(&self) -> &PrivateRabbitMq {
        self.broker.get()
    }

    pub(crate) fn database(&self) -> &PrivatePostgres {
        self.database.get()
    }

    /// The configuration of every replica.
    pub(crate) fn config(&self) -> String {
        format!(
            r#"
            [queue]
            kind = "rabbitmq"
            url = "{amqp}"

            [store]
            kind = "postgres"
            url = "{db}"

            [log]
            filter = "info,sluice=debug"

            [mx]
            {mx}

            [worker]
            claim_ttl = "{claim_ttl}"
            lane_hold_max = "{lane_hold_max}"
            drain_timeout = "20s"

            [retry.bulk]
            initial = "1s"
            max = "2s"
            give_up_after = "10min"

            [unknown]
            window = "2s"

            [[esp]]
            name = "grid"
            kind = "sendgrid"
            base_url = "{sendgrid}"
            api_key = "{key}"
            http_version = "{http_version}"
            timeout = "{timeout}"
            limits = ["2000/s burst 200"]

            [[esp]]
            name = "post"
            kind = "smtp"
            url = "smtp://{smtp}?tls=none"
            timeout = "{timeout}"
            max_in_flight = 32

            [[pool]]
            name = "default"
            members = [{{ esp = "grid" }}]

            [[pool]]
            name = "mail"
            members = [{{ esp = "post" }}]

            [[domain_group]]
            name = "gmail"
            domains = ["gmail.com", "googlemail.com"]
            limits = ["1000/s"]

            [[domain_group]]
            name = "microsoft"
            domains = ["outlook.com"]
            {more}
            "#,
            amqp = self.amqp_url,
            // The server asks for no password; that one is there must not show anywhere.
            db = self.db_url.replace("postgres@", "postgres:planted-db-secret@"),
            sendgrid = self.sendgrid.url(),
            key = self.sendgrid.api_key(),
            smtp = self.smtp.addr(),
            claim_ttl = self.options.claim_ttl,
            http_version = self.options.http_version,
            lane_hold_max = self.options.lane_hold_max,
            timeout = self.options.timeout,
            mx = self.options.name_server.map_or_else(
                || "enabled = false".to_owned(),
                |server| format!("servers = [\"{server}\"]\ntimeout = \"10s\""),
            ),
            more = self.more(),
        )
    }

    /// The scenario's own TOML; `SENDGRID` and `KEY` stand for the stand-in.
    fn more(&self) -> String {
        self.options.more.replace("SENDGRID", &self.sendgrid.url()).replace("KEY", self.sendgrid.api_key())
    }

    /// From now on the configuration has this TOML at its end.
    pub(crate) fn set_more(&mut self, more: &str) {
        more.clone_into(&mut self.options.more);
    }

    /// Starts replicas and waits until each is ready.
    pub(crate) fn start(&self, count: usize) -> Vec<SluiceProcess> {
        let replicas: Vec<_> = (0..count).map(|_| SluiceProcess::start(&self.config())).collect();
        for replica in &replicas {
            replica.wait_ready(PATIENCE);
        }
        replicas
    }

    /// Starts replicas whose wall clocks are wrong by whole hours, each by another number; see
    /// [`written_at`](Self::written_at).
    pub(crate) fn start_skewed(&self, count: i64) -> Vec<SluiceProcess> {
        let start = |i: i64| {
            let hours = if i % 2 == 0 { i } else { -i };
            SluiceProcess::command(&self.config())
                .env("LD_PRELOAD", skewed_clock())
                .env("SLUICE_CLOCK_SKEW", (hours * 3600).to_string())
                .start()
        };
        let replicas: Vec<_> = (0..count).map(start).collect();
        for replica in &replicas {
            replica.wait_ready(PATIENCE);
        }
        replicas
    }

    /// When replicas wrote the requests that an ESP accepted, by their own clocks but for whole hours: all run on one
    /// machine, and so on one clock. Times count from the hour in which the first was written, and those of one call from the
    /// same instant: times of two calls cannot be compared.
    pub(crate) async fn written_at(&self, esp: &str, domains: &[&str]) -> Vec<Instant> {
        let query = "select (extract(epoch from a.started_at) * 1000000)::bigint
            from sluice.attempt a join sluice.job j on j.id = a.job_id
            where a.esp = $1 and split_part(j.recipient, '@', 2) like any ($2::text[])";
        let rows = self.sql().await.query(query, &[&esp, &domains]).await.unwrap();
        const HOUR: i64 = 3_600_000_000;
        let micros: Vec<i64> = rows.iter().map(|row| row.get::<_, i64>(0)).collect();
        // Should the hour end meanwhile, times behind its end are small: they belong to the next one.
        let turn = micros.iter().any(|at| at % HOUR > HOUR / 4 * 3);
        let base = Instant::now();
        let since = |at: i64| if turn && at % HOUR < HOUR / 4 { at % HOUR + HOUR } else { at % HOUR };
        micros.iter().map(|at| base + Duration::from_micros(since(*at).unsigned_abs())).collect()
    }

    /// Runs `sluice` with the replicas' configuration and answers its JSON.
    pub(crate) fn cli(&self, args: &[&str]) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sluice.toml");
        std::fs::write(&file, self.config()).unwrap();
        let output = std::process::Command::new(sluice_binary())
            .arg("--config")
            .arg(&file)
            .args(args)
            .args(["--format", "json"])
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "sluice {args:?}: {out}{err}");
        serde_json::from_str(&out).unwrap_or(Value::Null)
    }

    /// A metric summed over replicas and labels.
    pub(crate) fn metric(&self, replicas: &[SluiceProcess], name: &str) -> f64 {
        let of = |replica: &SluiceProcess| {
            let (_, text) = replica.get("/metrics").unwrap();
            let values = text
                .lines()
                .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
            values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        };
        replicas.iter().map(of).sum()
    }

    /// Publishes with the foreign client; every message must be confirmed and routed.
    pub(crate) fn publish(&self, lines: &[Value]) -> PikaSummary {
        let summary = publish_jobs_with_pika(&self.amqp_url, lines);
        assert_eq!((summary.returned, summary.nacked), (0, 0));
        assert_eq!(summary.confirmed, u64::try_from(lines.len()).unwrap());
        summary
    }

    /// Publishes a large backlog, faster than the foreign client does.
    pub(crate) fn publish_backlog(&self, lines: &[Value]) {
        let summary = publish_jobs(&self.amqp_url, lines);
        assert_eq!((summary.returned, summary.nacked), (0, 0));
        assert_eq!(summary.confirmed, u64::try_from(lines.len()).unwrap());
    }

    /// The vhost's name.
    pub(crate) fn vhost(&self) -> &str {
        self.amqp_url.rsplit('/').next().unwrap()
    }

    /// Messages in the lanes, ready and lent.
    pub(crate) fn in_lanes(&self) -> u64 {
        self.lanes().map(|(ready, lent)| ready + lent).sum()
    }

    /// Messages in the lanes that nobody has.
    pub(crate) fn ready(&self) -> u64 {
        self.lanes().map(|(ready, _)| ready).sum()
    }

    /// Messages of the lanes that replicas hold.
    pub(crate) fn lent(&self) -> u64 {
        self.lanes().map(|(_, lent)| lent).sum()
    }

    fn lanes(&self) -> impl Iterator<Item = (u64, u64)> {
        let depths = self.broker().queue_depths(self.vhost());
        depths.into_iter().filter(|(name, _)| name.starts_with("sluice.lane.")).map(|(_, counts)| counts)
    }

    /// A connection to the scenario's database.
    pub(crate) async fn sql(&self) -> tokio_postgres::Client {
        let (client, connection) =
            tokio_postgres::connect(&self.db_url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(async move {
            // It ends when the client is dropped, or with a server that was killed.
            connection.await.ok();
        });
        client
    }

    /// One number from the database; -1 while it is away.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        let connected = tokio_postgres::connect(&self.db_url, tokio_postgres::NoTls).await;
        let Ok((client, connection)) = connected else { return -1 };
        tokio::spawn(async move {
            connection.await.ok();
        });
        client.query_one(query, &[]).await.map_or(-1, |row| row.get(0))
    }
}

impl Drop for Rig {
    /// Quorum queues cost the shared broker something for as long as they exist: their counting, a core for 2,000 of them.
    fn drop(&mut self) {
        if let Server::Shared(broker) = self.broker
            && !std::thread::panicking()
        {
            broker.delete_vhost(&self.amqp_url);
        }
    }
}

/// Waits until `check` holds, which it does sooner or later unless something is wrong.
pub(crate) async fn until(what: &str, check: impl AsyncFnMut() -> bool) {
    within(PATIENCE, what, check).await;
}

/// Waits until `check` holds, which it must before `timeout`; says what was waited for if not.
pub(crate) async fn within(timeout: Duration, what: &str, mut check: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < timeout, "not within {timeout:?}: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
