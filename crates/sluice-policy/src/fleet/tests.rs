use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

mod connections;

const MS: i64 = 1_000_000;
const START: i64 = 1_700_000_000 * SECOND_NS;
const DAY_NS: i64 = 86_400 * SECOND_NS;

fn from(replica: &str) -> Report {
    Report { replica: replica.to_owned(), ..Report::default() }
}

fn turn(esp: &str, turn: Turn) -> BreakerTurn {
    BreakerTurn { esp: esp.to_owned(), turn }
}

fn opened(for_ns: i64, trips: u32) -> Report {
    Report { turns: vec![turn("main", Turn::Opened { for_ns, trips })], ..from("a") }
}

fn answered(replica: &str, slow: bool) -> Report {
    let answer = Turn::ProbeAnswered {
        slow,
        took_ns: 0,
        needed: 3,
        slow_rate_permille: 800,
        reopen_for_ns: 7 * SECOND_NS,
    };
    Report { turns: vec![turn("main", answer)], ..from(replica) }
}

fn wish(replica: &str) -> Report {
    Report {
        probes: vec![ProbeWish { esp: "main".to_owned(), needed: 3, count: 3, lost_after_ns: 0 }],
        ..from(replica)
    }
}

#[test]
fn the_document_reads_back_and_keeps_what_another_version_wrote() {
    let mut state = FleetState::default();
    state.exchange(START, &Report { presence: Some(Presence::default()), ..opened(SECOND_NS, 1) });
    let mut document = serde_json::to_value(&state).unwrap();
    document["later"] = serde_json::json!({"x": [1, 2]});
    let read: FleetState = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), document);
    assert_eq!(serde_json::from_str::<FleetState>("{}").unwrap(), FleetState::default());
}

#[test]
fn what_one_replica_finds_open_holds_for_all_by_the_longer_time() {
    let mut state = FleetState::default();
    state.exchange(START, &opened(5 * SECOND_NS, 1));
    state.exchange(START + SECOND_NS, &Report { replica: "b".to_owned(), ..opened(5 * SECOND_NS, 1) });
    let seen = &state.exchange(START + 2 * SECOND_NS, &from("c")).breakers["main"];
    assert_eq!((seen.open_for_ns, seen.trips), (Some(4 * SECOND_NS), 1), "the same trouble counts once");
    assert_eq!(state.look(START + 7 * SECOND_NS).breakers["main"].open_for_ns, Some(0), "half open");
}

#[test]
fn what_happened_before_a_time_without_faults_does_not_count() {
    let mut state = FleetState::default();
    let mut now = START;
    for outage in 0..5 {
        // The replica knows of a good window since the last time: the first opening in a row.
        state.exchange(now, &opened(5 * SECOND_NS, 1));
        assert_eq!(state.look(now).breakers["main"].trips, 1, "outage {outage}");
        now += 6 * SECOND_NS;
        assert_eq!(state.exchange(now, &wish("a")).breakers["main"].granted, 3);
        for _ in 0..3 {
            state.exchange(now, &answered("a", false));
        }
        assert_eq!(state.look(now).breakers["main"].open_for_ns, None);
        now += 70 * SECOND_NS;
    }
    state.exchange(now, &opened(5 * SECOND_NS, 1));
    let failed = &state.exchange(now + 6 * SECOND_NS, &opened(10 * SECOND_NS, 2)).breakers["main"];
    assert_eq!((failed.open_for_ns, failed.trips), (Some(10 * SECOND_NS), 2), "twice in a row");
}

#[test]
fn eight_replicas_make_no_more_probes_than_one_would() {
    let mut state = FleetState::default();
    state.exchange(START, &opened(5 * SECOND_NS, 1));
    let early = state.exchange(START + SECOND_NS, &wish("r0"));
    assert_eq!(early.breakers["main"].granted, 0, "not while it is open");
    let now = START + 6 * SECOND_NS;
    let granted: u32 =
        (0..8).map(|i| state.exchange(now, &wish(&format!("r{i}"))).breakers["main"].granted).sum();
    assert_eq!(granted, 3);
    state.exchange(now, &answered("r0", false));
    state.exchange(now, &answered("r0", false));
    assert_eq!(
        state.exchange(now, &wish("r5")).breakers["main"].granted,
        0,
        "one is under way, two are answered"
    );
    // It never reports: after a minute another may try.
    let later = now + 61 * SECOND_NS;
    assert_eq!(state.exchange(later, &wish("r5")).breakers["main"].granted, 1);
    let closed = state.exchange(later, &answered("r5", false));
    assert_eq!(closed.breakers["main"].open_for_ns, None);
}

