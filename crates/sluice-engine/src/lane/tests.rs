use super::working::tests::Numbers;
use super::*;
use crate::fleet::keep_in_touch;
use crate::worker::rig::{Rig, lane, plan};

const CONFIG: &str = r#"
    esp = [{ name = "a", kind = "sandbox" }]
    pool = [{ name = "default", members = [{ esp = "a" }] }]
"#;

/// A hundred places, and one for transactional jobs.
fn shared(worker: Arc<Worker>) -> Shared {
    Shared {
        worker,
        lanes: Arc::default(),
        places: Arc::new(Semaphore::new(100)),
        places_max: 100,
        reserved: Arc::new(Semaphore::new(1)),
        jobs: TaskTracker::new(),
        stop: CancellationToken::new(),
        give_back: CancellationToken::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_was_dropped_ends_with_its_queue_and_the_broker_stays_up() {
    let with = format!("{CONFIG}domain_group = [{{ name = \"x\", domains = [\"x.example\"] }}]");
    let Rig { worker, around } = Rig::new(&with);
    let worker = Arc::new(worker);
    let tasks = TaskTracker::new();
    let it = Arc::clone(&worker);
    tasks.spawn(async move { keep_in_touch(&it, true).await });
    worker.health.up(Dependency::Store);
    worker.health.up(Dependency::Queue);
    around.has_no_queues.store(true, Ordering::Relaxed);
    let shared = shared(Arc::clone(&worker));
    let lanes = Arc::clone(&shared.lanes);
    let dropped = Lane { group: "x".parse().unwrap(), ..lane(&worker) };
    worker.change_plan(|_| Some(plan(CONFIG)));
    let looped = lanes.add(vec![dropped.clone()]).remove(0);
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, run_lane(looped, shared.clone())).await.expect("the lane ends");
    assert!(worker.health.is_up(Dependency::Queue));
    assert!(lanes.all().is_empty());

    // A lane of the configuration is not given up, whatever the broker says.
    worker.change_plan(|_| Some(plan(&with)));
    let looped = lanes.add(vec![dropped]).remove(0);
    let works = tokio::time::timeout(patience, run_lane(looped, shared)).await;
    assert!(works.is_err());
    assert!(!worker.health.is_up(Dependency::Queue));
}

/// They would come back only with the end of the connection, and count as returned without an ack.
#[tokio::test(start_paused = true)]
async fn a_drain_gives_back_what_there_is_no_room_for() {
    let Rig { worker, .. } = Rig::new(CONFIG);
    let lane = lane(&worker);
    let shared = shared(Arc::new(worker));
    let looped = shared.lanes.add(vec![lane]).remove(0);
    let numbers = Numbers { last: 3, ..Numbers::default() };
    let released = Arc::clone(&numbers.released);
    let mut feed = Working::new(Box::new(numbers), 1);
    let _in_work = feed.next().await.unwrap();
    let mut rest = std::pin::pin!(work_rest(&looped, &shared, feed));
    let waits = tokio::time::timeout(Duration::from_secs(1), &mut rest).await;
    assert!(waits.is_err(), "there is room for one");
    shared.give_back.cancel();
    tokio::time::timeout(Duration::from_secs(1), rest).await.expect("nothing is waited for");
    assert_eq!(*released.lock().unwrap(), [2, 3]);
}

/// All places were taken by jobs that waited for an ESP that hung.
#[tokio::test(start_paused = true)]
async fn lanes_that_are_stuck_leave_places_to_others() {
    let Rig { worker, .. } = Rig::new(CONFIG);
    let bulk = Lane { class: Class::Bulk, ..lane(&worker) };
    let shared = shared(Arc::new(worker));
    let lanes = (0..5).map(|i| Lane { group: format!("g{i}").parse().unwrap(), ..bulk.clone() });
    let lanes = shared.lanes.add(lanes.collect());
    let mut taken = Vec::new();
    let mut fill = async |this: &LaneLoop| {
        let before = taken.len();
        while let Ok(place) = tokio::time::timeout(Duration::from_secs(1), place(this, &shared)).await {
            this.in_flight.fetch_add(1, Ordering::Relaxed);
            taken.push(place.unwrap());
        }
        taken.len() - before
    };
    let mut filled = Vec::new();
    for lane in &lanes {
        filled.push(fill(lane).await);
    }
    assert_eq!(filled, [80, 5, 5, 5, 5]);
}
