//! One breaker per ESP account: asked before a claim, told after a call, and of one mind with the fleet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use sluice_policy::{
    Availability, Breaker, BreakerTerms, Call, FleetBreaker, ProbeWish, State, Turn, Verdict, View, nanos,
    permille,
};
use sluice_telemetry::Metrics;
use sluice_types::{EspId, Outcome, Tick};
use tokio::sync::Notify;

use crate::fleet::News;
use crate::plan::Plan;
use crate::ports::Clock;

/// Least time between two wishes for probes of one ESP.
const WISH_AGAIN: Duration = Duration::from_millis(500);
/// So much later than a call may take, its probe is written off.
const PROBE_LOST_AFTER: Duration = Duration::from_secs(60);
/// A granted probe that found no job for so long goes back to the fleet.
const GRANT_KEPT: Duration = Duration::from_secs(2);

/// The breakers of this process.
#[derive(Debug)]
pub struct Breakers {
    by_esp: BTreeMap<EspId, Mutex<Kept>>,
    terms: Mutex<BreakerTerms>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    pub(crate) news: Arc<News>,
    /// An ESP may have come back.
    pub(crate) closed: Notify,
}

/// A breaker, and its dealings with the fleet about probes.
#[derive(Debug)]
struct Kept {
    breaker: Breaker,
    /// The ESP has answered since the breaker was last open.
    has_answered: bool,
    /// The state that metrics and log have last heard of.
    told: State,
    wished_at: Tick,
    /// After so long a probe is surely over.
    lost_after: Duration,
    granted_at: Tick,
}

/// Leave to make one call; must be settled with [`Leave::told`] or given back by dropping it.
#[derive(Debug)]
pub(crate) struct Leave {
    breakers: Arc<Breakers>,
    esp: EspId,
    probe: bool,
    settled: bool,
    is_overdue: bool,
}

/// A breaker, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakerView {
    /// The ESP.
    pub esp: String,
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// While open: milliseconds until probes are let through.
    pub open_for_ms: Option<u64>,
    /// `open` or `closed` while an operator holds it so.
    pub forced: Option<&'static str>,
    /// Part of its normal share of traffic that it gets now, 0.0 to 1.0.
    pub weight: f64,
}

impl Breakers {
    /// A breaker, closed, for each ESP of `plan`.
    #[must_use]
    pub fn new(plan: &Plan, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let terms = *plan.breaker_terms();
        let kept = |esp| Kept::new(terms, plan.esp_timeout(esp) + PROBE_LOST_AFTER);
        let by_esp: BTreeMap<_, _> =
            plan.esps().map(|(esp, _)| (esp.clone(), Mutex::new(kept(esp)))).collect();
        for esp in by_esp.keys() {
            metrics.esp(esp);
            metrics.breaker_state(esp, 0);
        }
        Self { by_esp, terms: Mutex::new(terms), clock, metrics, news: Arc::default(), closed: Notify::new() }
    }

    fn terms(&self) -> BreakerTerms {
        *self.terms.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From now on every breaker goes by other terms.
    pub(crate) fn set_terms(&self, terms: BreakerTerms) {
        *self.terms.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = terms;
        for kept in self.by_esp.values() {
            kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).breaker.set_terms(terms);
        }
    }

