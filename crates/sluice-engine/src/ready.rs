//! Step 6, before the turn: a call that begins without delay, and how long it may take.

use std::sync::Arc;
use std::time::Duration;

use sluice_types::{Category, EspId, Outcome};

use crate::breakers::Leave;
use crate::places::Places;
use crate::ports::{Answer, ReadyCall};
use crate::slots::Ticket;
use crate::worker::{EspHandle, Worker};
use crate::write::Written;

/// How much longer than its own timeout an ESP client may take before the engine gives up on it.
const TIMEOUT_SLACK: Duration = Duration::from_secs(5);
/// A handshake over half the world takes as long. Meanwhile the job keeps its turn: if it let others come near, each of them would
/// open a connection too.
const HANDSHAKE: Duration = Duration::from_millis(500);

/// How long a call is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// From then on it is slow.
    pub(crate) slow_after: Duration,
    /// From then on nobody waits any more.
    pub(crate) longest: Duration,
}

impl Patience {
    /// With calls to `esp`.
    pub(crate) fn with(worker: &Worker, esp: &EspId) -> Self {
        let plan = worker.plan();
        let longest = plan.esp_timeout(esp) + TIMEOUT_SLACK;
        Self { slow_after: plan.breaker_terms().slow_after.min(longest), longest }
    }
}

/// Makes the call ready. A connection takes its time to open: opened in the turn, calls whose slots lie apart could reach the ESP
/// together.
///
/// # Errors
/// What the call has come to, when it cannot be made.
pub(crate) async fn ready<'w>(
    worker: &'w Worker,
    handle: &'w EspHandle,
    written: Written<'w>,
    ticket: &Ticket,
    leave: &mut Leave,
) -> Result<Box<dyn ReadyCall + 'w>, Answer> {
    let mut ready = written.map_err(|answer| *answer)?.ready();
    tokio::select! {
        biased;
        ready = &mut ready => ready,
        // Boxed, as few calls need a new connection.
        () = std::future::ready(()) => {
            let patience = Patience::with(worker, handle.esp.id());
            Box::pin(connected(ready, worker, &handle.places, ticket, leave, patience)).await
        }
    }
}

/// Waits for a connection. Where it takes long, others whose turn is near go first.
async fn connected<T>(
    mut ready: impl Future<Output = Result<T, Answer>> + Unpin,
    worker: &Worker,
    places: &Arc<Places>,
    ticket: &Ticket,
    leave: &mut Leave,
    patience: Patience,
) -> Result<T, Answer> {
    if let Ok(ready) = tokio::time::timeout(HANDSHAKE, &mut ready).await {
        return ready;
    }
    ticket.step_aside();
    let (calling, began) = (places.begin(), worker.clock.tick());
    let ready = in_time(ready, leave, patience).await.unwrap_or_else(|| {
        let detail = "the call was not ready in time".to_owned();
        Err(Outcome::Faulted { category: Category::Timeout, detail }.into())
    });
    let took = worker.clock.tick().since(began);
    calling.ends(ready.as_ref().err().map(|answer| &answer.outcome), took);
    ready
}

