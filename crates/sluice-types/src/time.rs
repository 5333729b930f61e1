//! Two clocks that must never be mixed: [`Tick`] is monotonic and local, [`Timestamp`] is UTC and shared.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant of one process's monotonic clock, in nanoseconds since an arbitrary start.
///
/// For limits, breakers and deadlines. It means nothing in another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The clock's start.
    pub const ZERO: Self = Self(0);

    /// The instant `nanos` nanoseconds after the clock's start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero when `earlier` lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Tick {
    type Output = Self;

    fn sub(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(before.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A UTC instant in microseconds since the Unix epoch, as Postgres keeps it.
///
/// For due times and records. Compare a due time only by the clock that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 text such as `2026-11-24T12:00:00Z`; an offset is required. `None` when the text is not RFC 3339 or lies
    /// outside the supported years.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let at: jiff::Timestamp = text.parse().ok().filter(|_| is_rfc3339(text))?;
        Some(Self(at.as_microsecond()))
    }

    /// The instant `span` before this one.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Time until `self` from `now`; zero when it has passed.
    #[must_use]
    pub fn after(self, now: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(now.0)).unwrap_or(0))
    }
}

/// Whether a time has the form of RFC 3339 section 5.6, which leaves a space in place of the `T` to us. The library takes more, such as a zone in brackets that it does not heed.
fn is_rfc3339(text: &str) -> bool {
    let fits = |text: &str, form: &str| {
        let is_alike = |(c, form): (u8, u8)| {
            if form == b'0' { c.is_ascii_digit() } else { c.eq_ignore_ascii_case(&form) }
        };
        text.len() == form.len() && text.bytes().zip(form.bytes()).all(is_alike)
    };
    let Some((date_time, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else { return false };
    let fraction = rest.strip_prefix('.').map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let offset = match fraction {
        None => Some(rest),
        Some(0) => None,
        Some(digits) => rest.get(1 + digits..),
    };
    let is_offset = |text: &str| ["Z", "+00:00", "-00:00"].iter().any(|form| fits(text, form));
    let is_date_time =
        ["0000-00-00T00:00:00", "0000-00-00 00:00:00"].iter().any(|form| fits(date_time, form));
    is_date_time && offset.is_some_and(is_offset)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}
