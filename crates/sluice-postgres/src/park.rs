//! Parking: jobs put aside with their bodies.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::SystemTime;

use sluice_engine::{Due, ParkVerdict, Parked};
use sluice_types::WaitReason;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::convert::{clean, clean_some, column, instant, int4, wait_us};
use crate::{Postgres, StoreError};

const STEP: &str = "park jobs";

/// Bodies that go into one statement, in bytes; a message of the protocol holds 1 GiB.
const STATEMENT_BODY_BYTES: usize = 32 * 1024 * 1024;

/// Parked copies `q` that wait for the outcome of a job, or are to be sent though it is in doubt: once it is final they are nobody's.
macro_rules! waits_for_outcome {
    () => {
        "(q.reason IN ('in_flight_elsewhere', 'unknown', 'retry') OR q.resend)"
    };
}
pub(crate) use waits_for_outcome;

/// Parks the rows of the parameters; `$after` stands behind the insert.
macro_rules! park {
    ($after:literal) => {
        concat!(
            "
WITH p AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::timestamptz[], $9::bigint[], $10::text[], $11::text[], $12::int[], $13::boolean[],
            $14::timestamptz[], $15::text[], $16::text[], $17::timestamptz[], $18::bytea[])
        AS u (job_id, tenant, campaign, pool, class, domain, group_name, due_at, due_in_us, reason, limit_key,
              attempt, resend, first_seen, faulted, traceparent, expires_at, body)
)
INSERT INTO sluice.pending
    (job_id, tenant, campaign, pool, class, domain, group_name, due_at, reason, limit_key,
     attempt, resend, first_seen, faulted, traceparent, body, expires_at)
SELECT p.job_id, p.tenant, p.campaign, p.pool, p.class, p.domain, p.group_name,
    coalesce(p.due_at, clock_timestamp() + p.due_in_us * interval '1 microsecond'), p.reason, p.limit_key,
    p.attempt, p.resend, p.first_seen, string_to_array(p.faulted, ','), p.traceparent, p.body,
    CASE WHEN p.expires_at > statement_timestamp() THEN p.expires_at END
FROM p",
            $after
        )
    };
}

/// Jobs that are not parked yet, nearly all there are: a plain insert, as first claims are. Answers those that it has parked. A
/// row that a relay holds is a row: its job is not among them.
const PARK_FIRST: &str = park!(
    "
WHERE NOT EXISTS (SELECT FROM sluice.pending q WHERE q.job_id = p.job_id OFFSET 0)
ORDER BY p.job_id COLLATE \"C\"
RETURNING job_id
"
);

/// A job that is parked already keeps its row, unless the copy is further along: a row that an older copy left (it waited
/// for a claim elsewhere, and its parking was slow) would come back as a number that is past, and the job be lost.
/// `DO UPDATE` also waits where a relay holds the row, even if it changes nothing then: `DO NOTHING` would let us ack a
/// job whose only row that relay is about to delete.
///
/// A copy that waits for another worker's claim is not parked when that worker has finished meanwhile.
///
/// Answers the jobs that were put, or moved on.
const PARK: &str = park!(
    "
WHERE p.reason <> 'in_flight_elsewhere' OR NOT EXISTS (
    SELECT FROM sluice.job j
    WHERE j.id = p.job_id AND j.state NOT IN ('sending', 'deferred', 'unknown'))
ORDER BY p.job_id COLLATE \"C\"
ON CONFLICT (job_id) DO UPDATE SET
    (campaign, pool, class, domain, group_name, due_at, reason, limit_key,
     attempt, resend, first_seen, faulted, traceparent, expires_at)
    = (excluded.campaign, excluded.pool, excluded.class, excluded.domain, excluded.group_name, excluded.due_at,
       excluded.reason, excluded.limit_key, excluded.attempt, excluded.resend, excluded.first_seen,
       excluded.faulted, excluded.traceparent, excluded.expires_at)
    WHERE sluice.pending.tenant = excluded.tenant AND sluice.pending.body = excluded.body
      AND (sluice.pending.attempt, sluice.pending.resend) < (excluded.attempt, excluded.resend)
RETURNING job_id
"
);

const FOUND_STEP: &str = "look for other jobs of the same ids";

