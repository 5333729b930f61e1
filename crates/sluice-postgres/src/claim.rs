//! Claims: one statement puts a batch of rows, or says what stands in the way.

mod first;

use std::collections::HashMap;
use std::time::Duration;

use sluice_engine::{Claim, ClaimVerdict, Intent};
use sluice_policy::{ClaimStep, FoundJob};
use sluice_types::JobState;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::convert::{column, int4, uint4, verdict_of_put, wait_us, word};
use crate::kinds::Kinds;
use crate::park::waits_for_outcome;
use crate::{Postgres, StoreError};

pub(crate) use self::first::Looks;

const STEP: &str = "claim jobs";

/// How often a claim is tried whose row changes under it.
const ROUNDS: u32 = 4;
/// What a claim is told whose row still changes then: others are at it.
const CONTENDED: Duration = Duration::from_secs(1);

/// The claims of the parameters as rows; `$others` are columns that only some of them need. Arrays of texts are unnested and the
/// others read by the place of a row: each array that is unnested is a function call a row, and a walk through an array of texts
/// would be one from its beginning.
macro_rules! claims {
    ($others:literal) => {
        concat!(
            "(
    SELECT c.*,
        ($7::text[])[c.kind] AS tenant, ($8::text[])[c.kind] AS campaign, ($9::text[])[c.kind] AS class,
        ($10::text[])[c.kind] AS pool, ($11::text[])[c.kind] AS esp, ($12::bigint[])[c.kind] AS ttl_us",
            $others,
            "
    FROM (
        SELECT u.id, u.recipient, ($4::bigint[])[u.place] AS fingerprint, ($5::bigint[])[u.place] AS token,
            ($6::int[])[u.place] AS kind
        FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS u (id, recipient, place)
        OFFSET 0
    ) AS c
) AS i"
        )
    };
}
use claims;

