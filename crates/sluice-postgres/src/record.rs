//! Records: results of attempts, guarded by "still mine".

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::SystemTime;

use sluice_engine::{NextStep, Parked, Record, RecordVerdict};
use sluice_types::{Category, JobState, Outcome, Refusal};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::convert::{clean_some, column, instant, int4, uint4};
use crate::kinds::Kinds;
use crate::park::{ParkedColumns, chunks, waits_for_outcome};
use crate::{Postgres, StoreError};

const STEP: &str = "record results";

/// One statement, so one transaction and one round trip: the attempt is kept in any case, the job moves where the claim
/// is still ours, and what moved loses its parked copies or is parked (`$kept`). The last branch of the guard recognises
/// a repeated call.
///
/// A pending row that a relay holds is left: its copy will find the job done.
///
/// A parked copy with another body than ours, of a publisher that used an id twice, makes room as a dead letter (`displaced`),
/// before ours takes its place. One that a relay holds is waited for: when it was published there is none any more.
///
/// Rows that park nothing go without the columns of what is parked: those made the statement nearly twice as dear.
macro_rules! record {
    ($repeated:literal, $columns:literal, $names:literal, $returned:literal, $kept:literal, $answer:literal) => {
        concat!(
            "
WITH input AS MATERIALIZED (
    SELECT r.*,
        ($8::text[])[r.kind] AS tenant, ($9::int[])[r.kind] AS attempt, ($10::text[])[r.kind] AS esp,
        ($11::text[])[r.kind] AS outcome, ($12::text[])[r.kind] AS category, ($13::text[])[r.kind] AS detail,
        ($14::text[])[r.kind] AS state, ($15::int[])[r.kind] AS attempts, ($16::text[])[r.kind] AS job_category,
        ($17::boolean[])[r.kind] AS final
    FROM (
        SELECT u.*, ($3::timestamptz[])[u.place] AS started_at, ($4::timestamptz[])[u.place] AS finished_at,
            ($6::bigint[])[u.place] AS token, ($7::int[])[u.place] AS kind
        FROM unnest($2::text[], $5::text[]",
            $columns,
            ") WITH ORDINALITY
            AS u (id, provider_message_id",
            $names,
            ", place)
        OFFSET 0
    ) AS r
), tried AS (
    INSERT INTO sluice.attempt
        (job_id, tenant, attempt, esp, outcome, category, detail,
         provider_message_id, started_at, finished_at, worker)
    SELECT i.id, i.tenant, i.attempt, i.esp, i.outcome, i.category, i.detail,
        i.provider_message_id, i.started_at, i.finished_at, $1
    FROM input i
    WHERE i.outcome IS NOT NULL",
            $repeated,
            "
), mine AS (
    UPDATE sluice.job j
    SET state = i.state,
        attempts = i.attempts,
        esp = i.esp,
        provider_message_id = coalesce(i.provider_message_id, j.provider_message_id),
        category = i.job_category,
        detail = i.detail,
        updated_at = clock_timestamp()
    FROM input i
    WHERE j.id = i.id
      AND j.tenant = i.tenant
      AND (   (j.state = 'sending' AND j.worker = $1 AND j.attempts = i.attempt
                AND coalesce(j.claim_token = i.token, true))
           OR (j.state = 'unknown' AND j.attempts = i.attempt AND i.final)
           OR (j.state = i.state AND j.worker = $1 AND j.attempts = i.attempts
               AND j.category IS NOT DISTINCT FROM i.job_category))
    RETURNING i.id, i.attempt, i.final",
            $returned,
            "
), gone AS (
    DELETE FROM sluice.pending
    WHERE job_id = ANY (ARRAY(
        SELECT q.job_id FROM sluice.pending q
        WHERE q.job_id = ANY (ARRAY(SELECT m.id FROM mine m WHERE m.final))
          AND ",
            waits_for_outcome!(),
            "
        FOR UPDATE SKIP LOCKED))
)",
            $kept,
            "
SELECT ",
            $answer,
            " FROM mine m
"
        )
    };
}

/// Answers how many were ours: nearly always all. Fails when an attempt was recorded before: `ON CONFLICT` costs a quarter of the
/// statement, and only a repeated call needs it.
const RECORD_FINAL: &str = record!("", "", "", "", "", "count(*) AS recorded");

/// Answers which were ours.
const RECORD_FINAL_AGAIN: &str = record!("\n    ON CONFLICT DO NOTHING", "", "", "", "", "m.id, m.attempt");

const RECORD_PARKED: &str = record!(
    "\n    ON CONFLICT DO NOTHING",
    ", $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::timestamptz[], $24::bigint[],
                $25::text[], $26::text[], $27::int[], $28::boolean[], $29::timestamptz[], $30::text[], $31::text[],
                $32::timestamptz[], $33::bytea[]",
    ",
              campaign, pool, class, domain, group_name, due_at, due_in_us, reason,
              limit_key, next_attempt, resend, first_seen, faulted, traceparent, expires_at, body",
    ", i.tenant,
        i.campaign, i.pool, i.class, i.domain, i.group_name, i.due_at, i.due_in_us, i.reason,
        i.limit_key, i.next_attempt, i.resend, i.first_seen, i.faulted, i.traceparent, i.expires_at, i.body",
    ", displaced AS (
    INSERT INTO sluice.dead_letter (tenant, job_id, lane, reason, field, detail, body)
    SELECT '', q.job_id, q.pool || '.' || q.class || '.' || q.group_name, 'id_conflict', 'id', $34::text, q.body
    FROM mine m
    JOIN sluice.pending q ON q.job_id = m.id
    WHERE NOT m.final AND q.body <> m.body
    FOR UPDATE OF q
    RETURNING job_id
), kept AS (
    INSERT INTO sluice.pending
        (job_id, tenant, campaign, pool, class, domain, group_name, due_at, reason, limit_key,
         attempt, resend, first_seen, faulted, traceparent, body, expires_at)
    SELECT m.id, m.tenant, m.campaign, m.pool, m.class, m.domain, m.group_name,
        coalesce(m.due_at, clock_timestamp() + m.due_in_us * interval '1 microsecond'), m.reason, m.limit_key,
        m.next_attempt, m.resend, m.first_seen, string_to_array(m.faulted, ','), m.traceparent, m.body,
        CASE WHEN m.expires_at > statement_timestamp() THEN m.expires_at END
    FROM mine m
    WHERE NOT m.final AND (SELECT count(*) FROM displaced) >= 0
    ORDER BY m.id COLLATE \"C\"
    ON CONFLICT (job_id) DO UPDATE SET
        (tenant, campaign, pool, class, domain, group_name, due_at, reason, limit_key,
         attempt, resend, first_seen, faulted, traceparent, body, expires_at)
        = (excluded.tenant, excluded.campaign, excluded.pool, excluded.class, excluded.domain,
           excluded.group_name, excluded.due_at, excluded.reason, excluded.limit_key,
           excluded.attempt, excluded.resend, excluded.first_seen, excluded.faulted, excluded.traceparent,
           excluded.body, excluded.expires_at)
)",
    "m.id, m.attempt"
);

impl Postgres {
    /// Records a batch: what is final in one statement, what is parked in others, several when the bodies are large.
    pub(crate) async fn record_results(&self, records: &[Record]) -> Result<Vec<RecordVerdict>, StoreError> {
        let mut sorted: Vec<&Record> = records.iter().collect();
        sorted.sort_by(|a, b| a.id.cmp(&b.id));
        let (finals, parking): (Vec<&Record>, Vec<&Record>) =
            sorted.into_iter().partition(|record| parked(&record.next).is_none());
        let mut rows = Vec::new();
        let finals_are_in = self.record_final(&finals).await?;
        if !finals_are_in {
            rows.extend(self.record_final_again(&finals).await?);
        }
        for chunk in chunks(&parking, |record| parked(&record.next).map_or(0, |job| job.body.len())) {
            rows.extend(self.record_parked(chunk).await?);
        }
        // Nearly always all of them, and nothing to look up.
        if finals_are_in && rows.len() == parking.len() {
            return Ok(vec![RecordVerdict::Recorded; records.len()]);
        }
        let recorded = rows
            .iter()
            .map(|row| Ok((column(row, STEP, "id")?, uint4(column(row, STEP, "attempt")?))))
            .collect::<Result<HashSet<(&str, u32)>, StoreError>>()?;
        let verdict = |record: &Record| {
            let is_known = finals_are_in && parked(&record.next).is_none();
            if is_known || recorded.contains(&(record.id.as_str(), record.attempt)) {
                RecordVerdict::Recorded
            } else {
                RecordVerdict::NotOurs
            }
        };
        Ok(records.iter().map(verdict).collect())
    }

    /// Whether all were ours, and are recorded. Where not, none may be.
    async fn record_final(&self, records: &[&Record]) -> Result<bool, StoreError> {
        if records.is_empty() {
            return Ok(true);
        }
        let rows = match self.query_final(RECORD_FINAL, records).await {
            Err(error) if error.is_repetition() => return Ok(false),
            answered => answered?,
        };
        let recorded: i64 = rows.first().map_or(Ok(0), |row| column(row, STEP, "recorded"))?;
        Ok(usize::try_from(recorded) == Ok(records.len()))
    }

    /// Those that are ours. What is recorded already is found to be so.
    async fn record_final_again(&self, records: &[&Record]) -> Result<Vec<Row>, StoreError> {
        self.query_final(RECORD_FINAL_AGAIN, records).await
    }

    async fn query_final(&self, sql: &'static str, records: &[&Record]) -> Result<Vec<Row>, StoreError> {
        let columns = RecordColumns::of(records);
        let worker: &str = &self.worker;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&worker];
        params.extend(columns.params());
        self.writers.query(STEP, sql, &params).await
    }

    async fn record_parked(&self, records: &[&Record]) -> Result<Vec<Row>, StoreError> {
        let columns = RecordColumns::of(records);
        let mut bodies = ParkedColumns::default();
        for record in records {
            bodies.push(parked(&record.next));
        }
        let conflict = Refusal::id_conflict().detail;
        let worker: &str = &self.worker;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&worker];
        params.extend(columns.params());
        params.extend(bodies.params());
        params.push(&conflict);
        self.writers.query(STEP, RECORD_PARKED, &params).await
    }
}

