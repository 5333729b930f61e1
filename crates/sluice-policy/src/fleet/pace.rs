//! How many parked jobs may go: as many as slots of their limit will open within the next look-ahead, and no more than
//! once, however many relays ask.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::SECOND_NS;

/// Keys that nobody has asked for lately are forgotten.
const FORGOTTEN_AFTER_NS: i64 = 120 * SECOND_NS;
/// Relays that have jobs waiting ask at least so often.
const LATELY_NS: i64 = 3 * SECOND_NS;
/// More keys are not kept: those that hold nothing make room for others, and what waits under the rest is released then.
const KEYS_MAX: usize = 5_000;

/// A limit under which jobs are parked.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseWish {
    /// Its key.
    pub key: String,
    /// How many the relay would publish now.
    pub count: u32,
    /// How far it looks ahead: jobs are held so long.
    pub ahead_ns: i64,
    /// When its slots open, as the limit's own state says.
    pub opening: Opening,
    /// Another key whose releases use the same slots.
    pub beside: Option<String>,
}

/// When slots of a limit open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The first that nobody has leased, and those after it at this distance.
    Spaced {
        /// From now to the first.
        next_in_ns: i64,
        /// From one to the next.
        spacing_ns: i64,
    },
    /// So many at once, or none.
    Counted {
        /// How many.
        left: u32,
    },
}

impl Opening {
    /// How many slots open within so long.
    #[must_use]
    pub fn within(self, ahead_ns: i64) -> u32 {
        match self {
            Self::Counted { left } => left,
            Self::Spaced { next_in_ns, .. } if next_in_ns > ahead_ns => 0,
            Self::Spaced { next_in_ns, spacing_ns } => {
                let slots = (ahead_ns - next_in_ns.max(0)) / spacing_ns.max(1) + 1;
                u32::try_from(slots).unwrap_or(u32::MAX)
            }
        }
    }
}

/// What was released under one key and is not used yet, as far as can be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Pace {
    /// Slots that open before this are spoken for.
    until_ns: i64,
    /// Released under a count, and not known to be used.
    released: u32,
    asked_ns: i64,
}

pub(super) fn grant(
    pace: &mut BTreeMap<String, Pace>,
    now_ns: i64,
    wishes: &[ReleaseWish],
) -> BTreeMap<String, u32> {
    let mut grants = BTreeMap::new();
    make_room(pace, now_ns, wishes);
    for wish in wishes {
        if !pace.contains_key(&wish.key) && pace.len() >= KEYS_MAX {
            continue;
        }
        let beside = wish.beside.as_ref().and_then(|key| pace.get(key)).cloned().unwrap_or_default();
        let count = pace.entry(wish.key.clone()).or_default().grant(now_ns, wish, &beside);
        if count > 0 {
            grants.insert(wish.key.clone(), count);
        }
    }
    grants
}

/// Forgets whom nobody has asked for the longest, of those whose slots are not spoken for any more.
fn make_room(pace: &mut BTreeMap<String, Pace>, now_ns: i64, wishes: &[ReleaseWish]) {
    if pace.len() + wishes.len() <= KEYS_MAX {
        return;
    }
    let wished: BTreeSet<&str> = wishes.iter().map(|wish| wish.key.as_str()).collect();
    let new = wished.iter().filter(|key| !pace.contains_key(**key)).count();
    let too_many = (pace.len() + new).saturating_sub(KEYS_MAX);
    let ahead_ns = wishes.iter().map(|wish| wish.ahead_ns.max(0)).max().unwrap_or(0);
    let is_idle = |it: &Pace| it.until_ns.min(it.asked_ns.saturating_add(2 * ahead_ns)) <= now_ns;
    let idle = pace.iter().filter(|(key, it)| is_idle(it) && !wished.contains(key.as_str()));
    let mut idle: Vec<(i64, String)> = idle.map(|(key, it)| (it.asked_ns, key.clone())).collect();
    idle.sort_unstable();
    for (_, key) in idle.iter().take(too_many) {
        pace.remove(key);
    }
}

pub(super) fn forget(pace: &mut BTreeMap<String, Pace>, now_ns: i64) {
    pace.retain(|_, pace| now_ns - pace.asked_ns < FORGOTTEN_AFTER_NS);
}

/// The keys under which jobs wait, as the relays have said lately.
pub(super) fn waiting(pace: &BTreeMap<String, Pace>, now_ns: i64) -> BTreeSet<String> {
    pace.iter().filter(|(_, pace)| now_ns - pace.asked_ns < LATELY_NS).map(|(key, _)| key.clone()).collect()
}

