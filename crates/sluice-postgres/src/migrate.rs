//! Migrations: embedded in the binary, forward only, one replica at a time.

use std::time::Duration;

use tokio::time::timeout;
use tracing::info;

use crate::connections::Lent;
use crate::convert::column;
use crate::error::is_deadlock;
use crate::{MigrateError, Postgres};

/// Longest time for all of it, waiting for another replica included.
const MIGRATE_MAX: Duration = Duration::from_secs(300);
/// How often what a deadlock with traffic has ended is tried, and the pause in between. The server has undone that migration.
const ROUNDS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// Partitions made with every migration, in days ahead.
const DAYS_AHEAD: u32 = 7;

/// What was applied when, beside the tables that it made.
const HISTORY_TABLE: &str = "sluice.migration";

/// The key of the lock is arbitrary but must never change. A statement waits as long as it takes (the whole has its own
/// bound), but no statement waits long for a table lock: traffic would queue behind it.
const PREPARE: &str = "SET statement_timeout = 0; SET lock_timeout = 0";
const LOCK: &str = "SELECT pg_advisory_lock(8260193412706)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(8260193412706)";

/// `CREATE SCHEMA IF NOT EXISTS` asks for the right to create it even where it is there.
const SCHEMA: &str = "
SET lock_timeout = '10s';
DO $$ BEGIN
    IF to_regnamespace('sluice') IS NULL THEN CREATE SCHEMA sluice; END IF;
END $$
";

const VERSION_STEP: &str = "look at the schema's version";
const HAS_HISTORY: &str = "SELECT to_regclass('sluice.migration') IS NOT NULL AS there";
const VERSION: &str = "SELECT coalesce(max(version), 0)::integer AS version FROM sluice.migration";

mod embedded {
    refinery::embed_migrations!("../../migrations");
}

impl Postgres {
    /// Brings the schema up to date and makes the coming days' partitions; answers how many migrations were new.
    ///
    /// Several replicas may do this at once: they take turns. A database that knows more migrations than this build
    /// is left as it is.
    ///
    /// # Errors
    /// When the store cannot be reached, a migration fails, or it does not finish within five minutes.
    pub async fn migrate(&self) -> Result<usize, MigrateError> {
        let applied =
            timeout(MIGRATE_MAX, self.migrate_alone()).await.map_err(|_| MigrateError::Timeout)??;
        self.make_partitions(DAYS_AHEAD).await.map_err(MigrateError::Partitions)?;
        Ok(applied)
    }

    /// Looks whether the schema is at least as new as this build, without touching it.
    ///
    /// # Errors
    /// [`MigrateError::Outdated`] when it is older or not there, else when the store could not be asked.
    pub async fn check_schema(&self) -> Result<(), MigrateError> {
        let needed = embedded::migrations::runner().get_migrations().iter().map(|it| it.version()).max();
        let needed = needed.unwrap_or_default();
        let rows = self.readers.query(VERSION_STEP, HAS_HISTORY, &[]).await?;
        let has_history: bool = rows.first().map_or(Ok(false), |row| column(row, VERSION_STEP, "there"))?;
        if !has_history {
            return Err(MigrateError::Outdated { found: 0, needed });
        }
        let rows = self.readers.query(VERSION_STEP, VERSION, &[]).await?;
        let found: i32 = rows.first().map_or(Ok(0), |row| column(row, VERSION_STEP, "version"))?;
        if found < needed { Err(MigrateError::Outdated { found, needed }) } else { Ok(()) }
    }

    async fn migrate_alone(&self) -> Result<usize, MigrateError> {
        let mut lent = self.readers.borrow("migrate").await?.bounded_by(MIGRATE_MAX);
        lent.run("prepare the migration", PREPARE).await?;
        lent.run("wait for other replicas", LOCK).await?;
        lent.run("create the schema", SCHEMA).await?;
        let applied = run(&mut lent).await?;
        lent.run("let other replicas go on", UNLOCK).await?;
        // The connection has settings of its own by now, and is closed here.
        Ok(applied)
    }
}

async fn run(lent: &mut Lent) -> Result<usize, MigrateError> {
    let Some(client) = lent.client_mut() else {
        return Err(MigrateError::Timeout);
    };
    let mut runner = embedded::migrations::runner().set_abort_missing(false);
    runner.set_migration_table_name(HISTORY_TABLE);
    let mut applied = 0;
    for round in 1.. {
        let ran = runner.run_async(client).await;
        let report = ran.as_ref().map_or_else(|error| error.report(), Some);
        for migration in report.iter().flat_map(|report| report.applied_migrations()) {
            info!(version = migration.version(), name = migration.name(), "applied a migration");
            applied += 1;
        }
        match ran {
            Ok(_) => break,
            Err(error) if round < ROUNDS && is_deadlock(&error) => {
                info!("traffic was in the way of a migration, trying again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(MigrateError::Run(Box::new(error))),
        }
    }
    Ok(applied)
}
