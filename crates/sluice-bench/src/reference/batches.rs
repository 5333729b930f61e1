//! Writes whatever waits in one statement, and hands it on.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use tokio_postgres::{Client, NoTls};

/// Rows of one statement, as the worker has it.
const ROWS_MAX: usize = 500;

/// A job on its way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) tag: u64,
    pub(super) id: String,
    pub(super) body: Vec<u8>,
}

/// How many rows went in how many statements.
#[derive(Debug, Default)]
pub(super) struct Counts {
    rows: AtomicU64,
    batches: AtomicU64,
}

impl Counts {
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub(super) fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }
}

/// Before the call: durable, and each job once.
pub(super) const CLAIM: &str = "
INSERT INTO result (id, state, worker, deadline)
SELECT u, 'sending', 'reference', now() + interval '2 minutes' FROM unnest($1::text[]) AS u
ON CONFLICT (id) DO NOTHING RETURNING id";
/// After the call, for those claimed before it.
pub(super) const UPDATE: &str = "
UPDATE result r SET state = 'accepted', esp = 'main', provider_message_id = 'stand-in', updated_at = now()
FROM unnest($1::text[]) AS u WHERE r.id = u AND r.state = 'sending' RETURNING r.id";
/// After the call, without a claim.
pub(super) const INSERT: &str = "
INSERT INTO result (id, state, esp, provider_message_id)
SELECT u, 'accepted', 'main', 'stand-in' FROM unnest($1::text[]) AS u
ON CONFLICT (id) DO NOTHING RETURNING id";

pub(super) async fn connect(db: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(db, NoTls).await.context("cannot reach Postgres")?;
    // Ends with the client.
    tokio::runtime::Handle::current().spawn(connection);
    // As long as there are no statistics of the new table, a statement may be planned to read all of it.
    client.batch_execute("SET enable_seqscan = off; SET enable_bitmapscan = off").await?;
    Ok(client)
}

/// One writer. Rows that the statement does not answer (another one has them) go to `rest`.
pub(super) async fn write(
    db: &str,
    statement: &str,
    rows: flume::Receiver<Item>,
    next: flume::Sender<Item>,
    rest: flume::Sender<Item>,
    counts: &Counts,
) -> anyhow::Result<()> {
    let client = connect(db).await?;
    let statement = client.prepare(statement).await?;
    while let Ok(first) = rows.recv_async().await {
        let mut batch = vec![first];
        batch.extend(rows.try_iter().take(ROWS_MAX - 1));
        // In one order everywhere, against deadlocks.
        batch.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let ids: Vec<&str> = batch.iter().map(|item| item.id.as_str()).collect();
        let written = client.query(&statement, &[&ids]).await.context("cannot write a batch")?;
        counts.rows.fetch_add(u64::try_from(batch.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        counts.batches.fetch_add(1, Ordering::Relaxed);
        let ours: Option<HashSet<String>> =
            (written.len() < batch.len()).then(|| written.iter().map(|row| row.get(0)).collect());
        for item in batch {
            let to = if ours.as_ref().is_none_or(|ours| ours.contains(&item.id)) { &next } else { &rest };
            if to.send_async(item).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
