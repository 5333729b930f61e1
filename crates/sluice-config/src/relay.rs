//! `[relay]`: how due jobs go from `pending` back to the queue.

use std::time::Duration;

use schemars::JsonSchema;

use crate::duration::{self, DurationText};
use crate::reader::{self, Section};

const BATCH: u32 = 500;
const BATCH_MAX: u32 = 5000;
const INTERVAL: Duration = Duration::from_millis(250);
const INTERVAL_MIN: Duration = Duration::from_millis(10);
const INTERVAL_MAX: Duration = Duration::from_secs(60);

/// `[relay]`: how due jobs go from `pending` back to the queue.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Relay {
    /// Due jobs published in one go, 1 to 5000, default 500. More: longer transactions, and more jobs that are published
    /// twice (and sent once) after a crash in between. Less: more round trips.
    pub batch: u32,
    /// Pause between two looks for due jobs when there were none, 10ms to 60s, default 250ms. More: jobs leave later than
    /// they are due. Less: more queries on an idle store.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub interval: Duration,
}

impl Relay {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            batch: section.number("batch", BATCH, 1..=BATCH_MAX),
            interval: section.duration("interval", INTERVAL, INTERVAL_MIN..=INTERVAL_MAX),
        }
    }
}

impl Default for Relay {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
