//! `rabbitmqctl` on a private broker.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

/// `rabbitmqctl` itself gives up after this many seconds, so a paused broker fails a test instead of hanging it.
const CALL_TIMEOUT_SECONDS: &str = "180";
/// And `timeout` ends it where it does not keep that: it has hung for good once, before it had a connection.
const DEADLINE: [&str; 2] = ["--kill-after=10", "200"];
const LEADERS_TIMEOUT: Duration = Duration::from_secs(120);
/// The leader of a quorum queue enters its counts into this table.
const QUEUES_WITHOUT_COUNTS: &str = "[amqqueue:get_name(Q) || Q <- rabbit_amqqueue:list(), \
    amqqueue:get_type(Q) =:= rabbit_quorum_queue, \
    not ets:member(queue_coarse_metrics, amqqueue:get_name(Q))].";
/// All quorum queues of a node share one write-ahead log.
const BEGIN_NEW_LOG: &str =
    "#{names := #{wal := Log}} = ra_system:fetch(quorum_queues), ra_log_wal:force_roll_over(Log).";
/// A quorum queue has no counts while it elects its leader.
const COUNTS_TIMEOUT: Duration = Duration::from_secs(60);

/// The way to call `rabbitmqctl`: same HOME, cookie and port mapper as the broker.
#[derive(Debug)]
pub(crate) struct RabbitMqControl {
    rabbitmqctl: PathBuf,
    env: Vec<(OsString, OsString)>,
    node: String,
}

impl RabbitMqControl {
    pub(crate) fn new(rabbitmqctl: PathBuf, env: Vec<(OsString, OsString)>, node: String) -> Self {
        Self { rabbitmqctl, env, node }
    }

    /// # Errors
    /// What `rabbitmqctl` says, when the broker does not come up.
    pub(crate) fn await_startup(&self) -> Result<(), String> {
        self.try_run(&["await_startup"]).map(drop)
    }

    /// Until its leader is elected, a quorum queue is listed as empty, whatever it holds.
    pub(crate) fn await_leaders(&self) {
        let deadline = Instant::now() + LEADERS_TIMEOUT;
        loop {
            let printed = self.run(&["eval", QUEUES_WITHOUT_COUNTS]);
            if printed.trim() == "[]" {
                return;
            }
            assert!(Instant::now() < deadline, "queues without a leader: {printed}");
        }
    }

    pub(crate) fn shutdown(&self) {
        self.run(&["shutdown", "--no-wait"]);
    }

    pub(crate) fn add_vhost(&self, name: &str) {
        self.run(&["add_vhost", name]);
        self.run(&["set_permissions", "--vhost", name, "guest", ".*", ".*", ".*"]);
    }

    pub(crate) fn delete_vhost(&self, name: &str) {
        self.run(&["delete_vhost", name]);
    }

    pub(crate) fn delete_queue(&self, vhost: &str, name: &str) {
        self.run(&["delete_queue", "--vhost", vhost, name]);
    }

    pub(crate) fn begin_new_log(&self) {
        let answer = self.run(&["eval", BEGIN_NEW_LOG]);
        assert!(answer.trim() == "ok", "the write-ahead log goes on: {answer}");
    }

    pub(crate) fn queue_depths(&self, vhost: &str) -> BTreeMap<String, (u64, u64)> {
        let deadline = Instant::now() + COUNTS_TIMEOUT;
        let columns = ["name", "messages_ready", "messages_unacknowledged"];
        loop {
            let mut args = vec!["list_queues", "--quiet", "--formatter", "json", "--vhost", vhost];
            args.extend(columns);
            let printed = self.run(&args);
            match depths_in(&printed) {
                Some(depths) => return depths,
                None => assert!(Instant::now() < deadline, "queues of {vhost} without counts: {printed}"),
            }
        }
    }

    /// Runs `rabbitmqctl` and answers its standard output.
    ///
    /// # Panics
    /// If it fails.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        self.try_run(args).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_run(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("timeout")
            .args(DEADLINE)
            .arg(&self.rabbitmqctl)
            .args(["--node", &self.node, "--timeout", CALL_TIMEOUT_SECONDS])
            .args(args)
            .env_clear()
            .envs(self.env.iter().cloned())
            .output()
            .unwrap_or_else(|error| panic!("cannot run timeout {}: {error}", self.rabbitmqctl.display()));
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(printed);
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(format!("rabbitmqctl {args:?}: {}\n{printed}{complaint}", output.status))
    }
}

/// `None` if a queue has a name and no counts.
fn depths_in(printed: &str) -> Option<BTreeMap<String, (u64, u64)>> {
    let queues: Vec<Value> = serde_json::from_str(printed).ok()?;
    let depth = |queue: &Value| {
        let name = queue.get("name")?.as_str()?.to_owned();
        let ready = queue.get("messages_ready")?.as_u64()?;
        Some((name, (ready, queue.get("messages_unacknowledged")?.as_u64()?)))
    };
    queues.iter().map(depth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_read_and_a_queue_without_counts_is_not_an_empty_one() {
        let whole = r#"[ {"name":"a","messages_ready":3,"messages_unacknowledged":1} ]"#;
        assert_eq!(depths_in(whole), Some(BTreeMap::from([("a".to_owned(), (3, 1))])));
        assert_eq!(depths_in("[\n]\n"), Some(BTreeMap::new()));
        assert_eq!(depths_in(r#"[{"name":"a","messages_ready":"","messages_unacknowledged":0}]"#), None);
    }
}
