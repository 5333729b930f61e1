use sluice_types::{Category, Outcome, Timestamp};

use super::*;

#[derive(Debug)]
struct FrozenClock(AtomicU64);

impl Clock for FrozenClock {
    fn tick(&self) -> Tick {
        Tick::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }
}

fn places(count: usize) -> (Arc<FrozenClock>, Arc<Places>) {
    let clock = Arc::new(FrozenClock(AtomicU64::new(1)));
    (Arc::clone(&clock), Places::new(count, 200, clock))
}

fn has_turn(wait: &mut PassWait) -> Option<Place> {
    wait.turn.try_recv().ok().map(Place::of)
}

#[test]
fn places_are_handed_out_in_order_of_arrival_transactional_first() {
    let (_clock, all) = places(1);
    let held = all.try_take(Class::Bulk).unwrap();
    assert!(all.try_take(Class::Transactional).is_none());
    let mut bulk: Vec<_> = (0..2).map(|_| all.join(Class::Bulk)).collect();
    let mut urgent: Vec<_> = (0..2).map(|_| all.join(Class::Transactional)).collect();
    assert!(urgent.iter_mut().chain(&mut bulk).all(|wait| has_turn(wait).is_none()));
    drop(held);
    for wait in &mut urgent {
        let place = has_turn(wait).expect("transactional jobs go first");
        assert!(bulk.iter_mut().all(|wait| has_turn(wait).is_none()));
        assert!(all.try_take(Class::Transactional).is_none(), "nobody overtakes");
        drop(place);
    }
    for wait in &mut bulk {
        drop(has_turn(wait).expect("then the others as they came"));
    }
    assert_eq!(all.claims.passed(), 0);
    assert!(all.try_take(Class::Bulk).is_some());
}

#[test]
fn the_reserved_share_is_kept_while_transactional_jobs_come_and_lent_else() {
    let (clock, all) = places(10);
    let take = |class| all.try_take(class);
    let lent: Vec<_> = (0..10).map(|_| take(Class::Bulk).expect("nobody else wants any")).collect();
    assert!(take(Class::Bulk).is_none());
    let mut urgent = all.join(Class::Transactional);
    let mut bulk = all.join(Class::Bulk);
    let mut lent = lent.into_iter();
    drop(lent.next());
    let place = has_turn(&mut urgent).unwrap();
    drop(lent.next());
    assert!(has_turn(&mut bulk).is_none(), "a second place stays free for the next transactional job");
    let second = all.join(Class::Transactional).turn.try_recv().unwrap();
    drop((place, second));
    assert!(has_turn(&mut bulk).is_none(), "both are kept now");
    clock.0.fetch_add(11_000_000_000, Ordering::Relaxed);
    drop(lent.next());
    assert!(has_turn(&mut bulk).is_some(), "no transactional job for ten seconds");
}

#[test]
fn twice_as_many_are_claimed_ahead_as_calls_end_meanwhile_and_no_more_call() {
    let (clock, all) = places(10);
    let take = |count| (0..count).map_while(|_| all.try_take(Class::Bulk)).collect::<Vec<_>>();
    let mut held = take(99);
    assert_eq!(held.len(), 10, "nothing is known yet");
    clock.0.fetch_add(6_000_000, Ordering::Relaxed);
    let mut first = held.pop().unwrap();
    assert!(first.try_enter());
    all.took(Duration::from_millis(10));
    held.extend(take(99));
    assert_eq!(held.len() + 1, 22, "a claim takes six tenths of a call");
    let mut called = held.iter_mut().filter_map(|place| place.try_enter().then_some(())).count();
    assert_eq!((called, all.in_use()), (9, 10), "no more call than may");
    drop(first);
    called += usize::from(held.last_mut().unwrap().try_enter());
    assert_eq!((called, all.in_use()), (10, 10), "one has ended, another begins");
    drop(held);
    assert_eq!((all.in_use(), all.claims.passed()), (0, 0));
}