fn parked(next: &NextStep) -> Option<&Parked> {
    match next {
        NextStep::Final { .. } => None,
        NextStep::Retry(parked) | NextStep::Unknown(parked) | NextStep::Unsent(parked) => Some(parked),
    }
}

/// Records as columns, without what they park: what is each one's own, and what kinds of them have in common.
#[derive(Default)]
struct RecordColumns<'a> {
    ids: Vec<&'a str>,
    started_ats: Vec<SystemTime>,
    finished_ats: Vec<SystemTime>,
    provider_message_ids: Vec<Option<Cow<'a, str>>>,
    tokens: Vec<Option<i64>>,
    numbers: Vec<i32>,
    kinds: Kinds<RecordKind<'a>>,
    tenants: Vec<&'a str>,
    attempts: Vec<i32>,
    esps: Vec<&'a str>,
    outcomes: Vec<Option<&'static str>>,
    categories: Vec<Option<&'static str>>,
    details: Vec<Option<Cow<'a, str>>>,
    states: Vec<&'static str>,
    attempts_after: Vec<i32>,
    job_categories: Vec<Option<&'static str>>,
    finals: Vec<bool>,
}

/// What many records of a batch have in common.
#[derive(Clone, PartialEq, Eq, Hash)]
struct RecordKind<'a> {
    tenant: &'a str,
    attempt: i32,
    esp: &'a str,
    outcome: Option<&'static str>,
    category: Option<&'static str>,
    detail: Option<Cow<'a, str>>,
    state: &'static str,
    attempts_after: i32,
    job_category: Option<&'static str>,
    is_final: bool,
}