/// `put` inserts new jobs and takes over rows that the claim may have; a `sending` row whose claim has lapsed becomes
/// `unknown` and gets its attempt (`lost`). `excluded.attempts` is the claimed attempt for a send and the one before it
/// for a close, `excluded.resent` carries the wish to resend.
///
/// A pending row that a relay holds is left: its copy will find the job done.
const CLAIM: &str = concat!(
    "
WITH input AS MATERIALIZED (
    SELECT i.*,
        CASE WHEN i.wish = 'sending' AND EXISTS (
                SELECT FROM sluice.suppression s
                WHERE s.recipient = lower(i.recipient COLLATE \"C\") AND s.tenant IN ('', i.tenant))
             THEN 'suppressed' ELSE i.wish END AS state
    FROM ",
    claims!(
        ",
        ($13::int[])[c.kind] AS attempt, ($14::boolean[])[c.kind] AS resend, ($15::text[])[c.kind] AS wish,
        ($16::text[])[c.kind] AS category"
    ),
    "
), put AS (
    INSERT INTO sluice.job AS j
        (id, tenant, campaign, class, pool, recipient, state, attempts,
         esp, category, worker, claim_token, deadline, fingerprint, resent)
    SELECT i.id, i.tenant, i.campaign, i.class, i.pool, i.recipient, i.state,
        CASE i.state WHEN 'sending' THEN i.attempt ELSE i.attempt - 1 END,
        CASE i.state WHEN 'sending' THEN i.esp END,
        CASE i.state WHEN 'suppressed' THEN coalesce(i.category, 'suppressed') ELSE i.category END,
        $1, i.token,
        CASE i.state WHEN 'sending' THEN clock_timestamp() + i.ttl_us * interval '1 microsecond' END,
        i.fingerprint, i.resend
    FROM input i
    ORDER BY i.id COLLATE \"C\"
    ON CONFLICT (id) DO UPDATE SET
        (state, attempts, esp, category, detail, provider_message_id,
         worker, claim_token, deadline, resent, updated_at) = (
            SELECT CASE WHEN lost THEN 'unknown' ELSE excluded.state END,
                CASE WHEN lost THEN j.attempts ELSE excluded.attempts END,
                CASE WHEN lost THEN j.esp ELSE coalesce(excluded.esp, j.esp) END,
                CASE WHEN lost THEN 'worker_lost' ELSE excluded.category END,
                CASE WHEN lost THEN j.detail END,
                CASE WHEN lost THEN j.provider_message_id END,
                CASE WHEN lost THEN j.worker ELSE excluded.worker END,
                CASE WHEN lost THEN j.claim_token ELSE excluded.claim_token END,
                CASE WHEN lost THEN j.deadline ELSE excluded.deadline END,
                j.resent OR (j.state = 'unknown' AND excluded.state = 'sending'),
                clock_timestamp()
            FROM (SELECT j.state = 'sending'
                    AND (j.worker, j.claim_token) IS DISTINCT FROM (excluded.worker, excluded.claim_token) AS lost) o
        )
    WHERE j.tenant = excluded.tenant
      AND (excluded.resent OR excluded.attempts > CASE excluded.state WHEN 'sending' THEN 1 ELSE 0 END
           OR coalesce(j.fingerprint, excluded.fingerprint) = excluded.fingerprint)
      AND CASE j.state
            WHEN 'deferred' THEN
                j.attempts = excluded.attempts - CASE excluded.state WHEN 'sending' THEN 1 ELSE 0 END
            WHEN 'unknown' THEN
                excluded.resent AND excluded.state <> 'cancelled'
                AND j.attempts = excluded.attempts - CASE excluded.state WHEN 'sending' THEN 1 ELSE 0 END
            WHEN 'sending' THEN
                CASE WHEN (j.worker, j.claim_token) IS DISTINCT FROM (excluded.worker, excluded.claim_token)
                     THEN coalesce(j.deadline <= clock_timestamp(), true)
                        AND j.attempts <= excluded.attempts + CASE excluded.state WHEN 'sending' THEN 0 ELSE 1 END
                     ELSE j.attempts = excluded.attempts + CASE excluded.state WHEN 'sending' THEN 0 ELSE 1 END END
            ELSE false END
    RETURNING j.id, j.tenant, j.state, j.attempts, j.esp, j.deadline, j.worker
), lost AS (
    INSERT INTO sluice.attempt
        (job_id, tenant, attempt, esp, outcome, category, started_at, finished_at, worker)
    SELECT p.id, p.tenant, p.attempts, coalesce(p.esp, ''), 'unknown', 'worker_lost',
        coalesce(p.deadline, now()), coalesce(p.deadline, now()), p.worker
    FROM put p
    WHERE p.state = 'unknown'
    ON CONFLICT DO NOTHING
), gone AS (
    DELETE FROM sluice.pending
    WHERE job_id = ANY (ARRAY(
        SELECT q.job_id FROM sluice.pending q
        WHERE q.job_id = ANY (ARRAY(SELECT p.id FROM put p WHERE p.state NOT IN ('sending', 'unknown')))
          AND ",
    waits_for_outcome!(),
    "
        FOR UPDATE SKIP LOCKED))
)
SELECT p.id, true AS put, p.tenant, p.state, p.attempts, NULL::bigint AS fingerprint,
    NULL::text AS worker, NULL::bigint AS claim_token, NULL::bigint AS remaining_us
FROM put p
UNION ALL
SELECT j.id, false, j.tenant, j.state, j.attempts, j.fingerprint, j.worker, j.claim_token,
    (extract(epoch FROM j.deadline - clock_timestamp()) * 1000000)::bigint
FROM input i
CROSS JOIN LATERAL (SELECT * FROM sluice.job j WHERE j.id = i.id OFFSET 0) j
WHERE i.id NOT IN (SELECT p.id FROM put p)
"
);

impl Postgres {
    /// Claims a batch; a row that changes between the look and the decision is claimed again.
    pub(crate) async fn claim_jobs(&self, claims: &[Claim]) -> Result<Vec<ClaimVerdict>, StoreError> {
        let claimed = self.claim_first(claims.iter()).await?;
        // One row for each that may be sent: nearly always all of them, and nothing to look up.
        if claimed.len() == claims.len() {
            return Ok(vec![ClaimVerdict::Go; claims.len()]);
        }
        let mut open: HashMap<&str, &Claim> = claims.iter().map(|claim| (claim.id.as_str(), claim)).collect();
        let mut verdicts: HashMap<&str, ClaimVerdict> = HashMap::with_capacity(claims.len());
        for row in claimed {
            let id: &str = column(&row, STEP, "id")?;
            if let Some(claim) = open.remove(id) {
                verdicts.insert(claim.id.as_str(), ClaimVerdict::Go);
            }
        }
        for _ in 0..ROUNDS {
            if open.is_empty() {
                break;
            }
            for row in self.claim_once(open.values().copied()).await? {
                let id: &str = column(&row, STEP, "id")?;
                let Some(claim) = open.get(id).copied() else {
                    continue;
                };
                if let Some(verdict) = verdict_of_row(claim, &self.worker, &row)? {
                    open.remove(id);
                    verdicts.insert(claim.id.as_str(), verdict);
                }
            }
        }
        let contended = ClaimVerdict::InFlight { remaining: CONTENDED };
        let verdict = |claim: &Claim| verdicts.get(claim.id.as_str()).copied().unwrap_or(contended);
        Ok(claims.iter().map(verdict).collect())
    }

    async fn claim_once<'a>(&self, claims: impl Iterator<Item = &'a Claim>) -> Result<Vec<Row>, StoreError> {
        let columns = ClaimColumns::of(claims);
        let worker: &str = &self.worker;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&worker];
        params.extend(columns.of_first());
        params.extend(columns.of_others());
        self.writers.query(STEP, CLAIM, &params).await
    }
}

