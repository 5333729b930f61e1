use sluice_types::{Address, Class, JobId, PoolName, Tenant};

use super::*;

const ME: &str = "a/2";
const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn claim(attempt: u32, resend: bool, token: i64, fingerprint: i64) -> Claim {
    Claim {
        id: JobId::new("j").unwrap(),
        tenant: Tenant::default(),
        campaign: None,
        pool: PoolName::default(),
        class: Class::Bulk,
        recipient: Address::parse("ada@gmail.com").unwrap(),
        fingerprint,
        attempt,
        resend,
        token,
        intent: Intent::Send { ttl: Duration::from_secs(60), esp: "main".parse().unwrap() },
    }
}

fn row(state: JobState, attempts: u32) -> JobRow {
    JobRow {
        state,
        attempts,
        worker: Some(ME.to_owned()),
        token: Some(7),
        deadline: Some(NOW.as_micros() + 5_000_000),
        fingerprint: 1,
        esp: None,
        updated_at: 0,
    }
}

#[test]
fn a_claim_goes_through_only_as_the_next_attempt() {
    let unknown = |attempt| Decision::Stay(ClaimVerdict::Unknown { attempt });
    let done = Decision::Stay(ClaimVerdict::Done);
    for (state, attempts, attempt, resend, decision) in [
        (JobState::Deferred, 1, 2, false, Decision::Take),
        (JobState::Deferred, 0, 1, false, Decision::Take),
        (JobState::Deferred, 1, 1, false, done),
        (JobState::Deferred, 1, 3, false, done),
        (JobState::Unknown, 1, 2, true, Decision::Take),
        (JobState::Unknown, 1, 2, false, unknown(1)),
        (JobState::Unknown, 1, 1, false, unknown(1)),
        (JobState::Unknown, 2, 2, true, unknown(2)),
        (JobState::Accepted, 1, 2, true, done),
        (JobState::Cancelled, 0, 1, false, done),
        (JobState::Suppressed, 0, 1, false, done),
    ] {
        let got = row(state, attempts).decide(&claim(attempt, resend, 9, 1), ME, NOW);
        assert_eq!(got, decision, "{state} {attempts}, claim {attempt} resend {resend}");
    }
}

#[test]
fn a_sending_row_is_repeated_waited_for_or_lost() {
    let live = Decision::Stay(ClaimVerdict::InFlight { remaining: Duration::from_secs(5) });
    for (worker, token, attempt, late, decision) in [
        (ME, 7, 1, false, Decision::Repeat),
        (ME, 7, 1, true, Decision::Repeat),
        (ME, 8, 1, false, live),
        (ME, 7, 2, false, live),
        (ME, 8, 1, true, Decision::Lost),
        ("a/1", 7, 1, false, Decision::Lost),
    ] {
        let row = JobRow { worker: Some(worker.to_owned()), ..row(JobState::Sending, 1) };
        let now = if late { NOW + Duration::from_secs(6) } else { NOW };
        let got = row.decide(&claim(attempt, false, token, 1), ME, now);
        assert_eq!(got, decision, "{worker} token {token} attempt {attempt} late {late}");
    }
}

#[test]
fn another_body_under_the_same_id_is_a_conflict_on_the_first_attempt_only() {
    let conflict = Decision::Stay(ClaimVerdict::Conflict);
    let row = row(JobState::Deferred, 1);
    assert_eq!(row.decide(&claim(1, false, 9, 2), ME, NOW), conflict);
    assert_eq!(row.decide(&claim(2, false, 9, 2), ME, NOW), Decision::Take);
}