#[test]
fn slow_probes_and_failed_ones_open_it_again_for_all() {
    let mut state = FleetState::default();
    state.exchange(START, &opened(SECOND_NS, 1));
    let now = START + 2 * SECOND_NS;
    assert_eq!(state.exchange(now, &wish("a")).breakers["main"].granted, 3);
    for _ in 0..3 {
        state.exchange(now, &answered("a", true));
    }
    let slow = state.look(now).breakers["main"].clone();
    assert_eq!((slow.open_for_ns, slow.trips), (Some(7 * SECOND_NS), 2));
    let now = now + 8 * SECOND_NS;
    state.exchange(now, &wish("a"));
    state.exchange(now, &opened(20 * SECOND_NS, 3));
    let failed = state.look(now).breakers["main"].clone();
    assert_eq!((failed.open_for_ns, failed.trips, failed.probing), (Some(20 * SECOND_NS), 3, 2));
    state.exchange(now, &answered("a", false));
    let after = state.look(now).breakers["main"].clone();
    assert_eq!(after, FleetBreaker { probing: 1, ..failed }, "an answer of before says nothing");
    // The other one hangs: it is one of three, and its answer is none of theirs.
    let now = now + 21 * SECOND_NS;
    assert_eq!(state.exchange(now, &wish("b")).breakers["main"].granted, 2);
    let late = Turn::ProbeAnswered {
        slow: false,
        took_ns: 22 * SECOND_NS,
        needed: 3,
        slow_rate_permille: 800,
        reopen_for_ns: SECOND_NS,
    };
    state.exchange(now, &Report { turns: vec![turn("main", late)], ..from("a") });
    for _ in 0..2 {
        state.exchange(now, &answered("b", false));
        assert!(state.look(now).breakers["main"].open_for_ns.is_some());
    }
    assert_eq!(state.exchange(now, &wish("b")).breakers["main"].granted, 1);
    state.exchange(now, &answered("b", false));
    assert_eq!(state.look(now).breakers["main"].open_for_ns, None);
}

#[test]
fn only_so_many_slow_probes_as_would_open_it_keep_it_open() {
    for (slow, open_for_ns) in [(2, None), (3, Some(7 * SECOND_NS))] {
        let mut state = FleetState::default();
        state.exchange(START, &opened(0, 1));
        state.exchange(START + 1, &wish("a"));
        for i in 0..3 {
            state.exchange(START + 1, &answered("a", i < slow));
        }
        assert_eq!(state.look(START + 1).breakers["main"].open_for_ns, open_for_ns, "{slow} of 3 are slow");
    }
}

#[test]
fn a_probe_that_is_returned_or_written_off_leaves_its_place_to_another() {
    let mut state = FleetState::default();
    state.exchange(START, &opened(0, 1));
    let granted = |state: &mut FleetState, at| state.exchange(at, &wish("b")).breakers["main"].granted;
    assert_eq!(state.exchange(START + 1, &wish("a")).breakers["main"].granted, 3);
    assert_eq!(granted(&mut state, START + 2), 0);
    state.exchange(START + 3, &Report { turns: vec![turn("main", Turn::ProbeReturned)], ..from("a") });
    assert_eq!(granted(&mut state, START + 4), 1);
    assert_eq!(granted(&mut state, START + 59 * SECOND_NS), 0);
    assert_eq!(granted(&mut state, START + 60 * SECOND_NS + 1), 2, "those of `a`");
    for _ in 0..3 {
        state.exchange(START + 60 * SECOND_NS + 2, &answered("a", false));
    }
    assert_eq!(state.look(START + 61 * SECOND_NS).breakers["main"].open_for_ns, Some(0), "it comes too late");
}

