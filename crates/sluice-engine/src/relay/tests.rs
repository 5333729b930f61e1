//! What the relay releases, beside what then gets a slot.

use sluice_policy::{FleetState, LimitStates, Opening, Want};
use sluice_types::Limit;

use super::openings::Openings;
use super::*;
use crate::ports::{LimitLook, Passport};
use crate::worker::rig::Rig;

const MS_NS: i64 = 1_000_000;
const HOUR_NS: i64 = 3_600_000 * MS_NS;
/// Some noon.
const NOON_NS: i64 = (20_000 * 24 + 12) * HOUR_NS;
const RESERVED_PERMILLE: u32 = 200;

/// A tenant's limit, over which a relay looks twice a second.
struct Line {
    limit: Limit,
    states: LimitStates,
    fleet: FleetState,
    now_ns: i64,
}

impl Line {
    fn under(spec: &str) -> Self {
        let limit = Limit { scope: "tenant:acme".parse().unwrap(), spec: spec.parse().unwrap() };
        Self { limit, states: LimitStates::default(), fleet: FleetState::default(), now_ns: NOON_NS }
    }

    /// One round of the relay.
    fn releases(&mut self) -> Releases {
        self.now_ns += 500 * MS_NS;
        let look = self.states.look(&self.limit, self.now_ns);
        let openings = openings(&self.limit, &look, None, RESERVED_PERMILLE);
        let wishes = openings.wishes(self.limit.key(), 500, 5_000 * MS_NS).collect();
        let report = Report { replica: "a".to_owned(), releases: wishes, ..Report::default() };
        let mut releases = Releases::default();
        releases.add(self.fleet.exchange(self.now_ns, &report).releases);
        releases
    }

    /// How many of so many jobs get a slot.
    fn lease(&mut self, count: u32, urgent: u32) -> u32 {
        let reserved_permille = RESERVED_PERMILLE;
        let want = Want { urgent, reserved_permille, ..Want::of(self.limit.clone(), count) };
        self.states.lease(&want, self.now_ns).runs.iter().map(|run| run.count).sum()
    }
}

fn total(counts: &[(String, u32)]) -> u32 {
    counts.iter().map(|(_, count)| count).sum()
}

/// The share that is reserved was released again and again, and as often parked again: 200 jobs every five seconds.
#[test]
fn bulk_jobs_are_released_about_once_when_only_the_reserved_share_is_left() {
    for spec in ["1000/day", "1000/day calendar", "1000/h"] {
        let mut line = Line::under(spec);
        let (mut released, mut sent) = (0, 0);
        for _ in 0..2 * 3600 * 3 {
            let jobs = total(&line.releases().any);
            released += jobs;
            sent += line.lease(jobs, 0);
        }
        assert!(sent >= 800, "{spec}: {sent} sent");
        assert!(released <= sent + sent / 20, "{spec}: {released} released for {sent} that were sent");
    }
}

#[test]
fn transactional_jobs_are_released_into_the_reserved_share() {
    let mut line = Line::under("1000/day");
    while line.states.look(&line.limit, line.now_ns).used < 800 {
        let jobs = total(&line.releases().any);
        line.lease(jobs, 0);
    }
    // What was asked for before is spoken for until it would have been parked again.
    line.now_ns += 10_000 * MS_NS;
    let Releases { any, urgent, .. } = line.releases();
    assert_eq!(any, []);
    let [(key, count)] = &urgent[..] else { panic!("{urgent:?}") };
    let left = 1000 - line.states.look(&line.limit, line.now_ns).used;
    assert_eq!((key, u64::from(*count)), (&line.limit.key(), left));
    assert!(left >= 195, "{left}");
    assert_eq!(line.releases().urgent, [], "each slot once");
    assert_eq!(line.lease(*count, *count), *count);
    line.now_ns += 10_000 * MS_NS;
    assert_eq!(line.releases().urgent, [], "used up");
}

