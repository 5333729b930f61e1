//! Step 5: the ledger's word, durable before the send.

use std::time::Duration;

use sluice_policy::Next;
use sluice_types::{Category, EspId, JobState, Refusal, Tick, Timestamp, WaitReason};

use crate::ack::NotStored;
use crate::case::Case;
use crate::plan::Plan;
use crate::ports::{Claim, ClaimVerdict, Due, Intent, Parked};
use crate::worker::Worker;

/// A send that takes its whole timeout still ends so long before its claim does.
const CLAIM_MARGIN: Duration = Duration::from_secs(2);

/// What the ledger says.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// Send it, beginning before this instant.
    Go {
        /// Later the claim may be somebody else's.
        until: Tick,
        /// Names this claim in its record.
        token: i64,
    },
    /// It is not sent now.
    Not(Unclaimed),
}

/// What is left to do for a job that is not sent now.
#[derive(Debug)]
pub(crate) enum Unclaimed {
    /// There is nothing to send.
    Over,
    /// It must wait in `pending`.
    Park(Box<Parked>),
    /// The message must go to the dead letters.
    Refuse(Refusal),
}

/// Claims a job for one send through `esp`.
///
/// # Errors
/// When the store cannot be asked: the delivery must be given back.
pub(crate) async fn claim(worker: &Worker, case: &Case<'_>, esp: &EspId) -> Result<Claimed, NotStored> {
    let ttl = worker.plan().bounds().claim_ttl;
    ask(worker, case, Intent::Send { ttl, esp: esp.clone() }).await
}

/// Closes a job unsent.
///
/// # Errors
/// When the store cannot be asked, or answers something else: the delivery must be given back.
pub(crate) async fn close(
    worker: &Worker,
    case: &Case<'_>,
    state: JobState,
    category: Category,
) -> Result<Unclaimed, NotStored> {
    match ask(worker, case, Intent::Close { state, category }).await? {
        Claimed::Not(unclaimed) => Ok(unclaimed),
        // Acked, it would be neither sent nor closed.
        Claimed::Go { .. } => {
            tracing::error!(job = %case.job.id, "a job was to be closed, and the store let it be sent");
            Err(NotStored)
        }
    }
}

async fn ask(worker: &Worker, case: &Case<'_>, intent: Intent) -> Result<Claimed, NotStored> {
    // As the store is told: another configuration that comes meanwhile does not change this claim.
    let (closing, ttl, longest_send) = match &intent {
        Intent::Close { state, .. } => (Some(*state), Duration::ZERO, Duration::ZERO),
        Intent::Send { esp, ttl } => (None, *ttl, worker.plan().esp_timeout(esp)),
    };
    let request = request(worker, case, intent);
    let token = request.token;
    let written = worker.claims.submit(request).await.map_err(|error| {
        tracing::warn!(job = %case.job.id, error = %crate::health::chain(&error), "could not claim a job");
        NotStored
    })?;
    Ok(Claimed::Not(match written.answer {
        ClaimVerdict::Go => {
            // A send that begins by then also ends before the claim does, unless the claim is shorter than a send.
            let until = ttl.saturating_sub(longest_send + CLAIM_MARGIN).max(ttl / 4);
            return Ok(Claimed::Go { until: written.asked_at + until, token });
        }
        ClaimVerdict::Closed => {
            if let Some(state) = closing {
                worker.metrics.job(state);
            }
            Unclaimed::Over
        }
        ClaimVerdict::Suppressed => {
            worker.metrics.job(JobState::Suppressed);
            Unclaimed::Over
        }
        ClaimVerdict::Done => {
            worker.metrics.duplicate();
            Unclaimed::Over
        }
        ClaimVerdict::Conflict => Unclaimed::Refuse(Refusal::id_conflict()),
        ClaimVerdict::InFlight { remaining } => {
            Unclaimed::Park(Box::new(case.parked(Due::In(remaining), WaitReason::InFlightElsewhere)))
        }
        ClaimVerdict::Lost { attempt } => {
            worker.metrics.job(JobState::Unknown);
            Unclaimed::Park(Box::new(left_in_doubt(worker, case, attempt, closing)))
        }
        ClaimVerdict::Unknown { attempt } => {
            Unclaimed::Park(Box::new(left_in_doubt(worker, case, attempt, closing)))
        }
    }))
}

fn request(worker: &Worker, case: &Case<'_>, intent: Intent) -> Claim {
    Claim {
        id: case.job.id.clone(),
        tenant: case.job.tenant.clone(),
        campaign: case.job.campaign.clone(),
        pool: case.job.pool.clone(),
        class: case.job.class,
        recipient: case.job.to.email.clone(),
        fingerprint: case.job.fingerprint,
        attempt: case.passport.attempt,
        resend: case.passport.resend,
        token: worker.token(),
        intent,
    }
}

/// The parked copy of a job that turns out to be in doubt. One that was to be cancelled is not sent again but by an operator.
fn left_in_doubt(worker: &Worker, case: &Case<'_>, attempt: u32, closing: Option<JobState>) -> Parked {
    let mut parked = unknown(worker, case, attempt);
    if closing == Some(JobState::Cancelled) {
        parked.due = Due::Held;
    }
    parked
}

