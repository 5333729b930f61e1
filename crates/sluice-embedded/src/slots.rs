//! Slot leases: the policy decides, this file loads and keeps its state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use sluice_engine::{Leased, LimitLook, SlotError, SlotSource, Unused, Want};
use sluice_policy::{
    CountedState, CountedWant, GcraState, Grant, Terms, give_back_counted, give_back_gcra, lease_counted,
    lease_gcra, look_counted, look_gcra,
};
use sluice_types::{Limit, Timestamp};

use crate::client::Shared;
use crate::{Embedded, schema};

/// The row of `meta` with the slot clock at the last lease.
pub(crate) const SLOT_CLOCK: &str = "slot_clock";
/// How often state that no longer matters is removed, in microseconds.
const PRUNE_EVERY_MICROS: i64 = 10 * 60 * 1_000_000;
/// What is this old is out of every window (31 days and a sub-bucket), in nanoseconds.
const COUNTS_KEPT_NS: i64 = 33 * 24 * 3600 * 1_000_000_000;

#[async_trait]
impl SlotSource for Embedded {
    async fn lease(&self, wants: &[Want]) -> Result<Vec<Leased>, SlotError> {
        let shared = self.worker_shared()?.clone();
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

    async fn give_back(&self, unused: &[Unused]) -> Result<(), SlotError> {
        let (shared, count, unused) = (self.worker_shared()?, unused.len(), unused.to_vec());
        let work =
            move |connection: &Connection| unused.iter().try_for_each(|one| give_back_one(connection, one));
        Ok(shared.writer.write(count, work).await?)
    }

    async fn look(&self, limits: &[Limit]) -> Result<Vec<LimitLook>, SlotError> {
        let (shared, limits) = (self.shared().clone(), limits.to_vec());
        let ask = move |connection: &Connection| {
            let now = slot_now(connection, &shared)?;
            limits.iter().map(|limit| look_one(connection, now, limit)).collect::<rusqlite::Result<Vec<_>>>()
        };
        Ok(self.shared().questions.ask(ask).await?)
    }
}

fn lease_one(connection: &Connection, now: Timestamp, want: &Want) -> rusqlite::Result<Leased> {
    let key = want.limit.key();
    let now_ns = nanos(now);
    let grant = match Terms::of(&want.limit.spec) {
        Some(Terms::Gcra(terms)) => {
            let mut state = load_gcra(connection, &key)?;
            let grant = lease_gcra(&terms.at_rate(want.rate_permille), &mut state, now_ns, want.count);
            store_gcra(connection, &key, state)?;
            grant
        }
        Some(Terms::Counted(terms)) => {
            let before = load_counted(connection, &key)?;
            let mut state = before.clone();
            let Want { count, urgent, reserved_permille, .. } = *want;
            let wish = CountedWant { count, urgent, reserved_permille };
            let grant = lease_counted(&terms, &mut state, now_ns, wish);
            store_counted(connection, &key, &before.used, &state.used)?;
            grant
        }
        // Connections are counted by whoever holds them.
        None => Grant::default(),
    };
    let Grant { runs, next_in, next_urgent_in, mark } = grant;
    Ok(Leased { runs, next_in, next_urgent_in, mark, at_ns: now_ns })
}

fn give_back_one(connection: &Connection, unused: &Unused) -> rusqlite::Result<()> {
    let key = unused.limit.key();
    match Terms::of(&unused.limit.spec) {
        Some(Terms::Gcra(terms)) => {
            let mut state = load_gcra(connection, &key)?;
            let terms = terms.at_rate(unused.rate_permille);
            if give_back_gcra(&terms, &mut state, unused.count, unused.mark) {
                store_gcra(connection, &key, state)?;
            }
        }
        Some(Terms::Counted(_)) => {
            let before = load_counted(connection, &key)?;
            let mut state = before.clone();
            give_back_counted(&mut state, unused.count, unused.mark);
            store_counted(connection, &key, &before.used, &state.used)?;
        }
        None => {}
    }
    Ok(())
}

fn look_one(connection: &Connection, now: Timestamp, limit: &Limit) -> rusqlite::Result<LimitLook> {
    let (key, now_ns) = (limit.key(), nanos(now));
    let standing = match Terms::of(&limit.spec) {
        Some(Terms::Gcra(terms)) => look_gcra(&terms, &load_gcra(connection, &key)?, now_ns),
        Some(Terms::Counted(terms)) => look_counted(&terms, &load_counted(connection, &key)?, now_ns),
        None => return Ok(LimitLook::default()),
    };
    Ok(LimitLook {
        used: standing.used,
        left: u64::from(limit.spec.count.get()).saturating_sub(standing.used),
        next_in: standing.next_in,
        resets_in: standing.resets_in,
    })
}

/// The slot clock. A client's own may be behind the worker's, which goes on when the wall clock steps back.
pub(crate) fn slot_now(connection: &Connection, shared: &Shared) -> rusqlite::Result<Timestamp> {
    let kept = Timestamp::from_micros(schema::meta(connection, SLOT_CLOCK)?);
    Ok(shared.clock.slot_now().max(kept))
}

fn nanos(at: Timestamp) -> i64 {
    at.as_micros().saturating_mul(1000)
}

fn load_gcra(connection: &Connection, key: &str) -> rusqlite::Result<GcraState> {
    let state = connection
        .prepare_cached(
            "select tat_ns, spacing_ns, window_no, used, used_before from limit_gcra where key = ?1",
        )?
        .query_row([key], |row| {
            Ok(GcraState {
                tat_ns: row.get(0)?,
                spacing_ns: row.get(1)?,
                window: row.get(2)?,
                used: row.get(3)?,
                used_before: row.get(4)?,
            })
        })
        .optional()?;
    Ok(state.unwrap_or_default())
}

fn store_gcra(connection: &Connection, key: &str, state: GcraState) -> rusqlite::Result<()> {
    let GcraState { tat_ns, spacing_ns, window, used, used_before } = state;
    connection
        .prepare_cached(
            "insert into limit_gcra (key, tat_ns, spacing_ns, window_no, used, used_before) values (?1, ?2, ?3, ?4, ?5, ?6)
             on conflict (key) do update set tat_ns = excluded.tat_ns, spacing_ns = excluded.spacing_ns, window_no = excluded.window_no,
                 used = excluded.used, used_before = excluded.used_before",
        )?
        .execute((key, tat_ns, spacing_ns, window, used, used_before))?;
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

/// Keeps the clock of a worker, for the next one.
pub(crate) fn keep_clock(connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("update meta set value = max(value, ?2) where key = ?1")?
        .execute((SLOT_CLOCK, now.as_micros()))?;
    Ok(())
}

/// Limits of single domains come and go; what they leave behind says nothing once it is old enough.
fn prune(connection: &Connection, pruned_at: &AtomicI64, now: Timestamp) -> rusqlite::Result<()> {
    if now.as_micros() - pruned_at.load(Ordering::Relaxed) < PRUNE_EVERY_MICROS {
        return Ok(());
    }
    let oldest_ns = nanos(now).saturating_sub(COUNTS_KEPT_NS);
    // An arrival time that has passed is the same as none, but the counts of its windows are not.
    connection.prepare_cached("delete from limit_gcra where tat_ns < ?1")?.execute([oldest_ns])?;
    connection.prepare_cached("delete from limit_count where start_ns < ?1")?.execute([oldest_ns])?;
    pruned_at.store(now.as_micros(), Ordering::Relaxed);
    Ok(())
}
