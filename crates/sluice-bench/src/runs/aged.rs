//! A store with a history: jobs and attempts of the days before, put there by SQL.

use std::time::Duration;

use super::programs::{Programs, Workers};
use crate::case::Age;
use crate::run::{Figure, Run};
use crate::site::Site;
use crate::stage::{Scene, wait};

/// So that nothing of the history goes while it is measured.
const KEPT: &str = "[retention]\njobs = \"366d\"\nattempts = \"366d\"\n";
/// Attempts go after this many days in the end, within seconds.
const DAYS_KEPT: u32 = 30;
const DROP_TIMEOUT: Duration = Duration::from_secs(120);

/// As the migrations have it, but for days that are over.
const PARTITIONS: &str = "
DO $$
DECLARE
    day date;
    part text;
BEGIN
    FOR days_ago IN 1 .. {days} LOOP
        day := (now() AT TIME ZONE 'UTC')::date - days_ago;
        part := 'attempt_p' || to_char(day, 'YYYYMMDD');
        EXECUTE format('CREATE TABLE sluice.%I (LIKE sluice.attempt INCLUDING ALL)', part);
        EXECUTE format(
            'ALTER TABLE sluice.attempt ATTACH PARTITION sluice.%I FOR VALUES FROM (%L) TO (%L)',
            part, day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
    END LOOP;
END
$$";
/// Evenly over the days, up to the last midnight. Their ids sort before those of the run, as those of UUIDs with a time do.
const JOBS: &str = "
INSERT INTO sluice.job (id, tenant, campaign, class, pool, recipient, state, attempts, esp, provider_message_id,
    updated_at, created_at, worker, claim_token, fingerprint)
SELECT '0192f0c1-6f0e-7c3a-a000-' || lpad(to_hex(n), 12, '0'), 'acme', 'autumn-sale', 'bulk', 'default',
    'u' || n || '@gmail.com', 'accepted', 1, 'main-0', 'stand-in', at, at, 'a-replica-of-before', n, n
FROM generate_series(1, {jobs}) AS n
CROSS JOIN LATERAL (SELECT {at}) AS t (at)";
const ATTEMPTS: &str = "
INSERT INTO sluice.attempt (job_id, tenant, attempt, esp, outcome, provider_message_id, started_at, finished_at, worker)
SELECT '0192f0c1-6f0e-7c3a-a000-' || lpad(to_hex(n), 12, '0'), 'acme', 1, 'main-0', 'accepted', 'stand-in', at,
    at, 'a-replica-of-before'
FROM generate_series(1, {jobs}) AS n
CROSS JOIN LATERAL (SELECT {at}) AS t (at)";
const AT: &str = "date_trunc('day', now(), 'UTC') - ({jobs} - n + 1) * interval '{days} days' / {jobs}";
/// Partitions of days that are over.
const OLD_PARTITIONS: &str = "
SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'sluice.attempt'::regclass AND c.relname ~ '_p[0-9]{8}$'
  AND to_date(right(c.relname, 8), 'YYYYMMDD') < (now() AT TIME ZONE 'UTC')::date";
const PARTITIONS_AHEAD: &str = "
SELECT count(*) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'sluice.attempt'::regclass AND c.relname ~ '_p[0-9]{8}$'
  AND to_date(right(c.relname, 8), 'YYYYMMDD') > (now() AT TIME ZONE 'UTC')::date";
const LOG_POSITION: &str = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";
const TABLE_BYTES: &str = "
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
WHERE c.relnamespace = 'sluice'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^(job|attempt(_.*)?)$'";

/// More of the configuration, so that a store of this age stays as it is.
pub(super) fn retention(age: &Age) -> String {
    if age.days == 0 { String::new() } else { KEPT.to_owned() }
}

/// Puts the history there, and leaves the store as at rest.
pub(super) fn fill(scene: &Scene<'_>, age: &Age) -> anyhow::Result<()> {
    if age.days == 0 {
        return Ok(());
    }
    let sql = |template: &str, jobs: usize| {
        let filled = template.replace("{at}", AT).replace("{jobs}", &jobs.to_string());
        filled.replace("{days}", &age.days.to_string())
    };
    scene.run_sql(&sql(PARTITIONS, 0))?;
    for (template, rows) in [(JOBS, age.jobs), (ATTEMPTS, age.attempts)] {
        if rows > 0 {
            scene.run_sql(&sql(template, rows))?;
        }
    }
    scene.run_sql("VACUUM (ANALYZE) sluice.job")?;
    scene.run_sql("VACUUM (ANALYZE) sluice.attempt")?;
    scene.run_sql("CHECKPOINT")
}

/// How much Postgres has written.
#[derive(Debug)]
pub(super) struct Written {
    log_bytes: usize,
    table_bytes: usize,
}

impl Written {
    pub(super) fn look(scene: &Scene<'_>) -> anyhow::Result<Self> {
        Ok(Self { log_bytes: scene.count(LOG_POSITION)?, table_bytes: scene.count(TABLE_BYTES)? })
    }

    /// Enters what was written since, for each of `jobs`.
    pub(super) fn enter_since(&self, run: &mut Run, scene: &Scene<'_>, jobs: usize) -> anyhow::Result<()> {
        let now = Self::look(scene)?;
        let each = |after: usize, before: usize| after.saturating_sub(before) as f64 / jobs as f64;
        run.set(Figure::LogBytes, each(now.log_bytes, self.log_bytes));
        run.set(Figure::TableBytes, each(now.table_bytes, self.table_bytes));
        Ok(())
    }
}

/// Whether the history is as it was, with partitions made ahead, and whether a worker that is told to keep less drops it.
pub(super) fn faults(scene: &Scene<'_>, site: &Site, age: &Age) -> anyhow::Result<Vec<String>> {
    if age.days == 0 {
        return Ok(Vec::new());
    }
    let mut faults = Vec::new();
    let mut check = |what: &str, query: &str, wanted: usize| -> anyhow::Result<()> {
        let found = scene.count(query)?;
        if found != wanted {
            faults.push(format!("{found} {what}, not {wanted}"));
        }
        Ok(())
    };
    check("old jobs", "SELECT count(*) FROM sluice.job WHERE campaign = 'autumn-sale'", age.jobs)?;
    check("partitions of days that are over", OLD_PARTITIONS, usize::try_from(age.days)?)?;
    // `retention.partitions_ahead`, the default.
    check("partitions of days to come", PARTITIONS_AHEAD, 7)?;
    let site = Site {
        more: format!("[retention]\njobs = \"366d\"\nattempts = \"{DAYS_KEPT}d\"\ninterval = \"1s\"\n"),
        ..site.clone()
    };
    let mut workers = Workers::start(&site.toml(), 1);
    let kept = usize::try_from(DAYS_KEPT)?;
    wait("old partitions are dropped", DROP_TIMEOUT, || {
        workers.check()?;
        Ok(scene.count(OLD_PARTITIONS)? == kept)
    })?;
    Ok(faults)
}
