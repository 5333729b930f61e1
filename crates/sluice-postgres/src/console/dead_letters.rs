//! Dead letters, for people.

use bytes::Bytes;
use sluice_engine::DeadLetterView;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::jobs::rfc3339;
use crate::convert::{clean, column};
use crate::{Postgres, StoreError};

const LIST_STEP: &str = "list dead letters";
const LIST: &str = "
SELECT id, tenant, job_id, lane, reason, field, detail, received_at, octet_length(body) AS body_bytes
FROM sluice.dead_letter
WHERE $1::text IS NULL OR reason = $1
ORDER BY id DESC
LIMIT $2
";

const SHOW_STEP: &str = "show a dead letter";
const SHOW: &str = "
SELECT id, tenant, job_id, lane, reason, field, detail, received_at, octet_length(body) AS body_bytes, body
FROM sluice.dead_letter
WHERE id = $1
";

const DROP_STEP: &str = "drop dead letters";
const DROP: &str = "
WITH gone AS (DELETE FROM sluice.dead_letter WHERE id = ANY ($1) RETURNING tenant)
SELECT count(*) AS gone FROM gone
";

impl Postgres {
    /// Newest first, without bodies.
    pub(super) async fn dead_letters(
        &self,
        reason: Option<&str>,
        max: u32,
    ) -> Result<Vec<DeadLetterView>, StoreError> {
        let params: [&(dyn ToSql + Sync); 2] = [&reason.map(clean), &i64::from(max)];
        let rows = self.readers.query(LIST_STEP, LIST, &params).await?;
        rows.iter().map(view_of_row).collect()
    }

    /// One, with its body.
    pub(super) async fn one_dead_letter(
        &self,
        id: i64,
    ) -> Result<Option<(DeadLetterView, Bytes)>, StoreError> {
        let rows = self.readers.query(SHOW_STEP, SHOW, &[&id]).await?;
        let with_body = |row| {
            let body: &[u8] = column(row, SHOW_STEP, "body")?;
            Ok((view_of_row(row)?, Bytes::copy_from_slice(body)))
        };
        rows.first().map(with_body).transpose()
    }

    /// Removes them; answers how many there were.
    pub(super) async fn drop_dead_letters(&self, ids: &[i64]) -> Result<u64, StoreError> {
        let rows = self.readers.query(DROP_STEP, DROP, &[&ids]).await?;
        let gone: i64 = rows.first().map_or(Ok(0), |row| column(row, DROP_STEP, "gone"))?;
        Ok(u64::try_from(gone).unwrap_or(0))
    }
}

fn view_of_row(row: &Row) -> Result<DeadLetterView, StoreError> {
    let body_bytes: i32 = column(row, LIST_STEP, "body_bytes")?;
    Ok(DeadLetterView {
        id: column(row, LIST_STEP, "id")?,
        job_id: column(row, LIST_STEP, "job_id")?,
        lane: column(row, LIST_STEP, "lane")?,
        reason: column(row, LIST_STEP, "reason")?,
        field: column(row, LIST_STEP, "field")?,
        detail: column(row, LIST_STEP, "detail")?,
        received_at: rfc3339(column(row, LIST_STEP, "received_at")?),
        body_bytes: u64::try_from(body_bytes).unwrap_or(0),
    })
}
