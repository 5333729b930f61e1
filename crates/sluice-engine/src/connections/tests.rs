use sluice_policy::{FleetState, Report};
use sluice_types::Timestamp;
use tokio::time::Instant;

use super::*;

#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn tick(&self) -> Tick {
        Tick::ZERO + self.0.elapsed()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }
}

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
        let replica = |_| Connections::new(Arc::new(PausedClock(start)), Arc::default(), CALL);
        Self { start, state: FleetState::default(), replicas: (0..count).map(replica).collect() }
    }

    fn exchange(&mut self, replica: usize) {
        let now_ns = 1_700_000_000_000_000_000 + i64::try_from(self.start.elapsed().as_nanos()).unwrap();
        let (name, it) = (format!("r{replica}"), &self.replicas[replica]);
        let asked_at = it.clock.tick();
        let report = Report { replica: name.clone(), connections: it.wishes(), ..Report::default() };
        let view = self.state.exchange(now_ns, &report);
        it.adopt(&view, &name, asked_at);
    }
}

fn limits() -> Arc<[Limit]> {
    let scope = "esp:main".parse().unwrap();
    Arc::from([Limit { scope, spec: "3 connections".parse().unwrap() }])
}

/// Takes one if it can be had without waiting.
async fn now(it: &Arc<Connections>) -> Option<Connection> {
    it.take(&limits(), it.clock.tick()).await
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_before_the_fleet_allows_it_and_never_more_than_the_limit() {
    let mut fleet = Fleet::new(2);
    let (a, b) = (Arc::clone(&fleet.replicas[0]), Arc::clone(&fleet.replicas[1]));
    assert!(now(&a).await.is_none(), "without a lease there is none");
    fleet.exchange(0);
    let first = now(&a).await.expect("asked for a moment ago");
    assert!(now(&a).await.is_none(), "it had asked for one");
    fleet.exchange(0);
    let second = now(&a).await.unwrap();
    assert!(now(&b).await.is_none());
    fleet.exchange(1);
    let third = now(&b).await.expect("the last of three");
    assert!(now(&b).await.is_none());
    fleet.exchange(1);
    assert!(now(&b).await.is_none(), "all three are in use");
    drop((first, second));
    tokio::time::sleep(Duration::from_secs(4)).await;
    fleet.exchange(0);
    assert!(now(&b).await.is_none());
    fleet.exchange(1);
    assert!(now(&b).await.is_some(), "what one does not want any more goes to the other");
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_outlast_its_lease_does_not_begin() {
    let mut fleet = Fleet::new(1);
    let it = Arc::clone(&fleet.replicas[0]);
    assert!(now(&it).await.is_none());
    fleet.exchange(0);
    let held = now(&it).await.unwrap();
    assert!(held.outlasts(CALL));
    // Two calls and ten seconds: the store is away since.
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(!held.outlasts(CALL));
    drop(held);
    assert!(now(&it).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_gets_it_as_soon_as_it_is_free() {
    let mut fleet = Fleet::new(1);
    let it = Arc::clone(&fleet.replicas[0]);
    assert!(now(&it).await.is_none());
    fleet.exchange(0);
    let held = now(&it).await.unwrap();
    let began = Instant::now();
    let until = it.clock.tick() + Duration::from_secs(5);
    let wanted = limits();
    let (waited, ()) = tokio::join!(it.take(&wanted, until), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(held);
    });
    assert!(waited.is_some());
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}
