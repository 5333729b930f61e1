//! How many jobs one round over the lines releases at most, whatever the number of lines, and in what parts: those of one are in
//! memory, and locked in one transaction, until the broker has them.

use sluice_policy::ReleaseWish;

/// Free jobs of one round, and as many under limits.
const JOBS_MAX: u32 = 10_000;
/// Jobs that go at a time, unless one line alone has more.
const PART_MAX: u32 = 1_000;

/// The counts in parts.
pub(super) fn parts(counts: Vec<(String, u32)>) -> Vec<Vec<(String, u32)>> {
    let (mut parts, mut jobs) = (Vec::<Vec<_>>::new(), 0_u32);
    for (key, count) in counts {
        jobs = jobs.saturating_add(count);
        match parts.last_mut() {
            Some(part) if jobs <= PART_MAX => part.push((key, count)),
            Some(_) | None => {
                jobs = count;
                parts.push(vec![(key, count)]);
            }
        }
    }
    parts
}

/// Cuts the counts of free lines.
pub(super) fn cut_counts(counts: &mut [(String, u32)]) {
    let level = level(counts.iter().map(|(_, count)| *count).collect(), JOBS_MAX);
    counts.iter_mut().for_each(|(_, count)| *count = (*count).min(level));
}

/// Cuts the counts of lines under limits, of which no more go than slots open.
pub(super) fn cut_wishes(wishes: &mut [ReleaseWish]) {
    let could_go = |wish: &ReleaseWish| wish.count.min(wish.opening.within(wish.ahead_ns));
    let level = level(wishes.iter().map(could_go).collect(), JOBS_MAX);
    wishes.iter_mut().for_each(|wish| wish.count = wish.count.min(level));
}

/// The highest level to which all of these can be cut so that together they are no more than `most`: those below it leave
/// their part to the others. At least 1.
fn level(mut counts: Vec<u32>, most: u32) -> u32 {
    counts.sort_unstable();
    let (mut left, mut others) = (u64::from(most), u64::try_from(counts.len()).unwrap_or(u64::MAX));
    for count in counts {
        let even = left / others.max(1);
        if u64::from(count) > even {
            return u32::try_from(even).unwrap_or(u32::MAX).max(1);
        }
        left -= u64::from(count);
        others -= 1;
    }
    u32::MAX
}

#[cfg(test)]
mod tests {
    use sluice_policy::Opening;

    use super::*;

    const MS_NS: i64 = 1_000_000;

    #[test]
    fn the_largest_are_cut_to_what_the_others_leave() {
        assert_eq!(level(vec![500, 1, 7, 500], 208), 100);
        assert_eq!(level(vec![500, 500], 1000), u32::MAX);
        assert_eq!(level(vec![9; 5], 3), 1);
        assert_eq!(level(Vec::new(), 3), u32::MAX);
        let mut counts: Vec<_> = (0..1000).map(|i| (format!("tenant:t{i}/per:s"), 500)).collect();
        cut_counts(&mut counts);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u32>(), JOBS_MAX);
    }

    #[test]
    fn a_round_goes_in_parts_of_a_thousand_jobs() {
        let counts: Vec<_> =
            [500, 500, 1, 999, 1500, 2].iter().map(|count| (count.to_string(), *count)).collect();
        let parted = parts(counts.clone());
        let sizes: Vec<Vec<u32>> =
            parted.iter().map(|part| part.iter().map(|(_, count)| *count).collect()).collect();
        assert_eq!(sizes, [vec![500, 500], vec![1, 999], vec![1500], vec![2]]);
        assert_eq!(parted.concat(), counts);
        assert!(parts(Vec::new()).is_empty());
    }

    #[test]
    fn lines_of_slow_limits_leave_their_part_to_fast_ones() {
        let wish = |opening| ReleaseWish {
            key: "tenant:acme/per:s".to_owned(),
            count: 500,
            ahead_ns: 5_000 * MS_NS,
            opening,
            beside: None,
        };
        let slow = Opening::Spaced { next_in_ns: 0, spacing_ns: 5_000 * MS_NS };
        let fast = Opening::Spaced { next_in_ns: 100 * MS_NS, spacing_ns: 10 * MS_NS };
        let mut wishes = vec![wish(slow); 1900];
        wishes.extend(vec![wish(Opening::Spaced { next_in_ns: 6_000 * MS_NS, spacing_ns: 1 }); 50]);
        wishes.extend(vec![wish(Opening::Counted { left: 3 }); 50]);
        wishes.extend(vec![wish(fast); 10]);
        cut_wishes(&mut wishes);
        assert_eq!(wishes.last().map(|wish| wish.count), Some(500), "there is room for all that open");
        wishes.extend(vec![wish(fast); 90]);
        cut_wishes(&mut wishes);
        assert!(
            wishes.iter().map(|it| it.count.min(it.opening.within(it.ahead_ns))).sum::<u32>() <= JOBS_MAX
        );
        assert!(wishes.last().is_some_and(|wish| wish.count > 50));
    }
}
