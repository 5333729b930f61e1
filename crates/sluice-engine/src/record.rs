//! Step 7: the result, durable before the ack; and where the job goes from here.

use std::sync::Arc;
use std::time::Duration;

use sluice_policy::{HINT_MAX, Next};
use sluice_types::{Category, DeferralScope, EspId, JobState, Outcome, WaitReason};

use crate::ack::{Held, NotStored};
use crate::batcher::Settled;
use crate::case::Case;
use crate::claim::unknown;
use crate::failpoint::{Failpoint, at};
use crate::ports::{Due, NextStep, Parked, Record, RecordVerdict};
use crate::send::{Call, Sent};
use crate::worker::{RecordWrite, Standing, Worker};

/// A wait is kept in microseconds; one that is shorter than asked for by more than this was cut.
const CUT_LEAST: Duration = Duration::from_millis(1);

/// What came of a claim, for the ledger.
pub(crate) fn result(worker: &Worker, case: &Case<'_>, sent: Sent, token: i64) -> Record {
    let mut record = match sent {
        Sent::Called(call) => called(worker, case, call),
        Sent::Unsent { esp, parked } => unsent(worker, case, esp, parked),
    };
    record.token = Some(token);
    record
}

/// Records a result in a batch, with which the job is acked: nothing is left to do for its task.
///
/// When the process ends before the store took it the delivery is given back; the claim then runs out and the job becomes
/// `unknown`.
pub(crate) async fn record(worker: &Arc<Worker>, result: Record, held: Held) {
    let it = Arc::clone(worker);
    let recording = worker.records.submit_then(result, move |result, settled| {
        let id = || Some(result.id.to_string());
        let recorded = recorded(&it, result, settled);
        at(Failpoint::Recorded, id);
        held.ack(recorded, id);
    });
    recording.await;
}

/// Counts what was recorded.
fn recorded(worker: &Worker, result: &Record, settled: Settled<RecordWrite>) -> Result<(), NotStored> {
    let written = settled.map_err(|error| {
        tracing::error!(job = %result.id, error = %crate::health::chain(&error), "could not record a result");
        NotStored
    })?;
    let (state, parked) = match &result.next {
        NextStep::Final { state, .. } => (Some(*state), None),
        NextStep::Unknown(parked) => (Some(JobState::Unknown), Some(parked)),
        // It is in doubt as it was, and was counted so.
        NextStep::Unsent(parked) if parked.passport.resend => (None, Some(parked)),
        NextStep::Retry(parked) | NextStep::Unsent(parked) => (Some(JobState::Deferred), Some(parked)),
    };
    match written.answer {
        RecordVerdict::Recorded => {
            state.into_iter().for_each(|state| worker.metrics.job(state));
            parked.into_iter().for_each(|it| worker.metrics.parked(it.reason));
        }
        RecordVerdict::NotOurs => {
            tracing::error!(job = %result.id, "a result came after the claim had gone to another worker");
        }
    }
    if parked.is_some_and(|it| it.due == Due::In(Duration::ZERO)) {
        worker.due_now.notify_one();
    }
    Ok(())
}

fn called(worker: &Worker, case: &Case<'_>, call: Call) -> Record {
    let next = next_step(worker, case, &call);
    Record {
        id: case.job.id.clone(),
        tenant: case.job.tenant.clone(),
        attempt: case.passport.attempt,
        token: None,
        esp: call.esp,
        started_at: call.started_at,
        finished_at: call.finished_at,
        outcome: Some(call.outcome),
        next,
    }
}

fn unsent(worker: &Worker, case: &Case<'_>, esp: EspId, parked: Box<Parked>) -> Record {
    let now = worker.clock.now();
    Record {
        id: case.job.id.clone(),
        tenant: case.job.tenant.clone(),
        attempt: case.passport.attempt,
        token: None,
        esp,
        started_at: now,
        finished_at: now,
        outcome: None,
        next: NextStep::Unsent(parked),
    }
}

/// The one place where an outcome becomes a disposition.
fn next_step(worker: &Worker, case: &Case<'_>, call: &Call) -> NextStep {
    match &call.outcome {
        Outcome::Accepted { .. } => NextStep::Final { state: JobState::Accepted, category: None },
        Outcome::Rejected { category, .. } => {
            NextStep::Final { state: JobState::Rejected, category: Some(*category) }
        }
        Outcome::Unknown { .. } => NextStep::Unknown(Box::new(unknown(worker, case, case.passport.attempt))),
        Outcome::Deferred { retry_after, scope, .. } => {
            // What concerns this recipient would be no better elsewhere.
            let held = match scope {
                DeferralScope::Esp | DeferralScope::DomainGroup => Some(&call.esp),
                DeferralScope::Recipient => None,
            };
            retry(worker, case, *retry_after, None, held)
        }
        Outcome::Faulted { category, .. } => {
            report_fault(case, &call.esp, *category);
            retry(worker, case, None, Some(&call.esp), None)
        }
    }
}

