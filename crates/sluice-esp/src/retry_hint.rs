//! "Come back later" and "so much is left" as servers write it, turned into times to wait.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;
use sluice_engine::QuotaHint;
use sluice_types::Timestamp;

/// The longest hint that is believed; above it the hint is cut, since a job waits 24 h at most.
const HINT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `Retry-After`: delta-seconds or an HTTP-date (RFC 9110 section 10.2.3). No wait is no hint.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are a very long wait.
        return bounded(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    bounded(http_date(value)?.after(now))
}

/// Reads `X-RateLimit-Reset`, as [`until`] does. No wait is no hint.
pub(crate) fn rate_limit_reset(value: &str, now: Timestamp) -> Option<Duration> {
    bounded(until(value, now)?)
}

/// Reads `X-RateLimit-Limit`, `-Remaining` and `-Reset` together.
///
/// A quota can stop an ESP altogether, so here nothing is cut to fit: more left than the limit, a window that has ended,
/// or one that is longer than any (24 h) is no hint.
pub(crate) fn quota(limit: Option<&str>, remaining: &str, reset: &str, now: Timestamp) -> Option<QuotaHint> {
    let remaining: u32 = remaining.trim().parse().ok()?;
    let limit: Option<u32> = limit.and_then(|limit| limit.trim().parse().ok());
    let resets_in = until(reset, now)?;
    let sane = limit.is_none_or(|limit| remaining <= limit) && !resets_in.is_zero() && resets_in <= HINT_MAX;
    sane.then_some(QuotaHint { remaining, resets_in })
}

/// The time until the end of a window: seconds since the Unix epoch or, up to a day, seconds from now. Zero when it has
/// ended.
fn until(value: &str, now: Timestamp) -> Option<Duration> {
    let seconds: u32 = value.trim().parse().ok()?;
    let from_now = Duration::from_secs(seconds.into());
    if from_now <= HINT_MAX {
        return Some(from_now);
    }
    Some(Timestamp::from_micros(i64::from(seconds) * 1_000_000).after(now))
}

fn bounded(wait: Duration) -> Option<Duration> {
    (!wait.is_zero()).then_some(wait.min(HINT_MAX))
}

/// The three forms of RFC 9110 section 5.6.7; the two obsolete ones must be read too.
fn http_date(value: &str) -> Option<Timestamp> {
    if let Ok(zoned) = rfc2822::parse(value) {
        return Some(Timestamp::from_micros(zoned.timestamp().as_microsecond()));
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"].into_iter().find_map(|format| {
        let civil: DateTime = strtime::parse(format, value).ok()?.to_datetime().ok()?;
        let at = TimeZone::UTC.to_timestamp(civil).ok()?;
        Some(Timestamp::from_micros(at.as_microsecond()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 1994-11-06 08:49:37 UTC, the example of RFC 9110.
    const EXAMPLE: i64 = 784_111_777;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn every_form_of_retry_after_is_read() {
        for (value, wait) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("0", None),
            ("99999999999999999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60)),
            ("Sun Nov  6 08:49:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:40:37 GMT", None),
            ("Sat, 06 Nov 2094 08:49:37 GMT", Some(86_400)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, at(EXAMPLE - 60)), wait.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn the_end_of_a_window_is_a_wait() {
        for (value, wait) in [
            ("784111777", Some(60)),
            ("784111000", None),
            (" 60 ", Some(60)),
            ("86400", Some(86_400)),
            ("86401", None),
            ("4102444800", Some(86_400)),
            ("0", None),
            ("-5", None),
            ("", None),
            ("x", None),
            ("9223372036854775807", None),
        ] {
            assert_eq!(rate_limit_reset(value, at(EXAMPLE - 60)), wait.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn a_quota_is_whole_and_sane_or_none() {
        for (limit, remaining, reset, quota) in [
            (Some("600"), "599", "784111777", Some((599, 60))),
            (None, " 0 ", "784111777", Some((0, 60))),
            (Some("600"), "0", "30", Some((0, 30))),
            (Some("many"), "7", "30", Some((7, 30))),
            (Some("600"), "601", "30", None),
            (None, "-1", "30", None),
            (None, "99999999999", "30", None),
            (None, "1.5", "30", None),
            (None, "", "30", None),
            (None, "7", "", None),
            (None, "7", "0", None),
            (None, "7", "784111000", None),
            (None, "7", "784111777000", None),
            (None, "7", "4102444800", None),
        ] {
            let seen = super::quota(limit, remaining, reset, at(EXAMPLE - 60));
            let seen = seen.map(|hint| (hint.remaining, hint.resets_in.as_secs()));
            assert_eq!(seen, quota, "{limit:?} {remaining:?} {reset:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_bounded_hint_or_none(value in "\\PC{0,40}|[0-9 ,:A-Za-z+-]{0,40}", now in any::<i64>()) {
            for hint in [retry_after(&value, Timestamp::from_micros(now)), rate_limit_reset(&value, Timestamp::from_micros(now))] {
                prop_assert!(hint.is_none_or(|wait| !wait.is_zero() && wait <= HINT_MAX));
            }
            let quota = quota(None, "7", &value, Timestamp::from_micros(now));
            prop_assert!(quota.is_none_or(|hint| !hint.resets_in.is_zero() && hint.resets_in <= HINT_MAX));
        }
    }
}
