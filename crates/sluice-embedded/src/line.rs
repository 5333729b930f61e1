//! Jobs that wait in line under a limit, first seen first.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use sluice_engine::WaitingKey;
use sluice_types::{Lane, Timestamp};

use crate::batch::{Basket, Batch, DueLeases, Found, columns};
use crate::convert;
use crate::writer::Writer;

/// Jobs before another are counted up to this.
const AHEAD_MAX: u32 = 10_000;

/// The first strand after one, and when its first job was first seen: a step from strand to strand.
const NEXT_STRAND: &str = "select limit_key, pool, class, group_name, seen_at from pending
    where due_at is null and limit_key is not null and (limit_key, pool, class, group_name) > (?1, ?2, ?3, ?4)
    order by limit_key, pool, class, group_name, seen_at limit 1";
/// The same within one line.
const NEXT_OF_LINE: &str = "select limit_key, pool, class, group_name, seen_at from pending
    where due_at is null and limit_key = ?1 and (pool, class, group_name) > (?2, ?3, ?4)
    order by pool, class, group_name, seen_at limit 1";
/// The jobs of a strand that were first seen at the same instant as one, after it.
const NEXT_OF_INSTANT: &str = concat!(
    "select seen_at, ",
    columns!(),
    " from pending where due_at is null and limit_key = ?1 and pool = ?2 and class = ?3 and group_name = ?4
          and seen_at = ?5 and seq > ?6 and (expires_at is null or expires_at > ?7)
      order by seq"
);
/// The jobs of a strand after an instant, first seen first.
const AFTER_INSTANT: &str = concat!(
    "select seen_at, ",
    columns!(),
    " from pending where due_at is null and limit_key = ?1 and pool = ?2 and class = ?3 and group_name = ?4
          and seen_at > ?5 and (expires_at is null or expires_at > ?6)
      order by seen_at, seq"
);
/// The jobs that have expired in line, oldest end first.
const EXPIRED: &str = concat!(
    "select expires_at, ",
    columns!(),
    " from pending where due_at is null and limit_key is not null and expires_at <= ?1
      order by expires_at, seq"
);
const COUNT: &str =
    "select count(*) from (select 1 from pending where due_at is null and limit_key = ?1 limit ?2)";
const COUNT_BEFORE: &str = "select count(*) from (select 1 from pending
    where due_at is null and limit_key = ?1 and (seen_at, seq) < (?2, ?3) limit ?4)";

/// A line within one lane.
#[derive(Clone, Debug, Default)]
struct Strand {
    key: String,
    pool: String,
    class: String,
    group: String,
}

/// The first `max` keys under which jobs wait.
pub(crate) fn waiting(
    connection: &Connection,
    max: u32,
    count_max: u32,
) -> rusqlite::Result<Vec<WaitingKey>> {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let mut keys: Vec<WaitingKey> = Vec::new();
    let mut next = connection.prepare_cached(NEXT_STRAND)?;
    let mut at = Strand::default();
    while let Some((strand, seen_at)) = next_strand(&mut next, &at)? {
        let oldest = Timestamp::from_micros(seen_at);
        if let Some(last) = keys.last_mut().filter(|last| last.key == strand.key) {
            last.oldest = last.oldest.min(oldest);
        } else if keys.len() < max {
            keys.push(WaitingKey { key: strand.key.clone(), jobs: 0, oldest });
        } else {
            break;
        }
        at = strand;
    }
    let mut count = connection.prepare_cached(COUNT)?;
    for key in &mut keys {
        key.jobs = count.query_row(params![key.key, count_max], |row| convert::count(row, 0))?;
    }
    Ok(keys)
}

fn next_strand(select: &mut CachedStatement<'_>, after: &Strand) -> rusqlite::Result<Option<(Strand, i64)>> {
    let Strand { key, pool, class, group } = after;
    let strand = select.query_row(params![key, pool, class, group], |row| {
        let strand = Strand { key: row.get(0)?, pool: row.get(1)?, class: row.get(2)?, group: row.get(3)? };
        Ok((strand, row.get(4)?))
    });
    strand.optional()
}

