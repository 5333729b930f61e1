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

/// The number of a side lane, from 1 to [`Side::MAX`]: what one domain of the group `other` has to itself, beside the lane of
/// all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Side(u8);

impl Side {
    /// As many side lanes has a lane at most.
    pub const MAX: u8 = 16;

    /// The side lane of that number, if there may be one.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// All that there may be.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=Self::MAX).map(Self)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// Pool, class and domain group; displayed as `default.bulk.gmail`, a side lane as `default.bulk.other.1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The pool whose ESPs serve it.
    pub pool: PoolName,
    /// The traffic class.
    pub class: Class,
    /// The recipient domains' group.
    pub group: GroupName,
    /// Which of the side lanes of `other` it is; `None`: the lane of the group.
    pub side: Option<Side>,
}

impl std::fmt::Display for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.pool, self.class, self.group)?;
        self.side.map_or(Ok(()), |side| write!(f, ".{}", side.0))
    }
}

impl std::str::FromStr for Lane {
    type Err = LaneError;

    fn from_str(text: &str) -> Result<Self, LaneError> {
        let mut parts = text.split('.');
        let (Some(pool), Some(class), Some(group), side, None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(LaneError);
        };
        let group: GroupName = group.parse().map_err(|_| LaneError)?;
        let side = match side {
            None => None,
            Some(number) if group.is_other() => {
                Some(number.parse().ok().and_then(Side::new).ok_or(LaneError)?)
            }
            Some(_) => return Err(LaneError),
        };
        Ok(Self {
            pool: pool.parse().map_err(|_| LaneError)?,
            class: Class::from_word(class).ok_or(LaneError)?,
            group,
            side,
        })
    }
}

/// The text does not have the form `<pool>.<class>.<group>`, nor that of a side lane, `<pool>.<class>.other.<number>`.
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
        assert_eq!((lane.class, lane.side), (Class::Bulk, None));
        let lane: Lane = "default.bulk.other.16".parse().unwrap();
        assert_eq!(lane.to_string(), "default.bulk.other.16");
        assert_eq!(lane.side, Side::new(16));
        for bad in [
            "default.bulk",
            "default.slow.gmail",
            "a.bulk.b.c",
            "A.bulk.b",
            "a.bulk.other.0",
            "a.bulk.other.17",
            "a.bulk.other.x",
            "a.bulk.gmail.1",
            "a.bulk.other.1.1",
        ] {
            assert_eq!(bad.parse::<Lane>(), Err(LaneError), "{bad}");
        }
    }
}
