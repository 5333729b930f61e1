//! Slots given back.

use sluice_engine::Unused;
use sluice_policy::Terms;
use tokio_postgres::types::ToSql;

use crate::{Postgres, StoreError};

const STEP: &str = "give slots back";
const GIVE_BACK: &str = "SELECT sluice.give_back($1, $2, $3, $4)";

impl Postgres {
    /// Gives slots back in one statement, each limit in turn.
    pub(super) async fn return_slots(&self, unused: &[Unused]) -> Result<(), StoreError> {
        let (mut keys, mut counts, mut spacings, mut marks) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for it in unused {
            let Some(terms) = Terms::of(&it.limit.spec) else {
                continue;
            };
            keys.push(it.limit.key());
            counts.push(i64::from(it.count));
            spacings.push(match terms {
                Terms::Gcra(gcra) => Some(gcra.at_rate(it.rate_permille).spacing_ns),
                Terms::Counted(_) => None,
            });
            marks.push(it.mark);
        }
        if !keys.is_empty() {
            let params: [&(dyn ToSql + Sync); 4] = [&keys, &counts, &spacings, &marks];
            self.control.query(STEP, GIVE_BACK, &params).await?;
        }
        Ok(())
    }
}
