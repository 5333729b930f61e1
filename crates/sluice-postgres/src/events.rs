//! The port `Events`: what ESPs report is kept, then moves jobs.

mod apply;
mod keep;

use async_trait::async_trait;
use sluice_engine::{EspEvent, Events, Landed, LedgerError, Moved};
use sluice_types::EspId;

use crate::Postgres;

/// Events that go into one statement.
const STATEMENT_EVENTS: usize = 500;

#[async_trait]
impl Events for Postgres {
    async fn land(&self, esp: &EspId, events: &[EspEvent]) -> Result<Landed, LedgerError> {
        let mut landed = Landed::default();
        for chunk in events.chunks(STATEMENT_EVENTS) {
            let kept = self.keep_events(esp, chunk).await?;
            landed.fresh += kept.fresh;
            landed.duplicates += kept.duplicates;
            landed.suppressed += kept.suppressed;
            // A statement of its own: only one that begins after the events are committed sees them and, behind the locks
            // of the jobs' rows, what their workers have recorded meanwhile.
            landed.moved.extend(self.apply_events_of(chunk).await?);
        }
        Ok(landed)
    }

    async fn apply_due(&self, max: u32) -> Result<Vec<Moved>, LedgerError> {
        Ok(self.apply_events_due(max).await?)
    }
}
