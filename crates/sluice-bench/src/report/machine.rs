//! What it was measured on.

use std::fmt;
use std::process::Command;

use serde::Serialize;

use crate::stage::Stage;

/// Hardware, load and versions.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// Over the last minute, before the first run.
    pub(crate) load_before: String,
    pub(crate) rabbitmq: String,
    pub(crate) postgres: String,
    pub(crate) durability: String,
    pub(crate) sluice: String,
    pub(crate) commit: String,
}

impl Machine {
    /// Asks the machine, and the servers.
    pub(crate) fn look(stage: &Stage, load_before: String) -> anyhow::Result<Self> {
        let scene = stage.scene()?;
        let setting = |name: &str| -> anyhow::Result<String> {
            let row = stage.runtime.block_on(scene.sql.query_one(&format!("SHOW {name}"), &[]))?;
            Ok(row.get(0))
        };
        let durability =
            format!("fsync {}, synchronous_commit {}", setting("fsync")?, setting("synchronous_commit")?);
        Ok(Self {
            cpu: cpu(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_gib: memory_gib(),
            kernel: read("/proc/sys/kernel/osrelease"),
            load_before,
            rabbitmq: stage.broker.rabbitmqctl(&["version"]).trim().to_owned(),
            postgres: setting("server_version")?,
            durability,
            sluice: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, memory_gib, kernel, load_before, .. } = self;
        writeln!(
            f,
            "Machine: {cpu}, {cores} cores, {memory_gib:.0} GiB, Linux {kernel}; load before: {load_before}."
        )?;
        let Self { rabbitmq, postgres, durability, sluice, commit, .. } = self;
        writeln!(
            f,
            "Versions: sluice {sluice} ({commit}), RabbitMQ {rabbitmq} (quorum queues), Postgres {postgres} ({durability})."
        )
    }
}

/// The load averages.
pub(crate) fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn cpu() -> String {
    let info = read("/proc/cpuinfo");
    let name =
        info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    name.map_or_else(|| "unknown CPU".to_owned(), |(_, name)| name.trim().to_owned())
}

fn memory_gib() -> f64 {
    let info = read("/proc/meminfo");
    let kib = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0 / 1024.0
}

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let text = output
        .ok()
        .filter(|it| it.status.success())
        .map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    text.unwrap_or_else(|| "no git".to_owned())
}
