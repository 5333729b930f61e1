//! Counts over the whole store.

use sluice_engine::StatusView;

use crate::convert::column;
use crate::{Postgres, StoreError};

const STEP: &str = "count jobs";

/// Counts by scanning: an index on the state would cost every claim and every record.
const STATUS: &str = "
SELECT 'job' AS kind, state AS word, count(*) AS n FROM sluice.job GROUP BY state
UNION ALL
SELECT 'pending', reason, count(*) FROM sluice.pending GROUP BY reason
UNION ALL
SELECT 'dead', reason, count(*) FROM sluice.dead_letter GROUP BY reason
UNION ALL
SELECT 'suppression', '', count(*) FROM sluice.suppression
";

impl Postgres {
    /// Counts by state and reason.
    pub(super) async fn counts(&self) -> Result<StatusView, StoreError> {
        let mut view = StatusView::default();
        for row in self.readers.query(STEP, STATUS, &[]).await? {
            let n = u64::try_from(column::<i64>(&row, STEP, "n")?).unwrap_or(0);
            let word: String = column(&row, STEP, "word")?;
            match column(&row, STEP, "kind")? {
                "job" => {
                    view.jobs.insert(word, n);
                }
                "pending" => {
                    view.pending.insert(word, n);
                }
                "dead" => {
                    view.dead.insert(word, n);
                }
                _ => view.suppressions = n,
            }
        }
        Ok(view)
    }
}
