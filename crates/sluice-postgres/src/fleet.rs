//! The port `Fleet`: one document in one row, read and written under its lock.

use async_trait::async_trait;
use sluice_engine::{Fleet, FleetError};
use sluice_policy::{Edit, FleetState, Report, View};
use tokio_postgres::Row;

use crate::connections::Lent;
use crate::convert::column;
use crate::{Postgres, StoreError};

const LOCK_STEP: &str = "lock the fleet's document";

/// The clock is read behind the lock: what is materialized first has waited for it.
const LOCK: &str = "
WITH locked AS MATERIALIZED (SELECT state FROM sluice.fleet WHERE id FOR UPDATE)
SELECT state, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000 AS now_ns FROM locked
";

const LOOK_STEP: &str = "read the fleet's document";
const LOOK: &str = "
SELECT state, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000 AS now_ns
FROM sluice.fleet WHERE id
";

const CREATE_STEP: &str = "create the fleet's document";

/// The migration has made it; somebody may have removed it since.
const CREATE: &str = "INSERT INTO sluice.fleet (state) VALUES ('{}') ON CONFLICT (id) DO NOTHING";

const STORE_STEP: &str = "store the fleet's document";
const STORE: &str = "UPDATE sluice.fleet SET state = $1, updated_at = clock_timestamp() WHERE id";

#[async_trait]
impl Fleet for Postgres {
    async fn exchange(&self, report: &Report) -> Result<View, FleetError> {
        Ok(self.change_fleet(|state, now_ns| state.exchange(now_ns, report)).await?)
    }

    async fn edit(&self, edit: Edit) -> Result<(), FleetError> {
        Ok(self.change_fleet(|state, now_ns| state.edit(now_ns, edit)).await?)
    }

    async fn look(&self) -> Result<View, FleetError> {
        Ok(self.look_at_fleet().await?)
    }
}

impl Postgres {
    /// Changes the document under its lock, at the store's instant: two round trips.
    async fn change_fleet<T>(&self, change: impl FnOnce(&mut FleetState, i64) -> T) -> Result<T, StoreError> {
        let lent = self.fleet.borrow(LOCK_STEP).await?;
        let row = lock(&lent).await?;
        let before = document_of_row(&row, LOCK_STEP)?;
        let mut state = before.clone();
        let answer = change(&mut state, column(&row, LOCK_STEP, "now_ns")?);
        if state == before {
            lent.run(STORE_STEP, "COMMIT").await?;
        } else {
            let text = serde_json::to_string(&state).map_err(StoreError::Document)?;
            lent.commit(STORE_STEP, STORE, &[&text]).await?;
        }
        lent.give_back();
        Ok(answer)
    }

    async fn look_at_fleet(&self) -> Result<View, StoreError> {
        let rows = self.fleet.query(LOOK_STEP, LOOK, &[]).await?;
        let Some(row) = rows.first() else {
            return Ok(View::default());
        };
        Ok(document_of_row(row, LOOK_STEP)?.look(column(row, LOOK_STEP, "now_ns")?))
    }
}

/// Opens a transaction that holds the document.
async fn lock(lent: &Lent) -> Result<Row, StoreError> {
    let mut rows = lent.begin(LOCK_STEP, LOCK, &[]).await?;
    if rows.is_empty() {
        lent.query(CREATE_STEP, CREATE, &[]).await?;
        rows = lent.query(LOCK_STEP, LOCK, &[]).await?;
    }
    rows.pop().ok_or(StoreError::Row { step: LOCK_STEP, column: "state" })
}

fn document_of_row(row: &Row, step: &'static str) -> Result<FleetState, StoreError> {
    serde_json::from_str(column(row, step, "state")?).map_err(StoreError::Document)
}