/// Whatever sorted after the first 2,000 was never released.
#[test]
fn every_line_has_its_turn() {
    let keys = ["a", "b", "c", "d", "e"];
    let looked_at = |turn: &mut Turn, keys: &[&str]| {
        let line = |key: &&str| WaitingKey {
            key: (*key).to_owned(),
            jobs: 1,
            oldest: sluice_types::Timestamp::from_micros(0),
        };
        let after = turn.after().unwrap_or_default().to_owned();
        let lines: Vec<_> = keys.iter().filter(|key| **key > after.as_str()).take(2).map(line).collect();
        turn.looked_at(&lines, 2);
        lines.into_iter().map(|line| line.key).collect::<String>()
    };
    let mut turn = Turn::default();
    let rounds: [String; 5] = std::array::from_fn(|_| looked_at(&mut turn, &keys));
    assert_eq!(rounds, ["ab", "cd", "e", "ab", "cd"]);
    let rounds: [String; 2] = std::array::from_fn(|_| looked_at(&mut turn, &keys[..4]));
    assert_eq!(rounds, ["", "ab"], "none is left after that one");
}

#[test]
fn a_held_scope_releases_nobody() {
    let limit = Line::under("1000/day").limit;
    let look = LimitLook { left: 1000, ..LimitLook::default() };
    let brake = sluice_policy::BrakeView { factor: 1.0, rate: 1.0, hold_ns: 1, off_in_ns: 1 };
    let none = Openings { any: Opening::Counted { left: 0 }, urgent: None };
    assert_eq!(openings(&limit, &look, Some(&brake), RESERVED_PERMILLE), none);
}

/// Beside what is asked for of a line itself, and with the lanes that only its own ESP serves left out.
#[tokio::test(start_paused = true)]
async fn a_relay_asks_for_what_another_esp_takes() {
    let rig = Rig::new(
        r#"
        esp = [
            { name = "a", kind = "sandbox", limits = ["10000/h"] }, { name = "b", kind = "sandbox", limits = ["50/h"] },
        ]
        pool = [
            { name = "default", members = [{ esp = "a" }, { esp = "b" }] }, { name = "alone", members = [{ esp = "b" }] },
        ]
        "#,
    );
    let key = "esp:b/per:h".to_owned();
    let line = WaitingKey { key: key.clone(), jobs: 100, oldest: sluice_types::Timestamp::from_micros(0) };
    rig.around.lines.lock().unwrap().push(line);
    // As many at a time as fit into memory, were they as large as can be.
    for (left, expected) in [(0, Vec::new()), (10_000, vec![(key.clone(), 64), (key, 36)])] {
        rig.around.left.lock().unwrap().insert("esp:a/per:h".to_owned(), left);
        round(&rig.worker, &mut Lanes::default(), Some(&mut Turn::default())).await.unwrap();
        let asked: Vec<ReleaseQuery> = rig.around.released.lock().unwrap().drain(..).collect();
        let counts: Vec<_> = asked.iter().flat_map(|it| it.counts.clone()).collect();
        assert_eq!(counts, expected, "{left} left");
        for ReleaseQuery { full, .. } in asked {
            assert!(full.iter().all(|lane| lane.pool.as_str() == "alone"), "{full:?}");
            assert!(!full.is_empty());
        }
    }
}

/// What was due kept the lane full, and those in line went when all of it had gone.
#[tokio::test]
async fn a_lane_that_is_full_of_what_is_due_takes_jobs_in_line() {
    let rig = Rig::new(
        "esp = [{ name = 'a', kind = 'sandbox', limits = ['100/s'] }]\n\
        pool = [{ name = 'default', members = [{ esp = 'a' }] }]",
    );
    let (plan, lane) = (rig.worker.plan(), crate::worker::rig::lane(&rig.worker));
    let of = |depth| {
        let lanes = Lanes { depths: [(lane.clone(), depth)].into(), ..Lanes::default() };
        (lanes.full(&plan).len(), lanes.full_for_lines(&plan).len())
    };
    let enough = enough(&plan, &lane);
    assert_eq!([enough - 1, enough, 2 * enough - 1, 2 * enough].map(of), [(0, 0), (1, 0), (1, 0), (1, 1)]);
}

