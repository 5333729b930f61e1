//! How limits stand.

use std::collections::BTreeMap;

use sluice_engine::LimitLook;
use sluice_policy::{CountedState, GcraState, Hole, LimitStates};
use sluice_types::Limit;
use tokio_postgres::Row;

use crate::convert::column;
use crate::{Postgres, StoreError};

const STEP: &str = "look at limits";

/// The state of each key, and the instant of the look; nulls where nothing was leased. What an old replica has leased at
/// another spacing began another grid.
const LOOK: &str = "
SELECT coalesce($2, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000) AS now_ns,
    s.tat_ns, s.spacing_ns, s.burst, s.owed_ns, s.window_no, s.used, s.used_before, s.grid,
    CASE WHEN s.hole_spacing_ns = s.spacing_ns THEN s.holes END AS holes, c.buckets_ns, c.counts
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
    let mut states = LimitStates::default();
    if let Some(state) = gcra_of_row(row)? {
        states.gcra.insert(limit.key(), state);
    }
    if let Some(state) = counted_of_row(row)? {
        states.counted.insert(limit.key(), state);
    }
    Ok(states.look(limit, column(row, STEP, "now_ns")?))
}

fn gcra_of_row(row: &Row) -> Result<Option<GcraState>, StoreError> {
    let Some(tat_ns) = column(row, STEP, "tat_ns")? else {
        return Ok(None);
    };
    let holes: Option<Vec<i64>> = column(row, STEP, "holes")?;
    let holes = holes.unwrap_or_default();
    let holes = holes.chunks_exact(2).filter_map(|pair| match *pair {
        [first_ns, count] => Some(Hole { first_ns, count }),
        _ => None,
    });
    Ok(Some(GcraState {
        tat_ns,
        spacing_ns: column(row, STEP, "spacing_ns")?,
        burst: u32::try_from(column::<i64>(row, STEP, "burst")?).unwrap_or(0),
        owed_ns: column(row, STEP, "owed_ns")?,
        window: column(row, STEP, "window_no")?,
        used: column(row, STEP, "used")?,
        used_before: column(row, STEP, "used_before")?,
        holes: holes.collect(),
        grid: column(row, STEP, "grid")?,
    }))
}

fn counted_of_row(row: &Row) -> Result<Option<CountedState>, StoreError> {
    let starts: Option<Vec<i64>> = column(row, STEP, "buckets_ns")?;
    let counts: Option<Vec<i64>> = column(row, STEP, "counts")?;
    let (Some(starts), Some(counts)) = (starts, counts) else {
        return Ok(None);
    };
    let counts = counts.into_iter().map(|used| u32::try_from(used).unwrap_or(0));
    let used: BTreeMap<i64, u32> = starts.into_iter().zip(counts).collect();
    Ok(Some(CountedState { used }))
}
