//! Step 3: a place in the line of every limit that applies, a connection, and a place at the ESP.

use std::sync::Arc;
use std::time::Duration;

use sluice_types::{Class, EspId, Limit, LimitScope, WaitReason};
use tokio::sync::oneshot;

use crate::breakers::Leave;
use crate::case::Case;
use crate::connections::Connection;
use crate::places::{Place, Places};
use crate::plan::{Own, Plan};
use crate::room::Room;
use crate::route::is_better_off_elsewhere;
use crate::slots::Ticket;
use crate::worker::{EspHandle, Standing, Worker};

/// How often one who waits looks whether its limit was shut meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Whoever has to wait longer than this for a limit that holds only some of its lane is not on the way to its call, and others begin
/// meanwhile: a few limited domains would else have all the room of a shared lane, for as long as jobs are held.
const LONG: Duration = Duration::from_millis(300);

/// All that a call needs but the claim: the turn is near.
#[derive(Debug)]
pub(crate) struct Reservation<'w> {
    pub(crate) handle: &'w EspHandle,
    pub(crate) drawn: Drawn,
    /// The limit that the job had to wait for, if any.
    pub(crate) limit: Option<Limit>,
    pub(crate) leave: Leave,
    pub(crate) place: Place,
    pub(crate) connection: Connection,
}

/// A ticket, and for which line it was drawn.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) ticket: Ticket,
    pub(crate) line: DrawnLine,
}

/// The line of a job, and the plan that told which it is.
#[derive(Debug)]
pub(crate) struct DrawnLine {
    own: Own,
    /// There was no limit to draw a place for.
    is_free: bool,
    plan: Arc<Plan>,
}

impl DrawnLine {
    /// Whether the job still belongs there. The line follows every limit of those that it is under, but knows nothing of a
    /// tenant or a domain that had none when the ticket was drawn; and where there was none at all there is no line.
    pub(crate) fn holds(&self, worker: &Worker, case: &Case<'_>, esp: &EspId) -> bool {
        let plan = worker.plan();
        if Arc::ptr_eq(&plan, &self.plan) {
            return true;
        }
        let is_limited = self.is_free && !plan.shared_limits(esp, &case.group).is_empty();
        let domain = case.job.to.email.domain();
        !is_limited && !plan.has_more_limits(self.own, &case.group, &case.job.tenant, domain)
    }
}

/// Why a job has no reservation.
#[derive(Debug)]
pub(crate) enum Unreserved {
    /// The ESP's breaker has opened meanwhile, the job has come under a limit of another line, or there is an order for its
    /// campaign: begin again.
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
pub(crate) async fn reserve<'w>(
    worker: &'w Worker,
    case: &Case<'_>,
    esp: EspId,
    room: &Room,
) -> Result<Reservation<'w>, Unreserved> {
    let plan = Arc::clone(&worker.plan());
    let bounds = *plan.bounds();
    let (key, limits) =
        plan.line(case.job.class, &esp, &case.group, &case.job.tenant, case.job.to.email.domain());
    if let Some(limit) = limits.iter().find(|limit| joins_line(worker, case, limit)) {
        return Err(Unreserved::InLine(limit.clone()));
    }
    let began = worker.clock.tick();
    let estimate = worker.slots.estimate(case.job.class, &limits, began);
    let scope =
        estimate.limit.as_ref().map_or_else(|| LimitScope::Esp(esp.clone()), |limit| limit.scope.clone());
    let governs_lane = case.governs_lane(&scope);
    let hold_max = if governs_lane { bounds.lane_hold_max } else { bounds.hold_max };
    let too_long = |limit: Option<&Limit>| match limit.or(estimate.limit.as_ref()).or(limits.first()) {
        Some(limit) => Unreserved::InLine(limit.clone()),
        None => Unreserved::NoPlace,
    };
    if estimate.wait > hold_max {
        return Err(too_long(None));
    }
    if estimate.wait > LONG && !governs_lane {
        room.leave();
    }
    // What has expired is parked, and the relay has it closed.
    let until = case.until_expiry(worker, case.arrived + hold_max);
    let line = DrawnLine { own: Own::of(&key), is_free: limits.is_empty(), plan };
    let mut drawn = Drawn { ticket: worker.slots.draw(&key, &limits), line };
    drop(key);
    // Limits that were changed since the plan was read have been looked for among the lines before this one was there.
    if !Arc::ptr_eq(&worker.plan(), &drawn.line.plan) {
        worker.relimit();
    }
    let mut now = began;
    while !drawn.ticket.near(until.min(now + LOOK_AGAIN)).await {
        now = worker.clock.tick();
        if !drawn.line.holds(worker, case, &esp) || worker.link.order(case).is_some() {
            return Err(Unreserved::RouteAgain);
        }
        // What turns out to open later than that need not be waited for until then.
        let shut = worker.slots.shut(case.job.class, &limits, now).filter(|(opens, _)| *opens > until);
        if let Some((_, limit)) = shut {
            return Err(Unreserved::InLine(limit));
        }
        if now >= until {
            return Err(too_long(worker.slots.estimate(case.job.class, &limits, now).limit.as_ref()));
        }
    }
    if let Some(limit) = &estimate.limit {
        worker.metrics.waited(limit.wait_reason(), worker.clock.tick().since(began));
    }
    // As they are now: they may have been set or lowered while the job waited.
    let connections = worker.plan().connection_limits(&esp, &case.group);
    let mut connection = Connection::none_needed();
    if !connections.is_empty() {
        connection = Box::pin(wait_for_connection(worker, case, &esp, &connections, &drawn)).await?;
    }
    let Some(handle) = worker.esps.get(&esp) else { return Err(Unreserved::RouteAgain) };
    let place = match handle.places.try_take(case.job.class) {
        Some(place) => place,
        None => Box::pin(wait_for_place(worker, case, &esp, &handle.places, &drawn)).await?,
    };
    if !drawn.line.holds(worker, case, &esp) {
        return Err(Unreserved::RouteAgain);
    }
    match worker.breakers.ask(&esp) {
        Ok(leave) => Ok(Reservation { handle, drawn, limit: estimate.limit, leave, place, connection }),
        Err(_until) => Err(Unreserved::RouteAgain),
    }
}

