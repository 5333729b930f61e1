use sluice_policy::{FleetState, Report};
use tokio::time::Instant;

use super::*;
use crate::worker::rig::PausedClock;

const CALL: Duration = Duration::from_secs(5);

/// Replicas that share one document, and exchange when they are told to.
struct Fleet {
    start: Instant,
    state: FleetState,
    replicas: Vec<Arc<Connections>>,
}

impl Fleet {
    fn new(count: usize) -> Self {
        let start = Instant::now();
        let replica = |_| Connections::new(Arc::new(PausedClock(start)), Arc::default(), CALL, 200);
        Self { start, state: FleetState::default(), replicas: (0..count).map(replica).collect() }
    }

    fn now_ns(&self) -> i64 {
        1_700_000_000_000_000_000 + i64::try_from(self.start.elapsed().as_nanos()).unwrap()
    }

    fn exchange(&mut self, replica: usize) {
        let now_ns = self.now_ns();
        let (name, it) = (format!("r{replica}"), &self.replicas[replica]);
        let asked_at = it.clock.tick();
        let report = Report { replica: name.clone(), connections: it.wishes(), ..Report::default() };
        let view = self.state.exchange(now_ns, &report);
        it.adopt(&view, &name, asked_at);
    }
}

fn limits_of(count: u32) -> Vec<Limit> {
    let scope = "esp:main".parse().unwrap();
    vec![Limit { scope, spec: format!("{count} connections").parse().unwrap() }]
}

