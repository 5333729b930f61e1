//! A lane: one queue that is consumed, paused and measured as a unit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{GroupName, PoolName};

/// Traffic class of a job.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// One person waits for it: receipts, resets. Retried fast and given up on early.
    #[default]
    Transactional,
    /// Newsletters and campaigns. Retried slowly and for long.
    Bulk,
}

impl Class {
    /// Both classes, transactional first.
    pub const ALL: [Self; 2] = [Self::Transactional, Self::Bulk];

    /// The word used in queue names, SQL, metrics and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Bulk => "bulk",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Pool, class and domain group; displayed as `default.bulk.gmail`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The pool whose ESPs serve it.
    pub pool: PoolName,
    /// The traffic class.
    pub class: Class,
    /// The recipient domains' group.
    pub group: GroupName,
}

impl std::fmt::Display for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.pool, self.class, self.group)
    }
}

impl std::str::FromStr for Lane {
    type Err = LaneError;

    fn from_str(text: &str) -> Result<Self, LaneError> {
        let mut parts = text.split('.');
        let (Some(pool), Some(class), Some(group), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(LaneError);
        };
        Ok(Self {
            pool: pool.parse().map_err(|_| LaneError)?,
            class: Class::from_word(class).ok_or(LaneError)?,
            group: group.parse().map_err(|_| LaneError)?,
        })
    }
}

/// The text does not have the form `<pool>.<class>.<group>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a lane is written <pool>.<class>.<group>")]
pub struct LaneError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_reads_back_what_it_writes() {
        let lane: Lane = "default.bulk.gmail".parse().unwrap();
        assert_eq!(lane.to_string(), "default.bulk.gmail");
        assert_eq!(lane.class, Class::Bulk);
        for bad in ["default.bulk", "default.slow.gmail", "a.bulk.b.c", "A.bulk.b"] {
            assert_eq!(bad.parse::<Lane>(), Err(LaneError), "{bad}");
        }
    }
}
