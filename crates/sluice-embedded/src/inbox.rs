//! The queue's outgoing side: opens feeds, counts what waits.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_engine::{Feed, Inbox, InboxError, LaneDepth};
use sluice_types::Lane;

use crate::feed::{LaneFeed, Lender};
use crate::{Embedded, StoreError};

#[async_trait]
impl Inbox for Embedded {
    async fn open(&self, lane: &Lane, prefetch: u16) -> Result<Box<dyn Feed>, InboxError> {
        let shared = self.shared();
        if shared.worker.is_none() {
            return Err(StoreError::NotTheWorker.into());
        }
        if shared.is_closed() {
            return Err(StoreError::Closed.into());
        }
        let lane = shared.lanes.lane(&lane.to_string());
        let lender = Lender::new(lane, shared.acks.clone(), shared.writer.clone(), shared.old_until);
        Ok(Box::new(LaneFeed::new(Arc::new(lender), shared.feeds.clone(), prefetch)))
    }

    async fn depths(&self, lanes: &[Lane]) -> Result<Vec<LaneDepth>, InboxError> {
        let names: Vec<String> = lanes.iter().map(ToString::to_string).collect();
        let counted = self.shared().questions.ask(move |connection| {
            let mut count = connection.prepare_cached("select count(*) from lane_message where lane = ?1")?;
            names
                .into_iter()
                .map(|name| Ok((count.query_row([&name], |row| row.get::<_, i64>(0))?, name)))
                .collect::<rusqlite::Result<Vec<_>>>()
        });
        let counted = counted.await?;
        let depth = |(lane, (rows, name)): (&Lane, (i64, String))| {
            let out = u64::try_from(self.shared().lanes.out_count(&name)).unwrap_or(u64::MAX);
            LaneDepth { lane: lane.clone(), ready: u64::try_from(rows).unwrap_or(0).saturating_sub(out) }
        };
        Ok(lanes.iter().zip(counted).map(depth).collect())
    }
}
