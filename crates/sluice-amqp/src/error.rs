//! What can go wrong between here and the broker.

use std::path::PathBuf;
use std::sync::Arc;

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use sluice_engine::{InboxError, PublishError};

/// The broker could not be reached, or did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RabbitError {
    /// The URL does not parse as `amqp://` or `amqps://` with a host name or an IPv4 address.
    #[error("amqp url does not parse")]
    Url,
    /// A file with certificates or our key cannot be read or used.
    #[error("cannot use the TLS file {}", .path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The system's authorities cannot be read.
    #[error("cannot read the system's certificate authorities")]
    NoAuthorities(#[source] Arc<std::io::Error>),
    /// No connection.
    #[error("cannot connect to the broker")]
    Connect(#[source] Box<lapin::Error>),
    /// The broker did not answer in time.
    #[error("no answer to {0} in time")]
    Timeout(&'static str),
    /// A call failed.
    #[error("{step} failed")]
    Call {
        /// The AMQP method, or what was under way.
        step: &'static str,
        /// Why.
        #[source]
        source: Box<lapin::Error>,
    },
    /// A queue or exchange exists already and was declared with other arguments. Delete it (once it is empty), or
    /// configure what it was declared with.
    #[error("{kind} {name} exists with other arguments")]
    Mismatch {
        /// `queue` or `exchange`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The broker's words.
        #[source]
        source: Box<lapin::Error>,
    },
    /// A queue, exchange or binding could not be declared, found or used.
    #[error("{kind} {name} cannot be {verb}")]
    Entity {
        /// `queue`, `exchange` or `binding`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// `declared`, `found` or `consumed`.
        verb: &'static str,
        /// The broker's words.
        #[source]
        source: Box<lapin::Error>,
    },
    /// There is no connection at the moment; the supervisor is making one.
    #[error("not connected")]
    Down,
    /// The broker takes no publications at the moment (memory or disk alarm).
    #[error("broker has blocked publishing")]
    Blocked,
    /// The client was closed.
    #[error("client is closed")]
    Closed,
    /// A name or key is longer than 255 bytes.
    #[error("name is longer than amqp allows")]
    TooLong,
    /// The broker answered a publication without confirming it.
    #[error("broker did not confirm")]
    Unconfirmed,
}

impl RabbitError {
    /// Whether waiting will not mend it: configuration, credentials, permissions, or what others declared.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Url | Self::TlsFile { .. } | Self::Mismatch { .. } | Self::TooLong => true,
            Self::Connect(source) | Self::Call { source, .. } | Self::Entity { source, .. } => {
                broker_refused(source)
            }
            Self::NoAuthorities(_)
            | Self::Timeout(_)
            | Self::Down
            | Self::Blocked
            | Self::Closed
            | Self::Unconfirmed => false,
        }
    }

    /// Whether the broker does not have what was asked for.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Call { source, .. } | Self::Entity { source, .. }
            if soft_error(source) == Some(&AMQPSoftError::NOTFOUND))
    }

    /// A call that failed with `source`.
    pub(crate) fn call(step: &'static str, source: lapin::Error) -> Self {
        Self::Call { step, source: Box::new(source) }
    }

    /// Tells "exists with other arguments" from the other ways in which a declaration fails.
    pub(crate) fn declaring(
        kind: &'static str,
        name: &str,
        verb: &'static str,
        source: lapin::Error,
    ) -> Self {
        let (name, source) = (name.to_owned(), Box::new(source));
        if soft_error(&source) == Some(&AMQPSoftError::PRECONDITIONFAILED) {
            Self::Mismatch { kind, name, source }
        } else {
            Self::Entity { kind, name, verb, source }
        }
    }
}

impl From<RabbitError> for InboxError {
    fn from(error: RabbitError) -> Self {
        if error.is_refusal() { Self::Refused(Box::new(error)) } else { Self::Unavailable(Box::new(error)) }
    }
}

impl From<RabbitError> for PublishError {
    fn from(error: RabbitError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

fn broker_refused(error: &lapin::Error) -> bool {
    if is_untrusted(error) {
        return true;
    }
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    match error.kind() {
        AMQPErrorKind::Soft(soft) => matches!(
            soft,
            AMQPSoftError::ACCESSREFUSED | AMQPSoftError::NOTFOUND | AMQPSoftError::PRECONDITIONFAILED
        ),
        AMQPErrorKind::Hard(hard) => matches!(hard, AMQPHardError::NOTALLOWED | AMQPHardError::INVALIDPATH),
    }
}

/// Whether a server's certificate was refused, or ours by it. What an io error wraps is not among its sources.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let tls = error.downcast_ref::<rustls::Error>();
    if let Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)) = tls {
        return true;
    }
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .or_else(|| error.downcast_ref::<Arc<std::io::Error>>().map(Arc::as_ref))
        .and_then(std::io::Error::get_ref);
    wrapped.is_some_and(|inner| is_untrusted(inner)) || error.source().is_some_and(is_untrusted)
}

fn soft_error(error: &lapin::Error) -> Option<&AMQPSoftError> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    match error.kind() {
        AMQPErrorKind::Soft(soft) => Some(soft),
        AMQPErrorKind::Hard(_) => None,
    }
}
