//! The address of an SMTP relay: `smtps://user:secret@host:465`, `smtp://host:587?tls=required`.

use secrecy::SecretString;
use url::{Host, Url};

use crate::web_url::is_loopback;

/// Port of SMTP with TLS from the first byte, RFC 8314 section 3.3.
const SMTPS_PORT: u16 = 465;
/// Port of message submission, RFC 6409 section 3.1.
const SUBMISSION_PORT: u16 = 587;

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// TLS from the first byte (`smtps://`).
    Wrapped,
    /// STARTTLS, and no mail without it (`smtp://`, the default).
    Required,
    /// STARTTLS if the server offers it (`?tls=opportunistic`).
    Opportunistic,
    /// Plain text (`?tls=none`).
    None,
}

/// A checked SMTP address, taken apart.
#[derive(Clone, Debug)]
pub struct SmtpUrl {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// Default 465 for `smtps://`, 587 for `smtp://`.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: SmtpTls,
    /// User and password, percent-decoded.
    pub credentials: Option<(String, SecretString)>,
    /// Whether the host is this machine.
    pub is_loopback: bool,
}

/// Why a text is not an SMTP address. Says nothing of the text, which holds a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpUrlError {
    /// Not an address, another scheme, or no host.
    Form,
    /// A path or fragment, or a query other than `tls`.
    Trailing,
    /// An unknown word after `tls=`, or `tls` with `smtps://`.
    Tls,
    /// A user without a password, or the other way round; or what is not UTF-8 once decoded.
    Credentials,
}

impl std::fmt::Display for SmtpUrlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Form => "must be an address like smtps://user:secret@host:465 or smtp://host:587",
            Self::Trailing => "has something after the host and port; only ?tls=... may follow",
            Self::Tls => "`tls` is `required`, `opportunistic` or `none`, and goes with smtp:// only",
            Self::Credentials => {
                "must hold a user and a password, or neither; write / ? # @ : and % in them as %2F %3F %23 %40 %3A %25"
            }
        })
    }
}

impl std::error::Error for SmtpUrlError {}

impl SmtpUrl {
    /// Takes an address apart.
    ///
    /// # Errors
    /// When it is not of the form `smtp[s]://[user:secret@]host[:port][?tls=required|opportunistic|none]`.
    pub fn parse(text: &str) -> Result<Self, SmtpUrlError> {
        let url = Url::parse(text.trim()).map_err(|_| SmtpUrlError::Form)?;
        let wrapped = match url.scheme() {
            "smtps" => true,
            "smtp" => false,
            _ => return Err(SmtpUrlError::Form),
        };
        // The scheme is not a web scheme, so the parser leaves an IPv4 host as a name.
        let host = match url.host().ok_or(SmtpUrlError::Form)? {
            Host::Domain(name) => name.parse().map_or_else(|_| Host::Domain(name.to_owned()), Host::Ipv4),
            Host::Ipv4(ip) => Host::Ipv4(ip),
            Host::Ipv6(ip) => Host::Ipv6(ip),
        };
        let is_loopback = is_loopback(&host);
        let host = match host {
            Host::Domain(name) if name.is_empty() => return Err(SmtpUrlError::Form),
            Host::Domain(name) => name,
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(SmtpUrlError::Trailing);
        }
        let tls = match (wrapped, url.query()) {
            (true, None) => SmtpTls::Wrapped,
            (false, None | Some("tls=required")) => SmtpTls::Required,
            (false, Some("tls=opportunistic")) => SmtpTls::Opportunistic,
            (false, Some("tls=none")) => SmtpTls::None,
            (_, Some(query)) if query.starts_with("tls=") => return Err(SmtpUrlError::Tls),
            (_, Some(_)) => return Err(SmtpUrlError::Trailing),
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            ("", Some(_)) | (_, None) => return Err(SmtpUrlError::Credentials),
            (user, Some(password)) => Some((decode(user)?, SecretString::from(decode(password)?))),
        };
        let default_port = if wrapped { SMTPS_PORT } else { SUBMISSION_PORT };
        Ok(Self { host, port: url.port().unwrap_or(default_port), tls, credentials, is_loopback })
    }
}

