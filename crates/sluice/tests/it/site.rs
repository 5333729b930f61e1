//! A folder with a configuration, a service that runs in it, and the commands beside it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{Rig, Running, Said, job_line};

/// Longest wait for something that the service does.
const PATIENCE: Duration = Duration::from_secs(180);

/// Time in which a running service takes up an order, with something to spare.
pub(crate) const TWO_TICKS: Duration = Duration::from_millis(1500);

/// A folder with a configuration.
pub(crate) struct Site {
    rig: Rig,
}

impl Site {
    pub(crate) fn new(config: &str) -> Self {
        let rig = Rig::new();
        rig.file("sluice.toml", config);
        Self { rig }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.rig.run(&[args, &["--config", "sluice.toml"]].concat())
    }

    /// Runs a command that must succeed and print one JSON value.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.rig.json(&[args, &["--config", "sluice.toml"]].concat())
    }

    /// Runs a command with further variables.
    pub(crate) fn run_as(&self, args: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = self.rig.command(&[args, &["--config", "sluice.toml"]].concat());
        command.env_remove("SUDO_USER").env_remove("USER").envs(variables.iter().copied());
        command.output().unwrap().into()
    }

    /// Starts the service, and waits until the fleet knows it.
    pub(crate) fn start(&self) -> Running {
        let running = self.rig.start(&["run", "--config", "sluice.toml"]);
        self.wait_for(&["status"], |it| it["fleet"]["replicas"].as_array().is_some_and(|all| all.len() == 1));
        running
    }

    /// Queues a job for each id, of a campaign if there is one.
    pub(crate) fn enqueue(&self, ids: &[&str], campaign: Option<&str>) {
        let line = |id: &&str| {
            let mut job: Value = serde_json::from_str(&job_line(id, "ada@gmail.com")).unwrap();
            if let Some(campaign) = campaign {
                job["campaign"] = campaign.into();
                job["tenant"] = "acme".into();
            }
            job.to_string()
        };
        self.rig.file("jobs.jsonl", ids.iter().map(line).collect::<Vec<_>>().join("\n"));
        let told = self.json(&["enqueue", "jobs.jsonl"]);
        assert_eq!(told["queued"], ids.len(), "{told}");
    }

    /// Queues a bulk job for each id and recipient.
    pub(crate) fn enqueue_for(&self, jobs: &[(&str, &str)]) {
        let line = |(id, to): &(&str, &str)| {
            let mut job: Value = serde_json::from_str(&job_line(id, to)).unwrap();
            job["class"] = "bulk".into();
            job.to_string()
        };
        self.rig.file("jobs.jsonl", jobs.iter().map(line).collect::<Vec<_>>().join("\n"));
        assert_eq!(self.json(&["enqueue", "jobs.jsonl"])["queued"], jobs.len());
    }

    /// A file of the folder.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.rig.path().join(name)).unwrap()
    }

    /// Asks again until the JSON that a command prints is as wanted.
    pub(crate) fn wait_for(&self, args: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let said = self.run(&[args, &["--format", "json"]].concat());
            let told = serde_json::from_str(&said.out).unwrap_or_default();
            if wanted(&told) {
                return told;
            }
            let log = || std::fs::read_to_string(self.rig.path().join("log")).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "{args:?}: {said:?}\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a job is in this state.
    pub(crate) fn wait_for_state(&self, id: &str, state: &str) -> Value {
        self.wait_for(&["why", id], |it| it["state"] == state)
    }

    /// Waits until a job waits for this reason.
    pub(crate) fn wait_for_reason(&self, id: &str, reason: &str) -> Value {
        self.wait_for(&["why", id], |it| it["pending"]["reason"] == reason)
    }
}
