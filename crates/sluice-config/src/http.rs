//! `[http]`: health, metrics and API.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;

use crate::key_pair;
use crate::reader::{self, Section};
use crate::token::HttpToken;

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8025);
const LISTEN_OFF: [&str; 2] = ["", "off"];
const ALLOW_UNAUTHENTICATED: bool = false;
const BODY_MAX_BYTES: usize = 8 * 1024 * 1024;
const BODY_MAX_BYTES_LOW: usize = 1024;
const BODY_MAX_BYTES_HIGH: usize = 1024 * 1024 * 1024;

const MAX_CONNECTIONS: usize = 512;
const MAX_CONNECTIONS_HIGH: usize = 65_536;

/// `[http]`: health, metrics and API.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port to listen on; empty or `off` switches it off. Outside loopback it needs tokens or
    /// `allow_unauthenticated`. Default `127.0.0.1:8025`.
    #[schemars(with = "String")]
    pub listen: Option<SocketAddr>,
    /// Whether anybody who reaches the address may publish, read and operate. Default `false`: without tokens it listens
    /// on loopback alone, and answers there who calls it `localhost` or by an address of the loopback; a page in a browser may have other names.
    pub allow_unauthenticated: bool,
    /// `[[http.token]]`: who may call, and what. `/health`, `/ready`, `/metrics` and the page of the
    /// dashboard stay open. None by default.
    #[schemars(rename = "token")]
    pub tokens: Vec<HttpToken>,
    /// Largest body of one request, in bytes, 1 KiB to 1 GiB, default 8388608 (8 MiB). More: one caller can hold more
    /// memory. Less: large lists of jobs have to be sent in more calls.
    pub body_max_bytes: usize,
    /// Connections at the same time, 1 to 65536, default 512; who comes later waits. More: more memory and files for
    /// callers. Less: a few that are slow keep others out sooner.
    pub max_connections: usize,
    /// PEM file of the certificate chain for HTTPS, read again at SIGHUP; without it plain HTTP
    /// is spoken. Its key is in `tls_key_file`. No default.
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file of that certificate's key. No default.
    pub tls_key_file: Option<PathBuf>,
}

impl Http {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        let listen = match section.text_or_empty("listen") {
            None => Some(LISTEN),
            Some(text) if LISTEN_OFF.contains(&text.trim()) => None,
            Some(text) => text.trim().parse().map(Some).unwrap_or_else(|_| {
                section.fault("listen", "must be an address and a port like \"127.0.0.1:8025\", or \"off\"");
                Some(LISTEN)
            }),
        };
        let (tls_cert_file, tls_key_file) = key_pair::read(section);
        let mut names = BTreeSet::new();
        let mut digests = BTreeSet::new();
        let http = Self {
            listen,
            allow_unauthenticated: section.switch("allow_unauthenticated", ALLOW_UNAUTHENTICATED),
            tokens: section.tables("token", |section| HttpToken::read(section, &mut names, &mut digests)),
            body_max_bytes: section.number(
                "body_max_bytes",
                BODY_MAX_BYTES,
                BODY_MAX_BYTES_LOW..=BODY_MAX_BYTES_HIGH,
            ),
            max_connections: section.number("max_connections", MAX_CONNECTIONS, 1..=MAX_CONNECTIONS_HIGH),
            tls_cert_file,
            tls_key_file,
        };
        let outside = listen.is_some_and(|listen| !listen.ip().to_canonical().is_loopback());
        if outside && http.tokens.is_empty() && !http.allow_unauthenticated {
            section.fault(
                "listen",
                "is reachable from outside this machine: add [[http.token]] entries, or say allow_unauthenticated = true",
            );
        }
        http
    }
}

impl Default for Http {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
