//! Counts over the whole store.

use sluice_engine::StatusView;

use crate::convert::column;
use crate::{Postgres, StoreError};

const STEP: &str = "count jobs";

/// Counts by scanning: an index on the state would cost every claim and every record. Of a table longer than `$1` bytes so
/// much is read as a sample, whole pages of it, and the counts are made up to its length.
macro_rules! counts {
    ($kind:literal, $word:literal, $table:literal) => {
        concat!(
            "
SELECT '",
            $kind,
            "' AS kind, ",
            $word,
            " AS word,
    (count(*) * greatest(1, pg_relation_size('",
            $table,
            "') / $1::float8))::bigint AS n,
    pg_relation_size('",
            $table,
            "') > $1::float8 AS is_estimate
FROM ",
            $table,
            " TABLESAMPLE SYSTEM (least(100, 100 * $1::float8 / greatest(1, pg_relation_size('",
            $table,
            "'))))
GROUP BY word"
        )
    };
}
const STATUS: &str = concat!(
    counts!("job", "state", "sluice.job"),
    "\nUNION ALL",
    counts!("pending", "reason", "sluice.pending"),
    "\nUNION ALL",
    counts!("dead", "reason", "sluice.dead_letter"),
    "\nUNION ALL",
    counts!("suppression", "''::text", "sluice.suppression"),
);

impl Postgres {
    /// Counts by state and reason.
    pub(super) async fn counts(&self) -> Result<StatusView, StoreError> {
        let mut view = StatusView::default();
        for row in self.readers.query(STEP, STATUS, &[&self.count_max_bytes]).await? {
            view.estimated |= column::<bool>(&row, STEP, "is_estimate")?;
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
