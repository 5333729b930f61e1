use proptest::prelude::*;
use sluice_types::DeferralScope;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A breaker with its clock and chance.
struct Rig {
    breaker: Breaker,
    now: Tick,
    rng: fastrand::Rng,
}

impl Rig {
    fn new() -> Self {
        let breaker = Breaker::new(BreakerTerms::default());
        Self { breaker, now: Tick::ZERO + SECOND * 1000, rng: fastrand::Rng::with_seed(11) }
    }

    fn call(&mut self, call: Call) -> Option<State> {
        self.breaker.record(self.now, call, false, &mut self.rng)
    }

    fn calls(&mut self, count: u32, call: Call) -> Option<State> {
        (0..count).filter_map(|_| self.call(call)).last()
    }

    fn probe(&mut self, call: Call) -> Option<State> {
        assert_eq!(self.breaker.ask(self.now), Verdict::Probe);
        self.breaker.record(self.now, call, true, &mut self.rng)
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Waits until the open time is over and returns how long it was.
    fn wait_half_open(&mut self) -> Duration {
        let Verdict::Refuse { until } = self.breaker.peek(self.now) else { panic!("not open") };
        let open = until.since(self.now);
        self.wait(open);
        assert_eq!(self.breaker.state(self.now), State::HalfOpen);
        open
    }

    fn open_and_close(&mut self) -> Duration {
        assert_eq!(self.call(Call::AccountFault), Some(State::Open));
        let open = self.wait_half_open();
        assert_eq!([Call::Success; 3].map(|call| self.probe(call)), [None, None, Some(State::Closed)]);
        open
    }
}

fn about(time: Duration, nominal: Duration) -> bool {
    time >= nominal * 8 / 10 && time <= nominal * 12 / 10
}

#[test]
fn half_of_twenty_calls_failing_opens_it() {
    let mut rig = Rig::new();
    assert_eq!(rig.calls(10, Call::Success), None);
    assert_eq!(rig.calls(9, Call::Failure), None);
    assert_eq!(rig.breaker.ask(rig.now), Verdict::Pass);
    assert_eq!(rig.call(Call::Failure), Some(State::Open));
    assert!(matches!(rig.breaker.ask(rig.now), Verdict::Refuse { until } if until > rig.now));
}

#[test]
fn too_few_calls_or_old_ones_do_not_open_it() {
    let mut rig = Rig::new();
    assert_eq!(rig.calls(19, Call::Failure), None);
    rig.wait(SECOND * 61);
    assert_eq!(rig.calls(19, Call::Failure), None);
}

#[test]
fn twenty_failures_in_a_row_open_it_whatever_went_well_before() {
    let mut rig = Rig::new();
    assert_eq!(rig.calls(1_000, Call::Success), None);
    assert_eq!(rig.calls(19, Call::Failure), None);
    assert_eq!(rig.call(Call::Success), None, "one good call begins the row anew");
    assert_eq!(rig.calls(19, Call::Failure), None);
    assert_eq!(rig.call(Call::Failure), Some(State::Open));
}

#[test]
fn a_row_of_failures_longer_than_the_window_does_not_open_it() {
    let mut rig = Rig::new();
    for _ in 0..40 {
        assert_eq!(rig.call(Call::Failure), None);
        rig.wait(SECOND * 7);
    }
}

#[test]
fn slow_calls_open_it_at_their_own_rate() {
    let mut rig = Rig::new();
    assert_eq!(rig.calls(5, Call::Success), None);
    assert_eq!(rig.calls(19, Call::Slow), None);
    assert_eq!(rig.call(Call::Slow), Some(State::Open));
}

#[test]
fn an_account_fault_opens_it_at_once() {
    assert_eq!(Rig::new().call(Call::AccountFault), Some(State::Open));
}

#[test]
fn three_good_probes_close_it_and_no_more_are_handed_out() {
    let mut rig = Rig::new();
    rig.call(Call::AccountFault);
    rig.wait_half_open();
    let verdicts: Vec<_> = (0..4).map(|_| rig.breaker.ask(rig.now)).collect();
    let refused = Verdict::Refuse { until: rig.now + PROBE_RECHECK };
    assert_eq!(verdicts, [Verdict::Probe, Verdict::Probe, Verdict::Probe, refused]);
    for expected in [None, None, Some(State::Closed)] {
        assert_eq!(rig.breaker.record(rig.now, Call::Success, true, &mut rig.rng), expected);
        let pass = if expected.is_some() { Verdict::Pass } else { refused };
        assert_eq!(rig.breaker.ask(rig.now), pass);
    }
}

#[test]
fn one_failed_probe_opens_it_for_twice_as_long() {
    let mut rig = Rig::new();
    rig.call(Call::AccountFault);
    for nominal in [5, 10, 20, 40, 80, 160, 300, 300] {
        let open = rig.wait_half_open();
        assert!(about(open, SECOND * nominal), "{open:?} for {nominal} s");
        assert_eq!(rig.probe(Call::Success), None);
        assert_eq!(rig.probe(Call::Failure), Some(State::Open));
    }
}

#[test]
fn a_healthy_window_brings_back_the_first_open_time() {
    let mut rig = Rig::new();
    assert!(about(rig.open_and_close(), SECOND * 5));
    rig.wait(SECOND * 59);
    assert!(about(rig.open_and_close(), SECOND * 10));
    rig.wait(SECOND * 60);
    assert!(about(rig.open_and_close(), SECOND * 5));
}

#[test]
fn probes_that_are_all_slow_do_not_close_it() {
    for (slow, expected) in [(2, State::Closed), (3, State::Open)] {
        let mut rig = Rig::new();
        rig.call(Call::AccountFault);
        rig.wait_half_open();
        let changes: Vec<_> =
            (0..3).map(|i| rig.probe(if i < slow { Call::Slow } else { Call::Success })).collect();
        assert_eq!(changes, [None, None, Some(expected)]);
    }
}

#[test]
fn a_silent_probe_is_written_off_and_a_returned_one_handed_out_again() {
    let mut rig = Rig::new();
    rig.call(Call::AccountFault);
    rig.wait_half_open();
    let taken: Vec<_> = (0..3).map(|_| rig.breaker.ask(rig.now)).collect();
    assert_eq!(taken, [Verdict::Probe; 3]);
    rig.breaker.give_back_probe();
    assert_eq!(rig.breaker.ask(rig.now), Verdict::Probe);
    rig.wait(SECOND * 59);
    assert!(matches!(rig.breaker.peek(rig.now), Verdict::Refuse { .. }));
    rig.wait(SECOND);
    assert_eq!(rig.breaker.peek(rig.now), Verdict::Probe);
    let late = rig.breaker.record(rig.now, Call::Success, true, &mut rig.rng);
    assert_eq!(late, None);
    assert_eq!([Call::Success; 3].map(|call| rig.probe(call)), [None, None, Some(State::Closed)]);
}

#[test]
fn stragglers_are_ignored_while_open_and_half_open() {
    let mut rig = Rig::new();
    rig.call(Call::AccountFault);
    assert_eq!(rig.calls(50, Call::AccountFault), None);
    rig.wait_half_open();
    assert_eq!(rig.calls(50, Call::Failure), None);
    assert_eq!(rig.calls(50, Call::Success), None);
    assert_eq!(rig.breaker.state(rig.now), State::HalfOpen);
}

#[test]
fn weight_returns_by_degrees() {
    let mut rig = Rig::new();
    assert_eq!(rig.breaker.weight(rig.now), 1.0);
    rig.open_and_close();
    for (seconds, expected) in [(0, 0.1), (15, 0.55), (30, 1.0), (300, 1.0)] {
        let weight = rig.breaker.weight(rig.now + SECOND * seconds);
        assert!((weight - expected).abs() < 1e-9, "{weight} after {seconds} s");
    }
    rig.call(Call::AccountFault);
    assert_eq!(rig.breaker.weight(rig.now), 0.0);
    rig.wait_half_open();
    assert_eq!(rig.breaker.weight(rig.now), 0.1);
}

#[test]
fn an_operator_beats_the_calls_until_auto() {
    let mut rig = Rig::new();
    rig.breaker.force_closed();
    assert_eq!(rig.calls(50, Call::AccountFault), None);
    assert_eq!(rig.breaker.ask(rig.now), Verdict::Pass);
    rig.breaker.auto();
    assert_eq!(rig.calls(19, Call::Failure), None);
    rig.breaker.force_open();
    assert!(rig.breaker.is_forced());
    assert_eq!(rig.breaker.state(rig.now), State::Open);
    assert_eq!(rig.breaker.weight(rig.now), 0.0);
    rig.wait(SECOND * 3600);
    assert_eq!(rig.breaker.ask(rig.now), Verdict::Refuse { until: rig.now + FORCED_RECHECK });
    rig.breaker.auto();
    assert_eq!(rig.breaker.state(rig.now), State::HalfOpen);
    assert_eq!(rig.probe(Call::Failure), Some(State::Open));
    assert!(about(rig.wait_half_open(), SECOND * 5));
}

#[test]
fn outcomes_read_as_calls() {
    let terms = BreakerTerms::default();
    let detail = String::new;
    let deferred = |category| Outcome::Deferred {
        retry_after: None,
        scope: DeferralScope::Esp,
        category,
        detail: detail(),
    };
    let faulted = |category| Outcome::Faulted { category, detail: detail() };
    let rejected = Outcome::Rejected { category: Category::RecipientUnknown, detail: detail() };
    for (outcome, quick, late) in [
        (Outcome::Accepted { provider_message_id: None }, Some(Call::Success), Some(Call::Slow)),
        (rejected, Some(Call::Success), Some(Call::Slow)),
        (deferred(Category::Temporary), Some(Call::Success), Some(Call::Slow)),
        (deferred(Category::Throttled), None, None),
        (deferred(Category::Quota), None, None),
        (faulted(Category::Connect), Some(Call::Failure), Some(Call::Failure)),
        (faulted(Category::Auth), Some(Call::AccountFault), Some(Call::AccountFault)),
        (faulted(Category::Account), Some(Call::AccountFault), Some(Call::AccountFault)),
        (Outcome::Unknown { detail: detail() }, Some(Call::Failure), Some(Call::Failure)),
    ] {
        assert_eq!(Call::of(&outcome, SECOND * 10, &terms), quick, "{outcome:?}");
        assert_eq!(Call::of(&outcome, SECOND * 11, &terms), late, "{outcome:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    GiveBack,
    Record(Call, bool),
    Wait(u64),
    ForceOpen,
    ForceClosed,
    Auto,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => Just(Call::Success), 2 => Just(Call::Slow), 4 => Just(Call::Failure), 1 => Just(Call::AccountFault),
    ]
}

#[test]
fn other_terms_hold_from_the_next_call_on() {
    let mut rig = Rig::new();
    assert_eq!(rig.calls(19, Call::Failure), None, "20 calls are needed");
    rig.breaker.set_terms(BreakerTerms { min_calls: 5, ..BreakerTerms::default() });
    assert_eq!(rig.call(Call::Failure), Some(State::Open));
    let mut rig = Rig::new();
    rig.calls(19, Call::Failure);
    let window = SECOND * 10;
    rig.breaker.set_terms(BreakerTerms { min_calls: 5, window, ..BreakerTerms::default() });
    assert_eq!(rig.calls(4, Call::Failure), None, "another window begins anew");
    assert_eq!(rig.call(Call::Failure), Some(State::Open));
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Ask),
        1 => Just(Step::GiveBack),
        8 => (call(), any::<bool>()).prop_map(|(call, was_probe)| Step::Record(call, was_probe)),
        4 => (1..8_000u64).prop_map(Step::Wait),
        1 => (8_000..400_000u64).prop_map(Step::Wait),
        1 => prop_oneof![Just(Step::ForceOpen), Just(Step::ForceClosed), Just(Step::Auto)],
    ]
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_promises(steps in proptest::collection::vec(step(), 1..200), seed in any::<u64>()) {
        let terms = BreakerTerms { min_calls: 4, ..BreakerTerms::default() };
        let mut breaker = Breaker::new(terms);
        let (mut now, mut rng) = (Tick::ZERO, fastrand::Rng::with_seed(seed));
        for step in steps {
            let before = breaker.state(now);
            match step {
                Step::Ask => {
                    let peeked = breaker.peek(now);
                    prop_assert_eq!(breaker.ask(now), peeked);
                    match (before, peeked) {
                        (State::Closed, Verdict::Pass) | (State::HalfOpen, Verdict::Probe) => {}
                        (State::Open | State::HalfOpen, Verdict::Refuse { until }) => {
                            prop_assert!(until > now && until.since(now) <= terms.open_max * 12 / 10);
                        }
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                Step::GiveBack => breaker.give_back_probe(),
                Step::Record(call, was_probe) => {
                    let changed = breaker.record(now, call, was_probe, &mut rng);
                    let after = breaker.state(now);
                    prop_assert_eq!(changed, (after != before).then_some(after));
                    prop_assert!(was_probe || before == State::Closed || changed.is_none());
                    prop_assert!(changed != Some(State::Open) || !breaker.is_forced());
                }
                Step::Wait(ms) => now = now + Duration::from_millis(ms),
                Step::ForceOpen => breaker.force_open(),
                Step::ForceClosed => breaker.force_closed(),
                Step::Auto => breaker.auto(),
            }
            prop_assert!(breaker.probes_out.len() <= 3);
            prop_assert!((0.0..=1.0).contains(&breaker.weight(now)));
        }
    }

    #[test]
    fn good_calls_never_open_it(gaps_ms in proptest::collection::vec(0..5_000u64, 1..200)) {
        let mut rig = Rig::new();
        for gap_ms in gaps_ms {
            rig.wait(Duration::from_millis(gap_ms));
            prop_assert_eq!(rig.call(Call::Success), None);
        }
    }
}
