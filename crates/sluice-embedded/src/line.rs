//! Jobs that wait in line under a limit, and those that have waited for too long.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};
use sluice_engine::WaitingKey;
use sluice_types::{Lane, Timestamp};

use crate::batch::{Basket, Batch, DueLeases, columns};
use crate::convert;
use crate::writer::Writer;

/// Jobs before another are counted up to this.
const AHEAD_MAX: u32 = 10_000;

/// Strands of a line that are looked at for its oldest job, at most.
const STRANDS_SEEN: usize = 1_000;
/// Sorts after every name.
const AFTER_ALL: &str = "\u{10ffff}";

/// The first strand after one, and when its first job was first seen: a step from strand to strand.
const NEXT_STRAND: &str =
    "select limit_key, tenant, campaign_key, pool, class, group_name, seen_at from pending
    where due_at is null and limit_key is not null
        and (limit_key, tenant, campaign_key, pool, class, group_name) > (?1, ?2, ?3, ?4, ?5, ?6)
    order by limit_key, tenant, campaign_key, pool, class, group_name, seen_at limit 1";
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

/// The jobs of one owner (a tenant's campaign, or its jobs of none) and one lane in a line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strand {
    pub(crate) key: String,
    pub(crate) tenant: String,
    pub(crate) campaign: String,
    pub(crate) pool: String,
    pub(crate) class: String,
    pub(crate) group: String,
}

/// The first `max` keys after one under which jobs wait.
pub(crate) fn waiting(
    connection: &Connection,
    after: Option<String>,
    max: u32,
    count_max: u32,
) -> rusqlite::Result<Vec<WaitingKey>> {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    let mut keys: Vec<WaitingKey> = Vec::new();
    let mut next = connection.prepare_cached(NEXT_STRAND)?;
    let after = after.map(|key| Strand { key, tenant: AFTER_ALL.to_owned(), ..Strand::default() });
    let (mut at, mut seen) = (after.unwrap_or_default(), 0);
    while let Some((strand, seen_at)) = next_strand(&mut next, &at)? {
        let oldest = Timestamp::from_micros(seen_at);
        if let Some(last) = keys.last_mut().filter(|last| last.key == strand.key) {
            last.oldest = last.oldest.min(oldest);
            seen += 1;
        } else if keys.len() < max {
            keys.push(WaitingKey { key: strand.key.clone(), jobs: 0, oldest });
            seen = 1;
        } else {
            break;
        }
        at = strand;
        if seen >= STRANDS_SEEN {
            AFTER_ALL.clone_into(&mut at.tenant);
        }
    }
    let mut count = connection.prepare_cached(COUNT)?;
    for key in &mut keys {
        key.jobs = count.query_row(params![key.key, count_max], |row| convert::count(row, 0))?;
    }
    Ok(keys)
}

/// The strand after one by `select`, and when its first job was first seen.
pub(crate) fn next_strand(
    select: &mut CachedStatement<'_>,
    after: &Strand,
) -> rusqlite::Result<Option<(Strand, i64)>> {
    let Strand { key, tenant, campaign, pool, class, group } = after;
    let strand = select.query_row(params![key, tenant, campaign, pool, class, group], |row| {
        let strand = Strand {
            key: row.get(0)?,
            tenant: row.get(1)?,
            campaign: row.get(2)?,
            pool: row.get(3)?,
            class: row.get(4)?,
            group: row.get(5)?,
        };
        Ok((strand, row.get(6)?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_one_seek_in_an_index() {
        for (statement, index, by) in [
            (
                NEXT_STRAND,
                "pending_line",
                "(limit_key,tenant,campaign_key,pool,class,group_name)>(?,?,?,?,?,?)",
            ),
            (COUNT, "pending_line", "limit_key=?"),
            (COUNT_BEFORE, "pending_line", "limit_key=?"),
            (EXPIRED, "pending_expires", "expires_at<?"),
        ] {
            crate::schema::tests::assert_seeks(statement, index, by);
        }
    }
}
