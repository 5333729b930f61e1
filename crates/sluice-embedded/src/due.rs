//! Parked jobs whose time has come. The leases are kept in memory: there is one worker, and a crash ends them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, Row};
use sluice_engine::{DueBatch, LedgerError, PendingJob};
use sluice_types::{Class, JobId, Timestamp};

use crate::convert;
use crate::writer::Writer;

/// Bytes of bodies after which a batch is full.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

/// The jobs that a relay holds.
#[derive(Debug, Default)]
pub(crate) struct DueLeases {
    held: Mutex<HashSet<JobId>>,
}

impl DueLeases {
    fn held(&self) -> MutexGuard<'_, HashSet<JobId>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a relay holds the job.
    pub(crate) fn holds(&self, id: &JobId) -> bool {
        self.held().contains(id)
    }
}

/// Leases up to `max` due jobs, oldest first. Runs on a reading thread.
pub(crate) fn due(
    connection: &Connection,
    leases: &Arc<DueLeases>,
    writer: &Writer,
    now: Timestamp,
    max: usize,
) -> rusqlite::Result<Option<Batch>> {
    // Locked over the read: no job can be released, removed and read again from an older snapshot.
    let mut held = leases.held();
    let mut statement = connection.prepare_cached(
        "select seq, job_id, pool, class, domain, attempt, first_seen, faulted, resend, traceparent, body
         from pending where due_at <= ?1 order by due_at, seq limit ?2",
    )?;
    let limit = i64::try_from(max.saturating_add(held.len())).unwrap_or(i64::MAX);
    let mut rows = statement.query((now.as_micros(), limit))?;
    let (mut jobs, mut seqs, mut bytes) = (Vec::new(), Vec::new(), 0);
    while jobs.len() < max && bytes < BATCH_BYTES {
        let Some(row) = rows.next()? else { break };
        let id: JobId = convert::parsed(row, 1)?;
        if held.contains(&id) {
            continue;
        }
        let job = pending_job(row, id)?;
        bytes += job.body.len();
        seqs.push(row.get(0)?);
        jobs.push(job);
    }
    if jobs.is_empty() {
        return Ok(None);
    }
    held.extend(jobs.iter().map(|job| job.id.clone()));
    Ok(Some(Batch { leases: leases.clone(), writer: writer.clone(), jobs, seqs }))
}

fn pending_job(row: &Row<'_>, id: JobId) -> rusqlite::Result<PendingJob> {
    Ok(PendingJob {
        id,
        pool: convert::parsed(row, 2)?,
        class: convert::word(row, 3, Class::from_word)?,
        domain: row.get(4)?,
        passport: convert::passport(row, 5)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(10)?),
    })
}

/// A lease of due jobs.
#[derive(Debug)]
pub(crate) struct Batch {
    leases: Arc<DueLeases>,
    writer: Writer,
    jobs: Vec<PendingJob>,
    /// The row of each job.
    seqs: Vec<i64>,
}

#[async_trait]
impl DueBatch for Batch {
    fn jobs(&self) -> &[PendingJob] {
        &self.jobs
    }

    async fn published(self: Box<Self>, confirmed: &[JobId]) -> Result<(), LedgerError> {
        let confirmed: HashSet<&JobId> = confirmed.iter().collect();
        let rows = self.jobs.iter().zip(&self.seqs);
        let seqs: Vec<i64> =
            rows.filter(|(job, _)| confirmed.contains(&job.id)).map(|(_, seq)| *seq).collect();
        if seqs.is_empty() {
            return Ok(());
        }
        let remove = move |connection: &Connection| {
            let mut delete = connection.prepare_cached("delete from pending where seq = ?1")?;
            seqs.iter().try_for_each(|seq| delete.execute([seq]).map(drop))
        };
        self.writer.write(self.jobs.len(), remove).await?;
        Ok(())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let mut held = self.leases.held();
        for job in &self.jobs {
            held.remove(&job.id);
        }
    }
}