/// What is parked of jobs that were not put. A statement of its own, after [`PARK`]: that one does not see what was parked while it
/// waited.
const FOUND: &str = "
SELECT q.job_id, q.body <> p.body AS is_other
FROM unnest($1::text[], $2::bytea[]) AS p (job_id, body)
JOIN sluice.pending q ON q.job_id = p.job_id
";

/// How often a job is parked whose row a relay takes away between the two. Then it counts as parked: its copy is on its way, and
/// that it was another body is told by the claim.
const ROUNDS: u32 = 4;

impl Postgres {
    /// Parks a batch, in several statements when the bodies are large.
    pub(crate) async fn park_jobs(&self, jobs: &[Parked]) -> Result<Vec<ParkVerdict>, StoreError> {
        let mut seen = HashSet::with_capacity(jobs.len());
        let first: Vec<&Parked> = jobs.iter().filter(|job| seen.insert(job.id.as_str())).collect();
        let mut conflicts = HashSet::new();
        for chunk in chunks(&first, |job| job.body.len()) {
            let parked = self.park_first(chunk).await?;
            let rest: Vec<&Parked> =
                chunk.iter().copied().filter(|job| !parked.contains(job.id.as_str())).collect();
            if !rest.is_empty() {
                conflicts.extend(self.park_beside(&rest).await?);
            }
        }
        let conflicts = |job: &Parked| conflicts.contains(job.id.as_str());
        let verdict = |job| if conflicts(job) { ParkVerdict::Conflict } else { ParkVerdict::Parked };
        Ok(jobs.iter().map(verdict).collect())
    }

    /// Parks those that have no row yet, and answers their ids.
    async fn park_first(&self, jobs: &[&Parked]) -> Result<HashSet<String>, StoreError> {
        // Whether a copy of a claimed job is parked depends on that job.
        let mut first = jobs.to_vec();
        first.retain(|job| job.reason != WaitReason::InFlightElsewhere);
        if first.is_empty() {
            return Ok(HashSet::new());
        }
        match self.ask_to_park(PARK_FIRST, &first).await {
            Ok(rows) => rows.iter().map(|row| column(row, STEP, "job_id")).collect(),
            Err(error) if error.is_repetition() => Ok(HashSet::new()),
            Err(error) => Err(error),
        }
    }

    /// Parks jobs that may have rows; answers the ids that are parked with another body.
    async fn park_beside(&self, jobs: &[&Parked]) -> Result<Vec<String>, StoreError> {
        let (mut left, mut conflicts) = (jobs.to_vec(), Vec::new());
        for _ in 0..ROUNDS {
            let rows = self.ask_to_park(PARK, &left).await?;
            let put =
                rows.iter().map(|row| column(row, STEP, "job_id")).collect::<Result<HashSet<&str>, _>>()?;
            left.retain(|job| !put.contains(job.id.as_str()));
            if left.is_empty() {
                break;
            }
            let ids: Vec<&str> = left.iter().map(|job| job.id.as_str()).collect();
            let bodies: Vec<&[u8]> = left.iter().map(|job| job.body.as_ref()).collect();
            let rows = self.writers.query(FOUND_STEP, FOUND, &[&ids, &bodies]).await?;
            for row in &rows {
                let id: &str = column(row, FOUND_STEP, "job_id")?;
                left.retain(|job| job.id.as_str() != id);
                if column(row, FOUND_STEP, "is_other")? {
                    conflicts.push(id.to_owned());
                }
            }
            // Its job is done: it waits for nothing.
            left.retain(|job| job.reason != WaitReason::InFlightElsewhere);
            if left.is_empty() {
                break;
            }
        }
        Ok(conflicts)
    }

    async fn ask_to_park(&self, statement: &'static str, jobs: &[&Parked]) -> Result<Vec<Row>, StoreError> {
        let mut columns = ParkedColumns::default();
        let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
        let tenants: Vec<&str> = jobs.iter().map(|job| job.tenant.as_str()).collect();
        for job in jobs {
            columns.push(Some(job));
        }
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&ids, &tenants];
        params.extend(columns.params());
        self.writers.query(STEP, statement, &params).await
    }
}

