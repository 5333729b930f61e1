//! What goes from lines: the owners of jobs in each take turns, and of an owner's jobs the first seen goes first.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, params};
use sluice_engine::ReleaseQuery;
use sluice_types::{Class, Lane, Timestamp};

use crate::batch::{Basket, Batch, DueLeases, Found, columns};
use crate::line::{Strand, next_strand};
use crate::turns::{DueFlow, Flow, Rota, Turns};
use crate::writer::Writer;

/// Strands of a line that take turns in one batch, at most.
const STRANDS: usize = 2_000;
/// Lines whose turns are remembered.
const LINES_KEPT: usize = 5_000;
/// Jobs of cancelled campaigns that go in one batch beside what was asked for.
const CANCELLED_MAX: usize = 1_000;

/// The first strand of one line after one.
const NEXT_OF_LINE: &str =
    "select limit_key, tenant, campaign_key, pool, class, group_name, seen_at from pending
    where due_at is null and limit_key = ?1
        and (tenant, campaign_key, pool, class, group_name) > (?2, ?3, ?4, ?5, ?6)
    order by tenant, campaign_key, pool, class, group_name, seen_at limit 1";
/// The jobs of a strand that were first seen at the same instant as one, after it.
const NEXT_OF_INSTANT: &str = concat!(
    "select seen_at, ",
    columns!(),
    " from pending where due_at is null and limit_key = ?1 and tenant = ?2 and campaign_key = ?3
          and pool = ?4 and class = ?5 and group_name = ?6
          and seen_at = ?7 and seq > ?8 and (expires_at is null or expires_at > ?9)
      order by seq"
);
/// The jobs of a strand after an instant, first seen first.
const AFTER_INSTANT: &str = concat!(
    "select seen_at, ",
    columns!(),
    " from pending where due_at is null and limit_key = ?1 and tenant = ?2 and campaign_key = ?3
          and pool = ?4 and class = ?5 and group_name = ?6
          and seen_at > ?7 and (expires_at is null or expires_at > ?8)
      order by seen_at, seq"
);

/// What the relay's thread remembers of lines from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    last: Mutex<HashMap<String, Round>>,
}

#[derive(Debug, Default)]
struct Round {
    rota: Rota,
    /// The strand after which the next look begins; only when a line has more than can be looked at does it not begin at
    /// the first.
    after: Option<Strand>,
}

/// An owner's jobs in a line.
#[derive(Default)]
struct Owned {
    /// Its lanes that were not looked into yet.
    strands: Vec<Strand>,
    /// The next job of each other.
    heads: Vec<(Strand, Found)>,
}

/// What goes for all lines of one call.
struct Release<'a> {
    connection: &'a Connection,
    now: Timestamp,
    full: HashSet<String>,
    paused: HashSet<(&'a str, &'a str)>,
    cancelled: HashSet<(&'a str, &'a str)>,
    weights: HashMap<&'a str, u32>,
}

/// Leases jobs of each line, as many as its count says. Runs on the relay's thread.
pub(crate) fn release(
    connection: &Connection,
    (leases, lines): (&Arc<DueLeases>, &Lines),
    writer: &Writer,
    now: Timestamp,
    query: &ReleaseQuery,
) -> rusqlite::Result<Option<Batch>> {
    let release = Release {
        connection,
        now,
        full: query.full.iter().map(Lane::to_string).collect(),
        paused: owners(&query.paused),
        cancelled: owners(&query.cancelled),
        weights: query.weights.iter().map(|(tenant, weight)| (tenant.as_str(), *weight)).collect(),
    };
    let mut rounds = lines.last.lock().unwrap_or_else(PoisonError::into_inner);
    if rounds.len() > LINES_KEPT {
        rounds.clear();
    }
    let mut basket = Basket::new(leases, usize::MAX);
    let mut free = CANCELLED_MAX;
    for (key, count) in query.counts.iter().filter(|(_, count)| *count > 0) {
        let round = rounds.remove(key).unwrap_or_default();
        let round = release.line((key, *count), round, &mut free, &mut basket)?;
        if let Some(round) = round {
            rounds.insert(key.clone(), round);
        }
    }
    basket.sort();
    Ok(basket.lease(leases, writer))
}

fn owners(campaigns: &[(String, String)]) -> HashSet<(&str, &str)> {
    campaigns.iter().map(|(tenant, campaign)| (tenant.as_str(), campaign.as_str())).collect()
}

