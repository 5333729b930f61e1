//! What is ready in the lanes, for a command that asks beside the workers.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sluice_engine::{InboxError, LaneDepth};

use super::{Behind, Outside};

impl Outside {
    /// Counts what is ready in the lanes that there are; one that the configuration alone has is left out.
    pub(crate) async fn depths(&self, timeout: Duration) -> anyhow::Result<Vec<LaneDepth>> {
        if let Behind::Servers { rabbit, .. } = &self.behind {
            rabbit.ready(timeout).await.context("RabbitMQ")?;
            self.plan.set_sides(&Arc::new(self.fleet.look().await?.sides));
        }
        let lanes = self.plan.get().lanes();
        match self.inbox.depths(&lanes).await {
            Err(InboxError::Refused(_)) => {}
            counted => return Ok(counted?),
        }
        // One of them is not there, so each is asked for itself.
        let mut depths = Vec::new();
        for lane in &lanes {
            match self.inbox.depths(slice::from_ref(lane)).await {
                Ok(counted) => depths.extend(counted),
                Err(InboxError::Refused(error)) => tracing::debug!(%lane, %error, "no such lane"),
                Err(error @ InboxError::Unavailable(_)) => return Err(error.into()),
            }
        }
        Ok(depths)
    }
}
