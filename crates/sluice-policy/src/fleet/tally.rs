//! What calls came to, by ESP and minute, for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SECOND_NS;

const MINUTE_NS: i64 = 60 * SECOND_NS;
/// Minutes that are kept, the current one included.
const MINUTES: i64 = 11;
/// More ESPs are not counted.
const ESPS_MAX: usize = 1_000;

/// Calls of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sends {
    /// The ESP.
    pub esp: String,
    /// The recipients' domain group.
    pub group: String,
    /// What came of them: `accepted`, else the category's word.
    pub word: String,
    /// Whether this counts as a deferral, or as a refusal of the recipient, for ramps.
    pub verdict: Verdict,
    /// How many.
    pub count: u64,
}

/// What calls mean to a ramp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken.
    Accepted,
    /// Put off, or refused for the recipient or by policy: what holds a ramp.
    Troubled,
    /// The ESP's own fault: says nothing of our standing.
    Other,
    /// Taken before, and reported as bounced or as spam since: no call.
    Returned,
}

/// Calls of one ESP by minute since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Tally {
    minutes: BTreeMap<i64, BTreeMap<String, u64>>,
}

/// Calls of one ESP lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TallyView {
    /// In the last whole minute, by word.
    pub last_minute: BTreeMap<String, u64>,
    /// In the ten minutes up to now, by word.
    pub last_ten_minutes: BTreeMap<String, u64>,
}

pub(super) fn count(tallies: &mut BTreeMap<String, Tally>, now_ns: i64, sends: &[Sends]) {
    let minute = now_ns.div_euclid(MINUTE_NS);
    for it in sends.iter().filter(|it| it.verdict != Verdict::Returned) {
        if !tallies.contains_key(&it.esp) && tallies.len() >= ESPS_MAX {
            continue;
        }
        let words = tallies.entry(it.esp.clone()).or_default().minutes.entry(minute).or_default();
        let seen = words.entry(it.word.clone()).or_default();
        *seen = seen.saturating_add(it.count);
    }
    for tally in tallies.values_mut() {
        tally.minutes.retain(|at, _| (minute - MINUTES..=minute).contains(at));
    }
    tallies.retain(|_, tally| !tally.minutes.is_empty());
}

pub(super) fn view(tallies: &BTreeMap<String, Tally>, now_ns: i64) -> BTreeMap<String, TallyView> {
    let minute = now_ns.div_euclid(MINUTE_NS);
    let of = |(esp, tally): (&String, &Tally)| {
        let mut view = TallyView {
            last_minute: tally.minutes.get(&(minute - 1)).cloned().unwrap_or_default(),
            ..TallyView::default()
        };
        for words in tally.minutes.range(minute - MINUTES + 2..).map(|(_, words)| words) {
            for (word, count) in words {
                *view.last_ten_minutes.entry(word.clone()).or_default() += count;
            }
        }
        (esp.clone(), view)
    };
    tallies.iter().map(of).collect()
}
