//! The HTTP/2 connections of an account.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connector::{self, BoxError};
use super::http2::{Connection, Driven, Stream};
use super::idle::IDLE_TIMEOUT;

/// Open connections. Each carries something, or did not long ago, so there are never more of them than calls at a time,
/// which is the account's `max_in_flight`.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Connections>);

#[derive(Debug, Default)]
struct Connections {
    /// The oldest in front.
    open: Vec<Arc<Connection>>,
    /// What drives them; ends with them, or with the account.
    drivers: JoinSet<()>,
}

impl Shared {
    /// A place on the oldest connection that has room for a body of so many bytes, so that few are in use and the others
    /// fall idle.
    pub(super) fn take(&self, bytes: usize) -> Option<Stream> {
        let mut connections = self.connections();
        connections.forget_retired();
        connections.open.iter().find_map(|connection| connection.reserve(bytes))
    }

    /// Opens a connection, and takes a place on it.
    pub(super) async fn open(
        self: &Arc<Self>,
        transport: connector::Stream,
        bytes: usize,
    ) -> Result<Stream, BoxError> {
        let (connection, driven) = Connection::open(transport).await?;
        let stream = connection.reserve(bytes).ok_or("the server takes no request")?;
        let mut connections = self.connections();
        while connections.drivers.try_join_next().is_some() {}
        connections.drivers.spawn(drive(driven, Arc::downgrade(&connection), Arc::downgrade(self)));
        connections.open.push(connection);
        Ok(stream)
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    fn forget_retired(&mut self) {
        self.open.retain(|connection| !connection.is_retired());
    }
}

/// Lets a connection work until it ends, and ends it when it has carried nothing for [`IDLE_TIMEOUT`] at most.
async fn drive(mut driven: Driven, connection: Weak<Connection>, shared: Weak<Shared>) {
    loop {
        let ended = timeout(IDLE_TIMEOUT / 2, &mut driven).await;
        if let Some(connection) = connection.upgrade() {
            match ended {
                // How it ends is told to whoever waits for an answer.
                Ok(_) => connection.retire(),
                Err(_) => connection.look(&driven),
            }
        }
        if let Some(shared) = shared.upgrade() {
            shared.connections().forget_retired();
        }
        if ended.is_ok() {
            return;
        }
    }
}
