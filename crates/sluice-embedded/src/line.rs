//! Jobs that wait in line under a limit, and those that have waited for too long.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};
use sluice_engine::{PendingView, WaitingKey};
use sluice_types::{Class, Lane, Timestamp};

use crate::batch::{Basket, Batch, DueLeases, columns};
use crate::convert;
use crate::writer::Writer;

/// Behind every place in a line.
const AT_THE_END: (i64, i64) = (i64::MAX, i64::MAX);
/// Strands of a line that are looked at, at most.
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
/// The jobs of a strand that stand before a place.
const COUNT_BEFORE: &str = "select count(*) from (select 1 from pending
    where due_at is null and limit_key = ?1 and tenant = ?2 and campaign_key = ?3 and pool = ?4 and class = ?5 and group_name = ?6
        and (seen_at, seq) < (?7, ?8) limit ?9)";

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
    let place = params![key, tenant, campaign, pool, class, group];
    select.query_row(place, |row| Ok((strand(row)?, row.get(6)?))).optional()
}

/// The strand in the first six columns.
fn strand(row: &Row<'_>) -> rusqlite::Result<Strand> {
    Ok(Strand {
        key: row.get(0)?,
        tenant: row.get(1)?,
        campaign: row.get(2)?,
        pool: row.get(3)?,
        class: row.get(4)?,
        group: row.get(5)?,
    })
}

/// How many jobs go before the parked job `id`; `None` when it is not in line.
///
/// Owners take turns, so as many of each other owner go before it as of its own, or all that there are. Of its own those first
/// seen go first, transactional ones before bulk.
pub(crate) fn ahead(connection: &Connection, id: &str) -> rusqlite::Result<Option<u64>> {
    let place = connection
        .prepare_cached(
            "select limit_key, tenant, campaign_key, pool, class, group_name, seen_at, seq from pending
             where job_id = ?1 and due_at is null and limit_key is not null",
        )?
        .query_row([id], |row| Ok((strand(row)?, (row.get(6)?, row.get(7)?))))
        .optional()?;
    let Some((own, seen)) = place else { return Ok(None) };
    let max = u64::from(PendingView::AHEAD_MAX);
    let strands = strands(connection, own.key.clone())?;
    let is_own = |it: &Strand| (&it.tenant, &it.campaign) == (&own.tenant, &own.campaign);
    let mut before = 0;
    for strand in strands.iter().filter(|it| is_own(it)) {
        before += match (strand.class == own.class, own.class == Class::Bulk.as_str()) {
            (true, _) => count_before(connection, strand, seen, max)?,
            (false, true) => count_before(connection, strand, AT_THE_END, max)?,
            (false, false) => 0,
        };
    }
    let before = before.min(max);
    let most = before.min(max / u64::try_from(strands.len().max(1)).unwrap_or(1));
    let mut others: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for strand in strands.iter().filter(|it| !is_own(it)) {
        let jobs = count_before(connection, strand, AT_THE_END, most)?;
        *others.entry((&strand.tenant, &strand.campaign)).or_default() += jobs;
    }
    let others: u64 = others.into_values().map(|jobs| jobs.min(before)).sum();
    Ok(Some(before.saturating_add(others).min(max)))
}

/// The strands of one line, so many at most.
fn strands(connection: &Connection, key: String) -> rusqlite::Result<Vec<Strand>> {
    let mut next = connection.prepare_cached(NEXT_STRAND)?;
    let mut strands: Vec<Strand> = Vec::new();
    let mut at = Strand { key, ..Strand::default() };
    while let Some((strand, _)) = next_strand(&mut next, &at)?
        && strand.key == at.key
        && strands.len() < STRANDS_SEEN
    {
        strands.push(strand.clone());
        at = strand;
    }
    Ok(strands)
}

fn count_before(
    connection: &Connection,
    strand: &Strand,
    (seen_at, seq): (i64, i64),
    max: u64,
) -> rusqlite::Result<u64> {
    let Strand { key, tenant, campaign, pool, class, group } = strand;
    let place = params![key, tenant, campaign, pool, class, group, seen_at, seq, max.cast_signed()];
    connection.prepare_cached(COUNT_BEFORE)?.query_row(place, |row| convert::count(row, 0))
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
            (
                COUNT_BEFORE,
                "pending_line",
                "limit_key=? AND tenant=? AND campaign_key=? AND pool=? AND class=? AND group_name=? AND seen_at<?",
            ),
            (EXPIRED, "pending_expires", "expires_at<?"),
        ] {
            crate::schema::tests::assert_seeks(statement, index, by);
        }
    }
}
