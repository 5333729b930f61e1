//! Step 6: one slot under every limit, then the call.

use std::time::Duration;

use sluice_policy::Order;
use sluice_types::{EspId, Limit, Outcome, Tick, Timestamp, WaitReason};

use crate::case::Case;
use crate::enter::{NoEntry, enter};
use crate::failpoint::{Failpoint, at};
use crate::fleet::CallNews;
use crate::ports::{Answer, Due, Parked, QuotaHint};
use crate::ready::{Patience, in_time, ready};
use crate::reserve::{Drawn, Reservation};
use crate::room::Room;
use crate::slots::{Grant, Ticket};
use crate::wait::paused;
use crate::worker::Worker;
use crate::write::Written;

/// What came of a claim.
#[derive(Debug)]
pub(crate) enum Sent {
    /// A call was made.
    Called(Call),
    /// No slot opened in time, the claim or the job ran out first, the breaker has opened, a further limit holds, or an operator
    /// has stopped the campaign: nothing was sent.
    Unsent {
        /// The ESP that would have been called.
        esp: EspId,
        /// The copy that waits.
        parked: Box<Parked>,
    },
}

/// One call to an ESP.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) esp: EspId,
    pub(crate) outcome: Outcome,
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Timestamp,
}

/// Makes the call ready, takes the turn and hands the job over. Nothing is sent once the claim may be somebody else's, nor once
/// the job has expired.
pub(crate) async fn send<'w>(
    worker: &'w Worker,
    case: &Case<'_>,
    reservation: Reservation<'w>,
    written: Written<'w>,
    claimed_until: Tick,
    room: &Room,
) -> Sent {
    let Reservation { handle, drawn: Drawn { mut ticket, line }, limit, mut leave, mut place, connection } =
        reservation;
    let esp = handle.esp.id().clone();
    let no_turn = |esp: EspId| {
        let parked = match (worker.link.order(case), limit.clone().or_else(|| slowest(worker, case, &esp))) {
            (Some(Order::Paused), _) => paused(case),
            // It goes on at once, to be closed.
            (Some(Order::Cancelled), _) => case.parked(Due::In(Duration::ZERO), WaitReason::CampaignPaused),
            (None, _) if case.has_expired(worker) => {
                case.parked(Due::In(Duration::ZERO), WaitReason::EspLimit)
            }
            (None, Some(limit)) => case.in_line(&limit),
            (None, None) => case.parked(Due::In(Duration::from_secs(1)), WaitReason::EspLimit),
        };
        Sent::Unsent { esp, parked: Box::new(parked) }
    };
    if !place.try_enter()
        && let Err(no_entry) = Box::pin(enter(worker, case, &mut place, &ticket, &leave, claimed_until)).await
    {
        return match no_entry {
            NoEntry::Broken => broken(case, esp),
            NoEntry::TooLong => no_turn(esp),
        };
    }
    let (mut started_at, mut began) = (None, worker.clock.tick());
    let ready = ready(worker, handle, written, &ticket, &mut leave).await;
    let (answer, calling) = match ready {
        // There is nothing to call with, so no slot is taken.
        Err(answer) => (answer, None),
        Ok(call) => {
            let grant;
            match turn(worker, case, &mut ticket, claimed_until).await {
                Some(turn) => (started_at, began, grant) = (Some(turn.started_at), turn.began, turn.grant),
                None => return no_turn(esp),
            }
            if worker.link.order(case).is_some() {
                ticket.unused(grant);
                return no_turn(esp);
            }
            if leave.is_withdrawn(began) {
                ticket.unused(grant);
                return broken(case, esp);
            }
            let patience = Patience::with(worker, &esp);
            if !connection.outlasts(patience.longest) || !line.holds(worker, case, &esp) {
                ticket.unused(grant);
                return no_turn(esp);
            }
            let id = || Some(case.job.id.to_string());
            at(Failpoint::BeforeSend, id);
            // It is the ESP's time that passes now: others get ready meanwhile.
            room.leave();
            let calling = handle.places.begin();
            let answer = in_time(call.make(), &mut leave, patience).await;
            at(Failpoint::Answered, id);
            let late = || Outcome::Unknown { detail: "the call did not end in time".to_owned() }.into();
            (answer.unwrap_or_else(late), Some(calling))
        }
    };
    let (finished_at, ended) = (worker.clock.now(), worker.clock.tick());
    let took = ended.since(began);
    handle.places.took(took);
    if let Some(calling) = calling {
        calling.ends(Some(&answer.outcome), took);
    }
    let Answer { outcome, quota } = answer;
    // Before anybody else gets the place, and leave to call.
    handle.places.judge(&outcome);
    leave.told(&outcome, took, ended);
    drop((ticket, place, connection));
    worker.metrics.attempt(&esp, outcome.kind(), took);
    if let Some(category) = outcome.category() {
        worker.metrics.trouble(&esp, category);
    }
    tell_fleet(worker, case, &esp, &outcome, quota, ended);
    let started_at = started_at.unwrap_or_else(|| finished_at.before(took));
    Sent::Called(Call { esp, outcome, started_at, finished_at })
}