/// Waits for a connection under each of `limits`.
async fn wait_for_connection(
    worker: &Worker,
    case: &Case<'_>,
    esp: &EspId,
    limits: &[Limit],
    drawn: &Drawn,
) -> Result<Connection, Unreserved> {
    let mut wait = worker.connections.join(limits, case.job.class);
    if let Ok(connection) = wait.turn.try_recv() {
        return Ok(connection);
    }
    let scopes = limits.iter().map(|limit| &limit.scope);
    let governs_lane = scopes.into_iter().all(|scope| case.governs_lane(scope));
    let reason = limits.first().map_or(WaitReason::EspLimit, Limit::wait_reason);
    match wait_for_turn(worker, case, esp, governs_lane, reason, drawn, &mut wait.turn).await {
        Ok(connection) => Ok(connection),
        Err(Ended::Unreserved(unreserved)) => Err(unreserved),
        Err(Ended::TooLong) => Err(match worker.connections.scarcest(limits) {
            Some(limit) => Unreserved::InLine(limit.clone()),
            None => Unreserved::RouteAgain,
        }),
    }
}

/// Waits for a place at the ESP.
async fn wait_for_place(
    worker: &Worker,
    case: &Case<'_>,
    esp: &EspId,
    places: &Arc<Places>,
    drawn: &Drawn,
) -> Result<Place, Unreserved> {
    let mut wait = places.join(case.job.class);
    if let Ok(pass) = wait.turn.try_recv() {
        return Ok(Place::of(pass));
    }
    match wait_for_turn(worker, case, esp, true, WaitReason::EspLimit, drawn, &mut wait.turn).await {
        Ok(pass) => Ok(Place::of(pass)),
        Err(Ended::Unreserved(unreserved)) => Err(unreserved),
        Err(Ended::TooLong) => Err(Unreserved::NoPlace),
    }
}

/// Why a wait for a connection or a place has ended without one.
enum Ended {
    /// It has taken as long as a job is held.
    TooLong,
    /// The job does better elsewhere, or cannot go here any more.
    Unreserved(Unreserved),
}