#[test]
fn a_probe_is_not_written_off_while_its_call_may_be_under_way() {
    let mut state = FleetState::default();
    state.exchange(START, &opened(0, 1));
    let patient = |replica: &str| {
        let mut report = wish(replica);
        report.probes[0].lost_after_ns = 360 * SECOND_NS;
        report
    };
    assert_eq!(state.exchange(START + 1, &patient("a")).breakers["main"].granted, 3);
    assert_eq!(state.exchange(START + 61 * SECOND_NS, &patient("b")).breakers["main"].granted, 0);
    assert_eq!(state.exchange(START + 361 * SECOND_NS, &patient("b")).breakers["main"].granted, 3);
}

#[test]
fn a_clock_that_steps_back_holds_a_breaker_open_for_no_longer_than_it_was_opened_for() {
    let mut state = FleetState::default();
    state.exchange(START, &opened(30 * SECOND_NS, 1));
    let open_for = |state: &FleetState, at| state.look(at).breakers["main"].open_for_ns;
    let stepped = START - 120 * SECOND_NS;
    assert_eq!(open_for(&state, stepped), Some(30 * SECOND_NS));
    state.exchange(stepped, &from("a"));
    // The same again: another replica's longer time holds.
    state.exchange(stepped + SECOND_NS, &opened(40 * SECOND_NS, 1));
    assert_eq!(open_for(&state, stepped + 2 * SECOND_NS), Some(39 * SECOND_NS));
    assert_eq!(open_for(&state, stepped - 120 * SECOND_NS), Some(40 * SECOND_NS));
    // Probes that were granted before are written off in their time.
    let half_open = stepped + 41 * SECOND_NS;
    assert_eq!(state.exchange(half_open, &wish("a")).breakers["main"].granted, 3);
    let again = half_open - 600 * SECOND_NS;
    state.exchange(again, &from("b"));
    assert_eq!(open_for(&state, again), Some(40 * SECOND_NS));
    assert_eq!(state.exchange(again + 59 * SECOND_NS, &wish("b")).breakers["main"].granted, 0);
    assert_eq!(state.exchange(again + 61 * SECOND_NS, &wish("b")).breakers["main"].granted, 3);
}

#[test]
fn a_replica_that_leaves_gives_its_probes_back() {
    let mut state = FleetState::default();
    state.exchange(START, &opened(0, 1));
    assert_eq!(state.exchange(START + 1, &wish("a")).breakers["main"].granted, 3);
    state.exchange(START + 2, &Report { leaves: true, ..from("a") });
    assert_eq!(state.exchange(START + 3, &wish("b")).breakers["main"].granted, 3);
}

#[test]
fn an_operator_s_order_stands_until_it_is_taken_back() {
    let mut state = FleetState::default();
    let order = |open| Edit::Breaker { esp: "main".to_owned(), open };
    state.edit(START, order(Some(true)));
    assert_eq!(state.look(START).breakers["main"].order, Some(true));
    assert_eq!(state.exchange(START, &wish("a")).breakers["main"].granted, 0);
    state.edit(START, order(None));
    let auto = state.exchange(START + 1, &wish("a")).breakers["main"].clone();
    assert_eq!((auto.order, auto.open_for_ns, auto.granted), (None, Some(0), 3), "it goes on with probes");
    state.edit(START, order(Some(false)));
    assert_eq!(state.look(START).breakers["main"].open_for_ns, None);
    state.edit(START, order(None));
    assert_eq!(state.look(START + 1).breakers["main"].open_for_ns, None);
}

