//! What this process has to tell the fleet at the next exchange.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use sluice_policy::{BreakerTurn, ProbeWish, SendVerdict, Sends, Throttle, Turn, nanos};
use sluice_types::{Category, DeferralScope, EspId, GroupName, LimitScope, Outcome, Tick};
use tokio::sync::Notify;

use crate::by_name::ByName;

/// Turns and throttles kept at most while the store is away; later ones say the same.
const NEWS_MAX: usize = 10_000;
/// Calls are counted over windows of this length to tell the rate of a scope.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// Scopes whose rate is known at most.
const RATES_MAX: usize = 10_000;
/// What is taken as the rate of an ESP without a limit that asks us to slow down, at least: after a quiet minute the few calls
/// that were made say nothing of what it takes. One that takes less says so again.
const ESP_RATE_LEAST: f64 = 10.0;

/// News since the last exchange.
#[derive(Debug, Default)]
pub(crate) struct News {
    inner: Mutex<Inner>,
    /// Something that the fleet should know at once.
    pub(crate) urgent: Notify,
}

/// News, taken for one report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) turns: Vec<BreakerTurn>,
    pub(crate) probes: Vec<ProbeWish>,
    pub(crate) throttles: Vec<Throttle>,
    pub(crate) sends: Vec<Sends>,
}

#[derive(Debug, Default)]
struct Inner {
    turns: Vec<BreakerTurn>,
    probes: BTreeMap<String, ProbeWish>,
    throttles: Vec<Throttle>,
    sends: ByName<(EspId, GroupName, &'static str), (SendVerdict, u64)>,
    rates: ByName<LimitScope, Rate>,
}

/// Calls of one scope in this window and the last.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    began: Tick,
    now: u32,
    before: u32,
}

impl Rate {
    fn turn(&mut self, now: Tick) {
        let since = now.since(self.began);
        if since >= RATE_WINDOW {
            self.before = if since < 2 * RATE_WINDOW { self.now } else { 0 };
            (self.began, self.now) = (now, 0);
        }
    }

    fn per_second(mut self, now: Tick) -> f64 {
        self.turn(now);
        let since = now.since(self.began).min(RATE_WINDOW);
        let whole = RATE_WINDOW.as_secs_f64();
        let rest = f64::from(self.before) * (1.0 - since.as_secs_f64() / whole);
        (f64::from(self.now) + rest) / whole
    }
}

impl News {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A breaker turned here.
    pub(crate) fn turned(&self, esp: &EspId, turn: Turn) {
        let mut inner = self.inner();
        if inner.turns.len() < NEWS_MAX {
            inner.turns.push(BreakerTurn { esp: esp.to_string(), turn });
        }
        drop(inner);
        self.urgent.notify_one();
    }

    /// Whether news of this breaker wait to be told: what the fleet says of it is older then.
    pub(crate) fn has_turns_of(&self, esp: &EspId) -> bool {
        self.inner().turns.iter().any(|turn| turn.esp == esp.as_str())
    }

    /// A job waits for a probe of this breaker.
    pub(crate) fn wants_probes(&self, wish: ProbeWish) {
        let fresh = self.inner().probes.insert(wish.esp.clone(), wish).is_none();
        if fresh {
            self.urgent.notify_one();
        }
    }

    /// A call came to an outcome: counts it, and passes on a reply that asks us to slow down. `replicas` tells how many work lanes,
    /// for the rate of the fleet.
    pub(crate) fn called(&self, call: &CallNews<'_>, replicas: impl FnOnce() -> u32) {
        let mut inner = self.inner();
        let word = call.outcome.category().map_or("accepted", Category::as_str);
        let key = (call.esp.clone(), call.group.clone(), word);
        inner.sends.entry(key).or_insert((verdict(call.outcome), 0)).1 += 1;
        let scopes = [LimitScope::Esp(call.esp.clone()), call.receiver()];
        for scope in scopes {
            if inner.rates.len() >= RATES_MAX && !inner.rates.contains_key(&scope) {
                let now = call.now;
                inner.rates.retain(|_, rate| now.since(rate.began) < 2 * RATE_WINDOW);
            }
            if inner.rates.len() < RATES_MAX {
                let rate = inner.rates.entry(scope).or_default();
                rate.turn(call.now);
                rate.now = rate.now.saturating_add(1);
            }
        }
        let Some(recover) = call.recover else { return };
        let (Some(scope), hold) = call.throttled() else { return };
        let measured =
            inner.rates.get(&scope).map_or(0.0, |rate| rate.per_second(call.now)) * f64::from(replicas());
        let rate = if matches!(scope, LimitScope::Esp(_)) { measured.max(ESP_RATE_LEAST) } else { measured };
        inner.throttle(&scope, true, hold, rate, recover);
        drop(inner);
        self.urgent.notify_one();
    }

    /// The ESP says that it takes nothing more until then.
    pub(crate) fn exhausted(&self, esp: &EspId, resets_in: Duration, recover: Duration) {
        self.inner().throttle(&LimitScope::Esp(esp.clone()), false, resets_in, 0.0, recover);
        self.urgent.notify_one();
    }

