//! How large bodies are, and with that how many of them are held in memory at a time.

/// What the jobs that a lane has borrowed may take together, or those of a batch, in bytes. A job in work takes some four times its
/// body: as it came, parsed, rendered, and as a request.
const HELD_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Each body counts for this part of the mean: large ones are noticed before many have come, and a single one changes little.
const PART: u64 = 32;

/// The mean size of the last bodies, in steps of two: what follows from it seldom changes.
#[derive(Clone, Copy, Debug)]
pub struct BodySize {
    /// [`PART`] times the mean, in bytes.
    sum: u64,
    /// The mean is at most this, in bytes, and was above half of it, or has not fallen below a quarter since.
    step: u64,
}

impl Default for BodySize {
    fn default() -> Self {
        Self { sum: 0, step: 1 }
    }
}

impl BodySize {
    /// What is taken for the size of bodies, in bytes, until some have been seen.
    #[must_use]
    pub fn assumed(bytes: usize) -> Self {
        let mean = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut size = Self { sum: mean.saturating_mul(PART), ..Self::default() };
        size.seen(bytes);
        size
    }

    /// Takes in a body of `bytes`.
    pub fn seen(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.sum = (self.sum - self.sum / PART).saturating_add(bytes);
        let mean = self.sum / PART;
        if mean > self.step || mean < self.step / 4 {
            self.step = mean.max(1).checked_next_power_of_two().unwrap_or(u64::MAX);
        }
    }

    /// How many bodies of this size are held at most; never 0, which to a broker means "no bound".
    #[must_use]
    pub fn fit(&self) -> u16 {
        u16::try_from((HELD_MAX_BYTES / self.step).max(1)).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(bodies: impl IntoIterator<Item = usize>) -> BodySize {
        let mut size = BodySize::default();
        bodies.into_iter().for_each(|bytes| size.seen(bytes));
        size
    }

    #[test]
    fn as_many_fit_as_sixteen_mebibytes_hold() {
        for (bytes, fits) in [
            (0, u16::MAX),
            (1_500, 8_192),
            (16_384, 1_024),
            (20_000, 512),
            (262_144, 64),
            (16_777_216, 1),
            (1_000_000_000, 1),
            (usize::MAX, 1),
        ] {
            assert_eq!(of(std::iter::repeat_n(bytes, 400)).fit(), fits, "{bytes}");
        }
    }

    #[test]
    fn nothing_is_known_before_the_first() {
        assert_eq!(BodySize::default().fit(), u16::MAX);
    }

    #[test]
    fn what_was_assumed_is_forgotten() {
        let mut size = BodySize::assumed(65_536);
        assert_eq!(size.fit(), 256);
        (0..200).for_each(|_| size.seen(2_000));
        assert_eq!(size.fit(), 4_096);
    }

    #[test]
    fn large_ones_are_noticed_at_once() {
        assert_eq!(of([262_144]).fit(), 2_048);
        assert_eq!(of([262_144; 3]).fit(), 512);
        assert_eq!(of([262_144; 30]).fit(), 64);
        assert_eq!(of([1_000_000_000]).fit(), 1);
    }

    /// Each change of what is borrowed opens the consumer anew.
    #[test]
    fn sizes_that_differ_change_it_seldom() {
        let mut size = BodySize::default();
        let mut fits = Vec::new();
        for number in 0..10_000_u32 {
            size.seen(if number % 10 == 0 { 60_000 } else { 2_000 });
            fits.push(size.fit());
        }
        let settled = &fits[200..];
        assert_eq!(settled.windows(2).filter(|it| it[0] != it[1]).count(), 0, "{:?}", &settled[..20]);
        (0..400).for_each(|_| size.seen(2_000));
        assert_eq!(size.fit(), 4_096, "it forgets");
    }

    proptest! {
        #[test]
        fn bodies_of_the_mean_size_stay_within_the_bound(bodies in prop::collection::vec(0..2_000_000usize, 1..200)) {
            let size = of(bodies);
            prop_assert!(size.fit() >= 1);
            let mean = size.sum / PART;
            prop_assert!(u64::from(size.fit()) * mean <= HELD_MAX_BYTES);
            // And no less than a quarter of it is used.
            prop_assert!(size.fit() == u16::MAX || 4 * u64::from(size.fit()) * mean >= HELD_MAX_BYTES);
        }
    }
}
