//! Claims, records and parked jobs for the suites.

use std::time::Duration;

use bytes::Bytes;
use sluice_engine::{Claim, Due, Intent, NextStep, Parked, Passport, Record};
use sluice_types::{Address, Category, Class, JobId, JobState, Outcome, Tenant, Timestamp, WaitReason};

/// A job id that no other test uses.
#[must_use]
pub fn fresh_id(name: &str) -> JobId {
    let unique: String = std::iter::repeat_with(fastrand::alphanumeric).take(12).collect();
    JobId::new(&format!("{name}-{unique}")).expect("letters and digits")
}

/// A first claim of `id` for ten seconds.
#[must_use]
pub fn claim(id: &JobId) -> Claim {
    Claim {
        id: id.clone(),
        tenant: Tenant::default(),
        campaign: None,
        pool: sluice_types::PoolName::default(),
        class: Class::Bulk,
        recipient: Address::parse("Ada@gmail.com").expect("an address"),
        fingerprint: 7,
        attempt: 1,
        resend: false,
        token: i64::from(fastrand::i32(..)),
        intent: send_for(Duration::from_secs(10)),
    }
}

/// The intent to send within `ttl`.
#[must_use]
pub fn send_for(ttl: Duration) -> Intent {
    Intent::Send { ttl, esp: "main".parse().expect("a name") }
}

/// A parked copy of `id`.
#[must_use]
pub fn parked(id: &JobId, due: Due, reason: WaitReason, attempt: u32) -> Parked {
    Parked {
        id: id.clone(),
        tenant: Tenant::default(),
        campaign: None,
        pool: sluice_types::PoolName::default(),
        class: Class::Bulk,
        domain: "gmail.com".to_owned(),
        group: "gmail".parse().expect("a name"),
        due,
        reason,
        limit_key: None,
        expires_at: None,
        body: Bytes::from_static(b"{\"v\":1}"),
        passport: Passport {
            attempt,
            first_seen: Some(Timestamp::from_micros(1_000_000)),
            ..Passport::default()
        },
    }
}

/// A parked copy of `id` in the line of `key`, first seen `seen_s` seconds after the epoch.
#[must_use]
pub fn in_line(id: &JobId, key: &str, seen_s: i64) -> Parked {
    let mut job = parked(id, Due::InLine, WaitReason::GroupLimit, 1);
    job.limit_key = Some(key.to_owned());
    job.passport.first_seen = Some(Timestamp::from_micros(seen_s * 1_000_000));
    job
}

/// The result `outcome` of attempt `attempt`.
#[must_use]
pub fn record(id: &JobId, attempt: u32, outcome: Option<Outcome>, next: NextStep) -> Record {
    let at = Timestamp::parse("2026-11-24T12:00:00Z").expect("a time");
    Record {
        id: id.clone(),
        tenant: Tenant::default(),
        attempt,
        token: None,
        esp: "main".parse().expect("a name"),
        started_at: at,
        finished_at: at + Duration::from_millis(20),
        outcome,
        next,
    }
}

/// An accepted attempt.
#[must_use]
pub fn accepted(id: &JobId, attempt: u32) -> Record {
    let outcome = Outcome::Accepted { provider_message_id: Some("abc".to_owned()) };
    record(id, attempt, Some(outcome), NextStep::Final { state: JobState::Accepted, category: None })
}

/// A deferred attempt, tried again after `due`.
#[must_use]
pub fn deferred(id: &JobId, attempt: u32, due: Due) -> Record {
    let outcome = Outcome::Deferred {
        retry_after: None,
        scope: sluice_types::DeferralScope::Recipient,
        category: Category::Temporary,
        detail: "450 later".to_owned(),
    };
    record(
        id,
        attempt,
        Some(outcome),
        NextStep::Retry(Box::new(parked(id, due, WaitReason::Retry, attempt + 1))),
    )
}
