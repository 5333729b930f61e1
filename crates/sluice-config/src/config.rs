//! The whole configuration, checked.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use sluice_types::{EspId, PoolName};
use toml::Table;

use crate::brake::Brake;
use crate::breaker::Breaker;
use crate::duration::DurationText;
use crate::esp::EspConfig;
use crate::fault::{ConfigFault, ConfigFaults};
use crate::group::GroupConfig;
use crate::http::Http;
use crate::log::Log;
use crate::mx::Mx;
use crate::overlay;
use crate::pool::PoolConfig;
use crate::queue::{Queue, QueueKind};
use crate::reader::{self, ReadSecret, Reader, Section};
use crate::relay::Relay;
use crate::retention::Retention;
use crate::retry::Retry;
use crate::store::{Store, StoreKind};
use crate::tenant::TenantConfig;
use crate::unknown::UnknownPolicy;
use crate::worker::Worker;

/// What [`Config::claim_ttl`] adds to the longest send and the longest hold when the configuration names no time.
const CLAIM_TTL_SPARE: Duration = Duration::from_secs(30);

/// The whole configuration of one process.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(default, deny_unknown_fields, title = "Sluice configuration")]
pub struct Config {
    /// `[queue]`: where jobs come from.
    pub queue: Queue,
    /// `[store]`: where results, limits and everything that is not due yet are kept.
    pub store: Store,
    /// `[http]`: health, metrics and API.
    pub http: Http,
    /// `[log]`: what is written to standard error.
    pub log: Log,
    /// `[worker]`: how jobs are held, claimed and given back.
    pub worker: Worker,
    /// `[relay]`: how due jobs go from `pending` back to the queue.
    pub relay: Relay,
    /// `[retry]`: when a deferred job is tried again, by class.
    pub retry: Retry,
    /// `[retention]`: how long what is over is kept in the store.
    pub retention: Retention,
    /// `[unknown]`: what happens to a job whose answer was lost.
    pub unknown: UnknownPolicy,
    /// `[breaker]`: when an ESP account is left alone for a while.
    pub breaker: Breaker,
    /// `[brake]`: how long we stay slow after being asked to slow down.
    pub brake: Brake,
    /// `[mx]`: how the mailbox provider of a domain that no group names is found.
    pub mx: Mx,
    /// `[[esp]]`: the ESP accounts. At least one.
    #[schemars(rename = "esp")]
    pub esps: Vec<EspConfig>,
    /// `[[pool]]`: which ESPs share some traffic. One is `default`.
    #[schemars(rename = "pool")]
    pub pools: Vec<PoolConfig>,
    /// `[[domain_group]]`: recipient domains by mailbox provider. One is `other`.
    #[schemars(rename = "domain_group")]
    pub groups: Vec<GroupConfig>,
    /// `[[tenant]]`: limits of single tenants.
    #[schemars(rename = "tenant")]
    pub tenants: Vec<TenantConfig>,
    /// What is allowed and hardly meant; not a key.
    #[schemars(skip)]
    pub warnings: Vec<ConfigFault>,
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// `overlay` holds environment variables by name; those that begin with [`crate::VARIABLE_PREFIX`] win over the text,
    /// others are left alone. `read_secret` reads the file that a key such as `api_key_file` names.
    ///
    /// # Errors
    /// Every fault at once; the syntax error alone if the text is not TOML.
    pub fn load(
        toml_text: &str,
        overlay: &[(String, String)],
        read_secret: ReadSecret<'_>,
    ) -> Result<Self, ConfigFaults> {
        let mut root: Table = toml::from_str(toml_text).map_err(|error| syntax_fault(toml_text, &error))?;
        let mut overlay_faults = Vec::new();
        let variables = overlay::apply(&mut root, overlay, &mut overlay_faults);
        let mut reader = Reader::new(read_secret, variables);
        let mut config = reader.root(root, Self::read);
        config.warnings = reader.warnings;
        overlay_faults.append(&mut reader.faults);
        if overlay_faults.is_empty() { Ok(config) } else { Err(ConfigFaults(overlay_faults)) }
    }

