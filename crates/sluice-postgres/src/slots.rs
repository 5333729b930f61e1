//! Slot leases: one statement for all keys of a tick.

mod look;
mod unused;

use std::time::Duration;

use async_trait::async_trait;
use sluice_engine::{Leased, LimitLook, SlotError, SlotSource, Unused, Want};
use sluice_policy::{SlotRun, Terms};
use sluice_types::Limit;
use tokio_postgres::Row;

use crate::convert::column;
use crate::{Postgres, StoreError};

const STEP: &str = "lease slots";

const LEASE: &str = r#"
SELECT "position", open_now, then_in_ns, then_count, spacing_ns, grace_ns, next_in_ns, next_urgent_in_ns, mark, leased_at_ns
FROM sluice.lease($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
"#;

#[async_trait]
impl SlotSource for Postgres {
    async fn lease(&self, wants: &[Want]) -> Result<Vec<Leased>, SlotError> {
        Ok(self.lease_at(wants, None).await?)
    }

    async fn give_back(&self, unused: &[Unused]) -> Result<(), SlotError> {
        Ok(self.return_slots(unused).await?)
    }

    async fn look(&self, limits: &[Limit]) -> Result<Vec<LimitLook>, SlotError> {
        Ok(self.look_at(limits, None).await?)
    }
}

impl Postgres {
    /// Leases at the database's own instant, or at a given one to compare with the model.
    ///
    /// A limit on connections is not leased by time; it gets nothing here.
    ///
    /// # Errors
    /// When the store could not be asked.
    #[doc(hidden)]
    pub async fn lease_at(&self, wants: &[Want], at_ns: Option<i64>) -> Result<Vec<Leased>, StoreError> {
        let columns = WantColumns::of(wants);
        let mut leased = vec![Leased::default(); wants.len()];
        if columns.keys.is_empty() {
            return Ok(leased);
        }
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 13] = [
            &columns.keys,
            &columns.wants,
            &columns.urgents,
            &columns.reserves,
            &columns.spacings,
            &columns.bursts,
            &columns.graces,
            &columns.horizons,
            &columns.windows,
            &columns.quotas,
            &columns.bucket_sizes,
            &columns.look_backs,
            &at_ns,
        ];
        for row in self.control.query(STEP, LEASE, &params).await? {
            let position: i64 = column(&row, STEP, "position")?;
            let place = usize::try_from(position - 1).ok().and_then(|at| columns.places.get(at));
            if let Some(slot) = place.and_then(|place| leased.get_mut(*place)) {
                *slot = leased_of_row(&row)?;
            }
        }
        Ok(leased)
    }
}

/// The wants as columns; `places[i]` is where the want of row `i` stands among all wants.
#[derive(Default)]
struct WantColumns {
    places: Vec<usize>,
    keys: Vec<String>,
    wants: Vec<i64>,
    urgents: Vec<i64>,
    reserves: Vec<i64>,
    spacings: Vec<Option<i64>>,
    bursts: Vec<Option<i64>>,
    graces: Vec<Option<i64>>,
    horizons: Vec<Option<i64>>,
    windows: Vec<Option<i64>>,
    quotas: Vec<Option<i64>>,
    bucket_sizes: Vec<Option<i64>>,
    look_backs: Vec<Option<i64>>,
}

impl WantColumns {
    fn of(wants: &[Want]) -> Self {
        let mut columns = Self::default();
        for (place, want) in wants.iter().enumerate() {
            let Some(terms) = Terms::of(&want.limit.spec) else {
                continue;
            };
            let (gcra, counted) = match terms {
                Terms::Gcra(gcra) => (Some(gcra.at_rate(want.rate_permille)), None),
                Terms::Counted(counted) => (None, Some(counted)),
            };
            columns.places.push(place);
            columns.keys.push(want.limit.key());
            columns.wants.push(i64::from(want.count));
            columns.urgents.push(i64::from(want.urgent));
            columns.reserves.push(i64::from(want.reserved_permille));
            columns.spacings.push(gcra.map(|terms| terms.spacing_ns));
            columns.bursts.push(gcra.map(|terms| i64::from(terms.burst)));
            columns.graces.push(gcra.map(|terms| terms.grace_ns));
            columns.horizons.push(gcra.map(|terms| terms.horizon_ns));
            columns.windows.push(gcra.map(|terms| terms.window_ns));
            columns.quotas.push(counted.map(|terms| i64::from(terms.limit)));
            columns.bucket_sizes.push(counted.map(|terms| terms.bucket_ns));
            columns.look_backs.push(counted.map(|terms| terms.look_back));
        }
        columns
    }
}

fn leased_of_row(row: &Row) -> Result<Leased, StoreError> {
    let number = |name| column::<i64>(row, STEP, name);
    let grace = nanos(number("grace_ns")?);
    let mut runs = Vec::with_capacity(2);
    let open_now = count(number("open_now")?);
    if open_now > 0 {
        runs.push(SlotRun { opens_in: Duration::ZERO, spacing: Duration::ZERO, count: open_now, grace });
    }
    let then_count = count(number("then_count")?);
    if then_count > 0 {
        let opens_in = nanos(number("then_in_ns")?);
        let spacing = nanos(number("spacing_ns")?);
        runs.push(SlotRun { opens_in, spacing, count: then_count, grace });
    }
    let in_some = |name| Ok(column::<Option<i64>>(row, STEP, name)?.map(nanos));
    Ok(Leased {
        runs,
        next_in: in_some("next_in_ns")?,
        next_urgent_in: in_some("next_urgent_in_ns")?,
        mark: number("mark")?,
        at_ns: number("leased_at_ns")?,
    })
}

fn nanos(number: i64) -> Duration {
    Duration::from_nanos(u64::try_from(number).unwrap_or(0))
}

fn count(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
