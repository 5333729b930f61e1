//! The settings of a relay, and what its URL says.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use secrecy::{ExposeSecret, SecretString};
use sluice_types::EspId;
use url::Url;

use crate::SettingsError;

/// Implicit TLS (RFC 8314 section 7.3).
const PORT_IMPLICIT_TLS: u16 = 465;
/// Submission (RFC 6409 section 3.1).
const PORT_SUBMISSION: u16 = 587;

/// One SMTP relay.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// The account.
    pub id: EspId,
    /// `smtps://user:secret@host:465`, or `smtp://host:587?tls=required` (the default; `opportunistic` for loopback;
    /// `none` sends everything, the password too, in clear). User and password are percent-encoded.
    pub url: SecretString,
    /// A PEM file with a further certificate authority to trust.
    pub tls_ca_file: Option<PathBuf>,
    /// The name to say hello with; default: the machine's.
    pub hello_name: Option<String>,
    /// For one message in all, from waiting for a connection to the answer after the final dot.
    pub timeout: Duration,
    /// Most connections at a time.
    pub max_connections: u32,
}

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// From the first byte.
    Implicit,
    /// By STARTTLS or not at all.
    Required,
    /// By STARTTLS if it is offered.
    Opportunistic,
    /// Never.
    Never,
}

/// Where to connect and as whom.
pub(super) struct Relay {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: TlsMode,
    pub(super) loopback: bool,
    pub(super) credentials: Option<Credentials>,
}

impl Relay {
    /// Reads the URL of `settings`.
    pub(super) fn parse(settings: &SmtpSettings) -> Result<Self, SettingsError> {
        let invalid = |problem| SettingsError::Invalid { esp: settings.id.clone(), field: "url", problem };
        let url = Url::parse(settings.url.expose_secret()).map_err(|_| invalid("is not a URL"))?;
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let host_ok = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
        if host.is_empty() || !host_ok {
            return Err(invalid("has no host name"));
        }
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(invalid("must end after the port or the query"));
        }
        let loopback = host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let (implicit, default_port) = match url.scheme() {
            "smtps" => (true, PORT_IMPLICIT_TLS),
            "smtp" => (false, PORT_SUBMISSION),
            _ => return Err(invalid("must begin with smtp:// or smtps://")),
        };
        let mut tls = match (implicit, loopback) {
            (true, _) => TlsMode::Implicit,
            (false, false) => TlsMode::Required,
            (false, true) => TlsMode::Opportunistic,
        };
        for (key, value) in url.query_pairs() {
            tls = match (&*key, &*value, implicit) {
                ("tls", _, true) => return Err(invalid("has `tls=` although smtps:// says it already")),
                ("tls", "required", false) => TlsMode::Required,
                ("tls", "opportunistic", false) => TlsMode::Opportunistic,
                ("tls", "none", false) => TlsMode::Never,
                ("tls", _, false) => {
                    return Err(invalid("has a `tls=` that is none of required, opportunistic, none"));
                }
                _ => return Err(invalid("has a query key other than `tls`")),
            };
        }
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            ("", Some(_)) => return Err(invalid("has a password without a user")),
            (_, None) => return Err(invalid("has a user without a password")),
            (user, Some(password)) => {
                let decoded = (percent_decoded(user), percent_decoded(password));
                let (Some(user), Some(password)) = decoded else {
                    return Err(invalid("has a user or password that is not percent-encoded UTF-8"));
                };
                Some(Credentials::new(user, password))
            }
        };
        let port = url.port().unwrap_or(default_port);
        Ok(Self { host: host.to_owned(), port, tls, loopback, credentials })
    }
}

/// The name for EHLO.
pub(super) fn hello(settings: &SmtpSettings) -> Result<ClientId, SettingsError> {
    let Some(name) = &settings.hello_name else { return Ok(ClientId::default()) };
    let well_formed = (1..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    if well_formed {
        Ok(ClientId::Domain(name.clone()))
    } else {
        Err(SettingsError::Invalid {
            esp: settings.id.clone(),
            field: "hello_name",
            problem: "is not a host name or address literal",
        })
    }
}

/// Decodes `%40` and the like; refuses control characters, which end or split a command.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        let digits =
            std::str::from_utf8(digits).ok().filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(url: &str) -> Result<Relay, SettingsError> {
        Relay::parse(&SmtpSettings {
            id: EspId::new("relay").unwrap(),
            url: url.into(),
            tls_ca_file: None,
            hello_name: None,
            timeout: Duration::from_secs(30),
            max_connections: 1,
        })
    }

    #[test]
    fn a_url_says_where_and_how() {
        for (url, host, port, tls) in [
            ("smtps://mx.example", "mx.example", 465, TlsMode::Implicit),
            ("smtps://mx.example:2465/", "mx.example", 2465, TlsMode::Implicit),
            ("smtp://mx.example", "mx.example", 587, TlsMode::Required),
            ("smtp://mx.example:25?tls=required", "mx.example", 25, TlsMode::Required),
            ("smtp://mx.example?tls=opportunistic", "mx.example", 587, TlsMode::Opportunistic),
            ("smtp://mx.example?tls=none", "mx.example", 587, TlsMode::Never),
            ("smtp://127.0.0.1:2525", "127.0.0.1", 2525, TlsMode::Opportunistic),
            ("smtp://localhost:2525?tls=required", "localhost", 2525, TlsMode::Required),
            ("smtp://[::1]:2525", "::1", 2525, TlsMode::Opportunistic),
        ] {
            let relay = relay(url).unwrap();
            assert_eq!((relay.host.as_str(), relay.port, relay.tls), (host, port, tls), "{url}");
            assert!(relay.credentials.is_none());
        }
    }

    #[test]
    fn credentials_are_percent_decoded() {
        let relay = relay("smtps://ada%40acme.example:p%25s%3As%2F%C3%BC@mx.example").unwrap();
        assert!(relay.credentials == Some(Credentials::new("ada@acme.example".into(), "p%s:s/ü".into())));
    }

    #[test]
    fn a_url_that_is_not_understood_is_refused_without_showing_it() {
        for url in [
            "",
            "mx.example:25",
            "http://mx.example",
            "smtp://",
            "smtp://mx.example/path",
            "smtp://mx.example?tls=maybe",
            "smtp://mx.example?ssl=1",
            "smtps://mx.example?tls=required",
            "smtps://:topsecret@mx.example",
            "smtps://topsecret@mx.example",
            "smtps://user:topsecret%0d%0a@mx.example",
            "smtps://user:topsecret%ff@mx.example",
            "smtps://user:topsecret%2@mx.example",
            "smtp://mx%0a.example",
        ] {
            let error = format!("{0} {0:?}", relay(url).err().expect(url));
            assert!(error.starts_with("esp relay: url "), "{error}");
            assert!(!error.contains("topsecret"), "{error}");
        }
    }
}
