use std::sync::Mutex as StdMutex;

use async_trait::async_trait;
use sluice_policy::{GcraState, Terms, lease_gcra};
use sluice_types::{LimitScope, Timestamp};
use tokio::time::Instant;

use super::*;
use crate::health::Health;
use crate::ports::{Leased, SlotError, SlotSource, Want};

/// Reads tokio's clock, which stands still in these tests until all tasks wait.
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

/// A store with GCRA limits, shared by several replicas.
#[derive(Debug)]
struct Store {
    start: Instant,
    states: StdMutex<std::collections::HashMap<String, GcraState>>,
    latency: Duration,
    leased: StdMutex<u64>,
}

impl Store {
    fn new(latency: Duration) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            states: StdMutex::default(),
            latency,
            leased: StdMutex::new(0),
        })
    }
}

#[async_trait]
impl SlotSource for Store {
    async fn lease(&self, wants: &[Want]) -> Result<Vec<Leased>, SlotError> {
        let now_ns = 1_000_000_000_000 + i64::try_from(self.start.elapsed().as_nanos()).unwrap();
        let mut answers = Vec::new();
        for want in wants {
            let Some(Terms::Gcra(terms)) = Terms::of(&want.limit.spec) else { panic!("only GCRA here") };
            let mut states = self.states.lock().unwrap();
            let grant = lease_gcra(&terms, states.entry(want.limit.key()).or_default(), now_ns, want.count);
            *self.leased.lock().unwrap() += grant.runs.iter().map(|run| u64::from(run.count)).sum::<u64>();
            answers.push(Leased { runs: grant.runs, next_in: grant.next_in });
        }
        tokio::time::sleep(self.latency).await;
        Ok(answers)
    }
}

