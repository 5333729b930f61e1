//! Step 3: a place in the line of every limit that applies, and at the ESP.

use std::time::Duration;

use sluice_types::{EspId, LimitScope, WaitReason};
use tokio::sync::OwnedSemaphorePermit;

use crate::breakers::Leave;
use crate::case::Case;
use crate::slots::Ticket;
use crate::worker::Worker;

/// All that a call needs but the claim: the turn is near.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) esp: EspId,
    pub(crate) ticket: Ticket,
    /// What would hold the job if its turn did not come after all.
    pub(crate) reason: WaitReason,
    pub(crate) leave: Leave,
    pub(crate) place: OwnedSemaphorePermit,
}

/// Why a job has no reservation.
#[derive(Debug)]
pub(crate) enum Unreserved {
    /// The ESP's breaker has opened meanwhile: route again.
    RouteAgain,
    /// It would have to wait so long that it is parked.
    TooLong {
        /// What holds it.
        reason: WaitReason,
        /// The key of the limit, where it is one.
        limit_key: Option<String>,
        /// About how long.
        wait: Duration,
    },
}

/// Draws a ticket for every limit of the job at `esp` and holds the job until its turn is near.
///
/// # Errors
/// [`Unreserved`] when the wait is longer than a job is held: shorter for limits that concern only some jobs of the
/// lane, which must not stand in the way of the rest.
pub(crate) async fn reserve(worker: &Worker, case: &Case<'_>, esp: EspId) -> Result<Reservation, Unreserved> {
    let bounds = worker.plan.bounds();
    let (line, limits) =
        worker.plan.line(case.job.class, &esp, &case.group, &case.job.tenant, case.job.to.email.domain());
    let estimate = worker.slots.estimate(&line, &limits);
    let holding =
        estimate.limit.as_ref().map_or_else(|| LimitScope::Esp(esp.clone()), |limit| limit.scope.clone());
    let hold_max = if case.governs_lane(&holding) { bounds.lane_hold_max } else { bounds.hold_max };
    let too_long = |wait: Duration| Unreserved::TooLong {
        reason: holding.wait_reason(),
        limit_key: estimate.limit.as_ref().map(sluice_types::Limit::key),
        wait,
    };
    if estimate.wait > hold_max {
        return Err(too_long(estimate.wait));
    }
    let began = worker.clock.tick();
    let mut ticket = worker.slots.draw(&line, &limits);
    if !ticket.near(case.arrived + hold_max).await {
        return Err(too_long(worker.slots.estimate(&line, &limits).wait.max(bounds.hold_max)));
    }
    let waited = worker.clock.tick().since(began);
    if estimate.limit.is_some() {
        worker.metrics.waited(holding.wait_reason(), waited);
    }
    let Some(handle) = worker.esps.get(&esp) else { return Err(Unreserved::RouteAgain) };
    let place = tokio::time::timeout(bounds.hold_max, handle.places.clone().acquire_owned()).await;
    let Ok(Ok(place)) = place else { return Err(too_long(bounds.hold_max)) };
    match worker.breakers.ask(&esp) {
        Ok(leave) => Ok(Reservation { esp, ticket, reason: holding.wait_reason(), leave, place }),
        Err(_until) => Err(Unreserved::RouteAgain),
    }
}
