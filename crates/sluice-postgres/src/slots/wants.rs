//! Wants as the columns of a statement.

use std::collections::HashSet;

use sluice_engine::Want;
use sluice_policy::{CountedTerms, GcraTerms, Terms};
use tokio_postgres::types::ToSql;

/// What `sluice.lease_spread` takes: some columns have one element for each want, the others one for each limit of it.
#[derive(Default)]
pub(super) struct WantColumns {
    /// Where each want of the columns stands among all wants.
    places: Vec<usize>,
    counts: Vec<i64>,
    urgents: Vec<i64>,
    laters: Vec<i64>,
    reserves: Vec<i64>,

    of_wants: Vec<i64>,
    keys: Vec<String>,
    spacings: Vec<Option<i64>>,
    bursts: Vec<Option<i64>>,
    graces: Vec<Option<i64>>,
    horizons: Vec<Option<i64>>,
    further: Vec<Option<i64>>,
    windows: Vec<Option<i64>>,
    quotas: Vec<Option<i64>>,
    bucket_sizes: Vec<Option<i64>>,
    look_backs: Vec<Option<i64>>,
}

impl WantColumns {
    /// Those of the wants at these places that can be leased.
    pub(super) fn of(wants: &[Want], places: &[usize]) -> Self {
        let mut columns = Self::default();
        for (place, want) in places.iter().filter_map(|place| Some((*place, wants.get(*place)?))) {
            if let Some(limits) = limits_of(want) {
                columns.push(place, want, limits);
            }
        }
        columns
    }

    /// Whether there is nothing to lease.
    pub(super) const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Where the want of a row stands among all wants; `position` counts from 1.
    pub(super) fn place(&self, position: i64) -> Option<usize> {
        let at = usize::try_from(position - 1).ok()?;
        self.places.get(at).copied()
    }

    /// The parameters of the statement, the last one the instant.
    pub(super) fn params<'a>(&'a self, at_ns: &'a Option<i64>) -> [&'a (dyn ToSql + Sync); 16] {
        [
            &self.counts,
            &self.urgents,
            &self.laters,
            &self.reserves,
            &self.of_wants,
            &self.keys,
            &self.spacings,
            &self.bursts,
            &self.graces,
            &self.horizons,
            &self.further,
            &self.windows,
            &self.quotas,
            &self.bucket_sizes,
            &self.look_backs,
            at_ns,
        ]
    }

    fn push(&mut self, place: usize, want: &Want, limits: Vec<(String, Terms)>) {
        self.places.push(place);
        self.counts.push(i64::from(want.count));
        self.urgents.push(i64::from(want.urgent));
        self.laters.push(i64::from(want.later));
        self.reserves.push(i64::from(want.reserved_permille));
        let number = i64::try_from(self.places.len()).unwrap_or(i64::MAX);
        let is_alone = limits.len() == 1;
        for (key, terms) in limits {
            self.of_wants.push(number);
            self.keys.push(key);
            match terms {
                Terms::Spaced(terms) if is_alone => self.push_terms(Some(terms), None, None),
                Terms::Spaced(terms) => self.push_terms(Some(terms.together()), None, None),
                Terms::Gcra(terms) => self.push_terms(Some(terms), Some(i64::from(terms.burst)), None),
                Terms::Counted(terms) => self.push_terms(None, None, Some(terms)),
            }
        }
    }

    fn push_terms(&mut self, gcra: Option<GcraTerms>, burst: Option<i64>, counted: Option<CountedTerms>) {
        self.spacings.push(gcra.map(|terms| terms.spacing_ns));
        self.bursts.push(burst);
        self.graces.push(gcra.map(|terms| terms.grace_ns));
        self.horizons.push(gcra.map(|terms| terms.horizon_ns));
        self.further.push(gcra.map(|terms| terms.urgent_ns));
        self.windows.push(gcra.map(|terms| terms.window_ns));
        self.quotas.push(counted.map(|terms| i64::from(terms.limit)));
        self.bucket_sizes.push(counted.map(|terms| terms.bucket_ns));
        self.look_backs.push(counted.map(|terms| terms.look_back));
    }
}

/// The keys and numbers of a want's limits; none where they are not leased by time, or not together: several must be
/// spaced and have keys of their own.
fn limits_of(want: &Want) -> Option<Vec<(String, Terms)>> {
    let mut limits = Vec::with_capacity(want.limits.len());
    let mut keys = HashSet::with_capacity(want.limits.len());
    for (i, limit) in want.limits.iter().enumerate() {
        let rate_permille = want.rates_permille.get(i).copied().unwrap_or(1000);
        let terms = match Terms::of(&limit.spec)? {
            Terms::Spaced(terms) => Terms::Spaced(terms.at_rate(rate_permille)),
            Terms::Gcra(_) | Terms::Counted(_) if want.limits.len() > 1 => return None,
            Terms::Gcra(terms) => Terms::Gcra(terms.at_rate(rate_permille)),
            terms @ Terms::Counted(_) => terms,
        };
        if !keys.insert(limit.key()) {
            return None;
        }
        limits.push((limit.key(), terms));
    }
    (!limits.is_empty()).then_some(limits)
}
