//! Spans of time as people write them: `250ms`, `30s`, `10min`, `4h`, `1d`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serializer;

/// Longest span that can be written.
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The units, longest first: word, length in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];

/// A span of time that is read from and displayed as a text with one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationText(pub Duration);

/// Why a text is not a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationTextError {
    /// It is not a whole number with a unit.
    Form,
    /// It is longer than 366 days.
    TooLong,
}

impl std::fmt::Display for DurationTextError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Form => {
                "is not a span of time; write a whole number and a unit, like \"250ms\", \"30s\", \"10min\", \"4h\" or \"1d\""
            }
            Self::TooLong => "is longer than 366d",
        })
    }
}

impl std::error::Error for DurationTextError {}

impl std::str::FromStr for DurationText {
    type Err = DurationTextError;

    fn from_str(text: &str) -> Result<Self, DurationTextError> {
        let text = text.trim();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).ok_or(DurationTextError::Form)?;
        if number.is_empty() {
            return Err(DurationTextError::Form);
        }
        let unit = match unit.trim_start() {
            "m" | "minute" | "minutes" => "min",
            "sec" | "second" | "seconds" => "s",
            "hour" | "hours" => "h",
            "day" | "days" => "d",
            other => other,
        };
        let (_, unit_ms) =
            UNITS.into_iter().find(|(word, _)| *word == unit).ok_or(DurationTextError::Form)?;
        let number: u64 = number.parse().map_err(|_| DurationTextError::TooLong)?;
        let span = Duration::from_millis(number.checked_mul(unit_ms).ok_or(DurationTextError::TooLong)?);
        if span > SPAN_MAX { Err(DurationTextError::TooLong) } else { Ok(Self(span)) }
    }
}

impl std::fmt::Display for DurationText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0.as_millis();
        let exact = |&(_, unit_ms): &(&str, u64)| ms != 0 && ms.is_multiple_of(u128::from(unit_ms));
        match UNITS.into_iter().find(exact) {
            Some((word, unit_ms)) => write!(f, "{}{word}", ms / u128::from(unit_ms)),
            None => write!(f, "{ms}ms"),
        }
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^\\s*[0-9]+\\s*(ms|s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)\\s*$",
        })
    }
}

/// Writes a default into the schema.
pub(crate) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&DurationText(*span))
}

/// Writes a default that may be absent into the schema.
pub(crate) fn serialize_optional<S: Serializer>(
    span: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => serialize(span, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, ms) in [
            ("0ms", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("10min", 600_000),
            ("10m", 600_000),
            ("4h", 14_400_000),
            ("1d", 86_400_000),
            (" 2 days ", 172_800_000),
        ] {
            assert_eq!(text.parse(), Ok(DurationText(Duration::from_millis(ms))), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_a_span_is_refused() {
        for (text, error) in [
            ("", DurationTextError::Form),
            ("30", DurationTextError::Form),
            ("s", DurationTextError::Form),
            ("-1s", DurationTextError::Form),
            ("1.5s", DurationTextError::Form),
            ("1h30min", DurationTextError::Form),
            ("3 weeks", DurationTextError::Form),
            ("367d", DurationTextError::TooLong),
            ("99999999999999999999s", DurationTextError::TooLong),
            ("18446744073709551615d", DurationTextError::TooLong),
        ] {
            assert_eq!(text.parse::<DurationText>(), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_displayed_reads_back(seconds in 0..SPAN_MAX.as_secs(), ms in 0..1000_u64) {
            let span = DurationText(Duration::from_secs(seconds) + Duration::from_millis(ms));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn any_text_is_refused_or_read(text in "\\PC{0,20}|[0-9]{1,25} ?(ms|s|min|h|d)") {
            if let Ok(span) = text.parse::<DurationText>() {
                prop_assert!(span.0 <= SPAN_MAX);
            }
        }
    }
}
