//! The other end of the way: a message that is no job goes to the dead letters, with its reason.

use bytes::Bytes;
use sluice_types::{Job, Lane, Refusal};

use crate::ack::NotStored;
use crate::failpoint::{Failpoint, at};
use crate::ports::{Burial, DeadLetter};
use crate::worker::Worker;

/// Keeps a refused message in `dead_letter` and publishes it to `sluice.dead`; its delivery can be acked then.
///
/// # Errors
/// When either does not take it: the delivery must be given back.
pub(crate) async fn refuse(
    worker: &Worker,
    lane: &Lane,
    body: &Bytes,
    refusal: Refusal,
) -> Result<(), NotStored> {
    tracing::warn!(lane = %lane, reason = %refusal.reason, field = %refusal.field, "refused a message");
    let burial = Burial { refusal: refusal.clone(), lane: lane.clone(), body: body.clone() };
    for buried in worker.outbox.bury(vec![burial]).await {
        if let Err(error) = buried {
            tracing::warn!(error = %crate::health::chain(&error), "could not publish a dead letter");
            return Err(NotStored);
        }
    }
    at(Failpoint::Buried, || Job::peek_id(body));
    let reason = refusal.reason;
    let letter = DeadLetter { job_id: Job::peek_id(body), lane: lane.clone(), refusal, body: body.clone() };
    worker.refusals.submit(letter).await.map_err(|error| {
        tracing::warn!(error = %crate::health::chain(&error), "could not keep a dead letter");
        NotStored
    })?;
    at(Failpoint::Refused, || Job::peek_id(body));
    worker.metrics.refused(reason);
    Ok(())
}
