//! `[store]`: where results, limits and everything that is not due yet are kept.

use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::key_pair;
use crate::reader::{self, Section};
use crate::schema::url_file;

const PATH: &str = "sluice.db";
const WRITERS: u8 = 3;
const WRITERS_MAX: u8 = 16;
const POOL_SIZE: u8 = 8;
const POOL_SIZE_MAX: u8 = 200;
const MIGRATE: bool = true;

/// What keeps the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// One SQLite file; one process, no server.
    #[default]
    Embedded,
    /// A Postgres server; any number of replicas.
    Postgres,
}

/// `[store]`: where results, limits and everything that is not due yet are kept.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(default, deny_unknown_fields, transform = url_file)]
pub struct Store {
    /// What keeps the records: `embedded` (one file, one process) or `postgres` (any number of replicas). Goes with
    /// `queue.kind`: both embedded or both servers. Default `embedded`.
    pub kind: StoreKind,
    /// Address of the Postgres server, `postgres://user:secret@host:5432/database`. TLS is always verified;
    /// `?sslmode=require` insists on it. A secret; `url_file` names a file that
    /// holds it. Required with `postgres`, no default.
    #[schemars(with = "Option<String>")]
    pub url: Option<SecretString>,
    /// The file of the embedded store; the embedded queue lives in it too. Default `sluice.db` in the working directory.
    pub path: PathBuf,
    /// PEM file of the authorities that sign the server's certificate, in place of the system's. No default.
    pub tls_ca_file: Option<PathBuf>,
    /// PEM file of the certificate chain that we show the server, where it asks for one, and of its key in `tls_key_file`. No default.
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file of that certificate's key. No default.
    pub tls_key_file: Option<PathBuf>,
    /// Batches of claims, and as many of results, that are written at the same time, 1 to 16, default 3. More: more throughput
    /// on a store with a slow disk, and smaller batches. Less: larger batches, and one slow commit holds up more jobs.
    ///
    /// A replica opens up to `2 * writers + 8 + pool_size` connections (22 with the defaults), as they are needed: count them
    /// all against the server's `max_connections`. Postgres only.
    pub writers: u8,
    /// Connections for what operators and the API ask and for housekeeping, 1 to 200, default 8; slots, the fleet and the relay
    /// have 7 of their own. More: takes from the server's `max_connections`, in every replica. Less: questions wait for each
    /// other. Postgres only.
    pub pool_size: u8,
    /// Whether `sluice run` brings the schema up to date at start. `false` where migrations are run apart, with
    /// `sluice migrate`; a schema that is too old then stops the start. Default `true`.
    pub migrate: bool,
}

impl Store {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Self {
        let has_url = section.has("url") || section.has("url_file");
        let kind = section.word("kind", StoreKind::default());
        let (url, tls_ca_file) = (section.secret("url", "url_file"), section.path("tls_ca_file"));
        let (tls_cert_file, tls_key_file) = key_pair::read(section);
        let store = Self {
            kind,
            url,
            path: section.path("path").unwrap_or_else(|| PathBuf::from(PATH)),
            tls_ca_file,
            tls_cert_file,
            tls_key_file,
            writers: section.number("writers", WRITERS, 1..=WRITERS_MAX),
            pool_size: section.number("pool_size", POOL_SIZE, 1..=POOL_SIZE_MAX),
            migrate: section.switch("migrate", MIGRATE),
        };
        match store.kind {
            StoreKind::Embedded if has_url => {
                section.fault("url", "goes with kind = \"postgres\"; the kind is `embedded`");
            }
            StoreKind::Embedded if store.tls_ca_file.is_some() => {
                section.fault("tls_ca_file", "goes with kind = \"postgres\"; the kind is `embedded`");
            }
            StoreKind::Embedded if store.tls_cert_file.is_some() => {
                section.fault("tls_cert_file", "goes with kind = \"postgres\"; the kind is `embedded`");
            }
            StoreKind::Postgres if !has_url => section.fault("url", "is required with kind = \"postgres\""),
            StoreKind::Embedded | StoreKind::Postgres => {}
        }
        // Postgres addresses may name several hosts, or a socket's folder and none, so only the scheme is looked at.
        let is_postgres = |url: &SecretString| {
            let url = url.expose_secret();
            url.starts_with("postgres://") || url.starts_with("postgresql://")
        };
        if store.url.as_ref().is_some_and(|url| !is_postgres(url)) {
            section.fault("url", "must be a postgres:// or postgresql:// address");
        }
        store
    }
}

impl Default for Store {
    fn default() -> Self {
        reader::defaults(Self::read)
    }
}
