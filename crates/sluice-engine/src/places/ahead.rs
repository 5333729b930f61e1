//! How many jobs may be in a claim beside those who call: twice as many as calls end while one is written. Without them the places of
//! an account with few would be empty for as long as a claim takes, after each call. Twice, as claims come back many at a time, and
//! places would be empty until the next ones come.

use std::time::Duration;

use super::call_time::MeanTime;

/// So many times as many as calls end while a claim is written.
const LUMPS: u64 = 2;
/// So many times as many as may call, at most. More: fuller places where a claim takes longer than so many calls, and more jobs in
/// doubt after a kill.
const TIMES_MAX: u64 = 4;
/// And so many in all.
const AHEAD_MAX: u64 = 1 << 16;

/// How long the claims of an account's jobs take.
#[derive(Debug, Default)]
pub(super) struct Ahead(MeanTime);

impl Ahead {
    /// A claim took so long.
    pub(super) fn claimed(&self, took: Duration) {
        self.0.note(took);
    }

    /// How many may be claimed beside `count` calls that take so long; none before both are known.
    pub(super) fn beside(&self, count: u32, call: &MeanTime) -> u64 {
        let (claim, call, count) = (self.0.nanos(), call.nanos(), u64::from(count));
        if call == 0 {
            return 0;
        }
        (claim.saturating_mul(count * LUMPS) / call).min(count * TIMES_MAX).min(AHEAD_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_as_many_are_claimed_as_calls_end_meanwhile() {
        let ms = Duration::from_millis;
        for (claim, call, expected) in [
            (None, Some(ms(100)), 0),
            (Some(ms(10)), None, 0),
            (Some(ms(10)), Some(ms(200)), 1),
            (Some(ms(10)), Some(ms(201)), 0),
            (Some(ms(10)), Some(ms(5)), 40),
            (Some(ms(10)), Some(ms(6)), 33),
            (Some(ms(10)), Some(ms(1)), 40),
            (Some(Duration::MAX), Some(ms(1)), 40),
        ] {
            let (ahead, calls) = (Ahead::default(), MeanTime::default());
            claim.into_iter().for_each(|took| ahead.claimed(took));
            if let Some(took) = call {
                calls.note(took);
            }
            assert_eq!(ahead.beside(10, &calls), expected, "{claim:?} {call:?}");
        }
    }
}
