use proptest::prelude::*;
use sluice_types::{Address, Category, Class, EspId, JobId, PoolName, Tenant};

use super::*;

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

#[test]
fn a_row_put_gives_the_verdict() {
    assert_eq!(verdict_of_put(&claim(1), JobState::Sending, 1), ClaimVerdict::Go);
    assert_eq!(verdict_of_put(&claim(1), JobState::Suppressed, 0), ClaimVerdict::Suppressed);
    assert_eq!(verdict_of_put(&claim(2), JobState::Unknown, 1), ClaimVerdict::Lost { attempt: 1 });
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
