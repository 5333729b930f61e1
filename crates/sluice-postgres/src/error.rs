//! What can go wrong, and whether trying again may help.

use std::path::PathBuf;

use sluice_engine::{FleetError, LedgerError, SlotError};
use tokio_postgres::error::{Severity, SqlState};

/// The settings do not make a client. Nothing was connected yet.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The url is not one.
    #[error("cannot read the store's url")]
    Url(#[source] tokio_postgres::Error),
    /// A file with certificates or our key cannot be read as PEM.
    #[error("cannot read {}", .path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Our certificate and our key do not go together.
    #[error("the certificate in {} does not go with the key in {}", .certificate.display(), .key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// A file of certificates holds none that can be used.
    #[error("no usable certificate in {}", .0.display())]
    NoCertificates(PathBuf),
    /// TLS cannot be set up.
    #[error("cannot set up TLS for the store")]
    Tls(#[source] rustls::Error),
    /// The pool cannot be built.
    #[error("cannot build the store's connection pool")]
    Pool(#[source] deadpool_postgres::BuildError),
}

/// The schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection, or a statement around the migrations failed.
    #[error("cannot prepare the migration")]
    Prepare(#[from] StoreError),
    /// A migration failed; those before it are kept.
    #[error("migration failed")]
    Run(#[source] Box<refinery::Error>),
    /// The schema is up to date, but the coming days' partitions could not be made.
    #[error("cannot make partitions")]
    Partitions(#[source] LedgerError),
    /// The schema is older than this build, and this process is not the one to bring it up to date.
    #[error(
        "the schema of the store is at version {found} and this build needs {needed}: run `sluice migrate`"
    )]
    Outdated {
        /// The newest migration that was applied; 0 for none.
        found: i32,
        /// The newest that this build has.
        needed: i32,
    },
    /// Final states are to be told, and the schema does not keep them for that.
    #[error("the store does not keep results: run `sluice migrate` with queue.results")]
    ResultsOff,
    /// It took too long, most likely waiting for a lock.
    #[error("migration did not finish in time")]
    Timeout,
}

impl MigrateError {
    /// Whether waiting may mend it: the store is away, busy or locked by another replica.
    ///
    /// Wrong credentials, a database that is not there and a migration that the server refuses are for a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Prepare(error) => !error.is_misconfiguration(),
            Self::Run(error) => is_cut_off(error.as_ref()),
            Self::Outdated { .. } | Self::ResultsOff => false,
            Self::Partitions(_) | Self::Timeout => true,
        }
    }

    /// Whether what is configured has to change, or the schema that it leads to, before a start can succeed.
    #[must_use]
    pub fn is_misconfiguration(&self) -> bool {
        match self {
            Self::Prepare(error) => error.is_misconfiguration(),
            Self::Outdated { .. } | Self::ResultsOff => true,
            Self::Run(_) | Self::Partitions(_) | Self::Timeout => false,
        }
    }
}

/// A call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There was no connection to be had.
    #[error("no connection to the store for {step}")]
    Connection {
        /// What was tried.
        step: &'static str,
        /// Why.
        #[source]
        source: deadpool_postgres::PoolError,
    },
    /// The answer did not come in time.
    #[error("no answer from the store in time for {step}")]
    Timeout {
        /// What was tried.
        step: &'static str,
    },
    /// The store or the connection to it failed.
    #[error("store failed to {step}")]
    Query {
        /// What was tried.
        step: &'static str,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A row holds what this build cannot read.
    #[error("cannot read column {column} of a row after {step}")]
    Row {
        /// What was tried.
        step: &'static str,
        /// The column.
        column: &'static str,
    },
    /// The fleet's document is not one; it is left as it is, for a person to look at.
    #[error("cannot read the document in sluice.fleet")]
    Document(#[source] serde_json::Error),
}

impl StoreError {
    /// Whether a row was there already that the statement was to make.
    pub(crate) fn is_repetition(&self) -> bool {
        matches!(self, Self::Query { source, .. } if source.code() == Some(&SqlState::UNIQUE_VIOLATION))
    }

    /// Whether the server is there and one of us will not have the other: wrong credentials, no such database, or a
    /// certificate that is not trusted.
    pub(crate) fn is_misconfiguration(&self) -> bool {
        let error = match self {
            Self::Connection { source: deadpool_postgres::PoolError::Backend(error), .. } => error,
            Self::Query { source, .. } => source,
            Self::Connection { .. } | Self::Timeout { .. } | Self::Row { .. } | Self::Document(_) => {
                return false;
            }
        };
        let refused =
            |code: &SqlState| code.code().starts_with("28") || *code == SqlState::INVALID_CATALOG_NAME;
        error.code().is_some_and(refused) || is_untrusted(error)
    }

    /// Whether the fault lies in the rows of this call, so that the same call will fail again.
    ///
    /// A store that is away, busy, read-only, not migrated yet or not granted to us is not the rows' fault.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Query { source, .. } => source.code().is_some_and(is_refusal),
            Self::Connection { .. } | Self::Timeout { .. } | Self::Row { .. } | Self::Document(_) => false,
        }
    }
}

