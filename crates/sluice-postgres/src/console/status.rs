//! Counts over the whole store.

use std::collections::BTreeMap;

use sluice_engine::StatusView;
use tokio_postgres::Row;

use crate::convert::column;
use crate::{Postgres, StoreError};

const STEP: &str = "count jobs";
const PARKED_STEP: &str = "count parked jobs";

/// So much of the parked jobs is read by those who count them again and again.
const PARKED_MAX_BYTES: f64 = (64_u32 << 20) as f64;

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
const PARKED: &str = counts!("pending", "reason", "sluice.pending");
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
    /// Parked jobs by reason.
    pub(crate) async fn count_parked(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let max_bytes = self.count_max_bytes.min(PARKED_MAX_BYTES);
        let rows = self.readers.query(PARKED_STEP, PARKED, &[&max_bytes]).await?;
        let count = |row: &Row| -> Result<(String, u64), StoreError> {
            let n = column::<i64>(row, PARKED_STEP, "n")?;
            Ok((column(row, PARKED_STEP, "word")?, u64::try_from(n).unwrap_or(0)))
        };
        rows.iter().map(count).collect()
    }

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
