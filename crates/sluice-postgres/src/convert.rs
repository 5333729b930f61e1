//! Between rows and the engine's words. Pure.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_engine::{Claim, ClaimVerdict, Intent};
use sluice_types::{JobState, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::StoreError;

/// The last instant that is kept: the end of the year 9999, which every reader of RFC 3339 understands.
const LAST_INSTANT_US: i64 = 253_402_300_799_999_999;
/// The longest wait that is kept: a hundred years.
const LONGEST_WAIT_US: i64 = 100 * 366 * 86_400 * 1_000_000;

/// The verdict on a claim that has put the row into `state`.
pub(crate) fn verdict_of_put(claim: &Claim, state: JobState, attempts: u32) -> ClaimVerdict {
    match (state, &claim.intent) {
        (JobState::Sending, _) => ClaimVerdict::Go,
        (JobState::Unknown, _) => ClaimVerdict::Lost { attempt: attempts },
        (JobState::Suppressed, Intent::Send { .. }) => ClaimVerdict::Suppressed,
        (_, _) => ClaimVerdict::Closed,
    }
}

/// `text` without NUL, the one character that Postgres text cannot hold.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "")) } else { Cow::Borrowed(text) }
}

/// [`clean`], and nothing for an empty text.
pub(crate) fn clean_some(text: &str) -> Option<Cow<'_, str>> {
    Some(clean(text)).filter(|text| !text.is_empty())
}

/// A database instant, within the years 1970 to 9999.
pub(crate) fn instant(at: Timestamp) -> SystemTime {
    let micros = at.as_micros().clamp(0, LAST_INSTANT_US);
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// An instant of the database in microseconds since the epoch.
pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(match at.duration_since(UNIX_EPOCH) {
        Ok(after) => micros(after),
        Err(before) => -micros(before.duration()),
    })
}

/// A wait in microseconds, bounded so that adding it to any instant we keep makes one.
pub(crate) fn wait_us(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX).min(LONGEST_WAIT_US)
}

/// A count as Postgres keeps it.
pub(crate) fn int4(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A count as Postgres kept it.
pub(crate) fn uint4(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// The column `name` of a row.
pub(crate) fn column<'a, T: FromSql<'a>>(
    row: &'a Row,
    step: &'static str,
    name: &'static str,
) -> Result<T, StoreError> {
    row.try_get(name).map_err(|_| StoreError::Row { step, column: name })
}

/// The column `name` of a row, read as one of the engine's words or names.
pub(crate) fn word<T>(
    row: &Row,
    step: &'static str,
    name: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, StoreError> {
    let text: &str = column(row, step, name)?;
    read(text).ok_or(StoreError::Row { step, column: name })
}

#[cfg(test)]
mod tests;