/// Percent-decodes (RFC 3986 section 2.1); the parser has encoded what may not stand as it is.
fn decode(text: &str) -> Result<String, SmtpUrlError> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit =
            || bytes.next().and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(SmtpUrlError::Credentials) };
        decoded.push(high * 16 + low);
    }
    String::from_utf8(decoded).map_err(|_| SmtpUrlError::Credentials)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    fn check(text: &str, host: &str, port: u16, tls: SmtpTls, credentials: Option<(&str, &str)>) {
        let url = SmtpUrl::parse(text).unwrap();
        assert_eq!((url.host.as_str(), url.port, url.tls), (host, port, tls), "{text}");
        let found = url.credentials.as_ref().map(|(user, secret)| (user.as_str(), secret.expose_secret()));
        assert_eq!(found, credentials, "{text}");
    }

    #[test]
    fn every_form_is_taken_apart() {
        check(
            "smtps://user:secret@mx.example:465",
            "mx.example",
            465,
            SmtpTls::Wrapped,
            Some(("user", "secret")),
        );
        check(
            "smtps://u%40acme.example:p%3A%2F%25@mx",
            "mx",
            465,
            SmtpTls::Wrapped,
            Some(("u@acme.example", "p:/%")),
        );
        check("smtp://mx.example", "mx.example", 587, SmtpTls::Required, None);
        check("smtp://mx.example:25/?tls=required", "mx.example", 25, SmtpTls::Required, None);
        check("smtp://mx.example?tls=opportunistic", "mx.example", 587, SmtpTls::Opportunistic, None);
        check("smtp://127.0.0.1:1025?tls=none", "127.0.0.1", 1025, SmtpTls::None, None);
        check("smtp://[::1]:1025?tls=none", "::1", 1025, SmtpTls::None, None);
    }

    #[test]
    fn loopback_is_known() {
        for (text, expected) in [
            ("smtp://127.0.0.1:1025", true),
            ("smtp://localhost", true),
            ("smtp://[::1]", true),
            ("smtp://10.0.0.1", false),
            ("smtp://mailpit", false),
        ] {
            assert_eq!(SmtpUrl::parse(text).unwrap().is_loopback, expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_an_smtp_address_is_refused() {
        for (text, error) in [
            ("", SmtpUrlError::Form),
            ("mx.example:25", SmtpUrlError::Form),
            ("https://mx.example", SmtpUrlError::Form),
            ("smtp://", SmtpUrlError::Form),
            ("smtp:mx.example", SmtpUrlError::Form),
            ("smtp://mx.example:99999", SmtpUrlError::Form),
            ("smtp://mx.example/path", SmtpUrlError::Trailing),
            ("smtp://mx.example?x=1", SmtpUrlError::Trailing),
            ("smtp://mx.example#x", SmtpUrlError::Trailing),
            ("smtp://mx.example?tls=maybe", SmtpUrlError::Tls),
            ("smtps://mx.example?tls=none", SmtpUrlError::Tls),
            ("smtp://user@mx.example", SmtpUrlError::Credentials),
            ("smtp://:secret@mx.example", SmtpUrlError::Credentials),
            ("smtp://user:%ff@mx.example", SmtpUrlError::Credentials),
        ] {
            assert_eq!(SmtpUrl::parse(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn debug_never_shows_the_password() {
        let url = SmtpUrl::parse("smtps://user:hunter2@mx.example").unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_has_a_host(text in "\\PC{0,40}|smtps?://[a-z%0-9:@\\[\\]./?=&#]{0,40}") {
            if let Ok(url) = SmtpUrl::parse(&text) {
                prop_assert!(!url.host.is_empty());
            }
        }
    }
}
