//! The way of one job, from delivery to ack, on one page.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_policy::Order;
use sluice_types::{Category, Job, JobState, Lane, Refusal, Timestamp, WaitReason};

use crate::ack::{Held, NotStored, Walked, ack};
use crate::case::Case;
use crate::claim::{Claimed, Unclaimed, claim, close};
use crate::decode::decode;
use crate::failpoint::{Failpoint, at};
use crate::groups::group_of;
use crate::lane::InFlight;
use crate::ports::{Delivery, Due, Parked, Passport};
use crate::record::{record, result};
use crate::refuse::{refuse, refuse_as};
use crate::reserve::{Unreserved, reserve};
use crate::room::Room;
use crate::route::{Route, has_way_around, is_shut_for, route};
use crate::send::send;
use crate::taste::{Tasted, renew, taste};
use crate::wait::{due_at, hold, park, paused};
use crate::worker::Worker;
use crate::write::write;

/// How often one delivery may turn to another ESP because of a limit.
const REROUTES_MAX: u32 = 3;
/// How exactly a replica knows what the store's clock shows, generously.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// Takes one delivery all the way, but for the last step where there is a result: that is recorded and acked in a batch. Whatever
/// happens, the receipt is given back at the end.
pub(crate) async fn run_job(worker: &Arc<Worker>, in_flight: InFlight, delivery: Delivery, room: &Room) {
    let Delivery { body, passport, redelivered, returns, receipt } = delivery;
    let lane = in_flight.lane();
    // By one plan to the end of decoding: a pool that is taken away in between refuses nothing.
    let plan = Arc::clone(&worker.plan());
    if !plan.has_pool(&lane.pool) {
        // Borrowed just before the pool was taken away: it would be refused, and so it waits in the broker with the rest.
        return receipt.release();
    }
    if redelivered {
        worker.metrics.redelivery();
    }
    let trace = passport.traceparent.as_deref();
    let id = || Job::peek_id(&body);
    let worn = match taste(worker, &body, returns, &passport).await {
        Tasted::Deadly { job_id } => {
            let refusal = Refusal::delivery_limit();
            let refused = refuse_as(worker, lane, &body, refusal, trace, job_id).await;
            return ack(receipt, refused.map(drop));
        }
        Tasted::Fine => None,
        Tasted::Worn(worn) => Some(worn),
    };
    let decoded = decode(&plan, &body);
    drop(plan);
    at(Failpoint::Decoded, id);
    let walked = match decoded {
        Ok(job) if worn.is_some() && renew(worker, lane, &job.id, &body, &passport).await => {
            Ok(Walked::Stored)
        }
        Ok(job) => walk(worker, lane, job, &body, &passport, room).await,
        Err(refusal) => refuse(worker, lane, &body, refusal, trace).await,
    };
    let held = Held { receipt, worn, in_flight };
    match walked {
        Ok(Walked::Claimed(result)) => record(worker, *result, held).await,
        Ok(Walked::Stored) => held.ack(Ok(()), id),
        Err(not_stored) => held.ack(Err(not_stored), id),
    }
}

