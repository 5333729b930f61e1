//! The way of one job, from delivery to ack, on one page.

use std::time::Duration;

use bytes::Bytes;
use sluice_policy::Order;
use sluice_types::{Category, Job, JobState, Lane, Refusal, Timestamp, WaitReason};

use crate::ack::{NotStored, ack};
use crate::case::Case;
use crate::claim::{Claimed, Unclaimed, claim, close};
use crate::decode::decode;
use crate::failpoint::{Failpoint, at};
use crate::groups::group_of;
use crate::ports::{Delivery, Due, Parked, Passport};
use crate::record::record;
use crate::refuse::{refuse, refuse_as};
use crate::relay::line_of_campaign;
use crate::reserve::{Unreserved, reserve};
use crate::route::{Route, has_way_around, route};
use crate::send::send;
use crate::taste::{Tasted, renew, taste};
use crate::wait::{due_at, hold, park};
use crate::worker::Worker;

/// How often one delivery may turn to another ESP because of a limit.
const REROUTES_MAX: u32 = 3;
/// How exactly a replica knows what the store's clock shows, generously.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// Takes one delivery all the way. Whatever happens, the receipt is given back at the end.
pub(crate) async fn run_job(worker: &Worker, lane: &Lane, delivery: Delivery) {
    let Delivery { body, passport, redelivered, returns, receipt } = delivery;
    if redelivered {
        worker.metrics.redelivery();
    }
    let trace = passport.traceparent.as_deref();
    let worn = match taste(worker, &body, returns, &passport).await {
        Tasted::Deadly { job_id } => {
            let refusal = Refusal::delivery_limit();
            return ack(receipt, refuse_as(worker, lane, &body, refusal, trace, job_id).await);
        }
        Tasted::Fine => None,
        Tasted::Worn(worn) => Some(worn),
    };
    let id = || Job::peek_id(&body);
    let decoded = decode(&worker.plan(), &body);
    at(Failpoint::Decoded, id);
    let walked = match decoded {
        Ok(job) if worn.is_some() && renew(worker, lane, &job.id, &body, &passport).await => Ok(()),
        Ok(job) => walk(worker, lane, job, &body, &passport).await,
        Err(refusal) => refuse(worker, lane, &body, refusal, trace).await,
    };
    at(Failpoint::BeforeAck, id);
    ack(receipt, walked);
    drop(worn);
    at(Failpoint::Acked, id);
}

/// From a decoded job to a stored result, a parked copy or a dead letter.
async fn walk(
    worker: &Worker,
    lane: &Lane,
    job: Box<Job>,
    body: &Bytes,
    passport: &Passport,
) -> Result<(), NotStored> {
    let group = group_of(worker, job.to.email.domain()).await;
    let case = Case::new(worker, lane, job, group, body, passport);
    let id = || Some(case.job.id.to_string());
    match worker.link.order(&case) {
        Some(Order::Cancelled) => {
            let closed = close(worker, &case, JobState::Cancelled, Category::Cancelled).await?;
            return settle(worker, &case, closed).await;
        }
        Some(Order::Paused) => return park(worker, paused(&case)).await,
        None => {}
    }
    // What has expired is closed below, whatever it waits for.
    if let Some(send_at) = not_yet(worker, &case).filter(|_| !has_expired(worker, &case)) {
        return park(worker, until(worker, &case, Due::At(send_at), WaitReason::Scheduled)).await;
    }
    let mut reroutes = 0;
    loop {
        // Asked each time, as whatever leads here again may have taken a while.
        if has_expired(worker, &case) {
            let closed = close(worker, &case, JobState::Expired, Category::Expired).await?;
            return settle(worker, &case, closed).await;
        }
        let esp = match route(worker, &case) {
            Route::To(esp) => esp,
            Route::Broken { until: opens } => {
                if hold(worker, &case, opens.since(worker.clock.tick())).await {
                    continue;
                }
                let parked = until(worker, &case, due_at(worker, opens), WaitReason::BreakerOpen);
                return park(worker, parked).await;
            }
            Route::Shut { limit } => return park(worker, case.in_line(&limit)).await,
        };
        let reservation = match reserve(worker, &case, esp).await {
            Ok(reservation) => reservation,
            Err(Unreserved::RouteAgain) => continue,
            // Another ESP of the pool may have room, or be open at all; a few tries, so that no job goes round and round.
            Err(Unreserved::InLine(limit))
                if reroutes < REROUTES_MAX && has_way_around(worker, &case, &limit) =>
            {
                reroutes += 1;
                continue;
            }
            Err(Unreserved::InLine(limit)) => return park(worker, case.in_line(&limit)).await,
            Err(Unreserved::NoPlace) => {
                let due = Due::In(worker.plan().bounds().hold_max);
                return park(worker, until(worker, &case, due, WaitReason::EspLimit)).await;
            }
        };
        at(Failpoint::BeforeClaim, id);
        return match claim(worker, &case, &reservation.esp).await? {
            Claimed::Go { until, token } => {
                at(Failpoint::Claimed, id);
                let sent = send(worker, &case, reservation, until).await;
                at(Failpoint::BeforeRecord, id);
                let recorded = record(worker, &case, sent, token).await;
                at(Failpoint::Recorded, id);
                recorded
            }
            Claimed::Not(unclaimed) => settle(worker, &case, unclaimed).await,
        };
    }
}

