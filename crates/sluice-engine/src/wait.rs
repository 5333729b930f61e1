//! Hold or park: what happens to a job that cannot go now.

use std::time::Duration;

use sluice_types::{Refusal, Tick, WaitReason};

use crate::ack::{NotStored, Stored, Walked};
use crate::batcher::Written;
use crate::case::Case;
use crate::failpoint::{Failpoint, at};
use crate::ports::{Due, ParkVerdict, Parked};
use crate::refuse::refuse;
use crate::relay::line_of_campaign;
use crate::worker::Worker;

/// Holds a job in memory for `wait`, if that ends within `hold_max` of its arrival; false when it must be parked.
pub(crate) async fn hold(worker: &Worker, case: &Case<'_>, wait: Duration) -> bool {
    let now = worker.clock.tick();
    // A little longer than asked, so that a breaker that opens its probes at that instant is surely past it.
    let wait = wait + Duration::from_millis(5);
    if now + wait > case.arrived + worker.plan().bounds().hold_max {
        return false;
    }
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = worker.breakers.closed.notified() => {}
    }
    worker.metrics.waited(WaitReason::BreakerOpen, worker.clock.tick().since(now));
    true
}

/// How long until `until`, for parking.
pub(crate) fn due_at(worker: &Worker, until: Tick) -> Due {
    Due::In(until.since(worker.clock.tick()).max(Duration::from_millis(100)))
}

/// The parked copy of a job whose campaign is paused: in a line that opens when it is resumed.
pub(crate) fn paused(case: &Case<'_>) -> Parked {
    let mut parked = case.parked(Due::InLine, WaitReason::CampaignPaused);
    let campaign = case.job.campaign.as_ref();
    parked.limit_key = campaign.map(|it| line_of_campaign(case.job.tenant.as_str(), it.as_str()));
    // It would be parked again, for the pause comes first.
    parked.expires_at = None;
    parked
}

/// Writes a job to `pending`; the delivery can be acked then. A job whose id is parked with another body is refused.
///
/// # Errors
/// When the store does not take it: the delivery must be given back.
pub(crate) fn park(worker: &Worker, parked: Parked) -> Stored<'_> {
    let (id, reason, body) = (parked.id.clone(), parked.reason, parked.body.clone());
    let trace = parked.passport.traceparent.clone();
    let lane = worker.plan().lane(&parked.pool, parked.class, &parked.domain);
    at(Failpoint::BeforePark, || Some(id.to_string()));
    let written = worker.parks.submit(parked);
    Box::pin(async move {
        match written.await {
            Ok(Written { answer: ParkVerdict::Parked, .. }) => {
                at(Failpoint::Parked, || Some(id.to_string()));
                worker.metrics.parked(reason);
                tracing::debug!(job = %id, %reason, "parked");
                Ok(Walked::Stored)
            }
            Ok(Written { answer: ParkVerdict::Conflict, .. }) => {
                refuse(worker, &lane, &body, Refusal::id_conflict(), trace.as_deref()).await
            }
            Err(error) => {
                tracing::warn!(job = %id, error = %crate::health::chain(&error), "could not park a job");
                Err(NotStored)
            }
        }
    })
}
