//! "Come back later" as servers write it, turned into a time to wait.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;
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

/// Reads `X-RateLimit-Reset`: seconds since the Unix epoch at which the window opens again.
pub(crate) fn rate_limit_reset(value: &str, now: Timestamp) -> Option<Duration> {
    let seconds: i64 = value.trim().parse().ok()?;
    bounded(Timestamp::from_micros(seconds.checked_mul(1_000_000)?).after(now))
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
            ("", None),
            ("x", None),
            ("9223372036854775807", None),
        ] {
            assert_eq!(rate_limit_reset(value, at(EXAMPLE - 60)), wait.map(Duration::from_secs), "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_bounded_hint_or_none(value in "\\PC{0,40}|[0-9 ,:A-Za-z+-]{0,40}", now in any::<i64>()) {
            for hint in [retry_after(&value, Timestamp::from_micros(now)), rate_limit_reset(&value, Timestamp::from_micros(now))] {
                prop_assert!(hint.is_none_or(|wait| !wait.is_zero() && wait <= HINT_MAX));
            }
        }
    }
}