/// Waits until the turn comes, as long as the job is held. What governs the whole lane is waited for as long as a limit on
/// the rate that does, unless the pool has a way around it.
async fn wait_for_turn<T>(
    worker: &Worker,
    case: &Case<'_>,
    esp: &EspId,
    governs_lane: bool,
    reason: WaitReason,
    drawn: &Drawn,
    turn: &mut oneshot::Receiver<T>,
) -> Result<T, Ended> {
    // Others whose turn is near may have what this one lacks.
    drawn.ticket.step_aside();
    let bounds = *worker.plan().bounds();
    let began = worker.clock.tick();
    let hold_max = if governs_lane { bounds.lane_hold_max } else { bounds.hold_max };
    // Who came from a line of its own has waited already.
    let until = case.until_expiry(worker, (case.arrived + hold_max).max(began + bounds.hold_max));
    loop {
        let left = until.since(worker.clock.tick());
        match tokio::time::timeout(left.min(LOOK_AGAIN), &mut *turn).await {
            Ok(Ok(it)) => {
                worker.metrics.waited(reason, worker.clock.tick().since(began));
                return Ok(it);
            }
            // Whoever hands them out is gone.
            Ok(Err(_)) => return Err(Ended::TooLong),
            Err(_elapsed) => {}
        }
        if !drawn.line.holds(worker, case, esp) || worker.link.order(case).is_some() {
            return Err(Ended::Unreserved(Unreserved::RouteAgain));
        }
        let now = worker.clock.tick();
        match worker.standing(esp, &case.group, case.job.class, now) {
            Standing::Broken { .. } => return Err(Ended::Unreserved(Unreserved::RouteAgain)),
            Standing::Shut { limit, .. } => return Err(Ended::Unreserved(Unreserved::InLine(limit))),
            Standing::Up { .. } => {}
        }
        let is_long = now.since(began) >= bounds.hold_max;
        if now >= until || (is_long && worker.is_draining()) {
            return Err(Ended::TooLong);
        }
        // Not for ever from one to the next.
        let may_turn = now < case.arrived + bounds.lane_hold_max;
        if is_long && may_turn && is_better_off_elsewhere(worker, case, esp) {
            return Err(Ended::Unreserved(Unreserved::RouteAgain));
        }
    }
}

