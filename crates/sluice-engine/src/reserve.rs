//! Step 3: a place in the line of every limit that applies, a connection, and a place at the ESP.

use std::sync::Arc;
use std::time::Duration;

use sluice_types::{EspId, Limit, LimitScope};
use tokio::sync::OwnedSemaphorePermit;

use crate::breakers::Leave;
use crate::case::Case;
use crate::connections::Connection;
use crate::slots::Ticket;
use crate::worker::{EspHandle, Worker};

/// How often one who waits looks whether its limit was shut meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// All that a call needs but the claim: the turn is near.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) esp: EspId,
    pub(crate) ticket: Ticket,
    /// What holds the job if its turn does not come after all; none when it is under no limit.
    pub(crate) limit: Option<Limit>,
    pub(crate) leave: Leave,
    pub(crate) place: OwnedSemaphorePermit,
    pub(crate) connection: Connection,
}

/// Why a job has no reservation.
#[derive(Debug)]
pub(crate) enum Unreserved {
    /// The ESP's breaker has opened meanwhile: route again.
    RouteAgain,
    /// It would have to wait too long for this limit, or others wait in its line already.
    InLine(Limit),
    /// No connection or place at the ESP came free in the time that a job is held.
    NoPlace,
}

/// Draws a ticket for every limit of the job at `esp` and holds the job until its turn is near.
///
/// # Errors
/// [`Unreserved`] when the wait is longer than a job is held: shorter for limits that concern only some jobs of the
/// lane, which must not stand in the way of the rest.
pub(crate) async fn reserve(worker: &Worker, case: &Case<'_>, esp: EspId) -> Result<Reservation, Unreserved> {
    let plan = worker.plan();
    let bounds = *plan.bounds();
    let (line, limits) =
        plan.line(case.job.class, &esp, &case.group, &case.job.tenant, case.job.to.email.domain());
    if let Some(limit) = limits.iter().find(|limit| joins_line(worker, case, limit)) {
        return Err(Unreserved::InLine(limit.clone()));
    }
    let estimate = worker.slots.estimate(case.job.class, &limits);
    let scope =
        estimate.limit.as_ref().map_or_else(|| LimitScope::Esp(esp.clone()), |limit| limit.scope.clone());
    let hold_max = if case.governs_lane(&scope) { bounds.lane_hold_max } else { bounds.hold_max };
    let too_long = |limit: Option<&Limit>| match limit.or(estimate.limit.as_ref()).or(limits.first()) {
        Some(limit) => Unreserved::InLine(limit.clone()),
        None => Unreserved::NoPlace,
    };
    if estimate.wait > hold_max {
        return Err(too_long(None));
    }
    let began = worker.clock.tick();
    let until = case.arrived + hold_max;
    let mut ticket = worker.slots.draw(&line, &limits);
    while !ticket.near(until.min(worker.clock.tick() + LOOK_AGAIN)).await {
        // What turns out to open later than that need not be waited for until then.
        let shut = worker.slots.shut(case.job.class, &limits).filter(|(opens, _)| *opens > until);
        if let Some((_, limit)) = shut {
            return Err(Unreserved::InLine(limit));
        }
        if worker.clock.tick() >= until {
            return Err(too_long(worker.slots.estimate(case.job.class, &limits).limit.as_ref()));
        }
    }
    if let Some(limit) = &estimate.limit {
        worker.metrics.waited(limit.wait_reason(), worker.clock.tick().since(began));
    }
    let connections = plan.connection_limits(&esp, &case.group);
    let by = worker.clock.tick() + bounds.hold_max;
    let Some(connection) = worker.connections.take(&connections, by).await else {
        return Err(Unreserved::NoPlace);
    };
    let Some(handle) = worker.esps.get(&esp) else { return Err(Unreserved::RouteAgain) };
    let place = match Arc::clone(&handle.places).try_acquire_owned() {
        Ok(place) => Some(place),
        Err(_) => Box::pin(wait_for_place(handle, bounds.hold_max)).await,
    };
    let Some(place) = place else {
        return Err(Unreserved::NoPlace);
    };
    match worker.breakers.ask(&esp) {
        Ok(leave) => Ok(Reservation { esp, ticket, limit: estimate.limit, leave, place, connection }),
        Err(_until) => Err(Unreserved::RouteAgain),
    }
}

async fn wait_for_place(handle: &EspHandle, hold_max: Duration) -> Option<OwnedSemaphorePermit> {
    tokio::time::timeout(hold_max, Arc::clone(&handle.places).acquire_owned()).await.ok()?.ok()
}

/// Whether a fresh job has to go to the end of the line of a limit that holds only some of its lane: others were there
/// first, unless nobody stands ready to use the next slot.
fn joins_line(worker: &Worker, case: &Case<'_>, limit: &Limit) -> bool {
    case.passport.first_seen.is_none()
        && !case.governs_lane(&limit.scope)
        && worker.slots.waiting(limit) > 0
        && worker.link.has_line(&limit.key())
}