struct Replica {
    slots: Arc<Slots>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

#[expect(clippy::disallowed_methods, reason = "tests have no tracker")]
fn replica(store: &Arc<Store>) -> Replica {
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let slots = Arc::new(Slots::new(Arc::new(PausedClock(store.start)), Arc::clone(&metrics)));
    let health = Arc::new(Health::new(metrics));
    let (one, source) = (Arc::clone(&slots), Arc::clone(store));
    let keeper = tokio::spawn(async move { keeper::keep_slots(&one, source.as_ref(), &health).await });
    let two = Arc::clone(&slots);
    let pump = tokio::spawn(async move { two.run().await });
    Replica { slots, tasks: vec![keeper, pump] }
}

impl Replica {
    fn kill(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn limit(scope: LimitScope, spec: &str) -> Limit {
    Limit { scope, spec: spec.parse().unwrap() }
}

fn line(group: &str) -> LineKey {
    LineKey {
        class: Class::Bulk,
        esp: "main".parse().unwrap(),
        group: group.parse().unwrap(),
        tenant: None,
        domain: None,
    }
}

fn esp_limit(spec: &str) -> Limit {
    limit(LimitScope::Esp("main".parse().unwrap()), spec)
}

type Journal = Arc<StdMutex<Vec<(Instant, &'static str)>>>;

/// `count` jobs that wait for their turn and then write to the journal.
#[expect(clippy::disallowed_methods, reason = "tests have no tracker")]
fn backlog(replica: &Replica, group: &'static str, limits: &[Limit], count: usize, journal: &Journal) {
    for _ in 0..count {
        let (slots, limits, journal) = (Arc::clone(&replica.slots), limits.to_vec(), Arc::clone(journal));
        tokio::spawn(async move {
            let far = Tick::from_nanos(u64::MAX);
            let mut ticket = slots.draw(&line(group), &limits);
            assert!(ticket.near(far).await);
            // The claim.
            tokio::time::sleep(Duration::from_millis(3)).await;
            if let Some(grant) = ticket.turn(far).await {
                assert!(slots.clock.tick() <= grant.closes, "a slot is never given late");
                journal.lock().unwrap().push((Instant::now(), group));
            }
        });
    }
}

fn worst_window(times: &[Instant], window: Duration) -> usize {
    let first = |i: usize| times.iter().skip(i).take_while(|at| **at - times[i] < window).count();
    (0..times.len()).map(first).max().unwrap_or(0)
}

fn times(journal: &Journal, group: Option<&str>) -> Vec<Instant> {
    journal
        .lock()
        .unwrap()
        .iter()
        .filter(|(_, of)| group.is_none_or(|group| group == *of))
        .map(|(at, _)| *at)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn four_replicas_with_a_backlog_use_97_per_cent_and_never_more_than_the_limit() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let (esp, group) = (esp_limit("50/s"), limit(LimitScope::Group("gmail".parse().unwrap()), "20/s"));
    let replicas: Vec<_> = (0..4).map(|_| replica(&store)).collect();
    for it in &replicas {
        backlog(it, "gmail", &[esp.clone(), group.clone()], 1000, &journal);
        backlog(it, "other", std::slice::from_ref(&esp), 1000, &journal);
    }
    tokio::time::sleep(Duration::from_secs(31)).await;
    let (all, gmail) = (times(&journal, None), times(&journal, Some("gmail")));
    assert!(worst_window(&all, Duration::from_secs(1)) <= 50);
    assert!(worst_window(&gmail, Duration::from_secs(1)) <= 20);
    let steady =
        |times: &[Instant]| times.iter().filter(|at| **at - store.start >= Duration::from_secs(1)).count();
    assert!(steady(&all) >= 50 * 30 * 97 / 100, "{} of 1500", steady(&all));
    assert!(steady(&gmail) >= 20 * 30 * 97 / 100, "{} of 600", steady(&gmail));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_dies_costs_at_most_one_block() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let esp = esp_limit("50/s");
    let replicas: Vec<_> = (0..3).map(|_| replica(&store)).collect();
    for it in &replicas {
        backlog(it, "other", std::slice::from_ref(&esp), 1000, &journal);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    replicas[0].kill();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let sent = times(&journal, None);
    assert!(worst_window(&sent, Duration::from_secs(1)) <= 50);
    // A block is what opens within the horizon of 300 ms: 15 slots.
    assert!(sent.len() >= 490 * 98 / 100 - 16, "{}", sent.len());
}

#[tokio::test(start_paused = true)]
async fn a_throttled_line_does_not_hold_up_another_that_shares_a_limit() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let (esp, slow) = (esp_limit("100/s"), limit(LimitScope::Group("gmail".parse().unwrap()), "1/s"));
    let it = replica(&store);
    backlog(&it, "gmail", &[esp.clone(), slow], 500, &journal);
    backlog(&it, "other", std::slice::from_ref(&esp), 900, &journal);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(times(&journal, Some("other")).len(), 900);
    assert!((9..=10).contains(&times(&journal, Some("gmail")).len()));
}

#[tokio::test(start_paused = true)]
async fn without_limits_nobody_waits() {
    let store = Store::new(Duration::from_millis(4));
    let it = replica(&store);
    let mut ticket = it.slots.draw(&line("other"), &[]);
    assert!(ticket.near(Tick::ZERO).await);
    assert!(ticket.turn(Tick::ZERO).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_idle_limit_answers_within_one_lease() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let it = replica(&store);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = Instant::now();
    backlog(&it, "other", &[esp_limit("100/s")], 1, &journal);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waited = times(&journal, None)[0] - asked;
    assert!(waited <= Duration::from_millis(10), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_given_up_frees_its_place() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let it = replica(&store);
    let slow = esp_limit("1/s");
    let mut first = it.slots.draw(&line("other"), std::slice::from_ref(&slow));
    assert!(first.near(Tick::from_nanos(u64::MAX)).await);
    backlog(&it, "other", std::slice::from_ref(&slow), 1, &journal);
    drop(first);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(times(&journal, None).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_replicas_lease_nothing() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let (busy, idle) = (replica(&store), replica(&store));
    backlog(&busy, "other", &[esp_limit("100/s")], 100, &journal);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let leased = *store.leased.lock().unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(*store.leased.lock().unwrap(), leased, "nobody waits, so nothing is leased");
    drop(idle);
}

#[tokio::test(start_paused = true)]
async fn a_slow_limit_loses_no_slot_to_waiting() {
    let store = Store::new(Duration::from_millis(4));
    let journal = Journal::default();
    let (a, b) = (replica(&store), replica(&store));
    let slow = limit(LimitScope::Group("gmail".parse().unwrap()), "2/s");
    backlog(&a, "gmail", std::slice::from_ref(&slow), 30, &journal);
    backlog(&b, "gmail", std::slice::from_ref(&slow), 30, &journal);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let sent = times(&journal, None);
    assert!(worst_window(&sent, Duration::from_secs(1)) <= 2);
    assert!(sent.len() >= 37, "{} of 39", sent.len());
}

#[tokio::test(start_paused = true)]
async fn lines_that_share_a_limit_do_not_each_claim_for_its_slots() {
    let store = Store::new(Duration::from_millis(4));
    let it = replica(&store);
    let slow = limit(LimitScope::Group("gmail".parse().unwrap()), "10/s");
    let mut tickets = Vec::new();
    for _ in 0..10 {
        for class in Class::ALL {
            for esp in ["one", "two", "three"] {
                let key = LineKey { class, esp: esp.parse().unwrap(), ..line("gmail") };
                tickets.push(it.slots.draw(&key, std::slice::from_ref(&slow)));
            }
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut near = 0;
    for ticket in &mut tickets {
        near += usize::from(ticket.near(Tick::ZERO).await);
    }
    assert!((1..=6).contains(&near), "{near} may claim, but 3 or 4 slots open within the lead");
}
