//! Single keys of a section, by the type they have.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use serde::de::DeserializeOwned;
use toml::Value;

use super::Section;
use crate::duration::DurationText;

impl Section<'_, '_> {
    /// A word of a closed list.
    pub(crate) fn word<T: DeserializeOwned>(&mut self, key: &'static str, default: T) -> T {
        self.optional_word(key).unwrap_or(default)
    }

    /// A word of a closed list that must be there.
    pub(crate) fn required_word<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.fault(key, "is required");
        }
        self.optional_word(key)
    }

    /// A word of a closed list, if there is one.
    pub(crate) fn optional_word<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        let (path, value) = self.take_value(key)?;
        match value.try_into() {
            Ok(value) => Some(value),
            Err(error) => {
                self.reader.fault(&path, error.message());
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn switch(&mut self, key: &'static str, default: bool) -> bool {
        let Some((path, value)) = self.take_value(key) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.reader.fault(&path, "must be true or false");
            default
        })
    }

    /// A whole number within `range`.
    pub(crate) fn number<T>(&mut self, key: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        self.optional_number(key, range).unwrap_or(default)
    }

    /// A whole number within `range`, if there is one.
    pub(crate) fn optional_number<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        let (path, value) = self.take_value(key)?;
        number_within(&value, &range).map_err(|fault| self.reader.fault(&path, fault)).ok()
    }

    /// Whole numbers within `range`, if there is a list and it holds nothing else.
    pub(crate) fn numbers<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<Vec<T>>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        let items = self.take_list(key, "whole numbers")?;
        let len = items.len();
        let mut found = Vec::new();
        for (path, item) in items {
            match number_within(&item, &range) {
                Ok(number) => found.push(number),
                Err(fault) => self.reader.fault(&path, fault),
            }
        }
        (found.len() == len).then_some(found)
    }

    /// A share above 0 and up to 1.
    pub(crate) fn share(&mut self, key: &'static str, default: f64) -> f64 {
        self.optional_decimal_above(key, 0.0, 1.0).unwrap_or(default)
    }

    /// A number above `low` and up to `high`, if there is one.
    pub(crate) fn optional_decimal_above(&mut self, key: &'static str, low: f64, high: f64) -> Option<f64> {
        let (path, value) = self.take_value(key)?;
        let number = decimal(&value).filter(|number| *number > low && *number <= high);
        if number.is_none() {
            self.reader.fault(&path, format_args!("must be a number above {low:?} and up to {high:?}"));
        }
        number
    }

    /// A number within `range`.
    pub(crate) fn decimal(&mut self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> f64 {
        let Some((path, value)) = self.take_value(key) else { return default };
        decimal(&value).filter(|number| range.contains(number)).unwrap_or_else(|| {
            let (low, high) = range.into_inner();
            self.reader.fault(&path, format_args!("must be a number from {low:?} to {high:?}"));
            default
        })
    }

    /// A span of time within `range`.
    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        self.optional_duration(key, range).unwrap_or(default)
    }

    /// A span of time within `range`, if there is one.
    pub(crate) fn optional_duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let (path, text) = self.take_text(key)?;
        match text.parse() {
            Ok(DurationText(span)) if range.contains(&span) => return Some(span),
            Ok(DurationText(_)) => {
                let (low, high) = range.into_inner();
                let (low, high) = (DurationText(low), DurationText(high));
                self.reader.fault(&path, format_args!("must be from {low} to {high}"));
            }
            Err(error) => self.reader.fault(&path, error),
        }
        None
    }

    /// A text, if there is one; an empty one is a fault.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        let (path, text) = self.take_text(key)?;
        if text.trim().is_empty() {
            self.reader.fault(&path, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// A text that may be empty, if there is one.
    pub(crate) fn text_or_empty(&mut self, key: &'static str) -> Option<String> {
        self.take_text(key).map(|(_, text)| text)
    }

    /// The path of a file, if there is one.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// A secret: under `key` as it is, or under `file_key` as the name of a file that holds it.
    pub(crate) fn secret(&mut self, key: &'static str, file_key: &'static str) -> Option<SecretString> {
        let both = self.has(key) && self.has(file_key);
        let plain = self.text(key);
        let file = self.text(file_key);
        if both {
            self.fault(file_key, format_args!("`{key}` is set too; set one of the two"));
            return None;
        }
        if let Some(plain) = plain {
            return Some(SecretString::from(plain));
        }
        match (self.reader.read_secret)(&file?) {
            // Editors and secret stores end files with a line break.
            Ok(text) if !text.trim().is_empty() => Some(SecretString::from(text.trim())),
            Ok(_) => {
                self.fault(file_key, "the file is empty");
                None
            }
            Err(error) => {
                self.fault(file_key, error);
                None
            }
        }
    }

    /// A name that must be there and must be the only one of its kind.
    pub(crate) fn name<T>(&mut self, key: &'static str, taken: &mut BTreeSet<T>) -> Option<T>
    where
        T: FromStr<Err: std::fmt::Display> + Ord + Clone + std::fmt::Display,
    {
        let name: T = self.required(key)?;
        if !taken.insert(name.clone()) {
            self.fault(key, format_args!("`{name}` is used twice"));
        }
        Some(name)
    }

    /// A text that must be there and that `T` takes.
    pub(crate) fn required<T: FromStr<Err: std::fmt::Display>>(&mut self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.fault(key, "is required");
        }
        match self.text(key)?.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.fault(key, error);
                None
            }
        }
    }
}

fn number_within<T>(value: &Value, range: &RangeInclusive<T>) -> Result<T, String>
where
    T: TryFrom<i64> + PartialOrd + std::fmt::Display,
{
    let number = value.as_integer().and_then(|number| T::try_from(number).ok());
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
}

/// A number with a point; `1` is a whole number to TOML, and meant as `1.0`. Never `-0.0`.
fn decimal(value: &Value) -> Option<f64> {
    let whole = || value.as_integer().and_then(|whole| i32::try_from(whole).ok()).map(f64::from);
    value.as_float().or_else(whole).map(|number| number + 0.0)
}
