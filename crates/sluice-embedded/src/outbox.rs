//! The queue's incoming side.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, params};
use sluice_engine::{Burial, Outbox, Publication, PublishError};
use sluice_types::Timestamp;

use crate::error::is_bad_row;
use crate::lanes::LaneBook;
use crate::{Embedded, StoreError, convert};

#[async_trait]
impl Outbox for Embedded {
    async fn publish(&self, jobs: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        let shared = self.shared();
        let count = jobs.len();
        let lanes: BTreeSet<String> = jobs.iter().map(|job| job.lane.to_string()).collect();
        let (book, now) = (shared.lanes.clone(), shared.clock.now());
        let placed = shared.writer.write(count, move |connection| {
            jobs.iter().map(|job| place(connection, &book, now, job)).collect::<rusqlite::Result<Vec<_>>>()
        });
        match placed.await {
            Ok(placed) => {
                lanes.iter().for_each(|lane| shared.lanes.wake(lane));
                placed.into_iter().map(Place::into_result).collect()
            }
            Err(error) => unavailable(error, count),
        }
    }

    /// Does nothing: `Ledger::refuse` keeps dead letters in the same file, and there is no second place.
    async fn bury(&self, messages: Vec<Burial>) -> Vec<Result<(), PublishError>> {
        messages.iter().map(|_| Ok(())).collect()
    }
}

/// What became of one publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Taken,
    AlreadyThere,
    BadRow,
}

impl Place {
    fn into_result(self) -> Result<(), PublishError> {
        match self {
            Self::Taken => Ok(()),
            Self::AlreadyThere => Err(PublishError::Duplicate),
            Self::BadRow => Err(PublishError::Refused),
        }
    }
}

fn unavailable(error: StoreError, count: usize) -> Vec<Result<(), PublishError>> {
    let error = Arc::new(error);
    (0..count).map(|_| Err(PublishError::Unavailable(Box::new(error.clone())))).collect()
}

fn place(
    connection: &Connection,
    book: &LaneBook,
    now: Timestamp,
    job: &Publication,
) -> rusqlite::Result<Place> {
    let lane = job.lane.to_string();
    if is_queued(connection, book, &lane, job)? {
        return Ok(Place::AlreadyThere);
    }
    let mut insert = connection.prepare_cached(
        "insert into lane_message
         (lane, job_id, attempt, first_seen, faulted, resend, traceparent, published_at, body)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let inserted = insert.execute(params![
        lane,
        job.id.as_str(),
        job.passport.attempt,
        job.passport.first_seen.map(Timestamp::as_micros),
        convert::join_esps(&job.passport.faulted),
        job.passport.resend,
        job.passport.traceparent,
        now.as_micros(),
        job.body.as_ref(),
    ]);
    match inserted {
        Ok(_) => Ok(Place::Taken),
        Err(error) if is_bad_row(&error) => Ok(Place::BadRow),
        Err(error) => Err(error),
    }
}

/// Whether the same message (job, attempt and body) waits in the lane already.
///
/// One that somebody holds does not count: its holder may have parked or recorded the job and be about to ack it, and
/// then this publication is the one that carries the job on.
fn is_queued(
    connection: &Connection,
    book: &LaneBook,
    lane: &str,
    job: &Publication,
) -> rusqlite::Result<bool> {
    let mut same = connection.prepare_cached(
        "select seq from lane_message
         where job_id = ?1 and lane = ?2 and attempt = ?3 and resend = ?4 and body = ?5",
    )?;
    let passport = &job.passport;
    let mut rows =
        same.query(params![job.id.as_str(), lane, passport.attempt, passport.resend, job.body.as_ref()])?;
    while let Some(row) = rows.next()? {
        if !book.is_out(lane, row.get(0)?) {
            return Ok(true);
        }
    }
    Ok(false)
}
