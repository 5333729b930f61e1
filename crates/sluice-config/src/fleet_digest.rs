//! What replicas of one fleet must agree on, as a short word to compare.

use sha2::{Digest, Sha256};
use sluice_types::EspId;

use crate::brake::Brake;
use crate::breaker::Breaker;
use crate::config::Config;
use crate::duration::DurationText;
use crate::esp::EspConfig;
use crate::group::GroupConfig;
use crate::pool::PoolConfig;
use crate::tenant::TenantConfig;
use crate::warmup::{Ramp, Warmup};

/// Names the form of the text, so that versions with another form differ.
const FORM: &str = "sluice fleet 1";
/// Bytes of the digest that are shown.
const SHOWN: usize = 8;

impl Config {
    /// 16 hex digits that are the same for two replicas which agree on everything that the fleet shares: the ESPs' names,
    /// limits and warm-ups; pools, domain groups and tenants; the reserved share, whether MX are looked up and results
    /// are told, breaker and brake.
    ///
    /// Not on what concerns one process: addresses, secrets, files, timeouts, holds, `max_in_flight`. Lists whose order
    /// means nothing are sorted first.
    #[must_use]
    pub fn fleet_digest(&self) -> String {
        let digest = Sha256::digest(self.fleet_text());
        digest.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect()
    }

    /// One fact a line. Names hold neither a space nor a line break, so no two configurations have the same text.
    fn fleet_text(&self) -> String {
        let mut lines = Vec::new();
        self.esps.iter().for_each(|esp| esp_lines(esp, &mut lines));
        self.pools.iter().for_each(|pool| pool_lines(pool, &mut lines));
        self.groups.iter().for_each(|group| group_lines(group, &mut lines));
        self.tenants.iter().for_each(|tenant| lines.push(tenant_line(tenant)));
        lines.push(format!("worker reserved_share {}", self.worker.reserved_share));
        lines.push(format!("mx enabled {}", self.mx.enabled));
        // Said only where they are told, so that the digest of all others stays what it was.
        if self.queue.results {
            lines.push("queue results true".to_owned());
        }
        lines.push(breaker_line(&self.breaker));
        lines.push(brake_line(&self.brake));
        // Entries of a list are named, so their order means nothing.
        lines.sort();
        format!("{FORM}\n{}\n", lines.join("\n"))
    }
}

fn esp_lines(esp: &EspConfig, lines: &mut Vec<String>) {
    let name = &esp.name;
    lines.push(format!("esp {name} limits {}", sorted(&esp.limits)));
    if let Some(warmup) = &esp.warmup {
        let Warmup { caps, hold_above, groups } = warmup;
        lines.push(format!("esp {name} warmup caps {caps:?} hold_above {hold_above}"));
        for (group, Ramp { caps, hold_above }) in groups {
            lines.push(format!("esp {name} warmup group {group} caps {caps:?} hold_above {hold_above}"));
        }
    }
}

fn pool_lines(pool: &PoolConfig, lines: &mut Vec<String>) {
    let name = &pool.name;
    for member in &pool.members {
        lines.push(format!("pool {name} member {} weight {}", member.esp, member.weight));
    }
    lines.push(format!("pool {name} sticky {}", pool.sticky.as_str()));
    // Tried in this order.
    let failover: Vec<&str> = pool.failover.iter().map(EspId::as_str).collect();
    lines.push(format!("pool {name} failover {}", failover.join(",")));
}

fn group_lines(group: &GroupConfig, lines: &mut Vec<String>) {
    let name = &group.name;
    lines.push(format!("group {name} domains {}", sorted(&group.domains)));
    lines.push(format!("group {name} mx {}", sorted(&group.mx)));
    lines.push(format!("group {name} limits {}", sorted(&group.limits)));
    lines.push(format!("group {name} limits_per_esp {}", sorted(&group.limits_per_esp)));
    lines.push(format!("group {name} limits_per_domain {}", sorted(&group.limits_per_domain)));
}

fn tenant_line(tenant: &TenantConfig) -> String {
    format!("tenant {} weight {} limits {}", tenant.name, tenant.weight, sorted(&tenant.limits))
}

fn breaker_line(breaker: &Breaker) -> String {
    let Breaker { window, failure_rate, slow_rate, slow_after, min_calls, open, open_max, probes } = *breaker;
    format!(
        "breaker window {} failure_rate {failure_rate} slow_rate {slow_rate} slow_after {} min_calls {min_calls} \
         open {} open_max {} probes {probes}",
        DurationText(window),
        DurationText(slow_after),
        DurationText(open),
        DurationText(open_max),
    )
}

fn brake_line(brake: &Brake) -> String {
    let Brake { enabled, recover } = *brake;
    format!("brake enabled {enabled} recover {}", DurationText(recover))
}

/// The entries, sorted; none of them holds a comma.
fn sorted(list: &[impl ToString]) -> String {
    let mut texts: Vec<String> = list.iter().map(ToString::to_string).collect();
    texts.sort();
    texts.join(",")
}

#[cfg(test)]
mod tests;
