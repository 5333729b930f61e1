//! Breakers over the fleet: what one replica finds holds for all, and probes are granted by the store, so that a fleet
//! sends no more of them than one replica would.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SECOND_NS;

/// A probe that has not reported for so long is written off, or for longer where the wish says so.
const PROBE_LOST_AFTER_NS: i64 = 60 * SECOND_NS;
/// A closed breaker that has not turned for so long is forgotten, and the next open time begins small again.
const FORGOTTEN_AFTER_NS: i64 = 3600 * SECOND_NS;
/// More breakers are not kept.
const BREAKERS_MAX: usize = 1_000;

/// How a breaker turned on one replica.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerTurn {
    /// The ESP.
    pub esp: String,
    /// What happened.
    pub turn: Turn,
}

/// What happened to a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It opened: its window was bad, or a probe failed.
    Opened {
        /// For how long, jitter included.
        for_ns: i64,
        /// How many times in a row, this one included.
        trips: u32,
    },
    /// A granted probe was answered.
    ProbeAnswered {
        /// Late.
        slow: bool,
        /// How long its call took.
        took_ns: i64,
        /// How many must be answered to close it.
        needed: u32,
        /// The share of slow ones at which it opens again.
        slow_rate_permille: u32,
        /// How long it opens for then, jitter included.
        reopen_for_ns: i64,
    },
    /// A granted probe did not come to a call.
    ProbeReturned,
}

/// A wish for probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeWish {
    /// The ESP.
    pub esp: String,
    /// How many must be answered to close the breaker; so many are under way at most.
    pub needed: u32,
    /// How many this replica could make now.
    pub count: u32,
    /// A probe that has not reported for so long is surely over: longer than a call to the ESP may take. Less than a minute
    /// counts as a minute.
    pub lost_after_ns: i64,
}

/// A breaker as kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Row {
    /// What an operator has ordered: `true` open, `false` closed.
    order: Option<bool>,
    /// `None` while closed.
    open_until_ns: Option<i64>,
    /// For how long it was opened at the most, so that a clock which steps back does not hold it open for longer; 0: not known.
    open_for_ns: i64,
    trips: u32,
    /// Probes under way: who has them, and since when.
    probes: Vec<(String, i64)>,
    answered: u32,
    slow: u32,
    turned_ns: i64,
}

/// A breaker, for a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetBreaker {
    /// What an operator has ordered: `true` open, `false` closed.
    pub order: Option<bool>,
    /// While open: how long still. Zero: half open.
    pub open_for_ns: Option<i64>,
    /// How many times in a row it has opened.
    pub trips: u32,
    /// Since it last turned.
    pub turned_ago_ns: i64,
    /// Probes granted to the asker by this exchange.
    pub granted: u32,
    /// Probes under way over the fleet.
    pub probing: u32,
}

type Rows = BTreeMap<String, Row>;

fn row<'a>(rows: &'a mut Rows, esp: &str) -> Option<&'a mut Row> {
    if !rows.contains_key(esp) && rows.len() >= BREAKERS_MAX {
        return None;
    }
    Some(rows.entry(esp.to_owned()).or_default())
}

pub(super) fn turned(rows: &mut Rows, now_ns: i64, replica: &str, turns: &[BreakerTurn]) {
    rows.values_mut().for_each(|row| row.heed_clock(now_ns));
    for BreakerTurn { esp, turn } in turns {
        if let Some(row) = row(rows, esp) {
            row.take(now_ns, replica, *turn);
        }
    }
    rows.retain(|_, row| {
        row.order.is_some() || row.open_until_ns.is_some() || now_ns - row.turned_ns < FORGOTTEN_AFTER_NS
    });
}

impl Row {
    /// When it lets probes through; `None` while closed.
    fn open_until(&self, now_ns: i64) -> Option<i64> {
        let most_ns = match self.open_for_ns {
            0 => i64::MAX,
            open_for_ns => now_ns.saturating_add(open_for_ns),
        };
        self.open_until_ns.map(|until_ns| until_ns.min(most_ns))
    }

    /// Nothing lies further ahead than it can: the clock may have stepped back.
    fn heed_clock(&mut self, now_ns: i64) {
        self.open_until_ns = self.open_until(now_ns);
        self.probes.iter_mut().for_each(|(_, at)| *at = now_ns.min(*at));
    }

