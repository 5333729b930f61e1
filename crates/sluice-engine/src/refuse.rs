//! The other end of the way: a message that is no job goes to the dead letters, with its reason.

use bytes::Bytes;
use sluice_types::{Job, Lane, Refusal};

use crate::ack::{NotStored, Stored};
use crate::failpoint::{Failpoint, at};
use crate::ports::{Burial, DeadLetter};
use crate::worker::Worker;

/// Keeps a refused message in `dead_letter` and publishes it to `sluice.dead`; its delivery can be acked then.
///
/// # Errors
/// When either does not take it: the delivery must be given back.
pub(crate) fn refuse<'a>(
    worker: &'a Worker,
    lane: &'a Lane,
    body: &'a Bytes,
    refusal: Refusal,
    traceparent: Option<&'a str>,
) -> Stored<'a> {
    refuse_as(worker, lane, body, refusal, traceparent, Job::peek_id(body))
}

/// As [`refuse`], of a body that must not be looked into. `job_id` is what is known of its id.
///
/// # Errors
/// As [`refuse`].
pub(crate) fn refuse_as<'a>(
    worker: &'a Worker,
    lane: &'a Lane,
    body: &'a Bytes,
    refusal: Refusal,
    traceparent: Option<&'a str>,
    job_id: Option<String>,
) -> Stored<'a> {
    tracing::warn!(lane = %lane, reason = %refusal.reason, field = refusal.logged_field(), "refused a message");
    Box::pin(async move {
        let burial = Burial {
            job_id: job_id.clone(),
            refusal: refusal.clone(),
            lane: lane.clone(),
            body: body.clone(),
            traceparent: traceparent.map(str::to_owned),
        };
        for buried in worker.outbox.bury(vec![burial]).await {
            if let Err(error) = buried {
                tracing::warn!(error = %crate::health::chain(&error), "could not publish a dead letter");
                return Err(NotStored);
            }
        }
        at(Failpoint::Buried, || job_id.clone());
        let reason = refusal.reason;
        let letter = DeadLetter { job_id: job_id.clone(), lane: lane.clone(), refusal, body: body.clone() };
        worker.refusals.submit(letter).await.map_err(|error| {
            tracing::warn!(error = %crate::health::chain(&error), "could not keep a dead letter");
            NotStored
        })?;
        at(Failpoint::Refused, || job_id.clone());
        worker.metrics.refused(reason);
        Ok(())
    })
}