/// The parked copy of a job whose attempt `attempt` has an unknown outcome: sent again by its key where that makes no
/// second copy, else policy resends it after a window in which webhooks may tell, for as long as its class is retried, or an
/// operator decides.
pub(crate) fn unknown(worker: &Worker, case: &Case<'_>, attempt: u32) -> Parked {
    let (plan, now) = (worker.plan(), worker.now());
    let since = case.tried_since(attempt, now);
    let window = plan.bounds().unknown_window;
    let due = match by_key(worker, case, attempt, since, now) {
        Some(delay) => Due::In(delay),
        None if plan.resends_unknown(case.job.class)
            && is_resent(&plan, case, attempt, since, now + window) =>
        {
            Due::In(window)
        }
        None => Due::Held,
    };
    let mut parked = case.parked(due, WaitReason::Unknown);
    parked.passport.first_seen = Some(since);
    parked.passport.attempt = attempt.saturating_add(1);
    parked.passport.resend = true;
    parked
}

/// Whether policy sends a job in doubt once more at `due`. The first time in any case; then each may be a further copy, and ends
/// with the schedule of the class.
fn is_resent(plan: &Plan, case: &Case<'_>, attempt: u32, since: Timestamp, due: Timestamp) -> bool {
    attempt <= 1 || due <= since + plan.retry(case.job.class).give_up_after
}

/// When to send a job again by its idempotency key, by the retry schedule of its class; `None` when that is over, or a
/// second copy could go out: the ESP knows no keys, or the pool has another, which would not know this one's.
fn by_key(
    worker: &Worker,
    case: &Case<'_>,
    attempt: u32,
    since: Timestamp,
    now: Timestamp,
) -> Option<Duration> {
    let plan = worker.plan();
    let mut esps = plan.pool(&case.job.pool)?.esps();
    let only = esps.next()?;
    if esps.any(|other| other != only) || !worker.esps.get(only)?.esp.is_idempotent() {
        return None;
    }
    let terms = plan.retry(case.job.class);
    match terms.next(attempt, since, now, None, case.job.expires_at, &mut fastrand::Rng::new()) {
        Next::After(delay) => Some(delay),
        Next::GiveUp | Next::Expired => None,
    }
}

#[cfg(test)]
mod tests {
    use sluice_types::{Class, Lane};

    use super::*;
    use crate::ports::Passport;
    use crate::worker::rig::{self, Rig};

    const TOML: &str = r#"
        esp = [{ name = "a", kind = "sandbox", timeout = "5s" }]
        pool = [{ name = "default", members = [{ esp = "a" }] }]
    "#;

    /// Each is counted once: by whoever finds the dead claim.
    #[tokio::test(start_paused = true)]
    async fn a_job_in_doubt_is_counted_once_and_sent_again_only_if_it_is_not_cancelled() {
        let rig = Rig::new(TOML);
        let (body, passport) = (bytes::Bytes::new(), Passport::default());
        let lane = Lane { class: Class::Transactional, ..rig::lane(&rig.worker) };
        let mut job = rig::job(None);
        job.class = Class::Transactional;
        let case = Case::new(&rig.worker, &lane, job, lane.group.clone(), &body, &passport);
        let a = rig::esp("a");
        for (verdict, counted) in [
            (ClaimVerdict::Lost { attempt: 1 }, "sluice_jobs_total{state=\"unknown\"} 1\n"),
            (ClaimVerdict::Unknown { attempt: 1 }, "sluice_jobs_total{state=\"unknown\"} 1\n"),
        ] {
            *rig.around.verdict.lock().unwrap() = Some(verdict);
            let claimed = claim(&rig.worker, &case, &a).await.unwrap();
            let Claimed::Not(Unclaimed::Park(parked)) = claimed else { panic!("{claimed:?}") };
            assert!(matches!(parked.due, Due::In(_)) && parked.passport.resend, "{parked:?}");
            let metrics = rig.worker.metrics.render().unwrap();
            assert!(metrics.contains(counted), "{verdict:?}: {metrics}");
        }
        let cancelled = close(&rig.worker, &case, JobState::Cancelled, Category::Cancelled).await.unwrap();
        let Unclaimed::Park(parked) = cancelled else { panic!("{cancelled:?}") };
        assert_eq!((parked.due, parked.passport.resend), (Due::Held, true), "for an operator");
    }

    /// A send could begin after its claim had run out in the store.
    #[tokio::test(start_paused = true)]
    async fn a_claim_ends_as_the_store_was_told_whatever_is_configured_meanwhile() {
        let plan = |ttl: &str| rig::plan(&format!("{TOML}\n[worker]\nclaim_ttl = \"{ttl}\""));
        let rig = Rig::new(TOML);
        rig.worker.change_plan(|_| Some(plan("60s")));
        *rig.around.claim_takes.lock().unwrap() = Duration::from_secs(2);
        let (lane, body, passport) = (rig::lane(&rig.worker), bytes::Bytes::new(), Passport::default());
        let case = Case::new(&rig.worker, &lane, rig::job(None), lane.group.clone(), &body, &passport);
        let reload = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            rig.worker.change_plan(|_| Some(plan("600s")));
        };
        let a = rig::esp("a");
        let (claimed, ()) = tokio::join!(claim(&rig.worker, &case, &a), reload);
        match claimed.unwrap() {
            Claimed::Go { until, .. } => assert!(until < Tick::ZERO + Duration::from_secs(60), "{until:?}"),
            other @ Claimed::Not(_) => panic!("{other:?}"),
        }
    }
}
