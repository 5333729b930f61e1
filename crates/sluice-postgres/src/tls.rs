//! TLS to the store: always verified, never a silent "encrypted but to whom".

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::ConnectError;

/// The connector for `config`, trusting `ca_file` or else the machine's certificates, and showing the certificate of
/// `pair`.
pub(crate) fn connector(
    config: &tokio_postgres::Config,
    ca_file: Option<&Path>,
    pair: Option<&(PathBuf, PathBuf)>,
) -> Result<MakeRustlsConnect, ConnectError> {
    let roots = match ca_file {
        Some(path) => roots_of_file(path)?,
        None if config.get_ssl_mode() == SslMode::Disable => RootCertStore::empty(),
        None => roots_of_machine(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::Tls)?
        .with_root_certificates(roots);
    let tls = match pair {
        None => tls.with_no_client_auth(),
        Some((certificate, key)) => {
            let secret = PrivateKeyDer::from_pem_file(key)
                .map_err(|source| ConnectError::TlsFile { path: key.clone(), source })?;
            let mismatch =
                |source| ConnectError::Pair { certificate: certificate.clone(), key: key.clone(), source };
            tls.with_client_auth_cert(certificates(certificate)?, secret).map_err(mismatch)?
        }
    };
    Ok(MakeRustlsConnect::new(tls))
}

/// Whether every host of `config` is this machine: there `sslmode=prefer` means plain, since the certificate that a
/// server makes for itself at installation could not be verified.
pub(crate) fn is_local(config: &tokio_postgres::Config) -> bool {
    let local = |host: &Host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    };
    config.get_hosts().iter().all(local) && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

fn roots_of_machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn roots_of_file(path: &Path) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates(path)?);
    if usable == 0 { Err(ConnectError::NoCertificates(path.to_owned())) } else { Ok(roots) }
}

/// The certificates in a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| ConnectError::TlsFile { path: path.to_owned(), source })?;
    if found.is_empty() { Err(ConnectError::NoCertificates(path.to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_counts_as_local() {
        for (url, local) in [
            ("postgres://a@127.0.0.1/x", true),
            ("postgres://a@localhost/x", true),
            ("postgres://a@[::1]/x", true),
            ("postgres:///x?host=/run/postgresql", true),
            ("postgres://a@127.0.0.1,db.example/x", false),
            ("postgres://a@db.example/x", false),
        ] {
            assert_eq!(is_local(&url.parse().unwrap()), local, "{url}");
        }
    }
}
