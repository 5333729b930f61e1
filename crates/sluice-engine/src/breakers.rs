//! One breaker per ESP account: asked before a claim, told after a call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use sluice_policy::{Availability, Breaker, BreakerTerms, Call, State, Verdict};
use sluice_telemetry::Metrics;
use sluice_types::{EspId, Outcome, Tick};
use tokio::sync::Notify;

use crate::plan::Plan;
use crate::ports::Clock;

/// The breakers of this process.
#[derive(Debug)]
pub struct Breakers {
    by_esp: BTreeMap<EspId, Mutex<Breaker>>,
    terms: BreakerTerms,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// An ESP may have come back.
    pub(crate) closed: Notify,
}

/// Leave to make one call; must be settled with [`Breakers::told`] or given back by dropping it.
#[derive(Debug)]
pub(crate) struct Leave {
    breakers: Arc<Breakers>,
    esp: EspId,
    probe: bool,
    settled: bool,
}

/// A breaker, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerView {
    /// The ESP.
    pub esp: String,
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// While open: milliseconds until probes are let through.
    pub open_for_ms: Option<u64>,
}

impl Breakers {
    /// A breaker, closed, for each ESP of `plan`.
    #[must_use]
    pub fn new(plan: &Plan, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let terms = *plan.breaker_terms();
        let by_esp: BTreeMap<_, _> =
            plan.esps().map(|(esp, _)| (esp.clone(), Mutex::new(Breaker::new(terms)))).collect();
        for esp in by_esp.keys() {
            metrics.breaker_state(esp, 0);
        }
        Self { by_esp, terms, clock, metrics, closed: Notify::new() }
    }

    fn of(&self, esp: &EspId) -> Option<MutexGuard<'_, Breaker>> {
        self.by_esp.get(esp).map(|it| it.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Whether calls may be made, for routing; hands nothing out.
    pub(crate) fn availability(&self, esp: &EspId, now: Tick) -> Availability {
        let Some(breaker) = self.of(esp) else {
            return Availability::Down { until: now + Duration::from_secs(60) };
        };
        match breaker.peek(now) {
            Verdict::Pass => Availability::Up { weight: breaker.weight(now) },
            // A probe is rare and must not wait for the luck of the draw among healthy members.
            Verdict::Probe => Availability::Up { weight: 1.0 },
            Verdict::Refuse { until } => Availability::Down { until },
        }
    }

    /// Asks for leave to make one call.
    pub(crate) fn ask(self: &Arc<Self>, esp: &EspId) -> Result<Leave, Tick> {
        let now = self.clock.tick();
        let Some(mut breaker) = self.of(esp) else { return Err(now + Duration::from_secs(60)) };
        let before = breaker.state(now);
        let probe = match breaker.ask(now) {
            Verdict::Pass => false,
            Verdict::Probe => true,
            Verdict::Refuse { until } => return Err(until),
        };
        if probe && before != State::HalfOpen {
            self.changed(esp, State::HalfOpen);
        }
        drop(breaker);
        Ok(Leave { breakers: Arc::clone(self), esp: esp.clone(), probe, settled: false })
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
        for (esp, breaker) in &self.by_esp {
            let mut breaker = breaker.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (state, open_for_ms) = match (breaker.state(now), breaker.peek(now)) {
                (State::Closed, _) => ("closed", None),
                (State::HalfOpen, _) => ("half_open", None),
                (State::Open, Verdict::Refuse { until }) => {
                    ("open", Some(u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX)))
                }
                (State::Open, Verdict::Pass | Verdict::Probe) => ("open", Some(0)),
            };
            views.push(BreakerView { esp: esp.to_string(), state, open_for_ms });
        }
        views
    }
}

impl Leave {
    /// Tells the breaker how the call went.
    pub(crate) fn told(mut self, outcome: &Outcome, took: Duration) {
        self.settled = true;
        let breakers = Arc::clone(&self.breakers);
        let now = breakers.clock.tick();
        let Some(mut breaker) = breakers.of(&self.esp) else { return };
        let change = match Call::of(outcome, took, &breakers.terms) {
            Some(call) => breaker.record(now, call, self.probe, &mut fastrand::Rng::new()),
            None => {
                if self.probe {
                    breaker.give_back_probe();
                }
                None
            }
        };
        drop(breaker);
        if let Some(state) = change {
            breakers.changed(&self.esp, state);
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.probe
            && !self.settled
            && let Some(mut breaker) = self.breakers.of(&self.esp)
        {
            breaker.give_back_probe();
        }
    }
}
