//! The judge: what the ESPs' journals hold against `job`, `attempt`, `pending` and the lanes.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::Value;

use super::rig::{PATIENCE, Rig};

/// What came of a batch.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Jobs by final state.
    pub(crate) states: BTreeMap<String, usize>,
    /// Jobs that an ESP accepted more than once, each flagged.
    pub(crate) flagged_duplicates: usize,
    /// Jobs that were `unknown` once.
    pub(crate) flagged: usize,
}

impl Rig {
    /// Waits until nothing is left to do, then compares every job with the journals.
    ///
    /// Jobs may be in doubt only if `doubts_allowed`; even then each must be flagged.
    pub(crate) async fn judge(&self, jobs: &[Value], doubts_allowed: bool) -> Verdict {
        self.wait_settled(jobs.len()).await;
        let client = self.sql().await;
        let query = "select id, state, attempts, esp, resent from sluice.job";
        let rows = client.query(query, &[]).await.unwrap();
        let flagged: HashMap<String, i64> = client
            .query("select job_id, count(*) from sluice.attempt where outcome = 'unknown' group by 1", &[])
            .await
            .unwrap()
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let mut accepted: HashMap<String, u32> = self.sendgrid.accepted_by_job();
        for (id, count) in self.smtp.accepted_by_job() {
            *accepted.entry(id).or_default() += count;
        }

        let mut verdict = Verdict { flagged: flagged.len(), ..Verdict::default() };
        let mut by_id: HashMap<String, String> = HashMap::new();
        for row in &rows {
            let (id, state): (String, String) = (row.get(0), row.get(1));
            let times = accepted.get(&id).copied().unwrap_or(0);
            let is_flagged = flagged.contains_key(&id);
            match state.as_str() {
                "accepted" => assert!(times >= 1, "{id} is accepted, but no ESP took it"),
                "unknown" => assert!(is_flagged, "{id} is unknown without an attempt that says so"),
                _ => assert!(times == 0 || is_flagged, "{id} is {state}, but an ESP took it"),
            }
            if times > 1 {
                assert!(is_flagged, "{id} was accepted {times} times and nothing says so");
                verdict.flagged_duplicates += 1;
            }
            *verdict.states.entry(state.clone()).or_default() += 1;
            by_id.insert(id, state);
        }
        for job in jobs {
            let id = job["id"].as_str().unwrap();
            assert!(by_id.contains_key(id), "{id} is lost: it has no row");
        }
        assert_eq!(rows.len(), jobs.len(), "a row for every job and no other");
        if !doubts_allowed {
            assert_eq!(verdict.flagged, 0, "nothing gave reason for doubt");
        }
        self.assert_attempts_match_the_journal(&client).await;
        verdict
    }

    /// Every call that an ESP saw and answered has its attempt.
    async fn assert_attempts_match_the_journal(&self, client: &tokio_postgres::Client) {
        let attempts: i64 = client
            .query_one("select count(*) from sluice.attempt where esp <> 'post'", &[])
            .await
            .unwrap()
            .get(0);
        let calls = i64::try_from(self.sendgrid.calls()).unwrap();
        assert!(attempts >= calls, "{calls} calls, but only {attempts} attempts");
    }

    /// Until every job has its row in a final state (or flagged), and queues and `pending` are empty.
    async fn wait_settled(&self, jobs: usize) {
        let wanted = i64::try_from(jobs).unwrap();
        let begin = std::time::Instant::now();
        loop {
            let done = self
                .count("select count(*) from sluice.job where state not in ('sending', 'deferred')")
                .await;
            let parked = self
                .count(
                    "select count(*) from sluice.pending where due_at is not null or limit_key is not null",
                )
                .await;
            if done == wanted && parked == 0 && self.in_lanes() == 0 {
                return;
            }
            if begin.elapsed() > PATIENCE {
                let rows = self.count("select count(*) from sluice.job").await;
                let dead = self.count("select count(*) from sluice.dead_letter").await;
                let queued = self.in_lanes();
                panic!(
                    "not settled within {PATIENCE:?}: {done} of {wanted} jobs final, {rows} have a row, {parked} parked, \
                     {dead} dead letters, {queued} in the lanes"
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
