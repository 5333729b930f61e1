//! How long to wait before the next attempt to connect: exponential with jitter.
//!
//! The only module that knows the `backoff` crate.

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

/// The first delay, before jitter.
const FIRST: Duration = Duration::from_millis(200);
/// No delay is longer.
const LONGEST: Duration = Duration::from_secs(30);
/// Share of a delay by which it may be shorter or longer.
const JITTER: f64 = 0.5;

/// Delays between attempts to connect. Endless.
#[derive(Debug)]
pub(crate) struct ReconnectDelay(ExponentialBackoff);

impl ReconnectDelay {
    pub(crate) fn new() -> Self {
        Self(
            ExponentialBackoffBuilder::new()
                .with_initial_interval(FIRST)
                .with_multiplier(2.0)
                .with_randomization_factor(JITTER)
                .with_max_interval(LONGEST)
                .with_max_elapsed_time(None)
                .build(),
        )
    }

    /// The delay before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(LONGEST).min(LONGEST)
    }

    /// A connection has held: the next delay is the first again.
    pub(crate) fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_longest_and_start_anew_after_a_reset() {
        let mut delay = ReconnectDelay::new();
        assert!(delay.next() <= FIRST.mul_f64(1.0 + JITTER) + Duration::from_millis(1));
        let later: Vec<_> = (0..40).map(|_| delay.next()).collect();
        assert!(later.iter().all(|wait| *wait <= LONGEST));
        assert!(later.iter().skip(10).all(|wait| *wait >= LONGEST.mul_f64(1.0 - JITTER)));
        delay.reset();
        assert!(delay.next() <= FIRST.mul_f64(1.0 + JITTER) + Duration::from_millis(1));
    }
}