impl Pace {
    fn grant(&mut self, now_ns: i64, wish: &ReleaseWish, beside: &Self) -> u32 {
        let ahead_ns = wish.ahead_ns.max(0);
        // No clock that stepped back may hold a key up for longer than the look-ahead.
        self.until_ns = self.until_ns.min(now_ns.saturating_add(2 * ahead_ns));
        self.asked_ns = now_ns;
        match wish.opening {
            Opening::Spaced { next_in_ns, spacing_ns } => {
                let spacing_ns = spacing_ns.max(1);
                let spoken_for_ns =
                    self.until_ns.max(beside.until_ns.min(now_ns.saturating_add(2 * ahead_ns)));
                let base = spoken_for_ns.max(now_ns.saturating_add(next_in_ns.max(0)));
                let open = Opening::Spaced { next_in_ns: base.saturating_sub(now_ns), spacing_ns };
                let count = open.within(ahead_ns).min(wish.count);
                if count > 0 {
                    self.until_ns = base.saturating_add(i64::from(count).saturating_mul(spacing_ns));
                }
                count
            }
            Opening::Counted { left } => {
                if now_ns >= self.until_ns {
                    self.released = 0;
                }
                let others = if now_ns < beside.until_ns { beside.released } else { 0 };
                let count = wish.count.min(left.saturating_sub(self.released).saturating_sub(others));
                if count > 0 {
                    self.released = self.released.saturating_add(count);
                    self.until_ns = now_ns.saturating_add(ahead_ns);
                }
                count
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(key: &str, opening: Opening) -> ReleaseWish {
        ReleaseWish { key: key.to_owned(), count: 1, ahead_ns: 5 * SECOND_NS, opening, beside: None }
    }

    /// Nobody waits in the line of the one, whose jobs were released a moment ago and are not sent yet.
    #[test]
    fn two_keys_of_the_same_slots_release_each_slot_once() {
        let both = |opening, counts: [u32; 2]| {
            let of = |key: &str, other: &str, count| ReleaseWish {
                count,
                beside: Some(other.to_owned()),
                ..wish(key, opening)
            };
            [of("a", "a#b", counts[0]), of("a#b", "a", counts[1])]
        };
        let counted = Opening::Counted { left: 80 };
        let spaced = Opening::Spaced { next_in_ns: 0, spacing_ns: 5 * SECOND_NS / 79 };
        for opening in [counted, spaced] {
            let mut pace = BTreeMap::new();
            let granted =
                |counts, at, pace: &mut _| -> u32 { grant(pace, at, &both(opening, counts)).values().sum() };
            assert_eq!(granted([50, 100], 0, &mut pace), 80, "{opening:?}");
            assert_eq!(granted([0, 100], 1, &mut pace), 0, "{opening:?}");
            assert_eq!(granted([100, 0], 2, &mut pace), 0, "{opening:?}");
        }
    }

    fn keys(from: usize) -> impl Iterator<Item = String> {
        (from..).map(|n| format!("tenant:{n}/per:h"))
    }

    /// The first ones held their places as long as anybody asked for them, and two minutes longer.
    #[test]
    fn new_keys_take_the_places_of_those_that_hold_nothing() {
        let (mut pace, shut, open) =
            (BTreeMap::new(), Opening::Counted { left: 0 }, Opening::Counted { left: 1 });
        let first: Vec<_> = keys(0).take(KEYS_MAX).map(|key| wish(&key, shut)).collect();
        assert!(grant(&mut pace, 0, &first).is_empty());
        let next: Vec<_> = keys(KEYS_MAX).take(9).map(|key| wish(&key, open)).collect();
        assert_eq!(grant(&mut pace, SECOND_NS, &next).len(), 9);
        assert_eq!(pace.len(), KEYS_MAX);
        // What is wished for makes room for nobody.
        let both: Vec<_> = first.iter().chain(&next).cloned().collect();
        grant(&mut pace, 2 * SECOND_NS, &both);
        assert_eq!(grant(&mut pace, 3 * SECOND_NS, &next).len(), 0, "each slot once");
    }

    #[test]
    fn a_key_whose_slot_is_spoken_for_is_kept_as_long_as_that_may_be() {
        for open in [
            Opening::Counted { left: 1 },
            Opening::Spaced { next_in_ns: 0, spacing_ns: SECOND_NS },
            Opening::Spaced { next_in_ns: 0, spacing_ns: 3_600 * SECOND_NS },
        ] {
            let mut pace = BTreeMap::new();
            let first: Vec<_> = keys(0).take(KEYS_MAX).map(|key| wish(&key, open)).collect();
            assert_eq!(grant(&mut pace, 0, &first).len(), KEYS_MAX);
            let new = [wish("tenant:new/per:h", open)];
            assert!(grant(&mut pace, SECOND_NS / 2, &new).is_empty(), "{open:?}");
            assert!(!pace.contains_key("tenant:new/per:h"));
            assert_eq!(grant(&mut pace, 10 * SECOND_NS, &new).len(), 1, "{open:?}");
        }
    }
}
