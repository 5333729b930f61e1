//! What the store says at the end, against what it should say.

use anyhow::Context;
use tokio_postgres::Client;

use crate::job;

/// The worker's rows: every job of `0..jobs` accepted at its first attempt, and nothing left to do. Rows of before, whose
/// ids sort before those of the run, are none of its business.
pub(crate) async fn faults_of_worker(sql: &Client, jobs: usize) -> anyhow::Result<Vec<String>> {
    let mut faults = faults_of_ids(sql, "sluice.job", jobs).await?;
    let expected = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let checks = [
        (
            "jobs are not accepted at their first attempt",
            0,
            "SELECT count(*) FROM sluice.job WHERE (state <> 'accepted' OR attempts <> 1) AND id >= '{first}'",
        ),
        (
            "accepted attempts",
            expected(jobs),
            "SELECT count(*) FROM sluice.attempt WHERE outcome = 'accepted' AND job_id >= '{first}'",
        ),
        (
            "attempts that were not accepted",
            0,
            "SELECT count(*) FROM sluice.attempt WHERE outcome <> 'accepted' AND job_id >= '{first}'",
        ),
        ("jobs still in pending", 0, "SELECT count(*) FROM sluice.pending"),
        ("dead letters", 0, "SELECT count(*) FROM sluice.dead_letter"),
    ];
    for (what, wanted, query) in checks {
        let found = count(sql, &query.replace("{first}", &job::id(0))).await?;
        if found != wanted {
            faults.push(format!("{found} {what}, not {wanted}"));
        }
    }
    Ok(faults)
}

/// A reference program's rows.
pub(crate) async fn faults_of_reference(sql: &Client, jobs: usize) -> anyhow::Result<Vec<String>> {
    let mut faults = faults_of_ids(sql, "result", jobs).await?;
    let open = count(sql, "SELECT count(*) FROM result WHERE state <> 'accepted'").await?;
    if open != 0 {
        faults.push(format!("{open} rows are not accepted"));
    }
    Ok(faults)
}

/// Ids are unique and of one width, so count, first and last tell whether they are those of `0..jobs`.
async fn faults_of_ids(sql: &Client, table: &str, jobs: usize) -> anyhow::Result<Vec<String>> {
    let query = format!(
        "SELECT count(*), min(id COLLATE \"C\"), max(id COLLATE \"C\") FROM {table} WHERE id COLLATE \"C\" >= '{}'",
        job::id(0)
    );
    let row = sql.query_one(&query, &[]).await.context("cannot read the rows")?;
    let found: (i64, Option<String>, Option<String>) = (row.get(0), row.get(1), row.get(2));
    let last = jobs.checked_sub(1);
    let wanted = (i64::try_from(jobs)?, last.map(|_| job::id(0)), last.map(job::id));
    Ok(if found == wanted { Vec::new() } else { vec![format!("rows are {found:?}, not {wanted:?}")] })
}

/// One number.
pub(crate) async fn count(sql: &Client, query: &str) -> anyhow::Result<i64> {
    Ok(sql.query_one(query, &[]).await.with_context(|| format!("cannot ask: {query}"))?.get(0))
}
