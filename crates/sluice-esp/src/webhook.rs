//! What ESPs report by webhook: one reader for each kind.
//!
//! The next ESP is one file in its own folder (`webhook.rs`, a type that implements [`sluice_engine::Webhook`]) and one
//! line where the binary opens webhooks. What several need is here: the check of a time, texts within bounds.

use std::time::Duration;

use sluice_types::{Timestamp, WebhookRefusal};

/// Events that are taken of one call, at most. SendGrid sends about a thousand at once when it is busy.
pub(crate) const EVENTS_MAX: usize = 5_000;
/// The longest id of an event that is kept as it is.
const EVENT_ID_MAX_BYTES: usize = 200;
/// How far an ESP's clock may be ahead of ours.
const SKEW: Duration = Duration::from_secs(300);
/// A time of an event that lies further back than this is not believed.
const OLDEST: Duration = Duration::from_secs(90 * 24 * 3600);

/// Checks when a call was signed.
///
/// # Errors
/// When that is more than `max_age` ago, or lies further ahead than clocks differ.
pub(crate) fn check_age(
    signed_at: Timestamp,
    now: Timestamp,
    max_age: Duration,
) -> Result<(), WebhookRefusal> {
    if now.after(signed_at) > max_age || signed_at.after(now) > SKEW {
        return Err(WebhookRefusal::Stale);
    }
    Ok(())
}

/// Unix seconds as an instant; `None` where they make none.
pub(crate) fn from_unix_seconds(seconds: i64) -> Option<Timestamp> {
    seconds.checked_mul(1_000_000).map(Timestamp::from_micros)
}

/// When an event happened, if that can be believed; else now.
pub(crate) fn believable(at: Option<Timestamp>, now: Timestamp) -> Timestamp {
    at.filter(|at| now.after(*at) <= OLDEST && at.after(now) <= SKEW).unwrap_or(now)
}

/// The id of an event: as it is, or a fingerprint where it is missing or not fit to keep. `of` is what makes the event
/// the same in every repetition.
pub(crate) fn event_id(id: Option<&str>, of: &[&str]) -> String {
    let fit = |id: &&str| {
        (1..=EVENT_ID_MAX_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if let Some(id) = id.filter(fit) {
        return id.to_owned();
    }
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in id.iter().chain(of) {
        // The length before the text, so that no two lists read the same.
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let hex: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_taken_for_as_long_as_it_may_be_old() {
        let at = |seconds| from_unix_seconds(seconds).unwrap();
        let hour = Duration::from_secs(3600);
        for (signed, now, taken) in [
            (10_000, 10_000, true),
            (10_000, 13_600, true),
            (10_000, 13_601, false),
            (10_300, 10_000, true),
            (10_301, 10_000, false),
        ] {
            assert_eq!(check_age(at(signed), at(now), hour).is_ok(), taken, "{signed} {now}");
        }
        assert_eq!(from_unix_seconds(i64::MAX), None);
    }

    #[test]
    fn an_id_that_is_unfit_is_the_same_each_time_and_no_other() {
        assert_eq!(event_id(Some("abc-1"), &["x"]), "abc-1");
        let long = "x".repeat(300);
        let made = [None, Some(""), Some("a b"), Some(long.as_str())].map(|id| event_id(id, &["job", "1"]));
        for (at, id) in made.iter().enumerate() {
            assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
            assert!(!made.iter().skip(at + 1).any(|other| other == id));
        }
        assert_ne!(event_id(None, &["ab", "c"]), event_id(None, &["a", "bc"]));
    }
}
