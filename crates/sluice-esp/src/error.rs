//! What can be wrong with an ESP's settings. No text shows a secret or a whole URL.

use std::path::PathBuf;

use sluice_types::EspId;

/// An ESP that cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A setting breaks a rule.
    #[error("esp {esp}: {field} {problem}")]
    Invalid {
        /// The account.
        esp: EspId,
        /// The setting's name.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file of `tls_ca_file` cannot be read.
    #[error("esp {esp}: tls_ca_file {path:?} cannot be read")]
    CaFile {
        /// The account.
        esp: EspId,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file of `tls_ca_file` has no usable certificate.
    #[error("esp {esp}: tls_ca_file {path:?} has no usable PEM certificate")]
    CaCertificate {
        /// The account.
        esp: EspId,
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be set up.
    #[error("esp {esp}: TLS cannot be set up")]
    Tls {
        /// The account.
        esp: EspId,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// The journal cannot be opened for appending.
    #[error("esp {esp}: journal {path:?} cannot be opened")]
    Journal {
        /// The account.
        esp: EspId,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}
