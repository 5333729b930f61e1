//! `pending`: everything that is not due yet.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sluice_engine::{DeadLetter, Due, ParkVerdict, Parked};
use sluice_types::{JobId, Lane, Refusal, Timestamp, WaitReason};

use crate::batch::DueLeases;
use crate::convert;

/// Parks jobs that hold no claim; one that is parked already keeps its first row, unless the copy is further along: what
/// an older copy left would come back as a number that is past, and the job be lost.
///
/// A row that a relay holds does not count as first: it is being published, and will be removed for that. Then this
/// parking is a later one, and its row takes the place of the old.
pub(crate) fn park(
    connection: &Connection,
    leases: &DueLeases,
    now: Timestamp,
    jobs: &[Parked],
) -> rusqlite::Result<Vec<ParkVerdict>> {
    jobs.iter().map(|job| park_one(connection, leases, now, job)).collect()
}

fn park_one(
    connection: &Connection,
    leases: &DueLeases,
    now: Timestamp,
    job: &Parked,
) -> rusqlite::Result<ParkVerdict> {
    if job.reason == WaitReason::InFlightElsewhere && is_final(connection, &job.id)? {
        // The other worker has finished meanwhile: there is nothing to wait for.
        return Ok(ParkVerdict::Parked);
    }
    if another_body(connection, job)?.is_some() {
        return Ok(ParkVerdict::Conflict);
    }
    if leases.holds(&job.id) || is_parked_further_back(connection, job)? {
        replace(connection, now, job)?;
    } else {
        insert(connection, now, job)?;
    }
    Ok(ParkVerdict::Parked)
}

/// What is parked under the job's id with another body, as the dead letter that it becomes when it has to make room.
pub(crate) fn another_body(connection: &Connection, job: &Parked) -> rusqlite::Result<Option<DeadLetter>> {
    let lane_and_body = |row: &Row<'_>| {
        let lane: String = row.get(0)?;
        Ok((lane, Bytes::from(row.get::<_, Vec<u8>>(1)?)))
    };
    let found = connection
        .prepare_cached(
            "select pool || '.' || class || '.' || group_name, body from pending where job_id = ?1 and body <> ?2",
        )?
        .query_row(params![job.id.as_str(), job.body.as_ref()], lane_and_body)
        .optional()?;
    let ours = || Lane { pool: job.pool.clone(), class: job.class, group: job.group.clone(), side: None };
    Ok(found.map(|(lane, body)| DeadLetter {
        job_id: Some(job.id.to_string()),
        lane: lane.parse().unwrap_or_else(|_| ours()),
        refusal: Refusal::id_conflict(),
        body,
    }))
}

fn is_parked_further_back(connection: &Connection, job: &Parked) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "select exists (select 1 from pending where job_id = ?1 and (attempt, resend) < (?2, ?3))",
        )?
        .query_row(params![job.id.as_str(), job.passport.attempt, job.passport.resend], |row| row.get(0))
}

fn is_final(connection: &Connection, id: &JobId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "select exists (select 1 from job where id = ?1 and state not in ('sending', 'deferred', 'unknown'))",
        )?
        .query_row([id.as_str()], |row| row.get(0))
}

/// Parks a job whatever was parked of it before.
///
/// It gets a new row with a new `seq`, so that a relay which published the old one does not remove it.
pub(crate) fn replace(connection: &Connection, now: Timestamp, job: &Parked) -> rusqlite::Result<()> {
    connection.prepare_cached("delete from pending where job_id = ?1")?.execute([job.id.as_str()])?;
    insert(connection, now, job)
}

/// Removes the copies that wait for the outcome of a job which is final now.
///
/// A copy that waits for a slot or its time stays: it may have another body, which the claim will find out.
pub(crate) fn forget(connection: &Connection, id: &JobId) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "delete from pending
             where job_id = ?1 and (reason in ('in_flight_elsewhere', 'unknown', 'retry') or resend)",
        )?
        .execute([id.as_str()])?;
    Ok(())
}

fn insert(connection: &Connection, now: Timestamp, job: &Parked) -> rusqlite::Result<()> {
    let key = job.limit_key.as_deref().and_then(convert::not_empty);
    let (due, key) = match job.due {
        Due::In(after) => (Some(now + after), key),
        Due::At(at) => (Some(at), key),
        // Without a due time, the key tells the two apart.
        Due::Held => (None, None),
        // A line without a name would never be asked for.
        Due::InLine if key.is_none() => (Some(now), None),
        Due::InLine => (None, key),
    };
    // Only in line does somebody look for it.
    let expires_at = job.expires_at.filter(|at| due.is_none() && key.is_some() && *at > now);
    let mut insert = connection.prepare_cached(
        "insert into pending (job_id, tenant, campaign, pool, class, domain, group_name, due_at, reason, limit_key,
             attempt, first_seen, faulted, resend, traceparent, created_at, body, expires_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
         on conflict (job_id) do nothing",
    )?;
    insert.execute(params![
        job.id.as_str(),
        job.tenant.as_str(),
        job.campaign.as_ref().map(|campaign| campaign.as_str()),
        job.pool.as_str(),
        job.class.as_str(),
        job.domain,
        job.group.as_str(),
        due.map(Timestamp::as_micros),
        job.reason.as_str(),
        key,
        job.passport.attempt,
        job.passport.first_seen.map(Timestamp::as_micros),
        convert::join_esps(&job.passport.faulted),
        job.passport.resend,
        job.passport.traceparent,
        now.as_micros(),
        job.body.as_ref(),
        expires_at.map(Timestamp::as_micros),
    ])?;
    Ok(())
}
