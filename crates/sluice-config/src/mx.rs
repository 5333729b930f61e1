//! `[mx]`: how the mailbox provider of a domain that no group names is found.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;

use crate::duration::{self, DurationText};
use crate::reader::{self, Section};

const ENABLED: bool = true;
const TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(10);
const TABLE: u32 = 100_000;
const TABLE_MIN: u32 = 1000;
const TABLE_MAX: u32 = 10_000_000;
/// Where a name server listens (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;

/// `[mx]`: how the mailbox provider of a domain that no group names is found: its mail exchangers are looked up, and
/// compared with the `mx` of every `[[domain_group]]`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Mx {
    /// Whether they are looked up at all, so that hosted domains share the limits of their provider. Default `true`;
    /// `false` counts every domain that no group names as one of the group `other`.
    pub enabled: bool,
    /// Longest wait for an answer, 100ms to 10s, default 1s; then this job's domain counts as one of `other`. More: jobs
    /// wait longer for a slow name server. Less: more of them go past their provider's limits.
    #[schemars(with = "DurationText")]
    #[serde(serialize_with = "duration::serialize")]
    pub timeout: Duration,
    /// Name servers that are asked, such as `10.0.0.2` (port 53) or `127.0.0.1:5353`. Default none: the system's.
    #[schemars(with = "Vec<String>")]
    pub servers: Vec<SocketAddr>,
    /// Domains whose answer is remembered, 1000 to 10000000, default 100000. More: more memory. Less: more queries.
    pub table: u32,
}

impl Mx {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        let mut taken = Vec::new();
        Self {
            enabled: section.switch("enabled", ENABLED),
            timeout: section.duration("timeout", TIMEOUT, TIMEOUT_MIN..=TIMEOUT_MAX),
            servers: section.texts("servers", |text| {
                let server = parse_server(text)?;
                if taken.contains(&server) {
                    return Err("is in this list twice");
                }
                taken.push(server);
                Ok(server)
            }),
            table: section.number("table", TABLE, TABLE_MIN..=TABLE_MAX),
        }
    }
}

impl Default for Mx {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}

fn parse_server(text: &str) -> Result<SocketAddr, &'static str> {
    let text = text.trim();
    let with_port = || text.parse::<IpAddr>().map(|ip| SocketAddr::from((ip, DNS_PORT)));
    text.parse().or_else(|_| with_port()).ok().filter(|server: &SocketAddr| server.port() != 0).ok_or(
        "must be an IP address, with a port if that is not 53, like \"10.0.0.2\" or \"127.0.0.1:5353\"",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_server_is_an_address() {
        for (text, expected) in [
            ("10.0.0.2", Some("10.0.0.2:53")),
            (" 127.0.0.1:5353 ", Some("127.0.0.1:5353")),
            ("::1", Some("[::1]:53")),
            ("[::1]:5353", Some("[::1]:5353")),
            ("127.0.0.1:0", None),
            ("127.0.0.1:65536", None),
            ("dns.example", None),
            ("udp://10.0.0.2", None),
            ("", None),
        ] {
            let server = parse_server(text).ok().map(|server| server.to_string());
            assert_eq!(server.as_deref(), expected, "{text:?}");
        }
    }
}
