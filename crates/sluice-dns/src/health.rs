//! Whether the name servers answer at all.

use std::time::Duration;

use sluice_types::Tick;

/// Lookups in a row without an answer after which the name servers count as away.
const UNANSWERED_MAX: u32 = 5;
/// While they are away, one lookup is tried this often.
const TRIAL_EVERY: Duration = Duration::from_secs(10);

/// Counts lookups without an answer, and lets only trials through while the name servers are away.
#[derive(Debug, Default)]
pub(crate) struct Health {
    unanswered: u32,
    /// Set while away: when the next trial may go.
    trial_at: Option<Tick>,
}

/// What a lookup's end has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The name servers count as away from now on.
    Away,
    /// They answer again.
    Back,
}

impl Health {
    /// Whether a lookup may be made now. A `true` while away is the one trial of its period.
    pub(crate) fn admits(&mut self, now: Tick) -> bool {
        match self.trial_at {
            None => true,
            Some(at) if at <= now => {
                self.trial_at = Some(now + TRIAL_EVERY);
                true
            }
            Some(_) => false,
        }
    }

    /// A lookup was answered, whatever the answer says.
    pub(crate) fn answered(&mut self) -> Change {
        self.unanswered = 0;
        if self.trial_at.take().is_some() { Change::Back } else { Change::None }
    }

    /// A lookup was not answered in time, and nothing else either.
    pub(crate) fn not_answered(&mut self, now: Tick) -> Change {
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered < UNANSWERED_MAX || self.trial_at.is_some() {
            return Change::None;
        }
        self.trial_at = Some(now + TRIAL_EVERY);
        Change::Away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::ZERO + Duration::from_secs(seconds)
    }

    fn away_since_zero() -> Health {
        let mut health = Health::default();
        for _ in 1..UNANSWERED_MAX {
            assert_eq!(health.not_answered(at(0)), Change::None);
            assert!(health.admits(at(0)));
        }
        assert_eq!(health.not_answered(at(0)), Change::Away);
        health
    }

    #[test]
    fn an_answer_in_between_starts_the_count_again() {
        let mut health = Health::default();
        for _ in 0..3 * UNANSWERED_MAX {
            for _ in 1..UNANSWERED_MAX {
                assert_eq!(health.not_answered(at(0)), Change::None);
            }
            assert_eq!(health.answered(), Change::None);
        }
        assert!(health.admits(at(0)));
    }

    #[test]
    fn away_lets_one_trial_through_in_each_period() {
        let mut health = away_since_zero();
        assert!(!health.admits(at(9)));
        for start in [10, 20, 35] {
            assert!(health.admits(at(start)), "{start}");
            assert!(!health.admits(at(start)), "{start}");
            assert_eq!(health.not_answered(at(start + 1)), Change::None);
            assert!(!health.admits(at(start + 9)), "{start}");
        }
    }

    #[test]
    fn one_answer_ends_away() {
        let mut health = away_since_zero();
        assert_eq!(health.answered(), Change::Back);
        assert!(health.admits(at(0)));
        assert_eq!(health.not_answered(at(0)), Change::None);
    }
}
