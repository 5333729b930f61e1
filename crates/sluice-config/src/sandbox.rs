//! `[esp.sandbox]`: an ESP that delivers nothing.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;

use crate::duration::{self, DurationText};
use crate::reader::{self, Section};

const LATENCY: Duration = Duration::ZERO;
const LATENCY_MAX: Duration = Duration::from_secs(600);
const FAIL_COUNT: u32 = 0;
const IDEMPOTENT: bool = false;

/// `[esp.sandbox]`: how an ESP of kind `sandbox` behaves. It delivers nothing.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Sandbox {
    /// How long it takes to answer, 0ms to 10min, default 0ms. More: a trial is closer to a real ESP,
    /// and takes longer.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub latency: Duration,
    /// File to which it appends one line for each message it accepts. No default: none is kept.
    pub journal: Option<PathBuf>,
    /// The call, counted from 1, with which it begins to answer "server error". No default: it never does.
    pub fail_from: Option<u32>,
    /// How many calls it answers so. Goes with `fail_from`. Default 0.
    pub fail_count: u32,
    /// Whether it knows a job again that its `journal` has, as an ESP with idempotency keys does: sent a second time, such
    /// a job is accepted and nothing is written. Needs `journal`. Default `false`.
    pub idempotent: bool,
}

impl Sandbox {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        let has = (section.has("fail_from"), section.has("fail_count"));
        let sandbox = Self {
            latency: section.duration("latency", LATENCY, Duration::ZERO..=LATENCY_MAX),
            journal: section.path("journal"),
            fail_from: section.optional_number("fail_from", 1..=u32::MAX),
            fail_count: section.number("fail_count", FAIL_COUNT, 1..=u32::MAX),
            idempotent: section.switch("idempotent", IDEMPOTENT),
        };
        if sandbox.idempotent && sandbox.journal.is_none() {
            section.fault("idempotent", "needs `journal`, by which it knows jobs again");
        }
        match has {
            (true, false) => section.fault("fail_count", "is required with fail_from"),
            (false, true) => section.fault("fail_from", "is required with fail_count"),
            (true, true) | (false, false) => {}
        }
        sandbox
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
