//! Parked jobs in the hands of a relay. The leases are kept in memory: there is one worker, and a crash ends them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, Row, Rows};
use sluice_engine::{DueBatch, LedgerError, PendingJob};
use sluice_types::{Class, JobId};

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

/// The columns of a job in a batch, after what it is ordered by.
macro_rules! columns {
    () => {
        "seq, job_id, pool, class, domain, group_name, attempt, first_seen, faulted, resend, traceparent, body"
    };
}
pub(crate) use columns;

/// Jobs on their way into a batch.
#[derive(Debug)]
pub(crate) struct Basket {
    /// What was held when the reading began, and what is in here.
    held: HashSet<JobId>,
    found: Vec<Found>,
    bytes: usize,
    max: usize,
}

/// A parked job and where it stands among its like.
#[derive(Debug)]
pub(crate) struct Found {
    /// By what it is ordered (when it is due, or was first seen), then its row.
    pub(crate) place: (i64, i64),
    job: PendingJob,
}

impl Basket {
    /// An empty one with room for `max` jobs.
    ///
    /// Made before the first read of a transaction, and only the relay's thread makes them: so no job can be released,
    /// removed and read again from an older snapshot.
    pub(crate) fn new(leases: &DueLeases, max: usize) -> Self {
        Self { held: leases.held().clone(), found: Vec::new(), bytes: 0, max }
    }

    /// Whether no more jobs go into it.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= self.max || self.bytes >= BATCH_BYTES
    }

    /// The first of `rows` that nobody holds; their columns are what they are ordered by, then [`columns`].
    pub(crate) fn first_free(&self, mut rows: Rows<'_>) -> rusqlite::Result<Option<Found>> {
        while let Some(row) = rows.next()? {
            let id: JobId = convert::parsed(row, 2)?;
            if !self.held.contains(&id) {
                return Ok(Some(Found { place: (row.get(0)?, row.get(1)?), job: pending_job(row, id)? }));
            }
        }
        Ok(None)
    }

    /// Puts in those of `rows` that nobody holds, but for the jobs of `full` lanes.
    pub(crate) fn fill(&mut self, mut rows: Rows<'_>, full: &HashSet<String>) -> rusqlite::Result<()> {
        while !self.is_full()
            && let Some(row) = rows.next()?
        {
            let id: JobId = convert::parsed(row, 2)?;
            if self.held.contains(&id) {
                continue;
            }
            let job = pending_job(row, id)?;
            if !full.contains(&format!("{}.{}.{}", job.pool, job.class, job.group)) {
                self.put(Found { place: (row.get(0)?, row.get(1)?), job });
            }
        }
        Ok(())
    }

    /// Puts a job in.
    pub(crate) fn put(&mut self, found: Found) {
        self.held.insert(found.job.id.clone());
        self.bytes += found.job.body.len();
        self.found.push(found);
    }

    /// Puts the jobs into the order of their places.
    pub(crate) fn sort(&mut self) {
        self.found.sort_by_key(|found| found.place);
    }

    /// Leases what is in it; `None` when nothing is.
    pub(crate) fn lease(self, leases: &Arc<DueLeases>, writer: &Writer) -> Option<Batch> {
        if self.found.is_empty() {
            return None;
        }
        let (jobs, seqs): (Vec<PendingJob>, _) =
            self.found.into_iter().map(|found| (found.job, found.place.1)).unzip();
        leases.held().extend(jobs.iter().map(|job| job.id.clone()));
        Some(Batch { leases: leases.clone(), writer: writer.clone(), jobs, seqs })
    }
}

fn pending_job(row: &Row<'_>, id: JobId) -> rusqlite::Result<PendingJob> {
    Ok(PendingJob {
        id,
        pool: convert::parsed(row, 3)?,
        class: convert::word(row, 4, Class::from_word)?,
        domain: row.get(5)?,
        group: convert::parsed(row, 6)?,
        passport: convert::passport(row, 7)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(12)?),
    })
}

/// A lease of parked jobs.
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
