//! What can go wrong with the file, and how the ports say it.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::ErrorCode;
use sluice_engine::{FleetError, InboxError, LedgerError, SlotError};

/// The file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another worker process has the file.
    #[error("another worker is running on {}; the embedded store takes one worker per file", .path.display())]
    WorkerRunning {
        /// The file.
        path: PathBuf,
    },
    /// The file, its folder or its lock file cannot be created or read.
    #[error("cannot use {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// SQLite cannot open the file, or it is not a database.
    #[error("cannot open {} as a database", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The file was written by a later version of Sluice.
    #[error("the database has schema {found}, this build knows schema {known}; use a newer build")]
    TooNew {
        /// Version in the file.
        found: i64,
        /// The latest that this build knows.
        known: i64,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database to schema {version}")]
    Migration {
        /// The version that was to be reached.
        version: i64,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread for the database")]
    Thread(#[source] std::io::Error),
}

/// One request to the file failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A statement failed; nothing of this request was kept.
    #[error("statement failed")]
    Statement(#[source] rusqlite::Error),
    /// The transaction that carried this request and others could not begin or commit.
    #[error("transaction failed")]
    Transaction(#[source] Arc<rusqlite::Error>),
    /// The store is shutting down.
    #[error("store is closed")]
    Closed,
    /// Only the one worker process of a file may ask for this.
    #[error("only the worker of this file may do this")]
    NotTheWorker,
    /// The document of the fleet is not one, or would not be one; what is in the file stays as it is.
    #[error("the document in table fleet cannot be read; it is left as it is")]
    FleetDocument(#[source] serde_json::Error),
}

impl StoreError {
    /// Whether waiting will not mend it.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Statement(error) => is_bad_row(error),
            Self::NotTheWorker | Self::FleetDocument(_) => true,
            Self::Transaction(_) | Self::Closed => false,
        }
    }
}

/// Whether a row itself is at fault, rather than the file, the disk or another process.
pub(crate) fn is_bad_row(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => {
            matches!(code, ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
        }
        // No code: rusqlite itself could not convert a value.
        None => true,
    }
}

impl From<StoreError> for LedgerError {
    fn from(error: StoreError) -> Self {
        if error.is_refusal() { Self::Refused(Box::new(error)) } else { Self::Unavailable(Box::new(error)) }
    }
}

impl From<StoreError> for InboxError {
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