    fn of(&self, esp: &EspId) -> Option<MutexGuard<'_, Kept>> {
        self.by_esp.get(esp).map(|it| it.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Whether calls may be made, for routing; hands nothing out.
    pub(crate) fn availability(&self, esp: &EspId, now: Tick) -> Availability {
        let Some(mut kept) = self.of(esp) else {
            return Availability::Down { until: now + Duration::from_secs(60) };
        };
        match kept.breaker.peek(now) {
            Verdict::Pass => Availability::Up { weight: kept.breaker.weight(now) },
            // A probe is rare and must not wait for the luck of the draw among healthy members.
            Verdict::Probe => Availability::Up { weight: 1.0 },
            Verdict::Refuse { until } => {
                if kept.breaker.is_half_open(now) && now.since(kept.wished_at) >= WISH_AGAIN {
                    kept.wished_at = now;
                    let lost_after = kept.lost_after;
                    drop(kept);
                    self.wish(esp, lost_after);
                }
                Availability::Down { until }
            }
        }
    }

    /// Asks for leave to make one call.
    pub(crate) fn ask(self: &Arc<Self>, esp: &EspId) -> Result<Leave, Tick> {
        let now = self.clock.tick();
        let Some(mut kept) = self.of(esp) else { return Err(now + Duration::from_secs(60)) };
        let breaker = &mut kept.breaker;
        let probe = match breaker.ask(now) {
            Verdict::Pass => false,
            Verdict::Probe => true,
            Verdict::Refuse { until } => return Err(until),
        };
        let changed = kept.changed(now);
        drop(kept);
        if let Some(state) = changed {
            self.changed(esp, state);
        }
        Ok(Leave { breakers: Arc::clone(self), esp: esp.clone(), probe, settled: false, is_overdue: false })
    }

    /// Whether `esp` has answered a call of this process since its breaker was last open.
    pub(crate) fn has_answered(&self, esp: &EspId) -> bool {
        self.of(esp).is_some_and(|kept| kept.has_answered)
    }

    /// Asks the fleet for a probe.
    fn wish(&self, esp: &EspId, lost_after: Duration) {
        let needed = self.terms().probes.max(1);
        self.news.wants_probes(ProbeWish {
            esp: esp.to_string(),
            needed,
            count: needed,
            lost_after_ns: nanos(lost_after),
        });
    }

    /// Takes over what the fleet knows, but for breakers that have turned here since.
    pub(crate) fn adopt(&self, view: &View) {
        let now = self.clock.tick();
        for (esp, kept) in &self.by_esp {
            if self.news.has_turns_of(esp) {
                continue;
            }
            let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let known = view.breakers.get(esp.as_str()).cloned().unwrap_or_default();
            let unused = kept.adopt(&known, now);
            let changed = kept.changed(now);
            kept.note(false, now);
            drop(kept);
            for _ in 0..unused {
                self.news.turned(esp, Turn::ProbeReturned);
            }
            match changed {
                Some(state) => self.changed(esp, state),
                None if known.granted > 0 => self.closed.notify_waiters(),
                None => {}
            }
        }
    }

    fn tell(&self, esp: &EspId, turn: Option<Turn>, changed: Option<State>) {
        if let Some(turn) = turn {
            self.news.turned(esp, turn);
        }
        if let Some(state) = changed {
            self.changed(esp, state);
        }
    }

    fn changed(&self, esp: &EspId, to: State) {
        let (number, word) = match to {
            State::Closed => (0, "closed"),
            State::Open => (1, "open"),
            State::HalfOpen => (2, "half_open"),
        };
        self.metrics.breaker_state(esp, number);
        self.metrics.breaker_transition(esp, word);
        match to {
            State::Open => tracing::error!(%esp, severity = "critical", "breaker opened"),
            State::Closed | State::HalfOpen => tracing::warn!(%esp, state = word, "breaker changed"),
        }
        self.closed.notify_waiters();
    }

    /// All breakers, for people.
    #[must_use]
    pub fn view(&self) -> Vec<BreakerView> {
        let now = self.clock.tick();
        let mut views = Vec::new();
        for (esp, kept) in &self.by_esp {
            let breaker = &mut kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).breaker;
            let state = breaker.state(now);
            let open_for_ms = match (state, breaker.peek(now)) {
                (State::Open, Verdict::Refuse { until }) => {
                    Some(u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX))
                }
                (State::Open, Verdict::Pass | Verdict::Probe) => Some(0),
                (State::Closed | State::HalfOpen, _) => None,
            };
            let forced = breaker.is_forced().then(|| if state == State::Open { "open" } else { "closed" });
            let weight = breaker.weight(now);
            views.push(BreakerView {
                esp: esp.to_string(),
                state: state.as_str(),
                open_for_ms,
                forced,
                weight,
            });
        }
        views
    }
}

impl Kept {
    fn new(terms: BreakerTerms, lost_after: Duration) -> Self {
        let breaker = Breaker::new(terms);
        Self {
            breaker,
            has_answered: false,
            told: State::Closed,
            wished_at: Tick::ZERO,
            lost_after,
            granted_at: Tick::ZERO,
        }
    }

    /// The state, if nobody has been told of it: it also changes by time alone.
    fn changed(&mut self, now: Tick) -> Option<State> {
        let state = self.breaker.state(now);
        (std::mem::replace(&mut self.told, state) != state).then_some(state)
    }

    /// Keeps whether the ESP has answered; an open breaker makes that doubtful again.
    fn note(&mut self, answers: bool, now: Tick) {
        self.has_answered = (self.has_answered || answers) && self.breaker.state(now) == State::Closed;
    }