proptest! {
    #[test]
    fn no_sequence_makes_too_many_probes_or_closes_a_breaker_without_one(
        steps in proptest::collection::vec((0_usize..3, 0_usize..12, 0_i64..20_000), 1..200),
    ) {
        let mut state = FleetState::default();
        let mut now = START;
        for (replica, what, pause_ms) in steps {
            now += pause_ms * MS;
            let before = state.look(now).breakers.get("main").cloned().unwrap_or_default();
            let replica = format!("r{replica}");
            let report = match what {
                0 => Report { replica, ..opened(5 * SECOND_NS, 1) },
                1 => Report { turns: vec![turn("main", Turn::ProbeReturned)], ..from(&replica) },
                2 => Report { leaves: true, ..from(&replica) },
                3..7 => answered(&replica, what == 3),
                _ => wish(&replica),
            };
            let is_answer = (3..7).contains(&what);
            let after = state.exchange(now, &report).breakers.get("main").cloned().unwrap_or_default();
            prop_assert!(after.probing <= 3);
            prop_assert!(after.granted == 0 || before.open_for_ns == Some(0), "only while half open");
            let closes = before.open_for_ns.is_some() && after.open_for_ns.is_none();
            prop_assert!(!closes || is_answer && before.probing > 0 && before.open_for_ns == Some(0));
            let opens = after.trips > before.trips;
            prop_assert!(!opens || what == 0 || is_answer && before.probing > 0);
        }
    }
}

fn throttle(cut: bool, hold_ns: i64) -> Report {
    let scope = "esp:main/group:gmail".to_owned();
    let it = Throttle { scope, cut, hold_ns, rate: 80.0, recover_ns: 600 * SECOND_NS };
    Report { throttles: vec![it], ..from("a") }
}

#[test]
fn a_throttle_halves_the_rate_once_an_occasion_and_it_comes_back_slowly() {
    let key = "esp:main/group:gmail";
    let mut state = FleetState::default();
    for i in 0..20 {
        state.exchange(START + i * 100 * MS, &throttle(true, 0));
    }
    let brake = state.look(START + 2 * SECOND_NS).brakes[key];
    assert!((brake.factor - 0.5).abs() < 0.01, "{brake:?}");
    assert!((brake.rate - 80.0).abs() < f64::EPSILON);
    state.exchange(START + 6 * SECOND_NS, &throttle(true, 0));
    let brake = state.look(START + 6 * SECOND_NS).brakes[key];
    assert!((brake.factor - 0.25).abs() < 0.01, "{brake:?}");
    let half_way = state.look(START + 156 * SECOND_NS).brakes[key];
    assert!((half_way.factor - 0.5).abs() < 0.01, "{half_way:?}");
    assert!(state.look(START + 460 * SECOND_NS).brakes.is_empty(), "and then it is off");
    for i in 0..100 {
        state.exchange(START + (500 + 6 * i) * SECOND_NS, &throttle(true, 0));
    }
    assert!(state.look(START + 1100 * SECOND_NS).brakes[key].factor >= 1.0 / 64.0, "never to nothing");
}

#[test]
fn the_time_in_the_reply_is_kept_to() {
    let key = "esp:main/group:gmail";
    let mut state = FleetState::default();
    state.exchange(START, &throttle(true, 90 * SECOND_NS));
    state.exchange(START + SECOND_NS, &throttle(true, 5 * SECOND_NS));
    assert_eq!(state.look(START + SECOND_NS).brakes[key].hold_ns, 89 * SECOND_NS, "the longer time holds");
    let mut quota = FleetState::default();
    quota.exchange(START, &throttle(false, 30 * SECOND_NS));
    let brake = quota.look(START).brakes[key];
    assert!((brake.factor - 1.0).abs() < f64::EPSILON && brake.hold_ns == 30 * SECOND_NS, "{brake:?}");
    assert!(quota.look(START + 31 * SECOND_NS).brakes.is_empty());
    // A stop alone knows no rate; a cut that comes while it lasts does.
    let stop = Throttle { rate: 0.0, ..throttle(false, 30 * SECOND_NS).throttles.remove(0) };
    quota.exchange(START + 40 * SECOND_NS, &Report { throttles: vec![stop], ..from("a") });
    quota.exchange(START + 41 * SECOND_NS, &throttle(true, 0));
    let spiky = Throttle { rate: 900.0, ..throttle(true, 0).throttles.remove(0) };
    quota.exchange(START + 50 * SECOND_NS, &Report { throttles: vec![spiky], ..from("a") });
    let brake = quota.look(START + 50 * SECOND_NS).brakes[key];
    assert!((brake.rate - 80.0).abs() < f64::EPSILON, "{brake:?}");
    // What an ESP says is bounded.
    quota.exchange(START, &throttle(true, i64::MAX));
    assert!(quota.look(START).brakes[key].hold_ns <= DAY_NS);
}

