//! Slot leases: the policy decides, this file loads and keeps its state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension};
use sluice_engine::{Leased, LimitLook, SlotError, SlotSource, Unused, Want};
use sluice_policy::{CountedState, GcraState, Hole, LimitStates, Terms};
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
        let asked_ns = nanos(shared.clock.slot_now());
        let work = move |connection: &Connection| {
            // Read behind the write lock: no other lease can come between the clock and the state.
            let now = inner.clock.slot_now();
            keep_clock(connection, now)?;
            prune(connection, &inner.slots_pruned_at, now)?;
            let limits = wants.iter().flat_map(|want| want.limits.iter());
            change(connection, limits, |states| states.lease_all(&wants, nanos(now)))
        };
        let mut leased = shared.writer.write(count, work).await?;
        // It waits for the writer and for the disk.
        let work_ns = (asked_ns, nanos(shared.clock.slot_now()));
        leased.iter_mut().filter(|it| it.at_ns != 0).for_each(|it| it.work_ns = work_ns);
        Ok(leased)
    }

    async fn give_back(&self, unused: &[Unused]) -> Result<(), SlotError> {
        let shared = self.worker_shared()?.clone();
        let (count, unused, inner) = (unused.len(), unused.to_vec(), shared.clone());
        let work = move |connection: &Connection| {
            let now = inner.clock.slot_now();
            change(connection, unused.iter().map(|one| &one.limit), |states| {
                unused.iter().for_each(|one| states.give_back(one, nanos(now)));
            })
        };
        Ok(shared.writer.write(count, work).await?)
    }

    async fn look(&self, limits: &[Limit]) -> Result<Vec<LimitLook>, SlotError> {
        let (shared, limits) = (self.shared().clone(), limits.to_vec());
        let ask = move |connection: &Connection| {
            let now = slot_now(connection, &shared)?;
            let states = load(connection, &limits)?;
            Ok(limits.iter().map(|limit| states.look(limit, nanos(now))).collect::<Vec<_>>())
        };
        Ok(self.shared().questions.ask(ask).await?)
    }
}

/// Loads the states of some limits, has them changed, and stores what is new.
fn change<'a, T>(
    connection: &Connection,
    limits: impl IntoIterator<Item = &'a Limit>,
    by: impl FnOnce(&mut LimitStates) -> T,
) -> rusqlite::Result<T> {
    let before = load(connection, limits)?;
    let mut after = before.clone();
    let answer = by(&mut after);
    for (key, state) in after.gcra.iter().filter(|(key, state)| before.gcra.get(*key) != Some(*state)) {
        store_gcra(connection, key, state)?;
    }
    let none = CountedState::default();
    for (key, state) in &after.counted {
        store_counted(connection, key, &before.counted.get(key).unwrap_or(&none).used, &state.used)?;
    }
    Ok(answer)
}

/// The states of some limits, each as its kind needs it.
fn load<'a>(
    connection: &Connection,
    limits: impl IntoIterator<Item = &'a Limit>,
) -> rusqlite::Result<LimitStates> {
    let mut states = LimitStates::default();
    for limit in limits {
        let key = limit.key();
        match Terms::of(&limit.spec) {
            Some(Terms::Spaced(_) | Terms::Gcra(_)) if !states.gcra.contains_key(&key) => {
                if let Some(state) = load_gcra(connection, &key)? {
                    states.gcra.insert(key, state);
                }
            }
            Some(Terms::Counted(_)) if !states.counted.contains_key(&key) => {
                let state = load_counted(connection, &key)?;
                states.counted.insert(key, state);
            }
            // Connections are counted by whoever holds them.
            Some(Terms::Spaced(_) | Terms::Gcra(_) | Terms::Counted(_)) | None => {}
        }
    }
    Ok(states)
}

/// The slot clock. A client's own may be behind the worker's, which goes on when the wall clock steps back.
pub(crate) fn slot_now(connection: &Connection, shared: &Shared) -> rusqlite::Result<Timestamp> {
    let kept = Timestamp::from_micros(schema::meta(connection, SLOT_CLOCK)?);
    Ok(shared.clock.slot_now().max(kept))
}

fn nanos(at: Timestamp) -> i64 {
    at.as_micros().saturating_mul(1000)
}

fn load_gcra(connection: &Connection, key: &str) -> rusqlite::Result<Option<GcraState>> {
    connection
        .prepare_cached(
            "select tat_ns, spacing_ns, window_no, used, used_before, holes, grid, hole_spacing_ns, burst, owed_ns
             from limit_gcra where key = ?1",
        )?
        .query_row([key], |row| {
            let spacing_ns = row.get(1)?;
            let mut state = GcraState {
                tat_ns: row.get(0)?,
                spacing_ns,
                burst: row.get(8)?,
                owed_ns: row.get(9)?,
                window: row.get(2)?,
                used: row.get(3)?,
                used_before: row.get(4)?,
                holes: holes_of_text(&row.get::<_, String>(5)?)?,
                grid: row.get(6)?,
            };
            if row.get::<_, i64>(7)? != spacing_ns {
                state.holes.clear();
                state.grid += 1;
            }
            Ok(state)
        })
        .optional()
}

fn store_gcra(connection: &Connection, key: &str, state: &GcraState) -> rusqlite::Result<()> {
    let GcraState { tat_ns, spacing_ns, burst, owed_ns, window, used, used_before, ref holes, grid } = *state;
    connection
        .prepare_cached(
            "insert into limit_gcra (key, tat_ns, spacing_ns, window_no, used, used_before, holes, grid, hole_spacing_ns,
                 burst, owed_ns)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?3, ?9, ?10)
             on conflict (key) do update set tat_ns = excluded.tat_ns, spacing_ns = excluded.spacing_ns, window_no = excluded.window_no,
                 used = excluded.used, used_before = excluded.used_before, holes = excluded.holes, grid = excluded.grid,
                 hole_spacing_ns = excluded.hole_spacing_ns, burst = excluded.burst, owed_ns = excluded.owed_ns",
        )?
        .execute((key, tat_ns, spacing_ns, window, used, used_before, text_of_holes(holes), grid, burst, owed_ns))?;
    Ok(())
}

/// `[[opening, count],...]`; the policy bounds how many there are.
fn text_of_holes(holes: &[Hole]) -> String {
    let pairs: Vec<String> = holes.iter().map(|hole| format!("[{},{}]", hole.first_ns, hole.count)).collect();
    format!("[{}]", pairs.join(","))
}

fn holes_of_text(text: &str) -> rusqlite::Result<Vec<Hole>> {
    let pairs: Vec<(i64, i64)> = serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(5, Type::Text, Box::new(error)))?;
    Ok(pairs.into_iter().map(|(first_ns, count)| Hole { first_ns, count }).collect())
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
