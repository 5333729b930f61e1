//! Dead letters.

use rusqlite::{Connection, params};
use sluice_engine::DeadLetter;
use sluice_types::Timestamp;

/// Keeps refused messages.
pub(crate) fn refuse(
    connection: &Connection,
    now: Timestamp,
    messages: &[DeadLetter],
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "insert into dead_letter (job_id, lane, reason, field, detail, received_at, body)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for message in messages {
        insert.execute(params![
            message.job_id,
            message.lane.to_string(),
            message.refusal.reason.as_str(),
            message.refusal.field,
            message.refusal.detail,
            now.as_micros(),
            message.body.as_ref(),
        ])?;
    }
    Ok(())
}