#[test]
fn what_stands_for_a_time_stands_no_longer_when_the_clock_steps_back() {
    let mut state = FleetState::default();
    let presence = Some(Presence::default());
    state.exchange(START, &Report { presence, ..throttle(true, 30 * SECOND_NS) });
    state.exchange(START, &connections::connections("a", 0, 50));
    let stepped = START - 3_600 * SECOND_NS;
    state.exchange(stepped, &from("b"));
    let look = |after_s| state.look(stepped + after_s * SECOND_NS);
    assert_eq!(look(0).brakes["esp:main/group:gmail"].hold_ns, 30 * SECOND_NS);
    assert_eq!(look(0).connections["esp:main/connections"].held["a"].ttl_ns, 60 * SECOND_NS);
    assert_eq!(look(2).here().count(), 1);
    assert_eq!(look(4).here().count(), 0, "a was killed");
    state.exchange(stepped + 61 * SECOND_NS, &throttle(true, 0));
    let again = state.look(stepped + 61 * SECOND_NS);
    assert!(again.brakes["esp:main/group:gmail"].factor < 0.5, "another occasion: {again:?}");
    assert_eq!(again.connections.len(), 0, "its lease has ended");
}

#[test]
fn a_hold_takes_back_nothing_of_what_a_cut_has_recovered() {
    let key = "esp:main/group:gmail";
    let mut state = FleetState::default();
    for i in 0..10 {
        state.exchange(START + 6 * i * SECOND_NS, &throttle(true, 0));
    }
    // A stop of a second once a minute, as an ESP tells it that counts by the minute.
    let cut_ns = START + 54 * SECOND_NS;
    let factor = |state: &FleetState, at| state.look(at).brakes.get(key).map_or(1.0, |it| it.factor);
    assert!(factor(&state, cut_ns) < 0.02);
    for minute in 1..=5 {
        state.exchange(cut_ns + 60 * minute * SECOND_NS, &throttle(false, SECOND_NS));
    }
    let after = factor(&state, cut_ns + 301 * SECOND_NS);
    assert!((0.49..=0.53).contains(&after), "{after}");
    let mut halved = FleetState::default();
    halved.exchange(START, &throttle(true, 0));
    halved.exchange(START + 120 * SECOND_NS, &throttle(false, SECOND_NS));
    let after = factor(&halved, START + 121 * SECOND_NS);
    assert!((0.69..=0.71).contains(&after), "{after}");
    // It is held all the same, and another cut halves what it has come back to.
    assert_eq!(halved.look(START + 120 * SECOND_NS).brakes[key].hold_ns, SECOND_NS);
    halved.exchange(START + 121 * SECOND_NS, &throttle(true, 2 * SECOND_NS));
    let after = factor(&halved, START + 123 * SECOND_NS);
    assert!((0.34..=0.36).contains(&after), "{after}");
}

fn ramp() -> RampTerms {
    RampTerms { scope: "esp:main".to_owned(), caps: vec![100, 200, 400], hold_above: 0.05 }
}

fn day(state: &mut FleetState, day: i64, accepted: u64, troubled: u64) -> RampView {
    let sends = |verdict, count| Sends {
        esp: "main".to_owned(),
        group: "gmail".to_owned(),
        word: "x".to_owned(),
        verdict,
        count,
    };
    let mut sent = Vec::new();
    if accepted + troubled > 0 {
        sent = vec![sends(tally::Verdict::Accepted, accepted), sends(tally::Verdict::Troubled, troubled)];
    }
    let now = START.div_euclid(DAY_NS) * DAY_NS + day * DAY_NS + 3600 * SECOND_NS;
    state.exchange(now, &Report { ramps: vec![ramp()], sends: sent, ..from("a") }).ramps["esp:main"].clone()
}