    /// How long a claimed job belongs to its worker: `worker.claim_ttl`, else longer than the longest send and hold together.
    #[must_use]
    pub fn claim_ttl(&self) -> Duration {
        let computed = self.longest_timeout() + self.worker.lane_hold_max + CLAIM_TTL_SPARE;
        self.worker.claim_ttl.unwrap_or(computed)
    }

    /// The longest `timeout` of all ESPs.
    #[must_use]
    pub fn longest_timeout(&self) -> Duration {
        self.esps.iter().map(|esp| esp.timeout).max().unwrap_or_default()
    }

    fn read(section: &mut Section<'_, '_>) -> Self {
        let mut esp_names = BTreeSet::new();
        let mut pool_names = BTreeSet::new();
        let mut tenant_names = BTreeSet::new();
        let has_esps = section.has_entries("esp");
        let has_pools = section.has_entries("pool");
        // Before the ESPs, which name groups.
        let (groups, group_names) = GroupConfig::read_all(section);
        let mut config = Self {
            queue: section.section("queue", Queue::read),
            store: section.section("store", Store::read),
            http: section.section("http", Http::read),
            log: section.section("log", Log::read),
            worker: section.section("worker", Worker::read),
            relay: section.section("relay", Relay::read),
            retry: section.section("retry", Retry::read),
            retention: section.section("retention", Retention::read),
            unknown: section.section("unknown", UnknownPolicy::read),
            breaker: section.section("breaker", Breaker::read),
            brake: section.section("brake", Brake::read),
            mx: section.section("mx", Mx::read),
            esps: section.tables("esp", |section| EspConfig::read(section, &mut esp_names, &group_names)),
            pools: Vec::new(),
            groups,
            tenants: section.tables("tenant", |section| TenantConfig::read(section, &mut tenant_names)),
            warnings: Vec::new(),
        };
        if !has_esps {
            config.esps.extend(EspConfig::sandbox());
            esp_names.extend(config.esps.iter().map(|esp| esp.name.clone()));
        }
        config.pools =
            section.tables("pool", |section| PoolConfig::read(section, &mut pool_names, &esp_names));
        if !has_pools {
            config.pools.push(PoolConfig::of_all(config.esps.iter().map(|esp| esp.name.clone())));
        } else if !pool_names.contains(&PoolName::default()) {
            section.fault("pool", "none is named `default`, where jobs without a pool go; name one so");
        }
        config.check_together(section);
        config
    }

    /// The rules that join sections.
    fn check_together(&self, section: &mut Section<'_, '_>) {
        match (self.queue.kind, self.store.kind) {
            (QueueKind::Embedded, StoreKind::Postgres) => section.fault(
                "queue.kind",
                "is `embedded` while store.kind is `postgres`: both are embedded or both are servers",
            ),
            (QueueKind::Rabbitmq, StoreKind::Embedded) => section.fault(
                "store.kind",
                "is `embedded` while queue.kind is `rabbitmq`: both are embedded or both are servers",
            ),
            (QueueKind::Embedded, StoreKind::Embedded) | (QueueKind::Rabbitmq, StoreKind::Postgres) => {}
        }
        let longest = self.longest_timeout();
        if self.worker.claim_ttl.is_some_and(|ttl| ttl <= longest) {
            let longest = DurationText(longest);
            section.fault(
                "worker.claim_ttl",
                format_args!("must be longer than every ESP's timeout ({longest})"),
            );
        }
        let used: BTreeSet<&EspId> = self.pools.iter().flat_map(PoolConfig::esps).collect();
        for (at, esp) in self.esps.iter().enumerate() {
            if !used.contains(&esp.name) {
                section.warn(&format!("esp[{at}]"), format!("no pool uses `{}`", esp.name));
            }
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}

/// Where the text stops being TOML. The line itself is not shown: it may hold a secret.
fn syntax_fault(text: &str, error: &toml::de::Error) -> ConfigFaults {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let detail = format!("line {line}, column {column}: {}", error.message().replace('\n', ", "));
    ConfigFaults(vec![ConfigFault { key: String::new(), detail }])
}

#[cfg(test)]
mod tests;
