use proptest::prelude::*;
use sluice_types::{Address, Category, Class, EspId, JobId, PoolName, Tenant};

use super::*;

const ME: &str = "w1";

fn claim(attempt: u32) -> Claim {
    Claim {
        id: JobId::new("a").unwrap(),
        tenant: Tenant::default(),
        campaign: None,
        pool: PoolName::default(),
        class: Class::Bulk,
        recipient: Address::parse("ada@gmail.com").unwrap(),
        fingerprint: 7,
        attempt,
        resend: false,
        token: 1,
        intent: Intent::Send { ttl: Duration::from_secs(60), esp: EspId::new("main").unwrap() },
    }
}

fn close(attempt: u32) -> Claim {
    let intent = Intent::Close { state: JobState::Expired, category: Category::Expired };
    Claim { intent, ..claim(attempt) }
}

fn row(state: JobState, attempts: u32) -> Standing {
    Standing {
        tenant: "default".to_owned(),
        state,
        attempts,
        fingerprint: Some(7),
        worker: Some("w2".to_owned()),
        claim_token: Some(1),
        remaining: Some(Duration::from_secs(5)),
    }
}

#[test]
fn a_row_that_stands_in_the_way_gives_the_verdict() {
    let live = ClaimVerdict::InFlight { remaining: Duration::from_secs(5) };
    let ours = |state, attempts| Standing { worker: Some(ME.to_owned()), ..row(state, attempts) };
    let lapsed = Standing { remaining: None, ..row(JobState::Sending, 1) };
    for (claim, row, verdict) in [
        (claim(1), row(JobState::Accepted, 1), Some(ClaimVerdict::Done)),
        (claim(1), row(JobState::Deferred, 1), Some(ClaimVerdict::Done)),
        (claim(1), row(JobState::Sending, 2), Some(ClaimVerdict::Done)),
        (claim(1), row(JobState::Sending, 1), Some(live)),
        (claim(2), row(JobState::Sending, 1), Some(live)),
        (claim(1), lapsed, None),
        (claim(1), ours(JobState::Sending, 1), None),
        (claim(2), row(JobState::Deferred, 1), None),
        (claim(3), row(JobState::Deferred, 1), Some(ClaimVerdict::Done)),
        (claim(1), row(JobState::Unknown, 1), Some(ClaimVerdict::Unknown { attempt: 1 })),
        (claim(2), row(JobState::Unknown, 1), Some(ClaimVerdict::Unknown { attempt: 1 })),
        (Claim { resend: true, ..claim(2) }, row(JobState::Unknown, 1), None),
        (claim(1), ours(JobState::Suppressed, 0), Some(ClaimVerdict::Suppressed)),
        (claim(1), row(JobState::Suppressed, 0), Some(ClaimVerdict::Done)),
        (close(1), ours(JobState::Expired, 0), Some(ClaimVerdict::Closed)),
        (close(1), row(JobState::Expired, 0), Some(ClaimVerdict::Done)),
        (Claim { fingerprint: 8, ..claim(1) }, row(JobState::Accepted, 1), Some(ClaimVerdict::Conflict)),
        (Claim { fingerprint: 8, ..claim(2) }, row(JobState::Accepted, 2), Some(ClaimVerdict::Done)),
        (
            Claim { tenant: Tenant::new("other").unwrap(), ..claim(2) },
            row(JobState::Deferred, 1),
            Some(ClaimVerdict::Conflict),
        ),
    ] {
        assert_eq!(verdict_of_standing(&claim, ME, &row), verdict, "{claim:?} {row:?}");
    }
}

#[test]
fn a_row_put_gives_the_verdict() {
    assert_eq!(verdict_of_put(&claim(1), JobState::Sending, 1), ClaimVerdict::Go);
    assert_eq!(verdict_of_put(&claim(1), JobState::Suppressed, 0), ClaimVerdict::Suppressed);
    assert_eq!(verdict_of_put(&claim(2), JobState::Unknown, 1), ClaimVerdict::Unknown { attempt: 1 });
    assert_eq!(verdict_of_put(&close(1), JobState::Expired, 0), ClaimVerdict::Closed);
}

#[test]
fn text_loses_its_nuls_only() {
    assert_eq!(clean("a\0b\0"), "ab");
    assert!(matches!(clean("it's \u{1}"), Cow::Borrowed("it's \u{1}")));
    assert_eq!(clean_some("\0"), None);
}

proptest! {
    #[test]
    fn an_instant_reads_back_or_is_bounded(micros in any::<i64>()) {
        let back = timestamp(instant(Timestamp::from_micros(micros))).as_micros();
        prop_assert_eq!(back, micros.clamp(0, LAST_INSTANT_US));
    }
}