/// Calls that have become slow find as many bulk jobs at the door as went ahead of quick ones.
#[test]
fn transactional_jobs_enter_before_bulk_that_was_claimed_ahead_and_keep_their_share() {
    let (clock, all) = places(10);
    all.took(Duration::from_millis(1));
    let mut first = all.try_take(Class::Bulk).unwrap();
    clock.0.fetch_add(1_000_000_000, Ordering::Relaxed);
    assert!(first.try_enter());
    let mut bulk: Vec<_> = (0..30).map_while(|_| all.try_take(Class::Bulk)).collect();
    assert_eq!(bulk.len(), 30);
    let mut calls = bulk.iter_mut().filter_map(|place| place.try_enter().then_some(())).count();
    assert_eq!((calls, all.in_use()), (9, 10), "nobody else has come");
    let enter = |class| all.wait_to_pass(Step::Call, class);
    let mut waits: Vec<_> = (0..20).map(|_| enter(Class::Bulk)).collect();
    let _urgent = all.try_take(Class::Transactional).unwrap();
    let mut urgent = enter(Class::Transactional);
    drop(first);
    let urgent = has_turn(&mut urgent).expect("before those who came first");
    calls += waits.iter_mut().filter_map(has_turn).count();
    assert_eq!((calls, all.in_use()), (9, 10));
    drop(urgent);
    assert_eq!((waits.iter_mut().filter_map(has_turn).count(), all.in_use()), (0, 9), "a share stays free");
}

#[test]
fn one_who_gives_up_loses_no_place() {
    let (_clock, all) = places(1);
    let held = all.try_take(Class::Bulk).unwrap();
    let (gone, mut next) = (all.join(Class::Bulk), all.join(Class::Bulk));
    drop(gone);
    drop(held);
    let place = has_turn(&mut next).unwrap();
    let (told, mut last) = (all.join(Class::Bulk), all.join(Class::Bulk));
    drop(place);
    // Its turn has come, and it does not know yet.
    drop(told);
    assert!(has_turn(&mut last).is_some());
    drop(last);
    assert_eq!(all.claims.passed(), 0);
}

#[test]
fn places_are_never_more_however_many_threads_ask() {
    let (_clock, all) = places(3);
    let most = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for i in 0..4 {
            let (all, most) = (&all, &most);
            scope.spawn(move || {
                let class = if i == 0 { Class::Transactional } else { Class::Bulk };
                for _ in 0..2000 {
                    let place = all.try_take(class).or_else(|| {
                        let mut wait = all.join(class);
                        loop {
                            if let Some(place) = has_turn(&mut wait) {
                                return Some(place);
                            }
                            std::thread::yield_now();
                        }
                    });
                    most.fetch_max(all.claims.passed(), Ordering::Relaxed);
                    drop(place);
                }
            });
        }
    });
    assert!(most.load(Ordering::Relaxed) <= 3, "{most:?}");
    assert_eq!(all.claims.state.load(Ordering::Relaxed), 0, "all came back, and nobody waits");
}

#[test]
fn how_long_one_waits_follows_the_calls() {
    let (_clock, all) = places(2);
    assert_eq!(all.wait(Class::Bulk), Duration::ZERO);
    all.took(Duration::from_secs(4));
    all.took(Duration::from_secs(5));
    assert_eq!(all.call(), Duration::from_secs(4), "about");
    let held = (all.try_take(Class::Bulk), all.try_take(Class::Bulk));
    let waits: Vec<_> = (0..3).map(|_| all.join(Class::Bulk)).collect();
    assert_eq!(all.wait(Class::Bulk), Duration::from_secs(8));
    assert_eq!(all.wait(Class::Transactional), Duration::from_secs(2));
    drop((held, waits));
    for _ in 0..30 {
        all.took(Duration::from_millis(100));
    }
    assert!(all.call() < Duration::from_millis(250), "{:?}", all.call());
}

#[test]
fn silence_counts_while_calls_are_under_way() {
    let (clock, all) = places(2);
    let pass = |time: Duration| {
        clock.0.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::Relaxed);
    };
    pass(Duration::from_secs(100));
    assert_eq!(all.silence(), Duration::ZERO, "there are none");
    let first = all.begin();
    pass(Duration::from_secs(3));
    let second = all.begin();
    assert_eq!(all.silence(), Duration::from_secs(3));
    first.ends(Some(&Outcome::Accepted { provider_message_id: None }), Duration::from_secs(3));
    assert_eq!(all.silence(), Duration::ZERO);
    pass(Duration::from_secs(2));
    assert_eq!(all.silence(), Duration::from_secs(2));
    second.ends(Some(&no_answer()), Duration::from_secs(2));
    assert_eq!(all.silence(), Duration::ZERO, "there are none");
}