/// How many jobs go before the parked job `id`; `None` when it is not in line.
pub(crate) fn ahead(connection: &Connection, id: &str) -> rusqlite::Result<Option<u64>> {
    let place = connection
        .prepare_cached(
            "select limit_key, seen_at, seq from pending
             where job_id = ?1 and due_at is null and limit_key is not null",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((key, seen_at, seq)): Option<(String, i64, i64)> = place else { return Ok(None) };
    let mut count = connection.prepare_cached(COUNT_BEFORE)?;
    count.query_row(params![key, seen_at, seq, AHEAD_MAX], |row| convert::count(row, 0)).map(Some)
}

/// Leases the first jobs of each line, as many as its count says. Runs on the relay's thread.
pub(crate) fn release(
    connection: &Connection,
    (leases, writer): (&Arc<DueLeases>, &Writer),
    now: Timestamp,
    counts: &[(String, u32)],
    full: &[Lane],
) -> rusqlite::Result<Option<Batch>> {
    let full: HashSet<String> = full.iter().map(Lane::to_string).collect();
    let mut basket = Basket::new(leases, usize::MAX);
    for (key, count) in counts {
        release_line(connection, (key, *count), now, &full, &mut basket)?;
    }
    basket.sort();
    Ok(basket.lease(leases, writer))
}

/// Leases jobs that have expired in line, `max` at most. Runs on the relay's thread.
pub(crate) fn expired(
    connection: &Connection,
    (leases, writer): (&Arc<DueLeases>, &Writer),
    now: Timestamp,
    max: u32,
    full: &[Lane],
) -> rusqlite::Result<Option<Batch>> {
    let full: HashSet<String> = full.iter().map(Lane::to_string).collect();
    let mut basket = Basket::new(leases, usize::try_from(max).unwrap_or(usize::MAX));
    let mut select = connection.prepare_cached(EXPIRED)?;
    basket.fill(select.query([now.as_micros()])?, &full)?;
    Ok(basket.lease(leases, writer))
}

/// Merges the line's strands but for those of full lanes, whose jobs are not even looked at.
fn release_line(
    connection: &Connection,
    (key, count): (&str, u32),
    now: Timestamp,
    full: &HashSet<String>,
    basket: &mut Basket,
) -> rusqlite::Result<()> {
    let mut heads: Vec<(Strand, Option<Found>)> = Vec::new();
    for strand in strands(connection, key)? {
        if !full.contains(&format!("{}.{}.{}", strand.pool, strand.class, strand.group)) {
            let head = next_job(connection, &strand, (i64::MIN, i64::MIN), now, basket)?;
            heads.push((strand, head));
        }
    }
    for _ in 0..count {
        heads.retain(|(_, head)| head.is_some());
        let place = |(_, head): &&mut (Strand, Option<Found>)| head.as_ref().map(|found| found.place);
        let Some((strand, head)) = heads.iter_mut().min_by_key(place) else { break };
        let Some(found) = head.take() else { break };
        if basket.is_full() {
            break;
        }
        let place = found.place;
        basket.put(found);
        *head = next_job(connection, strand, place, now, basket)?;
    }
    Ok(())
}

fn strands(connection: &Connection, key: &str) -> rusqlite::Result<Vec<Strand>> {
    let mut next = connection.prepare_cached(NEXT_OF_LINE)?;
    let mut strands = Vec::new();
    let mut at = Strand { key: key.to_owned(), ..Strand::default() };
    while let Some((strand, _)) = next_strand(&mut next, &at)? {
        strands.push(strand.clone());
        at = strand;
    }
    Ok(strands)
}

fn next_job(
    connection: &Connection,
    strand: &Strand,
    (seen_at, seq): (i64, i64),
    now: Timestamp,
    basket: &Basket,
) -> rusqlite::Result<Option<Found>> {
    let Strand { key, pool, class, group } = strand;
    let now = now.as_micros();
    let mut of_instant = connection.prepare_cached(NEXT_OF_INSTANT)?;
    let rows = of_instant.query(params![key, pool, class, group, seen_at, seq, now])?;
    if let Some(found) = basket.first_free(rows)? {
        return Ok(Some(found));
    }
    let mut after = connection.prepare_cached(AFTER_INSTANT)?;
    basket.first_free(after.query(params![key, pool, class, group, seen_at, now])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_one_seek_in_an_index() {
        for (statement, by) in [
            (NEXT_STRAND, "(limit_key,pool,class,group_name)>(?,?,?,?)"),
            (NEXT_OF_LINE, "limit_key=? AND (pool,class,group_name)>(?,?,?)"),
            (
                NEXT_OF_INSTANT,
                "limit_key=? AND pool=? AND class=? AND group_name=? AND seen_at=? AND rowid>?",
            ),
            (AFTER_INSTANT, "limit_key=? AND pool=? AND class=? AND group_name=? AND seen_at>?"),
            (COUNT, "limit_key=?"),
            (COUNT_BEFORE, "limit_key=?"),
        ] {
            crate::schema::tests::assert_seeks(statement, "pending_line", by);
        }
        crate::schema::tests::assert_seeks(EXPIRED, "pending_expires", "expires_at<?");
    }
}
