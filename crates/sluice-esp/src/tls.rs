//! Whom we trust: the machine's certificate authorities, and one more from a file.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use sluice_types::EspId;

use crate::SettingsError;

/// A further certificate authority as it stands in `tls_ca_file`.
#[derive(Debug)]
pub(crate) struct CaFile {
    /// The certificates in it; at least one.
    certificates: Vec<CertificateDer<'static>>,
}

impl CaFile {
    /// Reads `path`.
    pub(crate) fn read(esp: &EspId, path: &Path) -> Result<Self, SettingsError> {
        let pem = std::fs::read(path).map_err(|source| SettingsError::CaFile {
            esp: esp.clone(),
            path: path.to_owned(),
            source,
        })?;
        let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(Self { certificates }),
            Ok(_) | Err(_) => Err(SettingsError::CaCertificate { esp: esp.clone(), path: path.to_owned() }),
        }
    }
}

/// A client configuration that trusts the machine's authorities and those of `extra`.
///
/// A machine without any is no error here: a stand-in over plain HTTP needs none, and a handshake says what is missing.
pub(crate) fn client_config(esp: &EspId, extra: Option<&CaFile>) -> Result<ClientConfig, SettingsError> {
    let tls_error = |source| SettingsError::Tls { esp: esp.clone(), source };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in extra.iter().flat_map(|file| &file.certificates) {
        roots.add(certificate.clone()).map_err(tls_error)?;
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls_error)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
