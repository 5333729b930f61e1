//! The breaker of one ESP account: keeps jobs away from an ESP that fails, and lets them back by degrees.
//!
//! Only the ESP's own faults count; a bad recipient does not, and a throttled call is the limiter's business. Start at
//! [`Breaker`]. The state of a fleet is kept elsewhere ([`crate::FleetState`]): a breaker with
//! [leased probes](Breaker::with_leased_probes) makes only those that were granted to it, and follows what the fleet knows.

use std::collections::VecDeque;
use std::time::Duration;

use sluice_types::{Category, Outcome, Tick};

use self::window::Window;

mod window;

/// A probe that has not reported for so long is written off, so that another can take its place.
const PROBE_LOST_AFTER: Duration = Duration::from_secs(60);
/// When to ask again while all probes are under way.
const PROBE_RECHECK: Duration = Duration::from_secs(1);
/// When to ask again while the fleet has granted no probe.
const GRANT_RECHECK: Duration = Duration::from_millis(100);
/// When to ask again while an operator holds the breaker open.
const FORCED_RECHECK: Duration = Duration::from_secs(5);
/// An open time is drawn within this share around its nominal value.
const OPEN_JITTER: f64 = 0.2;
/// Weight while half open and just after closing.
const WEIGHT_FIRST: f64 = 0.1;
/// From closing to full weight.
const WEIGHT_RAMP: Duration = Duration::from_secs(30);

/// When a breaker opens and how it closes again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerTerms {
    /// Length of the sliding window, kept in 10 buckets; also how long it must stay closed to count as healthy.
    pub window: Duration,
    /// Opens at this share of failed calls, 0.0 to 1.0.
    pub failure_rate: f64,
    /// Opens at this share of slow calls, 0.0 to 1.0.
    pub slow_rate: f64,
    /// A call that took longer than this is slow.
    pub slow_after: Duration,
    /// Calls in the window below which the shares mean nothing. So many failures without one other call between them open
    /// it too, whatever the shares: an ESP that falls silent should not have to outweigh a minute of good calls.
    pub min_calls: u32,
    /// First open time, before jitter of 20 % either way; it doubles each time the breaker opens without a healthy
    /// window in between.
    pub open: Duration,
    /// Longest open time, before jitter.
    pub open_max: Duration,
    /// Probes that must succeed to close it, and at most so many are under way at a time; 0 counts as 1.
    pub probes: u32,
}

impl Default for BreakerTerms {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            failure_rate: 0.5,
            slow_rate: 0.8,
            slow_after: Duration::from_secs(10),
            min_calls: 20,
            open: Duration::from_secs(5),
            open_max: Duration::from_secs(5 * 60),
            probes: 3,
        }
    }
}

/// What a breaker says to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go ahead.
    Pass,
    /// Go ahead as a probe; report it as one, or give it back.
    Probe,
    /// Not now.
    Refuse {
        /// When to ask again; always after the instant of the question.
        until: Tick,
    },
}

/// State of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Passes everything.
    Closed,
    /// Refuses everything.
    Open,
    /// Lets probes through.
    HalfOpen,
}

impl State {
    /// The word for metrics, SQL and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What one finished call says of the ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It answered in time, whatever the answer.
    Success,
    /// It answered, but late.
    Slow,
    /// It failed.
    Failure,
    /// It refuses our key or account: opens at once.
    AccountFault,
}

impl Call {
    /// Reads an outcome that took `took`; `None` for a throttled call, which says nothing of the ESP's health.
    #[must_use]
    pub fn of(outcome: &Outcome, took: Duration, terms: &BreakerTerms) -> Option<Self> {
        match outcome {
            Outcome::Deferred { category: Category::Throttled | Category::Quota, .. } => None,
            Outcome::Accepted { .. } | Outcome::Rejected { .. } | Outcome::Deferred { .. } => {
                Some(if took > terms.slow_after { Self::Slow } else { Self::Success })
            }
            Outcome::Faulted { category: Category::Auth | Category::Account, .. } => Some(Self::AccountFault),
            Outcome::Faulted { .. } | Outcome::Unknown { .. } => Some(Self::Failure),
        }
    }
}

