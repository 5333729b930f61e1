//! Which faults a run has when nobody says so: every third run all of them, the others one fault each in turns.

use crate::faults::ALL;

/// Each so manieth run has all faults at once.
const MIXED_EVERY: u64 = 3;
/// What a run of all faults is called.
pub const MIXED: &str = "mixed";
/// So many runs in a row, from any seed, have each fault alone at least once.
pub const ROUND: u64 = 47;

/// The name of the fault that the run of `seed` has, or [`MIXED`].
#[must_use]
pub fn fault_of(seed: u64) -> &'static str {
    if seed.is_multiple_of(MIXED_EVERY) {
        return MIXED;
    }
    let place = usize::try_from(seed - seed / MIXED_EVERY).unwrap_or(0) % ALL.len();
    ALL.get(place).map_or(MIXED, |fault| fault.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_round_from_any_seed_has_each_fault_alone() {
        let every: BTreeSet<&str> = ALL.iter().map(|fault| fault.name).chain([MIXED]).collect();
        for first in [1, 2, 3, 4711, 6000] {
            let seen: BTreeSet<&str> = (first..first + ROUND).map(fault_of).collect();
            assert_eq!(seen, every, "from seed {first}");
        }
    }
}