#[test]
fn a_ramp_counts_sending_days_and_is_held_by_trouble() {
    let mut state = FleetState::default();
    assert_eq!(day(&mut state, 0, 100, 0).quota, Some(100));
    assert_eq!(day(&mut state, 1, 0, 0).quota, Some(200), "a day with sends counts");
    assert_eq!(day(&mut state, 2, 0, 0).quota, Some(200), "a day without does not");
    assert_eq!(day(&mut state, 3, 150, 50).quota, Some(200));
    let held = day(&mut state, 4, 190, 10);
    assert_eq!((held.quota, held.held), (Some(200), true), "a quarter in trouble");
    let on = day(&mut state, 5, 400, 0);
    assert_eq!((on.quota, on.held), (Some(400), false), "five per cent are allowed");
    assert_eq!(day(&mut state, 6, 400, 0).quota, None, "then there is no cap");
    assert_eq!(day(&mut state, 40, 1, 0).quota, Some(100), "after a month it is cold again");
}

#[test]
fn what_comes_back_later_holds_a_ramp_too() {
    let mut state = FleetState::default();
    let bounced = |state: &mut FleetState, on: i64, count| {
        let sends = Sends {
            esp: "main".to_owned(),
            group: "gmail".to_owned(),
            word: "bounced".to_owned(),
            verdict: tally::Verdict::Returned,
            count,
        };
        let now = START.div_euclid(DAY_NS) * DAY_NS + on * DAY_NS + 7200 * SECOND_NS;
        state.exchange(now, &Report { ramps: vec![ramp()], sends: vec![sends], ..from("a") })
    };
    assert_eq!(day(&mut state, 0, 100, 0).quota, Some(100));
    let view = bounced(&mut state, 0, 6);
    assert_eq!(view.ramps["esp:main"].sent, 100, "they are no more sends");
    assert!(view.tally.is_empty(), "and no calls");
    let held = day(&mut state, 1, 100, 0);
    assert_eq!((held.quota, held.held), (Some(100), true), "six of a hundred came back");
    bounced(&mut state, 1, 5);
    assert_eq!(day(&mut state, 2, 0, 0).quota, Some(200), "five may");
    // A day on which nothing but bounces came is no sending day.
    bounced(&mut state, 3, 5);
    assert_eq!(day(&mut state, 4, 0, 0).quota, Some(200));
    // They count for the next one.
    bounced(&mut state, 5, 20);
    assert_eq!(day(&mut state, 6, 200, 0).quota, Some(200));
    let held = day(&mut state, 7, 0, 0);
    assert_eq!((held.quota, held.held), (Some(200), true), "25 came back");
    let healed = (day(&mut state, 8, 200, 0), day(&mut state, 9, 0, 0)).1;
    assert_eq!((healed.quota, healed.held), (Some(400), false), "and are forgotten then");
}

#[test]
fn a_day_on_which_nothing_was_accepted_is_no_sending_day() {
    let mut state = FleetState::default();
    for on in 0..40 {
        let refused = if on % 2 == 0 { 5 } else { 0 };
        assert_eq!(day(&mut state, on, 0, refused).quota, Some(100), "day {on}");
    }
    assert_eq!(day(&mut state, 40, 1, 5).quota, Some(100));
    assert_eq!(day(&mut state, 41, 0, 0).quota, Some(200));
    // Nor does it keep a ramp from growing cold.
    for on in 42..72 {
        day(&mut state, on, 0, 5);
    }
    assert_eq!(day(&mut state, 72, 0, 0).quota, Some(100));
}

fn release(key: &str, count: u32, opening: Opening) -> Report {
    let wish = ReleaseWish { key: key.to_owned(), count, ahead_ns: 5 * SECOND_NS, opening, beside: None };
    Report { releases: vec![wish], ..from("a") }
}

#[test]
fn jobs_are_released_as_slots_open_whoever_asks() {
    let mut state = FleetState::default();
    let opening = Opening::Spaced { next_in_ns: 0, spacing_ns: 100 * MS };
    let mut released = 0;
    for tick in 0..120 {
        let view = state.exchange(START + tick * 250 * MS, &release("k", 500, opening));
        released += view.releases.get("k").copied().unwrap_or(0);
    }
    // 30 s at 10/s, and 5 s ahead.
    assert!((345..=352).contains(&released), "{released}");
    assert!(state.look(START + 30 * SECOND_NS).lines.contains("k"));
    assert!(!state.look(START + 40 * SECOND_NS).lines.contains("k"), "nobody has said so lately");
}