/// The breaker of `esp` has opened: the job goes on at once, to whom the pool has beside this ESP.
fn broken(case: &Case<'_>, esp: EspId) -> Sent {
    let parked = case.parked(Due::In(Duration::ZERO), WaitReason::BreakerOpen);
    Sent::Unsent { esp, parked: Box::new(parked) }
}

/// A slot under every limit, and when it was taken.
struct Turn {
    grant: Grant,
    started_at: Timestamp,
    began: Tick,
}

/// Waits for a slot under every limit, no longer than the claim stands, the job lasts and a job is held.
async fn turn(worker: &Worker, case: &Case<'_>, ticket: &mut Ticket, claimed_until: Tick) -> Option<Turn> {
    // The claim may have taken longer than the job lasts: it is parked then, and the relay has it closed.
    let send_until = case.until_expiry(worker, claimed_until);
    let wait_until = send_until.min(worker.clock.tick() + worker.plan().bounds().hold_max);
    loop {
        let grant = ticket.turn(wait_until).await?;
        // In this order: what is told as the start lies before the instant at which the slot was seen to be open.
        let (started_at, began) = (worker.clock.now(), worker.clock.tick());
        // A slot that this process was too slow to use is gone: the next one, never two at once.
        if began <= grant.closes && began < send_until {
            return Some(Turn { grant, started_at, began });
        }
        ticket.unused(grant);
        if began >= send_until {
            return None;
        }
    }
}

/// The limit that most likely holds a job whose turn has not come, although none seemed to.
fn slowest(worker: &Worker, case: &Case<'_>, esp: &EspId) -> Option<Limit> {
    let job = &case.job;
    let (_, limits) = worker.plan().line(job.class, esp, &case.group, &job.tenant, job.to.email.domain());
    let rate = |limit: &Limit| limit.spec.rate_per_second().unwrap_or(f64::INFINITY);
    limits.iter().min_by(|a, b| rate(a).total_cmp(&rate(b))).cloned()
}

/// Counts the call for the fleet; a reply that asks us to slow down does so for all replicas at the next tick.
fn tell_fleet(
    worker: &Worker,
    case: &Case<'_>,
    esp: &EspId,
    outcome: &Outcome,
    quota: Option<QuotaHint>,
    now: Tick,
) {
    let recover = worker.plan().bounds().brake_recover;
    let call =
        CallNews { esp, group: &case.group, domain: case.job.to.email.domain(), outcome, now, recover };
    worker.link.news.called(&call, || worker.link.workers());
    if let (Some(hint), Some(recover)) = (quota.filter(|hint| hint.remaining == 0), recover) {
        worker.link.news.exhausted(esp, hint.resets_in, recover);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Passport;
    use crate::worker::rig::{Rig, esp};

    #[tokio::test(start_paused = true)]
    async fn a_job_whose_turn_has_not_come_waits_under_its_slowest_limit() {
        let rig = Rig::new(
            r#"
            esp = [{ name = "a", kind = "sandbox", limits = ["9/s", "5/min", "900/h"] }]
            pool = [{ name = "default", members = [{ esp = "a" }] }]
            "#,
        );
        let key = |case: &Case<'_>| slowest(&rig.worker, case, &esp("a")).map(|limit| limit.key());
        assert_eq!(rig.with_case(&Passport::default(), key).as_deref(), Some("esp:a/per:min"));
    }
}