/// Waits for a call, as long as one is waited for. The breaker is told as soon as it is slow: one that hangs takes all of that time.
pub(crate) async fn in_time<T>(
    mut call: impl Future<Output = T> + Unpin,
    leave: &mut Leave,
    Patience { slow_after, longest }: Patience,
) -> Option<T> {
    let mut end = std::pin::pin!(tokio::time::sleep(slow_after));
    for pause in [longest - slow_after, Duration::ZERO] {
        tokio::select! {
            biased;
            answer = &mut call => return Some(answer),
            () = &mut end => {}
        }
        if !pause.is_zero() {
            leave.overdue(slow_after);
            let later = end.deadline() + pause;
            end.as_mut().reset(later);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use sluice_types::{AttemptOutcome, Class, Tick, Timestamp, WaitReason};

    use super::*;
    use crate::case::Case;
    use crate::ports::Passport;
    use crate::reserve::reserve;
    use crate::send::{Call, Sent, send};
    use crate::worker::rig::{self, Rig, esp};
    use crate::write::write;

    const SECOND: Duration = Duration::from_secs(1);

    fn rig(min_calls: u32) -> Rig {
        let toml = r#"
            esp = [{ name = "a", kind = "sandbox", timeout = "30s" }]
            pool = [{ name = "default", members = [{ esp = "a" }] }]
            [breaker]
            slow_after = "10s"
        "#;
        Rig::new(&format!("{toml}min_calls = {min_calls}"))
    }

    /// What comes of a job whose connection is not open yet.
    async fn sent(rig: &Rig, connecting: Option<Duration>) -> Sent {
        rig.around.connecting.lock().unwrap().push(connecting);
        let (lane, body, passport) = (rig::lane(&rig.worker), bytes::Bytes::new(), Passport::default());
        let mut case = Case::new(&rig.worker, &lane, rig::job(None), lane.group.clone(), &body, &passport);
        let reservation = reserve(&rig.worker, &case, esp("a"), &rig::room()).await.unwrap();
        let written = write(&mut case, &reservation);
        send(&rig.worker, &case, reservation, written, Tick::ZERO + SECOND * 60, &rig::room()).await
    }

    /// Its attempt.
    async fn send_one(rig: &Rig, connecting: Option<Duration>) -> Call {
        match sent(rig, connecting).await {
            Sent::Called(call) => call,
            Sent::Unsent { parked, .. } => panic!("{parked:?}"),
        }
    }

    /// Its slot opened while the connection was made, and the next call, which had one, came to the ESP at the same time.
    #[tokio::test(start_paused = true)]
    async fn a_call_begins_once_its_connection_is_open() {
        let rig = rig(1);
        let call = send_one(&rig, Some(SECOND * 4)).await;
        let opened_at = Timestamp::from_micros(0) + SECOND * 4;
        assert_eq!((call.started_at, call.finished_at), (opened_at, opened_at));
        assert_eq!(*rig.around.sent.lock().unwrap(), [esp("a")]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_connection_there_is_no_call() {
        let rig = rig(1);
        let call = send_one(&rig, None).await;
        assert_eq!(call.outcome.kind(), AttemptOutcome::Faulted);
        assert!(rig.around.sent.lock().unwrap().is_empty());
        assert!(rig.worker.breakers.ask(&esp("a")).is_err(), "the breaker was told");
    }

    /// They told the breaker, and nobody else.
    #[tokio::test(start_paused = true)]
    async fn an_esp_that_lets_nobody_connect_fails() {
        let rig = rig(3);
        let places = &rig.worker.esps[&esp("a")].places;
        for _ in 0..2 {
            assert!(places.try_take(Class::Bulk).and(places.try_take(Class::Bulk)).is_some());
            send_one(&rig, None).await;
        }
        let last = places.try_take(Class::Bulk);
        assert!(last.is_some() && places.try_take(Class::Bulk).is_none(), "three are at stake");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_takes_for_ever_opens_the_breaker_and_is_given_up() {
        let rig = rig(1);
        let opens = async {
            tokio::time::sleep(SECOND * 12).await;
            rig.worker.breakers.ask(&esp("a")).is_err()
        };
        let (call, is_open) = tokio::join!(send_one(&rig, Some(SECOND * 3600)), opens);
        assert!(is_open, "it was told while the call hung");
        assert_eq!(call.outcome.kind(), AttemptOutcome::Faulted);
        assert!(rig.worker.clock.tick() < Tick::ZERO + SECOND * 45, "{:?}", rig.worker.clock.tick());
        assert_eq!(call.started_at, Timestamp::from_micros(0), "the attempt is all of that time");
        assert!(call.finished_at >= call.started_at + SECOND * 30, "{:?}", call.finished_at);
        assert!(rig.around.sent.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_once_the_breaker_has_opened_meanwhile() {
        let rig = rig(1);
        let another_fails = async {
            tokio::time::sleep(SECOND * 2).await;
            let outcome = Outcome::Faulted { category: Category::Connect, detail: String::new() };
            let leave = rig.worker.breakers.ask(&esp("a")).unwrap();
            leave.told(&outcome, SECOND, rig.worker.clock.tick());
        };
        match tokio::join!(sent(&rig, Some(SECOND * 4)), another_fails).0 {
            Sent::Unsent { parked, .. } => assert_eq!(parked.reason, WaitReason::BreakerOpen),
            Sent::Called(call) => panic!("{call:?}"),
        }
        assert!(rig.around.sent.lock().unwrap().is_empty());
    }
}