/// Whether a fresh job has to go to the end of the line of a limit that holds only some of its lane: others were there
/// first, unless nobody stands ready to use the next slot. A transactional one goes before bulk that was there first.
fn joins_line(worker: &Worker, case: &Case<'_>, limit: &Limit) -> bool {
    case.job.class == Class::Bulk
        && case.passport.first_seen.is_none()
        && !case.governs_lane(&limit.scope)
        && worker.slots.waiting(limit) > 0
        && worker.link.has_line(&limit.key())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sluice_policy::View;
    use sluice_types::Timestamp;

    use super::*;
    use crate::plan::Orders;
    use crate::ports::Passport;
    use crate::room::Rooms;
    use crate::worker::rig::{self, Rig};

    #[tokio::test(start_paused = true)]
    async fn a_transactional_job_does_not_stand_behind_the_bulk_of_its_tenant() {
        let rig = Rig::new(
            r#"
            esp = [{ name = "a", kind = "sandbox" }]
            pool = [{ name = "default", members = [{ esp = "a" }] }]
            tenant = [{ name = "default", limits = ["10/s"] }]
            "#,
        );
        let key = "tenant:default/per:s";
        rig.see(View { lines: [key.to_owned()].into(), ..View::default() }).await;
        let _tickets = rig.long_lines(&["a"]);
        let (lane, body) = (rig::lane(&rig.worker), Bytes::new());
        let joins = |class, first_seen| {
            let mut job = rig::job(None);
            job.class = class;
            let passport = Passport { first_seen, ..Passport::default() };
            let case = Case::new(&rig.worker, &lane, job, lane.group.clone(), &body, &passport);
            let (job, worker) = (&case.job, &rig.worker);
            let (_, limits) =
                worker.plan().line(class, &rig::esp("a"), &case.group, &job.tenant, job.to.email.domain());
            limits.iter().filter(|limit| joins_line(worker, &case, limit)).map(Limit::key).collect::<Vec<_>>()
        };
        assert_eq!(joins(Class::Bulk, None), [key]);
        assert!(joins(Class::Transactional, None).is_empty());
        assert!(joins(Class::Bulk, Some(Timestamp::from_micros(0))).is_empty(), "it comes from there");
    }

    /// Jobs of a few limited domains had all the room of their lane.
    #[tokio::test(start_paused = true)]
    async fn who_waits_long_for_a_limit_of_some_leaves_its_room_to_the_others_of_the_lane() {
        for (of_esp, of_tenant, is_left) in
            [("9000/s", "100/s", true), ("9000/s", "1000/s", false), ("100/s", "9000/s", false)]
        {
            let rig = Rig::new(&format!(
                r#"
                esp = [{{ name = "a", kind = "sandbox", limits = ["{of_esp}"] }}]
                pool = [{{ name = "default", members = [{{ esp = "a" }}] }}]
                tenant = [{{ name = "default", limits = ["{of_tenant}"] }}]
                "#
            ));
            let (lane, body, passport) = (rig::lane(&rig.worker), Bytes::new(), Passport::default());
            let case = Case::new(&rig.worker, &lane, rig::job(None), lane.group.clone(), &body, &passport);
            let _a_hundred_before = rig.long_lines(&["a"]);
            let rooms = Rooms::new(1);
            let room = rooms.try_take().unwrap();
            // Nobody leases slots here, so its turn does not come.
            let reserved = reserve(&rig.worker, &case, rig::esp("a"), &room);
            tokio::time::timeout(LOOK_AGAIN, reserved).await.unwrap_err();
            assert_eq!(rooms.try_take().is_some(), is_left, "under {of_esp} and {of_tenant}");
        }
    }

    /// What was set while a job waited held it only if it came after the edit.
    #[tokio::test(start_paused = true)]
    async fn connections_that_are_limited_while_a_job_waits_hold_it_too() {
        let rig = Rig::new(
            r#"
            esp = [{ name = "a", kind = "sandbox", limits = ["9/s"] }]
            pool = [{ name = "default", members = [{ esp = "a" }] }]
            "#,
        );
        let (lane, body, passport) = (rig::lane(&rig.worker), Bytes::new(), Passport::default());
        let case = Case::new(&rig.worker, &lane, rig::job(None), lane.group.clone(), &body, &passport);
        let tickets = rig.long_lines(&["a"]);
        let edit = async {
            tokio::time::sleep(LOOK_AGAIN).await;
            let edits = [("esp:a/connections".to_owned(), "4 connections".parse().unwrap())].into();
            let orders = Orders { edits, ..Orders::default() };
            rig.worker.change_plan(|live| Some(live.with_orders(orders)));
            drop(tickets);
        };
        let room = rig::room();
        let reserved = async { tokio::join!(reserve(&rig.worker, &case, rig::esp("a"), &room), edit).0 };
        let reserved = tokio::select! {
            it = reserved => it,
            () = rig.worker.slots.run() => unreachable!("it runs for ever"),
        };
        // The fleet of the rig gives none.
        match reserved {
            Err(Unreserved::InLine(limit)) => assert_eq!(limit.key(), "esp:a/connections"),
            other => panic!("{other:?}"),
        }
    }

    /// Jobs of an ESP that had no limit went on without one, as many as waited for a place.
    #[tokio::test(start_paused = true)]
    async fn the_first_limit_of_an_esp_holds_who_waits_for_a_place_there() {
        let toml = r#"
            esp = [{ name = "a", kind = "sandbox", max_in_flight = 1 }]
            pool = [{ name = "default", members = [{ esp = "a" }] }]
        "#;
        for (edit, is_held) in [("esp:a/per:s", true), ("tenant:other/per:s", false)] {
            let rig = Rig::new(toml);
            let (lane, body, passport) = (rig::lane(&rig.worker), Bytes::new(), Passport::default());
            let case = Case::new(&rig.worker, &lane, rig::job(None), lane.group.clone(), &body, &passport);
            let taken = rig.worker.esps[&rig::esp("a")].places.try_take(Class::Transactional).unwrap();
            let set = async {
                tokio::time::sleep(LOOK_AGAIN / 2).await;
                let edits = [(edit.to_owned(), "10/s".parse().unwrap())].into();
                rig.worker.change_plan(|live| Some(live.with_orders(Orders { edits, ..Orders::default() })));
                drop(taken);
            };
            let room = rig::room();
            let reserved = tokio::join!(reserve(&rig.worker, &case, rig::esp("a"), &room), set).0;
            assert_eq!(matches!(reserved, Err(Unreserved::RouteAgain)), is_held, "{edit}: {reserved:?}");
        }
    }
}
