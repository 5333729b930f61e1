//! The way of one job, from delivery to ack, on one page.

use bytes::Bytes;
use sluice_types::{Category, Job, JobState, Lane, Timestamp, WaitReason};

use crate::ack::{NotStored, ack};
use crate::case::Case;
use crate::claim::{Claimed, claim, close};
use crate::decode::decode;
use crate::ports::{Delivery, Due, Passport};
use crate::record::record;
use crate::refuse::refuse;
use crate::reserve::{Unreserved, reserve};
use crate::route::{Route, route};
use crate::send::send;
use crate::wait::{due_at, hold, park};
use crate::worker::Worker;

/// Takes one delivery all the way. Whatever happens, the receipt is given back at the end.
pub(crate) async fn run_job(worker: &Worker, lane: &Lane, delivery: Delivery) {
    let Delivery { body, passport, redelivered, receipt } = delivery;
    if redelivered {
        worker.metrics.redelivery();
    }
    let walked = match decode(&worker.plan, &body) {
        Ok(job) => walk(worker, lane, job, &body, &passport).await,
        Err(refusal) => refuse(worker, lane, &body, refusal).await,
    };
    ack(receipt, walked);
}

/// From a decoded job to a stored result, a parked copy or a dead letter.
async fn walk(
    worker: &Worker,
    lane: &Lane,
    job: Job,
    body: &Bytes,
    passport: &Passport,
) -> Result<(), NotStored> {
    let case = Case::new(worker, lane, job, body, passport);
    if has_expired(worker, &case) {
        let closed = close(worker, &case, JobState::Expired, Category::Expired).await?;
        return settle(worker, &case, closed).await;
    }
    if let Some(send_at) = not_yet(worker, &case) {
        return park(worker, case.parked(Due::At(send_at), WaitReason::Scheduled)).await;
    }
    loop {
        let esp = match route(worker, &case) {
            Route::To(esp) => esp,
            Route::Nowhere { until } => {
                if hold(worker, &case, until.since(worker.clock.tick())).await {
                    continue;
                }
                return park(worker, case.parked(due_at(worker, until), WaitReason::BreakerOpen)).await;
            }
        };
        let reservation = match reserve(worker, &case, esp).await {
            Ok(reservation) => reservation,
            Err(Unreserved::RouteAgain) => continue,
            Err(Unreserved::TooLong { reason, limit_key, wait }) => {
                let mut parked = case.parked(Due::In(wait), reason);
                parked.limit_key = limit_key;
                return park(worker, parked).await;
            }
        };
        return match claim(worker, &case, &reservation.esp).await? {
            Claimed::Go { until } => {
                let sent = send(worker, &case, reservation, until).await;
                record(worker, &case, sent).await
            }
            other => settle(worker, &case, other).await,
        };
    }
}

/// What is left to do for a job that is not sent now.
async fn settle(worker: &Worker, case: &Case<'_>, claimed: Claimed) -> Result<(), NotStored> {
    match claimed {
        Claimed::Go { .. } | Claimed::Over => Ok(()),
        Claimed::Park(parked) => park(worker, *parked).await,
        Claimed::Refuse(refusal) => refuse(worker, case.lane, case.body, refusal).await,
    }
}

/// The `send_at` that lies ahead. A job that was parked before has waited for it by the store's clock already.
fn not_yet(worker: &Worker, case: &Case<'_>) -> Option<Timestamp> {
    case.job.send_at.filter(|at| case.passport.first_seen.is_none() && *at > worker.clock.now())
}

fn has_expired(worker: &Worker, case: &Case<'_>) -> bool {
    case.job.expires_at.is_some_and(|at| at <= worker.clock.now())
}
