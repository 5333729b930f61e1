//! Wants that share all their limits but one, as the columns of one statement.

use sluice_engine::Leased;
use sluice_policy::{Bundle, Fresh, GcraTerms};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{STEP, leased, leased_of_row};
use crate::StoreError;
use crate::convert::column;

/// A row for each bundle, in their order.
const LEASE: &str = concat!(
    "SELECT ",
    leased!(),
    ", fresh, grids
FROM sluice.lease_bundles($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
    CASE WHEN $14::bigint > 0 THEN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000 + $14 ELSE $13 END)"
);

/// What `sluice.lease_bundles` takes: one element for each bundle, for each limit that one shares, and for each want.
#[derive(Default)]
struct Columns {
    urgents: Vec<bool>,

    of_bundles: Vec<i64>,
    keys: Vec<String>,
    spacings: Vec<i64>,
    graces: Vec<i64>,
    horizons: Vec<i64>,
    further: Vec<i64>,
    windows: Vec<i64>,

    own_bundles: Vec<i64>,
    own_keys: Vec<String>,
    own_spacings: Vec<i64>,
    own_windows: Vec<i64>,
}

impl Columns {
    fn of(bundles: &[Bundle]) -> Self {
        let mut columns = Self::default();
        for (bundle, number) in bundles.iter().zip(1..) {
            columns.urgents.push(bundle.is_urgent);
            for limit in &bundle.shared {
                let GcraTerms { spacing_ns, grace_ns, horizon_ns, urgent_ns, window_ns, .. } = limit.terms;
                columns.of_bundles.push(number);
                columns.keys.push(limit.key.clone());
                columns.spacings.push(spacing_ns);
                columns.graces.push(grace_ns);
                columns.horizons.push(horizon_ns);
                columns.further.push(urgent_ns);
                columns.windows.push(window_ns);
            }
            for member in &bundle.members {
                columns.own_bundles.push(number);
                columns.own_keys.push(member.key.clone());
                columns.own_spacings.push(member.terms.spacing_ns);
                columns.own_windows.push(member.terms.window_ns);
            }
        }
        columns
    }
}

/// The bundles of a call, as a statement.
pub(super) struct Ask<'a> {
    bundles: &'a [Bundle],
    columns: Columns,
}

impl<'a> Ask<'a> {
    pub(super) fn of(bundles: &'a [Bundle]) -> Self {
        Self { bundles, columns: Columns::of(bundles) }
    }

    pub(super) const fn statement() -> &'static str {
        LEASE
    }

    pub(super) fn params<'b>(
        &'b self,
        at_ns: &'b Option<i64>,
        lead_ns: &'b i64,
    ) -> [&'b (dyn ToSql + Sync); 14] {
        let columns = &self.columns;
        [
            &columns.urgents,
            &columns.of_bundles,
            &columns.keys,
            &columns.spacings,
            &columns.graces,
            &columns.horizons,
            &columns.further,
            &columns.windows,
            &columns.own_bundles,
            &columns.own_keys,
            &columns.own_spacings,
            &columns.own_windows,
            at_ns,
            lead_ns,
        ]
    }

    /// What the wants of a row got, by their places; those that are not in any row are to be leased for by themselves.
    pub(super) fn dealt(&self, row: &Row) -> Result<Vec<(usize, Leased)>, StoreError> {
        let position: i64 = column(row, STEP, "position")?;
        let at = usize::try_from(position - 1).unwrap_or(usize::MAX);
        let Some(bundle) = self.bundles.get(at) else { return Ok(Vec::new()) };
        let before: usize = self.bundles.iter().take(at).map(|bundle| bundle.members.len()).sum();
        let shared = leased_of_row(row)?;
        let numbers: Vec<i64> = column(row, STEP, "fresh")?;
        let grids: Vec<i64> = column(row, STEP, "grids")?;
        let fresh = numbers.into_iter().zip(grids).filter_map(|(number, grid)| {
            let member = usize::try_from(number - 1).ok()?.checked_sub(before)?;
            Some(Fresh { member, grid })
        });
        Ok(bundle.deal(&shared, &fresh.collect::<Vec<_>>()))
    }
}
