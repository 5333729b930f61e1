use proptest::prelude::*;
use sluice_types::DeferralScope;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

const TERMS: BreakerTerms = BreakerTerms {
    window: Duration::from_secs(60),
    failure_rate: 0.5,
    slow_rate: 0.8,
    slow_after: Duration::from_secs(10),
    min_calls: 20,
    open: Duration::from_secs(5),
    open_max: Duration::from_secs(5 * 60),
    probes: 3,
};

/// A breaker with its clock and chance.
struct Rig {
    breaker: Breaker,
    now: Tick,
    rng: fastrand::Rng,
}

impl Rig {
    fn new() -> Self {
        let breaker = Breaker::new(TERMS);
        Self { breaker, now: Tick::ZERO + SECOND * 1000, rng: fastrand::Rng::with_seed(11) }
    }

    /// Whether the call opened it.
    fn call(&mut self, call: Call) -> bool {
        self.breaker.record(self.now, Duration::ZERO, call, false, &mut self.rng)
    }

    /// Whether any of the calls opened it.
    fn calls(&mut self, count: u32, call: Call) -> bool {
        (0..count).filter(|_| self.call(call)).count() > 0
    }

    /// Whether a probe that the fleet granted opened it.
    fn probe(&mut self, call: Call) -> bool {
        self.breaker.grant_probes(1);
        assert_eq!(self.breaker.ask(self.now), Verdict::Probe);
        self.breaker.record(self.now, Duration::ZERO, call, true, &mut self.rng)
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
        assert!(self.call(Call::AccountFault));
        let open = self.wait_half_open();
        self.breaker.adopt_closed(self.now);
        assert_eq!(self.breaker.state(self.now), State::Closed);
        open
    }
}

fn about(time: Duration, nominal: Duration) -> bool {
    time >= nominal * 8 / 10 && time <= nominal * 12 / 10
}

#[test]
fn half_of_twenty_calls_failing_opens_it() {
    let mut rig = Rig::new();
    assert!(!rig.calls(10, Call::Success));
    assert!(!rig.calls(9, Call::Failure));
    assert_eq!(rig.breaker.ask(rig.now), Verdict::Pass);
    assert!(rig.call(Call::Failure));
    assert!(matches!(rig.breaker.ask(rig.now), Verdict::Refuse { until } if until > rig.now));
}

#[test]
fn too_few_calls_or_old_ones_do_not_open_it() {
    let mut rig = Rig::new();
    assert!(!rig.calls(19, Call::Failure));
    rig.wait(SECOND * 61);
    assert!(!rig.calls(19, Call::Failure));
}

#[test]
fn twenty_failures_in_a_row_open_it_whatever_went_well_before() {
    let mut rig = Rig::new();
    assert!(!rig.calls(1_000, Call::Success));
    assert!(!rig.calls(19, Call::Failure));
    assert!(!rig.call(Call::Success), "one good call begins the row anew");
    assert!(!rig.calls(19, Call::Failure));
    assert!(rig.call(Call::Failure));
}

#[test]
fn a_row_of_failures_longer_than_the_window_does_not_open_it() {
    let mut rig = Rig::new();
    for _ in 0..40 {
        assert!(!rig.call(Call::Failure));
        rig.wait(SECOND * 7);
    }
}

#[test]
fn slow_calls_open_it_at_their_own_rate() {
    let mut rig = Rig::new();
    assert!(!rig.calls(5, Call::Success));
    assert!(!rig.calls(19, Call::Slow));
    assert!(rig.call(Call::Slow));
}

#[test]
fn an_account_fault_opens_it_at_once() {
    assert!(Rig::new().call(Call::AccountFault));
}

