//! Names and ids. Each is a cheap-to-clone string with a type of its own and a checked alphabet.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest job id, in bytes.
pub(crate) const JOB_ID_MAX_BYTES: usize = 128;
/// Longest tenant, pool, campaign, ESP or group name, in bytes.
pub(crate) const NAME_MAX_BYTES: usize = 64;

/// Why a text is not a valid id or name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but an empty text.
    #[error("must not be empty")]
    Empty,
    /// More bytes than allowed.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// A character outside the alphabet.
    #[error("has a character outside A-Z a-z 0-9 . _ : @ + = -")]
    BadCharacter,
    /// A character outside the narrower alphabet of names that become parts of queue names.
    #[error("has a character outside a-z 0-9 _ -")]
    BadLabel,
}

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and takes it as it is.
            ///
            /// # Errors
            /// When it is empty, too long, or has a character outside the alphabet.
            pub fn new(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

string_id!(
    /// A job's id, chosen by its publisher; the idempotency key.
    ///
    /// 1 to 128 bytes of `A-Z a-z 0-9 . _ : @ + = -`; a UUID is the usual choice.
    JobId, check_id
);
string_id!(
    /// Whose job it is. Same alphabet as [`JobId`], at most 64 bytes.
    Tenant, check_name
);
string_id!(
    /// A campaign of a tenant. Same alphabet as [`JobId`], at most 64 bytes.
    Campaign, check_name
);
string_id!(
    /// A pool of ESPs: lower-case letters, digits, `_` and `-`, at most 64 bytes, since it is part of queue names.
    PoolName, check_label
);
string_id!(
    /// One configured ESP account. Same alphabet as [`PoolName`].
    EspId, check_label
);
string_id!(
    /// A group of recipient domains that share a mailbox provider; `other` holds the rest. Same alphabet as [`PoolName`].
    GroupName, check_label
);

impl GroupName {
    /// The group of every domain that no configured group names.
    pub const OTHER: &'static str = "other";

    /// The group `other`.
    #[must_use]
    pub fn other() -> Self {
        Self(Arc::from(Self::OTHER))
    }

    /// Whether this is the group `other`.
    #[must_use]
    pub fn is_other(&self) -> bool {
        &*self.0 == Self::OTHER
    }
}

impl PoolName {
    /// The pool of jobs that name none.
    pub const DEFAULT: &'static str = "default";
}

impl Default for PoolName {
    fn default() -> Self {
        Self(Arc::from(Self::DEFAULT))
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(Arc::from("default"))
    }
}

fn check_id(text: &str) -> Result<(), NameError> {
    check(text, JOB_ID_MAX_BYTES, NameError::BadCharacter, |b| {
        b.is_ascii_alphanumeric() || b"._:@+=-".contains(&b)
    })
}

fn check_name(text: &str) -> Result<(), NameError> {
    check(text, NAME_MAX_BYTES, NameError::BadCharacter, |b| {
        b.is_ascii_alphanumeric() || b"._:@+=-".contains(&b)
    })
}

fn check_label(text: &str) -> Result<(), NameError> {
    check(text, NAME_MAX_BYTES, NameError::BadLabel, |b| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-'
    })
}

fn check(text: &str, max: usize, bad: NameError, allowed: fn(u8) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong(max));
    }
    if text.bytes().all(allowed) { Ok(()) } else { Err(bad) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_text() {
        assert_eq!(JobId::new("0192f0c1-6f0e").unwrap().as_str(), "0192f0c1-6f0e");
    }

    #[test]
    fn ids_outside_the_alphabet_are_refused() {
        for (text, error) in [
            ("", NameError::Empty),
            ("a b", NameError::BadCharacter),
            ("a\r\nb", NameError::BadCharacter),
            ("ä", NameError::BadCharacter),
        ] {
            assert_eq!(JobId::new(text), Err(error), "{text:?}");
        }
        assert_eq!(JobId::new(&"x".repeat(129)), Err(NameError::TooLong(128)));
        assert_eq!(PoolName::new("A.b"), Err(NameError::BadLabel));
    }
}
