//! `[unknown]`: what happens to a job whose answer was lost.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_types::Class;

use crate::duration::{self, DurationText};
use crate::reader::{self, Section};

const WINDOW: Duration = Duration::from_secs(600);
const WINDOW_MIN: Duration = Duration::from_secs(1);
const WINDOW_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What to do when nothing settled an unknown send in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownAction {
    /// Send again: perhaps twice, surely once.
    Resend,
    /// Leave it to an operator: perhaps never, surely not twice.
    Hold,
}

/// `[unknown]`: what happens to a job whose request went out and whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct UnknownPolicy {
    /// How long an event of the ESP may still settle it, 1s to 7d, default 10min. More: a lost message goes out later.
    /// Less: more messages are sent twice whose event was on its way.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub window: Duration,
    /// What then, for transactional jobs: `resend` (perhaps twice; until `retry.transactional` gives up) or `hold` (for an
    /// operator). Default `resend`.
    pub transactional: UnknownAction,
    /// What then, for bulk jobs. Default `hold`.
    pub bulk: UnknownAction,
}

impl UnknownPolicy {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            window: section.duration("window", WINDOW, WINDOW_MIN..=WINDOW_MAX),
            transactional: section.word("transactional", UnknownAction::Resend),
            bulk: section.word("bulk", UnknownAction::Hold),
        }
    }

    /// The action of one class.
    #[must_use]
    pub const fn of(&self, class: Class) -> UnknownAction {
        match class {
            Class::Transactional => self.transactional,
            Class::Bulk => self.bulk,
        }
    }
}

impl Default for UnknownPolicy {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
