use super::*;

const LIVE: Duration = Duration::from_secs(5);

fn check(wish: &ClaimWish<'_>, row: &FoundJob<'_>, expected: ClaimStep) {
    assert_eq!(wish.meet(row), expected, "{wish:?} meets {row:?}");
}

fn check_all(wish: &ClaimWish<'_>, cases: &[(JobState, u32, u32, bool, ClaimStep)]) {
    for (state, attempts, attempt, resend, step) in cases {
        check(&ClaimWish { attempt: *attempt, resend: *resend, ..*wish }, &row(*state, *attempts), *step);
    }
}

fn send(tenant: &Tenant) -> ClaimWish<'_> {
    ClaimWish { tenant, fingerprint: 7, attempt: 1, resend: false, close: None }
}

fn close(tenant: &Tenant) -> ClaimWish<'_> {
    ClaimWish { close: Some(JobState::Expired), ..send(tenant) }
}

/// A row of somebody else's claim, which stands where it is `sending`.
fn row(state: JobState, attempts: u32) -> FoundJob<'static> {
    let remaining = (state == JobState::Sending).then_some(LIVE);
    FoundJob { tenant: "default", fingerprint: Some(7), state, attempts, is_ours: false, remaining }
}

const DONE: ClaimStep = ClaimStep::Stay(ClaimVerdict::Done);

fn unknown(attempt: u32) -> ClaimStep {
    ClaimStep::Stay(ClaimVerdict::Unknown { attempt })
}

#[test]
fn a_claim_goes_through_only_as_the_next_attempt() {
    let cases = [
        (JobState::Deferred, 0, 1, false, ClaimStep::Take),
        (JobState::Deferred, 1, 1, false, DONE),
        (JobState::Deferred, 1, 2, false, ClaimStep::Take),
        (JobState::Deferred, 1, 3, false, DONE),
        (JobState::Unknown, 1, 1, false, unknown(1)),
        (JobState::Unknown, 1, 2, false, unknown(1)),
        (JobState::Unknown, 1, 2, true, ClaimStep::Take),
        (JobState::Unknown, 2, 1, false, DONE),
        (JobState::Unknown, 2, 2, true, unknown(2)),
        (JobState::Accepted, 1, 2, true, DONE),
        (JobState::Cancelled, 0, 1, false, DONE),
        (JobState::Suppressed, 0, 1, false, DONE),
    ];
    check_all(&send(&Tenant::default()), &cases);
    check_all(&close(&Tenant::default()), &cases);
}

#[test]
fn a_job_in_doubt_is_not_cancelled() {
    let tenant = Tenant::default();
    let cancel = ClaimWish { close: Some(JobState::Cancelled), resend: true, attempt: 2, ..send(&tenant) };
    check(&cancel, &row(JobState::Unknown, 1), unknown(1));
    check(&cancel, &row(JobState::Deferred, 1), ClaimStep::Take);
}

#[test]
fn a_sending_row_is_repeated_waited_for_or_lost() {
    let live = ClaimStep::Stay(ClaimVerdict::InFlight { remaining: LIVE });
    for (attempts, attempt, is_ours, remaining, step) in [
        (1, 1, true, Some(LIVE), ClaimStep::Take),
        (1, 1, true, None, ClaimStep::Take),
        (1, 2, true, Some(LIVE), live),
        (1, 1, false, Some(LIVE), live),
        (1, 2, false, Some(LIVE), live),
        (1, 1, false, None, ClaimStep::Lost),
        (1, 2, false, None, ClaimStep::Lost),
        (2, 1, false, Some(LIVE), DONE),
        (2, 1, false, None, DONE),
    ] {
        let row = FoundJob { is_ours, remaining, ..row(JobState::Sending, attempts) };
        check(&ClaimWish { attempt, ..send(&Tenant::default()) }, &row, step);
        check(&ClaimWish { attempt, ..close(&Tenant::default()) }, &row, step);
    }
}

#[test]
fn only_the_call_that_closed_a_job_hears_that_it_did() {
    let tenant = Tenant::default();
    let ours = |state| FoundJob { is_ours: true, ..row(state, 0) };
    let (closed, suppressed) =
        (ClaimStep::Stay(ClaimVerdict::Closed), ClaimStep::Stay(ClaimVerdict::Suppressed));
    check(&close(&tenant), &ours(JobState::Expired), closed);
    check(&close(&tenant), &row(JobState::Expired, 0), DONE);
    check(&close(&tenant), &ours(JobState::Accepted), DONE);
    check(&send(&tenant), &ours(JobState::Suppressed), suppressed);
    check(&send(&tenant), &row(JobState::Suppressed, 0), DONE);
    check(&send(&tenant), &ours(JobState::Accepted), DONE);
}

#[test]
fn another_body_is_a_conflict_on_the_first_attempt_only() {
    let tenant = Tenant::default();
    let conflict = ClaimStep::Stay(ClaimVerdict::Conflict);
    let other = ClaimWish { fingerprint: 8, ..send(&tenant) };
    let second = ClaimWish { attempt: 2, ..other };
    check(&other, &row(JobState::Accepted, 1), conflict);
    check(&other, &FoundJob { remaining: None, ..row(JobState::Sending, 1) }, conflict);
    check(&other, &FoundJob { fingerprint: None, ..row(JobState::Deferred, 0) }, ClaimStep::Take);
    check(&second, &row(JobState::Deferred, 1), ClaimStep::Take);
    check(&ClaimWish { resend: true, ..other }, &row(JobState::Unknown, 0), ClaimStep::Take);
}

#[test]
fn another_tenant_is_a_conflict_on_every_attempt() {
    let conflict = ClaimStep::Stay(ClaimVerdict::Conflict);
    let cases = [
        (JobState::Deferred, 1, 2, false, conflict),
        (JobState::Unknown, 1, 2, true, conflict),
        (JobState::Sending, 1, 1, false, conflict),
        (JobState::Accepted, 2, 1, false, conflict),
    ];
    let tenant = Tenant::new("acme").unwrap();
    check_all(&send(&tenant), &cases);
    check_all(&close(&tenant), &cases);
}
