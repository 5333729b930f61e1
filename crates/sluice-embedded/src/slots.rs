//! Slot leases: the policy decides, this file loads and keeps its state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use sluice_engine::{Leased, SlotError, SlotSource, Want};
use sluice_policy::{CountedState, GcraState, Grant, Terms, lease_counted, lease_gcra};
use sluice_types::Timestamp;

use crate::{Embedded, StoreError};

/// How often state that no longer matters is removed, in microseconds.
const PRUNE_EVERY_MICROS: i64 = 10 * 60 * 1_000_000;
/// A sub-bucket that began this long ago is out of every window (31 days and a sub-bucket), in nanoseconds.
const COUNTS_KEPT_NS: i64 = 33 * 24 * 3600 * 1_000_000_000;

#[async_trait]
impl SlotSource for Embedded {
    async fn lease(&self, wants: &[Want]) -> Result<Vec<Leased>, SlotError> {
        let shared = self.shared().clone();
        if shared.worker.is_none() {
            return Err(StoreError::NotTheWorker.into());
        }
        let (count, wants, inner) = (wants.len(), wants.to_vec(), shared.clone());
        let work = move |connection: &Connection| {
            // Read behind the write lock: no other lease can come between the clock and the state.
            let now = inner.clock.slot_now();
            keep_clock(connection, now)?;
            prune(connection, &inner.slots_pruned_at, now)?;
            wants.iter().map(|want| lease_one(connection, now, want)).collect::<rusqlite::Result<Vec<_>>>()
        };
        Ok(shared.writer.write(count, work).await?)
    }
}

fn lease_one(connection: &Connection, now: Timestamp, want: &Want) -> rusqlite::Result<Leased> {
    let key = want.limit.key();
    let now_ns = now.as_micros().saturating_mul(1000);
    let Grant { runs, next_in } = match Terms::of(&want.limit.spec) {
        Some(Terms::Gcra(terms)) => {
            let mut state = load_gcra(connection, &key)?;
            let grant = lease_gcra(&terms, &mut state, now_ns, want.count);
            store_gcra(connection, &key, state)?;
            grant
        }
        Some(Terms::Counted(terms)) => {
            let before = load_counted(connection, &key)?;
            let mut state = before.clone();
            let grant = lease_counted(&terms, &mut state, now_ns, want.count);
            store_counted(connection, &key, &before.used, &state.used)?;
            grant
        }
        // Connections are counted by whoever holds them.
        None => Grant::default(),
    };
    Ok(Leased { runs, next_in })
}

fn load_gcra(connection: &Connection, key: &str) -> rusqlite::Result<GcraState> {
    let tat_ns = connection
        .prepare_cached("select tat_ns from limit_gcra where key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(tat_ns.map_or_else(GcraState::default, |tat_ns| GcraState { tat_ns }))
}

fn store_gcra(connection: &Connection, key: &str, state: GcraState) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert into limit_gcra (key, tat_ns) values (?1, ?2)
             on conflict (key) do update set tat_ns = excluded.tat_ns",
        )?
        .execute((key, state.tat_ns))?;
    Ok(())
}

fn load_counted(connection: &Connection, key: &str) -> rusqlite::Result<CountedState> {
    let mut select = connection.prepare_cached("select start_ns, used from limit_count where key = ?1")?;
    let used = select.query_map([key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(CountedState { used: used.collect::<rusqlite::Result<BTreeMap<i64, u32>>>()? })
}

/// Writes what has changed: as a rule one sub-bucket that grew, now and then one that is over.
fn store_counted(
    connection: &Connection,
    key: &str,
    before: &BTreeMap<i64, u32>,
    after: &BTreeMap<i64, u32>,
) -> rusqlite::Result<()> {
    let mut delete = connection.prepare_cached("delete from limit_count where key = ?1 and start_ns = ?2")?;
    for start in before.keys().filter(|start| !after.contains_key(start)) {
        delete.execute((key, start))?;
    }
    let mut upsert = connection.prepare_cached(
        "insert into limit_count (key, start_ns, used) values (?1, ?2, ?3)
         on conflict (key, start_ns) do update set used = excluded.used",
    )?;
    for (start, used) in after.iter().filter(|(start, used)| before.get(start) != Some(used)) {
        upsert.execute((key, start, used))?;
    }
    Ok(())
}

fn keep_clock(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("update meta set value = max(value, ?1) where key = 'slot_clock'")?
        .execute([now.as_micros()])?;
    Ok(())
}

/// Limits of single domains come and go; what they leave behind says nothing once it is old enough.
fn prune(connection: &Connection, pruned_at: &AtomicI64, now: Timestamp) -> rusqlite::Result<()> {
    if now.as_micros() - pruned_at.load(Ordering::Relaxed) < PRUNE_EVERY_MICROS {
        return Ok(());
    }
    let now_ns = now.as_micros().saturating_mul(1000);
    // An arrival time that has passed is the same as none.
    connection.prepare_cached("delete from limit_gcra where tat_ns < ?1")?.execute([now_ns])?;
    connection
        .prepare_cached("delete from limit_count where start_ns < ?1")?
        .execute([now_ns.saturating_sub(COUNTS_KEPT_NS)])?;
    pruned_at.store(now.as_micros(), Ordering::Relaxed);
    Ok(())
}