/// The parked copy of a job that waits for a time: no longer than it lasts.
fn until(worker: &Worker, case: &Case<'_>, due: Due, reason: WaitReason) -> Parked {
    case.parked(case.by_expiry(due, worker.now()), reason)
}

/// The parked copy of a job whose campaign is paused: in a line that opens when it is resumed.
fn paused(case: &Case<'_>) -> Parked {
    let mut parked = case.parked(Due::InLine, WaitReason::CampaignPaused);
    let campaign = case.job.campaign.as_ref();
    parked.limit_key = campaign.map(|it| line_of_campaign(case.job.tenant.as_str(), it.as_str()));
    // It would be parked again, for the pause comes first.
    parked.expires_at = None;
    parked
}

/// Does what is left to do for a job that is not sent now.
async fn settle(worker: &Worker, case: &Case<'_>, unclaimed: Unclaimed) -> Result<(), NotStored> {
    match unclaimed {
        Unclaimed::Over => Ok(()),
        Unclaimed::Park(parked) => park(worker, *parked).await,
        Unclaimed::Refuse(refusal) => {
            let trace = case.passport.traceparent.as_deref();
            refuse(worker, case.lane, case.body, refusal, trace).await
        }
    }
}

/// The `send_at` that lies ahead. A job that comes back from `pending` has most likely waited for it, so a few milliseconds by
/// which the store's clock is not known here send nobody back again.
fn not_yet(worker: &Worker, case: &Case<'_>) -> Option<Timestamp> {
    let slack = if case.passport.first_seen.is_some() { CLOCK_SLACK } else { Duration::ZERO };
    case.job.send_at.filter(|at| *at > worker.now() + slack)
}

fn has_expired(worker: &Worker, case: &Case<'_>) -> bool {
    case.job.expires_at.is_some_and(|at| at <= worker.now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::NextStep;
    use crate::worker::rig::{self, Rig};

    const SECOND: Duration = Duration::from_secs(1);
    const ONE_ESP: &str = r#"
        esp = [{ name = "a", kind = "sandbox" }]
        pool = [{ name = "default", members = [{ esp = "a" }] }]
    "#;

    /// Bytes of the future that `call` makes.
    fn size<A, B, C, F>(_call: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// Each job in work has one, which is allocated and moved: at 4.4 KB that was some twentieth of a worker's time.
    #[test]
    fn the_way_of_a_job_takes_little_memory() {
        let bytes = size::<&'static Worker, &'static Lane, Delivery, _>(run_job);
        assert!(bytes <= 2048, "{bytes} bytes: box what few jobs come to");
    }

    /// Takes a job of the default pool as far as it goes.
    async fn walk_one(rig: &Rig, expires_after: Option<Duration>) {
        let (lane, job) = (rig::lane(&rig.worker), rig::job(expires_after));
        walk(&rig.worker, &lane, job, &Bytes::new(), &Passport::default()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_expires_while_it_is_held_for_a_breaker_is_closed() {
        for (expires_after, closed, sent) in [(None, 0, 1), (Some(SECOND * 2), 1, 0)] {
            let rig = Rig::new(ONE_ESP);
            rig.open(&[("a", SECOND * 3)]);
            let close = async {
                tokio::time::sleep(SECOND * 3).await;
                rig.open(&[]);
            };
            tokio::join!(walk_one(&rig, expires_after), close);
            let seen = (rig.around.closed.lock().unwrap().len(), rig.around.sent.lock().unwrap().len());
            assert_eq!(seen, (closed, sent), "{expires_after:?}");
            assert!(rig.around.parked.lock().unwrap().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_expires_while_it_is_claimed_is_not_sent() {
        for (takes, sent) in [(SECOND, 1), (SECOND * 3, 0)] {
            let rig = Rig::new(ONE_ESP);
            *rig.around.claim_takes.lock().unwrap() = takes;
            walk_one(&rig, Some(SECOND * 2)).await;
            assert_eq!(rig.around.sent.lock().unwrap().len(), sent, "claimed in {takes:?}");
            let records = rig.around.records.lock().unwrap();
            let unsent = records.iter().filter(|it| matches!(it.next, NextStep::Unsent(_))).count();
            assert_eq!((records.len(), unsent), (1, 1 - sent), "the relay has it closed");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_waits_for_an_esp_whose_day_runs_out_goes_elsewhere() {
        let rig = Rig::new(
            r#"
            esp = [{ name = "a", kind = "sandbox", limits = ["9/s"] }, { name = "b", kind = "sandbox" }]
            pool = [{ name = "default", members = [{ esp = "a" }], failover = ["b"], sticky = "tenant" }]
            "#,
        );
        let _tickets = rig.long_lines(&["a"]);
        let shut = async {
            tokio::time::sleep(SECOND).await;
            rig.shut(&[("a", SECOND * 3600)]);
        };
        tokio::join!(walk_one(&rig, None), shut);
        assert_eq!(*rig.around.sent.lock().unwrap(), [rig::esp("b")]);
        assert!(rig.around.parked.lock().unwrap().is_empty());
    }
}
