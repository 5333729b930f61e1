//! `[retention]`: how long what is over is kept in the store.

use std::time::Duration;

use schemars::JsonSchema;

use crate::duration::{self, DurationText};
use crate::reader::{self, Section};

const DAY: Duration = Duration::from_secs(24 * 3600);
const JOBS: Duration = Duration::from_secs(90 * 24 * 3600);
const ATTEMPTS: Duration = Duration::from_secs(30 * 24 * 3600);
const KEEP_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
const PARTITIONS_AHEAD: u32 = 7;
const PARTITIONS_AHEAD_MAX: u32 = 60;
const INTERVAL: Duration = Duration::from_secs(3600);
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// `[retention]`: how long what is over is kept in Postgres. One replica with the role `relay` at a time sees to it; the
/// embedded store keeps everything.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Retention {
    /// How long a job in a final state stays after its last change, 1d to 366d, default 90d. More: a larger table. Less:
    /// an id that is published again after that time is sent again.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub jobs: Duration,
    /// How long attempts and events stay, 1d to 366d, default 30d; they go by whole days (UTC). More: more disk. Less:
    /// less to look back at.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub attempts: Duration,
    /// Days for which the tables of attempts and events are made ahead, 1 to 60, default 7. Less: a store that is not
    /// looked after for so long puts new rows where they are slower to drop.
    pub partitions_ahead: u32,
    /// Pause between two rounds, 1s to 1d, default 1h. More: what is old goes later, in larger rounds.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub interval: Duration,
}

impl Retention {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            jobs: section.duration("jobs", JOBS, DAY..=KEEP_MAX),
            attempts: section.duration("attempts", ATTEMPTS, DAY..=KEEP_MAX),
            partitions_ahead: section.number("partitions_ahead", PARTITIONS_AHEAD, 1..=PARTITIONS_AHEAD_MAX),
            interval: section.duration("interval", INTERVAL, INTERVAL_MIN..=DAY),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