/// From a decoded job to a result, or a stored copy or dead letter.
async fn walk(
    worker: &Worker,
    lane: &Lane,
    job: Box<Job>,
    body: &Bytes,
    passport: &Passport,
    room: &Room,
) -> Result<Walked, NotStored> {
    let group = group_of(&Arc::clone(&worker.plan()), worker.mx.as_deref(), job.to.email.domain()).await;
    let mut case = Case::new(worker, lane, job, group, body, passport);
    let mut reroutes = 0;
    loop {
        // All asked each time, as whatever leads here again may have taken a while.
        match worker.link.order(&case) {
            Some(Order::Cancelled) => {
                let closed = close(worker, &case, JobState::Cancelled, Category::Cancelled).await?;
                return settle(worker, &case, closed).await;
            }
            Some(Order::Paused) => return park(worker, paused(&case)).await,
            None => {}
        }
        if case.has_expired(worker) {
            let closed = close(worker, &case, JobState::Expired, Category::Expired).await?;
            return settle(worker, &case, closed).await;
        }
        if let Some(send_at) = not_yet(worker, &case) {
            return park(worker, until(worker, &case, Due::At(send_at), WaitReason::Scheduled)).await;
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
        let reserved = reserve(worker, &case, esp, room).await;
        // What was ordered while it waited is seen to above, before it is claimed or put in a line that may not open soon; so is
        // its end, which no line knows that it is put in too late.
        if worker.link.order(&case).is_some() || case.has_expired(worker) {
            continue;
        }
        let reservation = match reserved {
            Ok(reservation) => reservation,
            Err(Unreserved::RouteAgain) => continue,
            // Another ESP of the pool may have room, or be open at all; a few tries, so that no job goes round and round.
            // Where its ESP takes nothing, the line to wait in is that of whichever of the pool opens first.
            Err(Unreserved::InLine(limit))
                if reroutes < REROUTES_MAX
                    && (is_shut_for(worker, &case, &limit) || has_way_around(worker, &case, &limit)) =>
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
        let written = write(&mut case, &reservation);
        let (case, id) = (&case, || Some(case.job.id.to_string()));
        at(Failpoint::BeforeClaim, id);
        return match claim(worker, case, reservation.handle.esp.id()).await? {
            Claimed::Go { until, token } => {
                at(Failpoint::Claimed, id);
                let sent = send(worker, case, reservation, written, until, room).await;
                at(Failpoint::BeforeRecord, id);
                Ok(Walked::Claimed(Box::new(result(worker, case, sent, token))))
            }
            Claimed::Not(unclaimed) => settle(worker, case, unclaimed).await,
        };
    }
}

/// The parked copy of a job that waits for a time: no longer than it lasts.
fn until(worker: &Worker, case: &Case<'_>, due: Due, reason: WaitReason) -> Parked {
    case.parked(case.by_expiry(due, worker.now()), reason)
}

/// Does what is left to do for a job that is not sent now.
async fn settle(worker: &Worker, case: &Case<'_>, unclaimed: Unclaimed) -> Result<Walked, NotStored> {
    match unclaimed {
        Unclaimed::Over => Ok(Walked::Stored),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::ports::{NextStep, Receipt, Record, Taste, Taster};
    use crate::room::Rooms;
    use crate::worker::rig::{self, Done, Rig};

    const SECOND: Duration = Duration::from_secs(1);
    const ONE_ESP: &str = r#"
        esp = [{ name = "a", kind = "sandbox" }]
        pool = [{ name = "default", members = [{ esp = "a" }] }]
    "#;
    const ONE_LIMITED_ESP: &str = r#"
        esp = [{ name = "a", kind = "sandbox", limits = ["9/s"] }]
        pool = [{ name = "default", members = [{ esp = "a" }] }]
    "#;

    /// Bytes of the future that `call` makes.
    fn size<A, B, C, D, F>(_call: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// Each job in work has one, which is allocated and moved: at 4.4 KB that was some twentieth of a worker's time.
    #[test]
    fn the_way_of_a_job_takes_little_memory() {
        let bytes = size::<&'static Arc<Worker>, InFlight, Delivery, &'static Room, _>(run_job);
        assert!(bytes <= 2560, "{bytes} bytes: box what few jobs come to");
    }

    /// Finds everything harmless, in a second.
    #[derive(Debug)]
    struct SlowTaster;

    #[async_trait::async_trait]
    impl Taster for SlowTaster {
        async fn taste(&self, _: &Bytes) -> Taste {
            tokio::time::sleep(SECOND).await;
            Taste::Harmless
        }
    }

    /// With room for a thousand jobs on the way to their calls an ESP may have more calls than that.
    #[tokio::test(start_paused = true)]
    async fn a_job_in_its_call_leaves_its_room_to_another() {
        let rig = Rig::new(ONE_ESP);
        *rig.around.claim_takes.lock().unwrap() = SECOND;
        *rig.around.call_takes.lock().unwrap() = SECOND * 2;
        let rooms = Rooms::new(1);
        let room = rooms.try_take().unwrap();
        let seen = async {
            let mut seen = Vec::new();
            for after in [SECOND / 2, SECOND] {
                tokio::time::sleep(after).await;
                seen.push((rig.around.sent.lock().unwrap().len(), rooms.try_take().is_some()));
            }
            seen
        };
        let (lane, body, passport) = (rig::lane(&rig.worker), Bytes::new(), Passport::default());
        let (walked, seen) =
            tokio::join!(walk(&rig.worker, &lane, rig::job(None), &body, &passport, &room), seen);
        walked.unwrap();
        assert_eq!(seen, [(0, false), (1, true)], "calls begun, and room for another");
    }

    /// It was refused when the plan changed between the look for its pool and its decoding.
    #[tokio::test(start_paused = true)]
    async fn a_job_whose_pool_is_taken_away_is_not_refused() {
        let (with, without) = rig::with_and_without_shop();
        for (taken_after, is_acked, parked) in [(Duration::ZERO, false, 0), (SECOND / 2, true, 1)] {
            let mut rig = Rig::new(with);
            rig.worker.taster = Some(Arc::new(SlowTaster));
            let lane = Lane { pool: "shop".parse().unwrap(), ..rig::lane(&rig.worker) };
            let done = Arc::new(Done::default());
            let delivery = Delivery {
                body: Bytes::from_static(
                    br#"{"v": 1, "id": "j1", "pool": "shop", "to": {"email": "ada@a.example"},
                    "from": {"email": "shop@b.example"}, "subject": "Hi", "text": "Hello"}"#,
                ),
                passport: Passport::default(),
                redelivered: true,
                returns: 2,
                receipt: Receipt::new(1, done.clone()),
            };
            let Rig { worker, around } = rig;
            let worker = Arc::new(worker);
            let take_away = async {
                tokio::time::sleep(taken_after).await;
                worker.change_plan(|_| Some(rig::plan(&without)));
            };
            tokio::join!(take_away, async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                run_job(&worker, rig::in_flight(lane), delivery, &rig::room()).await;
            });
            assert!(around.refused.lock().unwrap().is_empty());
            assert_eq!(*done.0.lock().unwrap(), [is_acked]);
            assert_eq!(around.parked.lock().unwrap().len(), parked);
        }
    }

    /// Takes a job of the default pool as far as it goes.
    async fn walk_one(rig: &Rig, expires_after: Option<Duration>) {
        walk_and_record(rig, rig::job(expires_after)).await;
    }

    async fn walk_and_record(rig: &Rig, job: Box<Job>) {
        let (lane, body, passport) = (rig::lane(&rig.worker), Bytes::new(), Passport::default());
        match walk(&rig.worker, &lane, job, &body, &passport, &rig::room()).await.unwrap() {
            Walked::Stored => {}
            Walked::Claimed(result) => drop(rig.worker.records.submit(*result).await.unwrap()),
        }
    }

    /// Its row says so, as there was a claim.
    #[tokio::test(start_paused = true)]
    async fn a_message_that_cannot_be_written_is_rejected_and_nobody_is_called() {
        let rig = Rig::new(ONE_ESP);
        rig.around.is_unwritable.store(true, Ordering::Relaxed);
        walk_one(&rig, None).await;
        let records = rig.around.records.lock().unwrap();
        let [record] = records.as_slice() else { panic!("{records:?}") };
        let rejected = NextStep::Final { state: JobState::Rejected, category: Some(Category::Content) };
        assert_eq!(format!("{:?}", record.next), format!("{rejected:?}"));
        assert!(rig.around.sent.lock().unwrap().is_empty());
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

    /// Takes a job of the campaign of the rig as far as it goes.
    async fn walk_one_of_campaign(rig: &Rig) {
        walk_and_record(rig, rig::job_of_campaign()).await;
    }

    /// What became of it: the line that it is in, how often it was closed, and how often it was sent.
    fn fate(rig: &Rig) -> (Vec<Option<String>>, usize, usize) {
        let parked = rig.around.parked.lock().unwrap().iter().map(|it| it.limit_key.clone()).collect();
        (parked, rig.around.closed.lock().unwrap().len(), rig.around.sent.lock().unwrap().len())
    }

    fn is_as_ordered(rig: &Rig, order: Order) {
        match order {
            Order::Paused => assert_eq!(fate(rig), (vec![Some("campaign:default/spring".to_owned())], 0, 0)),
            Order::Cancelled => assert_eq!(fate(rig), (vec![], 1, 0)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_reaches_jobs_that_are_held_for_a_breaker() {
        for order in [Order::Paused, Order::Cancelled] {
            let rig = Rig::new(ONE_ESP);
            rig.open(&[("a", SECOND * 3)]);
            let ordered = async {
                tokio::time::sleep(SECOND).await;
                rig.order(order).await;
            };
            tokio::join!(walk_one_of_campaign(&rig), ordered);
            is_as_ordered(&rig, order);
        }
    }

    /// They would be claimed and sent as their turn comes, or stand in the line of a day that is used up.
    #[tokio::test(start_paused = true)]
    async fn an_order_reaches_jobs_that_wait_in_a_line() {
        for order in [Order::Paused, Order::Cancelled] {
            let rig = Rig::new(ONE_LIMITED_ESP);
            let _tickets = rig.long_lines(&["a"]);
            let ordered = async {
                tokio::time::sleep(SECOND).await;
                rig.order(order).await;
                tokio::time::sleep(SECOND * 2).await;
                is_as_ordered(&rig, order);
            };
            tokio::join!(walk_one_of_campaign(&rig), ordered);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_reaches_jobs_that_are_claimed() {
        for order in [Order::Paused, Order::Cancelled] {
            let rig = Rig::new(ONE_ESP);
            *rig.around.claim_takes.lock().unwrap() = SECOND * 2;
            let ordered = async {
                tokio::time::sleep(SECOND).await;
                rig.order(order).await;
            };
            tokio::join!(walk_one_of_campaign(&rig), ordered);
            assert_eq!(fate(&rig), (vec![], 0, 0), "it was given back with its claim");
            let records = rig.around.records.lock().unwrap();
            let [Record { next: NextStep::Unsent(parked), .. }] = &records[..] else { panic!("{records:?}") };
            match order {
                Order::Paused => assert_eq!(parked.limit_key.as_deref(), Some("campaign:default/spring")),
                Order::Cancelled => assert_eq!(parked.due, Due::In(Duration::ZERO), "to be closed"),
            }
        }
    }

    /// It stood in the line of the ESP that it had waited for, even if that opens last.
    #[tokio::test(start_paused = true)]
    async fn a_job_that_no_esp_takes_waits_for_the_one_that_opens_first() {
        let rig = Rig::new(
            r#"
            esp = [
                { name = "a", kind = "sandbox", limits = ["9/s"] }, { name = "b", kind = "sandbox", limits = ["9/min"] },
            ]
            pool = [{ name = "default", members = [{ esp = "a" }], failover = ["b"] }]
            "#,
        );
        let _tickets = rig.long_lines(&["a"]);
        let shut = async {
            tokio::time::sleep(SECOND).await;
            rig.shut(&[("a", SECOND * 3600), ("b", SECOND * 60)]);
        };
        tokio::join!(walk_one(&rig, None), shut);
        assert_eq!(fate(&rig), (vec![Some("esp:b/per:min".to_owned())], 0, 0));
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
            for record in records.iter() {
                let NextStep::Unsent(parked) = &record.next else { continue };
                assert_eq!(parked.due, Due::In(Duration::ZERO), "and at once");
            }
        }
    }

    /// It was put in a line that no longer knew its end, and stayed there until a slot opened.
    #[tokio::test(start_paused = true)]
    async fn what_expires_while_it_is_held_for_a_slot_is_closed() {
        let rig = Rig::new(ONE_LIMITED_ESP);
        let _tickets = rig.long_lines(&["a"]);
        tokio::select! {
            () = walk_one(&rig, Some(SECOND * 2)) => {}
            () = rig.worker.slots.run() => unreachable!("it runs for ever"),
        }
        assert_eq!(*rig.around.closed.lock().unwrap(), [JobState::Expired]);
        assert!(rig.around.parked.lock().unwrap().is_empty());
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
