//! The configuration of the workers.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Jobs per second of the limit that is reached.
pub(crate) const REACHED_PER_SECOND: u32 = 2_000;
/// The only domain of the group `gmail`, whose lane the throughput cases use.
pub(crate) const ONE_DOMAIN: &str = "gmail.com";

/// Calls at an ESP at the same time, of the worker and of the programs beside it: enough to fill 20 ms.
pub(crate) const CALLS: u32 = 1_000;

/// Which limits are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limits {
    /// None.
    Off,
    /// Of the ESP (spaced, and counted by the hour), the group and each domain: too high to be reached.
    Idle,
    /// The ESP's, at [`REACHED_PER_SECOND`].
    Reached,
}

/// Where queue and ledger are.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    Servers { amqp: String, db: String },
    Embedded { file: PathBuf },
}

/// Which HTTP the workers speak with the ESPs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Http {
    /// A connection for each call at a time.
    Http1,
    /// Connections that calls share.
    #[default]
    Http2,
}

/// Everything that a case sets.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) esps: Vec<SocketAddr>,
    pub(crate) limits: Limits,
    pub(crate) http: Http,
    /// More TOML at the end.
    pub(crate) more: String,
}

impl Site {
    /// With nothing more, over HTTP/2.
    pub(crate) fn new(store: Store, esps: Vec<SocketAddr>, limits: Limits) -> Self {
        Self { store, esps, limits, http: Http::default(), more: String::new() }
    }

    /// The file for `sluice run`.
    pub(crate) fn toml(&self) -> String {
        let mut toml = match &self.store {
            Store::Servers { amqp, db } => format!(
                "[queue]\nkind = \"rabbitmq\"\nurl = \"{amqp}\"\n[store]\nkind = \"postgres\"\nurl = \"{db}\"\n"
            ),
            Store::Embedded { file } => format!("[store]\npath = \"{}\"\n", file.display()),
        };
        toml.push_str("[mx]\nenabled = false\n");
        let (esp, group, domain) = match self.limits {
            Limits::Off => (String::new(), "", ""),
            Limits::Idle => (
                "limits = [\"50000/s\", \"100000000/h\"]\n".to_owned(),
                "limits = [\"50000/s\"]\n",
                "[[domain_group]]\nname = \"other\"\nlimits_per_domain = [\"50000/s\"]\n",
            ),
            Limits::Reached => (format!("limits = [\"{REACHED_PER_SECOND}/s\"]\n"), "", ""),
        };
        let http = match self.http {
            Http::Http1 => "1.1",
            Http::Http2 => "2",
        };
        let mut members = String::new();
        for (place, addr) in self.esps.iter().enumerate() {
            // Writing to a String cannot fail.
            write!(
                toml,
                "[[esp]]\nname = \"main-{place}\"\nkind = \"sendgrid\"\nbase_url = \"http://{addr}\"\napi_key = \"bench\"\n\
                 http_version = \"{http}\"\ntimeout = \"10s\"\nmax_in_flight = {CALLS}\n{esp}"
            )
            .ok();
            write!(members, "{{ esp = \"main-{place}\" }}, ").ok();
        }
        write!(toml, "[[pool]]\nname = \"default\"\nmembers = [{members}]\n").ok();
        write!(
            toml,
            "[[domain_group]]\nname = \"gmail\"\ndomains = [\"{ONE_DOMAIN}\"]\n{group}{domain}{}",
            self.more
        )
        .ok();
        toml
    }
}
