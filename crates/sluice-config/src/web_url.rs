//! What an address must be to be called: scheme, host, and no plain text over a network by accident.

use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

/// Whether the address has one of the schemes, and a host. For addresses that are secrets, so nothing of it is said.
pub(crate) fn has_scheme_and_host(address: &SecretString, schemes: &[&str]) -> bool {
    Url::parse(address.expose_secret()).is_ok_and(|url| {
        schemes.contains(&url.scheme()) && url.host_str().is_some_and(|host| !host.is_empty())
    })
}

/// Checks the base address of an HTTP interface.
pub(crate) fn check_base_url(text: &str, allow_plain_http: bool) -> Result<(), &'static str> {
    let url = Url::parse(text).map_err(|_| "must be an address like \"https://api.example.com\"")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or a fragment");
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if allow_plain_http || url.host().is_some_and(|host| is_loopback(&host)) => Ok(()),
        "http" => Err("sends the key and the mail in plain text; use https, or say allow_plain_http = true"),
        _ => Err("must begin with https:// (or http:// to loopback)"),
    }
}

/// Whether the host is this machine.
pub(crate) fn is_loopback<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.as_ref();
            name.eq_ignore_ascii_case("localhost")
        }
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.to_canonical().is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for (text, allow_plain_http, good) in [
            ("https://api.sendgrid.com", false, true),
            ("https://api.sendgrid.com/eu/", false, true),
            ("http://127.0.0.1:9000", false, true),
            ("http://[::1]:9000", false, true),
            ("http://[::ffff:127.0.0.1]:9000", false, true),
            ("http://localhost:9000", false, true),
            ("http://mailpit:9000", false, false),
            ("http://mailpit:9000", true, true),
            ("http://localhost.example.com", false, false),
            ("http://127.0.0.1@evil.example", false, false),
            ("http://evil.example\\@127.0.0.1/", false, false),
            ("https://user:secret@api.example.com", false, false),
            ("https://api.example.com?key=1", false, false),
            ("ftp://api.example.com", true, false),
            ("api.sendgrid.com", false, false),
            ("", false, false),
        ] {
            assert_eq!(check_base_url(text, allow_plain_http).is_ok(), good, "{text}");
        }
    }
}