impl Release<'_> {
    /// Puts jobs of one line into the basket; answers what its next batch has to know, if anything.
    fn line(
        &self,
        (key, count): (&str, u32),
        mut round: Round,
        free: &mut usize,
        basket: &mut Basket,
    ) -> rusqlite::Result<Option<Round>> {
        let strands = self.strands(key, &mut round.after)?;
        let (mut flows, mut owned) = (Vec::new(), HashMap::new());
        for strands in strands.chunk_by(|a, b| owner(&a.0) == owner(&b.0)) {
            let Some((first, _)) = strands.first() else { continue };
            let since = strands.iter().map(|(_, seen_at)| *seen_at).min().unwrap_or(0);
            let not_full =
                strands.iter().map(|(strand, _)| strand).filter(|it| !self.full.contains(&lane(it)));
            let mut of_owner = Owned { strands: not_full.cloned().collect(), ..Owned::default() };
            if self.paused.contains(&owner(first)) || of_owner.strands.is_empty() {
                continue;
            }
            if self.cancelled.contains(&owner(first)) {
                while *free > 0 && !basket.is_full() && self.take_one(&mut of_owner, basket)? {
                    *free -= 1;
                }
                continue;
            }
            let flow = flow(first);
            flows.push(DueFlow { flow: flow.clone(), since, taken: (i64::MIN, i64::MIN) });
            owned.insert(flow, of_owner);
        }
        let is_shared = flows.len() > 1;
        let mut turns = Turns::new(&flows, &round.rota, &self.weights);
        let mut left = count;
        while left > 0 && !basket.is_full() {
            let took = |due: &mut DueFlow| -> rusqlite::Result<bool> {
                let Some(of_owner) = owned.get_mut(&due.flow) else { return Ok(false) };
                let took = self.take_one(of_owner, basket)?;
                left -= u32::from(took);
                Ok(took)
            };
            if !turns.turn(took)? {
                break;
            }
        }
        round.rota = turns.end();
        Ok((is_shared || round.after.is_some()).then_some(round))
    }

    /// As many strands of a line as take turns in one batch, in order, and when the first job of each was first seen.
    fn strands(&self, key: &str, after: &mut Option<Strand>) -> rusqlite::Result<Vec<(Strand, i64)>> {
        let mut next = self.connection.prepare_cached(NEXT_OF_LINE)?;
        let first = || Strand { key: key.to_owned(), ..Strand::default() };
        let mut is_whole = after.is_none();
        let mut at = after.take().unwrap_or_else(first);
        let mut strands = Vec::new();
        while strands.len() < STRANDS {
            if let Some((strand, seen_at)) = next_strand(&mut next, &at)? {
                strands.push((strand.clone(), seen_at));
                at = strand;
            } else if is_whole || !strands.is_empty() {
                return Ok(strands);
            } else {
                // Nothing is behind the last one; its first follows.
                is_whole = true;
                at = first();
            }
        }
        *after = Some(at);
        Ok(strands)
    }

    /// Takes the first seen of an owner's jobs, transactional ones before bulk; answers whether there was one.
    fn take_one(&self, owned: &mut Owned, basket: &mut Basket) -> rusqlite::Result<bool> {
        for strand in owned.strands.drain(..) {
            if let Some(found) = self.next_job(&strand, (i64::MIN, i64::MIN), basket)? {
                owned.heads.push((strand, found));
            }
        }
        let rank =
            |(strand, found): &(Strand, Found)| (strand.class != Class::Transactional.as_str(), found.place);
        let first = owned.heads.iter().enumerate().min_by_key(|(_, head)| rank(head));
        let Some(first) = first.map(|(at, _)| at) else { return Ok(false) };
        let (strand, found) = owned.heads.swap_remove(first);
        let place = found.place;
        basket.put(found);
        if let Some(next) = self.next_job(&strand, place, basket)? {
            owned.heads.push((strand, next));
        }
        Ok(true)
    }

    fn next_job(
        &self,
        strand: &Strand,
        (seen_at, seq): (i64, i64),
        basket: &Basket,
    ) -> rusqlite::Result<Option<Found>> {
        let Strand { key, tenant, campaign, pool, class, group } = strand;
        let now = self.now.as_micros();
        let mut of_instant = self.connection.prepare_cached(NEXT_OF_INSTANT)?;
        let rows = of_instant.query(params![key, tenant, campaign, pool, class, group, seen_at, seq, now])?;
        if let Some(found) = basket.first_free(rows)? {
            return Ok(Some(found));
        }
        let mut after = self.connection.prepare_cached(AFTER_INSTANT)?;
        basket.first_free(after.query(params![key, tenant, campaign, pool, class, group, seen_at, now])?)
    }
}

fn owner(strand: &Strand) -> (&str, &str) {
    (&strand.tenant, &strand.campaign)
}

fn lane(strand: &Strand) -> String {
    format!("{}.{}.{}", strand.pool, strand.class, strand.group)
}

/// The owner among those that take turns: in a line these are not told apart by their lanes.
fn flow(strand: &Strand) -> Flow {
    Flow { tenant: strand.tenant.clone(), campaign: strand.campaign.clone(), ..Flow::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_one_seek_in_an_index() {
        const STRAND: &str =
            "limit_key=? AND tenant=? AND campaign_key=? AND pool=? AND class=? AND group_name=?";
        for (statement, by) in [
            (
                NEXT_OF_LINE,
                "limit_key=? AND (tenant,campaign_key,pool,class,group_name)>(?,?,?,?,?)".to_owned(),
            ),
            (NEXT_OF_INSTANT, format!("{STRAND} AND seen_at=? AND rowid>?")),
            (AFTER_INSTANT, format!("{STRAND} AND seen_at>?")),
        ] {
            crate::schema::tests::assert_seeks(statement, "pending_line", &by);
        }
    }
}
