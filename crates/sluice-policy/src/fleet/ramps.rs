//! Warm-up: a cap for each sending day, the same for every replica at every instant.
//!
//! A day counts when something was accepted on it; a day with too much trouble repeats its cap, and trouble that is reported on
//! days without a send counts for the next with one; after a month without one the ramp begins anew, as the receivers have
//! forgotten us.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SECOND_NS;
use super::tally::{Sends, Verdict};

const DAY_NS: i64 = 24 * 3600 * SECOND_NS;
/// Days without a send after which a ramp begins anew (SendGrid counts an address as cold after 30).
const COLD_AFTER_DAYS: i64 = 30;
/// Sends of a day below which its trouble means nothing.
const SENDS_THAT_TELL: u64 = 20;

/// One ramp of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct RampTerms {
    /// `esp:NAME` or `esp:NAME/group:NAME`.
    pub scope: String,
    /// Messages allowed on the first sending day, the second, and so on; after the last there is no cap.
    pub caps: Vec<u32>,
    /// The share of troubled sends of a day above which the next day repeats its cap, 0.0 to 1.0.
    pub hold_above: f64,
}

/// A ramp as kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Ramp {
    /// Sending days done.
    step: u32,
    /// Days since the epoch, UTC.
    day: i64,
    /// The last day on which something was accepted.
    last_sent: i64,
    sent: u64,
    /// Refused, or come back, since a day with a send was judged last.
    troubled: u64,
    held: bool,
    /// Today's cap; `None` when the ramp is done.
    quota: Option<u32>,
}

/// A ramp today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RampView {
    /// Today's cap; `None` when the ramp is done.
    pub quota: Option<u32>,
    /// Sending days done.
    pub step: u32,
    /// Whether trouble held it last time.
    pub held: bool,
    /// Sent today, as far as reported.
    pub sent: u64,
}

pub(super) fn step(ramps: &mut BTreeMap<String, Ramp>, now_ns: i64, terms: &[RampTerms], sends: &[Sends]) {
    let today = now_ns.div_euclid(DAY_NS);
    for it in terms {
        let ramp = ramps.entry(it.scope.clone()).or_insert_with(|| Ramp { day: today, ..Ramp::default() });
        if today > ramp.day {
            ramp.turn(today, it.hold_above);
        }
        for send in sends.iter().filter(|send| concerns(&it.scope, send)) {
            match send.verdict {
                Verdict::Accepted if send.count > 0 => {
                    ramp.sent = ramp.sent.saturating_add(send.count);
                    ramp.last_sent = today;
                }
                Verdict::Troubled => {
                    ramp.sent = ramp.sent.saturating_add(send.count);
                    ramp.troubled = ramp.troubled.saturating_add(send.count);
                }
                // It was sent some time before, and counted then.
                Verdict::Returned => ramp.troubled = ramp.troubled.saturating_add(send.count),
                Verdict::Accepted | Verdict::Other => {}
            }
        }
        ramp.quota = usize::try_from(ramp.step).ok().and_then(|step| it.caps.get(step)).copied();
    }
}

fn concerns(scope: &str, send: &Sends) -> bool {
    let Some(rest) = scope.strip_prefix("esp:") else { return false };
    match rest.split_once("/group:") {
        Some((esp, group)) => esp == send.esp && group == send.group,
        None => rest == send.esp,
    }
}

impl Ramp {
    fn turn(&mut self, today: i64, hold_above: f64) {
        if self.sent > 0 {
            self.held = self.sent >= SENDS_THAT_TELL && share(self.troubled, self.sent) > hold_above;
            // Sends that were all refused hold nothing if they are few, and make no sending day either.
            if !self.held && self.last_sent == self.day {
                self.step = self.step.saturating_add(1);
            }
            self.troubled = 0;
        }
        if self.last_sent > 0 && today - self.last_sent > COLD_AFTER_DAYS {
            self.step = 0;
            self.held = false;
        }
        (self.day, self.sent) = (today, 0);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

pub(super) fn view(ramps: &BTreeMap<String, Ramp>) -> BTreeMap<String, RampView> {
    let of = |(scope, ramp): (&String, &Ramp)| {
        let view = RampView { quota: ramp.quota, step: ramp.step, held: ramp.held, sent: ramp.sent };
        (scope.clone(), view)
    };
    ramps.iter().map(of).collect()
}
