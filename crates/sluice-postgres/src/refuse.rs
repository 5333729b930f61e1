//! Dead letters: refused messages, kept for a person to look at.

use sluice_engine::DeadLetter;
use tokio_postgres::types::ToSql;

use crate::convert::{clean, clean_some};
use crate::park::chunks;
use crate::{Postgres, StoreError};

const STEP: &str = "keep refused messages";

/// The tenant stays empty: a refused body is not to be believed.
const REFUSE: &str = "
INSERT INTO sluice.dead_letter (tenant, job_id, lane, reason, field, detail, body)
SELECT '', d.job_id, d.lane, d.reason, d.field, d.detail, d.body
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[])
    AS d (job_id, lane, reason, field, detail, body)
";

impl Postgres {
    /// Keeps refused messages, in several statements when they are large.
    pub(crate) async fn keep_refused(&self, messages: &[DeadLetter]) -> Result<(), StoreError> {
        for chunk in chunks(messages, |message| message.body.len()) {
            self.keep_refused_once(chunk).await?;
        }
        Ok(())
    }

    async fn keep_refused_once(&self, messages: &[DeadLetter]) -> Result<(), StoreError> {
        let ids: Vec<_> = messages.iter().map(|it| it.job_id.as_deref().and_then(clean_some)).collect();
        let lanes: Vec<_> = messages.iter().map(|message| message.lane.to_string()).collect();
        let reasons: Vec<_> = messages.iter().map(|message| message.refusal.reason.as_str()).collect();
        let fields: Vec<_> = messages.iter().map(|message| clean(&message.refusal.field)).collect();
        let details: Vec<_> = messages.iter().map(|message| clean(&message.refusal.detail)).collect();
        let bodies: Vec<&[u8]> = messages.iter().map(|message| message.body.as_ref()).collect();
        let params: [&(dyn ToSql + Sync); 6] = [&ids, &lanes, &reasons, &fields, &details, &bodies];
        self.writers.query(STEP, REFUSE, &params).await?;
        Ok(())
    }
}