impl From<StoreError> for LedgerError {
    fn from(error: StoreError) -> Self {
        if error.is_refusal() { Self::Refused(Box::new(error)) } else { Self::Unavailable(Box::new(error)) }
    }
}

impl From<StoreError> for SlotError {
    fn from(error: StoreError) -> Self {
        Self(Box::new(error))
    }
}

impl From<StoreError> for FleetError {
    fn from(error: StoreError) -> Self {
        Self(Box::new(error))
    }
}

/// Whether a server's certificate was refused, or ours by it. What an io error wraps is not among its sources.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let tls = error.downcast_ref::<rustls::Error>();
    if let Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)) = tls {
        return true;
    }
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.is_some_and(|inner| is_untrusted(inner)) || error.source().is_some_and(is_untrusted)
}

/// Whether the connection ended, rather than that the server refused what was asked.
fn is_cut_off(error: &(dyn std::error::Error + 'static)) -> bool {
    let ended = error.downcast_ref::<tokio_postgres::Error>().is_some_and(|error| {
        error.as_db_error().is_none_or(|refusal| {
            matches!(refusal.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        })
    });
    ended || error.source().is_some_and(is_cut_off)
}

/// Whether the server ended a transaction so that others could go on.
pub(crate) fn is_deadlock(error: &(dyn std::error::Error + 'static)) -> bool {
    let of_server = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    of_server == Some(&SqlState::T_R_DEADLOCK_DETECTED) || error.source().is_some_and(is_deadlock)
}

/// Whether a connection that answered with `error` is fit for the next call.
pub(crate) fn leaves_connection_fit(error: &tokio_postgres::Error) -> bool {
    let Some(refusal) = error.as_db_error() else {
        return false;
    };
    if matches!(refusal.parsed_severity(), None | Some(Severity::Fatal | Severity::Panic)) {
        return false;
    }
    // A read-only server has become a standby; the other two are prepared statements that no longer hold.
    let unfit = [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::INVALID_SQL_STATEMENT_NAME,
        SqlState::FEATURE_NOT_SUPPORTED,
    ];
    !unfit.contains(refusal.code())
}

/// Classes of <https://www.postgresql.org/docs/15/errcodes-appendix.html> that blame the data.
fn is_refusal(code: &SqlState) -> bool {
    const DATA_CLASSES: [&str; 6] = ["21", "22", "23", "42", "44", "54"];
    const NOT_THE_DATA: [SqlState; 6] = [
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::UNDEFINED_OBJECT,
        SqlState::UNDEFINED_PARAMETER,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    code.code().get(..2).is_some_and(|class| DATA_CLASSES.contains(&class)) && !NOT_THE_DATA.contains(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_the_data_are_refusals() {
        for (code, refusal) in [
            ("08006", false),
            ("40001", false),
            ("40P01", false),
            ("53300", false),
            ("55P03", false),
            ("57014", false),
            ("57P01", false),
            ("25006", false),
            ("42P01", false),
            ("42501", false),
            ("3F000", false),
            ("XX000", false),
            ("21000", true),
            ("22021", true),
            ("23502", true),
            ("42804", true),
            ("54000", true),
        ] {
            assert_eq!(is_refusal(&SqlState::from_code(code)), refusal, "{code}");
        }
    }
}
