//! Messages that the broker gave up on: each was delivered too often without an ack, since it brought its worker down.
//! They become dead letters without being looked at again, but by a process that may die of it.

use std::sync::Arc;
use std::time::Duration;

use sluice_types::{Class, GroupName, Lane, PoolName, Refusal};
use tokio_util::sync::CancellationToken;

use crate::ack::ack;
use crate::health::chain;
use crate::refuse::refuse_as;
use crate::taste::safe_id;
use crate::worker::Worker;

/// Poisonous messages held at a time.
const PREFETCH: u16 = 16;
/// Pause before a feed that is over is opened again.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// Keeps every message that the broker gave up on as a dead letter, until the process drains.
pub(crate) async fn run_poison(worker: Arc<Worker>, stop: CancellationToken) {
    loop {
        match worker.inbox.open_poison(PREFETCH).await {
            Ok(None) => return,
            Ok(Some(mut feed)) => {
                while let Some((lane, delivery)) = tokio::select! {
                    () = stop.cancelled() => return,
                    next = feed.next() => next,
                } {
                    let lane = lane.unwrap_or_else(unknown_lane);
                    let job_id = safe_id(&worker, &delivery.body).await;
                    let trace = delivery.passport.traceparent.as_deref();
                    let refusal = Refusal::delivery_limit();
                    let kept = refuse_as(&worker, &lane, &delivery.body, refusal, trace, job_id).await;
                    ack(delivery.receipt, kept);
                }
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), "could not consume what the broker gave up on")
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REOPEN_PAUSE) => {}
        }
    }
}

fn unknown_lane() -> Lane {
    Lane { pool: PoolName::default(), class: Class::Bulk, group: GroupName::other(), side: None }
}