/// Takes one of three if it can be had without waiting.
fn now(it: &Arc<Connections>) -> Option<Connection> {
    it.join(&limits_of(3), Class::Bulk).turn.try_recv().ok()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_before_the_fleet_allows_it_and_never_more_than_the_limit() {
    let mut fleet = Fleet::new(2);
    let (a, b) = (Arc::clone(&fleet.replicas[0]), Arc::clone(&fleet.replicas[1]));
    assert!(now(&a).is_none(), "without a lease there is none");
    fleet.exchange(0);
    let first = now(&a).expect("asked for a moment ago");
    assert!(now(&a).is_none(), "it had asked for one");
    fleet.exchange(0);
    let second = now(&a).unwrap();
    assert!(now(&b).is_none());
    fleet.exchange(1);
    let third = now(&b).expect("the last of three");
    assert!(now(&b).is_none());
    fleet.exchange(1);
    assert!(now(&b).is_none(), "all three are in use");
    drop((first, second));
    tokio::time::sleep(Duration::from_secs(4)).await;
    fleet.exchange(0);
    assert!(now(&b).is_none());
    fleet.exchange(1);
    assert!(now(&b).is_some(), "what one does not want any more goes to the other");
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_outlast_its_lease_does_not_begin() {
    let mut fleet = Fleet::new(1);
    let it = Arc::clone(&fleet.replicas[0]);
    assert!(now(&it).is_none());
    fleet.exchange(0);
    let held = now(&it).unwrap();
    assert!(held.outlasts(CALL));
    // Two calls and ten seconds: the store is away since.
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(!held.outlasts(CALL));
    drop(held);
    assert!(now(&it).is_none());
}

/// One replica that may have all of `count`.
fn alone(count: u32) -> (Fleet, Arc<Connections>) {
    let mut fleet = Fleet::new(1);
    let it = Arc::clone(&fleet.replicas[0]);
    let waits: Vec<_> = (0..count).map(|_| it.join(&limits_of(count), Class::Bulk)).collect();
    fleet.exchange(0);
    drop(waits);
    (fleet, it)
}

fn take(it: &Arc<Connections>, count: u32, class: Class) -> Option<Connection> {
    it.join(&limits_of(count), class).turn.try_recv().ok()
}

#[tokio::test(start_paused = true)]
async fn connections_are_handed_out_in_order_of_arrival_transactional_first() {
    let (_fleet, it) = alone(1);
    let mut held = take(&it, 1, Class::Bulk);
    assert!(held.is_some());
    let mut waits: Vec<_> = [Class::Bulk, Class::Bulk, Class::Transactional, Class::Transactional]
        .map(|class| it.join(&limits_of(1), class))
        .into();
    for next in [2, 3, 0, 1] {
        drop(held.take());
        let had: Vec<_> = waits.iter_mut().map(|wait| wait.turn.try_recv().ok()).collect();
        let turns: Vec<usize> = (0..4).filter(|i| had[*i].is_some()).collect();
        assert_eq!(turns, [next]);
        held = had.into_iter().flatten().next();
    }
}

#[tokio::test(start_paused = true)]
async fn the_reserved_share_is_kept_while_transactional_jobs_come() {
    let (mut fleet, it) = alone(10);
    let mut lent: Vec<_> = (0..10).map(|_| take(&it, 10, Class::Bulk).expect("lent")).collect();
    let mut urgent = it.join(&limits_of(10), Class::Transactional);
    let mut bulk = it.join(&limits_of(10), Class::Bulk);
    fleet.exchange(0);
    lent.pop();
    assert!(urgent.turn.try_recv().is_ok());
    lent.pop();
    assert!(bulk.turn.try_recv().is_err(), "two of ten are kept");
    assert!(take(&it, 10, Class::Transactional).is_some());
    tokio::time::sleep(Duration::from_secs(11)).await;
    fleet.exchange(0);
    assert!(bulk.turn.try_recv().is_ok(), "nobody else has wanted any for ten seconds");
}

#[tokio::test(start_paused = true)]
async fn who_lacks_another_one_holds_up_nobody() {
    let mut fleet = Fleet::new(1);
    let it = Arc::clone(&fleet.replicas[0]);
    let of_group =
        Limit { scope: "esp:main/group:gmail".parse().unwrap(), spec: "1 connections".parse().unwrap() };
    let both: Vec<Limit> = limits_of(3).into_iter().chain([of_group]).collect();
    let asked: Vec<_> = (0..3).map(|_| it.join(&both, Class::Bulk)).collect();
    fleet.exchange(0);
    drop(asked);
    let mut first = it.join(&both, Class::Bulk);
    let held = first.turn.try_recv().unwrap();
    let mut second = it.join(&both, Class::Bulk);
    assert!(second.turn.try_recv().is_err(), "the group has one only");
    assert!(take(&it, 3, Class::Bulk).is_some(), "others need none of the group's");
    drop(held);
    assert!(second.turn.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_a_lapsed_lease_had_begins_no_call() {
    let mut fleet = Fleet::new(2);
    let (a, b) = (Arc::clone(&fleet.replicas[0]), Arc::clone(&fleet.replicas[1]));
    let asked: Vec<_> = (0..3).map(|_| a.join(&limits_of(3), Class::Bulk)).collect();
    fleet.exchange(0);
    let held = asked.into_iter().map(|mut wait| wait.turn.try_recv().unwrap());
    let held: Vec<_> = held.collect();
    // The store is away for longer than the lease; then another replica is there first.
    tokio::time::sleep(Duration::from_secs(21)).await;
    let asked: Vec<_> = (0..3).map(|_| b.join(&limits_of(3), Class::Bulk)).collect();
    fleet.exchange(1);
    assert!(asked.into_iter().all(|mut wait| wait.turn.try_recv().is_ok()));
    fleet.exchange(0);
    assert!(held.iter().all(|it| !it.outlasts(CALL)), "the other may call with them");
    drop(held);
    fleet.exchange(0);
    assert!(now(&a).is_none());
}

#[tokio::test(start_paused = true)]
async fn how_long_one_waits_follows_who_is_before() {
    let (_fleet, it) = alone(2);
    let wait = |class| it.wait(&limits_of(2), class, Duration::from_secs(4));
    assert_eq!((wait(Class::Bulk), it.likely(&limits_of(2))), (Duration::ZERO, 2));
    let _held = (take(&it, 2, Class::Bulk), take(&it, 2, Class::Bulk));
    let _waits: Vec<_> = (0..3).map(|_| it.join(&limits_of(2), Class::Bulk)).collect();
    assert_eq!(wait(Class::Bulk), Duration::from_secs(8));
    assert_eq!(wait(Class::Transactional), Duration::from_secs(2));
    assert_eq!(it.wait(&[], Class::Bulk, CALL), Duration::ZERO);
}

/// What of an exchange is under way.
enum Leg {
    There(Box<Report>, Tick),
    Back(Box<View>, Tick),
}

/// Exchanges take time, calls begin and end meanwhile, and some answers are lost.
async fn random_exchanges(seed: u64) {
    const LIMIT: u32 = 10;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut fleet = Fleet::new(3);
    let mut legs: Vec<Option<Leg>> = (0..3).map(|_| None).collect();
    let mut calls: Vec<Vec<(Tick, Connection)>> = (0..3).map(|_| Vec::new()).collect();
    // Who has much to do, and who has little.
    let mut busy = [5_u32; 3];
    for step in 0..400 {
        let i = rng.usize(0..3);
        let it = Arc::clone(&fleet.replicas[i]);
        let now = it.clock.tick();
        calls
            .iter_mut()
            .for_each(|calls| calls.retain(|(began, _)| now.since(*began) < CALL - Duration::from_secs(1)));
        match rng.u32(0..12) {
            0..=3 => {
                legs[i] = match legs[i].take() {
                    None => {
                        let connections = it.wishes();
                        let report = Report { replica: format!("r{i}"), connections, ..Report::default() };
                        Some(Leg::There(Box::new(report), now))
                    }
                    Some(Leg::There(report, asked_at)) => {
                        let view = fleet.state.exchange(fleet.now_ns(), &report);
                        (rng.u32(0..10) > 0).then(|| Leg::Back(Box::new(view), asked_at))
                    }
                    Some(Leg::Back(view, asked_at)) => {
                        it.adopt(&view, &format!("r{i}"), asked_at);
                        None
                    }
                };
            }
            4..=7 => {
                for _ in 0..rng.u32(0..=busy[i]) {
                    calls[i].extend(take(&it, LIMIT, Class::Bulk).map(|call| (now, call)));
                }
            }
            8 => busy[i] = rng.choice([0, 1, 5, 20]).unwrap_or_default(),
            9 => tokio::time::advance(Duration::from_millis(rng.u64(0..2000))).await,
            _ => {
                let ends = rng.usize(0..=calls[i].len());
                calls[i].drain(..ends);
            }
        }
        let in_use = calls.iter().map(Vec::len).sum::<usize>();
        assert!(in_use <= LIMIT as usize, "seed {seed}, step {step}: {in_use}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_begins_above_the_limit_while_a_report_is_under_way() {
    for seed in 0..500 {
        random_exchanges(seed).await;
    }
}
