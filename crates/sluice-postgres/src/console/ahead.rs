//! How many jobs go before one that waits in line.

use std::collections::HashMap;
use std::time::SystemTime;

use sluice_engine::PendingView;
use sluice_types::{Class, JobId};

use crate::convert::column;
use crate::strands::{Strand, StrandsAfter};
use crate::{Postgres, StoreError};

const STEP: &str = "look for a job's place in its line";

/// Strands of a line that are looked at, at most.
const STRANDS_MAX: usize = 1_000;

const PLACE: &str = "
SELECT p.limit_key, p.tenant, coalesce(p.campaign, '') AS campaign, p.class, coalesce(p.first_seen, p.created_at) AS seen
FROM sluice.pending p
WHERE p.job_id = $1 AND p.due_at IS NULL AND p.limit_key IS NOT NULL
";

/// The jobs of each strand $2, $3 and $4 of the line $1 that were seen before $5, or all, counted up to $6.
const COUNT: &str = "
SELECT jobs.n AS jobs
FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[]) WITH ORDINALITY AS s (tenant, campaign, lane, before, place)
CROSS JOIN LATERAL (
    SELECT count(*) AS n
    FROM (
        SELECT FROM sluice.pending p
        WHERE p.due_at IS NULL
          AND coalesce(p.limit_key, '') COLLATE \"C\" = $1
          AND p.tenant COLLATE \"C\" = s.tenant
          AND coalesce(p.campaign, '') COLLATE \"C\" = s.campaign
          AND (p.pool || '.' || p.class || '.' || p.group_name) COLLATE \"C\" = s.lane
          AND coalesce(p.first_seen, p.created_at) < coalesce(s.before, 'infinity')
        LIMIT $6
    ) counted
) jobs
ORDER BY s.place
";

impl Postgres {
    /// How many jobs go before `id`; `None` when it is not in line.
    ///
    /// Owners take turns, so as many of each other owner go before it as of its own, or all that there are. Of its own those first
    /// seen go first, transactional ones before bulk.
    pub(super) async fn ahead_of(&self, id: &JobId) -> Result<Option<u64>, StoreError> {
        let rows = self.readers.query(STEP, PLACE, &[&id.as_str()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (key, tenant, campaign): (&str, &str, &str) =
            (column(row, STEP, "limit_key")?, column(row, STEP, "tenant")?, column(row, STEP, "campaign")?);
        let (class, seen): (&str, SystemTime) = (column(row, STEP, "class")?, column(row, STEP, "seen")?);
        let strands = self.strands_from(&self.readers, &[key], &StrandsAfter::new(), STRANDS_MAX).await?;
        let looked_at = i64::try_from(strands.len().max(1)).unwrap_or(i64::MAX);
        let (own, others): (Vec<Strand>, Vec<Strand>) =
            strands.into_iter().partition(|it| it.tenant == tenant && it.campaign == campaign);
        let is_bulk = class == Class::Bulk.as_str();
        let mine: Vec<(&Strand, Option<SystemTime>)> = own
            .iter()
            .filter_map(|strand| match (strand.class() == class, is_bulk) {
                (true, _) => Some((strand, Some(seen))),
                (false, true) => Some((strand, None)),
                (false, false) => None,
            })
            .collect();
        let max = i64::from(PendingView::AHEAD_MAX);
        let before = self.count(key, &mine, max).await?.into_iter().sum::<i64>().min(max);
        let all: Vec<(&Strand, Option<SystemTime>)> = others.iter().map(|strand| (strand, None)).collect();
        let mut owners: HashMap<(&str, &str), i64> = HashMap::new();
        for ((strand, _), jobs) in all.iter().zip(self.count(key, &all, before.min(max / looked_at)).await?) {
            *owners.entry((&strand.tenant, &strand.campaign)).or_default() += jobs;
        }
        let others: i64 = owners.into_values().map(|jobs| jobs.min(before)).sum();
        Ok(u64::try_from((before + others).min(max)).ok())
    }

    /// How many jobs each strand has before an instant, up to `max`.
    async fn count(
        &self,
        key: &str,
        strands: &[(&Strand, Option<SystemTime>)],
        max: i64,
    ) -> Result<Vec<i64>, StoreError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let tenants: Vec<&str> = strands.iter().map(|(it, _)| it.tenant.as_str()).collect();
        let campaigns: Vec<&str> = strands.iter().map(|(it, _)| it.campaign.as_str()).collect();
        let lanes: Vec<&str> = strands.iter().map(|(it, _)| it.lane.as_str()).collect();
        let before: Vec<Option<SystemTime>> = strands.iter().map(|(_, before)| *before).collect();
        let rows =
            self.readers.query(STEP, COUNT, &[&key, &tenants, &campaigns, &lanes, &before, &max]).await?;
        rows.iter().map(|row| column(row, STEP, "jobs")).collect()
    }
}
