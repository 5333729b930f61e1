//! Slot leases: a statement, or a few, for all wants of a tick.

mod bundles;
mod lead;
mod look;
mod unused;
mod wants;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use sluice_engine::{Leased, LimitLook, SlotError, SlotSource, Unused, Want};
use sluice_policy::{Bundled, SlotRun};
use sluice_types::Limit;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::convert::column;
use crate::{Postgres, StoreError};
pub(crate) use lead::AnswerTimes;
use lead::{begins_later, count_from_asking};
use wants::WantColumns;

const STEP: &str = "lease slots";

/// What [`leased_of_row`] reads. Whatever the function takes, its rows come after it: the last column is read then.
macro_rules! leased {
    () => {
        r#""position", opens_in_ns, spacing_ns, "count", grace_ns, parts_ns, next_in_ns, next_urgent_in_ns, held_by, marks,
    leased_at_ns, (extract(epoch FROM statement_timestamp()) * 1000000)::bigint * 1000 AS asked_ns,
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000 AS answered_ns"#
    };
}
pub(crate) use leased;

/// `$17` is by how much later than at once the lease begins; 0 leaves the instant to the function, behind its locks.
const LEASE: &str = concat!(
    "SELECT ",
    leased!(),
    "
FROM sluice.lease_spread($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
    CASE WHEN $17::bigint > 0 THEN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000 + $17 ELSE $16 END)"
);

#[async_trait]
impl SlotSource for Postgres {
    async fn lease(&self, wants: &[Want]) -> Result<Vec<Leased>, SlotError> {
        let (lead, asked) = (self.lease_answers.lead(), Instant::now());
        let mut leased = self.lease_from(wants, None, lead).await?;
        self.lease_answers.learn(asked.elapsed());
        let later = wants.iter().zip(&mut leased).filter(|(want, _)| begins_later(want));
        later.for_each(|(_, it)| count_from_asking(it, lead));
        Ok(leased)
    }

    async fn give_back(&self, unused: &[Unused]) -> Result<(), SlotError> {
        Ok(self.return_slots_at(unused, None).await?)
    }

    async fn look(&self, limits: &[Limit]) -> Result<Vec<LimitLook>, SlotError> {
        Ok(self.look_at(limits, None).await?)
    }
}

impl Postgres {
    /// Leases at the database's own instant, or at a given one to compare with the model.
    ///
    /// A limit on connections is not leased by time, and several limits go together only when all are spaced; such a
    /// want gets nothing here.
    ///
    /// # Errors
    /// When the store could not be asked.
    #[doc(hidden)]
    pub async fn lease_at(&self, wants: &[Want], at_ns: Option<i64>) -> Result<Vec<Leased>, StoreError> {
        let mut leased = self.lease_from(wants, at_ns, Duration::ZERO).await?;
        if at_ns.is_some() {
            leased.iter_mut().for_each(|it| it.work_ns = (it.at_ns, it.at_ns));
        }
        Ok(leased)
    }

    /// First transactional wants, if any are to be leased as one; then these; then the others.
    async fn lease_from(
        &self,
        wants: &[Want],
        at_ns: Option<i64>,
        lead: Duration,
    ) -> Result<Vec<Leased>, StoreError> {
        let lead_ns = i64::try_from(lead.as_nanos()).unwrap_or(i64::MAX);
        let Bundled { before, bundles, mut after } = Bundled::of(wants);
        let mut leased = vec![Leased::default(); wants.len()];
        self.lease_each(wants, &before, at_ns, lead_ns, &mut leased).await?;
        if !bundles.is_empty() {
            let ask = bundles::Ask::of(&bundles);
            let mut places: BTreeSet<usize> =
                bundles.iter().flat_map(|bundle| &bundle.members).map(|member| member.place).collect();
            let params = ask.params(&at_ns, &lead_ns);
            for row in self.control.query(STEP, bundles::Ask::statement(), &params).await? {
                for (place, lease) in ask.dealt(&row)? {
                    places.remove(&place);
                    put(&mut leased, place, lease);
                }
            }
            after.extend(places);
            after.sort_unstable();
        }
        self.lease_each(wants, &after, at_ns, lead_ns, &mut leased).await?;
        Ok(leased)
    }

    /// Leases for the wants at these places one after the other: in one statement, but for those that must not begin later.
    async fn lease_each(
        &self,
        wants: &[Want],
        places: &[usize],
        at_ns: Option<i64>,
        lead_ns: i64,
        leased: &mut [Leased],
    ) -> Result<(), StoreError> {
        let goes_with = |place: &usize| lead_ns == 0 || wants.get(*place).is_some_and(begins_later);
        let (with, at_once): (Vec<usize>, Vec<usize>) = places.iter().partition(|place| goes_with(place));
        self.lease_as_one(WantColumns::of(wants, &with), at_ns, lead_ns, leased).await?;
        self.lease_as_one(WantColumns::of(wants, &at_once), at_ns, 0, leased).await
    }

    async fn lease_as_one(
        &self,
        columns: WantColumns,
        at_ns: Option<i64>,
        lead_ns: i64,
        leased: &mut [Leased],
    ) -> Result<(), StoreError> {
        if columns.is_empty() {
            return Ok(());
        }
        let mut params: Vec<&(dyn ToSql + Sync)> = columns.params(&at_ns).to_vec();
        params.push(&lead_ns);
        for row in self.control.query(STEP, LEASE, &params).await? {
            let position: i64 = column(&row, STEP, "position")?;
            if let Some(place) = columns.place(position) {
                put(leased, place, leased_of_row(&row)?);
            }
        }
        Ok(())
    }
}

fn put(leased: &mut [Leased], place: usize, lease: Leased) {
    if let Some(leased) = leased.get_mut(place) {
        *leased = lease;
    }
}

fn leased_of_row(row: &Row) -> Result<Leased, StoreError> {
    let numbers = |name| column::<Vec<i64>>(row, STEP, name);
    let (opens_in, spacing) = (numbers("opens_in_ns")?, numbers("spacing_ns")?);
    let (counts, grace) = (numbers("count")?, numbers("grace_ns")?);
    let runs = opens_in.into_iter().zip(spacing).zip(counts).zip(grace);
    let runs = runs.map(|(((opens_in, spacing), slots), grace)| SlotRun {
        opens_in: nanos(opens_in),
        spacing: nanos(spacing),
        count: u32::try_from(slots).unwrap_or(0),
        grace: nanos(grace),
    });
    let in_some = |name| Ok(column::<Option<i64>>(row, STEP, name)?.map(nanos));
    let held_by: i64 = column(row, STEP, "held_by")?;
    Ok(Leased {
        runs: runs.collect(),
        parts: numbers("parts_ns")?,
        next_in: in_some("next_in_ns")?,
        next_urgent_in: in_some("next_urgent_in_ns")?,
        held_by: usize::try_from(held_by).unwrap_or(0),
        marks: numbers("marks")?,
        at_ns: column(row, STEP, "leased_at_ns")?,
        work_ns: (column(row, STEP, "asked_ns")?, column(row, STEP, "answered_ns")?),
    })
}

fn nanos(number: i64) -> Duration {
    Duration::from_nanos(u64::try_from(number).unwrap_or(0))
}