    /// Brings the breaker in line with the fleet; answers how many granted probes it gives back unused.
    fn adopt(&mut self, known: &FleetBreaker, now: Tick) -> u32 {
        let breaker = &mut self.breaker;
        match known.order {
            Some(true) => breaker.force_open(),
            Some(false) => breaker.force_closed(),
            None if breaker.is_forced() => breaker.auto(),
            None => {}
        }
        let duration = |ns: i64| Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
        let Some(open_for) = known.open_for_ns else {
            breaker.learn_closed(now, duration(known.turned_ago_ns), known.trips);
            breaker.adopt_closed(now - duration(known.turned_ago_ns));
            return 0;
        };
        let before = breaker.granted();
        breaker.adopt_open(now, now + duration(open_for), known.trips);
        let left = breaker.granted();
        let dropped = before.saturating_sub(left);
        if known.granted > 0 {
            self.granted_at = now;
            breaker.grant_probes(left + known.granted);
            dropped
        } else if left > 0 && now.since(self.granted_at) >= GRANT_KEPT {
            breaker.grant_probes(0);
            dropped + left
        } else {
            dropped
        }
    }
}

/// What the fleet is told of a breaker that has just opened.
fn opening(breaker: &Breaker, now: Tick) -> Option<Turn> {
    match breaker.peek(now) {
        Verdict::Refuse { until } => {
            Some(Turn::Opened { for_ns: nanos(until.since(now)), trips: breaker.trips() })
        }
        Verdict::Pass | Verdict::Probe => None,
    }
}

impl Leave {
    /// Whether the breaker has opened since the leave was given; a probe is what finds that out, and goes on.
    pub(crate) fn is_withdrawn(&self, now: Tick) -> bool {
        !self.probe
            && self
                .breakers
                .of(&self.esp)
                .is_some_and(|kept| matches!(kept.breaker.peek(now), Verdict::Refuse { .. } | Verdict::Probe))
    }

    /// The call takes longer than one that is slow: told now, for one that hangs may take until its timeout.
    pub(crate) fn overdue(&mut self, took: Duration) {
        if self.probe || self.is_overdue {
            return;
        }
        self.is_overdue = true;
        let now = self.breakers.clock.tick();
        let Some(mut kept) = self.breakers.of(&self.esp) else { return };
        let opened = kept.breaker.record(now, took, Call::Slow, false, &mut fastrand::Rng::new());
        let turn = opened.then(|| opening(&kept.breaker, now)).flatten();
        kept.note(false, now);
        let changed = kept.changed(now);
        drop(kept);
        self.breakers.tell(&self.esp, turn, changed);
    }

    /// Tells the breaker how the call went that ended now.
    pub(crate) fn told(mut self, outcome: &Outcome, took: Duration, now: Tick) {
        self.settled = true;
        let breakers = Arc::clone(&self.breakers);
        let Some(mut kept) = breakers.of(&self.esp) else { return };
        let breaker = &mut kept.breaker;
        let mut rng = fastrand::Rng::new();
        let terms = breakers.terms();
        // That it is slow was told already.
        let call = Call::of(outcome, took, &terms).filter(|call| !self.is_overdue || *call != Call::Slow);
        let granted = breaker.granted();
        let opened = call.is_some_and(|call| breaker.record(now, took, call, self.probe, &mut rng));
        let turn = match call {
            _ if opened => opening(breaker, now),
            Some(call) if self.probe => Some(Turn::ProbeAnswered {
                slow: call == Call::Slow,
                took_ns: nanos(took),
                needed: terms.probes.max(1),
                slow_rate_permille: permille(terms.slow_rate),
                reopen_for_ns: nanos(breaker.next_open_time(&mut rng)),
            }),
            None if self.probe => Some(Turn::ProbeReturned),
            Some(_) | None => None,
        };
        kept.note(matches!(call, Some(Call::Success | Call::Slow)), now);
        let changed = kept.changed(now);
        drop(kept);
        breakers.tell(&self.esp, turn, changed);
        // Those that were not made yet are not made any more.
        for _ in 0..if opened { granted } else { 0 } {
            breakers.news.turned(&self.esp, Turn::ProbeReturned);
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            self.breakers.news.turned(&self.esp, Turn::ProbeReturned);
        }
    }
}

#[cfg(test)]
mod tests {
    use sluice_config::Config;
    use sluice_types::{Category, DeferralScope};

    use super::*;
    use crate::ports::SystemClock;

    const TOML: &str = "[[esp]]\nname = \"main\"\nkind = \"sandbox\"\n[[pool]]\nname = \"default\"\nmembers = [{ esp = \"main\" }]\n";

    fn breakers() -> Arc<Breakers> {
        let config = Config::load(TOML, &[], &|_| Err(String::new())).unwrap();
        let metrics = Arc::new(Metrics::new("test").unwrap());
        Arc::new(Breakers::new(&Plan::of(&config), Arc::new(SystemClock::new()), metrics))
    }

