//! What goes from lines: the owners of jobs in each take turns, and of an owner's jobs the first seen goes first, but for those
//! whose lane is full and those that another relay holds.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use sluice_engine::ReleaseQuery;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::batch::{Locked, PostgresDueBatch, job_columns};
use crate::connections::Lent;
use crate::convert::{clean, column};
use crate::strands::Strand;
use crate::turns::share_owners;
use crate::{Postgres, StoreError};

const STEP: &str = "release jobs from lines";

/// Of each lane of an owner at least so many jobs are looked at, and four times as many each time that they were too few.
const LOOK_LEAST: usize = 20;
const LOOK_MOST: usize = 10_000;
const LOOK_GROWS: usize = 4;
/// Times that the turns which some owners had no jobs for are given to the others.
const ROUNDS_MAX: usize = 5;
/// Jobs of cancelled campaigns that go in one batch beside what was asked for.
const CANCELLED_MAX: usize = 1_000;

/// The first jobs of the owners $2 and $3 in lines $1, up to the turns of each ($5), without those that we hold already ($8): of
/// their lanes $7, a line of text each, so many ($6) are looked at. Transactional ones come first, then the first seen; and none
/// that stands behind the last one of a lane that `has_more`: what is not looked at there may come before it.
///
/// A row for each owner at least, without a job where there is none to be had.
const TAKE: &str = concat!(
    "
SELECT o.place, coalesce(m.until_urgent, m.until_bulk) IS NOT NULL AS has_more, p.seen AS turn_at, ",
    job_columns!(),
    "
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[])
    AS o (key, tenant, campaign, place, turns, look, lanes)
CROSS JOIN LATERAL (
    SELECT array_agg(f.job_id) AS ids, array_agg(f.seen) AS seens, array_agg(l.is_bulk) AS are_bulk,
        min(f.last) FILTER (WHERE f.looked >= o.look AND NOT l.is_bulk) AS until_urgent,
        min(f.last) FILTER (WHERE f.looked >= o.look AND l.is_bulk) AS until_bulk
    FROM (
        SELECT lane, split_part(lane, '.', 2) <> 'transactional' AS is_bulk
        FROM unnest(string_to_array(o.lanes, E'\\n')) AS t (lane)
    ) l
    CROSS JOIN LATERAL (
        SELECT q.job_id, q.seen, count(*) OVER () AS looked, max(q.seen) OVER () AS last
        FROM (
            SELECT q.job_id, coalesce(q.first_seen, q.created_at) AS seen
            FROM sluice.pending q
            WHERE q.due_at IS NULL
              AND coalesce(q.limit_key, '') COLLATE \"C\" = o.key
              AND q.tenant COLLATE \"C\" = o.tenant
              AND coalesce(q.campaign, '') COLLATE \"C\" = o.campaign
              AND (q.pool || '.' || q.class || '.' || q.group_name) COLLATE \"C\" = l.lane
              AND coalesce(q.expires_at > statement_timestamp(), true)
              AND NOT q.job_id = ANY ($8)
            ORDER BY 2
            LIMIT o.look
        ) q
    ) f
) m
LEFT JOIN LATERAL (
    SELECT p.*, w.seen
    FROM (
        SELECT u.job_id, u.seen, u.is_bulk
        FROM unnest(m.ids, m.seens, m.are_bulk) AS u (job_id, seen, is_bulk)
        WHERE CASE WHEN u.is_bulk THEN m.until_urgent IS NULL AND coalesce(u.seen <= m.until_bulk, true)
            ELSE coalesce(u.seen <= m.until_urgent, true) END
        ORDER BY u.is_bulk, u.seen
    ) w
    JOIN sluice.pending p ON p.job_id = w.job_id
    ORDER BY w.is_bulk, w.seen
    LIMIT o.turns
    FOR UPDATE OF p SKIP LOCKED
) p ON true
"
);

/// A tenant's campaign, or its jobs of none, in one line.
#[derive(Debug)]
struct Owner {
    /// The place of its line among those that were asked for.
    line: usize,
    tenant: String,
    campaign: String,
    /// Its lanes that are not full.
    lanes: Vec<String>,
}

/// An owner whose turn it is, and how many.
struct Turn<'a> {
    owner: &'a Owner,
    turns: usize,
}

impl Turn<'_> {
    /// How many jobs of each of its lanes are looked at in this round.
    fn look(&self, round: usize) -> usize {
        let even = 2 * self.turns / self.owner.lanes.len().max(1);
        let grown = LOOK_GROWS.saturating_pow(u32::try_from(round).unwrap_or(u32::MAX));
        even.max(LOOK_LEAST).saturating_mul(grown).min(LOOK_MOST)
    }
}