    /// Takes everything for a report.
    pub(crate) fn take(&self) -> Taken {
        let mut inner = self.inner();
        let sends =
            std::mem::take(&mut inner.sends).into_iter().map(|((esp, group, word), (verdict, count))| {
                Sends {
                    esp: esp.to_string(),
                    group: group.to_string(),
                    word: word.to_owned(),
                    verdict,
                    count,
                }
            });
        Taken {
            sends: sends.collect(),
            turns: std::mem::take(&mut inner.turns),
            probes: std::mem::take(&mut inner.probes).into_values().collect(),
            throttles: std::mem::take(&mut inner.throttles),
        }
    }

    /// Puts back what the fleet was not told, before anything that came since. Wishes for probes are made anew.
    pub(crate) fn put_back(&self, taken: Taken) {
        let mut inner = self.inner();
        let turns = std::mem::replace(&mut inner.turns, taken.turns);
        inner.turns.extend(turns);
        inner.turns.truncate(NEWS_MAX);
        let throttles = std::mem::replace(&mut inner.throttles, taken.throttles);
        inner.throttles.extend(throttles);
        inner.throttles.truncate(NEWS_MAX);
    }
}

impl Inner {
    fn throttle(&mut self, scope: &LimitScope, cut: bool, hold: Duration, rate: f64, recover: Duration) {
        let scope = scope.to_string();
        let hold_ns = nanos(hold);
        let has_room = self.throttles.len() < NEWS_MAX;
        match self.throttles.iter_mut().find(|it| it.scope == scope) {
            Some(known) => {
                known.hold_ns = known.hold_ns.max(hold_ns);
                known.cut |= cut;
                known.rate = known.rate.max(rate);
            }
            None if has_room => {
                self.throttles.push(Throttle { scope, cut, hold_ns, rate, recover_ns: nanos(recover) });
            }
            None => {}
        }
    }
}

/// A finished call as the fleet is told of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallNews<'a> {
    pub(crate) esp: &'a EspId,
    pub(crate) group: &'a GroupName,
    pub(crate) domain: &'a str,
    pub(crate) outcome: &'a Outcome,
    pub(crate) now: Tick,
    /// `None`: brakes are switched off.
    pub(crate) recover: Option<Duration>,
}

impl CallNews<'_> {
    /// Who takes the mail at the other end: a group, or one domain of those that no group names.
    fn receiver(&self) -> LimitScope {
        if self.group.is_other() {
            LimitScope::Domain(self.domain.into())
        } else {
            LimitScope::EspGroup(self.esp.clone(), self.group.clone())
        }
    }

    /// What the reply wants slowed down, and for how long stopped.
    fn throttled(&self) -> (Option<LimitScope>, Duration) {
        let Outcome::Deferred { retry_after, scope, category, .. } = self.outcome else {
            return (None, Duration::ZERO);
        };
        if !matches!(category, Category::Throttled | Category::Quota) {
            return (None, Duration::ZERO);
        }
        let scope = match scope {
            // The job's own retry waits for it.
            DeferralScope::Recipient => None,
            DeferralScope::DomainGroup => Some(self.receiver()),
            DeferralScope::Esp => Some(LimitScope::Esp(self.esp.clone())),
        };
        (scope, retry_after.unwrap_or(Duration::ZERO))
    }
}

fn verdict(outcome: &Outcome) -> SendVerdict {
    match outcome {
        Outcome::Accepted { .. } => SendVerdict::Accepted,
        // We were too fast for the account: that says nothing of how our mail is received.
        Outcome::Deferred {
            scope: DeferralScope::Esp,
            category: Category::Throttled | Category::Quota,
            ..
        } => SendVerdict::Other,
        Outcome::Deferred { .. } | Outcome::Rejected { .. } => SendVerdict::Troubled,
        Outcome::Faulted { .. } | Outcome::Unknown { .. } => SendVerdict::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_a_quiet_esp_is_not_taken_from_its_few_calls() {
        let esp = EspId::new("main").unwrap();
        let group = GroupName::other();
        let detail = String::new();
        let outcome = Outcome::Deferred {
            retry_after: None,
            scope: DeferralScope::Esp,
            category: Category::Throttled,
            detail,
        };
        let call = |outcome| CallNews {
            esp: &esp,
            group: &group,
            domain: "example.com",
            outcome,
            now: Tick::ZERO + Duration::from_secs(60),
            recover: Some(Duration::from_secs(600)),
        };
        for (accepted, rates) in [(0, 10.0..=10.0), (1000, 100.0..=1000.0)] {
            let news = News::default();
            for _ in 0..accepted {
                news.called(&call(&Outcome::Accepted { provider_message_id: None }), || 1);
            }
            news.called(&call(&outcome), || 1);
            let told = news.take().throttles;
            assert!(told.len() == 1 && rates.contains(&told[0].rate), "{told:?}");
        }
    }
}
