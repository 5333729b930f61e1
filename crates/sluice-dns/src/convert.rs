//! What a name server's answer means. No IO.

use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record};

use crate::name::tidy;

/// Hosts that are kept of one domain. The large providers publish one to seven.
const HOSTS_MAX: usize = 20;
/// Aliases that are followed in one answer.
const ALIASES_MAX: usize = 8;

/// What a lookup has found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The domain's exchanges, most preferred first, and for how long the answer holds.
    Found(Arc<[String]>, Duration),
    /// The domain has no exchanges, or does not exist; with how long this holds, where the answer says so.
    Absent(Option<Duration>),
    /// A name server has answered, but with nothing to go by.
    Unclear,
    /// No name server has answered in time.
    NotAnswered,
    /// Nobody was asked: other lookups had all places.
    NotAsked,
}

/// What the end of a lookup for the exchanges of `domain` means.
pub(crate) fn finding(domain: &Name, end: Result<Lookup, NetError>) -> Finding {
    match end {
        Ok(lookup) => exchanges(domain, lookup.answers()),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => absent(&none),
        Err(NetError::Io(_) | NetError::NoConnections | NetError::Timeout | NetError::Busy) => {
            Finding::NotAnswered
        }
        // A refusal or failure of the name server, an answer that cannot be read, or one that does not fit the
        // question; new kinds of error are of these kinds, too.
        Err(_) => Finding::Unclear,
    }
}

fn absent(none: &NoRecords) -> Finding {
    let holds = none.negative_ttl.map(seconds);
    match none.response_code {
        ResponseCode::NXDomain => Finding::Absent(holds),
        // Without a word from the zone itself, name servers in the answer are those to ask instead (RFC 2308 section
        // 2.2): the server does not look further.
        ResponseCode::NoError if none.soa.is_some() || none.ns.is_none() => Finding::Absent(holds),
        _ => Finding::Unclear,
    }
}

/// The exchanges of `domain` in `records`, which may hold anything.
fn exchanges(domain: &Name, records: &[Record]) -> Finding {
    let mut owner = domain;
    let mut ttl = u32::MAX;
    for _ in 0..ALIASES_MAX {
        let alias = records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *owner => Some((&target.0, record.ttl)),
            _ => None,
        });
        let Some((target, holds)) = alias else { break };
        owner = target;
        ttl = ttl.min(holds);
    }

    let mut hosts = Vec::new();
    let mut says_none = false;
    for record in records {
        let RData::MX(mx) = &record.data else { continue };
        if record.name != *owner {
            continue;
        }
        ttl = ttl.min(record.ttl);
        if mx.exchange.is_root() {
            says_none = true;
        } else if let Some(host) = tidy(&mx.exchange.to_ascii()) {
            hosts.push((mx.preference, host));
        }
    }

    if hosts.is_empty() {
        // RFC 7505: a single exchange "." says that the domain takes no mail.
        return if says_none { Finding::Absent(Some(seconds(ttl))) } else { Finding::Unclear };
    }
    Finding::Found(most_preferred(hosts), seconds(ttl))
}

/// The hosts in order, each once; equally preferred ones by name, since servers turn their order with each answer.
fn most_preferred(mut hosts: Vec<(u16, String)>) -> Arc<[String]> {
    hosts.sort_unstable();
    let mut kept: Vec<String> = Vec::new();
    for (_, host) in hosts {
        if kept.len() == HOSTS_MAX {
            break;
        }
        if !kept.contains(&host) {
            kept.push(host);
        }
    }
    kept.into()
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(u64::from(ttl))
}

#[cfg(test)]
mod tests;
