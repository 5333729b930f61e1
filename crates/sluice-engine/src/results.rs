//! Tells upstream services of final states, after they are committed and beside the pipeline: what waits to be told is in the
//! store, so that neither a slow broker nor the death of a replica holds a job up or loses a word.

use std::sync::Arc;
use std::time::Duration;

use sluice_telemetry::Dependency;
use tokio_util::sync::CancellationToken;

use crate::health::chain;
use crate::ports::{Herald, LedgerError, Results};
use crate::worker::Worker;

/// Results published at once.
const BATCH: u32 = 500;
/// Pause after a round that left nothing, or could not go on.
const PAUSE: Duration = Duration::from_millis(500);

/// Where final states come from, and who tells them.
#[derive(Clone, Debug)]
pub struct Telling {
    /// Where they come from.
    pub results: Arc<dyn Results>,
    /// Who tells them.
    pub herald: Arc<dyn Herald>,
}

/// Tells of final states until the process drains; what is left then others tell.
pub(crate) async fn run_results(worker: Arc<Worker>, telling: Telling, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = worker.health.wait_up(Dependency::Store) => {}
        }
        let more = round(&telling).await.unwrap_or_else(|error| {
            worker.health.down(Dependency::Store, &error);
            false
        });
        if more {
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// One batch; answers whether it is worth asking for more at once.
async fn round(telling: &Telling) -> Result<bool, LedgerError> {
    let Some(batch) = telling.results.untold(BATCH).await? else { return Ok(false) };
    let count = batch.results().len();
    let answers = telling.herald.announce(batch.results()).await;
    // No further than the first that failed, so that a job's states stay in order. What came after it is told twice.
    let told = answers.iter().take_while(|answer| answer.is_ok()).count();
    if let Some(Err(error)) = answers.get(told) {
        tracing::warn!(error = %chain(error), "could not tell of results, it is tried again");
    }
    batch.told(told).await?;
    Ok(told == count && u32::try_from(count).is_ok_and(|count| count >= BATCH))
}
