//! The breaker of one ESP account: keeps jobs away from an ESP that fails, and lets them back by degrees.
//!
//! Only the ESP's own faults count; a bad recipient does not, and a throttled call is the limiter's business. Start at
//! [`Breaker`]: it is one replica's, opens by what that sees, and follows what the fleet knows. What probes are made, and
//! whether their answers close it, is decided for all replicas at once, in [`crate::FleetState`].

use std::time::Duration;

use sluice_types::{Category, Outcome, Tick};

use self::window::Window;

mod window;

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

/// What a breaker says to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go ahead.
    Pass,
    /// Go ahead as a probe; its answer, or that there will be none, is to be told to the fleet.
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

/// The breaker of one ESP account, as one replica has it.
#[derive(Clone, Debug)]
pub struct Breaker {
    terms: BreakerTerms,
    phase: Phase,
    window: Window,
    /// Failures since the last call that was none. Counts no further back than the window: so many calls must be in it too.
    failures_in_row: u32,
    slow_in_row: u32,
    /// Times it has opened without a healthy window in between.
    trips: u32,
    /// Probes granted by the fleet and not made yet.
    granted: u32,
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
    HalfOpen,
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
            slow_in_row: 0,
            trips: 0,
            granted: 0,
            forced: None,
        }
    }

    /// Goes on with other terms. What it counted over another window is forgotten; an open time that runs, runs out.
    pub fn set_terms(&mut self, terms: BreakerTerms) {
        if terms.window != self.terms.window {
            self.window = Window::new(terms.window);
        }
        self.terms = terms;
    }

    /// Asks for one attempt at `now`, and uses up a granted probe if the answer is [`Verdict::Probe`].
    #[must_use = "a probe that the fleet hears no more of blocks its place for a minute"]
    pub fn ask(&mut self, now: Tick) -> Verdict {
        self.advance(now);
        let verdict = self.peek(now);
        if verdict == Verdict::Probe {
            self.granted = self.granted.saturating_sub(1);
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
            (None, Phase::HalfOpen) if self.granted > 0 => Verdict::Probe,
            (None, Phase::HalfOpen) => Verdict::Refuse { until: now + GRANT_RECHECK },
        }
    }

    /// Takes in a call that `took` so long and ended at `now`, and answers whether it opened the breaker.
    ///
    /// While half open a failed probe opens it, at once and whenever it was made; nothing else counts, nor does anything
    /// while it is open. A call that was begun before it closed again is of the outage that is over, and does not count either.
    pub fn record(
        &mut self,
        now: Tick,
        took: Duration,
        call: Call,
        was_probe: bool,
        rng: &mut fastrand::Rng,
    ) -> bool {
        self.advance(now);
        let opens = match self.phase {
            _ if self.forced.is_some() => false,
            Phase::Closed { since: Some(since) } if now - took < since => false,
            Phase::Closed { since } => self.record_closed(now, call, since),
            Phase::HalfOpen => was_probe && matches!(call, Call::Failure | Call::AccountFault),
            Phase::Open { .. } => false,
        };
        if opens {
            let open = self.next_open_time(rng);
            self.trips = self.trips.saturating_add(1);
            self.granted = 0;
            self.phase = Phase::Open { until: now + open };
        }
        opens
    }

    /// The state at `now`; what an operator forced comes first.
    #[must_use]
    pub fn state(&mut self, now: Tick) -> State {
        self.advance(now);
        match (self.forced, self.phase) {
            (Some(Forced::Open), _) | (None, Phase::Open { .. }) => State::Open,
            (Some(Forced::Closed), _) | (None, Phase::Closed { .. }) => State::Closed,
            (None, Phase::HalfOpen) => State::HalfOpen,
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
            (None, Phase::HalfOpen) => WEIGHT_FIRST,
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
            Some(Forced::Open) => self.phase = Phase::HalfOpen,
            Some(Forced::Closed) => self.close(None),
            None => {}
        }
    }

    /// The fleet has granted so many probes, in place of any that are left.
    pub fn grant_probes(&mut self, count: u32) {
        self.granted = count;
    }

    /// Probes that were granted and not made.
    #[must_use]
    pub const fn granted(&self) -> u32 {
        self.granted
    }

    /// The fleet knows it as open until then, after so many trips in a row.
    pub fn adopt_open(&mut self, now: Tick, until: Tick, trips: u32) {
        self.advance(now);
        self.trips = match self.phase {
            // Whoever opened it knows what counts; trips of days ago would keep the ESP out for minutes.
            Phase::Closed { .. } => trips,
            Phase::Open { .. } | Phase::HalfOpen => self.trips.max(trips),
        };
        match self.phase {
            Phase::Open { until: known } if known >= until => {}
            Phase::HalfOpen if until <= now => {}
            Phase::Closed { .. } | Phase::Open { .. } | Phase::HalfOpen => {
                self.granted = 0;
                self.phase = Phase::Open { until };
            }
        }
    }

    /// The fleet knows that it closed so long ago, after so many trips in a row. One that was not here then joins the others.
    pub fn learn_closed(&mut self, now: Tick, ago: Duration, trips: u32) {
        let is_new = matches!(self.phase, Phase::Closed { since: None }) && self.forced.is_none();
        if is_new && trips > 0 && ago < self.terms.window.max(WEIGHT_RAMP) {
            self.phase = Phase::Closed { since: Some(now - ago) };
            self.trips = trips;
        }
    }

    /// The fleet knows it as closed since then.
    pub fn adopt_closed(&mut self, since: Tick) {
        if !matches!(self.phase, Phase::Closed { .. }) {
            self.close(Some(since));
            self.granted = 0;
        }
    }

    /// Whether it is half open at `now`, and nobody holds it otherwise.
    #[must_use]
    pub fn is_half_open(&self, now: Tick) -> bool {
        self.forced.is_none() && matches!(self.phase_at(now), Phase::HalfOpen)
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

    /// Counts a call while closed, and answers whether it opens the breaker.
    fn record_closed(&mut self, now: Tick, call: Call, since: Option<Tick>) -> bool {
        let counts = self.window.add(now, call);
        self.failures_in_row = if call == Call::Failure { self.failures_in_row.saturating_add(1) } else { 0 };
        self.slow_in_row = if call == Call::Slow { self.slow_in_row.saturating_add(1) } else { 0 };
        let reaches = |part: u32, rate: f64| part > 0 && f64::from(part) >= rate * f64::from(counts.calls);
        let sick = counts.calls >= self.terms.min_calls
            && (reaches(counts.failures, self.terms.failure_rate)
                || self.failures_in_row.max(self.slow_in_row) >= self.terms.min_calls
                || reaches(counts.slow, self.terms.slow_rate));
        let opens = sick || call == Call::AccountFault;
        if opens && since.is_none_or(|since| now.since(since) >= self.terms.window) {
            self.trips = 0;
        }
        opens
    }

    fn close(&mut self, since: Option<Tick>) {
        self.window.clear();
        self.phase = Phase::Closed { since };
    }

    fn advance(&mut self, now: Tick) {
        self.phase = self.phase_at(now);
    }

    fn phase_at(&self, now: Tick) -> Phase {
        match self.phase {
            Phase::Open { until } if until <= now => Phase::HalfOpen,
            phase @ (Phase::Open { .. } | Phase::Closed { .. } | Phase::HalfOpen) => phase,
        }
    }
}

#[cfg(test)]
mod tests;
