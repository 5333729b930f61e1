//! Publishes parked jobs whose time has come, and removes them once the broker has confirmed.

use std::sync::Arc;

use sluice_telemetry::Dependency;
use sluice_types::JobId;
use tokio_util::sync::CancellationToken;

use crate::health::chain;
use crate::ports::{DueBatch, PendingJob, Publication};
use crate::worker::Worker;

/// Moves due jobs from `pending` into their lanes until the process drains.
pub(crate) async fn run_relay(worker: Arc<Worker>, stop: CancellationToken) {
    let bounds = *worker.plan.bounds();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = worker.health.wait_up(Dependency::Store) => {}
        }
        let more = match worker.ledger.due(bounds.relay_batch).await {
            Ok(Some(batch)) => publish(&worker, batch).await,
            Ok(None) => false,
            Err(error) => {
                worker.health.down(Dependency::Store, &error);
                false
            }
        };
        if more {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = worker.due_now.notified() => {}
            () = tokio::time::sleep(bounds.relay_interval) => {}
        }
    }
}

/// Publishes one batch; answers whether all of it went, so that it is worth asking for more at once.
async fn publish(worker: &Worker, batch: Box<dyn DueBatch>) -> bool {
    let publications: Vec<Publication> = batch.jobs().iter().map(|job| publication(worker, job)).collect();
    let ids: Vec<JobId> = publications.iter().map(|it| it.id.clone()).collect();
    let results = worker.outbox.publish(publications).await;
    let mut confirmed = Vec::with_capacity(ids.len());
    for (id, result) in ids.into_iter().zip(results) {
        match result {
            // A job that is queued already needs no second copy.
            Ok(()) | Err(crate::ports::PublishError::Duplicate) => confirmed.push(id),
            Err(error) => tracing::warn!(job = %id, error = %chain(&error), "could not publish a parked job"),
        }
    }
    let all = confirmed.len() == batch.jobs().len();
    match batch.published(&confirmed).await {
        Ok(()) => {
            worker.metrics.released(u64::try_from(confirmed.len()).unwrap_or(u64::MAX));
            all
        }
        Err(error) => {
            // They will be published again, and the claim makes the second copy a no-op.
            worker.health.down(Dependency::Store, &error);
            false
        }
    }
}

fn publication(worker: &Worker, job: &PendingJob) -> Publication {
    Publication {
        id: job.id.clone(),
        lane: worker.plan.lane(&job.pool, job.class, &job.domain),
        body: job.body.clone(),
        passport: job.passport.clone(),
    }
}
