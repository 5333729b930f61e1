//! The oracle for limits: what a receiver counts.

use std::ops::Sub;

/// The largest number of `times` in any half-open window of length `span`, wherever it begins. Times are instants, or numbers
/// of some unit.
pub fn busiest_window<T>(times: impl IntoIterator<Item = T>, span: T::Output) -> usize
where
    T: Copy + Ord + Sub<T>,
    T::Output: PartialOrd,
{
    let mut times: Vec<T> = times.into_iter().collect();
    times.sort_unstable();
    let mut ahead = times.iter().peekable();
    let mut passed = 0;
    let mut busiest = 0;
    for (before, begin) in times.iter().enumerate() {
        while ahead.next_if(|time| **time - *begin < span).is_some() {
            passed += 1;
        }
        busiest = busiest.max(passed - before);
    }
    busiest
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_window_may_begin_anywhere_and_excludes_its_end() {
        let start = Instant::now();
        let check = |millis: &[u64], expected: usize| {
            let times = millis.iter().map(|ms| start + Duration::from_millis(*ms));
            assert_eq!(busiest_window(times, Duration::from_secs(1)), expected, "{millis:?}");
        };
        check(&[], 0);
        check(&[5], 1);
        check(&[0, 1000], 1);
        check(&[0, 999], 2);
        check(&[1949, 0, 900, 950, 1899, 1900], 4);
        check(&[0, 0, 0, 5000], 3);
    }
}