    /// Whether the ESP counts as one that answers, after a call that came to this.
    fn after(breakers: &Arc<Breakers>, outcome: &Outcome) -> bool {
        let main = EspId::new("main").unwrap();
        if let Ok(leave) = breakers.ask(&main) {
            leave.told(outcome, Duration::from_millis(1), breakers.clock.tick());
        }
        breakers.has_answered(&main)
    }

    #[test]
    fn an_esp_has_answered_until_its_breaker_opens_here_or_elsewhere() {
        let accepted = Outcome::Accepted { provider_message_id: None };
        let faulted = Outcome::Faulted { category: Category::Connect, detail: String::new() };
        let here = breakers();
        assert!(!after(&here, &faulted), "nothing has answered yet");
        assert!(after(&here, &accepted) && after(&here, &faulted), "one fault changes nothing");
        let faults = (0..100).take_while(|_| after(&here, &faulted)).count();
        assert!((10..30).contains(&faults), "{faults} calls until it opened");

        let elsewhere = breakers();
        assert!(after(&elsewhere, &accepted));
        let open = FleetBreaker { open_for_ns: Some(1_000_000_000), trips: 1, ..FleetBreaker::default() };
        elsewhere.adopt(&View { breakers: [("main".to_owned(), open)].into(), ..View::default() });
        elsewhere.adopt(&View::default());
        assert!(!after(&elsewhere, &faulted), "it is closed again, and has to show itself");
        assert!(after(&elsewhere, &accepted));
    }

    /// A series that is born with its first burst has no increase, and no alert sees it.
    #[test]
    fn the_counters_of_an_esp_begin_at_zero() {
        let text = breakers().metrics.render().unwrap();
        for series in [
            "sluice_attempts_total{esp=\"main\",outcome=\"unknown\"}",
            "sluice_failovers_total{esp=\"main\"}",
        ] {
            assert!(text.contains(&format!("{series} 0\n")), "no {series} in {text}");
        }
    }

    #[test]
    fn a_breaker_whose_time_is_up_shows_as_half_open() {
        let it = breakers();
        let adopt = |open_for_ns| {
            let known = FleetBreaker { open_for_ns: Some(open_for_ns), trips: 1, ..FleetBreaker::default() };
            it.adopt(&View { breakers: [("main".to_owned(), known)].into(), ..View::default() });
            it.metrics.render().unwrap()
        };
        let state =
            |text: &str, of: u8| text.contains(&format!("sluice_breaker_state{{esp=\"main\"}} {of}\n"));
        assert!(state(&adopt(5_000_000), 1));
        std::thread::sleep(Duration::from_millis(10));
        let text = adopt(0);
        assert!(state(&text, 2), "{text}");
        let turns = "sluice_breaker_transitions_total{esp=\"main\",to=\"half_open\"} 1\n";
        assert!(text.contains(turns), "{text}");
    }

    #[test]
    fn the_fleet_hears_of_every_probe_whatever_comes_of_it() {
        let main = EspId::new("main").unwrap();
        let accepted = || Outcome::Accepted { provider_message_id: None };
        let faulted = || Outcome::Faulted { category: Category::Connect, detail: String::new() };
        let throttled = || Outcome::Deferred {
            retry_after: None,
            scope: DeferralScope::Esp,
            category: Category::Throttled,
            detail: String::new(),
        };
        for (outcome, took_s, told) in [
            (Some(accepted()), 1, "answered"),
            (Some(accepted()), 60, "answered late"),
            (Some(faulted()), 1, "opened"),
            (Some(throttled()), 1, "returned"),
            (None, 1, "returned"),
        ] {
            let it = breakers();
            let half_open =
                FleetBreaker { open_for_ns: Some(0), trips: 1, granted: 1, ..FleetBreaker::default() };
            it.adopt(&View { breakers: [("main".to_owned(), half_open)].into(), ..View::default() });
            let probe = it.ask(&main).unwrap();
            assert!(it.ask(&main).is_err(), "only one was granted");
            match &outcome {
                Some(outcome) => probe.told(outcome, Duration::from_secs(took_s), it.clock.tick()),
                None => drop(probe),
            }
            let words = it.news.take().turns.into_iter().map(|turn| match turn.turn {
                Turn::Opened { trips: 2, .. } => "opened",
                Turn::Opened { .. } => "opened as if for the first time",
                Turn::ProbeAnswered { slow: false, .. } => "answered",
                Turn::ProbeAnswered { slow: true, .. } => "answered late",
                Turn::ProbeReturned => "returned",
            });
            assert_eq!(words.collect::<Vec<_>>(), [told], "{outcome:?} in {took_s} s");
        }
    }
}
