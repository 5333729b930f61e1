//! How many jobs one round over the lines releases at most, whatever the number of lines, and in what parts: those of one are in
//! memory, and locked in one transaction, until the broker has them.

use sluice_policy::ReleaseWish;

/// Free jobs of one round, and as many under limits.
const JOBS_MAX: u32 = 10_000;

/// The counts in parts of at most so many jobs; at least 1.
pub(super) fn parts(counts: Vec<(String, u32)>, most: u32) -> Vec<Vec<(String, u32)>> {
    let (mut parts, mut part, mut room) = (Vec::new(), Vec::new(), most.max(1));
    for (key, mut count) in counts {
        while count > 0 {
            let taken = count.min(room);
            part.push((key.clone(), taken));
            (count, room) = (count - taken, room - taken);
            if room == 0 {
                parts.push(std::mem::take(&mut part));
                room = most.max(1);
            }
        }
    }
    if !part.is_empty() {
        parts.push(part);
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
    fn a_round_goes_in_parts() {
        let counts = |counts: &[u32]| counts.iter().map(|count| (count.to_string(), *count)).collect();
        let sizes = |parts: Vec<Vec<(String, u32)>>| -> Vec<Vec<u32>> {
            parts.iter().map(|part| part.iter().map(|(_, count)| *count).collect()).collect()
        };
        let parted = parts(counts(&[500, 500, 1, 999, 1500, 0, 2]), 1_000);
        assert_eq!(sizes(parted.clone()), [vec![500, 500], vec![1, 999], vec![1000], vec![500, 2]]);
        let of_one: u32 =
            parted.concat().iter().filter(|(key, _)| key == "1500").map(|(_, count)| count).sum();
        assert_eq!(of_one, 1_500);
        assert_eq!(sizes(parts(counts(&[3]), 0)), [[1]; 3]);
        assert!(parts(Vec::new(), 1_000).is_empty());
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
