//! An ESP answers 500, or nothing at all, or 401: few calls are spent on it, traffic moves to the next tier, probes are few over
//! the whole fleet, and it comes back by degrees.

use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_testkit::peers::SendGridAnswer;

use crate::support::{Options, Rig, job, line, until};

const REPLICAS: usize = 8;
const MIN_CALLS: usize = 5;
const PROBES: usize = 2;
const TENTH: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_fails_and_comes_back_by_degrees() {
    let mut fleet = Fleet::start().await;
    fleet.turns_bad(SendGridAnswer::Status(500)).await;
    fleet.comes_back().await;
    assert_eq!(fleet.settled(&["accepted"]).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_hangs() {
    let mut fleet = Fleet::start().await;
    fleet.turns_bad(SendGridAnswer::Hang).await;
    // What the hanging calls left is unknown for bulk: flagged, and nobody has it twice without a flag.
    let unknown = fleet.settled(&["accepted", "unknown"]).await;
    assert!((1..=REPLICAS * MIN_CALLS + 4 * PROBES).contains(&unknown), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_refuses_our_key() {
    let mut fleet = Fleet::start().await;
    fleet.turns_bad(SendGridAnswer::Status(401)).await;
    assert_eq!(fleet.settled(&["accepted"]).await, 0);
}

/// Replicas with a steady stream of jobs for an ESP that another one stands in for.
struct Fleet {
    rig: Rig,
    jobs: Vec<Value>,
    _replicas: Vec<sluice_testkit::services::SluiceProcess>,
}

impl Fleet {
    async fn start() -> Self {
        let more = r#"
            [[pool]]
            name = "both"
            members = [{ esp = "grid" }]
            failover = ["post"]
            [breaker]
            min_calls = 5
            window = "10s"
            open = "2s"
            probes = 2
        "#;
        let rig =
            Rig::new(Options { more: more.to_owned(), timeout: "1s", alone: true, ..Options::default() });
        let replicas = rig.start(REPLICAS);
        let mut fleet = Self { rig, jobs: Vec::new(), _replicas: replicas };
        // Until each replica has had answers, so that it borrows what it can.
        fleet.stream(20).await;
        until("it works at first", async || fleet.by_grid() == 200).await;
        fleet
    }

    /// Publishes 100 jobs a second, for so many tenths of one.
    async fn stream(&mut self, tenths: u32) {
        let began = Instant::now();
        for tenth in 1..=tenths {
            let first = self.jobs.len();
            let to = |i| job(&format!("b-{i}"), "both", &format!("u{i}@gmail.com"));
            self.jobs.extend((first..first + 10).map(to));
            self.rig.publish_backlog(&self.jobs[first..].iter().map(line).collect::<Vec<_>>());
            // Publishing takes most of a tenth itself where the machine is busy.
            tokio::time::sleep((TENTH * tenth).saturating_sub(began.elapsed())).await;
        }
    }

    fn by_grid(&self) -> usize {
        self.rig.sendgrid.accepted()
    }

    fn by_post(&self) -> usize {
        self.rig.smtp.accepted_by_job().len()
    }

    async fn turns_bad(&mut self, answer: SendGridAnswer) {
        self.rig.sendgrid.answer_all(Some(answer));
        let began = Instant::now();
        self.stream(20).await;
        let taken = self.by_post();
        self.stream(20).await;
        let moved = self.by_post() - taken;
        self.stream(30).await;
        // By when they came: the first probe is due soon after the first two seconds.
        let journal = self.rig.sendgrid.journal();
        let since = journal.iter().filter_map(|call| call.received.checked_duration_since(began));
        let calls = |seconds: Range<u64>| since.clone().filter(|at| seconds.contains(&at.as_secs())).count();
        let (spent, late, probes) = (calls(0..2), calls(2..4), calls(4..7));
        eprintln!(
            "{answer:?}: {spent} calls spent in 2 s, {late} in the next 2, {probes} in the next 3; {moved} of 200 went elsewhere in the 2"
        );
        // Within two seconds all traffic has moved: all that the ESP still gets are probes, over the fleet two for each time that
        // its breaker has been open.
        assert!(spent <= REPLICAS * MIN_CALLS, "{spent} calls");
        assert!(late <= 2 * PROBES, "{late} calls");
        assert!(moved >= 150, "{moved} jobs");
        assert!(probes <= 2 * PROBES, "{probes} probes of {REPLICAS} replicas in 3 s");
    }

    async fn comes_back(&mut self) {
        self.rig.sendgrid.answer_all(None);
        let healed = self.by_grid();
        for _ in 0..300 {
            if self.by_grid() >= healed + PROBES {
                break;
            }
            self.stream(1).await;
        }
        let mut shares = Vec::new();
        for _ in 0..8 {
            let before = (self.by_grid(), self.by_post());
            self.stream(50).await;
            let (grid, post) = (self.by_grid() - before.0, self.by_post() - before.1);
            shares.push(grid as f64 / (grid + post).max(1) as f64);
        }
        eprintln!("its share, each for 5 s: {shares:.2?}");
        // From a tenth to all in 30 s, by steps of an eighth.
        assert!(shares[0] < 0.45, "{shares:?}");
        assert!(shares[7] > 0.95, "{shares:?}");
        assert!(shares.windows(2).all(|pair| pair[1] < pair[0] + 0.4), "{shares:?}");
    }

    /// Waits until every job has ended in one of `states`; answers how many are not `accepted`.
    async fn settled(self, states: &[&str]) -> usize {
        let has_unknown = states.contains(&"unknown");
        let verdict = self.rig.judge(&self.jobs, has_unknown).await;
        let of = |state: &&str| verdict.states.get(*state).copied().unwrap_or(0);
        assert_eq!(states.iter().map(of).sum::<usize>(), self.jobs.len(), "{:?}", verdict.states);
        self.jobs.len() - of(&"accepted")
    }
}