/// Schedules the next attempt: at once while another ESP of the pool is up and has not been tried, else by the class schedule.
///
/// An ESP that has `faulted` is not tried again before the others. Nor is one that `held` the job off for longer than the
/// job lasts; a wait that the job can make, it makes.
fn retry(
    worker: &Worker,
    case: &Case<'_>,
    hint: Option<Duration>,
    faulted: Option<&EspId>,
    held: Option<&EspId>,
) -> NextStep {
    let plan = worker.plan();
    let terms = plan.retry(case.job.class);
    let (attempt, now, expires_at) = (case.passport.attempt, worker.now(), case.job.expires_at);
    let since = case.tried_since(attempt, now);
    let next = terms.next(attempt, since, now, hint, expires_at, &mut fastrand::Rng::new());
    let is_cut = |wait: Duration| hint.is_some_and(|hint| hint.min(HINT_MAX) > wait + CUT_LEAST);
    // Too late for the wait, not yet for another ESP.
    let is_late = matches!(next, Next::Expired | Next::GiveUp);
    let faulted =
        faulted.or_else(|| held.filter(|_| is_late || matches!(next, Next::After(wait) if is_cut(wait))));
    let tried = case.passport.faulted.iter().chain(faulted);
    let mut faulted_now: Vec<EspId> = tried.cloned().collect();
    faulted_now.dedup();
    // One that is down takes nothing: the job would go to the same ESP again, at once and without end.
    let is_up = |esp: &EspId| {
        let standing = worker.standing(esp, &case.group, case.job.class, worker.clock.tick());
        matches!(standing, Standing::Up { .. })
    };
    let others_left = faulted.is_some()
        && plan
            .pool(&case.job.pool)
            .is_some_and(|pool| pool.esps().any(|esp| !faulted_now.contains(esp) && is_up(esp)));
    let in_time = expires_at.is_none_or(|end| now < end) && now <= since + terms.give_up_after;
    let after = match next {
        _ if others_left && in_time => Duration::ZERO,
        Next::GiveUp => {
            return NextStep::Final { state: JobState::Expired, category: Some(Category::GaveUp) };
        }
        Next::Expired => {
            return NextStep::Final { state: JobState::Expired, category: Some(Category::Expired) };
        }
        Next::After(delay) => {
            // Every ESP that is up has had its chance; after the pause all are asked afresh.
            if faulted.is_some() {
                faulted_now.clear();
            }
            delay
        }
    };
    let mut parked = case.parked(Due::In(after), WaitReason::Retry);
    parked.passport.attempt = attempt.saturating_add(1);
    parked.passport.first_seen = Some(since);
    parked.passport.resend = false;
    parked.passport.faulted = faulted_now;
    NextStep::Retry(Box::new(parked))
}

