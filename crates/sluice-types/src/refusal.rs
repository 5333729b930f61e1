//! Why a job is refused at the door: a reason from a closed list, the field at fault, and a sentence.

use serde::{Deserialize, Serialize};

/// Closed list of reasons; the words stand in the `reason` header, in `dead_letter` and in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The body is longer than 256 KiB.
    TooLarge,
    /// The body is not UTF-8.
    NotUtf8,
    /// The body is not JSON, or is nested too deeply.
    NotJson,
    /// `v` names a version that this build does not know.
    UnknownVersion,
    /// A top-level or nested field that the schema does not have.
    UnknownField,
    /// A required field is missing.
    MissingField,
    /// A field has the wrong JSON type.
    WrongType,
    /// A field's value breaks a rule.
    InvalidValue,
    /// `pool` names no configured pool.
    UnknownPool,
    /// A template does not compile, fails, runs too long or writes too much.
    Template,
    /// The id was used before with another body; the first one stands.
    IdConflict,
    /// The broker gave up after too many deliveries: the job brought workers down.
    DeliveryLimit,
}

impl RefusalReason {
    /// All reasons.
    pub const ALL: [Self; 12] = [
        Self::TooLarge,
        Self::NotUtf8,
        Self::NotJson,
        Self::UnknownVersion,
        Self::UnknownField,
        Self::MissingField,
        Self::WrongType,
        Self::InvalidValue,
        Self::UnknownPool,
        Self::Template,
        Self::IdConflict,
        Self::DeliveryLimit,
    ];

    /// The word for headers, SQL and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::UnknownVersion => "unknown_version",
            Self::UnknownField => "unknown_field",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::InvalidValue => "invalid_value",
            Self::UnknownPool => "unknown_pool",
            Self::Template => "template",
            Self::IdConflict => "id_conflict",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

impl std::fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Characters of a field's path at most.
pub const FIELD_MAX_CHARS: usize = 128;

/// A job that Sluice will not take, and what to mend. The text never quotes the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}{}{detail}", .field, if .field.is_empty() { "" } else { ": " })]
pub struct Refusal {
    /// From the closed list.
    pub reason: RefusalReason,
    /// The field at fault as a path such as `to.email`; empty when it is the body as a whole. One line of at most
    /// [`FIELD_MAX_CHARS`]. A publisher's own key stands in it as it was written.
    pub field: String,
    /// What is wrong, in a sentence without the value.
    pub detail: String,
}

impl Refusal {
    /// The refusal of a job whose id is taken by a job with another body.
    #[must_use]
    pub fn id_conflict() -> Self {
        let detail = "this id was used before with another body; the first one stands";
        Self::new(RefusalReason::IdConflict, "id", detail)
    }

    /// The refusal of a message that nobody has answered, as often as it was delivered.
    #[must_use]
    pub fn delivery_limit() -> Self {
        let detail = "it was delivered too often without an answer: it may bring workers down";
        Self::new(RefusalReason::DeliveryLimit, "", detail)
    }

    /// A refusal for `field`.
    #[must_use]
    pub fn new(reason: RefusalReason, field: impl Into<String>, detail: impl Into<String>) -> Self {
        let field = field.into();
        let is_fit = field.len() <= FIELD_MAX_CHARS && !field.contains(char::is_control);
        let field = if is_fit {
            field
        } else {
            field.chars().filter(|it| !it.is_control()).take(FIELD_MAX_CHARS).collect()
        };
        Self { reason, field, detail: detail.into() }
    }

    /// The field for a log: a key that may be an address is left out.
    #[must_use]
    pub fn logged_field(&self) -> &str {
        if !self.field.contains('@') {
            return &self.field;
        }
        let first = self.field.split_once(['.', '[']).map_or("", |(first, _)| first);
        if first.contains('@') { "" } else { first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_one_short_line_and_a_log_holds_no_key_that_may_be_an_address() {
        let of = |field: String| Refusal::new(RefusalReason::WrongType, field, "");
        assert_eq!(of("metadata.x\nERROR forged".to_owned()).field, "metadata.xERROR forged");
        assert_eq!(of("k".repeat(200_000)).field.len(), FIELD_MAX_CHARS);
        assert_eq!(of("ä".repeat(100)).field, "ä".repeat(100));
        assert_eq!(of("to.email".to_owned()).logged_field(), "to.email");
        for (field, logged) in [("metadata.ada@acme.example", "metadata"), ("ada@acme.example", "")] {
            assert_eq!(of(field.to_owned()).logged_field(), logged);
        }
    }
}
