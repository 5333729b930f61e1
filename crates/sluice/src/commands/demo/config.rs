//! The demo's configuration: a text like any other, which also stays beside the files that `--keep` keeps.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sluice_config::Config;

use super::scenario::Shares;

/// The ESPs, in the order in which they are shown.
pub(super) const ESPS: [&str; 3] = ["healthy", "flaky", "slow"];
/// The throttled group is given about so many seconds.
const GMAIL_SECONDS: u32 = 6;
/// Highest limit of the throttled group, per second; above it the limit would no longer be felt.
const GMAIL_MAX_PER_SECOND: u32 = 1000;
/// From so many jobs on the failing ESP gets a longer run-up.
const LARGE: u32 = 1000;
/// Failures in a row that open a breaker, and calls without which a share of them means nothing.
const MIN_CALLS: u32 = 10;
/// Calls that fail beside those which open the breaker: before the last good answer, under way by then, or its first probes.
const FAILS_LONGER: u32 = 2;

const TEMPLATE: &str = r#"# The configuration of `sluice demo`. Three sandbox ESPs: they keep a journal and deliver nothing.

[store]
path = @store@

[http]
listen = "off"

# The demo's domains are made up: nobody need be asked for them.
[mx]
enabled = false

# Times are short, so that a demo of some seconds shows what otherwise takes minutes.
[worker]
claim_ttl = "6s"

[relay]
interval = "50ms"

[retry.transactional]
initial = "300ms"
max = "2s"
give_up_after = "10min"

[retry.bulk]
initial = "300ms"
max = "2s"
give_up_after = "10min"

[breaker]
window = "10s"
min_calls = @min_calls@
open = "1s"
open_max = "1s"
probes = 3

[[esp]]
name = "healthy"
kind = "sandbox"
timeout = "1s"
[esp.sandbox]
latency = "5ms"
journal = @healthy@

# Works, fails for a while, works again. What it cannot take goes to the failover of its pool.
[[esp]]
name = "flaky"
kind = "sandbox"
timeout = "1s"
# A few calls at a time: few good answers can come amid the failures, and few jobs fail when it opens.
max_in_flight = 2
[esp.sandbox]
latency = "2ms"
journal = @flaky@
fail_from = @fail_from@
fail_count = @fail_count@

[[esp]]
name = "slow"
kind = "sandbox"
timeout = "1s"
[esp.sandbox]
latency = "150ms"
journal = @slow@

[[pool]]
name = "default"
members = [{ esp = "healthy", weight = 70 }, { esp = "slow", weight = 30 }]

[[pool]]
name = "premium"
members = [{ esp = "flaky" }]
failover = ["healthy"]

# One mailbox provider that takes mail slowly; it must not hold up the others.
[[domain_group]]
name = "gmail"
domains = ["gmail.com", "googlemail.com"]
limits = ["@gmail_rate@/s"]

[[domain_group]]
name = "microsoft"
domains = ["outlook.com", "hotmail.com"]

[[domain_group]]
name = "yahoo"
domains = ["yahoo.com"]
"#;

/// Where the demo keeps its files.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    /// Removes the folder at the end, unless it is kept.
    temporary: Option<tempfile::TempDir>,
}

impl Files {
    /// Takes `keep`, which must not hold a demo already, or a temporary folder.
    pub(super) fn new(keep: Option<&Path>) -> anyhow::Result<Self> {
        let Some(folder) = keep else {
            let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
            return Ok(Self { folder: temporary.path().to_owned(), temporary: Some(temporary) });
        };
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let folder =
            std::path::absolute(folder).with_context(|| format!("cannot find {}", folder.display()))?;
        let files = Self { folder, temporary: None };
        let taken =
            [files.store()].into_iter().chain(ESPS.map(|esp| files.journal(esp))).find(|it| it.exists());
        match taken {
            Some(taken) => {
                anyhow::bail!("{} is there already: name another folder or remove it", taken.display())
            }
            None => Ok(files),
        }
    }

    /// The folder, if it stays.
    pub(super) fn kept(&self) -> Option<&Path> {
        self.temporary.is_none().then_some(self.folder.as_path())
    }

    /// The SQLite file.
    pub(super) fn store(&self) -> PathBuf {
        self.folder.join("sluice.db")
    }

    /// The configuration.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("sluice.toml")
    }

    /// What an ESP has taken.
    pub(super) fn journal(&self, esp: &str) -> PathBuf {
        self.folder.join(format!("{esp}.journal"))
    }
}

/// Writes the configuration for a demo of `jobs` messages, and reads it as any other is read.
pub(super) fn load(files: &Files, jobs: u32) -> anyhow::Result<Config> {
    let text = text(files, jobs)?;
    let path = files.config();
    std::fs::write(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    let no_secrets = |path: &str| Err(format!("the demo has no secret file {path}"));
    // Without the environment: a demo shows the same everywhere.
    Config::load(&text, &[], &no_secrets).context("the demo's own configuration")
}

fn text(files: &Files, jobs: u32) -> anyhow::Result<String> {
    let fails_after: u32 = if jobs >= LARGE { 20 } else { 5 };
    let gmail_rate = (Shares::of(jobs).gmail / GMAIL_SECONDS).clamp(1, GMAIL_MAX_PER_SECOND);
    Ok(TEMPLATE
        .replace("@store@", &quoted(&files.store())?)
        .replace("@healthy@", &quoted(&files.journal("healthy"))?)
        .replace("@flaky@", &quoted(&files.journal("flaky"))?)
        .replace("@slow@", &quoted(&files.journal("slow"))?)
        .replace("@fail_from@", &(fails_after + 1).to_string())
        .replace("@min_calls@", &MIN_CALLS.to_string())
        // As many failures as there were good calls are half of the window, which opens the breaker; a row of them does too.
        .replace("@fail_count@", &(fails_after.min(MIN_CALLS) + FAILS_LONGER).to_string())
        .replace("@gmail_rate@", &gmail_rate.to_string()))
}

/// A path as a TOML string.
fn quoted(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(toml::Value::from(text).to_string())
}

#[cfg(test)]
mod tests {
    use sluice_engine::Plan;

    use super::*;
    use crate::commands::demo::scenario::{Group, Pool};

    #[test]
    fn the_configuration_stands_for_every_size_and_knows_what_the_scenario_names() {
        for jobs in [100, 999, 2000, 1_000_000] {
            let files = Files::new(None).unwrap();
            let config = load(&files, jobs).unwrap();
            assert!(config.warnings.is_empty(), "{:?}", config.warnings);
            assert!(config.http.listen.is_none());
            assert_eq!(config.esps.iter().map(|esp| esp.name.as_str()).collect::<Vec<_>>(), ESPS);
            let plan = Plan::of(&config);
            let pools: Vec<_> = plan.pools().map(|pool| pool.as_str()).collect();
            assert!([Pool::Default, Pool::Premium].iter().all(|pool| pools.contains(&pool.name())));
            for group in Group::ALL {
                for number in 0..3 {
                    assert_eq!(plan.group_of(group.domain(number)).as_str(), group.name());
                }
            }
        }
    }

    #[test]
    fn a_folder_that_holds_a_demo_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let keep = folder.path().join("a \"quoted\" name");
        let files = Files::new(Some(&keep)).unwrap();
        assert!(load(&files, 100).unwrap().store.path.ends_with("sluice.db"));
        std::fs::write(files.store(), "").unwrap();
        assert!(Files::new(Some(&keep)).is_err());
    }
}
