//! How many parked jobs may go: as many as slots of their limit will open within the next look-ahead, and no more than
//! once, however many relays ask.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::SECOND_NS;

/// Keys that nobody has asked for lately are forgotten.
const FORGOTTEN_AFTER_NS: i64 = 120 * SECOND_NS;
/// Relays that have jobs waiting ask at least so often.
const LATELY_NS: i64 = 3 * SECOND_NS;
/// More keys are not kept; what waits under the rest is released when others are done.
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
    for wish in wishes {
        if !pace.contains_key(&wish.key) && pace.len() >= KEYS_MAX {
            continue;
        }
        let count = pace.entry(wish.key.clone()).or_default().grant(now_ns, wish);
        if count > 0 {
            grants.insert(wish.key.clone(), count);
        }
    }
    grants
}

pub(super) fn forget(pace: &mut BTreeMap<String, Pace>, now_ns: i64) {
    pace.retain(|_, pace| now_ns - pace.asked_ns < FORGOTTEN_AFTER_NS);
}

/// The keys under which jobs wait, as the relays have said lately.
pub(super) fn waiting(pace: &BTreeMap<String, Pace>, now_ns: i64) -> BTreeSet<String> {
    pace.iter().filter(|(_, pace)| now_ns - pace.asked_ns < LATELY_NS).map(|(key, _)| key.clone()).collect()
}

impl Pace {
    fn grant(&mut self, now_ns: i64, wish: &ReleaseWish) -> u32 {
        let ahead_ns = wish.ahead_ns.max(0);
        // No clock that stepped back may hold a key up for longer than the look-ahead.
        self.until_ns = self.until_ns.min(now_ns.saturating_add(2 * ahead_ns));
        self.asked_ns = now_ns;
        match wish.opening {
            Opening::Spaced { next_in_ns, spacing_ns } => {
                let spacing_ns = spacing_ns.max(1);
                let base = self.until_ns.max(now_ns.saturating_add(next_in_ns.max(0)));
                let end = now_ns.saturating_add(ahead_ns);
                if base > end {
                    return 0;
                }
                let opening = (end - base) / spacing_ns + 1;
                let count = opening.min(i64::from(wish.count));
                self.until_ns = base.saturating_add(count.saturating_mul(spacing_ns));
                u32::try_from(count).unwrap_or(0)
            }
            Opening::Counted { left } => {
                if now_ns >= self.until_ns {
                    self.released = 0;
                }
                let count = wish.count.min(left.saturating_sub(self.released));
                if count > 0 {
                    self.released = self.released.saturating_add(count);
                    self.until_ns = now_ns.saturating_add(ahead_ns);
                }
                count
            }
        }
    }
}
