//! `[brake]`: how long we stay slow after being asked to slow down.

use std::time::Duration;

use schemars::JsonSchema;

use crate::duration::{self, DurationText};
use crate::reader::{self, Section};

const ENABLED: bool = true;
const RECOVER: Duration = Duration::from_secs(600);
const RECOVER_MIN: Duration = Duration::from_secs(10);
const RECOVER_MAX: Duration = Duration::from_secs(24 * 3600);

/// `[brake]`: how long we stay slow after replies that ask us to slow down (HTTP 429, SMTP 421 4.7.x). One setting for all
/// limits; the configured limit is never exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Brake {
    /// Whether such a reply slows the limit down that it is about, over all replicas. Default `true`; `false` keeps the
    /// full rate, and the single job is deferred all the same.
    pub enabled: bool,
    /// From a full stop back to the full rate, 10s to 1d, default 10min. More: mail leaves slowly for long after the ESP
    /// has stopped complaining. Less: it is soon asked for more than it takes again.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub recover: Duration,
}

impl Brake {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            enabled: section.switch("enabled", ENABLED),
            recover: section.duration("recover", RECOVER, RECOVER_MIN..=RECOVER_MAX),
        }
    }
}

impl Default for Brake {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