fn pending_job(lane: &Lane) -> PendingJob {
    PendingJob {
        id: "j1".parse().unwrap(),
        pool: lane.pool.clone(),
        class: lane.class,
        domain: "a.example".to_owned(),
        group: lane.group.clone(),
        body: "{}".into(),
        passport: Passport::default(),
    }
}

/// Each part would wait for the broker's timeout, and there may be hundreds. Whatever else is wrong holds nobody else up.
#[tokio::test]
async fn a_broker_that_is_away_is_asked_once_in_a_round() {
    for (error, asked) in [
        (Some((|| PublishError::Unavailable("gone".into())) as fn() -> PublishError), 1),
        (Some((|| PublishError::Unroutable) as fn() -> PublishError), 4),
        (None, 4),
    ] {
        let rig = Rig::new("esp = [{ name = 'a', kind = 'sandbox' }]");
        *rig.around.in_line.lock().unwrap() = Some(pending_job(&crate::worker::rig::lane(&rig.worker)));
        *rig.around.publishing.lock().unwrap() = error;
        let mut query = ReleaseQuery {
            counts: Vec::new(),
            full: Vec::new(),
            paused: Vec::new(),
            cancelled: Vec::new(),
            weights: Vec::new(),
        };
        let counts = vec![("k".to_owned(), 200), ("l".to_owned(), 1)];
        release(&rig.worker, &mut Lanes::default(), &mut query, counts, |_| Vec::new()).await.unwrap();
        assert_eq!(rig.around.released.lock().unwrap().len(), asked);
    }
}

/// They overfilled `other`, since "full" was told of lanes as they were when its jobs were parked.
#[tokio::test]
async fn jobs_of_a_group_that_is_no_more_stay_while_the_lane_they_go_into_is_full() {
    let rig = Rig::new("esp = [{ name = 'a', kind = 'sandbox' }]");
    let plan = rig.worker.plan();
    let into = Lane { class: Class::Bulk, ..crate::worker::rig::lane(&rig.worker) };
    let parked = Lane { group: "gone".parse().unwrap(), ..into.clone() };
    let job = pending_job(&parked);
    let mut lanes = Lanes::default();
    let publication = publication(&plan, &lanes, &job);
    assert_eq!(publication.lane, into);
    lanes.add(&plan.lanes(), &job, &publication.lane);
    assert_eq!(lanes.full(&plan), []);
    lanes.depths.insert(into.clone(), LANE_MOST);
    let mut full = lanes.full(&plan);
    full.sort_unstable();
    assert_eq!(full, [parked.clone(), into]);
    assert!(lanes.full_or_bulk(&plan).contains(&parked));
    lanes.refresh(&rig.worker).await;
    assert_eq!(lanes.moved.len(), 1, "it is gone still");
}

/// A round over the lines that took longer than the pause between two was followed by the next one.
#[tokio::test(start_paused = true)]
async fn lines_that_cannot_be_read_keep_no_due_job_from_its_turn() {
    let rig = Rig::new("esp = [{ name = 'a', kind = 'sandbox' }]");
    rig.see(sluice_policy::View::default()).await;
    *rig.around.lines_fail_after.lock().unwrap() = Some(LINES_EVERY * 2);
    let (worker, stop) = (Arc::new(rig.worker), CancellationToken::new());
    let relay = run_relay(Arc::clone(&worker), stop.clone());
    let store_answers = async {
        for _ in 0..300 {
            worker.health.up(Dependency::Store);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        stop.cancel();
    };
    tokio::join!(relay, store_answers);
    let asked = rig.around.due_asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(asked >= 10, "{asked} times in half a minute");
}
