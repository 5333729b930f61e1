//! `[breaker]`: when an ESP account is left alone for a while.

use std::time::Duration;

use schemars::JsonSchema;

use crate::duration::{self, DurationText};
use crate::reader::{self, Section};

const WINDOW: Duration = Duration::from_secs(60);
const FAILURE_RATE: f64 = 0.5;
const SLOW_RATE: f64 = 0.8;
const SLOW_AFTER: Duration = Duration::from_secs(10);
const MIN_CALLS: u32 = 20;
const MIN_CALLS_MAX: u32 = 100_000;
const OPEN: Duration = Duration::from_secs(5);
const OPEN_MAX: Duration = Duration::from_secs(300);
const PROBES: u32 = 3;
const PROBES_MAX: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// `[breaker]`: when an ESP account is left alone for a while. One setting for all accounts; only the ESP's own faults
/// count, never a bad recipient.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Breaker {
    /// The calls of this last span are looked at, 10s to 1h, default 60s. More: slower to open, and slower to forget. Less:
    /// a few bad calls weigh more.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub window: Duration,
    /// Share of failed calls that opens, above 0.0 up to 1.0, default 0.5. More: more jobs run into a failing ESP. Less: a
    /// bad minute takes the ESP out.
    pub failure_rate: f64,
    /// Share of slow calls that opens, above 0.0 up to 1.0, default 0.8; 1.0 opens only when every call is slow, in the window
    /// or of the last `min_calls`.
    /// More: jobs pile up behind a slow ESP. Less: a busy hour takes it out.
    pub slow_rate: f64,
    /// A call that takes longer than this is slow, 100ms to 1h, default 10s. More: a slow ESP keeps its share of the
    /// traffic. Less: a healthy ESP that takes its time counts as slow.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub slow_after: Duration,
    /// Calls in the window before the shares mean anything, 1 to 100000, default 20; so many failures or slow calls in a row open
    /// it too, whatever the shares, and an ESP that falls silent, or fails call after call, has no more than so many calls of a
    /// replica at stake. More: an ESP with little traffic never opens. Less: two unlucky calls may open it.
    pub min_calls: u32,
    /// How long it stays open the first time; doubles with every failed probing. 1s to `open_max`, default 5s. More: a short
    /// fault costs more. Less: a dead ESP is asked more often.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub open: Duration,
    /// Where the doubling ends, up to 1h, default 5min. More: a repaired ESP is noticed later.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub open_max: Duration,
    /// Calls let through to find out whether it works again, over all replicas, 1 to 100, default 3. More: more jobs are
    /// risked. Less: one lucky call closes it.
    pub probes: u32,
}

impl Breaker {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        let breaker = Self {
            window: section.duration("window", WINDOW, Duration::from_secs(10)..=HOUR),
            failure_rate: section.share("failure_rate", FAILURE_RATE),
            slow_rate: section.share("slow_rate", SLOW_RATE),
            slow_after: section.duration("slow_after", SLOW_AFTER, Duration::from_millis(100)..=HOUR),
            min_calls: section.number("min_calls", MIN_CALLS, 1..=MIN_CALLS_MAX),
            open: section.duration("open", OPEN, SECOND..=HOUR),
            open_max: section.duration("open_max", OPEN_MAX, SECOND..=HOUR),
            probes: section.number("probes", PROBES, 1..=PROBES_MAX),
        };
        if breaker.open > breaker.open_max {
            let open_max = DurationText(breaker.open_max);
            section.fault("open", format_args!("must not be longer than open_max ({open_max})"));
        }
        breaker
    }
}

impl Default for Breaker {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
