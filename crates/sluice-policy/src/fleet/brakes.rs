//! The softer brake: a reply that asks us to slow down halves the rate of its scope for the whole fleet, and the rate
//! comes back slowly (additive increase, multiplicative decrease).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SECOND_NS;

/// Replies within this time of the last cut belong to the same occasion.
const PAUSE_NS: i64 = 5 * SECOND_NS;
/// The rate is never cut below this share.
const LEAST: f64 = 1.0 / 64.0;
/// Longest time that a reply can shut a scope for.
const HOLD_MAX_NS: i64 = 24 * 3600 * SECOND_NS;
/// One message a minute.
const RATE_LEAST: f64 = 1.0 / 60.0;
/// More brakes are not kept.
const BRAKES_MAX: usize = 5_000;

/// A reply that asks us to slow down.
#[derive(Clone, Debug, PartialEq)]
pub struct Throttle {
    /// `esp:NAME`, `esp:NAME/group:NAME` or `domain:NAME`: what the reply concerns.
    pub scope: String,
    /// Whether the rate is to be cut; else only the hold counts (an ESP that says itself when it goes on).
    pub cut: bool,
    /// How long the reply wants nothing at all, where it says so.
    pub hold_ns: i64,
    /// Messages per second that the fleet sent there, as far as the replica knows; the base for a scope without a limit.
    pub rate: f64,
    /// From a full stop back to the full rate.
    pub recover_ns: i64,
}

/// A brake as kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Brake {
    /// Share of the rate at `cut_ns`, or while it is held.
    factor: f64,
    cut_ns: i64,
    recover_ns: i64,
    hold_until_ns: i64,
    rate: f64,
}

/// A brake that is on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrakeView {
    /// Share of its rate that the scope may use, above 0.0 up to 1.0.
    pub factor: f64,
    /// Messages per second before the brake, for a scope without a limit; at least 1/60.
    pub rate: f64,
    /// Nothing at all for so long.
    pub hold_ns: i64,
    /// When it is off again, unless it is pulled once more.
    pub off_in_ns: i64,
}

pub(super) fn throttled(brakes: &mut BTreeMap<String, Brake>, now_ns: i64, throttles: &[Throttle]) {
    for it in throttles {
        if !brakes.contains_key(&it.scope) && brakes.len() >= BRAKES_MAX {
            continue;
        }
        let fresh = || Brake { factor: 1.0, cut_ns: i64::MIN / 2, rate: sound(it.rate), ..Brake::default() };
        let brake = brakes.entry(it.scope.clone()).or_insert_with(fresh);
        let factor = brake.factor_at(now_ns);
        let hold_until_ns = now_ns.saturating_add(it.hold_ns.clamp(0, HOLD_MAX_NS));
        if it.cut && now_ns - brake.cut_ns >= PAUSE_NS {
            // A stop alone did not know the rate; once it is cut, what is sent says nothing of it any more.
            if factor >= 1.0 {
                brake.rate = brake.rate.max(sound(it.rate));
            }
            brake.factor = (factor / 2.0).max(LEAST);
            brake.cut_ns = now_ns;
        } else if hold_until_ns > brake.hold_until_ns {
            // What has come back stays so: from the end of the hold on it is counted anew.
            brake.factor = factor;
        }
        brake.recover_ns = it.recover_ns.max(SECOND_NS);
        brake.hold_until_ns = brake.hold_until_ns.max(hold_until_ns);
    }
}

/// A rate that makes sense, and that JSON can hold.
fn sound(rate: f64) -> f64 {
    if rate.is_finite() { rate.clamp(RATE_LEAST, 1e8) } else { RATE_LEAST }
}

impl Brake {
    #[expect(clippy::cast_precision_loss, reason = "a share of minutes; nanoseconds do not matter")]
    fn factor_at(&self, now_ns: i64) -> f64 {
        if self.recover_ns <= 0 {
            return 1.0;
        }
        // It recovers from the end of the hold on, not during it.
        let since = (now_ns - self.cut_ns.max(self.hold_until_ns)).max(0);
        (self.factor + since as f64 / self.recover_ns as f64).min(1.0)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a share of minutes; nanoseconds do not matter"
    )]
    fn off_at(&self) -> i64 {
        let way = ((1.0 - self.factor) * self.recover_ns as f64) as i64;
        self.cut_ns.max(self.hold_until_ns).saturating_add(way)
    }
}

pub(super) fn forget(brakes: &mut BTreeMap<String, Brake>, now_ns: i64) {
    brakes.retain(|_, brake| brake.off_at() > now_ns);
}

pub(super) fn set_back(brakes: &mut BTreeMap<String, Brake>, by_ns: i64) {
    for brake in brakes.values_mut() {
        brake.cut_ns = brake.cut_ns.saturating_sub(by_ns);
        brake.hold_until_ns = brake.hold_until_ns.saturating_sub(by_ns);
    }
}

pub(super) fn view(brakes: &BTreeMap<String, Brake>, now_ns: i64) -> BTreeMap<String, BrakeView> {
    let of = |(scope, brake): (&String, &Brake)| {
        let view = BrakeView {
            factor: brake.factor_at(now_ns),
            rate: brake.rate,
            hold_ns: (brake.hold_until_ns - now_ns).max(0),
            off_in_ns: (brake.off_at() - now_ns).max(0),
        };
        (scope.clone(), view)
    };
    brakes.iter().filter(|(_, brake)| brake.off_at() > now_ns).map(of).collect()
}
