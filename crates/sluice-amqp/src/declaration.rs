//! The topology that the broker should have, and those that it may have by us.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::Connection;

use crate::error::RabbitError;
use crate::topology::Topology;

/// Topologies whose bindings may still stand; of more the oldest is forgotten.
const MADE_MAX: usize = 16;

/// What to declare, on each new connection and whenever it changes.
#[derive(Debug)]
pub(crate) struct Declaration {
    wanted: Mutex<Arc<Topology>>,
    /// Those that were declared, whole or in part, the last one being the only one if nothing failed. Held while declaring.
    made: tokio::sync::Mutex<Vec<Arc<Topology>>>,
    /// Without it the broker is only asked whether all is there.
    declare: bool,
}

impl Declaration {
    pub(crate) fn new(wanted: Topology, declare: bool) -> Self {
        Self { wanted: Mutex::new(Arc::new(wanted)), made: tokio::sync::Mutex::default(), declare }
    }

    /// Whether it may declare anything.
    pub(crate) const fn declares(&self) -> bool {
        self.declare
    }

    fn wanted(&self) -> Arc<Topology> {
        Arc::clone(&self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Another one from now on; answers the one before.
    pub(crate) fn want(&self, topology: Arc<Topology>) -> Arc<Topology> {
        std::mem::replace(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner), topology)
    }

    /// Whether it declares all of these queues.
    pub(crate) fn makes(&self, queues: &[&str]) -> bool {
        let wanted = self.wanted();
        self.declare && queues.iter().all(|queue| wanted.has_queue(queue))
    }

    /// Declares what is wanted and removes the bindings that only earlier topologies had. Queues stay, whatever is in them.
    ///
    /// # Errors
    /// When the broker cannot be reached or refuses; the next call does the rest.
    pub(crate) async fn settle(&self, connection: &Connection, timeout: Duration) -> Result<(), RabbitError> {
        let mut made = self.made.lock().await;
        let wanted = self.wanted();
        if !self.declare {
            return wanted.check(connection, timeout).await;
        }
        made.retain(|it| !Arc::ptr_eq(it, &wanted));
        made.push(Arc::clone(&wanted));
        if made.len() > MADE_MAX {
            made.remove(0);
        }
        let outdated = made.iter().flat_map(|before| wanted.outdated(before)).collect();
        wanted.declare(connection, outdated, timeout).await?;
        *made = vec![wanted];
        Ok(())
    }
}