/// Parked jobs as columns, without id and tenant; a row of nulls where a record parks nothing.
#[derive(Default)]
pub(crate) struct ParkedColumns<'a> {
    campaigns: Vec<Option<&'a str>>,
    pools: Vec<Option<&'a str>>,
    classes: Vec<Option<&'static str>>,
    domains: Vec<Option<Cow<'a, str>>>,
    groups: Vec<Option<&'a str>>,
    due_ats: Vec<Option<SystemTime>>,
    due_ins_us: Vec<Option<i64>>,
    reasons: Vec<Option<&'static str>>,
    limit_keys: Vec<Option<Cow<'a, str>>>,
    attempts: Vec<Option<i32>>,
    resends: Vec<Option<bool>>,
    first_seens: Vec<Option<SystemTime>>,
    faulted: Vec<Option<String>>,
    traceparents: Vec<Option<Cow<'a, str>>>,
    /// When they expire, where somebody will look: in line.
    expires_ats: Vec<Option<SystemTime>>,
    bodies: Vec<Option<&'a [u8]>>,
}

impl<'a> ParkedColumns<'a> {
    pub(crate) fn push(&mut self, parked: Option<&'a Parked>) {
        let key = parked.and_then(|job| job.limit_key.as_deref()).and_then(clean_some);
        let (due_at, due_in, key) = match parked.map(|job| job.due) {
            Some(Due::At(at)) => (Some(instant(at)), None, key),
            Some(Due::In(wait)) => (None, Some(wait_us(wait)), key),
            // Without a key it would be in no line and wait for ever.
            Some(Due::InLine) if key.is_none() => (None, Some(0), None),
            Some(Due::InLine) => (None, None, key),
            // A key without a due time would be a place in line.
            Some(Due::Held) | None => (None, None, None),
        };
        let passport = parked.map(|job| &job.passport);
        self.campaigns.push(parked.and_then(|job| job.campaign.as_ref()).map(|campaign| campaign.as_str()));
        self.pools.push(parked.map(|job| job.pool.as_str()));
        self.classes.push(parked.map(|job| job.class.as_str()));
        self.domains.push(parked.map(|job| clean(&job.domain)));
        self.groups.push(parked.map(|job| job.group.as_str()));
        self.due_ats.push(due_at);
        self.due_ins_us.push(due_in);
        self.reasons.push(parked.map(|job| job.reason.as_str()));
        self.limit_keys.push(key);
        self.attempts.push(passport.map(|passport| int4(passport.attempt)));
        self.resends.push(passport.map(|passport| passport.resend));
        self.first_seens.push(passport.and_then(|passport| passport.first_seen).map(instant));
        // An ESP's id has no comma, and an array of arrays would have to be rectangular.
        self.faulted.push(
            passport.map(|passport| {
                passport.faulted.iter().map(|esp| esp.as_str()).collect::<Vec<_>>().join(",")
            }),
        );
        self.traceparents.push(passport.and_then(|it| it.traceparent.as_deref()).and_then(clean_some));
        let in_line = parked.filter(|job| job.due == Due::InLine);
        self.expires_ats.push(in_line.and_then(|job| job.expires_at).map(instant));
        self.bodies.push(parked.map(|job| job.body.as_ref()));
    }

    pub(crate) fn params(&self) -> [&(dyn ToSql + Sync); 16] {
        [
            &self.campaigns,
            &self.pools,
            &self.classes,
            &self.domains,
            &self.groups,
            &self.due_ats,
            &self.due_ins_us,
            &self.reasons,
            &self.limit_keys,
            &self.attempts,
            &self.resends,
            &self.first_seens,
            &self.faulted,
            &self.traceparents,
            &self.expires_ats,
            &self.bodies,
        ]
    }
}

/// `items` in runs whose bodies fit one statement; a body that does not fit goes alone.
pub(crate) fn chunks<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut chunks = Vec::new();
    let mut rest = items;
    while !rest.is_empty() {
        let mut total = 0_usize;
        let fits = rest
            .iter()
            .take_while(|item| {
                total = total.saturating_add(bytes(item));
                total <= STATEMENT_BODY_BYTES
            })
            .count();
        let (chunk, after) = rest.split_at(fits.max(1));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_are_spread_over_statements() {
        let half = STATEMENT_BODY_BYTES / 2;
        for (sizes, lengths) in [
            (vec![], vec![]),
            (vec![1, 2, 3], vec![3]),
            (vec![half, half, 1], vec![2, 1]),
            (vec![3 * half, 1], vec![1, 1]),
        ] {
            let made: Vec<usize> = chunks(&sizes, |size| *size).iter().map(|chunk| chunk.len()).collect();
            assert_eq!(made, lengths, "{sizes:?}");
        }
    }
}