    fn take(&mut self, now_ns: i64, replica: &str, turn: Turn) {
        let held = self.probes.iter().position(|(name, _)| name == replica);
        match turn {
            Turn::Opened { for_ns, trips } => {
                // The probe that failed.
                held.map(|held| self.probes.remove(held));
                let until_ns = now_ns.saturating_add(for_ns.max(0));
                match self.open_until_ns {
                    // Another replica found the same: the longer time holds, and it counts once.
                    Some(known) if known > now_ns => {
                        let until_ns = known.max(until_ns);
                        self.open_until_ns = Some(until_ns);
                        self.open_for_ns = self.open_for_ns.max(until_ns - now_ns);
                    }
                    // A probing that failed.
                    Some(_) => self.open(now_ns, until_ns, self.trips.saturating_add(1).max(trips)),
                    // Whoever opens it knows whether all was well since the last time.
                    None => self.open(now_ns, until_ns, trips.max(1)),
                }
            }
            Turn::ProbeAnswered { slow, took_ns, needed, slow_rate_permille, reopen_for_ns } => {
                // One of an earlier round tells nothing of this one.
                let of_this_round = now_ns.saturating_sub(took_ns) >= self.turned_ns;
                let half_open = of_this_round && self.open_until_ns.is_some_and(|until| until <= now_ns);
                let Some(held) = held else { return };
                self.probes.remove(held);
                if !half_open {
                    return;
                }
                self.answered += 1;
                self.slow += u32::from(slow);
                if self.answered < needed.max(1) {
                    return;
                }
                let too_slow = self.slow > 0
                    && u64::from(self.slow) * 1000
                        >= u64::from(slow_rate_permille) * u64::from(self.answered);
                if too_slow {
                    self.open(
                        now_ns,
                        now_ns.saturating_add(reopen_for_ns.max(0)),
                        self.trips.saturating_add(1),
                    );
                } else {
                    self.close(now_ns);
                }
            }
            Turn::ProbeReturned => {
                if let Some(held) = held {
                    self.probes.remove(held);
                }
            }
        }
    }

    /// Probes that are under way still count as such until they end.
    fn open(&mut self, now_ns: i64, until_ns: i64, trips: u32) {
        self.open_until_ns = Some(until_ns);
        self.open_for_ns = (until_ns - now_ns).max(1);
        self.trips = trips.min(64);
        (self.answered, self.slow, self.turned_ns) = (0, 0, now_ns);
    }

    fn close(&mut self, now_ns: i64) {
        (self.open_until_ns, self.open_for_ns) = (None, 0);
        (self.answered, self.slow, self.turned_ns) = (0, 0, now_ns);
        self.probes.clear();
    }
}

pub(super) fn grant(
    rows: &mut Rows,
    now_ns: i64,
    replica: &str,
    wishes: &[ProbeWish],
) -> BTreeMap<String, u32> {
    let mut granted = BTreeMap::new();
    for wish in wishes {
        let Some(row) = rows.get_mut(&wish.esp) else { continue };
        let half_open = row.order.is_none() && row.open_until_ns.is_some_and(|until| until <= now_ns);
        if !half_open {
            continue;
        }
        let lost_after_ns = wish.lost_after_ns.max(PROBE_LOST_AFTER_NS);
        row.probes.retain(|(_, at)| now_ns - at < lost_after_ns);
        let under_way = u32::try_from(row.probes.len()).unwrap_or(u32::MAX);
        let count = wish.count.min(wish.needed.max(1).saturating_sub(row.answered).saturating_sub(under_way));
        row.probes.extend((0..count).map(|_| (replica.to_owned(), now_ns)));
        if count > 0 {
            granted.insert(wish.esp.clone(), count);
        }
    }
    granted
}

pub(super) fn leave(rows: &mut Rows, replica: &str) {
    for row in rows.values_mut() {
        row.probes.retain(|(name, _)| name != replica);
    }
}

pub(super) fn order(rows: &mut Rows, now_ns: i64, esp: String, open: Option<bool>) {
    let Some(row) = row(rows, &esp) else { return };
    let was = std::mem::replace(&mut row.order, open);
    match (was, open) {
        // From open it goes on with probes, from closed with a clean slate.
        (Some(true), None) => row.open(now_ns, now_ns, row.trips.saturating_add(1)),
        (Some(false), None) | (_, Some(false)) => {
            row.close(now_ns);
            row.trips = 0;
        }
        (_, Some(true)) => row.turned_ns = now_ns,
        (None, None) => {}
    }
}

pub(super) fn view(
    rows: &Rows,
    now_ns: i64,
    granted: &BTreeMap<String, u32>,
) -> BTreeMap<String, FleetBreaker> {
    let of = |(esp, row): (&String, &Row)| {
        let view = FleetBreaker {
            order: row.order,
            open_for_ns: row.open_until(now_ns).map(|until| (until - now_ns).max(0)),
            trips: row.trips,
            turned_ago_ns: (now_ns - row.turned_ns).max(0),
            granted: granted.get(esp).copied().unwrap_or(0),
            probing: u32::try_from(row.probes.len()).unwrap_or(u32::MAX),
        };
        (esp.clone(), view)
    };
    rows.iter().map(of).collect()
}