/// Claims as columns: what is each one's own, and what kinds of them have in common.
#[derive(Default)]
struct ClaimColumns<'a> {
    ids: Vec<&'a str>,
    recipients: Vec<&'a str>,
    fingerprints: Vec<i64>,
    tokens: Vec<i64>,
    numbers: Vec<i32>,
    kinds: Kinds<ClaimKind<'a>>,
    tenants: Vec<&'a str>,
    campaigns: Vec<Option<&'a str>>,
    classes: Vec<&'static str>,
    pools: Vec<&'a str>,
    esps: Vec<Option<&'a str>>,
    ttls_us: Vec<Option<i64>>,
    attempts: Vec<i32>,
    resends: Vec<bool>,
    wishes: Vec<&'static str>,
    categories: Vec<Option<&'static str>>,
}

/// What many claims of a batch have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct ClaimKind<'a> {
    tenant: &'a str,
    campaign: Option<&'a str>,
    class: &'static str,
    pool: &'a str,
    esp: Option<&'a str>,
    ttl_us: Option<i64>,
    attempt: i32,
    resend: bool,
    wish: &'static str,
    category: Option<&'static str>,
}

impl<'a> ClaimKind<'a> {
    fn of(claim: &'a Claim) -> Self {
        let (wish, category, esp, ttl_us) = match &claim.intent {
            Intent::Send { ttl, esp } => (JobState::Sending, None, Some(esp.as_str()), Some(wait_us(*ttl))),
            Intent::Close { state, category } => (*state, Some(category.as_str()), None, None),
        };
        Self {
            tenant: claim.tenant.as_str(),
            campaign: claim.campaign.as_ref().map(|campaign| campaign.as_str()),
            class: claim.class.as_str(),
            pool: claim.pool.as_str(),
            esp,
            ttl_us,
            attempt: int4(claim.attempt),
            resend: claim.resend,
            wish: wish.as_str(),
            category,
        }
    }
}

impl<'a> ClaimColumns<'a> {
    fn of(claims: impl Iterator<Item = &'a Claim>) -> Self {
        let mut columns = Self::default();
        for claim in claims {
            columns.push(claim);
        }
        columns
    }

    /// What a first claim needs to tell.
    fn of_first(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.ids,
            &self.recipients,
            &self.fingerprints,
            &self.tokens,
            &self.numbers,
            &self.tenants,
            &self.campaigns,
            &self.classes,
            &self.pools,
            &self.esps,
            &self.ttls_us,
        ]
    }

    /// What any other has to tell on top.
    fn of_others(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.attempts, &self.resends, &self.wishes, &self.categories]
    }

    fn push(&mut self, claim: &'a Claim) {
        let kind = ClaimKind::of(claim);
        let (number, is_new) = self.kinds.number(&kind);
        self.ids.push(claim.id.as_str());
        self.recipients.push(claim.recipient.as_str());
        self.fingerprints.push(claim.fingerprint);
        self.tokens.push(claim.token);
        self.numbers.push(number);
        if is_new {
            self.tenants.push(kind.tenant);
            self.campaigns.push(kind.campaign);
            self.classes.push(kind.class);
            self.pools.push(kind.pool);
            self.esps.push(kind.esp);
            self.ttls_us.push(kind.ttl_us);
            self.attempts.push(kind.attempt);
            self.resends.push(kind.resend);
            self.wishes.push(kind.wish);
            self.categories.push(kind.category);
        }
    }
}

/// `None` when the row as seen should have let the claim, so that it must have changed since.
fn verdict_of_row(claim: &Claim, worker: &str, row: &Row) -> Result<Option<ClaimVerdict>, StoreError> {
    let state = word(row, STEP, "state", JobState::from_word)?;
    let attempts = uint4(column(row, STEP, "attempts")?);
    if column(row, STEP, "put")? {
        return Ok(Some(verdict_of_put(claim, state, attempts)));
    }
    let holder: Option<&str> = column(row, STEP, "worker")?;
    let token: Option<i64> = column(row, STEP, "claim_token")?;
    let remaining_us: Option<i64> = column(row, STEP, "remaining_us")?;
    let found = FoundJob {
        tenant: column(row, STEP, "tenant")?,
        fingerprint: column(row, STEP, "fingerprint")?,
        state,
        attempts,
        is_ours: holder == Some(worker) && token == Some(claim.token),
        remaining: remaining_us
            .and_then(|left| u64::try_from(left).ok())
            .filter(|left| *left > 0)
            .map(Duration::from_micros),
    };
    Ok(match claim.wish().meet(&found) {
        ClaimStep::Stay(verdict) => Some(verdict),
        ClaimStep::Take | ClaimStep::Lost => None,
    })
}
