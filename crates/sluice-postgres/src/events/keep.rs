//! Keeps events that are new, and the suppressions that they ask for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use sluice_engine::{EspEvent, Landed};
use sluice_types::{Category, EspId, Tenant};
use tokio_postgres::types::ToSql;

use crate::convert::{clean, clean_some, column, instant, int4};
use crate::{Postgres, StoreError};

const STEP: &str = "keep events";

/// One statement: an event is known exactly when its row is kept. A suppression that is there stands as it is: an ESP
/// does not overrule a person's words. An event that does not say whose it is is of the job's tenant, since an id names
/// one job over all tenants; that is looked up for such events only.
const KEEP: &str = "
WITH input AS MATERIALIZED (
    SELECT i.event_id, i.job_id,
        coalesce(i.tenant, (SELECT j.tenant FROM sluice.job j WHERE j.id = i.job_id), $13) AS tenant,
        i.kind, i.occurred_at, i.attempt, i.category, i.detail, i.provider_message_id, i.recipient, i.reason
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::int[], $8::text[], $9::text[],
                $10::text[], $11::text[], $12::text[])
        AS i (event_id, job_id, tenant, kind, occurred_at, attempt, category, detail,
              provider_message_id, recipient, reason)
), fresh AS (
    INSERT INTO sluice.event_id (esp, id, received_at)
    SELECT $1, i.event_id, clock_timestamp() FROM input i ORDER BY i.event_id COLLATE \"C\"
    ON CONFLICT DO NOTHING
    RETURNING id
), kept AS (
    INSERT INTO sluice.event
        (job_id, tenant, kind, esp, provider_event_id, occurred_at, received_at, attempt, category, detail,
         provider_message_id, due_at)
    SELECT i.job_id, i.tenant, i.kind, $1, i.event_id, i.occurred_at, clock_timestamp(), i.attempt, i.category, i.detail,
        i.provider_message_id, clock_timestamp()
    FROM input i
    JOIN fresh f ON f.id = i.event_id
), barred AS (
    INSERT INTO sluice.suppression (tenant, recipient, reason, source)
    SELECT DISTINCT ON (i.recipient COLLATE \"C\", i.tenant COLLATE \"C\") i.tenant, i.recipient, i.reason, $1
    FROM input i
    JOIN fresh f ON f.id = i.event_id
    WHERE i.recipient IS NOT NULL
    ORDER BY i.recipient COLLATE \"C\", i.tenant COLLATE \"C\", i.occurred_at
    ON CONFLICT DO NOTHING
    RETURNING recipient
)
SELECT (SELECT count(*) FROM fresh) AS fresh, (SELECT count(*) FROM barred) AS barred
";

const AGE_STEP: &str = "forget old event ids";
const AGE: &str = "
WITH old AS (
    SELECT e.esp, e.id FROM sluice.event_id e
    WHERE e.received_at < now() - $1::bigint * interval '1 microsecond'
    ORDER BY e.received_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM sluice.event_id e USING old WHERE e.esp = old.esp AND e.id = old.id RETURNING e.id
)
SELECT count(*) AS gone FROM gone
";

impl Postgres {
    /// Keeps what is new; `moved` is left to the caller.
    pub(super) async fn keep_events(&self, esp: &EspId, events: &[EspEvent]) -> Result<Landed, StoreError> {
        let mut columns = EventColumns::default();
        // One statement must not meet the same id twice; the map also sorts, so that two callers lock in one order.
        let by_id: BTreeMap<Cow<'_, str>, &EspEvent> =
            events.iter().rev().map(|event| (clean(&event.event_id), event)).collect();
        for (id, event) in &by_id {
            columns.push(id, event);
        }
        let esp = esp.as_str();
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&esp];
        params.extend(columns.params());
        let nobody = Tenant::default();
        let nobody = nobody.as_str();
        params.push(&nobody);
        let rows = self.readers.query(STEP, KEEP, &params).await?;
        let count = |name| -> Result<u64, StoreError> {
            let count: i64 = rows.first().map_or(Ok(0), |row| column(row, STEP, name))?;
            Ok(u64::try_from(count).unwrap_or(0))
        };
        let (fresh, suppressed) = (count("fresh")?, count("barred")?);
        let asked = u64::try_from(events.len()).unwrap_or(u64::MAX);
        Ok(Landed { fresh, duplicates: asked.saturating_sub(fresh), suppressed, moved: Vec::new() })
    }

    /// Forgets up to `max` ids of events that came longer than `older_than` ago; answers how many there were. A
    /// repetition of one of them would count as new. Call again while it answers `max`.
    ///
    /// # Errors
    /// When the store could not be asked; the call may be repeated.
    pub async fn forget_event_ids(
        &self,
        older_than: std::time::Duration,
        max: u32,
    ) -> Result<u64, sluice_engine::LedgerError> {
        let params: [&(dyn ToSql + Sync); 2] = [&crate::convert::wait_us(older_than), &i64::from(max)];
        let rows = self.readers.query(AGE_STEP, AGE, &params).await?;
        let gone: i64 = rows.first().map_or(Ok(0), |row| column(row, AGE_STEP, "gone"))?;
        Ok(u64::try_from(gone).unwrap_or(0))
    }
}

/// Events as columns.
#[derive(Default)]
struct EventColumns<'a> {
    ids: Vec<&'a str>,
    jobs: Vec<&'a str>,
    tenants: Vec<Option<&'a str>>,
    kinds: Vec<&'static str>,
    occurred_ats: Vec<SystemTime>,
    attempts: Vec<Option<i32>>,
    categories: Vec<Option<&'static str>>,
    details: Vec<Option<Cow<'a, str>>>,
    provider_message_ids: Vec<Option<Cow<'a, str>>>,
    recipients: Vec<Option<String>>,
    reasons: Vec<Option<&'static str>>,
}

impl<'a> EventColumns<'a> {
    fn push(&mut self, id: &'a str, event: &'a EspEvent) {
        let suppress = event.suppress.as_ref();
        self.ids.push(id);
        self.jobs.push(event.job.as_str());
        self.tenants.push(event.tenant.as_ref().map(Tenant::as_str));
        self.kinds.push(event.kind.as_str());
        self.occurred_ats.push(instant(event.occurred_at));
        self.attempts.push(event.attempt.map(int4));
        self.categories.push(event.category.map(Category::as_str));
        self.details.push(event.detail.as_deref().and_then(clean_some));
        self.provider_message_ids.push(event.provider_message_id.as_deref().and_then(clean_some));
        self.recipients.push(suppress.map(|it| it.recipient.suppression_key()));
        self.reasons.push(suppress.map(|it| it.reason.as_str()));
    }

    fn params(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.ids,
            &self.jobs,
            &self.tenants,
            &self.kinds,
            &self.occurred_ats,
            &self.attempts,
            &self.categories,
            &self.details,
            &self.provider_message_ids,
            &self.recipients,
            &self.reasons,
        ]
    }
}
