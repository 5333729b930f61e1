//! The servers of all runs, and the vhost and database of one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sluice_testkit::peers::{JobMessage, JobPublisher};
use sluice_testkit::services::{PrivatePostgres, PrivateRabbitMq, SluiceProcess};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::journal::Journal;
use crate::ledger;
use crate::site::Store;
use crate::stand_in::{StandIn, StandIns};

const STEP: Duration = Duration::from_millis(2);
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// The broker counts every 200 ms; an ack takes its way too.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(20);

/// What all runs share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) broker: PrivateRabbitMq,
    pub(crate) database: PrivatePostgres,
    stand_ins: StandIns,
    /// Leave what a run made until the servers end: clearing up takes longer than a quick run.
    leaves_all: bool,
    /// Publishes, and asks the database.
    pub(crate) runtime: Runtime,
}

impl Stage {
    /// Starts the servers; they end with this value. `leaves_all`: runs are short and few.
    pub(crate) fn start(leaves_all: bool) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Self {
            broker: PrivateRabbitMq::start(),
            database: PrivatePostgres::start(),
            stand_ins: StandIns::start()?,
            leaves_all,
            runtime: runtime.context("cannot start threads")?,
        })
    }

    /// An empty vhost and database.
    pub(crate) fn scene(&self) -> anyhow::Result<Scene<'_>> {
        let (amqp, db) = (self.broker.create_vhost(), self.database.create_database());
        let (sql, connection) =
            self.runtime.block_on(tokio_postgres::connect(&db, NoTls)).context("Postgres")?;
        self.runtime.spawn(connection);
        Ok(Scene { stage: self, amqp, db, sql })
    }

    pub(crate) fn esp(&self, journal: &Arc<Journal>, latency: Duration) -> anyhow::Result<StandIn> {
        self.stand_ins.listen(Arc::clone(journal), latency)
    }
}

/// One run's own part of the servers; gone with this value.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) amqp: String,
    pub(crate) db: String,
    pub(crate) sql: Client,
}

impl Scene<'_> {
    pub(crate) fn store(&self) -> Store {
        Store::Servers { amqp: self.amqp.clone(), db: self.db.clone() }
    }

    /// Has a worker make exchanges, queues and tables, and ends it.
    pub(crate) fn prepare(&self, toml: &str) -> anyhow::Result<()> {
        self.prepare_with(toml, || Ok(()))
    }

    /// The same; `order` is given to the worker before it ends.
    pub(crate) fn prepare_with(
        &self,
        toml: &str,
        order: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let worker = SluiceProcess::start(toml);
        worker.wait_ready(START_TIMEOUT);
        order()?;
        worker.sigterm();
        worker.wait(START_TIMEOUT);
        Ok(())
    }

    /// Waits until `sluice.jobs` sorts messages with this key by a binding of their own.
    pub(crate) fn wait_bound(&self, key: &str) -> anyhow::Result<()> {
        let vhost = self.amqp.rsplit('/').next().unwrap_or_default();
        let list = ["list_bindings", "--silent", "-p", vhost, "routing_key"];
        wait("the binding of a side lane", START_TIMEOUT, || {
            Ok(self.stage.broker.rabbitmqctl(&list).lines().any(|bound| bound == key))
        })
    }

    /// Publishes, and waits until the broker has confirmed and routed all of them.
    pub(crate) fn publish(&self, messages: impl Iterator<Item = JobMessage>) -> anyhow::Result<()> {
        let (count, summary) = self.stage.runtime.block_on(async {
            let mut publisher = JobPublisher::connect(&self.amqp).await;
            let mut count = 0;
            for message in messages {
                publisher.publish(&message).await;
                count += 1;
            }
            (count, publisher.finish().await)
        });
        ensure!(summary.confirmed == count, "of {count} messages the broker took: {summary:?}");
        Ok(())
    }

    pub(crate) fn count(&self, query: &str) -> anyhow::Result<usize> {
        let count = self.stage.runtime.block_on(ledger::count(&self.sql, query))?;
        Ok(usize::try_from(count)?)
    }

    pub(crate) fn run_sql(&self, sql: &str) -> anyhow::Result<()> {
        self.stage.runtime.block_on(self.sql.batch_execute(sql)).context("Postgres refuses")
    }

    /// What is still in the queues after a while, as a fault.
    pub(crate) fn queue_faults(&self) -> Vec<String> {
        self.depth_faults(0)
    }

    /// What should not be in the queues after a while, if `ready` messages should be, and none lent.
    pub(crate) fn depth_faults(&self, ready: usize) -> Vec<String> {
        let begin = Instant::now();
        let wanted = u64::try_from(ready).unwrap_or(u64::MAX);
        loop {
            let depths = self.stage.broker.queue_depths(&self.amqp);
            let sum = |of: fn(&(u64, u64)) -> u64| depths.values().map(of).sum::<u64>();
            if sum(|depth| depth.0) == wanted && sum(|depth| depth.1) == 0 {
                return Vec::new();
            }
            if begin.elapsed() > EMPTY_TIMEOUT {
                let full = depths.iter().filter(|(_, depth)| **depth != (0, 0));
                let told = full.map(|(name, (ready, lent))| {
                    format!("{ready} ready and {lent} lent messages in {name}, with {wanted} expected in all queues")
                });
                let told: Vec<String> = told.collect();
                return if told.is_empty() { vec![format!("no messages, not {wanted}")] } else { told };
            }
        }
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        // What a run leaves behind would slow down the next one.
        if self.stage.leaves_all {
            return;
        }
        self.stage.broker.delete_vhost(&self.amqp);
        // Else some later run has RabbitMQ write its messages anew, when the log that all runs share is full: twice the CPU.
        self.stage.broker.begin_new_log();
        let name = self.db.rsplit('/').next().unwrap_or_default().to_owned();
        let admin = self.stage.database.url("postgres");
        let dropped = self.stage.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&admin, NoTls).await?;
            let connection = self.stage.runtime.spawn(connection);
            let dropped = client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
            connection.abort();
            dropped
        });
        if let Err(error) = dropped {
            crate::cli::note(&format!("cannot drop {name}: {error}"));
        }
    }
}

/// Looks until `done`; an error after `timeout`.
pub(crate) fn wait(
    what: &str,
    timeout: Duration,
    done: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    ensure!(comes(timeout, done)?, "not within {} s: {what}", timeout.as_secs());
    Ok(())
}

/// Looks until `done`; false after `timeout`.
pub(crate) fn comes(
    timeout: Duration,
    mut done: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let begin = Instant::now();
    while !done()? {
        if begin.elapsed() >= timeout {
            return Ok(false);
        }
        std::thread::sleep(STEP);
    }
    Ok(true)
}