#[test]
fn no_more_probes_are_made_than_the_fleet_grants_and_it_says_when_to_close() {
    let mut rig = Rig::new();
    rig.call(Call::AccountFault);
    rig.wait_half_open();
    let refused = Verdict::Refuse { until: rig.now + GRANT_RECHECK };
    assert_eq!(rig.breaker.ask(rig.now), refused);
    rig.breaker.grant_probes(3);
    assert_eq!(rig.breaker.peek(rig.now), Verdict::Probe, "a look uses none up");
    let verdicts: Vec<_> = (0..4).map(|_| rig.breaker.ask(rig.now)).collect();
    assert_eq!(verdicts, [Verdict::Probe, Verdict::Probe, Verdict::Probe, refused]);
    for call in [Call::Success, Call::Slow, Call::Success] {
        assert!(!rig.breaker.record(rig.now, Duration::ZERO, call, true, &mut rig.rng));
        assert_eq!(rig.breaker.ask(rig.now), refused, "others' answers may be bad");
    }
    rig.breaker.adopt_closed(rig.now);
    assert_eq!(rig.breaker.ask(rig.now), Verdict::Pass);
}

#[test]
fn one_failed_probe_opens_it_for_twice_as_long() {
    let mut rig = Rig::new();
    rig.call(Call::AccountFault);
    for nominal in [5, 10, 20, 40, 80, 160, 300, 300] {
        let open = rig.wait_half_open();
        assert!(about(open, SECOND * nominal), "{open:?} for {nominal} s");
        assert!(!rig.probe(Call::Success));
        assert!(rig.probe(Call::Failure));
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
fn the_longer_open_time_holds_whoever_found_it() {
    let mut rig = Rig::new();
    rig.breaker.adopt_open(rig.now, rig.now + SECOND * 30, 4);
    rig.breaker.adopt_open(rig.now, rig.now + SECOND * 10, 2);
    assert_eq!(rig.breaker.peek(rig.now), Verdict::Refuse { until: rig.now + SECOND * 30 });
    assert_eq!(rig.breaker.trips(), 4);
    rig.breaker.adopt_open(rig.now, rig.now + SECOND * 40, 4);
    assert_eq!(rig.wait_half_open(), SECOND * 40);
    assert!(rig.probe(Call::Failure));
    assert!(about(rig.wait_half_open(), SECOND * 80), "the next is twice as long, here as anywhere");
}

#[test]
fn trips_of_an_outage_that_is_over_do_not_lengthen_the_next() {
    let mut rig = Rig::new();
    rig.breaker.adopt_open(rig.now, rig.now + SECOND * 5, 6);
    rig.wait_half_open();
    rig.breaker.adopt_closed(rig.now);
    rig.wait(SECOND * 3600);
    rig.breaker.adopt_open(rig.now, rig.now + SECOND * 5, 1);
    rig.wait_half_open();
    assert!(rig.probe(Call::Failure));
    let open = rig.wait_half_open();
    assert!(about(open, SECOND * 10), "{open:?}");
}

#[test]
fn grants_are_gone_once_it_turns() {
    type Turn = fn(&mut Rig);
    let turns: [(&str, Turn); 3] = [
        ("a probe failed here", |rig| {
            assert_eq!(rig.breaker.ask(rig.now), Verdict::Probe);
            assert!(rig.breaker.record(rig.now, Duration::ZERO, Call::Failure, true, &mut rig.rng));
        }),
        ("a probe failed elsewhere", |rig| rig.breaker.adopt_open(rig.now, rig.now + SECOND, 2)),
        ("the probes went well", |rig| rig.breaker.adopt_closed(rig.now)),
    ];
    for (why, turn) in turns {
        let mut rig = Rig::new();
        rig.call(Call::AccountFault);
        rig.wait_half_open();
        rig.breaker.grant_probes(3);
        rig.breaker.adopt_open(rig.now, rig.now, 1);
        assert_eq!(rig.breaker.granted(), 3, "still half open");
        turn(&mut rig);
        assert_eq!(rig.breaker.granted(), 0, "{why}");
    }
}

#[test]
fn a_probe_of_an_earlier_time_can_still_open_it() {
    let mut rig = Rig::new();
    rig.call(Call::AccountFault);
    rig.wait_half_open();
    rig.breaker.grant_probes(1);
    assert_eq!(rig.breaker.ask(rig.now), Verdict::Probe);
    rig.wait(SECOND * 61);
    assert!(rig.breaker.record(rig.now, Duration::ZERO, Call::Failure, true, &mut rig.rng));
}

#[test]
fn stragglers_are_ignored_while_open_and_half_open() {
    let mut rig = Rig::new();
    rig.call(Call::AccountFault);
    assert!(!rig.calls(50, Call::AccountFault));
    rig.wait_half_open();
    assert!(!rig.calls(50, Call::Failure));
    assert!(!rig.calls(50, Call::Success));
    assert_eq!(rig.breaker.state(rig.now), State::HalfOpen);
}

#[test]
fn stragglers_of_an_outage_do_not_open_it_again() {
    let mut rig = Rig::new();
    rig.open_and_close();
    rig.wait(SECOND * 10);
    for call in [Call::Failure, Call::Slow, Call::AccountFault] {
        let took = SECOND * 11;
        let opened = (0..20).any(|_| rig.breaker.record(rig.now, took, call, false, &mut rig.rng));
        assert!(!opened, "{call:?} begun before it closed");
    }
    assert_eq!(rig.breaker.state(rig.now), State::Closed);
    let opened = |it: &mut Rig| it.breaker.record(it.now, SECOND * 10, Call::Failure, false, &mut it.rng);
    assert_eq!((0..20).position(|_| opened(&mut rig)), Some(19), "later ones count, and these alone");
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
    assert!(!rig.calls(50, Call::AccountFault));
    assert_eq!(rig.breaker.ask(rig.now), Verdict::Pass);
    rig.breaker.auto();
    assert!(!rig.calls(19, Call::Failure));
    rig.breaker.force_open();
    assert!(rig.breaker.is_forced());
    assert_eq!(rig.breaker.state(rig.now), State::Open);
    assert_eq!(rig.breaker.weight(rig.now), 0.0);
    rig.wait(SECOND * 3600);
    assert_eq!(rig.breaker.ask(rig.now), Verdict::Refuse { until: rig.now + FORCED_RECHECK });
    rig.breaker.auto();
    assert_eq!(rig.breaker.state(rig.now), State::HalfOpen);
    assert!(rig.probe(Call::Failure));
    assert!(about(rig.wait_half_open(), SECOND * 5));
}

#[test]
fn outcomes_read_as_calls() {
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
        assert_eq!(Call::of(&outcome, SECOND * 10, &TERMS), quick, "{outcome:?}");
        assert_eq!(Call::of(&outcome, SECOND * 11, &TERMS), late, "{outcome:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    Record(Call, bool),
    Wait(u64),
    Grant(u32),
    AdoptOpen(u64, u32),
    AdoptClosed,
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
    assert!(!rig.calls(19, Call::Failure), "20 calls are needed");
    rig.breaker.set_terms(BreakerTerms { min_calls: 5, ..TERMS });
    assert!(rig.call(Call::Failure));
    let mut rig = Rig::new();
    rig.calls(19, Call::Failure);
    let window = SECOND * 10;
    rig.breaker.set_terms(BreakerTerms { min_calls: 5, window, ..TERMS });
    assert!(!rig.calls(4, Call::Failure), "another window begins anew");
    assert!(rig.call(Call::Failure));
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Ask),
        8 => (call(), any::<bool>()).prop_map(|(call, was_probe)| Step::Record(call, was_probe)),
        4 => (1..8_000u64).prop_map(Step::Wait),
        1 => (8_000..400_000u64).prop_map(Step::Wait),
        2 => (0..4u32).prop_map(Step::Grant),
        1 => (0..360_000u64, 0..9u32).prop_map(|(ms, trips)| Step::AdoptOpen(ms, trips)),
        1 => Just(Step::AdoptClosed),
        1 => prop_oneof![Just(Step::ForceOpen), Just(Step::ForceClosed), Just(Step::Auto)],
    ]
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_promises(steps in proptest::collection::vec(step(), 1..200), seed in any::<u64>()) {
        let terms = BreakerTerms { min_calls: 4, ..TERMS };
        let mut breaker = Breaker::new(terms);
        let (mut now, mut rng) = (Tick::ZERO, fastrand::Rng::with_seed(seed));
        for step in steps {
            let (before, granted) = (breaker.state(now), breaker.granted());
            match step {
                Step::Ask => {
                    let peeked = breaker.peek(now);
                    prop_assert_eq!(breaker.ask(now), peeked);
                    match (before, peeked) {
                        (State::Closed, Verdict::Pass) => {}
                        (State::HalfOpen, Verdict::Probe) => prop_assert_eq!(breaker.granted() + 1, granted),
                        (State::Open | State::HalfOpen, Verdict::Refuse { until }) => {
                            prop_assert!(until > now && until.since(now) <= terms.open_max * 12 / 10);
                        }
                        other => prop_assert!(false, "{:?}", other),
                    }
                    prop_assert!(peeked == Verdict::Probe || breaker.granted() == granted);
                }
                Step::Record(call, was_probe) => {
                    let opened = breaker.record(now, Duration::ZERO, call, was_probe, &mut rng);
                    let after = breaker.state(now);
                    prop_assert_eq!(opened, after != before);
                    prop_assert!(!opened || after == State::Open, "no call closes it");
                    prop_assert!(!opened || was_probe || before == State::Closed);
                    prop_assert!(!opened || !breaker.is_forced());
                    prop_assert_eq!(breaker.granted(), if opened { 0 } else { granted });
                }
                Step::Wait(ms) => now = now + Duration::from_millis(ms),
                Step::Grant(count) => {
                    breaker.grant_probes(count);
                    prop_assert_eq!((breaker.granted(), breaker.state(now)), (count, before));
                }
                Step::AdoptOpen(ms, trips) => {
                    let until = now + Duration::from_millis(ms);
                    breaker.adopt_open(now, until, trips);
                    prop_assert!(breaker.trips() >= trips);
                    match breaker.peek(now) {
                        _ if breaker.is_forced() => {}
                        Verdict::Refuse { until: found } => prop_assert!(found >= until || ms == 0),
                        Verdict::Probe => prop_assert!(ms == 0),
                        Verdict::Pass => prop_assert!(false, "it is open"),
                    }
                }
                Step::AdoptClosed => {
                    breaker.adopt_closed(now);
                    prop_assert!(breaker.is_forced() || breaker.state(now) == State::Closed);
                }
                Step::ForceOpen => breaker.force_open(),
                Step::ForceClosed => breaker.force_closed(),
                Step::Auto => breaker.auto(),
            }
            prop_assert!(matches!(step, Step::Grant(_)) || breaker.granted() <= granted);
            prop_assert!((0.0..=1.0).contains(&breaker.weight(now)));
        }
    }

    #[test]
    fn good_calls_never_open_it(gaps_ms in proptest::collection::vec(0..5_000u64, 1..200)) {
        let mut rig = Rig::new();
        for gap_ms in gaps_ms {
            rig.wait(Duration::from_millis(gap_ms));
            prop_assert!(!rig.call(Call::Success));
        }
    }
}

/// It began at full weight, and with the shortest open time.
#[test]
fn one_that_joins_after_an_outage_takes_part_in_the_return_and_remembers_it() {
    let mut rig = Rig::new();
    rig.breaker.learn_closed(rig.now, SECOND * 15, 4);
    let weight = rig.breaker.weight(rig.now);
    assert!((0.5..0.6).contains(&weight), "{weight}");
    assert!(rig.call(Call::AccountFault));
    assert!(about(rig.wait_half_open(), SECOND * 80), "5 s, doubled four times");
    // What is long past, or was ordered, leaves nothing.
    for (ago, trips) in [(SECOND * 3600, 4), (SECOND, 0)] {
        let mut rig = Rig::new();
        rig.breaker.learn_closed(rig.now, ago, trips);
        assert!((rig.breaker.weight(rig.now) - 1.0).abs() < f64::EPSILON);
    }
}

/// Thousands of good answers lay in the window, so that no share told of it.
#[test]
fn as_many_slow_calls_in_a_row_as_tell_anything_open_it() {
    let mut rig = Rig::new();
    assert!(!rig.calls(5_000, Call::Success));
    assert!(!rig.calls(TERMS.min_calls - 1, Call::Slow));
    assert!(!rig.call(Call::Success));
    assert!(!rig.calls(TERMS.min_calls - 1, Call::Slow));
    assert!(rig.call(Call::Slow));
}
