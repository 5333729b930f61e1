//! Suppressions: who is never sent to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use sluice_engine::SuppressionEntry;
use sluice_types::Tenant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::convert::{clean, column, timestamp};
use crate::{Postgres, StoreError};

/// What `tenant` holds when a suppression is for every tenant.
const EVERY_TENANT: &str = "";

const ADD_STEP: &str = "add suppressions";

/// A row that is there keeps its date; `xmax` is zero in a row that was not.
const ADD: &str = "
WITH put AS (
    INSERT INTO sluice.suppression AS s (tenant, recipient, reason, source)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    ON CONFLICT (recipient, tenant) DO UPDATE SET reason = excluded.reason, source = excluded.source
    RETURNING s.xmax = 0 AS new
)
SELECT count(*) FILTER (WHERE new) AS new FROM put
";

const REMOVE_STEP: &str = "remove suppressions";
const REMOVE: &str = "
WITH gone AS (
    DELETE FROM sluice.suppression WHERE tenant = $1 AND recipient = ANY ($2) RETURNING tenant
)
SELECT count(*) AS gone FROM gone
";

const LIST_STEP: &str = "list suppressions";
const LIST: &str = "
SELECT tenant, recipient, reason, source, created_at
FROM sluice.suppression
ORDER BY created_at DESC, recipient, tenant
LIMIT $1
";

impl Postgres {
    /// Adds or replaces; answers how many are new. Of two entries for one recipient and tenant the last counts.
    pub(super) async fn add_suppressions(&self, entries: &[SuppressionEntry]) -> Result<u64, StoreError> {
        // The map also sorts, so that two callers lock rows in one order.
        let entries: BTreeMap<(String, &str), &SuppressionEntry> = entries
            .iter()
            .map(|entry| ((key(&entry.recipient), tenant_of(entry.tenant.as_ref())), entry))
            .collect();
        let tenants: Vec<&str> = entries.keys().map(|(_, tenant)| *tenant).collect();
        let recipients: Vec<&str> = entries.keys().map(|(recipient, _)| recipient.as_str()).collect();
        let reasons: Vec<Cow<'_, str>> = entries.values().map(|entry| clean(&entry.reason)).collect();
        let sources: Vec<Cow<'_, str>> = entries.values().map(|entry| clean(&entry.source)).collect();
        let params: [&(dyn ToSql + Sync); 4] = [&tenants, &recipients, &reasons, &sources];
        let rows = self.readers.query(ADD_STEP, ADD, &params).await?;
        let new: i64 = rows.first().map_or(Ok(0), |row| column(row, ADD_STEP, "new"))?;
        Ok(u64::try_from(new).unwrap_or(0))
    }

    /// Removes; answers how many there were.
    pub(super) async fn remove_suppressions(
        &self,
        tenant: Option<&Tenant>,
        recipients: &[String],
    ) -> Result<u64, StoreError> {
        let recipients: Vec<String> = recipients.iter().map(|recipient| key(recipient)).collect();
        let params: [&(dyn ToSql + Sync); 2] = [&tenant_of(tenant), &recipients];
        let rows = self.readers.query(REMOVE_STEP, REMOVE, &params).await?;
        let gone: i64 = rows.first().map_or(Ok(0), |row| column(row, REMOVE_STEP, "gone"))?;
        Ok(u64::try_from(gone).unwrap_or(0))
    }

    /// Newest first.
    pub(super) async fn list_suppressions(&self, max: u32) -> Result<Vec<SuppressionEntry>, StoreError> {
        let rows = self.readers.query(LIST_STEP, LIST, &[&i64::from(max)]).await?;
        rows.iter().map(entry_of_row).collect()
    }
}

/// The form under which a recipient is kept and looked up.
fn key(recipient: &str) -> String {
    clean(recipient).to_ascii_lowercase()
}

fn tenant_of(tenant: Option<&Tenant>) -> &str {
    tenant.map_or(EVERY_TENANT, Tenant::as_str)
}

fn entry_of_row(row: &Row) -> Result<SuppressionEntry, StoreError> {
    let tenant: &str = column(row, LIST_STEP, "tenant")?;
    let created_at: SystemTime = column(row, LIST_STEP, "created_at")?;
    Ok(SuppressionEntry {
        tenant: Tenant::new(tenant).ok(),
        recipient: column(row, LIST_STEP, "recipient")?,
        reason: column(row, LIST_STEP, "reason")?,
        source: column(row, LIST_STEP, "source")?,
        created_at: Some(timestamp(created_at)),
    })
}