impl Postgres {
    /// Takes the first jobs of lines; they stay locked as long as the batch lives.
    pub(crate) async fn take_from_lines(
        &self,
        query: &ReleaseQuery,
    ) -> Result<Option<PostgresDueBatch>, StoreError> {
        // A key that stood there twice would take the same jobs twice.
        let mut lines: BTreeMap<Cow<'_, str>, usize> = BTreeMap::new();
        for (key, jobs) in query.counts.iter().filter(|(_, jobs)| *jobs > 0) {
            *lines.entry(clean(key)).or_default() += usize::try_from(*jobs).unwrap_or(usize::MAX);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let keys: Vec<&str> = lines.keys().map(AsRef::as_ref).collect();
        let full: HashSet<String> = query.full.iter().map(ToString::to_string).collect();
        let paused = owners_of(&query.paused);
        let mut owners = owners(self.look_for_strands(&keys).await?, &full);
        owners.retain(|owner| !is_of(owner, &paused));
        if owners.is_empty() {
            return Ok(None);
        }
        self.take_turns_in_lines(query, &keys, lines.values().copied().collect(), &owners).await
    }

    async fn take_turns_in_lines(
        &self,
        query: &ReleaseQuery,
        keys: &[&str],
        mut left: Vec<usize>,
        owners: &[Owner],
    ) -> Result<Option<PostgresDueBatch>, StoreError> {
        let weights: HashMap<&str, u32> =
            query.weights.iter().map(|(tenant, weight)| (tenant.as_str(), *weight)).collect();
        let mut chance = fastrand::Rng::new();
        let cancelled = owners_of(&query.cancelled);
        let (free, mut owners): (Vec<&Owner>, Vec<&Owner>) =
            owners.iter().partition(|owner| is_of(owner, &cancelled));
        let lent = self.relay.borrow(STEP).await?;
        let (mut locked, mut is_open) = (Locked::default(), false);
        if !free.is_empty() {
            let each = (CANCELLED_MAX / free.len()).max(1);
            let turns: Vec<Turn<'_>> =
                free.into_iter().take(CANCELLED_MAX).map(|owner| Turn { owner, turns: each }).collect();
            locked.take(&take(&lent, keys, &turns, &locked, (0, is_open)).await?)?;
            is_open = true;
        }
        for round in 0..ROUNDS_MAX {
            let turns = deal(&owners, &left, &weights, &mut chance);
            if turns.is_empty() {
                break;
            }
            let rows = take(&lent, keys, &turns, &locked, (round, is_open)).await?;
            is_open = true;
            locked.take(&rows)?;
            let mut got = vec![(0, false); turns.len()];
            for row in &rows {
                let place = usize::try_from(column::<i64>(row, STEP, "place")?).ok();
                if let Some((got, has_more)) = place.and_then(|place| got.get_mut(place)) {
                    *got += usize::from(column::<Option<&str>>(row, STEP, "job_id")?.is_some());
                    *has_more |= column::<bool>(row, STEP, "has_more")?;
                }
            }
            for (turn, (got, _)) in turns.iter().zip(&got) {
                if let Some(left) = left.get_mut(turn.owner.line) {
                    *left = left.saturating_sub(*got);
                }
            }
            // One that has not used its turns has none but those that another relay holds, and what was not looked at.
            owners = turns
                .iter()
                .zip(got)
                .filter(|(turn, (got, has_more))| turn.turns == *got || *has_more)
                .map(|(it, _)| it.owner)
                .collect();
        }
        locked.into_batch(lent).await
    }
}

/// Gives out what is `left` of each line among the owners that have jobs there, which stand together by line.
fn deal<'a>(
    owners: &[&'a Owner],
    left: &[usize],
    weights: &HashMap<&str, u32>,
    chance: &mut fastrand::Rng,
) -> Vec<Turn<'a>> {
    let mut lines: BTreeMap<usize, Vec<&'a Owner>> = BTreeMap::new();
    for owner in owners {
        lines.entry(owner.line).or_default().push(owner);
    }
    let mut dealt = Vec::with_capacity(owners.len());
    for (line, owners) in lines {
        let left = left.get(line).copied().unwrap_or(0);
        if left == 0 {
            continue;
        }
        let tenants: Vec<&str> = owners.iter().map(|owner| owner.tenant.as_str()).collect();
        let turns = share_owners(&tenants, weights, left, chance);
        dealt.extend(owners.into_iter().zip(turns).map(|(owner, turns)| Turn { owner, turns }));
    }
    dealt
}

async fn take(
    lent: &Lent,
    keys: &[&str],
    turns: &[Turn<'_>],
    locked: &Locked,
    (round, is_open): (usize, bool),
) -> Result<Vec<Row>, StoreError> {
    let (mut lines, mut tenants, mut campaigns, mut lanes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut places, mut counts, mut looks) = (Vec::new(), Vec::new(), Vec::new());
    let int8 = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    for (place, turn) in turns.iter().enumerate().filter(|(_, turn)| turn.turns > 0) {
        lines.push(keys.get(turn.owner.line).copied().unwrap_or_default());
        tenants.push(turn.owner.tenant.as_str());
        campaigns.push(turn.owner.campaign.as_str());
        lanes.push(turn.owner.lanes.join("\n"));
        places.push(int8(place));
        counts.push(int8(turn.turns));
        looks.push(int8(turn.look(round)));
    }
    let params: [&(dyn ToSql + Sync); 8] =
        [&lines, &tenants, &campaigns, &places, &counts, &looks, &lanes, &locked.ids()];
    if is_open { lent.query(STEP, TAKE, &params).await } else { lent.begin(STEP, TAKE, &params).await }
}

/// Whose the strands are, without those whose lane is full.
fn owners(strands: Vec<Strand>, full: &HashSet<String>) -> Vec<Owner> {
    let mut owners: BTreeMap<(usize, String, String), Vec<String>> = BTreeMap::new();
    for strand in strands.into_iter().filter(|strand| !full.contains(&strand.lane)) {
        owners.entry((strand.line, strand.tenant, strand.campaign)).or_default().push(strand.lane);
    }
    owners
        .into_iter()
        .map(|((line, tenant, campaign), lanes)| Owner { line, tenant, campaign, lanes })
        .collect()
}

fn owners_of(campaigns: &[(String, String)]) -> HashSet<(Cow<'_, str>, Cow<'_, str>)> {
    campaigns.iter().map(|(tenant, campaign)| (clean(tenant), clean(campaign))).collect()
}

fn is_of(owner: &Owner, campaigns: &HashSet<(Cow<'_, str>, Cow<'_, str>)>) -> bool {
    !campaigns.is_empty()
        && campaigns.contains(&(Cow::Borrowed(owner.tenant.as_str()), Cow::Borrowed(owner.campaign.as_str())))
}
