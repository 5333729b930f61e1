//! Due jobs: which of them go into the next batch.

use std::collections::HashMap;

use sluice_engine::DueQuery;
use tokio_postgres::Row;

use crate::batch::{Locked, PostgresDueBatch, job_columns};
use crate::connections::Lent;
use crate::convert::{clean, column};
use crate::flows::Look;
use crate::turns::{Flow, share};
use crate::{Postgres, StoreError};

const STEP: &str = "take due jobs";

/// Looks of one call, where there are more flows than one look walks over and none has a job for us.
const LOOKS_MAX: usize = 5;
/// Times that the turns which some flows had no jobs for are given to the others.
const ROUNDS_MAX: usize = 5;

/// All that is due.
const TAKE_ALL: &str = concat!(
    "
SELECT p.due_at AS turn_at, ",
    job_columns!(),
    "
FROM sluice.pending p
WHERE p.due_at <= statement_timestamp()
  AND NOT p.pool || '.' || p.class || '.' || p.group_name = ANY ($2)
  AND NOT p.tenant || '/' || coalesce(p.campaign, '') = ANY ($3)
ORDER BY p.due_at
LIMIT $1
FOR UPDATE SKIP LOCKED
"
);

/// The oldest due jobs of each flow $1, up to its turns $3, without those that we hold already ($4).
const TAKE_TURNS: &str = concat!(
    "
SELECT f.place, p.due_at AS turn_at, ",
    job_columns!(),
    "
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS f (name, place, turns)
CROSS JOIN LATERAL (
    SELECT * FROM sluice.pending p
    WHERE p.due_at <= statement_timestamp()
      AND sluice.flow(p.pool, p.class, p.group_name, p.tenant, p.campaign) COLLATE \"C\" = f.name
      AND NOT p.job_id = ANY ($4)
    ORDER BY p.due_at
    LIMIT f.turns
    FOR UPDATE SKIP LOCKED
) p
"
);

impl Postgres {
    /// Takes due jobs; they stay locked as long as the batch lives.
    pub(crate) async fn take_due(&self, query: &DueQuery) -> Result<Option<PostgresDueBatch>, StoreError> {
        let full: Vec<String> = query.full.iter().map(ToString::to_string).collect();
        let owner =
            |(tenant, campaign): &(String, String)| clean(&format!("{tenant}/{campaign}")).into_owned();
        let paused: Vec<String> = query.paused.iter().map(owner).collect();
        for _ in 0..LOOKS_MAX {
            match self.look_for_flows(query, &full, &paused).await? {
                Look::Nothing => return Ok(None),
                Look::Few => return self.take_all(query.max, &full, &paused).await,
                Look::Many { flows, are_all } => {
                    let batch = self.take_turns(query, flows).await?;
                    if batch.is_some() || are_all {
                        return Ok(batch);
                    }
                }
            }
        }
        Ok(None)
    }

    async fn take_all(
        &self,
        max: u32,
        full: &[String],
        paused: &[String],
    ) -> Result<Option<PostgresDueBatch>, StoreError> {
        let lent = self.relay.borrow(STEP).await?;
        let mut locked = Locked::default();
        locked.take(&lent.begin(STEP, TAKE_ALL, &[&i64::from(max), &full, &paused]).await?)?;
        locked.into_batch(lent).await
    }

    /// Shares the batch among `flows`, and again what some of them have no jobs for.
    async fn take_turns(
        &self,
        query: &DueQuery,
        mut flows: Vec<Flow>,
    ) -> Result<Option<PostgresDueBatch>, StoreError> {
        let max = usize::try_from(query.max).unwrap_or(usize::MAX);
        if flows.is_empty() || max == 0 {
            return Ok(None);
        }
        let weights: HashMap<&str, u32> =
            query.weights.iter().map(|(tenant, weight)| (tenant.as_str(), *weight)).collect();
        let mut chance = fastrand::Rng::new();
        let lent = self.relay.borrow(STEP).await?;
        let mut locked = Locked::default();
        for round in 0..ROUNDS_MAX {
            let left = max.saturating_sub(locked.ids().len());
            if left == 0 || flows.is_empty() {
                break;
            }
            let turns = share(&flows, &weights, left, &mut chance);
            let rows = take_round(&lent, round == 0, &flows, &turns, &locked).await?;
            locked.take(&rows)?;
            let mut got = vec![0; flows.len()];
            for row in &rows {
                let place = usize::try_from(column::<i64>(row, STEP, "place")?).ok();
                if let Some(got) = place.and_then(|place| got.get_mut(place)) {
                    *got += 1;
                }
            }
            // A flow that has not used its turns has no more.
            let used_up = turns.iter().zip(&got).map(|(turns, got)| turns == got);
            flows = flows
                .into_iter()
                .zip(used_up)
                .filter(|(_, used_up)| *used_up)
                .map(|(flow, _)| flow)
                .collect();
        }
        locked.into_batch(lent).await
    }
}

async fn take_round(
    lent: &Lent,
    is_first: bool,
    flows: &[Flow],
    turns: &[usize],
    locked: &Locked,
) -> Result<Vec<Row>, StoreError> {
    let (mut names, mut places, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for (place, (flow, turns)) in flows.iter().zip(turns).enumerate().filter(|(_, (_, turns))| **turns > 0) {
        names.push(flow.name.as_str());
        places.push(i64::try_from(place).unwrap_or(i64::MAX));
        counts.push(i64::try_from(*turns).unwrap_or(i64::MAX));
    }
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&names, &places, &counts, &locked.ids()];
    if is_first {
        lent.begin(STEP, TAKE_TURNS, &params).await
    } else {
        lent.query(STEP, TAKE_TURNS, &params).await
    }
}
