//! How limits stand.

use std::collections::BTreeMap;

use sluice_engine::LimitLook;
use sluice_policy::{CountedState, GcraState, Terms, look_counted, look_gcra};
use sluice_types::Limit;
use tokio_postgres::Row;

use crate::convert::column;
use crate::{Postgres, StoreError};

const STEP: &str = "look at limits";

/// The state of each key, and the instant of the look; nulls where nothing was leased.
const LOOK: &str = "
SELECT coalesce($2, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000) AS now_ns,
    s.tat_ns, s.spacing_ns, s.window_no, s.used, s.used_before, c.buckets_ns, c.counts
FROM unnest($1::text[]) WITH ORDINALITY AS k (key, place)
LEFT JOIN sluice.limit_gcra s ON s.key = k.key
CROSS JOIN LATERAL (
    SELECT array_agg(c.bucket_ns) AS buckets_ns, array_agg(c.used) AS counts
    FROM sluice.limit_count c
    WHERE c.key = k.key
) c
ORDER BY k.place
";

impl Postgres {
    /// How limits stand at the database's own instant, or at a given one to compare with the model.
    ///
    /// # Errors
    /// When the store could not be asked.
    #[doc(hidden)]
    pub async fn look_at(&self, limits: &[Limit], at_ns: Option<i64>) -> Result<Vec<LimitLook>, StoreError> {
        if limits.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = limits.iter().map(Limit::key).collect();
        let rows = self.control.query(STEP, LOOK, &[&keys, &at_ns]).await?;
        limits.iter().zip(&rows).map(|(limit, row)| look_of_row(limit, row)).collect()
    }
}

fn look_of_row(limit: &Limit, row: &Row) -> Result<LimitLook, StoreError> {
    let now_ns = column(row, STEP, "now_ns")?;
    let standing = match Terms::of(&limit.spec) {
        Some(Terms::Gcra(terms)) => look_gcra(&terms, &gcra_of_row(row)?, now_ns),
        Some(Terms::Counted(terms)) => look_counted(&terms, &counted_of_row(row)?, now_ns),
        None => return Ok(LimitLook::default()),
    };
    Ok(LimitLook {
        used: standing.used,
        left: u64::from(limit.spec.count.get()).saturating_sub(standing.used),
        next_in: standing.next_in,
        resets_in: standing.resets_in,
    })
}

fn gcra_of_row(row: &Row) -> Result<GcraState, StoreError> {
    let number = |name| Ok(column::<Option<i64>>(row, STEP, name)?.unwrap_or_default());
    Ok(GcraState {
        tat_ns: number("tat_ns")?,
        spacing_ns: number("spacing_ns")?,
        window: number("window_no")?,
        used: number("used")?,
        used_before: number("used_before")?,
    })
}

fn counted_of_row(row: &Row) -> Result<CountedState, StoreError> {
    let starts: Option<Vec<i64>> = column(row, STEP, "buckets_ns")?;
    let counts: Option<Vec<i64>> = column(row, STEP, "counts")?;
    let counts = counts.unwrap_or_default().into_iter().map(|used| u32::try_from(used).unwrap_or(0));
    let used: BTreeMap<i64, u32> = starts.unwrap_or_default().into_iter().zip(counts).collect();
    Ok(CountedState { used })
}
