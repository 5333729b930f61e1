//! Step 6, before all else: one of the calls that an ESP takes at the same time.

use std::time::Duration;

use sluice_types::Tick;

use crate::breakers::Leave;
use crate::case::Case;
use crate::places::Place;
use crate::slots::Ticket;
use crate::worker::Worker;

/// Twice as many are claimed ahead as calls end while a claim is written, so nobody waits longer unless calls have become slow.
const SHORT: Duration = Duration::from_millis(500);

/// Why a claimed job does not call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// The breaker has opened.
    Broken,
    /// No call has ended in the time that a job is held, or that its claim or the job itself lasts; or an operator has stopped
    /// its campaign.
    TooLong,
}

/// Waits until one of the calls under way has ended.
///
/// # Errors
/// [`NoEntry`] when the job must not wait any longer.
pub(crate) async fn enter(
    worker: &Worker,
    case: &Case<'_>,
    place: &mut Place,
    ticket: &Ticket,
    leave: &Leave,
    claimed_until: Tick,
) -> Result<(), NoEntry> {
    let held = worker.clock.tick() + worker.plan().bounds().hold_max;
    let until = case.until_expiry(worker, claimed_until).min(held);
    let mut entering = std::pin::pin!(place.enter());
    loop {
        let left = until.since(worker.clock.tick());
        if let Ok(has_entered) = tokio::time::timeout(left.min(SHORT), &mut entering).await {
            return if has_entered { Ok(()) } else { Err(NoEntry::TooLong) };
        }
        // Others whose turn is near may have what this one lacks.
        ticket.step_aside();
        let now = worker.clock.tick();
        if leave.is_withdrawn(now) {
            return Err(NoEntry::Broken);
        }
        if now >= until || worker.link.order(case).is_some() {
            return Err(NoEntry::TooLong);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sluice_policy::Order;
    use sluice_types::Class;

    use super::*;
    use crate::ports::Passport;
    use crate::reserve::reserve;
    use crate::worker::rig::{self, Rig, esp};

    const SECOND: Duration = Duration::from_secs(1);
    const ONE_CALL: &str = r#"
        esp = [{ name = "a", kind = "sandbox", max_in_flight = 1 }]
        pool = [{ name = "default", members = [{ esp = "a" }] }]
        worker = { hold_max = "9s" }
    "#;

    /// Takes as long as a claim, so that a job is claimed ahead.
    fn another_call(rig: &Rig) -> Place {
        let places = &rig.worker.esps[&esp("a")].places;
        let mut call = places.try_take(Class::Bulk).unwrap();
        assert!(call.try_enter());
        places.took(Duration::from_nanos(1));
        call
    }

    /// What comes of a job while another one calls, and when.
    async fn enter_beside(
        rig: &Rig,
        claimed_until: Tick,
        meanwhile: impl Future<Output = ()>,
    ) -> (Option<NoEntry>, Tick) {
        let (lane, body, passport) = (rig::lane(&rig.worker), Bytes::new(), Passport::default());
        let case =
            Case::new(&rig.worker, &lane, rig::job_of_campaign(), lane.group.clone(), &body, &passport);
        let mut reserved = reserve(&rig.worker, &case, esp("a"), &rig::room()).await.unwrap();
        let ticket = &reserved.drawn.ticket;
        let entered = async {
            let entered =
                enter(&rig.worker, &case, &mut reserved.place, ticket, &reserved.leave, claimed_until).await;
            (entered.err(), rig.worker.clock.tick())
        };
        tokio::join!(entered, meanwhile).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_waits_until_a_call_has_ended() {
        let rig = Rig::new(ONE_CALL);
        let call = another_call(&rig);
        let ends = async {
            tokio::time::sleep(SECOND * 3).await;
            drop(call);
        };
        let entered = enter_beside(&rig, Tick::ZERO + SECOND * 60, ends).await;
        assert_eq!(entered, (None, Tick::ZERO + SECOND * 3));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_a_job_is_held_or_its_claim_stands() {
        for (claim, gives_up) in [(SECOND * 60, SECOND * 9), (SECOND * 4, SECOND * 4)] {
            let rig = Rig::new(ONE_CALL);
            let _call = another_call(&rig);
            let entered = enter_beside(&rig, Tick::ZERO + claim, async {}).await;
            assert_eq!(entered, (Some(NoEntry::TooLong), Tick::ZERO + gives_up));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_that_opens_and_an_order_end_the_wait() {
        for (is_ordered, why) in [(false, NoEntry::Broken), (true, NoEntry::TooLong)] {
            let rig = Rig::new(ONE_CALL);
            let _call = another_call(&rig);
            let happens = async {
                tokio::time::sleep(SECOND).await;
                if is_ordered { rig.order(Order::Paused).await } else { rig.open(&[("a", SECOND * 60)]) }
            };
            let (entered, at) = enter_beside(&rig, Tick::ZERO + SECOND * 60, happens).await;
            assert_eq!(entered, Some(why));
            assert!(at < Tick::ZERO + SECOND * 3, "{at:?}");
        }
    }
}