impl<'a> RecordKind<'a> {
    fn of(record: &'a Record) -> Self {
        let outcome = record.outcome.as_ref();
        let category = outcome.and_then(Outcome::category);
        let (state, job_category, attempts_after) = match &record.next {
            NextStep::Final { state, category } => (*state, *category, record.attempt),
            NextStep::Retry(_) => (JobState::Deferred, category, record.attempt),
            NextStep::Unknown(_) => (JobState::Unknown, category, record.attempt),
            // What was in doubt before stays so.
            NextStep::Unsent(parked) if parked.passport.resend => {
                (JobState::Unknown, None, record.attempt.saturating_sub(1))
            }
            NextStep::Unsent(_) => (JobState::Deferred, None, record.attempt.saturating_sub(1)),
        };
        Self {
            tenant: record.tenant.as_str(),
            attempt: int4(record.attempt),
            esp: record.esp.as_str(),
            outcome: outcome.map(|outcome| outcome.kind().as_str()),
            category: category.map(Category::as_str),
            detail: outcome.and_then(|outcome| clean_some(outcome.detail())),
            state: state.as_str(),
            attempts_after: int4(attempts_after),
            job_category: job_category.map(Category::as_str),
            is_final: parked(&record.next).is_none(),
        }
    }
}

impl<'a> RecordColumns<'a> {
    fn of(records: &[&'a Record]) -> Self {
        let mut columns = Self::default();
        for record in records {
            columns.push(record);
        }
        columns
    }

    fn push(&mut self, record: &'a Record) {
        let kind = RecordKind::of(record);
        let (number, is_new) = self.kinds.number(&kind);
        self.ids.push(record.id.as_str());
        self.started_ats.push(instant(record.started_at));
        self.finished_ats.push(instant(record.finished_at));
        self.provider_message_ids.push(record.outcome.as_ref().and_then(provider_message_id));
        self.tokens.push(record.token);
        self.numbers.push(number);
        if is_new {
            self.tenants.push(kind.tenant);
            self.attempts.push(kind.attempt);
            self.esps.push(kind.esp);
            self.outcomes.push(kind.outcome);
            self.categories.push(kind.category);
            self.details.push(kind.detail);
            self.states.push(kind.state);
            self.attempts_after.push(kind.attempts_after);
            self.job_categories.push(kind.job_category);
            self.finals.push(kind.is_final);
        }
    }

    fn params(&self) -> [&(dyn ToSql + Sync); 16] {
        [
            &self.ids,
            &self.started_ats,
            &self.finished_ats,
            &self.provider_message_ids,
            &self.tokens,
            &self.numbers,
            &self.tenants,
            &self.attempts,
            &self.esps,
            &self.outcomes,
            &self.categories,
            &self.details,
            &self.states,
            &self.attempts_after,
            &self.job_categories,
            &self.finals,
        ]
    }
}

fn provider_message_id(outcome: &Outcome) -> Option<Cow<'_, str>> {
    match outcome {
        Outcome::Accepted { provider_message_id } => provider_message_id.as_deref().and_then(clean_some),
        Outcome::Deferred { .. }
        | Outcome::Rejected { .. }
        | Outcome::Faulted { .. }
        | Outcome::Unknown { .. } => None,
    }
}