#[test]
fn a_limit_that_opens_late_releases_late_and_an_edit_at_once() {
    let mut state = FleetState::default();
    let late = Opening::Spaced { next_in_ns: 3600 * SECOND_NS, spacing_ns: SECOND_NS };
    assert!(state.exchange(START, &release("k", 9, late)).releases.is_empty());
    let now = Opening::Spaced { next_in_ns: 0, spacing_ns: MS };
    assert_eq!(state.exchange(START + 1, &release("k", 9, now)).releases["k"], 9);
}

#[test]
fn what_is_left_of_a_count_is_released_once() {
    let mut state = FleetState::default();
    let left = |left| Opening::Counted { left };
    assert_eq!(state.exchange(START, &release("k", 30, left(40))).releases["k"], 30);
    assert_eq!(state.exchange(START + SECOND_NS, &release("k", 30, left(40))).releases["k"], 10);
    assert!(state.exchange(START + 2 * SECOND_NS, &release("k", 30, left(40))).releases.is_empty());
    assert_eq!(
        state.exchange(START + 9 * SECOND_NS, &release("k", 30, left(5))).releases["k"],
        5,
        "what was not used by then was not meant for these"
    );
}

#[test]
fn a_repeated_report_changes_nothing_more() {
    let mut state = FleetState::default();
    let report = Report { throttles: throttle(true, SECOND_NS).throttles, ..opened(5 * SECOND_NS, 1) };
    let first = state.exchange(START, &report);
    let again = state.exchange(START, &report);
    assert_eq!(first, again);
}

#[test]
fn campaigns_are_ordered_and_limits_edited() {
    let mut state = FleetState::default();
    let order = |order| Edit::Campaign { tenant: "t".to_owned(), campaign: "c".to_owned(), order };
    state.edit(START, order(Some(Order::Paused)));
    state.edit(START, order(Some(Order::Cancelled)));
    assert_eq!(state.look(START).campaigns.len(), 1);
    assert_eq!(state.look(START).campaigns[0].order, Order::Cancelled);
    state.edit(START, order(None));
    assert!(state.look(START).campaigns.is_empty());
    let edit = LimitEdit { spec: "5/s".to_owned(), by: "ada".to_owned(), at: "now".to_owned() };
    state.edit(START, Edit::Limit { key: "k".to_owned(), edit: Some(edit.clone()) });
    assert_eq!(state.look(START).limit_edits["k"], edit);
    state.edit(START, Edit::Limit { key: "k".to_owned(), edit: None });
    assert!(state.look(START).limit_edits.is_empty());
}

#[test]
fn a_replica_that_is_not_seen_any_more_is_forgotten() {
    let mut state = FleetState::default();
    let here = |name: &str| Report { presence: Some(Presence::default()), ..from(name) };
    state.exchange(START, &here("a"));
    state.exchange(START + 30 * SECOND_NS, &here("b"));
    let names = |view: &View| view.replicas.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&state.look(START + 30 * SECOND_NS)), ["a", "b"]);
    assert_eq!(names(&state.exchange(START + 61 * SECOND_NS, &here("b"))), ["b"]);
    assert!(names(&state.exchange(START + 62 * SECOND_NS, &Report { leaves: true, ..from("b") })).is_empty());
}

#[test]
fn no_report_makes_the_document_grow_without_bound() {
    let mut state = FleetState::default();
    for i in 0..1_100 {
        let name = format!("n{i}");
        let mut report = Report { presence: Some(Presence::default()), ..from(&name) };
        report.turns = vec![turn(&name, Turn::Opened { for_ns: i64::MAX, trips: u32::MAX })];
        report.connections = connections::connections("x", u32::MAX, u32::MAX).connections;
        report.connections[0].key.clone_from(&name);
        report.sends = vec![Sends {
            esp: name.clone(),
            group: "g".to_owned(),
            word: "accepted".to_owned(),
            verdict: tally::Verdict::Accepted,
            count: u64::MAX,
        }];
        state.exchange(START, &report);
    }
    let view = state.look(START);
    assert!(view.replicas.len() <= 1_000 && view.breakers.len() <= 1_000 && view.tally.len() <= 1_000);
    assert!(view.connections.len() <= 1_000);
}
