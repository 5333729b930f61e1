//! Step 5: one slot under every limit, then the call.

use std::time::Duration;

use sluice_types::{EspId, Outcome, Tick, Timestamp, WaitReason};

use crate::case::Case;
use crate::reserve::Reservation;
use crate::worker::Worker;

/// How much longer than its own timeout an ESP client may take before the engine gives up on it.
const TIMEOUT_SLACK: Duration = Duration::from_secs(5);

/// What came of a claim.
#[derive(Debug)]
pub(crate) enum Sent {
    /// A call was made.
    Called(Call),
    /// No slot opened in time, or the claim ran out first: nothing was sent.
    Unsent {
        /// The ESP that would have been called.
        esp: EspId,
        /// What held the job.
        reason: WaitReason,
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

/// Takes the turn and hands the job over. Nothing is sent once the claim may be somebody else's.
pub(crate) async fn send(
    worker: &Worker,
    case: &Case<'_>,
    reservation: Reservation,
    claimed_until: Tick,
) -> Sent {
    let Reservation { esp, mut ticket, reason, leave, place } = reservation;
    let Some(handle) = worker.esps.get(&esp) else { return Sent::Unsent { esp, reason } };
    let wait_until = claimed_until.min(worker.clock.tick() + worker.plan.bounds().hold_max);
    loop {
        let Some(grant) = ticket.turn(wait_until).await else { return Sent::Unsent { esp, reason } };
        let now = worker.clock.tick();
        if now >= claimed_until {
            return Sent::Unsent { esp, reason };
        }
        // A slot that this process was too slow to use is gone: the next one, never two at once.
        if now <= grant.closes {
            break;
        }
    }
    let began = worker.clock.tick();
    let started_at = worker.clock.now();
    let limit = worker.plan.esp_timeout(&esp) + TIMEOUT_SLACK;
    let outcome = match tokio::time::timeout(limit, handle.esp.send(&case.job, case.passport.attempt)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Outcome::Unknown { detail: "the call did not end in time".to_owned() },
    };
    let took = worker.clock.tick().since(began);
    drop((ticket, place));
    leave.told(&outcome, took);
    worker.metrics.attempt(&esp, outcome.kind(), took);
    Sent::Called(Call { esp, outcome, started_at, finished_at: worker.clock.now() })
}
