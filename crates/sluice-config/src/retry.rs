//! `[retry]`: when a deferred job is tried again, by class.

use std::time::Duration;

use schemars::JsonSchema;
use sluice_types::Class;

use crate::duration::DurationText;
use crate::reader::{self, Section};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TRANSACTIONAL: RetrySchedule =
    RetrySchedule { initial: Duration::from_secs(1), max: Duration::from_secs(600), give_up_after: HOUR };
const BULK: RetrySchedule =
    RetrySchedule { initial: MINUTE, max: Duration::from_secs(4 * 3600), give_up_after: DAY };
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = DAY;
const GIVE_UP_MIN: Duration = Duration::from_secs(1);
const GIVE_UP_MAX: Duration = Duration::from_secs(14 * 24 * 3600);

/// When one class is tried again. The ESP's own hint wins over it, and a job's `expires_at` over both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct RetrySchedule {
    /// Upper end of the first delay; it doubles with every attempt, and the delay is drawn evenly from zero up to it. 100ms
    /// to 1d, default 1s for transactional and 1min for bulk. More: a short hiccup delays mail for longer. Less: an ESP in
    /// trouble is asked again sooner.
    #[schemars(with = "Option<DurationText>")]
    pub initial: Duration,
    /// Where the doubling ends, `initial` to 1d, default 10min for transactional and 4h for bulk. More: jobs come back long
    /// after the trouble has ended. Less: more attempts in a long outage.
    #[schemars(with = "Option<DurationText>")]
    pub max: Duration,
    /// How long after the first attempt a job is given up, `max` to 14d, default 1h for transactional and 1d for bulk. More:
    /// mail arrives that nobody waits for any more. Less: a long outage loses mail.
    #[schemars(with = "Option<DurationText>")]
    pub give_up_after: Duration,
}

impl RetrySchedule {
    fn read(section: &mut Section<'_, '_>, default: Self) -> Self {
        let schedule = Self {
            initial: section.duration("initial", default.initial, DELAY_MIN..=DELAY_MAX),
            max: section.duration("max", default.max, DELAY_MIN..=DELAY_MAX),
            give_up_after: section.duration(
                "give_up_after",
                default.give_up_after,
                GIVE_UP_MIN..=GIVE_UP_MAX,
            ),
        };
        if schedule.max < schedule.initial {
            let initial = DurationText(schedule.initial);
            section.fault("max", format_args!("must not be shorter than initial ({initial})"));
        }
        if schedule.give_up_after < schedule.max {
            let max = DurationText(schedule.max);
            section.fault("give_up_after", format_args!("must not be shorter than max ({max})"));
        }
        schedule
    }
}

/// `[retry]`: when a deferred job is tried again, by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Retry {
    /// `[retry.transactional]`: somebody waits for these, so tried again soon and given up early.
    pub transactional: RetrySchedule,
    /// `[retry.bulk]`: tried again slowly and for long.
    pub bulk: RetrySchedule,
}

impl Retry {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            transactional: section
                .section("transactional", |section| RetrySchedule::read(section, TRANSACTIONAL)),
            bulk: section.section("bulk", |section| RetrySchedule::read(section, BULK)),
        }
    }

    /// The schedule of one class.
    #[must_use]
    pub const fn of(&self, class: Class) -> RetrySchedule {
        match class {
            Class::Transactional => self.transactional,
            Class::Bulk => self.bulk,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
