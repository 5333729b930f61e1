//! Slots given back.

use sluice_engine::Unused;
use sluice_policy::Terms;
use tokio_postgres::types::ToSql;

use crate::{Postgres, StoreError};

const STEP: &str = "give slots back";
const GIVE_BACK: &str = "SELECT sluice.give_back_slots($1, $2, $3, $4, $5, $6, $7, $8)";

impl Postgres {
    /// Gives slots back in one statement, each limit in turn, at the database's own instant, or at a given one to compare
    /// with the model.
    ///
    /// # Errors
    /// When the store could not be asked.
    #[doc(hidden)]
    pub async fn return_slots_at(&self, unused: &[Unused], at_ns: Option<i64>) -> Result<(), StoreError> {
        let (mut keys, mut counts, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        let (mut spacings, mut are_spaced) = (Vec::new(), Vec::new());
        let (mut of_unused, mut openings) = (Vec::new(), Vec::new());
        for it in unused {
            let Some(terms) = Terms::of(&it.limit.spec) else {
                continue;
            };
            keys.push(it.limit.key());
            counts.push(i64::from(it.count));
            marks.push(it.mark);
            are_spaced.push(matches!(terms, Terms::Spaced(_)));
            spacings.push(match terms {
                Terms::Spaced(gcra) | Terms::Gcra(gcra) => Some(gcra.at_rate(it.rate_permille).spacing_ns),
                Terms::Counted(_) => None,
            });
            if let Terms::Spaced(_) = terms {
                let number = i64::try_from(keys.len()).unwrap_or(i64::MAX);
                of_unused.resize(of_unused.len() + it.openings_ns.len(), number);
                openings.extend_from_slice(&it.openings_ns);
            }
        }
        if !keys.is_empty() {
            let params: [&(dyn ToSql + Sync); 8] =
                [&keys, &counts, &spacings, &are_spaced, &marks, &of_unused, &openings, &at_ns];
            self.control.query(STEP, GIVE_BACK, &params).await?;
        }
        Ok(())
    }
}
