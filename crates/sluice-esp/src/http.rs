//! One HTTP client for every API: bounded in time, in size and in trust.

mod client;
mod connector;
mod corked;
mod http1;
mod http2;
mod idle;
mod shared;

use std::error::Error;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

pub(crate) use client::{Answer, CallError, Client, Line};
use connector::{Connector, Stalled};
use hyper::Uri;
use hyper::header::HeaderMap;
use sluice_types::{Category, EspId, Outcome, clean_detail};
use url::Url;

use crate::{SettingsError, tls};

/// The most of an answer's body that is read.
pub(crate) const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// What every request tells of us.
pub(crate) const USER_AGENT: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));
/// Connecting gets half of the account's timeout, and never more than this.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Which HTTP is spoken with an API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/2 where the server agrees to it in the TLS handshake, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1 only: a connection for each call at a time.
    Http1,
    /// HTTP/2 only, also over plain HTTP, where nothing can be agreed upon ("prior knowledge", RFC 9113 section 3.3).
    Http2,
}

/// Builds the client of one account, which posts to `endpoint` with `headers`.
///
/// It follows no redirect, so that no key reaches another host. No compressed answers, no proxy from the environment.
pub(crate) fn client(
    esp: &EspId,
    endpoint: Uri,
    headers: HeaderMap,
    version: HttpVersion,
    timeout: Duration,
    tls_ca_file: Option<&Path>,
) -> Result<Client, SettingsError> {
    let authority = tls_ca_file.map(|path| tls::CaFile::read(esp, path)).transpose()?;
    let trust = tls::client_config(esp, authority.as_ref())?;
    let connector = Connector::new(endpoint.clone(), version, trust, CONNECT_TIMEOUT_MAX.min(timeout / 2));
    Ok(Client::new(connector, endpoint, headers))
}

/// Joins `path` to the account's `base_url` after checking it.
///
/// Plain HTTP would show the key to everyone on the way, so without `allow_plain_http` it is taken for loopback alone, as the
/// configuration takes it.
pub(crate) fn endpoint(
    esp: &EspId,
    base_url: &str,
    allow_plain_http: bool,
    path: &str,
) -> Result<Uri, SettingsError> {
    let invalid = |problem| SettingsError::Invalid { esp: esp.clone(), field: "base_url", problem };
    let base = Url::parse(base_url).map_err(|_| invalid("is not a URL"))?;
    let host = base.host_str().ok_or_else(|| invalid("has no host"))?;
    match base.scheme() {
        "https" => {}
        "http" if allow_plain_http || is_loopback(host) => {}
        "http" => return Err(invalid("must begin with https:// where it leaves this machine")),
        _ => return Err(invalid("must begin with https://")),
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(invalid("must not hold a user or password"));
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err(invalid("must not have a query or fragment"));
    }
    let whole = format!("{}{path}", base.as_str().trim_end_matches('/'));
    // In its normal form: the host in ASCII, what needs it escaped.
    let whole = Url::parse(&whole).map_err(|_| invalid("is not a URL"))?;
    whole.as_str().parse().map_err(|_| invalid("is not a URL"))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(|_| host == "localhost", |address| address.to_canonical().is_loopback())
}

/// What a call means that brought no answer.
///
/// Only a failure to connect is surely before the request was written; everything later is unknown.
pub(crate) fn failure(error: &CallError) -> Outcome {
    match error {
        CallError::Unsent(error) => {
            let error: &(dyn Error + 'static) = error.as_ref();
            let (category, what) = match () {
                () if is_caused_by(error, |cause| cause.to_string() == DNS_ERROR) => {
                    (Category::Connect, "the host name was not resolved")
                }
                () if is_tls(error) => (Category::Tls, "the TLS handshake failed"),
                () if is_caused_by(error, |cause| cause.is::<Stalled>()) => {
                    (Category::Connect, "connecting took too long")
                }
                () if is_caused_by(error, |cause| cause.is::<h2::Error>()) => {
                    (Category::Connect, "the request was not taken")
                }
                () => (Category::Connect, "could not connect"),
            };
            Outcome::Faulted { category, detail: clean_detail(&format!("{what}: {}", root(error))) }
        }
        CallError::Lost(error) => {
            let detail = format!("the connection was lost before the answer: {}", root(error.as_ref()));
            Outcome::Unknown { detail: clean_detail(&detail) }
        }
    }
}

/// How the connector names a failure of the resolver: its error's type is private.
const DNS_ERROR: &str = "dns error";

/// Whether `error` or a cause of it fits.
fn is_caused_by(error: &(dyn Error + 'static), fits: impl Fn(&(dyn Error + 'static)) -> bool) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if fits(cause) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// Looks for a TLS failure in an error and its causes. What an io error wraps is not among its sources.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    // TCP alone never meets an end of file while it connects.
    let ended = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof);
    error.is::<rustls::Error>()
        || ended
        || wrapped.is_some_and(|inner| is_tls(inner))
        || error.source().is_some_and(is_tls)
}

/// The innermost cause in words.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_joined_or_refused() {
        let esp = EspId::new("sendgrid-main").unwrap();
        for (base, whole) in [
            ("https://api.sendgrid.com", "https://api.sendgrid.com/v3/mail/send"),
            ("https://api.eu.sendgrid.com/", "https://api.eu.sendgrid.com/v3/mail/send"),
            ("http://127.0.0.1:8080/stand-in", "http://127.0.0.1:8080/stand-in/v3/mail/send"),
            ("http://[::1]:8080", "http://[::1]:8080/v3/mail/send"),
            ("http://localhost:8080", "http://localhost:8080/v3/mail/send"),
        ] {
            assert_eq!(endpoint(&esp, base, false, "/v3/mail/send").unwrap().to_string(), whole);
        }
        let allowed = endpoint(&esp, "http://stand-in.lan:8080", true, "/v3/mail/send").unwrap();
        assert_eq!(allowed.to_string(), "http://stand-in.lan:8080/v3/mail/send");
        for base in [
            "",
            "api.sendgrid.com",
            "ftp://api.sendgrid.com",
            "http://api.sendgrid.com",
            "http://93.184.216.34",
            "http://stand-in:8080",
            "http://192.168.1.7",
            "https://user:secret@api.sendgrid.com",
            "https://api.sendgrid.com/?a=b",
        ] {
            let error = endpoint(&esp, base, false, "/v3/mail/send").unwrap_err().to_string();
            assert!(error.starts_with("esp sendgrid-main: base_url "), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
