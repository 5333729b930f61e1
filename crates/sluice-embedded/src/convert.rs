//! Columns to values and back. Pure.

use rusqlite::Row;
use rusqlite::types::{FromSqlError, Type};
use sluice_engine::Passport;
use sluice_types::{EspId, Timestamp};

/// Reads `attempt, first_seen, faulted, resend, traceparent` from the column `at` on.
pub(crate) fn passport(row: &Row<'_>, at: usize) -> rusqlite::Result<Passport> {
    Ok(Passport {
        attempt: row.get(at)?,
        first_seen: row.get::<_, Option<i64>>(at + 1)?.map(Timestamp::from_micros),
        faulted: split_esps(row.get_ref(at + 2)?.as_str_or_null().map_err(|e| bad(at + 2, e))?),
        resend: row.get(at + 3)?,
        renewals: 0,
        traceparent: row.get(at + 4)?,
    })
}

/// ESPs as one text; none is null. Their alphabet has no comma.
pub(crate) fn join_esps(esps: &[EspId]) -> Option<String> {
    if esps.is_empty() {
        return None;
    }
    Some(esps.iter().map(EspId::as_str).collect::<Vec<_>>().join(","))
}

/// Reads [`join_esps`] back; a name that is none is left out.
fn split_esps(text: Option<&str>) -> Vec<EspId> {
    text.into_iter().flat_map(|text| text.split(',')).filter_map(|name| name.parse().ok()).collect()
}

/// An instant for people, RFC 3339.
pub(crate) fn rfc3339(micros: i64) -> String {
    Timestamp::from_micros(micros).to_string()
}

/// A text column as a type that is read from text.
pub(crate) fn parsed<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(at)?.as_str().map_err(|error| bad(at, error))?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

/// A text column as a word of a closed list.
pub(crate) fn word<T>(row: &Row<'_>, at: usize, from_word: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text = row.get_ref(at)?.as_str().map_err(|error| bad(at, error))?;
    from_word(text).ok_or_else(|| bad(at, FromSqlError::InvalidType))
}

/// A count, which is never below zero.
pub(crate) fn count(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0))
}

/// A text for a column that has null for "nothing".
pub(crate) fn not_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn bad(at: usize, error: FromSqlError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn esps_read_back() {
        let esps: Vec<EspId> = ["main", "ses-eu_1"].iter().map(|name| name.parse().unwrap()).collect();
        assert_eq!(split_esps(join_esps(&esps).as_deref()), esps);
        assert_eq!(join_esps(&[]), None);
        assert_eq!(split_esps(None), Vec::new());
    }
}
