//! Opens connections to the file and brings its schema up to date.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use sluice_engine::{Clock as _, SystemClock};

use crate::EmbeddedError;

/// Every step of the schema, forward only; `PRAGMA user_version` counts the steps done.
const MIGRATIONS: [&str; 8] = [
    include_str!("schema/001.sql"),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
    include_str!("schema/004.sql"),
    include_str!("schema/005.sql"),
    include_str!("schema/006.sql"),
    include_str!("schema/007.sql"),
    include_str!("schema/008.sql"),
];
/// How long a statement waits for another process before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest sleep between two tries for the write lock. SQLite's own handler goes up to 100 ms, which is long beside a
/// commit of 2 ms.
const BUSY_SLEEP_MAX: Duration = Duration::from_millis(5);
/// Statements kept prepared per connection: more than this crate has.
const STATEMENTS: usize = 64;
/// The log is cut back to this size after a checkpoint.
const WAL_SIZE_LIMIT_BYTES: i64 = 64 * 1024 * 1024;

/// A connection with the settings that all of them share.
pub(crate) fn connect(path: &Path) -> Result<Connection, EmbeddedError> {
    let open = || {
        // Without SQLITE_OPEN_URI: a path is only a path.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_handler(Some(wait_for_lock))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "journal_size_limit", WAL_SIZE_LIMIT_BYTES)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(connection)
    };
    // SQLite does not ask the busy handler where waiting could deadlock, as in the switch to WAL of a fresh file that
    // others are opening too. Here nothing is held between two tries, so trying again is safe.
    let clock = SystemClock::new();
    let started = clock.tick();
    loop {
        match open() {
            Err(error) if is_busy(&error) && clock.tick().since(started) < BUSY_TIMEOUT => {
                std::thread::sleep(BUSY_SLEEP_MAX);
            }
            other => return other.map_err(|source| EmbeddedError::Open { path: path.to_owned(), source }),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

fn wait_for_lock(tries: i32) -> bool {
    let tries = u32::try_from(tries).unwrap_or(0);
    std::thread::sleep(BUSY_SLEEP_MAX.min(Duration::from_micros(500) * (tries + 1)));
    // The first sleeps are shorter, so this errs on the patient side.
    BUSY_SLEEP_MAX * tries < BUSY_TIMEOUT
}

/// Brings the schema to the latest version; safe when two processes do it at the same time.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), EmbeddedError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    for (version, sql) in (1_i64..).zip(MIGRATIONS) {
        let step = |connection: &mut Connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if found < version {
                tx.execute_batch(sql)?;
                tx.pragma_update(None, "user_version", version)?;
            }
            tx.commit()?;
            Ok(found)
        };
        let found = step(connection).map_err(|source| EmbeddedError::Migration { version, source })?;
        if found > known {
            return Err(EmbeddedError::TooNew { found, known });
        }
    }
    Ok(())
}

/// A row of `meta`.
pub(crate) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached("select value from meta where key = ?1")?.query_row([key], |row| row.get(0))
}

/// Counts this opening by a worker; answers its number, which no other opening of this file has or will have.
pub(crate) fn count_run(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("update meta set value = value + 1 where key = 'runs' returning value")?
        .query_row([], |row| row.get(0))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Checks that `statement` finds its rows in `index` by the terms `by`, in the order in which it answers them.
    pub(crate) fn assert_seeks(statement: &str, index: &str, by: &str) {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let mut explain = connection.prepare(&format!("explain query plan {statement}")).unwrap();
        let nulls = rusqlite::params_from_iter(vec![None::<i64>; explain.parameter_count()]);
        let rows = explain.query_map(nulls, |row| row.get(3)).unwrap();
        let plan = rows.collect::<rusqlite::Result<Vec<String>>>().unwrap().join("; ");
        let seeks = plan.contains(&format!("INDEX {index} ({by}")) && !plan.contains("TEMP B-TREE");
        assert!(seeks, "{statement}: {plan}");
    }
}