/// The breaker of one ESP account.
#[derive(Clone, Debug)]
pub struct Breaker {
    terms: BreakerTerms,
    phase: Phase,
    window: Window,
    /// Failures since the last call that was none. Counts no further back than the window: so many calls must be in it too.
    failures_in_row: u32,
    /// Times it has opened without a healthy window in between.
    trips: u32,
    /// When each probe under way was handed out, oldest first.
    probes_out: VecDeque<Tick>,
    /// Probes granted by the fleet and not made yet; `None` when this breaker decides alone.
    granted: Option<u32>,
    forced: Option<Forced>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// `since` is `None` when it has never been open, or an operator cleared it.
    Closed {
        since: Option<Tick>,
    },
    Open {
        until: Tick,
    },
    /// `slow` of the `answered` probes were slow.
    HalfOpen {
        answered: u32,
        slow: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forced {
    Open,
    Closed,
}

impl Breaker {
    /// A closed breaker that has seen no calls.
    #[must_use]
    pub fn new(terms: BreakerTerms) -> Self {
        Self {
            terms,
            phase: Phase::Closed { since: None },
            window: Window::new(terms.window),
            failures_in_row: 0,
            trips: 0,
            probes_out: VecDeque::new(),
            granted: None,
            forced: None,
        }
    }

    /// The same breaker as one of a fleet: it makes only probes that were granted, and does not close by itself.
    #[must_use]
    pub fn with_leased_probes(self) -> Self {
        Self { granted: Some(0), ..self }
    }

    /// Goes on with other terms. What it counted over another window is forgotten; an open time that runs, runs out.
    pub fn set_terms(&mut self, terms: BreakerTerms) {
        if terms.window != self.terms.window {
            self.window = Window::new(terms.window);
        }
        self.terms = terms;
    }

    /// Asks for one attempt at `now`, and hands out a probe if the answer is [`Verdict::Probe`].
    #[must_use = "a probe that is neither recorded nor given back blocks its place for a minute"]
    pub fn ask(&mut self, now: Tick) -> Verdict {
        self.advance(now);
        let verdict = self.peek(now);
        if verdict == Verdict::Probe {
            self.probes_out.push_back(now);
            self.granted = self.granted.map(|granted| granted.saturating_sub(1));
        }
        verdict
    }

    /// What [`Self::ask`] would answer, without handing anything out.
    #[must_use]
    pub fn peek(&self, now: Tick) -> Verdict {
        match (self.forced, self.phase_at(now)) {
            (Some(Forced::Open), _) => Verdict::Refuse { until: now + FORCED_RECHECK },
            (Some(Forced::Closed), _) | (None, Phase::Closed { .. }) => Verdict::Pass,
            (None, Phase::Open { until }) => Verdict::Refuse { until },
            (None, Phase::HalfOpen { .. }) if self.granted == Some(0) => {
                Verdict::Refuse { until: now + GRANT_RECHECK }
            }
            (None, Phase::HalfOpen { .. }) if self.granted.is_some() => Verdict::Probe,
            (None, Phase::HalfOpen { answered, .. }) => {
                // No more than are still needed, so that a sick ESP sees as few jobs as possible.
                let needed = self.probes_needed().saturating_sub(answered);
                let out = self.probes_out.iter().filter(|at| !is_lost(**at, now)).count();
                if u32::try_from(out).is_ok_and(|out| out < needed) {
                    Verdict::Probe
                } else {
                    Verdict::Refuse { until: now + PROBE_RECHECK }
                }
            }
        }
    }

    /// Returns the probe handed out last, when its attempt did not come to a call or [`Call::of`] makes nothing of it.
    pub fn give_back_probe(&mut self) {
        self.probes_out.pop_back();
    }

    /// Takes in a finished call at `now`, and returns the new state when the call changed it.
    ///
    /// While open or half open only probes count. A probe that was written off can still open the breaker, but no
    /// longer help to close it.
    pub fn record(
        &mut self,
        now: Tick,
        call: Call,
        was_probe: bool,
        rng: &mut fastrand::Rng,
    ) -> Option<State> {
        self.advance(now);
        let in_time = was_probe && self.probes_out.pop_front().is_some();
        if self.forced.is_some() {
            return None;
        }
        match self.phase {
            Phase::Closed { since } => self.record_closed(now, call, since, rng),
            Phase::HalfOpen { answered, slow } if was_probe => match call {
                Call::Failure | Call::AccountFault => Some(self.trip(now, rng)),
                Call::Success | Call::Slow if !in_time || self.granted.is_some() => None,
                Call::Success => self.record_answer(now, answered + 1, slow, rng),
                Call::Slow => self.record_answer(now, answered + 1, slow + 1, rng),
            },
            Phase::HalfOpen { .. } | Phase::Open { .. } => None,
        }
    }

    /// The state at `now`; what an operator forced comes first.
    #[must_use]
    pub fn state(&mut self, now: Tick) -> State {
        self.advance(now);
        match (self.forced, self.phase) {
            (Some(Forced::Open), _) | (None, Phase::Open { .. }) => State::Open,
            (Some(Forced::Closed), _) | (None, Phase::Closed { .. }) => State::Closed,
            (None, Phase::HalfOpen { .. }) => State::HalfOpen,
        }
    }

    /// Part of its normal share of traffic the ESP should get at `now`, 0.0 to 1.0.
    ///
    /// 0 while open and 0.1 while half open; from 0.1 to 1 over the 30 s after closing.
    #[must_use]
    pub fn weight(&self, now: Tick) -> f64 {
        match (self.forced, self.phase_at(now)) {
            (Some(Forced::Open), _) | (None, Phase::Open { .. }) => 0.0,
            (Some(Forced::Closed), _) | (None, Phase::Closed { since: None }) => 1.0,
            (None, Phase::HalfOpen { .. }) => WEIGHT_FIRST,
            (None, Phase::Closed { since: Some(since) }) => {
                let way = now.since(since).as_secs_f64() / WEIGHT_RAMP.as_secs_f64();
                (WEIGHT_FIRST + (1.0 - WEIGHT_FIRST) * way).min(1.0)
            }
        }
    }

    /// Refuses everything until [`Self::force_closed`] or [`Self::auto`]; calls are not counted meanwhile.
    pub fn force_open(&mut self) {
        self.forced = Some(Forced::Open);
    }

    /// Passes everything until [`Self::force_open`] or [`Self::auto`]; calls are not counted meanwhile.
    pub fn force_closed(&mut self) {
        self.forced = Some(Forced::Closed);
    }

    /// Ends what was forced: from open it goes on half open, from closed it goes on closed with nothing counted.
    pub fn auto(&mut self) {
        match self.forced.take() {
            Some(Forced::Open) => self.phase = Phase::HalfOpen { answered: 0, slow: 0 },
            Some(Forced::Closed) => self.close(None),
            None => {}
        }
    }

    /// The fleet has granted so many probes, in place of any that are left.
    pub fn grant_probes(&mut self, count: u32) {
        self.granted = self.granted.map(|_| count);
    }

    /// Probes that were granted and not made.
    #[must_use]
    pub fn granted(&self) -> u32 {
        self.granted.unwrap_or(0)
    }

    /// The fleet knows it as open until then, after so many trips in a row.
    pub fn adopt_open(&mut self, now: Tick, until: Tick, trips: u32) {
        self.advance(now);
        self.trips = self.trips.max(trips);
        match self.phase {
            Phase::Open { until: known } if known >= until => {}
            Phase::HalfOpen { .. } if until <= now => {}
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen { .. } => {
                self.granted = self.granted.map(|_| 0);
                self.phase = Phase::Open { until };
            }
        }
    }

    /// The fleet knows it as closed since then; answers whether that is news.
    pub fn adopt_closed(&mut self, since: Tick) -> bool {
        let was_closed = matches!(self.phase, Phase::Closed { .. });
        if !was_closed {
            self.close(Some(since));
            self.probes_out.clear();
            self.granted = self.granted.map(|_| 0);
        }
        !was_closed
    }

    /// Whether it is half open at `now`, and nobody holds it otherwise.
    #[must_use]
    pub fn is_half_open(&self, now: Tick) -> bool {
        self.forced.is_none() && matches!(self.phase_at(now), Phase::HalfOpen { .. })
    }

    /// How many times in a row it has opened.
    #[must_use]
    pub const fn trips(&self) -> u32 {
        self.trips
    }

    /// How long it would stay open if it opened once more now, jitter included.
    #[must_use]
    pub fn next_open_time(&self, rng: &mut fastrand::Rng) -> Duration {
        let doubled = self.terms.open.saturating_mul(2u32.saturating_pow(self.trips));
        let nominal = doubled.min(self.terms.open_max);
        let factor = 1.0 + OPEN_JITTER * (2.0 * rng.f64() - 1.0);
        Duration::try_from_secs_f64(nominal.as_secs_f64() * factor).unwrap_or(nominal)
    }

    /// Whether an operator holds it open or closed.
    #[must_use]
    pub const fn is_forced(&self) -> bool {
        self.forced.is_some()
    }

    fn record_closed(
        &mut self,
        now: Tick,
        call: Call,
        since: Option<Tick>,
        rng: &mut fastrand::Rng,
    ) -> Option<State> {
        let counts = self.window.add(now, call);
        self.failures_in_row = if call == Call::Failure { self.failures_in_row.saturating_add(1) } else { 0 };
        let reaches = |part: u32, rate: f64| part > 0 && f64::from(part) >= rate * f64::from(counts.calls);
        let sick = counts.calls >= self.terms.min_calls
            && (reaches(counts.failures, self.terms.failure_rate)
                || self.failures_in_row >= self.terms.min_calls
                || reaches(counts.slow, self.terms.slow_rate));
        if !sick && call != Call::AccountFault {
            return None;
        }
        if since.is_none_or(|since| now.since(since) >= self.terms.window) {
            self.trips = 0;
        }
        Some(self.trip(now, rng))
    }

    /// A probe was answered: decides once all are, by the same share of slow calls that opens a closed breaker.
    fn record_answer(
        &mut self,
        now: Tick,
        answered: u32,
        slow: u32,
        rng: &mut fastrand::Rng,
    ) -> Option<State> {
        if answered < self.probes_needed() {
            self.phase = Phase::HalfOpen { answered, slow };
            None
        } else if slow > 0 && f64::from(slow) >= self.terms.slow_rate * f64::from(answered) {
            Some(self.trip(now, rng))
        } else {
            self.close(Some(now));
            Some(State::Closed)
        }
    }

    fn trip(&mut self, now: Tick, rng: &mut fastrand::Rng) -> State {
        let open = self.next_open_time(rng);
        self.trips = self.trips.saturating_add(1);
        self.granted = self.granted.map(|_| 0);
        self.phase = Phase::Open { until: now + open };
        State::Open
    }

    fn close(&mut self, since: Option<Tick>) {
        self.window.clear();
        self.phase = Phase::Closed { since };
    }

    /// Brings the phase up to `now` and writes off lost probes.
    fn advance(&mut self, now: Tick) {
        self.phase = self.phase_at(now);
        self.probes_out.retain(|at| !is_lost(*at, now));
    }

    fn phase_at(&self, now: Tick) -> Phase {
        match self.phase {
            Phase::Open { until } if until <= now => Phase::HalfOpen { answered: 0, slow: 0 },
            phase @ (Phase::Open { .. } | Phase::Closed { .. } | Phase::HalfOpen { .. }) => phase,
        }
    }

    fn probes_needed(&self) -> u32 {
        self.terms.probes.max(1)
    }
}

fn is_lost(handed_out: Tick, now: Tick) -> bool {
    now.since(handed_out) >= PROBE_LOST_AFTER
}

#[cfg(test)]
mod tests;
