//! When slots of a limit open, for the jobs in its line.

use sluice_policy::{BrakeView, Opening, ReleaseWish, Terms, nanos, permille};
use sluice_types::Limit;

use super::elsewhere::ELSEWHERE;
use crate::ports::LimitLook;

/// A call that takes little time.
const SHORT_CALL_NS: i64 = 100_000_000;

/// Releases of transactional jobs alone are paced beside those of all jobs of a line, under a key of their own: no limit's.
pub(super) const URGENT: &str = "#transactional";

/// When slots of a limit open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Openings {
    /// For jobs of any class.
    pub(super) any: Opening,
    /// What transactional ones alone may use beside that, if anything.
    pub(super) urgent: Option<Opening>,
}

impl Openings {
    /// What to ask the fleet for: jobs of the line of `key`.
    pub(super) fn wishes(self, key: String, count: u32, ahead_ns: i64) -> impl Iterator<Item = ReleaseWish> {
        let urgent = self.urgent.map(|opening| {
            let key = format!("{key}{URGENT}");
            ReleaseWish { key, count, ahead_ns, opening, beside: None }
        });
        let beside = Some(format!("{key}{ELSEWHERE}"));
        std::iter::once(ReleaseWish { key, count, ahead_ns, opening: self.any, beside }).chain(urgent)
    }
}

/// When slots of a limit open, brake included.
pub(super) fn openings(
    limit: &Limit,
    look: &LimitLook,
    brake: Option<&BrakeView>,
    reserved_permille: u32,
) -> Openings {
    let hold_ns = brake.map_or(0, |brake| brake.hold_ns);
    let counted = |left: u64| Opening::Counted { left: u32::try_from(left).unwrap_or(u32::MAX) };
    let any = match Terms::of(&limit.spec) {
        Some(Terms::Spaced(terms) | Terms::Gcra(terms)) => {
            let rate_permille = brake.map_or(1000, |brake| permille(brake.factor));
            Opening::Spaced {
                next_in_ns: nanos(look.next_in).max(hold_ns),
                spacing_ns: terms.at_rate(rate_permille).spacing_ns,
            }
        }
        Some(Terms::Counted(_)) if hold_ns > 0 => counted(0),
        Some(Terms::Counted(terms)) => {
            let lent = terms.lent(look.left, look.resets_in, reserved_permille);
            let urgent = (look.left > lent).then(|| counted(look.left - lent));
            return Openings { any: counted(lent), urgent };
        }
        // Connections are held and not used up: as if calls were short, since the lanes borrow no more than can go.
        None => Opening::Spaced {
            next_in_ns: hold_ns,
            spacing_ns: SHORT_CALL_NS / i64::from(limit.spec.count.get()),
        },
    };
    Openings { any, urgent: None }
}