fn no_answer() -> Outcome {
    Outcome::Unknown { detail: "no answer in time".to_owned() }
}

/// It had as many as it has places until the first of them had timed out.
#[test]
fn an_esp_that_falls_silent_gets_no_more_calls_than_open_its_breaker() {
    let (clock, all) = places(8);
    all.set_stake(3);
    let pass = |ms: u64| clock.0.fetch_add(ms * 1_000_000, Ordering::Relaxed);
    let accepted = || Outcome::Accepted { provider_message_id: None };
    for _ in 0..20 {
        let (place, call) = (all.try_take(Class::Bulk).unwrap(), all.begin());
        pass(5);
        call.ends(Some(&accepted()), Duration::from_millis(5));
        drop(place);
    }
    // It answers nothing more; they come 100 ms apart.
    let mut calls = Vec::new();
    while let Some(place) = all.try_take(Class::Bulk) {
        calls.push((all.begin(), place));
        pass(100);
    }
    assert_eq!(calls.len(), 3);
    assert!(all.try_take(Class::Transactional).is_none(), "nor has anybody else a call to lose");
    let mut wait = all.join(Class::Bulk);
    let (call, place) = calls.remove(0);
    call.ends(Some(&no_answer()), Duration::from_secs(3));
    drop(place);
    assert!(has_turn(&mut wait).is_none(), "that one has timed out tells nothing new");
    let (call, place) = calls.remove(0);
    call.ends(Some(&accepted()), Duration::from_millis(5));
    drop(place);
    let _place = has_turn(&mut wait).unwrap();
    assert!(all.try_take(Class::Bulk).is_some(), "it answers");
}

#[test]
fn an_esp_that_is_slow_as_ever_is_not_silent() {
    let (clock, all) = places(8);
    all.set_stake(3);
    let first = all.begin();
    clock.0.fetch_add(2_000_000_000, Ordering::Relaxed);
    first.ends(Some(&Outcome::Accepted { provider_message_id: None }), Duration::from_secs(2));
    let _calls: Vec<_> = (0..4).map(|_| all.begin()).collect();
    clock.0.fetch_add(3_000_000_000, Ordering::Relaxed);
    assert!(all.try_take(Class::Bulk).is_some());
}

/// The breaker may be held closed.
#[test]
fn an_esp_that_was_silent_gets_a_call_once_all_have_ended() {
    let (clock, all) = places(8);
    all.set_stake(1);
    all.begin().ends(None, Duration::from_millis(5));
    let call = all.begin();
    clock.0.fetch_add(3_000_000_000, Ordering::Relaxed);
    assert!(all.try_take(Class::Bulk).is_none());
    call.ends(Some(&no_answer()), Duration::from_secs(3));
    assert!(all.try_take(Class::Bulk).is_some());
}

/// Jobs that came in a crowd were all called for, however many of them had failed already.
#[test]
fn an_esp_that_fails_gets_no_more_calls_than_open_its_breaker() {
    let (_clock, all) = places(8);
    all.set_stake(5);
    let faulted = || Outcome::Faulted { category: Category::Connect, detail: String::new() };
    let call = |outcome: Outcome| {
        let place = all.try_take(Class::Bulk).unwrap();
        all.judge(&outcome);
        drop(place);
    };
    call(faulted());
    let crowd: Vec<_> = (0..4).map(|_| all.try_take(Class::Bulk).unwrap()).collect();
    assert!(all.try_take(Class::Bulk).is_some(), "a single one tells nothing");
    drop(crowd);
    call(faulted());
    let crowd: Vec<_> = (0..3).map(|_| all.try_take(Class::Bulk).unwrap()).collect();
    assert!(all.try_take(Class::Transactional).is_none(), "five are at stake");
    let mut wait = all.join(Class::Bulk);
    for place in crowd {
        all.judge(&faulted());
        drop(place);
    }
    let place = has_turn(&mut wait).expect("one at a time: the breaker may be held closed");
    assert!(all.try_take(Class::Bulk).is_none());
    all.judge(&Outcome::Accepted { provider_message_id: None });
    drop(place);
    let places: Vec<_> = (0..8).map(|_| all.try_take(Class::Transactional).unwrap()).collect();
    assert_eq!(places.len(), 8, "it works");
}