fn report_fault(case: &Case<'_>, esp: &EspId, category: Category) {
    match category.severity() {
        sluice_types::Severity::Critical => {
            tracing::error!(job = %case.job.id, %esp, %category, severity = "critical", "ESP account at fault");
        }
        sluice_types::Severity::High | sluice_types::Severity::Medium | sluice_types::Severity::Low => {
            tracing::warn!(job = %case.job.id, %esp, %category, "ESP at fault");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use sluice_types::{Lane, Timestamp};

    use super::*;
    use crate::ports::{Passport, Receipt};
    use crate::worker::rig::{self, Done, Rig, esp};

    const TWO_ESPS: &str = r#"
        esp = [{ name = "a", kind = "sandbox", limits = ["9/s"] }, { name = "b", kind = "sandbox", limits = ["9/s"] }]
        pool = [{ name = "default", members = [{ esp = "a" }, { esp = "b" }] }]
    "#;
    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    /// What comes of a job that `a` answers so: whether it is due at once, and whom it avoids then.
    fn after(rig: &Rig, outcome: Outcome) -> (bool, Vec<EspId>) {
        let at = Timestamp::from_micros(0);
        let call = Call { esp: esp("a"), outcome, started_at: at, finished_at: at };
        match rig.with_case(&Passport::default(), |case| next_step(&rig.worker, case, &call)) {
            NextStep::Retry(parked) => (parked.due == Due::In(Duration::ZERO), parked.passport.faulted),
            other => unreachable!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_result_parks_is_counted_as_parked() {
        let rig = Rig::new(TWO_ESPS);
        let (lane, body, passport) = (rig::lane(&rig.worker), bytes::Bytes::new(), Passport::default());
        let case = Case::new(&rig.worker, &lane, rig::job(None), lane.group.clone(), &body, &passport);
        let at = Timestamp::from_micros(0);
        let outcome = Outcome::Deferred {
            retry_after: None,
            scope: DeferralScope::Recipient,
            category: Category::Throttled,
            detail: String::new(),
        };
        let call = Call { esp: esp("a"), outcome, started_at: at, finished_at: at };
        let deferred = result(&rig.worker, &case, Sent::Called(call), 1);
        let worker = Arc::new(rig.worker);
        record(&worker, deferred, held(lane, &Arc::default())).await;
        tokio::time::sleep(SECOND).await;
        let metrics = worker.metrics.render().unwrap();
        assert!(metrics.contains("sluice_parked_total{reason=\"retry\"} 1\n"), "{metrics}");
    }

    fn held(lane: Lane, done: &Arc<Done>) -> Held {
        let receipt = Receipt::new(1, Arc::<Done>::clone(done));
        Held { receipt, worn: None, in_flight: rig::in_flight(lane) }
    }

    /// Its task is over by then.
    #[tokio::test(start_paused = true)]
    async fn a_delivery_is_acked_once_its_result_is_written_and_released_when_it_cannot_be() {
        for refuses in [false, true] {
            let Rig { worker, around } = Rig::new(TWO_ESPS);
            *around.record_takes.lock().unwrap() = SECOND;
            around.refuses_records.store(refuses, Ordering::Relaxed);
            let (lane, worker, done) = (rig::lane(&worker), Arc::new(worker), Arc::<Done>::default());
            let (body, passport) = (bytes::Bytes::new(), Passport::default());
            let case = Case::new(&worker, &lane, rig::job(None), lane.group.clone(), &body, &passport);
            let at = Timestamp::from_micros(0);
            let outcome = Outcome::Accepted { provider_message_id: None };
            let call = Call { esp: esp("a"), outcome, started_at: at, finished_at: at };
            let accepted = result(&worker, &case, Sent::Called(call), 1);
            let recording = record(&worker, accepted, held(lane.clone(), &done));
            tokio::time::timeout(Duration::ZERO, recording).await.expect("nothing to wait for");
            tokio::time::sleep(SECOND / 2).await;
            assert!(done.0.lock().unwrap().is_empty(), "not before it is written");
            tokio::time::sleep(SECOND).await;
            assert_eq!(*done.0.lock().unwrap(), [!refuses]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_tried_elsewhere_at_once_only_where_another_esp_is_up() {
        let fault = || Outcome::Faulted { category: Category::ServerError, detail: String::new() };
        // It asks for a longer wait than there is before the job is given up.
        let held = || Outcome::Deferred {
            retry_after: Some(20 * HOUR),
            scope: DeferralScope::Esp,
            category: Category::Throttled,
            detail: String::new(),
        };
        for outcome in [fault, held as fn() -> Outcome] {
            let rig = Rig::new(TWO_ESPS);
            assert_eq!(after(&rig, outcome()), (true, vec![esp("a")]));
            rig.open(&[("b", HOUR)]);
            assert_eq!(after(&rig, outcome()), (false, vec![]), "its breaker is open");
            rig.open(&[]);
            rig.shut(&[("b", HOUR)]);
            assert_eq!(after(&rig, outcome()), (false, vec![]), "it is out of its day");
        }
    }

    /// It was closed at once, although nobody had asked the other one.
    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_too_late_for_the_pause_goes_to_another_esp_of_its_pool() {
        let fault = || Outcome::Faulted { category: Category::ServerError, detail: "500".to_owned() };
        let held = || Outcome::Deferred {
            scope: sluice_types::DeferralScope::Esp,
            category: Category::Throttled,
            detail: "429".to_owned(),
            retry_after: Some(HOUR),
        };
        let alone = r#"esp = [{ name = "a", kind = "sandbox" }]"#;
        for (toml, outcome, is_closed) in
            [(TWO_ESPS, fault(), false), (TWO_ESPS, held(), false), (alone, fault(), true)]
        {
            let rig = Rig::new(toml);
            let mut job = rig::job(Some(Duration::from_millis(900)));
            job.class = sluice_types::Class::Bulk;
            let (lane, body, passport) = (rig::lane(&rig.worker), bytes::Bytes::new(), Passport::default());
            let case = Case::new(&rig.worker, &lane, job, lane.group.clone(), &body, &passport);
            let at = Timestamp::from_micros(0);
            let call = Call { esp: esp("a"), outcome, started_at: at, finished_at: at };
            match next_step(&rig.worker, &case, &call) {
                NextStep::Retry(parked) => {
                    assert!(!is_closed);
                    assert_eq!(
                        (parked.due, parked.passport.faulted),
                        (Due::In(Duration::ZERO), vec![esp("a")])
                    );
                }
                other => assert!(is_closed, "{other:?}"),
            }
        }
    }
}
