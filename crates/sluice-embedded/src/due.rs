//! Parked jobs whose time has come, by turns.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{CachedStatement, Connection, params};
use sluice_engine::DueQuery;
use sluice_types::{Lane, Timestamp};

use crate::batch::{Basket, Batch, DueLeases, columns};
use crate::turns::{DueFlow, Flow, Rota, Turns};
use crate::writer::Writer;

/// Flows that take turns in one batch, at most.
const FLOWS: usize = 2_000;
/// Flows that are looked at for one batch, at most: most may have nothing due yet.
const FLOWS_SEEN: usize = 20_000;
/// Sorts after every name.
const AFTER_ALL: &str = "\u{10ffff}";

/// The first flow after one, and when its oldest job is due: a step from flow to flow, however many jobs each has.
const NEXT_FLOW: &str = "select pool, class, group_name, tenant, campaign_key, due_at from pending
    where due_at is not null and (pool, class, group_name, tenant, campaign_key) > (?1, ?2, ?3, ?4, ?5)
    order by pool, class, group_name, tenant, campaign_key, due_at limit 1";
/// The jobs of a flow that are due at the same instant as one, after it: what is due at one instant may be much, and in
/// one statement with the next all of it would be read again for each job.
const NEXT_OF_INSTANT: &str = concat!(
    "select due_at, ",
    columns!(),
    " from pending where pool = ?1 and class = ?2 and group_name = ?3 and tenant = ?4 and campaign_key = ?5
          and due_at = ?6 and seq > ?7
      order by seq"
);
/// The due jobs of a flow after an instant, oldest first.
const AFTER_INSTANT: &str = concat!(
    "select due_at, ",
    columns!(),
    " from pending where pool = ?1 and class = ?2 and group_name = ?3 and tenant = ?4 and campaign_key = ?5
          and due_at > ?6 and due_at <= ?7
      order by due_at, seq"
);

/// What the relay's thread remembers from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    last: Mutex<Round>,
}

#[derive(Debug, Default)]
struct Round {
    rota: Rota,
    /// The flow after which the next look begins; only when there are more than can be looked at does it not begin at the
    /// first.
    after: Flow,
}

/// Leases due jobs. Runs on the relay's thread.
pub(crate) fn due(
    connection: &Connection,
    (leases, rounds): (&Arc<DueLeases>, &Rounds),
    writer: &Writer,
    now: Timestamp,
    query: &DueQuery,
) -> rusqlite::Result<Option<Batch>> {
    let mut round = rounds.last.lock().unwrap_or_else(PoisonError::into_inner);
    let mut basket = Basket::new(leases, usize::try_from(query.max).unwrap_or(usize::MAX));
    let flows = due_flows(connection, &mut round.after, now, query)?;
    let weights: HashMap<&str, u32> =
        query.weights.iter().map(|(tenant, weight)| (tenant.as_str(), *weight)).collect();
    let mut turns = Turns::new(&flows, &round.rota, &weights);
    while !basket.is_full() && turns.turn(|flow| take_one(connection, now, flow, &mut basket))? {}
    round.rota = turns.end();
    Ok(basket.lease(leases, writer))
}

/// Takes the oldest job of a flow, if there is one.
fn take_one(
    connection: &Connection,
    now: Timestamp,
    due: &mut DueFlow,
    basket: &mut Basket,
) -> rusqlite::Result<bool> {
    let Flow { pool, class, group, tenant, campaign } = &due.flow;
    let (at, seq) = due.taken;
    let mut of_instant = connection.prepare_cached(NEXT_OF_INSTANT)?;
    let mut found =
        basket.first_free(of_instant.query(params![pool, class, group, tenant, campaign, at, seq])?)?;
    if found.is_none() {
        let mut after = connection.prepare_cached(AFTER_INSTANT)?;
        let rows = after.query(params![pool, class, group, tenant, campaign, at, now.as_micros()])?;
        found = basket.first_free(rows)?;
    }
    let Some(found) = found else { return Ok(false) };
    due.taken = found.place;
    basket.put(found);
    Ok(true)
}

/// The flows that have a due job, in order, from the one after `after` on.
fn due_flows(
    connection: &Connection,
    after: &mut Flow,
    now: Timestamp,
    query: &DueQuery,
) -> rusqlite::Result<Vec<DueFlow>> {
    let full: HashSet<String> = query.full.iter().map(Lane::to_string).collect();
    let paused: HashSet<(&str, &str)> =
        query.paused.iter().map(|(tenant, campaign)| (tenant.as_str(), campaign.as_str())).collect();
    let mut next = connection.prepare_cached(NEXT_FLOW)?;
    let mut flows = Vec::new();
    let mut is_whole = *after == Flow::default();
    for _ in 0..FLOWS_SEEN {
        let Some((mut flow, since)) = next_flow(&mut next, after)? else {
            // The end: the next look begins at the first again, or this one when it has nothing to show yet.
            *after = Flow::default();
            if is_whole || !flows.is_empty() {
                break;
            }
            is_whole = true;
            continue;
        };
        if full.contains(&format!("{}.{}.{}", flow.pool, flow.class, flow.group)) {
            AFTER_ALL.clone_into(&mut flow.tenant);
        } else if since <= now.as_micros()
            && !paused.contains(&(flow.tenant.as_str(), flow.campaign.as_str()))
        {
            flows.push(DueFlow { flow: flow.clone(), since, taken: (i64::MIN, i64::MIN) });
        }
        *after = flow;
        if flows.len() >= FLOWS {
            break;
        }
    }
    Ok(flows)
}

/// The first flow after one, and when its oldest job is due.
fn next_flow(select: &mut CachedStatement<'_>, after: &Flow) -> rusqlite::Result<Option<(Flow, i64)>> {
    let Flow { pool, class, group, tenant, campaign } = after;
    let mut rows = select.query(params![pool, class, group, tenant, campaign])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let flow = Flow {
        pool: row.get(0)?,
        class: row.get(1)?,
        group: row.get(2)?,
        tenant: row.get(3)?,
        campaign: row.get(4)?,
    };
    Ok(Some((flow, row.get(5)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_one_seek_in_an_index() {
        const FLOW: &str = "pool=? AND class=? AND group_name=? AND tenant=? AND campaign_key=?";
        for (statement, by) in [
            (NEXT_FLOW, "(pool,class,group_name,tenant,campaign_key)>(?,?,?,?,?)".to_owned()),
            (NEXT_OF_INSTANT, format!("{FLOW} AND due_at=? AND rowid>?")),
            (AFTER_INSTANT, format!("{FLOW} AND due_at>? AND due_at<?")),
        ] {
            crate::schema::tests::assert_seeks(statement, "pending_flow", &by);
        }
    }
}
