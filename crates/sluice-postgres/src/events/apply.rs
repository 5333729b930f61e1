//! Applies events that are kept to the jobs that they name.

use sluice_engine::{EspEvent, Moved};
use sluice_types::{EspId, EventKind, JobId, JobState};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::convert::{column, int4, word};
use crate::park::waits_for_outcome;
use crate::{Postgres, StoreError};

const STEP: &str = "apply events";

/// An event that cannot be applied is looked at again after as long as it has waited so far: within a second at first,
/// once an hour in the end.
const LONGEST_PAUSE: &str = "1 hour";
/// And given up on after so long: longer than any claim stands and any ESP repeats itself.
const GIVE_UP: &str = "3 days";

/// `locked` reads the jobs' rows as they are behind their locks, so a result that is just being recorded is either seen
/// or comes later and finds the event still waiting. An event moves a job only to a higher rank; of several the highest
/// counts, and of those the first. A job that an event takes out of `unknown` or `deferred` needs its parked copy no
/// more; a pending row that a relay holds is left: its copy will find the job done.
///
/// The words' ranks come from Rust (`$4` to `$8`), so that there is one list.
macro_rules! apply {
    ($which:literal) => {
        concat!(
            "
WITH kinds AS (
    SELECT * FROM unnest($3::text[], $4::text[], $5::int[]) AS k (kind, state, rank)
), states AS (
    SELECT * FROM unnest($6::text[], $7::int[]) AS s (state, rank)
), due AS MATERIALIZED (
    SELECT e.job_id, e.tenant, e.kind, e.esp, e.provider_event_id, e.received_at, e.occurred_at, e.attempt, e.category,
        e.detail, e.provider_message_id
    FROM sluice.event e
    WHERE e.due_at IS NOT NULL AND ",
            $which,
            "
    ORDER BY e.due_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
), locked AS MATERIALIZED (
    SELECT j.id, j.tenant, j.state, j.attempts
    FROM sluice.job j
    WHERE j.id = ANY (ARRAY(SELECT d.job_id FROM due d))
    ORDER BY j.id COLLATE \"C\"
    FOR UPDATE
), ready AS MATERIALIZED (
    SELECT d.*, l.state AS before, l.attempts, s.rank AS rank_before, k.state AS after, k.rank AS rank_after
    FROM due d
    JOIN locked l ON l.id = d.job_id AND l.tenant = d.tenant
    JOIN states s ON s.state = l.state
    JOIN kinds k ON k.kind = d.kind
), best AS MATERIALIZED (
    SELECT DISTINCT ON (r.job_id) r.*
    FROM ready r
    ORDER BY r.job_id, r.rank_after DESC, r.occurred_at, r.provider_event_id
), moved AS (
    UPDATE sluice.job j
    SET state = b.after,
        esp = coalesce(b.esp, j.esp),
        provider_message_id = coalesce(j.provider_message_id, b.provider_message_id),
        category = b.category,
        detail = b.detail,
        updated_at = clock_timestamp()
    FROM best b
    WHERE j.id = b.job_id AND b.rank_before < b.rank_after
    RETURNING j.id, j.tenant, j.recipient, b.before, b.after, b.esp, coalesce(b.attempt, b.attempts) AS attempt, b.rank_before
), told AS (
    INSERT INTO sluice.resolution (job_id, tenant, attempt, before, verdict, resolved_by)
    SELECT m.id, m.tenant, m.attempt, m.before, m.after, 'webhook:' || m.esp
    FROM moved m
    WHERE m.rank_before = 0
), gone AS (
    DELETE FROM sluice.pending
    WHERE job_id = ANY (ARRAY(
        SELECT q.job_id FROM sluice.pending q
        WHERE q.job_id = ANY (ARRAY(SELECT m.id FROM moved m WHERE m.rank_before = 0))
          AND ",
            waits_for_outcome!(),
            "
        FOR UPDATE SKIP LOCKED))
), done AS (
    UPDATE sluice.event e
    SET applied_at = CASE WHEN o.ready THEN clock_timestamp() END,
        due_at = CASE WHEN o.ready OR e.received_at < clock_timestamp() - $8::text::interval THEN NULL
                      ELSE clock_timestamp() + least(greatest(clock_timestamp() - e.received_at, interval '1 second'),
                                                     $2::text::interval) END
    FROM (
        SELECT d.esp, d.provider_event_id, d.job_id, d.received_at, r.job_id IS NOT NULL AS ready
        FROM due d
        LEFT JOIN ready r ON r.esp = d.esp AND r.provider_event_id = d.provider_event_id
    ) o
    WHERE e.job_id = o.job_id AND e.received_at = o.received_at AND e.esp = o.esp
      AND e.provider_event_id = o.provider_event_id
)
SELECT m.id, m.esp, substring(m.recipient from '[^@]*$') AS domain, m.before, m.after FROM moved m
"
        )
    };
}

const APPLY_DUE: &str = apply!("e.due_at <= statement_timestamp()");
const APPLY_OF: &str = apply!("e.job_id = ANY ($9::text[])");

impl Postgres {
    /// Applies up to `max` events whose time has come.
    pub(super) async fn apply_events_due(&self, max: u32) -> Result<Vec<Moved>, StoreError> {
        self.apply(APPLY_DUE, max, &[]).await
    }

    /// Applies events of the jobs that `events` name, these and any that wait.
    pub(super) async fn apply_events_of(&self, events: &[EspEvent]) -> Result<Vec<Moved>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut jobs: Vec<&str> = events.iter().map(|event| event.job.as_str()).collect();
        jobs.sort_unstable();
        jobs.dedup();
        let max = u32::try_from(events.len()).unwrap_or(u32::MAX).saturating_mul(2);
        self.apply(APPLY_OF, max, &[&jobs]).await
    }

    async fn apply(
        &self,
        sql: &'static str,
        max: u32,
        more: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Moved>, StoreError> {
        let rank = |state: JobState| state.rank().map(|rank| int4(u32::from(rank)));
        let kinds: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let kind_states: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.state().as_str()).collect();
        let kind_ranks: Vec<Option<i32>> = EventKind::ALL.iter().map(|kind| rank(kind.state())).collect();
        let ranked: Vec<(&str, i32)> =
            JobState::ALL.iter().filter_map(|state| Some((state.as_str(), rank(*state)?))).collect();
        let (states, ranks): (Vec<&str>, Vec<i32>) = ranked.into_iter().unzip();
        let max = i64::from(max);
        let mut params: Vec<&(dyn ToSql + Sync)> =
            vec![&max, &LONGEST_PAUSE, &kinds, &kind_states, &kind_ranks, &states, &ranks, &GIVE_UP];
        params.extend(more);
        let rows = self.readers.query(STEP, sql, &params).await?;
        rows.iter().map(moved_of_row).collect()
    }
}

fn moved_of_row(row: &Row) -> Result<Moved, StoreError> {
    Ok(Moved {
        job: word(row, STEP, "id", |text| JobId::new(text).ok())?,
        esp: word(row, STEP, "esp", |text| EspId::new(text).ok())?,
        domain: column(row, STEP, "domain")?,
        before: word(row, STEP, "before", JobState::from_word)?,
        after: word(row, STEP, "after", JobState::from_word)?,
    })
}
